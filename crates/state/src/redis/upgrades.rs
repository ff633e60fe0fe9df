//! Upgrades: a set of the hosts that hold a place, under the name that Open-Falcon's runbooks read,
//! beside it their leases, the plan, and each host's progress.

use model::Timestamp;
use redis::{Script, ScriptInvocation};

use super::{DEFAULT_PREFIX, RedisStore};
use crate::{
    Admission, Admitted, GroupLimit, HostPhase, HostReport, StateError, UpgradeHostRow,
    UpgradePlanRow, UpgradeTally,
};

const SET: &str = "agent_upgrade_set";

impl RedisStore {
    pub(crate) async fn upgrade_plan(&self) -> Result<Option<UpgradePlanRow>, StateError> {
        let mut command = redis::cmd("HMGET");
        command.arg(self.upgrade_key(":plan")).arg(&["revision", "rollout", "body"]);
        let (revision, rollout, body): (Option<i64>, Option<String>, Option<Vec<u8>>) =
            self.ask("read the upgrade plan", &command).await?;
        let row = revision.zip(rollout).zip(body);
        Ok(row.map(|((revision, rollout), body)| UpgradePlanRow { revision, rollout, body }))
    }

    pub(crate) async fn save_upgrade_plan(
        &self,
        expected: i64,
        rollout: &str,
        body: &[u8],
    ) -> Result<bool, StateError> {
        let mut script = self.on_upgrades(&self.scripts.upgrade_plan, &[]);
        script.arg(expected).arg(expected + 1).arg(rollout).arg(body);
        self.run("store the upgrade plan", &script).await
    }

    pub(crate) async fn admit_upgrade(
        &self,
        admission: &Admission<'_>,
    ) -> Result<Admitted, StateError> {
        let mut script = self.on_upgrades(&self.scripts.upgrade_admit, admission.groups);
        let started_max = admission.started_max.map_or(-1, |max| i64::try_from(max).unwrap_or(-1));
        script.arg(admission.host).arg(admission.revision).arg(admission.wave);
        script.arg(admission.in_flight_max).arg(started_max).arg(admission.attempts_max);
        script.arg(admission.lease_millis).arg(admission.rest_millis);
        script.arg(u8::from(admission.is_idle));
        for group in admission.groups {
            script.arg(group.max).arg(group.hold_millis);
        }
        let word: String = self.run("admit a host to the upgrade", &script).await?;
        Ok(admitted(&word))
    }

    pub(crate) async fn report_upgrade(&self, report: &HostReport<'_>) -> Result<bool, StateError> {
        let mut script = self.on_upgrades(&self.scripts.upgrade_report, report.groups);
        script.arg(report.host).arg(report.rollout).arg(report.phase.as_str()).arg(report.reason);
        script.arg(report.lease_millis).arg(report.underway_millis_max);
        self.run("note how an upgrade goes on", &script).await
    }

    pub(crate) async fn upgrade_tally(
        &self,
        lease_millis: i64,
    ) -> Result<UpgradeTally, StateError> {
        let mut script = self.on_upgrades(&self.scripts.upgrade_tally, &[]);
        script.arg(lease_millis);
        let (revision, in_flight, fields): (i64, u64, Vec<(String, i64)>) =
            self.run("count upgraded hosts", &script).await?;
        let mut tally = UpgradeTally { revision, in_flight, ..UpgradeTally::default() };
        for (field, number) in fields {
            if field == "last_started" {
                tally.last_started_at = Some(Timestamp(number));
            } else if let Some((wave, phase)) = count_of(&field) {
                tally.counts.push((wave, phase, u64::try_from(number).unwrap_or(0)));
            }
        }
        tally.counts.retain(|&(_, _, number)| number > 0);
        tally.counts.sort_unstable();
        Ok(tally)
    }

    pub(crate) async fn upgrade_hosts(
        &self,
        phases: &[HostPhase],
        limit: u32,
    ) -> Result<Vec<UpgradeHostRow>, StateError> {
        let mut command = redis::cmd("HGETALL");
        let all: Vec<(String, String)> =
            self.ask("list upgraded hosts", command.arg(self.upgrade_key(":hosts"))).await?;
        let hosts = all.into_iter().filter_map(|(host, text)| progress(host, &text));
        let mut hosts: Vec<UpgradeHostRow> =
            hosts.filter(|host| phases.contains(&host.phase)).collect();
        hosts.sort_unstable_by(|a, b| (b.changed_at, &a.host).cmp(&(a.changed_at, &b.host)));
        hosts.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(hosts)
    }

    /// All keys hold the name of the set in braces or are nothing but it, so they live on one node.
    fn upgrade_key(&self, part: &str) -> String {
        let own = if self.prefix == DEFAULT_PREFIX { "" } else { self.prefix.as_str() };
        let colon = if own.is_empty() { "" } else { ":" };
        if part.is_empty() {
            return format!("{own}{colon}{SET}");
        }
        format!("{{{own}{colon}{SET}}}{part}")
    }

    fn on_upgrades<'a>(&self, script: &'a Script, groups: &[GroupLimit]) -> ScriptInvocation<'a> {
        let mut invocation = script.prepare_invoke();
        for part in ["", ":lease", ":plan", ":hosts", ":counts"] {
            invocation.key(self.upgrade_key(part));
        }
        for group in groups {
            invocation.key(self.upgrade_key(&format!(":group:{}", group.name)));
        }
        invocation
    }
}

fn admitted(word: &str) -> Admitted {
    match word {
        "in_flight" => Admitted::InFlight,
        "full" => Admitted::Full,
        "group_full" => Admitted::GroupFull,
        "wave_full" => Admitted::WaveFull,
        "spent" => Admitted::Spent,
        "resting" => Admitted::Resting,
        // A word of a newer version cannot be an admission.
        _ => word.parse().map_or(Admitted::Stale, Admitted::Given),
    }
}

fn count_of(field: &str) -> Option<(u32, HostPhase)> {
    let (wave, phase) = field.split_once('|')?;
    Some((wave.parse().ok()?, HostPhase::parse(phase)?))
}

/// A host's progress as the scripts write it.
fn progress(host: String, text: &str) -> Option<UpgradeHostRow> {
    let mut parts = text.splitn(6, '|');
    Some(UpgradeHostRow {
        host,
        phase: HostPhase::parse(parts.next()?)?,
        attempts: parts.next()?.parse().ok()?,
        wave: parts.next()?.parse().ok()?,
        started_at: Timestamp(parts.next()?.parse().ok()?),
        changed_at: Timestamp(parts.next()?.parse().ok()?),
        reason: parts.next()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_with_bars_in_its_reason_and_not_when_it_is_not_progress() {
        let row = progress("a".into(), "failed|2|1|10|20|exit 1 | twice").expect("it is");
        assert_eq!((row.phase, row.attempts, row.wave), (HostPhase::Failed, 2, 1));
        assert_eq!((row.changed_at, row.reason.as_str()), (Timestamp(20), "exit 1 | twice"));
        for text in ["", "failed", "failed|2|1|10|20", "better|2|1|10|20|", "failed|x|1|10|20|"] {
            assert_eq!(progress("a".into(), text), None, "{text}");
        }
    }

    #[test]
    fn a_word_of_another_version_admits_nobody() {
        assert_eq!(admitted("2"), Admitted::Given(2));
        assert_eq!(
            (admitted("from_the_future"), admitted("-1")),
            (Admitted::Stale, Admitted::Stale)
        );
    }
}
