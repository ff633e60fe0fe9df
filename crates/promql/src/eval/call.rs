//! Functions over instant vectors and scalars.

use model::Labels;

use super::column::{ABSENT, Computed, Row, Scalars, is_absent};
use super::{Evaluator, binary};
use crate::error::EvalError;
use crate::functions::{Function, Kind, ScalarFunction, VectorFunction};
use crate::histogram::Histogram;
use crate::plan::{Grid, Node, NodeKind};
use crate::span::Span;

/// `absent`: one element where the vector has none.
pub(super) fn absent(rows: &[Row], labels: &Labels, steps: usize) -> Vec<Row> {
    let mut values = vec![1.0; steps];
    for row in rows {
        for (value, present) in values.iter_mut().zip(&row.values) {
            if !is_absent(*present) {
                *value = ABSENT;
            }
        }
    }
    let row = Row::new(labels.clone(), values);
    if row.has_values() { vec![row] } else { Vec::new() }
}

impl<'a> Evaluator<'a> {
    pub(super) fn call(
        &mut self,
        function: &'static Function,
        args: &'a [Node],
        span: Span,
        grid: Grid,
    ) -> Result<Computed, EvalError> {
        match function.kind {
            Kind::Map(map) => {
                let mut rows = self.vector(&args[0], grid)?;
                rows.iter_mut().for_each(|row| row.map(map));
                self.without_names(rows).map(Computed::Vector)
            }
            Kind::Date(part) => self.date(part, args, grid).map(Computed::Vector),
            Kind::Vector(function) => self.vector_call(function, args, span, grid),
            Kind::Scalar(function) => self.scalar_call(function, args, grid).map(Computed::Scalar),
            // These have nodes of their own.
            Kind::Window(_) | Kind::AbsentOverTime => Ok(Computed::Vector(Vec::new())),
        }
    }

    fn vector_call(
        &mut self,
        function: VectorFunction,
        args: &'a [Node],
        span: Span,
        grid: Grid,
    ) -> Result<Computed, EvalError> {
        let rows = match function {
            VectorFunction::Scalar => {
                let mut rows = self.vector(&args[0], grid)?;
                for row in &mut rows {
                    row.keep_floats();
                }
                return Ok(Computed::Scalar(only_value(&rows, grid.steps)));
            }
            VectorFunction::Vector => {
                let scalars = self.scalar(&args[0], grid)?;
                vec![Row::new(
                    Labels::empty(),
                    (0..grid.steps).map(|step| scalars.at(step)).collect(),
                )]
            }
            VectorFunction::Clamp => self.clamp(&args[0], Some(&args[1]), Some(&args[2]), grid)?,
            VectorFunction::ClampMin => self.clamp(&args[0], Some(&args[1]), None, grid)?,
            VectorFunction::ClampMax => self.clamp(&args[0], None, Some(&args[1]), grid)?,
            VectorFunction::Round => self.round(args, grid)?,
            VectorFunction::Timestamp => {
                let mut rows = self.vector(&args[0], grid)?;
                for row in &mut rows {
                    row.histograms = Vec::new();
                    row.map_steps(|step, _| grid.time(step) as f64 / 1000.0);
                }
                self.without_names(rows)?
            }
            VectorFunction::LabelReplace => {
                let rows = self.vector(&args[0], grid)?;
                self.label_replace(rows, [1, 2, 3, 4].map(|index| text(&args[index])))?
            }
            VectorFunction::LabelJoin => {
                let rows = self.vector(&args[0], grid)?;
                let sources: Vec<&str> = args[3..].iter().map(text).collect();
                self.label_join(rows, text(&args[1]), text(&args[2]), &sources)?
            }
            VectorFunction::Sort => self.sorted(args, false, span, grid)?,
            VectorFunction::SortDesc => self.sorted(args, true, span, grid)?,
            VectorFunction::SortByLabel => self.sorted_by_label(args, false, span, grid)?,
            VectorFunction::SortByLabelDesc => self.sorted_by_label(args, true, span, grid)?,
            VectorFunction::HistogramQuantile => self.histogram_quantile(args, grid)?,
            VectorFunction::HistogramQuantiles => self.histogram_quantiles(args, grid)?,
            VectorFunction::HistogramFraction => self.histogram_fraction(args, grid)?,
            VectorFunction::HistogramAvg => self.property(&args[0], |h| h.sum / h.count, grid)?,
            VectorFunction::HistogramCount => self.property(&args[0], |h| h.count, grid)?,
            VectorFunction::HistogramSum => self.property(&args[0], |h| h.sum, grid)?,
            VectorFunction::HistogramStddev => {
                self.property(&args[0], |h| h.variance().sqrt(), grid)?
            }
            VectorFunction::HistogramStdvar => {
                self.property(&args[0], Histogram::variance, grid)?
            }
            // These have nodes of their own, or the planner refuses them.
            VectorFunction::Absent | VectorFunction::Info | VectorFunction::StartTimestamp => {
                Vec::new()
            }
        };
        Ok(Computed::Vector(rows))
    }

    fn scalar_call(
        &mut self,
        function: ScalarFunction,
        args: &'a [Node],
        grid: Grid,
    ) -> Result<Scalars, EvalError> {
        match function {
            ScalarFunction::MinOf | ScalarFunction::MaxOf => {
                let (first, second) = (self.scalar(&args[0], grid)?, self.scalar(&args[1], grid)?);
                Ok(first.zip(&second, |a, b| binary::pick_of(function, a, b)))
            }
            // The planner computes the others; only the time is left.
            _ => Ok(Scalars::Steps(
                (0..grid.steps).map(|step| grid.time(step) as f64 / 1000.0).collect(),
            )),
        }
    }

    /// A figure of native histograms; numbers have none.
    fn property(
        &mut self,
        vector: &'a Node,
        figure: fn(&Histogram) -> f64,
        grid: Grid,
    ) -> Result<Vec<Row>, EvalError> {
        let mut rows = self.vector(vector, grid)?;
        for row in &mut rows {
            let values =
                (0..grid.steps).map(|step| row.histogram(step).map_or(ABSENT, |h| figure(h)));
            row.values = values.collect();
            row.histograms = Vec::new();
        }
        self.without_names(rows)
    }

    fn clamp(
        &mut self,
        vector: &'a Node,
        least: Option<&'a Node>,
        most: Option<&'a Node>,
        grid: Grid,
    ) -> Result<Vec<Row>, EvalError> {
        let mut rows = self.vector(vector, grid)?;
        let least = self.bound(least, f64::NEG_INFINITY, grid)?;
        let most = self.bound(most, f64::INFINITY, grid)?;
        for row in &mut rows {
            row.map_steps(|step, value| clamped(value, least.at(step), most.at(step)));
        }
        self.without_names(rows)
    }

    fn bound(
        &mut self,
        node: Option<&'a Node>,
        open: f64,
        grid: Grid,
    ) -> Result<Scalars, EvalError> {
        node.map_or(Ok(Scalars::Same(open)), |node| self.scalar(node, grid))
    }

    fn round(&mut self, args: &'a [Node], grid: Grid) -> Result<Vec<Row>, EvalError> {
        let mut rows = self.vector(&args[0], grid)?;
        let nearest = self.bound(args.get(1), 1.0, grid)?;
        for row in &mut rows {
            row.map_steps(|step, value| {
                // Dividing by the inverse is exact for 0.1 and its like.
                let inverse = 1.0 / nearest.at(step);
                (value * inverse + 0.5).floor() / inverse
            });
        }
        self.without_names(rows)
    }

    fn date(
        &mut self,
        part: fn(f64) -> f64,
        args: &'a [Node],
        grid: Grid,
    ) -> Result<Vec<Row>, EvalError> {
        if let Some(arg) = args.first() {
            let mut rows = self.vector(arg, grid)?;
            rows.iter_mut().for_each(|row| row.map(part));
            return self.without_names(rows);
        }
        let values = (0..grid.steps).map(|step| part(grid.time(step) as f64 / 1000.0)).collect();
        Ok(vec![Row::new(Labels::empty(), values)])
    }
}

/// The text of a literal argument.
pub(super) fn text(node: &Node) -> &str {
    match &node.kind {
        NodeKind::Text(text) => text,
        // Texts come from literals only.
        _ => "",
    }
}

/// `scalar`: the value of the only element, else NaN.
fn only_value(rows: &[Row], steps: usize) -> Scalars {
    let value = |step: usize| {
        let mut present =
            rows.iter().map(|row| row.values[step]).filter(|value| !is_absent(*value));
        match (present.next(), present.next()) {
            (Some(value), None) => value,
            _ => f64::NAN,
        }
    };
    Scalars::Steps((0..steps).map(value).collect())
}

fn clamped(value: f64, least: f64, most: f64) -> f64 {
    if most < least {
        ABSENT
    } else if value.is_nan() || least.is_nan() || most.is_nan() {
        f64::NAN
    } else {
        value.min(most).max(least)
    }
}
