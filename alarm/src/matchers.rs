//! Matchers as people write them, in Alertmanager's files, in our settings and in addresses. Pure.
//!
//! Alertmanager has two readers, an older one and one for names in any script, and takes what either of them
//! takes. This is one reader for what both take; where the two differ (`\\d` in quotes, an empty value, `=` in a
//! value without quotes) it reads as the older one, which Alertmanager too prefers in that case.

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
pub(crate) fn matchers_all(matchers: &[Matcher], labels: &Labels) -> bool {
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
    let is_bare = !trimmed.starts_with('"');
    if name.is_empty() || is_bare && name.contains(['"', '{', '}', ',', ' ', '~', '\\']) {
        return Err(MatcherTextError::Name(whole()));
    }
    let value = value.trim();
    let value = match value.strip_prefix('"') {
        Some(inside) => match quoted(inside) {
            Some((value, "")) => value,
            _ => return Err(MatcherTextError::Quotes(whole())),
        },
        None if value.contains(['"', ',']) => {
            return Err(MatcherTextError::Quotes(whole()));
        }
        None => value.to_owned(),
    };
    Ok(Matcher::new(&name, op, &value)?)
}

/// Reads matchers as a list in one text: `{a="b", c=~"d|e"}`, the braces optional. Nothing between the braces is no
/// matcher.
pub(crate) fn parse_matchers(text: &str) -> Result<Vec<Matcher>, MatcherTextError> {
    let trimmed = text.trim();
    let inside = match (trimmed.strip_prefix('{'), trimmed.ends_with('}')) {
        (Some(rest), true) => &rest[..rest.len() - 1],
        (None, _) => trimmed,
        (Some(_), false) => {
            return Err(MatcherTextError::Quotes(text.chars().take(200).collect()));
        }
    };
    let mut parts = split_at_commas(inside);
    // One comma may stand behind the last matcher.
    if parts.last().is_some_and(|last| last.trim().is_empty()) {
        parts.pop();
    }
    parts.into_iter().map(parse_matcher).collect()
}

/// The parts between commas that are in no quotes.
fn split_at_commas(text: &str) -> Vec<&str> {
    let (mut parts, mut from, mut is_quoted, mut is_escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

/// A matcher as [`parse_matcher`] reads it back.
pub(crate) fn matcher_text(matcher: &Matcher) -> String {
    let quoted = |text: &str| {
        let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        format!("\"{escaped}\"")
    };
    let name = match model::is_label_name(&matcher.name) {
        true => matcher.name.clone(),
        false => quoted(&matcher.name),
    };
    format!("{name}{}{}", matcher.op.as_str(), quoted(&matcher.value))
}

/// Matchers as Alertmanager writes them: sorted, `{a="b",c!~"d"}`.
pub(crate) fn matchers_text(matchers: &[Matcher]) -> String {
    let mut texts: Vec<(&str, String)> = matchers
        .iter()
        .map(|matcher| {
            let name = match model::is_label_name(&matcher.name) {
                true => matcher.name.clone(),
                false => format!("{:?}", matcher.name),
            };
            (matcher.name.as_str(), format!("{name}{}{:?}", matcher.op.as_str(), matcher.value))
        })
        .collect();
    texts.sort();
    let texts: Vec<String> = texts.into_iter().map(|(_, text)| text).collect();
    format!("{{{}}}", texts.join(","))
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
        assert!(matchers_all(&[], &labels));
        assert!(matchers_all(std::slice::from_ref(&critical), &labels));
        assert!(!matchers_all(&[critical, web], &labels));
    }

    #[test]
    fn lists_of_matchers_are_read_with_and_without_braces() {
        let names = |text: &str| -> Vec<String> {
            parse_matchers(text).expect(text).into_iter().map(|matcher| matcher.name).collect()
        };
        assert_eq!(names("{a=\"b\", c=~\"d,e\"}"), ["a", "c"]);
        assert_eq!(names("a=b,c!=d,"), ["a", "c"]);
        assert_eq!(names("job=~node[0-9]{2}"), ["job"]);
        assert!(names("{}").is_empty() && names("").is_empty());
        assert!(parse_matchers("{a=b").is_err());
        assert!(parse_matchers("a=b,,c=d").is_err());
    }

    #[test]
    fn matchers_are_written_sorted_and_quoted_where_they_must_be() {
        let matchers = parse_matchers("{team!=\"x\", \"主机\"=\"甲\", a=~\"b.*\"}").unwrap();
        assert_eq!(matchers_text(&matchers), "{a=~\"b.*\",team!=\"x\",\"主机\"=\"甲\"}");
        assert_eq!(matchers_text(&[]), "{}");
    }

    proptest! {
        #[test]
        fn no_list_makes_the_parser_panic(text in "[a-z\"\\\\=!~{}, 甲]{0,24}") {
            let _ = parse_matchers(&text);
        }

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
