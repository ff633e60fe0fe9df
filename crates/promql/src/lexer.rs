//! Text to words.

mod quoted;

use crate::number;
use crate::span::Span;
use crate::token::{Token, TokenKind};

/// A parenthesis that closes nothing. As in Prometheus, the fault stands behind it.
const NOTHING_TO_CLOSE: &str = "unexpected right parenthesis ')'";

/// How a fault ends that is about bytes which are no text.
pub(crate) const NOT_UTF8: &str = " is not valid UTF-8";

/// Cuts a text into words. Never fails: what cannot be read becomes a [`TokenKind::Fault`] in its
/// place, so that the parser reports whichever fault comes first. The last token is always the end
/// or a fault.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut lexer =
        Lexer { text, at: 0, line: 1, mark: (0, 1), braces: 0, brackets: 0, parens: Vec::new() };
    let mut found = Vec::new();
    loop {
        let token = lexer.next();
        let last = matches!(token.kind, TokenKind::End | TokenKind::Fault(_));
        found.push(token);
        if last {
            return found;
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    /// A place on this line, in bytes from the start of the text, and its column.
    mark: (usize, usize),
    braces: usize,
    brackets: usize,
    /// Where every parenthesis that is still open stands.
    parens: Vec<Span>,
}

impl Lexer<'_> {
    fn next(&mut self) -> Token {
        self.skip_blank();
        let start = self.at;
        let span = self.span_from(start);
        let kind = self.read();
        if matches!(&kind, TokenKind::Fault(reason) if reason == NOTHING_TO_CLOSE) {
            return Token { kind, span: self.span_from(self.at) };
        }
        // A quoted text may run over lines: they are counted once it has been read.
        let inner = &self.text[start..self.at];
        if let Some(last_break) = inner.rfind('\n') {
            self.line += inner.matches('\n').count();
            self.mark = (start + last_break + 1, 1);
        }
        Token { kind, span: Span { end: self.at, ..span } }
    }

    fn span_from(&mut self, start: usize) -> Span {
        let (place, column) = self.mark;
        let column = column + self.text[place..start].chars().count();
        self.mark = (start, column);
        Span { start, end: start, line: self.line, column }
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip_blank(&mut self) {
        while let Some(c) = self.peek() {
            match c {
                '\n' => {
                    self.at += 1;
                    self.line += 1;
                    self.mark = (self.at, 1);
                }
                ' ' | '\t' | '\r' => self.at += 1,
                '#' => self.at += self.rest().find('\n').unwrap_or(self.rest().len()),
                _ => return,
            }
        }
    }

    fn read(&mut self) -> TokenKind {
        let Some(first) = self.peek() else { return self.finish() };
        if self.braces > 0 {
            return self.read_in_braces(first);
        }
        match first {
            '"' | '\'' | '`' => self.read_quoted(),
            '0'..='9' => self.read_number(),
            '.' if self.rest()[1..].starts_with(|c: char| c.is_ascii_digit()) => self.read_number(),
            ':' if self.brackets > 0 => self.take(1, TokenKind::Colon),
            'a'..='z' | 'A'..='Z' | '_' | ':' => self.read_name(),
            _ => self.read_sign(first),
        }
    }

    /// In braces there is less to tell apart, and what else stands there is a fault.
    fn read_in_braces(&mut self, first: char) -> TokenKind {
        let second = self.rest()[first.len_utf8()..].chars().next();
        match (first, second) {
            ('"' | '\'' | '`', _) => self.read_quoted(),
            ('a'..='z' | 'A'..='Z' | '_', _) => self.read_name(),
            (',', _) => self.take(1, TokenKind::Comma),
            ('=', Some('~')) => self.take(2, TokenKind::Matches),
            ('=', _) => self.take(1, TokenKind::Assign),
            ('!', Some('~')) => self.take(2, TokenKind::MatchesNot),
            ('!', Some('=')) => self.take(2, TokenKind::NotEqual),
            ('!', other) => {
                let reason =
                    format!("unexpected character after '!' inside braces: {}", quoted_char(other));
                self.take(1, TokenKind::Fault(reason))
            }
            ('{', _) => self.take(1, TokenKind::Fault("unexpected left brace '{'".to_owned())),
            ('}', _) => {
                self.braces -= 1;
                self.take(1, TokenKind::RightBrace)
            }
            (other, _) => {
                let reason = format!("unexpected character inside braces: {other:?}");
                self.take(other.len_utf8(), TokenKind::Fault(reason))
            }
        }
    }

    fn finish(&mut self) -> TokenKind {
        if self.braces > 0 {
            TokenKind::Fault("unexpected end of input inside braces".to_owned())
        } else if self.brackets == 0 && !self.parens.is_empty() {
            TokenKind::Fault("unclosed left parenthesis".to_owned())
        } else {
            TokenKind::End
        }
    }

    fn take(&mut self, bytes: usize, kind: TokenKind) -> TokenKind {
        self.at += bytes;
        kind
    }

    fn read_name(&mut self) -> TokenKind {
        let colons = self.brackets == 0 && self.braces == 0;
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':');
        let length = self.rest().find(|c| !is_part(c)).unwrap_or(self.rest().len());
        let word = &self.rest()[..length];
        // In braces every word is a label name.
        let special = if self.braces > 0 { None } else { number::special(word) };
        self.take(length, special.map_or(TokenKind::Name, TokenKind::Number))
    }

    fn read_number(&mut self) -> TokenKind {
        let length = number::extent(self.rest());
        let word = &self.rest()[..length];
        let kind = match number::parse(word) {
            Some(value) => TokenKind::Number(value),
            None if word.starts_with(|c: char| c.is_ascii_digit())
                && word.ends_with(|c: char| c.is_ascii_lowercase()) =>
            {
                match model::parse_duration(word) {
                    Ok(span) => TokenKind::Duration(span.as_secs_f64()),
                    Err(_) => TokenKind::Fault(number::duration_fault(word)),
                }
            }
            None => TokenKind::Fault(number::duration_fault(word)),
        };
        self.take(length, kind)
    }

    fn read_quoted(&mut self) -> TokenKind {
        match quoted::read(self.rest()) {
            Ok((text, length)) => self.take(length, TokenKind::Text(text)),
            Err(reason) => {
                // The rest is taken whole, so that the fault is the last token.
                self.take(self.rest().len(), TokenKind::Fault(reason))
            }
        }
    }

    fn read_sign(&mut self, first: char) -> TokenKind {
        let second = self.rest()[first.len_utf8()..].chars().next();
        let pair = match (first, second) {
            ('=', Some('=')) => Some(TokenKind::Equal),
            ('!', Some('=')) => Some(TokenKind::NotEqual),
            ('<', Some('=')) => Some(TokenKind::LessEqual),
            ('<', Some('/')) => Some(TokenKind::TrimUpper),
            ('>', Some('=')) => Some(TokenKind::GreaterEqual),
            ('>', Some('/')) => Some(TokenKind::TrimLower),
            _ => None,
        };
        if let Some(kind) = pair {
            return self.take(2, kind);
        }
        let kind = match first {
            '=' if second == Some('~') => {
                TokenKind::Fault("unexpected character after '=': '~'".to_owned())
            }
            '!' => {
                TokenKind::Fault(format!("unexpected character after '!': {}", quoted_char(second)))
            }
            '+' => TokenKind::Plus,
            '-' => TokenKind::Minus,
            '*' => TokenKind::Star,
            '/' => TokenKind::Slash,
            '%' => TokenKind::Percent,
            '^' => TokenKind::Caret,
            '=' => TokenKind::Assign,
            '<' => TokenKind::Less,
            '>' => TokenKind::Greater,
            ',' => TokenKind::Comma,
            '@' => TokenKind::At,
            _ => return self.read_bracket(first),
        };
        self.take(1, kind)
    }

    fn read_bracket(&mut self, first: char) -> TokenKind {
        let kind = match first {
            '(' => {
                let open = self.span_from(self.at);
                self.parens.push(open);
                TokenKind::LeftParen
            }
            ')' if self.parens.pop().is_some() => TokenKind::RightParen,
            ')' => TokenKind::Fault(NOTHING_TO_CLOSE.to_owned()),
            '{' => {
                self.braces += 1;
                TokenKind::LeftBrace
            }
            '[' => {
                self.brackets += 1;
                TokenKind::LeftBracket
            }
            ']' if self.brackets > 0 => {
                self.brackets -= 1;
                TokenKind::RightBracket
            }
            ']' => TokenKind::Fault("unexpected right bracket ']'".to_owned()),
            other => TokenKind::Fault(format!("unexpected character: {other:?}")),
        };
        self.take(first.len_utf8(), kind)
    }
}

/// A character as Go's `%q` shows it, or what it shows at the end of a text.
fn quoted_char(c: Option<char>) -> String {
    format!("{:?}", c.unwrap_or(char::REPLACEMENT_CHARACTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<TokenKind> {
        tokens(text).into_iter().map(|token| token.kind).collect()
    }

    #[test]
    fn numbers_and_durations_are_told_apart() {
        use TokenKind::{Duration, End, Number};
        assert_eq!(
            kinds("1 .5 0x1F 1_000 1e3 Inf 5m 1h30m"),
            [
                Number(1.0),
                Number(0.5),
                Number(31.0),
                Number(1000.0),
                Number(1000.0),
                Number(f64::INFINITY),
                Duration(300.0),
                Duration(5400.0),
                End
            ]
        );
    }

    #[test]
    fn a_colon_is_part_of_a_name_only_outside_brackets() {
        assert_eq!(kinds("a:b"), [TokenKind::Name, TokenKind::End]);
        let in_brackets = kinds("a[5m:step()]");
        assert_eq!(in_brackets[3], TokenKind::Colon);
    }

    #[test]
    fn lines_and_columns_are_those_a_person_counts() {
        let found = tokens("sum(\n  ärger # comment\n  b)");
        let fault = found.last().expect("there is always a last token");
        assert_eq!((fault.span.line, fault.span.column), (2, 3));
        let found = tokens("a +\n\tb");
        assert_eq!((found[2].span.line, found[2].span.column), (2, 2));
        let found = tokens("`x\ny` + b");
        assert_eq!((found[2].span.line, found[2].span.column), (2, 6));
    }

    #[test]
    fn what_is_left_open_is_named() {
        assert_eq!(
            kinds("(1").last(),
            Some(&TokenKind::Fault("unclosed left parenthesis".to_owned()))
        );
        assert_eq!(
            kinds("1)").last(),
            Some(&TokenKind::Fault("unexpected right parenthesis ')'".to_owned()))
        );
        assert!(
            matches!(kinds("5mm").last(), Some(TokenKind::Fault(reason)) if reason.contains("bad number"))
        );
    }
}
