//! Clients by the bearer token they show: who it is, and how much it may send.

use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, bail};
use axum::http::{HeaderMap, StatusCode, header};
use model::Timestamp;

use crate::config::Config;
use crate::metrics::RequestFault;
use crate::quota::{Exceeded, Quota, QuotaLimits};
use crate::reason::Reason;
use crate::receive::Rejection;

/// A longer file is no token.
const TOKEN_BYTES_MAX: u64 = 16 << 10;

/// The place of a token in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenId(usize);

/// All tokens.
#[derive(Debug)]
pub(crate) struct Tokens {
    is_required: bool,
    tokens: Vec<Token>,
}

struct Token {
    name: String,
    secret: String,
    limits: QuotaLimits,
    quota: Mutex<Quota>,
}

impl Tokens {
    /// Reads the files that the configuration names.
    pub(crate) fn load(config: &Config, now: Timestamp) -> anyhow::Result<Self> {
        let mut tokens: Vec<Token> = Vec::new();
        for one in &config.tokens {
            let secret = read_token_file(&one.token_file, TOKEN_BYTES_MAX)
                .with_context(|| format!("read token_file of token {}", one.name))?;
            if let Some(other) = tokens.iter().find(|other| other.secret == secret) {
                bail!("tokens {} and {} are the same", other.name, one.name);
            }
            let limits = QuotaLimits {
                samples_per_second_max: one.samples_per_second_max,
                series_max: one.series_max,
            };
            let quota = Mutex::new(Quota::new(limits, now));
            tokens.push(Token { name: one.name.clone(), secret, limits, quota });
        }
        Ok(Self { is_required: config.token_required, tokens })
    }

    /// Whose request it is; a token that is not known is refused, and so is none where one is
    /// required. Without configured tokens nobody looks.
    pub(crate) fn identify(&self, headers: &HeaderMap) -> Result<Option<TokenId>, Rejection> {
        if self.tokens.is_empty() {
            return Ok(None);
        }
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let shown = shown.and_then(|text| {
            let (scheme, token) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let text = match shown {
            None if !self.is_required => return Ok(None),
            None => "a bearer token is required (transfer.token_required)",
            Some(token) => {
                let known = self.tokens.iter().position(|one| is_same(&one.secret, token));
                match known {
                    Some(at) => return Ok(Some(TokenId(at))),
                    None => "the bearer token is none of transfer.tokens",
                }
            }
        };
        let fault = RequestFault::Token;
        Err(Rejection { status: StatusCode::UNAUTHORIZED, text: text.to_owned(), fault })
    }

    /// The names of all tokens.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tokens.iter().map(|token| token.name.as_str())
    }

    /// The name of a token.
    pub(crate) fn name(&self, id: TokenId) -> &str {
        self.tokens.get(id.0).map_or("", |token| &token.name)
    }

    /// Whether anything is limited for a token.
    pub(crate) fn is_limited(&self, id: TokenId) -> bool {
        self.tokens.get(id.0).is_some_and(|token| token.limits.is_limited())
    }

    /// Takes samples of a series, by its hash, or says what forbids it.
    pub(crate) fn admit(
        &self,
        id: TokenId,
        series: impl FnOnce() -> u64,
        samples: usize,
        now: Timestamp,
    ) -> Result<(), Reason> {
        let Some(token) = self.tokens.get(id.0) else { return Ok(()) };
        let mut quota = token.quota.lock().unwrap_or_else(PoisonError::into_inner);
        quota.admit(series, samples, token.limits, now).map_err(|exceeded| match exceeded {
            Exceeded::Rate => Reason::TokenRate,
            Exceeded::Series => Reason::TokenSeries,
        })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Takes as long wherever the first difference is.
fn is_same(secret: &str, shown: &str) -> bool {
    let differences = secret.bytes().zip(shown.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
    secret.len() == shown.len() && differences == 0
}

/// The first line of a file with a secret.
pub(crate) fn read_token_file(file: &Path, bytes_max: u64) -> anyhow::Result<String> {
    let at = || format!("read {}", file.display());
    if std::fs::metadata(file).with_context(at)?.len() > bytes_max {
        bail!("{} is longer than a token", file.display());
    }
    let text = std::fs::read_to_string(file).with_context(at)?;
    match text.lines().next().map(str::trim).filter(|token| !token.is_empty()) {
        Some(token) => Ok(token.to_owned()),
        None => bail!("{} is empty", file.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TokenConfig;

    const NOW: Timestamp = Timestamp::from_seconds(1_760_000_460);

    fn load(secrets: &[&str], is_required: bool) -> anyhow::Result<Tokens> {
        let dir = tempfile::tempdir()?;
        let token = |(at, secret): (usize, &&str)| {
            let token_file = dir.path().join(at.to_string());
            std::fs::write(&token_file, secret)?;
            let name = format!("t{at}");
            Ok(TokenConfig { name, token_file, samples_per_second_max: 1, series_max: 2 })
        };
        let tokens = secrets.iter().enumerate().map(token).collect::<anyhow::Result<_>>()?;
        Tokens::load(&Config { tokens, token_required: is_required, ..Config::default() }, NOW)
    }

    fn name_for(tokens: &Tokens, authorization: &'static str) -> Result<Option<String>, u16> {
        let mut headers = HeaderMap::new();
        if !authorization.is_empty() {
            headers.insert(header::AUTHORIZATION, header::HeaderValue::from_static(authorization));
        }
        let found = tokens.identify(&headers).map_err(|rejection| rejection.status.as_u16())?;
        Ok(found.map(|id| tokens.name(id).to_owned()))
    }

    #[test]
    fn a_client_is_known_by_its_token() {
        let tokens = load(&["first\n", "  second  \nmore"], false).unwrap();
        assert_eq!(name_for(&tokens, "Bearer first"), Ok(Some("t0".to_owned())));
        assert_eq!(name_for(&tokens, "bearer second"), Ok(Some("t1".to_owned())));
        assert_eq!(name_for(&tokens, "Bearer secon"), Err(401));
        assert_eq!(name_for(&tokens, ""), Ok(None));
        assert_eq!(name_for(&load(&["first"], true).unwrap(), "Basic Zmlyc3Q="), Err(401));
        assert_eq!(name_for(&load(&[], false).unwrap(), "Bearer anything"), Ok(None));
        assert!(!format!("{tokens:?}").contains("first"), "secrets are not shown");
    }

    #[test]
    fn files_that_are_no_tokens_are_named() {
        assert!(load(&["\n"], false).unwrap_err().to_string().contains("token t0"));
        let error = load(&["same", "same"], false).unwrap_err();
        assert_eq!(error.to_string(), "tokens t0 and t1 are the same");
    }

    #[test]
    fn the_limits_are_those_of_all_endpoints_together() {
        let tokens = load(&["x"], false).unwrap();
        let admit = |series, samples| tokens.admit(TokenId(0), || series, samples, NOW);
        assert_eq!([admit(1, 20), admit(2, 20)], [Ok(()), Ok(())]);
        assert_eq!(admit(3, 1), Err(Reason::TokenSeries));
        assert_eq!(admit(2, 21), Err(Reason::TokenRate));
    }
}
