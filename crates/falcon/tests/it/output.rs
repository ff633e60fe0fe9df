//! What is written for people and for judge.

use falcon::{Format, Options, Outcome, Scope};
use serde_json::{Value, json};

use crate::engine::Store;
use crate::portal::{imported, values};

/// A group of two hosts, one of which has its missing samples made up.
fn export() -> Value {
    json!({
        "host": [{ "id": 1, "hostname": "a" }, { "id": 2, "hostname": "b" }],
        "grp": [{ "id": 1, "grp_name": "corp.web" }],
        "tpl": [{ "id": 1, "tpl_name": "base" }, { "id": 2, "tpl_name": "unbound" }],
        "grp_host": [{ "grp_id": 1, "host_id": 1 }, { "grp_id": 1, "host_id": 2 }],
        "grp_tpl": [{ "grp_id": 1, "tpl_id": 1 }],
        "strategy": [
            { "id": 1, "tpl_id": 1, "metric": "agent.alive", "func": "all(#3)", "op": "==", "right_value": "-1",
              "max_step": 3, "run_begin": "08:00", "run_end": "19:59" },
            { "id": 2, "tpl_id": 2, "metric": "cpu.idle", "func": "all(#3)", "op": "<", "right_value": "5" },
        ],
        "mockcfg": [{ "id": 1, "name": "alive", "obj_type": "host", "obj": "a", "metric": "agent.alive", "step": 60,
                      "mock": -1 }],
    })
}

#[test]
fn hosts_with_other_missing_data_have_a_rule_of_their_own() {
    let import = imported(&export(), &Options::default());
    assert_eq!(values(&import, "no_data"), ["keep", "alert after 2m"]);
    let exprs = values(&import, "expr");
    assert!(exprs[0].contains(r#"{endpoint="b"}"#) && exprs[1].contains(r#"{endpoint="a"}"#));
    assert_eq!(values(&import, "'falcon_id'"), ["s_1", "s_1_nodata"]);
    assert_eq!(values(&import, "from")[0], "08:00");
    assert_eq!(values(&import, "to")[0], "20:00");
}

#[test]
fn other_programs_get_only_fields_that_they_know() {
    let options = Options { format: Format::Prometheus, ..Options::default() };
    let import = imported(&export(), &options);
    for field in ["recover_expr", "no_data", "max_notifications", "active_times"] {
        assert!(!import.files[0].text.contains(field), "{field}");
    }
    assert!(import.report.general.iter().any(|note| note.about == "format"));
}

#[test]
fn what_no_host_has_is_told() {
    let import = imported(&export(), &Options::default());
    assert_eq!(import.report.count(Outcome::Off), 1);
    let text = import.report.to_string();
    assert!(
        text.contains("strategy 2 \"cpu.idle\": off\n  off: no group of hosts has it"),
        "{text}"
    );
}

#[test]
fn rules_that_follow_groups_go_for_their_hosts_and_not_for_others() {
    let mut export = export();
    export["mockcfg"] = json!([]);
    let import = imported(&export, &Options { scope: Scope::Groups, ..Options::default() });
    let (expr, recover) = (&values(&import, "expr")[0], &values(&import, "recover_expr")[0]);
    let mut store = Store::default();
    for host in ["a", "b", "other"] {
        let samples: Vec<(i64, f64)> = (1..=5).map(|slot| (slot * 60, -1.0)).collect();
        store.add(&[("__name__", "agent_alive"), ("endpoint", host)], &samples);
    }
    for (host, group) in [("a", "corp.web"), ("a", "corp"), ("b", "corp.web"), ("other", "corp")] {
        let labels = [("__name__", "host_group"), ("endpoint", host), ("group", group)];
        store.add(&labels, &[(300, 1.0)]);
    }
    store.add(&[("__name__", "host_maintenance"), ("endpoint", "b")], &[(300, 1.0)]);
    let hosts = |text: &str| {
        let found = store.ask(text, 310, 310, 60);
        found.into_iter().map(|(labels, _)| labels).collect::<Vec<_>>()
    };
    assert_eq!(hosts(expr), [r#"{endpoint="a"}"#], "b is in maintenance");
    // A host that has left the group is no longer in trouble by this rule.
    assert_eq!(hosts(recover), [r#"{endpoint="other"}"#]);
}

#[test]
fn the_same_database_gives_the_same_files() {
    let one = imported(&export(), &Options::default());
    assert_eq!(one, imported(&export(), &Options::default()));
}

/// Parts of a combined rule are joined by host, and the alert has the labels of the first.
#[test]
fn a_combined_rule_needs_all_parts_on_one_host() {
    let mut export = export();
    export["mockcfg"] = json!([]);
    let part = |id: i64, metric: &str, tags: &str| {
        json!({ "id": id, "tpl_id": 1, "metric": metric, "tags": tags, "func": "all(#1)", "op": ">", "right_value": 1,
                "union_strategy_id": 7 })
    };
    export["strategy"] = json!([part(1, "x", ""), part(2, "y", "d=1")]);
    let import = imported(&export, &Options::default());
    let (expr, recover) = (&values(&import, "expr")[0], &values(&import, "recover_expr")[0]);
    for (x, y, is_firing, is_over) in [
        (2.0, 2.0, true, false),
        (2.0, 0.0, false, false),
        (0.0, 2.0, false, false),
        (0.0, 0.0, false, true),
    ] {
        let mut store = Store::default();
        store.add(&[("__name__", "x"), ("endpoint", "a"), ("c", "1")], &[(300, x)]);
        store.add(&[("__name__", "y"), ("endpoint", "a"), ("d", "1")], &[(300, y)]);
        let found =
            |text: &str| store.ask(text, 310, 310, 60).into_iter().map(|(labels, _)| labels);
        let told = |is: bool| if is { vec![r#"{c="1", endpoint="a"}"#.to_owned()] } else { vec![] };
        assert_eq!(found(expr).collect::<Vec<_>>(), told(is_firing), "{x} {y}");
        assert_eq!(found(recover).collect::<Vec<_>>(), told(is_over), "{x} {y}");
    }
    assert_eq!(values(&import, "'falcon_id'"), ["u_7"]);
}
