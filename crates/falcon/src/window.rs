//! The hours of the day in which a rule works.

/// From one minute of the day to another that is left out; past midnight when it is not greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DayWindow {
    from: u32,
    to: u32,
}

const DAY_MINUTES: u32 = 24 * 60;

/// The window of `run_begin` and `run_end`; `None` for the whole day. The original's last minute still
/// belongs to it, and an end that is left out is that of the day.
pub(crate) fn day_window(begin: &str, end: &str) -> Result<Option<DayWindow>, String> {
    let from = if begin.is_empty() { 0 } else { minute(begin)? };
    let last = if end.is_empty() { DAY_MINUTES - 1 } else { minute(end)? };
    let to = last + 1;
    let is_whole_day = from == to % DAY_MINUTES;
    Ok((!is_whole_day).then_some(DayWindow { from, to }))
}

fn minute(text: &str) -> Result<u32, String> {
    let fault = || format!("{text:?} is no time of the day as HH:MM");
    let (hours, minutes) = text.split_once(':').ok_or_else(fault)?;
    let number = |text: &str, most: u32| {
        let is_plain = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|number: &u32| is_plain && *number < most).ok_or_else(fault)
    };
    Ok(number(hours, 24)? * 60 + number(minutes, 60)?)
}

impl DayWindow {
    /// Its first minute, and the one behind its last, as `HH:MM`.
    pub(crate) fn texts(self) -> (String, String) {
        let text = |minute: u32| format!("{:02}:{:02}", minute / 60, minute % 60);
        (text(self.from), text(self.to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_minute_of_the_original_belongs_to_the_window() {
        for (begin, end, expected) in [
            ("09:00", "18:00", Some(("09:00", "18:01"))),
            ("9:05", "", Some(("09:05", "24:00"))),
            ("", "05:59", Some(("00:00", "06:00"))),
            ("22:00", "06:00", Some(("22:00", "06:01"))),
            ("09:00", "23:59", Some(("09:00", "24:00"))),
            ("", "", None),
            ("00:00", "23:59", None),
            ("12:00", "11:59", None),
        ] {
            let expected = expected.map(|(from, to)| (from.to_owned(), to.to_owned()));
            let window = day_window(begin, end).unwrap().map(DayWindow::texts);
            assert_eq!(window, expected, "{begin} {end}");
        }
    }

    #[test]
    fn what_is_no_time_is_told() {
        for (begin, end) in
            [("24:00", ""), ("", "1:60"), ("noon", ""), ("+1:00", ""), ("001:00", "")]
        {
            assert!(day_window(begin, end).is_err(), "{begin} {end}");
        }
    }
}
