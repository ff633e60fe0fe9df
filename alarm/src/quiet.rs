//! Quiet hours of people: when what is not urgent waits for the morning. Pure.

use jiff::Unit;
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use model::Timestamp;
use serde::{Deserialize, Serialize};

use crate::directory::FieldFault;

/// Quiet hours that a person may have.
pub(crate) const QUIET_MAX: usize = 20;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const LINE_ADVICE: &str = "write 22:00-08:00, then days such as mon-fri,sun and the priority that comes through, below P1";

/// One of the quiet hours of a person, as the settings and the API write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuietConfig {
    /// When it begins, as `22:00`, by the clock on the wall of the person's time zone.
    pub from: String,
    /// When it is over, as `08:00`; the next day if that is not behind `from`.
    pub until: String,
    /// The days on which it begins, as `mon` or `mon-fri`; none for all.
    #[serde(default)]
    pub days: Vec<String>,
    /// Messages below this priority wait, `P0` to `P5`; `P0` always comes through.
    #[serde(default = "below")]
    pub below: String,
}

fn below() -> String {
    "P1".to_owned()
}

/// Quiet hours, ready to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quiet {
    from: Time,
    until: Time,
    /// By the number of the weekday from Monday on.
    days: [bool; 7],
    below: u8,
}

impl Quiet {
    /// Reads what the settings say; fails with all that is wrong.
    pub(crate) fn read(config: &QuietConfig) -> Result<Self, Vec<FieldFault>> {
        let mut faults = Vec::new();
        let mut time = |field: &str, text: &str| {
            let read = clock(text);
            if read.is_none() {
                faults.push((field.to_owned(), format!("{text:?} is no time such as 22:00")));
            }
            read.unwrap_or_default()
        };
        let (from, until) = (time("from", &config.from), time("until", &config.until));
        let mut days = [config.days.is_empty(); 7];
        for text in &config.days {
            match days_of(text) {
                Some(found) => found.for_each(|day| days[day] = true),
                None => faults.push((
                    "days".to_owned(),
                    format!("{text:?} is neither a day such as mon nor days such as mon-fri"),
                )),
            }
        }
        let below = config.below.strip_prefix(['P', 'p']).and_then(|digit| digit.parse().ok());
        let below = below.filter(|priority| *priority <= 5);
        if below.is_none() {
            let fault = format!("{:?} is none of P0 to P5", config.below);
            faults.push(("below".to_owned(), fault));
        }
        match below {
            Some(below) if faults.is_empty() => Ok(Self { from, until, days, below }),
            _ => Err(faults),
        }
    }

    /// Until when a message of this priority waits; `None` when it does not.
    pub(crate) fn holds(&self, priority: u8, zone: &TimeZone, at: Timestamp) -> Option<Timestamp> {
        if priority <= self.below {
            return None;
        }
        let moment = jiff::Timestamp::from_millisecond(at.millis()).ok()?;
        let today = moment.to_zoned(zone.clone()).date();
        // What began yesterday may last until today.
        [today.yesterday().ok()?, today]
            .into_iter()
            .filter(|day| self.days[index(day.weekday())])
            .filter_map(|day| {
                let last = if self.until > self.from { day } else { day.tomorrow().ok()? };
                let moment = |day: jiff::civil::Date, time: Time| {
                    let at = day.to_datetime(time).to_zoned(zone.clone()).ok()?;
                    Some(Timestamp(at.timestamp().as_millisecond()))
                };
                let (begins, ends) = (moment(day, self.from)?, moment(last, self.until)?);
                (begins <= at && at < ends).then_some(ends)
            })
            .max()
    }
}

/// Until when a message of this priority waits for somebody with these quiet hours. What cannot be read holds nothing: it
/// was written by a newer version.
pub(crate) fn holds(
    hours: &[QuietConfig],
    priority: u8,
    zone: &TimeZone,
    at: Timestamp,
) -> Option<Timestamp> {
    let read = hours.iter().filter_map(|config| Quiet::read(config).ok());
    read.filter_map(|quiet| quiet.holds(priority, zone, at)).max()
}

/// What is wrong with the quiet hours of somebody.
pub(crate) fn faults(hours: &[QuietConfig]) -> Vec<FieldFault> {
    let mut faults = Vec::new();
    if hours.len() > QUIET_MAX {
        faults.push(("quiet".to_owned(), format!("more than {QUIET_MAX}")));
    }
    for (number, config) in hours.iter().enumerate() {
        let found = Quiet::read(config).err().unwrap_or_default();
        let named = |(field, fault)| (format!("quiet[{number}].{field}"), fault);
        faults.extend(found.into_iter().map(named));
    }
    faults
}

impl QuietConfig {
    /// Reads a line of the form, as `22:00-08:00 mon-fri below P1`. Whether times and days are such is for
    /// [`Quiet::read`].
    pub(crate) fn from_line(line: &str) -> Result<Self, String> {
        let wrong = || format!("{line:?}: {LINE_ADVICE}");
        let mut words = line.split_whitespace();
        let times = words.next().ok_or_else(wrong)?;
        let (from, until) = times.split_once(['-', '–']).ok_or_else(wrong)?;
        let mut quiet = Self {
            from: from.to_owned(),
            until: until.to_owned(),
            days: Vec::new(),
            below: below(),
        };
        while let Some(word) = words.next() {
            if word == "below" {
                quiet.below = words.next().ok_or_else(wrong)?.to_owned();
            } else {
                let days = word.split(',').filter(|day| !day.is_empty());
                quiet.days.extend(days.map(str::to_owned));
            }
        }
        Ok(quiet)
    }

    /// The line that [`QuietConfig::from_line`] reads.
    pub(crate) fn line(&self) -> String {
        let days = match self.days.is_empty() {
            true => String::new(),
            false => format!(" {}", self.days.join(",")),
        };
        format!("{}-{}{days} below {}", self.from, self.until, self.below)
    }
}

/// A time of the day to the minute; jiff alone would take more forms.
fn clock(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let is_number = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(hour) || !is_number(minute) {
        return None;
    }
    Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
}

/// The days of `mon` or `fri-mon`, by number.
fn days_of(text: &str) -> Option<impl Iterator<Item = usize>> {
    let number = |day: &str| DAYS.iter().position(|known| known.eq_ignore_ascii_case(day));
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    let count = (last + 7 - first) % 7 + 1;
    Some((first..first + count).map(|day| day % 7))
}

fn index(day: Weekday) -> usize {
    usize::try_from(day.to_monday_zero_offset()).unwrap_or(0)
}

/// A moment as people read it, to the minute.
pub(crate) fn spoken(at: Timestamp, zone: &TimeZone) -> String {
    let moment = jiff::Timestamp::from_millisecond(at.millis()).ok();
    let zoned = moment.and_then(|moment| moment.to_zoned(zone.clone()).round(Unit::Minute).ok());
    zoned.map_or_else(|| at.rfc3339(), |at| at.strftime("%F %H:%M %:z").to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shanghai() -> TimeZone {
        TimeZone::get("Asia/Shanghai").unwrap()
    }

    /// Until when a P3 message waits.
    fn check(line: &str, zone: &str, at: &str, expected: Option<&str>) {
        let config = QuietConfig::from_line(line).unwrap();
        let at = Timestamp::parse_rfc3339(at).unwrap();
        let held = holds(&[config], 3, &TimeZone::get(zone).unwrap(), at);
        let expected = expected.map(|text| Timestamp::parse_rfc3339(text).unwrap());
        assert_eq!(held, expected, "{line} in {zone} at {}", at.rfc3339());
    }

    #[test]
    fn quiet_hours_over_midnight_end_the_next_morning_and_not_a_moment_later() {
        let night = "22:00-08:00";
        let until = Some("2026-01-06T00:00:00Z");
        check(night, "Asia/Shanghai", "2026-01-05T14:00:00Z", until);
        check(night, "Asia/Shanghai", "2026-01-05T23:59:59.999Z", until);
        check(night, "Asia/Shanghai", "2026-01-06T00:00:00Z", None);
        check(night, "Asia/Shanghai", "2026-01-05T13:59:59.999Z", None);
    }

    #[test]
    fn days_are_those_on_which_it_begins() {
        let fridays = "22:00-08:00 fri";
        check(fridays, "UTC", "2026-01-10T03:00:00Z", Some("2026-01-10T08:00:00Z"));
        check(fridays, "UTC", "2026-01-09T03:00:00Z", None);
        let weekend = "00:00-00:00 sat-sun";
        check(weekend, "UTC", "2026-01-10T12:00:00Z", Some("2026-01-11T00:00:00Z"));
        check(weekend, "UTC", "2026-01-11T12:00:00Z", Some("2026-01-12T00:00:00Z"));
        check(weekend, "UTC", "2026-01-12T00:00:00Z", None);
        check("12:00-13:00 sun-mon", "UTC", "2026-01-12T12:30:00Z", Some("2026-01-12T13:00:00Z"));
    }

    #[test]
    fn they_keep_their_hour_when_summer_time_begins_and_ends() {
        let night = "22:00-08:00";
        check(night, "Europe/Berlin", "2026-03-28T22:00:00Z", Some("2026-03-29T06:00:00Z"));
        check(night, "Europe/Berlin", "2026-10-24T21:00:00Z", Some("2026-10-25T07:00:00Z"));
        // 02:30 does not exist on this day and means an hour later.
        check("02:30-08:00", "Europe/Berlin", "2026-03-29T01:00:00Z", None);
        check("02:30-08:00", "Europe/Berlin", "2026-03-29T01:30:00Z", Some("2026-03-29T06:00:00Z"));
    }

    #[test]
    fn what_is_not_below_the_priority_comes_through_and_the_most_urgent_always() {
        let at = Timestamp::parse_rfc3339("2026-01-05T23:00:00Z").unwrap();
        let held = |below: &str, priority| {
            let config = QuietConfig::from_line(&format!("22:00-08:00 below {below}")).unwrap();
            holds(&[config], priority, &TimeZone::UTC, at).is_some()
        };
        assert_eq!([0, 1, 2, 6].map(|priority| held("P1", priority)), [false, false, true, true]);
        assert_eq!([0, 1, 6].map(|priority| held("P0", priority)), [false, true, true]);
        assert_eq!([4, 5, 6].map(|priority| held("P4", priority)), [false, true, true]);
    }

    #[test]
    fn of_several_the_last_to_end_counts() {
        let lines =
            ["22:00-06:00", "23:00-09:00 mon"].map(|line| QuietConfig::from_line(line).unwrap());
        let at = Timestamp::parse_rfc3339("2026-01-05T23:30:00Z").unwrap();
        let held = holds(&lines, 4, &TimeZone::UTC, at).unwrap();
        assert_eq!(held.rfc3339(), "2026-01-06T09:00:00.000Z");
        assert_eq!(spoken(held, &shanghai()), "2026-01-06 17:00 +08:00");
    }

    #[test]
    fn faults_are_named_with_their_fields() {
        let config = QuietConfig {
            from: "7:00".to_owned(),
            until: "25:00".to_owned(),
            days: vec!["mon-".to_owned(), "someday".to_owned()],
            below: "P6".to_owned(),
        };
        let found = faults(&[QuietConfig::from_line("22:00-08:00").unwrap(), config]);
        let fields: Vec<&str> = found.iter().map(|(field, _)| field.as_str()).collect();
        let expected =
            ["quiet[1].from", "quiet[1].until", "quiet[1].days", "quiet[1].days", "quiet[1].below"];
        assert_eq!(fields, expected);
        for line in ["", "22:00", "22:00-08:00 below"] {
            assert!(QuietConfig::from_line(line).unwrap_err().contains("below P1"), "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_read_or_refused_and_holds_end_in_the_future(
            line in "\\PC{0,30}|[0-2][0-9]:[0-5][0-9]-[0-2][0-9]:[0-5][0-9]( (mon|fri-tue|sun,wed))?( below P[0-7])?",
            at in 0_i64..4_000_000_000_000,
        ) {
            if let Ok(config) = QuietConfig::from_line(&line) {
                let again = QuietConfig::from_line(&config.line());
                let at = Timestamp(at);
                let until = holds(&[config], 6, &shanghai(), at);
                prop_assert!(until.is_none_or(|until| until > at && until.since(at).as_secs() <= 90_000));
                prop_assert!(again.is_ok());
            }
        }
    }
}
