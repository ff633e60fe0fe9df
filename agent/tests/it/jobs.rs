//! Checks, plugins and scrapes of the configuration, from the clock to transfer.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use daemon::{Clock, Context};
use model::is_stale;
use saker_agent::config::{CheckSettings, Interval, ScrapeSettings};

use crate::tiers::Agent;

fn script(folder: &Path, name: &str, text: &str) {
    fs::create_dir_all(folder).unwrap();
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
}

fn check(metric: &str, tags: &str) -> CheckSettings {
    let interval = Some(Interval(Duration::from_secs(5)));
    CheckSettings { metric: metric.to_owned(), tags: tags.to_owned(), interval }
}

#[tokio::test]
async fn a_plugin_is_stamped_with_its_slot_and_tells_how_it_went() {
    let dir = tempfile::tempdir().unwrap();
    script(&dir.path().join("sys"), "5_good.sh", r#"echo 'a_gauge{x="'$1'"} 3'"#);
    script(&dir.path().join("sys"), "5_bad.sh", "echo a_gauge 1; exit 3");
    let agent = Agent::start(|config| {
        config.plugins.directory = Some(dir.path().to_owned());
        config.plugins.run = vec!["sys".into(), "sys/5_good.sh(an arg)".into()];
    })
    .await;
    let good = r#"agent_plugin_runs_total{plugin="sys/5_good.sh"}"#;
    let bad = r#"agent_plugin_failures_total{plugin="sys/5_bad.sh", reason="exit"}"#;
    agent
        .advance_until("both plugins", |agent| {
            agent.neighbour.value(good).zip(agent.neighbour.value(bad))
        })
        .await;
    assert_eq!(agent.neighbour.value(r#"a_gauge{x="an arg"}"#), Some(3.0));
    assert_eq!(agent.neighbour.value("a_gauge"), None, "a failed run gives nothing");
    let code = agent.neighbour.value(r#"agent_plugin_exit_code{plugin="sys/5_bad.sh"}"#);
    assert_eq!(code, Some(3.0));
    for series in agent.neighbour.taken().iter().flat_map(|request| &request.series) {
        if series.labels.metric_name() == "a_gauge" {
            assert_eq!(series.samples[0].timestamp.millis() % 5000, 0);
        }
    }
    agent.stop().await;
}

#[tokio::test]
async fn a_plugin_is_never_run_twice_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    script(dir.path(), "1_slow.sh", &format!("echo x >> {}; sleep 300", log.display()));
    let agent = Agent::start(|config| {
        config.plugins.directory = Some(dir.path().to_owned());
        config.plugins.run = vec![".".into()];
        // Never over by itself within this test.
        config.plugins.environment = BTreeMap::from([("A".to_owned(), "b".to_owned())]);
    })
    .await;
    let skipped = async || {
        agent.ctx.clock.advance(Duration::from_secs(1));
        let text = testkit::get_text(&agent.ctx.http, &format!("{}/metrics", agent.url)).await?;
        text.lines()
            .find_map(|line| line.strip_prefix(r#"agent_job_skipped_total{kind="plugin"} "#))
            .filter(|count| *count != "0")
            .map(str::to_owned)
    };
    testkit::eventually("a slot left out", crate::stand_in::PATIENCE, skipped).await;
    let runs = fs::read_to_string(&log).unwrap().lines().count();
    let ended = agent.neighbour.value(r#"agent_plugin_runs_total{plugin="1_slow.sh"}"#);
    assert!(runs as f64 <= ended.unwrap_or_default() + 1.0, "{runs} begun, {ended:?} ended");
    agent.stop().await;
}

/// An exporter whose page a test can change.
struct Exporter {
    url: String,
    page: Arc<Mutex<(u16, String)>>,
    ctx: Context,
}

impl Exporter {
    async fn start(page: &str) -> Self {
        let page = Arc::new(Mutex::new((200, page.to_owned())));
        let shown = Arc::clone(&page);
        let answer = async move || {
            let (status, text) = shown.lock().unwrap().clone();
            (StatusCode::from_u16(status).unwrap(), text)
        };
        let ctx = Context::new("exporter", Clock::System).unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let routes = Router::new().route("/page", get(answer));
        let url = format!("http://{}/page", ctx.listen(any, routes).await.unwrap());
        Self { url, page, ctx }
    }

    fn show(&self, status: u16, page: &str) {
        *self.page.lock().unwrap() = (status, page.to_owned());
    }
}

#[tokio::test]
async fn an_exporter_is_scraped_and_its_series_end_when_they_vanish() {
    let exporter = Exporter::start("# TYPE a counter\na 1\nb 2\n").await;
    let address = exporter.url.trim_start_matches("http://").trim_end_matches("/page").to_owned();
    let agent = Agent::start(|config| {
        config.scrape = vec![ScrapeSettings {
            name: "app".into(),
            url: exporter.url.clone(),
            interval: Interval(Duration::from_secs(5)),
            timeout: None,
            labels: BTreeMap::new(),
            relabel: Vec::new(),
            samples_max: None,
        }];
    })
    .await;
    let named = |name: &str| format!(r#"{name}{{instance="{address}", job="app"}}"#);
    let (a, b, up) = (named("a"), named("b"), named("up"));
    agent.advance_until("the page", |agent| agent.neighbour.value(&b)).await;
    assert_eq!(agent.neighbour.value(&up), Some(1.0));
    exporter.show(200, "a 5\n");
    let stale = |agent: &Agent| agent.neighbour.value(&b).filter(|value| is_stale(*value));
    agent.advance_until("the end of b", stale).await;
    assert_eq!(agent.neighbour.value(&a), Some(5.0));
    exporter.show(503, "a 5\n");
    agent
        .advance_until("it is down", |agent| agent.neighbour.value(&up).filter(|v| *v == 0.0))
        .await;
    assert!(is_stale(agent.neighbour.value(&a).unwrap()));
    exporter.ctx.stop().await;
    agent.stop().await;
}

#[tokio::test]
async fn checks_of_the_configuration_give_the_metrics_and_tags_of_open_falcon() {
    let exporter = Exporter::start("fine").await;
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "x".repeat(100)).unwrap();
    let (folder, url) = (dir.path().display().to_string(), exporter.url.clone());
    let agent = Agent::start(|config| {
        config.root = "/".into();
        config.endpoint = Some("h".into());
        config.checks = vec![
            check("proc.num", "cmdline=no-such-process-anywhere"),
            check("du.bs", &format!("path={folder}")),
            check("du.bs", "path=/nonexistent"),
            check("url.check.health", &format!("url={url},timeout=3")),
            check("url.check.health", &format!("url={url}/none,timeout=3")),
        ];
    })
    .await;
    let size = format!(r#"du_bs{{path="{folder}"}}"#);
    let up = format!(r#"url_check_health{{src="h", timeout="3", url="{url}"}}"#);
    let down = format!(r#"url_check_health{{src="h", timeout="3", url="{url}/none"}}"#);
    let expected = [
        (r#"proc_num{cmdline="no-such-process-anywhere"}"#, 0.0),
        (r#"du_bs{path="/nonexistent"}"#, -1.0),
        (&up, 1.0),
        (&down, 0.0),
    ];
    for (series, value) in expected {
        let found = agent.advance_until(series, |agent| agent.neighbour.value(series)).await;
        assert_eq!(found, value, "{series}");
    }
    assert!(agent.neighbour.value(&size).unwrap() >= 100.0);
    exporter.ctx.stop().await;
    agent.stop().await;
}
