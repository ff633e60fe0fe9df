//! An alert as it travels from a rule to a receiver.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher, Hasher};

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

/// A map by fingerprint.
pub type FingerprintMap<V> = HashMap<Fingerprint, V, FingerprintHashes>;
/// A set of fingerprints.
pub type FingerprintSet = HashSet<Fingerprint, FingerprintHashes>;

/// Hashes fingerprints, which are hashes already: one multiplication with a secret of the map, so that nobody can
/// send alerts that all fall into one place.
#[derive(Debug, Clone)]
pub struct FingerprintHashes {
    secret: u64,
}

impl Default for FingerprintHashes {
    fn default() -> Self {
        Self { secret: RandomState::new().hash_one(0) }
    }
}

impl BuildHasher for FingerprintHashes {
    type Hasher = FingerprintHasher;

    fn build_hasher(&self) -> FingerprintHasher {
        FingerprintHasher { hash: self.secret }
    }
}

/// The hasher of [`FingerprintHashes`].
#[derive(Debug, Clone)]
pub struct FingerprintHasher {
    hash: u64,
}

impl Hasher for FingerprintHasher {
    fn finish(&self) -> u64 {
        self.hash
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
        let wide = u128::from(self.hash ^ number) * u128::from(GOLDEN);
        // Both halves, since maps look at the high and at the low bits.
        let mixed = (wide >> 64) as u64 ^ wide as u64;
        self.hash = (mixed ^ mixed >> 32).wrapping_mul(GOLDEN).rotate_left(32);
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
    fn fingerprints_spread_over_a_map_whatever_they_are() {
        let hashes = FingerprintHashes { secret: 0x0123_4567_89AB_CDEF };
        for shift in [0, 20, 40, 52] {
            let low: HashSet<u64> =
                (0..4096_u64).map(|n| hashes.hash_one(Fingerprint(n << shift)) & 4095).collect();
            assert!(low.len() > 2_000, "{} of 4096 places, {shift}", low.len());
        }
        assert_ne!(
            hashes.hash_one((Fingerprint(1), 0_u32)),
            hashes.hash_one((Fingerprint(1), 1_u32))
        );
    }

    #[test]
    fn a_fingerprint_reads_back_what_it_writes() {
        let fingerprint = Fingerprint(0x00ab);
        assert_eq!(fingerprint.to_string(), "00000000000000ab");
        assert_eq!(Fingerprint::parse("00000000000000ab"), Some(fingerprint));
        assert_eq!(Fingerprint::parse("ab"), None);
        assert_eq!(Fingerprint::parse("zz000000000000ab"), None);
    }
}
