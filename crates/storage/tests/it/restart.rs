//! A store that is opened again, and one that cannot be opened.

use std::fs;

use model::{Metadata, MetricKind};
use storage::{Batch, LocalConfig, OpenError, Storage};

use crate::support::{
    NOW, batch, content, expected, open, open_with, round, segments, times, write,
};

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path()).await;
    for number in 0..150 {
        write(&storage, round(30, number)).await;
    }
    drop(storage);
    let storage = open(dir.path()).await;
    assert_eq!(content(&storage.reader()).await, expected(30, 150));
    let replay = storage.stats().wal.unwrap().replay;
    assert_eq!(
        (replay.segments, replay.records, replay.samples, replay.faults.len()),
        (1, 150, 4_500, 0)
    );
    for number in 150..160 {
        write(&storage, round(30, number)).await;
    }
    storage.close().await.unwrap();
    assert_eq!(content(&open(dir.path()).await.reader()).await, expected(30, 160));
}

#[tokio::test]
async fn late_samples_and_first_values_are_the_same_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path()).await;
    write(&storage, batch("m", &[(100, 1.0), (300, 3.0)])).await;
    write(&storage, batch("m", &[(300, 4.0), (200, 2.0)])).await;
    let backlog: Vec<(i64, f64)> = (0..400).map(|i| (-400 + i, i as f64)).collect();
    write(&storage, batch("m", &backlog)).await;
    let before = content(&storage.reader()).await;
    drop(storage);
    let storage = open(dir.path()).await;
    assert_eq!(content(&storage.reader()).await, before);
    assert_eq!(times(&storage.reader(), "m").await.len(), 403);
    assert_eq!(write(&storage, batch("m", &backlog)).await.unchanged, 400);
}

#[tokio::test]
async fn the_log_goes_on_over_many_segments() {
    let dir = tempfile::tempdir().unwrap();
    let small = || LocalConfig { segment_bytes_max: 4_096, ..LocalConfig::new(dir.path()) };
    let storage = open_with(small()).await;
    for number in 0..100 {
        write(&storage, round(20, number)).await;
    }
    let wal = storage.stats().wal.unwrap();
    assert!(
        wal.segments > 3 && wal.segments == segments(dir.path()).len(),
        "{} segments",
        wal.segments
    );
    let on_disk: u64 =
        segments(dir.path()).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert_eq!(wal.bytes, on_disk);
    storage.maintain(NOW).await.unwrap();
    drop(storage);
    let storage = open_with(small()).await;
    assert_eq!(content(&storage.reader()).await, expected(20, 100));
    assert_eq!(storage.stats().wal.unwrap().bytes, on_disk);
}

#[tokio::test]
async fn metadata_survives_a_restart_and_is_repeated_in_each_segment() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = Metadata {
        kind: MetricKind::Counter,
        help: "Ticks.".to_owned(),
        unit: "seconds".to_owned(),
    };
    let pairs = vec![("m".to_owned(), metadata)];
    let storage = open(dir.path()).await;
    write(&storage, Batch { series: Vec::new(), metadata: pairs.clone() }).await;
    storage.close().await.unwrap();
    drop(storage);
    let storage = open(dir.path()).await;
    write(&storage, batch("m", &[(0, 1.0)])).await;
    drop(storage);
    fs::remove_file(&segments(dir.path())[0]).unwrap();
    assert_eq!(open(dir.path()).await.reader().metadata(None, 0).await.unwrap(), pairs);
}

#[tokio::test]
async fn restarts_without_a_write_leave_no_segments() {
    let dir = tempfile::tempdir().unwrap();
    write(&open(dir.path()).await, batch("m", &[(0, 1.0)])).await;
    for _ in 0..3 {
        open(dir.path()).await.close().await.unwrap();
    }
    assert_eq!(segments(dir.path()).len(), 1);
}

#[tokio::test]
async fn a_second_opener_is_refused_with_the_way_out_until_the_first_has_closed() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).await;
    let error = Storage::open(LocalConfig::new(dir.path()), NOW).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, OpenError::Locked { .. }), "{text}");
    assert!(
        text.contains(&dir.path().display().to_string()) && text.contains("a directory of its own"),
        "{text}"
    );
    first.close().await.unwrap();
    open(dir.path()).await;
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "in the way").unwrap();
    for path in [file.join("data"), "/proc/saker".into()] {
        let error = Storage::open(LocalConfig::new(&path), NOW).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, OpenError::Directory { .. }), "{text}");
        assert!(text.contains(&path.display().to_string()) && text.contains("writable"), "{text}");
    }
}
