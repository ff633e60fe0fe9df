//! `rate` and its relatives compute the same whether or not the series is ever reset elsewhere.

use std::time::Duration;

use model::{Labels, Sample, Series, Timestamp};
use promql::{Params, Value, evaluate, parse, plan};

/// The values at every step, by their bits.
fn values(text: &str, samples: &[f64]) -> Vec<(i64, u64)> {
    let sample = |(index, value): (usize, &f64)| Sample::new(index as i64 * 15_000 + 3000, *value);
    let series = Series {
        labels: Labels::from_pairs([("__name__", "x_total")]),
        samples: samples.iter().enumerate().map(sample).collect(),
    };
    let params = Params::range(Timestamp(0), Timestamp(150_000), Duration::from_secs(10));
    let expr = parse(text).expect("the expression is well formed");
    let plan = plan(&expr, params).expect("it is within the limits");
    let output = evaluate(&plan, &[vec![series]], &|| false).expect("it is within the limits");
    let Value::Matrix(matrix) = output.value else { return Vec::new() };
    matrix
        .iter()
        .flat_map(|s| &s.samples)
        .map(|s| (s.timestamp.millis(), s.value.to_bits()))
        .collect()
}

#[test]
fn a_reset_later_on_changes_nothing_before_it() {
    let steady = [0.0, 0.1, 0.3, 0.3, 7.7, 9.1, 9.1, 10.3, 11.9, 12.1, 100.7, 101.3];
    let reset = [&steady[..], &[1.0]].concat();
    for text in
        ["rate(x_total[45s])", "increase(x_total[1m])", "rate(x_total[20s])", "delta(x_total[1m])"]
    {
        let (alone, before) = (values(text, &steady), values(text, &reset));
        assert!(alone.len() > 3, "{text}");
        assert_eq!(alone, before, "{text}");
    }
}

#[test]
fn a_change_of_minus_zero_keeps_its_sign() {
    let found = values("delta(x_total[30s])", &[0.0, -0.0, -0.0, -0.0]);
    assert_eq!(found.first().map(|(_, bits)| *bits), Some((-0.0_f64).to_bits()));
}

#[test]
fn values_that_are_no_numbers_are_no_resets() {
    let found = values("rate(x_total[1m])", &[1.0, f64::NAN, 2.0, 3.0]);
    assert!(found.iter().any(|(_, bits)| f64::from_bits(*bits).is_nan()));
}
