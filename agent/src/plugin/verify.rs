//! Digests and signatures: what is run must be what its author signed.

use std::fmt::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{Context, SHA256};
use ring::signature::{ED25519, UnparsedPublicKey};

const KEY_BYTES: usize = 32;

/// SHA-256 in hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    let mut digest = Context::new(&SHA256);
    digest.update(bytes);
    hex(digest.finish().as_ref())
}

/// Bytes as hex digits in lower case.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Whether a text is a SHA-256 in hex, in lower case: only such a text may become part of a path or an address.
pub fn is_sha256_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// An Ed25519 key that signatures are checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey([u8; KEY_BYTES]);

impl PublicKey {
    /// Reads a key of 32 bytes in base64.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| "is not base64")?;
        let bytes = bytes.try_into().map_err(|_| "is not an Ed25519 key of 32 bytes in base64")?;
        Ok(Self(bytes))
    }

    /// Whether `signature`, in base64, is that of `text` under this key.
    pub fn is_signed(&self, text: &str, signature: &str) -> bool {
        let Ok(signature) = STANDARD.decode(signature.trim()) else { return false };
        UnparsedPublicKey::new(&ED25519, self.0).verify(text.as_bytes(), &signature).is_ok()
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use ring::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    /// A key for tests and what it signs with.
    pub(crate) fn key_pair(seed: u8) -> (PublicKey, impl Fn(&str) -> String) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; KEY_BYTES]).unwrap();
        let key = STANDARD.encode(pair.public_key());
        let sign = move |text: &str| STANDARD.encode(pair.sign(text.as_bytes()));
        (PublicKey::parse(&key).unwrap(), sign)
    }
}

#[cfg(test)]
mod tests {
    use super::testing::key_pair;
    use super::*;

    #[test]
    fn the_digest_is_that_of_sha256sum() {
        assert_eq!(
            sha256_hex(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert!(is_sha256_hex(&sha256_hex(b"")) && !is_sha256_hex("../../etc/passwd"));
        assert!(!is_sha256_hex(&"A".repeat(64)));
    }

    #[test]
    fn only_the_right_key_over_the_right_text_counts() {
        let (key, sign) = key_pair(1);
        let (other, _) = key_pair(2);
        let signature = sign("abc");
        assert!(key.is_signed("abc", &signature));
        assert!(!key.is_signed("abd", &signature) && !other.is_signed("abc", &signature));
        assert!(!key.is_signed("abc", "") && !key.is_signed("abc", "!"));
    }

    #[test]
    fn a_key_that_is_none_is_told() {
        assert_eq!(PublicKey::parse("é"), Err("is not base64"));
        assert_eq!(PublicKey::parse("AAAA"), Err("is not an Ed25519 key of 32 bytes in base64"));
    }
}
