//! Who is on call at a moment: people who take turns of a day or a week, and stand-ins. Pure.
//!
//! A turn begins at a time of the clock on the wall of the team, so days with 23 or 25 hours are as long as they
//! are. Where that time does not exist on a day the turn begins an hour later, where it exists twice at the first.

use std::time::Duration;

use jiff::ToSpan as _;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use model::Timestamp;
use serde::{Deserialize, Serialize};

/// How many people may take turns.
pub(crate) const PEOPLE_MAX: usize = 100;
/// How many shifts are listed at once.
pub(crate) const SHIFTS_MAX: usize = 500;
const ADVICE_DATE: &str = "write a date such as 2026-01-05, the day of the first turn";
const ADVICE_TIME: &str = "write a time such as 09:30, when one hands over to the next";

/// How long a turn is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Every {
    /// From one day to the next.
    Day,
    /// Seven days.
    Week,
}

/// Who takes turns, as it is written in the settings and in the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotationConfig {
    /// How long a turn is.
    pub every: Every,
    /// When one hands over to the next, as `09:30` by the clock of `time_zone`.
    pub at: String,
    /// The day of the first turn, as `2026-01-05`; of turns of a week it says which day of the week they begin.
    pub starts: String,
    /// An IANA name such as `Asia/Shanghai`; empty for that of alarm.
    #[serde(default)]
    pub time_zone: String,
    /// Who takes turns, in this order.
    pub people: Vec<String>,
}

/// A rotation, ready to be asked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rotation {
    days: i64,
    at: Time,
    starts: Date,
    zone: TimeZone,
    people: Vec<String>,
}

/// Somebody who is on call in place of whoever it would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StandIn {
    pub(crate) id: String,
    pub(crate) person: String,
    pub(crate) from: Timestamp,
    /// Not any more at this moment.
    pub(crate) until: Timestamp,
    /// Of those who hold at once the one that was made last counts.
    pub(crate) made_at: Timestamp,
}

/// Who is on call from when to when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shift {
    /// `None` before the first turn, and without a rotation.
    pub(crate) person: Option<String>,
    pub(crate) from: Timestamp,
    /// Not any more at this moment; [`Timestamp::MAX`] when there is no end in sight.
    pub(crate) until: Timestamp,
    /// Whether it is a stand-in.
    pub(crate) is_stand_in: bool,
}

impl Rotation {
    /// Reads what is written; fails with all faults as (field, what is wrong).
    pub(crate) fn read(
        config: &RotationConfig,
        own_zone: &TimeZone,
    ) -> Result<Self, Vec<(&'static str, String)>> {
        let mut faults = Vec::new();
        let at = config.at.parse::<Time>().ok().filter(|_| config.at.len() >= 5);
        if at.is_none() {
            faults.push(("at", format!("{:?}: {ADVICE_TIME}", config.at)));
        }
        let starts = config.starts.parse::<Date>().ok().filter(|_| config.starts.len() == 10);
        if starts.is_none() {
            faults.push(("starts", format!("{:?}: {ADVICE_DATE}", config.starts)));
        }
        let zone = match config.time_zone.as_str() {
            "" => Some(own_zone.clone()),
            name => TimeZone::get(name).ok(),
        };
        if zone.is_none() {
            let fault = format!("{:?} is not a time zone of this system", config.time_zone);
            faults.push(("time_zone", fault));
        }
        if config.people.is_empty() || config.people.len() > PEOPLE_MAX {
            faults.push(("people", format!("1 to {PEOPLE_MAX} people take turns")));
        }
        let days = match config.every {
            Every::Day => 1,
            Every::Week => 7,
        };
        match (at, starts, zone) {
            (Some(at), Some(starts), Some(zone)) if faults.is_empty() => {
                Ok(Self { days, at, starts, zone, people: config.people.clone() })
            }
            _ => Err(faults),
        }
    }

    /// When a turn begins; nothing beyond the end of the calendar.
    fn begins(&self, turn: i64) -> Option<Timestamp> {
        let days = turn.checked_mul(self.days)?;
        let date = self.starts.checked_add(jiff::Span::new().try_days(days).ok()?).ok()?;
        let begins = date.to_datetime(self.at).to_zoned(self.zone.clone()).ok()?;
        Some(Timestamp(begins.timestamp().as_millisecond()))
    }

    /// The number of the turn at a moment, 0 for the first; nothing before that.
    fn turn_at(&self, at: Timestamp) -> Option<i64> {
        let local = jiff::Timestamp::from_millisecond(at.0).ok()?.to_zoned(self.zone.clone());
        let days = i64::from(local.date().since(self.starts).ok()?.get_days());
        let mut turn = days.div_euclid(self.days);
        while self.begins(turn)? > at {
            turn -= 1;
        }
        while self.begins(turn + 1).is_some_and(|next| next <= at) {
            turn += 1;
        }
        (turn >= 0).then_some(turn)
    }

    fn person(&self, turn: i64) -> Option<&String> {
        let people = i64::try_from(self.people.len()).ok()?;
        self.people.get(usize::try_from(turn.checked_rem_euclid(people)?).ok()?)
    }

    /// Whose turn it is, without regard to stand-ins.
    fn shift_at(&self, at: Timestamp) -> Shift {
        let Some(turn) = self.turn_at(at) else {
            let until = self.begins(0).filter(|first| *first > at).unwrap_or(Timestamp::MAX);
            return nobody(until);
        };
        let until = self.begins(turn + 1).unwrap_or(Timestamp::MAX);
        let from = self.begins(turn).unwrap_or(Timestamp::MIN);
        Shift { person: self.person(turn).cloned(), from, until, is_stand_in: false }
    }
}

const fn nobody(until: Timestamp) -> Shift {
    Shift { person: None, from: Timestamp::MIN, until, is_stand_in: false }
}

/// Who is on call at a moment, since when and until when.
pub(crate) fn on_call(rotation: Option<&Rotation>, stand_ins: &[StandIn], at: Timestamp) -> Shift {
    let holds = |stand_in: &&StandIn| stand_in.from <= at && at < stand_in.until;
    let holding = stand_ins.iter().filter(holds).max_by_key(|one| (one.made_at, &one.id));
    let mut shift = match holding {
        Some(one) => Shift {
            person: Some(one.person.clone()),
            from: one.from,
            until: one.until,
            is_stand_in: true,
        },
        None => rotation.map_or(nobody(Timestamp::MAX), |rotation| rotation.shift_at(at)),
    };
    // Another one may begin or end within it.
    for moment in stand_ins.iter().flat_map(|one| [one.from, one.until]) {
        if moment > at {
            shift.until = shift.until.min(moment);
        } else {
            shift.from = shift.from.max(moment);
        }
    }
    shift
}

/// Who is on call from one moment to another, in order; what one person does without a break is one shift.
pub(crate) fn schedule(
    rotation: Option<&Rotation>,
    stand_ins: &[StandIn],
    (from, to): (Timestamp, Timestamp),
) -> Vec<Shift> {
    let mut shifts: Vec<Shift> = Vec::new();
    let mut at = from;
    while at < to && shifts.len() < SHIFTS_MAX {
        let shift = on_call(rotation, stand_ins, at);
        at = shift.until;
        match shifts.last_mut() {
            Some(last)
                if (&last.person, last.is_stand_in) == (&shift.person, shift.is_stand_in) =>
            {
                last.until = shift.until;
            }
            _ => shifts.push(shift),
        }
    }
    shifts
}

/// The day a number of days after another, as settings write it.
pub(crate) fn day_after(at: Timestamp, zone: &TimeZone, days: i64) -> String {
    let day = jiff::Timestamp::from_millisecond(at.0)
        .ok()
        .and_then(|at| at.to_zoned(zone.clone()).date().checked_add(days.days()).ok());
    day.map(|day| day.to_string()).unwrap_or_default()
}

/// How far into the future schedules are listed.
pub(crate) const AHEAD: Duration = Duration::from_secs(28 * 86_400);

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn weekly(zone: &str, at: &str, starts: &str, people: &[&str]) -> RotationConfig {
        RotationConfig {
            every: Every::Week,
            at: at.to_owned(),
            starts: starts.to_owned(),
            time_zone: zone.to_owned(),
            people: people.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn daily(zone: &str, at: &str, starts: &str, people: &[&str]) -> RotationConfig {
        RotationConfig { every: Every::Day, ..weekly(zone, at, starts, people) }
    }

    fn read(config: &RotationConfig) -> Rotation {
        Rotation::read(config, &TimeZone::UTC).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    /// Who is on call at each of the moments.
    fn check(config: &RotationConfig, cases: &[(&str, &str)]) {
        let rotation = read(config);
        for (moment, expected) in cases {
            let shift = on_call(Some(&rotation), &[], at(moment));
            assert_eq!(shift.person.as_deref().unwrap_or("-"), *expected, "{moment} {config:?}");
            assert!(shift.from <= at(moment) && at(moment) < shift.until, "{moment}: {shift:?}");
        }
    }

    #[test]
    fn weeks_begin_on_the_day_of_the_week_they_began_with() {
        check(
            &weekly("Asia/Shanghai", "10:00", "2026-01-05", &["ann", "bob", "cyd"]),
            &[
                ("2026-01-05T01:59:59Z", "-"),
                ("2026-01-05T02:00:00Z", "ann"),
                ("2026-01-12T01:59:59.999Z", "ann"),
                ("2026-01-12T02:00:00Z", "bob"),
                ("2026-01-19T02:00:00Z", "cyd"),
                ("2026-01-26T02:00:00Z", "ann"),
                // A year later, over a leap week of the ISO calendar.
                ("2027-01-04T02:00:00Z", "bob"),
            ],
        );
    }

    #[test]
    fn the_hand_over_follows_the_clock_on_the_wall_when_summer_begins_and_ends() {
        check(
            &daily("Europe/Berlin", "09:00", "2026-03-27", &["ann", "bob"]),
            &[
                ("2026-03-27T08:00:00Z", "ann"),
                ("2026-03-28T07:59:59Z", "ann"),
                ("2026-03-28T08:00:00Z", "bob"),
                // 23 hours later: summer has begun.
                ("2026-03-29T06:59:59Z", "bob"),
                ("2026-03-29T07:00:00Z", "ann"),
                ("2026-03-30T07:00:00Z", "bob"),
            ],
        );
        check(
            &daily("America/New_York", "09:00", "2026-10-31", &["ann", "bob"]),
            &[
                ("2026-10-31T13:00:00Z", "ann"),
                // 25 hours later: summer is over.
                ("2026-11-01T13:59:59Z", "ann"),
                ("2026-11-01T14:00:00Z", "bob"),
                ("2026-11-02T14:00:00Z", "ann"),
            ],
        );
    }

    #[test]
    fn an_hour_that_is_skipped_or_there_twice_hands_over_once() {
        // 02:30 does not exist on the 29th of March: an hour later it is.
        check(
            &daily("Europe/Berlin", "02:30", "2026-03-28", &["ann", "bob", "cyd"]),
            &[
                ("2026-03-28T01:30:00Z", "ann"),
                ("2026-03-29T01:29:59Z", "ann"),
                ("2026-03-29T01:30:00Z", "bob"),
                ("2026-03-30T00:29:59Z", "bob"),
                ("2026-03-30T00:30:00Z", "cyd"),
            ],
        );
        // 02:30 is there twice on the 25th of October: the first counts.
        check(
            &daily("Europe/Berlin", "02:30", "2026-10-24", &["ann", "bob", "cyd"]),
            &[
                ("2026-10-25T00:29:59Z", "ann"),
                ("2026-10-25T00:30:00Z", "bob"),
                ("2026-10-25T01:30:00Z", "bob"),
                ("2026-10-26T01:29:59Z", "bob"),
                ("2026-10-26T01:30:00Z", "cyd"),
            ],
        );
    }

    #[test]
    fn half_hour_zones_and_a_day_that_never_was_are_counted_through() {
        // Lord Howe moves its clocks by half an hour.
        check(
            &daily("Australia/Lord_Howe", "08:00", "2026-04-04", &["ann", "bob"]),
            &[
                ("2026-04-04T20:59:59Z", "ann"),
                ("2026-04-04T21:30:00Z", "bob"),
                ("2026-04-05T21:30:00Z", "ann"),
            ],
        );
        // Samoa had no 30th of December 2011: whose turn it was passes at once.
        check(
            &daily("Pacific/Apia", "09:00", "2011-12-29", &["ann", "bob", "cyd"]),
            &[("2011-12-30T18:59:59Z", "ann"), ("2011-12-30T19:00:00Z", "cyd")],
        );
    }

    fn stand_in(id: &str, person: &str, from: &str, until: &str, made_at: i64) -> StandIn {
        let made_at = Timestamp(made_at);
        StandIn { id: id.into(), person: person.into(), from: at(from), until: at(until), made_at }
    }

    #[test]
    fn a_stand_in_takes_a_span_and_the_one_made_last_counts() {
        let rotation = read(&weekly("UTC", "09:00", "2026-01-05", &["ann", "bob"]));
        let stand_ins = [
            stand_in("a", "cyd", "2026-01-06T00:00:00Z", "2026-01-08T00:00:00Z", 1),
            stand_in("b", "dan", "2026-01-07T00:00:00Z", "2026-01-07T12:00:00Z", 2),
        ];
        let span = (at("2026-01-05T10:00:00Z"), at("2026-01-13T00:00:00Z"));
        let shifts: Vec<_> = schedule(Some(&rotation), &stand_ins, span)
            .into_iter()
            .map(|shift| (shift.person.unwrap_or_default(), shift.until.rfc3339()))
            .collect();
        let expected = [
            ("ann", "2026-01-06T00:00:00.000Z"),
            ("cyd", "2026-01-07T00:00:00.000Z"),
            ("dan", "2026-01-07T12:00:00.000Z"),
            ("cyd", "2026-01-08T00:00:00.000Z"),
            ("ann", "2026-01-12T09:00:00.000Z"),
            ("bob", "2026-01-19T09:00:00.000Z"),
        ];
        let expected: Vec<_> =
            expected.map(|(who, until)| (who.to_owned(), until.to_owned())).into();
        assert_eq!(shifts, expected);
        let alone = on_call(None, &stand_ins, at("2026-01-06T01:00:00Z"));
        assert_eq!((alone.person.as_deref(), alone.is_stand_in), (Some("cyd"), true));
        assert_eq!(on_call(None, &[], at("2026-01-06T01:00:00Z")).person, None);
    }

    #[test]
    fn every_fault_is_named_with_its_field() {
        let faulty = weekly("Mars/Olympus", "9", "05.01.2026", &[]);
        let faults = Rotation::read(&faulty, &TimeZone::UTC).unwrap_err();
        let fields: Vec<_> = faults.iter().map(|(field, _)| *field).collect();
        assert_eq!(fields, ["at", "starts", "time_zone", "people"]);
    }

    proptest! {
        #[test]
        fn somebody_is_on_call_at_every_moment_and_the_next_begins_where_one_ends(
            zone in prop::sample::select(vec![
                "Europe/Berlin", "America/New_York", "Asia/Shanghai", "Pacific/Apia",
                "Australia/Lord_Howe", "America/Sao_Paulo", "Africa/Casablanca",
            ]),
            hour in 0u8..24, minute in 0u8..60, is_week: bool, people in 1usize..5,
            at in 1_000_000_000_000i64..2_200_000_000_000,
        ) {
            let names: Vec<String> = (0..people).map(|n| format!("p{n}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let mut config = weekly(zone, &format!("{hour:02}:{minute:02}"), "2001-01-01", &names);
            if !is_week {
                config.every = Every::Day;
            }
            let rotation = read(&config);
            let shift = on_call(Some(&rotation), &[], Timestamp(at));
            prop_assert!(shift.person.is_some());
            prop_assert!(shift.from <= Timestamp(at) && Timestamp(at) < shift.until);
            let next = on_call(Some(&rotation), &[], shift.until);
            prop_assert_eq!(next.from, shift.until);
        }

        #[test]
        fn whatever_is_written_is_read_or_refused(at: String, starts: String, zone: String) {
            let mut config = weekly("", "09:00", "2026-01-05", &["ann"]);
            (config.at, config.starts, config.time_zone) = (at, starts, zone);
            if let Ok(rotation) = Rotation::read(&config, &TimeZone::UTC) {
                on_call(Some(&rotation), &[], Timestamp(1_760_000_000_000));
            }
        }
    }
}
