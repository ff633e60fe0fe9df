//! Leases: one holder at a time, until a moment, with a number that tells holders apart.

use std::time::Duration;

use model::Timestamp;

use crate::{State, StateError};

/// A lease that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Grows whenever the lease was free or changed hands; stays over renewals. Pass it with every write, so that a
    /// holder that was paused past its lease cannot overwrite its successor (Kleppmann, "How to do distributed
    /// locking").
    pub fencing: u64,
    /// The lease ends then, unless renewed.
    pub until: Timestamp,
}

impl State {
    /// Takes the lease `name`, or renews it when `owner` holds it already. `None` while somebody else holds it.
    pub async fn take_lease(
        &self,
        name: &str,
        owner: &str,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<Option<Lease>, StateError> {
        let until = now.plus(ttl);
        let row = self.db.state().take_lease(name, owner, now.millis(), until.millis()).await?;
        let is_ours = row.owner == owner;
        Ok(is_ours
            .then(|| Lease { fencing: row.fencing.unsigned_abs(), until: Timestamp::from_millis(row.until) }))
    }

    /// Gives the lease back early; `false` when it was not the owner's any more.
    pub async fn release_lease(&self, name: &str, owner: &str) -> Result<bool, StateError> {
        Ok(self.db.state().release_lease(name, owner).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_state::state;

    const TTL: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn only_one_owner_holds_a_lease_until_it_ends() {
        let (state, _folder) = state().await;
        let first =
            state.take_lease("group", "a", TTL, Timestamp(0)).await.unwrap().expect("the lease is free");
        assert_eq!(state.take_lease("group", "b", TTL, Timestamp(9_999)).await.unwrap(), None);
        let second =
            state.take_lease("group", "b", TTL, Timestamp(10_000)).await.unwrap().expect("the lease is over");
        assert!(second.fencing > first.fencing);
        assert_eq!(state.take_lease("group", "a", TTL, Timestamp(10_001)).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_renewal_keeps_the_fencing_number_and_a_lapse_does_not() {
        let (state, _folder) = state().await;
        let first = state.take_lease("group", "a", TTL, Timestamp(0)).await.unwrap().expect("free");
        let renewed = state.take_lease("group", "a", TTL, Timestamp(5_000)).await.unwrap().expect("renewed");
        assert_eq!((renewed.fencing, renewed.until), (first.fencing, Timestamp(15_000)));
        let after_lapse =
            state.take_lease("group", "a", TTL, Timestamp(20_000)).await.unwrap().expect("over");
        assert!(after_lapse.fencing > first.fencing);
    }

    #[tokio::test]
    async fn a_released_lease_is_free_at_once_and_only_its_owner_releases_it() {
        let (state, _folder) = state().await;
        let first = state.take_lease("group", "a", TTL, Timestamp(0)).await.unwrap().expect("free");
        assert!(!state.release_lease("group", "b").await.unwrap());
        assert!(state.release_lease("group", "a").await.unwrap());
        let second = state.take_lease("group", "b", TTL, Timestamp(1)).await.unwrap().expect("released");
        assert!(second.fencing > first.fencing);
    }

    #[tokio::test]
    async fn of_many_who_ask_at_once_one_gets_the_lease() {
        let (state, _folder) = state().await;
        let owners: Vec<String> = (0..16).map(|n| format!("judge-{n}")).collect();
        let asking = owners.iter().map(|owner| state.take_lease("group", owner, TTL, Timestamp(0)));
        let mut holders = 0;
        for answer in futures_util::future::join_all(asking).await {
            holders += usize::from(answer.unwrap().is_some());
        }
        assert_eq!(holders, 1);
    }
}
