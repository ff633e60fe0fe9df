//! A plan asks for exactly the time it needs.

use std::time::Duration;

use model::Timestamp;
use promql::{Params, parse, plan};

/// The selections of an expression over 1000 s to 1600 s, as (name, start, end) in seconds; the
/// start is excluded.
#[track_caller]
fn check(text: &str, wanted: &[(&str, i64, i64)]) {
    let expr = parse(text).expect("the expression is well formed");
    let params = Params::range(Timestamp(1_000_000), Timestamp(1_600_000), Duration::from_secs(60));
    let plan = plan(&expr, params).expect("the expression can be planned");
    let found: Vec<(String, i64, i64)> = plan
        .selections()
        .iter()
        .map(|s| {
            (s.matchers[0].value.to_owned(), (s.start.millis() - 1) / 1000, s.end.millis() / 1000)
        })
        .collect();
    let wanted: Vec<_> =
        wanted.iter().map(|(name, start, end)| ((*name).to_owned(), *start, *end)).collect();
    assert_eq!(found, wanted, "{text}");
}

#[test]
fn a_selector_needs_the_lookback() {
    check("x", &[("x", 700, 1600)]);
    check("x offset 1m", &[("x", 640, 1540)]);
    check("x offset -1m", &[("x", 760, 1660)]);
}

#[test]
fn a_range_needs_its_length_and_no_lookback() {
    check("rate(x[5m])", &[("x", 700, 1600)]);
    check("rate(x[1m] offset 2m)", &[("x", 820, 1480)]);
}

#[test]
fn a_pinned_selector_needs_one_moment() {
    check("x @ 500", &[("x", 200, 500)]);
    check("x @ start()", &[("x", 700, 1000)]);
    check("rate(x[1m] @ end())", &[("x", 1540, 1600)]);
}

#[test]
fn a_subquery_widens_what_is_inside() {
    // Inner times are 780, 840, …, 1560: multiples of a minute after 760.
    check("max_over_time(x[4m:1m])", &[("x", 480, 1560)]);
    check("max_over_time(rate(x[1m])[4m:1m] @ 1000)", &[("x", 720, 960)]);
}

#[test]
fn selections_that_hold_each_other_are_one() {
    check("x + x", &[("x", 700, 1600)]);
    check("rate(x[1m]) + rate(x[10m])", &[("x", 400, 1600)]);
    check("x + y", &[("x", 700, 1600), ("y", 700, 1600)]);
    check("x offset 10m + x", &[("x", 100, 1000), ("x", 700, 1600)]);
}
