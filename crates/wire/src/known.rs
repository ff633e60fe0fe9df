//! Label sets by the bytes they were read from. Most samples are of series that came before, and
//! finding the labels again is several times cheaper than reading them.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, PoisonError};

use model::Labels;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Enough that receivers on all cores seldom wait for each other.
const SHARDS: usize = 16;

/// A bounded memory of label sets, shared by receivers.
///
/// Bytes are told apart by a 128-bit hash. Its seed is secret, so nobody can prepare bytes that fall
/// on another's labels, and by chance that does not happen.
#[derive(Debug)]
pub struct KnownLabels {
    seed: u64,
    shards: Vec<Mutex<Shard>>,
}

/// What was seen of late and what was seen before that. When the first is full it takes the place of
/// the second, so that what does not come again is forgotten.
#[derive(Debug)]
struct Shard {
    recent: Map,
    older: Map,
    recent_max: usize,
}

type Map = HashMap<u128, Labels, BuildHasherDefault<AlreadyHashed>>;

impl KnownLabels {
    /// Remembers about `series_max` sets; 0 remembers none. `seed` is to be random.
    pub fn new(series_max: usize, seed: u64) -> Self {
        let recent_max = series_max.div_ceil(2 * SHARDS);
        let shard =
            || Mutex::new(Shard { recent: Map::default(), older: Map::default(), recent_max });
        Self { seed, shards: std::iter::repeat_with(shard).take(SHARDS).collect() }
    }

    /// The labels that `bytes` stand for, read by `read` when they are not known. What cannot be
    /// read is not remembered.
    pub fn labels<E>(
        &self,
        bytes: &[u8],
        read: impl FnOnce() -> Result<Labels, E>,
    ) -> Result<Labels, E> {
        let hash = xxh3_128_with_seed(bytes, self.seed);
        let shard = &self.shards[(hash >> 64) as usize % SHARDS];
        let known = shard.lock().unwrap_or_else(PoisonError::into_inner).find(hash);
        if let Some(labels) = known {
            return Ok(labels);
        }
        let labels = read()?;
        shard.lock().unwrap_or_else(PoisonError::into_inner).remember(hash, labels.clone());
        Ok(labels)
    }

    /// How many sets are remembered.
    pub fn len(&self) -> usize {
        let of_shard = |shard: &Mutex<Shard>| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.recent.len() + shard.older.len()
        };
        self.shards.iter().map(of_shard).sum()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Shard {
    fn find(&mut self, hash: u128) -> Option<Labels> {
        if let Some(labels) = self.recent.get(&hash) {
            return Some(labels.clone());
        }
        let labels = self.older.remove(&hash)?;
        self.remember(hash, labels.clone());
        Some(labels)
    }

    fn remember(&mut self, hash: u128, labels: Labels) {
        if self.recent_max == 0 {
            return;
        }
        if self.recent.len() >= self.recent_max {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(hash, labels);
    }
}

/// The keys are hashes already.
#[derive(Debug, Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0 << 8 | u64::from(*byte);
        }
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn labels(value: &str) -> Labels {
        Labels::from_pairs([("a", value)])
    }

    #[test]
    fn known_bytes_are_not_read_again() {
        let known = KnownLabels::new(100, 7);
        let read = Cell::new(0);
        for bytes in ["x", "y", "x", "x"] {
            let found = known.labels(bytes.as_bytes(), || {
                read.set(read.get() + 1);
                Ok::<_, ()>(labels(bytes))
            });
            assert_eq!(found, Ok(labels(bytes)));
        }
        assert_eq!((read.get(), known.len()), (2, 2));
    }

    #[test]
    fn what_cannot_be_read_is_not_remembered() {
        let known = KnownLabels::new(100, 7);
        assert_eq!(known.labels(b"x", || Err("bad")), Err("bad"));
        assert!(known.is_empty());
        assert_eq!(known.labels(b"x", || Ok::<_, ()>(labels("1"))), Ok(labels("1")));
    }

    #[test]
    fn the_memory_is_bounded_and_keeps_what_comes_again() {
        let known = KnownLabels::new(320, 7);
        let read = Cell::new(0);
        for number in 0..10_000_u32 {
            for bytes in [number.to_le_bytes(), *b"kept"] {
                let found = known.labels(&bytes, || {
                    read.set(read.get() + 1);
                    Ok::<_, ()>(labels("1"))
                });
                assert!(found.is_ok());
            }
        }
        assert!(known.len() <= 320, "{}", known.len());
        assert_eq!(read.get(), 10_001, "what comes again is read once");
        let nothing = KnownLabels::new(0, 7);
        assert!(nothing.labels(b"x", || Ok::<_, ()>(labels("1"))).is_ok() && nothing.is_empty());
    }
}
