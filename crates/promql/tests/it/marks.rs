//! Stored values never look like the marks that the engine writes into its columns.

use model::{Labels, STALE_NAN_BITS, Sample, Series, Timestamp};
use promql::{Params, Value, evaluate, parse, plan};

const SIGN: u64 = 1 << 63;

/// The values of an instant query over one series whose samples have these bits, a second apart.
fn values(text: &str, bits: &[u64]) -> Vec<f64> {
    let expr = parse(text).expect("it is well formed");
    let plan = plan(&expr, Params::instant(Timestamp(60_000))).expect("it is small");
    let sample = |(second, bits): (usize, &u64)| {
        Sample::new(50_000 + 1000 * second as i64, f64::from_bits(*bits))
    };
    let samples = bits.iter().enumerate().map(sample).collect::<Vec<_>>();
    let series = Series { labels: Labels::from_pairs([("__name__", "x")]), samples };
    let inputs = vec![vec![series]; plan.selections().len()];
    match evaluate(&plan, &inputs, &|| false).expect("it is small").value {
        Value::Vector(elements) => elements.into_iter().map(|(_, sample)| sample.value).collect(),
        Value::Scalar(sample) => vec![sample.value],
        other => panic!("neither vector nor scalar: {other:?}"),
    }
}

#[test]
fn any_nan_but_the_staleness_marker_is_a_value() {
    let odd = [
        STALE_NAN_BITS + 1,
        STALE_NAN_BITS | SIGN,
        (STALE_NAN_BITS + 1) | SIGN,
        STALE_NAN_BITS - 1,
        f64::NAN.to_bits(),
    ];
    for bits in odd {
        for text in [
            "x",
            "-x",
            "abs(x)",
            "abs(-x)",
            "x * 1",
            "min(x)",
            "sum(x) or x",
            "last_over_time(x[1m])",
            "max_over_time(x[1m])",
            "-min_over_time(x[1m])",
            "quantile_over_time(0.5, x[1m])",
            "abs(last_over_time(x[10s:1s]))",
            "scalar(x)",
            "abs(vector(scalar(x)))",
            "topk(1, x)",
            "label_replace(x, \"a\", \"b\", \"\", \"\")",
        ] {
            let found = values(text, &[bits]);
            assert!(
                matches!(found[..], [value] if value.is_nan()),
                "{text} of {bits:x}: {found:?}"
            );
        }
    }
    assert_eq!(values("x", &[STALE_NAN_BITS]), []);
}

#[test]
fn odd_nan_count_as_samples_and_the_marker_does_not() {
    let bits = [STALE_NAN_BITS + 1, 2.0_f64.to_bits(), STALE_NAN_BITS, STALE_NAN_BITS | SIGN];
    assert_eq!(values("count_over_time(x[1m])", &bits), [3.0]);
    assert_eq!(values("max_over_time(x[1m])", &bits), [2.0]);
    assert_eq!(values("changes(x[1m])", &bits), [2.0]);
}
