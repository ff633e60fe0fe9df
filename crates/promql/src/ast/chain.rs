//! Chains of operators that group to the left: `a + b - c` and so on for thousands of operands. A
//! chain is a tree as deep as it is long, so whatever recurses would need a stack to match; this is
//! how it is walked without.

use std::fmt;

use super::{Binary, Expr, ExprKind, Number, ValueType};
use crate::printer;

/// A chain taken apart: `a + b - c` is `a`, then `+ b`, then `- c`.
pub(crate) struct Chain<'e> {
    /// The leftmost operand.
    pub(crate) first: &'e Expr,
    /// The operators from left to right, each with the expression that it completes.
    pub(crate) links: Vec<(&'e Expr, &'e Binary)>,
}

impl Expr {
    /// The expression as a chain; one without links when no operator is outermost.
    pub(crate) fn chain(&self) -> Chain<'_> {
        let (mut first, mut links) = (self, Vec::new());
        while let ExprKind::Binary(binary) = &first.kind {
            links.push((first, binary));
            first = &binary.lhs;
        }
        links.reverse();
        Chain { first, links }
    }

    /// The expressions inside it, where the operands of a chain of operators all are directly inside.
    pub(crate) fn parts(&self) -> Vec<&Expr> {
        if !matches!(self.kind, ExprKind::Binary(_)) {
            return self.children();
        }
        let Chain { first, links } = self.chain();
        std::iter::once(first).chain(links.into_iter().map(|(_, binary)| &*binary.rhs)).collect()
    }
}

impl Binary {
    /// The same operator and right operand behind another left operand.
    fn behind(&self, lhs: Expr) -> Self {
        Self {
            op: self.op,
            op_span: self.op_span,
            return_bool: self.return_bool,
            matching: self.matching.clone(),
            lhs: Box::new(lhs),
            rhs: self.rhs.clone(),
        }
    }

    /// The type of the result, given that of the left operand.
    pub(crate) fn type_behind(&self, lhs: ValueType) -> ValueType {
        let scalars = lhs == ValueType::Scalar && self.rhs.value_type() == ValueType::Scalar;
        if scalars { ValueType::Scalar } else { ValueType::Vector }
    }
}

impl Clone for Binary {
    fn clone(&self) -> Self {
        let Chain { first, links } = self.lhs.chain();
        let mut lhs = first.clone();
        for (expr, binary) in links {
            lhs = Expr { kind: ExprKind::Binary(binary.behind(lhs)), span: expr.span };
        }
        self.behind(lhs)
    }
}

impl PartialEq for Binary {
    fn eq(&self, other: &Self) -> bool {
        let (mut one, mut other) = (self, other);
        loop {
            let alike = (one.op, one.return_bool, &one.matching, &one.rhs)
                == (other.op, other.return_bool, &other.matching, &other.rhs);
            if !alike {
                return false;
            }
            match (&one.lhs.kind, &other.lhs.kind) {
                (ExprKind::Binary(left), ExprKind::Binary(right)) => (one, other) = (left, right),
                (left, right) => return left == right,
            }
        }
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        let mut lhs = taken(&mut self.lhs);
        while let ExprKind::Binary(binary) = &mut lhs.kind {
            lhs = taken(&mut binary.lhs);
        }
    }
}

/// The left operand of an operator, with something in its place that is dropped at once.
fn taken(lhs: &mut Expr) -> Expr {
    let kind = ExprKind::Number(Number { value: 0.0, duration: false });
    let span = lhs.span;
    std::mem::replace(lhs, Expr { kind, span })
}

/// As text: the structure would be nested as deeply as the chain is long.
impl fmt::Debug for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Binary(")?;
        printer::print_binary(self, f)?;
        f.write_str(")")
    }
}
