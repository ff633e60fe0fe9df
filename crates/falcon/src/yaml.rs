//! Rules as the YAML that judge and Prometheus read.

use std::fmt::Write as _;

use crate::import::{Format, Options};
use crate::rule::{Alerting, Group, Kind, Rule};
use crate::series::span;

/// The most notifications that judge lets a rule ask for.
const NOTIFICATIONS_MAX: i64 = 10_000;

/// A group as one mapping: the body that judge's API takes.
pub(crate) fn group(group: &Group, options: &Options) -> String {
    let mut lines = Lines::default();
    lines.comment(&group.comment);
    lines.field("name", &group.name);
    lines.plain("interval", &span(group.interval));
    lines.open("rules");
    for rule in &group.rules {
        write_rule(&mut lines, rule, options);
    }
    lines.0
}

/// A file of groups, each as [`group`] wrote it.
pub(crate) fn file(heading: &str, groups: &[String]) -> String {
    let mut lines = Lines::default();
    lines.comment(heading);
    lines.open("groups");
    for group in groups {
        let mut is_first = true;
        for line in group.lines() {
            // Comments before the first field stand before the dash.
            let begins = is_first && !line.starts_with('#');
            let prefix = if begins { "  - " } else { "    " };
            is_first &= !begins;
            lines.line(&format!("{prefix}{line}"));
        }
    }
    lines.0
}

fn write_rule(lines: &mut Lines, rule: &Rule, options: &Options) {
    lines.comment(&rule.comment);
    match &rule.kind {
        Kind::Recording => lines.field("- record", &rule.name),
        Kind::Alerting(_) => lines.field("- alert", &rule.name),
    }
    lines.field("  expr", &rule.expr);
    if let Kind::Alerting(alerting) = &rule.kind
        && options.format == Format::Saker
    {
        write_extras(lines, alerting, options);
    }
    lines.map("  labels", rule.labels.iter());
    if let Kind::Alerting(alerting) = &rule.kind {
        lines.map("  annotations", alerting.annotations.iter());
    }
}

fn write_extras(lines: &mut Lines, alerting: &Alerting, options: &Options) {
    lines.field("  recover_expr", &alerting.recover);
    lines.plain("  no_data", &alerting.no_data());
    let most = alerting.notifications_max.clamp(1, NOTIFICATIONS_MAX);
    lines.plain("  max_notifications", &most.to_string());
    if let Some(window) = alerting.window {
        let (from, to) = window.texts();
        lines.open("  active_times");
        lines.field("    - from", &from);
        lines.field("      to", &to);
        lines.field("      zone", &options.time_zone);
    }
}

#[derive(Debug, Default)]
struct Lines(String);

impl Lines {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn comment(&mut self, text: &str) {
        let one_line: String = text.chars().map(|c| if is_plain(c) { c } else { ' ' }).collect();
        self.line(&format!("# {one_line}"));
    }

    fn open(&mut self, key: &str) {
        self.line(&format!("{key}:"));
    }

    /// A value that needs no quotes.
    fn plain(&mut self, key: &str, value: &str) {
        self.line(&format!("{key}: {value}"));
    }

    fn field(&mut self, key: &str, value: &str) {
        self.line(&format!("{key}: {}", scalar(value)));
    }

    fn map<'a>(&mut self, key: &str, fields: impl Iterator<Item = (&'a String, &'a String)>) {
        let mut fields = fields.peekable();
        if fields.peek().is_none() {
            return;
        }
        self.open(key);
        for (name, value) in fields {
            self.line(&format!("    {}: {}", scalar(name), scalar(value)));
        }
    }
}

/// A text between quotes: single ones, in which PromQL stays readable, or double ones for letters that
/// must be escaped.
fn scalar(text: &str) -> String {
    if text.chars().all(is_plain) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if is_plain(letter) => quoted.push(letter),
            letter => {
                let _ = write!(quoted, "\\U{:08x}", u32::from(letter));
            }
        }
    }
    quoted.push('"');
    quoted
}

/// Whether YAML takes a letter as it is, on one line.
fn is_plain(letter: char) -> bool {
    let is_odd = matches!(letter, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    !letter.is_control() && !is_odd
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_so_that_they_stay_what_they_are() {
        assert_eq!(scalar("it's {{ x }}: #"), "'it''s {{ x }}: #'");
        assert_eq!(scalar("a\n\"b\\\u{2028}"), "\"a\\U0000000a\\\"b\\\\\\U00002028\"");
    }

    #[test]
    fn comments_stay_on_their_line() {
        let mut lines = Lines::default();
        lines.comment("a\nalert: x");
        assert_eq!(lines.0, "# a alert: x\n");
    }
}
