//! Who is told about what: receivers with optional matchers. Pure.
//!
//! Every receiver whose matchers all hold takes an alert; a receiver without matchers takes every alert. The
//! routing tree of Alertmanager's configuration file becomes another way to fill this table.

use model::{Labels, MatchOp, Matcher, MatcherError};
use thiserror::Error;

/// Why the text of a matcher cannot be used.
#[derive(Debug, PartialEq, Error)]
pub(crate) enum MatcherTextError {
    /// There is no operator after the name.
    #[error(
        "matcher {0:?} has no operator: write it like severity=\"critical\" or team=~\"db|web\""
    )]
    NoOperator(String),
    /// The name before the operator is empty or has characters that need quotes.
    #[error("matcher {0:?} has no valid label name before its operator")]
    Name(String),
    /// A quoted part does not end, or something follows it.
    #[error("matcher {0:?} has a quoted part that does not end where it should")]
    Quotes(String),
    /// The pattern does not compile.
    #[error(transparent)]
    Pattern(#[from] MatcherError),
}

/// Whether all of these matchers hold.
pub(crate) fn matches_all(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.matches_labels(labels))
}

/// Reads a matcher as Alertmanager writes it: `name="value"`, with `=`, `!=`, `=~` or `!~`, spaces allowed
/// around the operator, quotes optional on both sides when the text has no quote, brace or comma of its own.
pub(crate) fn parse_matcher(text: &str) -> Result<Matcher, MatcherTextError> {
    let whole = || text.chars().take(200).collect::<String>();
    let trimmed = text.trim();
    let (name, rest) = match trimmed.strip_prefix('"') {
        Some(inside) => quoted(inside).ok_or_else(|| MatcherTextError::Quotes(whole()))?,
        None => {
            let end =
                trimmed.find(['=', '!']).ok_or_else(|| MatcherTextError::NoOperator(whole()))?;
            (trimmed[..end].trim().to_owned(), &trimmed[end..])
        }
    };
    let (op, value) =
        operator(rest.trim_start()).ok_or_else(|| MatcherTextError::NoOperator(whole()))?;
    if name.is_empty() || name.contains(['"', '{', '}', ',', ' ', '~']) && !trimmed.starts_with('"')
    {
        return Err(MatcherTextError::Name(whole()));
    }
    let value = value.trim();
    let value = match value.strip_prefix('"') {
        Some(inside) => match quoted(inside) {
            Some((value, "")) => value,
            _ => return Err(MatcherTextError::Quotes(whole())),
        },
        None if value.contains(['"', '{', '}', ',']) => {
            return Err(MatcherTextError::Quotes(whole()));
        }
        None => value.to_owned(),
    };
    Ok(Matcher::new(&name, op, &value)?)
}

fn operator(text: &str) -> Option<(MatchOp, &str)> {
    [
        ("=~", MatchOp::Regex),
        ("!~", MatchOp::NotRegex),
        ("!=", MatchOp::NotEqual),
        ("=", MatchOp::Equal),
    ]
    .into_iter()
    .find_map(|(sign, op)| text.strip_prefix(sign).map(|value| (op, value)))
}

/// The text up to the closing quote, its escapes undone, and what follows the quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                escaped @ ('"' | '\\') => value.push(escaped),
                // Not an escape of ours but most likely one of the pattern's: `\d`, `\.`.
                other => value.extend(['\\', other]),
            },
            _ => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: (&str, MatchOp, &str)) {
        let matcher = parse_matcher(text).expect(text);
        assert_eq!((matcher.name.as_str(), matcher.op, matcher.value.as_str()), expected, "{text}");
    }

    #[test]
    fn the_forms_that_amtool_and_configuration_files_use_are_read() {
        check("severity=\"critical\"", ("severity", MatchOp::Equal, "critical"));
        check(" team =~ \"db|web\" ", ("team", MatchOp::Regex, "db|web"));
        check("env!=prod", ("env", MatchOp::NotEqual, "prod"));
        check("job!~node.*", ("job", MatchOp::NotRegex, "node.*"));
        check("note=\"say \\\"hi\\\"\\n\"", ("note", MatchOp::Equal, "say \"hi\"\n"));
        check("path=~\"\\d+\\.log\"", ("path", MatchOp::Regex, "\\d+\\.log"));
        check("\"主 机\"=\"甲\"", ("主 机", MatchOp::Equal, "甲"));
        check("empty=", ("empty", MatchOp::Equal, ""));
    }

    #[test]
    fn a_faulty_matcher_is_refused_with_its_fault() {
        assert!(matches!(parse_matcher("severity"), Err(MatcherTextError::NoOperator(_))));
        assert!(matches!(parse_matcher("=critical"), Err(MatcherTextError::Name(_))));
        assert!(matches!(parse_matcher("a b=c"), Err(MatcherTextError::Name(_))));
        assert!(matches!(parse_matcher("a=\"b"), Err(MatcherTextError::Quotes(_))));
        assert!(matches!(parse_matcher("a=\"b\"c"), Err(MatcherTextError::Quotes(_))));
        assert!(matches!(parse_matcher("a=b,c=d"), Err(MatcherTextError::Quotes(_))));
        assert!(matches!(parse_matcher("a=~\"(\""), Err(MatcherTextError::Pattern(_))));
    }

    #[test]
    fn no_matchers_take_everything_and_several_must_all_hold() {
        let labels = Labels::from_pairs([("severity", "critical"), ("team", "db")]);
        let critical = parse_matcher("severity=critical").unwrap();
        let web = parse_matcher("team=web").unwrap();
        assert!(matches_all(&[], &labels));
        assert!(matches_all(std::slice::from_ref(&critical), &labels));
        assert!(!matches_all(&[critical, web], &labels));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[a-z\"\\\\=!~{}, 甲]{0,24}") {
            let _ = parse_matcher(&text);
        }

        #[test]
        fn a_quoted_value_reads_back(value in "[^\\\\]{0,20}") {
            let text = format!("a=\"{}\"", value.replace('"', "\\\"").replace('\n', "\\n"));
            prop_assert_eq!(parse_matcher(&text).unwrap().value, value);
        }
    }
}
