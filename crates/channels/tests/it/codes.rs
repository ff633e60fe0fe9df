//! What the answers of the platforms mean: the table of error classes, code by code.

use std::time::Duration;

use channels::{Answer, Reply};

use crate::bots::bot;

/// What an answer must lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Means {
    /// The platform has it.
    Sent,
    /// The same bot is asked later.
    Later,
    /// The bot rests, and another one goes on meanwhile; without another one the same is asked after its rest.
    Rest,
    /// A new token, then the same again.
    Login,
    /// Once more as plain text.
    Plainer,
    /// At the address that the answer names.
    Moved,
    /// This bot is not asked again.
    Never,
}

impl Means {
    fn of(answer: &Answer) -> Self {
        match answer {
            Answer::Sent { .. } => Self::Sent,
            Answer::Later { .. } => Self::Later,
            Answer::Limited { .. } => Self::Rest,
            Answer::Login { .. } => Self::Login,
            Answer::Plainer { .. } => Self::Plainer,
            Answer::Moved { .. } => Self::Moved,
            Answer::Refused { .. } => Self::Never,
        }
    }
}

use Means::{Later, Login, Moved, Never, Plainer, Rest, Sent};

/// A platform that says 429 (Slack, Telegram, Feishu) tells how long: the bot rests so long, which costs the message
/// no attempt, and then the same bot is asked, or a backup before that.
const TABLE: &[(&str, u16, &str, Means)] = &[
    ("dingtalk_robot", 200, r#"{"errcode":0,"errmsg":"ok"}"#, Sent),
    ("dingtalk_robot", 500, "", Later),
    ("dingtalk_robot", 502, "<html>", Later),
    ("dingtalk_robot", 200, r#"{"errcode":-1}"#, Later),
    ("dingtalk_robot", 200, r#"{"errcode":130101}"#, Rest),
    ("dingtalk_robot", 200, r#"{"errcode":310000}"#, Never),
    ("dingtalk_robot", 200, r#"{"errcode":300001}"#, Never),
    ("dingtalk_robot", 200, r#"{"errcode":40035}"#, Never),
    ("dingtalk_robot", 200, r#"{"errcode":400101}"#, Never),
    ("dingtalk_robot", 200, r#"{"errcode":77777}"#, Later),
    ("feishu_bot", 200, r#"{"code":0}"#, Sent),
    ("feishu_bot", 200, r#"{"StatusCode":0,"StatusMessage":"success"}"#, Sent),
    ("feishu_bot", 503, "", Later),
    ("feishu_bot", 200, r#"{"code":11232}"#, Rest),
    ("feishu_bot", 429, "", Rest),
    ("feishu_bot", 429, r#"{"code":99991400,"msg":"request trigger frequency limit"}"#, Rest),
    ("feishu_bot", 200, r#"{"code":9499}"#, Never),
    ("feishu_bot", 200, r#"{"code":19001}"#, Never),
    ("feishu_bot", 200, r#"{"code":19021}"#, Never),
    ("feishu_bot", 200, r#"{"code":19022}"#, Never),
    ("feishu_bot", 200, r#"{"code":19024}"#, Never),
    ("lark_bot", 200, r#"{"code":19024}"#, Never),
    ("feishu_app", 200, r#"{"code":0,"data":{"message_id":"om_1"}}"#, Sent),
    ("feishu_app", 504, "", Later),
    ("feishu_app", 400, r#"{"code":99991400}"#, Later),
    ("feishu_app", 429, r#"{"code":99991400}"#, Later),
    ("feishu_app", 429, "", Rest),
    ("feishu_app", 400, r#"{"code":230020}"#, Later),
    ("feishu_app", 400, r#"{"code":99991663}"#, Login),
    ("feishu_app", 400, r#"{"code":99991664}"#, Login),
    ("feishu_app", 400, r#"{"code":99991668}"#, Login),
    ("feishu_app", 400, r#"{"code":230001}"#, Never),
    ("feishu_app", 400, r#"{"code":230002}"#, Never),
    ("feishu_app", 400, r#"{"code":230013}"#, Never),
    ("wecom_webhook", 200, r#"{"errcode":0}"#, Sent),
    ("wecom_webhook", 200, r#"{"errcode":-1}"#, Later),
    ("wecom_webhook", 200, r#"{"errcode":45033}"#, Later),
    ("wecom_webhook", 500, "", Later),
    ("wecom_webhook", 200, r#"{"errcode":45009}"#, Rest),
    ("wecom_webhook", 200, r#"{"errcode":93000}"#, Never),
    ("wecom_webhook", 200, r#"{"errcode":40058}"#, Never),
    ("wecom_webhook", 200, r#"{"errcode":45002}"#, Never),
    ("wecom_app", 200, r#"{"errcode":0,"msgid":"m"}"#, Sent),
    ("wecom_app", 200, r#"{"errcode":0,"invaliduser":"ann"}"#, Never),
    ("wecom_app", 200, r#"{"errcode":-1}"#, Later),
    ("wecom_app", 200, r#"{"errcode":45009}"#, Later),
    ("wecom_app", 200, r#"{"errcode":45033}"#, Later),
    ("wecom_app", 200, r#"{"errcode":40014}"#, Login),
    ("wecom_app", 200, r#"{"errcode":42001}"#, Login),
    ("wecom_app", 200, r#"{"errcode":60020}"#, Never),
    ("wecom_app", 200, r#"{"errcode":81013}"#, Never),
    ("wecom_app", 200, r#"{"errcode":301002}"#, Never),
    ("slack", 200, r#"{"ok":true,"ts":"1.2"}"#, Sent),
    ("slack", 200, "ok", Sent),
    ("slack", 429, "", Rest),
    ("slack", 500, "", Later),
    ("slack", 200, r#"{"ok":false,"error":"ratelimited"}"#, Later),
    ("slack", 200, r#"{"ok":false,"error":"rate_limited"}"#, Later),
    ("slack", 200, r#"{"ok":false,"error":"message_limit_exceeded"}"#, Later),
    ("slack", 200, r#"{"ok":false,"error":"internal_error"}"#, Later),
    ("slack", 200, r#"{"ok":false,"error":"fatal_error"}"#, Later),
    ("slack", 200, r#"{"ok":false,"error":"channel_not_found"}"#, Never),
    ("slack", 200, r#"{"ok":false,"error":"is_archived"}"#, Never),
    ("slack", 200, r#"{"ok":false,"error":"not_in_channel"}"#, Never),
    ("slack", 200, r#"{"ok":false,"error":"invalid_auth"}"#, Never),
    ("slack", 200, r#"{"ok":false,"error":"account_inactive"}"#, Never),
    ("slack", 200, r#"{"ok":false,"error":"token_revoked"}"#, Never),
    ("slack", 200, r#"{"ok":false,"error":"msg_too_long"}"#, Never),
    // Refused for good in this form: it goes once as plain text, and only then never.
    ("slack", 200, r#"{"ok":false,"error":"invalid_blocks"}"#, Plainer),
    ("slack", 200, r#"{"ok":false,"error":"nobody_knows"}"#, Later),
    ("telegram", 200, r#"{"ok":true,"result":{"message_id":5}}"#, Sent),
    ("telegram", 400, r#"{"ok":false,"description":"Bad Request: message is not modified"}"#, Sent),
    ("telegram", 429, r#"{"ok":false,"parameters":{"retry_after":3}}"#, Rest),
    ("telegram", 500, r#"{"ok":false}"#, Later),
    ("telegram", 403, r#"{"ok":false,"description":"Forbidden: bot was kicked"}"#, Never),
    ("telegram", 400, r#"{"ok":false,"description":"Bad Request: chat not found"}"#, Never),
    ("telegram", 401, r#"{"ok":false,"description":"Unauthorized"}"#, Never),
    ("telegram", 400, r#"{"ok":false,"parameters":{"migrate_to_chat_id":-100}}"#, Moved),
    ("telegram", 400, r#"{"ok":false,"description":"Bad Request: can't parse entities"}"#, Plainer),
    ("twilio", 201, r#"{"sid":"CA1"}"#, Sent),
    ("twilio", 429, r#"{"code":20429}"#, Later),
    ("twilio", 500, "", Later),
    ("twilio", 400, r#"{"code":30410}"#, Later),
    ("twilio", 401, r#"{"code":20003}"#, Never),
    ("twilio", 400, r#"{"code":21211}"#, Never),
    ("twilio", 400, r#"{"code":21214}"#, Never),
    ("twilio", 400, r#"{"code":21215}"#, Never),
    ("twilio", 400, r#"{"code":21610}"#, Never),
    ("twilio", 400, r#"{"code":30004}"#, Never),
    ("twilio", 400, r#"{"code":30006}"#, Never),
    ("twilio", 400, r#"{"code":21609}"#, Plainer),
    ("mail", 250, "", Sent),
    ("mail", 421, "", Later),
    ("mail", 450, "", Later),
    ("mail", 452, "", Later),
    ("mail", 500, "", Never),
    ("mail", 535, "", Never),
    ("mail", 550, "", Never),
    ("mail", 554, "", Never),
    ("alibaba", 200, r#"{"Code":"OK","CallId":"c"}"#, Sent),
    ("alibaba", 200, r#"{"Code":"isv.OUT_OF_SERVICE"}"#, Never),
    ("alibaba", 200, r#"{"Code":"isv.BUSINESS_LIMIT_CONTROL"}"#, Rest),
    ("alibaba", 503, "", Later),
    ("tencent", 200, r#"{"Response":{"RequestId":"r"}}"#, Sent),
    ("tencent", 200, r#"{"Response":{"Error":{"Code":"AuthFailure.SignatureFailure"}}}"#, Never),
    ("tencent", 200, r#"{"Response":{"Error":{"Code":"RequestLimitExceeded"}}}"#, Rest),
    ("tencent", 200, r#"{"Response":{"Error":{"Code":"InternalError"}}}"#, Later),
    ("signed_http", 200, r#"{"ok":true,"provider_id":"1"}"#, Sent),
    ("signed_http", 200, r#"{"ok":false,"retryable":true,"code":"busy"}"#, Later),
    ("signed_http", 200, r#"{"ok":false,"retryable":false,"code":"gone"}"#, Never),
    ("signed_http", 200, "", Later),
    ("webhook", 204, "", Sent),
    ("webhook", 500, "", Later),
    ("webhook", 429, "", Later),
    ("webhook", 404, "", Never),
    ("pagerduty", 202, r#"{"status":"success"}"#, Sent),
    ("pagerduty", 429, "", Rest),
    ("pagerduty", 500, "", Later),
    ("pagerduty", 400, r#"{"status":"invalid event"}"#, Never),
    ("exec", 0, "", Sent),
    ("exec", 75, "", Later),
    ("exec", 2, "", Never),
];

#[test]
fn every_code_of_the_table_means_what_the_table_says() {
    let mut wrong = Vec::new();
    for (kind, status, body, means) in TABLE {
        let reply = Reply { status: *status, wait: None, body: body.as_bytes() };
        let answer = bot(kind).channel().read(&reply);
        if Means::of(&answer) != *means {
            wrong.push(format!("{kind} {status} {body}: {answer:?}, not {means:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_bot_that_was_too_fast_rests_as_long_as_its_platform_wants() {
    let minutes = |n: u64| Duration::from_secs(n * 60);
    for (kind, status, body, wait, rest) in [
        ("dingtalk_robot", 200, r#"{"errcode":130101}"#, None, minutes(10)),
        ("feishu_bot", 429, "{}", Some(minutes(2)), minutes(2)),
        ("slack", 429, "", Some(minutes(3)), minutes(3)),
        ("telegram", 429, r#"{"parameters":{"retry_after":240}}"#, None, minutes(4)),
        // Nobody may ask for endless patience.
        ("slack", 429, "", Some(minutes(100_000)), minutes(15)),
        ("feishu_bot", 429, "", Some(minutes(100_000)), minutes(15)),
        ("telegram", 429, r#"{"parameters":{"retry_after":99999999}}"#, None, minutes(15)),
        ("pagerduty", 429, "", Some(minutes(100_000)), minutes(15)),
    ] {
        let answer = bot(kind).channel().read(&Reply { status, wait, body: body.as_bytes() });
        assert!(
            matches!(answer, Answer::Limited { cool_down, .. } if cool_down == rest),
            "{kind} {body}: {answer:?}"
        );
    }
}
