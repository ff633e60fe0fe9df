//! What stands between a binary operator and its right operand.

use super::Parser;
use crate::ast::{BinaryOp, Cardinality, Matching, Number};
use crate::error::ParseError;
use crate::token::TokenKind;

impl Parser<'_> {
    /// `bool`, `on`/`ignoring`, `group_left`/`group_right`, `fill`. The matching is `None` when
    /// none was written.
    pub(super) fn matching(
        &mut self,
        op: BinaryOp,
    ) -> Result<(bool, Option<Matching>), ParseError> {
        let return_bool = self.accept_keyword("bool");
        let mut matching = Matching {
            cardinality: if op.is_set() { Cardinality::ManyToMany } else { Cardinality::OneToOne },
            on: false,
            labels: Vec::new(),
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        };
        let mut written = false;
        if self.is_keyword("on") || self.is_keyword("ignoring") {
            written = true;
            matching.on = self.is_keyword("on");
            self.advance();
            matching.labels = self.label_list()?;
            self.group_modifier(&mut matching)?;
        }
        written |= self.fill_modifiers(op, &mut matching)?;
        Ok((return_bool, written.then_some(matching)))
    }

    fn group_modifier(&mut self, matching: &mut Matching) -> Result<(), ParseError> {
        let cardinality = match self.lower_word().as_str() {
            "group_left" => Cardinality::ManyToOne,
            "group_right" => Cardinality::OneToMany,
            _ => return Ok(()),
        };
        self.advance();
        matching.cardinality = cardinality;
        if self.peek() == &TokenKind::LeftParen {
            matching.include = self.label_list()?;
        }
        Ok(())
    }

    fn fill_modifiers(
        &mut self,
        op: BinaryOp,
        matching: &mut Matching,
    ) -> Result<bool, ParseError> {
        let mut written = false;
        loop {
            let word = self.lower_word();
            let is_fill = ["fill", "fill_left", "fill_right"].contains(&word.as_str());
            if !is_fill || self.peek_second() != Some(&TokenKind::LeftParen) {
                return Ok(written);
            }
            let span = self.advance();
            if !self.features.binary_fill {
                return Err(self.disabled(span, &format!("modifier {word:?}")));
            }
            if op.is_set() {
                return Err(ParseError::new(
                    span,
                    "filling in missing series not allowed for set operators",
                ));
            }
            let value = self.fill_value()?;
            let (left, right) = (word != "fill_right", word != "fill_left");
            if (left && matching.fill_left.is_some()) || (right && matching.fill_right.is_some()) {
                return Err(ParseError::new(
                    span,
                    format!("{word} must not be given twice for the same side"),
                ));
            }
            if left {
                matching.fill_left = Some(value);
            }
            if right {
                matching.fill_right = Some(value);
            }
            written = true;
        }
    }

    fn fill_value(&mut self) -> Result<Number, ParseError> {
        let context = "fill modifier";
        self.advance();
        let value = self.signed_number(context, "number")?;
        self.expect(&TokenKind::RightParen, context, "\")\"")?;
        Ok(value)
    }

    /// A number with or without a sign.
    pub(super) fn signed_number(
        &mut self,
        context: &str,
        expected: &str,
    ) -> Result<Number, ParseError> {
        let negative = self.peek() == &TokenKind::Minus;
        if negative || self.peek() == &TokenKind::Plus {
            self.advance();
        }
        let (value, duration) = match *self.peek() {
            TokenKind::Number(value) => (value, false),
            TokenKind::Duration(value) => (value, true),
            _ => return Err(self.unexpected(context, expected)),
        };
        self.advance();
        Ok(Number { value: if negative { -value } else { value }, duration })
    }
}
