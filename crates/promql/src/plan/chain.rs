//! Chains of operators that group to the left, planned link by link: a chain may be much longer than
//! the stack is deep.

use super::invariant::is_pinned;
use super::shared::{self, Shared};
use super::{BinaryNode, Grid, Node, NodeKind, Planner};
use crate::ast::{Binary, Chain, Expr};
use crate::error::PlanError;
use crate::eval::scalar_operation;

/// An operator of a chain and the expression that it completes.
struct Link<'a> {
    expr: &'a Expr,
    binary: &'a Binary,
    /// Stands for the expression when it is looked for among others.
    hash: u64,
    selects: bool,
    /// Whether it is the same at every step.
    invariant: bool,
    /// The steps that its operands are computed at.
    grid: Grid,
    slot: Option<usize>,
    repeated: bool,
}

impl<'a> Planner<'a> {
    /// Plans an expression whose outermost part is a binary operator.
    pub(super) fn chain(&mut self, expr: &'a Expr, grid: Grid) -> Result<Node, PlanError> {
        let purpose = self.purpose;
        self.purpose = purpose.within(expr);
        let Chain { first, links } = expr.chain();
        let mut links = described(first, links, grid, &self.shared);
        let mut inner = grid;
        for link in links.iter_mut().rev() {
            (link.slot, link.repeated) = match link.selects {
                true => self.shared.enter_costly(link.hash, link.expr, inner, self.stats),
                false => (None, false),
            };
            link.invariant &= inner.steps > 1;
            if link.invariant {
                inner = Grid { steps: 1, ..inner };
            }
            link.grid = inner;
        }
        let mut node = self.node(first, inner)?;
        for link in links {
            let rhs = self.node(&link.binary.rhs, link.grid)?;
            let mut kind = combined(link.binary, node, rhs);
            if link.invariant {
                let once = Node { kind, span: link.expr.span, slot: None };
                kind = NodeKind::Invariant(Box::new(once));
            }
            self.shared.leave(link.repeated);
            node = Node { kind, span: link.expr.span, slot: link.slot };
        }
        self.purpose = purpose;
        Ok(node)
    }
}

/// What there is to know about each link before anything is planned.
fn described<'a>(
    first: &'a Expr,
    links: Vec<(&'a Expr, &'a Binary)>,
    grid: Grid,
    shared: &Shared<'_>,
) -> Vec<Link<'a>> {
    let mut hash = if shared.is_enabled() { shared::fingerprint(first) } else { 0 };
    let (mut selects, mut still) = (shared::selects(first), is_pinned(first));
    let describe = |(expr, binary): (&'a Expr, &'a Binary)| {
        if shared.is_enabled() {
            hash = shared::fingerprint_behind(hash, binary);
        }
        selects |= shared::selects(&binary.rhs);
        still &= is_pinned(&binary.rhs);
        let invariant = selects && still;
        Link { expr, binary, hash, selects, invariant, grid, slot: None, repeated: false }
    };
    links.into_iter().map(describe).collect()
}

/// An operator between two planned operands; between two constants it is one.
fn combined(binary: &Binary, lhs: Node, rhs: Node) -> NodeKind {
    if let (NodeKind::Constant(left), NodeKind::Constant(right)) = (&lhs.kind, &rhs.kind) {
        return NodeKind::Constant(scalar_operation(binary.op, *left, *right));
    }
    NodeKind::Binary(BinaryNode {
        op: binary.op,
        return_bool: binary.return_bool,
        matching: binary.matching.as_ref().map(|matching| Box::new(matching.clone())),
        lhs: Box::new(lhs),
        rhs: Box::new(rhs),
    })
}
