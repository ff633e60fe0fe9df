//! What a writer is told.

use std::time::Duration;

use model::{Labels, Metadata, Sample, Series};
use storage::{Batch, Limits, LocalConfig, Refusal, Storage, WriteError, WriteOutcome};

use crate::support::{NOW, batch, content, labels, open_with, times, write};

const HOUR: i64 = 3_600_000;

fn counts(outcome: &WriteOutcome) -> (usize, usize, Vec<(Refusal, usize)>) {
    let refused = outcome.refused.iter().map(|refused| (refused.reason, refused.count)).collect();
    (outcome.stored, outcome.unchanged, refused)
}

/// Writes a first and a second lot of samples of one series, and checks what is said of the second.
async fn check(
    first: &[(i64, f64)],
    second: &[(i64, f64)],
    wanted: (usize, usize, Vec<(Refusal, usize)>),
    read: &[i64],
) {
    let storage = Storage::memory(Limits::default());
    write(&storage, batch("m", first)).await;
    assert_eq!(counts(&write(&storage, batch("m", second)).await), wanted);
    assert_eq!(times(&storage.reader(), "m").await, read);
}

#[tokio::test]
async fn a_late_sample_within_the_window_is_merged() {
    check(
        &[(0, 1.0), (20, 1.0)],
        &[(10, 1.0), (-HOUR + 20, 1.0)],
        (2, 0, vec![]),
        &[-HOUR + 20, 0, 10, 20],
    )
    .await;
}

#[tokio::test]
async fn an_older_sample_is_refused_and_costs_the_others_nothing() {
    check(
        &[(0, 1.0)],
        &[(-HOUR - 1, 1.0), (-5, 1.0), (5, 1.0)],
        (2, 0, vec![(Refusal::TooOld, 1)]),
        &[-5, 0, 5],
    )
    .await;
}

#[tokio::test]
async fn the_first_value_of_a_moment_stays_and_a_repetition_is_harmless() {
    check(&[(0, 1.0), (10, 2.0)], &[(0, 1.0), (10, 2.0)], (0, 2, vec![]), &[0, 10]).await;
    check(&[(0, f64::NAN)], &[(0, f64::NAN)], (0, 1, vec![]), &[0]).await;
    check(&[(0, 1.0)], &[(0, 2.0), (1, 2.0)], (1, 0, vec![(Refusal::Duplicate, 1)]), &[0, 1]).await;
}

#[tokio::test]
async fn samples_in_any_order_within_a_batch_are_sorted() {
    check(
        &[(0, 1.0)],
        &[(30, 3.0), (10, 1.0), (30, 3.0), (20, 2.0)],
        (3, 1, vec![]),
        &[0, 10, 20, 30],
    )
    .await;
    check(&[(0, 1.0)], &[(30, 3.0), (30, 4.0)], (1, 0, vec![(Refusal::Duplicate, 1)]), &[0, 30])
        .await;
}

#[tokio::test]
async fn a_series_that_occurs_twice_in_a_batch_is_judged_as_one() {
    let storage = Storage::memory(Limits::default());
    let mut twice = batch("m", &[(10, 1.0)]);
    twice.series.extend(batch("n", &[(10, 1.0)]).series);
    twice.series.extend(batch("m", &[(10, 2.0), (20, 2.0)]).series);
    let outcome = write(&storage, twice).await;
    assert_eq!(counts(&outcome), (3, 0, vec![(Refusal::Duplicate, 1)]));
    assert_eq!(outcome.refused[0].example, labels("m", 1));
    assert_eq!(times(&storage.reader(), "m").await, [10, 20]);
}

#[tokio::test]
async fn without_a_window_nothing_late_is_taken() {
    let storage =
        Storage::memory(Limits { out_of_order_window: Duration::ZERO, ..Limits::default() });
    write(&storage, batch("m", &[(10, 1.0)])).await;
    let outcome = write(&storage, batch("m", &[(9, 1.0), (10, 1.0), (11, 1.0)])).await;
    assert_eq!(counts(&outcome), (1, 1, vec![(Refusal::OutOfOrder, 1)]));
}

#[tokio::test]
async fn a_new_series_beyond_the_limit_is_refused_and_known_ones_go_on() {
    let storage = Storage::memory(Limits { series_max: 2, metadata_max: 1, ..Limits::default() });
    let metadata = ["a", "b"].map(|name| (name.to_owned(), Metadata::default()));
    let series =
        ["a", "b", "c"].iter().flat_map(|name| batch(name, &[(0, 1.0), (1, 1.0)]).series).collect();
    let outcome = write(&storage, Batch { series, metadata: metadata.to_vec() }).await;
    assert_eq!(
        counts(&outcome),
        (4, 0, vec![(Refusal::MetadataLimit, 1), (Refusal::SeriesLimit, 2)])
    );
    assert_eq!(counts(&write(&storage, batch("b", &[(2, 1.0)])).await), (1, 0, vec![]));
    assert_eq!(outcome.refused_count(), 3);
    let totals: Vec<u64> = storage.stats().refused_total.iter().map(|(_, count)| *count).collect();
    assert_eq!(totals, [0, 0, 0, 2, 0, 1]);
}

#[tokio::test]
async fn a_series_without_labels_is_refused_and_one_without_samples_is_nothing() {
    let storage = Storage::memory(Limits::default());
    let nameless = Series { labels: Labels::empty(), samples: vec![Sample::new(0, 1.0)] };
    let empty = Series { labels: labels("m", 1), samples: Vec::new() };
    let outcome =
        write(&storage, Batch { series: vec![nameless, empty], metadata: Vec::new() }).await;
    assert_eq!(counts(&outcome), (0, 0, vec![(Refusal::NoLabels, 1)]));
    assert_eq!(storage.stats().series, 0);
}

#[tokio::test]
async fn a_sample_that_has_outlived_the_retention_makes_no_series() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open_with(LocalConfig::new(dir.path())).await;
    let expired = -16 * 24 * HOUR;
    let outcome = write(&storage, batch("m", &[(expired, 1.0)])).await;
    assert_eq!(counts(&outcome), (0, 0, vec![(Refusal::TooOld, 1)]));
    assert_eq!((storage.stats().series, storage.stats().wal.unwrap().bytes), (0, 0));
}

#[tokio::test]
async fn extreme_times_and_values_are_stored_as_they_are() {
    let storage = Storage::memory(Limits::default());
    let times = [i64::MIN, -1, 0, 1, i64::MAX];
    let samples = times.iter().map(|at| Sample::new(*at, f64::from_bits(*at as u64))).collect();
    let outcome = write(
        &storage,
        Batch { series: vec![Series { labels: labels("m", 1), samples }], metadata: vec![] },
    )
    .await;
    assert_eq!(outcome.stored, 5);
    let wanted: Vec<(i64, u64)> = times.iter().map(|at| (*at, *at as u64)).collect();
    assert_eq!(content(&storage.reader()).await[&labels("m", 1)], wanted);
}

#[tokio::test]
async fn a_closed_store_takes_nothing_and_can_still_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open_with(LocalConfig::new(dir.path())).await;
    write(&storage, batch("m", &[(0, 1.0)])).await;
    storage.close().await.unwrap();
    let error = storage.writer().write(batch("m", &[(1, 1.0)])).await.unwrap_err();
    assert!(matches!(error, WriteError::Closed), "{error}");
    assert_eq!(times(&storage.reader(), "m").await, [0]);
    storage.maintain(NOW).await.unwrap();
}

#[tokio::test]
async fn writers_and_readers_at_once_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open_with(LocalConfig::new(dir.path())).await;
    let lanes = ["a", "b", "c", "d"].map(|name| {
        let storage = storage.clone();
        async move {
            for at in 0..200 {
                write(&storage, batch(name, &[(at * 1_000, at as f64)])).await;
                times(&storage.reader(), name).await;
            }
        }
    });
    let [a, b, c, d] = lanes;
    tokio::join!(a, b, c, d);
    storage.close().await.unwrap();
    let read = content(&storage.reader()).await;
    drop(storage);
    assert_eq!(read.values().map(Vec::len).collect::<Vec<_>>(), [200; 4]);
    assert_eq!(content(&open_with(LocalConfig::new(dir.path())).await.reader()).await, read);
}
