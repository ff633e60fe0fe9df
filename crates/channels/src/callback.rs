//! What comes back from platforms when somebody presses a button. The signature is checked over the raw bytes
//! before anything of them is read; without a key nothing is accepted.

use model::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::crypt::{lark_open, wecom_open};
use crate::secret::Secret;
use crate::sign;

/// How far the time of a callback may be from ours, in seconds.
const AGE_SECONDS_MAX: u64 = 300;
/// The longest body that is looked at.
pub const BODY_BYTES_MAX: usize = 64 << 10;

/// A press of a button.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Click {
    /// Names the event, so that a repeated one is noticed.
    pub event: String,
    /// The person on the platform, as in `feishu:ou_1`.
    pub user: String,
    /// What was written behind the button.
    pub action: String,
    /// Where the platform wants to hear what became of the message: an address of Slack's, chat and message of
    /// Telegram as in `-100/7`, the code of WeCom that is good for one new card; empty elsewhere.
    pub place: String,
}

/// A call that nobody took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unanswered {
    /// Names the event, so that a repeated one is noticed.
    pub event: String,
    /// The key of the message, see [`crate::Message::key`].
    pub message: String,
    /// What the platform says became of the call.
    pub status: String,
}

/// What a callback asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Callback {
    /// A button was pressed.
    Click(Click),
    /// A phone rang and nobody took it.
    Unanswered(Unanswered),
    /// The platform checks the address: answer with this.
    Challenge(String),
    /// Something that does not concern us.
    Other,
}

/// A callback that is not accepted. There is one answer to all of them, so that it tells nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the callback is not accepted")]
pub struct Refused;

/// A callback as it came in.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    /// Looks up a header, without regard to case.
    pub headers: &'a [(String, String)],
    /// Fields of the query.
    pub query: &'a [(String, String)],
    /// The raw body.
    pub body: &'a [u8],
    /// The whole address as the platform knows it; Twilio signs it.
    pub url: &'a str,
}

impl Incoming<'_> {
    fn header(&self, name: &str) -> &str {
        find(self.headers, |known| known.eq_ignore_ascii_case(name))
    }

    fn query(&self, name: &str) -> &str {
        find(self.query, |known| known == name)
    }
}

fn find(pairs: &[(String, String)], is_it: impl Fn(&str) -> bool) -> &str {
    pairs.iter().find(|(name, _)| is_it(name)).map_or("", |(_, value)| value.as_str())
}

/// The keys of a platform's callbacks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum CallbackSpec {
    /// Feishu and Lark.
    #[serde(alias = "lark")]
    Feishu {
        /// The Encrypt Key. Signs and encrypts events.
        encrypt_key: Secret,
        /// The Verification Token.
        verification_token: Secret,
    },
    /// WeCom.
    #[serde(rename = "wecom")]
    WeCom {
        /// The token of the app's settings.
        token: Secret,
        /// Its EncodingAESKey.
        encoding_aes_key: Secret,
        /// The company's id, which every message must name.
        corp_id: String,
    },
    /// Slack.
    Slack {
        /// The Signing Secret.
        signing_secret: Secret,
    },
    /// Telegram.
    Telegram {
        /// What `setWebhook` was told as `secret_token`.
        secret_token: Secret,
    },
    /// DingTalk, in HTTP mode.
    #[serde(rename = "dingtalk")]
    DingTalk {
        /// The app's secret.
        app_secret: Secret,
    },
    /// Pressed keys of Twilio's calls.
    Twilio {
        /// The account's token.
        auth_token: Secret,
    },
    /// A provider of your own, signed as [`crate::sign::saker`] does.
    Signed {
        /// The key.
        key: Secret,
    },
}

impl CallbackSpec {
    /// The word in the address.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Feishu { .. } => "feishu",
            Self::WeCom { .. } => "wecom",
            Self::Slack { .. } => "slack",
            Self::Telegram { .. } => "telegram",
            Self::DingTalk { .. } => "dingtalk",
            Self::Twilio { .. } => "twilio",
            Self::Signed { .. } => "signed",
        }
    }

    /// Its secrets.
    pub fn secrets_mut(&mut self) -> Vec<&mut Secret> {
        match self {
            Self::Feishu { encrypt_key, verification_token } => {
                vec![encrypt_key, verification_token]
            }
            Self::WeCom { token, encoding_aes_key, .. } => vec![token, encoding_aes_key],
            Self::Slack { signing_secret: secret }
            | Self::Telegram { secret_token: secret }
            | Self::DingTalk { app_secret: secret }
            | Self::Twilio { auth_token: secret }
            | Self::Signed { key: secret } => vec![secret],
        }
    }

    /// Checks and reads a callback.
    pub fn read(&self, incoming: Incoming<'_>, now: Timestamp) -> Result<Callback, Refused> {
        let mut copy = self.clone();
        let lacks_a_key = copy.secrets_mut().iter().any(|secret| secret.expose().is_empty());
        if lacks_a_key || incoming.body.len() > BODY_BYTES_MAX {
            return Err(Refused);
        }
        match self {
            Self::Feishu { encrypt_key, verification_token } => {
                feishu(incoming, now, encrypt_key.expose(), verification_token.expose())
            }
            Self::WeCom { token, encoding_aes_key, corp_id } => {
                wecom(incoming, now, token.expose(), encoding_aes_key.expose(), corp_id)
            }
            Self::Slack { signing_secret } => slack(incoming, now, signing_secret.expose()),
            Self::Telegram { secret_token } => telegram(incoming, secret_token.expose()),
            Self::DingTalk { app_secret } => dingtalk(incoming, now, app_secret.expose()),
            Self::Twilio { auth_token } => twilio(incoming, auth_token.expose()),
            Self::Signed { key } => signed(incoming, now, key.expose()),
        }
    }
}

fn check(expected: &str, found: &str) -> Result<(), Refused> {
    if sign::equal(expected.as_bytes(), found.as_bytes()) { Ok(()) } else { Err(Refused) }
}

/// Checks a time in seconds against ours.
fn fresh(seconds: &str, now: Timestamp) -> Result<(), Refused> {
    let seconds: i64 = seconds.parse().map_err(|_| Refused)?;
    if now.seconds().abs_diff(seconds) <= AGE_SECONDS_MAX { Ok(()) } else { Err(Refused) }
}

fn json(bytes: &[u8]) -> Result<Value, Refused> {
    serde_json::from_slice(bytes).map_err(|_| Refused)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("").to_owned()
}

/// A click, unless a part of it is missing.
fn click(platform: &str, event: String, user: &str, action: String) -> Callback {
    if event.is_empty() || user.is_empty() || action.is_empty() {
        return Callback::Other;
    }
    let (event, user) = (format!("{platform}:{event}"), format!("{platform}:{user}"));
    Callback::Click(Click { event, user, action, place: String::new() })
}

/// The same with where the message is.
fn at(callback: Callback, place: String) -> Callback {
    match callback {
        Callback::Click(click) => Callback::Click(Click { place, ..click }),
        other => other,
    }
}

fn feishu(
    incoming: Incoming<'_>,
    now: Timestamp,
    key: &str,
    token: &str,
) -> Result<Callback, Refused> {
    let outer = json(incoming.body)?;
    let encrypted = outer["encrypt"].as_str().ok_or(Refused)?;
    let (time, nonce) =
        (incoming.header("X-Lark-Request-Timestamp"), incoming.header("X-Lark-Request-Nonce"));
    let signature = incoming.header("X-Lark-Signature");
    let is_signed = !signature.is_empty();
    if is_signed {
        check(&sign::lark_event(time, nonce, key, incoming.body), signature)?;
        fresh(time, now)?;
    }
    let event = json(&lark_open(key, encrypted).map_err(|_| Refused)?)?;
    if event["type"] == "url_verification" {
        // The check of the address is the only thing that comes unsigned.
        check(token, event["token"].as_str().unwrap_or(""))?;
        return Ok(Callback::Challenge(text(&event["challenge"])));
    }
    if !is_signed {
        return Err(Refused);
    }
    let header = &event["header"];
    check(token, header["token"].as_str().unwrap_or(""))?;
    let id = text(&header["event_id"]);
    let body = &event["event"];
    let user = text(&body["operator"]["open_id"]);
    Ok(click("feishu", id, &user, text(&body["action"]["value"]["act"])))
}

fn wecom(
    incoming: Incoming<'_>,
    now: Timestamp,
    token: &str,
    aes_key: &str,
    corp_id: &str,
) -> Result<Callback, Refused> {
    let (time, nonce) = (incoming.query("timestamp"), incoming.query("nonce"));
    let signature = incoming.query("msg_signature");
    let echo = incoming.query("echostr");
    let body = String::from_utf8_lossy(incoming.body);
    let encrypted = if echo.is_empty() { element(&body, "Encrypt") } else { echo };
    check(&sign::wecom(token, time, nonce, encrypted), signature)?;
    fresh(time, now)?;
    let opened = wecom_open(aes_key, corp_id, encrypted).map_err(|_| Refused)?;
    let opened = String::from_utf8(opened).map_err(|_| Refused)?;
    if !echo.is_empty() {
        return Ok(Callback::Challenge(opened));
    }
    if element(&opened, "Event") != "template_card_event" {
        return Ok(Callback::Other);
    }
    let (task, key) = (element(&opened, "TaskId"), element(&opened, "EventKey"));
    let event = format!("{task}/{key}/{}", element(&opened, "CreateTime"));
    let pressed = click("wecom", event, element(&opened, "FromUserName"), key.to_owned());
    Ok(at(pressed, element(&opened, "ResponseCode").to_owned()))
}

/// The text of an element, out of its CDATA. The messages are flat, so this is all of XML that is needed.
fn element<'a>(xml: &'a str, name: &str) -> &'a str {
    let inner = || {
        let (_, rest) = xml.split_once(&format!("<{name}>"))?;
        let (inner, _) = rest.split_once(&format!("</{name}>"))?;
        Some(inner.trim())
    };
    let inner = inner().unwrap_or("");
    inner.strip_prefix("<![CDATA[").and_then(|text| text.strip_suffix("]]>")).unwrap_or(inner)
}

fn slack(incoming: Incoming<'_>, now: Timestamp, secret: &str) -> Result<Callback, Refused> {
    let time = incoming.header("X-Slack-Request-Timestamp");
    let signature = incoming.header("X-Slack-Signature");
    check(&sign::slack(secret, time, incoming.body), signature)?;
    fresh(time, now)?;
    let mut fields = form_urlencoded::parse(incoming.body);
    let (_, payload) = fields.find(|(name, _)| name == "payload").ok_or(Refused)?;
    let payload = json(payload.as_bytes())?;
    if payload["type"] != "block_actions" {
        return Ok(Callback::Other);
    }
    let action = &payload["actions"][0];
    let user = format!("{}/{}", text(&payload["team"]["id"]), text(&payload["user"]["id"]));
    let pressed = click("slack", signature.to_owned(), &user, text(&action["value"]));
    Ok(at(pressed, text(&payload["response_url"])))
}

fn telegram(incoming: Incoming<'_>, secret: &str) -> Result<Callback, Refused> {
    check(secret, incoming.header("X-Telegram-Bot-Api-Secret-Token"))?;
    let update = json(incoming.body)?;
    let query = &update["callback_query"];
    let user = query["from"]["id"].as_i64().map(|id| id.to_string()).unwrap_or_default();
    let message = &query["message"];
    let place = match (message["chat"]["id"].as_i64(), message["message_id"].as_i64()) {
        (Some(chat), Some(id)) => format!("{chat}/{id}"),
        _ => String::new(),
    };
    Ok(at(click("telegram", text(&query["id"]), &user, text(&query["data"])), place))
}

fn dingtalk(incoming: Incoming<'_>, now: Timestamp, secret: &str) -> Result<Callback, Refused> {
    let time = incoming.header("timestamp");
    let milliseconds: i64 = time.parse().map_err(|_| Refused)?;
    check(&sign::dingtalk(milliseconds, secret), incoming.header("sign"))?;
    fresh(&(milliseconds / 1000).to_string(), now)?;
    let body = json(incoming.body)?;
    // The content is JSON inside a text.
    let content = json(body["content"].as_str().unwrap_or("null").as_bytes())?;
    let action = text(&content["cardPrivateData"]["params"]["action"]);
    let user = text(&body["userId"]);
    let event = format!("{}/{time}/{action}/{user}", text(&body["outTrackId"]));
    Ok(click("dingtalk", event, &user, action))
}

fn twilio(incoming: Incoming<'_>, auth_token: &str) -> Result<Callback, Refused> {
    let fields: Vec<(String, String)> =
        form_urlencoded::parse(incoming.body).into_owned().collect();
    let signature = incoming.header("X-Twilio-Signature");
    check(&sign::twilio(auth_token, incoming.url, &fields), signature)?;
    let (call, digit) = (find(&fields, |n| n == "CallSid"), find(&fields, |n| n == "Digits"));
    let (message, status) = (incoming.query("message"), find(&fields, |n| n == "CallStatus"));
    if !message.is_empty() {
        let is_unanswered = matches!(status, "no-answer" | "busy" | "failed" | "canceled");
        let event = format!("twilio:{call}/{status}");
        let (message, status) = (message.to_owned(), status.to_owned());
        let unanswered = Callback::Unanswered(Unanswered { event, message, status });
        return Ok(if is_unanswered && !call.is_empty() { unanswered } else { Callback::Other });
    }
    let letter = match digit {
        "1" => 'a',
        "3" => 'h',
        _ => return Ok(Callback::Other),
    };
    let action = format!("{}{letter}", incoming.query("handle"));
    let event = format!("{call}/{digit}");
    Ok(click("twilio", event, find(&fields, |name| name == "To"), action))
}

fn signed(incoming: Incoming<'_>, now: Timestamp, key: &str) -> Result<Callback, Refused> {
    let time = incoming.header("X-Saker-Timestamp");
    let signature = incoming.header("X-Saker-Signature");
    check(&sign::saker(key, time, incoming.body), signature)?;
    fresh(time, now)?;
    let body = json(incoming.body)?;
    Ok(click("signed", signature.to_owned(), &text(&body["user"]), text(&body["action"])))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::crypt::{lark_seal, wecom_seal};

    const NOW: Timestamp = Timestamp(1_700_000_000_000);
    const TIME: &str = "1700000000";
    const AES_KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
    const URL: &str = "https://alarm.example/hooks/twilio?handle=AbCdEfGhIjKl";

    /// A callback that owns what it is made of.
    #[derive(Clone)]
    struct Posted {
        spec: CallbackSpec,
        headers: Vec<(String, String)>,
        query: Vec<(String, String)>,
        body: Vec<u8>,
    }

    impl Posted {
        fn read(&self, now: Timestamp) -> Result<Callback, Refused> {
            let Self { headers, query, body, .. } = self;
            self.spec.read(Incoming { headers, query, body, url: URL }, now)
        }
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn feishu_posted() -> Posted {
        let event = r#"{"header":{"event_id":"e1","token":"vtok"},"event":{"operator":{"open_id":"ou_1"},
            "action":{"value":{"act":"AbCdEfGhIjKlh"}}}}"#;
        let encrypted = lark_seal("ekey", [7; 16], event.as_bytes()).unwrap();
        let body = format!("{{\"encrypt\":\"{encrypted}\"}}").into_bytes();
        let signature = sign::lark_event(TIME, "n1", "ekey", &body);
        let headers = pairs(&[
            ("x-lark-request-timestamp", TIME),
            ("X-Lark-Request-Nonce", "n1"),
            ("X-Lark-Signature", &signature),
        ]);
        let spec =
            CallbackSpec::Feishu { encrypt_key: "ekey".into(), verification_token: "vtok".into() };
        Posted { spec, headers, query: Vec::new(), body }
    }

    fn wecom_posted() -> Posted {
        let xml = "<xml><FromUserName><![CDATA[ann]]></FromUserName><Event>template_card_event</Event>\
            <TaskId>t1</TaskId><EventKey>AbCdEfGhIjKlh</EventKey><CreateTime>1</CreateTime>\
            <ResponseCode><![CDATA[CODE-1]]></ResponseCode></xml>";
        let encrypted = wecom_seal(AES_KEY, "ww123", [b'R'; 16], xml.as_bytes()).unwrap();
        let body = format!("<xml><Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>").into_bytes();
        let signature = sign::wecom("tok", TIME, "n1", &encrypted);
        let query = pairs(&[("timestamp", TIME), ("nonce", "n1"), ("msg_signature", &signature)]);
        let spec = CallbackSpec::WeCom {
            token: "tok".into(),
            encoding_aes_key: AES_KEY.into(),
            corp_id: "ww123".to_owned(),
        };
        Posted { spec, headers: Vec::new(), query, body }
    }

    fn slack_posted() -> Posted {
        let payload = r#"{"type":"block_actions","team":{"id":"T1"},"user":{"id":"U1"},
            "actions":[{"value":"AbCdEfGhIjKlh"}]}"#;
        let body = format!("payload={}", sign::percent(payload)).into_bytes();
        let signature = sign::slack("secret", TIME, &body);
        let headers =
            pairs(&[("X-Slack-Request-Timestamp", TIME), ("X-Slack-Signature", &signature)]);
        let spec = CallbackSpec::Slack { signing_secret: "secret".into() };
        Posted { spec, headers, query: Vec::new(), body }
    }

    fn dingtalk_posted() -> Posted {
        let content = r#"{"cardPrivateData":{"params":{"action":"AbCdEfGhIjKlh"}}}"#;
        let body = serde_json::json!({ "userId": "u1", "outTrackId": "t", "content": content });
        let sign = sign::dingtalk(NOW.0, "SECtest");
        let headers = pairs(&[("timestamp", &NOW.0.to_string()), ("sign", &sign)]);
        let spec = CallbackSpec::DingTalk { app_secret: "SECtest".into() };
        Posted { spec, headers, query: Vec::new(), body: body.to_string().into_bytes() }
    }

    fn twilio_posted() -> Posted {
        let fields = pairs(&[("CallSid", "CA1"), ("Digits", "3"), ("To", "+1")]);
        let body = b"CallSid=CA1&Digits=3&To=%2B1".to_vec();
        let headers = pairs(&[("X-Twilio-Signature", &sign::twilio("tok", URL, &fields))]);
        let query = pairs(&[("handle", "AbCdEfGhIjKl")]);
        Posted { spec: CallbackSpec::Twilio { auth_token: "tok".into() }, headers, query, body }
    }

    fn signed_posted() -> Posted {
        let body = br#"{"user":"ann","action":"AbCdEfGhIjKlh"}"#.to_vec();
        let headers = pairs(&[
            ("X-Saker-Timestamp", TIME),
            ("X-Saker-Signature", &sign::saker("k", TIME, &body)),
        ]);
        Posted { spec: CallbackSpec::Signed { key: "k".into() }, headers, query: Vec::new(), body }
    }

    fn telegram_posted() -> Posted {
        let body = br#"{"callback_query":{"id":"q1","from":{"id":42},"data":"AbCdEfGhIjKlh"}}"#;
        let headers = pairs(&[("X-Telegram-Bot-Api-Secret-Token", "secret")]);
        let spec = CallbackSpec::Telegram { secret_token: "secret".into() };
        Posted { spec, headers, query: Vec::new(), body: body.to_vec() }
    }

    fn all() -> Vec<Posted> {
        vec![
            feishu_posted(),
            wecom_posted(),
            slack_posted(),
            telegram_posted(),
            dingtalk_posted(),
            twilio_posted(),
            signed_posted(),
        ]
    }

    #[test]
    fn every_platform_tells_who_pressed_what() {
        let users = [
            "feishu:ou_1",
            "wecom:ann",
            "slack:T1/U1",
            "telegram:42",
            "dingtalk:u1",
            "twilio:+1",
            "signed:ann",
        ];
        for (posted, user) in all().into_iter().zip(users) {
            let Ok(Callback::Click(click)) = posted.read(NOW) else { panic!("{user}") };
            assert_eq!((click.user.as_str(), click.action.as_str()), (user, "AbCdEfGhIjKlh"));
            assert_eq!(posted.spec.kind(), user.split(':').next().unwrap());
        }
    }

    #[test]
    fn a_call_that_nobody_took_names_its_message_and_one_that_was_taken_is_nothing() {
        const URL: &str = "https://alarm.example/hooks/twilio?message=k1";
        let read = |status: &str, signed: &str| {
            let fields = pairs(&[("CallSid", "CA1"), ("CallStatus", status)]);
            let body = format!("CallSid=CA1&CallStatus={status}").into_bytes();
            let signature = sign::twilio("tok", signed, &fields);
            let headers = pairs(&[("X-Twilio-Signature", &signature)]);
            let query = pairs(&[("message", "k1")]);
            let incoming = Incoming { headers: &headers, query: &query, body: &body, url: URL };
            CallbackSpec::Twilio { auth_token: "tok".into() }.read(incoming, NOW)
        };
        let unanswered = |status: &str| {
            Callback::Unanswered(Unanswered {
                event: format!("twilio:CA1/{status}"),
                message: "k1".to_owned(),
                status: status.to_owned(),
            })
        };
        for status in ["no-answer", "busy", "failed", "canceled"] {
            assert_eq!(read(status, URL), Ok(unanswered(status)));
        }
        assert_eq!(read("completed", URL), Ok(Callback::Other));
        assert_eq!(read("no-answer", &URL.replace("k1", "k2")), Err(Refused), "of another message");
    }

    #[test]
    fn a_press_in_wecom_brings_the_code_for_the_new_card() {
        let Ok(Callback::Click(click)) = wecom_posted().read(NOW) else { panic!("no press") };
        assert_eq!(click.place, "CODE-1");
    }

    #[test]
    fn a_flipped_byte_of_a_signed_body_is_noticed() {
        // Telegram and DingTalk sign no bodies: a secret in a header stands for them.
        let signed = [feishu_posted(), slack_posted(), twilio_posted(), signed_posted()];
        for posted in signed {
            for position in 0..posted.body.len() {
                let mut flipped = posted.clone();
                flipped.body[position] ^= 1;
                assert_eq!(flipped.read(NOW), Err(Refused), "{} {position}", posted.spec.kind());
            }
        }
    }

    #[test]
    fn a_flipped_byte_of_the_encrypted_part_is_noticed() {
        let posted = wecom_posted();
        let text = String::from_utf8(posted.body.clone()).unwrap();
        let from = text.find("CDATA[").unwrap() + 6;
        for position in from..text.find("]]>").unwrap() {
            let mut flipped = posted.clone();
            flipped.body[position] ^= 1;
            assert_eq!(flipped.read(NOW), Err(Refused), "{position}");
        }
    }

    #[test]
    fn a_flipped_byte_of_a_signature_is_noticed() {
        for posted in all() {
            let names = ["Signature", "sign", "msg_signature", "Secret-Token"];
            let is_one = |name: &str| names.iter().any(|ending| name.ends_with(ending));
            let mut flipped = posted.clone();
            let signed = flipped.headers.iter_mut().chain(&mut flipped.query);
            let (_, value) = signed.into_iter().find(|(name, _)| is_one(name)).unwrap();
            let last = value.pop().unwrap();
            value.push(if last == 'a' { 'b' } else { 'a' });
            assert_eq!(flipped.read(NOW), Err(Refused), "{}", posted.spec.kind());
        }
    }

    #[test]
    fn what_is_stale_is_refused() {
        for posted in all() {
            // Those two carry no time; a repeated event is noticed by its id.
            if matches!(posted.spec.kind(), "telegram" | "twilio") {
                continue;
            }
            for seconds in [-301, 301] {
                let now = Timestamp(NOW.0 + seconds * 1000);
                assert_eq!(posted.read(now), Err(Refused), "{} {seconds}", posted.spec.kind());
            }
            assert!(posted.read(Timestamp(NOW.0 + 299_000)).is_ok());
        }
    }

    #[test]
    fn without_a_key_nothing_is_accepted() {
        for mut posted in all() {
            for secret in posted.spec.secrets_mut() {
                *secret = Secret::default();
            }
            assert_eq!(posted.read(NOW), Err(Refused), "{}", posted.spec.kind());
        }
    }

    #[test]
    fn an_unsigned_event_is_refused_and_an_unsigned_check_needs_the_token() {
        let mut unsigned = feishu_posted();
        unsigned.headers.clear();
        assert_eq!(unsigned.read(NOW), Err(Refused));
        let check = |token: &str| {
            let event =
                format!(r#"{{"challenge":"c","token":"{token}","type":"url_verification"}}"#);
            let encrypted = lark_seal("ekey", [1; 16], event.as_bytes()).unwrap();
            let body = format!("{{\"encrypt\":\"{encrypted}\"}}").into_bytes();
            Posted { body, headers: Vec::new(), ..feishu_posted() }.read(NOW)
        };
        assert_eq!(check("vtok"), Ok(Callback::Challenge("c".to_owned())));
        assert_eq!(check("other"), Err(Refused));
    }

    #[test]
    fn wecom_checks_the_address_with_an_encrypted_text() {
        let echo = wecom_seal(AES_KEY, "ww123", [b'R'; 16], b"1234").unwrap();
        let signature = sign::wecom("tok", TIME, "n1", &echo);
        let query = pairs(&[
            ("timestamp", TIME),
            ("nonce", "n1"),
            ("msg_signature", &signature),
            ("echostr", &echo),
        ]);
        let posted = Posted { query, body: Vec::new(), ..wecom_posted() };
        assert_eq!(posted.read(NOW), Ok(Callback::Challenge("1234".to_owned())));
    }

    proptest! {
        #[test]
        fn whatever_comes_in_is_refused(body: Vec<u8>, time in "[0-9]{0,12}", signature: String) {
            for posted in all() {
                let mut hostile = posted.clone();
                hostile.body.clone_from(&body);
                for (_, value) in hostile.headers.iter_mut().chain(&mut hostile.query) {
                    *value = if value == TIME { time.clone() } else { signature.clone() };
                }
                prop_assert_eq!(hostile.read(NOW), Err(Refused));
            }
        }

        #[test]
        fn elements_are_found_in_any_text(xml: String, name in "[A-Za-z]{1,5}") {
            prop_assert!(xml.contains(element(&xml, &name)));
        }
    }
}
