//! What is known of a metric besides its samples.

use serde::{Deserialize, Serialize};

/// How the values of a metric are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricKind {
    /// A value that goes up and down.
    Gauge,
    /// A count that only grows, stored raw; its rate is taken at query time.
    Counter,
    /// A histogram.
    Histogram,
    /// Pre-computed quantiles.
    Summary,
    /// Nobody said.
    #[default]
    Unknown,
}

impl MetricKind {
    /// The word of the Prometheus metadata API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Unknown => "unknown",
        }
    }
}

/// Metadata of one metric name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Metadata {
    /// Gauge, counter and so on.
    pub kind: MetricKind,
    /// A sentence for humans; may be empty.
    pub help: String,
    /// Base unit, as `bytes` or `seconds`; may be empty.
    pub unit: String,
}

/// The Prometheus name of an Open-Falcon metric: every character outside `[a-zA-Z0-9_:]` becomes `_`, and a leading
/// digit gets a `_` before it. `cpu.idle` becomes `cpu_idle`.
pub fn canonical_name(original: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let starts_with_digit = original.starts_with(|c: char| c.is_ascii_digit());
    let prefix = if starts_with_digit { "_" } else { "" };
    prefix.chars().chain(original.chars().map(|c| if allowed(c) { c } else { '_' })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_and_dashes_become_underscores_and_case_stays() {
        assert_eq!(canonical_name("cpu.idle"), "cpu_idle");
        assert_eq!(canonical_name("TcpExt.TCPFastRetransRate"), "TcpExt_TCPFastRetransRate");
        assert_eq!(canonical_name("disk.io.avgqu-sz"), "disk_io_avgqu_sz");
        assert_eq!(canonical_name("5xx"), "_5xx");
        assert_eq!(canonical_name("温度"), "__");
    }
}
