//! The keys that may sign releases. The file belongs to root: whoever breaks into the agent cannot add one.

use std::fs;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, UnparsedPublicKey};
use thiserror::Error;

/// Where the keys are by default.
pub const DEFAULT_FILE: &str = "/etc/saker/upgrade.keys";

const KEY_BYTES: usize = 32;

/// Why the keys cannot be used. Then nothing is trusted.
#[derive(Debug, Error)]
pub enum KeysError {
    /// The file is there and cannot be read.
    #[error("cannot read the keys in {file}; make it readable for the agent's user, or remove it")]
    Read {
        /// Its path.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// A line of it is no key.
    #[error("{file} line {line}: not an Ed25519 public key, which is 32 bytes in base64")]
    Key {
        /// Its path.
        file: String,
        /// The line, from 1.
        line: usize,
    },
}

/// Public Ed25519 keys. When there is any, only what one of them has signed is run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys(Vec<Vec<u8>>);

impl Keys {
    /// Reads a file with one key in base64 a line; empty lines and lines that begin with `#` do not count. A file
    /// that is not there means that no signatures are asked for.
    ///
    /// # Errors
    /// When the file cannot be read or has a line that is no key.
    pub fn read(file: &Path) -> Result<Self, KeysError> {
        let name = file.display().to_string();
        match fs::read_to_string(file) {
            Ok(text) => Self::parse(&text).map_err(|line| KeysError::Key { file: name, line }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(KeysError::Read { file: name, source }),
        }
    }

    // The number of the line that is no key.
    fn parse(text: &str) -> Result<Self, usize> {
        let mut keys = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = STANDARD.decode(line).ok().filter(|key| key.len() == KEY_BYTES);
            keys.push(key.ok_or(number + 1)?);
        }
        Ok(Self(keys))
    }

    /// Whether signatures are asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of the keys has signed `text`. `signature` is base64.
    pub fn has_signed(&self, text: &str, signature: &str) -> bool {
        let Ok(signature) = STANDARD.decode(signature.trim()) else { return false };
        self.0.iter().any(|key| {
            UnparsedPublicKey::new(&ED25519, key).verify(text.as_bytes(), &signature).is_ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    fn pair(seed: u8) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
    }

    fn keys(pairs: &[&Ed25519KeyPair]) -> Keys {
        let lines: Vec<_> = pairs.iter().map(|pair| STANDARD.encode(pair.public_key())).collect();
        Keys::parse(&format!("# ours\n\n{}\n", lines.join("\n"))).unwrap()
    }

    #[test]
    fn any_of_the_keys_may_sign_and_no_other() {
        let (first, second, stranger) = (pair(1), pair(2), pair(3));
        let keys = keys(&[&first, &second]);
        let text = "7.1 x86_64 ab12";
        for pair in [&first, &second] {
            assert!(keys.has_signed(text, &STANDARD.encode(pair.sign(text.as_bytes()))));
        }
        assert!(!keys.has_signed(text, &STANDARD.encode(stranger.sign(text.as_bytes()))));
        assert!(!keys.has_signed("7.2 x86_64 ab12", &STANDARD.encode(first.sign(text.as_bytes()))));
        assert!(!keys.has_signed(text, "") && !keys.has_signed(text, "not base64"));
    }

    #[test]
    fn a_line_that_is_no_key_is_named() {
        assert_eq!(Keys::parse("# a\nAAAA\n"), Err(2));
        assert_eq!(Keys::parse("\n#\n"), Ok(Keys::default()));
    }

    #[test]
    fn without_a_file_no_signatures_are_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Keys::read(&dir.path().join("none")).unwrap().is_empty());
        assert!(matches!(Keys::read(dir.path()), Err(KeysError::Read { .. })));
    }

    proptest! {
        #[test]
        fn no_file_makes_it_panic(text in any::<String>(), signature in any::<String>()) {
            let keys = Keys::parse(&text).unwrap_or_default();
            prop_assert!(!keys.has_signed(&text, &signature));
        }
    }
}
