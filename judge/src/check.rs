//! Checks of rule files without a running judge, as `promtool check rules` makes them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::rule_fault::Fault;
use crate::rule_file::{Defaults, read_file};
use crate::rules::Rule;

/// What is in a rule file, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// The file.
    pub file: String,
    /// Its groups.
    pub groups: usize,
    /// Its rules.
    pub rules: usize,
    /// Rules of the same name and labels, which overwrite each other's series. No fault, but rarely meant.
    pub duplicates: Vec<String>,
    /// What is wrong.
    pub faults: Vec<Fault>,
}

/// Reads one rule file and says what is in it.
pub fn check_rule_file(path: &Path) -> CheckReport {
    let file = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => check_rules(&file, &text),
        Err(error) => {
            let message = format!("cannot be read: {error}");
            let fault = Fault { message, ..Fault::of_file(&file) };
            CheckReport { file, faults: vec![fault], ..CheckReport::default() }
        }
    }
}

/// Reads the text of a rule file and says what is in it.
pub fn check_rules(file: &str, text: &str) -> CheckReport {
    let mut report = CheckReport { file: file.to_owned(), ..CheckReport::default() };
    match read_file(file, text, &Defaults::default()) {
        Ok(groups) => {
            report.groups = groups.len();
            report.rules = groups.iter().map(|group| group.rules.len()).sum();
            let rules = groups.iter().flat_map(|group| &group.rules);
            report.duplicates = duplicates(rules);
        }
        Err(faults) => report.faults = faults,
    }
    report
}

/// One alerting rule of a text that is a rule by itself or a rule file, as JSON; `name` says which one of several.
pub fn pick_rule(text: &str, name: Option<&str>) -> Result<serde_json::Value, String> {
    let document: serde_json::Value =
        plain_yaml(text).map_err(|error| error.without_snippet().to_string())?;
    if document.get("groups").is_none() {
        return Ok(document);
    }
    let groups = document["groups"].as_array().into_iter().flatten();
    let rules = groups.flat_map(|group| group["rules"].as_array().into_iter().flatten());
    let alerts = rules.filter(|rule| rule["alert"].is_string());
    let wanted: Vec<_> =
        alerts.filter(|rule| name.is_none_or(|name| rule["alert"] == name)).collect();
    match wanted.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err("the file has no such alert".to_owned()),
        several => {
            let names: BTreeSet<&str> =
                several.iter().filter_map(|rule| rule["alert"].as_str()).collect();
            let names: Vec<&str> = names.into_iter().collect();
            Err(match names.as_slice() {
                [name] => {
                    format!("several alerts are called {name}; give one in a file of its own")
                }
                names => {
                    format!("the file has several alerts; name one of them: {}", names.join(", "))
                }
            })
        }
    }
}

/// Reads YAML of no known form. Only `true` and `false` are booleans: an expression `y` is a metric.
pub(crate) fn plain_yaml<T: DeserializeOwned>(text: &str) -> Result<T, serde_saphyr::Error> {
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options)
}

fn duplicates<'a>(rules: impl Iterator<Item = &'a Rule>) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for rule in rules {
        *counts.entry(rule.identity()).or_default() += 1;
    }
    let repeated = counts.into_iter().filter(|(_, count)| *count > 1);
    repeated.map(|(identity, count)| format!("{identity}: {count} times")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_rules_and_duplicates_are_counted() {
        let text = "groups: [{name: g, rules: [{record: a, expr: x}, {record: a, expr: y}, {alert: A, expr: x}]}]";
        let report = check_rules("f.yml", text);
        assert_eq!((report.groups, report.rules, report.faults.len()), (1, 3, 0));
        assert_eq!(report.duplicates, ["record a {}: 2 times"]);
    }

    #[test]
    fn one_rule_is_picked_by_its_name() {
        let file = "groups: [{name: g, rules: [{record: r, expr: x}, {alert: A, expr: x}, {alert: B, expr: y}]}]";
        assert_eq!(pick_rule(file, Some("B")).unwrap()["expr"], "y");
        assert!(pick_rule(file, None).unwrap_err().ends_with("A, B"));
        let twice = file.replace("alert: B", "alert: A");
        assert!(pick_rule(&twice, Some("A")).unwrap_err().contains("a file of its own"));
        assert!(pick_rule(file, Some("C")).unwrap_err().contains("no such alert"));
        assert_eq!(pick_rule("alert: A\nexpr: x\n", None).unwrap()["alert"], "A");
    }

    #[test]
    fn faults_have_file_and_line_and_a_missing_file_is_one() {
        let report =
            check_rules("f.yml", "groups:\n- name: g\n  rules:\n  - {alert: A, expr: '('}\n");
        assert!(report.faults[0].to_string().starts_with("f.yml:4: "), "{report:?}");
        let report = check_rule_file(Path::new("/nonexistent/f.yml"));
        assert!(report.faults[0].to_string().starts_with("/nonexistent/f.yml: cannot be read"));
    }
}
