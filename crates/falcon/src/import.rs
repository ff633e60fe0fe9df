//! The whole of a portal database as files of rules, groups of hosts, receivers, and a report.

use std::collections::{BTreeMap, BTreeSet};

use model::canonical_name;
use serde::Serialize;

use crate::binding::{Bound, bind};
use crate::general::general;
use crate::groups::{GroupNames, HostGroup, host_groups};
use crate::metrics::Metrics;
use crate::nodata::Pushed;
use crate::portal::Portal;
use crate::receivers::receivers;
use crate::report::{Entries, Entry, Note, Origin, Outcome, Report};
use crate::row::RowFault;
use crate::rule::{Group, Rule, alert_interval};
use crate::strategy::{Made, Maker, counter_text};
use crate::yaml;

/// Expressions of one rule group, by their ids, so that a new one leaves the other groups as they are.
const EXPRESSIONS_PER_GROUP: i64 = 200;
/// Letters of a name in the name of a file or a rule group.
const SLUG_CHARS_MAX: usize = 60;

/// How a portal database is to be taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How rules say for which hosts they are.
    pub scope: Scope,
    /// For whom they are written.
    pub format: Format,
    /// Seconds between two samples of metrics of which nothing else is known.
    pub step_seconds: i64,
    /// Where the clock hangs by which rules work only at some hours: a name such as `Asia/Shanghai`,
    /// `UTC`, or `+08:00`.
    pub time_zone: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            scope: Scope::Hosts,
            format: Format::Saker,
            step_seconds: 60,
            time_zone: "UTC".to_owned(),
        }
    }
}

/// How rules say for which hosts they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// They name them, as they are now. More than a thousand are named by their groups all the same.
    Hosts,
    /// They ask `host_group`, which hbs writes, so that they follow the groups.
    Groups,
}

/// For whom rules are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// judge, with the fields that only it has.
    Saker,
    /// Anything that reads Prometheus' files. What their fields cannot say is left out.
    Prometheus,
}

/// A portal database, taken over.
#[derive(Debug, Clone, PartialEq)]
pub struct Import {
    /// Files of rules.
    pub files: Vec<RuleFile>,
    /// Groups of hosts.
    pub host_groups: Vec<HostGroup>,
    /// Receivers of callbacks, for the configuration of alarm; empty when there are none.
    pub receivers: String,
    /// What became of everything.
    pub report: Report,
}

/// A file of rules in Prometheus' format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleFile {
    /// Its name.
    pub name: String,
    /// What is in it.
    #[serde(skip)]
    pub text: String,
    /// Its groups, one by one.
    pub groups: Vec<RuleGroupText>,
}

/// One group of rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleGroupText {
    /// Its name, unique among all that are imported. They all begin with `falcon-`.
    pub name: String,
    /// The group as judge's API takes it.
    #[serde(skip)]
    pub body: String,
    /// How many rules it has.
    pub rules: usize,
}

/// Takes a portal database over. `faults` are the rows that could not be read; they end up in the report.
pub fn import(portal: &Portal, faults: Vec<RowFault>, options: &Options) -> Import {
    let maker = Maker {
        portal,
        metrics: Metrics::new(portal, options.step_seconds),
        pushed: Pushed::new(portal),
        groups: GroupNames::new(portal),
        options,
    };
    let bound = bind(portal);
    let mut work = Work { maker: &maker, files: Vec::new(), entries: Entries::default() };
    work.templates(&bound);
    work.expressions();
    work.aggregators();
    let (groups, entries) = host_groups(portal, &maker.groups, &bound);
    entries.into_iter().for_each(|entry| work.entries.note(entry));
    work.unbound();
    work.unread();
    let (receivers, actions) = receivers(portal);
    actions.into_iter().for_each(|entry| work.entries.note(entry));
    let report = Report {
        general: general(portal, options, &collisions(portal)),
        entries: work.entries.into_list(),
        faults,
    };
    Import { files: work.files, host_groups: groups, receivers, report }
}

struct Work<'p> {
    maker: &'p Maker<'p>,
    files: Vec<RuleFile>,
    entries: Entries,
}

impl<'p> Work<'p> {
    /// A file for each template that is bound to groups.
    fn templates(&mut self, bound: &[Bound<'p>]) {
        let mut by_leaf: BTreeMap<i64, Vec<&Bound<'p>>> = BTreeMap::new();
        for bound in bound {
            by_leaf.entry(bound.leaf).or_default().push(bound);
        }
        for (leaf, bound) in by_leaf {
            let name = self.maker.portal.templates.get(&leaf).map_or("", |one| one.name.as_str());
            let slug = slug(name);
            let group = format!("falcon-template-{leaf}-{slug}");
            let (rules, step) = self.template(&group, &bound);
            if !rules.is_empty() {
                let comment = format!("Open-Falcon template {leaf}, {name}");
                let group = Group { name: group, comment, interval: alert_interval(step), rules };
                self.file(format!("template-{leaf}-{slug}.yml"), vec![group]);
            }
        }
    }

    /// The rules of a template, and the shortest step of their metrics.
    fn template(&mut self, group: &str, bound: &[&Bound<'p>]) -> (Vec<Rule>, i64) {
        let mut rules = Vec::new();
        let mut shortest = i64::MAX;
        let mut unions: BTreeMap<i64, Vec<&Bound<'p>>> = BTreeMap::new();
        let mut take = |made: Made| {
            shortest = shortest.min(made.step.max(1));
            rules.extend(made.rules);
        };
        for one in bound {
            let strategy = one.strategy;
            if strategy.union > 0 {
                unions.entry(strategy.union).or_default().push(one);
                continue;
            }
            let origin = Origin::Strategy(strategy.id);
            let name = counter_text(&strategy.metric, &strategy.tags);
            if let Some(made) =
                self.one(origin, name, group, is_off(one), || self.maker.strategy(one))
            {
                take(made);
            }
        }
        for (union, parts) in unions {
            let names: Vec<&str> = parts.iter().map(|part| part.strategy.metric.as_str()).collect();
            let name = names.join(" and ");
            let origin = Origin::Combined(union);
            let off = parts.first().and_then(|part| is_off(part));
            if let Some(made) = self.one(origin, name, group, off, || self.maker.combined(&parts)) {
                take(made);
            }
        }
        (rules, shortest)
    }

    /// Makes one thing unless it is off, and notes what became of it.
    fn one(
        &mut self,
        origin: Origin,
        name: String,
        group: &str,
        off: Option<Note>,
        make: impl FnOnce() -> Result<Made, String>,
    ) -> Option<Made> {
        let mut entry = Entry {
            origin,
            name,
            outcome: Outcome::Off,
            rule_groups: Vec::new(),
            notes: Vec::new(),
        };
        if let Some(off) = off {
            entry.notes.push(off);
            self.entries.note(entry);
            return None;
        }
        match make() {
            Ok(mut made) => {
                entry.notes = std::mem::take(&mut made.notes);
                entry.outcome = taken(&entry.notes);
                entry.rule_groups.push(group.to_owned());
                self.entries.note(entry);
                Some(made)
            }
            Err(reason) => {
                entry.outcome = Outcome::Refused;
                entry.notes.push(Note::new("refused", reason));
                self.entries.note(entry);
                None
            }
        }
    }

    fn expressions(&mut self) {
        let mut groups: BTreeMap<i64, (Vec<Rule>, i64)> = BTreeMap::new();
        for expression in &self.maker.portal.expressions {
            let place = expression.id / EXPRESSIONS_PER_GROUP;
            let group = format!("falcon-expressions-{place}");
            let origin = Origin::Expression(expression.id);
            let off = if expression.is_paused {
                Some(Note::new("off", "it was paused"))
            } else {
                silent(expression.trigger.notifications_max)
            };
            let make = || self.maker.expression(expression);
            if let Some(made) = self.one(origin, expression.text.clone(), &group, off, make) {
                let (rules, step) = groups.entry(place).or_insert((Vec::new(), i64::MAX));
                *step = (*step).min(made.step.max(1));
                rules.extend(made.rules);
            }
        }
        let groups: Vec<Group> = groups
            .into_iter()
            .map(|(place, (rules, step))| Group {
                name: format!("falcon-expressions-{place}"),
                comment: "Open-Falcon expressions".to_owned(),
                interval: alert_interval(step),
                rules,
            })
            .collect();
        if !groups.is_empty() {
            self.file("expressions.yml".to_owned(), groups);
        }
    }

    /// A file for each group of hosts, so that the work of a big installation is spread over judges.
    fn aggregators(&mut self) {
        let mut groups: BTreeMap<(i64, i64), Vec<Rule>> = BTreeMap::new();
        for aggregator in &self.maker.portal.aggregators {
            let slug = slug(self.maker.groups.original(aggregator.group));
            let group = format!("falcon-cluster-{}-{slug}-{}s", aggregator.group, aggregator.step);
            let name = format!("{} {}", aggregator.endpoint, aggregator.metric);
            let make = || {
                let mut notes = Vec::new();
                let rules = self.maker.aggregator(aggregator, &mut notes)?;
                Ok(Made { rules, step: aggregator.step, notes })
            };
            let origin = Origin::Aggregator(aggregator.id);
            if let Some(made) = self.one(origin, name, &group, None, make) {
                let key = (aggregator.group, aggregator.step);
                groups.entry(key).or_default().extend(made.rules);
            }
        }
        let mut files: BTreeMap<i64, Vec<Group>> = BTreeMap::new();
        for ((id, step), rules) in groups {
            let original = self.maker.groups.original(id);
            let name = format!("falcon-cluster-{id}-{}-{step}s", slug(original));
            let comment = format!("Open-Falcon aggregators of group {id}, {original}");
            files.entry(id).or_default().push(Group { name, comment, interval: step, rules });
        }
        for (id, groups) in files {
            let slug = slug(self.maker.groups.original(id));
            self.file(format!("cluster-{id}-{slug}.yml"), groups);
        }
    }

    fn file(&mut self, name: String, groups: Vec<Group>) {
        let text = |group: Group| RuleGroupText {
            body: yaml::group(&group, self.maker.options),
            rules: group.rules.len(),
            name: group.name,
        };
        let groups: Vec<RuleGroupText> = groups.into_iter().map(text).collect();
        let bodies: Vec<String> = groups.iter().map(|group| group.body.clone()).collect();
        let heading = "Written by saker ctl import open-falcon; an import overwrites it.";
        self.files.push(RuleFile { name, text: yaml::file(heading, &bodies), groups });
    }

    /// Notes the strategies that no host has.
    fn unbound(&mut self) {
        for strategy in &self.maker.portal.strategies {
            let origin = match strategy.union {
                0 => Origin::Strategy(strategy.id),
                union => Origin::Combined(union),
            };
            if self.entries.has(origin) {
                continue;
            }
            let text = format!(
                "no group of hosts has it: template {} is bound to none, is missing or in a circle, \
                 or one below \
                 it replaces this rule",
                strategy.template
            );
            self.entries.note(Entry {
                origin,
                name: counter_text(&strategy.metric, &strategy.tags),
                outcome: Outcome::Off,
                rule_groups: Vec::new(),
                notes: vec![Note::new("off", text)],
            });
        }
    }

    /// Notes what became of the values that were pushed for missing samples.
    fn unread(&mut self) {
        let portal = self.maker.portal;
        let strategies =
            portal.strategies.iter().map(|one| (one.metric.as_str(), one.tags.as_str()));
        let wanted: BTreeSet<(&str, &str)> = strategies.collect();
        let read: BTreeSet<i64> = wanted
            .into_iter()
            .flat_map(|(metric, tags)| self.maker.pushed.any(metric, tags))
            .map(|config| config.id)
            .collect();
        for config in &portal.nodata {
            let (outcome, note) = if read.contains(&config.id) {
                let text = "no samples are made up: rules over these series say what missing data means. \
                            A series that was never there is not missed";
                (Outcome::Differs, Note::new("no_data", text))
            } else {
                (Outcome::Off, Note::new("off", "no rule of a template reads these values"))
            };
            self.entries.note(Entry {
                origin: Origin::NoData(config.id),
                name: config.name.clone(),
                outcome,
                rule_groups: Vec::new(),
                notes: vec![note],
            });
        }
    }
}

fn taken(notes: &[Note]) -> Outcome {
    if notes.is_empty() { Outcome::Same } else { Outcome::Differs }
}

fn is_off(bound: &Bound<'_>) -> Option<Note> {
    silent(bound.strategy.trigger.notifications_max)
}

fn silent(notifications_max: i64) -> Option<Note> {
    (notifications_max <= 0).then(|| Note::new("off", "max_step was 0: it never told anybody"))
}

/// Metrics that are told apart there and not here.
fn collisions(portal: &Portal) -> Vec<Vec<&str>> {
    let strategies = portal.strategies.iter().map(|one| one.metric.as_str());
    let aggregators = portal.aggregators.iter().map(|one| one.metric.as_str());
    let counters = portal.counters.iter().map(|one| one.metric.as_str());
    let mut originals: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for metric in strategies.chain(aggregators).chain(counters) {
        originals.entry(canonical_name(metric)).or_default().insert(metric);
    }
    let several = originals.into_values().filter(|originals| originals.len() > 1);
    several.map(|originals| originals.into_iter().collect()).collect()
}

/// A name as a part of names of files.
fn slug(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    name.chars().map(letter).take(SLUG_CHARS_MAX).collect()
}
