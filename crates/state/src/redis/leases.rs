//! Leases: a key that expires by itself and holds its owner, beside a number that stays.

use std::time::Duration;

use super::RedisStore;
use crate::StateError;

impl RedisStore {
    /// The fencing number, or `None` while somebody else holds the lease.
    pub(crate) async fn take_lease(
        &self,
        name: &str,
        owner: &str,
        ttl: Duration,
    ) -> Result<Option<u64>, StateError> {
        let mut script = self.scripts.take_lease.key(self.key("lease", name, ""));
        script.key(self.key("lease", name, ":fencing")).arg(owner).arg(millis_of(ttl));
        self.run("take a lease", &script).await
    }

    pub(crate) async fn release_lease(&self, name: &str, owner: &str) -> Result<bool, StateError> {
        let mut script = self.scripts.release_lease.key(self.key("lease", name, ""));
        self.run("release a lease", script.arg(owner)).await
    }
}

/// Redis knows no lease of no time.
pub(super) fn millis_of(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).clamp(1, MILLIS_MAX)
}

// A hundred years: Redis refuses an end that does not fit its clock.
const MILLIS_MAX: u64 = 100 * 365 * 86_400_000;
