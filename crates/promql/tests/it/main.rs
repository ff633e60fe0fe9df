//! Behaviour of the engine, seen from outside.

mod errors;
mod limits;
mod marks;
mod naive;
mod promqltest;
mod properties;
mod ranges;
mod rates;
mod sharing;

/// Every file under `data` passes.
fn check_file(name: &str, text: &str) {
    let report: promqltest::Report =
        promqltest::run(text).unwrap_or_else(|fault| panic!("{name}: {fault}"));
    let show = |failure: &promqltest::Failure| {
        format!("{name}:{}: {}\n      {}", failure.line, failure.expr, failure.difference)
    };
    let failures: Vec<String> = report.failures.iter().map(show).collect();
    assert!(failures.is_empty() && report.passed > 0, "{}", failures.join("\n"));
}

#[test]
fn aggregations_group_and_pick() {
    check_file("aggregations.test", include_str!("data/aggregations.test"));
}

#[test]
fn extended_windows_reach_their_edges() {
    check_file("extended.test", include_str!("data/extended.test"));
}

#[test]
fn functions_compute_over_windows_and_values() {
    check_file("functions.test", include_str!("data/functions.test"));
}

#[test]
fn classic_histograms_are_interpolated() {
    check_file("histograms.test", include_str!("data/histograms.test"));
}

#[test]
fn operators_match_and_filter() {
    check_file("operators.test", include_str!("data/operators.test"));
}

#[test]
fn selectors_look_back_and_modifiers_move_them() {
    check_file("selectors.test", include_str!("data/selectors.test"));
}

#[test]
fn subqueries_run_on_multiples_of_their_step() {
    check_file("subqueries.test", include_str!("data/subqueries.test"));
}

#[test]
fn texts_are_values_too() {
    check_file("texts.test", include_str!("data/texts.test"));
}

#[test]
fn native_histograms_are_values_too() {
    check_file("native.test", include_str!("data/native.test"));
}

#[test]
fn info_series_lend_their_labels() {
    check_file("info.test", include_str!("data/info.test"));
}

#[test]
fn missing_sides_are_filled_in() {
    check_file("fill.test", include_str!("data/fill.test"));
}

#[test]
fn classic_and_native_histograms_agree() {
    check_file("nhcb.test", include_str!("data/nhcb.test"));
}

#[test]
fn start_times_tell_resets() {
    check_file("starts.test", include_str!("data/starts.test"));
}

#[test]
fn pinned_selectors_do_not_move() {
    check_file("pinned.test", include_str!("data/pinned.test"));
}

#[test]
fn a_marker_ends_a_series() {
    check_file("staleness.test", include_str!("data/staleness.test"));
}

#[test]
fn names_are_dropped_when_values_become_something_else() {
    check_file("names.test", include_str!("data/names.test"));
}

#[test]
fn shares_and_their_complements_are_everything() {
    check_file("limits.test", include_str!("data/limits.test"));
}
