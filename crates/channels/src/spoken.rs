//! Messages for phones: what is read out, and what fits into a text message.

use crate::message::{Kind, Message, cut};

// Twenty seconds of speech.
const SPOKEN_BYTES_MAX: usize = 300;

/// What is read out. Names of hosts are spelt with pauses; of many messages in one the first is read.
pub(crate) fn spoken(message: &Message) -> String {
    let title = match (message.kind, message.text.lines().next()) {
        (Kind::Digest, Some(first)) => {
            let others = message.group.alerts.len().saturating_sub(1);
            let others = u64::try_from(others).unwrap_or(u64::MAX);
            format!("{first}, {}", message.language.and_more(others))
        }
        _ => message.title.to_owned(),
    };
    let text: String = title
        .chars()
        .map(|c| if "·-_/.".contains(c) { ' ' } else { c })
        .filter(|c| !c.is_control())
        .collect();
    cut(text.split_whitespace().collect::<Vec<_>>().join(" ").as_str(), SPOKEN_BYTES_MAX)
}

/// A text message: headline first, the link to the alerts last.
pub(crate) fn short(message: &Message, bytes_max: usize) -> String {
    let open = message.buttons.iter().rev().find(|button| button.action.is_none());
    let link = open.map(|button| format!(" {}", button.url)).unwrap_or_default();
    let link = if link.len() < bytes_max / 2 { link } else { String::new() };
    cut(&message.headline(), bytes_max - link.len()) + &link
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::message;

    #[test]
    fn what_is_spoken_has_no_signs_to_spell() {
        assert_eq!(spoken(&message()), "P0 disk full web 03");
        let long = Message { title: "x".repeat(2_000), ..message() };
        assert!(spoken(&long).len() <= 300);
    }

    #[test]
    fn of_many_the_first_is_read_and_the_others_are_counted() {
        let many = [message(), message(), message()];
        let now = crate::message::tests::NOW;
        let digest = crate::compose::digest(&many.iter().collect::<Vec<_>>(), now).unwrap();
        assert_eq!(spoken(&digest), "P0 disk full web 03, and 2 more");
    }

    #[test]
    fn a_text_message_ends_with_its_link() {
        let long = Message { title: "长".repeat(300), ..message() };
        let text = short(&long, 140);
        assert!(text.len() <= 140 && text.ends_with(" http://alarm.example/alerts"), "{text}");
    }
}
