//! What a button carries where the platform calls back: an opaque handle and one letter. It fits the 64 bytes of
//! the smallest platform, tells nothing on a screenshot, and cannot be edited into another.

use crate::sign::{base64_url, from_base64_url};

/// Characters of a handle: nine random bytes.
pub const HANDLE_CHARS: usize = 12;

/// What a button does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    /// Mute for an hour.
    MuteHour,
    /// Mute for six hours.
    MuteSixHours,
    /// Mute for a day.
    MuteDay,
    /// End the mute.
    Unmute,
    /// Somebody works on it.
    Ack,
    /// Put off for an hour, for everybody.
    Snooze,
}

impl Act {
    /// Those that mute or unmute, in the order of the buttons.
    pub const MUTES: [Self; 4] = [Self::MuteHour, Self::MuteSixHours, Self::MuteDay, Self::Unmute];

    /// All of them.
    const ALL: [Self; 6] =
        [Self::MuteHour, Self::MuteSixHours, Self::MuteDay, Self::Unmute, Self::Ack, Self::Snooze];

    /// The letter on the button.
    pub const fn letter(self) -> char {
        match self {
            Self::MuteHour => 'h',
            Self::MuteSixHours => 's',
            Self::MuteDay => 'd',
            Self::Unmute => 'u',
            Self::Ack => 'a',
            Self::Snooze => 'z',
        }
    }

    /// For how long it mutes, in seconds; `None` when it does not mute.
    pub const fn seconds(self) -> Option<u64> {
        match self {
            Self::MuteHour => Some(3_600),
            Self::MuteSixHours => Some(6 * 3_600),
            Self::MuteDay => Some(24 * 3_600),
            Self::Unmute | Self::Ack | Self::Snooze => None,
        }
    }

    fn parse(letter: char) -> Option<Self> {
        Self::ALL.into_iter().find(|act| act.letter() == letter)
    }
}

/// The handle of these random bytes.
pub fn handle(random: [u8; 9]) -> String {
    base64_url(random)
}

/// What is written behind a button.
pub fn value(handle: &str, act: Act) -> String {
    format!("{handle}{}", act.letter())
}

/// Reads [`value`]; `None` for anything else.
pub fn parse(value: &str) -> Option<(&str, Act)> {
    let (handle, letter) = value.split_at_checked(HANDLE_CHARS)?;
    let mut letters = letter.chars();
    let act = Act::parse(letters.next()?)?;
    let is_whole = letters.next().is_none() && from_base64_url(handle)?.len() == 9;
    is_whole.then_some((handle, act))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_value_is_read_back_and_nothing_else_is(random: [u8; 9], text: String) {
            let handle = handle(random);
            for act in Act::ALL {
                let value = value(&handle, act);
                prop_assert!(value.len() <= crate::telegram::ACTION_BYTES_MAX);
                prop_assert_eq!(parse(&value), Some((handle.as_str(), act)));
            }
            if let Some((handle, act)) = parse(&text) {
                prop_assert_eq!(value(handle, act), text);
            }
        }
    }

    #[test]
    fn a_letter_that_means_nothing_is_refused() {
        for value in ["", "AbCdEfGhIjKl", "AbCdEfGhIjKlx", "AbCdEfGhIjKlhh", "AbCdEfGhIj+lh"] {
            assert_eq!(parse(value), None, "{value}");
        }
    }
}
