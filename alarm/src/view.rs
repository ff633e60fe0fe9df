//! What `GET /api/v2/alerts` and `/alerts/groups` answer: the alerts as they stand now. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use db::alerts::{AlertStatus, StoredAlert};
use db::claims::ClaimKind;
use model::{Fingerprint, Labels, MatchOp, Matcher, Timestamp};
use wire::alert::{self, AlertGroup, AlertState, GettableAlert, Receiver as ReceiverName};

use crate::claims::Claims;
use crate::inhibit::Inhibitor;
use crate::matchers::{matchers_all, parse_matcher};
use crate::plan::Plan;
use crate::route::Leaf;
use crate::silence::Silence;

/// What the query asks for.
#[derive(Debug)]
pub(crate) struct Wanted {
    active: bool,
    silenced: bool,
    inhibited: bool,
    unprocessed: bool,
    muted: bool,
    filter: Vec<Matcher>,
    receiver: Option<Matcher>,
}

impl Wanted {
    /// Reads a query; the fault names the key.
    pub(crate) fn read(query: &[(String, String)]) -> Result<Self, String> {
        let mut wanted = Self {
            active: true,
            silenced: true,
            inhibited: true,
            unprocessed: true,
            muted: true,
            filter: Vec::new(),
            receiver: None,
        };
        for (key, value) in query {
            match key.as_str() {
                "active" => wanted.active = yes_or_no(key, value)?,
                "silenced" => wanted.silenced = yes_or_no(key, value)?,
                "inhibited" => wanted.inhibited = yes_or_no(key, value)?,
                "unprocessed" => wanted.unprocessed = yes_or_no(key, value)?,
                "muted" => wanted.muted = yes_or_no(key, value)?,
                "filter" => wanted
                    .filter
                    .push(parse_matcher(value).map_err(|fault| format!("filter: {fault}"))?),
                "receiver" => {
                    let matcher = Matcher::new("receiver", MatchOp::Regex, value);
                    wanted.receiver = Some(matcher.map_err(|fault| fault.to_string())?);
                }
                _ => {}
            }
        }
        Ok(wanted)
    }

    /// An alert is taken out by each of its conditions that is not wanted.
    fn takes(&self, alert: &GettableAlert) -> bool {
        let status = &alert.status;
        (self.active || status.state != AlertState::Active)
            && (self.unprocessed || status.state != AlertState::Unprocessed)
            && (self.silenced || status.silenced_by.is_empty())
            && (self.inhibited || status.inhibited_by.is_empty())
            && matchers_all(&self.filter, &alert.labels)
    }

    fn takes_receiver(&self, name: &str) -> bool {
        self.receiver.as_ref().is_none_or(|pattern| pattern.matches(name))
    }
}

fn yes_or_no(key: &str, value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| format!("{key}: {value:?} is neither true nor false"))
}

/// All unresolved alerts and what holds for them.
#[derive(Debug)]
pub(crate) struct View {
    plan: Arc<Plan>,
    silences: Arc<Vec<Silence>>,
    claims: Arc<Claims>,
    inhibitor: Inhibitor,
    alerts: Vec<StoredAlert>,
    now: Timestamp,
}

impl View {
    /// Of these alerts at `now`.
    pub(crate) fn new(
        plan: Arc<Plan>,
        silences: Arc<Vec<Silence>>,
        claims: Arc<Claims>,
        alerts: Vec<StoredAlert>,
        now: Timestamp,
    ) -> Self {
        let mut inhibitor = Inhibitor::new(&plan.inhibit_rules);
        for stored in alerts.iter().filter(|stored| stored.status == AlertStatus::Firing) {
            inhibitor.begin(stored.alert.fingerprint(), &stored.alert.labels);
        }
        Self { plan, silences, claims, inhibitor, alerts, now }
    }

    /// The alerts that are wanted, by fingerprint.
    pub(crate) fn alerts(&self, wanted: &Wanted) -> Vec<GettableAlert> {
        let mut listed: Vec<GettableAlert> = self
            .alerts
            .iter()
            .filter(|stored| matchers_all(&wanted.filter, &stored.alert.labels))
            .map(|stored| self.gettable(stored))
            .filter(|alert| wanted.takes(alert))
            .filter(|alert| {
                let mut names = alert.receivers.iter();
                wanted.receiver.is_none() || names.any(|one| wanted.takes_receiver(&one.name))
            })
            .collect();
        listed.sort_unstable_by(|one, other| one.fingerprint.cmp(&other.fingerprint));
        listed
    }

    /// The wanted alerts by group and receiver; those that are muted by the time name the intervals.
    pub(crate) fn groups(&self, wanted: &Wanted) -> Vec<AlertGroup> {
        let leaves = self.plan.tree.leaves();
        let mut groups: BTreeMap<(String, usize), (Labels, Vec<GettableAlert>)> = BTreeMap::new();
        for stored in &self.alerts {
            let alert = self.gettable(stored);
            if !wanted.takes(&alert) {
                continue;
            }
            for at in self.plan.tree.leaves_of(&alert.labels) {
                let leaf = &leaves[at];
                let muted_by = self.plan.muting(leaf, self.now);
                let is_wanted = leaf.escalates_after.is_none()
                    && wanted.takes_receiver(&leaf.receiver)
                    && (wanted.muted || muted_by.is_empty());
                if is_wanted {
                    let labels = leaf.options.group_by.labels_of(&alert.labels);
                    let group =
                        groups.entry((labels.to_string(), at)).or_insert((labels, Vec::new()));
                    let mut alert = alert.clone();
                    alert.status.muted_by = muted_by;
                    alert.receivers.retain(|one| wanted.takes_receiver(&one.name));
                    group.1.push(alert);
                }
            }
        }
        groups
            .into_iter()
            .map(|((_, at), (labels, mut alerts))| {
                alerts.sort_unstable_by(|one, other| one.fingerprint.cmp(&other.fingerprint));
                let receiver = ReceiverName { name: leaves[at].receiver.clone() };
                AlertGroup { labels, receiver, alerts }
            })
            .collect()
    }

    fn gettable(&self, stored: &StoredAlert) -> GettableAlert {
        let labels = &stored.alert.labels;
        let holds = |silence: &&Silence| silence.holds(labels, self.now);
        let mut silenced_by: Vec<String> =
            self.silences.iter().filter(holds).map(|silence| silence.id.clone()).collect();
        // Put off is a silence for one alert.
        if let Some(claim) = self.claims.on(stored, ClaimKind::Snoozed, self.now) {
            silenced_by.push(format!("snoozed by {}", claim.owner));
        }
        let inhibited_by: BTreeSet<Fingerprint> = self.inhibitor.sources_of(labels).collect();
        let inhibited_by: Vec<String> = inhibited_by.iter().map(Fingerprint::to_string).collect();
        let muted_by = self.muted_by(labels);
        let is_held = !(silenced_by.is_empty() && inhibited_by.is_empty() && muted_by.is_empty());
        let state = if is_held { AlertState::Suppressed } else { AlertState::Active };
        let status = alert::AlertStatus { state, silenced_by, inhibited_by, muted_by };
        let names = self.plan.tree.receivers_of(labels).into_iter();
        let receivers = names.map(|name| ReceiverName { name: name.to_owned() }).collect();
        GettableAlert::new(stored.alert.clone(), stored.updated_at, receivers, status)
    }

    /// The intervals that mute every way of an alert; empty while one way is open.
    fn muted_by(&self, labels: &Labels) -> Vec<String> {
        let mut names = BTreeSet::new();
        for at in self.plan.tree.leaves_of(labels) {
            let of_leaf = self.plan.muting(&self.plan.tree.leaves()[at], self.now);
            if of_leaf.is_empty() {
                return Vec::new();
            }
            names.extend(of_leaf);
        }
        names.into_iter().collect()
    }
}

impl Plan {
    /// Names of the intervals because of which nobody is told by this way at this time: those that mute it, or
    /// those none of which holds.
    fn muting(&self, leaf: &Leaf, now: Timestamp) -> Vec<String> {
        let holds = |name: &&String| {
            self.intervals.get(*name).is_some_and(|any| any.iter().any(|one| one.holds(now)))
        };
        let muting: Vec<String> = leaf.mute_times.iter().filter(holds).cloned().collect();
        if !muting.is_empty() || leaf.active_times.is_empty() {
            return muting;
        }
        if leaf.active_times.iter().any(|name| holds(&name)) {
            return Vec::new();
        }
        leaf.active_times.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::tests::candidate;
    use crate::plan::tests::plan;
    use crate::silence::tests::{matcher, silence};

    const PLAN: &str = "
route:
  receiver: default
  group_by: [alertname]
  routes:
    - matchers: [team=db]
      receiver: db
      continue: true
    - matchers: [team=~\"db|web\"]
      receiver: night
      group_by: [team]
      active_time_intervals: [never]
inhibit_rules:
  - {source_matchers: [severity=critical], target_matchers: [severity=warning], equal: [host]}
time_intervals:
  - {name: never, time_intervals: [{years: ['1999']}]}
receivers: [{name: default}, {name: db}, {name: night}]
";

    fn stored(labels: &[(&str, &str)]) -> StoredAlert {
        let mut stored = candidate(AlertStatus::Firing, 1_000, None).alert;
        stored.alert.labels = Labels::from_pairs(labels.iter().copied());
        stored
    }

    fn view(alerts: Vec<StoredAlert>, silences: Vec<Silence>) -> View {
        let now = Timestamp(1_760_000_000_000);
        View::new(Arc::new(plan(PLAN)), Arc::new(silences), Arc::default(), alerts, now)
    }

    fn read(query: &[(&str, &str)]) -> Result<Wanted, String> {
        let query: Vec<_> =
            query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Wanted::read(&query)
    }

    fn names(view: &View, query: &[(&str, &str)]) -> Vec<String> {
        let alerts = view.alerts(&read(query).unwrap());
        let mut names: Vec<String> =
            alerts.iter().map(|a| a.labels.get("alertname").unwrap().to_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_query_is_read_with_its_faults_named() {
        let query = [("filter", "a=b"), ("filter", "c=~d"), ("silenced", "false"), ("x", "y")];
        let wanted = read(&query).unwrap();
        assert_eq!((wanted.active, wanted.silenced, wanted.filter.len()), (true, false, 2));
        assert!(read(&[("active", "maybe")]).is_err_and(|fault| fault.contains("active")));
        assert!(read(&[("filter", "a")]).is_err_and(|fault| fault.contains("filter")));
        assert!(read(&[("receiver", "(")]).is_err());
    }

    #[test]
    fn alerts_are_listed_with_what_holds_them_back_and_narrowed_by_it() {
        let now = Timestamp(1_760_000_000_000);
        let all = vec![
            stored(&[("alertname", "Source"), ("severity", "critical"), ("host", "a")]),
            stored(&[("alertname", "Target"), ("severity", "warning"), ("host", "a")]),
            stored(&[("alertname", "Silent"), ("severity", "warning"), ("host", "b")]),
            stored(&[("alertname", "Night"), ("team", "web")]),
        ];
        let view = view(all, vec![silence("id", vec![matcher("host", "b", false)], now)]);
        assert_eq!(names(&view, &[]), ["Night", "Silent", "Source", "Target"]);
        assert_eq!(names(&view, &[("silenced", "false")]), ["Night", "Source", "Target"]);
        assert_eq!(names(&view, &[("inhibited", "false")]), ["Night", "Silent", "Source"]);
        assert_eq!(names(&view, &[("active", "false")]), ["Night", "Silent", "Target"]);
        assert_eq!(names(&view, &[("filter", "host=a"), ("inhibited", "false")]), ["Source"]);
        assert_eq!(names(&view, &[("receiver", "night")]), ["Night"]);
        let listed = view.alerts(&read(&[("filter", "alertname=Target")]).unwrap());
        let source = view.alerts(&read(&[("filter", "alertname=Source")]).unwrap());
        assert_eq!(listed[0].status.inhibited_by, [source[0].fingerprint.clone()]);
        assert_eq!(listed[0].status.state, AlertState::Suppressed);
        let night = view.alerts(&read(&[("filter", "alertname=Night")]).unwrap());
        assert_eq!(night[0].status.muted_by, ["never"]);
    }

    #[test]
    fn an_alert_is_in_a_group_of_every_way_it_takes() {
        let all = vec![
            stored(&[("alertname", "X"), ("team", "db"), ("host", "a")]),
            stored(&[("alertname", "X"), ("team", "db"), ("host", "b")]),
            stored(&[("alertname", "Y"), ("team", "web")]),
            stored(&[("alertname", "Z")]),
        ];
        let view = view(all, Vec::new());
        let groups = |query: &[(&str, &str)]| -> Vec<(String, String, usize)> {
            let groups = view.groups(&read(query).unwrap()).into_iter();
            groups.map(|g| (g.receiver.name, g.labels.to_string(), g.alerts.len())).collect()
        };
        let of =
            |receiver: &str, labels: &str, alerts| (receiver.to_owned(), labels.to_owned(), alerts);
        let open = [of("db", "{alertname=\"X\"}", 2), of("default", "{alertname=\"Z\"}", 1)];
        let muted = [of("night", "{team=\"db\"}", 2), of("night", "{team=\"web\"}", 1)];
        assert_eq!(groups(&[]), [open.to_vec(), muted.to_vec()].concat());
        assert_eq!(groups(&[("muted", "false")]), open);
        assert_eq!(groups(&[("receiver", "night")]), muted);
        let night = view.groups(&read(&[("receiver", "night")]).unwrap());
        assert_eq!(night[0].alerts[0].status.muted_by, ["never"]);
        let names: Vec<&str> =
            night[0].alerts[0].receivers.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["night"], "of the receivers only those asked for");
    }
}
