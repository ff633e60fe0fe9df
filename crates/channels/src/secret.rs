//! Texts that must never be shown: tokens, keys, addresses that hold one.

use std::fmt;
use std::path::PathBuf;
use std::{fs, io};

use serde::{Deserialize, Serialize, Serializer};

const HIDDEN: &str = "(hidden)";

/// A secret, or the file that holds it. `Debug` and `Serialize` show that there is one and nothing else.
///
/// In settings it is a text, or `{ file = "/etc/saker/token" }`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Secret {
    /// The secret itself.
    Text(String),
    /// Where it is to be read from; white space around it does not count.
    File {
        /// Path of the file.
        file: PathBuf,
    },
}

impl Secret {
    /// The secret. Empty while it was not read from its file.
    pub fn expose(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::File { .. } => "",
        }
    }

    /// Puts the content of its file in place of the file's name.
    pub fn read(&mut self) -> io::Result<()> {
        if let Self::File { file } = self {
            *self = Self::Text(fs::read_to_string(file)?.trim().to_owned());
        }
        Ok(())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Text(text) if text.is_empty())
    }
}

impl Default for Secret {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) if text.is_empty() => f.write_str("(none)"),
            Self::Text(_) => f.write_str(HIDDEN),
            Self::File { file } => write!(f, "file {}", file.display()),
        }
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{self:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let secret = Secret::from("hunter2");
        let shown = format!("{secret:?} {}", serde_json::to_string(&secret).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn a_secret_is_read_from_its_file_without_the_last_line_feed() {
        let file = std::env::temp_dir().join(format!("channels-secret-{}", std::process::id()));
        fs::write(&file, "hunter2\n").unwrap();
        let mut secret: Secret =
            serde_json::from_value(serde_json::json!({ "file": file })).unwrap();
        assert_eq!(secret.expose(), "");
        secret.read().unwrap();
        assert_eq!(secret.expose(), "hunter2");
        fs::remove_file(&file).unwrap();
        let mut gone = Secret::File { file };
        assert!(gone.read().is_err());
    }
}
