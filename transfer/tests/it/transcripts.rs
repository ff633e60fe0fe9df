//! What `reference/open-falcon.md` section 1 gives as bytes, replayed. Each test names its line of
//! the reference; where we answer otherwise on purpose, the name says so.

use model::{Sample, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::service::{NOW, Service, answer};

/// The sample of 1.1, with one thing about it changed.
fn sample_with(old: &str, new: &str) -> String {
    let sample = r#"{"endpoint":"pay-api-03","metric":"order.latency.p99","timestamp":1760000460,"step":60,
  "value":83.5,"counterType":"GAUGE","tags":"idc=bj,api=/checkout"}"#;
    assert!(sample.contains(old), "{old} is in the sample");
    sample.replacen(old, new, 1)
}

async fn push(service: &Service, body: String) -> (u16, String, String) {
    let response = service.post("/api/push").body(body).send().await.expect("it answers");
    let status = response.status().as_u16();
    let content_type = response.headers()["content-type"].to_str().expect("it is text").to_owned();
    (status, content_type, response.text().await.expect("the answer has a body"))
}

/// The reply with the milliseconds it took, the only part that is not the same each time, as 0.
fn timeless(reply: &str) -> String {
    let (start, rest) = reply.split_once("\"Latency\":").expect("the reply has a latency");
    format!("{start}\"Latency\":0{}", rest.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// What is answered on a connection to the JSON-RPC port to bytes after which the client sends
/// nothing more.
async fn call(service: &Service, sent: &str) -> String {
    let mut stream = TcpStream::connect(service.at.rpc).await.expect("it listens");
    stream.write_all(sent.as_bytes()).await.expect("it reads");
    stream.shutdown().await.expect("the other side is still open");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers in UTF-8");
    answer
}

/// Pushes the sample of 1.1 with one change over both ways in, alone; says whether it was taken.
async fn is_taken(old: &str, new: &str) -> bool {
    let sample = sample_with(old, new);
    let reply =
        |invalid| format!(r#"{{"Message":"ok","Total":1,"Invalid":{invalid},"Latency":0}}"#);
    let service = Service::start(|_| {}).await;
    let rpc = format!(r#"{{"method":"Transfer.Update","params":[[{sample}]],"id":0}}"#);
    let rpc = call(&service, &rpc).await;
    let invalid = usize::from(rpc.contains("\"Invalid\":1"));
    assert_eq!(rpc, format!("{{\"id\":0,\"result\":{},\"error\":null}}\n", reply(invalid)));
    let service = Service::start(|_| {}).await;
    let (status, content_type, http) = push(&service, format!("[{sample}]")).await;
    assert_eq!((status, content_type.as_str()), (200, "application/json; charset=UTF-8"));
    assert_eq!(timeless(&http), format!(r#"{{"msg":"success","data":{}}}"#, reply(invalid)));
    invalid == 0
}

#[tokio::test]
async fn line_1_1_rules_of_the_sample_object() {
    for (old, new) in [
        ("83.5", "\"83.5\""),
        ("83.5", "\"NaN\""),
        ("83.5", "\"Inf\""),
        ("83.5", "\"-1e3\""),
        ("GAUGE", "COUNTER"),
        ("GAUGE", "DERIVE"),
        ("\"timestamp\":1760000460,", ""),
        ("idc=bj,api=/checkout", ""),
        ("idc=bj,api=/checkout", "no pair, idc = bj ,empty=,idc=sh"),
    ] {
        assert!(is_taken(old, new).await, "{new} for {old}");
    }
    for (old, new) in [
        ("pay-api-03", ""),
        ("order.latency.p99", ""),
        ("order.latency.p99", "kernel.hostname"),
        ("83.5", "\"\""),
        ("83.5", "\"x\""),
        ("83.5", "null"),
        ("83.5", "true"),
        ("83.5", "[1]"),
        ("83.5", "{}"),
        ("\"step\":60", "\"step\":0"),
        ("\"step\":60", "\"step\":-60"),
        ("\"step\":60", "\"step\":60.5"),
        ("GAUGE", "gauge"),
        ("GAUGE", ""),
        ("\"step\":60,", ""),
    ] {
        assert!(!is_taken(old, new).await, "{new} for {old}");
    }
}

#[tokio::test]
async fn line_1_1_numbers_in_quotes_are_a_value_only() {
    assert!(!is_taken("\"step\":60", "\"step\":\"60\"").await);
    assert!(!is_taken("1760000460", "\"1760000460\"").await);
}

#[tokio::test]
async fn line_1_1_metric_and_tags_have_510_bytes_together() {
    let tags = |bytes: usize| format!("a={}", "x".repeat(bytes - 2));
    let left = 510 - "order.latency.p99".len();
    assert!(is_taken("idc=bj,api=/checkout", &tags(left)).await);
    assert!(!is_taken("idc=bj,api=/checkout", &tags(left + 1)).await);
}

#[tokio::test]
async fn line_1_1_timestamps_that_cannot_be_are_now_and_old_ones_are_kept() {
    let stored = async |timestamp: &str| {
        let service = Service::start(|_| {}).await;
        push(&service, format!("[{}]", sample_with("1760000460", timestamp))).await;
        let stored = service.stored("order_latency_p99").await;
        stored.first().map(|series| series.samples[0].timestamp)
    };
    for timestamp in ["0", "-5", "1760000460123", "3520000921"] {
        assert_eq!(stored(timestamp).await, Some(NOW), "{timestamp}");
    }
    assert_eq!(stored("1760000400").await, Some(Timestamp::from_seconds(1_760_000_400)));
}

#[tokio::test]
async fn line_1_1_keys_match_without_regard_to_case_and_the_later_tag_wins() {
    let service = Service::start(|_| {}).await;
    let body = r#"[{"Endpoint":"h","METRIC":"m","Value":"7","sTEP":60,"countertype":"GAUGE",
        "TAGS":"a = 1, b=2,a=3,=x,none,empty=","TimeStamp":1760000460}]"#;
    let (_, _, reply) = push(&service, body.to_owned()).await;
    assert!(reply.contains(r#""Total":1,"Invalid":0"#), "{reply}");
    let stored = service.stored("m").await;
    assert_eq!(stored[0].labels.to_string(), r#"m{a="3", b="2", endpoint="h"}"#);
    assert_eq!(stored[0].samples, [Sample::new(NOW.millis(), 7.0)]);
}

#[tokio::test]
async fn line_1_3_ping_and_update_as_the_reference_has_them() {
    let service = Service::start(|_| {}).await;
    let sent = concat!(
        r#"{"method":"Transfer.Ping","params":[{}],"id":0}"#,
        "\n",
        r#"{"method":"Transfer.Update","params":[[{"endpoint":"pay-api-03","metric":"load.1min","value":0.42,"step":60,"#,
        "\n ",
        r#""counterType":"GAUGE","tags":"","timestamp":1760000460}]],"id":1}"#,
        "\n",
    );
    let answered = concat!(
        r#"{"id":0,"result":{"code":0},"error":null}"#,
        "\n",
        r#"{"id":1,"result":{"Message":"ok","Total":1,"Invalid":0,"Latency":0},"error":null}"#,
        "\n",
    );
    assert_eq!(call(&service, sent).await, answered);
    // The same without a byte between the objects, and byte by byte.
    assert_eq!(call(&service, &sent.replace("}\n{", "}{")).await, answered);
    let mut stream = TcpStream::connect(service.at.rpc).await.expect("it listens");
    stream.set_nodelay(true).expect("it is TCP");
    for byte in sent.as_bytes() {
        stream.write_all(&[*byte]).await.expect("it reads");
    }
    let mut received = vec![0; answered.len()];
    stream.read_exact(&mut received).await.expect("it answers while the connection is open");
    assert_eq!(String::from_utf8_lossy(&received), answered);
}

#[tokio::test]
async fn line_1_3_the_id_comes_back_as_it_was_sent() {
    let service = Service::start(|_| {}).await;
    for id in ["0", "-1", "1.50", "1e2", "\"\\u0041\"", "null", "true", "[1, {\"a\":\"}\"}]", "{ }"]
    {
        let sent = format!(r#"{{"method":"Transfer.Ping","params":[{{}}],"id":{id}}}"#);
        let answered = format!("{{\"id\":{id},\"result\":{{\"code\":0}},\"error\":null}}\n");
        assert_eq!(call(&service, &sent).await, answered);
    }
    let sent = r#"{"method":"Transfer.Ping","params":[{}]}"#;
    assert_eq!(
        call(&service, sent).await,
        "{\"id\":null,\"result\":{\"code\":0},\"error\":null}\n"
    );
}

#[tokio::test]
async fn line_1_3_replies_are_matched_by_their_id() {
    let service = Service::start(|_| {}).await;
    let calls: String = (0..50)
        .map(|id| match id % 3 {
            0 => format!(r#"{{"id":{id},"params":[{{}}],"method":"Transfer.Ping"}}"#),
            1 => format!(r#"{{"id":{id},"method":"Transfer.Nope","params":[{{}}]}}"#),
            _ => {
                format!(r#"{{"ID":{id},"Method":"Transfer.Update","PARAMS":[[],"a second one"]}}"#)
            }
        })
        .collect();
    let answers = call(&service, &calls).await;
    // A client may not count on the order, and neither does this test.
    for id in 0..50 {
        let rest = match id % 3 {
            0 => r#""result":{"code":0},"error":null}"#,
            1 => r#""result":null,"error":"rpc: can't find method Transfer.Nope"}"#,
            _ => r#""result":{"Message":"ok","Total":0,"Invalid":0,"Latency":0},"error":null}"#,
        };
        let answer = format!("{{\"id\":{id},{rest}");
        assert_eq!(answers.lines().filter(|line| *line == answer).count(), 1, "{answer}");
    }
    assert_eq!(answers.lines().count(), 50);
}

#[tokio::test]
async fn line_1_3_error_texts() {
    let service = Service::start(|_| {}).await;
    for (request, error) in [
        (r#""method":"Transfer.Nope","params":[{}]"#, "rpc: can't find method Transfer.Nope"),
        (r#""method":"Update","params":[{}]"#, "rpc: service/method request ill-formed: Update"),
        (r#""method":"Transfer.Update","params":null"#, "jsonrpc: request body missing params"),
        (r#""method":"Transfer.Update""#, "jsonrpc: request body missing params"),
        (
            r#""method":"Transfer.Update","params":["x"]"#,
            "json: cannot unmarshal string into Go value of type []*model.MetricValue",
        ),
    ] {
        // The connection stays open after an error: the ping behind it is answered.
        let sent =
            format!(r#"{{{request},"id":7}}{{"method":"Transfer.Ping","params":[{{}}],"id":8}}"#);
        let answered = format!(
            "{{\"id\":7,\"result\":null,\"error\":\"{error}\"}}\n{{\"id\":8,\"result\":{{\"code\":0}},\"error\":null}}\n"
        );
        assert_eq!(call(&service, &sent).await, answered, "{request}");
    }
}

#[tokio::test]
async fn line_1_3_a_wrong_type_costs_its_sample_and_not_as_there_the_whole_batch() {
    let service = Service::start(|_| {}).await;
    let good = sample_with("GAUGE", "GAUGE");
    let bad = sample_with("1760000460", "\"1760000460\"");
    let sent = format!(r#"{{"method":"Transfer.Update","params":[[{bad},{good}]],"id":1}}"#);
    let answered = "{\"id\":1,\"result\":{\"Message\":\"ok\",\"Total\":2,\"Invalid\":1,\"Latency\":0},\"error\":null}\n";
    assert_eq!(call(&service, &sent).await, answered);
    let samples = &service.stored("order_latency_p99").await[0].samples;
    assert_eq!(*samples, [Sample::new(NOW.millis(), 83.5)]);
}

#[tokio::test]
async fn line_1_3_bytes_that_are_not_json_close_without_a_reply() {
    let service = Service::start(|_| {}).await;
    for sent in ["hello\n", "\u{1}", "{\"method\":}", "\"text\"", "12\n", "[]", "{]"] {
        assert_eq!(call(&service, sent).await, "", "{sent:?}");
    }
    // What came before them is answered.
    let sent = "{\"method\":\"Transfer.Ping\",\"params\":[{}],\"id\":1}x";
    assert_eq!(call(&service, sent).await, "{\"id\":1,\"result\":{\"code\":0},\"error\":null}\n");
}

#[tokio::test]
async fn line_1_4_api_push() {
    let service = Service::start(|_| {}).await;
    let body = format!("[{},{}]", sample_with("GAUGE", "GAUGE"), sample_with("GAUGE", "gauge"));
    let (status, _, reply) = push(&service, body).await;
    let expected = r#"{"msg":"success","data":{"Message":"ok","Total":2,"Invalid":1,"Latency":0}}"#;
    assert_eq!((status, timeless(&reply).as_str()), (200, expected));
    for (body, text) in [("", "blank body\n"), ("{}", "decode error\n"), ("[{]", "decode error\n")]
    {
        let (status, content_type, reply) = push(&service, body.to_owned()).await;
        assert_eq!((status, reply.as_str()), (400, text), "{body:?}");
        assert!(content_type.starts_with("text/plain"), "{content_type}");
    }
    let health = answer(service.context.http.get(service.url("/health"))).await;
    assert_eq!((health.0.as_u16(), health.1.as_str()), (200, "ok\n"));
}

#[tokio::test]
async fn line_1_4_counter_all() {
    let service = Service::start(|_| {}).await;
    push(&service, format!("[{}]", sample_with("GAUGE", "GAUGE"))).await;
    for path in ["/counter/all", "/statistics/all"] {
        let page: serde_json::Value =
            serde_json::from_str(&service.get(path).await).expect("it is JSON");
        assert_eq!(page["msg"], "success");
        let counters = page["data"].as_array().expect("it is a list");
        assert!(!counters.is_empty());
        for counter in counters {
            let mut keys: Vec<&String> =
                counter.as_object().expect("they are objects").keys().collect();
            keys.sort();
            assert_eq!(keys, ["Cnt", "Name", "Other", "Qps", "Time"]);
        }
    }
}

#[tokio::test]
async fn line_1_5_lines_are_never_answered() {
    let service = Service::start(|_| {}).await;
    let mut stream = TcpStream::connect(service.at.line).await.expect("it listens");
    let lines = "update pay-api-03 qps 1760000460 120 GAUGE 60\nupdate h default.type 1760000460 1\n\
         update h rrd 1760000460 1 DERIVE 120:0:U:30\nupdate h a/b=c 1760000460 1\nnonsense\nupdate\nquit\n";
    stream.write_all(lines.as_bytes()).await.expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("quit closes the connection");
    assert_eq!(answer, b"");
    for (name, help) in [
        ("qps", "Open-Falcon metric qps, GAUGE, step 60 s."),
        ("default_type", "Open-Falcon metric default.type, COUNTER, step 60 s."),
        ("rrd", "Open-Falcon metric rrd, DERIVE, step 30 s."),
        // Tags cannot be given: the whole field is the metric.
        ("a_b_c", "Open-Falcon metric a/b=c, COUNTER, step 60 s."),
    ] {
        assert_eq!(service.stored(name).await.len(), 1, "{name}");
        let known = service.storage.reader().metadata(Some(name), 0).await.expect("memory answers");
        assert_eq!(known[0].1.help, help);
    }
}
