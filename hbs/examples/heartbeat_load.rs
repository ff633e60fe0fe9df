//! Measures hbs under load: a real MariaDB behind it, agents on keep-alive connections at a fixed rate, and, if asked
//! for, the database killed for a while.
//!
//! `cargo run --release -p hbs --example heartbeat_load -- [RATE] [SECONDS] [HOSTS] [OUTAGE_SECONDS]`
//!
//! Each heartbeat has its moment; latency counts from that moment on, so that a slow answer is charged to those that
//! had to wait behind it. At the end the rows of the database are compared with the hosts that were answered.
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use daemon::{Clock, Context};
use db::{Db, DbConfig};
use hbs::{Config, Deps};
use state::State;
use testkit::MariaDb;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

const CONNECTIONS: u64 = 200;

fn main() -> anyhow::Result<()> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let mut number = |default: u64| numbers.next().unwrap_or(Ok(default)).context("a number");
    let load = Load {
        rate: number(5000)?,
        seconds: number(30)?,
        hosts: number(50_000)?,
        outage: Duration::from_secs(number(0)?),
    };
    tokio::runtime::Runtime::new()?.block_on(measure(load))
}

#[derive(Debug, Clone, Copy)]
struct Load {
    rate: u64,
    seconds: u64,
    hosts: u64,
    outage: Duration,
}

async fn measure(load: Load) -> anyhow::Result<()> {
    let mut mariadb = MariaDb::start().await.context("mariadbd is not installed")?;
    let url = mariadb.create_database("hbs");
    let db = Db::connect(&DbConfig::new(url.clone())).await?;
    let context = Context::new("hbs", Clock::System)?;
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    let config = Config { listen: any, rpc_listen: any, hosts_max: 1_000_000, ..Config::default() };
    let deps = Deps { state: State::embedded(db.clone()), db };
    let at = hbs::start(config, deps, &context).await?;
    put_groups(&context, at.http).await?;

    let start = Instant::now() + Duration::from_millis(200);
    let mut agents = JoinSet::new();
    for connection in 0..CONNECTIONS {
        agents.spawn(beat(at.http, connection, start, load));
    }
    if !load.outage.is_zero() {
        sleep(Duration::from_secs(load.seconds) / 4).await;
        println!("the database is killed for {:?}", load.outage);
        mariadb.kill();
        sleep(load.outage).await;
        mariadb.start_again().await;
        println!("the database is back");
    }
    let mut micros = Vec::new();
    while let Some(outcome) = agents.join_next().await {
        micros.extend(outcome??);
    }
    let took = start.elapsed();
    micros.sort_unstable();
    let at_share = |share: f64| {
        let index = (micros.len() as f64 * share) as usize;
        micros.get(index.min(micros.len() - 1)).map_or(0.0, |micros| f64::from(*micros) / 1000.0)
    };
    println!(
        "{} heartbeats in {:.1} s ({:.0}/s): p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, most {:.2} ms",
        micros.len(),
        took.as_secs_f64(),
        micros.len() as f64 / took.as_secs_f64(),
        at_share(0.5),
        at_share(0.99),
        at_share(0.999),
        at_share(1.0),
    );
    context.stop().await;
    let stored = Db::connect(&DbConfig::new(url)).await?.hosts().names().await?;
    let stored: BTreeSet<String> = stored.into_iter().collect();
    let answered = load.hosts.min(load.rate * load.seconds / CONNECTIONS * CONNECTIONS);
    let lost = (0..answered).filter(|host| !stored.contains(&name(*host))).count();
    println!("{answered} hosts were answered, {} are stored, {lost} are lost", stored.len());
    if lost > 0 {
        bail!("{lost} hosts are lost");
    }
    Ok(())
}

/// A tree as a site may have it: a hundred groups, each with checks, some of which match.
async fn put_groups(context: &Context, hbs: SocketAddr) -> anyhow::Result<()> {
    for n in 0..100 {
        let body = serde_json::json!({
            "host_patterns": [format!("host-{n:02}*")],
            "labels": { "service": format!("service-{n}") },
            "checks": [{ "check": "port_listen", "port": 8000 + n }],
        });
        let url = format!("http://{hbs}/api/v1/groups/corp.service-{n}");
        let answer = context.http.put(url).body(body.to_string()).send().await?;
        anyhow::ensure!(answer.status().is_success(), "{}", answer.text().await?);
    }
    Ok(())
}

fn name(host: u64) -> String {
    format!("host-{host:06}")
}

/// The heartbeats of one connection at their moments; how long each took, in microseconds. Each host reports the state
/// that it was given, as agents do.
async fn beat(
    hbs: SocketAddr,
    connection: u64,
    start: Instant,
    load: Load,
) -> anyhow::Result<Vec<u32>> {
    let mut stream = TcpStream::connect(hbs).await?;
    stream.set_nodelay(true)?;
    let mut micros = Vec::new();
    let mut hashes = std::collections::HashMap::new();
    let mut buffer = Vec::with_capacity(4096);
    let rounds = load.rate * load.seconds / CONNECTIONS;
    for round in 0..rounds {
        let count = round * CONNECTIONS + connection;
        let moment = start + Duration::from_nanos(count * 1_000_000_000 / load.rate);
        sleep_until(moment).await;
        let host = count % load.hosts;
        let body = serde_json::json!({
            "host": name(host), "ip": "10.1.2.3", "agent_version": "7.1.0", "os": "Debian 12",
            "kernel": "6.1.0-18-amd64", "arch": "x86_64", "boot_id": "b", "cpus": 8,
            "memory_bytes": 34_359_738_368_u64, "sent_at": 1, "labels": { "idc": "bj" },
            "desired_hash": hashes.get(&host).map_or("", String::as_str),
        })
        .to_string();
        let request = format!(
            "POST /v1/heartbeat HTTP/1.1\r\nHost: {hbs}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let answer = read_answer(&mut stream, &mut buffer).await?;
        let waited = Instant::now().saturating_duration_since(moment);
        micros.push(u32::try_from(waited.as_micros()).unwrap_or(u32::MAX));
        if let Some(hash) = answer.split_once("\"hash\":\"").and_then(|(_, rest)| rest.get(..64)) {
            hashes.insert(host, hash.to_owned());
        }
    }
    Ok(micros)
}

async fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<String> {
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            bail!("hbs closed a connection");
        }
        let text = std::str::from_utf8(buffer)?;
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .context("an answer without a length")?
            .parse()?;
        if body.len() >= length {
            anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "{text}");
            return Ok(body.to_owned());
        }
    }
}
