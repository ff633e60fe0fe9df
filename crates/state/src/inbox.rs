//! Lists on Redis that other programs push to and we take from, as Open-Falcon's judges do.
//!
//! Items are moved to a list of their own before anybody looks at them, and leave it when they are done, so who dies
//! in between loses nothing: whoever comes next finds them there.

use std::fmt;

use redis::Script;
use redis::aio::ConnectionManager;

use crate::StateError;
use crate::redis::{RedisConfig, connect};

/// Items that one call takes or settles at most: the server does nothing else meanwhile.
const ITEMS_PER_CALL: usize = 1000;
/// Items of each kind that were put aside and are kept for people to look at.
const ASIDE_MAX: usize = 10_000;

/// A list that others push to on the left.
pub struct Inbox {
    connection: ConnectionManager,
    name: String,
    take: Script,
    settle: Script,
}

/// What became of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// They are done.
    Done,
    /// They cannot be done; they go to the list `<name>:bad`, which keeps the last ten thousand.
    PutAside,
    /// They are good, but nobody can take them now; they go to the list `<name>:refused`, which keeps the last ten
    /// thousand. From there people can push them back.
    Refused,
}

impl Inbox {
    /// The lists of these names on the server at `config`, over one connection; its prefix is not used. Does not
    /// wait for the server. Must be called inside a Tokio runtime.
    pub fn open(
        config: &RedisConfig,
        names: impl IntoIterator<Item = String>,
    ) -> Result<Vec<Self>, StateError> {
        let connection = connect(config)?;
        let inbox = |name| Self {
            connection: connection.clone(),
            name,
            take: Script::new(include_str!("redis/inbox_take.lua")),
            settle: Script::new(include_str!("redis/inbox_settle.lua")),
        };
        Ok(names.into_iter().map(inbox).collect())
    }

    /// Name of the list.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many items wait in the list.
    pub async fn length(&self) -> Result<usize, StateError> {
        let mut connection = self.connection.clone();
        let mut command = redis::cmd("LLEN");
        let length = command.arg(&self.name).query_async(&mut connection).await;
        length
            .map_err(|source| StateError::Redis { operation: "count the items of a list", source })
    }

    /// Moves up to `max` items, the oldest first, to the list of those under way, and answers with them.
    pub async fn take(&self, max: usize) -> Result<Vec<Vec<u8>>, StateError> {
        let mut connection = self.connection.clone();
        let mut call = self.take.prepare_invoke();
        call.key(&self.name).key(self.under_way()).arg(max.min(ITEMS_PER_CALL));
        let operation = "take items of a list";
        let taken = call.invoke_async(&mut connection).await;
        taken.map_err(|source| StateError::Redis { operation, source })
    }

    /// The items that were taken and not settled, the oldest first, at most a thousand.
    pub async fn unsettled(&self) -> Result<Vec<Vec<u8>>, StateError> {
        let mut connection = self.connection.clone();
        let mut command = redis::cmd("LRANGE");
        let first = -i64::try_from(ITEMS_PER_CALL).unwrap_or(i64::MAX);
        command.arg(self.under_way()).arg(first).arg(-1);
        let operation = "read items that are under way";
        let found: Result<Vec<Vec<u8>>, _> = command.query_async(&mut connection).await;
        let mut items = found.map_err(|source| StateError::Redis { operation, source })?;
        items.reverse();
        Ok(items)
    }

    /// Items that were taken leave the list of those under way.
    pub async fn settle(&self, items: &[Vec<u8>], outcome: Settled) -> Result<(), StateError> {
        for chunk in items.chunks(ITEMS_PER_CALL) {
            let mut connection = self.connection.clone();
            let mut call = self.settle.prepare_invoke();
            let (aside, kept) = match outcome {
                Settled::Done => ("bad", 0),
                Settled::PutAside => ("bad", ASIDE_MAX),
                Settled::Refused => ("refused", ASIDE_MAX),
            };
            call.key(self.under_way()).key(format!("{}:{aside}", self.name)).arg(kept);
            for item in chunk {
                call.arg(item);
            }
            let operation = "settle items of a list";
            let settled: Result<(), _> = call.invoke_async(&mut connection).await;
            settled.map_err(|source| StateError::Redis { operation, source })?;
        }
        Ok(())
    }

    fn under_way(&self) -> String {
        format!("{}:saker", self.name)
    }
}

// The connection knows the password.
impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inbox({})", self.name)
    }
}
