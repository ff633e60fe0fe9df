//! Aggregations and calls.

use super::Parser;
use crate::ast::{Aggregate, AggregateOp, Call, Expr, ExprKind, Grouping};
use crate::error::ParseError;
use crate::functions::Function;
use crate::lexer::NOT_UTF8;
use crate::span::Span;
use crate::token::TokenKind;

impl Parser<'_> {
    /// The aggregation that starts here: its name followed by an argument list or a grouping.
    pub(super) fn aggregate_op(&self) -> Option<AggregateOp> {
        let op = AggregateOp::from_name(&self.lower_word())?;
        let next = self.tokens.get(self.at + 1)?;
        let word = next.span.slice(self.text);
        let grouped = next.kind == TokenKind::Name
            && (word.eq_ignore_ascii_case("by") || word.eq_ignore_ascii_case("without"));
        (grouped || next.kind == TokenKind::LeftParen).then_some(op)
    }

    pub(super) fn aggregate(&mut self, op: AggregateOp) -> Result<Expr, ParseError> {
        let start = self.span();
        if op.is_experimental() && !self.features.experimental_functions {
            return Err(self.disabled(start, &format!("aggregation {:?}", op.as_str())));
        }
        self.advance();
        let mut grouping = self.grouping()?;
        let args = self.args("aggregation");
        let (args, mut end) =
            args.map_err(
                |error| if op == AggregateOp::CountValues { label_fault(error) } else { error },
            )?;
        if grouping.is_none() {
            grouping = self.grouping()?;
            end = self.last_span();
        }
        let span = start.to(end);
        let expected = if op.param().is_some() { 2 } else { 1 };
        if args.is_empty() {
            return Err(ParseError::new(span, "no arguments for aggregate expression provided"));
        }
        if args.len() != expected {
            let got = args.len();
            return Err(ParseError::new(
                span,
                format!(
                    "wrong number of arguments for aggregate expression provided, expected {expected}, got {got}"
                ),
            ));
        }
        let mut args = args.into_iter().map(Box::new);
        let param = if expected == 2 { args.next() } else { None };
        let Some(expr) = args.next() else {
            return Err(ParseError::new(span, "no arguments for aggregate expression provided"));
        };
        Ok(Expr { kind: ExprKind::Aggregate(Aggregate { op, param, expr, grouping }), span })
    }

    fn grouping(&mut self) -> Result<Option<Grouping>, ParseError> {
        let without = match self.lower_word().as_str() {
            "by" => false,
            "without" => true,
            _ => return Ok(None),
        };
        self.advance();
        let labels = self.label_list()?;
        Ok(Some(Grouping { without, labels }))
    }

    /// A list of labels in parentheses, a comma after the last one allowed.
    pub(super) fn label_list(&mut self) -> Result<Vec<String>, ParseError> {
        let context = "grouping opts";
        self.expect(&TokenKind::LeftParen, context, "\"(\"")?;
        let mut labels = Vec::new();
        while !self.accept(&TokenKind::RightParen) {
            let label = match self.peek() {
                TokenKind::Name if !self.word().contains(':') => self.word().to_owned(),
                // `inf` and `nan` are numbers elsewhere but labels here.
                TokenKind::Number(_) if model::is_label_name(self.word()) => self.word().to_owned(),
                TokenKind::Text(text) if !text.is_empty() => text.to_owned(),
                _ => return Err(self.unexpected(context, "label")),
            };
            self.advance();
            labels.push(label);
            if self.peek() != &TokenKind::RightParen {
                self.expect(&TokenKind::Comma, context, "\",\" or \")\"")?;
            }
        }
        Ok(labels)
    }

    pub(super) fn call(&mut self) -> Result<Expr, ParseError> {
        let start = self.span();
        let name = self.word().to_owned();
        let Some(function) = Function::find(&name) else {
            return Err(ParseError::new(start, format!("unknown function with name {name:?}")));
        };
        if function.experimental && !self.features.experimental_functions {
            return Err(self.disabled(start, &format!("function {name:?}")));
        }
        self.advance();
        let (args, end) = self.args("function call")?;
        Ok(Expr { kind: ExprKind::Call(Call { function, args }), span: start.to(end) })
    }

    /// Arguments in parentheses, and where these close.
    fn args(&mut self, context: &str) -> Result<(Vec<Expr>, Span), ParseError> {
        self.expect(&TokenKind::LeftParen, context, "")?;
        let mut args = Vec::new();
        let mut height = 0;
        self.height = 0;
        while self.peek() != &TokenKind::RightParen {
            args.push(self.expr(0)?);
            height = self.height.max(height);
            if self.peek() == &TokenKind::RightParen {
                break;
            }
            self.expect(&TokenKind::Comma, context, "\",\" or \")\"")?;
            if self.peek() == &TokenKind::RightParen {
                return Err(ParseError::new(
                    self.last_span(),
                    "trailing commas not allowed in function call args",
                ));
            }
        }
        let end = self.advance();
        self.grow(height)?;
        Ok((args, end))
    }
}

// A text that is not UTF-8 cannot name a label; Prometheus says so in these words.
fn label_fault(error: ParseError) -> ParseError {
    match error.message().strip_suffix(NOT_UTF8) {
        Some(text) => ParseError::new(error.span, format!("invalid label name {text}")),
        None => error,
    }
}
