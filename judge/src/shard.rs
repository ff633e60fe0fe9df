//! Which groups this judge speaks for: a lease a group in shared state, so that any number of judges share
//! the rules and the groups of a dead one move to the others when its leases end.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::Timestamp;
use state::{Lease, State, StateError};
use xxhash_rust::xxh3::xxh3_64;

use crate::rules::GroupKey;

/// Names in shared state have at most 190 bytes.
const NAME_BYTES_MAX: usize = 150;

/// The leases of this judge.
#[derive(Debug)]
pub(crate) struct Shard {
    state: State,
    owner: String,
    lease_time: Duration,
    held: Mutex<HashMap<GroupKey, Lease>>,
}

impl Shard {
    /// Without leases yet.
    pub(crate) fn new(state: State, owner: String, lease_time: Duration) -> Self {
        Self { state, owner, lease_time, held: Mutex::default() }
    }

    /// Takes or renews the lease of a group. `None` while another judge holds it. A lease that has half its
    /// time left is not renewed, which would cost a write each time.
    pub(crate) async fn hold(
        &self,
        key: &GroupKey,
        now: Timestamp,
    ) -> Result<Option<Lease>, StateError> {
        let held = self.held().get(key).copied();
        if let Some(lease) = held.filter(|lease| lease.until.since(now) > self.lease_time / 2) {
            return Ok(Some(lease));
        }
        let lease =
            self.state.take_lease(&lease_name(key), &self.owner, self.lease_time, now).await?;
        match lease {
            Some(lease) => self.held().insert(key.clone(), lease),
            None => self.held().remove(key),
        };
        Ok(lease)
    }

    /// Renews what is held and needs it. Answers the first failure; the others were tried all the same.
    pub(crate) async fn renew(&self, now: Timestamp) -> Result<(), StateError> {
        let keys: Vec<GroupKey> = self.held().keys().cloned().collect();
        let mut outcome = Ok(());
        for key in keys {
            let renewed = self.hold(&key, now).await;
            outcome = outcome.and(renewed.map(|_| ()));
        }
        outcome
    }

    /// Forgets a lease without giving it back: somebody else has it.
    pub(crate) fn lost(&self, key: &GroupKey) {
        self.held().remove(key);
    }

    /// Gives a lease back, so that another judge can take it at once.
    pub(crate) async fn release(&self, key: &GroupKey) -> Result<(), StateError> {
        if self.held().remove(key).is_some() {
            self.state.release_lease(&lease_name(key), &self.owner).await?;
        }
        Ok(())
    }

    /// Gives all leases back.
    pub(crate) async fn release_all(&self) -> Result<(), StateError> {
        let keys: Vec<GroupKey> = self.held().keys().cloned().collect();
        for key in keys {
            self.release(&key).await?;
        }
        Ok(())
    }

    /// How many groups this judge speaks for.
    pub(crate) fn len(&self) -> usize {
        self.held().len()
    }

    fn held(&self) -> MutexGuard<'_, HashMap<GroupKey, Lease>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of a group in shared state: its own, or the beginning of it and its hash when it is long.
pub(crate) fn state_name(key: &GroupKey) -> String {
    let name = key.to_string();
    if name.len() <= NAME_BYTES_MAX {
        return name;
    }
    let hash = xxh3_64(name.as_bytes());
    format!("{}…{hash:016x}", &name[..name.floor_char_boundary(NAME_BYTES_MAX - 20)])
}

fn lease_name(key: &GroupKey) -> String {
    format!("rule_group/{}", state_name(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(15);

    fn key(name: &str) -> GroupKey {
        GroupKey { file: "db".to_owned(), name: name.to_owned() }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    async fn two_judges() -> (Shard, Shard, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let db = db::Db::open(&folder.path().join("saker.db")).await.unwrap();
        let shard = |owner: &str| Shard::new(State::embedded(db.clone()), owner.to_owned(), LEASE);
        (shard("a"), shard("b"), folder)
    }

    #[tokio::test]
    async fn a_group_has_one_judge_and_moves_when_that_one_is_silent() {
        let (a, b, _folder) = two_judges().await;
        assert!(a.hold(&key("g"), at(0)).await.unwrap().is_some());
        assert_eq!(b.hold(&key("g"), at(14)).await.unwrap(), None);
        let taken = b.hold(&key("g"), at(15)).await.unwrap().expect("the lease of a is over");
        assert!(taken.fencing > 1);
        assert_eq!(a.hold(&key("g"), at(16)).await.unwrap(), None);
        assert_eq!((a.len(), b.len()), (0, 1));
    }

    #[tokio::test]
    async fn a_renewed_lease_stays_and_keeps_its_number() {
        let (a, b, _folder) = two_judges().await;
        let first = a.hold(&key("g"), at(0)).await.unwrap().expect("free");
        for second in [5, 10, 15, 20] {
            a.renew(at(second)).await.unwrap();
        }
        assert_eq!(b.hold(&key("g"), at(21)).await.unwrap(), None);
        assert_eq!(
            a.hold(&key("g"), at(21)).await.unwrap().map(|lease| lease.fencing),
            Some(first.fencing)
        );
    }

    #[tokio::test]
    async fn groups_given_back_are_free_at_once() {
        let (a, b, _folder) = two_judges().await;
        a.hold(&key("g"), at(0)).await.unwrap();
        a.hold(&key("h"), at(0)).await.unwrap();
        a.release_all().await.unwrap();
        assert!(b.hold(&key("g"), at(1)).await.unwrap().is_some());
        assert!(b.hold(&key("h"), at(1)).await.unwrap().is_some());
    }

    #[test]
    fn long_names_are_cut_and_stay_distinct() {
        let name = |tail: &str| state_name(&key(&format!("{}{tail}", "ü".repeat(200))));
        assert!(lease_name(&key(&"ü".repeat(200))).len() <= 190);
        assert_ne!(name("a"), name("b"));
        assert_eq!(state_name(&key("short")), "db;short");
    }
}
