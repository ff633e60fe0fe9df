//! The only place where a process asks what time it is.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::Timestamp;
use tokio::sync::watch;

/// A clock: the system's, or one that a test moves by hand. Clones show the same time.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The system clock.
    #[default]
    System,
    /// Stands still until [`Clock::advance`] moves it.
    Manual(Arc<watch::Sender<Timestamp>>),
}

impl Clock {
    /// A clock that stands at `at`.
    pub fn manual(at: Timestamp) -> Self {
        Self::Manual(Arc::new(watch::Sender::new(at)))
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => system_now(),
            Self::Manual(at) => *at.borrow(),
        }
    }

    /// Waits until `moment`. A manual clock returns once it was moved there.
    pub async fn sleep_until(&self, moment: Timestamp) {
        match self {
            Self::System => tokio::time::sleep(moment.since(self.now())).await,
            Self::Manual(at) => {
                // The sender lives as long as this clock, so waiting cannot fail while we are here.
                let _ = at.subscribe().wait_for(|now| *now >= moment).await;
            }
        }
    }

    /// Waits for `span` from now on.
    pub async fn sleep(&self, span: Duration) {
        self.sleep_until(self.now().plus(span)).await;
    }

    /// Moves a manual clock forward and wakes those who wait; the system clock is left alone.
    pub fn advance(&self, span: Duration) {
        if let Self::Manual(at) = self {
            at.send_modify(|now| *now = now.plus(span));
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock that everybody else asks")]
fn system_now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleeper_on_a_manual_clock_wakes_when_the_clock_is_moved() {
        let clock = Clock::manual(Timestamp(1000));
        let sleeper = clock.clone();
        let waiting = async move {
            sleeper.sleep(Duration::from_secs(5)).await;
            sleeper.now()
        };
        let moving = async {
            clock.advance(Duration::from_secs(2));
            tokio::task::yield_now().await;
            clock.advance(Duration::from_secs(3));
        };
        let (woke_at, ()) = tokio::join!(waiting, moving);
        assert_eq!(woke_at, Timestamp(6000));
    }
}
