//! A process that dies, and a disk that is full. Both need a process of their own: the test binary
//! runs itself again.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use storage::{Limits, LocalConfig, WriteError};

use crate::support::{NOW, content, expected, open, open_with, round, write};

const DIR: &str = "SAKER_STORAGE_TEST_DIR";
const FIRST_ROUND: &str = "SAKER_STORAGE_TEST_FIRST_ROUND";
const HOSTS: usize = 50;

fn setting(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Small segments and blocks, so that some rounds die near a segment's end, or while a block is cut
/// or merged.
fn config(dir: &Path) -> LocalConfig {
    let out_of_order_window = Duration::from_secs(30);
    LocalConfig {
        limits: Limits { out_of_order_window, ..Limits::default() },
        segment_bytes_max: 64 << 10,
        block_span: Duration::from_secs(40),
        ..LocalConfig::new(dir)
    }
}

fn writer_process(dir: &Path, first_round: usize) -> Child {
    Command::new(std::env::current_exe().expect("a test binary knows its path"))
        .args(["crash::writer_that_is_killed", "--exact", "--nocapture"])
        .env(DIR, dir)
        .env(FIRST_ROUND, first_round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the test binary can be started")
}

/// Does nothing unless the test below started it; then it writes and acknowledges until it is
/// killed.
#[tokio::test]
async fn writer_that_is_killed() {
    let (Some(dir), Some(first)) = (setting(DIR), setting(FIRST_ROUND)) else { return };
    let storage = open_with(config(&PathBuf::from(dir))).await;
    let first: usize = first.to_str().unwrap().parse().unwrap();
    for number in first.. {
        write(&storage, round(HOSTS, number)).await;
        writeln!(std::io::stdout(), "stored {number}").unwrap();
        storage.compact(NOW.plus(Duration::from_secs(number as u64 * 10))).await.unwrap();
    }
}

#[tokio::test]
async fn kill_9_at_any_moment_loses_no_acknowledged_sample() {
    let dir = tempfile::tempdir().unwrap();
    let mut rounds = 0;
    for life in 0..10 {
        let mut child = writer_process(dir.path(), rounds);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = (&mut lines)
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("stored ")?.parse::<usize>().ok())
            .nth(life * 37 % 101)
            .unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let rest = lines
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("stored ")?.parse::<usize>().ok());
        acknowledged = rest.last().unwrap_or(acknowledged);

        let storage = open_with(config(dir.path())).await;
        let found = content(&storage.reader()).await;
        rounds = found.values().map(Vec::len).max().unwrap();
        assert!(
            rounds > acknowledged,
            "{acknowledged} was acknowledged, {rounds} rounds are stored"
        );
        assert!(
            found == expected(HOSTS, rounds),
            "a sample of the first {rounds} rounds is lost or changed"
        );
        assert_eq!(storage.stats().blocks.unwrap().faults, []);
        storage.close().await.unwrap();
    }
    let storage = open_with(config(dir.path())).await;
    assert!(storage.stats().blocks.unwrap().blocks > 1, "blocks were cut meanwhile");
}

/// Does nothing unless the test below started it, with a bound on the size of files.
#[tokio::test]
async fn writer_on_a_full_disk() {
    let Some(dir) = setting(DIR).filter(|_| setting(FIRST_ROUND).is_none()) else { return };
    let dir = PathBuf::from(dir);
    let storage = open(&dir).await;
    let mut stored = 0;
    let error = loop {
        match storage.writer().write(round(HOSTS, stored)).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, WriteError::Wal { .. }) && error.to_string().contains("0000000001.wal"),
        "{error}"
    );
    assert!(content(&storage.reader()).await == expected(HOSTS, stored));
    assert_eq!(storage.stats().wal.unwrap().write_errors_total, 1);

    let too_many = round(20_000, stored);
    storage.writer().write(too_many).await.unwrap_err();
    assert_eq!(storage.stats().series, HOSTS);
    for number in stored..stored + 10 {
        write(&storage, round(HOSTS, number)).await;
    }
    storage.close().await.unwrap();
    drop(storage);
    let storage = open(&dir).await;
    assert!(content(&storage.reader()).await == expected(HOSTS, stored + 10));
    assert_eq!(storage.stats().wal.unwrap().replay.faults, []);
}

#[test]
fn a_full_disk_refuses_whole_batches_and_later_writes_work_again() {
    let dir = tempfile::tempdir().unwrap();
    // The kernel takes of a write what fits below the bound and fails the rest, as a full disk
    // does.
    let output = Command::new("sh")
        .args(["-c", "ulimit -f 200; trap '' XFSZ; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["crash::writer_on_a_full_disk", "--exact", "--nocapture"])
        .env(DIR, dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    assert!(dir.path().join("wal/0000000001.wal").exists());
}
