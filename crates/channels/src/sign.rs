//! Signatures in both directions. Every platform has its own; none of them shares a function, because the
//! usual fault is to take the one for the other.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::{digest, hmac};

/// Base64 with padding.
pub fn base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

/// Base64 for addresses, without padding.
pub fn base64_url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads [`base64()`].
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Reads [`base64_url`].
pub fn from_base64_url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// HMAC with SHA-256.
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message)
}

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> digest::Digest {
    digest::digest(&digest::SHA256, bytes)
}

/// SHA-1, which some platforms still ask for.
pub fn sha1(bytes: &[u8]) -> digest::Digest {
    digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes)
}

/// Whether two texts are equal, in a time that does not tell where they differ.
pub fn equal(one: &[u8], other: &[u8]) -> bool {
    // Comparing keyed tags keeps the time independent of the texts, their lengths included.
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"compare");
    hmac::verify(&key, one, hmac::sign(&key, other).as_ref()).is_ok()
}

/// DingTalk's robots: the key is the secret, the message `<milliseconds>\n<secret>`.
pub fn dingtalk(milliseconds: i64, secret: &str) -> String {
    base64(hmac_sha256(secret.as_bytes(), format!("{milliseconds}\n{secret}").as_bytes()))
}

/// Feishu's custom bots: the key is `<seconds>\n<secret>`, the message is empty.
pub fn feishu(seconds: i64, secret: &str) -> String {
    base64(hmac_sha256(format!("{seconds}\n{secret}").as_bytes(), b""))
}

/// Slack's `X-Slack-Signature` over the raw body.
pub fn slack(secret: &str, timestamp: &str, body: &[u8]) -> String {
    let message = [b"v0:", timestamp.as_bytes(), b":", body].concat();
    format!("v0={}", hex(hmac_sha256(secret.as_bytes(), &message)))
}

/// Lark's `X-Lark-Signature` over the raw body: a plain hash behind the key.
pub fn lark_event(timestamp: &str, nonce: &str, encrypt_key: &str, body: &[u8]) -> String {
    let parts = [timestamp.as_bytes(), nonce.as_bytes(), encrypt_key.as_bytes(), body];
    hex(sha256(&parts.concat()))
}

/// The signature of Lark's older card callbacks.
pub fn lark_card(timestamp: &str, nonce: &str, verification_token: &str, body: &[u8]) -> String {
    let parts = [timestamp.as_bytes(), nonce.as_bytes(), verification_token.as_bytes(), body];
    hex(sha1(&parts.concat()))
}

/// WeCom's `msg_signature`: over the sorted parts.
pub fn wecom(token: &str, timestamp: &str, nonce: &str, encrypted: &str) -> String {
    let mut parts = [token, timestamp, nonce, encrypted];
    parts.sort_unstable();
    hex(sha1(parts.concat().as_bytes()))
}

/// Twilio's `X-Twilio-Signature`: the address and the sorted fields of the form.
pub fn twilio(auth_token: &str, url: &str, fields: &[(String, String)]) -> String {
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort();
    let message =
        sorted.iter().fold(url.to_owned(), |text, (name, value)| text + name.as_str() + value);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, auth_token.as_bytes());
    base64(hmac::sign(&key, message.as_bytes()))
}

/// Saker's own `X-Saker-Signature` over time and raw body, for providers without a scheme of their own.
pub fn saker(key: &str, timestamp: &str, body: &[u8]) -> String {
    let message = [timestamp.as_bytes(), b".", body].concat();
    format!("v1={}", hex(hmac_sha256(key.as_bytes(), &message)))
}

/// Percent encoding as RFC 3986 has it: everything but letters, digits and `-_.~`.
pub fn percent(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIME: &str = "1700000000";

    #[test]
    fn dingtalk_signs_the_time_and_the_secret_with_the_secret() {
        let sign = dingtalk(1_700_000_000_000, "SECtest");
        assert_eq!(sign, "aZLLrriXgn05YbwaGR7knYsLeJADjr9NwLaNNKpxh4g=");
        assert!(percent(&sign).ends_with("4g%3D"));
    }

    #[test]
    fn feishu_signs_nothing_with_the_time_and_the_secret() {
        assert_eq!(feishu(1_700_000_000, "test"), "eSJQnOl8XqPTMPHWz9e5IzeHS/tqoc68g2967ekIPmg=");
    }

    #[test]
    fn slack_signs_the_raw_body() {
        assert_eq!(
            slack("secret", TIME, b"payload=%7B%7D"),
            "v0=8d2a222b429296cde3eeee8e079a4f3fd24bb437ba481dc65c6c740cd3172048"
        );
    }

    #[test]
    fn lark_hashes_the_key_in_front_of_the_raw_body() {
        let body = br#"{"a":1}"#;
        assert_eq!(
            lark_event(TIME, "n1", "ekey", body),
            "159a941587e46942aef2447d59cf7521d1a537b24f527d5ff3d467344158cb61"
        );
        assert_eq!(lark_card(TIME, "n1", "vtok", body), "fc155f68307c04b14e3e52d0da90c51fbfc55b28");
    }

    #[test]
    fn wecom_hashes_the_sorted_parts() {
        assert_eq!(wecom("tok", TIME, "n1", "ENC"), "a9c9b6c07340b9b0ed4292c006d3569323fcbea1");
    }

    #[test]
    fn twilio_signs_the_address_and_the_fields() {
        let fields = [("Digits", "4"), ("CallSid", "CA1")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(
            twilio("tok", "https://x.example/voice?a=1", &fields),
            "z4+NHFV96LiDe1uMLxGNLOr8YQ0="
        );
    }

    #[test]
    fn our_own_signature_covers_time_and_body() {
        let sign = saker("k", TIME, b"{}");
        assert_eq!(sign.len(), 3 + 64);
        assert_ne!(sign, saker("k", "1700000001", b"{}"));
        assert_ne!(sign, saker("k", TIME, b"{ }"));
        assert_ne!(sign, saker("l", TIME, b"{}"));
    }

    proptest! {
        #[test]
        fn equal_is_equality(one: Vec<u8>, other: Vec<u8>) {
            prop_assert!(equal(&one, &one));
            prop_assert_eq!(equal(&one, &other), one == other);
        }

        #[test]
        fn percent_encoding_is_read_back_by_every_form_reader(text: String) {
            let form = format!("x={}", percent(&text));
            let read = form_urlencoded::parse(form.as_bytes()).next().unwrap();
            prop_assert_eq!(read.1.into_owned(), text);
        }
    }
}
