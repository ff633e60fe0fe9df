//! Unit tests of rules, in the file format of `promtool test rules`: series go into a store of their own, the
//! rules are evaluated over them by judge's own evaluator in time that does not pass, and what fires or is
//! recorded is compared with what the file expects.

mod compare;
mod natives;
mod run;
mod series;
mod spec;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

use crate::rule_file::{Defaults, read_file};
use crate::rule_set::matching;
use crate::rule_spec::RULE_FILE_BYTES_MAX;
use crate::rules::RuleGroup;
use spec::{TestFile, TestGroup};

/// What a file of tests came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TestReport {
    /// The file.
    pub file: String,
    /// What is odd and no failure, such as a pattern that finds no rule file.
    pub warnings: Vec<String>,
    /// What failed, each a text of one or more lines. Empty when the file passes.
    pub failures: Vec<String>,
}

/// Runs the tests of a file. The rule files it names are looked for beside it.
pub async fn run_test_file(path: &Path) -> TestReport {
    let mut report = TestReport { file: path.display().to_string(), ..TestReport::default() };
    let text = match std::fs::read_to_string(path) {
        Ok(text) if text.len() > RULE_FILE_BYTES_MAX => {
            report.failures.push(format!("more than {RULE_FILE_BYTES_MAX} bytes; split the file"));
            return report;
        }
        Ok(text) => text,
        Err(error) => {
            report.failures.push(format!("cannot be read: {error}"));
            return report;
        }
    };
    let parsed = spec::read(&text).and_then(|file| Ok((eval_order(&file)?, file)));
    match parsed {
        Ok((order, file)) => run_tests(path, file, &order, &mut report).await,
        Err(fault) => report.failures.push(fault),
    }
    report
}

async fn run_tests(
    path: &Path,
    file: TestFile,
    order: &HashMap<String, usize>,
    report: &mut TestReport,
) {
    let folder = path.parent().unwrap_or(Path::new(""));
    let files = rule_files(folder, &file.rule_files, report);
    for test in &file.tests {
        let interval = test.interval.unwrap_or(file.evaluation_interval);
        let groups = match groups(&files, interval, order) {
            Ok(groups) => groups,
            Err(faults) => {
                report.failures.extend(faults);
                return;
            }
        };
        // What a judge would log of these alerts is of no interest to who tests rules.
        let running = run::run(test, &file, interval, groups);
        let failures = running.with_subscriber(NoSubscriber::default()).await;
        report.failures.extend(failures.into_iter().map(|failure| named(test, &failure)));
    }
}

fn named(test: &TestGroup, failure: &str) -> String {
    if test.name.is_empty() {
        failure.to_owned()
    } else {
        format!("name: {}, {failure}", test.name)
    }
}

fn eval_order(file: &TestFile) -> Result<HashMap<String, usize>, String> {
    let mut order = HashMap::new();
    for (place, name) in file.group_eval_order.iter().enumerate() {
        if order.insert(name.clone(), place).is_some() {
            return Err(format!("group name repeated in group_eval_order: {name}"));
        }
    }
    Ok(order)
}

fn rule_files(folder: &Path, patterns: &[String], report: &mut TestReport) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for pattern in patterns {
        let found = match matching(&folder.join(pattern)) {
            Ok(found) => found.into_iter().filter(|file| file.exists()).collect(),
            Err(_) => Vec::new(),
        };
        if found.is_empty() {
            report.warnings.push(format!("no file matches {pattern}"));
        }
        files.extend(found);
    }
    files
}

/// The groups of all files, those that the file orders in that order.
fn groups(
    files: &[PathBuf],
    interval: std::time::Duration,
    order: &HashMap<String, usize>,
) -> Result<Vec<Arc<RuleGroup>>, Vec<String>> {
    let (mut groups, mut faults) = (Vec::new(), Vec::new());
    let defaults = Defaults { interval, ..Defaults::default() };
    for file in files {
        let name = file.display().to_string();
        match std::fs::read_to_string(file) {
            Ok(text) => match read_file(&name, &text, &defaults) {
                Ok(found) => groups.extend(found.into_iter().map(Arc::new)),
                Err(found) => faults.extend(found.iter().map(ToString::to_string)),
            },
            Err(error) => faults.push(format!("{name}: cannot be read: {error}")),
        }
    }
    groups.sort_by_key(|group| order.get(&group.key.name).copied().unwrap_or(0));
    if faults.is_empty() { Ok(groups) } else { Err(faults) }
}
