//! An app of DingTalk: interactive cards from a template, whose buttons call back.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::answer::{Answer, Class, Classes, Fault, Reply, Whose};
use crate::channel::{Access, Channel, How, Limits, Parcel, Request};
use crate::feishu_app::read_login;
use crate::markdown;
use crate::message::{Message, cut};
use crate::secret::Secret;
use crate::sign;

const LIMITS: Limits =
    Limits { per_minute: 300, per_second: 10, reserved_per_minute: 60, text_bytes_max: 10_000 };

/// Buttons with an action of their own that a message can have.
const BUTTONS_MAX: usize = 6;

const CLASSES: Classes = Classes {
    cool_down: Duration::from_secs(60),
    codes: &[
        ("Forbidden.AccessDenied.QpsLimitForApi", Class::Limited),
        ("Throttling*", Class::Limited),
        ("InvalidAuthentication", Class::Login),
        ("Forbidden.AccessDenied.*", Class::Refused(Whose::Bot)),
        ("param.*", Class::Refused(Whose::Message)),
        ("ServiceUnavailable", Class::Later),
    ],
};

/// An app with a card template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DingTalkApp {
    /// Where the API is.
    #[serde(default = "dingtalk")]
    pub api: String,
    /// The app's key.
    pub app_key: String,
    /// The app's secret.
    pub app_secret: Secret,
    /// The card template. Its variables: `title`, `text`, `status`, `url`, and `label_1` … with `action_1` ….
    pub template_id: String,
    /// The robot that puts cards into chats.
    pub robot_code: String,
    /// The conversation that gets what is not for one person (`cid…`).
    #[serde(default)]
    pub conversation: String,
    /// `STREAM`, or `HTTP` with a route key registered for our address.
    #[serde(default = "stream")]
    pub callback: String,
}

fn dingtalk() -> String {
    "https://api.dingtalk.com".to_owned()
}

fn stream() -> String {
    "STREAM".to_owned()
}

impl Channel for DingTalkApp {
    fn limits(&self) -> Limits {
        LIMITS
    }

    fn login(&self) -> Option<Request> {
        let body = json!({ "appKey": self.app_key, "appSecret": self.app_secret.expose() });
        Some(Request::json(format!("{}/v1.0/oauth2/accessToken", self.api), &body))
    }

    fn read_login(&self, reply: &Reply<'_>) -> Result<Access, Fault> {
        read_login(reply, "code", "message", "accessToken", "expireIn")
    }

    fn parcel(&self, message: &Message, to: &str, how: How<'_>) -> Result<Parcel, Fault> {
        // The platform takes a card with a known track id for the same card.
        let track = &sign::hex(sign::sha256(message.key.as_bytes()))[..32];
        let create = json!({
            "cardTemplateId": self.template_id, "outTrackId": track, "callbackType": self.callback,
            "cardData": { "cardParamMap": variables(message, how.is_plain) },
            "imGroupOpenSpaceModel": { "supportForward": false },
            "imRobotOpenSpaceModel": { "supportForward": false },
        });
        let mut deliver = json!({ "outTrackId": track, "userIdType": 1 });
        if to.is_empty() {
            deliver["openSpaceId"] = json!(format!("dtv1.card//IM_GROUP.{}", self.conversation));
            deliver["imGroupOpenDeliverModel"] = json!({ "robotCode": self.robot_code });
        } else {
            deliver["openSpaceId"] = json!(format!("dtv1.card//IM_ROBOT.{to}"));
            deliver["imRobotOpenDeliverModel"] =
                json!({ "spaceType": "IM_ROBOT", "robotCode": self.robot_code });
        }
        let request = |path: &str, body: &Value| {
            Request::json(format!("{}/v1.0/card/instances{path}", self.api), body)
                .with("x-acs-dingtalk-access-token", how.token)
        };
        Ok(Parcel::Http(vec![request("", &create), request("/deliver", &deliver)]))
    }

    fn read(&self, reply: &Reply<'_>) -> Answer {
        let body = reply.json();
        match (reply.status, body["code"].as_str()) {
            (200..=299, None) if body["success"] == false => {
                CLASSES.answer("success:false", &body["result"].to_string(), None)
            }
            (200..=299, None) if body.is_object() => Answer::Sent { id: None },
            (_, Some(code)) => {
                CLASSES.answer(code, body["message"].as_str().unwrap_or(""), reply.wait)
            }
            _ => CLASSES.by_status(reply),
        }
    }
}

/// The variables of a card that is there: those of buttons that are gone become empty.
pub(crate) fn redrawn(message: &Message) -> Map<String, Value> {
    let mut all = variables(message, false);
    for number in 1..=BUTTONS_MAX {
        for name in ["label", "action"] {
            all.entry(format!("{name}_{number}")).or_insert_with(|| json!(""));
        }
    }
    all
}

// The platform takes texts only, and every variable of the template must be there.
fn variables(message: &Message, is_plain: bool) -> Map<String, Value> {
    let text = if is_plain {
        message.plain_with_links(LIMITS.text_bytes_max)
    } else {
        cut(&markdown::dingtalk(message), LIMITS.text_bytes_max)
    };
    let kind = serde_json::to_value(message.kind).unwrap_or_default();
    let mut variables = Map::new();
    variables.insert("title".to_owned(), json!(cut(&message.headline(), 200)));
    variables.insert("text".to_owned(), json!(text));
    variables.insert("status".to_owned(), kind);
    let open = message.buttons.iter().find(|button| button.action.is_none());
    variables.insert("url".to_owned(), json!(open.map_or("", |button| button.url.as_str())));
    let actions =
        message.buttons.iter().filter_map(|button| Some((button, button.action.as_ref()?)));
    for (position, (button, action)) in actions.enumerate() {
        let number = position + 1;
        variables.insert(format!("label_{number}"), json!(button.label));
        variables.insert(format!("action_{number}"), json!(action));
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::tests::{how, read, requests};
    use crate::message::tests::message;

    fn app() -> DingTalkApp {
        DingTalkApp {
            api: dingtalk(),
            app_key: "ding1".to_owned(),
            app_secret: "hunter2".into(),
            template_id: "t.schema".to_owned(),
            robot_code: "r1".to_owned(),
            conversation: "cid1".to_owned(),
            callback: stream(),
        }
    }

    #[test]
    fn a_card_is_made_and_then_delivered_under_one_track_id() {
        let sent = requests(&app(), &message(), "", how());
        let bodies: Vec<Value> =
            sent.iter().map(|request| serde_json::from_slice(&request.body).unwrap()).collect();
        assert_eq!(bodies[0]["outTrackId"], bodies[1]["outTrackId"]);
        assert_eq!(bodies[0]["cardData"]["cardParamMap"]["action_1"], "AbCdEfGhIjKl1");
        assert_eq!(bodies[1]["openSpaceId"], "dtv1.card//IM_GROUP.cid1");
        assert!(sent[1].url.ends_with("/v1.0/card/instances/deliver"));
        assert_eq!(sent[0].header("x-acs-dingtalk-access-token"), Some("tok"));
        let sent = requests(&app(), &message(), "u1", how());
        let body: Value = serde_json::from_slice(&sent[1].body).unwrap();
        assert_eq!(body["openSpaceId"], "dtv1.card//IM_ROBOT.u1");
    }

    #[test]
    fn its_answers_mean_what_the_platform_says() {
        assert_eq!(read(&app(), 200, r#"{"success":true}"#), Answer::Sent { id: None });
        assert!(matches!(read(&app(), 200, r#"{"success":false}"#), Answer::Later { .. }));
        assert!(matches!(read(&app(), 200, "<html>"), Answer::Later { .. }));
        let limited = r#"{"code":"Forbidden.AccessDenied.QpsLimitForApi"}"#;
        assert!(matches!(read(&app(), 403, limited), Answer::Limited { .. }));
        let login = r#"{"code":"InvalidAuthentication","message":"x"}"#;
        assert!(matches!(read(&app(), 401, login), Answer::Login { .. }));
        let denied = r#"{"code":"Forbidden.AccessDenied.AccessTokenPermissionDenied"}"#;
        assert!(matches!(read(&app(), 403, denied), Answer::Refused { whose: Whose::Bot, .. }));
    }
}
