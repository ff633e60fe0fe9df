//! Messages that finally failed are an alert of their own, one a receiver, which goes the way of all alerts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use db::messages::{MessageRow, Stage};
use model::{Alert, Labels, Timestamp};
use wire::alert::Accepted;

use super::office::Office;
use crate::intake::Intake;

const LOOK_INTERVAL: Duration = Duration::from_secs(15);
/// The alert holds while a message failed within this time and was not sent again.
const HOLDS_FOR: Duration = Duration::from_secs(3600);
/// News that stop coming end by themselves after this.
const LEASE: Duration = Duration::from_secs(300);
const LOOKED_AT_MAX: u32 = 1_000;

/// Looks for messages that finally failed, as long as the process runs.
pub(crate) async fn run(office: Office, intake: Intake) {
    let mut told = BTreeSet::new();
    loop {
        let now = office.common.clock.now();
        match office.common.db.messages().in_stage(Stage::Failed, LOOKED_AT_MAX).await {
            Ok(failed) => {
                let alerts = alerts(&failed, &mut told, &office.common.config.external_url, now);
                let news =
                    alerts.into_iter().map(|alert| Accepted { alert, end_is_timeout: false });
                let news: Vec<Accepted> = news.collect();
                if !news.is_empty()
                    && let Err(error) = intake.take(news).await
                {
                    tracing::error!(
                        error = daemon::error_chain(&error),
                        "cannot alert of failed messages"
                    );
                }
            }
            Err(error) => {
                office.common.metrics.store_failures.inc();
                let error = daemon::error_chain(&error);
                tracing::error!(error, "cannot look for failed messages");
            }
        }
        office.common.clock.sleep(LOOK_INTERVAL).await;
    }
}

/// The alerts about these messages, and the ends of those that were told before and hold no more.
fn alerts(
    failed: &[MessageRow],
    told: &mut BTreeSet<String>,
    external_url: &str,
    now: Timestamp,
) -> Vec<Alert> {
    let mut by_receiver: BTreeMap<&str, Vec<&MessageRow>> = BTreeMap::new();
    for row in failed.iter().filter(|row| now.since(row.done_at) < HOLDS_FOR) {
        by_receiver.entry(&row.receiver).or_default().push(row);
    }
    let mut alerts: Vec<Alert> = by_receiver
        .iter()
        .map(|(receiver, rows)| alert(receiver, rows, external_url, now))
        .collect();
    told.retain(|receiver| {
        let holds = by_receiver.contains_key(receiver.as_str());
        if !holds {
            let over = alert(receiver, &[], external_url, now);
            alerts.push(Alert { ends_at: now, ..over });
        }
        holds
    });
    told.extend(by_receiver.keys().map(|receiver| (*receiver).to_owned()));
    alerts
}

fn alert(receiver: &str, rows: &[&MessageRow], external_url: &str, now: Timestamp) -> Alert {
    let labels =
        [("alertname", "SakerMessagesFailed"), ("severity", "critical"), ("receiver", receiver)];
    let first = rows.iter().map(|row| row.done_at).min().unwrap_or(now);
    let last = rows.iter().max_by_key(|row| row.done_at);
    let why = last.map_or(String::new(), |row| format!(" ({} {})", row.code, row.detail));
    let summary = format!("{} messages to {receiver} have finally failed{why}", rows.len());
    let description = "Look at /api/v1/messages?stage=failed; mend the bots, then send again.";
    let annotations = [
        ("summary", summary),
        ("description", description.to_owned()),
        ("value", rows.len().to_string()),
    ];
    Alert {
        labels: Labels::from_pairs(labels),
        annotations: annotations.map(|(name, text)| (name.to_owned(), text)).into(),
        starts_at: first,
        ends_at: now.plus(LEASE),
        generator_url: format!("{external_url}/api/v1/messages?stage=failed"),
    }
}

#[cfg(test)]
mod tests {
    use channels::Urgency;

    use super::super::desk::tests::item;
    use super::*;

    const NOW: Timestamp = Timestamp(10_000_000);

    fn failed(receiver: &str, done_at: Timestamp) -> MessageRow {
        let row = item("x", Urgency::Normal, "", NOW).row;
        MessageRow { receiver: receiver.to_owned(), done_at, code: "503".to_owned(), ..row }
    }

    #[test]
    fn each_receiver_has_one_alert_that_ends_with_its_last_failure() {
        let mut told = BTreeSet::new();
        let rows = [failed("ops", NOW), failed("ops", NOW), failed("dba", NOW)];
        let firing = alerts(&rows, &mut told, "", NOW);
        assert_eq!(firing.len(), 2);
        assert!(firing.iter().all(|alert| !alert.is_resolved_at(NOW)));
        assert!(firing[1].annotations["summary"].starts_with("2 messages to ops"));
        let later = alerts(&rows[..2], &mut told, "", NOW);
        let ends: Vec<_> = later.iter().filter(|alert| alert.is_resolved_at(NOW)).collect();
        assert_eq!((later.len(), ends.len(), ends[0].labels.get("receiver")), (2, 1, Some("dba")));
        assert_eq!(ends[0].fingerprint(), firing[0].fingerprint(), "it is the same alert");
        let old = NOW.plus(HOLDS_FOR);
        let over = alerts(&rows[..2], &mut told, "", old);
        assert!(over.len() == 1 && over[0].is_resolved_at(old));
        assert!(alerts(&rows, &mut told, "", old).is_empty());
    }
}
