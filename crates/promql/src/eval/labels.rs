//! `label_replace` and `label_join`.

use model::METRIC_NAME;
use regex::RegexBuilder;

use super::column::{self, Row};
use crate::error::EvalError;

// As for matchers: a hostile query must not eat the memory.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// The longest value that a label may get. Calls inside each other could double it with every level.
const VALUE_BYTES_MAX: usize = 64 * 1024;

/// Sets a label from the parts of another one that a pattern catches. `args`: destination,
/// replacement, source, pattern.
pub(super) fn replace(mut rows: Vec<Row>, args: [&str; 4]) -> Result<Vec<Row>, EvalError> {
    let [destination, replacement, source, pattern] = args;
    let compiled = RegexBuilder::new(&format!("^(?s:{pattern})$")).size_limit(REGEX_BYTES_MAX).build();
    let Ok(pattern) = compiled else {
        let text = format!("invalid regular expression in label_replace(): {pattern}");
        return Err(EvalError::Argument(text));
    };
    check_name(destination, "destination", "label_replace")?;
    for row in &mut rows {
        let value = row.labels.get(source).unwrap_or("");
        let Some(caught) = pattern.captures(value) else { continue };
        let mut expanded = String::new();
        caught.expand(replacement, &mut expanded);
        set(row, destination, &expanded)?;
    }
    column::unify(rows)
}

/// Sets a label to the values of others with a separator between them.
pub(super) fn join(
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
        let values: Vec<&str> = sources.iter().map(|source| row.labels.get(source).unwrap_or("")).collect();
        let joined = values.join(separator);
        set(row, destination, &joined)?;
    }
    column::unify(rows)
}

fn set(row: &mut Row, label: &str, value: &str) -> Result<(), EvalError> {
    if value.len() > VALUE_BYTES_MAX {
        let text =
            format!("label {label:?} would get a value of {} bytes (limit {VALUE_BYTES_MAX})", value.len());
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
        return Err(EvalError::Argument(format!("invalid {role} label name in {function}(): {name}")));
    }
    Ok(())
}
