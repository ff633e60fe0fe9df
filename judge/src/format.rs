//! Writes the expressions of a rule file in the one usual form and leaves everything else as it is, comments
//! included.

use crate::rule_fault::Fault;
use crate::rule_file::{Defaults, read_file};
use crate::rule_spec::RULE_FILE_BYTES_MAX;
use crate::rules::RuleGroup;

/// Formats the expressions of a rule file. The rules stay the same: that is checked by reading the result, and an
/// expression in a place that cannot be rewritten safely (within braces on one line) stays as it is.
pub fn format_rules(file: &str, text: &str) -> Result<String, Vec<Fault>> {
    let before = read_file(file, text, &Defaults::default())?;
    debug_assert!(text.len() <= RULE_FILE_BYTES_MAX, "the reader refuses longer ones");
    let lines: Vec<&str> = text.lines().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < lines.len() {
        let expr = find(&lines, at).and_then(|place| Some((rewritten(&lines, &place)?, place)));
        match expr {
            Some((written, place)) => {
                out.push_str(&written);
                at = place.end;
            }
            None => {
                out.push_str(lines[at].trim_end());
                out.push('\n');
                at += 1;
            }
        }
    }
    let after = read_file(file, &out, &Defaults::default())?;
    // What could not be shown to be the same is not done.
    Ok(if are_same(&before, &after) { out } else { text.to_owned() })
}

/// Lines of an `expr:` in block style.
struct Place {
    /// What stands before the value: blanks, `- `, `expr:`.
    head: String,
    /// How far the key is indented.
    indent: usize,
    /// What stands behind the colon.
    value: String,
    begin: usize,
    end: usize,
}

fn find(lines: &[&str], at: usize) -> Option<Place> {
    let line = lines[at];
    let mut rest = line.trim_start();
    while let Some(behind) = rest.strip_prefix("- ") {
        rest = behind.trim_start();
    }
    let value = rest.strip_prefix("expr:")?;
    if !value.is_empty() && !value.starts_with([' ', '\t']) {
        return None;
    }
    let indent = line.len() - rest.len();
    let is_inside = |line: &&str| {
        line.trim().is_empty() || line.len() - line.trim_start_matches(' ').len() > indent
    };
    let inside = lines[at + 1..].iter().take_while(|line| is_inside(line)).count();
    // Blank lines behind the expression belong to what follows.
    let blank = lines[at + 1..at + 1 + inside].iter().rev().take_while(|l| l.trim().is_empty());
    let end = at + 1 + inside - blank.count();
    let head = format!("{}expr:", &line[..indent]);
    Some(Place { head, indent, value: value.trim().to_owned(), begin: at, end })
}

/// The lines with the expression in the usual form; `None` when it cannot be read by itself.
fn rewritten(lines: &[&str], place: &Place) -> Option<String> {
    let inner = &lines[place.begin + 1..place.end];
    // The value alone is a small YAML document; anchors and comments in it are better left alone.
    if place.value.starts_with(['&', '*', '!', '#']) || place.value.contains(" #") {
        return None;
    }
    let document = format!("expr: {}\n{}\n", place.value, inner.join("\n"));
    #[derive(serde::Deserialize)]
    struct Only {
        expr: String,
    }
    let only: Only = serde_saphyr::from_str(&unindented(&document, place.indent)).ok()?;
    let expr = promql::parse(&only.expr).ok()?;
    // Comments of PromQL would be lost.
    if only.expr.contains('#') {
        return None;
    }
    let pretty = expr.pretty();
    Some(match pretty.lines().count() {
        1 if is_plain(&pretty) => format!("{} {pretty}\n", place.head),
        _ => {
            let indent = " ".repeat(place.indent + 2);
            let lines = pretty.lines().map(|line| format!("{indent}{line}\n"));
            // A block takes its indent from its first line, unless that is told. It counts from the key.
            let told = if pretty.starts_with(' ') { "|2-" } else { "|-" };
            format!("{} {told}\n{}", place.head, lines.collect::<String>())
        }
    })
}

/// Takes the indent of the key from the lines behind the first.
fn unindented(document: &str, indent: usize) -> String {
    let mut lines = document.lines();
    let mut out = lines.next().unwrap_or("").to_owned();
    for line in lines {
        out.push('\n');
        out.push_str(line.get(indent..).unwrap_or(""));
    }
    out.push('\n');
    out
}

/// Whether a text can stand in YAML without quotes.
fn is_plain(text: &str) -> bool {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '(');
    begins
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.ends_with(':')
        && !matches!(text, "true" | "false" | "null" | "yes" | "no" | "on" | "off")
}

fn are_same(before: &[RuleGroup], after: &[RuleGroup]) -> bool {
    let rule = |(a, b): (&crate::rules::Rule, &crate::rules::Rule)| {
        let mut renamed = a.clone();
        renamed.query = b.query.clone();
        a.query.expr == b.query.expr && renamed == *b
    };
    let group = |(a, b): (&RuleGroup, &RuleGroup)| {
        let bare = |group: &RuleGroup| RuleGroup { rules: Vec::new(), ..group.clone() };
        bare(a) == bare(b)
            && a.rules.len() == b.rules.len()
            && a.rules.iter().zip(&b.rules).all(rule)
    };
    before.len() == after.len() && before.iter().zip(after).all(group)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(rules: &str, expected: &str) {
        let file = |rules: &str| format!("groups:\n# all\n- name: g\n  rules:\n{rules}");
        let formatted = format_rules("f", &file(rules)).expect("the rules are valid");
        assert_eq!(formatted, file(expected));
        assert_eq!(format_rules("f", &formatted).as_deref(), Ok(formatted.as_str()), "again");
    }

    #[test]
    fn expressions_are_written_in_the_usual_form_and_the_rest_stays() {
        check(
            "  - alert: A # why\n    expr:   up==0\n    for: 5m\n\n  - record: b\n    expr: 'sum( x )by(a)'\n",
            "  - alert: A # why\n    expr: up == 0\n    for: 5m\n\n  - record: b\n    expr: sum by (a) (x)\n",
        );
        check("  - expr: up  >1\n    alert: A\n", "  - expr: up > 1\n    alert: A\n");
    }

    #[test]
    fn expressions_over_several_lines_become_what_they_need() {
        check(
            "  - alert: A\n    expr: |\n      up\n      == 0\n\n",
            "  - alert: A\n    expr: up == 0\n\n",
        );
        let long = "a".repeat(60);
        check(
            &format!("  - alert: A\n    expr: sum({long})/sum({long})\n"),
            &format!(
                "  - alert: A\n    expr: |2-\n        sum({long})\n      /\n        sum({long})\n"
            ),
        );
    }

    #[test]
    fn what_cannot_be_rewritten_safely_stays() {
        for rules in [
            "  - {alert: A, expr: up==0}\n",
            "  - alert: A\n    expr: up==0 # the metric\n",
            "  - alert: A\n    expr: |\n      up==0 # down\n",
        ] {
            check(rules, rules);
        }
    }

    #[test]
    fn a_text_that_would_be_something_else_without_quotes_keeps_them() {
        check("  - alert: A\n    expr: '-up'\n", "  - alert: A\n    expr: |-\n      -up\n");
        check(
            "  - alert: A\n    expr: '{a=\"b\"}'\n",
            "  - alert: A\n    expr: |-\n      {a=\"b\"}\n",
        );
    }

    #[test]
    fn a_file_with_a_fault_is_not_formatted() {
        let faults = format_rules("f", "groups: [{name: g, rules: [{alert: A, expr: '('}]}]");
        assert_eq!(faults.expect_err("the expression is cut off").len(), 1);
    }

    proptest! {
        #[test]
        fn the_rules_stay_the_same(
            expr in prop::sample::select(vec!["up==0", "sum(x)by(a)>1", "'a: b'", "\"x\"", "-x", "(x)"]),
            blanks in 0..4usize,
            tail in "[ a-z:#\n-]{0,20}",
        ) {
            let text = format!("groups:\n- name: g\n  rules:\n  - alert: A\n    expr:{}{expr}\n{tail}", " ".repeat(blanks));
            if let Ok(before) = read_file("f", &text, &Defaults::default()) {
                let formatted = format_rules("f", &text).expect("it was valid");
                let after = read_file("f", &formatted, &Defaults::default()).expect("it still is");
                prop_assert!(are_same(&before, &after), "{}", formatted);
            }
        }
    }
}
