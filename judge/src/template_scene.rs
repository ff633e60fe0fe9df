//! What a rendering can see beside the alert: the moment, the surroundings, and answers to queries.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::template::{Answer, Record, Value};
use model::{Labels, Timestamp};

/// Elements that a query in a template may give.
pub(crate) const ELEMENTS_MAX: usize = 1_000;

/// What templates can refer to besides the alert.
#[derive(Debug, Clone, Default)]
pub(crate) struct Surroundings {
    /// `$externalLabels`.
    pub(crate) external_labels: Labels,
    /// `$externalURL`.
    pub(crate) external_url: String,
}

/// What renderings of one evaluation see.
#[derive(Debug, Clone)]
pub(crate) struct Scene<'a> {
    /// The same for all evaluations.
    pub(crate) surroundings: &'a Surroundings,
    /// The moment of the evaluation.
    pub(crate) at: Timestamp,
    /// Answers to queries.
    pub(crate) lookups: Lookups,
}

/// Queries of templates and their answers. A rendering that asks what has no answer yet fails and leaves the
/// question here; with the answers it is repeated.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lookups(Arc<Mutex<Asked>>);

#[derive(Debug, Default)]
struct Asked {
    answers: HashMap<String, Result<Vec<(Labels, f64)>, String>>,
    open: BTreeSet<String>,
}

impl Lookups {
    /// The questions without an answer, which are taken out.
    pub(crate) fn take_open(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.asked().open)
    }

    /// Notes the answer to a query: its elements, or why there is none.
    pub(crate) fn answer(&self, query: String, answer: Result<Vec<(Labels, f64)>, String>) {
        let bounded = answer.and_then(|elements| match elements.len() {
            got if got > ELEMENTS_MAX => {
                Err(format!("the query gives {got} elements; {ELEMENTS_MAX} are the most"))
            }
            _ => Ok(elements),
        });
        self.asked().answers.insert(query, bounded);
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scene<'_> {
    /// The answer to a query.
    pub(crate) fn query(&self, text: &str) -> Answer {
        let mut asked = self.lookups.asked();
        match asked.answers.get(text) {
            Some(Ok(elements)) => {
                Ok(Value::list(elements.iter().map(|(labels, value)| sample(labels, *value))))
            }
            Some(Err(reason)) => Err(format!("query {text:?}: {reason}")),
            None => {
                asked.open.insert(text.to_owned());
                Err(format!("query {text:?} has no answer yet"))
            }
        }
    }
}

fn sample(labels: &Labels, value: f64) -> Value {
    let fields =
        vec![("Labels", Value::Labels(Labels::clone(labels))), ("Value", Value::Float(value))];
    Value::Record(Arc::new(Record { name: "template.sample", fields }))
}
