//! What rules do with the fields that Prometheus does not have, in scripts as in
//! [`alert_sentences`](crate::alert_sentences): a digit is the value of `up`, the rule asks `up > 7`.

use std::time::Duration;

use model::Labels;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::alert_sentences::{Bench, MINUTE, block_on};
use crate::group::Health;

fn bench(fields: &str, settle_time: Duration) -> Bench {
    Bench::new(&format!("rules: [{{alert: High, expr: up > 7, {fields}}}]"), settle_time)
}

/// A rule with these fields goes through these states.
async fn check(cases: &[(&str, &str, &str)]) {
    for (fields, script, states) in cases {
        let mut bench = bench(fields, Duration::ZERO);
        assert_eq!(bench.script(script).await.0, *states, "{fields}: {script}");
    }
}

#[tokio::test]
async fn an_alert_with_a_recover_expr_ends_when_that_says_so() {
    check(&[
        ("recover_expr: up < 3", "8559552", "FFFFFFR"),
        ("recover_expr: up < 3", "8e2", "FFR"),
        ("recover_expr: up < 3", "85r52", "FFFR"),
        ("recover_expr: up < 3", "8--", "FFF"),
        // What is pending needs the condition itself.
        ("recover_expr: up < 3, for: 2m", "8588855", "PIPPFFF"),
        // Once recovered it fires on for the time of keep_firing_for, and ends in an evaluation that says so.
        ("recover_expr: up < 3, keep_firing_for: 2m", "825552", "FKKKKR"),
        ("recover_expr: up < 3, keep_firing_for: 2m", "8285222", "FKFFKKR"),
    ])
    .await;
}

#[tokio::test]
async fn a_recover_expr_that_fails_ends_nothing_and_stops_nothing() {
    let mut bench = bench("recover_expr: (up < 3) * on (endpoint) twice", Duration::ZERO);
    assert_eq!(bench.script("8").await.0, "F");
    for n in ["1", "2"] {
        bench.push(&[("__name__", "twice"), ("endpoint", "a"), ("n", n)], 1.0).await;
    }
    assert_eq!(bench.script("22").await.0, "FF");
    let Health::Failed(reason) = &bench.run.rules[0].health else { panic!("it says so") };
    assert!(reason.starts_with("recover_expr: ") && reason.contains("are kept"), "{reason}");
    bench.now = bench.now.plus(MINUTE);
    bench.push(&[("__name__", "up"), ("endpoint", "b")], 9.0).await;
    bench.evaluate().await;
    let firing = bench.run.rules[0].alerts.values().filter(|alert| alert.phase.is_firing()).count();
    assert_eq!(firing, 2, "others begin to fire all the same");
}

#[tokio::test]
async fn missing_data_keeps_or_ends_what_fires() {
    check(&[
        ("for: 0s", "8-", "FR"),
        ("no_data: keep", "8--5", "FFFR"),
        ("no_data: keep", "8-r-h-5", "FFFFR"),
        ("no_data: keep, for: 1m", "8-88", "PIPF"),
        ("no_data: ok", "8-", "FR"),
        ("no_data: ok, recover_expr: up < 3", "855-", "FFFR"),
        ("no_data: keep, recover_expr: up < 3", "8-5-2", "FFFFR"),
        ("no_data: ok, keep_firing_for: 1m", "8---", "FKRR"),
    ])
    .await;
}

#[tokio::test]
async fn missing_data_is_an_alert_of_its_own_after_its_time() {
    // Nothing else fires here, so the letters are those of the alert that tells of missing data.
    check(&[
        ("no_data: alert", "5-5", "IFR"),
        ("no_data: alert after 2m", "5----5", "IPPFFR"),
        ("no_data: alert after 2m", "5-5---", "IPIPPF"),
        ("no_data: alert after 2m", "5r---", "IPPF"),
        ("no_data: alert after 2m", "5-e--", "IPPFF"),
        ("no_data: alert after 2m", "---", "III"),
        ("no_data: alert after 2m, keep_firing_for: 9m", "5---5", "IPPFR"),
    ])
    .await;
    // What was there before a restart is not missing before data had time to return.
    let mut slow = bench("no_data: alert", MINUTE * 3);
    assert_eq!(slow.script("55555h----").await.0, "IIIIIIIIF");
}

#[tokio::test]
async fn the_alert_of_missing_data_says_what_is_missing_since_when() {
    let mut bench = bench(
        "no_data: alert, labels: {team: db}, annotations: {summary: 'high: {{ $value }}', is: '{{ $labels.endpoint }}'}",
        Duration::ZERO,
    );
    bench.script("8").await;
    let mut sent = bench.minute('-').await;
    sent.retain(|alert| alert.labels.get("no_data").is_some());
    assert_eq!(sent.len(), 1, "{sent:?}");
    let labels = [("alertname", "High"), ("endpoint", "a"), ("no_data", "true"), ("team", "db")];
    assert_eq!(sent[0].labels, Labels::from_pairs(labels));
    let summary = format!("no data of {{endpoint=\"a\"}} since {}", bench.now.rfc3339());
    assert_eq!(
        (&sent[0].annotations["summary"], sent[0].annotations["is"].as_str()),
        (&summary, "a")
    );
    let firing = bench.run.rules[0].alerts.values().filter(|alert| alert.phase.is_firing()).count();
    assert_eq!(firing, 2, "the alert from before fires on");
    let ended = bench.minute('5').await;
    assert!(
        ended.iter().all(|alert| alert.is_resolved_at(bench.now)) && ended.len() == 2,
        "{ended:?}"
    );
}

#[tokio::test]
async fn when_it_is_not_known_what_is_there_nothing_ends() {
    // The expression has an answer, the same without its comparison is ambiguous.
    let rule = "rules: [{alert: High, expr: '(up > 7) * on (endpoint) group_right () (owner > 1)', no_data: keep}]";
    let mut bench = Bench::new(rule, Duration::ZERO);
    for value in [1.0, 2.0] {
        bench
            .push(&[("__name__", "owner"), ("endpoint", "a"), ("n", &value.to_string())], value)
            .await;
    }
    assert_eq!(bench.script("8").await.0, "F");
    bench.push(&[("__name__", "up"), ("endpoint", "a"), ("twin", "1")], 1.0).await;
    assert_eq!(bench.script("5").await.0, "F");
    let Health::Failed(reason) = &bench.run.rules[0].health else { panic!("it says so") };
    assert!(reason.starts_with("no_data: "), "{reason}");
}

#[tokio::test]
async fn outside_of_its_active_times_a_rule_rests() {
    // It is midnight; the rule is awake in the minutes 0 to 2 and from 6 on.
    let times = "active_times: [{from: '00:00', to: '00:03'}, {from: '00:06', to: '00:50'}]";
    for (fields, script, states, sent) in [
        ("for: 0s", "88888888", "FFFFFFFF", "ff...fff"),
        // It ended while nobody looked: told when the rule is awake again.
        ("for: 0s", "88555555", "FFFFFRRR", "ff...rrr"),
        // It began while nobody looked.
        ("for: 0s", "55888888", "IIIIIFFF", ".....fff"),
        // An end just before is still told.
        ("for: 0s", "8555555", "FRRRRRR", "frrrrrr"),
        // Time at rest does not count towards the hold.
        ("for: 2m", "888888888", "PPIIIPPFF", ".......ff"),
        ("for: 0s", "888r888", "FFFFFF", "ff...f"),
    ] {
        let mut bench = bench(&format!("{fields}, {times}"), Duration::ZERO);
        let found = bench.script(script).await;
        assert_eq!(found, (states.to_owned(), sent.to_owned()), "{fields}: {script}");
    }
    let mut slow = bench(times, MINUTE * 3);
    assert_eq!(slow.script("88888---8").await.0, "FFFFFFFFF", "absence just after is no end");
}

#[tokio::test]
async fn a_label_that_cannot_be_made_for_a_while_ends_nothing_and_tells_nothing_twice() {
    // The label asks for the only owner, and fails while there are none.
    let fields = "for: 1m, labels: {team: '{{ query \"owner\" | first | label \"team\" }}'}";
    let mut bench = bench(fields, Duration::ZERO);
    let owner = [("__name__", "owner"), ("team", "web")];
    let words = |bench: &Bench| -> Vec<(String, &str)> {
        let team = |labels: &Labels| labels.get("team").unwrap_or("").to_owned();
        let alerts = bench.run.rules[0].alerts.iter();
        alerts.map(|(labels, alert)| (team(labels), alert.phase.as_str())).collect()
    };
    bench.push(&owner, 1.0).await;
    bench.script("8").await;
    bench.push(&owner, model::stale_nan()).await;
    bench.script("8").await;
    let web = |word| vec![("web".to_owned(), word)];
    assert_eq!(words(&bench), web("pending"), "it waits on");
    bench.push(&owner, 1.0).await;
    bench.script("8").await;
    assert_eq!(words(&bench), web("firing"), "its hold was not interrupted");
    bench.push(&owner, model::stale_nan()).await;
    bench.script("88").await;
    assert_eq!(words(&bench), web("firing"));
    bench.script("5").await;
    assert_eq!(words(&bench), web("inactive"), "the end of the condition is its end all the same");
    // What begins meanwhile goes out under the text of the fault, as in Prometheus.
    bench.script("88").await;
    let found = words(&bench);
    let fault = found.iter().find(|(_, word)| *word == "firing").expect("it is not lost");
    assert!(fault.0.starts_with("<error expanding template: "), "{found:?}");
    bench.push(&owner, 1.0).await;
    bench.script("88").await;
    let firing: Vec<_> = words(&bench).into_iter().filter(|(_, word)| *word == "firing").collect();
    assert_eq!(firing, web("firing"), "the good one has taken its place");
}

#[tokio::test]
async fn an_alert_from_before_its_rest_keeps_its_start() {
    let mut bench = bench("active_times: [{to: '00:03'}, {from: '00:06'}]", Duration::ZERO);
    let first = bench.minute('8').await.remove(0);
    bench.script("8888").await;
    let again = bench.minute('8').await.remove(0);
    assert_eq!((again.labels, again.starts_at), (first.labels, first.starts_at));
}

#[tokio::test]
async fn rules_with_fields_of_ours_are_looked_at_on_arrival_as_in_a_slot() {
    check(&[
        ("recover_expr: up < 3", "5+8+5+2", "IFFR"),
        ("recover_expr: up < 3, keep_firing_for: 30s", "8+2+2+2", "FKKR"),
        ("no_data: keep", "8+-+5", "FFR"),
        ("no_data: ok, recover_expr: up < 3", "8+5+-", "FFR"),
        ("no_data: alert", "5+-+5", "IFR"),
        // The hold begins when the data was first missed, and ends in a slot.
        ("no_data: alert after 2m", "5+---", "IPPF"),
        ("priority: P1, for: 30s", "8+8+8", "PPF"),
    ])
    .await;
}

#[tokio::test]
async fn a_rule_that_is_not_awake_does_not_look_at_what_arrives() {
    // The first slot is at 00:01.
    let until = |minute: u32| format!("active_times: [{{from: '00:00', to: '00:0{minute}'}}]");
    let from = |minute: u32| format!("active_times: [{{from: '00:0{minute}', to: '24:00'}}]");
    check(&[
        (&until(2), "8+5+8", "FRF"),
        // It falls asleep at 00:02, and its alert stays.
        (&until(2), "8+8+8+5+58", "FFFFFF"),
        (&from(2), "8+8+8+8+5", "IIIFR"),
        (&from(2), "8+8+88+5", "IIIFR"),
    ])
    .await;
}

#[tokio::test]
async fn what_a_rule_asks_besides_its_query_is_never_asked_for_some_hosts_only() {
    let rules = "rules: [
        {alert: Gone, expr: up > 7, no_data: alert},
        {alert: Owned, expr: up > 7, labels: {team: '{{ with query \"owner\" }}{{ . | first | value }}{{ end }}'}},
        {alert: Plain, expr: up > 6}]";
    let mut bench = Bench::new(rules, Duration::ZERO);
    let series = |host: &'static str| [("__name__", "up"), ("endpoint", host)];
    let firing = |bench: &Bench| -> Vec<String> {
        let alerts = bench.run.rules.iter().flat_map(|rule| &rule.alerts);
        alerts.filter(|(_, alert)| alert.phase.is_firing()).map(|(l, _)| l.to_string()).collect()
    };
    bench.now = bench.now.plus(MINUTE);
    bench.push(&[("__name__", "owner")], 1.0).await;
    for host in ["a", "b", "c"] {
        bench.push(&series(host), 8.0).await;
    }
    bench.push(&series("d"), 1.0).await;
    bench.evaluate().await;
    assert_eq!(firing(&bench).len(), 9);
    bench.now = bench.now.plus(MINUTE / 3);
    bench.push(&series("c"), model::stale_nan()).await;
    bench.look().await;
    let gone = r#"{alertname="Gone", endpoint="c", no_data="true"}"#;
    assert_eq!(firing(&bench).iter().filter(|labels| *labels == gone).count(), 1);
    bench.now = bench.now.plus(MINUTE / 3);
    bench.push(&[("__name__", "owner")], 2.0).await;
    bench.push(&series("a"), 8.0).await;
    let told = bench.look().await;
    // Owned is an alert of another identity now, for the host that sent as for the one that did not.
    let owned = |host: &str| format!(r#"{{alertname="Owned", endpoint="{host}", team="2"}}"#);
    let now = firing(&bench);
    for expected in [gone.to_owned(), owned("a"), owned("b")] {
        assert_eq!(
            now.iter().filter(|labels| **labels == expected).count(),
            1,
            "{expected}: {now:?}"
        );
    }
    assert_eq!(told.len(), 4, "two of Owned end and two begin: {told:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// One judge looks at what arrives, another one evaluates everything at the same moments: both hold the
    /// same alerts, as long as time alone changes nothing.
    #[test]
    fn a_look_on_arrival_finds_what_a_slot_would_find(
        arriving in vec((0usize..4, 0u8..10), 1..14),
    ) {
        let rules = "rules: [
            {alert: Plain, expr: up > 7},
            {alert: Same, expr: up > 4},
            {alert: Ended, expr: up > 7, recover_expr: up < 3},
            {alert: Kept, expr: up > 7, no_data: keep},
            {alert: Gone, expr: up > 7, no_data: alert, recover_expr: up < 5},
            {alert: Sum, expr: sum(up) > 15},
            {alert: Text, expr: up > 5, annotations: {all: '{{ query \"up\" | len }}'}},
            {alert: Moved, expr: up > 5, labels: {endpoint: x}},
            {alert: Ratio, expr: up / on (endpoint) up2 > 2}]";
        let told = |bench: &Bench| -> Vec<_> {
            let alerts = bench.run.rules.iter().flat_map(|rule| &rule.alerts);
            alerts.map(|(labels, alert)| (labels.clone(), alert.phase)).collect()
        };
        block_on(async {
            let [mut looking, mut evaluating] = [0, 1].map(|_| Bench::new(rules, Duration::ZERO));
            for bench in [&mut looking, &mut evaluating] {
                for host in ["a", "b", "c", "d"] {
                    bench.push(&[("__name__", "up"), ("endpoint", host)], 1.0).await;
                    bench.push(&[("__name__", "up2"), ("endpoint", host)], 2.0).await;
                }
                bench.evaluate().await;
            }
            for (host, value) in arriving {
                let value = if value == 0 { model::stale_nan() } else { f64::from(value) };
                for bench in [&mut looking, &mut evaluating] {
                    bench.now = bench.now.plus(MINUTE / 3);
                    let host = ["a", "b", "c", "d"][host];
                    bench.push(&[("__name__", "up"), ("endpoint", host)], value).await;
                }
                looking.look().await;
                evaluating.evaluate().await;
                prop_assert_eq!(told(&looking), told(&evaluating));
            }
            Ok(())
        })?;
    }
}
