//! Rules of templates, and the combined rules of the fork.

use std::collections::{BTreeMap, BTreeSet};

use crate::binding::Bound;
use crate::condition::{Condition, Remark, condition};
use crate::function::{Function, Operator};
use crate::groups::GroupNames;
use crate::import::{Options, Scope};
use crate::metrics::{Known, Metrics, Source, renamed};
use crate::nodata::{Missing, Pushed, missing};
use crate::portal::{Portal, Trigger};
use crate::report::Note;
use crate::rule::{Alerting, Kind, Rule, alert_name, comparison, labels, verbatim};
use crate::series::{Selector, SeriesOf, quoted};
use crate::window::day_window;

/// Rules for more hosts name the group instead of the hosts.
const HOSTS_NAMED_MAX: usize = 1000;

/// What all rules are made with.
pub(crate) struct Maker<'p> {
    pub(crate) portal: &'p Portal,
    pub(crate) metrics: Metrics<'p>,
    pub(crate) pushed: Pushed<'p>,
    pub(crate) groups: GroupNames<'p>,
    pub(crate) options: &'p Options,
}

/// What became of one rule.
#[derive(Debug, Default)]
pub(crate) struct Made {
    pub(crate) rules: Vec<Rule>,
    /// Seconds between two samples of the metric.
    pub(crate) step: i64,
    pub(crate) notes: Vec<Note>,
}

/// A condition over series, with what is needed to make a rule of it.
pub(crate) struct Asked {
    pub(crate) condition: Condition,
    pub(crate) function: Function,
    pub(crate) operator: Operator,
    pub(crate) step: i64,
}

/// Hosts for which missing data means the same.
struct Share<'p> {
    missing: Missing,
    hosts: BTreeSet<&'p str>,
    /// Whether these are all hosts of the rule, so that the group may be named instead.
    is_all: bool,
}

impl<'p> Maker<'p> {
    /// The rules for a strategy; more than one when missing data means different things on different
    /// hosts. The error says why there is none.
    pub(crate) fn strategy(&self, bound: &Bound<'p>) -> Result<Made, String> {
        let strategy = bound.strategy;
        let trigger = &strategy.trigger;
        let mut made = Made::default();
        let window = day_window(&strategy.run_begin, &strategy.run_end)?;
        let origin = format!("s_{}", strategy.id);
        for share in self.shares(bound)? {
            let (scope, tail) = self.scope(bound, &share, &mut made.notes);
            let selector = self.selector(&strategy.metric, &strategy.tags, &mut made.notes)?;
            let selector = match scope {
                Some(hosts) => selector.of_hosts(hosts),
                None => selector,
            };
            let asked = self.ask(&strategy.metric, &selector, trigger, &mut made.notes)?;
            made.step = asked.step;
            let Condition { holds, is_known, .. } = &asked.condition;
            let trouble = guarded(holds, is_known);
            let action = self.portal.templates.get(&bound.leaf).map_or(0, |leaf| leaf.action);
            let suffix = match share.missing {
                _ if share.is_all => "",
                Missing::Keep => "",
                Missing::Ok => "_nodata_ok",
                Missing::Alert(_) => "_nodata",
            };
            let origin = format!("{origin}{suffix}");
            made.rules.push(Rule {
                name: alert_name(trigger, &strategy.metric),
                expr: format!("{trouble}{tail} unless on (endpoint) host_maintenance == 1"),
                labels: labels(self.portal, trigger, &origin, action, &mut made.notes),
                comment: self.comment(bound),
                kind: Kind::Alerting(Box::new(Alerting {
                    recover: format!("{is_known} unless ({trouble}{tail})"),
                    missing: share.missing,
                    unseen: asked.function.needs() * asked.step,
                    notifications_max: trigger.notifications_max,
                    window,
                    annotations: self.annotations(&strategy.metric, trigger, Some(bound.leaf)),
                })),
            });
        }
        Ok(made)
    }

    /// The rule for parts that must all be in trouble on one host.
    pub(crate) fn combined(&self, parts: &[&Bound<'p>]) -> Result<Made, String> {
        let mut joined = Made::default();
        for part in parts {
            let mut made = self.strategy(part)?;
            joined.step = joined.step.max(made.step);
            joined.notes.append(&mut made.notes);
            let Some(rule) = made.rules.into_iter().next() else { continue };
            let Some(first) = joined.rules.first_mut() else {
                joined.rules.push(rule);
                continue;
            };
            first.expr = format!("({}) and on (endpoint) ({})", first.expr, rule.expr);
            first.comment = format!("{}; {}", first.comment, rule.comment);
            if let (Kind::Alerting(first), Kind::Alerting(other)) = (&mut first.kind, rule.kind) {
                first.recover =
                    format!("({}) and on (endpoint) ({})", first.recover, other.recover);
                // What one part's missing data means cannot be said of the whole.
                first.missing = Missing::Keep;
            }
        }
        let union = parts.first().map_or(0, |part| part.strategy.union);
        if let Some(rule) = joined.rules.first_mut() {
            rule.labels.insert(crate::rule::ORIGIN_LABEL.to_owned(), format!("u_{union}"));
        }
        let text = "the first part gives name, labels and annotations; name, severity and limits of \
                    the others are dropped";
        joined.notes.push(Note::new("combined", text));
        Ok(joined)
    }

    /// The series of a metric with these tags.
    pub(crate) fn selector(
        &self,
        metric: &str,
        tags: &str,
        notes: &mut Vec<Note>,
    ) -> Result<Selector, String> {
        let right = renamed(metric);
        if let Some(right) = right {
            notes.push(Note::new("name", format!("{metric} is spelt {right} here")));
        }
        let selector = Selector::new(right.unwrap_or(metric))
            .ok_or_else(|| format!("{metric:?} is no name of a metric"))?;
        if tags.split(',').any(|tag| tag.trim_end().ends_with('=')) {
            let text = "a tag with an empty value also matches series without the tag";
            notes.push(Note::new("tags", text));
        }
        Ok(selector.with_tags(tags))
    }

    /// The condition of a trigger over some series of a metric.
    pub(crate) fn ask(
        &self,
        metric: &str,
        selector: &Selector,
        trigger: &Trigger,
        notes: &mut Vec<Note>,
    ) -> Result<Asked, String> {
        let known = self.metrics.of(metric);
        let function = Function::parse(&trigger.function)?;
        let operator = Operator::parse(&trigger.operator)?;
        let series = SeriesOf::new(selector, known.is_counter, known.step);
        let condition = condition(&series, function, operator, trigger.threshold)?;
        note_metric(metric, known, notes);
        notes.extend(condition.remarks.iter().map(|remark| remarked(*remark)));
        if matches!(function, Function::StdDev { .. }) && operator != Operator::Greater {
            let text = "stddev passes over its operator: the deviation must be greater";
            notes.push(Note::new("stddev", text));
        }
        Ok(Asked { condition, function, operator, step: known.step })
    }

    /// The hosts of a rule by what missing data means for them.
    fn shares(&self, bound: &Bound<'p>) -> Result<Vec<Share<'p>>, String> {
        let strategy = bound.strategy;
        let trigger = &strategy.trigger;
        let function = Function::parse(&trigger.function)?;
        let operator = Operator::parse(&trigger.operator)?;
        let mut shares: BTreeMap<Missing, BTreeSet<&str>> = BTreeMap::new();
        for host in &bound.hosts {
            let config = self.pushed.on(&strategy.metric, &strategy.tags, host);
            let meaning = config.map_or(Missing::Keep, |config| {
                missing(config, function, operator, trigger.threshold)
            });
            shares.entry(meaning).or_default().insert(host);
        }
        if shares.is_empty() {
            shares.insert(Missing::Keep, BTreeSet::new());
        }
        let is_all = shares.len() == 1;
        let share = |(missing, hosts)| Share { missing, hosts, is_all };
        Ok(shares.into_iter().map(share).collect())
    }

    /// The hosts to name in the selector, or what to append to the expression so that the groups say it.
    fn scope(
        &self,
        bound: &Bound<'p>,
        share: &Share<'p>,
        notes: &mut Vec<Note>,
    ) -> (Option<BTreeSet<String>>, String) {
        let too_many = share.hosts.len() > HOSTS_NAMED_MAX;
        let by_group = self.options.scope == Scope::Groups || too_many;
        if by_group && share.is_all {
            if too_many && self.options.scope == Scope::Hosts {
                let text = format!(
                    "{} hosts are too many to be named one by one; the rule asks for their groups",
                    share.hosts.len()
                );
                notes.push(Note::new("hosts", text));
            }
            let member = |groups: &BTreeSet<i64>| self.groups.member(groups);
            let mut tail = format!(" and on (endpoint) {}", member(&bound.groups));
            if !bound.without.is_empty() {
                tail.push_str(&format!(" unless on (endpoint) {}", member(&bound.without)));
            }
            return (None, tail);
        }
        if by_group {
            let text = "missing data means different things on different hosts, so they are named one \
            by one";
            notes.push(Note::new("hosts", text));
        }
        (Some(share.hosts.iter().map(|host| (*host).to_owned()).collect()), String::new())
    }

    fn comment(&self, bound: &Bound<'p>) -> String {
        let strategy = bound.strategy;
        let name = |id: i64| self.portal.templates.get(&id).map_or("?", |one| one.name.as_str());
        let from = if strategy.template == bound.leaf {
            format!("template {:?}", name(bound.leaf))
        } else {
            format!("template {:?}, from {:?}", name(bound.leaf), name(strategy.template))
        };
        let counter = counter_text(&strategy.metric, &strategy.tags);
        format!(
            "strategy {} of {from}: {} of {counter}",
            strategy.id,
            comparison(&strategy.trigger)
        )
    }

    /// The annotations of an alert.
    pub(crate) fn annotations(
        &self,
        metric: &str,
        trigger: &Trigger,
        template: Option<i64>,
    ) -> BTreeMap<String, String> {
        let (metric, comparison) = (verbatim(metric), verbatim(&comparison(trigger)));
        let host = "{{ $labels.endpoint }}";
        let mut annotations = BTreeMap::from([
            ("summary".to_owned(), format!("{host} {metric} {comparison}: {{{{ $value }}}}")),
            ("value".to_owned(), "{{ $value }}".to_owned()),
        ]);
        if !trigger.note.is_empty() {
            annotations.insert("description".to_owned(), verbatim(&trigger.note));
        }
        let template = template.and_then(|id| self.portal.templates.get(&id));
        if let Some(template) = template {
            annotations.insert("template".to_owned(), verbatim(&template.name));
        }
        annotations
    }
}

/// Trouble, of series with points enough.
pub(crate) fn guarded(holds: &str, is_known: &str) -> String {
    format!("{holds} and {is_known}")
}

/// `metric/tags`, as people write it.
pub(crate) fn counter_text(metric: &str, tags: &str) -> String {
    if tags.is_empty() { metric.to_owned() } else { format!("{metric}/{tags}") }
}

fn note_metric(metric: &str, known: Known, notes: &mut Vec<Note>) {
    let kind = if known.is_counter { "counter" } else { "gauge" };
    if known.from == Source::Assumed {
        let text = format!(
            "nothing says what {metric} is: taken for a gauge every {} s. Give the graph database or \
             \"endpoint_counter\" if it is a counter or comes at another step",
            known.step
        );
        notes.push(Note::new("metric", text));
    }
    if known.is_mixed {
        let text = format!(
            "series of {metric} differ in kind or step; the rule takes a {kind} every {} s, and on \
             series with \
             shorter steps looks at the same time, which holds more points",
            known.step
        );
        notes.push(Note::new("metric", text));
    }
    if known.is_counter {
        let text =
            "a counter that begins again counts from zero; the original saw a negative rate there";
        notes.push(Note::new("counter", text));
    }
}

fn remarked(remark: Remark) -> Note {
    match remark {
        Remark::TooFewPointsKept => Note::new(
            "never_fired",
            "judge kept 11 points, too few for this rule, unless its setting remain was raised: it \
             fires now",
        ),
        Remark::DeviationOutOfReach => Note::new(
            "never_fires",
            "no point can be so many deviations from the mean of so few points: lower the threshold",
        ),
        Remark::MoreHitsThanPoints => {
            Note::new("never_fires", "lookup wants more points to hold than it looks at")
        }
    }
}

/// `host_group{group=…}` for any of some groups.
pub(crate) fn member_of(names: &[String]) -> String {
    match names {
        [only] => format!("host_group{{group={}}}", quoted(only)),
        _ => {
            let names: Vec<String> = names.iter().map(|name| name.replace('.', "\\.")).collect();
            format!("group by (endpoint) (host_group{{group=~{}}})", quoted(&names.join("|")))
        }
    }
}
