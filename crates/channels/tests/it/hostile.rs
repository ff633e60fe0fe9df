//! What a host writes into its alerts calls nobody, links nowhere, adds no header, and chooses neither address nor
//! program.

use channels::{Parcel, Request};

use crate::bots::{PLATFORM, bots, parcel, texts, written_by_a_host};

/// What calls everybody, links, formats, speaks or breaks out, somewhere.
const TRICKS: [&str; 16] = [
    "<!channel> <!here> <!everyone> <@U123>",
    "<at id=all></at>",
    "<at user_id=\"all\">everybody</at>",
    "<at email=eve@evil.example></at>",
    "<@all> <@ann> @all @channel @everyone",
    "[click](http://evil.example/) ![x](http://evil.example/x.png)",
    "<a href=\"http://evil.example/\">click</a>",
    "<http://evil.example/|click>",
    "</b></p><script src=http://evil.example/></script>",
    "</Say><Dial>+1900555</Dial><Say>",
    "x\r\nBcc: eve@evil.example\r\n\r\nhello",
    "x\nX-Evil: evil",
    "{{ .ExternalURL }} {{ template \"x\" }} ${HOME} %s %(x)s",
    "$(touch /tmp/evil); `touch /tmp/evil` | sh && evil",
    "\",\"msg_type\":\"evil\",\"x\":\"",
    "http://evil.example/?a=b&url=http://evil.example",
];

/// Address and headers are those of the settings.
fn check_request(kind: &str, request: &Request) {
    assert!(request.url.starts_with(PLATFORM), "{kind}");
    assert!(!request.url.contains("evil") || kind == "alibaba", "{kind}: {}", request.url);
    for (name, value) in &request.headers {
        let is_clean = |c: char| !c.is_control();
        assert!(name.chars().all(is_clean) && value.chars().all(is_clean), "{kind}: {name}");
        assert!(!value.contains("evil.example/") || kind == "webhook", "{kind}: {name}: {value}");
    }
}

/// Beginnings that a platform reads as more than text.
fn forbidden(kind: &str, is_plain: bool) -> &'static [&'static str] {
    match (kind, is_plain) {
        ("slack", _) => &["<!", "<@", "<http", "<at"],
        ("feishu_bot" | "lark_bot" | "feishu_app", true) => &["<at", "<a "],
        ("feishu_bot" | "lark_bot" | "feishu_app", false) => &["<at", "<a ", "[click](", "![x]("],
        ("dingtalk_robot", false) => &["<a ", "<script", "@all", "[click](http", "![x](http"],
        ("wecom_webhook", false) => &["<@", "<a ", "[click](http"],
        ("telegram", false) => &["<a href=\"http://evil", "<script", "<!", "<at"],
        _ => &[],
    }
}

#[test]
fn no_text_of_a_host_calls_links_or_breaks_out() {
    for (kind, bot) in bots() {
        for trick in TRICKS {
            for is_plain in [false, true] {
                let requests = match parcel(&bot, &written_by_a_host(trick), is_plain) {
                    Parcel::Http(requests) => requests,
                    Parcel::Run(run) => {
                        assert_eq!(run.program.to_str(), Some("/usr/local/bin/page"));
                        assert_eq!(run.arguments, ["--page"], "{trick}");
                        continue;
                    }
                    Parcel::Mail(mail) => {
                        assert_eq!(mail.to, ["ops@example.com"], "{trick}");
                        let text = String::from_utf8(mail.text).unwrap();
                        let head = text.split("\r\n\r\n").next().unwrap();
                        let is_added =
                            |line: &str| line.starts_with("Bcc") || line.starts_with("X-Evil");
                        assert!(!head.lines().any(is_added), "{head}");
                        continue;
                    }
                };
                for request in &requests {
                    check_request(kind, request);
                    // The titles of cards are shown as they are, so they are not looked at.
                    let is_title =
                        |text: &&String| text.starts_with("[Saker] P0") && kind != "slack";
                    let texts = texts(request);
                    for text in texts.iter().filter(|text| is_plain || !is_title(text)) {
                        for sign in forbidden(kind, is_plain) {
                            assert!(!text.contains(sign), "{kind}, plain {is_plain}: {text}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn nobody_is_called_by_a_field_beside_the_text() {
    for (kind, bot) in bots() {
        for trick in TRICKS {
            for is_plain in [false, true] {
                let Parcel::Http(requests) = parcel(&bot, &written_by_a_host(trick), is_plain)
                else {
                    continue;
                };
                for request in &requests {
                    let Ok(body) = serde_json::from_slice::<serde_json::Value>(&request.body)
                    else {
                        continue;
                    };
                    assert!(body["at"].is_null(), "{kind}: {body}");
                    let named = body["text"]["mentioned_list"].as_array().map_or(0, Vec::len);
                    assert_eq!(named, 0, "{kind}: {body}");
                    assert_ne!(body["msg_type"], "evil", "{kind}: {body}");
                }
            }
        }
    }
}

#[test]
fn what_a_phone_speaks_has_no_commands_of_a_host() {
    for trick in TRICKS {
        for (kind, bot) in bots().filter(|(kind, _)| *kind == "twilio") {
            let Parcel::Http(requests) = parcel(&bot, &written_by_a_host(trick), false) else {
                panic!("{kind} is HTTP")
            };
            let twiml = texts(&requests[0]).into_iter().find(|text| text.contains("<Response>"));
            let Some(twiml) = twiml else { continue };
            let verbs: Vec<&str> = twiml
                .split('<')
                .skip(1)
                .map(|tag| tag.split([' ', '>']).next().unwrap_or(""))
                .collect();
            let known = ["Response", "Gather", "Say", "/Say", "/Gather", "/Response"];
            assert!(verbs.iter().all(|verb| known.contains(verb)), "{twiml}");
        }
    }
}
