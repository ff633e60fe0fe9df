//! Tencent Cloud: calls and text messages from templates that the provider approved.

use std::time::Duration;

use model::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answer::{Answer, Class, Classes, Fault, Reply, Whose};
use crate::channel::{Channel, How, Limits, Parcel, Request};
use crate::message::{Message, cut};
use crate::secret::Secret;
use crate::sign::{hex, hmac_sha256, sha256};
use crate::spoken::spoken;
use crate::twilio::PhoneUse;

const LIMITS: Limits =
    Limits { per_minute: 50, per_second: 5, reserved_per_minute: 50, text_bytes_max: 300 };
const CONTENT_TYPE: &str = "application/json";
/// The longest value of a variable that templates take.
const VARIABLE_BYTES_MAX: usize = 36;

const CLASSES: Classes = Classes {
    cool_down: Duration::from_secs(60),
    codes: &[
        ("RequestLimitExceeded*", Class::Limited),
        ("LimitExceeded.*", Class::Limited),
        ("InternalError*", Class::Later),
        ("AuthFailure*", Class::Refused(Whose::Bot)),
        ("UnauthorizedOperation*", Class::Refused(Whose::Bot)),
        ("InvalidParameterValue.IncorrectPhoneNumber", Class::Refused(Whose::Recipient)),
        ("InvalidParameter*", Class::Refused(Whose::Message)),
        ("FailedOperation.*", Class::Refused(Whose::Bot)),
    ],
};

/// An account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tencent {
    /// Another address than the provider's, with its scheme.
    #[serde(default)]
    pub api: String,
    /// Call or text.
    pub way: PhoneUse,
    /// Id of the key.
    pub secret_id: String,
    /// The key.
    pub secret_key: Secret,
    /// The application of voice or text messages.
    pub app_id: String,
    /// The approved template with one variable.
    pub template: String,
    /// The approved signature of text messages.
    #[serde(default)]
    pub sign_name: String,
    /// The region that text messages are sent from.
    #[serde(default = "region")]
    pub region: String,
    /// Whose phone it is for what is not for one person.
    #[serde(default)]
    pub to: String,
}

fn region() -> String {
    "ap-guangzhou".to_owned()
}

struct Service {
    name: &'static str,
    host: &'static str,
    action: &'static str,
    version: &'static str,
}

const VOICE: Service = Service {
    name: "vms",
    host: "vms.tencentcloudapi.com",
    action: "SendTts",
    version: "2020-09-02",
};
const TEXT: Service = Service {
    name: "sms",
    host: "sms.tencentcloudapi.com",
    action: "SendSms",
    version: "2021-01-11",
};

impl Channel for Tencent {
    fn limits(&self) -> Limits {
        LIMITS
    }

    fn parcel(&self, message: &Message, to: &str, how: How<'_>) -> Result<Parcel, Fault> {
        let to = if to.is_empty() { &self.to } else { to };
        let variable = cut(&spoken(message), VARIABLE_BYTES_MAX);
        let (service, body) = match self.way {
            PhoneUse::Call => (
                &VOICE,
                json!({
                    "TemplateId": self.template, "CalledNumber": to, "VoiceSdkAppid": self.app_id,
                    "TemplateParamSet": [variable], "PlayTimes": 2,
                }),
            ),
            PhoneUse::Sms => (
                &TEXT,
                json!({
                    "PhoneNumberSet": [to], "SmsSdkAppId": self.app_id, "SignName": self.sign_name,
                    "TemplateId": self.template, "TemplateParamSet": [variable],
                }),
            ),
        };
        Ok(Parcel::Http(vec![self.request(service, &body, how.now)]))
    }

    fn read(&self, reply: &Reply<'_>) -> Answer {
        let body = reply.json();
        let response = &body["Response"];
        if let Some(code) = response["Error"]["Code"].as_str() {
            let text = response["Error"]["Message"].as_str().unwrap_or("");
            return CLASSES.answer(code, text, reply.wait);
        }
        // A text message has a code of its own for each phone.
        let each = response["SendStatusSet"][0]["Code"].as_str();
        match each {
            Some(code) if !code.eq_ignore_ascii_case("ok") => CLASSES.answer(code, "", reply.wait),
            _ if reply.status == 200 && response.is_object() => {
                Answer::Sent { id: response["RequestId"].as_str().map(str::to_owned) }
            }
            _ => CLASSES.by_status(reply),
        }
    }
}

impl Tencent {
    fn request(&self, service: &Service, body: &Value, now: Timestamp) -> Request {
        let body = body.to_string();
        let signature = signature(self.secret_key.expose(), service, body.as_bytes(), now);
        let scope = format!("{}/{}/tc3_request", day(now), service.name);
        let login = format!(
            "TC3-HMAC-SHA256 Credential={}/{scope}, SignedHeaders=content-type;host;x-tc-action, \
             Signature={signature}",
            self.secret_id
        );
        let url = if self.api.is_empty() {
            format!("https://{}/", service.host)
        } else {
            format!("{}/", self.api)
        };
        Request::post(url, CONTENT_TYPE, body.into_bytes())
            .with("Host", service.host)
            .with("X-TC-Action", service.action)
            .with("X-TC-Version", service.version)
            .with("X-TC-Timestamp", now.seconds().to_string())
            .with("X-TC-Region", &self.region)
            .with("Authorization", login)
    }
}

fn day(now: Timestamp) -> String {
    now.rfc3339().chars().take(10).collect()
}

fn signature(key: &str, service: &Service, body: &[u8], now: Timestamp) -> String {
    let (host, action) = (service.host, service.action.to_ascii_lowercase());
    let canonical = format!(
        "POST\n/\n\ncontent-type:{CONTENT_TYPE}\nhost:{host}\nx-tc-action:{action}\n\n\
         content-type;host;x-tc-action\n{}",
        hex(sha256(body))
    );
    let scope = format!("{}/{}/tc3_request", day(now), service.name);
    let hash = hex(sha256(canonical.as_bytes()));
    let to_sign = format!("TC3-HMAC-SHA256\n{}\n{scope}\n{hash}", now.seconds());
    let chain = [day(now), service.name.to_owned(), "tc3_request".to_owned(), to_sign];
    let first = format!("TC3{key}").into_bytes();
    hex(chain.iter().fold(first, |key, part| hmac_sha256(&key, part.as_bytes()).as_ref().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::tests::{body, how, read, request};
    use crate::message::tests::{NOW, message};

    fn account(way: PhoneUse) -> Tencent {
        Tencent {
            api: String::new(),
            way,
            secret_id: "id".to_owned(),
            secret_key: "sk".into(),
            app_id: "1400".to_owned(),
            template: "t1".to_owned(),
            sign_name: "Saker".to_owned(),
            region: region(),
            to: "+86138".to_owned(),
        }
    }

    #[test]
    fn a_call_is_signed_as_the_provider_reads_it() {
        assert_eq!(
            signature("sk", &VOICE, br#"{"a":1}"#, NOW),
            "55c42bbb767a7acaf3b473741a8b78e0e746474c02885a17aa26b1043a062af4"
        );
    }

    #[test]
    fn a_call_names_its_template_and_only_variables_travel() {
        let sent = body(&account(PhoneUse::Call), &message(), "", how());
        assert_eq!(sent["CalledNumber"], "+86138");
        assert_eq!(sent["TemplateParamSet"][0], "P0 disk full web 03");
        let text = request(&account(PhoneUse::Sms), &message(), "", how());
        assert_eq!(text.header("X-TC-Action"), Some("SendSms"));
    }

    #[test]
    fn its_codes_mean_what_the_provider_says() {
        let channel = account(PhoneUse::Sms);
        let sent = read(&channel, 200, r#"{"Response":{"RequestId":"r1"}}"#);
        assert_eq!(sent, Answer::Sent { id: Some("r1".to_owned()) });
        let fault = |code: &str| {
            read(&channel, 200, &format!("{{\"Response\":{{\"Error\":{{\"Code\":\"{code}\"}}}}}}"))
        };
        assert!(matches!(fault("RequestLimitExceeded"), Answer::Limited { .. }));
        assert!(matches!(
            fault("AuthFailure.SignatureFailure"),
            Answer::Refused { whose: Whose::Bot, .. }
        ));
        let each =
            r#"{"Response":{"SendStatusSet":[{"Code":"LimitExceeded.PhoneNumberDailyLimit"}]}}"#;
        assert!(matches!(read(&channel, 200, each), Answer::Limited { .. }));
    }
}
