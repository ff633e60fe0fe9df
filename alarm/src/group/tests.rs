use db::alerts::{DeliveryResult, Sent, Told};
use model::Alert;
use proptest::prelude::*;

use super::*;
use crate::plan::tests::plan;

const START: i64 = 1_760_000_000_000;
const GROUPED: &str = "
route: {receiver: ops, group_by: [group], group_wait: 30s, group_interval: 5m, repeat_interval: 4h}
receivers: [{name: ops, webhook_configs: [{url: 'http://127.0.0.1:1/'}]}]
";

/// Groups and a clock in seconds.
struct Desk {
    groups: Groups,
    now: i64,
    names: HashMap<Fingerprint, String>,
}

impl Desk {
    fn new(text: &str) -> Self {
        let groups = Groups::rebuild(Arc::new(plan(text)), &[], &[], |_, _| true, Timestamp(START));
        Self { groups, now: 0, names: HashMap::new() }
    }

    fn moment(seconds: i64) -> Timestamp {
        Timestamp(START + seconds * 1000)
    }

    fn labels(name: &str, group: &str) -> Labels {
        Labels::from_pairs([("alertname", name), ("group", group)])
    }

    fn news(&mut self, labels: Labels, status: AlertStatus, starts: i64) {
        let at = Self::moment(self.now);
        let news = News { labels, status, starts_at: Self::moment(starts), priority: 2, at };
        let fingerprint = Fingerprint(news.labels.hash());
        let name = news.labels.get("alertname").unwrap_or("").to_owned();
        self.names.insert(fingerprint, name);
        self.groups.observe(fingerprint, news);
    }

    fn fire(&mut self, name: &str) {
        self.news(Self::labels(name, "g"), AlertStatus::Firing, self.now);
    }

    fn resolve(&mut self, name: &str) {
        self.news(Self::labels(name, "g"), AlertStatus::Resolved, 0);
    }

    /// The names of the alerts in what is due at each second up to `until`, with the second.
    fn run(&mut self, until: i64) -> Vec<(i64, Vec<String>)> {
        let mut told = Vec::new();
        while self.now <= until {
            for flush in self.groups.due(Self::moment(self.now)).flushes {
                told.push((self.now, self.names(&flush)));
            }
            self.now += 1;
        }
        self.now = until;
        told
    }

    fn names(&self, flush: &Flush) -> Vec<String> {
        let mut names: Vec<String> = flush.alerts.iter().map(|alert| self.name(*alert)).collect();
        names.sort();
        names
    }

    fn name(&self, fingerprint: Fingerprint) -> String {
        let is_known = self.groups.alerts.contains_key(&fingerprint);
        if is_known { self.names[&fingerprint].clone() } else { "over".to_owned() }
    }

    fn held(&mut self) -> Vec<(String, Reason)> {
        let due = self.groups.due(Self::moment(self.now));
        assert!(due.flushes.is_empty(), "{due:?}");
        due.held.iter().map(|held| (self.name(held.fingerprint), held.reason)).collect()
    }
}

fn at(second: i64, names: &[&str]) -> (i64, Vec<String>) {
    (second, names.iter().map(|name| (*name).to_owned()).collect())
}

#[test]
fn the_first_message_leaves_after_group_wait_and_later_ones_after_group_interval() {
    let mut desk = Desk::new(GROUPED);
    desk.fire("a");
    assert_eq!(desk.run(10), []);
    desk.fire("b");
    assert_eq!(desk.run(40), [at(30, &["a", "b"])]);
    desk.fire("c");
    assert_eq!(desk.run(1000), [at(330, &["c"])], "only what is new");
}

#[test]
fn an_alert_that_is_old_already_is_told_at_once() {
    let mut desk = Desk::new(GROUPED);
    desk.now = 100;
    desk.news(Desk::labels("old", "g"), AlertStatus::Firing, 70);
    assert_eq!(desk.run(101), [at(100, &["old"])]);
}

#[test]
fn a_whole_group_is_sent_when_the_route_asks_for_it() {
    let text = GROUPED.replace("group_wait", "whole_group: true, group_wait");
    let mut desk = Desk::new(&text);
    desk.fire("a");
    assert_eq!(desk.run(40), [at(30, &["a"])]);
    desk.fire("b");
    assert_eq!(desk.run(600), [at(330, &["a", "b"])]);
}

#[test]
fn what_is_left_out_of_a_message_is_counted() {
    let mut desk = Desk::new(GROUPED);
    desk.fire("a");
    desk.fire("b");
    desk.run(40);
    desk.fire("c");
    desk.now = 330;
    let flush = desk.groups.due(Desk::moment(330)).flushes.remove(0);
    assert_eq!((flush.alerts.len(), flush.left_out, flush.is_repeat), (1, 2, false));
}

#[test]
fn a_resolved_alert_is_told_and_is_not_in_the_next_message() {
    let mut desk = Desk::new(GROUPED);
    desk.fire("a");
    desk.fire("b");
    desk.run(40);
    desk.resolve("a");
    assert_eq!(desk.run(340), [at(330, &["over"])]);
    desk.fire("c");
    assert_eq!(desk.run(800), [at(630, &["c"])]);
    assert_eq!(desk.groups.alerts.len(), 2);
}

#[test]
fn an_alert_that_comes_back_before_its_end_is_told_is_told_as_it_is() {
    let mut desk = Desk::new(GROUPED);
    desk.fire("a");
    desk.run(40);
    desk.resolve("a");
    desk.run(60);
    desk.fire("a");
    assert_eq!(desk.run(340), [at(330, &["a"])]);
    assert_eq!(desk.groups.alerts.len(), 1, "it is kept");
}

#[test]
fn an_empty_group_is_forgotten_and_made_anew() {
    let mut desk = Desk::new(GROUPED);
    desk.fire("a");
    desk.run(40);
    desk.resolve("a");
    desk.run(400);
    assert_eq!((desk.groups.len(), desk.groups.timers.len(), desk.groups.alerts.len()), (0, 0, 0));
    assert_eq!(desk.groups.next_due(), None);
    desk.fire("a");
    assert_eq!(desk.run(500), [at(430, &["a"])], "it waits for group_wait again");
}

#[test]
fn many_alerts_of_one_group_count_as_one_group() {
    let mut desk = Desk::new(GROUPED);
    for n in 0..500 {
        desk.fire(&format!("a{n}"));
    }
    assert_eq!(desk.groups.len(), 1);
    assert_eq!(desk.run(30)[0].1.len(), 500);
}

#[test]
fn a_group_that_keeps_firing_is_repeated_whole_after_the_interval() {
    let mut desk = Desk::new(GROUPED);
    desk.fire("a");
    desk.run(40);
    desk.fire("b");
    let repeat = 30 + 4 * 3600;
    assert_eq!(desk.run(repeat + 10), [at(330, &["b"]), at(repeat, &["a", "b"])]);
    assert_eq!(desk.run(2 * repeat), [at(repeat + 4 * 3600, &["a", "b"])]);
}

#[test]
fn repeats_come_less_often_the_longer_it_burns() {
    let text = GROUPED.replace(
        "repeat_interval: 4h",
        "repeat_interval: 10m, repeat_factor: 2, repeat_interval_max: 30m",
    );
    let mut desk = Desk::new(&text);
    desk.fire("a");
    let seconds: Vec<i64> = desk.run(3 * 3600).into_iter().map(|(second, _)| second).collect();
    let waits: Vec<i64> = seconds.windows(2).map(|pair| (pair[1] - pair[0]) / 60).collect();
    assert_eq!(waits[..5], [10, 20, 30, 30, 30]);
}

#[test]
fn every_alert_is_a_group_of_its_own_with_three_dots() {
    let text =
        GROUPED.replace("group_by: [group], group_wait: 30s", "group_by: ['...'], group_wait: 0s");
    let mut desk = Desk::new(&text);
    desk.fire("a");
    desk.fire("b");
    let told = desk.run(1);
    assert_eq!(told.len(), 2);
    assert_eq!((told[0].0, told[1].0), (0, 0));
}

#[test]
fn a_storm_costs_what_its_alerts_cost() {
    let text = GROUPED
        .replace("group_interval: 5m", "group_interval: 5s")
        .replace("group_wait: 30s", "group_wait: 5s");
    let mut desk = Desk::new(&text);
    let mut told = 0;
    for second in 0..60 {
        for n in 0..50 {
            desk.fire(&format!("a{second}-{n}"));
        }
        told += desk.run(second).iter().map(|(_, names)| names.len()).sum::<usize>();
        desk.now = second + 1;
    }
    told += desk.run(100).iter().map(|(_, names)| names.len()).sum::<usize>();
    assert_eq!(told, 3000, "each alert once, although the group was told every five seconds");
}

const INHIBITING: &str = "
route: {receiver: ops, group_by: [group], group_wait: 0s, group_interval: 10s}
receivers: [{name: ops, webhook_configs: [{url: 'http://127.0.0.1:1/'}]}]
inhibit_rules: [{source_matchers: [alertname=source], target_matchers: [alertname=~target.*], equal: [group]}]
";

#[test]
fn a_target_is_told_when_its_source_ends() {
    let mut desk = Desk::new(INHIBITING);
    desk.fire("source");
    assert_eq!(desk.run(1), [at(0, &["source"])]);
    desk.fire("target");
    desk.now = 11;
    assert_eq!(desk.held(), [("target".to_owned(), Reason::Inhibited)]);
    assert!(desk.held().is_empty(), "noted once");
    desk.now = 20;
    desk.resolve("source");
    let told = desk.run(60);
    assert_eq!(told, [at(20, &["over", "target"])]);
}

#[test]
fn an_end_is_told_although_the_alert_is_inhibited() {
    let mut desk = Desk::new(INHIBITING);
    desk.fire("target");
    desk.run(1);
    desk.fire("source");
    desk.resolve("target");
    assert_eq!(desk.run(30), [at(10, &["over", "source"])]);
}

#[test]
fn source_and_target_that_end_together_are_both_told() {
    let mut desk = Desk::new(INHIBITING);
    desk.fire("target");
    desk.fire("target2");
    desk.run(1);
    desk.fire("source");
    desk.run(11);
    desk.resolve("source");
    desk.resolve("target");
    assert_eq!(desk.run(40), [at(20, &["over", "over"])]);
}

#[test]
fn what_ends_while_it_is_held_back_leaves_nothing_behind() {
    let mut desk = Desk::new(INHIBITING);
    desk.fire("source");
    desk.fire("target");
    desk.run(15);
    desk.resolve("target");
    desk.run(30);
    desk.resolve("source");
    desk.run(60);
    assert_eq!((desk.groups.len(), desk.groups.alerts.len(), desk.groups.holding.len()), (0, 0, 0));
}

#[test]
fn a_time_that_mutes_holds_everything_back_until_it_is_over() {
    // START is 2025-10-09T08:53:20Z.
    let text = "
route:
  receiver: ops
  group_by: ['...']
  group_wait: 0s
  routes: [{matchers: [group=g], mute_time_intervals: [morning], group_by: [group]}]
receivers: [{name: ops, webhook_configs: [{url: 'http://127.0.0.1:1/'}]}]
time_intervals: [{name: morning, time_intervals: [{times: [{start_time: '08:00', end_time: '09:00'}]}]}]
";
    let mut desk = Desk::new(text);
    desk.fire("a");
    assert_eq!(desk.held(), [("a".to_owned(), Reason::MuteTime)]);
    let told = desk.run(600);
    assert_eq!(told, [at(400, &["a"])], "09:00:00");
    let active = text.replace("mute_time_intervals", "active_time_intervals");
    let mut desk = Desk::new(&active);
    desk.fire("a");
    assert_eq!(desk.run(10), [at(0, &["a"])]);
    let mut desk =
        Desk::new(&active.replace("'08:00', end_time: '09:00'", "'10:00', end_time: '11:00'"));
    desk.fire("a");
    assert_eq!(desk.held(), [("a".to_owned(), Reason::InactiveTime)]);
}

#[test]
fn an_escalation_comes_when_an_alert_is_old_enough_and_not_before() {
    let text = GROUPED.replace(
        "repeat_interval: 4h",
        "repeat_interval: 4h, escalations: [{after: 15m, receiver: boss}]",
    );
    let text = text.replace(
        "receivers: [",
        "receivers: [{name: boss, webhook_configs: [{url: 'http://127.0.0.1:2/'}]}, ",
    );
    let mut desk = Desk::new(&text);
    desk.fire("a");
    desk.run(600);
    desk.fire("b");
    let told = desk.run(1600);
    assert_eq!(told, [at(630, &["b"]), at(900, &["a"]), at(1500, &["b"])]);
    let mut desk = Desk::new(&text);
    desk.fire("a");
    desk.run(600);
    desk.resolve("a");
    let told = desk.run(1600);
    assert_eq!(
        told.len(),
        2,
        "both receivers look at the end; who never heard of it tells nothing"
    );
}

#[test]
fn an_alert_without_news_is_neither_told_nor_forgotten() {
    let mut desk = Desk::new(GROUPED);
    desk.fire("a");
    desk.news(Desk::labels("a", "g"), AlertStatus::Stale, 0);
    assert_eq!(desk.held(), [("a".to_owned(), Reason::LeaseExpired)]);
    assert_eq!(desk.run(100), []);
    assert_eq!(desk.groups.len(), 1);
    desk.news(Desk::labels("a", "g"), AlertStatus::Firing, 0);
    assert_eq!(desk.run(200), [at(100, &["a"])]);
}

#[test]
fn what_is_offered_again_is_told_again() {
    let mut desk = Desk::new(GROUPED);
    desk.fire("a");
    desk.run(400);
    let fingerprint = Fingerprint(Desk::labels("a", "g").hash());
    desk.groups.offer(fingerprint, true, Desk::moment(400));
    let flush = desk.groups.due(Desk::moment(400)).flushes.remove(0);
    assert!(flush.is_repeat && flush.alerts == [fingerprint]);
    desk.groups.offer(Fingerprint(1), true, Desk::moment(400));
    assert!(desk.groups.due(Desk::moment(900)).flushes.is_empty(), "nobody knows that one");
}

fn stored(name: &str, status: AlertStatus, starts: i64) -> StoredAlert {
    let alert = Alert {
        labels: Desk::labels(name, "g"),
        annotations: BTreeMap::new(),
        starts_at: Desk::moment(starts),
        ends_at: Desk::moment(starts + 100_000),
        generator_url: String::new(),
    };
    let updated_at = alert.starts_at;
    StoredAlert { alert, status, priority: 2, updated_at, ends_by_timeout: false }
}

fn told(stored: &StoredAlert, status: AlertStatus, at: i64) -> Told {
    let (starts_at, at) = (stored.alert.starts_at, Desk::moment(at));
    Told {
        fingerprint: stored.alert.fingerprint(),
        receiver: "ops".to_owned(),
        sent: Some(Sent { status, starts_at, at }),
        result: DeliveryResult::Sent,
        tried_at: at,
        attempts: 1,
        code: 200,
        detail: String::new(),
    }
}

fn rebuilt(alerts: &[StoredAlert], log: &[Told], now: i64) -> Desk {
    let groups =
        Groups::rebuild(Arc::new(plan(GROUPED)), alerts, log, |_, _| true, Desk::moment(now));
    let name = |alert: &StoredAlert| alert.alert.labels.get("alertname").unwrap().to_owned();
    let names = alerts.iter().map(|alert| (alert.alert.fingerprint(), name(alert)));
    Desk { groups, now, names: names.collect() }
}

#[test]
fn a_message_whose_ticket_was_lost_with_the_process_is_told_after_the_restart() {
    let untold = stored("untold", AlertStatus::Firing, 0);
    let entry = Told {
        sent: None,
        result: DeliveryResult::Retrying,
        ..told(&untold, AlertStatus::Firing, 30)
    };
    for (has_tickets, flushes) in [(true, 0), (false, 1)] {
        let (alerts, log) = (std::slice::from_ref(&untold), std::slice::from_ref(&entry));
        let mut groups = Groups::rebuild(
            Arc::new(plan(GROUPED)),
            alerts,
            log,
            |_, _| has_tickets,
            Desk::moment(120),
        );
        assert_eq!(groups.due(Desk::moment(120)).flushes.len(), flushes);
    }
}

#[test]
fn a_restart_neither_repeats_nor_loses_and_keeps_the_timers() {
    let known = stored("known", AlertStatus::Firing, 0);
    let log = [told(&known, AlertStatus::Firing, 30)];
    let fresh = stored("fresh", AlertStatus::Firing, 100);
    let mut desk = rebuilt(&[known.clone(), fresh], &log, 120);
    let repeat = 30 + 4 * 3600;
    let expected = [at(330, &["fresh"]), at(repeat, &["fresh", "known"])];
    assert_eq!(desk.run(repeat + 10), expected);

    let waiting = stored("waiting", AlertStatus::Firing, 100);
    assert_eq!(
        rebuilt(&[waiting], &[], 110).run(200),
        [at(130, &["waiting"])],
        "what is left of group_wait"
    );
}

#[test]
fn a_restart_tells_an_end_that_somebody_waits_for() {
    let over = stored("over", AlertStatus::Resolved, 0);
    let log = [told(&over, AlertStatus::Firing, 30)];
    assert_eq!(rebuilt(std::slice::from_ref(&over), &log, 400).run(410), [at(400, &["over"])]);
    let log = [told(&over, AlertStatus::Resolved, 30)];
    assert_eq!(rebuilt(&[over], &log, 400).run(410), []);
}

#[test]
fn a_restart_leaves_a_message_that_is_being_retried_to_its_ticket() {
    let alert = stored("a", AlertStatus::Firing, 0);
    let retrying = Told {
        sent: None,
        result: DeliveryResult::Retrying,
        ..told(&alert, AlertStatus::Firing, 30)
    };
    assert_eq!(rebuilt(std::slice::from_ref(&alert), &[retrying], 60).run(600), []);
    let failed = Told {
        sent: None,
        result: DeliveryResult::Failed,
        ..told(&alert, AlertStatus::Firing, 30)
    };
    let again = 30 + 4 * 3600;
    assert_eq!(rebuilt(&[alert], &[failed], 60).run(again), [at(again, &["a"])]);
}

#[test]
fn what_was_over_at_a_restart_is_told_when_it_fires_again_and_by_its_own_group() {
    let over = stored("a", AlertStatus::Resolved, 0);
    let mut retrying = told(&over, AlertStatus::Firing, 30);
    retrying.result = DeliveryResult::Retrying;
    let mut of_another = told(&over, AlertStatus::Firing, 30);
    of_another.receiver = "removed".to_owned();
    for entry in [retrying, of_another] {
        for other in [None, Some("another group")] {
            let mut desk = rebuilt(std::slice::from_ref(&over), std::slice::from_ref(&entry), 400);
            let kept = (desk.groups.len(), desk.groups.alerts.len());
            if let Some(group) = other {
                desk.news(Desk::labels("b", group), AlertStatus::Firing, 400);
            }
            desk.fire("a");
            let due = desk.groups.due(Desk::moment(430));
            let flush = due.flushes.iter().find(|flush| desk.names(flush) == ["a"]);
            let flush = flush.unwrap_or_else(|| panic!("a is not told by itself: {due:?}"));
            assert_eq!(flush.labels.get("group"), Some("g"));
            assert_eq!(kept, (0, 0), "there was nothing to tell");
        }
    }
}

#[test]
fn an_alert_that_no_way_takes_is_forgotten_with_its_end() {
    let config =
        "receivers = [{ name = 'db', webhook_url = 'http://127.0.0.1:1/', matchers = ['a=b'] }]";
    let plan = Plan::load(&toml::from_str(config).unwrap()).unwrap();
    let groups = Groups::rebuild(Arc::new(plan), &[], &[], |_, _| true, Timestamp(START));
    let mut desk = Desk { groups, now: 0, names: HashMap::new() };
    desk.fire("unrouted");
    desk.resolve("unrouted");
    assert_eq!((desk.groups.len(), desk.groups.alerts.len()), (0, 0));
}

#[test]
fn the_same_flush_has_the_same_mark_and_another_one_another() {
    let mark = |again: bool| {
        let mut desk = Desk::new(GROUPED);
        desk.fire("a");
        if again {
            desk.run(5);
            desk.news(Desk::labels("a", "g"), AlertStatus::Firing, 0);
        }
        desk.groups.due(Desk::moment(60)).flushes[0].mark
    };
    assert_eq!(mark(false), mark(false));
    assert_ne!(mark(false), mark(true));
}

proptest! {
    /// Whatever happens, every alert that fires is told within its waits, and once everything has ended nothing is
    /// left behind.
    #[test]
    fn nothing_is_lost_and_nothing_is_left_behind(
        steps in prop::collection::vec((0_u8..6, 0_u8..3, 0_i64..400), 0..60)
    ) {
        let mut desk = Desk::new(GROUPED);
        let mut firing = BTreeSet::new();
        let mut told = BTreeSet::new();
        for (alert, what, pause) in steps {
            let name = format!("a{alert}");
            if what == 0 {
                if firing.remove(&name) {
                    desk.resolve(&name);
                    told.remove(&name);
                }
            } else if firing.insert(name.clone()) {
                desk.fire(&name);
            }
            let until = desk.now + pause;
            for (_, names) in desk.run(until) {
                told.extend(names);
            }
        }
        let until = desk.now + 700;
        for (_, names) in desk.run(until) {
            told.extend(names);
        }
        prop_assert!(firing.iter().all(|name| told.contains(name)), "{firing:?} {told:?}");
        for name in firing {
            desk.resolve(&name);
        }
        let until = desk.now + 700;
        desk.run(until);
        prop_assert_eq!((desk.groups.len(), desk.groups.alerts.len(), desk.groups.timers.len()), (0, 0, 0));
    }
}

#[test]
fn beyond_the_most_groups_what_is_new_shares_one_and_is_counted() {
    let mut plan = plan(GROUPED);
    plan.groups_max = 2;
    let groups = Groups::rebuild(Arc::new(plan), &[], &[], |_, _| true, Timestamp(START));
    let mut desk = Desk { groups, now: 0, names: HashMap::new() };
    for group in ["a", "b", "c", "d", "a"] {
        let labels = Desk::labels(&format!("in-{group}"), group);
        desk.news(labels, AlertStatus::Firing, 0);
    }
    assert_eq!((desk.groups.len(), desk.groups.take_overflowed()), (3, 2));
    assert_eq!(desk.groups.take_overflowed(), 0);
    let mut told = desk.run(30);
    told.sort();
    assert_eq!(told, [at(30, &["in-a"]), at(30, &["in-b"]), at(30, &["in-c", "in-d"])]);
    // When there is room again, new groups are themselves again.
    for (name, group) in [("in-a", "a"), ("in-b", "b")] {
        desk.news(Desk::labels(name, group), AlertStatus::Resolved, 0);
    }
    desk.now = 400;
    desk.run(400);
    desk.news(Desk::labels("late", "e"), AlertStatus::Firing, 400);
    assert_eq!(desk.groups.take_overflowed(), 0);
}
