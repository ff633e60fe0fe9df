use model::{Labels, Metadata, MetricKind, Sample, Series};
use wire::remote_write::{Limits, decode, encode};

/// What Prometheus 2.42 posted after it had scraped itself and a target that was not there.
const CAPTURED: &[u8] = include_bytes!("data/prometheus-2.42-remote-write.snappy");

#[test]
fn a_request_of_a_real_prometheus_is_read_whole() {
    let decoded = decode(CAPTURED, Limits::default()).expect("Prometheus wrote it");
    assert!(decoded.refused.is_empty(), "{:?}", decoded.refused);
    let up: Vec<&Series> =
        decoded.series.iter().filter(|one| one.labels.metric_name() == "up").collect();
    let value = |job: &str| {
        let series =
            up.iter().find(|one| one.labels.get("job") == Some(job)).expect("each target has one");
        (series.labels.get("site"), series.samples[0].value)
    };
    assert_eq!(value("prom"), (None, 1.0));
    assert_eq!(value("gone"), (Some("北京"), 0.0));
    assert!(
        decoded
            .series
            .iter()
            .all(|one| one.samples.iter().all(|sample| sample.timestamp.seconds() > 1_795_000_000))
    );
}

#[test]
fn what_prometheus_wrote_survives_our_own_encoder() {
    let first = decode(CAPTURED, Limits::default()).expect("Prometheus wrote it");
    let again =
        decode(&encode(&first.series, &first.metadata), Limits::default()).expect("we wrote it");
    assert_eq!(again, first);
}

#[test]
fn every_cut_of_a_request_is_refused_or_read_without_a_panic() {
    for length in 0..CAPTURED.len() {
        assert!(decode(&CAPTURED[..length], Limits::default()).is_err(), "{length} bytes");
    }
}

#[test]
fn the_bytes_of_a_request_stay_what_they_are() {
    let series = Series {
        labels: Labels::from_pairs([("__name__", "up"), ("endpoint", "a")]),
        samples: vec![Sample::new(1_760_000_460_000, 1.0)],
    };
    let about = Metadata { kind: MetricKind::Gauge, help: "Up?".into(), unit: "ratio".into() };
    let body = encode(&[series], &[("up".to_owned(), about)]);
    let message = snap::raw::Decoder::new().decompress_vec(&body).expect("we wrote it");
    let golden = [
        "0a31", // one series
        "0a0e",
        "0a085f5f6e616d655f5f",
        "12027570", // __name__="up"
        "0a0d",
        "0a08656e64706f696e74",
        "120161", // endpoint="a"
        "1210",
        "09000000000000f03f",
        "10e089cfc19c33", // 1 at 1760000460000
        "1a12",
        "0802",
        "12027570",
        "22035570 3f",
        "2a05726174696f",
    ];
    let hex: String = message.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, golden.concat().replace(' ', ""));
}
