//! A real Prometheus writes to transfer, and both answer the same; and it sends its alerts to alarm.

use std::fs;
use std::path::Path;
use std::time::Duration;

use daemon::{Clock, Context};
use serde_json::Value;
use testkit::{Process, eventually, free_port, get_json, program};

use crate::alarm_process::{Alarm, Platforms};
use crate::stack::{Stack, host_rules};

const SOON: Duration = Duration::from_secs(60);

/// Left-open windows came with Prometheus 3.0; Debian's 2.42 counts a sample on the left edge of a range. The moment
/// asked for lies between two scrapes, so no sample falls on an edge.
const QUERIES: [&str; 10] = [
    "up",
    "count({__name__=~\"go_.+\"})",
    "sum by (quantile) (go_gc_duration_seconds)",
    "rate(process_cpu_seconds_total[20s])",
    "increase(prometheus_tsdb_head_samples_appended_total[15s])",
    "avg_over_time(go_goroutines[20s])",
    "topk(2, prometheus_http_requests_total)",
    "histogram_quantile(0.9, sum by (le) (rate(prometheus_http_request_duration_seconds_bucket[20s])))",
    "go_memstats_alloc_bytes / on (job, instance) go_memstats_sys_bytes * 100",
    "label_replace(up, \"host\", \"$1\", \"instance\", \"(.*):.*\") unless absent(up)",
];

#[tokio::test]
async fn what_a_real_prometheus_writes_is_answered_like_prometheus_answers() {
    let Some(prometheus) = program("prometheus") else { return };
    let mut stack = Stack::new(&host_rules()).await;
    stack.start_saker().await;
    let port = free_port();
    let base = format!("http://127.0.0.1:{port}");
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("prometheus.yml");
    fs::write(&config, prometheus_config(port, &stack.transfer())).unwrap();
    let _running = start(&prometheus, &config, folder.path(), port);

    // The windows must lie behind the first scrapes: Prometheus does not hand on what it scraped before its remote
    // write was up.
    let at = eventually("thirty scrapes are in both", SOON, async || {
        let result = stack.query("count_over_time(up[1m]) >= 32 and timestamp(up)").await?;
        result.first()?;
        let newest = stack.query("timestamp(up)").await?.first()?["value"][1]
            .as_str()?
            .parse::<f64>()
            .ok()?;
        Some(newest - 4.5)
    })
    .await;
    // What Prometheus holds at `at` is on its way for a moment longer.
    for query in QUERIES {
        let theirs = ask(&stack, &base, query, at).await;
        assert!(!theirs.as_array().unwrap().is_empty(), "{query} finds nothing in Prometheus");
        let agrees = eventually(query, SOON, async || {
            let ours = ask(&stack, &stack.apiproxy(), query, at).await;
            same(&ours, &theirs).then_some(()).or_else(|| {
                eprintln!("{query}:\n ours   {ours}\n theirs {theirs}");
                None
            })
        });
        agrees.await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_alerts_of_a_real_prometheus_are_told_when_they_begin_and_when_they_end() {
    let Some(prometheus) = program("prometheus") else { return };
    let context = Context::new("e2e", Clock::System).unwrap();
    let platforms = Platforms::start(&context, Duration::ZERO).await;
    let hook = format!(
        "[[alarm.receivers]]\nname = \"hook\"\nwebhook_url = \"{}/hook\"\n",
        platforms.url()
    );
    let folder = tempfile::tempdir().unwrap();
    let alarm = Alarm::start(folder.path(), "info", &hook, "").await;
    let (port, rules) = (free_port(), folder.path().join("rules.yml"));
    // The one burns for ever, the other until a file says otherwise.
    let burning = |brief: &str| {
        format!(
            "groups:\n- name: e2e\n  interval: 1s\n  rules:\n  - alert: Lasting\n    expr: vector(1)\n    \
             labels: {{severity: critical}}\n    annotations: {{summary: 'it burns'}}\n  - alert: Brief\n    \
             expr: {brief}\n"
        )
    };
    fs::write(&rules, burning("vector(2) > 1")).unwrap();
    let config = folder.path().join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{rules:?}]\n\
         alerting:\n  alertmanagers:\n  - static_configs: [{{targets: [{:?}]}}]\n",
        alarm.url.trim_start_matches("http://")
    );
    fs::write(&config, text).unwrap();
    let running = start(&prometheus, &config, folder.path(), port);
    let told = async |name: &str, status: &str| {
        eventually(&format!("{name} is {status}"), SOON, async || {
            let bodies = platforms.taken().into_iter().map(|taken| taken.body);
            let mut alerts = bodies.filter_map(|body| body["alerts"].as_array().cloned()).flatten();
            alerts.find(|alert| alert["labels"]["alertname"] == name && alert["status"] == status)
        })
        .await
    };
    let lasting = told("Lasting", "firing").await;
    assert_eq!(lasting["annotations"]["summary"], "it burns");
    assert!(lasting["generatorURL"].as_str().unwrap().contains("g0.expr=vector"), "{lasting}");
    let begun = told("Brief", "firing").await;
    fs::write(&rules, burning("vector(1) > 1")).unwrap();
    running.signal(nix::sys::signal::Signal::SIGHUP);
    let ended = told("Brief", "resolved").await;
    assert_eq!((&ended["startsAt"], &ended["labels"]), (&begun["startsAt"], &begun["labels"]));
    let listed = alarm.get("/api/v2/alerts").await;
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed[0]["labels"]["alertname"], "Lasting");
}

async fn ask(stack: &Stack, base: &str, query: &str, at: f64) -> Value {
    let params = [("query", query.to_owned()), ("time", at.to_string())];
    let url = reqwest::Url::parse_with_params(&format!("{base}/api/v1/query"), params).unwrap();
    let mut answer = get_json(&stack.context.http, url.as_str())
        .await
        .unwrap_or_else(|| panic!("{url} does not answer"));
    let mut result = answer["data"]["result"].take();
    // The order of an instant vector is not promised by either.
    if let Value::Array(samples) = &mut result {
        samples.sort_by_key(|sample| sample["metric"].to_string());
    }
    result
}

/// Equal but for the last digits, where the order of additions may differ.
fn same(ours: &Value, theirs: &Value) -> bool {
    let number =
        |sample: &Value| sample["value"][1].as_str().and_then(|text| text.parse::<f64>().ok());
    let (Some(ours), Some(theirs)) = (ours.as_array(), theirs.as_array()) else { return false };
    ours.len() == theirs.len()
        && ours.iter().zip(theirs).all(|(a, b)| {
            let close = match (number(a), number(b)) {
                (Some(a), Some(b)) => {
                    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()) || (a.is_nan() && b.is_nan())
                }
                _ => false,
            };
            a["metric"] == b["metric"] && a["value"][0] == b["value"][0] && close
        })
}

fn prometheus_config(port: u16, transfer: &str) -> String {
    format!(
        "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: self\n    static_configs:\n      \
         - targets: ['127.0.0.1:{port}']\nremote_write:\n  - url: {transfer}/api/v1/write\n    queue_config:\n      \
         batch_send_deadline: 500ms\n"
    )
}

fn start(prometheus: &Path, config: &Path, folder: &Path, port: u16) -> Process {
    let args = [
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", folder.join("tsdb").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        // What fires before it has found its alertmanagers is sent again soon, and not after a minute.
        "--rules.alert.resend-delay=1s".to_owned(),
    ];
    Process::start(prometheus, args)
}
