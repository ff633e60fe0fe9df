//! Where rules come from: files and the database. Reads them, keeps the last good version of each, and tells
//! the scheduler.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use daemon::Context;
use db::{Db, DbError, RuleGroupRow};
use tokio::sync::{Mutex, watch};

use crate::Config;
use crate::metrics::Metrics;
use crate::rule_fault::Fault;
use crate::rule_file::{Defaults, read_file, read_group};
use crate::rules::{DATABASE, GroupKey, RuleGroup, RuleSet};

/// The rules for hosts that come with Saker.
pub const HOST_RULES: &str = include_str!("../../rules/host.yml");
/// What the rules for hosts that come with Saker have in the place of a file.
pub const HOST_RULES_FILE: &str = "builtin:host.yml";

/// What `/-/ready` calls rule files that cannot be read.
const FILES: &str = "rule files";
/// What `/-/ready` calls rule groups in the database that cannot be read.
const GROUPS: &str = "rule groups in the database";

/// Why rules are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Occasion {
    Start,
    Reload,
    /// Another judge may have taken a change of a group in the database.
    Poll,
}

/// The rules as they were last read.
#[derive(Debug)]
pub(crate) struct RuleSource {
    context: Context,
    db: Db,
    config: Config,
    metrics: Metrics,
    last_rows: Mutex<Vec<RuleGroupRow>>,
    published: watch::Sender<Arc<RuleSet>>,
}

/// Reads rule files and lists what is wrong with them, without a running judge. Files that a pattern does not
/// find are no fault; files that are named and missing are.
pub fn check_rule_files(rule_files: &[PathBuf]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (file, text) in read_texts(rule_files) {
        let outcome = text.and_then(|text| read_file(&file, &text, &Defaults::default()));
        faults.extend(outcome.err().unwrap_or_default());
    }
    faults
}

impl RuleSource {
    /// Reads the rules for the first time. A rule file with a fault is an error here: a judge that silently
    /// runs without part of its rules is worse than one that does not start.
    pub(crate) async fn open(
        context: Context,
        db: Db,
        config: Config,
        metrics: Metrics,
    ) -> Result<Self, Vec<Fault>> {
        let (published, _) = watch::channel(Arc::new(RuleSet::new()));
        let source = Self { context, db, config, metrics, last_rows: Mutex::default(), published };
        let faults = source.read(Occasion::Start).await;
        if faults.iter().any(|fault| fault.file != DATABASE) { Err(faults) } else { Ok(source) }
    }

    /// The rules, and every later version of them.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<RuleSet>> {
        self.published.subscribe()
    }

    /// Reads files and database again. A file or group with a fault keeps its last good version; the faults
    /// are answered.
    pub(crate) async fn reload(&self) -> Vec<Fault> {
        self.metrics.reloads.inc();
        self.read(Occasion::Reload).await
    }

    /// Reads the database again, where another judge may have taken a change.
    pub(crate) async fn poll_database(&self) -> Vec<Fault> {
        self.read(Occasion::Poll).await
    }

    /// Whether a group of the database can be stored without there being more groups than the limit.
    pub(crate) fn has_room_for(&self, name: &str, groups_max: usize) -> bool {
        let rules = self.published.borrow();
        let key = GroupKey { file: DATABASE.to_owned(), name: name.to_owned() };
        rules.len() < groups_max || rules.contains_key(&key)
    }

    /// Reads a group as the API takes it, without keeping it.
    pub(crate) fn check_group(&self, name: &str, text: &str) -> Result<RuleGroup, Vec<Fault>> {
        read_group(name, text, &self.config.rule_defaults())
    }

    /// Reads a rule file as the API takes it, without keeping it.
    pub(crate) fn check_file(&self, text: &str) -> Result<Vec<RuleGroup>, Vec<Fault>> {
        read_file("body", text, &self.config.rule_defaults())
    }

    async fn read(&self, occasion: Occasion) -> Vec<Fault> {
        let mut last_rows = self.last_rows.lock().await;
        let before = self.published.borrow().clone();
        let rows = self.db.rule_groups().all().await;
        if occasion == Occasion::Poll && rows.as_ref().is_ok_and(|rows| *rows == *last_rows) {
            return Vec::new();
        }
        let mut faults = Vec::new();
        let mut next: RuleSet = if occasion == Occasion::Poll {
            of_file(&before, |file| file != DATABASE).collect()
        } else {
            self.read_files(&before, &mut faults)
        };
        // At the start a fault in a file ends the process, which tells all of them in its last message.
        if occasion == Occasion::Reload {
            self.say(FILES, &faults);
        }
        let in_files = faults.len();
        match rows {
            Ok(rows) => {
                self.read_rows(&rows, &before, &mut next, &mut faults);
                *last_rows = rows;
            }
            Err(error) => self.keep_groups(error, &before, &mut next, &mut faults),
        }
        if next.len() > self.config.groups_max {
            let limit = self.config.groups_max;
            faults.push(fault(
                DATABASE,
                format!("{} groups exceed the limit groups_max of {limit}", next.len()),
            ));
            next.clone_from(&before);
        }
        self.say(GROUPS, &faults[in_files..]);
        self.publish(next);
        faults
    }

    /// Tells the operator of faults on `/-/ready`, in the log and in metrics.
    fn say(&self, what: &'static str, faults: &[Fault]) {
        for fault in faults {
            self.metrics.reload_failures.inc();
            tracing::error!(%fault, "rules with a fault are left out; what was good before stays");
        }
        match faults.first() {
            Some(fault) => self.context.lacks(what, fault.to_string()),
            None => self.context.has(what),
        }
    }

    fn publish(&self, next: RuleSet) {
        self.metrics.groups.set(i64::try_from(next.len()).unwrap_or(i64::MAX));
        self.published.send_if_modified(|current| {
            let is_new = **current != next;
            if is_new {
                *current = Arc::new(next);
            }
            is_new
        });
    }

    fn read_files(&self, before: &RuleSet, faults: &mut Vec<Fault>) -> RuleSet {
        let mut set = RuleSet::new();
        let mut texts = read_texts(&self.config.rule_files);
        if self.config.rule_files.is_empty() && self.config.host_rules {
            texts.insert(HOST_RULES_FILE.to_owned(), Ok(HOST_RULES.to_owned()));
        }
        for (file, text) in texts {
            match text.and_then(|text| read_file(&file, &text, &self.config.rule_defaults())) {
                Ok(groups) => set.extend(groups.into_iter().map(|g| (g.key.clone(), Arc::new(g)))),
                Err(found) => {
                    faults.extend(found);
                    set.extend(of_file(before, |from| *from == file));
                }
            }
        }
        set
    }

    fn read_rows(
        &self,
        rows: &[RuleGroupRow],
        before: &RuleSet,
        next: &mut RuleSet,
        faults: &mut Vec<Fault>,
    ) {
        for row in rows.iter().filter(|row| row.enabled) {
            let key = GroupKey { file: DATABASE.to_owned(), name: row.name.clone() };
            match self.check_group(&key.name, &row.body) {
                Ok(mut group) => {
                    group.owner.clone_from(&row.owner);
                    next.insert(key, Arc::new(group));
                }
                Err(found) => {
                    faults.extend(found);
                    next.extend(before.get(&key).map(|group| (key, group.clone())));
                }
            }
        }
    }

    fn keep_groups(
        &self,
        error: DbError,
        before: &RuleSet,
        next: &mut RuleSet,
        faults: &mut Vec<Fault>,
    ) {
        let error = anyhow::Error::from(error);
        faults.push(fault(DATABASE, format!("{error:#}; the groups stay as they are")));
        next.extend(of_file(before, |file| file == DATABASE));
    }
}

/// The groups of those files.
fn of_file(
    rules: &RuleSet,
    is_it: impl Fn(&str) -> bool,
) -> impl Iterator<Item = (GroupKey, Arc<RuleGroup>)> {
    let wanted = rules.iter().filter(move |(key, _)| is_it(&key.file));
    wanted.map(|(key, group)| (key.clone(), group.clone()))
}

/// The texts of all files that the paths and patterns name, by path; for each that cannot be read the fault.
fn read_texts(paths: &[PathBuf]) -> BTreeMap<String, Result<String, Vec<Fault>>> {
    let mut texts = BTreeMap::new();
    for path in paths {
        match matching(path) {
            Ok(files) => {
                for file in files {
                    let name = file.display().to_string();
                    let text = std::fs::read_to_string(&file).map_err(|error| {
                        vec![fault(
                            &name,
                            format!("cannot be read: {error}; check the path in `rule_files`"),
                        )]
                    });
                    texts.insert(name, text);
                }
            }
            Err(fault) => {
                texts.insert(path.display().to_string(), Err(vec![fault]));
            }
        }
    }
    texts
}

/// The files of a path whose last part may hold `*`.
pub(crate) fn matching(path: &Path) -> Result<Vec<PathBuf>, Fault> {
    let pattern =
        path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if !pattern.contains('*') {
        return Ok(vec![path.to_owned()]);
    }
    let folder =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let unreadable = |error: std::io::Error| {
        fault(
            &path.display().to_string(),
            format!("cannot list {}: {error}; check `rule_files`", folder.display()),
        )
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if is_match(&pattern, &entry.file_name().to_string_lossy()) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// Whether a name fits a pattern in which `*` stands for any characters.
fn is_match(pattern: &str, name: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == name };
    let Some(rest) = name.strip_prefix(head) else { return false };
    (0..=rest.len()).any(|at| rest.is_char_boundary(at) && is_match(tail, &rest[at..]))
}

fn fault(file: &str, message: String) -> Fault {
    Fault { file: file.to_owned(), line: 0, group: String::new(), rule: String::new(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, fits) in [
            ("*.yml", "host.yml", true),
            ("*.yml", "host.yaml", false),
            ("host*", "host", true),
            ("*a*b", "xaxb", true),
            ("*a*b", "ba", false),
            ("ü*", "über", true),
        ] {
            assert_eq!(is_match(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn files_are_found_by_pattern_and_a_missing_one_is_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.yml", "a.yml", "c.txt"] {
            std::fs::write(folder.path().join(name), "groups: []").unwrap();
        }
        let found = matching(&folder.path().join("*.yml")).unwrap();
        assert_eq!(found, [folder.path().join("a.yml"), folder.path().join("b.yml")]);
        assert_eq!(check_rule_files(&[folder.path().join("*.none")]), []);
        let faults =
            check_rule_files(&[folder.path().join("none.yml"), "/nonexistent/*.yml".into()]);
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(
            faults.iter().any(|fault| fault.to_string().contains("none.yml: cannot be read")),
            "{faults:?}"
        );
    }

    #[test]
    fn every_fault_of_every_file_is_listed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("a.yml"),
            "groups: [{name: g, rules: [{alert: A, expr: '('}]}]",
        )
        .unwrap();
        std::fs::write(folder.path().join("b.yml"), "group: []").unwrap();
        assert_eq!(check_rule_files(&[folder.path().join("*")]).len(), 2);
    }

    #[test]
    fn the_rules_that_come_with_saker_are_valid() {
        let groups = read_file(HOST_RULES_FILE, HOST_RULES, &Defaults::default())
            .expect("the rules are valid");
        for rule in groups.iter().flat_map(|group| &group.rules) {
            let crate::rules::RuleKind::Alerting { annotations, .. } = &rule.kind else { continue };
            let names: Vec<&str> = annotations.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["description", "runbook", "summary", "value"], "{}", rule.name);
            assert!(rule.labels.iter().any(|(name, _)| name == "severity"), "{}", rule.name);
        }
    }
}
