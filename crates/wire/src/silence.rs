//! Silences as the Alertmanager API v2 writes them.

use model::{MatchOp, Matcher, MatcherError, Timestamp};
use serde::{Deserialize, Serialize};

use crate::alert::instant;

/// Where silences are listed and posted.
pub const PATH: &str = "/api/v2/silences";

/// A matcher of a silence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SilenceMatcher {
    /// The label.
    pub name: String,
    /// The value or the pattern.
    pub value: String,
    /// Whether `value` is a pattern.
    #[serde(default)]
    pub is_regex: bool,
    /// Whether the label shall match; older clients leave it out and mean yes.
    #[serde(default = "yes")]
    pub is_equal: bool,
}

const fn yes() -> bool {
    true
}

impl SilenceMatcher {
    /// What it means. Fails on a pattern that does not compile.
    pub fn read(&self) -> Result<Matcher, MatcherError> {
        let op = match (self.is_regex, self.is_equal) {
            (false, true) => MatchOp::Equal,
            (false, false) => MatchOp::NotEqual,
            (true, true) => MatchOp::Regex,
            (true, false) => MatchOp::NotRegex,
        };
        Matcher::new(&self.name, op, &self.value)
    }
}

/// A silence as it is posted. With the id of a known one it changes that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostableSilence {
    /// The silence to change; empty or missing for a new one.
    #[serde(default)]
    pub id: Option<String>,
    /// All of these must match.
    pub matchers: Vec<SilenceMatcher>,
    /// From when it holds.
    #[serde(with = "instant")]
    pub starts_at: Timestamp,
    /// Until when it holds, that moment included.
    #[serde(with = "instant")]
    pub ends_at: Timestamp,
    /// Who wants it.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// Saker's own: how long after the last alert it held for was resolved it ends by itself, as `10m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_with_alert: Option<String>,
}

/// A silence as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GettableSilence {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub status: SilenceStatus,
    /// Its latest change.
    #[serde(with = "instant")]
    pub updated_at: Timestamp,
    /// All of these must match.
    pub matchers: Vec<SilenceMatcher>,
    /// From when it holds.
    #[serde(with = "instant")]
    pub starts_at: Timestamp,
    /// Until when it holds.
    #[serde(with = "instant")]
    pub ends_at: Timestamp,
    /// Who wants it.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// As in [`PostableSilence`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_with_alert: Option<String>,
}

/// Where a silence stands, in its own object as the API has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilenceStatus {
    /// The state.
    pub state: SilenceState,
}

/// Where a silence stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SilenceState {
    /// It holds.
    Active,
    /// It will.
    Pending,
    /// It did.
    Expired,
}

/// The answer to a post.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostedSilence {
    /// The id of the silence that holds now: another one than was posted if that could not be changed.
    #[serde(rename = "silenceID")]
    pub silence_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSTED: &str = concat!(
        r#"{"matchers":[{"name":"alertname","value":"Disk.*","isRegex":true}],"#,
        r#""startsAt":"2026-01-02T03:04:05.000Z","endsAt":"2026-01-02T04:04:05.000Z","#,
        r#""createdBy":"ann","comment":"disk is changed"}"#
    );

    #[test]
    fn a_matcher_of_an_old_client_means_equal() {
        let silence: PostableSilence = serde_json::from_str(POSTED).expect("it is a silence");
        let matcher = silence.matchers[0].read().expect("the pattern is fine");
        assert!(matcher.matches("DiskFull") && !matcher.matches("LoadHigh"));
        assert_eq!((silence.id, silence.ends_at.since(silence.starts_at).as_secs()), (None, 3600));
    }

    #[test]
    fn all_four_operators_are_told_apart() {
        let matcher = |is_regex, is_equal| {
            let (name, value) = ("a".to_owned(), "b|c".to_owned());
            SilenceMatcher { name, value, is_regex, is_equal }.read().expect("the pattern is fine")
        };
        assert!(matcher(false, true).matches("b|c") && !matcher(false, true).matches("b"));
        assert!(matcher(false, false).matches("b") && !matcher(false, false).matches("b|c"));
        assert!(matcher(true, true).matches("b") && !matcher(true, true).matches("d"));
        assert!(matcher(true, false).matches("d") && !matcher(true, false).matches("c"));
    }

    #[test]
    fn the_listed_form_has_the_names_of_the_api() {
        let posted: PostableSilence = serde_json::from_str(POSTED).expect("it is a silence");
        let listed = GettableSilence {
            id: "i".into(),
            status: SilenceStatus { state: SilenceState::Active },
            updated_at: posted.starts_at,
            matchers: posted.matchers,
            starts_at: posted.starts_at,
            ends_at: posted.ends_at,
            created_by: posted.created_by,
            comment: posted.comment,
            ends_with_alert: None,
        };
        let json = serde_json::to_value(&listed).expect("it is plain");
        assert_eq!(json["status"]["state"], "active");
        assert_eq!(json["matchers"][0]["isEqual"], true);
        assert_eq!(json["updatedAt"], "2026-01-02T03:04:05.000Z");
        let id = serde_json::to_string(&PostedSilence { silence_id: "x".into() });
        assert_eq!(id.expect("it is plain"), r#"{"silenceID":"x"}"#);
    }
}
