//! Matchers pick series by their labels.

use std::collections::HashMap;
use std::fmt;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use regex::Regex;
use thiserror::Error;

use crate::Labels;
use crate::pattern::{PATTERN_BYTES_MAX, PatternError, PatternScope, compile_within};

// What is kept for the next query must stay small, whatever is asked: twice so many patterns of at most so many bytes,
// each compiled to at most so much.
const KEPT_MAX: usize = 64;
const KEPT_PATTERN_BYTES_MAX: usize = 1 << 10;
const KEPT_REGEX_BYTES_MAX: usize = 1 << 16;

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
    reason: PatternError,
}

impl MatcherError {
    /// What is wrong with the pattern, without saying which it is.
    pub const fn reason(&self) -> &PatternError {
        &self.reason
    }
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
    pattern: Option<Pattern>,
}

/// A pattern, made ready to be tried.
#[derive(Debug, Clone)]
enum Pattern {
    /// `.*`
    Anything,
    /// A plain text and `.*` after it.
    Start,
    /// Anything else.
    Regex(Regex),
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
    /// Builds a matcher; patterns are those of Go, anchored at both ends, and `.`
    /// matches a line end too.
    pub fn new(name: &str, op: MatchOp, value: &str) -> Result<Self, MatcherError> {
        let pattern = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(prepare(name, value)?),
        };
        Ok(Self { name: name.to_owned(), op, value: value.to_owned(), pattern })
    }

    /// A matcher for equality, which cannot fail.
    pub fn equal(name: &str, value: &str) -> Self {
        Self { name: name.to_owned(), op: MatchOp::Equal, value: value.to_owned(), pattern: None }
    }

    /// Whether a label with this value is picked; pass `""` for a label that is absent.
    pub fn matches(&self, value: &str) -> bool {
        let by_pattern = || match &self.pattern {
            None => false,
            Some(Pattern::Anything) => true,
            Some(Pattern::Start) => {
                self.value.strip_suffix(".*").is_some_and(|text| value.starts_with(text))
            }
            Some(Pattern::Regex(regex)) => regex.is_match(value),
        };
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

    /// A text that every value its pattern or text matches starts with, for `!=` and `!~` too; may be empty. Lets an
    /// index look at a part of its values.
    pub fn prefix(&self) -> &str {
        match self.op {
            MatchOp::Equal | MatchOp::NotEqual => &self.value,
            MatchOp::Regex | MatchOp::NotRegex => literal_prefix(&self.value),
        }
    }

    /// Whether the matcher also picks series that lack the label.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// The values it can match, when they are known from its text alone: the value of `=`, or the alternatives of a
    /// pattern such as `a|b|c`. Lets an index look values up instead of scanning them.
    pub fn exact_values(&self) -> Option<Vec<&str>> {
        let literal = |text: &str| !text.contains(is_special);
        match self.op {
            MatchOp::Equal => Some(vec![self.value.as_str()]),
            MatchOp::Regex if self.value.split('|').all(literal) => {
                Some(self.value.split('|').collect())
            }
            _ => None,
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{:?}", self.name, self.op.as_str(), self.value)
    }
}

/// Whether a character means something else than itself in a pattern, `|` left out.
fn is_special(c: char) -> bool {
    "\\.+*?()[]{}^$".contains(c)
}

/// The text that all matches of a pattern begin with, as far as its first characters show it.
fn literal_prefix(pattern: &str) -> &str {
    if pattern.contains('|') {
        return "";
    }
    let (prefix, rest) = pattern.split_at(pattern.find(is_special).unwrap_or(pattern.len()));
    match rest.chars().next() {
        // The last character may be there or not.
        Some('*' | '?' | '{') => {
            prefix.char_indices().next_back().map_or("", |(at, _)| &prefix[..at])
        }
        _ => prefix,
    }
}

fn prepare(label: &str, pattern: &str) -> Result<Pattern, MatcherError> {
    match pattern.strip_suffix(".*") {
        Some("") => Ok(Pattern::Anything),
        Some(text) if literal_prefix(text) == text => Ok(Pattern::Start),
        _ => compile(label, pattern).map(Pattern::Regex),
    }
}

fn compile(label: &str, pattern: &str) -> Result<Regex, MatcherError> {
    if pattern.len() <= KEPT_PATTERN_BYTES_MAX {
        if let Some(regex) = kept().get(pattern) {
            return Ok(regex);
        }
        if let Ok(regex) = build(pattern, KEPT_REGEX_BYTES_MAX) {
            kept().put(pattern, &regex);
            return Ok(regex);
        }
    }
    build(pattern, PATTERN_BYTES_MAX).map_err(|reason| MatcherError {
        label: label.to_owned(),
        pattern: pattern.to_owned(),
        reason,
    })
}

fn build(pattern: &str, bytes_max: usize) -> Result<Regex, PatternError> {
    compile_within(pattern, PatternScope::Whole, bytes_max)
}

/// Patterns compiled lately: dashboards and rules ask with the same ones over and over, and to compile one takes longer
/// than to answer a small query. The newer ones push the older ones out, [`KEPT_MAX`] at a time.
#[derive(Debug, Default)]
struct Kept {
    newer: HashMap<Box<str>, Regex>,
    older: HashMap<Box<str>, Regex>,
}

fn kept() -> MutexGuard<'static, Kept> {
    static KEPT: LazyLock<Mutex<Kept>> = LazyLock::new(Mutex::default);
    // Whoever panicked left whole entries behind.
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kept {
    fn get(&mut self, pattern: &str) -> Option<Regex> {
        if let Some(regex) = self.newer.get(pattern) {
            return Some(regex.clone());
        }
        let regex = self.older.remove(pattern)?;
        self.put(pattern, &regex);
        Some(regex)
    }

    fn put(&mut self, pattern: &str, regex: &Regex) {
        if self.newer.len() >= KEPT_MAX {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(pattern.into(), regex.clone());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
    fn the_prefix_is_what_every_match_starts_with() {
        for (pattern, prefix) in [
            ("host-000[0-4].*", "host-000"),
            ("/data.*", "/data"),
            ("mem_.*_bytes", "mem_"),
            ("ab*", "a"),
            ("ab?c", "a"),
            ("ab{0}c", "a"),
            ("ab+", "ab"),
            ("a|b", ""),
            ("温度?", "温"),
            ("a\\.b", "a"),
            ("(?i)ab", ""),
            ("", ""),
            (".*", ""),
            ("plain", "plain"),
        ] {
            assert_eq!(matcher(MatchOp::Regex, pattern).prefix(), prefix, "{pattern}");
            assert_eq!(matcher(MatchOp::NotRegex, pattern).prefix(), prefix, "{pattern}");
        }
        assert_eq!(matcher(MatchOp::Equal, "a|b").prefix(), "a|b");
    }

    proptest! {
        #[test]
        fn a_pattern_matches_as_the_regex_of_its_text_does(
            pattern in "[ab|.*+?{0}\\[\\]()^$\\\\]{0,5}|[ab]{0,3}\\.\\*",
            values in prop::collection::vec("[ab\n]{0,4}", 1..8),
        ) {
            let Ok(m) = Matcher::new("job", MatchOp::Regex, &pattern) else { return Ok(()) };
            let regex = compile("job", &pattern).expect("the matcher took it");
            let unlike = Matcher::new("job", MatchOp::NotRegex, &pattern).expect("the matcher took it");
            for value in &values {
                prop_assert_eq!(m.matches(value), regex.is_match(value), "{:?} on {:?}", pattern, value);
                prop_assert_eq!(unlike.matches(value), !regex.is_match(value), "{:?} on {:?}", pattern, value);
                prop_assert!(!regex.is_match(value) || value.starts_with(m.prefix()), "{:?} on {:?}", pattern, value);
            }
        }
    }

    #[test]
    fn compiled_patterns_are_kept_up_to_a_limit_and_those_in_use_stay() {
        let regex = Regex::new("").expect("it is valid");
        let mut kept = Kept::default();
        kept.put("in use", &regex);
        for number in 0..10 * KEPT_MAX {
            kept.put(&number.to_string(), &regex);
            assert!(kept.get("in use").is_some());
            assert!(kept.newer.len() <= KEPT_MAX && kept.older.len() <= KEPT_MAX);
        }
        assert!(kept.get("0").is_none());
    }

    #[test]
    fn large_patterns_are_compiled_but_not_kept() {
        let long = format!("x.{}", "a".repeat(KEPT_PATTERN_BYTES_MAX));
        let large = "x.(aaaa){1000}";
        assert!(build(large, KEPT_REGEX_BYTES_MAX).is_err());
        for pattern in [long.as_str(), large] {
            assert!(!matcher(MatchOp::Regex, pattern).matches("x"));
            assert!(kept().get(pattern).is_none());
        }
        assert!(matcher(MatchOp::Regex, "x.[yz]").matches("xxy"));
        assert!(kept().get("x.[yz]").is_some());
    }

    #[test]
    fn a_bad_pattern_names_label_and_pattern() {
        let error = Matcher::new("job", MatchOp::Regex, "(").expect_err("the group is not closed");
        assert!(
            error.to_string().starts_with("regular expression \"(\" of label \"job\": "),
            "{error}"
        );
        assert!(Matcher::new("job", MatchOp::Regex, "((a{100}){100}){100}").is_err());
    }
}
