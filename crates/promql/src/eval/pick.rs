//! Aggregations that pick elements instead of folding them: `topk`, `bottomk`, `limitk`,
//! `limit_ratio`.

use std::cmp::Ordering;

use super::column::{ABSENT, Row, Scalars, is_absent};
use super::{Evaluator, ratio};
use crate::ast::AggregateOp;
use crate::error::EvalError;
use crate::number;
use crate::plan::Grid;
use crate::span::Span;

impl Evaluator<'_> {
    /// Refuses parameters that no step can work with.
    pub(super) fn check_pick(
        &mut self,
        op: AggregateOp,
        params: &Scalars,
        span: Span,
    ) -> Result<(), EvalError> {
        let fault = |text: String| Err(EvalError::Argument(text));
        match op {
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk => {
                for k in params.values() {
                    if k.is_nan() {
                        return fault("Parameter value is NaN".to_owned());
                    }
                    if *k >= i64::MAX as f64 {
                        return fault(format!(
                            "Scalar value {} overflows int64",
                            number::general(*k)
                        ));
                    }
                    if *k <= i64::MIN as f64 {
                        return fault(format!(
                            "Scalar value {} underflows int64",
                            number::general(*k)
                        ));
                    }
                }
            }
            AggregateOp::LimitRatio => {
                for ratio in params.values() {
                    if ratio.is_nan() {
                        return fault("Ratio value is NaN".to_owned());
                    }
                    if ratio.abs() > 1.0 {
                        self.notes.invalid_ratio(*ratio, ratio.clamp(-1.0, 1.0), span);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn pick(
        &mut self,
        op: AggregateOp,
        params: &Scalars,
        mut rows: Vec<Row>,
        ids: Vec<usize>,
        grid: Grid,
    ) -> Result<Vec<Row>, EvalError> {
        let groups = ids.iter().max().map_or(0, |id| id + 1);
        let mut picked = vec![vec![ABSENT; grid.steps]; rows.len()];
        let mut keep = |index: usize, step: usize| picked[index][step] = rows[index].values[step];
        let mut order = Vec::new();
        let mut present: Vec<Vec<usize>> = vec![Vec::new(); groups];
        for step in 0..grid.steps {
            self.check_cancelled()?;
            for (index, id) in
                ids.iter().enumerate().filter(|(index, _)| !is_absent(rows[*index].values[step]))
            {
                present[*id].push(index);
            }
            for group in &mut present {
                choose(op, params.at(step), group, &rows, step);
                group.iter().for_each(|index| keep(*index, step));
                order.append(group);
            }
        }
        // What a row keeps of native histograms is decided by its values.
        for (row, values) in rows.iter_mut().zip(picked) {
            row.values = values;
        }
        if grid.steps != 1 {
            rows.retain(Row::has_values);
            return Ok(rows);
        }
        // At a single step the result keeps the order of the pick.
        let mut rows: Vec<Option<Row>> = rows.into_iter().map(Some).collect();
        Ok(order.into_iter().filter_map(|index| rows[index].take()).collect())
    }
}

/// Reduces the present rows of a group to the picked ones, in order of preference.
fn choose(op: AggregateOp, param: f64, group: &mut Vec<usize>, rows: &[Row], step: usize) {
    let value = |index: &usize| rows[*index].values[step];
    if op == AggregateOp::LimitRatio {
        let ratio = param.clamp(-1.0, 1.0);
        group.retain(|index| in_ratio(ratio, &rows[*index]));
        return;
    }
    let k = if param >= 1.0 { param as usize } else { 0 };
    if op == AggregateOp::Limitk {
        group.truncate(k);
        return;
    }
    let descending = op == AggregateOp::Topk;
    *group = best(group, k, |a, b| nan_last(value(a), value(b), descending) == Ordering::Greater);
    group.sort_by(|a, b| nan_last(value(a), value(b), descending));
}

/// The `k` best of some elements, with the worst of them on top of a binary heap, as Prometheus
/// keeps them: among equal ones, its heap decides which are kept, so ours is the same.
fn best(all: &[usize], k: usize, worse: impl Fn(&usize, &usize) -> bool) -> Vec<usize> {
    let mut heap: Vec<usize> = Vec::with_capacity(k.min(all.len()));
    for element in all {
        if heap.len() < k {
            heap.push(*element);
            let mut at = heap.len() - 1;
            while at > 0 && worse(&heap[at], &heap[(at - 1) / 2]) {
                heap.swap(at, (at - 1) / 2);
                at = (at - 1) / 2;
            }
        } else if heap.first().is_some_and(|worst| worse(worst, element)) {
            heap[0] = *element;
            sink(&mut heap, &worse);
        }
    }
    heap
}

/// Moves the element on top down to where it belongs.
fn sink(heap: &mut [usize], worse: impl Fn(&usize, &usize) -> bool) {
    let mut at = 0;
    loop {
        let (left, right) = (2 * at + 1, 2 * at + 2);
        if left >= heap.len() {
            return;
        }
        let child =
            if right < heap.len() && worse(&heap[right], &heap[left]) { right } else { left };
        if !worse(&heap[child], &heap[at]) {
            return;
        }
        heap.swap(at, child);
        at = child;
    }
}

/// Orders values with NaN last in either direction.
pub(super) fn nan_last(a: f64, b: f64, descending: bool) -> Ordering {
    if a.is_nan() || b.is_nan() {
        return a.is_nan().cmp(&b.is_nan());
    }
    let ascending = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
    if descending { ascending.reverse() } else { ascending }
}

/// Whether a series falls into a share of all. The complement of `ratio` is `ratio - 1`, so that
/// both shares together are everything.
fn in_ratio(share: f64, row: &Row) -> bool {
    let position = ratio::position(&row.labels);
    if share >= 0.0 { position < share } else { position >= 1.0 + share }
}
