//! A damaged write-ahead log: what can be read is kept, and the rest is named.

use std::fs;
use std::path::Path;

use storage::{LocalConfig, Storage};

use crate::support::{Content, NOW, content, expected, open, open_with, round, segments, write};

const HOSTS: usize = 5;
const ROUNDS: usize = 6;

/// A store of one segment with a record a round; where each record ends.
async fn small_log(dir: &Path) -> Vec<usize> {
    let storage = open(dir).await;
    let mut ends = vec![8];
    for number in 0..ROUNDS {
        write(&storage, round(HOSTS, number)).await;
        ends.push(storage.stats().wal.expect("the store is on disk").bytes as usize);
    }
    ends
}

fn content_of(rounds: usize) -> Content {
    expected(HOSTS, rounds)
}

/// Opens a log made of these bytes; answers how many rounds are there, checking that each is whole.
async fn rounds_after(bytes: &[u8]) -> (usize, Storage, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory can be made");
    fs::create_dir(dir.path().join("wal")).expect("the directory is new");
    fs::write(dir.path().join("wal/0000000001.wal"), bytes).expect("the file can be written");
    let storage = open(dir.path()).await;
    let found = content(&storage.reader()).await;
    let rounds = found.values().map(Vec::len).max().unwrap_or(0);
    assert_eq!(found, content_of(rounds));
    (rounds, storage, dir)
}

#[tokio::test]
async fn a_tail_torn_off_anywhere_costs_the_torn_record_only() {
    let dir = tempfile::tempdir().unwrap();
    let ends = small_log(dir.path()).await;
    let whole = fs::read(&segments(dir.path())[0]).unwrap();
    for length in 0..=whole.len() {
        let (rounds, storage, opened) = rounds_after(&whole[..length]).await;
        let complete = ends.iter().filter(|end| **end <= length).count().saturating_sub(1);
        assert_eq!(rounds, complete, "cut at {length}");
        let faults = storage.stats().wal.unwrap().replay.faults;
        let is_boundary = length == 0 || ends.contains(&length);
        assert_eq!(faults.is_empty(), is_boundary, "cut at {length}");
        if let Some(fault) = faults.first() {
            let kept = if length < 8 { 0 } else { ends[complete] };
            assert_eq!(
                (fault.offset, fault.bytes_lost, fault.cut),
                (kept as u64, (length - kept) as u64, kept > 0)
            );
            assert_eq!(fault.path, segments(opened.path())[0]);
        }
    }
}

#[tokio::test]
async fn a_log_that_was_cut_is_whole_afterwards_and_can_be_written_to() {
    let dir = tempfile::tempdir().unwrap();
    small_log(dir.path()).await;
    let whole = fs::read(&segments(dir.path())[0]).unwrap();
    let (rounds, storage, opened) = rounds_after(&whole[..whole.len() - 3]).await;
    assert_eq!(rounds, ROUNDS - 1);
    for number in rounds..ROUNDS + 2 {
        write(&storage, round(HOSTS, number)).await;
    }
    drop(storage);
    let storage = open(opened.path()).await;
    assert_eq!(content(&storage.reader()).await, content_of(ROUNDS + 2));
    assert_eq!(storage.stats().wal.unwrap().replay.faults, []);
}

#[tokio::test]
async fn a_flipped_bit_costs_its_record_and_those_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let ends = small_log(dir.path()).await;
    let whole = fs::read(&segments(dir.path())[0]).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        let (rounds, storage, _opened) = rounds_after(&bytes).await;
        let intact = ends.iter().filter(|end| **end <= at).count().saturating_sub(1);
        assert_eq!(rounds, intact, "bit flipped at byte {at}");
        assert_eq!(storage.stats().wal.unwrap().replay.faults.len(), 1);
    }
}

#[tokio::test]
async fn zeros_or_noise_at_the_end_are_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    small_log(dir.path()).await;
    let whole = fs::read(&segments(dir.path())[0]).unwrap();
    for tail in [vec![0; 1], vec![0; 5_000], vec![0xff; 5_000], b"SAKRWAL1".to_vec()] {
        let (rounds, storage, opened) = rounds_after(&[whole.as_slice(), &tail].concat()).await;
        let faults = storage.stats().wal.unwrap().replay.faults;
        assert_eq!((rounds, faults[0].bytes_lost), (ROUNDS, tail.len() as u64));
        assert_eq!(fs::read(&segments(opened.path())[0]).unwrap(), whole);
    }
}

#[tokio::test]
async fn damage_in_the_middle_costs_the_rest_of_its_segment_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let small = || LocalConfig { segment_bytes_max: 300, ..LocalConfig::new(dir.path()) };
    let storage = open_with(small()).await;
    for number in 0..30 {
        write(&storage, round(HOSTS, number)).await;
    }
    drop(storage);
    let paths = segments(dir.path());
    assert!(paths.len() > 4, "{} segments", paths.len());
    let mut bytes = fs::read(&paths[2]).unwrap();
    let at = bytes.len() - 5;
    bytes[at] ^= 1;
    fs::write(&paths[2], &bytes).unwrap();

    let storage = open_with(small()).await;
    let faults = storage.stats().wal.unwrap().replay.faults;
    assert_eq!((faults.len(), &faults[0].path, faults[0].cut), (1, &paths[2], false));
    assert_eq!(fs::read(&paths[2]).unwrap(), bytes);
    let found = content(&storage.reader()).await;
    for (labels, samples) in content_of(30) {
        let lost = samples.iter().filter(|sample| !found[&labels].contains(sample)).count();
        assert_eq!(lost, 1);
    }
    write(&storage, round(HOSTS, 30)).await;
    drop(storage);
    let found = content(&open_with(small()).await.reader()).await;
    assert!(found.values().all(|samples| samples.len() == 30));
}

#[tokio::test]
async fn a_segment_of_another_format_is_left_alone() {
    let (rounds, storage, opened) = rounds_after(b"SAKRWAL9 of a later version").await;
    assert_eq!(rounds, 0);
    let fault = storage.stats().wal.unwrap().replay.faults.remove(0);
    assert_eq!((fault.offset, fault.bytes_lost, fault.cut), (0, 27, false));
    write(&storage, round(HOSTS, 0)).await;
    storage.maintain(NOW).await.unwrap();
    drop(storage);
    assert_eq!(fs::read(&segments(opened.path())[0]).unwrap(), b"SAKRWAL9 of a later version");
    assert_eq!(content(&open(opened.path()).await.reader()).await, content_of(1));
}
