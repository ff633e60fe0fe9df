//! A plan written as a file of Alertmanager, for `amtool config`. JSON is YAML.

use std::collections::BTreeSet;

use model::{Matcher, format_duration};
use serde_json::{Map, Value, json};

use crate::inhibit::Rule;
use crate::matchers::matchers_text;
use crate::plan::Plan;
use crate::route::{Escalation, GroupBy, Options, Route};

/// The receiver of a root that takes nothing itself: Alertmanager's files name one.
const NOBODY: &str = "nobody";

impl Plan {
    /// The tree and the inhibitions as a file has them, with the keys that are ours and not Alertmanager's.
    pub(crate) fn written(&self) -> (Value, Value) {
        let rule = |rule_of: &Rule| {
            let mut written = rule(rule_of);
            if !rule_of.name.is_empty() {
                written["name"] = json!(rule_of.name);
            }
            written
        };
        (route(&self.root, true, true), self.inhibit_rules.iter().map(rule).collect())
    }
}

/// The text of a file with these routes.
pub(super) fn original(root: &Route, receivers: &[String], rules: &[Rule]) -> String {
    let mut names: BTreeSet<&str> = receivers.iter().map(String::as_str).collect();
    if root.options.receiver.is_none() {
        names.insert(NOBODY);
    }
    let named: Vec<Value> = names.into_iter().map(|name| json!({ "name": name })).collect();
    let rules: Vec<Value> = rules.iter().map(rule).collect();
    let mut text = format!(
        "{:#}",
        json!({
            "route": route(root, true, false), "receivers": named, "inhibit_rules": rules,
        })
    );
    text.push('\n');
    text
}

fn route(of: &Route, is_root: bool, has_ours: bool) -> Value {
    let Options { receiver, group_by, group_wait, group_interval, repeat, .. } = &of.options;
    let group_by = match group_by {
        GroupBy::All => vec!["..."],
        GroupBy::Labels(names) => names.iter().map(String::as_str).collect(),
    };
    let mut written = Map::new();
    let mut add = |key: &str, value: Value| drop(written.insert(key.to_owned(), value));
    add("receiver", json!(receiver.as_deref().unwrap_or(NOBODY)));
    add("group_by", json!(group_by));
    add("group_wait", json!(format_duration(*group_wait)));
    // Alertmanager knows no groups that never wait.
    let interval = (*group_interval).max(std::time::Duration::from_secs(1));
    add("group_interval", json!(format_duration(interval)));
    add("repeat_interval", json!(format_duration(repeat.interval)));
    if !is_root {
        add("matchers", json!(texts(&of.matchers)));
        add("continue", json!(of.goes_on));
        if !of.mute_times.is_empty() {
            add("mute_time_intervals", json!(of.mute_times));
        }
        if !of.active_times.is_empty() {
            add("active_time_intervals", json!(of.active_times));
        }
    }
    let children: Vec<Value> =
        of.routes.iter().map(|child| route(child, false, has_ours)).collect();
    if !children.is_empty() {
        add("routes", json!(children));
    }
    if has_ours {
        written.append(&mut ours(of));
    }
    Value::Object(written)
}

/// The keys that Alertmanager does not know, where they say something.
fn ours(of: &Route) -> Map<String, Value> {
    let Options { repeat, whole_group, labels, .. } = &of.options;
    let mut written = Map::new();
    if !labels.is_empty() {
        // Alertmanager's own since 0.34; older tools refuse the key.
        let labels: Map<_, _> = labels.iter().map(|(k, v)| (k.to_owned(), json!(v))).collect();
        written.insert("labels".to_owned(), Value::Object(labels));
    }
    if *whole_group {
        written.insert("whole_group".to_owned(), json!(true));
    }
    if repeat.factor > 1.0 {
        written.insert("repeat_factor".to_owned(), json!(repeat.factor));
        if repeat.interval_max < std::time::Duration::MAX {
            let most = format_duration(repeat.interval_max);
            written.insert("repeat_interval_max".to_owned(), json!(most));
        }
    }
    if !of.escalations.is_empty() {
        let step = |step: &Escalation| json!({ "after": format_duration(step.after), "receiver": step.receiver });
        let steps: Vec<Value> = of.escalations.iter().map(step).collect();
        written.insert("escalations".to_owned(), json!(steps));
    }
    written
}

fn rule(of: &Rule) -> Value {
    json!({
        "source_matchers": texts(&of.source), "target_matchers": texts(&of.target), "equal": of.equal,
    })
}

fn texts(matchers: &[Matcher]) -> Vec<String> {
    let text = |matcher: &Matcher| {
        let braced = matchers_text(std::slice::from_ref(matcher));
        braced.trim_start_matches('{').trim_end_matches('}').to_owned()
    };
    matchers.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use crate::amconfig;
    use crate::config::Config;
    use crate::plan::Plan;

    #[test]
    fn what_is_written_reads_back_as_a_file() {
        let config: Config = toml::from_str(
            "[[receivers]]\nname = \"db\"\nwebhook_url = \"http://127.0.0.1:1/?token=s3cret\"\n\
             matchers = ['team=~\"db|web\"']\n",
        )
        .unwrap();
        let plan = Plan::load(&config).unwrap();
        assert!(!plan.original.contains("s3cret"));
        let file = amconfig::read(&plan.original).expect("it is a valid file");
        assert_eq!(file.route.routes[0].matchers[0].value, "db|web");
        assert_eq!(file.route.options.receiver.as_deref(), Some("nobody"));
    }
}
