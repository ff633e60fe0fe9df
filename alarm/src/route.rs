//! The routing tree: which receivers an alert is for, and how it is grouped on the way. Pure.
//!
//! The rules are Alertmanager's (`alerting.md` 3.2): depth first, children in order, a match ends the search
//! among its siblings unless it says `continue`, and a node none of whose children match takes the alert itself.
//! What a leaf of ours adds is escalation: the same alerts, for another receiver, once they have burned for a
//! while and nobody took them.

use std::fmt::Write as _;
use std::time::Duration;

use model::{Labels, Matcher, Timestamp};

use crate::matchers::{matchers_all, matchers_text};

/// Which labels make a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GroupBy {
    /// All of them: every alert is a group of its own (`...`).
    All,
    /// These; none of them makes one group of everything.
    Labels(Vec<String>),
}

impl GroupBy {
    /// The labels of the group that an alert falls into.
    pub(crate) fn labels_of(&self, alert: &Labels) -> Labels {
        match self {
            Self::All => alert.clone(),
            Self::Labels(names) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                alert.only(&names)
            }
        }
    }
}

/// When what keeps firing is told again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Repeat {
    /// The first time, and without a factor every time.
    pub(crate) interval: Duration,
    /// Each interval is so many times the one before; 1 keeps them equal.
    pub(crate) factor: f64,
    /// No interval is longer.
    pub(crate) interval_max: Duration,
}

impl Repeat {
    /// The first repeat after `told_at` of what fires since `since`: the repeats of an alert stand at fixed
    /// distances from its start, so that a restart does not begin to count anew.
    pub(crate) fn next(&self, since: Timestamp, told_at: Timestamp) -> Timestamp {
        let told_after = told_at.since(since);
        let (mut at, mut interval) = (Duration::ZERO, self.interval);
        while at + interval <= told_after && interval < self.interval_max && self.factor > 1.0 {
            at += interval;
            interval = interval.mul_f64(self.factor).min(self.interval_max);
        }
        // The distance counts from the message that was sent, which may have been late.
        told_at.plus(interval)
    }
}

/// What a node of the tree does with the alerts it takes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Options {
    /// Who is told; `None` only at the root of our own settings, where who matches nothing is told nothing.
    pub(crate) receiver: Option<String>,
    /// What makes a group.
    pub(crate) group_by: GroupBy,
    /// How long a new group waits for more.
    pub(crate) group_wait: Duration,
    /// How long a group waits between messages.
    pub(crate) group_interval: Duration,
    /// When a group is told again.
    pub(crate) repeat: Repeat,
    /// Whether every message has all alerts of the group, or only those with news.
    pub(crate) whole_group: bool,
    /// What messages say beside the labels of the alerts; values may be templates.
    pub(crate) labels: Labels,
}

/// Who else is told when nobody took an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Escalation {
    /// So long after the start of the alert.
    pub(crate) after: Duration,
    /// Who.
    pub(crate) receiver: String,
}

/// A node of the tree.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Route {
    /// All must hold; the root has none.
    pub(crate) matchers: Vec<Matcher>,
    /// Whether the siblings behind are asked too.
    pub(crate) goes_on: bool,
    /// What is done with the alerts.
    pub(crate) options: Options,
    /// Names of the intervals in which nobody is told.
    pub(crate) mute_times: Vec<String>,
    /// Names of the intervals outside of which nobody is told; none means always.
    pub(crate) active_times: Vec<String>,
    /// Who else is told, and when.
    pub(crate) escalations: Vec<Escalation>,
    /// The children.
    pub(crate) routes: Vec<Route>,
}

/// A way for alerts to a receiver: a node of the tree, or a step of its escalation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Leaf {
    /// Its identity over restarts and changes of the file elsewhere: the matchers on the way.
    pub(crate) key: String,
    /// Who is told.
    pub(crate) receiver: String,
    /// Grouping and times.
    pub(crate) options: Options,
    /// Names of the intervals in which nobody is told.
    pub(crate) mute_times: Vec<String>,
    /// Names of the intervals outside of which nobody is told.
    pub(crate) active_times: Vec<String>,
    /// How old an alert must be: `Some` for a step of an escalation.
    pub(crate) escalates_after: Option<Duration>,
}

#[derive(Debug)]
struct Node {
    matchers: Vec<Matcher>,
    goes_on: bool,
    leaves: Vec<usize>,
    children: Vec<Node>,
}

/// The tree, ready to be asked.
#[derive(Debug)]
pub(crate) struct Tree {
    root: Node,
    leaves: Vec<Leaf>,
}

impl Tree {
    /// The tree under this root.
    pub(crate) fn new(root: Route) -> Self {
        let mut leaves = Vec::new();
        let root = node(root, "", &mut leaves);
        Self { root, leaves }
    }

    /// All ways, in the order of the file.
    pub(crate) fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }

    /// The ways that an alert takes, as positions in [`Tree::leaves`].
    pub(crate) fn leaves_of(&self, labels: &Labels) -> Vec<usize> {
        let mut found = Vec::new();
        descend(&self.root, labels, &mut found);
        found
    }

    /// The names of the receivers of an alert, each once; those of escalations left out.
    pub(crate) fn receivers_of(&self, labels: &Labels) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for leaf in self.leaves_of(labels).into_iter().map(|at| &self.leaves[at]) {
            if leaf.escalates_after.is_none() && !names.contains(&leaf.receiver.as_str()) {
                names.push(&leaf.receiver);
            }
        }
        names
    }
}

fn node(route: Route, parent_key: &str, leaves: &mut Vec<Leaf>) -> Node {
    let mut key = parent_key.to_owned();
    if !parent_key.is_empty() {
        key.push('/');
    }
    key.push_str(&matchers_text(&route.matchers));
    let Route { matchers, goes_on, options, mute_times, active_times, escalations, routes } = route;
    let own = leaves.len();
    if let Some(receiver) = options.receiver.clone() {
        let leaf = Leaf {
            key: key.clone(),
            receiver,
            options,
            mute_times,
            active_times,
            escalates_after: None,
        };
        for Escalation { after, receiver } in escalations {
            let key = format!("{key}/escalation/{}", after.as_millis());
            let group_by = GroupBy::All;
            let options = Options { group_by, group_wait: after, ..leaf.options.clone() };
            let step =
                Leaf { key, receiver, options, escalates_after: Some(after), ..leaf.clone() };
            leaves.push(step);
        }
        leaves.insert(own, leaf);
    }
    let of_node = (own..leaves.len()).collect();
    let children = routes.into_iter().map(|child| node(child, &key, leaves)).collect();
    Node { matchers, goes_on, leaves: of_node, children }
}

/// Whether the node takes the alert, itself or by its children.
fn descend(node: &Node, labels: &Labels, found: &mut Vec<usize>) -> bool {
    if !matchers_all(&node.matchers, labels) {
        return false;
    }
    let before = found.len();
    for child in &node.children {
        if descend(child, labels, found) && !child.goes_on {
            break;
        }
    }
    if found.len() == before {
        found.extend(&node.leaves);
    }
    true
}

/// The identity of a group as Alertmanager writes it: `{}/{team="db"}:{alertname="DiskFull"}`.
pub(crate) fn group_key(leaf: &Leaf, group_labels: &Labels) -> String {
    let mut key = format!("{}:{{", leaf.key);
    for (n, (name, value)) in group_labels.iter().enumerate() {
        let comma = if n == 0 { "" } else { ", " };
        // Writing to a text cannot fail.
        let _ = write!(key, "{comma}{name}={value:?}");
    }
    key.push('}');
    key
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::matchers::parse_matchers;

    const MINUTE: Duration = Duration::from_secs(60);

    pub(crate) fn options(receiver: &str) -> Options {
        Options {
            receiver: Some(receiver.to_owned()),
            group_by: GroupBy::Labels(Vec::new()),
            group_wait: 30 * Duration::from_secs(1),
            group_interval: 5 * MINUTE,
            repeat: Repeat { interval: 240 * MINUTE, factor: 1.0, interval_max: 240 * MINUTE },
            whole_group: false,
            labels: Labels::empty(),
        }
    }

    pub(crate) fn route(matchers: &str, receiver: &str, routes: Vec<Route>) -> Route {
        Route {
            matchers: parse_matchers(matchers).unwrap(),
            goes_on: false,
            options: options(receiver),
            mute_times: Vec::new(),
            active_times: Vec::new(),
            escalations: Vec::new(),
            routes,
        }
    }

    fn going_on(route: Route) -> Route {
        Route { goes_on: true, ..route }
    }

    fn check(tree: &Tree, labels: &[(&str, &str)], expected: &[&str]) {
        let labels = Labels::from_pairs(labels.iter().copied());
        assert_eq!(tree.receivers_of(&labels), expected, "{labels}");
    }

    #[test]
    fn a_child_whose_own_children_do_not_match_takes_the_alert_itself() {
        let database = route("team=db", "db", vec![route("severity=critical", "db-pager", vec![])]);
        let tree = Tree::new(route("", "default", vec![database]));
        check(&tree, &[("team", "db"), ("severity", "critical")], &["db-pager"]);
        check(&tree, &[("team", "db"), ("severity", "info")], &["db"]);
        check(&tree, &[("team", "web")], &["default"]);
    }

    #[test]
    fn a_match_ends_the_search_among_its_siblings_unless_it_says_continue() {
        let tree = Tree::new(route(
            "",
            "default",
            vec![
                going_on(route("team=db", "log", vec![])),
                route("team=~\"db|web\"", "chat", vec![]),
                route("team=db", "never", vec![]),
            ],
        ));
        check(&tree, &[("team", "db")], &["log", "chat"]);
        check(&tree, &[("team", "web")], &["chat"]);
    }

    #[test]
    fn a_missing_label_counts_as_empty() {
        let tree = Tree::new(route(
            "",
            "default",
            vec![route("team=\"\"", "nobody", vec![]), route("team!=\"\"", "team", vec![])],
        ));
        check(&tree, &[("a", "b")], &["nobody"]);
        check(&tree, &[("team", "x")], &["team"]);
    }

    #[test]
    fn a_root_without_receiver_takes_nothing_itself() {
        let mut root = route("", "", vec![route("team=db", "db", vec![])]);
        root.options.receiver = None;
        let tree = Tree::new(root);
        check(&tree, &[("team", "web")], &[]);
        check(&tree, &[("team", "db")], &["db"]);
    }

    #[test]
    fn route_keys_are_the_matchers_on_the_way_and_stay_when_siblings_are_added() {
        let critical = || route("{team=\"db\",severity=~\"critical|page\"}", "a", vec![]);
        let key = |tree: &Tree| {
            let labels = Labels::from_pairs([("team", "db"), ("severity", "page")]);
            let leaf = &tree.leaves()[tree.leaves_of(&labels)[0]];
            group_key(leaf, &Labels::from_pairs([("alertname", "X"), ("cluster", "eu")]))
        };
        let expected =
            "{}/{severity=~\"critical|page\",team=\"db\"}:{alertname=\"X\", cluster=\"eu\"}";
        assert_eq!(key(&Tree::new(route("", "d", vec![critical()]))), expected);
        let other = route("team=web", "b", vec![]);
        assert_eq!(key(&Tree::new(route("", "d", vec![other, critical()]))), expected);
    }

    #[test]
    fn a_group_has_only_the_labels_that_the_alert_has() {
        let labels = Labels::from_pairs([("alertname", "X"), ("host", "a")]);
        let by =
            |names: &[&str]| GroupBy::Labels(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(
            by(&["alertname", "cluster"]).labels_of(&labels).to_string(),
            "{alertname=\"X\"}"
        );
        assert_eq!(by(&["group_by"]).labels_of(&labels), Labels::empty());
        assert_eq!(by(&[]).labels_of(&labels), Labels::empty());
        assert_eq!(GroupBy::All.labels_of(&labels), labels);
    }

    #[test]
    fn an_escalation_is_another_way_of_the_same_alerts() {
        let mut pager = route("severity=critical", "on-call", vec![]);
        pager.escalations = vec![Escalation { after: 15 * MINUTE, receiver: "boss".to_owned() }];
        let tree = Tree::new(route("", "default", vec![pager]));
        let labels = Labels::from_pairs([("severity", "critical")]);
        let ways: Vec<_> = tree.leaves_of(&labels).iter().map(|at| &tree.leaves()[*at]).collect();
        assert_eq!(ways.len(), 2);
        assert_eq!((ways[0].receiver.as_str(), ways[0].escalates_after), ("on-call", None));
        assert_eq!(
            (ways[1].receiver.as_str(), ways[1].escalates_after),
            ("boss", Some(15 * MINUTE))
        );
        assert_ne!(ways[0].key, ways[1].key);
        assert_eq!(tree.receivers_of(&labels), ["on-call"]);
    }

    #[test]
    fn repeats_stand_at_equal_distances_without_a_factor_and_grow_with_one() {
        let at = |minutes: i64| Timestamp(minutes * 60_000);
        let plain = options("x").repeat;
        assert_eq!(plain.next(at(0), at(0)), at(240));
        assert_eq!(plain.next(at(0), at(1_000)), at(1_240));
        let growing = Repeat { interval: 10 * MINUTE, factor: 2.0, interval_max: 60 * MINUTE };
        let mut told = at(0);
        let mut waits = Vec::new();
        for _ in 0..6 {
            let next = growing.next(at(0), told);
            waits.push(next.since(told).as_secs() / 60);
            told = next;
        }
        assert_eq!(waits, [10, 20, 40, 60, 60, 60]);
        assert_eq!(growing.next(at(0), at(30)), at(70), "a restart goes on where it was");
    }
}
