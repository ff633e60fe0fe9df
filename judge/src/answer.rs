//! The answer to a question that rules have in common, dealt out to its parts.

use std::collections::HashMap;
use std::sync::Arc;

use model::Labels;
use promql::{Output, Threshold, Value};

use crate::chart::Chart;
use crate::question::key_of;
use crate::record::Written;

/// Where each part is, by its key.
pub(crate) type Places = Arc<HashMap<String, usize>>;

/// The elements of an answer by part.
#[derive(Debug)]
pub(crate) struct Answer {
    places: Places,
    parts: Vec<Elements>,
    names: Names,
}

/// The label sets of elements, by their numbers.
#[derive(Debug)]
enum Names {
    Own(Vec<Labels>),
    Chart(Arc<Chart>),
}

/// The elements of a part, and between which values they lie.
#[derive(Debug, Clone)]
struct Elements {
    all: Vec<(u32, f64)>,
    /// NaN while there is none that is a number.
    low: f64,
    high: f64,
}

/// The part of an answer that belongs to a rule.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// Only the hosts of the wave were looked at.
    pub(crate) is_narrow: bool,
    answer: Arc<Answer>,
    place: usize,
    threshold: Option<Threshold>,
}

impl Answer {
    /// Without elements yet; a chart knows their labels.
    pub(crate) fn of_chart(places: &Places) -> Self {
        let names = Names::Own(Vec::new());
        Self { parts: vec![Elements::default(); places.len()], places: Arc::clone(places), names }
    }

    /// Adds an element to a part.
    pub(crate) fn push(&mut self, place: usize, element: u32, value: f64) {
        if let Some(part) = self.parts.get_mut(place) {
            part.push(element, value);
        }
    }

    /// Makes room in a part.
    pub(crate) fn expect(&mut self, place: usize, elements: usize) {
        if let Some(part) = self.parts.get_mut(place) {
            part.all.reserve(elements);
        }
    }

    /// With the labels of all elements.
    pub(crate) fn named_by(self, chart: Arc<Chart>) -> Self {
        Self { names: Names::Chart(chart), ..self }
    }

    /// A part of it that rules compare with something.
    pub(crate) fn part(self: &Arc<Self>, key: &str, is_narrow: bool) -> Option<Part> {
        let place = *self.places.get(key)?;
        Some(Part { is_narrow, answer: Arc::clone(self), place, threshold: None })
    }

    fn labels(&self, element: u32) -> Labels {
        match &self.names {
            Names::Own(names) => names.get(element as usize).cloned().unwrap_or_default(),
            Names::Chart(chart) => chart.labels(element),
        }
    }
}

impl Part {
    /// What the rule's own query would answer.
    pub(crate) fn elements(&self) -> Vec<Written> {
        let accepts = |value: f64| self.threshold.is_none_or(|threshold| threshold.accepts(value));
        let part = self.answer.parts.get(self.place).into_iter().flat_map(|part| &part.all);
        let accepted = part.filter(|(_, value)| accepts(*value));
        accepted.map(|(element, value)| (self.answer.labels(*element), *value)).collect()
    }

    /// Whether the rule's own query would answer nothing.
    pub(crate) fn is_empty(&self) -> bool {
        !self.has_any(self.threshold)
    }

    /// Whether a rule that compares it with this would be answered something.
    pub(crate) fn has_any(&self, threshold: Option<Threshold>) -> bool {
        self.answer.parts.get(self.place).is_some_and(|part| part.has_any(threshold))
    }

    /// The same part for a rule that compares it with something else.
    pub(crate) fn against(&self, threshold: Option<Threshold>) -> Self {
        Self { answer: Arc::clone(&self.answer), threshold, ..*self }
    }
}

impl Default for Elements {
    fn default() -> Self {
        Self { all: Vec::new(), low: f64::NAN, high: f64::NAN }
    }
}

impl Elements {
    fn push(&mut self, element: u32, value: f64) {
        (self.low, self.high) = (self.low.min(value), self.high.max(value));
        self.all.push((element, value));
    }

    /// Whether an element satisfies the threshold.
    fn has_any(&self, threshold: Option<Threshold>) -> bool {
        match threshold {
            None => !self.all.is_empty(),
            // Between the lowest and the highest none does when neither of these does.
            Some(one) if one.is_ordering() => one.accepts(self.low) || one.accepts(self.high),
            Some(one) => self.all.iter().any(|(_, value)| one.accepts(*value)),
        }
    }
}

/// Deals the elements of an answer out to the parts.
#[derive(Debug)]
pub(crate) struct Sorter {
    pub(crate) labels: Vec<String>,
    pub(crate) places: Places,
}

impl Sorter {
    /// The answer by parts. `None` for one that is no vector of numbers.
    pub(crate) fn sort(&self, output: Output) -> Option<Answer> {
        let Output { value: Value::Vector(vector), histograms, .. } = output else { return None };
        if !histograms.is_empty() {
            return None;
        }
        let mut parts = vec![Elements::default(); self.places.len()];
        let (mut names, mut key) = (Vec::new(), String::new());
        for (element, sample) in vector {
            key_of(&self.labels, &element, &mut key);
            if let Some(place) = self.places.get(&key) {
                parts[*place].push(u32::try_from(names.len()).ok()?, sample.value);
                names.push(element);
            }
        }
        Some(Answer { places: Arc::clone(&self.places), parts, names: Names::Own(names) })
    }
}
