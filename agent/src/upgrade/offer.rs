//! Whether an offer is followed. Pure.

use std::cmp::Ordering;

use launcher::release::Manifest;
use launcher::state::State;
use launcher::version::{is_version, order};
use wire::heartbeat::{UpgradeKind, UpgradeOffer};

/// What an offer is held against.
#[derive(Debug, Clone)]
pub struct Local<'a> {
    /// `upgrade.enabled` of the configuration.
    pub is_enabled: bool,
    /// Whether the launcher started this agent; else nobody would start the new release.
    pub is_launched: bool,
    /// Whether only signed releases are run.
    pub needs_signature: bool,
    /// Version of the agent that runs.
    pub version: &'a str,
    /// Its architecture, such as `x86_64`.
    pub arch: &'a str,
    /// Pins and bad versions.
    pub state: &'a State,
    /// The manifest of the active release, if it is not the package's agent.
    pub active: Option<&'a Manifest>,
}

/// Why the offer is not followed, in words; `None` when it is.
pub fn refusal(offer: &UpgradeOffer, local: &Local<'_>) -> Option<String> {
    let version = &offer.version;
    if !local.is_enabled {
        return Some("the host's configuration switches upgrades off (upgrade.enabled)".to_owned());
    }
    if !local.is_launched {
        return Some("the agent was not started by saker-launcher".to_owned());
    }
    if !is_version(version) {
        return Some("the version has other characters than 0-9A-Za-z._+-".to_owned());
    }
    if let Some(pinned) = local.state.pinned.as_ref().filter(|pinned| *pinned != version) {
        return Some(format!("the host is pinned to {pinned}"));
    }
    if !(offer.wgeturl.starts_with("http://") || offer.wgeturl.starts_with("https://")) {
        return Some("wgeturl is neither http nor https".to_owned());
    }
    if !offer.arch.is_empty() && offer.arch != local.arch {
        return Some(format!("it is for {}, this host is {}", offer.arch, local.arch));
    }
    if let Some(fault) = digest_fault(offer, local.needs_signature) {
        return Some(fault);
    }
    if is_installed(offer, local) {
        return Some(format!("the host runs {version} already"));
    }
    let is_older = offer.kind != UpgradeKind::Config
        && order(version, local.version) == Ordering::Less
        && !offer.allow_downgrade;
    if is_older {
        return Some(format!(
            "it is older than {}, and allow_downgrade is not given",
            local.version
        ));
    }
    let mark = local.state.bad_mark(version, &offer.binfile_md5)?;
    Some(format!("it was tried here before: {}", mark.reason))
}

/// Whether the offer brings an agent.
pub fn has_agent(kind: UpgradeKind) -> bool {
    kind != UpgradeKind::Config
}

/// Whether the offer brings a configuration.
pub fn has_cfg(kind: UpgradeKind) -> bool {
    kind != UpgradeKind::Binary
}

/// The name of the release that an offer becomes.
pub fn release_of(offer: &UpgradeOffer) -> String {
    let suffix = match offer.kind {
        UpgradeKind::Binary => "",
        UpgradeKind::Config => "~cfg",
        UpgradeKind::Both => "~both",
    };
    format!("{}{suffix}", offer.version)
}

fn digest_fault(offer: &UpgradeOffer, needs_signature: bool) -> Option<String> {
    let parts = [
        (has_agent(offer.kind), "the agent", &offer.binfile_md5, &offer.sha256, &offer.signature),
        (
            has_cfg(offer.kind),
            "the configuration",
            &offer.cfgfile_md5,
            &offer.cfg_sha256,
            &offer.cfg_signature,
        ),
    ];
    for (_, what, md5, sha256, signature) in parts.into_iter().filter(|part| part.0) {
        if !(is_hex(md5, 32) || md5.is_empty()) || !(is_hex(sha256, 64) || sha256.is_empty()) {
            return Some(format!("a digest of {what} is not hex of its length"));
        }
        if md5.is_empty() && sha256.is_empty() {
            return Some(format!("it has no digest of {what}"));
        }
        if needs_signature && (signature.is_empty() || sha256.is_empty()) {
            return Some(format!("{what} is not signed, and this host has keys"));
        }
    }
    None
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_installed(offer: &UpgradeOffer, local: &Local<'_>) -> bool {
    let has_cfg_now = local.active.is_some_and(|active| {
        let is_same =
            |ours: &str, offered: &str| offered.is_empty() || ours.eq_ignore_ascii_case(offered);
        active.cfg_version == offer.version
            && is_same(&active.cfg_md5, &offer.cfgfile_md5)
            && is_same(&active.cfg_sha256, &offer.cfg_sha256)
    });
    match offer.kind {
        UpgradeKind::Binary => offer.version == local.version,
        UpgradeKind::Config => has_cfg_now,
        UpgradeKind::Both => offer.version == local.version && has_cfg_now,
    }
}

#[cfg(test)]
mod tests {
    use launcher::state::Mark;

    use super::*;

    fn offer() -> UpgradeOffer {
        UpgradeOffer {
            rollout: "r".to_owned(),
            wgeturl: "http://10.0.0.1/files".to_owned(),
            version: "7.1".to_owned(),
            binfile_md5: "0".repeat(32),
            ..UpgradeOffer::default()
        }
    }

    fn check(
        change: impl FnOnce(&mut UpgradeOffer),
        local: impl FnOnce(&mut Local<'_>, &mut State),
        told: Option<&str>,
    ) {
        let (mut offer, mut state) = (offer(), State::default());
        change(&mut offer);
        let empty = State::default();
        let mut host = Local {
            is_enabled: true,
            is_launched: true,
            needs_signature: false,
            version: "7.0",
            arch: "x86_64",
            state: &empty,
            active: None,
        };
        local(&mut host, &mut state);
        let refusal = refusal(&offer, &Local { state: &state, ..host });
        match told {
            None => assert_eq!(refusal, None),
            Some(told) => {
                let refusal = refusal.unwrap_or_default();
                assert!(refusal.contains(told), "{refusal:?} has no {told:?}");
            }
        }
    }

    #[test]
    fn a_newer_version_is_taken() {
        check(|_| {}, |_, _| {}, None);
        check(|offer| offer.arch = "x86_64".to_owned(), |_, _| {}, None);
    }

    #[test]
    fn a_host_that_opted_out_is_left_alone() {
        check(|_| {}, |local, _| local.is_enabled = false, Some("upgrade.enabled"));
        check(|_| {}, |local, _| local.is_launched = false, Some("saker-launcher"));
    }

    #[test]
    fn a_pinned_host_takes_only_that_version() {
        let pin = |version: &'static str| {
            move |_: &mut Local<'_>, state: &mut State| state.pinned = Some(version.to_owned())
        };
        check(|_| {}, pin("7.0"), Some("pinned to 7.0"));
        check(|_| {}, pin("7.1"), None);
    }

    #[test]
    fn what_cannot_be_right_is_refused_before_anything_is_fetched() {
        check(|offer| offer.version = "../x".to_owned(), |_, _| {}, Some("other characters"));
        check(|offer| offer.wgeturl = "file:///etc".to_owned(), |_, _| {}, Some("neither http"));
        check(|offer| offer.arch = "aarch64".to_owned(), |_, _| {}, Some("is for aarch64"));
        check(|offer| offer.binfile_md5.clear(), |_, _| {}, Some("no digest of the agent"));
        check(|offer| offer.binfile_md5 = "zz".to_owned(), |_, _| {}, Some("is not hex"));
        let both = |offer: &mut UpgradeOffer| offer.kind = UpgradeKind::Both;
        check(both, |_, _| {}, Some("no digest of the configuration"));
    }

    #[test]
    fn with_keys_what_is_not_signed_is_refused() {
        check(|_| {}, |local, _| local.needs_signature = true, Some("is not signed"));
        let signed = |offer: &mut UpgradeOffer| {
            offer.sha256 = "0".repeat(64);
            offer.signature = "c2ln".to_owned();
        };
        check(signed, |local, _| local.needs_signature = true, None);
    }

    #[test]
    fn the_same_and_an_older_version_are_told_apart() {
        check(|offer| offer.version = "7.0".to_owned(), |_, _| {}, Some("runs 7.0 already"));
        check(|offer| offer.version = "6.9".to_owned(), |_, _| {}, Some("older than 7.0"));
        let meant = |offer: &mut UpgradeOffer| {
            offer.version = "6.9".to_owned();
            offer.allow_downgrade = true;
        };
        check(meant, |_, _| {}, None);
    }

    #[test]
    fn a_configuration_is_the_same_by_version_and_digest() {
        let offered = |offer: &mut UpgradeOffer| {
            offer.kind = UpgradeKind::Config;
            offer.cfgfile_md5 = "a".repeat(32);
        };
        check(offered, |_, _| {}, None);
        let manifest = Manifest {
            cfg_version: "7.1".to_owned(),
            cfg_md5: "A".repeat(32),
            ..Manifest::default()
        };
        let (mut offer, state) = (offer(), State::default());
        offered(&mut offer);
        let local = Local {
            is_enabled: true,
            is_launched: true,
            needs_signature: false,
            version: "7.0",
            arch: "x86_64",
            state: &state,
            active: Some(&manifest),
        };
        assert!(refusal(&offer, &local).unwrap().contains("already"));
    }

    #[test]
    fn a_bad_build_is_not_tried_again_but_a_mended_one_is() {
        let mark = |md5: String| {
            move |_: &mut Local<'_>, state: &mut State| {
                let reason = "it ended 3 times".to_owned();
                state.bad.push(Mark { version: "7.1".to_owned(), md5, reason });
            }
        };
        check(|_| {}, mark("0".repeat(32)), Some("tried here before: it ended 3 times"));
        check(|_| {}, mark("1".repeat(32)), None);
    }
}
