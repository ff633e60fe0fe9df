//! The heartbeat: what a host says of itself, and what it is told in return. Our own message, JSON.
//!
//! Fields are only ever added. Both sides ignore fields they do not know and take a default for
//! those that are missing, so agents and hbs of different versions understand each other.

mod check;
mod desired;
mod upgrade;

use std::collections::BTreeMap;

use model::{HostId, Timestamp};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use check::{Check, CheckError, ProcessMatch};
pub use desired::{DesiredState, MetricsFormat, PluginBundle, PluginFile, PluginRun, ScrapeJob};
pub use upgrade::{UpgradeArgs, UpgradeKind, UpgradeOffer, UpgradePhase, UpgradeReport};

/// Where the agent posts it.
pub const PATH: &str = "/v1/heartbeat";
/// A body beyond this is refused unread, in bytes.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

const TEXT_BYTES_MAX: usize = 255;
const LABELS_MAX: usize = 64;
const FAULTS_MAX: usize = 16;

/// Why a heartbeat is refused.
#[derive(Debug, Error)]
pub enum HeartbeatError {
    /// The body is no heartbeat.
    #[error("the body is not a heartbeat")]
    Json(#[source] serde_json::Error),
    /// The body is longer than the limit.
    #[error("the body has {bytes} bytes, more than the limit of {BODY_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// A field holds what it must not.
    #[error("field {field}: {fault}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What is wrong.
        fault: &'static str,
    },
}

/// What a host says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeartbeatRequest {
    /// The host's name: the value of label `endpoint` in its samples. Not empty, at most 255 bytes.
    pub host: HostId,
    /// Its address as it sees it; may be empty.
    #[serde(default)]
    pub ip: String,
    /// Version of the agent.
    #[serde(default)]
    pub agent_version: String,
    /// Version of the plugins; may be empty.
    #[serde(default)]
    pub plugin_version: String,
    /// Operating system with its version.
    #[serde(default)]
    pub os: String,
    /// Kernel release.
    #[serde(default)]
    pub kernel: String,
    /// Architecture, such as `x86_64`.
    #[serde(default)]
    pub arch: String,
    /// The kernel's boot id: another one means that the host was restarted.
    #[serde(default)]
    pub boot_id: String,
    /// Logical processors.
    #[serde(default)]
    pub cpus: u32,
    /// Memory in bytes.
    #[serde(default)]
    pub memory_bytes: u64,
    /// The host's clock when it sent this, in milliseconds since the epoch.
    #[serde(default)]
    pub sent_at: Timestamp,
    /// Labels that the host's own configuration gives it.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Hash of the desired state that the host has applied; empty before the first one.
    #[serde(default)]
    pub desired_hash: String,
    /// What of the desired state could not be applied, in words; empty when all was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub desired_faults: Vec<String>,
    /// How the upgrade that the host was last offered goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<UpgradeReport>,
    /// False when the host's own configuration refuses upgrades or pins its version.
    #[serde(default = "yes")]
    pub upgradable: bool,
}

fn yes() -> bool {
    true
}

/// What the host is told in return.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeartbeatReply {
    /// The state the host should be in; nothing when it has applied it already, by its hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<DesiredState>,
    /// A version to change to, when it is this host's turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<UpgradeOffer>,
    /// The clock of hbs when it answered, in milliseconds since the epoch.
    pub server_time: Timestamp,
}

impl Default for HeartbeatRequest {
    /// Nothing said but that upgrades are welcome; not valid without a host.
    fn default() -> Self {
        Self {
            host: HostId(String::new()),
            ip: String::new(),
            agent_version: String::new(),
            plugin_version: String::new(),
            os: String::new(),
            kernel: String::new(),
            arch: String::new(),
            boot_id: String::new(),
            cpus: 0,
            memory_bytes: 0,
            sent_at: Timestamp::default(),
            labels: BTreeMap::new(),
            desired_hash: String::new(),
            desired_faults: Vec::new(),
            upgrade: None,
            upgradable: true,
        }
    }
}

impl HeartbeatRequest {
    /// Reads and checks a body.
    pub fn decode(body: &[u8]) -> Result<Self, HeartbeatError> {
        if body.len() > BODY_BYTES_MAX {
            return Err(HeartbeatError::TooLong { bytes: body.len() });
        }
        let request: Self = serde_json::from_slice(body).map_err(HeartbeatError::Json)?;
        request.check()?;
        Ok(request)
    }

    /// Checks what [`HeartbeatRequest::decode`] checks, for one that came in other bytes.
    pub fn check(&self) -> Result<(), HeartbeatError> {
        if self.host.0.is_empty() {
            return Err(HeartbeatError::Field { field: "host", fault: "must not be empty" });
        }
        let texts = [
            ("host", &self.host.0),
            ("ip", &self.ip),
            ("agent_version", &self.agent_version),
            ("plugin_version", &self.plugin_version),
            ("os", &self.os),
            ("kernel", &self.kernel),
            ("arch", &self.arch),
            ("boot_id", &self.boot_id),
            ("desired_hash", &self.desired_hash),
        ];
        let faults = self.desired_faults.iter().map(|fault| ("desired_faults", fault));
        let labels =
            self.labels.iter().flat_map(|(name, value)| [("labels", name), ("labels", value)]);
        for (field, text) in texts.into_iter().chain(labels).chain(faults) {
            if text.len() > TEXT_BYTES_MAX {
                return Err(HeartbeatError::Field { field, fault: "is longer than 255 bytes" });
            }
            if text.chars().any(char::is_control) {
                return Err(HeartbeatError::Field { field, fault: "has control characters" });
            }
        }
        if self.labels.len() > LABELS_MAX {
            return Err(HeartbeatError::Field {
                field: "labels",
                fault: "has more than 64 labels",
            });
        }
        if self.desired_faults.len() > FAULTS_MAX {
            return Err(HeartbeatError::Field {
                field: "desired_faults",
                fault: "has more than 16 texts",
            });
        }
        self.upgrade.as_ref().map_or(Ok(()), UpgradeReport::check)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOLDEN_REQUEST: &str = concat!(
        r#"{"host":"pay-01","ip":"10.0.0.1","agent_version":"0.1.0","plugin_version":"","os":"Debian 12","#,
        r#""kernel":"6.1.0","arch":"x86_64","boot_id":"b-1","cpus":4,"memory_bytes":8589934592,"#,
        r#""sent_at":1760000460123,"labels":{"idc":"bj"},"desired_hash":"ab12","upgradable":true}"#
    );
    const GOLDEN_REPLY: &str = concat!(
        r#"{"desired":{"hash":"cd34","heartbeat_interval_seconds":60,"labels":{"idc":"bj"}},"#,
        r#""server_time":1760000460456}"#
    );

    fn request() -> HeartbeatRequest {
        HeartbeatRequest {
            host: HostId("pay-01".into()),
            ip: "10.0.0.1".into(),
            agent_version: "0.1.0".into(),
            plugin_version: String::new(),
            os: "Debian 12".into(),
            kernel: "6.1.0".into(),
            arch: "x86_64".into(),
            boot_id: "b-1".into(),
            cpus: 4,
            memory_bytes: 8 << 30,
            sent_at: Timestamp(1_760_000_460_123),
            labels: BTreeMap::from([("idc".into(), "bj".into())]),
            desired_hash: "ab12".into(),
            desired_faults: Vec::new(),
            upgrade: None,
            upgradable: true,
        }
    }

    fn check_refused(change: impl Fn(&mut HeartbeatRequest), text: &str) {
        let mut changed = request();
        change(&mut changed);
        let body = serde_json::to_vec(&changed).expect("it is plain");
        assert_eq!(HeartbeatRequest::decode(&body).expect_err("it is bad").to_string(), text);
    }

    #[test]
    fn the_bytes_of_a_request_stay_what_they_are() {
        assert_eq!(serde_json::to_string(&request()).expect("it is plain"), GOLDEN_REQUEST);
        assert_eq!(
            HeartbeatRequest::decode(GOLDEN_REQUEST.as_bytes()).expect("it is golden"),
            request()
        );
    }

    #[test]
    fn the_bytes_of_a_reply_stay_what_they_are() {
        let desired = DesiredState {
            hash: "cd34".into(),
            labels: request().labels,
            ..DesiredState::default()
        };
        let reply = HeartbeatReply {
            desired: Some(desired),
            upgrade: None,
            server_time: Timestamp(1_760_000_460_456),
        };
        assert_eq!(serde_json::to_string(&reply).expect("it is plain"), GOLDEN_REPLY);
        assert_eq!(
            serde_json::from_str::<HeartbeatReply>(GOLDEN_REPLY).expect("it is golden"),
            reply
        );
    }

    #[test]
    fn fields_of_other_versions_do_not_matter() {
        let request = HeartbeatRequest::decode(br#"{"host":"a","from_the_future":{"x":1}}"#)
            .expect("a host is enough");
        assert_eq!((request.host, request.cpus), (HostId("a".into()), 0));
        let reply: HeartbeatReply =
            serde_json::from_str(r#"{"server_time":5,"desired":{"new":true}}"#).expect("it is");
        assert_eq!(reply.desired, Some(DesiredState::default()));
    }

    #[test]
    fn hostile_fields_are_refused_by_name() {
        check_refused(|r| r.host.0.clear(), "field host: must not be empty");
        check_refused(|r| r.kernel = "k".repeat(256), "field kernel: is longer than 255 bytes");
        check_refused(|r| r.os = "a\nb".into(), "field os: has control characters");
        let many = |r: &mut HeartbeatRequest| {
            r.labels = (0..65).map(|n| (n.to_string(), "x".into())).collect()
        };
        check_refused(many, "field labels: has more than 64 labels");
        assert!(matches!(HeartbeatRequest::decode(b"{}"), Err(HeartbeatError::Json(_))));
        assert!(matches!(
            HeartbeatRequest::decode(&[b' '; 70_000]),
            Err(HeartbeatError::TooLong { .. })
        ));
    }

    proptest! {
        #[test]
        fn no_body_makes_the_decoder_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = HeartbeatRequest::decode(&body);
        }
    }
}
