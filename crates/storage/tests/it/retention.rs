//! What happens to samples that have outlived the retention.

use std::time::Duration;

use storage::{Limits, LocalConfig, Storage};

use crate::support::{NOW, batch, content, open_with, segments, times, write};

const HOUR: i64 = 3_600_000;

fn limits() -> Limits {
    Limits { retention: Duration::from_secs(10 * 3600), ..Limits::default() }
}

fn after(hours: u64) -> model::Timestamp {
    NOW.plus(Duration::from_secs(hours * 3600))
}

#[tokio::test]
async fn an_expired_series_goes_with_its_labels() {
    let storage = Storage::memory(limits());
    write(&storage, batch("old", &[(0, 1.0)])).await;
    write(&storage, batch("new", &[(9 * HOUR, 1.0)])).await;
    storage.maintain(after(9)).await.unwrap();
    assert_eq!(storage.stats().series, 2);
    storage.maintain(after(11)).await.unwrap();
    let stats = storage.stats();
    assert_eq!((stats.series, stats.samples), (1, 1));
    let (start, end) = (model::Timestamp::MIN, model::Timestamp::MAX);
    assert_eq!(
        storage.reader().label_values("__name__", &[], start, end, 0).await.unwrap(),
        ["new"]
    );
    write(&storage, batch("old", &[(11 * HOUR, 2.0)])).await;
    assert_eq!(times(&storage.reader(), "old").await, [11 * HOUR]);
}

#[tokio::test]
async fn expired_segments_are_deleted_and_the_rest_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let config = || LocalConfig { limits: limits(), ..LocalConfig::new(dir.path()) };
    let storage = open_with(config()).await;
    for hour in 0..40 {
        // Segments are an hour long by default.
        storage.maintain(after(hour)).await.unwrap();
        write(&storage, batch("m", &[(hour as i64 * HOUR, hour as f64)])).await;
        write(&storage, batch(&format!("once_{hour}"), &[(hour as i64 * HOUR, 1.0)])).await;
    }
    storage.maintain(after(40)).await.unwrap();
    assert_eq!(segments(dir.path()).len(), 10);
    assert!(storage.stats().series < 15, "{} series", storage.stats().series);
    drop(storage);

    let storage = Storage::open(config(), after(40)).await.unwrap();
    let kept: Vec<i64> = (30..40).map(|hour| hour * HOUR).collect();
    assert_eq!(times(&storage.reader(), "m").await, kept);
    assert_eq!(content(&storage.reader()).await.len(), 11);
    write(&storage, batch("m", &[(41 * HOUR, 1.0)])).await;
    storage.maintain(after(60)).await.unwrap();
    assert_eq!((storage.stats().series, segments(dir.path()).len()), (0, 1));
}

#[tokio::test]
async fn a_number_given_out_again_is_not_mixed_up_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let long = Duration::from_secs(1_000 * 3600);
    let config =
        || LocalConfig { limits: limits(), segment_span: long, ..LocalConfig::new(dir.path()) };
    let storage = open_with(config()).await;
    write(&storage, batch("old", &[(0, 1.0)])).await;
    storage.maintain(after(11)).await.unwrap();
    assert_eq!(storage.stats().series, 0);
    write(&storage, batch("new", &[(11 * HOUR, 2.0)])).await;
    drop(storage);
    assert_eq!(segments(dir.path()).len(), 1);
    let storage = Storage::open(config(), after(11)).await.unwrap();
    assert_eq!(times(&storage.reader(), "new").await, [11 * HOUR]);
    assert_eq!(content(&storage.reader()).await.len(), 1);
}

#[tokio::test]
async fn a_clock_that_was_ahead_for_a_while_refuses_nothing_afterwards() {
    let storage = Storage::memory(limits());
    storage.maintain(after(100_000)).await.unwrap();
    assert_eq!(write(&storage, batch("m", &[(0, 1.0)])).await.stored, 0);
    storage.maintain(after(0)).await.unwrap();
    assert_eq!(write(&storage, batch("m", &[(0, 1.0)])).await.stored, 1);
}
