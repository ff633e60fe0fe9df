//! How fast an alarm takes alerts, and how long to wait when it takes none. Pure; time is an argument.

use std::time::Duration;

use model::Timestamp;

/// How fast the alarm takes alerts, measured while there is always something to send.
#[derive(Debug)]
pub(crate) struct Pace {
    busy_since: Option<Timestamp>,
    sent: usize,
    last_seen: Timestamp,
}

impl Default for Pace {
    fn default() -> Self {
        Self { busy_since: None, sent: 0, last_seen: Timestamp::MIN }
    }
}

impl Pace {
    /// There is something to send, or nothing: only while there is, the alarm's pace shows.
    pub(crate) fn has_work(&mut self, has_work: bool, now: Timestamp) {
        if has_work {
            self.busy_since.get_or_insert(now);
        } else {
            (self.busy_since, self.sent) = (None, 0);
        }
    }

    /// The alarm took so many alerts.
    pub(crate) fn took(&mut self, alerts: usize) {
        self.sent += alerts;
    }

    /// The alarm is away: its pace is measured from now on.
    pub(crate) fn starts_over(&mut self, now: Timestamp) {
        (self.busy_since, self.sent) = (Some(now), 0);
    }

    /// Whether the clock was set back since the last look at it, by more than `jitter`.
    pub(crate) fn was_set_back(&mut self, now: Timestamp, jitter: Duration) -> bool {
        if self.last_seen.since(now) <= jitter {
            self.last_seen = self.last_seen.max(now);
            return false;
        }
        self.last_seen = now;
        self.busy_since = self.busy_since.map(|since| since.min(now));
        true
    }

    /// How long it takes to send so many alerts; nothing while that is not known.
    pub(crate) fn round(&self, alerts: usize, now: Timestamp) -> Duration {
        let busy = self.busy_since.map_or(Duration::ZERO, |since| now.since(since));
        if self.sent == 0 {
            return busy;
        }
        // Alerts are few enough for the factor: there are 4 billion at most.
        let factor = u32::try_from(alerts.div_ceil(self.sent)).unwrap_or(u32::MAX);
        busy.saturating_mul(factor)
    }
}

/// How long to wait before the next attempt after so many failed ones in a row: one second, doubled up to
/// thirty.
pub(crate) fn backoff(failures: u32) -> Duration {
    Duration::from_secs(1u64 << failures.saturating_sub(1).min(5)).min(Duration::from_secs(30))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_made_less_and_less_often_down_to_two_a_minute() {
        let seconds: Vec<u64> = (0..8).map(|failures| backoff(failures).as_secs()).collect();
        assert_eq!(seconds, [1, 1, 2, 4, 8, 16, 30, 30]);
    }
}
