//! What the tests write, and how they look at the result.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use model::{Labels, MatchOp, Matcher, STALE_NAN_BITS, Sample, Selection, Series, Timestamp};
use storage::{Batch, LocalConfig, Reader, Storage, WriteOutcome};

/// The time of all tests: 2025-10-09.
pub(crate) const NOW: Timestamp = Timestamp(1_760_000_000_000);

/// Samples by series, as bits.
pub(crate) type Content = BTreeMap<Labels, Vec<(i64, u64)>>;

pub(crate) async fn open(dir: &Path) -> Storage {
    open_with(LocalConfig::new(dir)).await
}

pub(crate) async fn open_with(config: LocalConfig) -> Storage {
    Storage::open(config, NOW).await.expect("the directory can be used")
}

/// `name{endpoint="host-N"}`.
pub(crate) fn labels(name: &str, host: usize) -> Labels {
    Labels::from_pairs([("__name__", name), ("endpoint", &format!("host-{host}"))])
}

/// One series of host 1 with samples at milliseconds after [`NOW`].
pub(crate) fn batch(name: &str, samples: &[(i64, f64)]) -> Batch {
    let samples =
        samples.iter().map(|(at, value)| Sample::new(NOW.millis() + at, *value)).collect();
    Batch { series: vec![Series { labels: labels(name, 1), samples }], metadata: Vec::new() }
}

/// What `hosts` hosts send in a round of ten seconds; the values hold every kind of bits.
pub(crate) fn round(hosts: usize, round: usize) -> Batch {
    let at = NOW.millis() + round as i64 * 10_000;
    let series = (0..hosts)
        .map(|host| Series {
            labels: labels("m", host),
            samples: vec![Sample::new(at, value(host, round))],
        })
        .collect();
    Batch { series, metadata: Vec::new() }
}

/// The value of a host in a round: counters, noise, NaN with a payload, staleness markers.
pub(crate) fn value(host: usize, round: usize) -> f64 {
    let mixed = ((host * 1_000_003 + round) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    match (host + round) % 7 {
        0 => f64::from_bits(STALE_NAN_BITS),
        1 => f64::from_bits(0x7ff8_0000_0000_0000 | mixed >> 16),
        2 => f64::from_bits(mixed),
        _ => (host * round) as f64,
    }
}

pub(crate) async fn write(storage: &Storage, batch: Batch) -> WriteOutcome {
    storage.writer().write(batch).await.expect("the batch can be written")
}

/// Everything in the store.
pub(crate) async fn content(reader: &Reader) -> Content {
    let matcher = Matcher::new("__name__", MatchOp::Regex, ".+").expect("the pattern is valid");
    let found = reader.select(&selection(vec![matcher])).await.expect("the store can be read");
    found.into_iter().map(|series| (series.labels, bits(&series.samples))).collect()
}

/// Milliseconds after [`NOW`] of all samples of host 1.
pub(crate) async fn times(reader: &Reader, name: &str) -> Vec<i64> {
    let found = content(reader).await;
    found
        .get(&labels(name, 1))
        .map_or_else(Vec::new, |samples| samples.iter().map(|(at, _)| at - NOW.millis()).collect())
}

pub(crate) fn bits(samples: &[Sample]) -> Vec<(i64, u64)> {
    samples.iter().map(|sample| (sample.timestamp.millis(), sample.value.to_bits())).collect()
}

/// A selection over all time.
pub(crate) fn selection(matchers: Vec<Matcher>) -> Selection {
    Selection { matchers, start: Timestamp::MIN, end: Timestamp::MAX }
}

/// What rounds of [`round`] leave in a store.
pub(crate) fn expected(hosts: usize, rounds: usize) -> Content {
    let mut content = Content::new();
    for round_number in 0..rounds {
        for series in round(hosts, round_number).series {
            content.entry(series.labels).or_default().extend(bits(&series.samples));
        }
    }
    content
}

/// The segments of a store in order.
pub(crate) fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("wal")).expect("the store has a log");
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.expect("the directory can be read").path()).collect();
    paths.sort();
    paths
}
