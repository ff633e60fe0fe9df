//! What is sent fits into what the platform takes, whatever a host writes, and says when something was cut.

use channels::Parcel;
use proptest::prelude::*;
use serde_json::Value;

use crate::bots::{bot, bots, parcel, requests, texts, written_by_a_host};

/// A message in the form that a bot posts, as JSON.
fn body(kind: &str, text: &str, is_plain: bool) -> Value {
    let requests = requests(&bot(kind), &written_by_a_host(text), is_plain);
    serde_json::from_slice(&requests[0].body).unwrap()
}

/// What Telegram counts: the text without tags, each entity as the character that it is.
fn shown(body: &Value) -> String {
    let mut text = body["text"].as_str().unwrap().to_owned();
    for (written, read) in
        [("<b>", ""), ("</b>", ""), ("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&amp;", "&")]
    {
        text = text.replace(written, read);
    }
    text
}

/// The limits of the platforms, in their units.
fn check(text: &str) {
    for is_plain in [false, true] {
        let robot = body("dingtalk_robot", text, is_plain);
        let markdown = robot["actionCard"]["text"].as_str().or(robot["text"]["content"].as_str());
        let title = robot["actionCard"]["title"].as_str().unwrap_or("");
        assert!(markdown.unwrap().len() + title.len() <= 20_000);
        let card = body("feishu_bot", text, is_plain).to_string();
        assert!(card.len() <= 20_000, "feishu_bot {is_plain} {}", card.len());
        let card = body("feishu_app", text, is_plain)["content"].as_str().unwrap().len();
        assert!(card <= 30_000, "feishu_app {card}");
        let robot = body("wecom_webhook", text, is_plain);
        let (most, content) = match robot["msgtype"].as_str().unwrap() {
            "text" => (2_048, robot["text"]["content"].as_str().unwrap()),
            _ => (4_096, robot["markdown"]["content"].as_str().unwrap()),
        };
        assert!(content.len() <= most, "wecom_webhook {}", content.len());
        for text in texts(&requests(&bot("slack"), &written_by_a_host(text), is_plain)[0]) {
            assert!(text.chars().count() <= 3_000, "slack {}", text.chars().count());
        }
        let telegram = body("telegram", text, is_plain);
        let shown =
            if is_plain { telegram["text"].as_str().unwrap().to_owned() } else { shown(&telegram) };
        assert!(shown.chars().count() <= 4_096, "telegram {is_plain} {}", shown.chars().count());
    }
}

#[test]
fn long_texts_are_cut_at_a_character_and_say_so() {
    // Of one to four bytes, so that a cut in the middle of one would show.
    let long = "长文字é😀x".repeat(3_000);
    for (kind, bot) in bots() {
        for is_plain in [false, true] {
            let message = written_by_a_host(&long);
            let sent = match parcel(&bot, &message, is_plain) {
                Parcel::Http(requests) => requests.iter().flat_map(texts).collect::<Vec<_>>(),
                // Theirs is the whole message: programs and mails have no limit worth a name.
                Parcel::Mail(_) | Parcel::Run(_) => continue,
            };
            let has_all = sent.iter().any(|text| text.contains(&long));
            let is_cut = sent.iter().any(|text| text.contains('…'));
            assert!(is_cut || has_all, "{kind} {is_plain}: {sent:?}");
        }
    }
    check(&long);
}

#[test]
fn texts_that_grow_when_they_are_escaped_fit_too() {
    for sign in ["<", "&", "\"", "*", "@", "\\", "\u{1}", "\n", "`_[]()#~|!>"] {
        check(&sign.repeat(20_000));
    }
}

/// Few, since each case makes every message of every channel; or as many as `PROPTEST_CASES` asks for.
fn cases() -> ProptestConfig {
    let usual = ProptestConfig::default();
    let cases = if usual.cases == 256 { 48 } else { usual.cases };
    ProptestConfig { cases, ..usual }
}

proptest! {
    #![proptest_config(cases())]
    #[test]
    fn whatever_a_host_writes_fits(piece in "\\PC{1,40}|[<>&*_@\"\\\\ \n]{1,20}", times in 1_usize..2_000) {
        check(&piece.repeat(times));
    }
}
