//! PagerDuty's events, version 2. An incident is found again by the thread of the messages.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::answer::{Answer, Classes, Fault, Reply};
use crate::channel::{Channel, How, Limits, Parcel, Request};
use crate::message::{Kind, Message, Urgency, cut};
use crate::secret::Secret;
use crate::sign;

const LIMITS: Limits =
    Limits { per_minute: 110, per_second: 0, reserved_per_minute: 40, text_bytes_max: 1_000 };
const CLASSES: Classes = Classes { cool_down: Duration::from_secs(60), codes: &[] };

/// A service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PagerDuty {
    /// Where events go.
    #[serde(default = "pagerduty")]
    pub url: String,
    /// The integration's key.
    pub routing_key: Secret,
}

fn pagerduty() -> String {
    "https://events.pagerduty.com/v2/enqueue".to_owned()
}

impl Channel for PagerDuty {
    fn limits(&self) -> Limits {
        LIMITS
    }

    fn parcel(&self, message: &Message, _: &str, how: How<'_>) -> Result<Parcel, Fault> {
        let labels = &message.group.common_labels;
        let severity = match message.urgency {
            Urgency::Urgent => "critical",
            Urgency::Normal => match labels.get("severity") {
                Some("error" | "P1") => "error",
                Some("info" | "P4" | "P5" | "P6") => "info",
                _ => "warning",
            },
        };
        let open = message.buttons.iter().filter(|button| button.action.is_none());
        let links: Vec<_> =
            open.map(|button| json!({ "href": button.url, "text": button.label })).collect();
        let body = json!({
            "routing_key": self.routing_key.expose(),
            "event_action": if message.kind == Kind::Resolved { "resolve" } else { "trigger" },
            // At most 255 characters.
            "dedup_key": sign::hex(sign::sha256(message.thread.as_bytes())),
            "client": "Saker", "client_url": message.group.external_url, "links": links,
            "payload": {
                "summary": cut(&message.title, LIMITS.text_bytes_max),
                "source": labels.get("endpoint").or(labels.get("instance")).unwrap_or("saker"),
                "severity": severity, "timestamp": how.now.rfc3339(),
                "custom_details": details(message),
            },
        });
        Ok(Parcel::Http(vec![Request::json(&self.url, &body)]))
    }

    fn read(&self, reply: &Reply<'_>) -> Answer {
        match (reply.status, reply.json()["status"].as_str()) {
            (200..=299, Some("success")) => {
                Answer::Sent { id: reply.json()["dedup_key"].as_str().map(str::to_owned) }
            }
            _ => CLASSES.by_status(reply),
        }
    }
}

/// The facts by their names where an operator's template gives them, else one text.
fn details(message: &Message) -> serde_json::Value {
    if message.own.is_none() {
        return json!({ "text": cut(&message.plain(), 20_000) });
    }
    let mut details: serde_json::Map<String, serde_json::Value> =
        message.facts.iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    if !message.text.is_empty() {
        details.insert("text".to_owned(), json!(cut(&message.text, 20_000)));
    }
    details.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Whose;
    use crate::channel::tests::{body, how, read};
    use crate::message::tests::message;

    fn service() -> PagerDuty {
        PagerDuty { url: pagerduty(), routing_key: "hunter2".into() }
    }

    #[test]
    fn the_end_names_the_incident_of_the_beginning() {
        let begin = body(&service(), &message(), "", how());
        let over = Message { kind: Kind::Resolved, key: "k2".to_owned(), ..message() };
        let end = body(&service(), &over, "", how());
        assert_eq!(
            (&begin["event_action"], &end["event_action"]),
            (&json!("trigger"), &json!("resolve"))
        );
        assert_eq!(begin["dedup_key"], end["dedup_key"]);
        assert_eq!(begin["payload"]["severity"], "critical");
        assert_eq!(begin["payload"]["source"], "web-03");
    }

    #[test]
    fn its_answers_mean_what_the_platform_says() {
        let sent = read(&service(), 202, r#"{"status":"success","dedup_key":"d"}"#);
        assert_eq!(sent, Answer::Sent { id: Some("d".to_owned()) });
        assert!(matches!(read(&service(), 429, ""), Answer::Limited { .. }));
        assert!(matches!(read(&service(), 202, ""), Answer::Later { .. }));
        let bad = read(&service(), 400, r#"{"status":"invalid event"}"#);
        assert!(matches!(bad, Answer::Refused { whose: Whose::Message, .. }));
    }
}
