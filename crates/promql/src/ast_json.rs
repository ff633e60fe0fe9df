//! The tree as JSON, in the shape of Prometheus' `/api/v1/parse_query`. Keys are in alphabetical
//! order, as Prometheus writes them.

use model::Matcher;

use crate::ast::{
    Aggregate, At, Binary, Call, Cardinality, Chain, DurationExpr, Expr, ExprKind, Extension,
    Matching, Number, RangeSelector, Shift, Subquery, VectorSelector,
};
use crate::number;

/// The tree of an expression as JSON text. Ranges, offsets and steps are milliseconds; one that is
/// only known when the query runs is 0 and has its expression beside it (`rangeExpr`, `offsetExpr`,
/// `stepExpr`).
pub fn ast_json(expr: &Expr) -> String {
    let mut out = String::new();
    put_expr(&mut out, expr);
    out
}

/// Writes an object, key by key in the order of the calls.
struct Object<'o> {
    out: &'o mut String,
    empty: bool,
}

impl<'o> Object<'o> {
    fn begin(out: &'o mut String) -> Self {
        out.push('{');
        Self { out, empty: true }
    }

    fn put(mut self, key: &str, write: impl FnOnce(&mut String)) -> Self {
        if !self.empty {
            self.out.push(',');
        }
        self.empty = false;
        put_text(self.out, key);
        self.out.push(':');
        write(self.out);
        self
    }

    /// Begins a key whose value is written by others.
    fn open(self, key: &str) {
        self.put(key, |_| {});
    }

    fn text(self, key: &str, text: &str) -> Self {
        self.put(key, |out| put_text(out, text))
    }

    /// Whatever is JSON when it is printed: whole numbers and truth values.
    fn plain(self, key: &str, value: impl std::fmt::Display) -> Self {
        self.put(key, |out| out.push_str(&value.to_string()))
    }

    fn expr(self, key: &str, expr: &Expr) -> Self {
        self.put(key, |out| put_expr(out, expr))
    }

    fn end(self) {
        self.out.push('}');
    }
}

fn put_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn put_list<T>(out: &mut String, items: impl IntoIterator<Item = T>, put: impl Fn(&mut String, T)) {
    out.push('[');
    for (position, item) in items.into_iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        put(out, item);
    }
    out.push(']');
}

fn put_option<T>(out: &mut String, item: Option<T>, put: impl FnOnce(&mut String, T)) {
    match item {
        Some(item) => put(out, item),
        None => out.push_str("null"),
    }
}

fn put_names(out: &mut String, names: &[String]) {
    put_list(out, names, |out, name| put_text(out, name));
}

fn put_expr(out: &mut String, expr: &Expr) {
    match &expr.kind {
        ExprKind::Number(number) => put_number(out, *number),
        ExprKind::Text(text) => {
            Object::begin(out).text("type", "stringLiteral").text("val", text).end()
        }
        ExprKind::Selector(selector) => put_selector(out, selector),
        ExprKind::Range(range) => put_range(out, range),
        ExprKind::Subquery(subquery) => put_subquery(out, subquery),
        ExprKind::Unary(unary) => {
            let op = if unary.negative { "-" } else { "+" };
            Object::begin(out)
                .expr("expr", &unary.expr)
                .text("op", op)
                .text("type", "unaryExpr")
                .end();
        }
        ExprKind::Binary(_) => put_chain(out, expr),
        ExprKind::Aggregate(aggregate) => put_aggregate(out, aggregate),
        ExprKind::Call(call) => put_call(out, call),
        ExprKind::Paren(inner) => {
            Object::begin(out).expr("expr", inner).text("type", "parenExpr").end()
        }
    }
}

// The value is a text, because JSON has no infinities.
fn put_number(out: &mut String, number: Number) {
    Object::begin(out).text("type", "numberLiteral").text("val", &number_text(number.value)).end();
}

fn number_text(value: f64) -> String {
    if value == f64::INFINITY { "+Inf".to_owned() } else { number::plain(value) }
}

fn put_matchers(out: &mut String, matchers: &[Matcher]) {
    put_list(out, matchers, |out, matcher| {
        let object =
            Object::begin(out).text("name", &matcher.name).text("type", matcher.op.as_str());
        object.text("value", &matcher.value).end();
    });
}

fn put_selector(out: &mut String, selector: &VectorSelector) {
    let object = Object::begin(out)
        .plain("anchored", selector.extension == Some(Extension::Anchored))
        .put("matchers", |out| put_matchers(out, &selector.matchers))
        .text("name", selector.name.as_deref().unwrap_or(""));
    let object = put_offset(object, &selector.at)
        .plain("smoothed", selector.extension == Some(Extension::Smoothed))
        .put("startOrEnd", |out| put_start_or_end(out, selector.at.at));
    object
        .put("timestamp", |out| put_timestamp(out, selector.at.at))
        .text("type", "vectorSelector")
        .end();
}

fn put_range(out: &mut String, range: &RangeSelector) {
    let selector = &range.selector;
    let object = Object::begin(out)
        .plain("anchored", selector.extension == Some(Extension::Anchored))
        .put("matchers", |out| put_matchers(out, &selector.matchers))
        .text("name", selector.name.as_deref().unwrap_or(""));
    let object = put_offset(object, &selector.at);
    put_duration(object, ("range", "rangeExpr"), Some(&range.range))
        .plain("smoothed", selector.extension == Some(Extension::Smoothed))
        .put("startOrEnd", |out| put_start_or_end(out, selector.at.at))
        .put("timestamp", |out| put_timestamp(out, selector.at.at))
        .text("type", "matrixSelector")
        .end();
}

fn put_subquery(out: &mut String, subquery: &Subquery) {
    let object = put_offset(Object::begin(out).expr("expr", &subquery.expr), &subquery.at);
    let object = put_duration(object, ("range", "rangeExpr"), Some(&subquery.range))
        .put("startOrEnd", |out| put_start_or_end(out, subquery.at.at));
    put_duration(object, ("step", "stepExpr"), subquery.step.as_ref())
        .put("timestamp", |out| put_timestamp(out, subquery.at.at))
        .text("type", "subquery")
        .end();
}

fn put_offset<'o>(object: Object<'o>, at: &Shift) -> Object<'o> {
    put_duration(object, ("offset", "offsetExpr"), at.offset.as_ref())
}

fn put_duration<'o>(
    object: Object<'o>,
    keys: (&str, &str),
    written: Option<&DurationExpr>,
) -> Object<'o> {
    let millis = written.map_or(Some(0), fixed_millis);
    let object = object.plain(keys.0, millis.unwrap_or(0));
    object
        .put(keys.1, |out| put_option(out, written.filter(|_| millis.is_none()), put_duration_expr))
}

/// A duration in milliseconds, unless it has to be computed.
fn fixed_millis(duration: &DurationExpr) -> Option<i64> {
    match duration {
        DurationExpr::Literal(number) => Some((number.value * 1000.0).round() as i64),
        DurationExpr::Negative(inner) => fixed_millis(inner).map(|millis| -millis),
        DurationExpr::Positive(inner) | DurationExpr::Paren(inner) => fixed_millis(inner),
        _ => None,
    }
}

fn put_duration_expr(out: &mut String, duration: &DurationExpr) {
    put_duration_node(out, duration, false);
}

fn put_duration_node(out: &mut String, duration: &DurationExpr, wrapped: bool) {
    let (lhs, op, rhs) = match duration {
        DurationExpr::Literal(number) => return put_number(out, *number),
        DurationExpr::Paren(inner) => return put_duration_node(out, inner, true),
        DurationExpr::Step => (None, "step", None),
        DurationExpr::Range => (None, "range", None),
        DurationExpr::Negative(inner) => (None, "-", Some(inner)),
        DurationExpr::Positive(inner) => (None, "+", Some(inner)),
        DurationExpr::Binary(lhs, op, rhs) => (Some(lhs), op.as_str(), Some(rhs)),
        DurationExpr::MinOf(lhs, rhs) => (Some(lhs), "min_of", Some(rhs)),
        DurationExpr::MaxOf(lhs, rhs) => (Some(lhs), "max_of", Some(rhs)),
    };
    let side =
        |out: &mut String, side: Option<&DurationExpr>| put_option(out, side, put_duration_expr);
    Object::begin(out)
        .put("lhs", |out| side(out, lhs.map(Box::as_ref)))
        .text("op", op)
        .put("rhs", |out| side(out, rhs.map(Box::as_ref)))
        .text("type", "durationExpr")
        .plain("wrapped", wrapped)
        .end();
}

fn put_start_or_end(out: &mut String, at: Option<At>) {
    let word = match at {
        Some(At::Start) => Some("start"),
        Some(At::End) => Some("end"),
        Some(At::Millis(_)) | None => None,
    };
    put_option(out, word, put_text);
}

fn put_timestamp(out: &mut String, at: Option<At>) {
    let millis = match at {
        Some(At::Millis(millis)) => Some(millis),
        Some(At::Start | At::End) | None => None,
    };
    put_option(out, millis, |out, millis| out.push_str(&millis.to_string()));
}

/// Writes operators that group to the left: all beginnings, the first operand, all ends.
fn put_chain(out: &mut String, expr: &Expr) {
    let Chain { first, links } = expr.chain();
    for (_, binary) in links.iter().rev() {
        Object::begin(out).plain("bool", binary.return_bool).open("lhs");
    }
    put_expr(out, first);
    for (_, binary) in links {
        put_behind(Object { out: &mut *out, empty: false }, binary);
    }
}

/// Ends the object of an operator behind its left operand.
fn put_behind(object: Object<'_>, binary: &Binary) {
    object
        .put("matching", |out| {
            put_option(out, binary.effective_matching(), |out, matching| {
                put_matching(out, &matching)
            })
        })
        .text("op", binary.op.as_str())
        .expr("rhs", &binary.rhs)
        .text("type", "binaryExpr")
        .end();
}

fn put_matching(out: &mut String, matching: &Matching) {
    let cardinality = match matching.cardinality {
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::ManyToMany => "many-to-many",
    };
    Object::begin(out)
        .text("card", cardinality)
        .put("fillValues", |out| {
            let lhs = |out: &mut String| put_option(out, matching.fill_left, put_fill);
            Object::begin(out)
                .put("lhs", lhs)
                .put("rhs", |out| put_option(out, matching.fill_right, put_fill))
                .end();
        })
        .put("include", |out| put_names(out, &matching.include))
        .put("labels", |out| put_names(out, &matching.labels))
        .plain("on", matching.on)
        .end();
}

// What JSON has no number for is a text.
fn put_fill(out: &mut String, fill: Number) {
    if fill.value.is_finite() {
        out.push_str(&number_text(fill.value));
    } else {
        put_text(out, &number_text(fill.value));
    }
}

fn put_aggregate(out: &mut String, aggregate: &Aggregate) {
    let grouping = aggregate.grouping.as_ref();
    Object::begin(out)
        .expr("expr", &aggregate.expr)
        .put("grouping", |out| put_names(out, grouping.map_or(&[], |grouping| &grouping.labels)))
        .text("op", aggregate.op.as_str())
        .put("param", |out| put_option(out, aggregate.param.as_deref(), put_expr))
        .text("type", "aggregation")
        .plain("without", grouping.is_some_and(|grouping| grouping.without))
        .end();
}

fn put_call(out: &mut String, call: &Call) {
    let (least, most) = call.function.arity;
    // How many arguments beyond the least there may be; -1 for any number.
    let variadic = most.map_or(-1, |most| (most - least) as i64);
    Object::begin(out)
        .put("args", |out| put_list(out, &call.args, put_expr))
        .put("func", |out| {
            let types = call.function.args;
            Object::begin(out)
                .put("argTypes", |out| put_list(out, types, |out, kind| put_text(out, kind.word())))
                .text("name", call.function.name)
                .text("returnType", call.function.returns.word())
                .plain("variadic", variadic)
                .end();
        })
        .text("type", "call")
        .end();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Features, parse_with};

    #[track_caller]
    fn check(text: &str, wanted: &[&str]) {
        let expr =
            parse_with(text, Features::all()).unwrap_or_else(|fault| panic!("{text}: {fault}"));
        assert_eq!(ast_json(&expr), wanted.concat());
    }

    const X: &str = r#"{"anchored":false,"matchers":[{"name":"__name__","type":"=","value":"x"}],"name":"x","offset":0,"offsetExpr":null,"smoothed":false,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"}"#;

    #[test]
    fn literals_are_texts() {
        check("1.50", &[r#"{"type":"numberLiteral","val":"1.5"}"#]);
        check("5m", &[r#"{"type":"numberLiteral","val":"300"}"#]);
        check("Inf", &[r#"{"type":"numberLiteral","val":"+Inf"}"#]);
        check("'a\\n\"b\\x01'", &[r#"{"type":"stringLiteral","val":"a\n\"b\u0001"}"#]);
    }

    #[test]
    fn selectors_have_their_matchers_and_modifiers() {
        check("x", &[X]);
        check(
            r#"{"a.b",c!~"d"} @ 10 offset -1m"#,
            &[
                r#"{"anchored":false,"matchers":[{"name":"__name__","type":"=","value":"a.b"},"#,
                r#"{"name":"c","type":"!~","value":"d"}],"name":"a.b","offset":-60000,"offsetExpr":null,"#,
                r#""smoothed":false,"startOrEnd":null,"timestamp":10000,"type":"vectorSelector"}"#,
            ],
        );
    }

    #[test]
    fn ranges_are_milliseconds() {
        check(
            "x[5m] anchored",
            &[
                r#"{"anchored":true,"matchers":[{"name":"__name__","type":"=","value":"x"}],"name":"x","#,
                r#""offset":0,"offsetExpr":null,"range":300000,"rangeExpr":null,"smoothed":false,"#,
                r#""startOrEnd":null,"timestamp":null,"type":"matrixSelector"}"#,
            ],
        );
    }

    #[test]
    fn subqueries_say_where_they_look() {
        check(
            "x[1h:1m] @ end()",
            &[
                r#"{"expr":"#,
                X,
                r#","offset":0,"offsetExpr":null,"range":3600000,"rangeExpr":null,"startOrEnd":"end","#,
                r#""step":60000,"stepExpr":null,"timestamp":null,"type":"subquery"}"#,
            ],
        );
    }

    #[test]
    fn durations_to_compute_are_trees() {
        check(
            "x[1m:-(step() - 2)] @ start()",
            &[
                r#"{"expr":"#,
                X,
                r#","offset":0,"offsetExpr":null,"range":60000,"rangeExpr":null,"startOrEnd":"start","#,
                r#""step":0,"stepExpr":{"lhs":null,"op":"-","rhs":{"lhs":{"lhs":null,"op":"step","rhs":null,"#,
                r#""type":"durationExpr","wrapped":false},"op":"-","rhs":{"type":"numberLiteral","val":"2"},"#,
                r#""type":"durationExpr","wrapped":true},"type":"durationExpr","wrapped":false},"#,
                r#""timestamp":null,"type":"subquery"}"#,
            ],
        );
    }

    #[test]
    fn unary_and_parentheses_stay() {
        let inner =
            [r#"{"expr":{"expr":"#, X, r#","type":"parenExpr"},"op":"-","type":"unaryExpr"}"#];
        check("-(x)", &inner);
    }

    #[test]
    fn operators_say_how_they_match() {
        check(
            "x > bool on(a) group_left(b) fill_right(2) x",
            &[
                r#"{"bool":true,"lhs":"#,
                X,
                r#","matching":{"card":"many-to-one","fillValues":{"lhs":null,"rhs":2},"include":["b"],"#,
                r#""labels":["a"],"on":true},"op":">","rhs":"#,
                X,
                r#","type":"binaryExpr"}"#,
            ],
        );
        let plain = [
            r#"{"bool":false,"lhs":"#,
            X,
            r#","matching":{"card":"many-to-many","fillValues":{"lhs":null,"rhs":null},"include":[],"#,
            r#""labels":[],"on":false},"op":"or","rhs":"#,
            X,
            r#","type":"binaryExpr"}"#,
        ];
        check("x or x", &plain);
        check(
            "1 + 2",
            &[
                r#"{"bool":false,"lhs":{"type":"numberLiteral","val":"1"},"matching":null,"op":"+","#,
                r#""rhs":{"type":"numberLiteral","val":"2"},"type":"binaryExpr"}"#,
            ],
        );
    }

    #[test]
    fn aggregations_say_how_they_group() {
        check(
            "topk without(a) (3, x)",
            &[
                r#"{"expr":"#,
                X,
                r#","grouping":["a"],"op":"topk","param":{"type":"numberLiteral","val":"3"},"#,
                r#""type":"aggregation","without":true}"#,
            ],
        );
        let plain = [
            r#"{"expr":"#,
            X,
            r#","grouping":[],"op":"sum","param":null,"type":"aggregation","without":false}"#,
        ];
        check("sum(x)", &plain);
    }

    #[test]
    fn calls_say_what_they_take() {
        check(
            "round(x)",
            &[
                r#"{"args":["#,
                X,
                r#"],"func":{"argTypes":["vector","scalar"],"name":"round","returnType":"vector","#,
                r#""variadic":1},"type":"call"}"#,
            ],
        );
        let time = r#"{"args":[],"func":{"argTypes":[],"name":"time","returnType":"scalar","variadic":0},"type":"call"}"#;
        check("time()", &[time]);
    }
}
