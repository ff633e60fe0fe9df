//! What an object that comes by API may not say, and what is never shown of one. Pure.

use serde_json::{Map, Value};

/// Stands in place of a secret in all that is shown; put back, it keeps the secret that is stored.
pub(crate) const HIDDEN: &str = "<secret>";

/// Keys of receivers that hold a secret, or an address that is as good as one.
const SECRET_KEYS: [&str; 29] = [
    "access_key",
    "access_key_secret",
    "alert_source_token",
    "api_key",
    "api_secret",
    "api_url",
    "app_secret",
    "app_token",
    "auth_password",
    "auth_secret",
    "auth_token",
    "bearer_token",
    "bot_token",
    "client_secret",
    "corp_secret",
    "credentials",
    "key",
    "password",
    "proxy_url",
    "routing_key",
    "secret",
    "secret_key",
    "secrets",
    "service_key",
    "token",
    "token_id",
    "url",
    "user_key",
    "webhook_url",
];
/// Maps of bots whose values are secrets.
const SECRET_MAPS: [&str; 2] = ["fields", "headers"];
/// Maps whose keys the operator makes up.
const FREE_MAPS: [&str; 7] =
    ["attributes", "custom_fields", "details", "fields", "headers", "metadata", "props"];
/// What may be changed while a secret beside it is kept: words, which lead no secret elsewhere.
const WORDS: [&str; 16] = [
    "color",
    "description",
    "details",
    "headers",
    "html",
    "message",
    "message_type",
    "name",
    "parse_mode",
    "pretext",
    "send_resolved",
    "subject",
    "text",
    "timeout",
    "title",
    "username",
];
/// Places on the same platform; they too where it is sure which secret was meant.
const PLACES: [&str; 6] = ["agent_id", "channel", "chat", "chat_id", "to", "to_user"];

/// Hides the secrets of a receiver, or of the `global` of a file.
pub(crate) fn hide(value: &mut Value) {
    hide_in(value, false);
}

fn hide_in(value: &mut Value, is_secret: bool) {
    match value {
        // How the settings show that there is none.
        Value::String(text) if is_secret && text == "(none)" => text.clear(),
        Value::String(text) if is_secret && !text.is_empty() => HIDDEN.clone_into(text),
        Value::Array(items) => items.iter_mut().for_each(|item| hide_in(item, is_secret)),
        Value::Object(fields) => {
            let is_bot = fields.contains_key("kind");
            for (key, field) in fields {
                let key = key.as_str();
                // Keys of `global` begin with the kind, as `slack_api_url`.
                let own = |secret: &&str| key.strip_suffix(*secret).is_some_and(ends_a_word);
                let is_key = SECRET_KEYS.iter().any(own);
                hide_in(field, is_secret || is_key || (is_bot && SECRET_MAPS.contains(&key)));
            }
        }
        _ => {}
    }
}

fn ends_a_word(before: &str) -> bool {
    before.is_empty() || before.ends_with('_')
}

/// Refuses what would let a caller read files of this host or run programs on it: the settings may, an API
/// never.
pub(crate) fn check(receiver: &Map<String, Value>) -> Result<(), String> {
    check_in(receiver, false, "")
}

fn check_in(fields: &Map<String, Value>, is_free: bool, path: &str) -> Result<(), String> {
    for (key, value) in fields {
        let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        let names_a_file = key == "file" || key.ends_with("_file") || key == "files";
        if !is_free && names_a_file && value.as_str() != Some("") {
            return Err(format!(
                "{path}: files of alarm's host are for its settings and its own file; write the value \
                 itself"
            ));
        }
        if key == "kind" && value == "exec" {
            return Err(format!(
                "{path}: programs are for saker.toml alone, where nobody far away can name one; make the \
                 receiver there"
            ));
        }
        let is_free = FREE_MAPS.contains(&key.as_str());
        match value {
            Value::Object(inner) => check_in(inner, is_free, &path)?,
            Value::Array(items) => {
                for (n, item) in items.iter().enumerate() {
                    if let Value::Object(inner) = item {
                        check_in(inner, false, &format!("{path}[{n}]"))?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Puts the stored secrets in place of every [`HIDDEN`]. A secret is kept only for the place that it was
/// given for, so that nobody who may change a receiver can have its secret sent to a host of their own.
pub(crate) fn keep(
    receiver: &mut Map<String, Value>,
    old: Option<&Map<String, Value>>,
) -> Result<(), String> {
    for (key, value) in receiver {
        let old = old.and_then(|old| old.get(key));
        let Value::Array(items) = value else {
            restore(value, old, key)?;
            continue;
        };
        let old = old.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let (count, before) = (items.len(), old.len());
        for (n, item) in items.iter_mut().enumerate() {
            let path = format!("{key}[{n}]");
            let name = item.get("name").and_then(Value::as_str);
            let twin = match name {
                Some(name) => old.iter().find(|old| old["name"] == name),
                None => old.get(n).filter(|_| count == before),
            };
            let is_sure = name.is_some() || count == 1;
            if restore(item, twin, &path)? {
                same_place(item, twin.unwrap_or(&Value::Null), is_sure, &path)?;
            }
        }
    }
    Ok(())
}

/// Whether a secret was kept.
fn restore(value: &mut Value, old: Option<&Value>, path: &str) -> Result<bool, String> {
    let mut is_kept = false;
    match value {
        Value::String(text) if text == HIDDEN => match old {
            Some(Value::String(secret)) => {
                secret.clone_into(text);
                is_kept = true;
            }
            _ => {
                return Err(format!(
                    "{path}: {HIDDEN} keeps a secret that is stored, and it is not sure which; write it \
                     again"
                ));
            }
        },
        Value::Array(items) => {
            for (n, item) in items.iter_mut().enumerate() {
                let old = old.and_then(|old| old.get(n));
                is_kept |= restore(item, old, &format!("{path}[{n}]"))?;
            }
        }
        Value::Object(fields) => {
            for (key, field) in fields {
                let old = old.and_then(|old| old.get(key));
                is_kept |= restore(field, old, &format!("{path}.{key}"))?;
            }
        }
        _ => {}
    }
    Ok(is_kept)
}

fn same_place(new: &Value, old: &Value, is_sure: bool, path: &str) -> Result<(), String> {
    let keys = [new, old].into_iter().filter_map(Value::as_object).flat_map(Map::keys);
    let is_free = |key: &str| WORDS.contains(&key) || (is_sure && PLACES.contains(&key));
    for key in keys.filter(|key| !is_free(key)) {
        if new.get(key) != old.get(key) {
            return Err(format!(
                "{path}.{key} is another one now; a secret is kept only for where it was given, so write the \
                 secrets again"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().expect("an object").to_owned()
    }

    fn kept(new: Value, old: Value) -> Result<Value, String> {
        let mut new = map(new);
        keep(&mut new, Some(&map(old))).map(|()| Value::Object(new))
    }

    #[test]
    fn no_secret_of_any_kind_of_bot_is_shown() {
        let every_kind = include_str!("../../../crates/channels/tests/it/data/every_kind.toml");
        let mut bots: Value = toml::from_str(every_kind).unwrap();
        assert!(bots.to_string().contains("hunter2"));
        hide(&mut bots);
        assert!(!bots.to_string().contains("hunter2"), "{bots:#}");
        assert!(bots["bots"][0]["kind"].as_str().is_some_and(|kind| kind != HIDDEN));
    }

    #[test]
    fn no_secret_of_a_file_of_alertmanager_is_shown() {
        let mut file = json!({
            "global": { "slack_api_url": "s3cret", "smtp_auth_password": "s3cret", "smtp_from": "a@b",
                "http_config": { "authorization": { "credentials": "s3cret" }, "proxy_url": "s3cret" } },
            "receivers": [{ "name": "x", "webhook_configs": [{ "url": "s3cret" }],
                "pagerduty_configs": [{ "routing_key": "s3cret", "details": { "key": "free" } }],
                "email_configs": [{ "auth_password": "s3cret", "to": "ops@x", "headers": { "Subject": "S" } }] }],
        });
        hide(&mut file);
        assert!(!file.to_string().contains("s3cret"), "{file:#}");
        assert_eq!(file["global"]["smtp_from"], "a@b");
        let mail = &file["receivers"][0]["email_configs"][0];
        assert_eq!((&mail["to"], &mail["headers"]["Subject"]), (&json!("ops@x"), &json!("S")));
    }

    #[test]
    fn files_and_programs_are_refused_wherever_they_stand() {
        for receiver in [
            json!({ "webhook_configs": [{ "url_file": "/etc/shadow" }] }),
            json!({ "email_configs": [{ "tls_config": { "ca_file": "/etc/shadow" } }] }),
            json!({ "slack_configs": [{ "http_config": { "basic_auth": { "password_file": "/x" } } }] }),
            json!({ "bots": [{ "kind": "slack", "url": { "file": "/etc/shadow" } }] }),
            json!({ "bots": [{ "kind": "legacy_form", "fields": { "sign": { "file": "/x" } } }] }),
            json!({ "bots": [{ "kind": "mail", "authority_file": "/x" }] }),
            json!({ "bots": [{ "kind": "exec", "program": "/bin/sh" }] }),
        ] {
            assert!(check(&map(receiver.clone())).is_err(), "{receiver}");
        }
        let free = json!({ "pagerduty_configs": [{ "routing_key": "k", "details": { "log_file": "x" } }] });
        assert_eq!(check(&map(free)), Ok(()));
    }

    #[test]
    fn a_hidden_secret_keeps_what_is_stored() {
        let old =
            json!({ "bots": [{ "name": "a", "token": "t", "api": "http://x", "chat": "1" }] });
        let new = json!({ "bots": [{ "name": "a", "token": HIDDEN, "api": "http://x", "chat": "2" }],
            "language": "en" });
        assert_eq!(kept(new, old.clone()).unwrap()["bots"][0]["token"], "t");
        let unknown = json!({ "bots": [{ "name": "b", "token": HIDDEN }] });
        assert!(kept(unknown, old).unwrap_err().contains("write it again"));
    }

    #[test]
    fn a_secret_is_not_led_to_another_place() {
        let old =
            json!({ "email_configs": [{ "smarthost": "m:25", "auth_password": "p", "to": "a" }] });
        let new = |host: &str, to: &str| json!({ "email_configs": [{ "smarthost": host, "auth_password": HIDDEN, "to": to }] });
        assert!(kept(new("evil:25", "a"), old.clone()).unwrap_err().contains("smarthost"));
        assert!(kept(new("m:25", "b"), old).is_ok());
        let two = json!({ "slack_configs": [{ "api_url": "u1", "channel": "#a" }, { "api_url": "u2", "channel": "#b" }] });
        let swapped = json!({ "slack_configs": [{ "api_url": HIDDEN, "channel": "#b" }, { "api_url": "u3" }] });
        assert!(kept(swapped, two.clone()).is_err(), "whose secret was meant?");
        let fewer = json!({ "slack_configs": [{ "api_url": HIDDEN, "channel": "#a" }] });
        assert!(kept(fewer, two).is_err());
    }

    proptest! {
        #[test]
        fn what_was_hidden_comes_back(secret in "[a-z0-9]{4,12}", text in "[a-z ]{0,12}", count in 1..4_usize) {
            let one = |n: usize| json!({ "url": format!("http://{secret}/{n}"), "title": "old" });
            let old = json!({ "webhook_configs": (0..count).map(one).collect::<Vec<_>>() });
            let mut new = old.clone();
            hide(&mut new);
            prop_assert!(!new.to_string().contains(&secret));
            new["webhook_configs"][0]["title"] = text.clone().into();
            let mut expected = old.clone();
            expected["webhook_configs"][0]["title"] = text.into();
            prop_assert_eq!(kept(new, old).unwrap(), expected);
        }
    }
}
