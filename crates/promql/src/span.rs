//! Where in the text a piece of an expression stands.

use std::fmt;

/// A piece of the query text: byte offsets, and the line and column a person would look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
    /// Line of the first byte, from 1.
    pub line: usize,
    /// Column of the first byte in characters, from 1.
    pub column: usize,
}

impl Span {
    /// The place before anything.
    pub(crate) const fn start_of_text() -> Self {
        Self { start: 0, end: 0, line: 1, column: 1 }
    }

    /// From the start of this piece to the end of another one.
    pub(crate) fn to(self, last: Self) -> Self {
        Self { end: last.end.max(self.start), ..self }
    }

    /// The piece of `text` it stands for; empty when the text is another one.
    pub fn slice(self, text: &str) -> &str {
        text.get(self.start..self.end).unwrap_or("")
    }
}

/// `line:column`, as annotations carry it.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}
