//! Results that several places of the tree have in common.

use super::Evaluator;
use super::column::Computed;
use crate::error::EvalError;
use crate::plan::{Grid, Node};

/// The results that are needed again.
pub(super) struct Kept {
    results: Vec<Option<Computed>>,
    /// How many places still want each.
    wanted: Vec<usize>,
    points: usize,
}

impl Kept {
    pub(super) fn new(uses: &[usize]) -> Self {
        Self { results: uses.iter().map(|_| None).collect(), wanted: uses.to_vec(), points: 0 }
    }

    /// How many values are kept.
    pub(super) fn points(&self) -> usize {
        self.points
    }

    /// Gives everything up: it is computed again where it is wanted.
    pub(super) fn clear(&mut self) {
        self.results.fill(None);
        self.points = 0;
    }

    /// The result for one more place; the last one gets the original.
    fn take(&mut self, slot: usize) -> Option<Computed> {
        self.wanted[slot] = self.wanted[slot].saturating_sub(1);
        if self.wanted[slot] > 0 {
            return self.results[slot].clone();
        }
        let last = self.results[slot].take()?;
        self.points -= last.points();
        Some(last)
    }

    fn put(&mut self, slot: usize, computed: &Computed) {
        if self.wanted[slot] > 0 {
            self.points += computed.points();
            self.results[slot] = Some(computed.clone());
        }
    }
}

impl<'a> Evaluator<'a> {
    /// The result of a node that others have too. One that came with annotations is computed at
    /// every place, because they say where in the text they arose; one that there is no room for,
    /// too.
    pub(super) fn shared(
        &mut self,
        slot: usize,
        node: &'a Node,
        grid: Grid,
    ) -> Result<Computed, EvalError> {
        if let Some(computed) = self.kept.take(slot) {
            self.charge(computed.points())?;
            return Ok(computed);
        }
        let before = std::mem::take(&mut self.notes);
        let computed = self.eval_alone(node, grid)?;
        let notes = std::mem::replace(&mut self.notes, before);
        let room =
            self.plan.params.limits.samples_max.saturating_sub(self.held + self.kept.points());
        if notes.is_empty() && computed.points() <= room {
            self.kept.put(slot, &computed);
        }
        self.notes.append(notes);
        Ok(computed)
    }
}
