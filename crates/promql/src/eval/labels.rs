//! `label_replace` and `label_join`.

use model::{METRIC_NAME, PatternScope};
use regex::Captures;

use super::Evaluator;
use super::column::{self, Row};
use crate::error::EvalError;

/// The longest value that a label may get. Calls inside each other could double it with every level.
const VALUE_BYTES_MAX: usize = 64 * 1024;

impl Evaluator<'_> {
    /// Sets a label from the parts of another one that a pattern catches. `args`: destination,
    /// replacement, source, pattern.
    pub(super) fn label_replace(
        &self,
        mut rows: Vec<Row>,
        args: [&str; 4],
    ) -> Result<Vec<Row>, EvalError> {
        let [destination, replacement, source, pattern] = args;
        let Ok(pattern) = model::compile_pattern(pattern, PatternScope::Whole) else {
            let text = format!("invalid regular expression in label_replace(): {pattern}");
            return Err(EvalError::Argument(text));
        };
        check_name(destination, "destination", "label_replace")?;
        for row in &mut rows {
            self.check_cancelled()?;
            let value = row.labels.get(source).unwrap_or("");
            let Some(caught) = pattern.captures(value) else { continue };
            let expanded = expand(replacement, &caught);
            set(row, destination, &expanded)?;
        }
        column::unify(rows)
    }

    /// Sets a label to the values of others with a separator between them.
    pub(super) fn label_join(
        &self,
        mut rows: Vec<Row>,
        destination: &str,
        separator: &str,
        sources: &[&str],
    ) -> Result<Vec<Row>, EvalError> {
        check_name(destination, "destination", "label_join")?;
        for source in sources {
            check_name(source, "source", "label_join")?;
        }
        for row in &mut rows {
            self.check_cancelled()?;
            let values: Vec<&str> =
                sources.iter().map(|source| row.labels.get(source).unwrap_or("")).collect();
            let joined = values.join(separator);
            set(row, destination, &joined)?;
        }
        column::unify(rows)
    }
}

/// Fills in what was caught, as Go does: `$1`, `${1}`, `$name`, `${name}`; `$$` is a dollar sign, and so is one
/// that no name follows.
fn expand(template: &str, caught: &Captures<'_>) -> String {
    let mut expanded = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        rest = after;
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) = reference(rest) {
            expanded.push_str(group(name, caught));
            rest = after;
        } else {
            expanded.push('$');
        }
    }
    expanded.push_str(rest);
    expanded
}

/// The name after a dollar sign, and what follows it.
fn reference(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('{');
    let text = inner.unwrap_or(text);
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let rest = if inner.is_some() { rest.strip_prefix('}')? } else { rest };
    (!name.is_empty()).then_some((name, rest))
}

/// What a group caught; nothing when there is no such group. A number has no leading zeros.
fn group<'t>(name: &str, caught: &Captures<'t>) -> &'t str {
    let is_number =
        name.bytes().all(|byte| byte.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    let found = if is_number {
        name.parse().ok().and_then(|index| caught.get(index))
    } else {
        caught.name(name)
    };
    found.map_or("", |found| found.as_str())
}

fn set(row: &mut Row, label: &str, value: &str) -> Result<(), EvalError> {
    if value.len() > VALUE_BYTES_MAX {
        let text = format!(
            "label {label:?} would get a value of {} bytes (limit {VALUE_BYTES_MAX})",
            value.len()
        );
        return Err(EvalError::Argument(text));
    }
    row.labels = row.labels.with(label, value);
    // A name that is set on purpose stays.
    if label == METRIC_NAME {
        row.drop_name = false;
    }
    Ok(())
}

// Any text but the empty one names a label.
fn check_name(name: &str, role: &str, function: &str) -> Result<(), EvalError> {
    if name.is_empty() {
        return Err(EvalError::Argument(format!(
            "invalid {role} label name in {function}(): {name}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled_in_as_go_does() {
        let pattern = regex::Regex::new("(.)-(?P<word>.)").expect("it is well formed");
        let caught = pattern.captures("a-b").expect("it matches");
        for (template, expanded) in [
            ("$1$2", "ab"),
            ("${1}x", "ax"),
            ("$1x", ""),
            ("$word/${word}", "b/b"),
            ("$0", "a-b"),
            ("$01$9", ""),
            ("$$1", "$1"),
            ("a$", "a$"),
            ("$-1", "$-1"),
            ("${}y", "${}y"),
            ("${1-}z", "${1-}z"),
            ("${2", "${2"),
            ("$\u{e4}", ""),
        ] {
            assert_eq!(expand(template, &caught), expanded, "{template}");
        }
    }
}
