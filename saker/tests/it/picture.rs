//! The alerts on the picture in the README.

use std::time::Duration;

use model::Timestamp;
use serde_json::{Value, json};

struct Example {
    name: &'static str,
    severity: &'static str,
    endpoint: &'static str,
    label: (&'static str, &'static str),
    value: &'static str,
    summary: &'static str,
    minutes: u64,
}

const fn example(
    (name, severity, endpoint): (&'static str, &'static str, &'static str),
    label: (&'static str, &'static str),
    value: &'static str,
    summary: &'static str,
    minutes: u64,
) -> Example {
    Example { name, severity, endpoint, label, value, summary, minutes }
}

/// What a working day looks like.
const EXAMPLES: [Example; 8] = [
    example(
        ("HostSilent", "critical", "bj-web-017"),
        ("idc", "bj"),
        "214 s",
        "No heartbeat for more than 2 minutes",
        4,
    ),
    example(
        ("DiskFull", "critical", "bj-db-07"),
        ("mount", "/data"),
        "97.2 %",
        "/data is 97 % full",
        125,
    ),
    example(
        ("ReadOnly", "error", "sh-log-02"),
        ("mount", "/var/log"),
        "1",
        "A file system is read-only",
        9,
    ),
    example(
        ("MemoryShort", "error", "bj-cache-02"),
        ("idc", "bj"),
        "3.4 %",
        "Less than 5 % of memory is available",
        23,
    ),
    example(
        ("DiskFilling", "warning", "sh-db-03"),
        ("mount", "/data"),
        "88 %",
        "/data is full within 4 hours",
        51,
    ),
    example(
        ("LoadHigh", "warning", "bj-build-01"),
        ("idc", "bj"),
        "2.71",
        "Load per core above 2 for 5 minutes",
        17,
    ),
    example(
        ("ClockOffset", "warning", "sg-edge-04"),
        ("idc", "sg"),
        "-184 ms",
        "The clock is off by 184 ms",
        540,
    ),
    example(
        ("InodesShort", "info", "sg-mail-01"),
        ("mount", "/var/spool"),
        "91 %",
        "Inodes are 91 % used",
        1800,
    ),
];

/// The alerts as Alertmanager's API takes them.
pub(crate) fn alerts(now: Timestamp) -> Value {
    let alert = |example: &Example| {
        let (label, text) = example.label;
        json!({
            "labels": {
                "alertname": example.name, "severity": example.severity, "endpoint": example.endpoint, label: text
            },
            "annotations": {
                "summary": example.summary, "value": example.value, "runbook": "https://wiki.example.com/runbook"
            },
            "startsAt": now.minus(Duration::from_secs(example.minutes * 60)).rfc3339(),
            "endsAt": now.plus(Duration::from_secs(600)).rfc3339(),
        })
    };
    Value::Array(EXAMPLES.iter().map(alert).collect())
}
