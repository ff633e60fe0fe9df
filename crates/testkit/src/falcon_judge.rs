//! A straightforward model of the original judge, from its documented behaviour: the newest points of
//! one series, one rule, and the events that come of it.

use std::collections::VecDeque;

/// Points kept of a series. The original keeps 11 unless told otherwise; the model keeps enough for
/// every rule of the tests, since one that never fires is remarked by the import and not compared.
const POINTS_KEPT: usize = 64;
/// Seconds between two messages of one trouble.
const INTERVAL_MIN: i64 = 300;

/// A rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its function.
    pub name: &'static str,
    /// `(#points)` or `(#first,points)`.
    pub first: usize,
    /// The points it looks at.
    pub points: usize,
    /// How a value is compared with the threshold.
    pub operator: &'static str,
    /// With what it is compared.
    pub threshold: f64,
    /// Messages of one trouble.
    pub max_step: u32,
}

impl Rule {
    /// As the portal database has it.
    pub fn function(&self) -> String {
        match self.name {
            "lookup" | "kdiff" => format!("{}(#{},{})", self.name, self.first, self.points),
            name => format!("{name}(#{})", self.points),
        }
    }

    /// How many values it looks at.
    pub fn needs(&self) -> usize {
        match self.name {
            "diff" | "pdiff" => self.points + 1,
            "kdiff" => self.points + self.first,
            _ => self.points,
        }
    }

    fn holds(&self, value: f64) -> bool {
        match self.operator {
            ">" => value > self.threshold,
            ">=" => value >= self.threshold,
            "<" => value < self.threshold,
            "<=" => value <= self.threshold,
            "=" | "==" => (value - self.threshold).abs() < 0.0001,
            "!=" => (value - self.threshold).abs() > 0.0001,
            operator => panic!("no rule has the operator {operator}"),
        }
    }

    /// Whether the newest values, newest first, are trouble.
    pub fn is_trouble(&self, values: &[f64]) -> bool {
        let (newest, last) = (values[0], &values[..self.points]);
        let count = last.len() as f64;
        let mean = last.iter().sum::<f64>() / count;
        match self.name {
            "all" => last.iter().all(|value| self.holds(*value)),
            "max" => self.holds(last.iter().copied().fold(f64::MIN, f64::max)),
            "min" => self.holds(last.iter().copied().fold(f64::MAX, f64::min)),
            "sum" => self.holds(last.iter().sum()),
            "avg" => self.holds(mean),
            "lookup" => last.iter().filter(|value| self.holds(**value)).count() >= self.first,
            "diff" => values[1..=self.points].iter().any(|old| self.holds(newest - old)),
            "pdiff" => values[1..=self.points]
                .iter()
                .filter(|old| **old != 0.0)
                .any(|old| self.holds((newest - old) / old * 100.0)),
            "stddev" => {
                let variance = last.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
                (newest - mean).abs() > self.threshold * variance.sqrt()
            }
            "kdiff" => {
                let before = &values[self.points..self.points + self.first];
                last.iter().all(|new| before.iter().all(|old| self.holds(new - old)))
            }
            name => panic!("no rule has the function {name}"),
        }
    }

    /// Whether rounding alone may decide: the value compared is the threshold but for an error of
    /// computation.
    pub fn is_tie(&self, values: &[f64]) -> bool {
        let last = &values[..self.points];
        let count = last.len() as f64;
        let mean = last.iter().sum::<f64>() / count;
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0);
        match self.name {
            "sum" => near(mean * count, self.threshold),
            "avg" => near(mean, self.threshold),
            "stddev" => {
                let variance = last.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
                near((values[0] - mean).abs(), self.threshold * variance.sqrt())
            }
            _ => false,
        }
    }
}

/// What a sample brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Trouble; the number is the message's.
    Problem(u32),
    /// The end of it.
    Ok,
}

/// What a sample was taken for.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// `None` when there are too few points.
    pub trouble: Option<bool>,
    /// The values that were looked at, newest first.
    pub values: Vec<f64>,
    /// What people are told.
    pub event: Option<Event>,
}

/// One series and one rule.
#[derive(Debug)]
pub struct Judge {
    rule: Rule,
    is_counter: bool,
    /// Time and value, newest first.
    points: VecDeque<(i64, f64)>,
    last: Option<(Event, i64)>,
}

impl Judge {
    /// A series without samples.
    pub fn new(rule: Rule, is_counter: bool) -> Self {
        Self { rule, is_counter, points: VecDeque::new(), last: None }
    }

    /// Takes a sample.
    pub fn take(&mut self, time: i64, value: f64) -> Judged {
        self.points.push_front((time, value));
        self.points.truncate(POINTS_KEPT);
        let points: Vec<(i64, f64)> = self.points.iter().copied().collect();
        let values: Vec<f64> = if self.is_counter {
            let rate =
                |pair: &[(i64, f64)]| (pair[0].1 - pair[1].1) / (pair[0].0 - pair[1].0) as f64;
            points.windows(2).map(rate).collect()
        } else {
            points.iter().map(|(_, value)| *value).collect()
        };
        let needs = self.rule.needs();
        if values.len() < needs {
            return Judged { trouble: None, values: Vec::new(), event: None };
        }
        let values = values[..needs].to_vec();
        let trouble = self.rule.is_trouble(&values);
        let event = self.event(trouble, time, points[needs - 1].0);
        Judged { trouble: Some(trouble), values, event }
    }

    fn event(&mut self, trouble: bool, now: i64, oldest: i64) -> Option<Event> {
        let event = match (trouble, self.last) {
            (true, None | Some((Event::Ok, _))) => {
                // With max_step 0 the trouble is remembered and nobody is told.
                self.last = Some((Event::Problem(u32::from(self.rule.max_step > 0)), now));
                (self.rule.max_step > 0).then_some(Event::Problem(1))
            }
            (true, Some((Event::Problem(step), at))) => {
                let is_due = step < self.rule.max_step && oldest > at && now - at >= INTERVAL_MIN;
                is_due.then_some(Event::Problem(step + 1))
            }
            (false, Some((Event::Problem(_), _))) => Some(Event::Ok),
            (false, _) => None,
        };
        if let Some(event) = event {
            self.last = Some((event, now));
        }
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_and_spaced_as_documented() {
        let rule =
            Rule { name: "all", first: 0, points: 1, operator: ">", threshold: 0.0, max_step: 2 };
        let mut judge = Judge::new(rule, false);
        let values =
            [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0];
        let events: Vec<(usize, Event)> = values
            .iter()
            .enumerate()
            .filter_map(|(at, value)| Some((at, judge.take(60 * at as i64, *value).event?)))
            .collect();
        let (problem, ok) = (Event::Problem, Event::Ok);
        assert_eq!(events, [(1, problem(1)), (6, problem(2)), (14, ok), (15, problem(1))]);
    }
}
