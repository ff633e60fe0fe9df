//! The series that a rule looks at, and the pieces of PromQL that speak of its last samples.

use std::collections::{BTreeMap, BTreeSet};

use model::{ENDPOINT, METRIC_NAME, canonical_name};
use wire::falcon_json::label_name;

/// A sample older than this is no value of its series any more, in the engine as in Prometheus.
const LOOKBACK_SECONDS: i64 = 300;

/// Words that PromQL may take for something else than a metric; case does not matter.
const RESERVED: [&str; 32] = [
    "and",
    "atan2",
    "avg",
    "bool",
    "bottomk",
    "by",
    "count",
    "count_values",
    "end",
    "group",
    "group_left",
    "group_right",
    "ignoring",
    "inf",
    "limit_ratio",
    "limitk",
    "max",
    "min",
    "nan",
    "offset",
    "on",
    "or",
    "quantile",
    "start",
    "stddev",
    "stdvar",
    "step",
    "sum",
    "topk",
    "unless",
    "without",
    "fill",
];

/// Which series of a metric: by labels, and by the hosts they are of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    metric: String,
    labels: BTreeMap<String, String>,
    hosts: Option<BTreeSet<String>>,
}

impl Selector {
    /// Of a metric by its Open-Falcon name; `None` when there is no name.
    pub(crate) fn new(metric: &str) -> Option<Self> {
        let metric = canonical_name(metric);
        (!metric.is_empty()).then(|| Self { metric, ..Self::default() })
    }

    /// Only series with all of these tags, written `k=v,k2=v2`. Series with more tags are meant too.
    pub(crate) fn with_tags(mut self, tags: &str) -> Self {
        self.labels.extend(labels_of(tags));
        self
    }

    /// Only series of these hosts.
    pub(crate) fn of_hosts(mut self, hosts: BTreeSet<String>) -> Self {
        self.hosts = Some(hosts);
        self
    }

    /// Only series of this endpoint.
    pub(crate) fn of_endpoint(self, endpoint: &str) -> Self {
        self.of_hosts(BTreeSet::from([endpoint.to_owned()]))
    }

    /// As PromQL writes it.
    pub(crate) fn text(&self) -> String {
        let is_reserved = RESERVED.iter().any(|word| self.metric.eq_ignore_ascii_case(word));
        let mut matchers: Vec<String> =
            self.labels.iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect();
        if let Some(hosts) = &self.hosts {
            matchers.push(match hosts.first() {
                Some(only) if hosts.len() == 1 => format!("{ENDPOINT}={}", quoted(only)),
                _ => {
                    let hosts: Vec<String> = hosts.iter().map(|host| escaped(host)).collect();
                    format!("{ENDPOINT}=~{}", quoted(&hosts.join("|")))
                }
            });
        }
        if is_reserved {
            matchers.insert(0, format!("{METRIC_NAME}={}", quoted(&self.metric)));
            format!("{{{}}}", matchers.join(","))
        } else if matchers.is_empty() {
            self.metric.clone()
        } else {
            format!("{}{{{}}}", self.metric, matchers.join(","))
        }
    }
}

/// The tags `k=v,k2=v2` as labels. As in the original: spaces do not count, pieces without `=` are
/// passed over, the later of two wins.
pub(crate) fn labels_of(tags: &str) -> BTreeMap<String, String> {
    let tags: String = tags.chars().filter(|c| *c != ' ').collect();
    let pairs = tags.split(',').filter_map(|piece| piece.split_once('='));
    pairs
        .filter(|(key, _)| !key.is_empty())
        .map(|(key, value)| (label_name(key), value.to_owned()))
        .collect()
}

/// A text between quotes, for PromQL and for YAML alike.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn escaped(host: &str) -> String {
    let mut text = String::with_capacity(host.len());
    for letter in host.chars() {
        if r"\.+*?()|[]{}^$".contains(letter) {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}

/// Series of one step. For counters every piece speaks of the rate between neighbouring samples.
///
/// Ranges are open on the left, so `N` steps hold `N` samples at any moment of a step. A second less,
/// as is right where ranges are closed, would lose one in the last second of every step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeriesOf {
    selector: String,
    pub(crate) is_counter: bool,
    step: i64,
}

impl SeriesOf {
    /// The series of this selector, with this many seconds between two samples.
    pub(crate) fn new(selector: &Selector, is_counter: bool, step: i64) -> Self {
        Self { selector: selector.text(), is_counter, step }
    }

    /// The newest value.
    pub(crate) fn now(&self) -> String {
        self.past(0)
    }

    /// The value `steps` before the newest.
    pub(crate) fn past(&self, steps: i64) -> String {
        let offset = self.offset(steps);
        let Self { selector, step, .. } = self;
        if self.is_counter {
            format!("irate({selector}[{}]{offset})", span(2 * step))
        } else if *step > LOOKBACK_SECONDS {
            format!("last_over_time({selector}[{}]{offset})", span(*step))
        } else {
            format!("{selector}{offset}")
        }
    }

    /// The newest `points` values, or those that many `steps` before.
    pub(crate) fn window(&self, points: i64, steps: i64) -> String {
        let (width, offset) = (span(points * self.step), self.offset(steps));
        if self.is_counter {
            format!("({})[{width}:{}]{offset}", self.now(), span(self.step))
        } else {
            format!("{}[{width}]{offset}", self.selector)
        }
    }

    /// 1 or 0 for each of the newest `points` values.
    pub(crate) fn each(&self, points: i64, operator: &str, threshold: f64) -> String {
        let (width, step) = (span(points * self.step), span(self.step));
        format!("({} {operator} bool {threshold})[{width}:{step}]", self.now())
    }

    /// Holds when there are that many values.
    pub(crate) fn enough(&self, points: i64) -> String {
        format!("count_over_time({}) >= {points}", self.window(points, 0))
    }

    fn offset(&self, steps: i64) -> String {
        match steps {
            0 => String::new(),
            steps => format!(" offset {}", span(steps * self.step)),
        }
    }
}

/// Seconds as PromQL writes them.
pub(crate) fn span(seconds: i64) -> String {
    match seconds {
        seconds if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        seconds if seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(is_counter: bool, step: i64) -> SeriesOf {
        SeriesOf::new(&Selector::new("net.if.in.bytes").unwrap(), is_counter, step)
    }

    #[test]
    fn tags_and_hosts_become_matchers() {
        let selector =
            Selector::new("net.if.in.bytes").unwrap().with_tags("iface = eth0, 5xx=a\"b,x,=y");
        assert_eq!(selector.text(), r#"net_if_in_bytes{_5xx="a\"b",iface="eth0"}"#);
        let hosts = BTreeSet::from(["web-1.bj".to_owned(), "db".to_owned()]);
        assert_eq!(
            Selector::new("x").unwrap().of_hosts(hosts).text(),
            r#"x{endpoint=~"db|web-1\\.bj"}"#
        );
        assert_eq!(Selector::new("x").unwrap().of_endpoint("a.b").text(), r#"x{endpoint="a.b"}"#);
        assert_eq!(Selector::new("NaN").unwrap().text(), r#"{__name__="NaN"}"#);
        assert_eq!(Selector::new(""), None);
        let hidden = Selector::new("x").unwrap().with_tags("endpoint=a");
        assert_eq!(hidden.text(), r#"x{exported_endpoint="a"}"#);
    }

    #[test]
    fn gauges_are_read_and_counters_are_rated() {
        let (gauge, counter) = (series(false, 60), series(true, 30));
        assert_eq!(gauge.window(3, 1), "net_if_in_bytes[3m] offset 1m");
        assert_eq!(counter.window(3, 0), "(irate(net_if_in_bytes[1m]))[90s:30s]");
        assert_eq!(gauge.past(2), "net_if_in_bytes offset 2m");
        assert_eq!(counter.past(2), "irate(net_if_in_bytes[1m] offset 1m)");
        assert_eq!(gauge.each(3, "!=", -1.0), "(net_if_in_bytes != bool -1)[3m:1m]");
        assert_eq!(gauge.enough(4), "count_over_time(net_if_in_bytes[4m]) >= 4");
    }

    #[test]
    fn a_step_beyond_the_lookback_needs_a_window_for_its_newest_value() {
        assert_eq!(series(false, 600).now(), "last_over_time(net_if_in_bytes[10m])");
        assert_eq!(span(3600), "1h");
    }
}
