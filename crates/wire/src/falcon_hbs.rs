//! What Open-Falcon's agents ask hbs by JSON-RPC, and what they are answered. Keys have Go's
//! capitals and match without regard to case; fields of other versions do not matter.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::heartbeat::UpgradeArgs;
use crate::json_rpc;

/// `Agent.ReportStatus`: the heartbeat.
pub const REPORT_STATUS: &str = "Agent.ReportStatus";
/// `Agent.MinePlugins`: what to run.
pub const MINE_PLUGINS: &str = "Agent.MinePlugins";
/// `Agent.BuiltinMetrics`: what to check.
pub const BUILTIN_METRICS: &str = "Agent.BuiltinMetrics";
/// `Agent.TrustableIps`: who may make the agent run things.
pub const TRUSTABLE_IPS: &str = "Agent.TrustableIps";
/// `Hbs.GetAgents`: the hosts that hbs knows.
pub const GET_AGENTS: &str = "Hbs.GetAgents";
/// `Hbs.GetStrategies`: rules of Open-Falcon's judge.
pub const GET_STRATEGIES: &str = "Hbs.GetStrategies";
/// `Hbs.GetExpressions`: rules of Open-Falcon's judge.
pub const GET_EXPRESSIONS: &str = "Hbs.GetExpressions";

/// The argument of `Agent.ReportStatus`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatusReport {
    /// The host's name; may be empty.
    pub hostname: String,
    /// Its address.
    pub ip: String,
    /// Version of the agent.
    pub agent_version: String,
    /// Version of the plugins.
    pub plugin_version: String,
    /// Whether it is changing its version; only ning1875's agents say so.
    pub in_upgrading: bool,
}

/// The argument of `Agent.MinePlugins` and `Agent.BuiltinMetrics`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostQuestion {
    /// The host's name.
    pub hostname: String,
    /// What the agent was answered last; `nil` before the first answer.
    pub checksum: String,
}

/// The answer to `Agent.ReportStatus`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StatusReply {
    /// 0, or 1 when the host's name is empty.
    pub code: i32,
    /// A version to change to; agents of the original do not look.
    #[serde(rename = "Args")]
    pub args: Option<UpgradeArgs>,
}

/// The answer to `Agent.MinePlugins`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PluginsReply {
    /// Folders, and files with arguments, as `sys/x/60_y.py(a,b)`.
    pub plugins: Vec<String>,
    /// Seconds since the epoch; an agent passes over an answer that is not newer than the last.
    pub timestamp: i64,
}

/// The answer to `Agent.BuiltinMetrics`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BuiltinMetricsReply {
    /// What to check; empty when the agent has it already.
    pub metrics: Vec<BuiltinMetric>,
    /// MD5 in hex of the sorted `metric/tags` one behind the other; empty when there are none.
    pub checksum: String,
    /// Seconds since the epoch.
    pub timestamp: i64,
}

/// Something to check.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BuiltinMetric {
    /// Its name.
    pub metric: String,
    /// Its tags, as `port=22`.
    pub tags: String,
}

/// The answer to `Hbs.GetAgents`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AgentsReply {
    /// The hosts that hbs knows.
    pub agent: Vec<String>,
}

/// The answer to `Hbs.GetStrategies`: Saker's rules are PromQL, and Open-Falcon's judge has none of
/// them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StrategiesReply {
    /// Always empty.
    pub host_strategies: [(); 0],
}

/// The answer to `Hbs.GetExpressions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ExpressionsReply {
    /// Always empty.
    pub expressions: [(); 0],
}

impl StatusReport {
    /// Reads the argument; the error is in Go's words.
    pub fn decode(argument: &str) -> Result<Self, String> {
        let mut fields = Fields::read(argument, "AgentReportRequest")?;
        Ok(Self {
            hostname: fields.text("Hostname")?,
            ip: fields.text("IP")?,
            agent_version: fields.text("AgentVersion")?,
            plugin_version: fields.text("PluginVersion")?,
            in_upgrading: fields.flag("InUpgrading")?,
        })
    }
}

impl HostQuestion {
    /// Reads the argument; the error is in Go's words.
    pub fn decode(argument: &str) -> Result<Self, String> {
        let mut fields = Fields::read(argument, "AgentHeartbeatRequest")?;
        Ok(Self { hostname: fields.text("Hostname")?, checksum: fields.text("Checksum")? })
    }
}

/// The fields of an object by their names in small letters.
struct Fields {
    kind: &'static str,
    values: BTreeMap<String, Value>,
}

impl Fields {
    fn read(argument: &str, kind: &'static str) -> Result<Self, String> {
        let value = serde_json::from_str(argument).map_err(|error| format!("json: {error}"))?;
        let values = match value {
            Value::Object(fields) => {
                fields.into_iter().map(|(key, value)| (key.to_ascii_lowercase(), value)).collect()
            }
            // As Go has it: nothing was said.
            Value::Null => BTreeMap::new(),
            _ => {
                let found = json_rpc::kind_of(argument);
                return Err(format!(
                    "json: cannot unmarshal {found} into Go value of type model.{kind}"
                ));
            }
        };
        Ok(Self { kind, values })
    }

    fn text(&mut self, name: &str) -> Result<String, String> {
        match self.values.remove(&name.to_ascii_lowercase()) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(self.wrong(name, &other, "string")),
        }
    }

    fn flag(&mut self, name: &str) -> Result<bool, String> {
        match self.values.remove(&name.to_ascii_lowercase()) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(self.wrong(name, &other, "bool")),
        }
    }

    fn wrong(&self, name: &str, found: &Value, wanted: &str) -> String {
        let (kind, found) = (self.kind, json_rpc::kind_of(&found.to_string()));
        format!(
            "json: cannot unmarshal {found} into Go struct field {kind}.{name} of type {wanted}"
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(reply: &impl Serialize) -> String {
        serde_json::to_string(reply).expect("texts and numbers")
    }

    #[test]
    fn keys_match_without_regard_to_case_and_may_be_missing() {
        let report = StatusReport::decode(
            r#"{"Hostname":"a","ip":"10.0.0.1","AGENTVERSION":"5.1","InUpgrading":true,"More":{}}"#,
        );
        let expected = StatusReport {
            hostname: "a".into(),
            ip: "10.0.0.1".into(),
            agent_version: "5.1".into(),
            in_upgrading: true,
            ..StatusReport::default()
        };
        assert_eq!(report, Ok(expected));
        assert_eq!(StatusReport::decode("null"), Ok(StatusReport::default()));
        let question = HostQuestion::decode(r#"{"Hostname":"a","Checksum":"nil"}"#);
        assert_eq!(question.map(|question| question.checksum).as_deref(), Ok("nil"));
    }

    #[test]
    fn wrong_types_are_named_in_the_words_of_go() {
        assert_eq!(
            StatusReport::decode(r#"{"Hostname":5}"#).unwrap_err(),
            "json: cannot unmarshal number into Go struct field AgentReportRequest.Hostname of type string"
        );
        assert_eq!(
            HostQuestion::decode("[]").unwrap_err(),
            "json: cannot unmarshal array into Go value of type model.AgentHeartbeatRequest"
        );
    }

    #[test]
    fn the_bytes_of_answers_stay_what_they_are() {
        assert_eq!(json(&StatusReply { code: 0, args: None }), r#"{"code":0,"Args":null}"#);
        let plugins = PluginsReply { plugins: vec!["sys/ntp".into()], timestamp: 5 };
        assert_eq!(json(&plugins), r#"{"Plugins":["sys/ntp"],"Timestamp":5}"#);
        let metric = BuiltinMetric { metric: "net.port.listen".into(), tags: "port=22".into() };
        let metrics =
            BuiltinMetricsReply { metrics: vec![metric], checksum: "c".into(), timestamp: 5 };
        assert_eq!(
            json(&metrics),
            r#"{"Metrics":[{"Metric":"net.port.listen","Tags":"port=22"}],"Checksum":"c","Timestamp":5}"#
        );
        assert_eq!(json(&AgentsReply { agent: vec!["a".into()] }), r#"{"Agent":["a"]}"#);
        assert_eq!(json(&StrategiesReply::default()), r#"{"hostStrategies":[]}"#);
        assert_eq!(json(&ExpressionsReply::default()), r#"{"expressions":[]}"#);
    }

    proptest! {
        #[test]
        fn no_argument_makes_it_panic(argument in "[\\[\\]{}\":,a0hostname ]{0,60}") {
            let _ = StatusReport::decode(&argument).map(|_| HostQuestion::decode(&argument));
        }
    }
}
