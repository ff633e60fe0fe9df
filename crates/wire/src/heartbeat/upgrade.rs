//! The self-upgrade in heartbeats: what hbs offers and what the host reports of it.

use serde::{Deserialize, Serialize};

use super::{HeartbeatError, TEXT_BYTES_MAX};

/// What is changed. The numbers are Open-Falcon's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum UpgradeKind {
    /// 0: the agent.
    #[default]
    Binary,
    /// 1: its configuration.
    Config,
    /// 2: both, or none.
    Both,
}

impl From<UpgradeKind> for u8 {
    fn from(kind: UpgradeKind) -> Self {
        match kind {
            UpgradeKind::Binary => 0,
            UpgradeKind::Config => 1,
            UpgradeKind::Both => 2,
        }
    }
}

impl TryFrom<u8> for UpgradeKind {
    type Error = &'static str;

    fn try_from(number: u8) -> Result<Self, Self::Error> {
        match number {
            0 => Ok(Self::Binary),
            1 => Ok(Self::Config),
            2 => Ok(Self::Both),
            _ => Err("type is 0 (binary), 1 (configuration) or 2 (both)"),
        }
    }
}

/// A version that a host is to change to now.
///
/// The files are `<wgeturl>/bin_<version>` and `<wgeturl>/cfg_<version>`. A host that has been offered one holds
/// a place among those upgraded at once until `lease_seconds` have passed or it reports an end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeOffer {
    /// Which rollout it belongs to; the host repeats it in its reports.
    pub rollout: String,
    /// What is changed.
    #[serde(rename = "type")]
    pub kind: UpgradeKind,
    /// Base address of the files, http or https.
    pub wgeturl: String,
    /// The version offered: `[0-9A-Za-z][0-9A-Za-z._+-]{0,63}` without `..`.
    pub version: String,
    /// MD5 of the agent's file in hex; empty when only the configuration is changed.
    #[serde(default)]
    pub binfile_md5: String,
    /// MD5 of the configuration's file in hex; empty when only the agent is changed.
    #[serde(default)]
    pub cfgfile_md5: String,
    /// SHA-256 of the agent's file in hex; empty when it was not given.
    #[serde(default)]
    pub sha256: String,
    /// Ed25519 signature in base64 over the text `<version> <arch> <sha256>`, with `any` for an
    /// empty `arch`; empty when it was not given.
    #[serde(default)]
    pub signature: String,
    /// SHA-256 of the configuration's file in hex; empty when it was not given.
    #[serde(default)]
    pub cfg_sha256: String,
    /// Ed25519 signature in base64 over the text `<version> cfg <cfg_sha256>`; empty when it was not given.
    #[serde(default)]
    pub cfg_signature: String,
    /// The architecture that the file is for; empty for any.
    #[serde(default)]
    pub arch: String,
    /// Bytes a second that the host may download; 0 for no limit.
    #[serde(default)]
    pub rate_bytes: u64,
    /// The host waits a random part of this many seconds before it downloads.
    #[serde(default)]
    pub spread_seconds: u32,
    /// How long the host's place is kept, in seconds.
    pub lease_seconds: u32,
    /// Whether a version older than the one that runs is meant.
    #[serde(default)]
    pub allow_downgrade: bool,
}

/// An offer as Open-Falcon's agents and runbooks know it: five fields in this order, and no more.
/// All empty, it says that nothing is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeArgs {
    /// What is changed.
    #[serde(rename = "type")]
    pub kind: UpgradeKind,
    /// Base address of the files.
    pub wgeturl: String,
    /// The version offered.
    pub version: String,
    /// MD5 of the agent's file in hex; may be empty.
    pub binfile_md5: String,
    /// MD5 of the configuration's file in hex; may be empty.
    pub cfgfile_md5: String,
}

impl From<UpgradeOffer> for UpgradeArgs {
    fn from(offer: UpgradeOffer) -> Self {
        let UpgradeOffer { kind, wgeturl, version, binfile_md5, cfgfile_md5, .. } = offer;
        Self { kind, wgeturl, version, binfile_md5, cfgfile_md5 }
    }
}

/// How far a host has come with an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpgradePhase {
    /// The offer was read and will be followed.
    Accepted,
    /// The files are being fetched.
    Downloading,
    /// Digest, signature and self-test of the new version.
    Verifying,
    /// The new version is in its slot; the agent ends so that the launcher starts it.
    Restarting,
    /// The new version runs and has yet to prove itself.
    Probation,
    /// The new version is the one to keep.
    Confirmed,
    /// The host does not follow the offer: pinned, another architecture, too little room.
    Refused,
    /// The new version was never started.
    Failed,
    /// The new version was started, did not prove itself, and the last good one runs again.
    RolledBack,
}

impl UpgradePhase {
    /// Whether nothing more will come of the offer.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Confirmed | Self::Refused | Self::Failed | Self::RolledBack)
    }
}

/// What a host says of the offer it was last made. It is repeated in every heartbeat until the next offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeReport {
    /// The rollout of the offer.
    pub rollout: String,
    /// The version offered.
    pub version: String,
    /// How far it has come.
    pub phase: UpgradePhase,
    /// Why it was refused, failed or was rolled back, in words; else empty.
    #[serde(default)]
    pub reason: String,
    /// How often the new version was started.
    #[serde(default)]
    pub boots: u32,
    /// Bytes fetched so far.
    #[serde(default)]
    pub bytes: u64,
}

impl UpgradeReport {
    pub(super) fn check(&self) -> Result<(), HeartbeatError> {
        let texts = [&self.rollout, &self.version, &self.reason];
        if texts.iter().any(|text| text.len() > TEXT_BYTES_MAX) {
            let fault = "has a text longer than 255 bytes";
            return Err(HeartbeatError::Field { field: "upgrade", fault });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_of_another_type_is_refused_by_name() {
        let text =
            r#"{"rollout":"r","type":3,"wgeturl":"http://a","version":"1","lease_seconds":9}"#;
        let error = serde_json::from_str::<UpgradeOffer>(text).expect_err("there is no type 3");
        assert!(error.to_string().starts_with("type is 0 (binary)"), "{error}");
    }

    #[test]
    fn the_bytes_of_the_seeds_arguments_stay_what_they_are() {
        let idle = r#"{"type":0,"wgeturl":"","version":"","binfile_md5":"","cfgfile_md5":""}"#;
        assert_eq!(serde_json::to_string(&UpgradeArgs::default()).expect("it is plain"), idle);
        let offer = UpgradeOffer {
            kind: UpgradeKind::Both,
            wgeturl: "http://a/f".into(),
            version: "7.1".into(),
            binfile_md5: "b".into(),
            cfgfile_md5: "c".into(),
            sha256: "not known to them".into(),
            ..UpgradeOffer::default()
        };
        let text = serde_json::to_string(&UpgradeArgs::from(offer)).expect("it is plain");
        let golden = concat!(
            r#"{"type":2,"wgeturl":"http://a/f","version":"7.1","#,
            r#""binfile_md5":"b","cfgfile_md5":"c"}"#
        );
        assert_eq!(text, golden);
    }

    #[test]
    fn only_the_last_phases_end_an_offer() {
        let ends = [UpgradePhase::Confirmed, UpgradePhase::Refused, UpgradePhase::Failed];
        assert!(ends.iter().all(|phase| phase.is_end()) && UpgradePhase::RolledBack.is_end());
        assert!(!UpgradePhase::Accepted.is_end() && !UpgradePhase::Probation.is_end());
    }
}
