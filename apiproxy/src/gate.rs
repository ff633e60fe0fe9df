//! Who may ask, and who may change something: users are the names in `apiproxy.token_file`.
//!
//! Open-Falcon's clients log in with name and password, here the token, and show what they get in the header
//! `Apitoken: {"name":"ops","sig":"..."}`. A signature says until when it holds and is made from the token, so that every
//! apiproxy with the same file knows it, and it ends with the token.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, header};
use daemon::{Caller, Door};
use model::Timestamp;
use serde::Deserialize;

/// How long a login holds.
const LOGIN_KEPT: Duration = Duration::from_secs(24 * 3600);
/// Logins that were ended before their time and are remembered; beyond it the one that ends first is forgotten.
const ENDED_MAX: usize = 10_000;
const APITOKEN: &str = "apitoken";
/// Letters of a signature: a moment, some chance, and what only the token makes of them.
const SIGNATURE_LETTERS: usize = 32;
const HEAD_LETTERS: usize = 12;

/// Lets in who may.
#[derive(Debug)]
pub(crate) struct Gate {
    door: Door,
    /// Whether who asks without a name is let in.
    is_open: bool,
    chance: RandomState,
    /// Signatures that were ended, by the moment at which they end by themselves.
    ended: Mutex<BTreeMap<(u32, String), ()>>,
}

/// The header's text.
#[derive(Debug, Deserialize)]
struct Shown {
    name: String,
    sig: String,
}

impl Gate {
    /// `is_token_required`: whether reading takes a token, too, unless it is from this machine.
    pub(crate) fn new(door: Door, is_token_required: bool) -> Self {
        let (chance, ended) = (RandomState::new(), Mutex::default());
        Self { door, is_open: !is_token_required, chance, ended }
    }

    /// The tokens, to be read again.
    pub(crate) fn door(&self) -> &Door {
        &self.door
    }

    /// Who asks for a change, or why it is refused.
    pub(crate) fn admit_change(
        &self,
        peer: SocketAddr,
        headers: &HeaderMap,
    ) -> Result<Caller, String> {
        self.door.admit(peer, headers)
    }

    /// Whether a question is answered, or why not. Who shows a name and a wrong signature is refused, too, where
    /// there are users.
    pub(crate) fn admit_question(
        &self,
        peer: SocketAddr,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<(), String> {
        if headers.contains_key(APITOKEN) && self.door.has_tokens() {
            return self.session(headers, now).map(|_| ());
        }
        if self.is_open {
            return Ok(());
        }
        if headers.contains_key(header::AUTHORIZATION)
            || daemon::foreign(peer.ip(), headers).is_none()
        {
            return self.door.admit(peer, headers).map(|_| ());
        }
        Err("apiproxy.token_required: show a token of apiproxy.token_file as `Authorization: Bearer TOKEN`, or \
             Open-Falcon's Apitoken"
            .to_owned())
    }

    /// A signature for who knows the token of a name.
    pub(crate) fn log_in(&self, name: &str, token: &str, now: Timestamp) -> Option<String> {
        if !self.door.is_token_of(name, token) {
            return None;
        }
        let until = minutes(now.plus(LOGIN_KEPT));
        let mut chance = self.chance.build_hasher();
        chance.write_i64(now.millis());
        chance.write(name.as_bytes());
        let head = format!("{until:08x}{:04x}", chance.finish() & 0xffff);
        let tail = self.door.seals(name, &text_of(name, &head)).next()?;
        Some(sealed(&head, &tail))
    }

    /// Ends the login whose signature is shown, at this apiproxy.
    pub(crate) fn log_out(&self, headers: &HeaderMap, now: Timestamp) -> Result<(), String> {
        let Shown { sig, .. } = self.session(headers, now)?;
        let until = u32::from_str_radix(sig.get(..8).unwrap_or(""), 16).unwrap_or(0);
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let over = (minutes(now), String::new());
        *ended = ended.split_off(&over);
        ended.insert((until, sig), ());
        if ended.len() > ENDED_MAX {
            ended.pop_first();
        }
        Ok(())
    }

    /// Whether the header shows a login that holds.
    pub(crate) fn check_session(&self, headers: &HeaderMap, now: Timestamp) -> Result<(), String> {
        self.session(headers, now).map(|_| ())
    }

    fn session(&self, headers: &HeaderMap, now: Timestamp) -> Result<Shown, String> {
        let text = headers.get(APITOKEN).ok_or("the header Apitoken is missing: log in first")?;
        let shown: Option<Shown> = serde_json::from_slice(text.as_bytes()).ok();
        let shown =
            shown.ok_or(r#"the header Apitoken must be like {"name":"ops","sig":"..."}"#)?;
        // A token itself is as good as what a login makes of it: scripts hold one and never log in.
        if self.door.is_token_of(&shown.name, &shown.sig) || self.holds(&shown, now) {
            return Ok(shown);
        }
        Err(format!("the Apitoken of {:?} is wrong or over: log in again", shown.name))
    }

    fn holds(&self, Shown { name, sig }: &Shown, now: Timestamp) -> bool {
        let Some(head) = sig.get(..HEAD_LETTERS).filter(|_| sig.len() == SIGNATURE_LETTERS) else {
            return false;
        };
        let until = u32::from_str_radix(&head[..8], 16).unwrap_or(0);
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let is_ended = ended.contains_key(&(until, sig.clone()));
        drop(ended);
        let mut seals = self.door.seals(name, &text_of(name, head));
        until > minutes(now) && !is_ended && seals.any(|tail| is_same(&sealed(head, &tail), sig))
    }
}

/// As long for a wrong text as for the right one.
fn is_same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

fn text_of(name: &str, head: &str) -> String {
    format!("apitoken/{head}/{name}")
}

fn sealed(head: &str, tail: &[u8]) -> String {
    let bytes = (SIGNATURE_LETTERS - HEAD_LETTERS) / 2;
    let tail = tail.iter().take(bytes).map(|byte| format!("{byte:02x}"));
    head.chars().map(String::from).chain(tail).collect()
}

fn minutes(moment: Timestamp) -> u32 {
    u32::try_from(moment.seconds() / 60).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_760_000_460);
    const TOKEN: &str = "0123456789abcdef";

    fn gate(is_token_required: bool) -> Gate {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("tokens");
        std::fs::write(&file, format!("ops {TOKEN}\nann fedcba9876543210\n")).expect("written");
        let door = Door::open("apiproxy.token_file", &file).expect("names and tokens");
        Gate::new(door, is_token_required)
    }

    fn apitoken(name: &str, sig: &str) -> HeaderMap {
        let text = serde_json::json!({ "name": name, "sig": sig }).to_string();
        HeaderMap::from_iter([(
            header::HeaderName::from_static(APITOKEN),
            text.parse().expect("a header"),
        )])
    }

    fn asks(gate: &Gate, peer: &str, headers: &HeaderMap, now: Timestamp) -> Result<(), String> {
        gate.admit_question(SocketAddr::new(peer.parse().expect("an address"), 5), headers, now)
    }

    #[test]
    fn a_login_holds_for_a_day_for_its_name_and_at_every_apiproxy_with_the_file() {
        let sig = gate(true).log_in("ops", TOKEN, NOW).expect("the token is right");
        assert!(sig.len() == 32 && sig.bytes().all(|c| c.is_ascii_hexdigit()), "{sig}");
        let other = gate(true);
        let ask = |name: &str, now| asks(&other, "192.0.2.1", &apitoken(name, &sig), now);
        assert_eq!(ask("ops", NOW), Ok(()));
        assert_eq!(ask("ops", NOW.plus(LOGIN_KEPT - Duration::from_secs(61))), Ok(()));
        assert!(ask("ops", NOW.plus(LOGIN_KEPT)).is_err(), "it is over");
        assert!(ask("ann", NOW).is_err(), "it is another's");
        assert_eq!(gate(true).log_in("ops", "fedcba9876543210", NOW), None);
        assert_eq!(gate(true).log_in("nobody", TOKEN, NOW), None);
    }

    #[test]
    fn a_token_is_as_good_as_a_login_and_a_wrong_one_is_refused_also_where_all_may_ask() {
        for gate in [gate(true), gate(false)] {
            assert_eq!(asks(&gate, "192.0.2.1", &apitoken("ops", TOKEN), NOW), Ok(()));
            let why = asks(&gate, "127.0.0.1", &apitoken("ops", "0"), NOW).expect_err("wrong");
            assert!(why.contains("log in again"), "{why}");
        }
        let nameless = HeaderMap::new();
        assert_eq!(asks(&gate(false), "192.0.2.1", &nameless, NOW), Ok(()));
        assert!(asks(&gate(true), "192.0.2.1", &nameless, NOW).is_err());
        assert_eq!(asks(&gate(true), "127.0.0.1", &nameless, NOW), Ok(()), "this machine may");
        let bearer = |token: &str| {
            HeaderMap::from_iter([(
                header::AUTHORIZATION,
                format!("Bearer {token}").parse().expect("a header"),
            )])
        };
        assert_eq!(asks(&gate(true), "192.0.2.1", &bearer(TOKEN), NOW), Ok(()));
        assert!(asks(&gate(true), "192.0.2.1", &bearer("0000000000000000"), NOW).is_err());
    }

    #[test]
    fn where_there_are_no_users_an_apitoken_is_not_looked_at() {
        let door = Door::open("apiproxy.token_file", std::path::Path::new("")).expect("no file");
        assert_eq!(asks(&Gate::new(door, false), "192.0.2.1", &apitoken("ops", "0"), NOW), Ok(()));
    }

    #[test]
    fn who_logs_out_must_log_in_again() {
        let gate = gate(true);
        let (one, other) =
            (gate.log_in("ops", TOKEN, NOW), gate.log_in("ops", TOKEN, Timestamp(NOW.0 + 1)));
        let (one, other) = (one.expect("right"), other.expect("right"));
        assert_eq!(gate.log_out(&apitoken("ops", &one), NOW), Ok(()));
        assert!(gate.check_session(&apitoken("ops", &one), NOW).is_err());
        assert_eq!(gate.check_session(&apitoken("ops", &other), NOW), Ok(()));
        assert!(gate.log_out(&HeaderMap::new(), NOW).is_err());
    }

    proptest! {
        #[test]
        fn no_header_opens_by_itself(text in "[{}\":,a-fnmsigope0-9é]{0,60}", sig in "[0-9a-f]{32}") {
            let gate = gate(true);
            if let Ok(value) = header::HeaderValue::from_bytes(text.as_bytes()) {
                let headers = HeaderMap::from_iter([(header::HeaderName::from_static(APITOKEN), value)]);
                prop_assert!(gate.check_session(&headers, NOW).is_err());
            }
            prop_assert!(gate.check_session(&apitoken("ops", &sig), NOW).is_err());
        }
    }
}
