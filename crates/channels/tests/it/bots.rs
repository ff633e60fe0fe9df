//! One bot of every kind, and a message for it.

use channels::{Button, How, Kind, Language, Message, Parcel, Request, Spec, Urgency};
use model::{Alert, Labels, Timestamp};
use wire::alert::WebhookMessage;

pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000);
/// Where every bot posts.
pub(crate) const PLATFORM: &str = "https://platform.example";

/// Settings of every kind there is.
pub(crate) const SETTINGS: [(&str, &str); 19] = [
    ("dingtalk_robot", "url = \"https://platform.example/send?access_token=t\"\nsecret = \"SECs\""),
    (
        "dingtalk_app",
        "app_key = \"k\"\napp_secret = \"s\"\ntemplate_id = \"t\"\nrobot_code = \"r\"\nconversation = \"c\"\n\
         api = \"https://platform.example\"",
    ),
    ("feishu_bot", "url = \"https://platform.example/hook/x\"\nsecret = \"s\""),
    ("lark_bot", "url = \"https://platform.example/hook/x\""),
    (
        "feishu_app",
        "app_id = \"a\"\napp_secret = \"s\"\nchat = \"oc_1\"\napi = \"https://platform.example\"",
    ),
    ("wecom_webhook", "url = \"https://platform.example/send?key=k\""),
    (
        "wecom_app",
        "corp_id = \"w\"\ncorp_secret = \"s\"\nagent_id = 7\nto_user = \"ann\"\n\
         api = \"https://platform.example\"",
    ),
    (
        "slack",
        "url = \"https://platform.example/api/chat.postMessage\"\ntoken = \"xoxb-1\"\nchannel = \"#ops\"",
    ),
    ("telegram", "token = \"t\"\nchat = \"1\"\napi = \"https://platform.example\""),
    ("mail", "host = \"relay.example\"\nfrom = \"saker@example.com\"\nto = [\"ops@example.com\"]"),
    (
        "twilio",
        "way = \"call\"\naccount = \"AC1\"\nauth_token = \"t\"\nfrom = \"+1\"\nto = \"+2\"\n\
         keys_url = \"https://alarm.example/hooks/twilio\"\napi = \"https://platform.example\"",
    ),
    (
        "twilio",
        "way = \"sms\"\naccount = \"AC1\"\nauth_token = \"t\"\nfrom = \"+1\"\nto = \"+2\"\n\
         api = \"https://platform.example\"",
    ),
    (
        "alibaba",
        "way = \"call\"\naccess_key_id = \"a\"\naccess_key_secret = \"s\"\ntemplate = \"TTS_1\"\nto = \"138\"\n\
         api = \"https://platform.example\"",
    ),
    (
        "tencent",
        "way = \"sms\"\nsecret_id = \"i\"\nsecret_key = \"s\"\napp_id = \"14\"\ntemplate = \"1\"\n\
         sign_name = \"S\"\nto = \"+86\"\napi = \"https://platform.example\"",
    ),
    ("signed_http", "url = \"https://platform.example/sms\"\nkey = \"k\"\nto = \"ops\""),
    ("legacy_form", "url = \"https://platform.example/im\"\nto = \"ann\""),
    ("webhook", "url = \"https://platform.example/hook\""),
    ("pagerduty", "url = \"https://platform.example/enqueue\"\nrouting_key = \"k\""),
    ("exec", "program = \"/usr/local/bin/page\"\narguments = [\"--page\"]"),
];

/// A bot of a kind, the first of its settings.
pub(crate) fn bot(kind: &str) -> Spec {
    let (_, settings) = SETTINGS.iter().find(|(known, _)| *known == kind).expect("a known kind");
    read(kind, settings)
}

/// Bots of every kind.
pub(crate) fn bots() -> impl Iterator<Item = (&'static str, Spec)> {
    SETTINGS.iter().map(|(kind, settings)| (*kind, read(kind, settings)))
}

fn read(kind: &str, settings: &str) -> Spec {
    toml::from_str(&format!("kind = {kind:?}\n{settings}\n")).expect("the settings are good")
}

/// A message in which a host wrote everything that hosts can write.
pub(crate) fn written_by_a_host(text: &str) -> Message {
    let labels = Labels::from_pairs([("alertname", text), ("endpoint", text), ("severity", "P0")]);
    let alert = Alert {
        labels: labels.clone(),
        annotations: [("summary".to_owned(), text.to_owned())].into(),
        starts_at: NOW,
        ends_at: Timestamp(NOW.0 + 300_000),
        generator_url: text.to_owned(),
    };
    let web = "https://alarm.example";
    let button = |label: &str, path: &str, action: Option<&str>| Button {
        label: label.to_owned(),
        url: format!("{web}/{path}"),
        action: action.map(str::to_owned),
    };
    Message {
        key: text.to_owned(),
        thread: text.to_owned(),
        kind: Kind::Firing,
        urgency: Urgency::Urgent,
        language: Language::English,
        envelope: "[Saker]".to_owned(),
        title: format!("P0 {text}"),
        facts: vec![("Summary".to_owned(), text.to_owned()), (text.to_owned(), text.to_owned())],
        text: text.to_owned(),
        buttons: vec![
            button("Mute 1 h", "m/a_b~c", Some("AbCdEfGhIjKl1")),
            button("Open", "alerts", None),
        ],
        mentions: Vec::new(),
        group: WebhookMessage::new("ops", text, labels, web, &[alert], NOW),
        own: None,
    }
}

/// What a bot sends, in its better form or as plain text.
pub(crate) fn parcel(bot: &Spec, message: &Message, is_plain: bool) -> Parcel {
    let how = How { now: NOW, token: "tok", is_plain };
    bot.channel().parcel(message, "", how).expect("every text can be sent")
}

/// The requests that a bot makes; none for what is no HTTP.
pub(crate) fn requests(bot: &Spec, message: &Message, is_plain: bool) -> Vec<Request> {
    match parcel(bot, message, is_plain) {
        Parcel::Http(requests) => requests,
        Parcel::Mail(_) | Parcel::Run(_) => Vec::new(),
    }
}

/// Every text in a body of JSON, also that of JSON inside a text; the fields of a form and of the address.
pub(crate) fn texts(request: &Request) -> Vec<String> {
    let is_form = request.header("content-type").is_some_and(|kind| kind.contains("form"));
    let query = request.url.split_once('?').map_or("", |(_, query)| query);
    let mut found: Vec<String> =
        form_urlencoded::parse(query.as_bytes()).map(|(_, value)| value.into_owned()).collect();
    if is_form {
        let fields = form_urlencoded::parse(&request.body);
        found.extend(fields.map(|(_, value)| value.into_owned()));
    } else if let Ok(body) = serde_json::from_slice(&request.body) {
        gather(&body, &mut found);
    }
    found
}

fn gather(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::String(text) => match serde_json::from_str(text) {
            Ok(inner @ serde_json::Value::Object(_)) => gather(&inner, found),
            _ => found.push(text.to_owned()),
        },
        serde_json::Value::Array(all) => all.iter().for_each(|one| gather(one, found)),
        serde_json::Value::Object(all) => all.values().for_each(|one| gather(one, found)),
        _ => {}
    }
}
