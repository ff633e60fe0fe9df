//! Rules imported from Open-Falcon, run by judge as in production, tell what a model of the original judge told:
//! trouble begins and ends at the same samples, also when samples come late. Where a point is missing, the
//! alert stays as it is.

use std::time::Duration;

use falcon::{Options, Portal, Scope};
use model::Timestamp;
use proptest::prelude::*;
use serde_json::json;
use testkit::falcon_judge::{Judge, Rule};

use crate::alert_sentences::{Bench, block_on};
use crate::rule_file::{Defaults, read_file, read_group};

const STEP_SECONDS: i64 = 60;
/// The interval that the import gives rules over this step.
const EVALUATIONS: [i64; 4] = [0, 15, 30, 45];

/// One series with one rule.
#[derive(Debug, Clone)]
struct Case {
    rule: Rule,
    is_counter: bool,
    /// Whether samples arrive after the second evaluation of their step.
    is_late: bool,
    /// A sample a step, or none.
    values: Vec<Option<f64>>,
}

/// The group that the import makes of the rule.
fn group(case: &Case) -> String {
    let rule = &case.rule;
    let export = json!({
        "host": [{ "id": 1, "hostname": "h" }],
        "grp": [{ "id": 1, "grp_name": "g" }],
        "tpl": [{ "id": 1, "tpl_name": "t" }],
        "grp_host": [{ "grp_id": 1, "host_id": 1 }],
        "grp_tpl": [{ "grp_id": 1, "tpl_id": 1 }],
        "strategy": [{
            "id": 1, "tpl_id": 1, "metric": "m.x", "func": rule.function(), "op": rule.operator,
            "right_value": rule.threshold, "max_step": rule.max_step,
        }],
        "endpoint_counter": [{
            "counter": "m.x", "step": STEP_SECONDS,
            "type": if case.is_counter { "COUNTER" } else { "GAUGE" },
        }],
    });
    let (portal, faults) = Portal::read(&export).expect("it is an export");
    assert_eq!(faults, []);
    let import = falcon::import(&portal, faults, &Options::default());
    let body = &import.files[0].groups[0].body;
    // The bench calls its group otherwise.
    let lines = body.lines().filter(|line| !line.starts_with("name:"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether the alert fires at the end of each step.
async fn fired(case: &Case) -> Vec<bool> {
    let mut bench = Bench::new(&group(case), Duration::ZERO);
    let start = bench.now;
    let mut fired = Vec::new();
    for (slot, value) in case.values.iter().enumerate() {
        let time = start.plus(Duration::from_secs((slot as u64 + 1) * 60));
        let arrives = if case.is_late { EVALUATIONS[2] } else { EVALUATIONS[0] };
        for after in EVALUATIONS {
            if let (true, Some(value)) = (after == arrives, value) {
                bench.now = time;
                bench.push(&[("__name__", "m_x"), ("endpoint", "h"), ("iface", "e")], *value).await;
            }
            bench.now = Timestamp(time.millis() + after * 1000);
            bench.evaluate().await;
        }
        let alerts = &bench.run.rules[0].alerts;
        fired.push(alerts.values().any(|alert| alert.phase.is_firing()));
    }
    fired
}

/// What the model says, as far as it can be compared: up to the first sample at which rounding decides.
fn expected(case: &Case) -> Vec<bool> {
    let needs = case.rule.needs() + usize::from(case.is_counter);
    let mut judge = Judge::new(case.rule.clone(), case.is_counter);
    let mut expected = Vec::new();
    let mut is_firing = false;
    for (slot, value) in case.values.iter().enumerate() {
        if let Some(value) = value {
            let judged = judge.take((slot as i64 + 1) * STEP_SECONDS, *value);
            let is_whole = slot + 1 >= needs
                && case.values[slot + 1 - needs..=slot].iter().all(Option::is_some);
            if let (true, Some(trouble)) = (is_whole, judged.trouble) {
                if case.rule.is_tie(&judged.values) {
                    return expected;
                }
                is_firing = trouble;
            }
        }
        expected.push(is_firing);
    }
    expected
}

fn rule() -> impl Strategy<Value = Rule> {
    let name = prop::sample::select(vec![
        "all", "max", "min", "sum", "avg", "lookup", "diff", "pdiff", "stddev", "kdiff",
    ]);
    let operator = prop::sample::select(vec![">", ">=", "<", "<=", "==", "!="]);
    (name, 1..3_usize, 1..4_usize, operator, -4..10_i32).prop_map(
        |(name, first, points, operator, threshold)| {
            // kdiff has no equality in PromQL.
            let is_equality = matches!(operator, "==" | "!=");
            let operator = if name == "kdiff" && is_equality { ">" } else { operator };
            let threshold = f64::from(threshold) / 2.0;
            Rule { name, first, points, operator, threshold, max_step: 3 }
        },
    )
}

fn case() -> impl Strategy<Value = Case> {
    let values = prop::collection::vec((0..10_u8, -2..6_i32), 1..16);
    (rule(), any::<bool>(), any::<bool>(), any::<bool>(), values).prop_map(
        |(rule, is_counter, is_late, has_gaps, values)| {
            let mut total = 0.0;
            let value = |(gap, value): (u8, i32)| {
                // A counter that begins again is not compared: its one rate is negative there.
                total += f64::from(value.abs()) * STEP_SECONDS as f64;
                let value = if is_counter { total } else { f64::from(value) };
                (!has_gaps || gap > 0).then_some(value)
            };
            let values = values.into_iter().map(value).collect();
            Case { rule, is_counter, is_late, values }
        },
    )
}

proptest! {
    #[test]
    fn an_imported_rule_fires_and_ends_as_the_original_did(case in case()) {
        let fired = block_on(fired(&case));
        let expected = expected(&case);
        prop_assert_eq!(&fired[..expected.len()], &expected[..]);
    }
}

/// Any text that a database may hold.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-z.]{1,8}",
        2 => "\\PC{0,12}",
        1 => prop::sample::select(vec![
            "{{ $value }}", "{{", "'", "\"", "# x", ": |", "\\", "a\nb", "\u{7f}\u{85}\u{2028}\u{feff}",
            "endpoint", "__name__", "alertname", "le", "5xx", "$1", "- ", "", "NaN", "组", "SUM", "by",
        ]).prop_map(str::to_owned),
    ]
}

/// Each case is several files of rules.
fn fewer_cases() -> ProptestConfig {
    let all = ProptestConfig::default();
    ProptestConfig { cases: all.cases / 4, ..all }
}

proptest! {
    #![proptest_config(fewer_cases())]

    #[test]
    fn whatever_texts_a_database_holds_judge_takes_the_rules(
        texts in prop::collection::vec(text(), 16),
        by_group in any::<bool>(),
    ) {
        let tags = format!("{}={},{}={}", texts[0], texts[1], texts[2], texts[3]);
        let export = json!({
            "host": [{ "id": 1, "hostname": texts[4] }, { "id": 2, "hostname": "b" }],
            "grp": [{ "id": 1, "grp_name": texts[5] }],
            "tpl": [{ "id": 1, "tpl_name": texts[6], "action_id": 1 }],
            "action": [{ "id": 1, "uic": texts[7], "callback": 1, "url": texts[8] }],
            "grp_host": [{ "grp_id": 1, "host_id": 1 }, { "grp_id": 1, "host_id": 2 }],
            "grp_tpl": [{ "grp_id": 1, "tpl_id": 1 }],
            "strategy": [{
                "id": 1, "tpl_id": 1, "metric": texts[9], "tags": tags, "func": "all(#3)", "op": ">",
                "right_value": "-0.5", "note": texts[10], "run_begin": "09:00", "run_end": "06:00",
            }],
            "expression": [{
                "id": 1, "expression": format!("each(metric={} {}={})", texts[9], texts[0], texts[1]),
                "func": "pdiff(#2)", "op": "!=", "right_value": 1e21, "note": texts[11], "action_id": 1,
            }],
            "cluster": [{
                "id": 1, "grp_id": 1, "numerator": format!("$({})", texts[12]), "denominator": "$#",
                "endpoint": texts[13], "metric": texts[14], "tags": tags, "step": 60,
            }],
            "mockcfg": [{
                "id": 1, "name": texts[15], "obj_type": "host", "obj": texts[4], "metric": texts[9], "tags": tags,
                "mock": 1,
            }],
        });
        let (portal, faults) = Portal::read(&export).expect("it is an export");
        let scope = if by_group { Scope::Groups } else { Scope::Hosts };
        let import = falcon::import(&portal, faults, &Options { scope, ..Options::default() });
        for file in &import.files {
            let read = read_file(&file.name, &file.text, &Defaults::default());
            prop_assert!(read.is_ok(), "{:?}\n{}", read, file.text);
            for group in &file.groups {
                let read = read_group(&group.name, &group.body, &Defaults::default());
                prop_assert_eq!(read.map(|read| read.rules.len()), Ok(group.rules), "{}", group.body);
            }
        }
    }
}

#[tokio::test]
async fn a_missing_point_keeps_what_fires_until_there_are_enough_again() {
    let rule =
        Rule { name: "all", first: 0, points: 2, operator: ">", threshold: 5.0, max_step: 1 };
    let values = [9, 9, 9, 0, 1, 1, 9].map(|value| (value > 0).then_some(f64::from(value)));
    for is_late in [false, true] {
        let values = values.to_vec();
        let case = Case { rule: rule.clone(), is_counter: false, is_late, values };
        let firing = fired(&case).await;
        assert_eq!(firing, [false, true, true, true, true, false, false], "late: {is_late}");
        assert_eq!(firing, expected(&case));
    }
}
