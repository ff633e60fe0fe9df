//! Reservations: a hash a place, its fields the names, its values the end and the owner.

use std::time::Duration;

use super::RedisStore;
use super::leases::millis_of;
use crate::StateError;

/// Names of one call: the server does nothing else meanwhile.
const NAMES_PER_CALL: usize = 1000;

impl RedisStore {
    pub(crate) async fn reserve(
        &self,
        place: &str,
        names: &[String],
        owner: &str,
        ttl: Duration,
    ) -> Result<Vec<bool>, StateError> {
        let mut answers = Vec::with_capacity(names.len());
        for chunk in names.chunks(NAMES_PER_CALL) {
            let mut script = self.scripts.reserve.key(self.key("reserved", place, ""));
            script.arg(owner).arg(millis_of(ttl)).arg(chunk);
            answers.extend(self.run::<Vec<bool>>("reserve names", &script).await?);
        }
        Ok(answers)
    }

    pub(crate) async fn release(
        &self,
        place: &str,
        names: &[String],
        owner: &str,
    ) -> Result<(), StateError> {
        for chunk in names.chunks(NAMES_PER_CALL) {
            let mut script = self.scripts.release.key(self.key("reserved", place, ""));
            self.run::<()>("release names", script.arg(owner).arg(chunk)).await?;
        }
        Ok(())
    }
}
