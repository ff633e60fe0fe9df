//! Templates of Alertmanager over a group of alerts: what they see, what they may do, and where they fail.
#![cfg(test)]

mod data;
mod functions;
mod language;
mod limits;

use std::sync::Arc;

use model::{Alert, Labels, Timestamp};
use template::alertmanager::{LIMITS, Reader, data, library, own};
use template::{Fault, Limits, Template};
use wire::alert::{NotificationReason, WebhookMessage};

/// 2023-11-14 22:13:20 UTC.
pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// Two disks of one team, one of which has recovered.
pub(crate) fn group() -> WebhookMessage {
    let alert = |host: &str, is_over: bool| Alert {
        labels: Labels::from_pairs([
            ("alertname", "DiskFull"),
            ("Zone", "a"),
            ("host", host),
            ("team", "db"),
        ]),
        annotations: [("summary".to_owned(), format!("{host} <is> full"))].into(),
        starts_at: Timestamp(NOW.0 - 90_000),
        ends_at: Timestamp(if is_over { NOW.0 - 500 } else { NOW.0 + 60_000 }),
        generator_url: "http://judge/g".to_owned(),
    };
    let by = Labels::from_pairs([("alertname", "DiskFull"), ("team", "db")]);
    let alerts = [alert("web-1", false), alert("web-2", true)];
    let mut group = WebhookMessage::new("ops", "{}:{}", by, "http://alarm", &alerts, NOW);
    group.route_labels = Labels::from_pairs([("owner", "dba"), ("tier", "1")]);
    group.notification_reason = Some(NotificationReason::Added);
    group
}

pub(crate) fn parse(text: &str) -> Result<Template, Vec<Fault>> {
    Template::parse(&Arc::new(library()), "text", text, "")
}

pub(crate) fn render_within(text: &str, limits: &Limits) -> Result<String, String> {
    let parsed = parse(text).map_err(|faults| faults[0].to_string())?;
    let data = data(&group(), Reader { name: "ann", language: "en" });
    parsed.render(&data, &own(NOW, &data), limits, None).map_err(|fault| fault.to_string())
}

pub(crate) fn render(text: &str) -> Result<String, String> {
    render_within(text, &LIMITS)
}

pub(crate) fn check(text: &str, expected: &str) {
    assert_eq!(render(text).as_deref(), Ok(expected), "{text}");
}
