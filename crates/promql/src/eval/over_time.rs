//! Functions over the samples of one window.

use super::column::Scalars;
use super::range::Window;
use super::rate;
use crate::error::EvalError;
use crate::functions::WindowFunction;
use crate::number::{self, Mean, Sum};

/// The code of a function. It is only called for windows that hold a sample.
pub(super) fn function(function: WindowFunction) -> fn(&Window<'_>) -> Option<f64> {
    match function {
        WindowFunction::Rate => |window| rate::extrapolated(window, true, true),
        WindowFunction::Increase => |window| rate::extrapolated(window, true, false),
        WindowFunction::Delta => |window| rate::extrapolated(window, false, false),
        WindowFunction::Irate => |window| rate::instant(window, true),
        WindowFunction::Idelta => |window| rate::instant(window, false),
        WindowFunction::Deriv => rate::deriv,
        WindowFunction::PredictLinear => rate::predict_linear,
        WindowFunction::Changes => rate::changes,
        WindowFunction::Resets => rate::resets,
        WindowFunction::Smoothing => rate::smoothing,
        WindowFunction::Quantile => {
            |window| Some(number::quantile(window.params[0], &mut values(window)))
        }
        WindowFunction::Sum => |window| Some(sum(window)),
        WindowFunction::Avg => |window| Some(avg(window)),
        WindowFunction::Min => {
            |window| extreme(window, |value, best| value < best).map(|(_, value)| value)
        }
        WindowFunction::Max => {
            |window| extreme(window, |value, best| value > best).map(|(_, value)| value)
        }
        WindowFunction::Count => |window| Some(window.samples.len() as f64),
        WindowFunction::First => |window| window.samples.first().map(|sample| sample.value),
        WindowFunction::Last => |window| window.samples.last().map(|sample| sample.value),
        WindowFunction::Present => |_| Some(1.0),
        WindowFunction::Stddev => |window| Some(variance(window).sqrt()),
        WindowFunction::Stdvar => |window| Some(variance(window)),
        WindowFunction::Mad => |window| Some(deviation(window)),
        WindowFunction::TimeOfFirst => {
            |window| window.samples.first().map(|s| s.timestamp.seconds_f64())
        }
        WindowFunction::TimeOfLast => {
            |window| window.samples.last().map(|s| s.timestamp.seconds_f64())
        }
        // The last one of equal extremes counts.
        WindowFunction::TimeOfMin => {
            |window| extreme(window, |value, best| value <= best).map(|(time, _)| time)
        }
        WindowFunction::TimeOfMax => {
            |window| extreme(window, |value, best| value >= best).map(|(time, _)| time)
        }
    }
}

/// Refuses arguments that the function cannot work with at any step.
pub(super) fn check_params(function: WindowFunction, params: &[Scalars]) -> Result<(), EvalError> {
    if function != WindowFunction::Smoothing {
        return Ok(());
    }
    for (param, name) in params.iter().zip(["smoothing", "trend"]) {
        let outside = |factor: &&f64| !(**factor > 0.0 && **factor < 1.0);
        if let Some(factor) = param.values().iter().find(outside) {
            let letter = if name == "smoothing" { "sf" } else { "tf" };
            let text =
                format!("invalid {name} factor. Expected: 0 < {letter} < 1, got: {factor:.6}");
            return Err(EvalError::Argument(text));
        }
    }
    Ok(())
}

fn values(window: &Window<'_>) -> Vec<f64> {
    window.samples.iter().map(|sample| sample.value).collect()
}

fn sum(window: &Window<'_>) -> f64 {
    let add = |sum: Sum, sample: &model::Sample| sum.plus(sample.value);
    window.samples.iter().fold(Sum::default(), add).total()
}

fn avg(window: &Window<'_>) -> f64 {
    let mut mean = Mean::default();
    window.samples.iter().for_each(|sample| mean.push(sample.value));
    mean.value()
}

/// Time and value of the sample that beats all before it; any number beats NaN.
fn extreme(window: &Window<'_>, beats: impl Fn(f64, f64) -> bool) -> Option<(f64, f64)> {
    let (first, rest) = window.samples.split_first()?;
    let mut best = first;
    for sample in rest {
        if beats(sample.value, best.value) || best.value.is_nan() {
            best = sample;
        }
    }
    Some((best.timestamp.seconds_f64(), best.value))
}

fn variance(window: &Window<'_>) -> f64 {
    let (mut mean, mut squares) = (Sum::default(), Sum::default());
    let mut count = 0.0;
    for sample in window.samples {
        count += 1.0;
        let delta = sample.value - (mean.value + mean.rest);
        mean = mean.plus(delta / count);
        squares = squares.plus(delta * (sample.value - (mean.value + mean.rest)));
    }
    (squares.value + squares.rest) / count
}

/// The median distance from the median.
fn deviation(window: &Window<'_>) -> f64 {
    let mut values = values(window);
    if values.iter().any(|value| value.is_nan()) {
        return f64::NAN;
    }
    let median = number::quantile(0.5, &mut values);
    values.iter_mut().for_each(|value| *value = (*value - median).abs());
    number::quantile(0.5, &mut values)
}
