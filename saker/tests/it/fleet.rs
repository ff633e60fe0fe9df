//! A fleet of simulated agents is upgraded by three hbs on one Redis and one MariaDB, while hbs and
//! Redis are killed and started again. Never are more hosts upgraded at once than allowed: by the
//! set that operators read, as an observer sees it, and by what the agents themselves know.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{MariaDb, Process, Redis, binary, eventually, free_port};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const HBS: usize = 3;
const MD5: &str = "d41d8cd98f00b204e9800998ecf8427e";
/// In the second rollout one host of so many fails: 2 %.
const FAILS_EVERY: u64 = 50;
const PATIENCE: Duration = Duration::from_secs(30);

/// How large, and how fast.
#[derive(Debug, Clone, Copy)]
struct Size {
    agents: u64,
    in_flight_max: u64,
    /// Between two heartbeats of a host that does nothing.
    idle: Duration,
    /// Between two phases of one that is upgraded.
    busy: Duration,
    deadline: Duration,
    saker: &'static str,
}

/// What the agents know together.
#[derive(Debug, Default)]
struct Knowledge {
    urls: Vec<String>,
    in_flight: AtomicI64,
    in_flight_max: AtomicI64,
    offers: AtomicU64,
    third_offers: AtomicU64,
    confirmed: AtomicU64,
    failed: AtomicU64,
    heartbeats: AtomicU64,
    unanswered: AtomicU64,
    set_max: AtomicI64,
    set_looks: AtomicU64,
    is_over: AtomicBool,
}

struct World {
    size: Size,
    http: Client,
    known: Arc<Knowledge>,
    redis: Redis,
    _mariadb: MariaDb,
    folder: TempDir,
    hbs: Vec<Process>,
}

impl World {
    async fn start(size: Size) -> Option<Self> {
        // A server that forgets the last second forgets hosts that are underway.
        let redis = Redis::start_with(&["--appendfsync", "always"]).await?;
        let mariadb = MariaDb::start().await?;
        let folder = tempfile::tempdir().unwrap();
        let database = mariadb.create_database("saker");
        let mut urls = Vec::new();
        for n in 0..HBS {
            let (http, rpc) = (free_port(), free_port());
            let config = format!(
                "data_dir = {:?}\n[db]\nurl = {database:?}\n[state]\nredis_url = {:?}\n[hbs]\n\
                 listen = \"127.0.0.1:{http}\"\nrpc_listen = \"127.0.0.1:{rpc}\"\n\
                 transfer_url = \"http://127.0.0.1:1\"\nheartbeat_interval = \"5s\"\n\
                 [hbs.upgrade]\nlease = \"30s\"\nspread = \"0s\"\n",
                folder.path().join(format!("data-{n}")),
                redis.url(),
            );
            std::fs::write(folder.path().join(format!("hbs-{n}.toml")), config).unwrap();
            urls.push(format!("http://127.0.0.1:{http}"));
        }
        let known = Arc::new(Knowledge { urls, ..Knowledge::default() });
        let http = daemon::http_client().unwrap();
        let mut world =
            Self { size, http, known, redis, _mariadb: mariadb, folder, hbs: Vec::new() };
        for n in 0..HBS {
            let process = world.start_hbs(n).await;
            world.hbs.push(process);
        }
        Some(world)
    }

    async fn start_hbs(&self, n: usize) -> Process {
        let config = self.folder.path().join(format!("hbs-{n}.toml"));
        let program: PathBuf = binary(self.size.saker);
        let process =
            Process::start(&program, ["hbs".as_ref(), "--config".as_ref(), config.as_os_str()]);
        let url = format!("{}/-/healthy", self.known.urls[n]);
        eventually("hbs is up", PATIENCE, async || {
            self.http.get(&url).send().await.ok()?.error_for_status().ok().map(|_| ())
        })
        .await;
        process
    }

    async fn post(&self, version: &str) {
        let body = json!({
            "wgeturl": "http://192.0.2.9/falcon", "version": version, "binfile_md5": MD5,
            "max_in_flight": self.size.in_flight_max, "soak": 2,
        });
        let url = format!("{}/agent/upgrade", self.known.urls[0]);
        let answer = self.http.post(url).body(body.to_string()).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    }

    /// The rollout as any hbs tells it.
    async fn status(&self) -> Option<Value> {
        for url in &self.known.urls {
            let Ok(answer) = self.http.get(format!("{url}/agent/upgrade")).send().await else {
                continue;
            };
            if let Ok(mut answer) = answer.json::<Value>().await {
                return Some(answer["data"].take());
            }
        }
        None
    }

    async fn until_confirmed(&self, hosts: u64) {
        eventually("hosts confirm", self.size.deadline, async || {
            (self.known.confirmed.load(Ordering::Relaxed) >= hosts).then_some(())
        })
        .await;
    }

    async fn until_phase(&self, phase: &str) -> Value {
        eventually(phase, self.size.deadline, async || {
            self.status().await.filter(|status| status["phase"] == phase)
        })
        .await
    }

    /// Kills and starts again, one after the other, while hosts are upgraded.
    async fn trouble(&mut self) {
        let share = |percent| self.size.agents * percent / 100;
        let shares = [share(15), share(35), share(60)];
        self.until_confirmed(shares[0]).await;
        println!("hbs 0 is killed");
        self.hbs[0].kill();
        sleep(Duration::from_secs(3)).await;
        self.hbs[0] = self.start_hbs(0).await;
        self.until_confirmed(shares[1]).await;
        println!("redis is killed");
        self.redis.kill();
        sleep(Duration::from_secs(8)).await;
        self.redis.start_again().await;
        self.until_confirmed(shares[2]).await;
        println!("redis and hbs 1 are killed");
        self.redis.kill();
        self.hbs[1].kill();
        sleep(Duration::from_secs(3)).await;
        self.redis.start_again().await;
        self.hbs[1] = self.start_hbs(1).await;
    }
}

/// One agent, until all is over.
async fn agent(n: u64, size: Size, http: Client, known: Arc<Knowledge>) {
    let host = format!("sim-{n:05}");
    let mut at = n as usize;
    let mut version = "7.0".to_owned();
    let mut report = Value::Null;
    let mut offers_of = (String::new(), 0_u32);
    sleep(size.idle.mul_f64((n * 7919 % size.agents) as f64 / size.agents as f64)).await;
    while !known.is_over.load(Ordering::Relaxed) {
        let mut body = json!({ "host": host, "agent_version": version, "arch": "x86_64" });
        if !report.is_null() {
            body["upgrade"] = report.clone();
        }
        let Some(offer) = beat(&http, &known, &mut at, &body).await else {
            sleep(size.busy.min(Duration::from_millis(500))).await;
            continue;
        };
        let is_underway = report["phase"].as_str().is_some_and(|phase| next(phase).is_some());
        if !offer.is_null() {
            assert!(!is_underway, "{host} was offered something while it was at it: {offer}");
            let rollout = offer["rollout"].as_str().unwrap();
            offers_of = if offers_of.0 == rollout {
                (offers_of.0, offers_of.1 + 1)
            } else {
                (rollout.to_owned(), 1)
            };
            known.third_offers.fetch_add(u64::from(offers_of.1 > 2), Ordering::Relaxed);
            known.offers.fetch_add(1, Ordering::Relaxed);
            let now = known.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
            known.in_flight_max.fetch_max(now, Ordering::SeqCst);
            report =
                json!({ "rollout": rollout, "version": offer["version"], "phase": "downloading" });
            sleep(size.busy).await;
            continue;
        }
        if !is_underway {
            sleep(size.idle).await;
            continue;
        }
        let target = report["version"].as_str().unwrap().to_owned();
        let phase = match next(report["phase"].as_str().unwrap()).unwrap() {
            "restarting" if target == "7.2" && n % FAILS_EVERY == 7 => "failed",
            phase => phase,
        };
        if phase == "probation" {
            version = target;
        }
        report["phase"] = json!(phase);
        if next(phase).is_none() {
            let counter = if phase == "failed" { &known.failed } else { &known.confirmed };
            report["reason"] = json!(if phase == "failed" { "md5 mismatch" } else { "" });
            counter.fetch_add(1, Ordering::Relaxed);
            known.in_flight.fetch_sub(1, Ordering::SeqCst);
        } else {
            sleep(size.busy).await;
        }
    }
}

fn next(phase: &str) -> Option<&'static str> {
    match phase {
        "downloading" => Some("restarting"),
        "restarting" => Some("probation"),
        "probation" => Some("confirmed"),
        _ => None,
    }
}

/// The offer in the answer; nothing when this hbs does not answer, and the next one is asked then.
async fn beat(http: &Client, known: &Knowledge, at: &mut usize, body: &Value) -> Option<Value> {
    let url = format!("{}/v1/heartbeat", known.urls[*at % HBS]);
    known.heartbeats.fetch_add(1, Ordering::Relaxed);
    let answer = async {
        let answer = http.post(url).body(body.to_string()).send().await.ok()?;
        answer.error_for_status().ok()?.json::<Value>().await.ok()
    };
    let Some(mut answer) = answer.await else {
        known.unanswered.fetch_add(1, Ordering::Relaxed);
        *at += 1;
        return None;
    };
    Some(answer["upgrade"].take())
}

/// Looks at the set as an operator does, over a connection of its own.
async fn observe(url: String, known: Arc<Knowledge>) {
    let address = url.trim_start_matches("redis://").trim_end_matches("/0").to_owned();
    while !known.is_over.load(Ordering::Relaxed) {
        if let Ok(stream) = TcpStream::connect(&address).await {
            let mut stream = BufReader::new(stream);
            while let Some(hosts) = scard(&mut stream).await {
                known.set_max.fetch_max(hosts, Ordering::SeqCst);
                known.set_looks.fetch_add(1, Ordering::Relaxed);
                if known.is_over.load(Ordering::Relaxed) {
                    return;
                }
                sleep(Duration::from_millis(10)).await;
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn scard(stream: &mut BufReader<TcpStream>) -> Option<i64> {
    stream.write_all(b"SCARD agent_upgrade_set\r\n").await.ok()?;
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    line.trim().strip_prefix(':')?.parse().ok()
}

/// Both rollouts: one in which all goes well but for hbs and Redis, one with bad hosts.
async fn roll_out(size: Size) {
    let Some(mut world) = World::start(size).await else { return };
    let known = world.known.clone();
    let mut tasks = JoinSet::new();
    for n in 0..size.agents {
        tasks.spawn(agent(n, size, world.http.clone(), known.clone()));
    }
    tasks.spawn(observe(world.redis.url(), known.clone()));
    eventually("every host is known", size.deadline, async || {
        let url = format!("{}/agentversions", known.urls[0]);
        let answer: Value = world.http.get(url).send().await.ok()?.json().await.ok()?;
        (answer["data"].as_object()?.len() as u64 * HBS as u64 >= size.agents).then_some(())
    })
    .await;
    sleep(size.idle + Duration::from_secs(3)).await;

    let start = Instant::now();
    world.post("7.1").await;
    world.trouble().await;
    let done = world.until_phase("done").await;
    let took = start.elapsed();
    println!("{} of {} hosts in {took:?}: {known:?}", done["counts"]["confirmed"], size.agents);
    assert_eq!(done["counts"]["confirmed"], size.agents, "{done}");
    assert_eq!(known.confirmed.load(Ordering::Relaxed), size.agents);
    check_limits(&known, size);
    println!("{}", done["waves"]);

    world.post("7.2").await;
    let halted = world.until_phase("halted").await;
    println!("{}: {}", halted["why"], halted["counts"]);
    check_halt(&halted);
    sleep(Duration::from_secs(1)).await;
    let offers = known.offers.load(Ordering::Relaxed);
    sleep(size.idle + size.busy * 8).await;
    assert_eq!(known.offers.load(Ordering::Relaxed), offers, "a halted rollout offers nothing");
    let settled = world.status().await.unwrap();
    assert_eq!(settled["in_flight"], 0, "who was underway came to an end: {settled}");
    check_limits(&known, size);
    println!("at the end: {known:?}; {}", settled["counts"]);
    known.is_over.store(true, Ordering::Relaxed);
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

fn check_limits(known: &Knowledge, size: Size) {
    let max = i64::try_from(size.in_flight_max).unwrap();
    let (set, own) =
        (known.set_max.load(Ordering::SeqCst), known.in_flight_max.load(Ordering::SeqCst));
    assert!(set <= max && own <= max, "{max} hosts at once were allowed: {known:?}");
    assert!(set > max / 2 && known.set_looks.load(Ordering::Relaxed) > 100, "seen: {known:?}");
    assert_eq!(known.third_offers.load(Ordering::Relaxed), 0, "twice at most");
}

/// The rule that halted it held: a canary, or three hosts and more than 1 % of a wave.
fn check_halt(halted: &Value) {
    let waves = halted["waves"].as_array().unwrap();
    let is_beyond = |wave: &Value| {
        let (failed, started) =
            (wave["failed"].as_f64().unwrap(), wave["started"].as_f64().unwrap());
        if wave["canary"] == true { failed > 0.0 } else { failed >= 3.0 && failed > started * 0.01 }
    };
    assert!(waves.iter().any(is_beyond), "{halted}");
    assert!(!halted["why"].as_str().unwrap().contains("silence"), "{halted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_upgraded_within_its_limit_while_hbs_and_redis_are_killed() {
    let size = Size {
        agents: 300,
        in_flight_max: 20,
        idle: Duration::from_secs(2),
        busy: Duration::from_millis(500),
        deadline: Duration::from_secs(180),
        saker: "saker",
    };
    roll_out(size).await;
}

/// By hand, against the release build:
/// `cargo build --release -p saker && cargo test -p saker --test it ten_thousand -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and a release build"]
async fn ten_thousand_agents_are_upgraded_within_their_limit() {
    let size = Size {
        agents: 10_000,
        in_flight_max: 200,
        idle: Duration::from_secs(10),
        busy: Duration::from_secs(1),
        deadline: Duration::from_secs(1200),
        saker: "../release/saker",
    };
    roll_out(size).await;
}
