//! Expressions whose elements are made of one series each, such as `rate(x[1m]) * 8`, and folds of them, such as
//! `sum by (host) (rate(x[1m]))`: most of what rules ask. They can be computed series by series, without rows and
//! their labels, which are needed for the few elements only that somebody wants to see.

use model::{Labels, METRIC_NAME, MatchOp, Sample, Selection};

use super::aggregate::Names;
use super::binary::Operation;
use super::column::{self, is_absent};
use super::range::{Window, falls, per_second, without_stale};
use super::selector::first_after;
use super::{over_time, rate};
use crate::ast::{AggregateOp, Grouping};
use crate::functions::WindowFunction;
use crate::number::{Mean, Sum};
use crate::plan::{Hint, Node, NodeKind, Plan, RangeNode, RangeSource, SelectorNode};

/// Labels beside the name that series of one metric may differ in and that go with the name.
const BESIDE_NAME: [&str; 2] = ["__type__", "__unit__"];

/// A planned instant query that can be computed series by series, to the same values as [`evaluate`](crate::evaluate)
/// gives its elements.
#[derive(Debug)]
pub struct Single<'p> {
    plan: &'p Plan,
    source: Source<'p>,
    /// Operators with a number on one side, the innermost last.
    links: Vec<Link>,
    keeps_name: bool,
    fold: Option<(AggregateOp, Names<'p>)>,
}

/// What is taken from the samples of a series.
#[derive(Debug)]
enum Source<'p> {
    Newest(&'p SelectorNode),
    Window(WindowFunction, &'p RangeNode),
}

#[derive(Debug)]
struct Link {
    operation: Operation,
    number: f64,
    number_first: bool,
}

impl<'p> Single<'p> {
    /// `None` for a query that is computed in another way.
    pub fn of(plan: &'p Plan) -> Option<Self> {
        let [selection] = plan.selections() else { return None };
        let names = |m: &model::Matcher| {
            m.name == METRIC_NAME && m.op == MatchOp::Equal && !m.value.is_empty()
        };
        let is_one_metric = selection.matchers.iter().any(names);
        if !plan.instant || plan.params.delayed_name_removal || !is_one_metric {
            return None;
        }
        let (fold, mut node) = match &plan.root.kind {
            NodeKind::Aggregate { op, param: None, expr, grouping } => {
                Cell::empty(*op)?;
                (Some((*op, Names::new(grouping.as_ref() as Option<&Grouping>))), &**expr)
            }
            _ => (None, &plan.root),
        };
        let mut links = Vec::new();
        let source = loop {
            node = match &node.kind {
                NodeKind::Binary(binary) => {
                    if binary.op.is_trim() || binary.op.is_set() {
                        return None;
                    }
                    let (inner, number, number_first) = beside_number(&binary.lhs, &binary.rhs)?;
                    let (op, return_bool) = (binary.op, binary.return_bool);
                    let operation = Operation { op, return_bool, span: node.span };
                    links.push(Link { operation, number, number_first });
                    inner
                }
                NodeKind::Instant(selector) if !selector.smoothed => {
                    break Source::Newest(selector);
                }
                NodeKind::Window { function, range, params } => {
                    let is_plain = matches!(range.source, RangeSource::Series(_));
                    if !is_plain || range.extension.is_some() || !params.is_empty() {
                        return None;
                    }
                    break Source::Window(*function, range);
                }
                _ => return None,
            };
        };
        let is_named = match &source {
            Source::Newest(_) => true,
            Source::Window(function, _) => {
                matches!(function, WindowFunction::First | WindowFunction::Last)
            }
        };
        let keeps_name = is_named && links.iter().all(|link| link.operation.filters());
        Some(Self { plan, source, links, keeps_name, fold })
    }

    /// The series to look at, and of which time.
    pub fn selection(&self) -> &Selection {
        &self.plan.selections()[0]
    }

    /// What the samples are for.
    pub fn hints(&self) -> &[Hint] {
        &self.plan.hints()[0]
    }

    /// Whether the elements have the name of their series.
    pub fn keeps_name(&self) -> bool {
        self.keeps_name
    }

    /// Whether many series make one element, by [`Fold`].
    pub fn is_folded(&self) -> bool {
        self.fold.is_some()
    }

    /// The labels of the element that a series makes, or is folded into. `None` when two series may make the same
    /// element: then the query is to be evaluated as a whole.
    pub fn element(&self, series: &Labels) -> Option<Labels> {
        let own = match self.keeps_name {
            true => series.clone(),
            false if BESIDE_NAME.iter().any(|name| series.get(name).is_some()) => return None,
            false => column::without_identity(series),
        };
        Some(self.fold.as_ref().map_or(own.clone(), |(_, names)| names.key(&own)))
    }

    /// The value that a series has, or gives to the fold, by its samples in ascending order of time.
    pub fn value(&self, samples: &[Sample]) -> Option<f64> {
        let time = self.plan.grid.first();
        let mut value = match self.source {
            Source::Newest(selector) => self.newest(samples, selector.reference.time(time))?,
            Source::Window(function, range) => windowed(function, range, samples, time)?,
        };
        for link in self.links.iter().rev() {
            let (left, right) = match link.number_first {
                true => (link.number, value),
                false => (value, link.number),
            };
            value = link.operation.apply(left, right, value);
            if is_absent(value) {
                return None;
            }
        }
        Some(value)
    }

    /// An element into which no series has been folded; `None` when nothing is folded.
    pub fn fold(&self) -> Option<Fold> {
        self.fold.as_ref().and_then(|(op, _)| Cell::empty(*op)).map(Fold)
    }

    fn newest(&self, samples: &[Sample], time: i64) -> Option<f64> {
        let lookback = i64::try_from(self.plan.params.lookback.as_millis()).unwrap_or(i64::MAX);
        let newest = samples[..first_after(samples, 0, time)].last()?;
        let is_fresh = newest.timestamp.millis() > time.saturating_sub(lookback);
        (is_fresh && !model::is_stale(newest.value)).then(|| one_nan(newest.value))
    }
}

/// The operand beside a number, the number, and whether that comes first.
fn beside_number<'n>(left: &'n Node, right: &'n Node) -> Option<(&'n Node, f64, bool)> {
    match (&left.kind, &right.kind) {
        (_, NodeKind::Constant(number)) => Some((left, *number, false)),
        (NodeKind::Constant(number), _) => Some((right, *number, true)),
        _ => None,
    }
}

/// A function over the window that a look at this time sees.
fn windowed(
    function: WindowFunction,
    range: &RangeNode,
    samples: &[Sample],
    time: i64,
) -> Option<f64> {
    let samples = without_stale(samples);
    let end = range.reference.time(time);
    let start = end.saturating_sub(range.range);
    let from = first_after(&samples, 0, start);
    let to = first_after(&samples, from, end);
    let window = Window {
        samples: &samples[from..to],
        histograms: &[],
        starts: &[],
        start,
        end,
        evaluation: time,
        params: [0.0; 2],
    };
    match per_second(function) {
        Some(per_second) if !falls(&samples) => rate::without_resets(&window, per_second),
        _ if window.samples.is_empty() => None,
        _ => over_time::function(function)(&window).map(one_nan),
    }
}

/// A stored NaN may have bits that mean something else in a column, so there is one kind of it.
fn one_nan(value: f64) -> f64 {
    if value.is_nan() { f64::NAN } else { value }
}

/// What series are folded into, in the order in which a selection has them.
#[derive(Debug, Clone, Copy)]
pub struct Fold(Cell);

#[derive(Debug, Clone, Copy)]
enum Cell {
    Sum(Sum),
    Mean(Mean),
    Count(f64),
    Least(f64),
    Most(f64),
}

impl Cell {
    fn empty(op: AggregateOp) -> Option<Self> {
        match op {
            AggregateOp::Sum => Some(Self::Sum(Sum::default())),
            AggregateOp::Avg => Some(Self::Mean(Mean::default())),
            AggregateOp::Count => Some(Self::Count(0.0)),
            AggregateOp::Min => Some(Self::Least(f64::NAN)),
            AggregateOp::Max => Some(Self::Most(f64::NAN)),
            _ => None,
        }
    }
}

impl Fold {
    /// Folds one more value in.
    pub fn push(&mut self, value: f64) {
        match &mut self.0 {
            Cell::Sum(sum) => *sum = sum.plus(value),
            Cell::Mean(mean) => mean.push(value),
            Cell::Count(count) => *count += 1.0,
            Cell::Least(best) if value < *best || best.is_nan() => *best = value,
            Cell::Most(best) if value > *best || best.is_nan() => *best = value,
            Cell::Least(_) | Cell::Most(_) => {}
        }
    }

    /// What they come to. It is of no meaning before the first value.
    pub fn value(self) -> f64 {
        match self.0 {
            Cell::Sum(sum) => sum.total(),
            Cell::Mean(mean) => mean.value(),
            Cell::Count(value) | Cell::Least(value) | Cell::Most(value) => value,
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{Series, Timestamp, stale_nan};
    use proptest::prelude::*;

    use super::*;
    use crate::{Params, Value, evaluate, parse, plan};

    const AT: Timestamp = Timestamp(600_000);

    const SINGLE: [&str; 26] = [
        "x",
        "x offset 1m",
        "x @ 500",
        "x > 20",
        "20 <= bool x",
        "(x * 8 - 1) / 0",
        "100 - x",
        "x % 7 != 3",
        "rate(x[2m])",
        "increase(x[1m] offset 30s)",
        "delta(x[3m]) > -5",
        "irate(x[2m]) * 60",
        "deriv(x[5m])",
        "changes(x[5m])",
        "avg_over_time(x[1m])",
        "min_over_time(x[90s])",
        "max_over_time(x[1m] @ 580)",
        "stddev_over_time(x[5m])",
        "last_over_time(x[1m])",
        "present_over_time(x[1m])",
        "sum by (host) (rate(x[2m]))",
        "avg without (mode) (x)",
        "min(x > 10)",
        "max by (mode, __name__) (x)",
        "count by (host) (x > 50)",
        "sum(last_over_time(x[30s]))",
    ];

    /// What it makes of the series, in the order of [`evaluate`].
    fn computed(single: &Single<'_>, series: &[Series]) -> Vec<(Labels, u64)> {
        let mut elements: Vec<(Labels, Option<Fold>, f64)> = Vec::new();
        for one in series {
            let Some(value) = single.value(&one.samples) else { continue };
            let labels = single.element(&one.labels).expect("there is one metric");
            let known =
                elements.iter_mut().find(|(known, fold, _)| fold.is_some() && *known == labels);
            match known {
                Some((_, Some(fold), _)) => fold.push(value),
                _ => {
                    let mut fold = single.fold();
                    fold.iter_mut().for_each(|fold| fold.push(value));
                    elements.push((labels, fold, value));
                }
            }
        }
        let value = |fold: Option<Fold>, value: f64| fold.map_or(value, Fold::value).to_bits();
        elements.into_iter().map(|(labels, fold, own)| (labels, value(fold, own))).collect()
    }

    #[test]
    fn what_is_made_of_several_series_or_has_no_name_is_not_single() {
        for text in [
            "x / y",
            "x + x",
            "{a=\"1\"}",
            "topk(1, x)",
            "quantile_over_time(0.5, x[1m])",
            "max_over_time(x[5m:1m])",
            "abs(x)",
            "-x",
            "sum(x) / 2",
            "absent(x)",
            "1",
            "x and x",
        ] {
            let plan =
                plan(&parse(text).expect("it is PromQL"), Params::instant(AT)).expect("it fits");
            assert!(Single::of(&plan).is_none(), "{text}");
        }
    }

    #[test]
    fn series_that_may_make_the_same_element_are_left_to_the_evaluator() {
        let plan = plan(&parse("rate(x[1m])").expect("it is PromQL"), Params::instant(AT));
        let plan = plan.expect("it fits");
        let single = Single::of(&plan).expect("it is of one series");
        let of = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied());
        assert_eq!(single.element(&of(&[("__name__", "x"), ("__type__", "counter")])), None);
        assert_eq!(single.element(&of(&[("__name__", "x"), ("a", "1")])), Some(of(&[("a", "1")])));
    }

    proptest! {
        #[test]
        fn series_by_series_it_comes_to_the_same_as_as_a_whole(
            text in prop::sample::select(SINGLE.to_vec()),
            series in prop::collection::vec(prop::collection::vec((1_i64..60_000, 0_u8..110), 0..24), 0..7),
        ) {
            let expr = parse(text).expect("it is PromQL");
            let plan = plan(&expr, Params::instant(AT)).expect("it fits");
            let single = Single::of(&plan).expect("it is made of one series each");
            let selection = single.selection();
            let series: Vec<Series> = series.into_iter().enumerate().map(|(number, gaps)| {
                let mut time = AT.millis() - 600_000;
                let sample = |(gap, value): (i64, u8)| {
                    time += gap;
                    let value = match value {
                        100 => stale_nan(),
                        101 => -f64::NAN,
                        102 => f64::INFINITY,
                        103 => -0.0,
                        value => f64::from(value),
                    };
                    Sample::new(time, value)
                };
                let samples: Vec<Sample> = gaps.into_iter().map(sample).collect();
                let inside = |s: &Sample| selection.start <= s.timestamp && s.timestamp <= selection.end;
                let samples = samples.into_iter().filter(inside).collect();
                let (host, mode) = ((number % 3).to_string(), (number / 3).to_string());
                let pairs = [("__name__", "x"), ("host", host.as_str()), ("mode", mode.as_str())];
                Series { labels: Labels::from_pairs(pairs), samples }
            }).collect();
            let output = evaluate(&plan, std::slice::from_ref(&series), &|| false).expect("it has an answer");
            let Value::Vector(vector) = output.value else { panic!("it is a vector") };
            let whole: Vec<(Labels, u64)> =
                vector.into_iter().map(|(labels, sample)| (labels, sample.value.to_bits())).collect();
            prop_assert_eq!(computed(&single, &series), whole);
        }
    }
}
