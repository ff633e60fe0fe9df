//! Every metric of the catalogue with its value on this host, or the reason why it has none. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use model::canonical_name;

use crate::catalogue::{Group, Metric};
use crate::config::Config;
use crate::rounds::Found;

/// What was measured on this host, against the whole catalogue.
#[derive(Debug, Clone, PartialEq)]
pub struct Inventory {
    /// A row a metric, in the order of the catalogue.
    pub rows: Vec<Row>,
}

/// One metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its group.
    pub group: Group,
    /// How often it is measured.
    pub interval: Duration,
    /// The metric.
    pub metric: &'static Metric,
    /// What it says.
    pub state: State,
}

/// What a metric says on this host.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// It has series.
    Present {
        /// How many.
        series: usize,
        /// The value of the first.
        value: f64,
    },
    /// It has none, and this is how the host is.
    Absent(String),
    /// It has none although it should: the collector failed, or found nothing where every host has something.
    Faulty(String),
}

impl Inventory {
    /// Compares what was `found` with the catalogue. `faults` tells which collectors failed, and why.
    pub fn new(config: &Config, found: &[Found], faults: &BTreeMap<Group, String>) -> Self {
        let on: BTreeMap<_, _> = config.enabled_groups().into_iter().collect();
        let mut rows = Vec::new();
        for group in Group::ALL {
            let values = values(group, found);
            for (metric, _) in group.metrics() {
                let state = match values.get(canonical_name(metric.original).as_str()) {
                    Some(&(series, value)) => State::Present { series, value },
                    None if !on.contains_key(&group) => State::Absent(off(group)),
                    None => missing(group, metric, faults.get(&group)),
                };
                let interval = on.get(&group).copied().unwrap_or(group.interval());
                rows.push(Row { group, interval, metric, state });
            }
        }
        Self { rows }
    }

    /// Whether nothing is missing that this host should have.
    pub fn is_whole(&self) -> bool {
        !self.rows.iter().any(|row| matches!(row.state, State::Faulty(_)))
    }
}

fn values(group: Group, found: &[Found]) -> BTreeMap<&str, (usize, f64)> {
    let mut values = BTreeMap::new();
    let readings = found.iter().filter(|found| found.group == group).flat_map(|f| &f.readings);
    for reading in readings {
        values.entry(reading.labels.metric_name()).or_insert((0, reading.value)).0 += 1;
    }
    values
}

fn off(group: Group) -> String {
    format!("switched off; [groups.{}] enabled = true switches it on", group.as_str())
}

// A collector that failed may have failed before it came to this metric, so its fault goes first.
fn missing(group: Group, metric: &Metric, fault: Option<&String>) -> State {
    match (fault, metric.needs, group.needs()) {
        (Some(fault), _, _) => State::Faulty(fault.clone()),
        (None, "", "") => State::Faulty("not found in the kernel's tables".to_owned()),
        (None, "", needs) | (None, needs, "") => State::Absent(format!("needs {needs}")),
        (None, needs, _) => State::Absent(format!("needs {needs}")),
    }
}

impl fmt::Display for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<11} {:<29} {:>5} {:>6}  value", "group", "metric", "every", "series")?;
        for Row { group, interval, metric, state } in &self.rows {
            let every = model::format_duration(*interval);
            write!(f, "{:<11} {:<29} {every:>5} ", group.as_str(), metric.original)?;
            match state {
                State::Present { series, value } => writeln!(f, "{series:>6}  {value}")?,
                State::Absent(why) => writeln!(f, "{:>6}  - {why}", 0)?,
                State::Faulty(why) => writeln!(f, "{:>6}  FAULT {why}", 0)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use model::Labels;

    use super::*;
    use crate::collect::Reading;

    fn found(group: Group, names: &[&str]) -> Found {
        let readings = names
            .iter()
            .map(|name| Reading { labels: Labels::from_pairs([("__name__", *name)]), value: 2.5 });
        Found { group, interval: group.interval(), readings: readings.collect() }
    }

    fn state(found: &[Found], faults: &[(Group, &str)], metric: &str) -> State {
        let faults = faults.iter().map(|(group, why)| (*group, (*why).to_owned())).collect();
        let inventory = Inventory::new(&Config::default(), found, &faults);
        let row = inventory.rows.into_iter().find(|row| row.metric.original == metric);
        row.expect("the metric is in the catalogue").state
    }

    fn absent(why: &str) -> State {
        State::Absent(why.to_owned())
    }

    #[test]
    fn a_metric_with_series_shows_how_many_and_the_first() {
        let found = [found(Group::Disk, &["disk_io_util", "disk_io_util"])];
        let expected = State::Present { series: 2, value: 2.5 };
        assert_eq!(state(&found, &[], "disk.io.util"), expected);
    }

    #[test]
    fn a_metric_without_series_has_the_nearest_reason() {
        let off = "switched off; [groups.percore] enabled = true switches it on";
        assert_eq!(state(&[], &[], "percore.idle"), absent(off));
        assert_eq!(state(&[], &[], "mem.memavailable"), absent("needs Linux 3.14 or newer"));
        assert_eq!(state(&[], &[], "disk.io.util"), absent("needs a disk of this host's own"));
        let limit = "needs a container with a memory limit";
        assert_eq!(state(&[], &[], "cgroup.memory.limit"), absent(limit));
        let faults = [(Group::Memory, "read /proc/meminfo: permission denied")];
        let fault = State::Faulty("read /proc/meminfo: permission denied".to_owned());
        assert_eq!(state(&[], &faults, "mem.memavailable"), fault);
    }

    #[test]
    fn what_every_host_has_is_missed() {
        assert!(matches!(state(&[], &[], "load.1min"), State::Faulty(_)));
        assert!(!Inventory::new(&Config::default(), &[], &BTreeMap::new()).is_whole());
    }

    #[test]
    fn every_row_of_the_table_says_something() {
        let found = [found(Group::Load, &["load_1min"])];
        let inventory = Inventory::new(&Config::default(), &found, &BTreeMap::new());
        let table = inventory.to_string();
        assert_eq!(table.lines().count(), inventory.rows.len() + 1);
        assert!(table.contains("load        load.1min"), "{table}");
        assert!(table.contains("- needs a disk of this host's own"), "{table}");
        assert!(table.contains("FAULT not found in the kernel's tables"), "{table}");
    }
}
