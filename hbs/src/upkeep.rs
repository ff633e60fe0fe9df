//! What hbs does now and then: learn what other hbs heard, and, as the leader, forget what is too old and keep the
//! lists of the hosts that groups match.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use daemon::Context;
use db::{AuditEntry, Db};
use model::Timestamp;

use crate::app::App;
use crate::fleet::Sight;
use crate::share::Role;
use crate::snapshot::Snapshot;

/// How far back the hosts heard lately are read again: longer than the time between two reads.
const LEARN_BACK: Duration = Duration::from_secs(180);
/// A host heard within this time may not be stored yet.
const UNSTORED_MAX: Duration = Duration::from_secs(120);
/// A file that no bundle has is kept for so long, for agents that have yet to hear of the change.
const FILE_KEPT: Duration = Duration::from_secs(86_400);
/// Maintenance that is over is kept for so long.
const WINDOW_KEPT: Duration = Duration::from_secs(90 * 86_400);
/// Hosts that one transaction forgets.
const PURGE_MAX: u32 = 1000;
/// Every so many rounds the database is asked what others have stored.
const LEARN_ROUNDS: u32 = 6;
/// Every so many rounds all groups are matched again, though nothing has changed.
const MATCH_ROUNDS: u32 = 60;
/// Every so many rounds, and not in the first, what is too old is forgotten: after a long time without any hbs,
/// hosts have had the time to be heard.
const PURGE_ROUNDS: u32 = 360;
const SIGHTS: &str = "hbs-sights";

/// One round at every age interval, for ever.
pub(crate) async fn keep(app: Arc<App>, context: Context) {
    let mut matched = String::new();
    for round in 1_u32.. {
        context.clock.sleep(app.config.age_interval).await;
        let now = context.clock.now();
        if let Err(error) = keep_once(&app, now, round, &mut matched).await {
            app.metrics.upkeep_failures.inc();
            let error = format!("{error:#}");
            tracing::warn!(error, "upkeep of the hosts failed; it is tried again");
        }
        let silent = {
            let fleet = app.fleet();
            app.metrics.hosts.set(i64::try_from(fleet.len()).unwrap_or(i64::MAX));
            fleet.hosts().filter(|host| host.age(now) >= app.config.silent_after).count()
        };
        app.metrics.hosts_silent.set(i64::try_from(silent).unwrap_or(i64::MAX));
    }
}

async fn keep_once(
    app: &App,
    now: Timestamp,
    round: u32,
    matched: &mut String,
) -> anyhow::Result<()> {
    if round.is_multiple_of(LEARN_ROUNDS) {
        learn(app, now).await?;
    }
    if app.share.role() == Role::Follows {
        return tell_sights(app, now).await;
    }
    learn_sights(app, now).await?;
    let snapshot = app.share.current();
    if round.is_multiple_of(MATCH_ROUNDS) || matched.as_str() != snapshot.id() {
        for group in snapshot.groups() {
            match_group(app, &snapshot, &group.name).await?;
        }
        snapshot.id().clone_into(matched);
    }
    if round.is_multiple_of(PURGE_ROUNDS) {
        purge_hosts(app, now).await?;
        purge_files(&app.db, &snapshot, now).await?;
        app.db.maintenances().forget_before(now.minus(WINDOW_KEPT)).await?;
        app.db.audit().forget_before(now.minus(db::audit::KEPT)).await?;
    }
    Ok(())
}

/// Takes over what other hbs have stored and removed.
async fn learn(app: &App, now: Timestamp) -> anyhow::Result<()> {
    let rows = app.db.hosts().seen_since(now.minus(LEARN_BACK)).await?;
    app.fleet().learn(rows);
    let known = app.fleet().len();
    if app.db.hosts().count().await? != known {
        // Another one may have stored hosts that were heard before, or removed some.
        let names: BTreeSet<String> = app.db.hosts().names().await?.into_iter().collect();
        app.fleet().forget_others(&names, now.minus(UNSTORED_MAX));
        let is_known = |name: &String| app.fleet().host(name).is_some();
        if !names.iter().all(is_known) {
            let rows = app.db.hosts().all().await?;
            app.fleet().learn(rows);
        }
    }
    Ok(())
}

/// Tells the leader which hosts this hbs heard: more often than their rows are written.
async fn tell_sights(app: &App, now: Timestamp) -> anyhow::Result<()> {
    // Those of three rounds, so that the leader may miss one or two.
    let since = now.minus(app.config.age_interval * 3);
    let text = written(&app.fleet().sights_since(since), now);
    app.state.save_document(SIGHTS, &app.instance, text.as_bytes(), 0).await?;
    Ok(())
}

async fn learn_sights(app: &App, now: Timestamp) -> anyhow::Result<()> {
    for (instance, text) in app.state.documents(SIGHTS).await? {
        let (at, sights) = read(&String::from_utf8_lossy(&text));
        if now.since(at) > UNSTORED_MAX {
            app.state.remove_document(SIGHTS, &instance).await?;
        }
        app.fleet().learn_sights(sights);
    }
    Ok(())
}

// A line with the time, and then a line a host: when, how far its clock is ahead, its name. A name has no line breaks.
fn written(sights: &[Sight], now: Timestamp) -> String {
    use std::fmt::Write as _;
    let mut text = format!("{}\n", now.millis());
    for Sight { host, seen_at, skew_millis } in sights {
        let skew = skew_millis.map_or_else(String::new, |skew| skew.to_string());
        let _ = writeln!(text, "{} {skew} {host}", seen_at.millis());
    }
    text
}

fn read(text: &str) -> (Timestamp, Vec<Sight>) {
    let mut lines = text.lines();
    let at = lines.next().and_then(|line| line.parse().ok()).map_or(Timestamp(0), Timestamp);
    let sight = |line: &str| {
        let mut parts = line.splitn(3, ' ');
        let seen_at = Timestamp(parts.next()?.parse().ok()?);
        let skew_millis = parts.next()?.parse().ok();
        Some(Sight { host: parts.next()?.to_owned(), seen_at, skew_millis })
    };
    (at, lines.filter_map(sight).collect())
}

/// Brings the stored list of the hosts that one group matches in line with its rules.
pub(crate) async fn match_group(app: &App, snapshot: &Snapshot, name: &str) -> anyhow::Result<()> {
    let Some(group) = snapshot.group(name) else { return Ok(()) };
    let hosts: BTreeSet<String> = {
        let fleet = app.fleet();
        let matches =
            fleet.hosts().filter(|host| group.spec.matches(&host.row.name, &host.labels).is_some());
        matches.map(|host| host.row.name.clone()).collect()
    };
    app.db.groups().set_matched(name, &hosts).await?;
    Ok(())
}

async fn purge_hosts(app: &App, now: Timestamp) -> anyhow::Result<()> {
    if app.config.purge_after.is_zero() {
        return Ok(());
    }
    let moment = now.minus(app.config.purge_after);
    loop {
        let entry = AuditEntry {
            detail: format!("not heard since {}", moment.rfc3339()),
            ..app.trail.entry_of_hbs("host.purge", "", now)
        };
        let gone = app.db.hosts().purge(moment, PURGE_MAX, &entry).await?;
        for name in &gone {
            app.fleet().forget(name);
            tracing::info!(host.name = name, "a host that was silent for too long is forgotten");
        }
        app.metrics.hosts_purged.inc_by(gone.len() as u64);
        if gone.len() < PURGE_MAX as usize {
            return Ok(());
        }
    }
}

async fn purge_files(db: &Db, snapshot: &Snapshot, now: Timestamp) -> anyhow::Result<()> {
    let moment = now.minus(FILE_KEPT);
    let mut old: BTreeSet<String> = db.bundles().files_before(moment).await?.into_iter().collect();
    for file in snapshot.bundles().values().flat_map(|bundle| &bundle.files) {
        old.remove(&file.sha256);
    }
    db.bundles().remove_files(&old, moment).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sights_read_back_as_they_were_written(
            hosts in prop::collection::vec(("[a-z .é-]{1,9}", 0_i64..1 << 50, any::<Option<i64>>()), 0..9),
        ) {
            let sights: Vec<Sight> = hosts.into_iter().map(|(host, seen_at, skew_millis)| {
                Sight { host, seen_at: Timestamp(seen_at), skew_millis }
            }).collect();
            prop_assert_eq!(read(&written(&sights, Timestamp(5))), (Timestamp(5), sights));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text: String) {
            let _ = read(&text);
        }
    }
}
