//! The data API of Open-Falcon, byte for byte where its users' scripts see bytes.

use apiproxy::Config;
use model::{Sample, Series, stale_nan};
use serde_json::{Value, json};
use storage::Batch;
use wire::falcon_json::{CounterType, FalconSample};

use crate::service::{NOW, Service};

/// A moment in the last quarter of an hour.
const START: i64 = 1_760_000_000;

fn series(counter: &str, host: &str, points: &[(i64, f64)]) -> Series {
    let labels = wire::falcon_json::counter_labels(counter).with("endpoint", host);
    let samples = points.iter().map(|(at, value)| Sample::new((START + at) * 1000, *value));
    Series { labels, samples: samples.collect() }
}

fn about(metric: &str, counter_type: CounterType) -> (String, model::Metadata) {
    let sample = FalconSample {
        endpoint: "".into(),
        metric: metric.into(),
        value: 0.0,
        step: 60,
        counter_type,
        tags: "".into(),
        timestamp: NOW,
    };
    (model::canonical_name(metric), sample.metadata())
}

async fn service() -> Service {
    let load = &[(40, 0.42), (90, stale_nan()), (160, 0.5), (220, 0.51)];
    let bytes = &[(40, 600.0), (100, 1200.0), (160, 60.0), (220, 660.0)];
    let mut with_site = series("cpu.idle", "db-07", &[(40, 90.0)]);
    with_site.labels = with_site.labels.with("site", "bj");
    let batch = Batch {
        series: vec![
            series("load.1min", "db-07", load),
            series("load.1min", "web.01", &[(40, 1.0)]),
            series("net.if.in.bytes/iface=eth0", "db-07", bytes),
            series("df.bytes.used/fstype=ext4,mount=/data", "db-07", &[(40, 7.0)]),
            series("df.bytes.used/fstype=ext4,mount=/", "db-07", &[(40, 8.0)]),
            with_site,
        ],
        metadata: vec![
            about("load.1min", CounterType::Gauge),
            about("net.if.in.bytes", CounterType::Counter),
            about("df.bytes.used", CounterType::Gauge),
            about("cpu.idle", CounterType::Gauge),
        ],
    };
    Service::over(batch, |_: &mut Config| {}).await
}

impl Service {
    async fn ask(&self, path: &str, body: &Value) -> (u16, String) {
        let request = self.context.http.post(self.url(path)).body(body.to_string());
        let response = request.send().await.expect("the service is there");
        (response.status().as_u16(), response.text().await.expect("it is a text"))
    }

    async fn list(&self, path: &str, pairs: &[(&str, &str)]) -> Value {
        let (status, list) = self.get(path, pairs).await;
        assert_eq!(status.as_u16(), 200, "{list}");
        list
    }
}

fn question(counters: &[&str], hosts: &[&str]) -> Value {
    json!({
        "hostnames": hosts, "counters": counters, "consol_fun": "AVERAGE",
        "start_time": START, "end_time": START + 240, "step": 60,
    })
}

const HISTORY: &str = "/api/v1/graph/history";

#[tokio::test]
async fn history_has_a_value_a_step_and_null_where_there_is_none() {
    let service = service().await;
    let expected = concat!(
        r#"[{"endpoint":"db-07","counter":"load.1min","dstype":"GAUGE","step":60,"Values":["#,
        r#"{"timestamp":1760000040,"value":0.420000},{"timestamp":1760000100,"value":null},"#,
        r#"{"timestamp":1760000160,"value":0.500000},{"timestamp":1760000220,"value":0.510000}]}]"#
    );
    let asked = question(&["load.1min"], &["db-07", "nobody"]);
    assert_eq!(service.ask(HISTORY, &asked).await, (200, expected.to_owned()));
}

/// What the reference (open-falcon.md 4.5) has as bytes, over the hour that it asks for.
#[tokio::test]
async fn the_transcripts_of_the_reference_hold_byte_for_byte() {
    let load = &[(40, 0.42), (3_580, 0.51)];
    let batch = Batch {
        series: vec![series("load.1min", "db-07", load)],
        metadata: vec![about("load.1min", CounterType::Gauge)],
    };
    let now = model::Timestamp::from_seconds(1_760_003_600);
    let service = Service::over_at(batch, now, |_: &mut Config| {}).await;
    let send = async |path: &str, body: &'static str| {
        let request = service.context.http.post(service.url(path)).body(body);
        request.send().await.expect("the service is there").text().await.expect("it is a text")
    };
    let asked = concat!(
        r#"{"hostnames":["db-07"],"counters":["load.1min","df.bytes.used/fstype=ext4,mount=/data"],"#,
        "\n",
        r#" "consol_fun":"AVERAGE","start_time":1760000000,"end_time":1760003600,"step":60}"#
    );
    let answer = send(HISTORY, asked).await;
    let begins = concat!(
        r#"[{"endpoint":"db-07","counter":"load.1min","dstype":"GAUGE","step":60,"#,
        r#""Values":[{"timestamp":1760000040,"value":0.420000},{"timestamp":1760000100,"value":null}"#
    );
    assert!(answer.starts_with(begins), "{answer}");
    let ends =
        r#",{"timestamp":1760003520,"value":null},{"timestamp":1760003580,"value":0.510000}]}]"#;
    assert!(answer.ends_with(ends), "{answer}");
    assert_eq!(
        answer.matches("timestamp").count(),
        60,
        "a value a step, and none of the unknown counter"
    );

    let answer =
        send("/api/v1/graph/lastpoint", r#"[{"endpoint":"db-07","counter":"load.1min"}]"#).await;
    let expected = concat!(
        r#"[{"endpoint":"db-07","counter":"load.1min","#,
        r#""value":{"timestamp":1760003580,"value":0.510000}}]"#
    );
    assert_eq!(answer, expected);

    // Lists of the original are maps of Go, whose keys are sorted; the number is made from the name.
    let get = async |path: &str| {
        let answer = service.context.http.get(service.url(path)).send().await;
        answer.expect("the service is there").text().await.expect("it is a text")
    };
    let number = model::Labels::from_pairs([("endpoint", "db-07")]).hash() >> 12;
    let hosts = get("/api/v1/graph/endpoint?q=db").await;
    assert_eq!(hosts, format!(r#"[{{"endpoint":"db-07","id":{number}}}]"#));
    assert_eq!(get("/api/v1/graph/endpointobj?endpoints=db-07").await, hosts);
    let counters = get(&format!("/api/v1/graph/endpoint_counter?eid={number}")).await;
    let counter =
        format!(r#"[{{"counter":"load.1min","endpoint_id":{number},"step":60,"type":"GAUGE"}}]"#);
    assert_eq!(counters, counter);
}

#[tokio::test]
async fn a_counter_comes_back_as_a_rate_and_a_reset_as_null() {
    let service = service().await;
    let (_, text) =
        service.ask(HISTORY, &question(&["net.if.in.bytes/iface=eth0"], &["db-07"])).await;
    let answer: Value = serde_json::from_str(&text).expect("it is JSON");
    let values: Vec<&Value> =
        answer[0]["Values"].as_array().expect("a list").iter().map(|v| &v["value"]).collect();
    assert_eq!(values, [&Value::Null, &json!(10.0), &Value::Null, &json!(10.0)]);
    assert_eq!(answer[0]["dstype"], "COUNTER");
}

#[tokio::test]
async fn a_series_is_found_by_all_of_its_tags_and_labels_of_the_fleet_do_not_hide_it() {
    let service = service().await;
    let found = async |counter: &str| {
        let (_, text) = service.ask(HISTORY, &question(&[counter], &["db-07"])).await;
        serde_json::from_str::<Value>(&text).expect("it is JSON").as_array().map(Vec::len)
    };
    assert_eq!(found("df.bytes.used/mount=/data,fstype=ext4").await, Some(1));
    assert_eq!(found("df.bytes.used").await, Some(0), "two series have the name");
    assert_eq!(found("cpu.idle").await, Some(1), "only one has it, with a label more");
    assert_eq!(found("cpu.idle/site=sh").await, Some(0));
}

#[tokio::test]
async fn the_last_point_of_an_unknown_counter_is_at_second_zero() {
    let service = service().await;
    let pairs = json!([
        { "endpoint": "db-07", "counter": "load.1min" },
        { "endpoint": "db-07", "counter": "net.if.in.bytes/iface=eth0" },
        { "endpoint": "nobody", "counter": "load.1min" },
    ]);
    let expected = concat!(
        r#"[{"endpoint":"db-07","counter":"load.1min","value":{"timestamp":1760000220,"value":0.510000}},"#,
        r#"{"endpoint":"db-07","counter":"net.if.in.bytes/iface=eth0","value":{"timestamp":1760000220,"value":10.000000}},"#,
        r#"{"endpoint":"nobody","counter":"load.1min","value":{"timestamp":0,"value":0.000000}}]"#
    );
    let answer = service.ask("/api/v1/graph/lastpoint", &pairs).await;
    assert_eq!(answer, (200, expected.to_owned()));
}

#[tokio::test]
async fn hosts_are_listed_by_patterns_and_tags_in_pages() {
    let service = service().await;
    let names = async |pairs: &[(&str, &str)]| -> Vec<String> {
        let list = service.list("/api/v1/graph/endpoint", pairs).await;
        let name = |line: &Value| line["endpoint"].as_str().expect("a name").to_owned();
        list.as_array().expect("a list").iter().map(name).collect()
    };
    assert_eq!(names(&[]).await, ["db-07", "web.01"]);
    assert_eq!(names(&[("q", "^web 01$")]).await, ["web.01"]);
    assert_eq!(names(&[("tags", "mount=/data")]).await, ["db-07"]);
    assert_eq!(names(&[("limit", "1"), ("page", "2")]).await, ["web.01"]);
    let objects =
        service.list("/api/v1/graph/endpointobj", &[("endpoints", "web.01"), ("endpoints", "x")]);
    assert_eq!(objects.await[0]["endpoint"], "web.01");
}

#[tokio::test]
async fn counters_are_listed_by_the_numbers_of_their_hosts() {
    let service = service().await;
    let hosts = service.list("/api/v1/graph/endpoint", &[("q", "db")]).await;
    let id = hosts[0]["id"].to_string();
    let pairs = [("eid", id.as_str()), ("metricQuery", "df !data")];
    let list = service.list("/api/v1/graph/endpoint_counter", &pairs).await;
    let expected = json!([{
        "endpoint_id": hosts[0]["id"], "counter": "df.bytes.used/fstype=ext4,mount=/",
        "step": 60, "type": "GAUGE",
    }]);
    assert_eq!(list, expected);
}

#[tokio::test]
async fn the_kind_and_step_of_counters_are_told() {
    let service = service().await;
    let pairs = json!([
        { "endpoint": "db-07", "counter": "net.if.in.bytes/iface=eth0" },
        { "endpoint": "web.01", "counter": "net.if.in.bytes/iface=eth0" },
    ]);
    let (_, text) = service.ask("/api/v1/graph/info", &pairs).await;
    let expected = json!([{
        "endpoint": "db-07", "counter": "net.if.in.bytes/iface=eth0",
        "consolFun": "AVERAGE", "step": 60, "type": "COUNTER",
    }]);
    assert_eq!(serde_json::from_str::<Value>(&text).expect("it is JSON"), expected);
}

#[tokio::test]
async fn grafanas_plug_in_walks_from_hosts_to_curves() {
    let service = service().await;
    let find =
        async |query: &str| service.list("/api/v1/grafana/metrics/find", &[("query", query)]).await;
    assert_eq!(find("web").await, json!([{ "text": "web~01", "expandable": true }]));
    assert_eq!(find("web~01#load").await, json!([{ "text": "1min", "expandable": false }]));
    let pairs = [
        ("target", "web~01#load#1min"),
        ("from", "1760000000"),
        ("until", "1760000060"),
        ("step", "60"),
    ];
    let (_, curves) = service.post("/api/v1/grafana/render", &pairs).await;
    assert_eq!(curves[0]["Values"], json!([{ "timestamp": 1_760_000_040, "value": 1.0 }]));
}

#[tokio::test]
async fn a_question_that_cannot_be_answered_is_told_why() {
    let service = service().await;
    let (status, text) = service.ask(HISTORY, &json!({ "hostnames": 1 })).await;
    assert_eq!(status, 400);
    assert!(text.starts_with(r#"{"error":"the body must be like "#), "{text}");
    let mut wide = question(&["load.1min"], &["db-07"]);
    wide["start_time"] = json!(0);
    let (status, text) = service.ask(HISTORY, &wide).await;
    assert!(status == 400 && text.contains("apiproxy.points_max"), "{text}");
    let (status, answer) = service.get("/api/v1/graph/endpoint", &[("q", "(")]).await;
    assert_eq!((status.as_u16(), answer["error"].is_string()), (400, true));
}
