//! Alibaba Cloud: calls and text messages from templates that the provider approved.

use std::time::Duration;

use model::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::answer::{Answer, Class, Classes, Fault, Reply, Whose};
use crate::channel::{Channel, How, Limits, Parcel, Request};
use crate::message::{Message, cut};
use crate::secret::Secret;
use crate::sign::{hex, hmac_sha256, percent, sha256};
use crate::spoken::spoken;
use crate::twilio::PhoneUse;

const LIMITS: Limits =
    Limits { per_minute: 50, per_second: 5, reserved_per_minute: 50, text_bytes_max: 300 };
const VERSION: &str = "2017-05-25";
/// The longest value of a variable that templates take.
const VARIABLE_BYTES_MAX: usize = 60;

const CLASSES: Classes = Classes {
    cool_down: Duration::from_secs(60),
    codes: &[
        ("OK", Class::Ok),
        ("Throttling*", Class::Limited),
        ("isv.BUSINESS_LIMIT_CONTROL", Class::Limited),
        ("isp.*", Class::Later),
        ("isv.MOBILE_NUMBER_ILLEGAL", Class::Refused(Whose::Recipient)),
        ("isv.INVALID_PARAMETERS", Class::Refused(Whose::Message)),
        ("isv.*", Class::Refused(Whose::Bot)),
        ("InvalidAccessKeyId*", Class::Refused(Whose::Bot)),
        ("SignatureDoesNotMatch", Class::Refused(Whose::Bot)),
    ],
};

/// An account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alibaba {
    /// Another address than the provider's, with its scheme.
    #[serde(default)]
    pub api: String,
    /// Call or text.
    pub way: PhoneUse,
    /// Id of the access key.
    pub access_key_id: String,
    /// The access key.
    pub access_key_secret: Secret,
    /// The approved template. Its variable is `title`.
    pub template: String,
    /// The approved signature of text messages.
    #[serde(default)]
    pub sign_name: String,
    /// The number that phones show; empty for the provider's.
    #[serde(default)]
    pub from: String,
    /// Whose phone it is for what is not for one person.
    #[serde(default)]
    pub to: String,
}

impl Channel for Alibaba {
    fn limits(&self) -> Limits {
        LIMITS
    }

    fn parcel(&self, message: &Message, to: &str, how: How<'_>) -> Result<Parcel, Fault> {
        let to = if to.is_empty() { &self.to } else { to };
        let variables = json!({ "title": cut(&spoken(message), VARIABLE_BYTES_MAX) }).to_string();
        let (host, action, fields) = match self.way {
            PhoneUse::Call => (
                "dyvmsapi.aliyuncs.com",
                "SingleCallByTts",
                vec![
                    ("CalledNumber", to),
                    ("CalledShowNumber", self.from.as_str()),
                    ("TtsCode", self.template.as_str()),
                    ("TtsParam", variables.as_str()),
                ],
            ),
            PhoneUse::Sms => (
                "dysmsapi.aliyuncs.com",
                "SendSms",
                vec![
                    ("PhoneNumbers", to),
                    ("SignName", self.sign_name.as_str()),
                    ("TemplateCode", self.template.as_str()),
                    ("TemplateParam", variables.as_str()),
                ],
            ),
        };
        // The same key may be signed once only, so a second attempt needs another nonce.
        let nonce = hex(sha256(format!("{}{}{to}", message.key, how.now.millis()).as_bytes()));
        let call = Call { host, action, nonce: &nonce[..32], now: how.now };
        Ok(Parcel::Http(vec![self.request(&call, fields)]))
    }

    fn read(&self, reply: &Reply<'_>) -> Answer {
        let body = reply.json();
        match body["Code"].as_str() {
            Some("OK") if reply.status == 200 => {
                let id = body["CallId"].as_str().or(body["BizId"].as_str()).map(str::to_owned);
                Answer::Sent { id }
            }
            Some(code) if code != "OK" => {
                CLASSES.answer(code, body["Message"].as_str().unwrap_or(""), reply.wait)
            }
            _ => CLASSES.by_status(reply),
        }
    }
}

struct Call<'a> {
    host: &'a str,
    action: &'a str,
    nonce: &'a str,
    now: Timestamp,
}

impl Alibaba {
    fn request(&self, call: &Call<'_>, mut fields: Vec<(&str, &str)>) -> Request {
        fields.sort_unstable();
        let pair = |(name, value): &(&str, &str)| format!("{}={}", percent(name), percent(value));
        let query = fields.iter().map(pair).collect::<Vec<_>>().join("&");
        let date = Timestamp(call.now.seconds() * 1000).rfc3339().replace(".000Z", "Z");
        let headers = [
            ("host", call.host),
            ("x-acs-action", call.action),
            ("x-acs-content-sha256", &hex(sha256(b""))),
            ("x-acs-date", &date),
            ("x-acs-signature-nonce", call.nonce),
            ("x-acs-version", VERSION),
        ];
        let lines: String =
            headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let names = headers.map(|(name, _)| name).join(";");
        let canonical = format!("POST\n/\n{query}\n{lines}\n{names}\n{}", hex(sha256(b"")));
        let to_sign = format!("ACS3-HMAC-SHA256\n{}", hex(sha256(canonical.as_bytes())));
        let secret = self.access_key_secret.expose();
        let signature = hex(hmac_sha256(secret.as_bytes(), to_sign.as_bytes()));
        let login = format!(
            "ACS3-HMAC-SHA256 Credential={},SignedHeaders={names},Signature={signature}",
            self.access_key_id
        );
        let base =
            if self.api.is_empty() { format!("https://{}", call.host) } else { self.api.clone() };
        let mut request = Request::post(format!("{base}/?{query}"), "", Vec::new());
        request.headers.clear();
        for (name, value) in headers.into_iter().skip(1) {
            request = request.with(name, value);
        }
        request.with("Authorization", login)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::tests::{how, read, request};
    use crate::message::tests::{NOW, message};

    fn account(way: PhoneUse) -> Alibaba {
        Alibaba {
            api: String::new(),
            way,
            access_key_id: "ak".to_owned(),
            access_key_secret: "sk".into(),
            template: "TTS_1".to_owned(),
            sign_name: "Saker".to_owned(),
            from: String::new(),
            to: "13800000000".to_owned(),
        }
    }

    #[test]
    fn a_call_is_signed_as_the_provider_reads_it() {
        let call =
            Call { host: "dyvmsapi.aliyuncs.com", action: "SingleCallByTts", nonce: "n", now: NOW };
        let fields = vec![
            ("CalledNumber", "13800000000"),
            ("TtsCode", "TTS_1"),
            ("TtsParam", r#"{"a":"b"}"#),
            ("CalledShowNumber", ""),
        ];
        let request = account(PhoneUse::Call).request(&call, fields);
        assert_eq!(request.header("x-acs-date"), Some("2023-11-14T22:13:20Z"));
        let login = request.header("authorization").unwrap();
        let expected = "bc41eac3055563211936a074cb732fa435089795e8968b8eebd1e95cbe989b74";
        assert!(login.ends_with(&format!("Signature={expected}")), "{login}");
    }

    #[test]
    fn a_text_names_its_template_and_only_variables_travel() {
        let sent = request(&account(PhoneUse::Sms), &message(), "+86139", how());
        assert!(sent.url.starts_with("https://dysmsapi.aliyuncs.com/?PhoneNumbers=%2B86139&"));
        assert!(sent.url.contains("TemplateParam=%7B%22title%22%3A%22P0%20disk%20full"));
        let later = How { now: Timestamp(NOW.0 + 1_000), ..how() };
        let again = request(&account(PhoneUse::Sms), &message(), "+86139", later);
        assert_ne!(again.header("x-acs-signature-nonce"), sent.header("x-acs-signature-nonce"));
    }

    #[test]
    fn its_codes_mean_what_the_provider_says() {
        let channel = account(PhoneUse::Call);
        let sent = read(&channel, 200, r#"{"Code":"OK","CallId":"c1"}"#);
        assert_eq!(sent, Answer::Sent { id: Some("c1".to_owned()) });
        let code = |code: &str| read(&channel, 200, &format!("{{\"Code\":\"{code}\"}}"));
        assert!(matches!(code("isv.BUSINESS_LIMIT_CONTROL"), Answer::Limited { .. }));
        assert!(matches!(
            code("isv.MOBILE_NUMBER_ILLEGAL"),
            Answer::Refused { whose: Whose::Recipient, .. }
        ));
        assert!(matches!(code("isv.OUT_OF_SERVICE"), Answer::Refused { whose: Whose::Bot, .. }));
        assert!(matches!(code("isp.SYSTEM_ERROR"), Answer::Later { .. }));
    }
}
