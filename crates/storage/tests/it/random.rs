//! Random writes and restarts, compared with the plainest store there is.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Sample, Series};
use proptest::prelude::*;
use storage::{Batch, Limits, LocalConfig, Refusal, Storage};

use crate::support::{Content, NOW, content, labels, open_with, write};

const WINDOW_MILLIS: i64 = 1_000;

#[derive(Debug, Clone)]
enum Step {
    /// Rows of series, time and value.
    Write(Vec<(usize, i64, u8)>),
    /// Blocks are cut, merged and deleted.
    Compact,
    Restart,
    Close,
}

#[derive(Debug, Default, Clone, PartialEq)]
struct Counts {
    stored: usize,
    unchanged: usize,
    too_old: usize,
    duplicate: usize,
}

/// One sorted map a series.
#[derive(Debug, Default)]
struct Plain {
    series: BTreeMap<usize, BTreeMap<i64, f64>>,
}

impl Plain {
    fn write(&mut self, rows: &[(usize, i64, u8)]) -> Counts {
        let mut counts = Counts::default();
        let newest: BTreeMap<usize, i64> = self
            .series
            .iter()
            .filter_map(|(id, samples)| Some((*id, *samples.keys().next_back()?)))
            .collect();
        let before = self.series.clone();
        for (id, at, value) in rows {
            let samples = self.series.entry(*id).or_default();
            let is_old = newest.get(id).is_some_and(|newest| *at < newest - WINDOW_MILLIS);
            let is_stored = before.get(id).is_some_and(|samples| samples.contains_key(at));
            match samples.get(at) {
                Some(stored) if *stored == f64::from(*value) => counts.unchanged += 1,
                Some(_) => counts.duplicate += 1,
                None if is_old && !is_stored => counts.too_old += 1,
                None => {
                    samples.insert(*at, f64::from(*value));
                    counts.stored += 1;
                }
            }
        }
        counts
    }

    fn content(&self) -> Content {
        let bits = |(at, value): (&i64, &f64)| (NOW.millis() + at, value.to_bits());
        let series = self.series.iter().filter(|(_, samples)| !samples.is_empty());
        series.map(|(id, samples)| (labels("m", *id), samples.iter().map(bits).collect())).collect()
    }
}

/// Each row as a series of its own, so that batches name series again and again.
fn batch_of(rows: &[(usize, i64, u8)]) -> Batch {
    let series = rows.iter().map(|(id, at, value)| Series {
        labels: labels("m", *id),
        samples: vec![Sample::new(NOW.millis() + at, f64::from(*value))],
    });
    Batch { series: series.collect(), metadata: Vec::new() }
}

async fn written(storage: &Storage, rows: &[(usize, i64, u8)]) -> Counts {
    let outcome = write(storage, batch_of(rows)).await;
    let refused =
        |reason| outcome.refused.iter().filter(|r| r.reason == reason).map(|r| r.count).sum();
    Counts {
        stored: outcome.stored,
        unchanged: outcome.unchanged,
        too_old: refused(Refusal::TooOld),
        duplicate: refused(Refusal::Duplicate),
    }
}

async fn check(steps: &[Step]) {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let config = || LocalConfig {
        limits: Limits { out_of_order_window: Duration::from_millis(1_000), ..Limits::default() },
        segment_bytes_max: 400,
        block_span: Duration::from_millis(400),
        ..LocalConfig::new(dir.path())
    };
    let mut storage = open_with(config()).await;
    let mut plain = Plain::default();
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Compact => {
                let now = NOW.plus(Duration::from_millis(number as u64 * 300));
                storage.compact(now).await.expect("the disk works");
            }
            Step::Write(rows) => assert_eq!(written(&storage, rows).await, plain.write(rows)),
            Step::Close => storage.close().await.expect("the disk works"),
            Step::Restart => {}
        }
        if matches!(step, Step::Close | Step::Restart) {
            drop(storage);
            storage = open_with(config()).await;
        }
        assert_eq!(content(&storage.reader()).await, plain.content());
    }
}

/// Time goes on from step to step, and rows lie around it.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let rows = prop::collection::vec((0usize..6, -2_000i64..500, 0u8..2), 1..30);
    let step = prop_oneof![6 => rows.prop_map(Step::Write), 3 => Just(Step::Compact), 1 => Just(Step::Restart), 1 => Just(Step::Close)];
    prop::collection::vec(step, 1..25).prop_map(|mut steps| {
        for (number, step) in steps.iter_mut().enumerate() {
            if let Step::Write(rows) = step {
                rows.iter_mut().for_each(|(_, at, _)| *at = (*at + number as i64 * 300) / 50 * 50);
            }
        }
        steps
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_store_answers_as_sorted_maps_do(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be made");
        runtime.block_on(check(&steps));
    }
}
