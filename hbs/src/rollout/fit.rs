//! Whether a host should get the version of a rollout.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use wire::heartbeat::UpgradeKind;

use super::{Plan, version};

/// What is known of a host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostView<'a> {
    pub(crate) name: &'a str,
    /// Version of its agent; may be empty.
    pub(crate) version: &'a str,
    /// Its architecture; may be empty.
    pub(crate) arch: &'a str,
    pub(crate) labels: &'a BTreeMap<String, String>,
    /// Names of its groups.
    pub(crate) groups: &'a [String],
    /// Whether its agent knows only Open-Falcon's messages.
    pub(crate) is_falcon: bool,
}

/// Why a host should not get it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It has it.
    AtVersion,
    /// The files are for another architecture, or the host's is not known.
    OtherArch,
    /// It is not among the hosts, groups or data centres.
    NotTargeted,
    /// Its version is newer, or too old.
    VersionOutOfRange,
    /// Open-Falcon's agents do not tell what configuration they have.
    Falcon,
}

impl Plan {
    /// Whether the host should get the version, whenever its turn is.
    pub(crate) fn fit(&self, host: &HostView<'_>) -> Result<(), Unfit> {
        let (task, targets) = (&self.task, &self.targets);
        if !task.arch.is_empty() && !is_same_arch(&task.arch, host.arch) {
            return Err(Unfit::OtherArch);
        }
        if !targets.hosts.is_empty() && !targets.hosts.contains(host.name) {
            return Err(Unfit::NotTargeted);
        }
        let is_below = |group: &String| {
            targets.groups.iter().any(|target| {
                let rest = group.strip_prefix(target.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        if !targets.groups.is_empty() && !host.groups.iter().any(is_below) {
            return Err(Unfit::NotTargeted);
        }
        let dc = || ["dc", "idc"].iter().filter_map(|label| host.labels.get(*label));
        if !targets.dcs.is_empty() && !dc().any(|dc| targets.dcs.contains(dc)) {
            return Err(Unfit::NotTargeted);
        }
        if task.kind == UpgradeKind::Config {
            return if host.is_falcon { Err(Unfit::Falcon) } else { Ok(()) };
        }
        match version::compare(host.version, &task.version) {
            // `7.1` and `7.1.0` are one version, and so are builds of it.
            Ordering::Equal => return Err(Unfit::AtVersion),
            Ordering::Greater if !self.policy.allow_downgrade => {
                return Err(Unfit::VersionOutOfRange);
            }
            Ordering::Greater | Ordering::Less => {}
        }
        let is_too_old = !targets.min_from.is_empty()
            && version::compare(host.version, &targets.min_from).is_lt();
        if is_too_old { Err(Unfit::VersionOutOfRange) } else { Ok(()) }
    }
}

/// Go and Rust name some architectures differently.
fn is_same_arch(one: &str, other: &str) -> bool {
    let common = |name: &str| match name {
        "amd64" | "x86-64" => "x86_64".to_owned(),
        "arm64" => "aarch64".to_owned(),
        name => name.to_ascii_lowercase(),
    };
    common(one) == common(other)
}

#[cfg(test)]
mod tests {
    use model::Timestamp;

    use super::*;
    use crate::rollout::Request;

    fn plan(more: &str) -> Plan {
        let body = format!(
            r#"{{"wgeturl":"http://a/f","version":"7.1.0","binfile_md5":"{}"{more}}}"#,
            "0".repeat(32)
        );
        let request = Request::decode(body.as_bytes(), 2000).expect("it is valid");
        Plan::new(request, "r1".into(), Timestamp(0))
    }

    fn check(more: &str, version: &str, arch: &str, expected: Result<(), Unfit>) {
        let labels = BTreeMap::from([("idc".to_owned(), "bj".to_owned())]);
        let groups = ["corp.pay.web".to_owned(), "corp.payment".to_owned()];
        let host = HostView {
            name: "pay-01",
            version,
            arch,
            labels: &labels,
            groups: &groups,
            is_falcon: false,
        };
        assert_eq!(plan(more).fit(&host), expected, "{more} {version} {arch}");
    }

    #[test]
    fn an_older_version_fits_and_the_same_does_not() {
        check("", "7.0.9", "", Ok(()));
        check("", "", "", Ok(()));
        check("", "7.1.0", "", Err(Unfit::AtVersion));
        check("", "7.1", "", Err(Unfit::AtVersion));
    }

    /// Fault 6 of open-falcon.md 5.2, its second half.
    #[test]
    fn an_old_task_downgrades_nobody_unless_it_is_allowed() {
        check("", "7.2.0", "", Err(Unfit::VersionOutOfRange));
        check(r#","allow_downgrade":true"#, "7.2.0", "", Ok(()));
    }

    /// Fault 11 of open-falcon.md 5.2: no file by architecture, no targeting.
    #[test]
    fn a_host_of_another_architecture_never_fits() {
        check(r#","arch":"x86_64""#, "7.0", "x86_64", Ok(()));
        check(r#","arch":"amd64""#, "7.0", "x86_64", Ok(()));
        check(r#","arch":"x86_64""#, "7.0", "aarch64", Err(Unfit::OtherArch));
        check(r#","arch":"x86_64""#, "7.0", "", Err(Unfit::OtherArch));
    }

    #[test]
    fn hosts_groups_and_data_centres_limit_whom_it_is_for() {
        check(r#","hosts":["pay-01"]"#, "7.0", "", Ok(()));
        check(r#","hosts":["pay-02"]"#, "7.0", "", Err(Unfit::NotTargeted));
        check(r#","groups":["corp.pay"]"#, "7.0", "", Ok(()));
        check(r#","groups":["corp.payment"]"#, "7.0", "", Ok(()));
        check(r#","groups":["corp.pa"]"#, "7.0", "", Err(Unfit::NotTargeted));
        check(r#","dcs":["bj","sh"]"#, "7.0", "", Ok(()));
        check(r#","dcs":["sh"]"#, "7.0", "", Err(Unfit::NotTargeted));
        check(r#","min_from":"7.0""#, "6.9", "", Err(Unfit::VersionOutOfRange));
        check(r#","min_from":"7.0""#, "7.0", "", Ok(()));
    }

    #[test]
    fn a_configuration_is_not_for_agents_that_cannot_tell_that_they_have_it() {
        let body = format!(
            r#"{{"wgeturl":"http://a","version":"c1","type":1,"cfgfile_md5":"{}"}}"#,
            "0".repeat(32)
        );
        let request = Request::decode(body.as_bytes(), 2000).expect("it is valid");
        let plan = Plan::new(request, "r1".into(), Timestamp(0));
        let labels = BTreeMap::new();
        let host = |is_falcon| HostView {
            name: "a",
            version: "c1",
            arch: "",
            labels: &labels,
            groups: &[],
            is_falcon,
        };
        assert_eq!(plan.fit(&host(true)), Err(Unfit::Falcon));
        assert_eq!(plan.fit(&host(false)), Ok(()), "its version is not the agent's");
    }
}
