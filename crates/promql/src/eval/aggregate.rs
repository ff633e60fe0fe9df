//! Aggregations: rows fall into groups with dense ids, and every group folds its rows step by step.

use hashbrown::{HashMap, HashTable};
use model::{Labels, METRIC_NAME};

use super::Evaluator;
use super::column::{ABSENT, Point, Row, Scalars, is_absent};
use crate::ast::{AggregateOp, Grouping};
use crate::error::EvalError;
use crate::histogram::Histogram;
use crate::number::{self, Mean, Sum};
use crate::plan::{Grid, Node, NodeKind};
use crate::span::Span;

impl<'a> Evaluator<'a> {
    pub(super) fn aggregate(
        &mut self,
        op: AggregateOp,
        param: Option<&'a Node>,
        expr: &'a Node,
        grouping: Option<&Grouping>,
        grid: Grid,
    ) -> Result<Vec<Row>, EvalError> {
        if let Some(Node { kind: NodeKind::Text(label), .. }) = param {
            let rows = self.vector(expr, grid)?;
            return self.count_values(&rows, label, grouping, grid.steps);
        }
        let scalars = match param {
            Some(param) => self.scalar(param, grid)?,
            None => Scalars::Same(0.0),
        };
        let span = param.map_or(expr.span, |param| param.span);
        self.check_pick(op, &scalars, span)?;
        let mut rows = self.vector(expr, grid)?;
        if ignores_histograms(op) {
            let ignored = rows.iter_mut().filter_map(|row| row.keep_floats().then_some(())).count();
            if ignored > 0 {
                self.notes.ignored_in_aggregation(op.as_str(), expr.span);
            }
            rows.retain(Row::has_values);
        }
        let groups = Groups::new(&rows, grouping);
        let steps = grid.steps;
        let sums = matches!(op, AggregateOp::Sum | AggregateOp::Avg);
        if sums && rows.iter().any(Row::has_histograms) {
            return self.mixed_sums(op == AggregateOp::Avg, &rows, groups, expr.span, steps);
        }
        let folded = if op == AggregateOp::Quantile {
            scalars.values().iter().for_each(|q| self.notes.invalid_quantile(*q, span));
            self.quantiles(&rows, &groups, steps, &scalars)?
        } else {
            match self.folded(op, &rows, &groups, steps)? {
                Some(folded) => folded,
                None => return self.pick(op, &scalars, rows, groups.ids, grid),
            }
        };
        let rows = groups.labels.into_iter().zip(groups.drop_name).zip(folded);
        let rows =
            rows.map(|((labels, drop_name), values)| Row { drop_name, ..Row::new(labels, values) });
        Ok(rows.filter(Row::has_values).collect())
    }
}

impl Evaluator<'_> {
    /// Sums or means where some values are native histograms.
    fn mixed_sums(
        &mut self,
        average: bool,
        rows: &[Row],
        groups: Groups,
        span: Span,
        steps: usize,
    ) -> Result<Vec<Row>, EvalError> {
        let mut results: Vec<Row> = Vec::with_capacity(groups.len());
        for (id, (labels, drop_name)) in groups.labels.iter().zip(&groups.drop_name).enumerate() {
            let mut result = Row::absent(labels.clone(), *drop_name, steps);
            let members: Vec<&Row> = rows
                .iter()
                .zip(&groups.ids)
                .filter(|(_, of)| **of == id)
                .map(|(row, _)| row)
                .collect();
            for step in 0..steps {
                self.check_cancelled()?;
                let histograms: Vec<&Histogram> = members
                    .iter()
                    .filter_map(|row| row.histogram(step))
                    .map(AsRef::as_ref)
                    .collect();
                let present = members.iter().filter(|row| !is_absent(row.values[step]));
                let point = if histograms.is_empty() {
                    let values = present.map(|row| row.values[step]);
                    sum_or_mean(values, average).map(Point::Float)
                } else if present.count() > histograms.len() {
                    self.notes.mixed_aggregation(span);
                    None
                } else {
                    self.aggregated(&histograms, average, ("", span)).map(Point::from)
                };
                result.set(step, point);
            }
            results.push(result);
        }
        results.retain(Row::has_values);
        Ok(results)
    }

    /// `count_values`: how often every value occurs, as a series a value.
    fn count_values(
        &mut self,
        rows: &[Row],
        label: &str,
        grouping: Option<&Grouping>,
        steps: usize,
    ) -> Result<Vec<Row>, EvalError> {
        if label.is_empty() {
            return Err(EvalError::Argument("invalid label name \"\"".to_owned()));
        }
        let mut names = Names::new(grouping);
        if !names.without {
            names.names.push(label);
        }
        let mut index: HashMap<Labels, usize> = HashMap::new();
        let mut counted: Vec<Row> = Vec::new();
        for row in rows {
            self.check_cancelled()?;
            // Values mostly repeat from step to step.
            let mut last: Option<(u64, usize)> = None;
            for (step, value) in
                row.values.iter().enumerate().filter(|(_, value)| !is_absent(**value))
            {
                let histogram = row.histogram(step);
                let slot = match last {
                    Some((bits, slot)) if bits == value.to_bits() && histogram.is_none() => slot,
                    _ => {
                        let text = histogram.map_or_else(
                            || number::plain(*value),
                            |histogram| histogram.to_string(),
                        );
                        let labels = names.key(&row.labels.with(label, &text));
                        match index.get(&labels) {
                            Some(slot) => *slot,
                            None => {
                                self.charge(steps)?;
                                counted.push(Row::absent(labels.clone(), row.drop_name, steps));
                                index.insert(labels, counted.len() - 1);
                                counted.len() - 1
                            }
                        }
                    }
                };
                last = Some((value.to_bits(), slot));
                let cell = &mut counted[slot].values[step];
                *cell = if is_absent(*cell) { 1.0 } else { *cell + 1.0 };
            }
        }
        Ok(counted)
    }
}

/// Sum or mean of numbers; `None` of none.
fn sum_or_mean(values: impl Iterator<Item = f64>, average: bool) -> Option<f64> {
    let (mut sum, mut mean, mut any) = (Sum::default(), Mean::default(), false);
    for value in values {
        any = true;
        sum = sum.plus(value);
        mean.push(value);
    }
    any.then(|| if average { mean.value() } else { sum.total() })
}

/// Whether an aggregation only looks at numbers.
fn ignores_histograms(op: AggregateOp) -> bool {
    use AggregateOp::{Bottomk, Max, Min, Quantile, Stddev, Stdvar, Topk};
    matches!(op, Min | Max | Stddev | Stdvar | Quantile | Topk | Bottomk)
}

/// Which group every row belongs to.
struct Groups {
    ids: Vec<usize>,
    labels: Vec<Labels>,
    drop_name: Vec<bool>,
}

impl Groups {
    fn new(rows: &[Row], grouping: Option<&Grouping>) -> Self {
        let mut groups =
            Self { ids: Vec::with_capacity(rows.len()), labels: Vec::new(), drop_name: Vec::new() };
        let mut index: HashTable<usize> = HashTable::new();
        let names = Names::new(grouping);
        for row in rows {
            let key = names.key(&row.labels);
            let hash = key.hash();
            let known = index.find(hash, |id| groups.labels[*id] == key).copied();
            let id = known.unwrap_or_else(|| {
                groups.labels.push(key);
                groups.drop_name.push(row.drop_name);
                let id = groups.labels.len() - 1;
                index.insert_unique(hash, id, |id| groups.labels[*id].hash());
                id
            });
            groups.ids.push(id);
        }
        groups
    }

    fn len(&self) -> usize {
        self.labels.len()
    }
}

/// The labels that make up the key of a group.
#[derive(Debug)]
pub(super) struct Names<'g> {
    without: bool,
    names: Vec<&'g str>,
}

impl<'g> Names<'g> {
    pub(super) fn new(grouping: Option<&'g Grouping>) -> Self {
        let Some(grouping) = grouping else { return Self { without: false, names: Vec::new() } };
        let mut names: Vec<&str> = grouping.labels.iter().map(String::as_str).collect();
        if grouping.without {
            names.push(METRIC_NAME);
        }
        Self { without: grouping.without, names }
    }

    pub(super) fn key(&self, labels: &Labels) -> Labels {
        if self.without { labels.without(&self.names) } else { labels.only(&self.names) }
    }
}

impl Evaluator<'_> {
    /// Groups folded by an operator that makes one value of many; `None` for those that pick.
    fn folded(
        &self,
        op: AggregateOp,
        rows: &[Row],
        groups: &Groups,
        steps: usize,
    ) -> Result<Option<Vec<Vec<f64>>>, EvalError> {
        let add = |sum: &mut Sum, value| *sum = sum.plus(value);
        let least = |best: &mut f64, value: f64| {
            *best = if value < *best || best.is_nan() { value } else { *best }
        };
        let most = |best: &mut f64, value: f64| {
            *best = if value > *best || best.is_nan() { value } else { *best }
        };
        let one_more = |count: &mut f64, _| *count += 1.0;
        let (variance, deviation) =
            (|spread: Spread| spread.variance(), |spread: Spread| spread.variance().sqrt());
        let (spread, push) = (Spread::default(), Spread::push);
        let place = (rows, groups, steps);
        match op {
            AggregateOp::Sum => self.fold(place, Sum::default(), add, Sum::total),
            AggregateOp::Avg => self.fold(place, Mean::default(), Mean::push, Mean::value),
            AggregateOp::Count => self.fold(place, 0.0, one_more, |count| count),
            AggregateOp::Group => self.fold(place, (), |(), _| {}, |()| 1.0),
            AggregateOp::Min => self.fold(place, f64::NAN, least, |best| best),
            AggregateOp::Max => self.fold(place, f64::NAN, most, |best| best),
            AggregateOp::Stdvar => self.fold(place, spread, push, variance),
            AggregateOp::Stddev => self.fold(place, spread, push, deviation),
            _ => return Ok(None),
        }
        .map(Some)
    }

    /// Folds every group step by step. A group has a value where any of its rows has one.
    fn fold<C: Copy>(
        &self,
        (rows, groups, steps): (&[Row], &Groups, usize),
        empty: C,
        push: impl Fn(&mut C, f64),
        finish: impl Fn(C) -> f64,
    ) -> Result<Vec<Vec<f64>>, EvalError> {
        let mut cells: Vec<Option<C>> = vec![None; groups.len() * steps];
        for (row, id) in rows.iter().zip(&groups.ids) {
            self.check_cancelled()?;
            let cells = &mut cells[id * steps..(id + 1) * steps];
            for (value, cell) in
                row.values.iter().zip(cells).filter(|(value, _)| !is_absent(**value))
            {
                push(cell.get_or_insert(empty), *value);
            }
        }
        let finished = |cell: &Option<C>| cell.map_or(ABSENT, &finish);
        let column = |id: usize| cells[id * steps..(id + 1) * steps].iter().map(finished).collect();
        Ok((0..groups.len()).map(column).collect())
    }

    fn quantiles(
        &self,
        rows: &[Row],
        groups: &Groups,
        steps: usize,
        q: &Scalars,
    ) -> Result<Vec<Vec<f64>>, EvalError> {
        let mut folded = vec![vec![ABSENT; steps]; groups.len()];
        let mut values: Vec<Vec<f64>> = vec![Vec::new(); groups.len()];
        for step in 0..steps {
            self.check_cancelled()?;
            for (row, id) in
                rows.iter().zip(&groups.ids).filter(|(row, _)| !is_absent(row.values[step]))
            {
                values[*id].push(row.values[step]);
            }
            for (values, folded) in
                values.iter_mut().zip(&mut folded).filter(|(values, _)| !values.is_empty())
            {
                folded[step] = number::quantile(q.at(step), values);
                values.clear();
            }
        }
        Ok(folded)
    }
}

/// Welford's running variance. Anything infinite or NaN makes it NaN.
#[derive(Debug, Clone, Copy, Default)]
struct Spread {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Spread {
    fn push(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.mean = value;
            self.squares = if value.is_finite() { 0.0 } else { f64::NAN };
            return;
        }
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }

    fn variance(self) -> f64 {
        self.squares / self.count
    }
}
