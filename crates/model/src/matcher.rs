//! Matchers pick series by their labels.

use std::fmt;

use regex::{Regex, RegexBuilder};
use thiserror::Error;

use crate::Labels;

// A pattern that compiles to more than this is refused: a hostile query must not eat the memory.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOp {
    /// The operator as PromQL writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// Why a matcher cannot be built.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("regular expression {pattern:?} of label {label:?}: {reason}")]
pub struct MatcherError {
    label: String,
    pattern: String,
    reason: String,
}

/// A condition on one label. A label that a series does not have counts as the empty string, as in Prometheus.
#[derive(Debug, Clone)]
pub struct Matcher {
    /// Which label.
    pub name: String,
    /// How to compare.
    pub op: MatchOp,
    /// The text or pattern to compare with.
    pub value: String,
    regex: Option<Regex>,
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

impl std::hash::Hash for Matcher {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (&self.name, self.op, &self.value).hash(state);
    }
}

impl Matcher {
    /// Builds a matcher; patterns are RE2 syntax, anchored at both ends, and `.` matches a line end too.
    pub fn new(name: &str, op: MatchOp, value: &str) -> Result<Self, MatcherError> {
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(compile(name, value)?),
        };
        Ok(Self { name: name.to_owned(), op, value: value.to_owned(), regex })
    }

    /// A matcher for equality, which cannot fail.
    pub fn equal(name: &str, value: &str) -> Self {
        Self { name: name.to_owned(), op: MatchOp::Equal, value: value.to_owned(), regex: None }
    }

    /// Whether a label with this value is picked; pass `""` for a label that is absent.
    pub fn matches(&self, value: &str) -> bool {
        let by_pattern = || self.regex.as_ref().is_some_and(|regex| regex.is_match(value));
        match self.op {
            MatchOp::Equal => self.value == value,
            MatchOp::NotEqual => self.value != value,
            MatchOp::Regex => by_pattern(),
            MatchOp::NotRegex => !by_pattern(),
        }
    }

    /// Whether a series with these labels is picked.
    pub fn matches_labels(&self, labels: &Labels) -> bool {
        self.matches(labels.get(&self.name).unwrap_or(""))
    }

    /// Whether the matcher also picks series that lack the label.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// The values it can match, when they are known from its text alone: the value of `=`, or the alternatives of a
    /// pattern such as `a|b|c`. Lets an index look values up instead of scanning them.
    pub fn exact_values(&self) -> Option<Vec<&str>> {
        let literal = |text: &str| !text.contains(|c: char| "\\.+*?()[]{}^$".contains(c));
        match self.op {
            MatchOp::Equal => Some(vec![self.value.as_str()]),
            MatchOp::Regex if self.value.split('|').all(literal) => Some(self.value.split('|').collect()),
            _ => None,
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{:?}", self.name, self.op.as_str(), self.value)
    }
}

fn compile(label: &str, pattern: &str) -> Result<Regex, MatcherError> {
    RegexBuilder::new(&format!("^(?s:{pattern})$")).size_limit(REGEX_BYTES_MAX).build().map_err(|error| {
        MatcherError { label: label.to_owned(), pattern: pattern.to_owned(), reason: error.to_string() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(op: MatchOp, value: &str) -> Matcher {
        Matcher::new("job", op, value).expect("the pattern is valid")
    }

    #[test]
    fn a_pattern_matches_the_whole_value_and_dots_match_line_ends() {
        let m = matcher(MatchOp::Regex, "a.*b|c");
        assert!(m.matches("a\nb") && m.matches("c"));
        assert!(!m.matches("xab") && !m.matches("cc"));
    }

    #[test]
    fn an_absent_label_counts_as_empty() {
        let labels = Labels::from_pairs([("a", "1")]);
        assert!(matcher(MatchOp::NotEqual, "x").matches_labels(&labels));
        assert!(matcher(MatchOp::Regex, ".*").matches_labels(&labels));
        assert!(!matcher(MatchOp::Regex, ".+").matches_labels(&labels));
    }

    #[test]
    fn exact_values_are_known_for_equality_and_plain_alternatives() {
        assert_eq!(matcher(MatchOp::Regex, "a|b|").exact_values(), Some(vec!["a", "b", ""]));
        assert_eq!(matcher(MatchOp::Equal, "a|b").exact_values(), Some(vec!["a|b"]));
        assert_eq!(matcher(MatchOp::Regex, "a.b").exact_values(), None);
        assert_eq!(matcher(MatchOp::NotEqual, "a").exact_values(), None);
    }

    #[test]
    fn a_bad_pattern_names_label_and_pattern() {
        let error = Matcher::new("job", MatchOp::Regex, "(").expect_err("the group is not closed");
        assert!(error.to_string().starts_with("regular expression \"(\" of label \"job\": "), "{error}");
        assert!(Matcher::new("job", MatchOp::Regex, "((a{100}){100}){100}").is_err());
    }
}
