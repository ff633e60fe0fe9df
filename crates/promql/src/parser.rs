//! Words to a tree: a Pratt parser with the precedences of Prometheus.

mod call;
mod duration;
mod matching;
mod selector;

use crate::ast::{Binary, BinaryOp, Expr, ExprKind, Number, Unary};
use crate::error::ParseError;
use crate::features::Features;
use crate::lexer;
use crate::span::Span;
use crate::token::{Token, TokenKind};
use crate::typecheck;

/// How deep an expression may be nested. Parser, checker and evaluator recurse, so this bounds
/// their stack. A chain of operators that group to the left is one level, however long it is.
pub(crate) const DEPTH_MAX: usize = 256;

/// How many binary operators an expression may have.
const OPERATORS_MAX: usize = 10_000;

/// Parses and type-checks an expression of the stable language. Experimental parts are refused by
/// name; use [`parse_with`] to switch them on.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    parse_with(text, Features::default())
}

/// Parses and type-checks an expression with the given parts of the language switched on.
pub fn parse_with(text: &str, features: Features) -> Result<Expr, ParseError> {
    let mut parser = Parser {
        text,
        tokens: lexer::tokens(text),
        at: 0,
        depth: 0,
        height: 0,
        operators: 0,
        features,
    };
    if parser.peek() == &TokenKind::End {
        return Err(ParseError::new(Span::start_of_text(), "no expression found in input"));
    }
    let expr = parser.expr(0)?;
    if parser.peek() != &TokenKind::End {
        return Err(parser.unexpected("", ""));
    }
    typecheck::check(&expr)?;
    Ok(expr)
}

pub(crate) struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    /// Height of the tree that was parsed last.
    height: usize,
    /// How many binary operators there were so far.
    operators: usize,
    features: Features,
}

impl Parser<'_> {
    fn peek(&self) -> &TokenKind {
        &self.tokens[self.at].kind
    }

    fn peek_second(&self) -> Option<&TokenKind> {
        self.tokens.get(self.at + 1).map(|token| &token.kind)
    }

    fn span(&self) -> Span {
        self.tokens[self.at].span
    }

    /// The span of the word before this one.
    fn last_span(&self) -> Span {
        self.tokens[self.at.saturating_sub(1)].span
    }

    fn word(&self) -> &str {
        self.span().slice(self.text)
    }

    fn lower_word(&self) -> String {
        if self.peek() == &TokenKind::Name {
            self.word().to_ascii_lowercase()
        } else {
            String::new()
        }
    }

    fn is_keyword(&self, keyword: &str) -> bool {
        self.peek() == &TokenKind::Name && self.word().eq_ignore_ascii_case(keyword)
    }

    /// Steps over this word. The last one, the end or a fault, is never passed.
    fn advance(&mut self) -> Span {
        let span = self.span();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        span
    }

    fn accept(&mut self, kind: &TokenKind) -> bool {
        let found = self.peek() == kind;
        if found {
            self.advance();
        }
        found
    }

    fn accept_keyword(&mut self, keyword: &str) -> bool {
        let found = self.is_keyword(keyword);
        if found {
            self.advance();
        }
        found
    }

    fn expect(
        &mut self,
        kind: &TokenKind,
        context: &str,
        expected: &str,
    ) -> Result<Span, ParseError> {
        if self.peek() == kind {
            Ok(self.advance())
        } else {
            Err(self.unexpected(context, expected))
        }
    }

    /// The error that this word cannot stand here.
    fn unexpected(&self, context: &str, expected: &str) -> ParseError {
        let found = self.peek().describe(self.word());
        if matches!(self.peek(), TokenKind::Fault(_)) {
            return ParseError::new(self.span(), found);
        }
        let mut message = format!("unexpected {found}");
        if !context.is_empty() {
            message.push_str(&format!(" in {context}"));
        }
        if !expected.is_empty() {
            message.push_str(&format!(", expected {expected}"));
        }
        ParseError::new(self.span(), message)
    }

    /// The error that a part of the language is switched off.
    fn disabled(&self, span: Span, feature: &str) -> ParseError {
        ParseError::new(span, format!("{feature} is experimental and not enabled"))
    }

    /// Notes that the tree parsed last got a parent whose other children are `other` high.
    fn grow(&mut self, other: usize) -> Result<(), ParseError> {
        self.height = self.height.max(other) + 1;
        if self.height > DEPTH_MAX { Err(self.too_deep()) } else { Ok(()) }
    }

    fn too_deep(&self) -> ParseError {
        ParseError::new(self.span(), format!("expression is nested deeper than {DEPTH_MAX} levels"))
    }

    /// Runs a part of the parser one level deeper.
    fn nested<T>(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.too_deep());
        }
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// Parses an expression whose operators bind at least as strongly as `least`.
    fn expr(&mut self, least: u8) -> Result<Expr, ParseError> {
        self.nested(|parser| {
            let mut lhs = parser.prefix()?;
            while let Some(op) = parser.binary_op().filter(|op| op.binding() >= least) {
                lhs = parser.binary(lhs, op)?;
            }
            Ok(lhs)
        })
    }

    fn binary(&mut self, lhs: Expr, op: BinaryOp) -> Result<Expr, ParseError> {
        // A chain grows to the right, not deeper.
        let in_chain = matches!(lhs.kind, ExprKind::Binary(_));
        let left_height = self.height - usize::from(in_chain);
        let sign = self.advance();
        self.operators += 1;
        if self.operators > OPERATORS_MAX {
            let message = format!("expression has more than {OPERATORS_MAX} operators");
            return Err(ParseError::new(sign, message));
        }
        let (return_bool, matching) = self.matching(op)?;
        let op_span = sign.to(self.last_span());
        // Only the power groups to the right.
        let least = if op == BinaryOp::Power { op.binding() } else { op.binding() + 1 };
        let rhs = self.expr(least)?;
        self.grow(left_height)?;
        let span = lhs.span.to(rhs.span);
        let (lhs, rhs) = (Box::new(lhs), Box::new(rhs));
        let binary = Binary { op, op_span, return_bool, matching, lhs, rhs };
        Ok(Expr { kind: ExprKind::Binary(binary), span })
    }

    fn binary_op(&self) -> Option<BinaryOp> {
        Some(match self.peek() {
            TokenKind::Plus => BinaryOp::Add,
            TokenKind::Minus => BinaryOp::Subtract,
            TokenKind::Star => BinaryOp::Multiply,
            TokenKind::Slash => BinaryOp::Divide,
            TokenKind::Percent => BinaryOp::Modulo,
            TokenKind::Caret => BinaryOp::Power,
            TokenKind::Equal => BinaryOp::Equal,
            TokenKind::NotEqual => BinaryOp::NotEqual,
            TokenKind::Less => BinaryOp::Less,
            TokenKind::LessEqual => BinaryOp::LessEqual,
            TokenKind::Greater => BinaryOp::Greater,
            TokenKind::GreaterEqual => BinaryOp::GreaterEqual,
            TokenKind::TrimUpper => BinaryOp::TrimUpper,
            TokenKind::TrimLower => BinaryOp::TrimLower,
            TokenKind::Name => match self.lower_word().as_str() {
                "or" => BinaryOp::Or,
                "and" => BinaryOp::And,
                "unless" => BinaryOp::Unless,
                "atan2" => BinaryOp::Atan2,
                _ => return None,
            },
            _ => return None,
        })
    }

    /// A signed operand. A sign binds like `*`: weaker than `^`, stronger than the rest.
    fn prefix(&mut self) -> Result<Expr, ParseError> {
        let negative = match self.peek() {
            TokenKind::Minus => true,
            TokenKind::Plus => false,
            _ => return self.operand(),
        };
        let sign = self.advance();
        let expr = self.expr(BinaryOp::Multiply.binding() + 1)?;
        let span = sign.to(expr.span);
        if let ExprKind::Number(number) = expr.kind {
            let value = if negative { -number.value } else { number.value };
            return Ok(Expr { kind: ExprKind::Number(Number { value, ..number }), span });
        }
        self.grow(0)?;
        Ok(Expr { kind: ExprKind::Unary(Unary { negative, expr: Box::new(expr) }), span })
    }

    fn operand(&mut self) -> Result<Expr, ParseError> {
        let mut expr = self.primary()?;
        loop {
            expr = match self.peek() {
                TokenKind::LeftBracket => self.bracket(expr)?,
                TokenKind::At => self.at_modifier(expr)?,
                TokenKind::Name => match self.lower_word().as_str() {
                    "offset" => self.offset_modifier(expr)?,
                    "anchored" | "smoothed" => self.extension_modifier(expr)?,
                    _ => return Ok(expr),
                },
                _ => return Ok(expr),
            };
        }
    }

    fn primary(&mut self) -> Result<Expr, ParseError> {
        self.height = 1;
        let span = self.span();
        let kind = match self.peek() {
            TokenKind::Number(value) => ExprKind::Number(Number { value: *value, duration: false }),
            TokenKind::Duration(value) => {
                ExprKind::Number(Number { value: *value, duration: true })
            }
            TokenKind::Text(text) => ExprKind::Text(text.to_owned()),
            TokenKind::LeftParen => return self.paren(),
            TokenKind::LeftBrace => return self.selector(None, span),
            TokenKind::Name => return self.named(),
            _ => return Err(self.unexpected("", "")),
        };
        self.advance();
        Ok(Expr { kind, span })
    }

    fn paren(&mut self) -> Result<Expr, ParseError> {
        let open = self.advance();
        let inner = self.expr(0)?;
        let close = self.expect(&TokenKind::RightParen, "", "")?;
        self.grow(0)?;
        Ok(Expr { kind: ExprKind::Paren(Box::new(inner)), span: open.to(close) })
    }

    /// What starts with a word: an aggregation, a call or a selector.
    fn named(&mut self) -> Result<Expr, ParseError> {
        let span = self.span();
        if let Some(op) = self.aggregate_op() {
            return self.aggregate(op);
        }
        // These can only be modifiers and operators.
        if ["bool", "on", "ignoring", "group_left", "group_right", "atan2"]
            .contains(&self.lower_word().as_str())
        {
            return Err(self.unexpected("", ""));
        }
        // These can be names of metrics but not of functions.
        let is_keyword = ["by", "without", "offset", "and", "or", "unless"]
            .contains(&self.lower_word().as_str());
        if self.peek_second() == Some(&TokenKind::LeftParen) && !is_keyword {
            return self.call();
        }
        let name = self.word().to_owned();
        self.advance();
        self.selector(Some(name), span)
    }
}
