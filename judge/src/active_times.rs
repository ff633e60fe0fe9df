//! When a rule is awake: windows of the week with a time zone. Pure.
//!
//! An extension of ours. Outside of its windows a rule is not evaluated: nothing becomes pending, nothing
//! fires, nothing ends, and what fires is not told.

use std::fmt;
use std::time::Duration;

use jiff::Zoned;
use jiff::civil::Weekday;
use jiff::tz::{Offset, TimeZone};
use model::Timestamp;
use serde::{Deserialize, Serialize};

/// Windows that one rule may have.
pub(crate) const WINDOWS_MAX: usize = 32;

const MINUTES_A_DAY: u16 = 24 * 60;
const DAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
    ("sunday", Weekday::Sunday),
];

/// The windows of a rule. A rule without windows is always awake.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ActiveTimes {
    windows: Vec<Window>,
    /// As they are written.
    specs: Vec<WindowSpec>,
}

/// A window as it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WindowSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    weekdays: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
struct Window {
    /// Minutes since local midnight; included.
    from: u16,
    /// Minutes since local midnight, up to 24:00; left out. Before `from` when the window passes midnight.
    to: u16,
    /// The days on which it begins, from Monday.
    days: [bool; 7],
    zone: TimeZone,
}

impl ActiveTimes {
    /// Reads windows. The error says what is wrong with which one, and how to mend it.
    pub(crate) fn read(specs: &[WindowSpec]) -> Result<Self, String> {
        if specs.len() > WINDOWS_MAX {
            return Err(format!("more than {WINDOWS_MAX} windows; join some of them"));
        }
        let windows = specs.iter().enumerate().map(|(at, spec)| {
            Window::read(spec).map_err(|fault| format!("window {}: {fault}", at + 1))
        });
        Ok(Self { windows: windows.collect::<Result<_, _>>()?, specs: specs.to_vec() })
    }

    /// The windows as they are written.
    pub(crate) fn specs(&self) -> &[WindowSpec] {
        &self.specs
    }

    /// Whether the rule is awake at this moment.
    pub(crate) fn contain(&self, now: Timestamp) -> bool {
        self.windows.is_empty() || self.windows.iter().any(|window| window.contains(now))
    }
}

impl fmt::Display for WindowSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.from.as_deref(), self.to.as_deref());
        write!(f, "{}–{}", from.unwrap_or("00:00"), to.unwrap_or("24:00"))?;
        if !self.weekdays.is_empty() {
            write!(f, " {}", self.weekdays.join(", "))?;
        }
        write!(f, " {}", self.zone.as_deref().unwrap_or("UTC"))
    }
}

impl Window {
    fn read(spec: &WindowSpec) -> Result<Self, String> {
        let from = spec.from.as_deref().map_or(Ok(0), minutes)?;
        let to = spec.to.as_deref().map_or(Ok(MINUTES_A_DAY), minutes)?;
        if from == to || from == MINUTES_A_DAY {
            return Err("it is empty; leave out `from` and `to` for the whole day".to_owned());
        }
        let mut days = [spec.weekdays.is_empty(); 7];
        for text in &spec.weekdays {
            let (first, last) = text.split_once(':').unwrap_or((text, text));
            let (first, last) = (weekday(first)?, weekday(last)?);
            let mut day = first;
            while day != last {
                days[day] = true;
                day = (day + 1) % 7;
            }
            days[last] = true;
        }
        Ok(Self { from, to, days, zone: zone(spec.zone.as_deref().unwrap_or("UTC"))? })
    }

    fn contains(&self, now: Timestamp) -> bool {
        let Some((minute, day)) = self.local(now) else { return false };
        if self.from < self.to {
            return self.days[day] && (self.from..self.to).contains(&minute);
        }
        // It passes midnight: before `to` it is the window that began the day before.
        (self.days[day] && minute >= self.from) || (self.days[(day + 6) % 7] && minute < self.to)
    }

    /// The minute of the day and the day of the week, from Monday, where the window's clock hangs.
    fn local(&self, now: Timestamp) -> Option<(u16, usize)> {
        let moment = jiff::Timestamp::from_millisecond(now.millis()).ok()?;
        let local = Zoned::new(moment, self.zone.clone());
        let minute = u16::try_from(local.hour()).ok()? * 60 + u16::try_from(local.minute()).ok()?;
        Some((minute, DAYS.iter().position(|(_, day)| *day == local.weekday())?))
    }
}

fn minutes(text: &str) -> Result<u16, String> {
    let fault = || format!("{text:?} is not a time of the day; write HH:MM, 00:00 to 24:00");
    let (hours, minutes) = text.split_once(':').ok_or_else(fault)?;
    let number = |text: &str| {
        let is_plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_plain { text.parse::<u16>().ok() } else { None }
    };
    let (hours, minutes) = (number(hours).ok_or_else(fault)?, number(minutes).ok_or_else(fault)?);
    let of_day = hours * 60 + minutes;
    if minutes < 60 && of_day <= MINUTES_A_DAY { Ok(of_day) } else { Err(fault()) }
}

fn weekday(text: &str) -> Result<usize, String> {
    let wanted = text.trim().to_ascii_lowercase();
    DAYS.iter().position(|(name, _)| *name == wanted || name[..3] == wanted).ok_or_else(|| {
        format!("{text:?} is not a weekday; write monday to sunday, or monday:friday for a range")
    })
}

/// A zone by its name, or a fixed distance from UTC, for machines without the database of zones.
fn zone(name: &str) -> Result<TimeZone, String> {
    if name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    if let Some(east) = name.strip_prefix('+').or_else(|| name.strip_prefix('-')) {
        let span = Duration::from_secs(u64::from(minutes(east)?) * 60);
        let seconds = i32::try_from(span.as_secs()).unwrap_or(i32::MAX);
        let seconds = if name.starts_with('-') { -seconds } else { seconds };
        let offset = Offset::from_seconds(seconds).map_err(|error| format!("zone: {error}"))?;
        return Ok(TimeZone::fixed(offset));
    }
    TimeZone::get(name).map_err(|error| {
        format!("zone {name:?}: {error}; write a name such as Asia/Shanghai, UTC, or +08:00")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window(from: &str, to: &str, weekdays: &[&str], zone: &str) -> WindowSpec {
        WindowSpec {
            from: Some(from.to_owned()),
            to: Some(to.to_owned()),
            weekdays: weekdays.iter().map(|day| (*day).to_owned()).collect(),
            zone: Some(zone.to_owned()),
        }
    }

    /// Whether the window holds these moments of RFC 3339, with `y` and `n`.
    fn check(spec: WindowSpec, moments: &[&str], holds: &str) {
        let times = ActiveTimes::read(std::slice::from_ref(&spec)).expect("the window is valid");
        let found: String = moments
            .iter()
            .map(|moment| Timestamp::parse_rfc3339(moment).expect("a moment"))
            .map(|moment| if times.contain(moment) { 'y' } else { 'n' })
            .collect();
        assert_eq!(found, holds, "{spec:?} {moments:?}");
    }

    // 2026-01-01 is a Thursday.

    #[test]
    fn a_window_holds_its_first_minute_and_not_its_last() {
        let moments = [
            "2026-01-01T08:59:59Z",
            "2026-01-01T09:00:00Z",
            "2026-01-01T16:59:59Z",
            "2026-01-01T17:00:00Z",
        ];
        check(window("09:00", "17:00", &[], "UTC"), &moments, "nyyn");
    }

    #[test]
    fn a_window_past_midnight_belongs_to_the_day_on_which_it_begins() {
        let moments = [
            "2026-01-01T21:00:00Z",
            "2026-01-01T22:00:00Z",
            "2026-01-02T05:59:00Z",
            "2026-01-02T06:00:00Z",
            "2026-01-02T22:00:00Z",
        ];
        check(window("22:00", "06:00", &["thursday"], "UTC"), &moments, "nyynn");
    }

    #[test]
    fn weekdays_are_names_and_ranges_that_may_pass_sunday() {
        let moments = ["2026-01-01T12:00:00Z", "2026-01-03T12:00:00Z", "2026-01-05T12:00:00Z"];
        check(window("00:00", "24:00", &["mon:fri"], "UTC"), &moments, "yny");
        check(window("00:00", "24:00", &["Saturday:Monday"], "UTC"), &moments, "nyy");
        check(window("00:00", "24:00", &["sat"], "UTC"), &moments, "nyn");
    }

    #[test]
    fn the_clock_hangs_where_the_zone_says() {
        let moments = ["2026-01-01T00:30:00Z", "2026-01-01T01:30:00Z"];
        check(window("09:00", "18:00", &[], "+08:00"), &moments, "ny");
        check(window("09:00", "18:00", &[], "-08:00"), &["2026-01-01T17:30:00Z"], "y");
    }

    #[test]
    fn daylight_saving_moves_the_window_with_the_local_clock() {
        let winter_and_summer = ["2026-01-01T07:30:00Z", "2026-07-01T07:30:00Z"];
        check(window("09:00", "10:00", &[], "Europe/Berlin"), &winter_and_summer, "ny");
    }

    #[test]
    fn a_rule_without_windows_is_always_awake() {
        assert!(ActiveTimes::default().contain(Timestamp(0)));
        let all = ActiveTimes::read(&[WindowSpec::default()]).expect("the whole week");
        assert!(all.contain(Timestamp(0)));
    }

    #[test]
    fn a_bad_window_says_what_is_wrong_with_it() {
        for (spec, fault) in [
            (window("9:00", "17:00", &[], "UTC"), "window 1: \"9:00\" is not a time of the day"),
            (window("24:01", "01:00", &[], "UTC"), "not a time of the day"),
            (window("10:00", "10:00", &[], "UTC"), "it is empty"),
            (window("24:00", "01:00", &[], "UTC"), "it is empty"),
            (window("09:00", "10:00", &["someday"], "UTC"), "\"someday\" is not a weekday"),
            (window("09:00", "10:00", &[], "Mars/Base"), "zone \"Mars/Base\""),
        ] {
            let told = ActiveTimes::read(std::slice::from_ref(&spec)).expect_err(fault);
            assert!(told.contains(fault), "{told}");
        }
        assert!(ActiveTimes::read(&vec![WindowSpec::default(); WINDOWS_MAX + 1]).is_err());
    }

    proptest! {
        #[test]
        fn no_window_makes_it_panic(
            from in "[0-9:]{0,6}", to in ".{0,6}", day in "[a-z:]{0,12}", zone in "[+A-Za-z/0-9:-]{0,12}",
            now in any::<i64>(),
        ) {
            if let Ok(times) = ActiveTimes::read(&[window(&from, &to, &[&day], &zone)]) {
                times.contain(Timestamp(now));
            }
        }

        /// A window and the one that fills the rest of the day hold every moment exactly once.
        #[test]
        fn a_window_and_its_complement_make_up_the_day(
            from in 0u16..1440, to in 0u16..1440, now in 0i64..4_000_000_000_000,
        ) {
            prop_assume!(from != to);
            let text = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
            let holds = |from: u16, to: u16| {
                let spec = window(&text(from), &text(to), &[], "Europe/Berlin");
                ActiveTimes::read(&[spec]).expect("valid").contain(Timestamp(now))
            };
            prop_assert!(holds(from, to) != holds(to, from));
        }
    }
}
