//! Sorting functions. They only matter for instant queries: range results are ordered by labels.

use std::cmp::Ordering;

use super::call::text;
use super::column::Row;
use super::{Evaluator, pick};
use crate::error::EvalError;
use crate::plan::{Grid, Node};
use crate::span::Span;

/// How many rows are sorted before the caller is asked whether to go on.
const PIECE_ROWS: usize = 1 << 14;

impl<'a> Evaluator<'a> {
    pub(super) fn sorted(
        &mut self,
        args: &'a [Node],
        descending: bool,
        span: Span,
        grid: Grid,
    ) -> Result<Vec<Row>, EvalError> {
        let mut rows = self.vector(&args[0], grid)?;
        for row in &mut rows {
            row.keep_floats();
        }
        rows.retain(Row::has_values);
        if self.sorts(span, grid) {
            self.sort(&mut rows, |a, b| pick::nan_last(a.values[0], b.values[0], descending))?;
        }
        Ok(rows)
    }

    pub(super) fn sorted_by_label(
        &mut self,
        args: &'a [Node],
        descending: bool,
        span: Span,
        grid: Grid,
    ) -> Result<Vec<Row>, EvalError> {
        let mut rows = self.vector(&args[0], grid)?;
        let names: Vec<&str> = args[1..].iter().map(text).collect();
        if self.sorts(span, grid) {
            self.sort(&mut rows, |a, b| {
                let order = by_labels(a, b, &names);
                if descending { order.reverse() } else { order }
            })?;
        }
        Ok(rows)
    }

    /// Sorts piece by piece, so that the caller can stop it. The last sort finds the pieces in order
    /// and only merges them.
    fn sort(
        &self,
        rows: &mut [Row],
        compare: impl Fn(&Row, &Row) -> Ordering,
    ) -> Result<(), EvalError> {
        for piece in rows.chunks_mut(PIECE_ROWS) {
            self.check_cancelled()?;
            piece.sort_by(&compare);
        }
        self.check_cancelled()?;
        rows.sort_by(&compare);
        Ok(())
    }

    fn sorts(&mut self, span: Span, grid: Grid) -> bool {
        if grid.steps > 1 {
            self.notes.sort_in_range_query(span);
        }
        grid.steps == 1
    }
}

fn by_labels(a: &Row, b: &Row, names: &[&str]) -> Ordering {
    for name in names {
        let [a, b] = [a, b].map(|row| row.labels.get(name).unwrap_or(""));
        let order = natural(a, b);
        if order != Ordering::Equal {
            return order;
        }
    }
    a.labels.cmp(&b.labels)
}

/// Orders texts with the numbers in them by value: `cpu2` before `cpu10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    while !a.is_empty() && !b.is_empty() {
        let (part_a, rest_a) = chunk(a);
        let (part_b, rest_b) = chunk(b);
        let order = match (part_a.parse::<u128>(), part_b.parse::<u128>()) {
            (Ok(a), Ok(b)) => a.cmp(&b).then(part_a.len().cmp(&part_b.len())),
            _ => part_a.cmp(part_b),
        };
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
    a.len().cmp(&b.len())
}

// The digits, or the other characters, that a text starts with.
fn chunk(text: &str) -> (&str, &str) {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    text.split_at(text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_texts_are_ordered_by_value() {
        let mut names = ["4m600", "4m5", "4m1000", "10", "9", "a", ""];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["", "4m5", "4m600", "4m1000", "9", "10", "a"]);
        let mut versions = ["1.111.3", "1.2.3", "1.11.3"];
        versions.sort_by(|a, b| natural(a, b));
        assert_eq!(versions, ["1.2.3", "1.11.3", "1.111.3"]);
    }
}
