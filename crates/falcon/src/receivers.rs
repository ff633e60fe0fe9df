//! Callbacks as receivers of alarm.

use crate::portal::Portal;
use crate::report::{Entry, Note, Origin, Outcome};
use crate::rule::ACTION_LABEL;
use crate::series::quoted;

/// Sections for the configuration of alarm, and what is worth telling of each.
pub(crate) fn receivers(portal: &Portal) -> (String, Vec<Entry>) {
    let mut text = String::new();
    let mut entries = Vec::new();
    for (id, action) in &portal.actions {
        let url = &action.callback;
        if url.is_empty() {
            continue;
        }
        let is_web = url.starts_with("http://") || url.starts_with("https://");
        let note = if is_web {
            let matcher = format!("{ACTION_LABEL}=\"{id}\"");
            let (url, matcher) = (quoted(url), quoted(&matcher));
            text.push_str(&format!(
                "[[alarm.receivers]]\nname = \"falcon-action-{id}\"\nwebhook_url = {url}\n\
                 matchers = [{matcher}]\n\n"
            ));
            "its callback gets Alertmanager's JSON by POST, where it was a GET with endpoint, metric, \
             status and so on"
        } else {
            "its callback is no web address and is left out"
        };
        entries.push(Entry {
            origin: Origin::Action(*id),
            name: action.teams.clone(),
            outcome: if is_web { Outcome::Differs } else { Outcome::Refused },
            rule_groups: Vec::new(),
            notes: vec![Note::new("callback", note)],
        });
    }
    (text, entries)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn callbacks_become_receivers() {
        let rows = json!([
            { "id": 1, "uic": "ops", "url": "http://hook/x?a=\"b\"", "callback": 1 },
            { "id": 2, "uic": "ops", "url": "http://hook/y", "callback": 0 },
            { "id": 3, "uic": "ops", "url": "mail", "callback": 1 },
        ]);
        let (portal, _) = Portal::read(&json!({ "action": rows })).unwrap();
        let (text, entries) = receivers(&portal);
        assert_eq!(
            text,
            "[[alarm.receivers]]\nname = \"falcon-action-1\"\nwebhook_url = \"http://hook/x?a=\\\"b\\\"\"\n\
             matchers = [\"falcon_action=\\\"1\\\"\"]\n\n"
        );
        let outcomes: Vec<Outcome> = entries.iter().map(|entry| entry.outcome).collect();
        assert_eq!(outcomes, [Outcome::Differs, Outcome::Refused]);
    }
}
