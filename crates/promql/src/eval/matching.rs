//! Vector matching: which elements of two vectors meet.

use hashbrown::HashTable;
use model::{Labels, METRIC_NAME};

use super::Evaluator;
use super::binary::Operation;
use super::column::{self, ABSENT, Point, Row, is_absent, unify_or};
use crate::ast::{BinaryOp, Cardinality, Matching};
use crate::error::EvalError;

/// What two vectors match on when nothing was written: all labels but the name.
const PLAIN: Matching = Matching {
    cardinality: Cardinality::OneToOne,
    on: false,
    labels: Vec::new(),
    include: Vec::new(),
    fill_left: None,
    fill_right: None,
};

/// `and`, `or`, `unless`. `check` fails once the caller wants to stop.
pub(super) fn set_operation(
    op: BinaryOp,
    matching: Option<&Matching>,
    (mut left, mut right): (Vec<Row>, Vec<Row>),
    check: impl Fn() -> Result<(), EvalError>,
) -> Result<Vec<Row>, EvalError> {
    let plain = PLAIN;
    let mut groups = Groups::new(matching.unwrap_or(&plain));
    let left_ids = groups.assign(&left);
    check()?;
    let right_ids = groups.assign(&right);
    let steps = left.iter().chain(&right).map(|row| row.values.len()).max().unwrap_or(0);
    let (masked, masked_ids, other, other_ids) = match op {
        BinaryOp::Or => (&mut right, &right_ids, &left, &left_ids),
        _ => (&mut left, &left_ids, &right, &right_ids),
    };
    let mut present: Vec<Vec<bool>> = vec![Vec::new(); groups.len()];
    for (row, id) in other.iter().zip(other_ids) {
        check()?;
        let seen = &mut present[*id];
        seen.resize(steps, false);
        row.values.iter().zip(seen).for_each(|(value, seen)| *seen |= !is_absent(*value));
    }
    let keep_present = op == BinaryOp::And;
    for (row, id) in masked.iter_mut().zip(masked_ids) {
        check()?;
        for (step, value) in row.values.iter_mut().enumerate() {
            if present[*id].get(step).copied().unwrap_or(false) != keep_present {
                *value = ABSENT;
            }
        }
    }
    masked.retain(Row::has_values);
    if op != BinaryOp::Or {
        return Ok(left);
    }
    left.append(&mut right);
    column::unify(left)
}

/// Match groups with dense ids.
struct Groups<'m> {
    matching: &'m Matching,
    names: Vec<&'m str>,
    index: HashTable<usize>,
    labels: Vec<Labels>,
}

impl<'m> Groups<'m> {
    fn new(matching: &'m Matching) -> Self {
        let mut names: Vec<&str> = matching.labels.iter().map(String::as_str).collect();
        if !matching.on {
            names.push(METRIC_NAME);
        }
        Self { matching, names, index: HashTable::new(), labels: Vec::new() }
    }

    fn len(&self) -> usize {
        self.labels.len()
    }

    fn assign(&mut self, rows: &[Row]) -> Vec<usize> {
        rows.iter().map(|row| self.id(&row.labels)).collect()
    }

    fn id(&mut self, labels: &Labels) -> usize {
        let key =
            if self.matching.on { labels.only(&self.names) } else { labels.without(&self.names) };
        let hash = key.hash();
        if let Some(id) = self.index.find(hash, |id| self.labels[*id] == key) {
            return *id;
        }
        let id = self.labels.len();
        self.labels.push(key);
        self.index.insert_unique(hash, id, |id| self.labels[*id].hash());
        id
    }
}

/// Two vectors, seen from the side that may have many elements a group.
struct Sides<'m> {
    operation: Operation,
    matching: &'m Matching,
    /// Whether the "many" side is the right one.
    swapped: bool,
    fill_many: Option<f64>,
    fill_one: Option<f64>,
}

impl Sides<'_> {
    fn combine(&self, many: f64, one: f64) -> f64 {
        let (left, right) = if self.swapped { (one, many) } else { (many, one) };
        self.operation.apply(left, right, left)
    }

    fn one_to_one(&self) -> bool {
        self.matching.cardinality == Cardinality::OneToOne
    }

    /// The labels of a result.
    fn labels(&self, many: &Labels, one: &Labels) -> Labels {
        let matching = self.matching;
        let names: Vec<&str> = matching.labels.iter().map(String::as_str).collect();
        let keeps_name = self.operation.op.is_comparison();
        let base = if keeps_name { many.clone() } else { column::without_identity(many) };
        let base = match (self.one_to_one(), matching.on) {
            (true, true) => base.only(&names),
            (true, false) => base.without(&names),
            (false, _) => base,
        };
        if matching.include.is_empty() {
            return base;
        }
        let mut builder = base.edit();
        for name in &matching.include {
            builder.set(name, one.get(name).unwrap_or(""));
        }
        builder.build()
    }

    /// A result without values.
    fn row(&self, labels: Labels, drop_name: bool, steps: usize) -> Row {
        Row::absent(labels, drop_name || self.operation.return_bool, steps)
    }
}

impl Evaluator<'_> {
    /// Arithmetic and comparisons between two vectors.
    pub(super) fn matched(
        &mut self,
        operation: Operation,
        matching: Option<&Matching>,
        left: Vec<Row>,
        right: Vec<Row>,
    ) -> Result<Vec<Row>, EvalError> {
        let plain = PLAIN;
        let matching = matching.unwrap_or(&plain);
        let swapped = matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if swapped { (right, left) } else { (left, right) };
        // Prometheus swaps the sides of `group_right` but not the values to fill in; so do we.
        let fill_many = matching.fill_left.map(|number| number.value);
        let fill_one = matching.fill_right.map(|number| number.value);
        let sides = Sides { operation, matching, swapped, fill_many, fill_one };
        let mut groups = Groups::new(matching);
        let many_ids = groups.assign(&many);
        let one_ids = groups.assign(&one);
        let ones = members(&one_ids, groups.len());
        check_unique(&one, &ones, &groups, swapped)?;

        let mut results = Vec::new();
        for (row, id) in many.iter().zip(&many_ids) {
            let partners: Vec<&Row> = ones[*id].iter().map(|index| &one[*index]).collect();
            self.charge(row.values.len() * partners.len().max(1))?;
            for partner in &partners {
                let mut result = sides.row(
                    sides.labels(&row.labels, &partner.labels),
                    row.drop_name,
                    row.values.len(),
                );
                self.combine_rows(&sides, row, partner, &mut result);
                results.push((*id, result));
            }
            if let Some(fill) = sides.fill_one {
                let labels = sides.labels(&row.labels, &groups.labels[*id]);
                let mut result = sides.row(labels, row.drop_name, row.values.len());
                self.combine_lonely(&sides, row, &partners, (fill, true), &mut result);
                results.push((*id, result));
            }
        }
        if let Some(fill) = sides.fill_many {
            let manys = members(&many_ids, groups.len());
            for (row, id) in one.iter().zip(&one_ids) {
                let partners: Vec<&Row> = manys[*id].iter().map(|index| &many[*index]).collect();
                let labels = sides.labels(&groups.labels[*id], &row.labels);
                let mut result = sides.row(labels, row.drop_name, row.values.len());
                self.combine_lonely(&sides, row, &partners, (fill, false), &mut result);
                results.push((*id, result));
            }
        }
        results.retain(|(_, row)| row.has_values());
        self.finish_matched(&sides, results)
    }

    /// Combines two rows step by step.
    fn combine_rows(&mut self, sides: &Sides<'_>, many: &Row, one: &Row, result: &mut Row) {
        if many.has_histograms() || one.has_histograms() || sides.operation.op.is_trim() {
            for step in 0..many.values.len() {
                let (Some(many), Some(one)) = (many.point(step), one.point(step)) else { continue };
                let (left, right) = if sides.swapped { (one, many) } else { (many, one) };
                result.set(step, self.combined(sides.operation, &left, &right));
            }
            return;
        }
        for ((many, one), value) in many.values.iter().zip(&one.values).zip(&mut result.values) {
            if !is_absent(*many) && !is_absent(*one) {
                *value = sides.combine(*many, *one);
            }
        }
    }

    /// Combines a row with a value to fill in, at the steps where none of its partners has a value.
    /// `fill` says whether it stands for the "one" side.
    fn combine_lonely(
        &mut self,
        sides: &Sides<'_>,
        row: &Row,
        partners: &[&Row],
        fill: (f64, bool),
        result: &mut Row,
    ) {
        for step in 0..row.values.len() {
            let alone = partners.iter().all(|partner| is_absent(partner.values[step]));
            let Some(point) = row.point(step).filter(|_| alone) else { continue };
            let filled = Point::Float(fill.0);
            let (many, one) = if fill.1 { (point, filled) } else { (filled, point) };
            let (left, right) = if sides.swapped { (one, many) } else { (many, one) };
            result.set(step, self.combined(sides.operation, &left, &right));
        }
    }

    fn finish_matched(
        &self,
        sides: &Sides<'_>,
        results: Vec<(usize, Row)>,
    ) -> Result<Vec<Row>, EvalError> {
        if sides.one_to_one() {
            check_one_to_one(&results)?;
        }
        let mut rows: Vec<Row> = results.into_iter().map(|(_, row)| row).collect();
        if !self.plan.params.delayed_name_removal {
            rows = column::strip_names(rows);
        }
        let one_to_one = sides.one_to_one();
        unify_or(rows, || {
            if one_to_one { EvalError::DuplicateLabels } else { EvalError::GroupingNotUnique }
        })
    }
}

fn members(ids: &[usize], groups: usize) -> Vec<Vec<usize>> {
    let mut members = vec![Vec::new(); groups];
    ids.iter().enumerate().for_each(|(index, id)| members[*id].push(index));
    members
}

/// The "one" side may have one element a group and step.
fn check_unique(
    rows: &[Row],
    members: &[Vec<usize>],
    groups: &Groups<'_>,
    swapped: bool,
) -> Result<(), EvalError> {
    for (id, indexes) in members.iter().enumerate().filter(|(_, indexes)| indexes.len() > 1) {
        let steps = rows[indexes[0]].values.len();
        for step in 0..steps {
            let mut present = indexes.iter().filter(|index| !is_absent(rows[**index].values[step]));
            let (Some(first), Some(second)) = (present.next(), present.next()) else { continue };
            return Err(EvalError::DuplicateMatch {
                group: groups.labels[id].clone(),
                side: if swapped { "left" } else { "right" },
                first: rows[*second].labels.clone(),
                second: rows[*first].labels.clone(),
            });
        }
    }
    Ok(())
}

/// Without `group_left` and `group_right`, a group may give one result a step.
fn check_one_to_one(results: &[(usize, Row)]) -> Result<(), EvalError> {
    let ids: Vec<usize> = results.iter().map(|(id, _)| *id).collect();
    let groups = ids.iter().max().map_or(0, |id| id + 1);
    for indexes in members(&ids, groups).iter().filter(|indexes| indexes.len() > 1) {
        let steps = results[indexes[0]].1.values.len();
        for step in 0..steps {
            let present =
                indexes.iter().filter(|index| !is_absent(results[**index].1.values[step]));
            if present.count() > 1 {
                return Err(EvalError::ManyToOne);
            }
        }
    }
    Ok(())
}
