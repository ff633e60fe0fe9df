//! Tells hbs that the host lives and what it is.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use daemon::Context;
use model::{HostId, Timestamp};
use reqwest::Url;
use tokio::net::{UdpSocket, lookup_host};
use wire::heartbeat::{HeartbeatReply, HeartbeatRequest, PATH};

use crate::config::Config;
use crate::desired::Link;
use crate::host::system::Identity;
use crate::metrics::Metrics;
use crate::upgrade::Upgrader;
use crate::version::version;

/// A reply with a wanted state of hundreds of plugin files has some hundred KiB; what is longer is not read to
/// its end.
const REPLY_BYTES_MAX: usize = 4 << 20;

const INTERVAL_MIN: Duration = Duration::from_secs(1);
const INTERVAL_MAX: Duration = Duration::from_secs(600);

/// Sends heartbeats.
#[derive(Debug)]
pub struct Heartbeat {
    endpoint: String,
    labels: BTreeMap<String, String>,
    root: PathBuf,
    urls: Vec<String>,
    current: usize,
    interval: Duration,
    timeout: Duration,
    ctx: Context,
    metrics: Arc<Metrics>,
    desired: Link,
    upgrader: Upgrader,
    is_away: bool,
}

impl Heartbeat {
    /// Heartbeats of the host `endpoint` with the labels of its configuration.
    pub fn new(
        config: &Config,
        endpoint: &str,
        ctx: &Context,
        metrics: Arc<Metrics>,
        desired: Link,
        upgrader: Upgrader,
    ) -> Self {
        let told = desired.plans.borrow().heartbeat_interval;
        let url = |address: &String| format!("{}{PATH}", address.trim_end_matches('/'));
        Self {
            endpoint: endpoint.to_owned(),
            labels: config.labels.clone(),
            root: config.root.clone(),
            urls: config.hbs.addresses.iter().map(url).collect(),
            current: 0,
            interval: told.map_or(config.hbs.interval, bounded),
            timeout: config.hbs.timeout,
            ctx: ctx.clone(),
            metrics,
            desired,
            upgrader,
            is_away: false,
        }
    }

    /// One heartbeat at once, and then one an interval, until the task is stopped. The interval is the
    /// configuration's until hbs has named one.
    pub async fn run(mut self) {
        loop {
            self.beat().await;
            tokio::select! {
                () = self.ctx.clock.sleep(self.interval) => {}
                () = self.upgrader.changed() => {}
            }
        }
    }

    // Asks each address once, beginning with the one that answered last. The answer says when to come again.
    async fn beat(&mut self) {
        let mut faults = Vec::new();
        for _ in 0..self.urls.len() {
            match self.post(&self.urls[self.current]).await {
                Ok(Answer { clock_offset_millis, interval }) => {
                    self.metrics.heartbeat(Some(clock_offset_millis));
                    self.interval = interval.unwrap_or(self.interval);
                    if std::mem::take(&mut self.is_away) {
                        self.ctx.has("hbs");
                        tracing::info!(hbs.url = self.urls[self.current], "hbs answers again");
                    }
                    return;
                }
                Err(error) => faults.push(format!("{error:#}")),
            }
            self.current = (self.current + 1) % self.urls.len();
        }
        self.metrics.heartbeat(None);
        if !std::mem::replace(&mut self.is_away, true) {
            let why = faults.join("; ");
            tracing::warn!("no hbs answers: {why}");
            self.ctx.lacks("hbs", why);
        }
    }

    async fn post(&self, url: &str) -> anyhow::Result<Answer> {
        let ip = local_address(url).await.map(|ip| ip.to_string()).unwrap_or_default();
        let sent = self.ctx.clock.now();
        let request = self.ctx.http.post(url).timeout(self.timeout).json(&self.request(ip, sent));
        let sent_request = request.send().await.map_err(reqwest::Error::without_url);
        let mut response = sent_request.with_context(|| format!("post to {url}"))?;
        // An error is an answer too: the way to hbs is open.
        self.upgrader.contact();
        let status = response.status();
        anyhow::ensure!(status.is_success(), "{url} answered {status}");
        let mut body = Vec::new();
        while let Some(piece) =
            response.chunk().await.with_context(|| format!("read the answer of {url}"))?
        {
            body.extend_from_slice(&piece);
            anyhow::ensure!(
                body.len() <= REPLY_BYTES_MAX,
                "{url} answered with more than {REPLY_BYTES_MAX} bytes"
            );
        }
        let reply: HeartbeatReply = serde_json::from_slice(&body)
            .with_context(|| format!("understand the answer of {url}"))?;
        if let Some(offer) = reply.upgrade {
            self.upgrader.offer(offer);
        }
        let interval = reply.desired.as_ref().map(|desired| {
            bounded(Duration::from_secs(u64::from(desired.heartbeat_interval_seconds)))
        });
        if reply.desired.is_some() {
            self.desired.states.send_replace(reply.desired);
        }
        Ok(Answer {
            clock_offset_millis: clock_offset_millis(sent, reply.server_time, self.ctx.clock.now()),
            interval,
        })
    }

    // Read anew each time: memory, processors and the kernel can change under a running agent.
    fn request(&self, ip: String, sent_at: Timestamp) -> HeartbeatRequest {
        let Identity { os, kernel, boot_id, cpus, memory_bytes, .. } = Identity::read(&self.root);
        let plan = self.desired.plans.borrow().clone();
        HeartbeatRequest {
            host: HostId(self.endpoint.clone()),
            ip,
            agent_version: version().to_owned(),
            plugin_version: plan.plugin_version.clone(),
            os,
            kernel,
            arch: std::env::consts::ARCH.to_owned(),
            boot_id,
            cpus,
            memory_bytes,
            sent_at,
            labels: self.labels.clone(),
            desired_hash: plan.hash.clone(),
            desired_faults: plan.faults.clone(),
            upgrade: self.upgrader.report(),
            upgradable: self.upgrader.is_upgradable(),
        }
    }
}

struct Answer {
    /// How far the local clock is ahead of that of hbs.
    clock_offset_millis: i64,
    interval: Option<Duration>,
}

// A mistake in hbs must neither flood it nor make the fleet fall silent.
fn bounded(interval: Duration) -> Duration {
    interval.clamp(INTERVAL_MIN, INTERVAL_MAX)
}

fn clock_offset_millis(sent: Timestamp, server: Timestamp, received: Timestamp) -> i64 {
    let middle = sent.millis() / 2 + received.millis() / 2;
    middle.saturating_sub(server.millis())
}

// The address that routing chooses for packets to hbs; connecting a UDP socket sends none.
async fn local_address(url: &str) -> Option<IpAddr> {
    let url = Url::parse(url).ok()?;
    let host = url.host_str()?.trim_matches(['[', ']']);
    let hbs = lookup_host((host, url.port_or_known_default()?)).await.ok()?.next()?;
    let any: IpAddr =
        if hbs.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await.ok()?;
    socket.connect(hbs).await.ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_is_that_of_the_middle_of_the_round_trip() {
        assert_eq!(clock_offset_millis(Timestamp(1000), Timestamp(1050), Timestamp(1100)), 0);
        assert_eq!(clock_offset_millis(Timestamp(5000), Timestamp(1000), Timestamp(5100)), 4050);
        assert_eq!(clock_offset_millis(Timestamp(0), Timestamp(i64::MIN), Timestamp(2)), i64::MAX);
    }

    #[test]
    fn hbs_names_the_interval_within_reason() {
        let bounded = |told| bounded(Duration::from_secs(told)).as_secs();
        assert_eq!([0, 45, 86_400].map(bounded), [1, 45, 600]);
    }

    #[tokio::test]
    async fn the_local_address_is_the_one_that_faces_hbs() {
        assert_eq!(
            local_address("http://127.0.0.1:6031/x").await,
            Some(Ipv4Addr::LOCALHOST.into())
        );
        assert_eq!(local_address("nonsense").await, None);
    }
}
