//! The verbs on Redis. Each is one script or one command, so it happens as a whole or not at all.
//!
//! Keys of one lease, kind or queue share a hash tag, `saker:{lease/NAME}`, and so live on one node
//! of a cluster.

mod circles;
mod documents;
mod leases;
mod mutes;
mod queues;
mod reservations;
mod upgrades;

use std::fmt;
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{
    Client, FromRedisValue, IntoConnectionInfo, Script, ScriptInvocation, TlsCertificates,
};

use crate::StateError;

// Documents may be megabytes; a server that takes longer than this for anything is not healthy.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
// A verb fails soon while the server is away; the next verb connects anew.
const RECONNECTS_PER_VERB: usize = 1;
/// The beginning of every key unless it is set.
const DEFAULT_PREFIX: &str = "saker";
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// Where Redis is. `Debug` shows no password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisConfig {
    /// `redis://user:password@host:6379/0`, or `rediss://…` for TLS; all but the host may be left out.
    pub url: String,
    /// Certificates in PEM form that a server with TLS is trusted by, instead of those of this machine.
    pub ca: Option<Vec<u8>>,
    /// The password when it is not in `url`, as from a file. Goes before one that is.
    pub password: Option<String>,
    /// The beginning of every key, to share a server with others.
    pub prefix: String,
}

impl RedisConfig {
    /// The server at this address, with everything else as it is by default.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), ca: None, password: None, prefix: DEFAULT_PREFIX.to_owned() }
    }

    /// Says what is wrong with the address, without connecting.
    pub fn check(&self) -> Result<(), StateError> {
        self.client().map(|_| ())
    }

    fn client(&self) -> Result<Client, StateError> {
        // The cause is left out: it may quote a part of the password.
        let mut info =
            self.url.as_str().into_connection_info().map_err(|_| StateError::RedisAddress)?;
        if let Some(password) = &self.password {
            let settings = info.redis_settings().clone().set_password(password);
            info = info.set_redis_settings(settings);
        }
        let client = match &self.ca {
            Some(ca) => {
                let certificates =
                    TlsCertificates { client_tls: None, root_cert: Some(ca.clone()) };
                Client::build_with_tls(info, certificates)
            }
            None => Client::open(info),
        };
        client.map_err(|_| StateError::RedisAddress)
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.client().map_or("not valid".to_owned(), |client| {
            client.get_connection_info().addr().to_string()
        });
        f.debug_struct("RedisConfig")
            .field("address", &address)
            .field("prefix", &self.prefix)
            .finish()
    }
}

/// A connection that is made again when it breaks, and the scripts.
pub(crate) struct RedisStore {
    connection: ConnectionManager,
    prefix: String,
    scripts: Scripts,
}

struct Scripts {
    take_lease: Script,
    release_lease: Script,
    reserve: Script,
    release: Script,
    save_document: Script,
    push_event: Script,
    take_events: Script,
    ack_event: Script,
    return_event: Script,
    upgrade_plan: Script,
    upgrade_admit: Script,
    upgrade_report: Script,
    upgrade_tally: Script,
    circle_attend: Script,
    circle_take: Script,
    circle_begin: Script,
    circle_give: Script,
    circle_leave: Script,
}

/// A script behind what all scripts of upgrades share.
macro_rules! upgrade_script {
    ($name:literal) => {
        Script::new(concat!(
            include_str!("redis/upgrade.lua"),
            include_str!(concat!("redis/upgrade_", $name, ".lua"))
        ))
    };
}

/// A script behind what all scripts of circles share.
macro_rules! circle_script {
    ($name:literal) => {
        Script::new(concat!(
            include_str!("redis/circle.lua"),
            include_str!(concat!("redis/circle_", $name, ".lua"))
        ))
    };
}

/// A connection that is made when it is needed, and again when it breaks.
pub(crate) fn connect(config: &RedisConfig) -> Result<ConnectionManager, StateError> {
    const OPERATION: &str = "prepare the connection";
    let settings = ConnectionManagerConfig::new()
        .set_response_timeout(Some(RESPONSE_TIMEOUT))
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_number_of_retries(RECONNECTS_PER_VERB)
        .set_min_delay(RECONNECT_PAUSE)
        .set_max_delay(RECONNECT_PAUSE);
    ConnectionManager::new_lazy_with_config(config.client()?, settings)
        .map_err(|source| StateError::Redis { operation: OPERATION, source })
}

impl RedisStore {
    pub(crate) fn open(config: &RedisConfig) -> Result<Self, StateError> {
        let connection = connect(config)?;
        let scripts = Scripts {
            take_lease: Script::new(include_str!("redis/take_lease.lua")),
            release_lease: Script::new(include_str!("redis/release_lease.lua")),
            reserve: Script::new(include_str!("redis/reserve.lua")),
            release: Script::new(include_str!("redis/release.lua")),
            save_document: Script::new(include_str!("redis/save_document.lua")),
            push_event: Script::new(include_str!("redis/push_event.lua")),
            take_events: Script::new(include_str!("redis/take_events.lua")),
            ack_event: Script::new(include_str!("redis/ack_event.lua")),
            return_event: Script::new(include_str!("redis/return_event.lua")),
            upgrade_plan: upgrade_script!("plan"),
            upgrade_admit: upgrade_script!("admit"),
            upgrade_report: upgrade_script!("report"),
            upgrade_tally: upgrade_script!("tally"),
            circle_attend: circle_script!("attend"),
            circle_take: circle_script!("take"),
            circle_begin: circle_script!("begin"),
            circle_give: circle_script!("give"),
            circle_leave: circle_script!("leave"),
        };
        Ok(Self { connection, prefix: config.prefix.clone(), scripts })
    }

    /// `part` of what is named `name`; the parts of one name live on one node.
    fn key(&self, noun: &str, name: &str, part: &str) -> String {
        format!("{}:{{{noun}/{name}}}{part}", self.prefix)
    }

    async fn run<T: FromRedisValue>(
        &self,
        operation: &'static str,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, StateError> {
        let mut connection = self.connection.clone();
        script
            .invoke_async(&mut connection)
            .await
            .map_err(|source| StateError::Redis { operation, source })
    }

    async fn ask<T: FromRedisValue>(
        &self,
        operation: &'static str,
        command: &redis::Cmd,
    ) -> Result<T, StateError> {
        let mut connection = self.connection.clone();
        command
            .query_async(&mut connection)
            .await
            .map_err(|source| StateError::Redis { operation, source })
    }
}

// The connection knows the password.
impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let config = RedisConfig::new("redis://saker:s3cret@redis.example:6380/1");
        assert!(config.check().is_ok());
        let shown = format!("{config:?}");
        assert!(shown.contains("redis.example:6380") && !shown.contains("s3cret"), "{shown}");
        for url in ["", "http://s3cret@h", "redis://:s3cret@h:port/0", "redisss://s3cret@h"] {
            let config = RedisConfig::new(url);
            let error = config.check().expect_err(url);
            assert!(!format!("{error:?} {error} {config:?}").contains("s3cret"), "{url}");
        }
    }
}
