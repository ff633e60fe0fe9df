//! Selectors and their modifiers.

use model::{METRIC_NAME, MatchOp, Matcher};

use super::Parser;
use crate::ast::{
    At, DurationExpr, Expr, ExprKind, Extension, RangeSelector, Shift, Subquery, VectorSelector,
};
use crate::error::ParseError;
use crate::span::Span;
use crate::token::TokenKind;

const IN_MATCHERS: &str = "label matching";

impl Parser<'_> {
    /// A selector whose name, if it has one before the braces, was just read.
    pub(super) fn selector(
        &mut self,
        name: Option<String>,
        start: Span,
    ) -> Result<Expr, ParseError> {
        let mut selector = VectorSelector {
            name,
            matchers: Vec::new(),
            at: Shift::default(),
            extension: None,
            span: start,
        };
        if self.accept(&TokenKind::LeftBrace) {
            self.matchers(&mut selector)?;
        }
        if let Some(name) = &selector.name {
            // A name before the braces comes first, as in the text.
            let matcher = Matcher::equal(METRIC_NAME, name);
            selector.matchers.insert(0, matcher);
        }
        selector.span = start.to(self.last_span());
        Ok(Expr { span: selector.span, kind: ExprKind::Selector(selector) })
    }

    fn matchers(&mut self, selector: &mut VectorSelector) -> Result<(), ParseError> {
        while !self.accept(&TokenKind::RightBrace) {
            self.matcher(selector)?;
            match self.peek() {
                TokenKind::RightBrace => {}
                TokenKind::Comma => drop(self.advance()),
                _ => return Err(self.unexpected(IN_MATCHERS, "\",\" or \"}\"")),
            }
        }
        Ok(())
    }

    fn matcher(&mut self, selector: &mut VectorSelector) -> Result<(), ParseError> {
        let span = self.span();
        let (label, quoted) = match self.peek() {
            TokenKind::Name => (self.word().to_owned(), false),
            TokenKind::Text(text) => (text.to_owned(), true),
            _ => return Err(self.unexpected(IN_MATCHERS, "identifier or \"}\"")),
        };
        self.advance();
        let op = match self.peek() {
            TokenKind::Assign => MatchOp::Equal,
            TokenKind::NotEqual => MatchOp::NotEqual,
            TokenKind::Matches => MatchOp::Regex,
            TokenKind::MatchesNot => MatchOp::NotRegex,
            TokenKind::Comma | TokenKind::RightBrace if quoted => {
                return set_name(selector, label);
            }
            TokenKind::End => return Err(self.unexpected(IN_MATCHERS, "label matching operator")),
            _ => return Err(self.unexpected(IN_MATCHERS, "label matching operator")),
        };
        self.advance();
        let TokenKind::Text(value) = self.peek().clone() else {
            return Err(self.unexpected(IN_MATCHERS, "string"));
        };
        if label.is_empty() {
            return Err(ParseError::new(span, "label name must not be empty"));
        }
        let matcher = Matcher::new(&label, op, &value)
            .map_err(|error| ParseError::new(span.to(self.span()), error.reason().to_string()))?;
        self.advance();
        if label == METRIC_NAME
            && op == MatchOp::Equal
            && let Some(name) = &selector.name
        {
            return Err(twice(name, &value, selector.span));
        }
        selector.matchers.push(matcher);
        Ok(())
    }

    /// `[...]` after an expression: a range or a subquery.
    pub(super) fn bracket(&mut self, expr: Expr) -> Result<Expr, ParseError> {
        let open = self.advance();
        let height = self.height;
        let range = self.positive_duration()?;
        let subquery = self.accept(&TokenKind::Colon);
        let step = match self.peek() {
            TokenKind::RightBracket => None,
            _ if subquery => Some(self.positive_duration()?),
            _ => return Err(self.unexpected("subquery or range", "\":\" or \"]\"")),
        };
        let close = self.expect(&TokenKind::RightBracket, "subquery or range selector", "\"]\"")?;
        let span = expr.span.to(close);
        self.grow(height)?;
        if subquery {
            let subquery = Subquery { expr: Box::new(expr), range, step, at: Shift::default() };
            return Ok(Expr { kind: ExprKind::Subquery(subquery), span });
        }
        range_selector(expr, range, open.to(close), span)
    }

    pub(super) fn offset_modifier(&mut self, mut expr: Expr) -> Result<Expr, ParseError> {
        let start = expr.span;
        self.advance();
        let offset = self.offset_duration()?;
        let end = self.last_span();
        let Some(shift) = shift_of(&mut expr) else {
            return Err(ParseError::new(
                start,
                "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
            ));
        };
        if shift.offset.is_some() {
            return Err(ParseError::new(start, "offset may not be set multiple times"));
        }
        shift.offset = Some(offset);
        Ok(extended(expr, end))
    }

    pub(super) fn at_modifier(&mut self, mut expr: Expr) -> Result<Expr, ParseError> {
        let start = expr.span;
        self.advance();
        let at = match self.lower_word().as_str() {
            "start" => At::Start,
            "end" => At::End,
            _ => self.at_time(start)?,
        };
        if at == At::Start || at == At::End {
            self.advance();
            self.expect(&TokenKind::LeftParen, "@", "timestamp")?;
            self.expect(&TokenKind::RightParen, "@", "timestamp")?;
        }
        let end = self.last_span();
        let Some(shift) = shift_of(&mut expr) else {
            return Err(ParseError::new(
                start,
                "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery",
            ));
        };
        if shift.at.is_some() {
            return Err(ParseError::new(start, "@ <timestamp> may not be set multiple times"));
        }
        shift.at = Some(at);
        Ok(extended(expr, end))
    }

    fn at_time(&mut self, start: Span) -> Result<At, ParseError> {
        let seconds = self.signed_number("@", "timestamp")?.value;
        let millis = (seconds * 1000.0).round();
        if !millis.is_finite() || millis.abs() >= i64::MAX as f64 {
            return Err(ParseError::new(
                start,
                format!("timestamp out of bounds for @ modifier: {}", fixed(seconds)),
            ));
        }
        Ok(At::Millis(millis as i64))
    }

    pub(super) fn extension_modifier(&mut self, mut expr: Expr) -> Result<Expr, ParseError> {
        let anchored = self.is_keyword("anchored");
        let extension = if anchored { Extension::Anchored } else { Extension::Smoothed };
        let word = extension.as_str();
        let span = self.advance();
        if !self.features.extended_ranges {
            return Err(self.disabled(span, &format!("modifier {word:?}")));
        }
        let selector = match &mut expr.kind {
            ExprKind::Selector(selector) if !anchored => selector,
            ExprKind::Range(range) => &mut range.selector,
            ExprKind::Subquery(_) => {
                return Err(ParseError::new(
                    span,
                    format!("{word} modifier is not supported for subqueries"),
                ));
            }
            _ => {
                let place = if anchored {
                    "a range vector selector"
                } else {
                    "a range or instant vector selector"
                };
                return Err(ParseError::new(
                    span,
                    format!("{word} modifier must be preceded by {place}"),
                ));
            }
        };
        if selector.extension.is_some() {
            return Err(ParseError::new(
                span,
                "anchored and smoothed modifiers cannot be combined or repeated",
            ));
        }
        selector.extension = Some(extension);
        Ok(extended(expr, span))
    }
}

fn set_name(selector: &mut VectorSelector, name: String) -> Result<(), ParseError> {
    if let Some(first) = &selector.name {
        return Err(twice(first, &name, selector.span));
    }
    selector.name = Some(name);
    Ok(())
}

fn twice(first: &str, second: &str, span: Span) -> ParseError {
    ParseError::new(span, format!("metric name must not be set twice: {first:?} or {second:?}"))
}

fn range_selector(
    expr: Expr,
    range: DurationExpr,
    brackets: Span,
    span: Span,
) -> Result<Expr, ParseError> {
    let ExprKind::Selector(selector) = expr.kind else {
        return Err(ParseError::new(brackets, "ranges only allowed for vector selectors"));
    };
    let fault = if selector.at.offset.is_some() {
        Some("no offset modifiers allowed before range")
    } else if selector.at.at.is_some() {
        Some("no @ modifiers allowed before range")
    } else if selector.extension.is_some() {
        Some("no anchored or smoothed modifiers allowed before range")
    } else {
        None
    };
    match fault {
        Some(fault) => Err(ParseError::new(brackets, fault)),
        None => Ok(Expr { kind: ExprKind::Range(RangeSelector { selector, range }), span }),
    }
}

/// A number as Go writes it with `%f`.
fn fixed(value: f64) -> String {
    if value.is_finite() { format!("{value:.6}") } else { crate::number::plain(value) }
}

fn shift_of(expr: &mut Expr) -> Option<&mut Shift> {
    match &mut expr.kind {
        ExprKind::Selector(selector) => Some(&mut selector.at),
        ExprKind::Range(range) => Some(&mut range.selector.at),
        ExprKind::Subquery(subquery) => Some(&mut subquery.at),
        _ => None,
    }
}

// Modifiers belong to what they modify.
fn extended(mut expr: Expr, end: Span) -> Expr {
    expr.span = expr.span.to(end);
    match &mut expr.kind {
        ExprKind::Selector(selector) => selector.span = expr.span,
        ExprKind::Range(range) => range.selector.span = expr.span,
        _ => {}
    }
    expr
}
