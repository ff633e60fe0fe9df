//! Circles: members that share out work among themselves, as judges do rule groups.
//!
//! A member renews one membership, whatever it holds, and sees with the same call who else is there and, when something
//! changed, who holds what. It takes shares that nobody holds or whose holder is gone; each change of hands has a
//! fencing number of its own. Before it works on a share it begins a *turn*; one turn of a share is begun once, by
//! whoever holds it then.
//!
//! Whose clock: as with leases. On Redis a membership ends by the server's clock. When nobody could look for a while,
//! because the shared state was away or has lost its memory, the circle *settles* first: for that time everybody finds
//! again what it held, and nobody takes what was another's.

use std::time::Duration;

use model::Timestamp;

use crate::{Backend, CircleView, Membership, ShareRow, State, StateError, TurnAnswer, Want, Work};

/// How one attends.
#[derive(Debug, Clone, Copy)]
pub struct Attendance<'a> {
    /// What the others are told, a short text without a line break.
    pub report: &'a str,
    /// The membership ends after this unless renewed.
    pub lease: Duration,
    /// When nobody looked for this long, the circle settles for as long.
    pub settle: Duration,
    /// The version that was seen last; 0 asks for all shares.
    pub seen: i64,
}

impl State {
    /// Renews a membership and looks around. `None` when a later start of the same member is there: who gets this
    /// must stop.
    pub async fn attend(
        &self,
        who: Membership<'_>,
        how: Attendance<'_>,
        now: Timestamp,
    ) -> Result<Option<CircleView>, StateError> {
        let (lease, settle) = (millis(how.lease), millis(how.settle));
        match &self.backend {
            Backend::Embedded(db) => {
                let span = (now.millis(), now.plus(how.lease).millis());
                Ok(db.circles().attend(who, how.report, span, settle, how.seen).await?)
            }
            Backend::Redis(redis) => redis.attend(who, how.report, lease, settle, how.seen).await,
        }
    }

    /// Takes those of the wanted shares that are free, and answers these and the ones it holds already. Nothing for
    /// one whose membership is over.
    pub async fn take_shares(
        &self,
        who: Membership<'_>,
        wants: &[Want<'_>],
        now: Timestamp,
    ) -> Result<Vec<ShareRow>, StateError> {
        match &self.backend {
            Backend::Embedded(db) => Ok(db.circles().take(who, wants, now.millis()).await?),
            Backend::Redis(redis) => redis.take_shares(who, wants).await,
        }
    }

    /// Begins turns: says for each whether the member may.
    pub async fn begin_turns(
        &self,
        who: Membership<'_>,
        turns: &[(&str, Work)],
        now: Timestamp,
    ) -> Result<Vec<TurnAnswer>, StateError> {
        match &self.backend {
            Backend::Embedded(db) => Ok(db.circles().begin(who, turns, now.millis()).await?),
            Backend::Redis(redis) => redis.begin_turns(who, turns).await,
        }
    }

    /// Gives shares back with how far their work has come, so that others can take them at once.
    pub async fn give_shares(
        &self,
        who: Membership<'_>,
        given: &[(&str, Work)],
    ) -> Result<(), StateError> {
        match &self.backend {
            Backend::Embedded(db) => Ok(db.circles().give(who, given).await?),
            Backend::Redis(redis) => redis.give_shares(who, given).await,
        }
    }

    /// Removes a share of work that is no more; it is no fault when it is another one's.
    pub async fn remove_share(&self, who: Membership<'_>, name: &str) -> Result<(), StateError> {
        match &self.backend {
            Backend::Embedded(db) => Ok(db.circles().remove_share(who, name).await?),
            Backend::Redis(redis) => redis.remove_share(who, name).await,
        }
    }

    /// Ends a membership. What it still holds is free at once.
    pub async fn leave_circle(&self, who: Membership<'_>) -> Result<(), StateError> {
        match &self.backend {
            Backend::Embedded(db) => Ok(db.circles().leave(who).await?),
            Backend::Redis(redis) => redis.leave(who).await,
        }
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
