//! A function, an operator and a threshold as PromQL, by which a rule fires, and by which it ends.

use crate::function::{Function, Operator};
use crate::series::SeriesOf;

/// How far a value may be from the threshold and still be equal to it, there as here.
const EQUAL_WITHIN: &str = "0.0001";
/// The last points that the original kept of a series, unless its configuration said otherwise.
const POINTS_KEPT: i64 = 11;

/// When a rule fires, and when it is known not to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    /// Holds while there is trouble.
    pub(crate) holds: String,
    /// Holds when there are points enough to tell.
    pub(crate) is_known: String,
    /// What is worth telling of it.
    pub(crate) remarks: Vec<Remark>,
}

/// What is worth telling of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remark {
    /// The original kept too few points for it and never fired.
    TooFewPointsKept,
    /// No series of this many points has a deviation of this many sigmas.
    DeviationOutOfReach,
    /// `lookup` that wants more hits than it looks at points.
    MoreHitsThanPoints,
}

/// The condition of a rule over some series; the error says why there is none.
pub(crate) fn condition(
    series: &SeriesOf,
    function: Function,
    operator: Operator,
    threshold: f64,
) -> Result<Condition, String> {
    let compare = Comparison { operator, threshold };
    let holds = match function {
        Function::All { points } => all(series, points, compare),
        Function::Max { points } => over_time(series, "max", points, compare),
        Function::Min { points } => over_time(series, "min", points, compare),
        Function::Sum { points } => over_time(series, "sum", points, compare),
        Function::Avg { points } => over_time(series, "avg", points, compare),
        Function::Lookup { hits, points } => lookup(series, hits, points, compare),
        Function::Diff { points } => diff(series, points, compare),
        Function::PDiff { points } => {
            // The short form with the least or greatest is wrong where a value is zero or negative.
            chain(points, |back| {
                let (now, past) = (series.now(), series.past(back));
                compare.rounded(&format!("({now} - {past}) / ({past} != 0) * 100"))
            })
        }
        Function::StdDev { points } => {
            let (now, window) = (series.now(), series.window(points, 0));
            format!(
                "abs({now} - avg_over_time({window})) > {threshold} * stddev_over_time({window})"
            )
        }
        Function::KDiff { before, points } => kdiff(series, before, points, compare)?,
    };
    let remarks = remarks(series, function, threshold);
    Ok(Condition { holds, is_known: series.enough(function.needs()), remarks })
}

#[derive(Debug, Clone, Copy)]
struct Comparison {
    operator: Operator,
    threshold: f64,
}

impl Comparison {
    /// Of values as they were sent.
    fn exact(self, value: &str) -> String {
        format!("{value} {} {}", self.operator.as_str(), self.threshold)
    }

    /// Of values that are computed: rounding must not decide what is equal.
    fn rounded(self, value: &str) -> String {
        match self.operator {
            Operator::Equal => format!("abs({value} - {}) < {EQUAL_WITHIN}", self.threshold),
            Operator::NotEqual => format!("abs({value} - {}) > {EQUAL_WITHIN}", self.threshold),
            _ => self.exact(value),
        }
    }

    fn of(self, series: &SeriesOf, value: &str) -> String {
        if series.is_counter { self.rounded(value) } else { self.exact(value) }
    }
}

fn all(series: &SeriesOf, points: i64, compare: Comparison) -> String {
    let window = series.window(points, 0);
    let (least, greatest) =
        (format!("min_over_time({window})"), format!("max_over_time({window})"));
    match compare.operator {
        Operator::Greater | Operator::GreaterOrEqual => compare.exact(&least),
        Operator::Less | Operator::LessOrEqual => compare.exact(&greatest),
        Operator::Equal => {
            format!("{} and {}", compare.of(series, &least), compare.of(series, &greatest))
        }
        Operator::NotEqual => {
            let each = series.each(points, compare.operator.as_str(), compare.threshold);
            format!("min_over_time({each}) == 1")
        }
    }
}

fn over_time(series: &SeriesOf, what: &str, points: i64, compare: Comparison) -> String {
    let value = format!("{what}_over_time({})", series.window(points, 0));
    if matches!(what, "max" | "min") { compare.of(series, &value) } else { compare.rounded(&value) }
}

fn lookup(series: &SeriesOf, hits: i64, points: i64, compare: Comparison) -> String {
    let each = series.each(points, compare.operator.as_str(), compare.threshold);
    format!("sum_over_time({each}) >= {hits}")
}

fn diff(series: &SeriesOf, points: i64, compare: Comparison) -> String {
    let (now, before) = (series.now(), series.window(points, 1));
    match compare.operator {
        Operator::Greater | Operator::GreaterOrEqual => {
            compare.exact(&format!("{now} - min_over_time({before})"))
        }
        Operator::Less | Operator::LessOrEqual => {
            compare.exact(&format!("{now} - max_over_time({before})"))
        }
        Operator::Equal | Operator::NotEqual => {
            chain(points, |back| compare.rounded(&format!("({now} - {})", series.past(back))))
        }
    }
}

fn kdiff(
    series: &SeriesOf,
    before: i64,
    points: i64,
    compare: Comparison,
) -> Result<String, String> {
    let (new, old) = (series.window(points, 0), series.window(before, points));
    let (ours, theirs) = match compare.operator {
        Operator::Greater | Operator::GreaterOrEqual => ("min", "max"),
        Operator::Less | Operator::LessOrEqual => ("max", "min"),
        Operator::Equal | Operator::NotEqual => {
            return Err("kdiff with = or != has no counterpart in PromQL".to_owned());
        }
    };
    let value = format!("{ours}_over_time({new}) - {theirs}_over_time({old})");
    Ok(compare.exact(&value))
}

/// One comparison for each older point, any of which is enough.
fn chain(points: i64, one: impl Fn(i64) -> String) -> String {
    let links: Vec<String> = (1..=points).map(one).collect();
    if links.len() == 1 { links.concat() } else { format!("({})", links.join(" or ")) }
}

fn remarks(series: &SeriesOf, function: Function, threshold: f64) -> Vec<Remark> {
    let mut remarks = Vec::new();
    if function.needs() + i64::from(series.is_counter) > POINTS_KEPT {
        remarks.push(Remark::TooFewPointsKept);
    }
    match function {
        // The newest is one of the points, so it cannot be further than this from their mean.
        Function::StdDev { points } if threshold >= ((points - 1) as f64).sqrt() => {
            remarks.push(Remark::DeviationOutOfReach);
        }
        Function::Lookup { hits, points } if hits > points => {
            remarks.push(Remark::MoreHitsThanPoints);
        }
        _ => {}
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Selector;

    fn holds(is_counter: bool, function: &str, operator: &str, threshold: f64) -> String {
        made(is_counter, function, operator, threshold).holds
    }

    fn made(is_counter: bool, function: &str, operator: &str, threshold: f64) -> Condition {
        let series = SeriesOf::new(&Selector::new("x").unwrap(), is_counter, 60);
        let (function, operator) =
            (Function::parse(function).unwrap(), Operator::parse(operator).unwrap());
        condition(&series, function, operator, threshold).unwrap()
    }

    #[test]
    fn every_row_of_the_table_is_written() {
        for (function, operator, promql) in [
            ("all(#3)", ">", "min_over_time(x[3m]) > 5"),
            ("all(#3)", "<=", "max_over_time(x[3m]) <= 5"),
            ("all(#3)", "=", "min_over_time(x[3m]) == 5 and max_over_time(x[3m]) == 5"),
            ("all(#3)", "!=", "min_over_time((x != bool 5)[3m:1m]) == 1"),
            ("max(#3)", "==", "max_over_time(x[3m]) == 5"),
            ("sum(#3)", ">=", "sum_over_time(x[3m]) >= 5"),
            ("avg(#3)", "=", "abs(avg_over_time(x[3m]) - 5) < 0.0001"),
            ("lookup(#2,3)", "<", "sum_over_time((x < bool 5)[3m:1m]) >= 2"),
            ("diff(#3)", ">", "x - min_over_time(x[3m] offset 1m) > 5"),
            ("diff(#3)", "<", "x - max_over_time(x[3m] offset 1m) < 5"),
            (
                "diff(#2)",
                "!=",
                "(abs((x - x offset 1m) - 5) > 0.0001 or abs((x - x offset 2m) - 5) > 0.0001)",
            ),
            ("pdiff(#1)", ">", "(x - x offset 1m) / (x offset 1m != 0) * 100 > 5"),
            ("stddev(#9)", "=", "abs(x - avg_over_time(x[9m])) > 5 * stddev_over_time(x[9m])"),
            ("kdiff(#2,3)", ">", "min_over_time(x[3m]) - max_over_time(x[2m] offset 3m) > 5"),
            ("kdiff(#2,3)", "<", "max_over_time(x[3m]) - min_over_time(x[2m] offset 3m) < 5"),
        ] {
            assert_eq!(holds(false, function, operator, 5.0), promql);
        }
        assert_eq!(holds(true, "all(#3)", ">", 5.0), "min_over_time((irate(x[2m]))[3m:1m]) > 5");
        assert_eq!(made(false, "diff(#3)", ">", 5.0).is_known, "count_over_time(x[4m]) >= 4");
    }

    #[test]
    fn what_could_never_fire_is_remarked() {
        for (is_counter, function, threshold, expected) in [
            (false, "all(#11)", 1.0, vec![]),
            (true, "all(#11)", 1.0, vec![Remark::TooFewPointsKept]),
            (false, "diff(#11)", 1.0, vec![Remark::TooFewPointsKept]),
            (false, "stddev(#10)", 3.0, vec![Remark::DeviationOutOfReach]),
            (false, "stddev(#11)", 3.0, vec![]),
            (false, "lookup(#4,3)", 1.0, vec![Remark::MoreHitsThanPoints]),
        ] {
            assert_eq!(made(is_counter, function, "=", threshold).remarks, expected, "{function}");
        }
    }

    #[test]
    fn kdiff_of_equality_is_refused() {
        let series = SeriesOf::new(&Selector::new("x").unwrap(), false, 60);
        let kdiff = Function::KDiff { before: 1, points: 1 };
        assert!(condition(&series, kdiff, Operator::Equal, 1.0).is_err());
    }
}
