//! What is known of series, by the bytes of their labels. Most samples are of series that came
//! before, and finding what was made of the labels again is several times cheaper than reading them.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, PoisonError};

use model::Labels;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Enough that receivers on all cores seldom wait for each other.
const SHARDS: usize = 16;

/// The label sets that bytes stand for.
pub type KnownLabels = Known<Labels>;

/// A bounded memory of what was made of the labels of series, shared by receivers.
///
/// Bytes are told apart by a 128-bit hash. Its seed is secret, so nobody can prepare bytes that fall
/// on another's labels, and by chance that does not happen.
#[derive(Debug)]
pub struct Known<T> {
    seed: u64,
    shards: Vec<Mutex<Shard<T>>>,
}

/// What was seen of late and what was seen before that. When the first is full it takes the place of
/// the second, so that what does not come again is forgotten.
#[derive(Debug)]
struct Shard<T> {
    recent: Map<T>,
    older: Map<T>,
    recent_max: usize,
}

type Map<T> = HashMap<u128, T, BuildHasherDefault<AlreadyHashed>>;

impl<T: Clone> Known<T> {
    /// Remembers about `series_max` series; 0 remembers none. `seed` is to be random.
    pub fn new(series_max: usize, seed: u64) -> Self {
        let recent_max = series_max.div_ceil(2 * SHARDS);
        let shard =
            || Mutex::new(Shard { recent: Map::default(), older: Map::default(), recent_max });
        Self { seed, shards: std::iter::repeat_with(shard).take(SHARDS).collect() }
    }

    /// What `bytes` stand for, read by `read` when it is not known. What cannot be read is not
    /// remembered.
    pub fn find<E>(&self, bytes: &[u8], read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let hash = xxh3_128_with_seed(bytes, self.seed);
        let shard = &self.shards[(hash >> 64) as usize % SHARDS];
        let known = shard.lock().unwrap_or_else(PoisonError::into_inner).find(hash);
        if let Some(known) = known {
            return Ok(known);
        }
        let read = read()?;
        shard.lock().unwrap_or_else(PoisonError::into_inner).remember(hash, read.clone());
        Ok(read)
    }

    /// What each of many stands for, `None` where it is not known. Faster than one at a time: a
    /// memory of many series is far larger than a processor's cache, and looking for several at once
    /// waits for it once.
    pub fn find_all<'a>(&self, all: impl ExactSizeIterator<Item = &'a [u8]>) -> Vec<Option<T>> {
        let mut found = Vec::new();
        found.resize_with(all.len(), || None);
        let mut wanted: [Vec<(usize, u128)>; SHARDS] = Default::default();
        let expected = all.len().div_ceil(SHARDS) * 3 / 2;
        wanted.iter_mut().for_each(|of_shard| of_shard.reserve(expected));
        for (at, bytes) in all.enumerate() {
            let hash = xxh3_128_with_seed(bytes, self.seed);
            wanted[(hash >> 64) as usize % SHARDS].push((at, hash));
        }
        for (shard, wanted) in self.shards.iter().zip(wanted) {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for (at, hash) in &wanted {
                found[*at] = shard.recent.get(hash).cloned();
            }
            for (at, hash) in wanted {
                if found[at].is_none() && !shard.older.is_empty() {
                    found[at] = shard.find(hash);
                }
            }
        }
        found
    }

    /// How many series are remembered.
    pub fn len(&self) -> usize {
        let of_shard = |shard: &Mutex<Shard<T>>| {
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

impl<T: Clone> Shard<T> {
    fn find(&mut self, hash: u128) -> Option<T> {
        if let Some(known) = self.recent.get(&hash) {
            return Some(known.clone());
        }
        let known = self.older.remove(&hash)?;
        self.remember(hash, known.clone());
        Some(known)
    }

    fn remember(&mut self, hash: u128, known: T) {
        if self.recent_max == 0 {
            return;
        }
        if self.recent.len() >= self.recent_max {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(hash, known);
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
            let found = known.find(bytes.as_bytes(), || {
                read.set(read.get() + 1);
                Ok::<_, ()>(labels(bytes))
            });
            assert_eq!(found, Ok(labels(bytes)));
        }
        assert_eq!((read.get(), known.len()), (2, 2));
    }

    #[test]
    fn many_are_found_as_each_alone_is() {
        let known = KnownLabels::new(320, 7);
        let all: Vec<[u8; 4]> = (0..500_u32).map(u32::to_le_bytes).collect();
        for number in 0..500_u32 {
            let value = number.to_string();
            assert!(known.find(&number.to_le_bytes(), || Ok::<_, ()>(labels(&value))).is_ok());
        }
        let found = known.find_all(all.iter().map(<[u8; 4]>::as_slice));
        let count = found.iter().flatten().count();
        assert!((100..=320).contains(&count), "{count}");
        for (number, found) in found.into_iter().enumerate() {
            assert!(found.is_none_or(|found| found == labels(&number.to_string())));
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_remembered() {
        let known = KnownLabels::new(100, 7);
        assert_eq!(known.find(b"x", || Err("bad")), Err("bad"));
        assert!(known.is_empty());
        assert_eq!(known.find(b"x", || Ok::<_, ()>(labels("1"))), Ok(labels("1")));
    }

    #[test]
    fn the_memory_is_bounded_and_keeps_what_comes_again() {
        let known = KnownLabels::new(320, 7);
        let read = Cell::new(0);
        for number in 0..10_000_u32 {
            for bytes in [number.to_le_bytes(), *b"kept"] {
                let found = known.find(&bytes, || {
                    read.set(read.get() + 1);
                    Ok::<_, ()>(labels("1"))
                });
                assert!(found.is_ok());
            }
        }
        assert!(known.len() <= 320, "{}", known.len());
        assert_eq!(read.get(), 10_001, "what comes again is read once");
        let nothing = KnownLabels::new(0, 7);
        assert!(nothing.find(b"x", || Ok::<_, ()>(labels("1"))).is_ok() && nothing.is_empty());
    }
}
