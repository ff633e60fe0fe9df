//! Who may change something: programs on this machine, and who has a token.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Context as _;
use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};

/// Headers that a proxy adds: the request is not from this machine then, whatever its socket says.
const PROXY_HEADERS: [&str; 5] =
    ["x-forwarded-for", "x-forwarded-host", "forwarded", "x-real-ip", "via"];

/// Who makes a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The name of the token, or `local` for a program on this machine.
    pub actor: String,
    /// The address of the socket's other end.
    pub peer: IpAddr,
}

/// The tokens. `Debug` shows none.
pub struct Door {
    /// The setting that names the file of tokens, for messages.
    setting: &'static str,
    tokens: RwLock<Arc<Vec<Token>>>,
}

/// A token as its digest: comparing digests tells nothing of how much of a guess was right.
struct Token {
    name: String,
    digest: [u8; 32],
}

impl Door {
    /// A door for the tokens of a file; an empty path lets in this machine only. `setting` is the key that names
    /// the file, as `hbs.token_file`.
    pub fn open(setting: &'static str, file: &Path) -> anyhow::Result<Self> {
        Ok(Self { setting, tokens: RwLock::new(Arc::new(read(file)?)) })
    }

    /// Reads the file again; the tokens stay as they were when that fails.
    pub fn reload(&self, file: &Path) -> anyhow::Result<()> {
        let tokens = Arc::new(read(file)?);
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = tokens;
        Ok(())
    }

    /// Who asks for a change, or why it is refused.
    pub fn admit(&self, peer: SocketAddr, headers: &HeaderMap) -> Result<Caller, String> {
        if let Some(token) = bearer(headers) {
            return self.admit_token(peer, token);
        }
        let peer = peer.ip().to_canonical();
        foreign(peer, headers).map_or_else(
            || Ok(Caller { actor: "local".to_owned(), peer }),
            |why| {
                Err(format!(
                    "{why}: make changes on the machine itself, or with a token of {} as \
                     `Authorization: Bearer TOKEN`",
                    self.setting
                ))
            },
        )
    }

    /// Who has this token, or why it is refused.
    pub fn admit_token(&self, peer: SocketAddr, token: &str) -> Result<Caller, String> {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let known =
            self.tokens().iter().find(|known| known.digest == digest).map(|t| t.name.clone());
        match known {
            Some(actor) => Ok(Caller { actor, peer: peer.ip().to_canonical() }),
            None => Err(format!("the token is not in {}", self.setting)),
        }
    }

    /// Whether there is any token.
    pub fn has_tokens(&self) -> bool {
        !self.tokens().is_empty()
    }

    /// Whether a token is one of this name.
    pub fn is_token_of(&self, name: &str, token: &str) -> bool {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        self.tokens().iter().any(|known| known.name == name && known.digest == digest)
    }

    /// What can be made of a text only with a token of this name, by each of its tokens: proves to every process with
    /// the same file that the text was written by one of them.
    pub fn seals(&self, name: &str, text: &str) -> impl Iterator<Item = [u8; 32]> + use<> {
        let tokens = self.tokens();
        let digests: Vec<[u8; 32]> =
            tokens.iter().filter(|known| known.name == name).map(|known| known.digest).collect();
        let text = text.to_owned();
        digests.into_iter().map(move |digest| {
            // Hashed twice, so that nothing can be added behind the text by who knows a seal.
            let inner = Sha256::new().chain_update(digest).chain_update(text.as_bytes()).finalize();
            Sha256::new().chain_update(digest).chain_update(inner).finalize().into()
        })
    }

    fn tokens(&self) -> Arc<Vec<Token>> {
        self.tokens.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Why a request is not one of a program on this machine.
pub fn foreign(peer: IpAddr, headers: &HeaderMap) -> Option<&'static str> {
    if !peer.to_canonical().is_loopback() {
        return Some("the request comes from another machine");
    }
    if PROXY_HEADERS.iter().any(|name| headers.contains_key(*name)) {
        return Some("the request comes through a proxy");
    }
    // A page in a browser on this machine may ask too: of another origin, or under a name that its
    // owner points here.
    let is_local = |header: &header::HeaderName| {
        let value = headers.get(header)?.to_str().unwrap_or("?");
        Some(is_local_host(value.rsplit_once("//").map_or(value, |(_, host)| host)))
    };
    if is_local(&header::HOST) == Some(false) {
        return Some("the request is for a host name that is not this machine's own");
    }
    let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
    let is_cross = site.is_some_and(|site| site != b"same-origin" && site != b"none");
    if is_local(&header::ORIGIN) == Some(false) || is_cross {
        return Some("the request comes from a page of another site");
    }
    None
}

fn is_local_host(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = host.parse::<IpAddr>() {
        return address.is_loopback();
    }
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    name.eq_ignore_ascii_case("localhost")
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn read(file: &Path) -> anyhow::Result<Vec<Token>> {
    if file.as_os_str().is_empty() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("read the tokens in {}", file.display()))?;
    parse(&text).with_context(|| format!("read the tokens in {}", file.display()))
}

// Lines of a name and a token; the token itself never appears in an error.
fn parse(text: &str) -> anyhow::Result<Vec<Token>> {
    const TOKEN_BYTES_MIN: usize = 16;
    let mut tokens = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let mut words = line.split_whitespace();
        let name = match words.next() {
            Some(name) if !name.starts_with('#') => name,
            _ => continue,
        };
        let (Some(token), None) = (words.next(), words.next()) else {
            anyhow::bail!("line {number} must be a name and a token with a space between");
        };
        anyhow::ensure!(
            token.len() >= TOKEN_BYTES_MIN && name.len() <= 190,
            "line {number}: a token has at least {TOKEN_BYTES_MIN} letters, a name at most 190"
        );
        tokens
            .push(Token { name: name.to_owned(), digest: Sha256::digest(token.as_bytes()).into() });
    }
    Ok(tokens)
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("tokens", &self.tokens().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (header::HeaderName::from_static(name), value.parse().expect("a header's value"))
            })
            .collect()
    }

    fn admit(peer: &str, pairs: &[(&'static str, &str)]) -> Result<String, String> {
        let tokens = parse("# people\nann 0123456789abcdef\n").expect("a name and a token");
        let door = Door { setting: "test.token_file", tokens: RwLock::new(Arc::new(tokens)) };
        let peer = SocketAddr::new(peer.parse().expect("an address"), 5);
        door.admit(peer, &headers(pairs)).map(|caller| caller.actor)
    }

    #[test]
    fn programs_on_this_machine_may_make_changes() {
        for peer in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(admit(peer, &[]).as_deref(), Ok("local"), "{peer}");
        }
        for host in ["127.0.0.1:6031", "localhost:6031", "[::1]:6031", "LOCALHOST"] {
            assert_eq!(admit("127.0.0.1", &[("host", host)]).as_deref(), Ok("local"), "{host}");
        }
        let page = [("origin", "http://localhost:6031"), ("sec-fetch-site", "same-origin")];
        assert!(admit("::1", &page).is_ok());
    }

    #[test]
    fn others_may_not_and_neither_may_proxies_and_pages() {
        assert!(admit("192.0.2.1", &[]).is_err());
        for forged in [
            ("x-forwarded-for", "127.0.0.1"),
            ("forwarded", "for=127.0.0.1"),
            ("x-real-ip", "127.0.0.1"),
            ("via", "1.1 proxy"),
            ("host", "evil.example"),
            ("host", "localhost.evil.example"),
            ("origin", "http://evil.example"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
        ] {
            assert!(admit("127.0.0.1", &[forged]).is_err(), "{forged:?}");
        }
    }

    #[test]
    fn a_token_opens_from_anywhere_and_a_wrong_one_from_nowhere() {
        let right = [("authorization", "Bearer 0123456789abcdef")];
        assert_eq!(admit("192.0.2.1", &right).as_deref(), Ok("ann"));
        let wrong = [("authorization", "Bearer 0123456789abcdeX")];
        assert!(admit("127.0.0.1", &wrong).is_err());
    }

    #[test]
    fn a_seal_is_of_its_name_token_and_text() {
        let door = |text: &str| {
            let tokens = parse(text).expect("names and tokens");
            Door { setting: "test.token_file", tokens: RwLock::new(Arc::new(tokens)) }
        };
        let one = door("ann 0123456789abcdef\nann fedcba9876543210\nbob 0123456789abcdef\n");
        let same = door("ann fedcba9876543210\n");
        let seals =
            |door: &Door, name: &str, text: &str| door.seals(name, text).collect::<Vec<_>>();
        assert_eq!(seals(&one, "ann", "x").len(), 2);
        assert_eq!(seals(&one, "ann", "x")[1], seals(&same, "ann", "x")[0]);
        assert_ne!(seals(&same, "ann", "x"), seals(&same, "ann", "y"));
        assert!(seals(&same, "bob", "x").is_empty());
        assert!(
            one.is_token_of("bob", "0123456789abcdef")
                && !one.is_token_of("bob", "fedcba9876543210")
        );
    }

    #[test]
    fn a_faulty_token_file_is_explained_without_its_tokens() {
        for text in ["s3cret-s3cret-s3cret", "ann s3cret", "ann s3cret-s3cret-s3cret more"] {
            let error = format!("{:#}", parse(text).err().expect(text));
            assert!(error.contains("line 1") && !error.contains("s3cret"), "{error}");
        }
    }
}
