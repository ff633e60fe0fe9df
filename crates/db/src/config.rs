//! Which database, and how to reach it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use sqlx::mysql::MySqlConnectOptions;

use crate::DbError;

const CONNECTIONS_MAX: u32 = 10;
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// Which database, and how to reach it. `Debug` shows no password.
#[derive(Clone, PartialEq, Eq)]
pub struct DbConfig {
    /// `sqlite:PATH`, or `mysql://user:password@host:port/database` for MySQL and MariaDB. Letters
    /// that have a meaning in addresses are written as `%40` and so on. MySQL's `ssl-mode`,
    /// `ssl-ca` and `socket` go after a `?`.
    pub url: String,
    /// The password when it is not in `url`, as from a file. Goes before one that is.
    pub password: Option<String>,
    /// Connections to MySQL at a time; statements wait for a free one. 10 unless set.
    pub connections_max: u32,
    /// A statement or transaction on MySQL that takes longer fails: the server may hang, or the
    /// network lose what is sent. 30 seconds unless set.
    pub statement_timeout: Duration,
}

/// A checked address.
pub(crate) enum Target {
    Sqlite(PathBuf),
    Mysql(Box<MySqlConnectOptions>),
}

impl DbConfig {
    /// The database at this address, with everything else as it is by default.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            password: None,
            connections_max: CONNECTIONS_MAX,
            statement_timeout: STATEMENT_TIMEOUT,
        }
    }

    /// Says what is wrong with the address, without connecting.
    pub fn check(&self) -> Result<(), DbError> {
        self.target().map(|_| ())
    }

    pub(crate) fn target(&self) -> Result<Target, DbError> {
        if let Some(path) = self.url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path {
                "" => {
                    Err(DbError::Address { reason: "`sqlite:` needs the path of a file behind it" })
                }
                path => Ok(Target::Sqlite(path.into())),
            };
        }
        if !self.url.starts_with("mysql://") {
            return Err(DbError::Address { reason: "it must begin with `sqlite:` or `mysql://`" });
        }
        // The cause is left out: it may quote a part of the password.
        let options = MySqlConnectOptions::from_str(&self.url).map_err(|_| DbError::Address {
            reason: "it must be like mysql://user:password@host:3306/database, with special letters as %40",
        })?;
        if options.get_database().is_none() {
            return Err(DbError::Address {
                reason: "the name of the database is missing at its end",
            });
        }
        let options = match &self.password {
            Some(password) => options.password(password),
            None => options,
        };
        Ok(Target::Mysql(Box::new(options)))
    }
}

impl fmt::Debug for DbConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.target().map_or("not valid".to_owned(), |target| target.to_string());
        let mut shown = f.debug_struct("DbConfig");
        shown.field("address", &address).field("connections_max", &self.connections_max).finish()
    }
}

/// The address without the password.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Mysql(options) => write!(
                f,
                "mysql://{}@{}:{}/{}",
                options.get_username(),
                options.get_host(),
                options.get_port(),
                options.get_database().unwrap_or_default()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_understood_and_shown_without_its_password() {
        for (url, shown) in [
            ("sqlite:data/saker.db", "sqlite:data/saker.db"),
            ("sqlite:///var/lib/saker/saker.db", "sqlite:/var/lib/saker/saker.db"),
            ("mysql://saker:s3cr%40t@db.example:3307/saker", "mysql://saker@db.example:3307/saker"),
            ("mysql://saker@[::1]/saker?ssl-mode=REQUIRED", "mysql://saker@[::1]:3306/saker"),
        ] {
            let config = DbConfig { password: Some("s3cret".to_owned()), ..DbConfig::new(url) };
            assert_eq!(config.target().map(|target| target.to_string()).unwrap(), shown);
            assert!(!format!("{config:?}").contains("s3cr"), "{config:?}");
        }
    }

    #[test]
    fn a_wrong_address_is_explained_and_not_repeated() {
        for url in [
            "",
            "postgres://u:s3cret@h/d",
            "sqlite:",
            "mysql://u:s3cret@h:port/d",
            "mysql://u:s3cret@h",
        ] {
            let error = DbConfig::new(url).check().expect_err(url);
            assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
        }
    }
}
