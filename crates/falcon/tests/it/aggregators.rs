//! Aggregators give what a straightforward model of the original gives: per host first, a host that lacks a
//! value left out of both sides.

use falcon::{Options, Scope};
use proptest::prelude::*;
use serde_json::json;

use crate::engine::Store;
use crate::portal::{imported, values};

const STEP: i64 = 60;
/// Evaluated a while after the newest samples.
const NOW: i64 = 100 * STEP + 7;
const COUNTERS: [&str; 3] = ["a", "b", "c"];

/// A side of an aggregator, for the database and for the model.
#[derive(Debug, Clone)]
enum Side {
    Hosts,
    Constant(i64),
    Terms(Vec<(bool, usize)>, Option<(&'static str, i32)>),
}

impl Side {
    fn text(&self) -> String {
        match self {
            Self::Hosts => "$#".to_owned(),
            Self::Constant(number) => number.to_string(),
            Self::Terms(terms, compare) => {
                let mut sum = String::new();
                for (is_minus, counter) in terms {
                    if !sum.is_empty() {
                        sum.push(if *is_minus { '-' } else { '+' });
                    }
                    sum.push_str(&format!("$({}/k=v)", COUNTERS[*counter]));
                }
                match compare {
                    Some((operator, threshold)) => format!("({sum}){operator}{threshold}"),
                    None => sum,
                }
            }
        }
    }

    fn counters(&self) -> Vec<usize> {
        match self {
            Self::Terms(terms, _) => terms.iter().map(|(_, counter)| *counter).collect(),
            _ => Vec::new(),
        }
    }

    /// The value over hosts, each with a value for every counter that is read.
    fn value(&self, hosts: &[[f64; 3]]) -> f64 {
        match self {
            Self::Hosts => hosts.len() as f64,
            Self::Constant(number) => *number as f64,
            Self::Terms(terms, compare) => {
                let of_host = |host: &[f64; 3]| {
                    let mut sum = 0.0;
                    for (place, (is_minus, counter)) in terms.iter().enumerate() {
                        let value = host[*counter];
                        sum += if *is_minus && place > 0 { -value } else { value };
                    }
                    match compare {
                        Some((">", threshold)) => f64::from(u8::from(sum > f64::from(*threshold))),
                        Some((_, threshold)) => f64::from(u8::from(sum <= f64::from(*threshold))),
                        None => sum,
                    }
                };
                hosts.iter().map(of_host).sum()
            }
        }
    }
}

fn side() -> impl Strategy<Value = Side> {
    let terms = prop::collection::vec((any::<bool>(), 0..3_usize), 1..4);
    let compare = prop::option::of((prop::sample::select(vec![">", "<="]), -5..15_i32));
    prop_oneof![
        1 => Just(Side::Hosts),
        1 => (1..300_i64).prop_map(Side::Constant),
        4 => (terms, compare).prop_map(|(terms, compare)| Side::Terms(terms, compare)),
    ]
}

/// The values of one host: each missing, old, or new.
type Host = [Option<(bool, i32)>; 3];

fn check(
    sides: (&Side, &Side),
    hosts: &[Host],
    is_counter: bool,
    scope: Scope,
) -> Result<(), TestCaseError> {
    let (numerator, denominator) = sides;
    let name = |host: usize| format!("h.{host}");
    let kind = if is_counter { "COUNTER" } else { "GAUGE" };
    let ids = 1..=hosts.len();
    let export = json!({
        "grp": [{ "id": 1, "grp_name": "g" }],
        "host": ids.clone().map(|id| json!({ "id": id, "hostname": name(id) })).collect::<Vec<_>>(),
        "grp_host": ids.map(|id| json!({ "grp_id": 1, "host_id": id })).collect::<Vec<_>>(),
        "endpoint_counter": COUNTERS.map(|name| json!({ "counter": name, "type": kind, "step": STEP })),
        "cluster": [{ "id": 1, "grp_id": 1, "numerator": numerator.text(), "denominator": denominator.text(),
                      "endpoint": "g", "metric": "sum", "step": STEP }],
    });
    let import = imported(&export, &Options { scope, ..Options::default() });
    let mut wanted = numerator.counters();
    wanted.extend(denominator.counters());
    if wanted.is_empty() {
        prop_assert!(import.files.is_empty());
        return Ok(());
    }
    let store = store(hosts, is_counter, name);
    // A value of two steps ago is too old, and one of the step before is not.
    let used: Vec<[f64; 3]> = hosts
        .iter()
        .filter(|host| wanted.iter().all(|counter| host[*counter].is_some()))
        .map(|host| host.map(|value| value.map_or(0.0, |(_, value)| f64::from(value))))
        .collect();
    let expected = match denominator.value(&used) {
        _ if used.is_empty() => None,
        0.0 => None,
        below => Some(numerator.value(&used) / below),
    };
    let ask = |text: &str| {
        let found = store.ask(text, NOW, NOW, STEP);
        found.first().map(|(_, samples)| samples[0].1)
    };
    let exprs = values(&import, "expr");
    let found = ask(&exprs[0]);
    let is_close = match (found, expected) {
        (Some(found), Some(expected)) => (found - expected).abs() <= 1e-9 * expected.abs().max(1.0),
        (found, expected) => found == expected,
    };
    prop_assert!(is_close, "{:?} is not {:?}: {}", found, expected, exprs[0]);
    prop_assert_eq!(ask(&exprs[1]).unwrap_or(0.0), used.len() as f64, "hosts used");
    prop_assert_eq!(ask(&exprs[2]), Some(hosts.len() as f64), "hosts expected");
    Ok(())
}

/// The series of the hosts, of one that is in another group, and what hbs writes of the groups.
fn store(hosts: &[Host], is_counter: bool, name: impl Fn(usize) -> String) -> Store {
    let mut store = Store::default();
    let last = 100 * STEP;
    for (at, host) in hosts.iter().enumerate() {
        let endpoint = name(at + 1);
        store.add(
            &[("__name__", "host_group"), ("endpoint", &endpoint), ("group", "g")],
            &[(last, 1.0)],
        );
        for (counter, value) in COUNTERS.iter().zip(host) {
            let Some((is_old, value)) = value else { continue };
            let newest = if *is_old { last - STEP } else { last };
            let value = f64::from(*value);
            let samples = if is_counter {
                vec![(newest - STEP, 1e12), (newest, 1e12 + value * STEP as f64)]
            } else {
                vec![(newest - STEP, 999.0), (newest, value)]
            };
            let labels = [("__name__", *counter), ("endpoint", endpoint.as_str()), ("k", "v")];
            store.add(&labels, &samples);
        }
    }
    for counter in COUNTERS {
        let labels = [("__name__", counter), ("endpoint", "hx1"), ("k", "v")];
        store.add(&labels, &[(last - STEP, 5.0), (last, 7.0)]);
    }
    store
}

fn host() -> impl Strategy<Value = Host> {
    let value = || prop::option::weighted(0.8, (any::<bool>(), 0..12_i32));
    [value(), value(), value()]
}

proptest! {
    #[test]
    fn an_aggregator_gives_what_the_original_gave(
        numerator in side(),
        denominator in side(),
        hosts in prop::collection::vec(host(), 1..6),
        is_counter in any::<bool>(),
        by_group in any::<bool>(),
    ) {
        let scope = if by_group { Scope::Groups } else { Scope::Hosts };
        check((&numerator, &denominator), &hosts, is_counter, scope)?;
    }
}

/// Three hosts send 4000 bytes a second together; one misses a sample and one was started again.
#[test]
fn a_rate_is_taken_before_the_sum() {
    let side = Side::Terms(vec![(false, 0)], None);
    let mut store = Store::default();
    let last = 100 * STEP;
    for (host, samples) in [
        ("h.1", vec![(last - 60, 1e9), (last, 1e9 + 60_000.0)]),
        ("h.2", vec![(last - 120, 5e9), (last - 60, 5e9 + 60_000.0)]),
        ("h.3", vec![(last - 60, 8e9), (last, 120_000.0)]),
    ] {
        store.add(&[("__name__", "a"), ("endpoint", host), ("k", "v")], &samples);
    }
    let ids = [1, 2, 3];
    let export = json!({
        "grp": [{ "id": 1, "grp_name": "g" }],
        "host": ids.map(|id| json!({ "id": id, "hostname": format!("h.{id}") })),
        "grp_host": ids.map(|id| json!({ "grp_id": 1, "host_id": id })),
        "endpoint_counter": [{ "counter": "a", "type": "COUNTER", "step": STEP }],
        "cluster": [{ "id": 1, "grp_id": 1, "numerator": side.text(), "denominator": "1", "endpoint": "g",
                      "metric": "sum", "step": STEP }],
    });
    let exprs = values(&imported(&export, &Options::default()), "expr");
    let found = store.ask(&exprs[0], NOW, NOW, STEP);
    assert_eq!(found[0].1[0].1, 4000.0);
}
