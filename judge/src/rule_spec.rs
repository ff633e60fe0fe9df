//! The form of rules in YAML: which fields there are. What they mean is for `rule_file` to say.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_saphyr::Spanned;

use crate::active_times::WindowSpec;
use crate::rule_extras::ExtrasSpec;

/// A rule file or API body larger than this is refused.
pub(crate) const RULE_FILE_BYTES_MAX: usize = 10 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileSpec {
    pub(crate) groups: Option<Vec<GroupSpec>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroupSpec {
    pub(crate) name: Option<Spanned<String>>,
    pub(crate) interval: Option<Spanned<String>>,
    pub(crate) limit: Option<usize>,
    pub(crate) query_offset: Option<Spanned<String>>,
    pub(crate) on_arrival: Option<bool>,
    pub(crate) labels: Option<BTreeMap<String, String>>,
    pub(crate) rules: Option<Vec<Spanned<RuleSpec>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleSpec {
    pub(crate) record: Option<Spanned<String>>,
    pub(crate) alert: Option<Spanned<String>>,
    pub(crate) expr: Option<Spanned<String>>,
    #[serde(rename = "for")]
    pub(crate) hold: Option<Spanned<String>>,
    pub(crate) keep_firing_for: Option<Spanned<String>>,
    pub(crate) labels: Option<BTreeMap<String, Spanned<String>>>,
    pub(crate) annotations: Option<BTreeMap<String, Spanned<String>>>,
    // Ours, not Prometheus'.
    pub(crate) recover_expr: Option<Spanned<String>>,
    pub(crate) no_data: Option<Spanned<String>>,
    pub(crate) priority: Option<Spanned<String>>,
    pub(crate) max_notifications: Option<Spanned<u32>>,
    pub(crate) active_times: Option<Spanned<Vec<WindowSpec>>>,
    pub(crate) runbook: Option<Spanned<String>>,
}

impl RuleSpec {
    /// Takes out the fields that Prometheus does not have.
    pub(crate) fn take_extras(&mut self) -> ExtrasSpec {
        ExtrasSpec {
            recover_expr: self.recover_expr.take(),
            no_data: self.no_data.take(),
            priority: self.priority.take(),
            max_notifications: self.max_notifications.take(),
            active_times: self.active_times.take(),
            runbook: self.runbook.take(),
        }
    }
}

/// Reads a text of this form; the error is a line, 0 when it is about none, and what is wrong there.
pub(crate) fn read<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, (u64, String)> {
    if text.len() > RULE_FILE_BYTES_MAX {
        let message =
            format!("more than {RULE_FILE_BYTES_MAX} bytes; split the rules into several files");
        return Err((0, message));
    }
    let wrong = |error: serde_saphyr::Error| {
        let line = error.location().map_or(0, |location| location.line());
        (line, yaml_message(&error))
    };
    let documents = serde_saphyr::from_multiple::<T>(text).map_err(wrong)?;
    if documents.len() > 1 {
        tracing::warn!(file, "only the first YAML document of a rule file is read");
    }
    // A file with nothing but comments is one without groups.
    documents.into_iter().next().map_or_else(|| serde_saphyr::from_str("{}").map_err(wrong), Ok)
}

/// The line that a value stands in.
pub(crate) fn line_of<T>(spanned: &Spanned<T>) -> u64 {
    spanned.referenced.line()
}

// The crate's text for humans has a drawing of the place in it; the first line is the message.
fn yaml_message(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let first = text.lines().next().unwrap_or("not valid YAML").trim_start_matches("error: ");
    format!("{first}; the format is that of Prometheus' rule files")
}
