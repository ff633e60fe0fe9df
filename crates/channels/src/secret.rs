//! Texts that must never be shown: tokens, keys, addresses that hold one.

use std::fmt;
use std::path::PathBuf;
use std::{fs, io};

use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const HIDDEN: &str = "(hidden)";
/// Shorter texts stand in answers by chance.
const TELLING_BYTES: usize = 8;

/// A secret, or the file that holds it. `Debug` and `Serialize` show that there is one and nothing else.
///
/// In settings it is a text, or `{ file = "/etc/saker/token" }`.
#[derive(Clone, PartialEq, Eq)]
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

    /// What is wrong with its file, which is named; `None` for a text, and for a file that can be read.
    pub fn file_fault(&self) -> Option<String> {
        let Self::File { file } = self else { return None };
        let fault = fs::read_to_string(file).err()?;
        Some(format!("the file {} with a secret cannot be read: {fault}", file.display()))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Text(text) if text.is_empty())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecretVisitor)
    }
}

/// Reads either form. What stands beside `file` is refused: whoever wrote it expects something of it.
struct SecretVisitor;

impl<'de> Visitor<'de> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, or { file = \"/path\" }")
    }

    fn visit_str<E>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret::from(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Secret, A::Error> {
        let (mut file, mut others) = (None, Vec::new());
        while let Some(name) = map.next_key::<String>()? {
            if name == "file" {
                file = Some(map.next_value::<PathBuf>()?);
            } else {
                map.next_value::<IgnoredAny>()?;
                others.push(name);
            }
        }
        match (file, others.is_empty()) {
            (Some(file), true) => Ok(Secret::File { file }),
            (Some(file), false) => Err(A::Error::custom(format!(
                "beside file = {:?} there is {}, which no secret has",
                file.display().to_string(),
                others.join(", ")
            ))),
            (None, _) => Err(A::Error::missing_field("file")),
        }
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

/// Whether a text repeats a secret, as an answer does that names the address it was asked at: the secret itself, or
/// of an address what may be a key in it.
pub fn repeats(text: &str, secret: &str) -> bool {
    // Texts are cut, perhaps in the midst of it.
    let begins_at_end = |part: &str| {
        let mut beginnings = (TELLING_BYTES..part.len()).filter_map(|bytes| part.get(..bytes));
        beginnings.any(|beginning| text.ends_with(beginning))
    };
    let is_in =
        |part: &str| part.len() >= TELLING_BYTES && (text.contains(part) || begins_at_end(part));
    if is_in(secret) {
        return true;
    }
    let Some((_, rest)) = secret.split_once("://") else { return false };
    let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
    let login = place.rsplit_once('@').map_or("", |(login, _)| login);
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let values = query.split('&').map(|pair| pair.split_once('=').map_or(pair, |(_, value)| value));
    // Words of an API have no digits, keys hardly ever have none.
    let is_key = |part: &str| part.contains(|c: char| c.is_ascii_digit());
    let mut parts = path.split('/').chain(values).chain(login.split(':'));
    parts.any(|part| is_key(part) && is_in(part))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        let fault = gone.file_fault().expect("it is gone");
        assert!(fault.contains("channels-secret-"), "{fault}");
        assert_eq!(Secret::from("hunter2").file_fault(), None);
    }

    #[test]
    fn what_stands_beside_a_file_is_refused_with_the_names_of_both_and_no_values() {
        let fault = |text: &str| toml::from_str::<toml::Table>(text).unwrap()["s"].clone();
        let fault = |text: &str| fault(text).try_into::<Secret>().unwrap_err().to_string();
        for text in [
            "s = { file = \"/etc/saker/key\", x = \"hunter2\" }",
            "s = { x = [\"hunter2\"], file = \"/etc/saker/key\" }",
        ] {
            let fault = fault(text);
            assert!(fault.contains("/etc/saker/key") && fault.contains(" x,"), "{fault}");
            assert!(!fault.contains("hunter2"), "{fault}");
        }
        assert!(fault("s = { path = \"/x\" }").contains("file"));
        assert!(fault("s = 7").contains("a text, or { file"));
    }

    proptest! {
        #[test]
        fn any_value_is_read_or_refused(name in "[a-z]{0,5}|file", value in "\\PC{0,12}") {
            let text = Secret::deserialize(serde_json::json!(value)).unwrap();
            prop_assert_eq!(text.expose(), value.as_str());
            let table = Secret::deserialize(serde_json::json!({ name.as_str(): value }));
            prop_assert_eq!(table.is_ok(), name == "file");
        }
    }

    #[test]
    fn an_answer_that_names_the_address_repeats_the_key_in_it() {
        let address = "https://ann:passw0rd1@oapi.example/robot/send?access_token=a1b2c3d4e5&x=1";
        for text in [
            "Cannot POST /robot/send?access_token=a1b2c3d4e5",
            "no token a1b2c3d4e5",
            "user ann, password passw0rd1",
            address,
        ] {
            assert!(repeats(text, address), "{text}");
        }
        for text in ["send: robot is disabled", "access_token is wrong", "x=1", ""] {
            assert!(!repeats(text, address), "{text}");
        }
        assert!(repeats("Unauthorized: xoxb-hidden", "xoxb-hidden"));
        assert!(!repeats("a b c", "b"), "too short to tell");
        assert!(repeats("no token a1b2c3d4", address), "cut");
        assert!(!repeats("anything", ""));
    }
}
