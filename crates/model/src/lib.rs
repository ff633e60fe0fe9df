//! The nouns of Saker: labels, samples, series, matchers, alerts, typed ids, timestamps.
//!
//! Plain data without I/O. Every other crate speaks in these words, so a word means the same thing in the agent,
//! in the store, in PromQL and on the wire.

mod alert;
mod duration;
mod id;
mod labels;
mod matcher;
mod metadata;
mod pattern;
mod relabel;
mod sample;
mod selection;
mod timestamp;

pub use alert::{
    Alert, Fingerprint, FingerprintHasher, FingerprintHashes, FingerprintMap, FingerprintSet,
};
pub use duration::{DurationError, duration_text, format_duration, parse_duration};
pub use id::{HostId, RuleId};
pub use labels::{
    ALERT_NAME, ENDPOINT, Labels, LabelsBuilder, METRIC_NAME, is_label_name, is_metric_name,
};
pub use matcher::{MatchOp, Matcher, MatcherError};
pub use metadata::{Metadata, MetricKind, canonical_name};
pub use pattern::{PatternError, PatternScope, compile_pattern};
pub use relabel::{Action, Pattern, Relabel, RelabelRule};
pub use sample::{STALE_NAN_BITS, Sample, Series, is_stale, stale_nan};
pub use selection::Selection;
pub use timestamp::Timestamp;
