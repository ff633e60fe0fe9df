//! `time_intervals` and `mute_time_intervals` of the file.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{Reader, line_of};
use crate::times::{self, Interval, Range};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IntervalSpec {
    name: String,
    #[serde(default)]
    time_intervals: Option<Vec<Spanned<FieldsSpec>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldsSpec {
    #[serde(default)]
    times: Option<Vec<TimeSpec>>,
    #[serde(default)]
    weekdays: Option<Vec<Word>>,
    #[serde(default)]
    days_of_month: Option<Vec<Word>>,
    #[serde(default)]
    months: Option<Vec<Word>>,
    #[serde(default)]
    years: Option<Vec<Word>>,
    #[serde(default)]
    location: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TimeSpec {
    start_time: String,
    end_time: String,
}

/// YAML reads `2026` and `1` as numbers.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Word {
    Number(i64),
    Text(String),
}

impl Word {
    fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

impl Reader {
    pub(super) fn intervals(
        &mut self,
        specs: Vec<Spanned<IntervalSpec>>,
    ) -> BTreeMap<String, Vec<Interval>> {
        let mut intervals = BTreeMap::new();
        for spec in specs {
            let (line, IntervalSpec { name, time_intervals }) = (line_of(&spec), spec.value);
            if name.is_empty() {
                self.fault(line, "a time interval has no name");
            }
            let fields = time_intervals.unwrap_or_default();
            let read =
                fields.into_iter().filter_map(|fields| self.interval(&name, fields)).collect();
            if intervals.insert(name.clone(), read).is_some() {
                self.fault(line, format!("time interval {name:?} is there twice"));
            }
        }
        intervals
    }

    fn interval(&mut self, name: &str, spec: Spanned<FieldsSpec>) -> Option<Interval> {
        let (line, spec) = (line_of(&spec), spec.value);
        let what = format!("time interval {name:?}");
        let times: Option<Vec<Range>> = spec
            .times
            .unwrap_or_default()
            .iter()
            .map(|t| self.take(line, &what, times::time_range(&t.start_time, &t.end_time)))
            .collect();
        let mut ranges = |words: Option<Vec<Word>>, read: fn(&str) -> Result<Range, String>| {
            let words = words.unwrap_or_default();
            let read = words.iter().map(|word| self.take(line, &what, read(&word.text())));
            read.collect::<Option<Vec<Range>>>()
        };
        let weekdays = ranges(spec.weekdays, times::weekdays);
        let days_of_month = ranges(spec.days_of_month, times::days_of_month);
        let months = ranges(spec.months, times::months);
        let years = ranges(spec.years, times::years);
        let location = spec.location.unwrap_or_default();
        let zone = self.take(line, &what, times::location(&location))?;
        Some(Interval {
            times: times?,
            weekdays: weekdays?,
            days_of_month: days_of_month?,
            months: months?,
            years: years?,
            zone,
        })
    }
}
