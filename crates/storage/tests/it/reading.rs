//! What a reader sees.

use model::{Labels, MatchOp, Matcher, Metadata, MetricKind, Sample, Selection, Series, Timestamp};
use storage::{Batch, Limits, Reader, Storage};

use crate::support::{NOW, batch, bits, content, expected, round, selection, times, write};

async fn filled() -> Reader {
    let storage = Storage::memory(Limits::default());
    let rows = [
        ("cpu_idle", "a", "idc-1"),
        ("cpu_idle", "b", "idc-1"),
        ("cpu_idle", "c", ""),
        ("mem_free", "a", "idc-2"),
    ];
    let series = rows
        .iter()
        .enumerate()
        .map(|(i, (name, host, idc))| Series {
            labels: Labels::from_pairs([("__name__", *name), ("endpoint", *host), ("idc", *idc)]),
            samples: vec![Sample::new(i as i64 * 1_000, i as f64)],
        })
        .collect();
    write(&storage, Batch { series, metadata: Vec::new() }).await;
    storage.reader()
}

/// Selects by matchers written as (label, operator, value), and names the hosts found.
async fn check(matchers: &[(&str, MatchOp, &str)], hosts: &[&str]) {
    let matchers = matchers
        .iter()
        .map(|(name, op, value)| Matcher::new(name, *op, value).expect("the pattern is valid"))
        .collect();
    let found = filled().await.select(&selection(matchers)).await.expect("the store can be read");
    let mut names: Vec<&str> =
        found.iter().filter_map(|series| series.labels.get("endpoint")).collect();
    names.sort_unstable();
    assert_eq!(names, hosts);
}

#[tokio::test]
async fn matchers_pick_series_as_in_prometheus() {
    use MatchOp::{Equal, NotEqual, NotRegex, Regex};
    check(&[("__name__", Equal, "cpu_idle")], &["a", "b", "c"]).await;
    check(&[("__name__", Equal, "cpu_idle"), ("idc", Equal, "")], &["c"]).await;
    check(&[("__name__", Equal, "cpu_idle"), ("idc", NotEqual, "")], &["a", "b"]).await;
    check(&[("idc", Regex, "idc-.")], &["a", "a", "b"]).await;
    check(&[("idc", Regex, "idc-1|idc-2"), ("endpoint", NotRegex, "b|c")], &["a", "a"]).await;
    check(&[("__name__", Regex, ".*_free|nothing")], &["a"]).await;
    check(&[("nothing", Equal, "x")], &[]).await;
}

#[tokio::test]
async fn a_span_includes_both_ends() {
    let matchers = vec![Matcher::equal("__name__", "cpu_idle")];
    let span = Selection { matchers, start: Timestamp(1_000), end: Timestamp(2_000) };
    let found = filled().await.select(&span).await.unwrap();
    assert_eq!(
        found.iter().map(|s| s.samples[0].timestamp).collect::<Vec<_>>(),
        [Timestamp(1_000), Timestamp(2_000)]
    );
}

#[tokio::test]
async fn series_of_several_selections_are_joined_and_sorted() {
    let reader = filled().await;
    let by = |name, value| selection(vec![Matcher::equal(name, value)]);
    let found = reader.series(&[by("endpoint", "a"), by("__name__", "cpu_idle")], 0).await.unwrap();
    assert_eq!(found.len(), 4);
    assert!(found.is_sorted());
    assert_eq!(reader.series(&[by("endpoint", "a")], 1).await.unwrap().len(), 1);
    assert!(reader.series(&[], 0).await.unwrap().is_empty());
}

#[tokio::test]
async fn label_names_and_values_are_sorted_and_follow_selections_and_span() {
    let reader = filled().await;
    let (start, end) = (Timestamp::MIN, Timestamp::MAX);
    let only_c = [selection(vec![Matcher::equal("endpoint", "c")])];
    let cpu = [selection(vec![Matcher::equal("__name__", "cpu_idle")])];
    assert_eq!(
        reader.label_names(&[], start, end, 0).await.unwrap(),
        ["__name__", "endpoint", "idc"]
    );
    assert_eq!(reader.label_names(&only_c, start, end, 0).await.unwrap(), ["__name__", "endpoint"]);
    assert_eq!(reader.label_names(&[], start, end, 1).await.unwrap(), ["__name__"]);
    assert_eq!(reader.label_values("endpoint", &[], start, end, 0).await.unwrap(), ["a", "b", "c"]);
    assert_eq!(reader.label_values("idc", &cpu, start, end, 0).await.unwrap(), ["idc-1"]);
    assert_eq!(
        reader.label_values("endpoint", &cpu, start, Timestamp(1_500), 0).await.unwrap(),
        ["a", "b"]
    );
    assert!(reader.label_values("nothing", &[], start, end, 0).await.unwrap().is_empty());
}

#[tokio::test]
async fn metadata_is_answered_by_name_or_in_order() {
    let storage = Storage::memory(Limits::default());
    let metadata = |kind| Metadata { kind, help: "Help.".to_owned(), unit: String::new() };
    let pairs = [("b", MetricKind::Gauge), ("a", MetricKind::Counter), ("b", MetricKind::Summary)];
    let metadata_of =
        pairs.iter().map(|(name, kind)| ((*name).to_owned(), metadata(*kind))).collect();
    write(&storage, Batch { series: Vec::new(), metadata: metadata_of }).await;
    let reader = storage.reader();
    let all = reader.metadata(None, 0).await.unwrap();
    assert_eq!(
        all,
        [
            ("a".to_owned(), metadata(MetricKind::Counter)),
            ("b".to_owned(), metadata(MetricKind::Summary))
        ]
    );
    assert_eq!(reader.metadata(Some("b"), 0).await.unwrap(), all[1..]);
    assert_eq!(reader.metadata(None, 1).await.unwrap(), all[..1]);
    assert!(reader.metadata(Some("c"), 0).await.unwrap().is_empty());
}

#[tokio::test]
async fn every_bit_comes_back_staleness_markers_included() {
    let storage = Storage::memory(Limits::default());
    for number in 0..300 {
        write(&storage, round(20, number)).await;
    }
    assert_eq!(content(&storage.reader()).await, expected(20, 300));
    let stats = storage.stats();
    assert_eq!((stats.series, stats.samples, stats.stored_total), (20, 6_000, 6_000));
}

#[tokio::test]
async fn a_narrow_span_in_a_long_series_reads_only_its_samples() {
    let storage = Storage::memory(Limits::default());
    let samples: Vec<(i64, f64)> = (0..1_000).map(|i| (i * 1_000, i as f64)).collect();
    write(&storage, batch("m", &samples)).await;
    assert_eq!(times(&storage.reader(), "m").await.len(), 1_000);
    let matchers = vec![Matcher::equal("__name__", "m")];
    let at = |seconds: i64| Timestamp(NOW.millis() + seconds * 1_000);
    let found = storage
        .reader()
        .select(&Selection { matchers, start: at(119), end: at(121) })
        .await
        .unwrap();
    let values: Vec<u64> = bits(&found[0].samples).iter().map(|(_, value)| *value).collect();
    assert_eq!(values, [119.0f64, 120.0, 121.0].map(f64::to_bits));
}
