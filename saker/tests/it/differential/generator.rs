//! Expressions put together at random, the same in every run. All ranges, offsets and steps are multiples of
//! five seconds, so that no window edge falls on a sample or a subquery step.

use super::random::Random;

const GAUGES: [&str; 8] = [
    "load1",
    "load5",
    "mem_used_percent",
    "temperature",
    "node_up",
    "sparse",
    "mem_total_bytes",
    "disk_used_percent",
];
const COUNTERS: [&str; 6] = [
    "cpu_seconds_total",
    "net_bytes_total",
    "disk_io_total",
    "request_seconds_bucket",
    "request_seconds_count",
    "request_seconds_sum",
];
const MATCHERS: [&str; 10] = [
    "",
    "",
    "",
    "{group=\"g1\"}",
    "{group!=\"g1\"}",
    "{group=~\"g0|g3\"}",
    "{endpoint=~\"host-[01].*\"}",
    "{endpoint!~\"host-[0-2].\"}",
    "{cpu=\"0\"}",
    "{endpoint=\"host-14\"}",
];
const SHIFTS: [&str; 9] = [
    "",
    "",
    "",
    "",
    " offset 1m",
    " offset -20s",
    " @ end()",
    " @ start() offset -2m",
    " offset 4m5s",
];
const RANGES: [&str; 5] = ["35s", "1m", "2m", "5m", "12m"];
/// Ranges of subqueries: three seconds more, so that no edge falls on a step of an outer subquery either.
const SUBQUERY_RANGES: [&str; 5] = ["38s", "1m3s", "2m3s", "5m3s", "12m3s"];
const STEPS: [&str; 4] = ["", "15s", "30s", "50s"];

/// Distinct expressions.
pub(super) fn expressions(count: usize, seed: u64) -> Vec<String> {
    let mut random = Random::new(seed);
    let mut all: Vec<String> = Vec::new();
    while all.len() < count {
        let expression = vector(&mut random, 3);
        if expression.len() < 400 && !all.contains(&expression) {
            all.push(expression);
        }
    }
    all
}

/// An instant vector with at most so many levels of operations.
fn vector(random: &mut Random, depth: usize) -> String {
    if depth == 0 {
        return selector(random, "");
    }
    match random.below(10) {
        0..3 => aggregation(random, depth - 1),
        3..5 => window(random),
        5 => subquery(random, depth - 1),
        6..9 => binary(random, depth - 1),
        _ => call(random, depth - 1),
    }
}

fn selector(random: &mut Random, range: &str) -> String {
    let name = if random.below(3) == 0 { random.pick(&COUNTERS) } else { random.pick(&GAUGES) };
    format!("{name}{}{range}{}", random.pick(&MATCHERS), random.pick(&SHIFTS))
}

fn aggregation(random: &mut Random, depth: usize) -> String {
    let inner = vector(random, depth);
    let grouping = random.pick(&[
        "",
        "by (group)",
        "by (endpoint)",
        "by (group, mode, nosuch)",
        "without (endpoint)",
        "without (cpu, mode, le)",
    ]);
    let name = random
        .pick(&["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar", "quantile"]);
    match name {
        "quantile" => {
            format!("quantile {grouping} ({}, {inner})", random.pick(&["0", "0.3", "0.95", "1"]))
        }
        _ if random.below(4) == 0 => format!("{name} ({inner}) {grouping}"),
        _ => format!("{name} {grouping} ({inner})"),
    }
}

fn window(random: &mut Random) -> String {
    let range = format!("[{}]", random.pick(&RANGES));
    let counter = random.pick(&["rate", "increase", "irate", "resets"]);
    if random.below(3) == 0 {
        let (name, matcher) = (random.pick(&COUNTERS), random.pick(&MATCHERS));
        return format!("{counter}({name}{matcher}{range}{})", random.pick(&SHIFTS));
    }
    over_time(random, |random| selector(random, &range))
}

fn over_time(random: &mut Random, range: impl FnOnce(&mut Random) -> String) -> String {
    let name = random.pick(&[
        "avg_over_time",
        "sum_over_time",
        "min_over_time",
        "max_over_time",
        "count_over_time",
        "last_over_time",
        "present_over_time",
        "stddev_over_time",
        "quantile_over_time",
        "changes",
        "delta",
        "idelta",
        "deriv",
        "predict_linear",
        "rate",
        "increase",
    ]);
    let range = range(random);
    match name {
        "quantile_over_time" => format!("{name}({}, {range})", random.pick(&["0.1", "0.5", "0.9"])),
        "predict_linear" => format!("{name}({range}, {})", random.pick(&["60", "-30", "3600"])),
        _ => format!("{name}({range})"),
    }
}

fn subquery(random: &mut Random, depth: usize) -> String {
    let inner = vector(random, depth.min(1));
    let (range, step, shift) =
        (random.pick(&SUBQUERY_RANGES), random.pick(&STEPS), random.pick(&SHIFTS));
    over_time(random, |_| format!("({inner})[{range}:{step}]{shift}"))
}

fn binary(random: &mut Random, depth: usize) -> String {
    let left = vector(random, depth);
    let arithmetic = ["+", "-", "*", "/", "%", "atan2"];
    let comparison = ["==", "!=", ">", "<", ">=", "<="];
    let set = ["and", "or", "unless"];
    let right = vector(random, depth);
    match random.below(8) {
        0 => format!(
            "({left}) {} {}",
            random.pick(&arithmetic),
            random.pick(&["2", "0.5", "0", "-3"])
        ),
        1 => format!("{} {} ({left})", random.pick(&["2", "100"]), random.pick(&comparison)),
        2 => {
            format!("({left}) {} bool {}", random.pick(&comparison), random.pick(&["1", "30", "0"]))
        }
        3 => {
            let on = random.pick(&[
                "",
                "on (endpoint)",
                "on (group)",
                "ignoring (cpu, mode, le)",
                "on ()",
            ]);
            format!("({left}) {} {on} ({right})", random.pick(&set))
        }
        4 => {
            let op = random.pick(&["+", "/", ">", "== bool"]);
            let one = random.pick(&[
                "build_info",
                "mem_total_bytes",
                "load5",
                "sum by (endpoint) (load1)",
            ]);
            let include = random.pick(&["", "()", "(version)"]);
            format!("({left}) {op} on (endpoint) group_left {include} ({one})")
        }
        5 => {
            let op = random.pick(&["-", "*", "<="]);
            let name = random.pick(&["avg", "max", "count"]);
            format!(
                "{name} by (endpoint) ({left}) {op} on (endpoint) {name} by (endpoint) ({right})"
            )
        }
        6 => format!("({left}) {} ({right})", random.pick(&arithmetic)),
        _ => format!("({left}) {} ({right})", random.pick(&comparison)),
    }
}

fn call(random: &mut Random, depth: usize) -> String {
    let inner = vector(random, depth);
    match random.below(9) {
        0 => format!("clamp({inner}, 3, 60)"),
        1 => format!("round({inner}, 0.1)"),
        2 => format!("label_replace({inner}, \"tens\", \"$1\", \"endpoint\", \"host-(.).\")"),
        3 => format!("label_join({inner}, \"both\", \"/\", \"group\", \"endpoint\")"),
        4 => format!("histogram_quantile(0.7, {inner})"),
        5 => format!("absent({inner})"),
        6 => format!("-({inner})"),
        7 => format!("timestamp({inner})"),
        _ => format!(
            "{}({inner})",
            random.pick(&["abs", "ceil", "floor", "sqrt", "sgn", "ln", "hour"])
        ),
    }
}
