//! Behaviour of histograms, on small ones that can be checked by hand.

use super::{CUSTOM_SCHEMA, Histogram, Quantile, ResetHint, Total};

/// Buckets from index 0 on; counts and sums follow from them.
fn counts(schema: i32, positive: &[f64]) -> Histogram {
    let count = positive.iter().sum();
    let positive = (0..).zip(positive.iter().copied()).collect();
    Histogram { schema, count, sum: count, positive, ..Histogram::default() }
}

fn custom(bounds: &[f64], positive: &[f64]) -> Histogram {
    Histogram { bounds: bounds.to_vec(), ..counts(CUSTOM_SCHEMA, positive) }
}

#[test]
fn neighbouring_buckets_are_joined_to_the_coarser_resolution() {
    let sum =
        counts(0, &[1.0, 2.0]).plus(&counts(1, &[1.0, 1.0, 1.0, 1.0])).expect("both are computed");
    // Of schema 1, bucket 0 falls into 0, buckets 1 and 2 into 1, bucket 3 into 2.
    assert_eq!((sum.schema, sum.positive), (0, vec![(0, 2.0), (1, 4.0), (2, 1.0)]));
}

#[test]
fn the_wider_zero_bucket_takes_up_what_is_inside() {
    let wide =
        Histogram { zero_threshold: 1.0, zero_count: 3.0, count: 3.0, ..Histogram::default() };
    let sum = counts(0, &[5.0, 1.0]).plus(&wide).expect("both are computed");
    assert_eq!((sum.zero_threshold, sum.zero_count, sum.positive), (1.0, 8.0, vec![(1, 1.0)]));
}

#[test]
fn a_zero_bucket_that_ends_inside_of_a_bucket_grows_to_its_end() {
    let wide =
        Histogram { zero_threshold: 1.5, zero_count: 3.0, count: 3.0, ..Histogram::default() };
    let sum = counts(0, &[5.0, 1.0, 7.0]).plus(&wide).expect("both are computed");
    assert_eq!((sum.zero_threshold, sum.zero_count, sum.positive), (2.0, 9.0, vec![(2, 7.0)]));
}

#[test]
fn only_bounds_in_common_are_left() {
    let mut total = Total::new(&custom(&[1.0, 2.0, 4.0], &[1.0, 1.0, 1.0, 1.0]));
    total.add(&custom(&[2.0, 3.0], &[5.0, 5.0, 5.0])).expect("both are listed");
    let sum = total.finish();
    assert!(total.findings.reconciled_bounds);
    assert_eq!((sum.bounds, sum.positive), (vec![2.0], vec![(0, 7.0), (1, 12.0)]));
}

#[test]
fn listed_and_computed_bounds_do_not_add_up() {
    assert_eq!(counts(0, &[1.0]).plus(&custom(&[1.0], &[1.0])), None);
}

#[test]
fn hints_of_a_sum_follow_those_of_its_parts() {
    use ResetHint::{Gauge, NotReset, Reset, Unknown};
    for (a, b, wanted, conflict) in [
        (NotReset, NotReset, NotReset, false),
        (NotReset, Unknown, Unknown, false),
        (NotReset, Gauge, Gauge, false),
        (Reset, NotReset, Unknown, true),
    ] {
        let with = |reset| Histogram { reset, ..counts(0, &[1.0]) };
        let mut total = Total::new(&with(a));
        total.add(&with(b)).expect("both are computed");
        assert_eq!((total.finish().reset, total.findings.conflicting_resets), (wanted, conflict));
    }
}

#[test]
fn a_reset_shows_in_any_bucket() {
    let before = counts(0, &[2.0, 2.0]);
    assert!(counts(0, &[1.0, 4.0]).is_reset_after(&before));
    assert!(!counts(0, &[2.0, 3.0]).is_reset_after(&before));
    assert!(counts(1, &[2.0, 2.0, 9.0]).is_reset_after(&before));
    let known = Histogram { reset: ResetHint::NotReset, ..counts(0, &[0.0]) };
    assert!(!known.is_reset_after(&before));
}

#[test]
fn quantiles_of_computed_buckets_lie_on_a_logarithmic_scale() {
    let Quantile::Plain(median) = counts(0, &[0.0, 4.0]).quantile(0.5) else {
        panic!("no NaN was observed")
    };
    assert!((median - 2f64.sqrt()).abs() < 1e-12);
    let mirrored = Histogram { negative: vec![(1, 4.0)], count: 4.0, ..Histogram::default() };
    let Quantile::Plain(median) = mirrored.quantile(0.5) else { panic!("no NaN was observed") };
    assert!((median + 2f64.sqrt()).abs() < 1e-12);
}

#[test]
fn observations_that_are_no_numbers_are_the_highest() {
    let histogram = Histogram { count: 8.0, sum: f64::NAN, ..counts(0, &[0.0, 4.0]) };
    assert!(
        matches!(histogram.quantile(0.25), Quantile::Skewed(value) if (1.0..2.0).contains(&value))
    );
    assert_eq!(histogram.quantile(0.75), Quantile::NotANumber);
    assert_eq!(histogram.fraction(f64::NEG_INFINITY, f64::INFINITY), 0.5);
}

#[test]
fn the_mean_survives_the_overflow_of_the_sum() {
    let huge = Histogram { count: 1e308, sum: 3.0, ..Histogram::default() };
    let all = [&huge, &huge, &huge];
    let (mean, _) = Total::mean(&all).expect("all are computed").expect("there are some");
    assert!((mean.count / 1e308 - 1.0).abs() < 1e-12 && (mean.sum - 3.0).abs() < 1e-12, "{mean}");
}

#[test]
fn both_halves_of_a_trim_make_up_the_whole() {
    let histogram = custom(&[1.0, 2.0, 4.0], &[1.0, 3.0, 4.0, 0.0]);
    let (below, above) = (histogram.trimmed(1.5, true), histogram.trimmed(1.5, false));
    assert_eq!((below.count, above.count), (2.5, 5.5));
    assert_eq!(below.plus(&above).map(|whole| whole.positive), Some(histogram.compact().positive));
}

#[test]
fn division_by_zero_leaves_no_buckets() {
    let divided = counts(0, &[1.0]).divided(0.0);
    assert!(divided.count.is_infinite() && divided.positive.is_empty());
}

#[test]
fn a_histogram_is_written_as_prometheus_writes_it() {
    let histogram = Histogram {
        zero_threshold: 0.25,
        zero_count: 1.0,
        negative: vec![(1, 2.0)],
        ..counts(0, &[0.0, 3.0])
    };
    assert_eq!(histogram.to_string(), "{count:3, sum:3, [-2,-1):2, [-0.25,0.25]:1, (1,2]:3}");
}
