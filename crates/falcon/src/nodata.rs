//! Values that were pushed in the place of missing samples, and what they made of a rule.

use std::collections::{BTreeMap, BTreeSet};

use crate::function::{Function, Operator};
use crate::portal::{NoData, NoDataKind, Portal};
use crate::series::labels_of;

/// The shortest silence after which a value was pushed, and how many steps it is at least.
const SILENCE_SECONDS: i64 = 180;
const SILENCE_STEPS: i64 = 3;

/// What becomes of a rule whose series are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Missing {
    /// Nothing: the original evaluated only when a sample came.
    Keep,
    /// The pushed value was a good one, and ended the alert.
    Ok,
    /// The pushed value was a bad one. Seconds after the last sample until it had told so.
    Alert(i64),
}

/// The values that were pushed, by metric.
#[derive(Debug)]
pub(crate) struct Pushed<'p> {
    by_metric: BTreeMap<&'p str, Vec<Mock<'p>>>,
}

#[derive(Debug)]
struct Mock<'p> {
    config: &'p NoData,
    tags: BTreeMap<String, String>,
    endpoints: BTreeSet<&'p str>,
}

impl<'p> Pushed<'p> {
    pub(crate) fn new(portal: &'p Portal) -> Self {
        let groups: BTreeMap<&str, i64> =
            portal.groups.iter().map(|(id, name)| (name.as_str(), *id)).collect();
        let mut by_metric: BTreeMap<&str, Vec<Mock<'_>>> = BTreeMap::new();
        for config in &portal.nodata {
            let objects = config.objects.iter().map(String::as_str);
            let endpoints = match config.kind {
                NoDataKind::Hosts | NoDataKind::Other => objects.collect(),
                NoDataKind::Groups => objects
                    .filter_map(|name| groups.get(name))
                    .flat_map(|group| portal.hosts_of(*group))
                    .collect(),
            };
            let mock = Mock { config, tags: labels_of(&config.tags), endpoints };
            by_metric.entry(&config.metric).or_default().push(mock);
        }
        for mocks in by_metric.values_mut() {
            // What names hosts goes before what names groups.
            mocks.sort_by_key(|mock| (mock.config.kind == NoDataKind::Groups, mock.config.id));
        }
        Self { by_metric }
    }

    /// The configuration that pushed values into the series of a rule on this endpoint.
    pub(crate) fn on(&self, metric: &str, tags: &str, endpoint: &str) -> Option<&'p NoData> {
        let of_rule = self.of_rule(metric, tags);
        of_rule.into_iter().find(|mock| mock.endpoints.contains(endpoint)).map(|mock| mock.config)
    }

    /// Those that may have pushed values into series of a rule.
    pub(crate) fn any(&self, metric: &str, tags: &str) -> Vec<&'p NoData> {
        self.of_rule(metric, tags).into_iter().map(|mock| mock.config).collect()
    }

    fn of_rule(&self, metric: &str, tags: &str) -> Vec<&Mock<'p>> {
        let wanted = labels_of(tags);
        let has_all = |mock: &&Mock<'_>| {
            wanted.iter().all(|(name, value)| mock.tags.get(name) == Some(value))
        };
        self.by_metric.get(metric).into_iter().flatten().filter(has_all).collect()
    }
}

/// What the pushed values made of a rule.
pub(crate) fn missing(
    config: &NoData,
    function: Function,
    operator: Operator,
    threshold: f64,
) -> Missing {
    if !fires_on(config.value, function, operator, threshold) {
        return Missing::Ok;
    }
    let silence = SILENCE_SECONDS.max(SILENCE_STEPS * config.step);
    Missing::Alert(silence + (function.needs() - 1) * config.step)
}

/// Whether a rule fires when every one of its points has this value.
fn fires_on(value: f64, function: Function, operator: Operator, threshold: f64) -> bool {
    let holds = |value: f64| operator.holds(value, threshold);
    match function {
        Function::All { .. }
        | Function::Max { .. }
        | Function::Min { .. }
        | Function::Avg { .. } => holds(value),
        Function::Sum { points } => holds(value * points as f64),
        Function::Lookup { hits, points } => hits <= points && holds(value),
        Function::Diff { .. } | Function::KDiff { .. } => holds(0.0),
        Function::PDiff { .. } => value != 0.0 && holds(0.0),
        Function::StdDev { .. } => threshold < 0.0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn portal() -> Portal {
        let export = json!({
            "mockcfg": [
                { "id": 1, "obj_type": "group", "obj": "web\nnone", "metric": "agent.alive",
                  "step": 60, "mock": "-1" },
                { "id": 2, "obj_type": "host", "obj": "a\r\n\r\nx", "metric": "agent.alive",
                  "step": 60, "mock": 1 },
                { "id": 3, "obj_type": "other", "obj": "cluster", "metric": "qps", "tags": "m=a,n=b",
                  "step": 60, "mock": 0 },
            ],
            "grp": [{ "id": 1, "grp_name": "web" }],
            "host": [{ "id": 1, "hostname": "a" }, { "id": 2, "hostname": "b" }],
            "grp_host": [{ "grp_id": 1, "host_id": 1 }, { "grp_id": 1, "host_id": 2 }],
        });
        Portal::read(&export).unwrap().0
    }

    #[test]
    fn what_names_a_host_goes_before_what_names_its_group() {
        let portal = portal();
        let pushed = Pushed::new(&portal);
        let on = |metric, tags, endpoint| pushed.on(metric, tags, endpoint).map(|config| config.id);
        assert_eq!(on("agent.alive", "", "a"), Some(2));
        assert_eq!(on("agent.alive", "", "b"), Some(1));
        assert_eq!(on("agent.alive", "k=v", "b"), None);
        assert_eq!(on("qps", "m=a", "cluster"), Some(3));
        assert_eq!(on("qps", "m=b", "cluster"), None);
    }

    #[test]
    fn a_bad_value_alerts_after_the_silence_and_the_points_that_it_takes() {
        let portal = portal();
        let config = &portal.nodata[0];
        let missing = |function: &str, operator, threshold| {
            missing(config, Function::parse(function).unwrap(), operator, threshold)
        };
        assert_eq!(missing("all(#3)", Operator::Equal, -1.0), Missing::Alert(300));
        assert_eq!(missing("all(#3)", Operator::Greater, 0.0), Missing::Ok);
        assert_eq!(missing("sum(#2)", Operator::LessOrEqual, -2.0), Missing::Alert(240));
        assert_eq!(missing("diff(#2)", Operator::Less, 0.0), Missing::Ok);
        assert_eq!(missing("lookup(#3,2)", Operator::Less, 0.0), Missing::Ok);
        assert_eq!(missing("pdiff(#1)", Operator::LessOrEqual, 0.0), Missing::Alert(240));
        assert_eq!(missing("stddev(#3)", Operator::Less, 0.0), Missing::Ok);
    }
}
