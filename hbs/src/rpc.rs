//! Open-Falcon's JSON-RPC on a raw connection, for agents and others of its kind.

use std::net::SocketAddr;
use std::sync::Arc;

use daemon::{Connection, Stop};
use model::HostId;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};
use wire::falcon_hbs::{
    AgentsReply, BUILTIN_METRICS, ExpressionsReply, GET_AGENTS, GET_EXPRESSIONS, GET_STRATEGIES,
    HostQuestion, MINE_PLUGINS, PluginsReply, REPORT_STATUS, StatusReply, StatusReport,
    StrategiesReply, TRUSTABLE_IPS,
};
use wire::heartbeat::{DesiredState, HeartbeatRequest, UpgradeArgs};
use wire::json_rpc::{self, Found, Splitter, write_result};

use crate::app::App;
use crate::falcon;
use crate::metrics::HeartbeatResult;
use crate::upgrades::{Beat, Speaks};

const METHODS: [&str; 7] = [
    REPORT_STATUS,
    MINE_PLUGINS,
    BUILTIN_METRICS,
    TRUSTABLE_IPS,
    GET_AGENTS,
    GET_STRATEGIES,
    GET_EXPRESSIONS,
];
/// What is read at a time at least.
const READ_BYTES: usize = 2 << 10;
/// The longest call has some hundred bytes.
const OBJECT_BYTES_MAX: usize = 64 << 10;

/// Answers the calls of one connection until the client goes, is silent for `rpc_idle_timeout`, or sends something
/// that is no request.
pub(crate) async fn serve(app: Arc<App>, mut connection: Connection, peer: SocketAddr, stop: Stop) {
    app.metrics.rpc_connections.inc();
    let mut buffer = Vec::new();
    let mut splitter = Splitter::default();
    loop {
        let next = next(&app, &mut connection, &mut buffer, &mut splitter);
        let end = tokio::select! {
            end = next => end,
            () = stop.clone().requested() => None,
        };
        let Some(end) = end else { break };
        let Some(reply) = reply_to(&app, &buffer[..end], peer).await else { break };
        buffer.drain(..end);
        let written = timeout(app.config.rpc_idle_timeout, connection.write_all(reply.as_bytes()));
        if !matches!(written.await, Ok(Ok(()))) {
            break;
        }
    }
    app.metrics.rpc_connections.dec();
}

/// Where the next request in the buffer ends; `None` when the connection is to be closed.
async fn next(
    app: &App,
    connection: &mut Connection,
    buffer: &mut Vec<u8>,
    splitter: &mut Splitter,
) -> Option<usize> {
    let deadline = Instant::now() + app.config.rpc_idle_timeout;
    loop {
        match splitter.find(buffer) {
            Ok(Found::Object(end)) => return Some(end),
            Ok(Found::Nothing) => buffer.clear(),
            Ok(Found::Partial) => {}
            Err(_) => {
                app.metrics.rpc_malformed.inc();
                return None;
            }
        }
        if buffer.len() > OBJECT_BYTES_MAX {
            app.metrics.rpc_malformed.inc();
            return None;
        }
        buffer.reserve(READ_BYTES);
        match tokio::time::timeout_at(deadline, connection.read_buf(buffer)).await {
            Ok(Ok(1..)) => {}
            _ => return None,
        }
    }
}

/// The reply to an object; `None` when it is no request.
async fn reply_to(app: &App, object: &[u8], peer: SocketAddr) -> Option<String> {
    let Ok(request) = json_rpc::parse(object) else {
        app.metrics.rpc_malformed.inc();
        return None;
    };
    let answer = match request.call(&METHODS) {
        Ok((method, argument)) => answer(app, method, argument, request.id, peer).await,
        Err(error) => Err(error),
    };
    Some(answer.unwrap_or_else(|error| {
        app.metrics.rpc_malformed.inc();
        json_rpc::write_error(request.id, &error)
    }))
}

async fn answer(
    app: &App,
    method: &str,
    argument: &str,
    id: Option<&RawValue>,
    peer: SocketAddr,
) -> Result<String, String> {
    let timestamp = app.clock.now().seconds();
    Ok(match method {
        REPORT_STATUS => {
            let reply = report_status(app, StatusReport::decode(argument)?, peer).await?;
            write_result(id, &reply)
        }
        MINE_PLUGINS => {
            let state = desired(app, &HostQuestion::decode(argument)?.hostname);
            write_result(id, &PluginsReply { plugins: falcon::plugins(&state), timestamp })
        }
        BUILTIN_METRICS => {
            let HostQuestion { hostname, checksum } = HostQuestion::decode(argument)?;
            let state = desired(app, &hostname);
            write_result(id, &falcon::builtin_metrics(&state, &checksum, timestamp))
        }
        TRUSTABLE_IPS => write_result(id, &app.config.trustable_ips.join(",")),
        GET_AGENTS => {
            let agent = app.fleet().hosts().map(|host| host.row.name.clone()).collect();
            write_result(id, &AgentsReply { agent })
        }
        GET_STRATEGIES => {
            asked_for_rules(app, peer);
            write_result(id, &StrategiesReply::default())
        }
        _ => {
            asked_for_rules(app, peer);
            write_result(id, &ExpressionsReply::default())
        }
    })
}

/// An Open-Falcon judge asks every minute. It gets no rules, also of those that were imported from its portal: our
/// judge evaluates them, and both would tell everybody twice. Who still has one running should know that it is idle.
fn asked_for_rules(app: &App, peer: SocketAddr) {
    if app.metrics.rpc_rule_questions.inc() == 0 {
        tracing::warn!(%peer, "an Open-Falcon judge asks for rules and gets none: Saker's judge evaluates them");
    }
}

async fn report_status(
    app: &App,
    report: StatusReport,
    peer: SocketAddr,
) -> Result<StatusReply, String> {
    let in_upgrading = report.in_upgrading;
    if report.hostname.is_empty() {
        app.metrics.count(HeartbeatResult::Malformed);
        return Ok(StatusReply { code: 1, args: None });
    }
    let heartbeat =
        heartbeat_of(report).inspect_err(|_| app.metrics.count(HeartbeatResult::Malformed))?;
    app.hear(&heartbeat, peer)
        .map_err(|full| format!("hbs holds {} hosts, its limit hbs.hosts_max", full.hosts))?;
    let beat = Beat {
        host: &heartbeat.host.0,
        version: &heartbeat.agent_version,
        arch: "",
        labels: &heartbeat.labels,
        groups: &[],
        speaks: Speaks::Falcon { in_upgrading },
    };
    let offer = app.upgrades.offer_for(&beat, app.clock.now()).await;
    Ok(StatusReply { code: 0, args: offer.map(UpgradeArgs::from) })
}

// As if it had come over HTTP, checks included.
fn heartbeat_of(report: StatusReport) -> Result<HeartbeatRequest, String> {
    let heartbeat = HeartbeatRequest {
        host: HostId(report.hostname),
        ip: report.ip,
        agent_version: report.agent_version,
        plugin_version: report.plugin_version,
        ..HeartbeatRequest::default()
    };
    heartbeat.check().map_err(|error| error.to_string())?;
    Ok(heartbeat)
}

fn desired(app: &App, hostname: &str) -> DesiredState {
    let labels = app.fleet().host(hostname).map(|host| host.labels.clone()).unwrap_or_default();
    app.merge(&app.share.current(), hostname, &labels).state
}
