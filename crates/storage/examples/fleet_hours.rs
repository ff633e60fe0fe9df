//! Runs a fleet through simulated hours: `cargo run --release -p storage --example fleet_hours
//! [hosts] [series a host] [hours] [directory]`, a sample a minute.
//!
//! Prints memory hour by hour, what is on disk, the time of a start after a kill, and of queries
//! over the newest hour and over everything. With a directory it is left there.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use model::{Labels, Matcher, Sample, Selection, Series, Timestamp};
use storage::{Batch, LocalConfig, Storage};
use tokio::time::Instant;

const START: i64 = 1_760_000_000_000;
const STEP_SECONDS: u64 = 60;
const BATCH: usize = 5_000;

struct Fleet {
    labels: Vec<Labels>,
    values: Vec<f64>,
    seed: u64,
}

impl Fleet {
    fn new(hosts: usize, metrics: usize) -> Self {
        let series = (0..hosts * metrics).map(|at| {
            let (host, metric) = (at / metrics, at % metrics);
            Labels::from_pairs([
                ("__name__", format!("host_metric_{metric}_total")),
                ("endpoint", format!("host-{host:05}.dc1.example.com")),
                ("idc", format!("dc-{}", host % 3)),
            ])
        });
        Self { labels: series.collect(), values: vec![0.0; hosts * metrics], seed: 1 }
    }

    fn random(&mut self) -> u64 {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.seed >> 33
    }

    /// As in the other example: constants, counters, percentages.
    async fn write(&mut self, storage: &Storage, at: Timestamp) {
        for from in (0..self.labels.len()).step_by(BATCH) {
            let to = self.labels.len().min(from + BATCH);
            let mut series = Vec::with_capacity(to - from);
            for i in from..to {
                let step = self.random() % 1_000;
                match i % 100 {
                    0..39 => self.values[i] = i as f64,
                    39..69 => self.values[i] += step as f64,
                    _ => self.values[i] = 100.0 * step as f64 / 1_003.0,
                }
                let samples = vec![Sample { timestamp: at, value: self.values[i] }];
                series.push(Series { labels: self.labels[i].clone(), samples });
            }
            let batch = Batch { series, metadata: Vec::new() };
            storage.writer().write(batch).await.expect("the disk has room");
        }
    }
}

fn megabytes(key: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let line = text.lines().find(|line| line.starts_with(key)).unwrap_or("0 0");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).unwrap_or(0.0) / 1024.0
}

fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("the output is open");
}

async fn query(storage: &Storage, name: &str, matcher: Matcher, span: (Timestamp, Timestamp)) {
    let selection = Selection { matchers: vec![matcher], start: span.0, end: span.1 };
    let mut millis: Vec<f64> = Vec::new();
    let mut found = (0, 0);
    for _ in 0..11 {
        let begun = Instant::now();
        let series = storage.reader().select(&selection).await.expect("the store can be read");
        millis.push(begun.elapsed().as_secs_f64() * 1e3);
        found = (series.len(), series.iter().map(|series| series.samples.len()).sum());
    }
    let first = millis[0];
    millis.sort_by(f64::total_cmp);
    say(&format!(
        "select {name}: {} series, {} samples, first {first:.1} ms, median {:.2} ms",
        found.0, found.1, millis[5]
    ));
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: usize| {
        arguments.get(at).map_or(default, |text| text.parse().expect("a number"))
    };
    let (hosts, metrics, hours) = (number(0, 1_000), number(1, 100), number(2, 12));
    let own = tempfile::tempdir().expect("a directory can be made");
    let dir = arguments.get(3).map_or(own.path().to_owned(), PathBuf::from);
    let open =
        async |at| Storage::open(LocalConfig::new(&dir), at).await.expect("it can be opened");
    let mut fleet = Fleet::new(hosts, metrics);
    let mut now = Timestamp(START);
    let storage = open(now).await;
    let before = megabytes("VmRSS");
    let mut longest = 0.0f64;
    for minute in 1..=hours * 60 {
        fleet.write(&storage, now).await;
        storage.maintain(now).await.expect("the disk works");
        let begun = Instant::now();
        storage.compact(now).await.expect("the disk works");
        longest = longest.max(begun.elapsed().as_secs_f64());
        now = now.plus(Duration::from_secs(STEP_SECONDS));
        if minute % 60 == 0 {
            let stats = storage.stats();
            let (wal, blocks) = (stats.wal.unwrap_or_default(), stats.blocks.unwrap_or_default());
            say(&format!(
                "hour {}: added RSS {:.0} MB, {} samples in memory, log {:.0} MB, {} blocks with {} samples, {:.0} MB",
                minute / 60,
                megabytes("VmRSS") - before,
                stats.samples,
                wal.bytes as f64 / 1e6,
                blocks.blocks,
                blocks.samples,
                blocks.bytes as f64 / 1e6
            ));
        }
    }
    say(&format!("longest work on blocks {longest:.1} s, peak RSS {:.0} MB", megabytes("VmHWM")));
    drop(storage);
    let begun = Instant::now();
    let storage = open(now).await;
    say(&format!("start after a kill: {:.2} s", begun.elapsed().as_secs_f64()));
    let all = (Timestamp(START), now);
    let recent = (now.minus(Duration::from_secs(1_800)), now);
    let metric = || Matcher::equal("__name__", "host_metric_5_total");
    let host = || Matcher::equal("endpoint", "host-00007.dc1.example.com");
    query(&storage, "a metric of all hosts, half an hour", metric(), recent).await;
    query(&storage, "a metric of all hosts, all time", metric(), all).await;
    query(&storage, "a host, all time", host(), all).await;
}
