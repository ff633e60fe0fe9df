//! `route` and `inhibit_rules` of the file.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use model::{Labels, MatchOp, Matcher};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{Reader, line_of};
use crate::inhibit::Rule;
use crate::matchers::parse_matchers;
use crate::route::{Escalation, GroupBy, Options, Repeat, Route};
use crate::times::Interval;

const GROUP_WAIT: Duration = Duration::from_secs(30);
const GROUP_INTERVAL: Duration = Duration::from_secs(300);
const REPEAT_INTERVAL: Duration = Duration::from_secs(4 * 3600);
/// Deeper trees are refused: each level is a call deep.
const DEPTH_MAX: usize = 64;
/// Labels of a route at most, those of its parents included.
const LABELS_MAX: usize = 64;
const LABEL_BYTES_MAX: usize = 4 << 10;

type Texts = BTreeMap<String, String>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RouteSpec {
    receiver: Option<String>,
    group_by: Option<Vec<String>>,
    r#continue: Option<bool>,
    #[serde(rename = "match")]
    equal: Option<Texts>,
    match_re: Option<Texts>,
    matchers: Option<Vec<String>>,
    mute_time_intervals: Option<Vec<String>>,
    active_time_intervals: Option<Vec<String>>,
    group_wait: Option<String>,
    group_interval: Option<String>,
    repeat_interval: Option<String>,
    labels: Option<Texts>,
    routes: Option<Vec<Spanned<RouteSpec>>>,
    // Ours.
    whole_group: Option<bool>,
    repeat_factor: Option<f64>,
    repeat_interval_max: Option<String>,
    escalations: Option<Vec<EscalationSpec>>,
    // Of the children of the root, where the database keeps them.
    #[serde(rename = "name")]
    _name: Option<String>,
    position: Option<i64>,
}

impl RouteSpec {
    /// Where it stands among the routes of the database; the smallest is asked first.
    pub(super) fn position(&self) -> i64 {
        self.position.unwrap_or(0)
    }

    pub(super) const fn has_children(&self) -> bool {
        self.routes.is_some()
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EscalationSpec {
    after: String,
    receiver: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct InhibitSpec {
    name: Option<String>,
    source_match: Option<Texts>,
    source_match_re: Option<Texts>,
    source_matchers: Option<Vec<String>>,
    target_match: Option<Texts>,
    target_match_re: Option<Texts>,
    target_matchers: Option<Vec<String>>,
    equal: Option<Vec<String>>,
}

/// What names in a route may refer to.
#[derive(Debug)]
pub(crate) struct Known<'a> {
    /// Names of receivers.
    pub(crate) receivers: HashSet<&'a str>,
    /// Times by their names.
    pub(crate) intervals: &'a BTreeMap<String, Vec<Interval>>,
}

impl Reader {
    pub(super) fn root(&mut self, spec: Spanned<RouteSpec>, known: &Known<'_>) -> Route {
        let line = line_of(&spec);
        let root = &spec.value;
        if root.receiver.as_deref().unwrap_or("").is_empty() {
            self.fault(line, "the root route needs a receiver");
        }
        let has_matchers =
            root.equal.is_some() || root.match_re.is_some() || root.matchers.is_some();
        if has_matchers {
            self.fault(line, "the root route takes every alert and has no matchers");
        }
        if root.mute_time_intervals.is_some() || root.active_time_intervals.is_some() {
            self.fault(line, "the root route has no time intervals; give them to its children");
        }
        if root.r#continue == Some(true) {
            self.fault(line, "the root route has no `continue`: there is nothing behind it");
        }
        let defaults = Options {
            receiver: None,
            group_by: GroupBy::Labels(Vec::new()),
            group_wait: GROUP_WAIT,
            group_interval: GROUP_INTERVAL,
            repeat: Repeat { interval: REPEAT_INTERVAL, factor: 1.0, interval_max: Duration::MAX },
            whole_group: false,
            labels: Labels::empty(),
        };
        self.route(spec, &defaults, known, 0)
    }

    pub(super) fn route(
        &mut self,
        spec: Spanned<RouteSpec>,
        parent: &Options,
        known: &Known<'_>,
        depth: usize,
    ) -> Route {
        let (line, spec) = (line_of(&spec), spec.value);
        let options = self.options(line, &spec, parent, known);
        let mute_times = self.names_of_times(line, spec.mute_time_intervals, known);
        let active_times = self.names_of_times(line, spec.active_time_intervals, known);
        let matchers = self.matchers(
            line,
            ["match", "match_re", "matchers"],
            (spec.equal, spec.match_re, spec.matchers),
        );
        let escalations = spec.escalations.unwrap_or_default();
        let escalations = escalations
            .into_iter()
            .map(|step| {
                self.check_receiver(line, &step.receiver, known);
                let after = self.duration(line, "after", Some(&step.after), Duration::ZERO);
                if after.is_zero() {
                    self.fault(line, "an escalation comes `after` some time, as in 15m");
                }
                Escalation { after, receiver: step.receiver }
            })
            .collect();
        let mut children = spec.routes.unwrap_or_default();
        if depth == DEPTH_MAX && !children.is_empty() {
            self.fault(line, format!("routes are nested deeper than {DEPTH_MAX}"));
            children.clear();
        }
        let routes = children
            .into_iter()
            .map(|child| self.route(child, &options, known, depth + 1))
            .collect();
        Route {
            matchers,
            goes_on: spec.r#continue.unwrap_or(false),
            options,
            mute_times,
            active_times,
            escalations,
            routes,
        }
    }

    fn options(
        &mut self,
        line: u64,
        spec: &RouteSpec,
        parent: &Options,
        known: &Known<'_>,
    ) -> Options {
        if let Some(receiver) = &spec.receiver {
            self.check_receiver(line, receiver, known);
        }
        let group_wait =
            self.duration(line, "group_wait", spec.group_wait.as_deref(), parent.group_wait);
        let interval = spec.group_interval.as_deref();
        let group_interval = self.duration(line, "group_interval", interval, parent.group_interval);
        let interval = spec.repeat_interval.as_deref();
        let interval = self.duration(line, "repeat_interval", interval, parent.repeat.interval);
        let (said_group, said_repeat) = (&spec.group_interval, &spec.repeat_interval);
        for (key, said, span) in [
            ("group_interval", said_group, group_interval),
            ("repeat_interval", said_repeat, interval),
        ] {
            // The root of saker.toml waits for nothing, and its children may do so too.
            if said.is_some() && span.is_zero() {
                self.fault(line, format!("{key} must be longer than nothing"));
            }
        }
        let factor = spec.repeat_factor.unwrap_or(parent.repeat.factor);
        if !(1.0..=10.0).contains(&factor) {
            self.fault(line, format!("repeat_factor {factor} must be from 1 to 10"));
        }
        let most = spec.repeat_interval_max.as_deref();
        let most = self.duration(line, "repeat_interval_max", most, parent.repeat.interval_max);
        let most = match &spec.repeat_interval_max {
            // What was inherited does not bound what is said here.
            None => most.max(interval),
            Some(_) if most < interval => {
                self.fault(line, "repeat_interval_max is below repeat_interval");
                most
            }
            Some(_) => most,
        };
        Options {
            receiver: spec.receiver.clone().or_else(|| parent.receiver.clone()),
            group_by: self.group_by(line, spec.group_by.as_deref(), &parent.group_by),
            group_wait,
            group_interval,
            repeat: Repeat { interval, factor, interval_max: most },
            whole_group: spec.whole_group.unwrap_or(parent.whole_group),
            labels: self.labels(line, spec.labels.as_ref(), &parent.labels),
        }
    }

    /// Those of the parent, with what the child says put over them.
    fn labels(&mut self, line: u64, own: Option<&Texts>, parent: &Labels) -> Labels {
        let Some(own) = own else { return parent.clone() };
        let mut labels = parent.edit();
        for (name, value) in own {
            if name.is_empty() || value.len() > LABEL_BYTES_MAX {
                let most = format!("and a value of {LABEL_BYTES_MAX} bytes at most");
                self.fault(line, format!("labels: {name:?} needs a name {most}"));
            }
            labels.set(name, value);
        }
        let labels = labels.build();
        if labels.iter().count() > LABELS_MAX {
            self.fault(
                line,
                format!("labels: more than {LABELS_MAX}, the inherited ones included"),
            );
        }
        labels
    }

    fn group_by(&mut self, line: u64, names: Option<&[String]>, parent: &GroupBy) -> GroupBy {
        let Some(names) = names else { return parent.clone() };
        for (n, name) in names.iter().enumerate() {
            if names[..n].contains(name) {
                self.fault(line, format!("group_by: label {name:?} is there twice"));
            }
        }
        match names {
            [all] if all == "..." => GroupBy::All,
            _ if names.iter().any(|name| name == "...") => {
                self.fault(line, "group_by: \"...\" stands alone, it means all labels");
                GroupBy::All
            }
            _ => GroupBy::Labels(names.to_vec()),
        }
    }

    fn check_receiver(&mut self, line: u64, name: &str, known: &Known<'_>) {
        if !known.receivers.contains(name) {
            self.fault(
                line,
                format!("receiver {name:?} is not defined; add it to the receivers first"),
            );
        }
    }

    fn names_of_times(
        &mut self,
        line: u64,
        names: Option<Vec<String>>,
        known: &Known<'_>,
    ) -> Vec<String> {
        let names = names.unwrap_or_default();
        for name in names.iter().filter(|name| !known.intervals.contains_key(*name)) {
            self.fault(
                line,
                format!(
                    "time interval {name:?} is not defined; add it to the time intervals first"
                ),
            );
        }
        names
    }

    fn matchers(
        &mut self,
        line: u64,
        keys: [&str; 3],
        (equal, patterns, texts): (Option<Texts>, Option<Texts>, Option<Vec<String>>),
    ) -> Vec<Matcher> {
        let mut matchers = Vec::new();
        for (name, value) in equal.unwrap_or_default() {
            matchers.extend(self.take(line, keys[0], Matcher::new(&name, MatchOp::Equal, &value)));
        }
        for (name, value) in patterns.unwrap_or_default() {
            matchers.extend(self.take(line, keys[1], Matcher::new(&name, MatchOp::Regex, &value)));
        }
        for text in texts.unwrap_or_default() {
            matchers.extend(self.take(line, keys[2], parse_matchers(&text)).unwrap_or_default());
        }
        matchers
    }

    pub(super) fn inhibit_rules(&mut self, specs: Vec<Spanned<InhibitSpec>>) -> Vec<Rule> {
        let mut rules = Vec::new();
        for spec in specs {
            let (line, spec) = (line_of(&spec), spec.value);
            let source = self.matchers(
                line,
                ["source_match", "source_match_re", "source_matchers"],
                (spec.source_match, spec.source_match_re, spec.source_matchers),
            );
            let target = self.matchers(
                line,
                ["target_match", "target_match_re", "target_matchers"],
                (spec.target_match, spec.target_match_re, spec.target_matchers),
            );
            let name = spec.name.unwrap_or_default();
            rules.push(Rule { name, source, target, equal: spec.equal.unwrap_or_default() });
        }
        rules
    }
}
