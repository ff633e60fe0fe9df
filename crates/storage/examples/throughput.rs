//! Measures the store on this machine: `cargo run --release -p storage --example throughput
//! [series] [rounds]`.
//!
//! Prints samples per CPU second for writing and replay, added memory, bytes of the write-ahead
//! log, and the time of a few queries. Rows are made before the clock starts. 39 % of the series
//! are constant, 30 % whole-numbered counters, the rest percentages as full doubles, which is about
//! what a host's `/proc` yields.

use std::fs;
use std::io::Write;

use model::{Labels, MatchOp, Matcher, Sample, Selection, Series, Timestamp};
use storage::{Batch, LocalConfig, Storage};
use tokio::time::Instant;

const START: i64 = 1_760_000_000_000;
const METRICS: usize = 10;
const BATCH: usize = 5_000;

struct Fleet {
    labels: Vec<Labels>,
    values: Vec<f64>,
    seed: u64,
}

impl Fleet {
    fn new(series: usize) -> Self {
        let labels = (0..series)
            .map(|i| {
                let (metric, host) = (i % METRICS, i / METRICS);
                Labels::from_pairs([
                    ("__name__", format!("host_metric_{metric}_total")),
                    ("endpoint", format!("host-{host:05}.dc1.example.com")),
                    ("idc", format!("dc-{}", host % 3)),
                    ("device", format!("eth{}", metric % 4)),
                ])
            })
            .collect();
        Self { labels, values: vec![0.0; series], seed: 1 }
    }

    fn random(&mut self) -> u64 {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.seed >> 33
    }

    fn round(&mut self, round: usize) -> Vec<Batch> {
        let at = START + round as i64 * 10_000;
        let mut all = Vec::with_capacity(self.labels.len());
        for i in 0..self.labels.len() {
            let step = self.random() % 1_000;
            match i % 100 {
                0..39 => self.values[i] = i as f64,
                39..69 => self.values[i] += step as f64,
                _ => self.values[i] = 100.0 * step as f64 / 1_003.0,
            }
            all.push(Series {
                labels: self.labels[i].clone(),
                samples: vec![Sample::new(at, self.values[i])],
            });
        }
        let mut batches = Vec::new();
        while !all.is_empty() {
            let rest = all.split_off(all.len().min(BATCH));
            batches.push(Batch { series: std::mem::replace(&mut all, rest), metadata: Vec::new() });
        }
        batches
    }
}

/// The same series and values at another time.
fn moved(batch: &Batch, millis: i64) -> Batch {
    let mut batch = batch.clone();
    for sample in batch.series.iter_mut().flat_map(|series| &mut series.samples) {
        *sample = Sample::new(sample.timestamp.millis() + millis, sample.value);
    }
    batch
}

/// CPU seconds of all threads that live.
fn cpu_seconds() -> f64 {
    let tasks = fs::read_dir("/proc/self/task").expect("/proc is mounted");
    let nanos = tasks.flatten().filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    nanos.sum::<f64>() / 1e9
}

fn rss_megabytes() -> f64 {
    let text = fs::read_to_string("/proc/self/statm").expect("/proc is mounted");
    let pages: f64 =
        text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("statm has two columns");
    pages * 4096.0 / 1e6
}

fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("the output is open");
}

async fn query(storage: &Storage, name: &str, matchers: Vec<Matcher>) {
    let selection = Selection { matchers, start: Timestamp::MIN, end: Timestamp::MAX };
    let mut millis: Vec<f64> = Vec::new();
    let mut found = (0, 0);
    for _ in 0..21 {
        let begun = Instant::now();
        let series = storage.reader().select(&selection).await.expect("the store can be read");
        millis.push(begun.elapsed().as_secs_f64() * 1e3);
        found = (series.len(), series.iter().map(|series| series.samples.len()).sum());
    }
    millis.sort_by(f64::total_cmp);
    say(&format!(
        "select {name}: {} series, {} samples, median {:.2} ms",
        found.0, found.1, millis[10]
    ));
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments =
        std::env::args().skip(1).map(|text| text.parse::<usize>().expect("a number"));
    let (series, rounds) = (arguments.next().unwrap_or(10_000), arguments.next().unwrap_or(60));
    let dir = tempfile::tempdir().expect("a directory can be made");
    let mut fleet = Fleet::new(series);
    // The rows of a round are made and dropped over and over: their memory is not the store's.
    drop(fleet.round(0));
    let fresh = || LocalConfig::new(dir.path());
    let storage =
        Storage::open(fresh(), Timestamp(START)).await.expect("the directory can be used");
    let (rss, mut cpu, mut worst) = (rss_megabytes(), 0.0, 0.0f64);
    for round in 0..rounds {
        for batch in fleet.round(round) {
            let (cpu_before, begun) = (cpu_seconds(), Instant::now());
            storage.writer().write(batch).await.expect("the disk has room");
            worst = worst.max(begun.elapsed().as_secs_f64() * 1e3);
            cpu += cpu_seconds() - cpu_before;
        }
        storage.maintain(Timestamp(START + round as i64 * 10_000)).await.expect("the disk works");
    }
    say(&format!(
        "added RSS: {:.1} MB, {:.0} B a series",
        rss_megabytes() - rss,
        (rss_megabytes() - rss) * 1e6 / series as f64
    ));
    // What a sender does whose answer got lost, and what one does that was cut off for a while.
    let repeated = fleet.round(rounds);
    let late = repeated
        .iter()
        .map(|batch| moved(batch, -(rounds.min(300) as i64) * 10_000 - 5_000))
        .collect();
    let stored: Vec<Batch> = repeated.iter().map(|batch| moved(batch, 0)).collect();
    let mut lines = Vec::new();
    for (name, batches) in [("new", stored), ("repeated", repeated), ("late", late)] {
        let cpu_before = cpu_seconds();
        for batch in batches {
            storage.writer().write(batch).await.expect("the disk has room");
        }
        lines.push(format!("{name} {:.2}", series as f64 / (cpu_seconds() - cpu_before) / 1e6));
    }
    say(&format!("one more round, M samples per CPU s: {}", lines.join(", ")));
    let samples = (series * (rounds + 2)) as f64;
    let wal = storage.stats().wal.expect("the store is on disk");
    say(&format!("{series} series x {rounds} rounds in batches of {BATCH}"));
    let written = (series * rounds) as f64 / cpu / 1e6;
    say(&format!("write: {written:.2} M samples per CPU s, slowest batch {worst:.1} ms"));
    say(&format!("log: {:.2} B a sample", wal.bytes as f64 / samples));
    let metric = || Matcher::equal("__name__", "host_metric_5_total");
    let pattern =
        Matcher::new("endpoint", MatchOp::Regex, "host-0000.*").expect("the pattern is valid");
    query(&storage, "one metric of all hosts", vec![metric()]).await;
    query(&storage, "one metric of hosts by pattern", vec![metric(), pattern]).await;
    storage.close().await.expect("the disk works");
    drop(storage);
    let (cpu_before, begun) = (cpu_seconds(), Instant::now());
    let storage =
        Storage::open(fresh(), Timestamp(START)).await.expect("the directory can be used");
    let (wall, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds() - cpu_before);
    say(&format!(
        "replay: {:.2} M samples per CPU s, {:.2} M per s",
        samples / cpu / 1e6,
        samples / wall / 1e6
    ));
    assert_eq!(storage.stats().samples, samples as u64);
}
