//! What has left memory for blocks on disk is read as if it had not.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::{Labels, MatchOp, Matcher, Sample, Selection, Series, Timestamp};
use proptest::prelude::*;
use storage::{Batch, Limits, LocalConfig, Refusal, Storage};

use crate::support::{
    NOW, batch, bits, content, expected, labels, open_with, round, segments, times, write,
};

const HOSTS: usize = 20;
const MINUTE: i64 = 60_000;

/// Blocks of ten minutes behind a window of one, so that rounds of ten seconds fill them soon.
fn config(dir: &Path) -> LocalConfig {
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    let limits = Limits { out_of_order_window: minutes(1), ..Limits::default() };
    LocalConfig {
        limits,
        block_span: minutes(10),
        segment_span: minutes(5),
        ..LocalConfig::new(dir)
    }
}

fn at(round: usize) -> Timestamp {
    NOW.plus(Duration::from_secs(round as u64 * 10))
}

/// Writes rounds as they come, with all upkeep.
async fn run(storage: &Storage, rounds: std::ops::Range<usize>) {
    for number in rounds {
        write(storage, round(HOSTS, number)).await;
        storage.maintain(at(number)).await.unwrap();
        storage.compact(at(number)).await.unwrap();
    }
}

fn blocks(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("blocks")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[tokio::test]
async fn memory_and_the_log_hold_the_newest_and_all_is_there_before_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open_with(config(dir.path())).await;
    run(&storage, 0..720).await;
    let stats = storage.stats();
    let on_disk = stats.blocks.unwrap();
    // Two hours were written, at most 21 minutes of them are in memory.
    assert!(stats.samples <= 21 * 6 * HOSTS as u64, "{} samples", stats.samples);
    assert_eq!(stats.samples + on_disk.samples, 720 * HOSTS as u64);
    assert!(on_disk.cut_total > 9 && on_disk.compacted_total > 2, "{on_disk:?}");
    assert!(on_disk.blocks < 7 && on_disk.blocks == blocks(dir.path()).len(), "{on_disk:?}");
    assert!(segments(dir.path()).len() < 8);
    let all = expected(HOSTS, 720);
    assert!(content(&storage.reader()).await == all);

    drop(storage);
    let storage = Storage::open(config(dir.path()), at(720)).await.unwrap();
    let restarted = storage.stats();
    assert!(restarted.wal.unwrap().replay.samples <= 27 * 6 * HOSTS as u64);
    assert_eq!(restarted.samples, stats.samples);
    assert!(content(&storage.reader()).await == all);
    run(&storage, 720..800).await;
    assert!(content(&storage.reader()).await == expected(HOSTS, 800));
}

#[tokio::test]
async fn a_span_is_read_across_blocks_and_memory() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open_with(config(dir.path())).await;
    run(&storage, 0..400).await;
    let select = async |from: usize, to: usize, samples_max: usize| {
        let matchers = vec![Matcher::equal("endpoint", "host-3")];
        let selection = Selection { matchers, start: at(from), end: at(to) };
        storage.reader().select_at_most(&selection, samples_max).await
    };
    for (from, to) in [(0, 399), (17, 17), (55, 70), (58, 380), (398, 500)] {
        let found = select(from, to, 1_000).await.unwrap();
        let wanted = &expected(HOSTS, 400)[&labels("m", 3)];
        let last = to.min(399);
        assert_eq!(bits(&found[0].samples), wanted[from..=last], "{from} to {to}");
    }
    assert_eq!(select(0, 399, 400).await.unwrap().len(), 1);
    let error = select(0, 399, 399).await.unwrap_err();
    assert!(error.to_string().contains("more than 399 samples"), "{error}");
}

#[tokio::test]
async fn what_comes_late_is_judged_by_what_is_in_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open_with(config(dir.path())).await;
    // Host 1 falls silent after half an hour; its series leaves memory.
    write(&storage, batch("m", &[(0, 1.0), (29 * MINUTE, 2.0)])).await;
    write(&storage, batch("other", &[(90 * MINUTE, 1.0)])).await;
    let now = NOW.plus(Duration::from_secs(91 * 60));
    storage.compact(now).await.unwrap();
    storage.maintain(now).await.unwrap();
    assert_eq!((storage.stats().series, storage.stats().blocks.unwrap().blocks), (1, 1));

    let late = [(0, 1.0), (29 * MINUTE, 3.0), (MINUTE, 1.0), (29 * MINUTE - 5_000, 4.0)];
    let outcome = write(&storage, batch("m", &late)).await;
    let count = |reason| {
        outcome.refused.iter().filter(|r| r.reason == reason).map(|r| r.count).sum::<usize>()
    };
    assert_eq!((outcome.stored, outcome.unchanged), (1, 1));
    assert_eq!((count(Refusal::Duplicate), count(Refusal::TooOld)), (1, 1));
    let wanted = [0, 29 * MINUTE - 5_000, 29 * MINUTE];
    assert_eq!(times(&storage.reader(), "m").await, wanted);

    drop(storage);
    let storage = Storage::open(config(dir.path()), now).await.unwrap();
    assert_eq!(times(&storage.reader(), "m").await, wanted);
    // What came late goes into a block with the next cut.
    write(&storage, batch("other", &[(120 * MINUTE, 1.0)])).await;
    storage.compact(NOW.plus(Duration::from_secs(121 * 60))).await.unwrap();
    assert_eq!(times(&storage.reader(), "m").await, wanted);
    assert_eq!(storage.stats().samples, 1);
}

#[tokio::test]
async fn retention_deletes_whole_blocks_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.limits.retention = Duration::from_secs(3600);
    let storage = open_with(config).await;
    run(&storage, 0..1_000).await;
    let found = content(&storage.reader()).await;
    let oldest = found[&labels("m", 3)][0].0 - NOW.millis();
    let horizon = 9_990_000 - 60 * MINUTE;
    assert!(horizon - 10 * MINUTE <= oldest && oldest <= horizon, "{oldest}");
    assert!(storage.stats().blocks.unwrap().deleted_total > 5);
}

#[tokio::test]
async fn retention_deletes_the_oldest_blocks_beyond_a_size() {
    let dir = tempfile::tempdir().unwrap();
    let bytes_max = 100_000;
    let storage = open_with(LocalConfig { block_bytes_max: bytes_max, ..config(dir.path()) }).await;
    run(&storage, 0..1_500).await;
    let stats = storage.stats().blocks.unwrap();
    assert!(stats.deleted_total > 0 && stats.blocks > 1 && stats.bytes <= bytes_max, "{stats:?}");
    let all = expected(HOSTS, 1_500);
    for (labels, samples) in content(&storage.reader()).await {
        assert!(all[&labels].ends_with(&samples), "the newest are kept");
    }
}

/// Flips a bit of a file.
fn damage(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 4;
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_damaged_block_fails_one_question_with_a_clear_error_and_is_set_aside() {
    for file in ["chunks", "index"] {
        let dir = tempfile::tempdir().unwrap();
        let storage = open_with(config(dir.path())).await;
        run(&storage, 0..150).await;
        drop(storage);
        let first = blocks(dir.path()).remove(0);
        damage(&first.join(file), 700);
        let storage = Storage::open(config(dir.path()), at(150)).await.unwrap();
        let everything = Matcher::new("__name__", MatchOp::Regex, ".+").unwrap();
        let all = crate::support::selection(vec![everything]);
        let error = storage.reader().select(&all).await.unwrap_err().to_string();
        let wanted = format!("{}/{file} is damaged: the checksum of the ", first.display());
        assert!(error.starts_with(&wanted), "{error}");
        assert!(error.ends_with("what is asked next is answered without it"), "{error}");

        let found = content(&storage.reader()).await;
        let whole = expected(HOSTS, 150);
        for (labels, samples) in &found {
            assert!(whole[labels].ends_with(samples) && samples.len() < 150);
        }
        let stats = storage.stats().blocks.unwrap();
        assert_eq!((stats.damaged_total, stats.faults.len()), (1, 1));
        assert!(stats.faults[0].path.ends_with("0000000001.damaged"), "{stats:?}");
        assert!(stats.faults[0].path.join("meta").exists() && !first.exists());
        // It goes on, and what was set aside can be put back by hand.
        run(&storage, 150..300).await;
        storage.close().await.unwrap();
        drop(storage);
        fs::rename(&stats.faults[0].path, &first).unwrap();
        damage(&first.join(file), 700);
        let storage = Storage::open(config(dir.path()), at(300)).await.unwrap();
        assert!(content(&storage.reader()).await == expected(HOSTS, 300));
    }
}

#[tokio::test]
async fn a_block_that_is_damaged_at_the_start_is_made_again_as_far_as_the_log_still_has_it() {
    for file in ["meta", "chunks", "index"] {
        let dir = tempfile::tempdir().unwrap();
        let storage = open_with(config(dir.path())).await;
        run(&storage, 0..75).await;
        drop(storage);
        let block = blocks(dir.path()).remove(0);
        let path = block.join(file);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let storage = Storage::open(config(dir.path()), at(75)).await.unwrap();
        let faults = storage.stats().blocks.unwrap().faults;
        assert!(faults.len() == 1 && faults[0].reason.contains(file), "{faults:?}");
        let found = content(&storage.reader()).await;
        let whole = expected(HOSTS, 75);
        assert!(found.iter().all(|(labels, samples)| whole[labels].ends_with(samples)));
        run(&storage, 75..150).await;
        assert!(content(&storage.reader()).await.values().all(|samples| samples.len() >= 75));
    }
}

#[tokio::test]
async fn what_does_not_belong_among_the_blocks_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["lost+found", "0000000007.damaged", "0000000008.unfinished", "0000000009.deleted"]
    {
        fs::create_dir_all(dir.path().join("blocks").join(name)).unwrap();
    }
    let storage = open_with(config(dir.path())).await;
    let names: Vec<_> =
        blocks(dir.path()).iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["0000000007.damaged", "lost+found"]);
    run(&storage, 0..75).await;
    assert!(dir.path().join("blocks/0000000010").exists());
}

fn row(name: &str, x: &str, y: &str, millis: i64) -> Series {
    let labels = Labels::from_pairs([("__name__", name), ("x", x), ("y", y)]);
    Series { labels, samples: vec![Sample::new(NOW.millis() + millis, millis as f64)] }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn blocks_answer_every_question_as_memory_does(
        rows in prop::collection::vec(("[ab]", "[abc]?", "[a-d]{0,2}", 0i64..60), 1..60),
        asked in prop::collection::vec((0usize..4, 0usize..4, "[a-d]{0,2}|a\\|b|[ab]\\+|\\.\\*|\\.\\+|a\\||a\\.\\*|[ab][cd]\\?"), 0..4),
        from in 0i64..60, length in 0i64..60,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let mut config = config(dir.path());
            config.limits.out_of_order_window = Duration::ZERO;
            let (local, memory) = (open_with(config).await, Storage::memory(Limits::default()));
            let mut rows = rows;
            rows.sort_by_key(|(.., minute)| *minute);
            for (name, x, y, minute) in &rows {
                let series = || vec![row(name, x, y, minute * MINUTE)];
                write(&memory, Batch { series: series(), metadata: Vec::new() }).await;
                write(&local, Batch { series: series(), metadata: Vec::new() }).await;
                local.compact(NOW.plus(Duration::from_secs(*minute as u64 * 60))).await.unwrap();
            }
            let names = ["__name__", "x", "y", "z"];
            let ops = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
            let matchers = asked
                .iter()
                .map(|(name, op, value)| Matcher::new(names[*name], ops[*op], value).unwrap());
            let start = Timestamp(NOW.millis() + from * MINUTE);
            let end = Timestamp(start.millis() + length * MINUTE);
            let selection = Selection { matchers: matchers.collect(), start, end };
            let (local, memory) = (local.reader(), memory.reader());
            let sorted = |mut found: Vec<Series>| {
                found.sort_by(|left, right| left.labels.cmp(&right.labels));
                found
            };
            assert_eq!(sorted(local.select(&selection).await.unwrap()), sorted(memory.select(&selection).await.unwrap()));
            // Which series have a chunk in a span is judged more closely where chunks are smaller.
            let whole = Selection { start: Timestamp::MIN, end: Timestamp::MAX, ..selection };
            let (start, end) = (Timestamp::MIN, Timestamp::MAX);
            for selections in [vec![whole], Vec::new()] {
                assert_eq!(local.series(&selections, 0).await.unwrap(), memory.series(&selections, 0).await.unwrap());
                assert_eq!(
                    local.label_names(&selections, start, end, 0).await.unwrap(),
                    memory.label_names(&selections, start, end, 0).await.unwrap()
                );
                for (name, limit) in [("__name__", 0), ("y", 0), ("y", 2), ("none", 0)] {
                    assert_eq!(
                        local.label_values(name, &selections, start, end, limit).await.unwrap(),
                        memory.label_values(name, &selections, start, end, limit).await.unwrap()
                    );
                }
            }
        });
    }
}
