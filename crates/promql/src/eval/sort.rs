//! Sorting functions. They only matter for instant queries: range results are ordered by labels.

use std::cmp::Ordering;

use super::call::text;
use super::column::Row;
use super::{Evaluator, pick};
use crate::error::EvalError;
use crate::plan::{Grid, Node};
use crate::span::Span;

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
            rows.sort_by(|a, b| pick::nan_last(a.values[0], b.values[0], descending));
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
            rows.sort_by(|a, b| {
                let order = by_labels(a, b, &names);
                if descending { order.reverse() } else { order }
            });
        }
        Ok(rows)
    }

    fn sorts(&mut self, span: Span, grid: Grid) -> bool {
        if grid.steps > 1 {
            self.notes.sort_in_range_query(span);
        }
        grid.steps == 1
    }
}

fn by_labels(a: &Row, b: &Row, names: &[&str]) -> Ordering {
    let value = |row: &'_ Row, name: &str| row.labels.get(name).unwrap_or("").to_owned();
    for name in names {
        let order = natural(&value(a, name), &value(b, name));
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
