use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use model::{Metadata, Series};
use reqwest::StatusCode;
use storage::Storage;
use tempfile::TempDir;
use transfer::{Action, Destination, HashBy, RelabelRule, WhenFull};
use wire::remote_write::{CONTENT_TYPE, encode};

use crate::service::{NOW, Service, answer, series};
use crate::sink::{Answer, Sink};

const SOON: Duration = Duration::from_secs(10);

fn hosts(count: usize, at: i64) -> Vec<Series> {
    let one = |host: usize| {
        let endpoint = format!("web-{host:03}");
        series(&[("__name__", "up"), ("endpoint", &endpoint)], &[(at, host as f64)])
    };
    (0..count).map(one).collect()
}

async fn write(service: &Service, sent: &[Series]) -> (StatusCode, String) {
    let request = service.post("/api/v1/write").header("content-type", CONTENT_TYPE);
    answer(request.header("content-encoding", "snappy").body(encode(sent, &[]))).await
}

async fn sent_to(service: &Service, destination: &str) -> f64 {
    let labels = [("destination", destination)];
    service.metric("transfer_destination_sent_samples_total", &labels).await
}

async fn dropped(service: &Service, destination: &str, reason: &str) -> f64 {
    let labels = [("destination", destination), ("reason", reason)];
    service.metric("transfer_destination_dropped_samples_total", &labels).await
}

async fn await_metric(service: &Service, name: &str, labels: &[(&str, &str)], value: f64) {
    let what = format!("{name} {labels:?} is {value}");
    testkit::eventually(&what, SOON, async || {
        // Pauses after failures are over at once.
        service.context.clock.advance(Duration::from_secs(1));
        (service.metric(name, labels).await == value).then_some(())
    })
    .await;
}

#[tokio::test]
async fn hosts_are_spread_and_mirrors_get_everything() {
    let sinks = [Sink::start(Answer::Ok).await, Sink::start(Answer::Ok).await];
    let mirror = Sink::start(Answer::Ok).await;
    let service = Service::start(|config| {
        config.destinations = vec![sinks[0].destination("a"), sinks[1].destination("b")];
        config.mirrors = vec![mirror.destination("m")];
    })
    .await;
    let mut sent = hosts(50, NOW.millis());
    sent.push(series(&[("__name__", "down"), ("endpoint", "web-007")], &[(NOW.millis(), 1.0)]));
    assert_eq!(write(&service, &sent).await.0, 204);
    sent.sort_by(|a, b| a.labels.cmp(&b.labels));
    assert_eq!(mirror.await_series(51).await, sent);
    await_metric(&service, "transfer_destination_queue_samples", &[("destination", "a")], 0.0)
        .await;
    let (a, b) = (sinks[0].series(), sinks[1].await_series(1).await);
    assert!(a.len() > 10 && b.len() > 10, "{} and {}", a.len(), b.len());
    let mut both = [a.clone(), b].concat();
    both.sort_by(|a, b| a.labels.cmp(&b.labels));
    assert_eq!(both, sent);
    let of_host = a.iter().filter(|one| one.labels.get("endpoint") == Some("web-007")).count();
    assert!(of_host == 0 || of_host == 2, "a host stays together");
    assert_eq!(sent_to(&service, "m").await, 51.0);
    assert!(service.stored("up").await.is_empty(), "the own store is none of them");
    assert_eq!(service.metric("transfer_stored_samples_total", &[]).await, 51.0);
}

#[tokio::test]
async fn replicas_are_distinct_and_every_format_is_forwarded() {
    let sinks = [Sink::start(Answer::Ok).await, Sink::start(Answer::Ok).await];
    let service = Service::start(|config| {
        config.destinations = vec![sinks[0].destination("a"), sinks[1].destination("b")];
        config.replication = 2;
        config.hash_by = HashBy::Series;
    })
    .await;
    let item =
        r#"[{"endpoint":"h","metric":"cpu.idle","step":60,"value":1.5,"counterType":"GAUGE"}]"#;
    assert_eq!(answer(service.post("/api/push").body(item)).await.0, 200);
    for sink in &sinks {
        let series = sink.await_series(1).await;
        assert_eq!(series[0].labels.to_string(), r#"cpu_idle{endpoint="h"}"#);
        let (headers, decoded) = &sink.requests()[0];
        assert_eq!(headers["x-prometheus-remote-write-version"], "0.1.0");
        assert_eq!(decoded.metadata[0].0, "cpu_idle");
    }
}

#[tokio::test]
async fn a_request_for_one_destination_goes_as_the_client_packed_it() {
    let sink = Sink::start(Answer::Ok).await;
    let service = Service::start(|config| {
        config.destinations = vec![sink.destination("a")];
    })
    .await;
    let about = ("up".to_owned(), Metadata { help: "Is it?".to_owned(), ..Metadata::default() });
    let body = encode(&hosts(3, NOW.millis()), std::slice::from_ref(&about));
    for _ in 0..2 {
        let request = service.post("/api/v1/write").header("content-encoding", "snappy");
        assert_eq!(answer(request.body(body.clone())).await.0, 204);
    }
    sink.await_series(6).await;
    assert!(sink.requests().iter().all(|(_, decoded)| decoded.metadata.contains(&about)));
    let received = [("protocol", "remote_write")];
    assert_eq!(service.metric("transfer_received_samples_total", &received).await, 6.0);
    assert!(service.get("/endpoints").await.contains(r#""endpoint":"web-002""#));
}

#[tokio::test]
async fn a_dead_destination_keeps_nobody_waiting_and_gets_its_samples_later() {
    let (dead, alive) = (Sink::start(Answer::Status(503)).await, Sink::start(Answer::Ok).await);
    let service = Service::start(|config| {
        config.destinations = vec![alive.destination("alive")];
        config.mirrors = vec![dead.destination("dead")];
    })
    .await;
    for round in 0..5 {
        assert_eq!(write(&service, &hosts(10, NOW.millis() + round)).await.0, 204);
    }
    alive.await_series(50).await;
    let retries = [("destination", "dead"), ("reason", "http_5xx")];
    testkit::eventually("it is noticed", SOON, async || {
        (service.metric("transfer_destination_retries_total", &retries).await > 0.0).then_some(())
    })
    .await;
    let ready = answer(service.context.http.get(service.url("/-/ready"))).await;
    assert_eq!(ready.0, 503);
    assert!(ready.1.starts_with("destinations: dead: it answered 503"), "{}", ready.1);
    let is_up = |name| service.metric("transfer_destination_up", name);
    assert_eq!(is_up(&[("destination", "dead")]).await, 0.0);
    assert_eq!(is_up(&[("destination", "alive")]).await, 1.0);

    dead.answer(Answer::Ok);
    let labels = [("destination", "dead")];
    await_metric(&service, "transfer_destination_sent_samples_total", &labels, 50.0).await;
    assert_eq!(dead.series(), alive.series());
    assert!(dead.requests().len() < 5, "what waited is sent in few requests");
    assert_eq!(answer(service.context.http.get(service.url("/-/ready"))).await.0, 200);
}

#[tokio::test]
async fn what_a_destination_refuses_for_good_is_dropped_and_counted() {
    let sink = Sink::start(Answer::Status(400)).await;
    let service = Service::start(|config| config.destinations = vec![sink.destination("a")]).await;
    assert_eq!(write(&service, &hosts(4, NOW.millis())).await.0, 204);
    let labels = [("destination", "a"), ("reason", "http_400")];
    await_metric(&service, "transfer_destination_dropped_samples_total", &labels, 4.0).await;
    sink.answer(Answer::Ok);
    assert_eq!(write(&service, &hosts(2, NOW.millis() + 1)).await.0, 204);
    assert_eq!(sink.await_series(2).await.len(), 2);
    assert_eq!(answer(service.context.http.get(service.url("/-/ready"))).await.0, 200);
}

#[tokio::test]
async fn a_destination_says_when_it_wants_to_be_asked_again() {
    let sink = Sink::start(Answer::ComeAgainAfter(100)).await;
    let service = Service::start(|config| config.destinations = vec![sink.destination("a")]).await;
    assert_eq!(write(&service, &hosts(1, NOW.millis())).await.0, 204);
    let labels = [("destination", "a"), ("reason", "http_429")];
    let retries = async || service.metric("transfer_destination_retries_total", &labels).await;
    testkit::eventually("it is asked", SOON, async || (retries().await == 1.0).then_some(())).await;
    sink.answer(Answer::Ok);
    service.context.clock.advance(Duration::from_secs(99));
    tokio::task::yield_now().await;
    assert_eq!((sink.requests().len(), retries().await), (0, 1.0));
    service.context.clock.advance(Duration::from_secs(2));
    sink.await_series(1).await;
}

#[tokio::test]
async fn what_is_too_large_together_is_sent_in_parts() {
    let sink = Sink::start(Answer::Status(503)).await;
    let service = Service::start(|config| config.destinations = vec![sink.destination("a")]).await;
    for round in 0..6 {
        assert_eq!(write(&service, &hosts(4, NOW.millis() + round)).await.0, 204);
    }
    sink.answer(Answer::AtMost(7));
    let labels = [("destination", "a")];
    await_metric(&service, "transfer_destination_sent_samples_total", &labels, 24.0).await;
    assert_eq!((sink.series().len(), dropped(&service, "a", "http_413").await), (24, 0.0));

    sink.answer(Answer::AtMost(3));
    assert_eq!(write(&service, &hosts(4, NOW.millis() + 9)).await.0, 204);
    let labels = [("destination", "a"), ("reason", "http_413")];
    await_metric(&service, "transfer_destination_dropped_samples_total", &labels, 4.0).await;
}

fn copy_of(queues: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for queue in std::fs::read_dir(queues).unwrap() {
        let queue = queue.unwrap();
        std::fs::create_dir(copy.path().join(queue.file_name())).unwrap();
        for file in std::fs::read_dir(queue.path()).unwrap() {
            let file = file.unwrap();
            let to = copy.path().join(queue.file_name()).join(file.file_name());
            std::fs::copy(file.path(), to).unwrap();
        }
    }
    copy
}

#[tokio::test]
async fn what_was_not_sent_is_sent_after_a_restart() {
    let sink = Sink::start(Answer::Status(500)).await;
    let destination = sink.destination("a");
    let memory = || Storage::memory(storage::Limits::default());
    let first = Service::start(|config| config.destinations = vec![destination.clone()]).await;
    assert_eq!(write(&first, &hosts(9, NOW.millis())).await.0, 204);
    // What lies on disk at this moment is all that a killed process leaves.
    let queues = copy_of(first.queues.path());
    first.context.stop().await;
    sink.answer(Answer::Ok);
    let _second =
        Service::with(memory(), queues, |config| config.destinations = vec![destination]).await;
    assert_eq!(sink.await_series(9).await, hosts(9, NOW.millis()));
}

#[tokio::test]
async fn a_stop_sends_what_waits_for_more() {
    let sink = Sink::start(Answer::Ok).await;
    let patient = Destination { batch_wait: Duration::from_secs(3600), ..sink.destination("a") };
    let service = Service::start(|config| config.destinations = vec![patient]).await;
    assert_eq!(write(&service, &hosts(3, NOW.millis())).await.0, 204);
    assert_eq!(sink.requests().len(), 0);
    service.context.stop().await;
    assert_eq!(sink.series().len(), 3);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_destination_that_is_away() {
    let sink = Sink::start(Answer::Ok).await;
    let destination = sink.destination("a");
    sink.stop().await;
    let service = Service::start(|config| config.destinations = vec![destination]).await;
    assert_eq!(write(&service, &hosts(3, NOW.millis())).await.0, 204);
    let begun = tokio::time::Instant::now();
    service.context.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(4), "the drain timeout is 5 s");
}

#[tokio::test]
async fn a_full_queue_makes_a_429_when_nothing_is_to_be_dropped() {
    let sink = Sink::start(Answer::Status(503)).await;
    let small = Destination {
        when_full: WhenFull::Refuse,
        queue_bytes_max: 1 << 20,
        ..sink.destination("small")
    };
    let service = Service::start(|config| config.destinations = vec![small]).await;
    let noise = |at: u64| -> Vec<Series> {
        let value = |number: u64| (number * at).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_string();
        let one =
            |number| series(&[("__name__", "m"), ("v", &value(number))], &[(NOW.millis(), 1.0)]);
        (1..5000).map(one).collect()
    };
    for at in 1..100 {
        let (status, text) = write(&service, &noise(at)).await;
        if status == 429 {
            let expected = "destination small does not take samples at the moment: the queue is full (queue_bytes_max = 1048576)\n";
            assert_eq!(text, expected);
            assert!(at > 5);
            let reason = [("reason", "queue_full")];
            assert_eq!(service.metric("transfer_refused_requests_total", &reason).await, 1.0);
            return;
        }
        assert_eq!(status, 204);
    }
    panic!("it was never full");
}

#[tokio::test]
async fn the_own_store_may_be_one_of_the_destinations() {
    let sink = Sink::start(Answer::Ok).await;
    let own = Destination { name: "own".to_owned(), local: true, ..Destination::default() };
    let service = Service::start(|config| {
        config.destinations = vec![own];
        config.mirrors = vec![sink.destination("copy")];
    })
    .await;
    let sent = hosts(5, NOW.millis());
    assert_eq!(write(&service, &sent).await.0, 204);
    assert_eq!(service.stored("up").await, sent);
    assert_eq!(sink.await_series(5).await, sent);
    let changed =
        vec![series(&[("__name__", "up"), ("endpoint", "web-000")], &[(NOW.millis(), 9.0)])];
    let (status, text) = write(&service, &changed).await;
    assert_eq!(status, 400, "the store says what it refuses");
    assert!(text.contains("1 duplicate"), "{text}");
}

#[tokio::test]
async fn headers_and_token_of_a_destination_are_sent() {
    let sink = Sink::start(Answer::Status(401)).await;
    let dir = tempfile::tempdir().unwrap();
    let token_file = dir.path().join("token");
    std::fs::write(&token_file, "old\n").unwrap();
    let headers = BTreeMap::from([("X-Scope-OrgID".to_owned(), "team".to_owned())]);
    let destination =
        Destination { headers, token_file: token_file.clone(), ..sink.destination("a") };
    let service = Service::start(|config| config.destinations = vec![destination]).await;
    assert_eq!(write(&service, &hosts(1, NOW.millis())).await.0, 204);
    let labels = [("destination", "a"), ("reason", "denied")];
    testkit::eventually("it is refused", SOON, async || {
        (service.metric("transfer_destination_retries_total", &labels).await > 0.0).then_some(())
    })
    .await;
    std::fs::write(&token_file, "new\n").unwrap();
    // Refused once more, the new token is read.
    service.context.clock.advance(Duration::from_secs(60));
    await_metric(&service, "transfer_destination_retries_total", &labels, 2.0).await;
    sink.answer(Answer::Ok);
    await_metric(&service, "transfer_destination_sent_samples_total", &[("destination", "a")], 1.0)
        .await;
    let (headers, _) = &sink.requests()[0];
    assert_eq!(
        (&headers["x-scope-orgid"], &headers["authorization"]),
        (&"team".parse().unwrap(), &"Bearer new".parse().unwrap())
    );
}

#[tokio::test]
async fn a_trace_tells_the_destinations() {
    let sink = Sink::start(Answer::Ok).await;
    let service = Service::start(|config| {
        config.destinations = vec![sink.destination("a")];
        config.mirrors = vec![sink.destination("m")];
    })
    .await;
    service.get("/trace?endpoint=web-000").await;
    assert_eq!(write(&service, &hosts(2, NOW.millis())).await.0, 204);
    let answer: serde_json::Value =
        serde_json::from_str(&service.get("/trace?endpoint=web-000").await).unwrap();
    let passed = &answer["passed"][0];
    assert_eq!(passed["outcome"], "handed on");
    assert_eq!(passed["destinations"], serde_json::json!(["a", "m"]));
    sink.await_series(4).await;
}

/// Requests of every kind, on the short way and on the long one, which a watched trace forces.
#[tokio::test]
async fn both_ways_through_the_corridor_end_the_same() {
    let now = NOW.millis();
    let up = |pairs: &[(&str, &str)], at: i64| {
        let named = [("__name__", "up")].into_iter().chain(pairs.iter().copied());
        series(&named.collect::<Vec<_>>(), &[(at, 1.5)])
    };
    let long = "x".repeat(3000);
    let requests = [
        vec![up(&[("endpoint", "a")], now), up(&[("endpoint", "b")], now)],
        vec![
            up(&[("endpoint", "a")], now + 3_600_000),
            up(&[("endpoint", "a"), ("drop", "me")], now),
        ],
        vec![up(&[("endpoint", "a"), ("secret", "1")], now), up(&[("l", &long)], now)],
        vec![series(&[("job", "nameless")], &[(now, 1.0)]), up(&[("endpoint", "c")], now)],
        vec![series(&[("__name__", "up")], &[(now, 1.0), (now - 5, 2.0), (now, 3.0)])],
        vec![up(&[("endpoint", "c"), ("drop", "me")], now)],
        vec![series(&[("__name__", "up"), ("endpoint", "busy")], &[(now, 1.0); 1])],
    ];
    let mut ends = Vec::new();
    for is_watched in [false, true] {
        let sinks = [Sink::start(Answer::Ok).await, Sink::start(Answer::Ok).await];
        let service = Service::start(|config| {
            config.destinations = vec![sinks[0].destination("a"), sinks[1].destination("b")];
            config.endpoint_series_max = 2;
            config.relabel = vec![
                RelabelRule {
                    action: Action::Drop,
                    source_labels: vec!["drop".to_owned()],
                    regex: "me".to_owned(),
                    ..RelabelRule::default()
                },
                RelabelRule {
                    action: Action::LabelDrop,
                    regex: "secret".to_owned(),
                    ..RelabelRule::default()
                },
            ];
        })
        .await;
        if is_watched {
            service.get("/trace?endpoint=nobody").await;
        }
        let mut answers = Vec::new();
        for _ in 0..2 {
            for request in &requests {
                answers.push(write(&service, request).await);
            }
        }
        let stored = service.metric("transfer_stored_samples_total", &[]).await;
        service.context.stop().await;
        let metrics = [sinks[0].series(), sinks[1].series()];
        ends.push((answers, stored, metrics));
    }
    assert_eq!(ends[0], ends[1]);
    assert!(ends[0].1 > 10.0);
}
