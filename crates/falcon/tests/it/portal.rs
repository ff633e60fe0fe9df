//! Portal databases of the tests.

use falcon::{Import, Options, Portal, import};
use serde_json::{Value, json};

use testkit::falcon_judge::Rule;

/// What is imported of an export whose every row is good.
pub(crate) fn imported(export: &Value, options: &Options) -> Import {
    let (portal, faults) = Portal::read(export).unwrap();
    assert_eq!(faults, []);
    import(&portal, faults, options)
}

/// A database with one rule on metric `m.x` of host `h`.
pub(crate) fn with_rule(rule: &Rule, is_counter: bool, step: i64) -> Value {
    json!({
        "host": [{ "id": 1, "hostname": "h" }],
        "grp": [{ "id": 1, "grp_name": "g" }],
        "tpl": [{ "id": 1, "tpl_name": "t" }],
        "grp_host": [{ "grp_id": 1, "host_id": 1 }],
        "grp_tpl": [{ "grp_id": 1, "tpl_id": 1 }],
        "strategy": [{
            "id": 1, "tpl_id": 1, "metric": "m.x", "func": rule.function(), "op": rule.operator,
            "right_value": rule.threshold.to_string(), "max_step": rule.max_step,
        }],
        "endpoint_counter": [
            { "counter": "m.x", "type": if is_counter { "COUNTER" } else { "GAUGE" }, "step": step },
        ],
    })
}

/// The values of a key in the rules of all files, without their quotes.
pub(crate) fn values(import: &Import, key: &str) -> Vec<String> {
    let prefix = format!("{key}: ");
    let lines = import.files.iter().flat_map(|file| file.text.lines());
    lines
        .filter_map(|line| line.trim_start().trim_start_matches("- ").strip_prefix(&prefix))
        .map(|value| value.trim_matches('\'').replace("''", "'"))
        .collect()
}
