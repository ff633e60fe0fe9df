//! An alert as it travels from a rule to a receiver.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Labels, Timestamp};

/// What makes two alerts the same alert: the hash of their label set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub u64);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Fingerprint {
    /// Reads the sixteen hexadecimal digits that `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

/// An alert: a label set that needs somebody's attention from `starts_at` on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Identity of the alert, `alertname` included.
    pub labels: Labels,
    /// Texts for humans; not part of the identity.
    pub annotations: BTreeMap<String, String>,
    /// When the rule began to fire.
    pub starts_at: Timestamp,
    /// For a firing alert the moment until which the news holds (a lease), for a resolved one when it ended.
    pub ends_at: Timestamp,
    /// Where the alert can be looked at; may be empty.
    pub generator_url: String,
}

impl Alert {
    /// The identity of the alert.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(self.labels.hash())
    }

    /// Whether the alert is over at `now`.
    pub fn is_resolved_at(&self, now: Timestamp) -> bool {
        self.ends_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_reads_back_what_it_writes() {
        let fingerprint = Fingerprint(0x00ab);
        assert_eq!(fingerprint.to_string(), "00000000000000ab");
        assert_eq!(Fingerprint::parse("00000000000000ab"), Some(fingerprint));
        assert_eq!(Fingerprint::parse("ab"), None);
        assert_eq!(Fingerprint::parse("zz000000000000ab"), None);
    }
}
