//! What is asked of a store.

use crate::{Matcher, Timestamp};

/// Which series, over which time. Both ends are included; the reader of a query plan knows how much before the first
/// evaluation moment is needed (range, lookback, offset), so a store never guesses.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// All must match. At least one of them does not match the empty string.
    pub matchers: Vec<Matcher>,
    /// First moment, included.
    pub start: Timestamp,
    /// Last moment, included.
    pub end: Timestamp,
}
