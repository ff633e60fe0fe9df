//! What hbs does with a heartbeat, whichever protocol brought it.

use std::net::SocketAddr;
use std::sync::Arc;

use wire::heartbeat::{DesiredState, HeartbeatRequest};

use crate::app::App;
use crate::desired::{self, Desired};
use crate::fleet::Heard;
use crate::metrics::HeartbeatResult;
use crate::snapshot::Snapshot;

/// Refused: there are as many hosts as hbs may hold.
#[derive(Debug)]
pub(crate) struct Full {
    /// How many there are.
    pub(crate) hosts: usize,
}

impl App {
    /// Notes a heartbeat, and counts it.
    pub(crate) fn hear(&self, heartbeat: &HeartbeatRequest, peer: SocketAddr) -> Result<(), Full> {
        let now = self.clock.now();
        let (heard, hosts) = {
            let mut fleet = self.fleet();
            (fleet.hear(heartbeat, &peer.ip().to_canonical().to_string(), now), fleet.len())
        };
        self.metrics.count(result_of(heard));
        self.metrics.hosts.set(i64::try_from(hosts).unwrap_or(i64::MAX));
        if heard == Heard::Full { Err(Full { hosts }) } else { Ok(()) }
    }

    /// The state a host should be in; nothing when it reports that it is.
    pub(crate) fn desired_unless_applied(
        &self,
        heartbeat: &HeartbeatRequest,
    ) -> Option<DesiredState> {
        let snapshot = self.share.current();
        let host = &heartbeat.host.0;
        // Not computed within the lock: after a change every host needs its state anew.
        let known = self.fleet().desired_hash(host, snapshot.mark());
        if known.is_some_and(|hash| *hash == heartbeat.desired_hash) {
            return None;
        }
        let state = self.merge(&snapshot, host, &heartbeat.labels).state;
        self.fleet().keep_desired_hash(host, snapshot.mark(), &state.hash);
        (state.hash != heartbeat.desired_hash).then_some(state)
    }

    /// A host's desired state with its origins.
    pub(crate) fn merge(
        &self,
        snapshot: &Arc<Snapshot>,
        host: &str,
        labels: &std::collections::BTreeMap<String, String>,
    ) -> Desired {
        let interval = self.config.heartbeat_interval.as_secs();
        let interval = u32::try_from(interval).unwrap_or(u32::MAX);
        desired::merge(&snapshot.memberships(host, labels), snapshot.bundles(), interval)
    }
}

fn result_of(heard: Heard) -> HeartbeatResult {
    match heard {
        Heard::New => HeartbeatResult::New,
        Heard::Changed => HeartbeatResult::Changed,
        Heard::Same => HeartbeatResult::Same,
        Heard::Full => HeartbeatResult::Full,
    }
}
