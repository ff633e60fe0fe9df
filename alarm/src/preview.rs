//! What would become of an alert with these labels: which ways of the routing tree it takes, who is told by each,
//! in which group and when, and what holds it back now. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use db::DbError;
use db::alerts::{AlertSearch, AlertStatus};
use model::{Fingerprint, Labels, Timestamp, format_duration};
use serde::{Deserialize, Serialize};

use crate::app::Common;
use crate::directory::Directory;
use crate::http::{Api, error};
use crate::inhibit::Inhibitor;
use crate::notify::Way as Channel;
use crate::plan::Plan;
use crate::recipients::find;
use crate::route::{GroupBy, Leaf, group_key};
use crate::severity::Severity;

const LABELS_MAX: usize = 256;

/// What would happen.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Preview {
    pub(crate) labels: Labels,
    pub(crate) severity: &'static str,
    /// In the order of the tree; none means that nobody is told.
    pub(crate) ways: Vec<Way>,
    /// Silences that hold for it now.
    pub(crate) silenced_by: Vec<String>,
    /// Alerts that fire and keep it quiet.
    pub(crate) inhibited_by: Vec<String>,
    /// The maintenance window that its host is in.
    pub(crate) maintenance: Option<String>,
    /// Whether anybody would hear of it now.
    pub(crate) is_told: bool,
}

/// A way to a receiver.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Way {
    pub(crate) receiver: String,
    /// The matchers on the way, from the root.
    pub(crate) route: String,
    pub(crate) group_key: String,
    /// `...` when every alert is a group of its own.
    pub(crate) group_by: Vec<String>,
    pub(crate) group_wait: String,
    pub(crate) group_interval: String,
    pub(crate) repeat_interval: String,
    /// For a step of an escalation: so long after the start, if nobody took the alert.
    pub(crate) escalates_after: Option<String>,
    /// Why nobody is told by this way at this time.
    pub(crate) held_by: Option<&'static str>,
    pub(crate) integrations: Vec<Integration>,
}

/// One thing that a receiver is told by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Integration {
    pub(crate) key: String,
    /// `webhook`, `dry_run`, or the kinds of the bots, the main one first.
    pub(crate) kinds: Vec<&'static str>,
    /// Who is told at this moment; none for the chat of the bots.
    pub(crate) people: Vec<String>,
}

/// The preview of an alert with these labels, as things stand now.
pub(crate) async fn preview(common: &Common, labels: &Labels) -> Result<Preview, DbError> {
    let (plan, now) = (common.plans.borrow().clone(), common.clock.now());
    let firing = AlertSearch { statuses: vec![AlertStatus::Firing], ..AlertSearch::default() };
    let mut inhibitor = Inhibitor::new(&plan.inhibit_rules);
    if !plan.inhibit_rules.is_empty() {
        for stored in common.db.alerts().search(&firing, 0, u32::MAX).await? {
            inhibitor.begin(stored.alert.fingerprint(), &stored.alert.labels);
        }
    }
    let inhibited_by: BTreeSet<Fingerprint> = inhibitor.sources_of(labels).collect();
    let silences = common.silences.known();
    let holding = silences.iter().filter(|silence| silence.holds(labels, now));
    let silenced_by: Vec<String> = holding.map(|silence| silence.id.to_owned()).collect();
    let windows = common.maintenance.known();
    let maintenance = windows.holding(labels, now).map(|window| window.id.to_owned());
    let ways = ways(&plan, &common.directory.known(), labels, now);
    let is_held = !silenced_by.is_empty() || !inhibited_by.is_empty() || maintenance.is_some();
    let is_open = |way: &Way| way.held_by.is_none() && way.escalates_after.is_none();
    Ok(Preview {
        is_told: !is_held && ways.iter().any(is_open),
        labels: labels.to_owned(),
        severity: Severity::of(labels).as_str(),
        ways,
        silenced_by,
        inhibited_by: inhibited_by.iter().map(Fingerprint::to_string).collect(),
        maintenance,
    })
}

/// The ways that an alert takes. Pure.
fn ways(plan: &Plan, directory: &Directory, labels: &Labels, now: Timestamp) -> Vec<Way> {
    let leaves = plan.tree.leaves_of(labels).into_iter().map(|at| &plan.tree.leaves()[at]);
    leaves.map(|leaf| way(plan, directory, leaf, labels, now)).collect()
}

fn way(plan: &Plan, directory: &Directory, leaf: &Leaf, labels: &Labels, now: Timestamp) -> Way {
    let options = &leaf.options;
    let group_by = match &options.group_by {
        GroupBy::All => vec!["...".to_owned()],
        GroupBy::Labels(names) => names.to_vec(),
    };
    let integrations = plan.integrations_of(&leaf.receiver).map(|receiver| {
        let (kinds, people) = match &receiver.way {
            Channel::Webhook(_) => (vec!["webhook"], Vec::new()),
            Channel::DryRun => (vec!["dry_run"], Vec::new()),
            Channel::Bots(team) => {
                let named = team.people.iter().map(|person| person.user.to_owned());
                let found = find(&team.recipients, directory, now).people;
                let kinds = team.bots.iter().map(|bot| bot.spec.kind()).collect();
                (kinds, named.chain(found).collect())
            }
        };
        Integration { key: receiver.name.to_owned(), kinds, people }
    });
    Way {
        receiver: leaf.receiver.to_owned(),
        route: leaf.key.to_owned(),
        group_key: group_key(leaf, &options.group_by.labels_of(labels)),
        group_by,
        group_wait: format_duration(options.group_wait),
        group_interval: format_duration(options.group_interval),
        repeat_interval: format_duration(options.repeat.interval),
        escalates_after: leaf.escalates_after.map(format_duration),
        held_by: plan.muted(leaf, now).map(|reason| reason.as_str()),
        integrations: integrations.collect(),
    }
}

/// Reads labels as people write them: `name=value`, by commas, blanks or lines; the value may stand in quotes.
pub(crate) fn read_labels(text: &str) -> Result<Labels, String> {
    let mut pairs: BTreeMap<String, String> = BTreeMap::new();
    let mut rest = text.trim().trim_start_matches('{').trim_end_matches('}').trim();
    while !rest.is_empty() {
        let (name, tail) = rest
            .split_once('=')
            .ok_or_else(|| format!("{rest:?} is no label; write name=value, by commas"))?;
        let (name, tail) = (name.trim(), tail.trim_start());
        let (value, tail) = match tail.strip_prefix('"') {
            Some(quoted) => {
                let end =
                    quoted.find('"').ok_or_else(|| format!("the value of {name} has no end"))?;
                (&quoted[..end], &quoted[end + 1..])
            }
            None => {
                let end = tail.find([',', '\n', ' ']).unwrap_or(tail.len());
                (tail[..end].trim(), &tail[end..])
            }
        };
        if name.is_empty() || name.contains(char::is_whitespace) || pairs.len() >= LABELS_MAX {
            return Err(format!("{name:?} is no name of a label; at most {LABELS_MAX} labels"));
        }
        pairs.insert(name.to_owned(), value.to_owned());
        rest = tail.trim_start_matches([',', '\n', ' ', '\r', '\t']);
    }
    if pairs.is_empty() {
        return Err("write the labels of an alert, as in alertname=DiskFull,team=db".to_owned());
    }
    Ok(Labels::from_pairs(pairs))
}

/// The routes.
pub(crate) fn routes() -> Router<Arc<Api>> {
    Router::new().route("/api/v1/routing/preview", post(answer))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Posted {
    labels: BTreeMap<String, String>,
}

async fn answer(State(api): State<Arc<Api>>, body: Bytes) -> Response {
    let posted: Posted = match serde_json::from_slice(&body) {
        Ok(posted) => posted,
        Err(fault) => {
            let advice = "write {\"labels\":{\"alertname\":\"DiskFull\",\"team\":\"db\"}}";
            return error(StatusCode::BAD_REQUEST, &format!("not labels: {fault}; {advice}"));
        }
    };
    if posted.labels.len() > LABELS_MAX {
        return error(StatusCode::BAD_REQUEST, &format!("more than {LABELS_MAX} labels"));
    }
    match preview(&api.common, &Labels::from_pairs(posted.labels)).await {
        Ok(preview) => Json(preview).into_response(),
        Err(fault) => {
            tracing::error!(error = daemon::error_chain(&fault), "cannot preview a route");
            error(StatusCode::INTERNAL_SERVER_ERROR, "alerts cannot be read now; ask again")
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::tests::plan;

    const FILE: &str = "route: {receiver: all, group_by: [team], routes: [\
        {matchers: [team=db], receiver: dba, continue: true, escalations: [{after: 15m, receiver: boss}]},\
        {matchers: [severity=info], receiver: all, mute_time_intervals: [always]}]}\n\
        time_intervals: [{name: always, time_intervals: [{}]}]\n\
        receivers: [{name: all, webhook_configs: [{url: 'http://x/'}]}, {name: dba}, {name: boss}]\n";

    fn of(labels: &str) -> Vec<Way> {
        ways(&plan(FILE), &Directory::default(), &read_labels(labels).unwrap(), Timestamp(0))
    }

    #[test]
    fn an_alert_takes_the_ways_of_the_tree() {
        let ways = of("alertname=X,team=db");
        let names: Vec<(&str, Option<&str>)> = ways
            .iter()
            .map(|way| (way.receiver.as_str(), way.escalates_after.as_deref()))
            .collect();
        assert_eq!(names, [("dba", None), ("boss", Some("15m"))]);
        assert_eq!(ways[0].group_by, ["team"]);
        assert!(ways[0].group_key.contains("team=\"db\""), "{}", ways[0].group_key);
        let other = of("alertname=X,team=web");
        assert_eq!((other[0].receiver.as_str(), other[0].held_by), ("all", None));
        assert_eq!(other[0].integrations[0].kinds, ["webhook"]);
    }

    #[test]
    fn a_way_that_is_shut_at_this_time_says_so() {
        assert_eq!(of("alertname=X,severity=info")[0].held_by, Some("mute_time"));
    }

    #[test]
    fn labels_are_read_as_people_write_them() {
        let expected = Labels::from_pairs([("alertname", "Disk Full"), ("team", "db")]);
        for text in [
            "alertname=\"Disk Full\",team=db",
            "{alertname=\"Disk Full\", team=\"db\"}",
            "team=db\nalertname=\"Disk Full\"",
            "  team = db alertname=\"Disk Full\"  ",
        ] {
            assert_eq!(read_labels(text), Ok(expected.clone()), "{text}");
        }
        for text in ["", "{}", "team", "=db", "a=\"open", "a b=c"] {
            assert!(read_labels(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = read_labels(&text);
        }

        #[test]
        fn what_is_quoted_comes_back(value in "[^\"]{0,40}") {
            let read = read_labels(&format!("name=\"{value}\""));
            prop_assert_eq!(read, Ok(Labels::from_pairs([("name", value)])));
        }
    }
}
