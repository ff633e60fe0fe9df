//! Signed links that mute once, and that take or put off alerts, for bots that hear no press of a button, and for
//! mails.
//!
//! `<base64url(payload)>.<base64url(HMAC-SHA256(key, "mute.v1." + base64url(payload)))>`, and `claim.v1.` for the
//! others: no link is good for what another is for.

use model::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::secret::Secret;
use crate::sign::{base64_url, equal, from_base64_url, hmac_sha256};

/// The longest token that is looked at.
pub const TOKEN_BYTES_MAX: usize = 2_048;
const VERSION: u32 = 1;
const MUTE: &str = "mute.v1.";
const CLAIM: &str = "claim.v1.";

/// What a mute link says. Field names are short since it is a part of an address; they stand in the order of the
/// alphabet, so that the same payload always is the same text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MuteLink {
    /// Endpoint and metric, joined by a bar.
    #[serde(rename = "c")]
    pub counter: String,
    /// For how many seconds.
    #[serde(rename = "d")]
    pub seconds: u64,
    /// The thread of the messages about the alert.
    #[serde(rename = "ev")]
    pub thread: String,
    /// When the link ends, in seconds since the epoch.
    #[serde(rename = "exp")]
    pub expires: i64,
    /// Its own id: a link mutes once.
    #[serde(rename = "jti")]
    pub id: String,
    /// Which key signed it.
    #[serde(rename = "kid", default, skip_serializing_if = "is_zero")]
    pub key: u32,
    /// Whether the mute is for one endpoint (`ec`) or for the metric everywhere (`mc`).
    #[serde(rename = "s")]
    pub scope: String,
    /// Who is muted.
    #[serde(rename = "u")]
    pub user: String,
    /// Version of the payload.
    #[serde(rename = "v")]
    pub version: u32,
}

/// What a link says that takes alerts or puts them off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimLink {
    /// When the link ends, in seconds since the epoch.
    #[serde(rename = "exp")]
    pub expires: i64,
    /// The handle under which it is kept which alerts it is about.
    #[serde(rename = "h")]
    pub handle: String,
    /// Its own id: a link takes once and puts off once.
    #[serde(rename = "jti")]
    pub id: String,
    /// Which key signed it.
    #[serde(rename = "kid", default, skip_serializing_if = "is_zero")]
    pub key: u32,
    /// Who got it: a person, or the chat of a receiver.
    #[serde(rename = "u")]
    pub user: String,
    /// Version of the payload.
    #[serde(rename = "v")]
    pub version: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands the field over by reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The keys that sign links: the first signs, all are good for reading, so a key can be replaced while links of
/// the old one are still on their way.
#[derive(Debug, Clone, Default)]
pub struct LinkKeys {
    /// Number and key.
    pub keys: Vec<(u32, Secret)>,
}

/// Why a link is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkFault {
    /// It is none of ours.
    #[error("not a link of ours")]
    Forged,
    /// It is over.
    #[error("the link is too old")]
    Expired,
}

impl LinkKeys {
    /// Writes a token that mutes; `None` without a key.
    pub fn sign(&self, mut link: MuteLink) -> Option<String> {
        let (number, key) = self.keys.first()?;
        (link.key, link.version) = (*number, VERSION);
        written(MUTE, key, &link)
    }

    /// Reads a token that mutes and that one of the keys signed.
    pub fn read(&self, token: &str, now: Timestamp) -> Result<MuteLink, LinkFault> {
        let (link, number): (MuteLink, u32) = self.open(MUTE, token)?;
        if link.version != VERSION || link.key != number {
            return Err(LinkFault::Forged);
        }
        if link.expires <= now.seconds() { Err(LinkFault::Expired) } else { Ok(link) }
    }

    /// Writes a token that takes or puts off; `None` without a key.
    pub fn sign_claim(&self, mut link: ClaimLink) -> Option<String> {
        let (number, key) = self.keys.first()?;
        (link.key, link.version) = (*number, VERSION);
        written(CLAIM, key, &link)
    }

    /// Reads a token that takes or puts off and that one of the keys signed.
    pub fn read_claim(&self, token: &str, now: Timestamp) -> Result<ClaimLink, LinkFault> {
        let (link, number): (ClaimLink, u32) = self.open(CLAIM, token)?;
        if link.version != VERSION || link.key != number {
            return Err(LinkFault::Forged);
        }
        if link.expires <= now.seconds() { Err(LinkFault::Expired) } else { Ok(link) }
    }

    /// What a token says, and which key signed it.
    fn open<T: DeserializeOwned>(&self, purpose: &str, token: &str) -> Result<(T, u32), LinkFault> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(LinkFault::Forged);
        }
        let (payload, tag) = token.split_once('.').ok_or(LinkFault::Forged)?;
        let tag = from_base64_url(tag).ok_or(LinkFault::Forged)?;
        let signed = format!("{purpose}{payload}");
        let is_by = |key: &Secret| {
            !key.is_empty()
                && equal(hmac_sha256(key.expose().as_bytes(), signed.as_bytes()).as_ref(), &tag)
        };
        let (number, _) = self.keys.iter().find(|(_, key)| is_by(key)).ok_or(LinkFault::Forged)?;
        let payload = from_base64_url(payload).ok_or(LinkFault::Forged)?;
        let link = serde_json::from_slice(&payload).map_err(|_| LinkFault::Forged)?;
        Ok((link, *number))
    }
}

fn written(purpose: &str, key: &Secret, link: &impl Serialize) -> Option<String> {
    let payload = base64_url(serde_json::to_vec(link).ok()?);
    let tag = hmac_sha256(key.expose().as_bytes(), format!("{purpose}{payload}").as_bytes());
    Some(format!("{payload}.{}", base64_url(tag)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn keys() -> LinkKeys {
        LinkKeys { keys: vec![(0, "k".repeat(32).as_str().into())] }
    }

    fn link() -> MuteLink {
        MuteLink {
            counter: "host-1|cpu.idle|".to_owned(),
            seconds: 3600,
            thread: "s_23_ab".to_owned(),
            expires: 1_700_003_600,
            id: "01HZX".to_owned(),
            key: 0,
            scope: "ec".to_owned(),
            user: "alice".to_owned(),
            version: 1,
        }
    }

    #[test]
    fn a_token_is_written_as_computed_elsewhere() {
        let token = keys().sign(link()).unwrap();
        assert!(token.ends_with(".qm9F2plxHI_HKu6NDW38xnDevYezO6TidCkbZxwepeA"), "{token}");
        assert_eq!(token.len(), 186);
        assert_eq!(keys().read(&token, NOW), Ok(link()));
    }

    #[test]
    fn a_token_ends() {
        let token = keys().sign(link()).unwrap();
        assert!(keys().read(&token, Timestamp(1_700_003_599_999)).is_ok());
        assert_eq!(keys().read(&token, Timestamp(1_700_003_600_000)), Err(LinkFault::Expired));
    }

    #[test]
    fn a_new_key_signs_and_the_old_one_still_reads() {
        let old = keys().sign(link()).unwrap();
        let mut both = keys();
        both.keys.insert(0, (7, "n".repeat(32).as_str().into()));
        assert!(both.read(&old, NOW).is_ok());
        let new = both.sign(link()).unwrap();
        assert_eq!(both.read(&new, NOW).map(|link| link.key), Ok(7));
        assert_eq!(keys().read(&new, NOW), Err(LinkFault::Forged));
    }

    #[test]
    fn without_a_key_nothing_is_signed_and_nothing_is_read() {
        let none = LinkKeys::default();
        assert_eq!(none.sign(link()), None);
        let empty = LinkKeys { keys: vec![(0, Secret::default())] };
        let forged = empty.sign(link()).unwrap();
        assert_eq!(empty.read(&forged, NOW), Err(LinkFault::Forged), "an empty key is no key");
        assert_eq!(none.read(&forged, NOW), Err(LinkFault::Forged));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let token = keys().sign(link()).unwrap().into_bytes();
        for position in 0..token.len() {
            for bit in 0..7 {
                let mut flipped = token.clone();
                flipped[position] ^= 1 << bit;
                let text = String::from_utf8(flipped).unwrap();
                assert_eq!(keys().read(&text, NOW), Err(LinkFault::Forged), "{position} {bit}");
            }
        }
    }

    fn claim() -> ClaimLink {
        ClaimLink {
            expires: 1_700_003_600,
            handle: "AbCdEfGhIjKl".to_owned(),
            id: "01HZX".to_owned(),
            key: 0,
            user: "alice".to_owned(),
            version: 1,
        }
    }

    #[test]
    fn a_link_is_good_for_what_it_is_for_and_until_its_end() {
        let token = keys().sign_claim(claim()).unwrap();
        assert_eq!(keys().read_claim(&token, NOW), Ok(claim()));
        let end = Timestamp(1_700_003_600_000);
        assert_eq!(keys().read_claim(&token, end), Err(LinkFault::Expired));
        assert_eq!(keys().read(&token, NOW), Err(LinkFault::Forged), "it does not mute");
        let mute = keys().sign(link()).unwrap();
        assert_eq!(keys().read_claim(&mute, NOW), Err(LinkFault::Forged));
        assert_eq!(LinkKeys::default().sign_claim(claim()), None);
        assert_eq!(LinkKeys::default().read_claim(&token, NOW), Err(LinkFault::Forged));
        let mut flipped = token.into_bytes();
        for position in 0..flipped.len() {
            flipped[position] ^= 1;
            let text = String::from_utf8(flipped.clone()).unwrap();
            assert_eq!(keys().read_claim(&text, NOW), Err(LinkFault::Forged), "{position}");
            flipped[position] ^= 1;
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_in_is_refused(token in "[A-Za-z0-9_.-]{0,300}") {
            prop_assert_eq!(keys().read(&token, NOW), Err(LinkFault::Forged));
        }
    }
}
