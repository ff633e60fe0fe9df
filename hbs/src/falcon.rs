//! The desired state in the words of Open-Falcon's agents. Pure.

use wire::falcon_hbs::{BuiltinMetric, BuiltinMetricsReply};
use wire::heartbeat::{Check, DesiredState, PluginRun};

use crate::digest::md5_hex;

/// The checks that Open-Falcon's agents know, in order.
pub(crate) fn builtin_metrics(
    state: &DesiredState,
    known_checksum: &str,
    timestamp: i64,
) -> BuiltinMetricsReply {
    let mut metrics: Vec<BuiltinMetric> = state.checks.iter().filter_map(builtin_metric).collect();
    metrics.sort_unstable();
    metrics.dedup();
    let text = |metric: &BuiltinMetric| format!("{}/{}", metric.metric, metric.tags);
    let mut texts: Vec<String> = metrics.iter().map(text).collect();
    texts.sort_unstable();
    let checksum =
        if texts.is_empty() { String::new() } else { md5_hex(texts.concat().as_bytes()) };
    if checksum == known_checksum {
        metrics.clear();
    }
    BuiltinMetricsReply { metrics, checksum, timestamp }
}

/// Nothing for a check that they do not know, which are those of several metrics, or whose tags their syntax cannot
/// hold.
fn builtin_metric(check: &Check) -> Option<BuiltinMetric> {
    let [metric] = check.metrics() else { return None };
    let tags = check.tags();
    let is_plain = |(_, value): &(&str, String)| !value.contains([',', '=']);
    if !tags.iter().all(is_plain) {
        return None;
    }
    let tags: Vec<String> = tags.iter().map(|(tag, value)| format!("{tag}={value}")).collect();
    Some(BuiltinMetric { metric: (*metric).to_owned(), tags: tags.join(",") })
}

/// The plugins in their syntax. Their agents run only files whose names begin with the seconds between two runs.
pub(crate) fn plugins(state: &DesiredState) -> Vec<String> {
    state.plugins.iter().filter(|run| names_its_interval(run)).map(plugin).collect()
}

fn names_its_interval(run: &PluginRun) -> bool {
    let file = run.path.rsplit('/').next().unwrap_or("");
    file.split_once('_').is_some_and(|(seconds, _)| seconds.parse::<u32>().is_ok())
}

fn plugin(run: &PluginRun) -> String {
    let file = format!("{}/{}", run.bundle, run.path);
    if run.args.is_empty() {
        return file;
    }
    let arguments: Vec<String> =
        run.args.iter().map(|argument| argument.replace(',', "\\,")).collect();
    format!("{file}({})", arguments.join(","))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn state(json: Value) -> DesiredState {
        serde_json::from_value(json).expect("a desired state")
    }

    fn checks() -> DesiredState {
        state(json!({ "checks": [
            { "check": "url_health", "url": "http://127.0.0.1/health", "timeout": 3 },
            { "check": "port_listen", "port": 22 },
            { "check": "proc_num", "name": "crond", "cmdline": "-n" },
            { "check": "proc_usage", "name": "crond" },
            { "check": "directory_size", "path": "/data/logs" },
            { "check": "url_health", "url": "http://127.0.0.1/?a=b", "timeout": 3 },
        ]}))
    }

    #[test]
    fn checks_become_metrics_with_tags() {
        let reply = builtin_metrics(&checks(), "nil", 5);
        let list: Vec<String> =
            reply.metrics.iter().map(|m| format!("{}/{}", m.metric, m.tags)).collect();
        assert_eq!(
            list,
            [
                "du.bs/path=/data/logs",
                "net.port.listen/port=22",
                "proc.num/name=crond,cmdline=-n",
                "url.check.health/url=http://127.0.0.1/health,timeout=3",
            ]
        );
        assert_eq!(reply.checksum, md5_hex(list.concat().as_bytes()));
    }

    #[test]
    fn an_agent_that_knows_them_is_not_told_again() {
        let checksum = builtin_metrics(&checks(), "nil", 5).checksum;
        let again = builtin_metrics(&checks(), &checksum, 6);
        assert_eq!((again.metrics.len(), again.checksum), (0, checksum));
        let none = builtin_metrics(&state(json!({})), "nil", 5);
        assert_eq!((none.metrics.len(), none.checksum.as_str()), (0, ""));
    }

    #[test]
    fn plugins_have_their_arguments_behind_them() {
        let run = |path: &str, args: &[&str]| json!({ "bundle": "sys", "path": path, "args": args, "interval_seconds": 60 });
        let state = state(json!({ "plugins": [
            run("ntp/60_ntp.py", &[]), run("60_y.py", &["a", "b,c"]), run("check.sh", &[]),
        ]}));
        assert_eq!(plugins(&state), ["sys/ntp/60_ntp.py", r"sys/60_y.py(a,b\,c)"]);
    }
}
