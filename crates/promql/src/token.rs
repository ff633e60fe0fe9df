//! The words of the language.

use crate::span::Span;

/// A word and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) span: Span,
}

/// What kind of word. Names keep their text in the source: keywords are told apart by the parser,
/// since nearly all of them are also legal metric and label names.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TokenKind {
    Name,
    Number(f64),
    /// Seconds.
    Duration(f64),
    Text(String),
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    At,
    Plus,
    Minus,
    Star,
    Slash,
    Percent,
    Caret,
    /// `=`
    Assign,
    /// `==`
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Matches,
    MatchesNot,
    /// `</`
    TrimUpper,
    /// `>/`
    TrimLower,
    End,
    /// What the lexer could not read, with the reason.
    Fault(String),
}

/// Words that Prometheus reserves but accepts as names where nothing else can stand.
const KEYWORDS: [&str; 19] = [
    "and",
    "or",
    "unless",
    "atan2",
    "offset",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "start",
    "end",
    "step",
    "range",
    "fill",
    "fill_left",
    "fill_right",
];

impl TokenKind {
    /// The word as Prometheus names it in its messages: `identifier "x"`, `<aggr:sum>`, `<op:+>`,
    /// `")"`.
    pub(crate) fn describe(&self, text: &str) -> String {
        match self {
            Self::End => "end of input".to_owned(),
            Self::Fault(reason) => reason.clone(),
            Self::Number(_) => format!("number {}", clipped(text)),
            Self::Duration(_) => format!("duration {}", clipped(text)),
            Self::Text(_) => format!("string {}", clipped(text)),
            Self::Name => describe_name(text),
            Self::LeftParen
            | Self::RightParen
            | Self::LeftBrace
            | Self::RightBrace
            | Self::LeftBracket
            | Self::RightBracket
            | Self::Comma
            | Self::Colon
            | Self::Assign => format!("{text:?}"),
            Self::At => "<op:@>".to_owned(),
            _ => format!("<op:{text}>"),
        }
    }
}

fn describe_name(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    if crate::ast::AggregateOp::from_name(&lower).is_some() {
        return format!("<aggr:{text}>");
    }
    if ["and", "or", "unless", "atan2"].contains(&lower.as_str()) {
        return format!("<op:{text}>");
    }
    if KEYWORDS.contains(&lower.as_str()) {
        return format!("<{text}>");
    }
    if text.contains(':') {
        format!("metric identifier {text:?}")
    } else {
        format!("identifier {text:?}")
    }
}

// Prometheus shortens what it quotes to ten characters.
fn clipped(text: &str) -> String {
    if text.len() <= 10 {
        return format!("{text:?}");
    }
    format!("{:?}...", text.chars().take(10).collect::<String>())
}
