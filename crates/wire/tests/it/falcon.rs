use std::borrow::Cow;

use model::Timestamp;
use wire::falcon_json::{CounterType, FalconSample, PushReply, counter_name, decode, encode};

const NOW: Timestamp = Timestamp::from_seconds(1_760_000_460);

#[test]
fn what_a_script_with_the_documented_fields_sends_is_read() {
    let body = r#"[
        {"endpoint": "test-endpoint", "metric": "test-metric", "timestamp": 1760000400, "step": 60,
         "value": 1, "counterType": "GAUGE", "tags": "idc=lg,loc=beijing"},
        {"endpoint": "test-endpoint", "metric": "test-metric2", "timestamp": 1760000400, "step": 60,
         "value": "2.5", "counterType": "COUNTER", "tags": ""}
    ]"#;
    let decoded = decode(body.as_bytes(), NOW, 10).expect("it is a list");
    let series: Vec<String> = decoded
        .samples
        .iter()
        .map(|one| one.to_series().expect("its tags are fine").labels.to_string())
        .collect();
    assert_eq!(
        series,
        [
            r#"test_metric{endpoint="test-endpoint", idc="lg", loc="beijing"}"#,
            r#"test_metric2{endpoint="test-endpoint"}"#,
        ]
    );
}

#[test]
fn the_bytes_of_a_sample_stay_what_they_are() {
    let sample = FalconSample {
        endpoint: Cow::Borrowed("h"),
        metric: Cow::Borrowed("cpu.idle"),
        value: 97.5,
        step: 10,
        counter_type: CounterType::Gauge,
        tags: Cow::Borrowed("a=b"),
        timestamp: NOW,
    };
    assert_eq!(
        encode(&[sample]),
        concat!(
            r#"[{"endpoint":"h","metric":"cpu.idle","value":97.5,"step":10,"#,
            r#""counterType":"GAUGE","tags":"a=b","timestamp":1760000460}]"#
        )
    );
}

#[test]
fn a_reply_reads_back() {
    let reply = PushReply::success(3, 1, 20);
    let json = serde_json::to_string(&reply).expect("it is plain");
    assert_eq!(serde_json::from_str::<PushReply>(&json).expect("we wrote it"), reply);
}

#[test]
fn a_series_has_its_original_counter_name() {
    let body = br#"[{"endpoint":"h","metric":"df.bytes","value":1,"step":60,"counterType":"GAUGE","tags":"mount=/,fstype=ext4"}]"#;
    let decoded = decode(body, NOW, 10).expect("it is a list");
    let series = decoded.samples[0].to_series().expect("its tags are fine");
    assert_eq!(
        counter_name(&decoded.samples[0].metric, &series.labels),
        "df.bytes/fstype=ext4,mount=/"
    );
}
