//! Durations and the expressions that compute them.

use super::Parser;
use crate::ast::{BinaryOp, DurationExpr, Number};
use crate::error::ParseError;
use crate::span::Span;
use crate::token::TokenKind;

// 2^63 nanoseconds, beyond which Prometheus cannot hold a duration.
const SECONDS_MAX: f64 = 9_223_372_036.0;

impl Parser<'_> {
    /// A duration in brackets, with operators.
    pub(super) fn duration(&mut self, least: u8) -> Result<DurationExpr, ParseError> {
        self.nested(|parser| {
            let mut lhs = parser.duration_prefix()?;
            while let Some(op) = parser.duration_op().filter(|op| op.binding() >= least) {
                parser.advance();
                let next = if op == BinaryOp::Power { op.binding() } else { op.binding() + 1 };
                let rhs = parser.duration(next)?;
                lhs = DurationExpr::Binary(Box::new(lhs), op, Box::new(rhs));
                parser.grow(0)?;
            }
            Ok(lhs)
        })
    }

    fn duration_op(&self) -> Option<BinaryOp> {
        use BinaryOp::{Add, Divide, Modulo, Multiply, Power, Subtract};
        self.binary_op().filter(|op| [Add, Subtract, Multiply, Divide, Modulo, Power].contains(op))
    }

    fn duration_prefix(&mut self) -> Result<DurationExpr, ParseError> {
        let negative = match self.peek() {
            TokenKind::Minus => true,
            TokenKind::Plus => false,
            _ => return self.duration_operand("duration"),
        };
        self.advance();
        let operand = self.duration(BinaryOp::Multiply.binding() + 1)?;
        Ok(signed(negative, operand))
    }

    fn duration_operand(&mut self, context: &str) -> Result<DurationExpr, ParseError> {
        if let Some(number) = self.duration_literal()? {
            return Ok(DurationExpr::Literal(number));
        }
        if self.accept(&TokenKind::LeftParen) {
            let inner = self.duration(0)?;
            self.expect(&TokenKind::RightParen, context, "\")\"")?;
            return Ok(DurationExpr::Paren(Box::new(inner)));
        }
        let word = self.lower_word();
        if !["step", "range", "min_of", "max_of"].contains(&word.as_str()) {
            return Err(
                self.unexpected(context, "number, duration, step(), range(), min_of() or max_of()")
            );
        }
        self.advance();
        self.expect(&TokenKind::LeftParen, context, "\"(\"")?;
        let found = match word.as_str() {
            "step" => DurationExpr::Step,
            "range" => DurationExpr::Range,
            _ => {
                let first = Box::new(self.duration(0)?);
                self.expect(&TokenKind::Comma, context, "\",\"")?;
                let second = Box::new(self.duration(0)?);
                if word == "min_of" {
                    DurationExpr::MinOf(first, second)
                } else {
                    DurationExpr::MaxOf(first, second)
                }
            }
        };
        self.expect(&TokenKind::RightParen, context, "\")\"")?;
        Ok(found)
    }

    fn duration_literal(&mut self) -> Result<Option<Number>, ParseError> {
        let number = match self.peek() {
            TokenKind::Number(value) => Number { value: *value, duration: false },
            TokenKind::Duration(value) => Number { value: *value, duration: true },
            _ => return Ok(None),
        };
        let span = self.advance();
        if number.value.is_nan() || number.value.abs() > SECONDS_MAX {
            return Err(ParseError::new(span, "duration out of range"));
        }
        Ok(Some(number))
    }

    /// The argument of `offset`: operators need parentheses, a sign does not.
    pub(super) fn offset_duration(&mut self) -> Result<DurationExpr, ParseError> {
        let negative = match self.peek() {
            TokenKind::Minus => Some(true),
            TokenKind::Plus => Some(false),
            _ => None,
        };
        if negative.is_some() {
            self.advance();
        }
        let operand = self.nested(|parser| parser.duration_operand("offset"))?;
        Ok(negative.map_or_else(|| operand.clone(), |negative| signed(negative, operand.clone())))
    }

    /// A range or the step of a subquery: a literal must be positive.
    pub(super) fn positive_duration(&mut self) -> Result<DurationExpr, ParseError> {
        let start = self.span();
        let duration = self.duration(0)?;
        self.check_positive(&duration, start.to(self.last_span()))?;
        Ok(duration)
    }

    fn check_positive(&self, duration: &DurationExpr, span: Span) -> Result<(), ParseError> {
        match duration {
            DurationExpr::Literal(number) if number.value <= 0.0 => {
                Err(ParseError::new(span, "duration must be greater than 0"))
            }
            _ => Ok(()),
        }
    }
}

fn signed(negative: bool, operand: DurationExpr) -> DurationExpr {
    match (negative, operand) {
        (true, DurationExpr::Literal(number)) => {
            DurationExpr::Literal(Number { value: -number.value, ..number })
        }
        (false, DurationExpr::Literal(number)) => DurationExpr::Literal(number),
        (true, other) => DurationExpr::Negative(Box::new(other)),
        (false, other) => DurationExpr::Positive(Box::new(other)),
    }
}
