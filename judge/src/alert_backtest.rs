//! A backtest says of stored data what a live judge did while it came in.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Labels, Timestamp, stale_nan};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::alert_sentences::{Bench, MINUTE, block_on};
use crate::alert_state::Phase;
use crate::backtest::{Replay, Spell};

const HOSTS: [&str; 3] = ["a", "b", "c"];

/// What a host sends in a minute: nothing, a staleness marker, or a value.
type Sent = Option<u8>;
const MARKER: u8 = 10;

fn fields() -> impl Strategy<Value = String> {
    let recover = select(vec![
        "",
        ", recover_expr: up < 3",
        ", recover_expr: up < 3 and on (endpoint) up offset 1m < 6",
        // Fails when there are two low ones.
        ", recover_expr: (up < 3) * on () group_left () (up < 6)",
    ]);
    let no_data = select(vec![
        "",
        ", no_data: keep",
        ", no_data: ok",
        ", no_data: alert",
        ", no_data: alert after 2m",
    ]);
    let others = select(vec![
        "",
        ", active_times: [{to: '00:12'}, {from: '00:16'}]",
        ", labels: {level: '{{ if gt $value 8.0 }}high{{ end }}'}",
        ", labels: {of: '{{ with query \"count(up)\" }}{{ . | first | value }}{{ end }}'}",
        ", labels: {endpoint: ''}",
        // Fails where nobody is low.
        ", labels: {low: '{{ query \"up < 3\" | first | label \"endpoint\" }}'}",
    ]);
    (recover, no_data, others, 0..4u32, 0..4u32).prop_map(
        |(recover, no_data, others, hold, keep)| {
            format!("for: {hold}m, keep_firing_for: {keep}m{recover}{no_data}{others}")
        },
    )
}

fn minutes() -> impl Strategy<Value = Vec<[Sent; 3]>> {
    // Longer than what a query looks back, so that series vanish without a marker, too.
    let host = || {
        let sends =
            prop_oneof![4 => (0..10u8).prop_map(Some), 1 => Just(Some(MARKER)), 2 => Just(None)];
        let stretch = prop_oneof![
            3 => vec(sends, 1..6),
            1 => (5..9usize).prop_map(|gap| vec![None; gap]),
            1 => (2..9usize, 0..10u8).prop_map(|(steady, value)| vec![Some(value); steady]),
        ];
        vec(stretch, 8).prop_map(|parts| parts.concat())
    };
    [host(), host(), host()].prop_map(|[a, b, c]| {
        let length = a.len().min(b.len()).min(c.len()).min(40);
        (0..length).map(|at| [a[at], b[at], c[at]]).collect()
    })
}

/// The word of a phase: ended and never begun are the same.
fn word(phase: Option<Phase>) -> &'static str {
    phase.map_or("inactive", Phase::as_str)
}

fn word_of(spells: &[Spell], at: Timestamp) -> &'static str {
    let begun = spells.iter().rfind(|spell| spell.active_at <= at);
    match begun {
        Some(Spell { ended_at: Some(ended), .. }) if *ended <= at => "inactive",
        Some(Spell { fired_at: Some(fired), .. }) if *fired <= at => "firing",
        Some(_) => "pending",
        None => "inactive",
    }
}

fn phases(bench: &Bench) -> BTreeMap<Labels, Phase> {
    let alerts = &bench.run.rules[0].alerts;
    alerts.iter().map(|(labels, alert)| (labels.clone(), alert.phase)).collect()
}

async fn agree(group: &str, settle: u32, data: &[[Sent; 3]]) -> Result<(), TestCaseError> {
    let mut bench = Bench::new(group, MINUTE * settle);
    let from = bench.now.plus(MINUTE);
    let mut told = Vec::new();
    for sent in data {
        bench.now = bench.now.plus(MINUTE);
        let sample = |(host, value): (&&str, &Sent)| {
            let labels = Labels::from_pairs([("__name__", "up"), ("endpoint", host)]);
            let value = value.as_ref()?;
            Some((labels, if *value == MARKER { stale_nan() } else { f64::from(*value) }))
        };
        bench.push_all(HOSTS.iter().zip(sent).filter_map(sample).collect()).await;
        bench.evaluate().await;
        told.push((bench.now, phases(&bench)));
    }
    let rules = bench.run.group.clone();
    let past = bench.past(from, bench.now);
    let mut replay = Replay::new(&rules, &rules.rules[0], past).expect("it is an alert");
    replay.run().await.expect("memory answers");
    for (at, live) in &told {
        for labels in live.keys().chain(replay.spells.keys()) {
            let spells = replay.spells.get(labels).map(Vec::as_slice).unwrap_or_default();
            let words = (word(live.get(labels).copied()), word_of(spells, *at));
            prop_assert_eq!(words.0, words.1, "{} at {}: {:?}", labels, at.rfc3339(), spells);
        }
    }
    let replayed = replay.state.alerts.iter();
    let replayed = replayed.map(|(labels, alert)| (labels.clone(), alert.phase)).collect();
    prop_assert_eq!(phases(&bench), replayed);
    prop_assert_eq!(&bench.run.rules[0].watched, &replay.state.watched);
    Ok(())
}

proptest! {
    #[test]
    fn a_backtest_says_what_a_live_judge_did(
        fields in fields(),
        expr in select(vec!["up > 7", "up > 4 or up == 1", "avg_over_time(up[3m]) > 5", "sum(up) > 12"]),
        limit in select(vec![0, 0, 2]),
        settle in select(vec![0u32, 3]),
        offset in select(vec!["0s", "1m"]),
        data in minutes(),
    ) {
        let group = format!(
            "{{limit: {limit}, query_offset: {offset}, rules: [{{alert: High, expr: '{expr}', {fields}}}]}}"
        );
        block_on(agree(&group, settle, &data))?;
    }
}

#[tokio::test]
async fn what_recovers_late_and_what_is_gone_are_followed() {
    let group =
        "rules: [{alert: High, expr: up > 7, recover_expr: up < 3, no_data: alert after 1m}]";
    let minute = |a: Sent| [a, Some(1), None];
    let data: Vec<_> = [9, 5, MARKER, MARKER, MARKER, MARKER, 5, 2, 2]
        .map(|value| minute(Some(value)))
        .into_iter()
        .collect();
    agree(group, 0, &data).await.unwrap();
    let mut bench = Bench::new(group, Duration::ZERO);
    let from = bench.now.plus(MINUTE);
    for sent in &data {
        bench.now = bench.now.plus(MINUTE);
        let value = sent[0].filter(|value| *value != MARKER).map_or(stale_nan(), f64::from);
        bench.push(&[("__name__", "up"), ("endpoint", "a")], value).await;
    }
    let rules = bench.run.group.clone();
    let past = bench.past(from, bench.now);
    let mut replay = Replay::new(&rules, &rules.rules[0], past).expect("it is an alert");
    replay.run().await.unwrap();
    let minute = |at: Option<Timestamp>| at.map(|at| at.since(from).as_secs() / 60);
    let told: Vec<_> = replay
        .spells
        .iter()
        .flat_map(|(labels, spells)| spells.iter().map(move |spell| (labels, spell)))
        .map(|(labels, spell)| {
            (labels.get("no_data").is_some(), minute(spell.fired_at), minute(spell.ended_at))
        })
        .collect();
    // The alert from the first minute on, until the recovery; missing data a minute after it was missed.
    assert_eq!(told, [(false, Some(0), Some(7)), (true, Some(3), Some(6))]);
}
