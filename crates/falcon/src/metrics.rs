//! Whether a metric is a gauge or a counter, and how far apart its samples are: the portal database does
//! not say, but what a rule means depends on it.

use std::collections::BTreeMap;

use crate::portal::{Counter, Portal};

/// Metrics of Open-Falcon's agents that are counters: names, or beginnings of names that end in a dot.
const COUNTERS: [&str; 16] = [
    "cpu.switches",
    "disk.io.read_requests",
    "disk.io.read_merged",
    "disk.io.read_sectors",
    "disk.io.msec_read",
    "disk.io.write_requests",
    "disk.io.write_merged",
    "disk.io.write_sectors",
    "disk.io.msec_write",
    "disk.io.ios_in_progress",
    "disk.io.msec_total",
    "disk.io.msec_weighted_total",
    "net.if.",
    "TcpExt.",
    "TcpPkg.",
    "snmp.Udp.",
];
/// Gauges among what [`COUNTERS`] covers.
const GAUGES_AMONG: [&str; 2] = ["net.if.speed.bits", "TcpExt.TCPFastRetransRate"];
/// Other metrics of the agents; all gauges.
const GAUGES: [&str; 17] = [
    "cpu.",
    "percore.",
    "host.cpucores",
    "load.",
    "mem.",
    "disk.io.",
    "df.",
    "kernel.",
    "ss.",
    "agent.",
    "agent_version",
    "gpu.",
    "sys.",
    "proc.",
    "net.port.listen",
    "du.bs",
    "url.check.health",
];
/// Names that were misspelt there and are right here.
const RENAMED: [(&str, &str); 1] = [("mem.memavaiable.percent", "mem.memavailable.percent")];

/// What is known of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    /// Whether a rate is wanted rather than the value.
    pub(crate) is_counter: bool,
    /// Seconds between two samples.
    pub(crate) step: i64,
    /// Who says so.
    pub(crate) from: Source,
    /// Whether its series have different steps or kinds.
    pub(crate) is_mixed: bool,
}

/// Who says what a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// What was stored of it.
    Stored,
    /// It is a metric of the agents.
    Agent,
    /// Nobody: it is taken for a gauge.
    Assumed,
}

/// What is known of all metrics.
#[derive(Debug)]
pub(crate) struct Metrics<'a> {
    stored: BTreeMap<&'a str, Known>,
    step_default: i64,
}

impl<'a> Metrics<'a> {
    /// Of what the export knows; others have the step that is given.
    pub(crate) fn new(portal: &'a Portal, step_default: i64) -> Self {
        let mut stored: BTreeMap<&str, Known> = BTreeMap::new();
        for Counter { metric, is_counter, step } in &portal.counters {
            let (is_counter, step) = (*is_counter, *step);
            let new = Known { is_counter, step, from: Source::Stored, is_mixed: false };
            let known = stored.entry(metric).or_insert(new);
            known.is_mixed |= (known.is_counter, known.step) != (is_counter, step);
            // A window for the longer step holds enough samples of the shorter one too.
            known.step = known.step.max(step);
            known.is_counter |= is_counter;
        }
        Self { stored, step_default }
    }

    /// What is known of one.
    pub(crate) fn of(&self, metric: &str) -> Known {
        if let Some(known) = self.stored.get(metric) {
            return *known;
        }
        let is_in = |list: &[&str]| {
            let fits =
                |name: &&str| *name == metric || (name.ends_with('.') && metric.starts_with(*name));
            list.iter().any(fits)
        };
        let is_counter = is_in(&COUNTERS) && !is_in(&GAUGES_AMONG);
        let is_of_agent = is_counter || is_in(&GAUGES_AMONG) || is_in(&GAUGES);
        let from = if is_of_agent { Source::Agent } else { Source::Assumed };
        Known { is_counter, step: self.step_default, from, is_mixed: false }
    }
}

/// The right name of a metric that was misspelt.
pub(crate) fn renamed(metric: &str) -> Option<&'static str> {
    RENAMED.iter().find(|(wrong, _)| *wrong == metric).map(|(_, right)| *right)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_metrics_of_the_agents_are_known() {
        let portal = Portal::default();
        let metrics = Metrics::new(&portal, 60);
        for (metric, is_counter, from) in [
            ("cpu.idle", false, Source::Agent),
            ("cpu.switches", true, Source::Agent),
            ("disk.io.util", false, Source::Agent),
            ("net.if.in.bytes", true, Source::Agent),
            ("net.if.speed.bits", false, Source::Agent),
            ("TcpExt.TCPFastRetransRate", false, Source::Agent),
            ("TcpExt.ListenDrops", true, Source::Agent),
            ("order.latency", false, Source::Assumed),
            ("cpu.switchesx", false, Source::Agent),
        ] {
            let known = metrics.of(metric);
            assert_eq!((known.is_counter, known.from), (is_counter, from), "{metric}");
        }
        assert_eq!(renamed("mem.memavaiable.percent"), Some("mem.memavailable.percent"));
    }

    #[test]
    fn what_was_stored_goes_before_and_the_longest_step_counts() {
        let rows = json!({ "endpoint_counter": [
            { "counter": "qps/module=cart", "type": "COUNTER", "step": 30 },
            { "counter": "qps/module=pay", "type": "COUNTER", "step": 60 },
            { "counter": "cpu.idle", "type": "GAUGE", "step": 10 },
        ]});
        let (portal, faults) = Portal::read(&rows).unwrap();
        assert_eq!(faults, []);
        let metrics = Metrics::new(&portal, 60);
        let expected = Known { is_counter: true, step: 60, from: Source::Stored, is_mixed: true };
        assert_eq!(metrics.of("qps"), expected);
        assert_eq!((metrics.of("cpu.idle").step, metrics.of("mem.memfree").step), (10, 60));
    }
}
