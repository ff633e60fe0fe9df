//! Which labels the result of an expression can have, as far as the expression tells.

use std::collections::{BTreeMap, BTreeSet};

use model::{Labels, METRIC_NAME, MatchOp, Matcher};

use crate::ast::{
    Aggregate, AggregateOp, Binary, Call, Cardinality, Chain, Expr, ExprKind, Grouping, Matching,
    ValueType,
};
use crate::functions::{Kind, VectorFunction, WindowFunction};
use crate::plan::absent_labels;

/// What is known about the labels of a result before it is computed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutputLabels {
    /// The only labels that elements can have; `None` when the data decides.
    pub possible: Option<BTreeSet<String>>,
    /// Labels that no element has.
    pub never: BTreeSet<String>,
    /// Labels that every element has with this value.
    pub fixed: BTreeMap<String, String>,
}

/// What is known about the labels of the elements of an expression's result.
pub fn output_labels(expr: &Expr) -> OutputLabels {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::Text(_) => OutputLabels::none(),
        ExprKind::Selector(selector) => OutputLabels::of_matchers(&selector.matchers),
        ExprKind::Range(range) => OutputLabels::of_matchers(&range.selector.matchers),
        ExprKind::Subquery(subquery) => output_labels(&subquery.expr),
        ExprKind::Unary(unary) if unary.negative => output_labels(&unary.expr).without_identity(),
        ExprKind::Unary(unary) => output_labels(&unary.expr),
        ExprKind::Paren(inner) => output_labels(inner),
        ExprKind::Call(call) => of_call(call),
        ExprKind::Aggregate(aggregate) => of_aggregate(aggregate),
        ExprKind::Binary(_) => of_chain(expr),
    }
}

impl OutputLabels {
    /// Elements without labels.
    fn none() -> Self {
        Self { possible: Some(BTreeSet::new()), ..Self::default() }
    }

    fn of_labels(labels: &Labels) -> Self {
        let fixed: BTreeMap<String, String> =
            labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { possible: Some(fixed.keys().cloned().collect()), fixed, never: BTreeSet::new() }
    }

    fn of_matchers(matchers: &[Matcher]) -> Self {
        let mut labels = Self::default();
        for matcher in matchers.iter().filter(|matcher| matcher.op == MatchOp::Equal) {
            if matcher.value.is_empty() {
                labels.remove(&matcher.name);
            } else {
                labels.set(&matcher.name, &matcher.value);
            }
        }
        labels
    }

    /// Whether an element can have a label.
    pub fn can_have(&self, label: &str) -> bool {
        !self.never.contains(label) && self.possible.as_ref().is_none_or(|all| all.contains(label))
    }

    /// Whether an element can satisfy all conditions.
    pub fn can_match(&self, matchers: &[Matcher]) -> bool {
        matchers.iter().all(|matcher| match self.fixed.get(&matcher.name) {
            Some(value) => matcher.matches(value),
            None => self.can_have(&matcher.name) || matcher.matches(""),
        })
    }

    /// Every element gets this label, as by the `labels` of a rule. An empty value removes it.
    pub fn set(&mut self, label: &str, value: &str) {
        if value.is_empty() {
            return self.remove(label);
        }
        self.add(label);
        self.fixed.insert(label.to_owned(), value.to_owned());
    }

    /// Elements may get this label with any value.
    fn add(&mut self, label: &str) {
        self.never.remove(label);
        self.fixed.remove(label);
        if let Some(possible) = &mut self.possible {
            possible.insert(label.to_owned());
        }
    }

    fn remove(&mut self, label: &str) {
        self.fixed.remove(label);
        match &mut self.possible {
            Some(possible) => drop(possible.remove(label)),
            None => drop(self.never.insert(label.to_owned())),
        }
    }

    fn without(mut self, labels: &[impl AsRef<str>]) -> Self {
        labels.iter().for_each(|label| self.remove(label.as_ref()));
        self
    }

    fn without_identity(self) -> Self {
        self.without(&[METRIC_NAME, "__type__", "__unit__"])
    }

    fn only(mut self, labels: &[String]) -> Self {
        let possible = labels.iter().filter(|label| self.can_have(label)).cloned().collect();
        self.fixed.retain(|label, _| labels.contains(label));
        Self { possible: Some(possible), never: BTreeSet::new(), fixed: self.fixed }
    }

    /// What holds for elements of either.
    fn or(self, other: &Self) -> Self {
        let possible = match (&self.possible, &other.possible) {
            (Some(a), Some(b)) => Some(a | b),
            _ => None,
        };
        let candidates = self.never.iter().chain(&other.never);
        let never = if possible.is_some() {
            BTreeSet::new()
        } else {
            candidates
                .filter(|label| !self.can_have(label) && !other.can_have(label))
                .cloned()
                .collect()
        };
        let mut fixed = self.fixed;
        fixed.retain(|label, value| other.fixed.get(label) == Some(value));
        Self { possible, never, fixed }
    }
}

fn of_call(call: &Call) -> OutputLabels {
    let arg = |index: usize| call.args.get(index).map_or_else(OutputLabels::none, output_labels);
    let matrix = || {
        let found = call.args.iter().find(|arg| arg.value_type() == ValueType::Matrix);
        found.map_or_else(OutputLabels::none, output_labels)
    };
    match call.function.kind {
        Kind::Window(WindowFunction::First | WindowFunction::Last) => matrix(),
        Kind::Window(_) => matrix().without_identity(),
        Kind::AbsentOverTime | Kind::Vector(VectorFunction::Absent) => {
            OutputLabels::of_labels(&absent_labels(&call.args[0]))
        }
        Kind::Scalar(_) | Kind::Vector(VectorFunction::Scalar | VectorFunction::Vector) => {
            OutputLabels::none()
        }
        Kind::Vector(VectorFunction::LabelReplace | VectorFunction::LabelJoin) => {
            with_text(arg(0), call, 1)
        }
        Kind::Vector(
            VectorFunction::Sort
            | VectorFunction::SortDesc
            | VectorFunction::SortByLabel
            | VectorFunction::SortByLabelDesc,
        ) => arg(0),
        Kind::Vector(VectorFunction::Info) => OutputLabels::default(),
        Kind::Vector(VectorFunction::HistogramQuantile) => {
            arg(1).without_identity().without(&["le"])
        }
        Kind::Vector(VectorFunction::HistogramFraction) => {
            arg(2).without_identity().without(&["le"])
        }
        Kind::Vector(VectorFunction::HistogramQuantiles) => {
            with_text(arg(0).without_identity().without(&["le"]), call, 1)
        }
        Kind::Vector(_) | Kind::Map(_) | Kind::Date(_) => arg(0).without_identity(),
    }
}

/// Adds the label that a text argument names.
fn with_text(mut labels: OutputLabels, call: &Call, index: usize) -> OutputLabels {
    match call.args.get(index).map(|arg| &arg.unwrapped().kind) {
        Some(ExprKind::Text(name)) => {
            labels.add(name);
            labels
        }
        _ => OutputLabels::default(),
    }
}

fn of_aggregate(aggregate: &Aggregate) -> OutputLabels {
    let input = output_labels(&aggregate.expr);
    if matches!(
        aggregate.op,
        AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk | AggregateOp::LimitRatio
    ) {
        return input;
    }
    let mut labels = match &aggregate.grouping {
        None => OutputLabels::none(),
        Some(Grouping { without: true, labels }) => input.without(labels).without_identity(),
        Some(Grouping { without: false, labels }) => input.only(labels),
    };
    if aggregate.op == AggregateOp::CountValues {
        match aggregate.param.as_ref().map(|param| &param.unwrapped().kind) {
            Some(ExprKind::Text(name)) => labels.add(name),
            _ => return OutputLabels::default(),
        }
    }
    labels
}

fn of_chain(expr: &Expr) -> OutputLabels {
    let Chain { first, links } = expr.chain();
    let (mut labels, mut left) = (output_labels(first), first.value_type());
    for (_, binary) in links {
        labels = of_binary(labels, left, binary);
        left = binary.type_behind(left);
    }
    labels
}

fn of_binary(lhs: OutputLabels, left: ValueType, binary: &Binary) -> OutputLabels {
    let rhs = output_labels(&binary.rhs);
    let Some(matching) = binary.matching_of([left, binary.rhs.value_type()]) else {
        let vector = if left == ValueType::Vector { lhs } else { rhs };
        return result(vector, binary);
    };
    match matching.cardinality {
        Cardinality::ManyToMany if binary.op == crate::BinaryOp::Or => lhs.or(&rhs),
        Cardinality::ManyToMany => lhs,
        Cardinality::OneToOne => {
            let filled = matching.fill_left.is_some() || matching.fill_right.is_some();
            let one = if filled { lhs.or(&rhs) } else { lhs };
            let one = result(one, binary);
            if matching.on { one.only(&matching.labels) } else { one.without(&matching.labels) }
        }
        Cardinality::ManyToOne => grouped(lhs, &rhs, &matching, binary),
        Cardinality::OneToMany => grouped(rhs, &lhs, &matching, binary),
    }
}

/// The labels that an operator leaves: only a filter keeps the name.
fn result(mut labels: OutputLabels, binary: &Binary) -> OutputLabels {
    if binary.op.is_trim() {
        // Whether the name stays is not said.
        labels.fixed.remove(METRIC_NAME);
        return labels;
    }
    let keeps = binary.op.is_comparison() && !binary.return_bool;
    if keeps { labels } else { labels.without_identity() }
}

fn grouped(
    many: OutputLabels,
    one: &OutputLabels,
    matching: &Matching,
    binary: &Binary,
) -> OutputLabels {
    let filled = matching.fill_left.is_some() || matching.fill_right.is_some();
    let mut labels = result(if filled { many.or(one) } else { many }, binary);
    for label in &matching.include {
        match one.fixed.get(label).filter(|_| !filled) {
            Some(value) => labels.set(label, value),
            None => labels.add(label),
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Features, parse_with};

    /// `a b=1` for elements that have at most these labels; `* !c` for any but these.
    fn shown(text: &str) -> String {
        let labels = output_labels(
            &parse_with(text, Features::all()).expect("the expression is well formed"),
        );
        let mut words: Vec<String> = match &labels.possible {
            Some(all) => {
                all.iter().filter(|label| !labels.fixed.contains_key(*label)).cloned().collect()
            }
            None => vec!["*".to_owned()],
        };
        words.extend(labels.never.iter().map(|label| format!("!{label}")));
        words.extend(labels.fixed.iter().map(|(label, value)| format!("{label}={value}")));
        words.join(" ")
    }

    #[test]
    fn a_selector_fixes_what_it_compares_with() {
        assert_eq!(shown("x{a=\"1\",b!=\"2\",c=\"\"}"), "* !c __name__=x a=1");
    }

    #[test]
    fn functions_drop_the_identity_of_the_metric() {
        let dropped = "* !__name__ !__type__ !__unit__ a=1";
        for text in ["rate(x{a=\"1\"}[5m])", "-x{a=\"1\"}", "x{a=\"1\"} * 2", "1 < bool x{a=\"1\"}"]
        {
            assert_eq!(shown(text), dropped, "{text}");
        }
        for text in ["last_over_time(x[5m])", "sort(x)", "(x) > 1", "topk(2, x)", "+x", "x and y"] {
            assert_eq!(shown(text), "* __name__=x", "{text}");
        }
    }

    #[test]
    fn an_aggregation_leaves_what_it_groups_by() {
        assert_eq!(shown("sum by (a, b) (x{a=\"1\"})"), "b a=1");
        assert_eq!(shown("sum by (a, b) (sum by (b, c) (x))"), "b");
        assert_eq!(shown("sum(x)"), "");
        assert_eq!(shown("sum without (a) (sum by (a, b) (x))"), "b");
        assert_eq!(shown("sum without (a) (x)"), "* !__name__ !__type__ !__unit__ !a");
        assert_eq!(shown("count_values by (a) (\"v\", x)"), "a v");
    }

    #[test]
    fn absent_has_the_labels_it_looked_for() {
        assert_eq!(shown("absent(x{a=\"1\",b=~\"2\"})"), "a=1");
        assert_eq!(shown("absent_over_time(x{a=\"1\"}[5m])"), "a=1");
        assert_eq!(shown("absent(sum(x))"), "");
    }

    #[test]
    fn label_functions_add_their_label() {
        assert_eq!(shown("label_replace(sum(x), \"d\", \"$1\", \"a\", \"(.*)\")"), "d");
        assert_eq!(shown("label_join(x{d=\"1\"}, \"d\", \",\", \"a\")"), "* __name__=x");
        assert_eq!(shown("histogram_quantile(0.9, sum by (le, a) (x))"), "a");
        assert_eq!(shown("histogram_quantiles(sum by (le) (x), \"q\", 0.5)"), "q");
    }

    #[test]
    fn scalars_have_no_labels() {
        for text in ["1 + 2", "vector(1)", "time()", "scalar(x)", "\"a\"", "hour()"] {
            assert_eq!(shown(text), "", "{text}");
        }
    }

    #[test]
    fn matching_decides_which_side_gives_the_labels() {
        assert_eq!(shown("x{a=\"1\"} + on (a, b) y"), "b a=1");
        assert_eq!(shown("sum by (a, b) (x) / ignoring (b) sum by (a) (x)"), "a");
        assert_eq!(shown("sum by (a, b) (x) / on (a) group_left (c) y{c=\"2\"}"), "a b c=2");
        assert_eq!(shown("y{c=\"2\"} * on (a) group_right (d) sum by (a) (x)"), "a d");
        assert_eq!(shown("sum by (a) (x{a=\"1\"}) + fill (0) sum by (a) (y)"), "a");
    }

    #[test]
    fn a_union_has_what_both_sides_agree_on() {
        assert_eq!(shown("x{a=\"1\",b=\"2\"} or x{a=\"1\",b=\"3\"}"), "* __name__=x a=1");
        assert_eq!(shown("sum by (a) (x) or sum by (b) (x)"), "a b");
        assert_eq!(shown("x{c=\"\"} or sum(y)"), "* !c");
    }

    #[test]
    fn a_selector_is_compared_with_what_a_rule_can_write() {
        let mut labels = output_labels(&crate::parse("sum by (a) (x{a=\"1\"})").unwrap());
        labels.set(METRIC_NAME, "a:x:sum");
        labels.set("severity", "page");
        let can = |text: &str| {
            let expr = crate::parse(text).unwrap();
            labels.can_match(&expr.selectors()[0].matchers)
        };
        assert!(can("a:x:sum{a=\"1\"}") && can("{severity=~\"p.*\",z=\"\"}"));
        assert!(!can("a:x:sum{a=\"2\"}") && !can("x") && !can("a:x:sum{z=\"1\"}"));
    }
}
