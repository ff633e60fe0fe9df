//! Copies of what is in the store that follow it: a change made at any instance holds at all of them within a second.

use std::time::Duration;

use daemon::Clock;
use db::DbError;

use crate::claims::ClaimStore;
use crate::directory_store::DirectoryStore;
use crate::routing::store::RoutingStore;
use crate::silences::Silences;

const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// Changes within one millisecond leave the stamp as it is; this often it is not trusted.
const REFRESHES_BY_STAMP: u32 = 30;

/// How many rows there are and when they were changed last, as far as a table can tell.
type Stamp = (u64, i64, i64);

/// A copy that is renewed.
#[derive(Debug)]
pub(crate) enum Followed {
    Silences(Silences),
    Claims(ClaimStore),
    Directory(DirectoryStore),
    Routing(Box<RoutingStore>),
}

impl Followed {
    /// Follows the changes of other instances for as long as the process runs.
    pub(crate) async fn follow(self, clock: Clock) {
        let mut seen = Seen::default();
        loop {
            if let Err(error) = self.refresh(&mut seen).await {
                seen = Seen::default();
                let (what, error) = (self.what(), daemon::error_chain(&error));
                tracing::error!(error, "cannot read the {what}; the last known ones hold");
            }
            clock.sleep(REFRESH_INTERVAL).await;
        }
    }

    async fn refresh(&self, seen: &mut Seen) -> Result<(), DbError> {
        let stamp = match self {
            Self::Silences(silences) => silences.stamp().await?,
            Self::Claims(claims) => claims.stamp().await?,
            Self::Directory(directory) => directory.stamp().await?,
            Self::Routing(routing) => routing.stamp().await?,
        };
        if !seen.is_news(stamp) {
            return Ok(());
        }
        match self {
            Self::Silences(silences) => silences.load().await?,
            Self::Claims(claims) => claims.load().await?,
            Self::Directory(directory) => directory.load().await?,
            Self::Routing(routing) => routing.load().await?,
        }
        *seen = Seen { stamp: Some(stamp), trusted: 0 };
        Ok(())
    }

    const fn what(&self) -> &'static str {
        match self {
            Self::Silences(_) => "silences",
            Self::Claims(_) => "claims",
            Self::Directory(_) => "users and teams",
            Self::Routing(_) => "routes and receivers",
        }
    }
}

/// The stamp of what was read last, and how often it was trusted since.
#[derive(Debug, Default)]
struct Seen {
    stamp: Option<Stamp>,
    trusted: u32,
}

impl Seen {
    fn is_news(&mut self, stamp: Stamp) -> bool {
        if self.stamp == Some(stamp) && self.trusted < REFRESHES_BY_STAMP {
            self.trusted += 1;
            return false;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_trusted_until_it_changes_or_gets_old() {
        let mut seen = Seen::default();
        assert!(seen.is_news((1, 2, 0)));
        seen.stamp = Some((1, 2, 0));
        for _ in 0..REFRESHES_BY_STAMP {
            assert!(!seen.is_news((1, 2, 0)));
        }
        assert!(seen.is_news((1, 2, 0)), "two changes within a millisecond look alike");
        assert!(seen.is_news((2, 3, 0)));
    }
}
