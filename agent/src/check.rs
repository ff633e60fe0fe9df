//! Checks: things to look at besides the kernel's tables of the whole host, because hbs or the configuration
//! asks for them. Names and tags are Open-Falcon's.

pub mod directory;
pub mod tables;
pub mod url;

use wire::heartbeat::Check;

/// What a check has found.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The Open-Falcon name of the metric.
    pub metric: &'static str,
    /// Its tags.
    pub tags: Vec<(&'static str, String)>,
    /// The value.
    pub value: f64,
}

impl Finding {
    /// The value of the only metric of `check`.
    pub fn new(check: &Check, value: f64) -> Self {
        let metric = check.metrics().first().copied().unwrap_or_default();
        Self { metric, tags: check.tags(), value }
    }
}
