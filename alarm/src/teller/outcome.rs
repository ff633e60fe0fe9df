//! Sending, and writing down what came of it.

use std::collections::HashSet;
use std::sync::Arc;

use db::alerts::{DeliveryResult, Told};

use super::desk::{Ready, Settled};
use super::{STORE_RETRY, Step, Teller};
use crate::notify::Answer;
use crate::plan::Plan;
use crate::told::after_attempt;

impl Teller {
    pub(super) async fn send(&self, ready: Box<Ready>, plan: Arc<Plan>) -> Step {
        let Ready { errand, subjects, notification, noted } = *ready;
        let Some(receiver) = plan.integration(&self.key) else {
            return Step::Sent(Settled::of(errand, None));
        };
        tracing::debug!(
            receiver.name = self.key,
            group.key = notification.group_key,
            firing = notification.firing().count(),
            resolved = notification.resolved().count(),
            common.labels = %notification.common_labels(),
            common.annotations = notification.common_annotations().len(),
            "sending"
        );
        let (began_at, event_at) = (self.common.clock.now(), notification.event_at);
        let stopwatch = tokio::time::Instant::now();
        let answer = receiver.send(&self.office, notification).await;
        let took = stopwatch.elapsed();
        let mut settled = Settled { told: noted, ..Settled::of(errand, None) };
        let mut results = HashSet::new();
        for (subject, told) in subjects {
            let attempt = after_attempt(subject, told, receiver, &answer, began_at, took);
            settled.again = settled.again.into_iter().chain(attempt.again).min();
            results.insert(attempt.told.result);
            if attempt.told.result == DeliveryResult::Failed {
                self.log_given_up(&attempt.told, &answer);
            }
            settled.told.push(attempt.told);
            settled.deliveries.push(attempt.delivery);
        }
        for result in results {
            self.common.metrics.attempted(&self.key, result, took.as_secs_f64());
        }
        if answer.is_final_success() {
            let delay = self.common.clock.now().since(event_at);
            self.common.metrics.delivered_after(&self.key, delay.as_secs_f64());
            self.common.metrics.told_alerts(&self.key, settled.deliveries.len() as u64);
        }
        Step::Sent(settled)
    }

    /// Writes down what came of errands, then lets their tickets go.
    pub(super) async fn record(&self, mut settled: Vec<Settled>) -> Step {
        let groups: Vec<u64> = settled.iter().map(|one| one.group).collect();
        let (mut told, mut deliveries) = (Vec::new(), Vec::new());
        for one in &mut settled {
            told.append(&mut one.told);
            deliveries.append(&mut one.deliveries);
        }
        let is_noted = if told.is_empty() && deliveries.is_empty() {
            true
        } else {
            let recorded = self.common.db.alerts().record(&told, &deliveries).await;
            recorded.inspect_err(|error| self.store_failed("note notifications", &error)).is_ok()
        };
        let retry = self.common.clock.now().plus(STORE_RETRY);
        let mut done = Vec::new();
        for Settled { ids, again, .. } in settled {
            let again = again.or((!is_noted).then_some(retry));
            let Some(not_before) = again else {
                done.extend(ids);
                continue;
            };
            for id in ids {
                if let Err(error) = self.queue.put_back(&id, not_before).await {
                    // Its lease ends, and the notification log keeps the repeat from being sent.
                    self.store_failed("put a ticket back", &error);
                }
            }
        }
        if !done.is_empty()
            && let Err(error) = self.queue.done(&done).await
        {
            self.store_failed("settle tickets", &error);
        }
        self.release(&groups).await;
        Step::Recorded(groups)
    }

    fn log_given_up(&self, told: &Told, answer: &Answer) {
        tracing::warn!(
            receiver.name = self.key,
            alert.fingerprint = %told.fingerprint,
            attempts = told.attempts,
            http.code = answer.code(),
            "gave up a notification: {}",
            answer.detail()
        );
    }
}
