//! Errors say what is wrong and at which character.

use promql::{Features, parse, parse_with};

#[track_caller]
fn check(text: &str, wanted: &str) {
    let error = parse(text).expect_err("the expression is malformed");
    assert_eq!(error.to_string(), wanted, "{text}");
}

#[test]
fn syntax_errors_point_at_the_word() {
    check("", "1:1: parse error: no expression found in input");
    check("1 +", "1:4: parse error: unexpected end of input");
    check("sum(\n  x", "2:4: parse error: unclosed left parenthesis");
    check("x)", "1:3: parse error: unexpected right parenthesis ')'");
    check("x{", "1:3: parse error: unexpected end of input inside braces");
    check(
        "x{a}",
        "1:4: parse error: unexpected \"}\" in label matching, expected label matching operator",
    );
    check("x{a=1}", "1:5: parse error: unexpected character inside braces: '1'");
    check(
        "x{a=b}",
        "1:5: parse error: unexpected identifier \"b\" in label matching, expected string",
    );
    check("x{a!b}", "1:4: parse error: unexpected character after '!' inside braces: 'b'");
    check("x{a==\"b\"}", "1:5: parse error: unexpected \"=\" in label matching, expected string");
    check("x{{", "1:3: parse error: unexpected left brace '{'");
    check("x}", "1:2: parse error: unexpected character: '}'");
    check("x =~ y", "1:3: parse error: unexpected character after '=': '~'");
    check("x !", "1:3: parse error: unexpected character after '!': '\u{FFFD}'");
    check("\n # nothing", "1:1: parse error: no expression found in input");
    check("by (x)", "1:4: parse error: unexpected \"(\"");
    check("x + group_left (a) y", "1:5: parse error: unexpected <group_left>");
    check("sum by (a) x", "1:12: parse error: unexpected identifier \"x\" in aggregation");
    check("x @ start", "1:10: parse error: unexpected end of input in @, expected timestamp");
    check("a b", "1:3: parse error: unexpected identifier \"b\"");
    check("1 * / 2", "1:5: parse error: unexpected <op:/>");
    check("x by", "1:3: parse error: unexpected <by>");
    check(
        "x[5m",
        "1:5: parse error: unexpected end of input in subquery or range, expected \":\" or \"]\"",
    );
    check("5mm", "1:1: parse error: bad number or duration syntax: \"5m\"");
    check("5m3x", "1:1: parse error: bad number or duration syntax: \"5m3\"");
    check("0x1g", "1:1: parse error: bad number or duration syntax: \"0x1\"");
    check("1..2", "1:1: parse error: bad number or duration syntax: \"1..2\"");
    check("x[5m5m]", "1:3: parse error: not a valid duration string: \"5m5m\"");
    check("x[1d1w]", "1:3: parse error: not a valid duration string: \"1d1w\"");
    check("x[1000y]", "1:3: parse error: duration out of range");
    check(r#""\q""#, "1:1: parse error: unknown escape sequence U+0071 'q'");
    check(r#""\xg1""#, "1:1: parse error: illegal character U+0067 'g' in escape sequence");
    check("x{a=\"b}", "1:5: parse error: unterminated quoted string");
    check("x & y", "1:3: parse error: unexpected character: '&'");
    check("rate(x[5m],)", "1:11: parse error: trailing commas not allowed in function call args");
}

#[test]
fn type_errors_point_at_the_operand() {
    check(
        "1 + rate(x)",
        "1:10: parse error: expected type range vector in call to function \"rate\", got instant vector",
    );
    check(
        "x + x[5m]",
        "1:5: parse error: binary expression must contain only scalar and instant vector types",
    );
    check("1 < 2", "1:3: parse error: comparisons between scalars must use BOOL modifier");
    check("x + bool y", "1:3: parse error: bool modifier can only be used on comparison operators");
    check(
        "1 and x",
        "1:1: parse error: set operator \"and\" not allowed in binary scalar expression",
    );
    check("1 + on(a) x", "1:1: parse error: vector matching only allowed between instant vectors");
    check(
        "x + on(a) group_left(a) y",
        "1:3: parse error: label \"a\" must not occur in ON and GROUP clause at once",
    );
    check(
        "x and on(a) group_left y",
        "1:1: parse error: no grouping allowed for \"and\" operation",
    );
    check(
        "-\"a\"",
        concat!(
            "1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, ",
            "got \"string\""
        ),
    );
    check("foo(1)", "1:1: parse error: unknown function with name \"foo\"");
    check("abs(1, 2)", "1:1: parse error: expected 1 argument(s) in call to \"abs\", got 2");
    check(
        "round(x, 1, 2)",
        "1:1: parse error: expected at most 2 argument(s) in call to \"round\", got 3",
    );
    check(
        "label_join(x)",
        "1:1: parse error: expected at least 3 argument(s) in call to \"label_join\", got 1",
    );
    check(
        "topk(x)",
        "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1",
    );
    check("sum()", "1:1: parse error: no arguments for aggregate expression provided");
}

#[test]
fn selector_errors_say_what_is_missing() {
    check(
        "{a=~\".*\"}",
        "1:1: parse error: vector selector must contain at least one non-empty matcher",
    );
    check(
        "x{__name__=\"y\"}",
        "1:1: parse error: metric name must not be set twice: \"x\" or \"y\"",
    );
    check("x offset 5m offset 5m", "1:1: parse error: offset may not be set multiple times");
    check("x @ 1 @ 2", "1:1: parse error: @ <timestamp> may not be set multiple times");
    check("x offset 5m [5m]", "1:13: parse error: no offset modifiers allowed before range");
    check("(x)[5m]", "1:4: parse error: ranges only allowed for vector selectors");
    check("x[0s]", "1:3: parse error: duration must be greater than 0");
    check("x @ NaN", "1:1: parse error: timestamp out of bounds for @ modifier: NaN");
    check(
        "x @ 1e30",
        concat!(
            "1:1: parse error: timestamp out of bounds for @ modifier: ",
            "1000000000000000019884624838656.000000"
        ),
    );
    check(
        "x[5m:1m][5m:1m]",
        "1:1: parse error: subquery is only allowed on instant vector, got matrix instead",
    );
    check(
        "1 offset 5m",
        concat!(
            "1:1: parse error: offset modifier must be preceded by an instant vector selector ",
            "or range vector selector or a subquery"
        ),
    );
    check("x{a=~\"(\"}", "1:3: parse error: error parsing regexp: missing closing ): `(`");
    check(
        "x{a!~\"b**\"}",
        "1:3: parse error: error parsing regexp: invalid nested repetition operator: `**`",
    );
}

#[test]
fn what_is_switched_off_is_named() {
    check(
        "limitk(1, x)",
        "1:1: parse error: aggregation \"limitk\" is experimental and not enabled",
    );
    check(
        "sort_by_label(x, \"a\")",
        "1:1: parse error: function \"sort_by_label\" is experimental and not enabled",
    );
    check(
        "rate(x[5m] smoothed)",
        "1:12: parse error: modifier \"smoothed\" is experimental and not enabled",
    );
    check("x + fill(0) y", "1:5: parse error: modifier \"fill\" is experimental and not enabled");
    for text in ["limitk(1, x)", "sort_by_label(x, \"a\")", "rate(x[5m] smoothed)", "x + fill(0) y"]
    {
        assert!(parse_with(text, Features::all()).is_ok(), "{text}");
    }
}

#[test]
fn keywords_are_names_where_nothing_else_can_stand() {
    for text in [
        "sum",
        "by",
        "offset",
        "start + end",
        "and and and",
        "x{on=\"a\", by=\"b\", bool=\"c\"}",
        "sum by (by, on, without, offset) (topk)",
        "fill + fill",
        "x unless unless",
    ] {
        assert!(parse(text).is_ok(), "{text}: {:?}", parse(text).err());
    }
}

#[test]
fn nesting_has_a_bound() {
    let deep = |levels: usize| format!("{}1{}", "(".repeat(levels), ")".repeat(levels));
    assert!(parse(&deep(100)).is_ok());
    let chain = vec!["x"; 10_002].join(" + ");
    check(&chain, "1:40003: parse error: expression has more than 10000 operators");
    for text in [
        deep(100_000),
        "-".repeat(100_000) + "x",
        vec!["x"; 100_000].join(" or "),
        "x[".repeat(50_000),
    ] {
        let error = parse(&text).expect_err("it is too deep or malformed");
        assert!(error.to_string().len() < 200, "{error}");
    }
}
