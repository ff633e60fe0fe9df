//! The dialects of markup. What comes from hosts is escaped, so it can neither format nor link.

use crate::message::Message;

/// DingTalk's Markdown: two spaces and a line feed, or an empty line, end a line.
pub(crate) fn dingtalk(message: &Message) -> String {
    let headline = message.headline();
    let mut text = match headline.as_str() {
        "" => String::new(),
        headline => format!("### {}\n", marked(headline)),
    };
    for (name, value) in &message.facts {
        text.push_str(&format!("\n- **{}**: {}", marked(name), marked(value)));
    }
    if !message.text.is_empty() {
        text.push_str(&format!("\n\n{}", message.text_in(marked)));
    }
    text
}

/// Lark's Markdown of cards.
pub(crate) fn lark(message: &Message) -> String {
    let mut lines: Vec<String> = message
        .facts
        .iter()
        .map(|(name, value)| format!("**{}**: {}", marked(name), marked(value)))
        .collect();
    lines.extend((!message.text.is_empty()).then(|| message.text_in(marked)));
    lines.join("\n")
}

/// Texts of Lark, which call people by `<at …>` even where they are plain.
pub(crate) fn lark_plain(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars().filter(|c| !c.is_control() || *c == '\n') {
        escaped.push(character);
        if character == '<' {
            escaped.push('\u{200b}');
        }
    }
    escaped
}

/// WeCom's Markdown, which has no lists. Buttons are links in the text.
pub(crate) fn wecom(message: &Message) -> String {
    let headline = message.headline();
    let mut lines: Vec<String> = Vec::new();
    lines.extend((!headline.is_empty()).then(|| format!("**{}**", marked(&headline))));
    for (name, value) in &message.facts {
        lines.push(format!("> {}: {}", marked(name), marked(value)));
    }
    lines.extend((!message.text.is_empty()).then(|| message.text_in(marked)));
    lines.join("\n")
}

/// What makes a value harmless in the markup that an operator writes for a kind of channel; `None` where texts have
/// none.
pub fn escape_for(kind: &str) -> Option<fn(&str) -> String> {
    match kind {
        "telegram" => Some(html),
        "slack" => Some(slack_value),
        "dingtalk_robot" | "dingtalk_app" | "feishu_bot" | "feishu_app" | "wecom_webhook"
        | "wecom_app" => Some(marked),
        _ => None,
    }
}

/// Only what begins links and calls: a value may stand in an address.
fn slack_value(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Slack's mrkdwn, where three characters are special and the others cannot be escaped.
pub(crate) fn slack(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            // A zero-width space behind it keeps it from beginning a format.
            '*' | '_' | '~' | '`' => escaped.extend([character, '\u{200b}']),
            other => escaped.push(other),
        }
    }
    escaped
}

/// HTML as Telegram and mails read it.
pub fn html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// The facts of a message as HTML, each a line that ends with `line_end`.
pub(crate) fn html_facts(message: &Message, line_end: &str) -> String {
    let facts = message.facts.iter();
    facts.map(|(name, value)| format!("<b>{}</b>: {}{line_end}", html(name), html(value))).collect()
}

/// Markdown in which nothing formats. Angle brackets are HTML to some readers, so they are written as such.
fn marked(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '*' | '_' | '`' | '[' | ']' | '#' | '~' | '|' | '!' | '\\' => {
                escaped.extend(['\\', character]);
            }
            // An at sign could call everybody in the group.
            '@' => escaped.extend(['@', '\u{200b}']),
            // JSON writes each of them in six bytes, and nobody sees them.
            other if other.is_control() && other != '\n' => {}
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nobody_can_be_called_by_the_text_of_a_host() {
        assert_eq!(marked("@all"), "@\u{200b}all");
        assert_eq!(slack("<!channel>"), "&lt;!channel&gt;");
        for kind in ["slack", "telegram", "wecom_app", "feishu_bot", "dingtalk_robot"] {
            let escape = escape_for(kind).expect("it has markup");
            assert!(!escape("<!channel> <at id=all>").contains('<'), "{kind}");
        }
        assert!(escape_for("twilio").is_none());
    }

    proptest! {
        #[test]
        fn no_text_opens_a_tag(text: String) {
            for escaped in [html(&text), slack(&text), marked(&text)] {
                prop_assert!(!escaped.contains('<'));
            }
        }

        #[test]
        fn no_text_of_a_host_formats(text: String) {
            let escaped = marked(&text);
            let mut before = ' ';
            for character in escaped.chars() {
                let is_mark = "*_`[]#~|!".contains(character);
                prop_assert!(!is_mark || before == '\\');
                before = if before == '\\' { ' ' } else { character };
            }
        }
    }
}
