//! What a platform's answer means for the message. An HTTP 200 is not "sent": most platforms report failure
//! inside the body.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::secret::repeats;

/// How much of an error text is kept, in characters.
const TEXT_CHARS_MAX: usize = 160;
/// A platform that asks for more patience than this is asked again sooner.
const WAIT_MAX: Duration = Duration::from_secs(15 * 60);

/// What came back, ready to be read by [`crate::Channel::read`].
#[derive(Debug, Clone, Copy)]
pub struct Reply<'a> {
    /// The HTTP status; that of the protocol for mail; the exit code of a program.
    pub status: u16,
    /// `Retry-After` or the platform's header of that meaning.
    pub wait: Option<Duration>,
    /// The body, cut to a limit.
    pub body: &'a [u8],
}

impl Reply<'_> {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(self.body).unwrap_or(Value::Null)
    }
}

/// What a platform said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fault {
    /// The platform's own code, else the HTTP status; `timeout` or `unreachable` without an answer.
    pub code: String,
    /// Its text, cut to a limit.
    pub text: String,
}

impl Fault {
    /// A fault with a text that is cut to a limit.
    pub fn new(code: impl Into<String>, text: &str) -> Self {
        let text = text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect();
        Self { code: code.into(), text }
    }
}

/// Who is at fault when a platform refuses for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The bot: its key, its address, its rights. Another bot may do.
    Bot,
    /// The person or chat. Another bot would be refused as well.
    Recipient,
    /// The message. Another bot would be refused as well.
    Message,
}

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The platform has it. Holds the platform's id of the message, if it gave one.
    Sent {
        /// The id.
        id: Option<String>,
    },
    /// May work later with the same bot.
    Later {
        /// Why.
        fault: Fault,
        /// How long the platform asks to wait.
        wait: Option<Duration>,
    },
    /// The bot has sent too much: use another one while it cools down.
    Limited {
        /// Why.
        fault: Fault,
        /// How long the bot must rest.
        cool_down: Duration,
    },
    /// The access token is over: get another, then try again once.
    Login {
        /// Why.
        fault: Fault,
    },
    /// Refused in this form: try once more as plain text.
    Plainer {
        /// Why.
        fault: Fault,
    },
    /// The chat has another address now.
    Moved {
        /// The new address.
        to: String,
    },
    /// It would be refused again.
    Refused {
        /// Why.
        fault: Fault,
        /// Who is at fault.
        whose: Whose,
    },
}

impl Answer {
    /// The fault, unless it was sent.
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Sent { .. } | Self::Moved { .. } => None,
            Self::Later { fault, .. }
            | Self::Limited { fault, .. }
            | Self::Login { fault }
            | Self::Plainer { fault }
            | Self::Refused { fault, .. } => Some(fault),
        }
    }

    /// The answer without a text that repeats one of these secrets: it would be stored, logged and shown.
    #[must_use]
    pub fn without(mut self, secrets: &[&str]) -> Self {
        let (Self::Later { fault, .. }
        | Self::Limited { fault, .. }
        | Self::Login { fault }
        | Self::Plainer { fault }
        | Self::Refused { fault, .. }) = &mut self
        else {
            return self;
        };
        // The code comes from the platform too.
        for text in [&mut fault.code, &mut fault.text] {
            if secrets.iter().any(|secret| repeats(text, secret)) {
                "(repeats a secret)".clone_into(text);
            }
        }
        self
    }

    /// A short word for metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Sent { .. } => "sent",
            Self::Later { .. } => "later",
            Self::Limited { .. } => "limited",
            Self::Login { .. } => "login",
            Self::Plainer { .. } => "plainer",
            Self::Moved { .. } => "moved",
            Self::Refused { .. } => "refused",
        }
    }
}

/// What a code of a platform means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It was taken.
    Ok,
    /// Try the same bot later.
    Later,
    /// Switch the bot now.
    Limited,
    /// Get another access token.
    Login,
    /// Try again as plain text.
    Plainer,
    /// Refused for good.
    Refused(Whose),
}

/// The codes of a platform and what they mean. A code that ends with `*` stands for all that begin so.
#[derive(Debug)]
pub struct Classes {
    /// How long a bot rests that sent too much, unless the platform says.
    pub cool_down: Duration,
    /// The codes.
    pub codes: &'static [(&'static str, Class)],
}

impl Classes {
    /// The meaning of a code; one that nobody knows may pass, so it is tried again.
    pub fn class(&self, code: &str) -> Class {
        let exact = self.codes.iter().find(|(known, _)| *known == code);
        let by_beginning = || {
            let begins = |known: &str| known.strip_suffix('*').is_some_and(|b| code.starts_with(b));
            self.codes.iter().find(|(known, _)| begins(known))
        };
        exact.or_else(by_beginning).map_or(Class::Later, |(_, class)| *class)
    }

    /// The answer behind a code.
    pub fn answer(&self, code: impl Into<String>, text: &str, wait: Option<Duration>) -> Answer {
        let fault = Fault::new(code, text);
        let wait = wait.map(|wait| wait.min(WAIT_MAX));
        match self.class(&fault.code) {
            Class::Ok => Answer::Sent { id: None },
            Class::Later => Answer::Later { fault, wait },
            Class::Limited => Answer::Limited { fault, cool_down: wait.unwrap_or(self.cool_down) },
            Class::Login => Answer::Login { fault },
            Class::Plainer => Answer::Plainer { fault },
            Class::Refused(whose) => Answer::Refused { fault, whose },
        }
    }

    /// The answer of a platform that says `{"<code>": number, "<text>": "..."}`, whatever the HTTP status, with
    /// 0 for "sent". Without a code the HTTP status decides.
    pub fn numbered(&self, reply: &Reply<'_>, code: &str, text: &str) -> Answer {
        let body = reply.json();
        match body[code].as_i64() {
            Some(0) if (200..300).contains(&reply.status) => Answer::Sent { id: None },
            Some(0) | None => self.by_status(reply),
            Some(number) => {
                self.answer(number.to_string(), body[text].as_str().unwrap_or_default(), reply.wait)
            }
        }
    }

    /// The answer behind an HTTP status alone; 2xx without the code that was expected is not "sent".
    pub fn by_status(&self, reply: &Reply<'_>) -> Answer {
        let (code, wait) = (reply.status.to_string(), reply.wait.map(|wait| wait.min(WAIT_MAX)));
        let fault = Fault::new(code, &String::from_utf8_lossy(reply.body));
        match reply.status {
            429 => Answer::Limited { fault, cool_down: wait.unwrap_or(self.cool_down) },
            200..=299 | 408 | 500.. => Answer::Later { fault, wait },
            400 | 413 | 422 => Answer::Refused { fault, whose: Whose::Message },
            _ => Answer::Refused { fault, whose: Whose::Bot },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLASSES: Classes = Classes {
        cool_down: Duration::from_secs(600),
        codes: &[
            ("130101", Class::Limited),
            ("310000", Class::Refused(Whose::Bot)),
            ("400*", Class::Refused(Whose::Message)),
        ],
    };

    fn read(status: u16, body: &str) -> Answer {
        let reply = Reply { status, wait: None, body: body.as_bytes() };
        CLASSES.numbered(&reply, "errcode", "errmsg")
    }

    #[test]
    fn a_200_with_an_error_inside_is_not_sent() {
        assert_eq!(read(200, r#"{"errcode":0}"#), Answer::Sent { id: None });
        let limited = read(200, r#"{"errcode":130101,"errmsg":"send too fast"}"#);
        let fault = Fault::new("130101", "send too fast");
        assert_eq!(limited, Answer::Limited { fault, cool_down: Duration::from_secs(600) });
        for body in ["", "ok", "{}", "<html>", r#"{"errcode":"0"}"#] {
            assert!(matches!(read(200, body), Answer::Later { .. }), "{body}");
        }
    }

    #[test]
    fn a_success_inside_an_error_status_is_not_sent() {
        assert!(matches!(read(500, r#"{"errcode":0}"#), Answer::Later { .. }));
    }

    #[test]
    fn codes_are_found_exactly_first_then_by_their_beginning() {
        assert_eq!(CLASSES.class("400102"), Class::Refused(Whose::Message));
        assert_eq!(CLASSES.class("310000"), Class::Refused(Whose::Bot));
        assert_eq!(CLASSES.class("77"), Class::Later, "nobody knows it, so it may pass");
    }

    #[test]
    fn without_a_code_the_status_decides() {
        assert!(matches!(read(429, ""), Answer::Limited { .. }));
        for status in [408, 500, 502, 503, 504] {
            assert!(matches!(read(status, ""), Answer::Later { .. }), "{status}");
        }
        for status in [301, 401, 403, 404, 410] {
            assert!(
                matches!(read(status, ""), Answer::Refused { whose: Whose::Bot, .. }),
                "{status}"
            );
        }
    }

    #[test]
    fn nobody_may_ask_for_endless_patience() {
        let reply = Reply { status: 503, wait: Some(Duration::from_secs(1 << 40)), body: b"" };
        let Answer::Later { wait, .. } = CLASSES.by_status(&reply) else { panic!("may pass") };
        assert_eq!(wait, Some(WAIT_MAX));
    }

    proptest! {
        #[test]
        fn whatever_comes_back_is_read(status: u16, body: Vec<u8>) {
            let reply = Reply { status, wait: None, body: &body };
            let answer = CLASSES.numbered(&reply, "errcode", "errmsg");
            prop_assert!(answer.fault().is_none_or(|fault| fault.text.chars().count() <= 160));
        }
    }
}
