//! What rules do with the fields that Prometheus does not have, in scripts as in
//! [`alert_sentences`](crate::alert_sentences): a digit is the value of `up`, the rule asks `up > 7`.

use std::time::Duration;

use model::Labels;

use crate::alert_sentences::{Bench, MINUTE};
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
async fn an_alert_from_before_its_rest_keeps_its_start() {
    let mut bench = bench("active_times: [{to: '00:03'}, {from: '00:06'}]", Duration::ZERO);
    let first = bench.minute('8').await.remove(0);
    bench.script("8888").await;
    let again = bench.minute('8').await.remove(0);
    assert_eq!((again.labels, again.starts_at), (first.labels, first.starts_at));
}
