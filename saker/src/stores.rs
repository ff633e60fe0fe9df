//! The SQL store and the shared state: sections `[db]` and `[state]`, and opening them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use daemon::{Context, Faults, Stop};
use db::{Db, DbConfig};
use serde::{Deserialize, Serialize};
use state::{RedisConfig, State};

const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// The section `[db]`. `Debug` shows no password.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DatabaseConfig {
    /// `sqlite:PATH` or `mysql://user:password@host:3306/database`; empty for `saker.db` in the data
    /// directory.
    pub(crate) url: String,
    /// A file with the password, so that it need not stand in `url`. Empty for none.
    pub(crate) password_file: PathBuf,
    /// Connections to MySQL at a time.
    pub(crate) connections_max: u32,
}

/// The section `[state]`. `Debug` shows no password.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StateConfig {
    /// `redis://user:password@host:6379/0`, or `rediss://…` for TLS; empty keeps leases and queues in the database.
    pub(crate) redis_url: String,
    /// A file with the certificates that a server with TLS is trusted by. Empty for those of this machine.
    pub(crate) redis_ca_file: PathBuf,
    /// A file with the password, so that it need not stand in `redis_url`. Empty for none.
    pub(crate) redis_password_file: PathBuf,
    /// The beginning of every key.
    pub(crate) redis_prefix: String,
}

impl DatabaseConfig {
    pub(crate) fn validate(&self, faults: &mut Faults) {
        if self.connections_max == 0 {
            faults.add("db.connections_max", "must be at least 1");
        }
        if let Err(error) = self.at(Path::new(".")).check() {
            faults.add("db.url", error.to_string());
        }
    }

    fn at(&self, data_dir: &Path) -> DbConfig {
        let url = match self.url.as_str() {
            "" => format!("sqlite:{}", data_dir.join("saker.db").display()),
            url => url.to_owned(),
        };
        DbConfig { connections_max: self.connections_max, ..DbConfig::new(url) }
    }

    /// Opens the database. A server that is away is waited for: who starts first does not matter.
    pub(crate) async fn open(&self, data_dir: &Path, context: &Context) -> anyhow::Result<Db> {
        let config = DbConfig { password: password(&self.password_file)?, ..self.at(data_dir) };
        let db = loop {
            match Db::connect(&config).await {
                Err(error) if error.is_away() => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "waiting for the database"
                    );
                    context.clock.sleep(RETRY_INTERVAL).await;
                }
                outcome => break outcome.context("open the database")?,
            }
        };
        let closing = db.clone();
        context.spawn_graceful("database", move |stop: Stop| async move {
            stop.requested().await;
            closing.close().await;
        });
        Ok(db)
    }
}

impl StateConfig {
    pub(crate) fn validate(&self, faults: &mut Faults) {
        if let Some(Err(error)) = self.redis().map(|redis| redis.check()) {
            faults.add("state.redis_url", error.to_string());
        }
        if self.redis_prefix.is_empty() || self.redis_prefix.contains(['{', '}']) {
            faults.add("state.redis_prefix", "must not be empty and must not hold { or }");
        }
    }

    fn redis(&self) -> Option<RedisConfig> {
        let is_used = !self.redis_url.is_empty();
        is_used.then(|| RedisConfig {
            prefix: self.redis_prefix.clone(),
            ..RedisConfig::new(self.redis_url.as_str())
        })
    }

    /// The shared state: in Redis when it is named, else in the database.
    pub(crate) fn open(&self, db: &Db) -> anyhow::Result<State> {
        let Some(redis) = self.redis() else { return Ok(State::embedded(db.clone())) };
        let ca = match self.redis_ca_file.as_os_str().is_empty() {
            true => None,
            false => Some(std::fs::read(&self.redis_ca_file).with_context(|| {
                format!("read the certificates in {}", self.redis_ca_file.display())
            })?),
        };
        let config = RedisConfig { ca, password: password(&self.redis_password_file)?, ..redis };
        State::redis(&config).context("open the shared state")
    }
}

pub(crate) fn password(file: &Path) -> anyhow::Result<Option<String>> {
    if file.as_os_str().is_empty() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("read the password in {}", file.display()))?;
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        let connections_max = DbConfig::new("").connections_max;
        Self { url: String::new(), password_file: PathBuf::new(), connections_max }
    }
}

impl Default for StateConfig {
    fn default() -> Self {
        let redis_prefix = RedisConfig::new("").prefix;
        Self {
            redis_url: String::new(),
            redis_ca_file: PathBuf::new(),
            redis_password_file: PathBuf::new(),
            redis_prefix,
        }
    }
}

impl fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.at(Path::new("")).fmt(f)
    }
}

impl fmt::Debug for StateConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.redis().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_and_passwords_not_shown() {
        let config = |url: &str, redis: &str| {
            let text = format!("[db]\nurl = {url:?}\n[state]\nredis_url = {redis:?}\n");
            daemon::parse_config("saker.toml", &text, crate::config::Config::validate)
        };
        let good = config("mysql://u:s3cret@h/d", "redis://:s3cret@h/0").expect("valid");
        assert!(!format!("{good:?}").contains("s3cret"), "{good:?}");
        let error =
            config("mysql://u:s3cret@h", "http://s3cret@h").expect_err("not valid").to_string();
        for part in ["db.url", "state.redis_url"] {
            assert!(error.contains(part), "{error}");
        }
        assert!(!error.contains("s3cret"), "{error}");
    }

    #[test]
    fn a_password_file_may_end_with_a_line_break() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "s3 cret\r\n").unwrap();
        assert_eq!(password(&file).unwrap().as_deref(), Some("s3 cret"));
        assert_eq!(password(Path::new("")).unwrap(), None);
        assert!(password(&folder.path().join("none")).is_err());
    }
}
