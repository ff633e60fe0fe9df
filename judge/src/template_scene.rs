//! What a rendering can see and how much work it may do.
//!
//! Functions of templates are fixed when a template is parsed, but some of them answer from the moment of the
//! evaluation. A rendering runs to its end on one thread, so what it sees stands in a thread-local place
//! meanwhile.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gotmpl::{TemplateError, Value};
use model::{Labels, Timestamp};

/// Bytes that the functions of one rendering may be given and give, all together. A text that doubles itself
/// in a loop ends here and not when the memory does.
pub(crate) const WORK_BYTES_MAX: usize = 1 << 20;
/// Templates that one rendering may call, counted with every repetition.
pub(crate) const CALLS_MAX: usize = 10_000;
/// Values within values, as by `args` of `args`.
const NESTING_MAX: usize = 32;
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

struct Running {
    at: Timestamp,
    external_url: String,
    mentioned: Vec<Arc<str>>,
    lookups: Lookups,
    work_left: usize,
}

thread_local! {
    static RUNNING: RefCell<Option<Running>> = const { RefCell::new(None) };
}

/// Takes away what the rendering sees when it ends, however it ends.
struct Cleared;

impl Drop for Cleared {
    fn drop(&mut self) {
        RUNNING.with_borrow_mut(|running| *running = None);
    }
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

/// Renders with this in sight. `mentioned` are labels that the template names.
pub(crate) fn within<T>(
    scene: &Scene<'_>,
    mentioned: &[Arc<str>],
    render: impl FnOnce() -> T,
) -> T {
    let running = Running {
        at: scene.at,
        external_url: scene.surroundings.external_url.clone(),
        mentioned: mentioned.to_vec(),
        lookups: scene.lookups.clone(),
        work_left: WORK_BYTES_MAX,
    };
    RUNNING.with_borrow_mut(|place| *place = Some(running));
    let _cleared = Cleared;
    render()
}

/// The moment of the evaluation.
pub(crate) fn now() -> gotmpl::Result<Timestamp> {
    seen(|running| Ok(running.at))
}

/// Where users reach us.
pub(crate) fn external_url() -> gotmpl::Result<String> {
    seen(|running| Ok(running.external_url.clone()))
}

/// The answer to a query.
pub(crate) fn query(text: &str) -> gotmpl::Result<Value> {
    seen(|running| {
        let mut asked = running.lookups.asked();
        match asked.answers.get(text) {
            Some(Ok(elements)) => {
                let samples = elements
                    .iter()
                    .map(|(labels, value)| sample(labels, *value, &running.mentioned));
                Ok(Value::List(samples.collect()))
            }
            Some(Err(reason)) => Err(fault(format!("query {text:?}: {reason}"))),
            None => {
                asked.open.insert(text.to_owned());
                Err(fault(format!("query {text:?} has no answer yet")))
            }
        }
    })
}

/// Counts work. The error says that there was too much of it.
pub(crate) fn charge(bytes: usize) -> gotmpl::Result<()> {
    seen(|running| match running.work_left.checked_sub(bytes) {
        Some(left) => {
            running.work_left = left;
            Ok(())
        }
        None => Err(fault(format!("its functions work on more than {WORK_BYTES_MAX} bytes"))),
    })
}

/// Counts the work of a function that is given these.
pub(crate) fn charge_for(values: &[Value]) -> gotmpl::Result<()> {
    values.iter().try_for_each(|value| charge_nested(value, 0))
}

fn charge_nested(value: &Value, depth: usize) -> gotmpl::Result<()> {
    if depth > NESTING_MAX {
        return Err(fault(format!("values are nested more than {NESTING_MAX} deep")));
    }
    match value {
        Value::String(text) => charge(text.len() + 1),
        Value::List(items) => {
            charge(1)?;
            items.iter().try_for_each(|item| charge_nested(item, depth + 1))
        }
        Value::Map(map) => {
            charge(map.keys().map(|key| key.len() + 1).sum::<usize>() + 1)?;
            map.values().try_for_each(|item| charge_nested(item, depth + 1))
        }
        _ => charge(8),
    }
}

/// A failure of a template.
pub(crate) fn fault(message: String) -> TemplateError {
    TemplateError::Exec(message)
}

/// A map with these labels, and with nothing for every other one that the template names: an absent label is
/// nothing in Prometheus, and "<no value>" in the crate.
pub(crate) fn label_map(labels: &Labels, mentioned: &[Arc<str>]) -> Value {
    let empty = || Value::String(Arc::from(""));
    let names = mentioned.iter().map(|name| (name.clone(), empty()));
    let own = labels.iter().map(|(name, value)| (Arc::from(name), Value::String(Arc::from(value))));
    Value::Map(Arc::new(names.chain(own).collect()))
}

fn sample(labels: &Labels, value: f64, mentioned: &[Arc<str>]) -> Value {
    let fields = [
        (Arc::from("Labels"), label_map(labels, mentioned)),
        (Arc::from("Value"), Value::Float(value)),
    ];
    Value::Map(Arc::new(fields.into_iter().collect()))
}

fn seen<T>(look: impl FnOnce(&mut Running) -> gotmpl::Result<T>) -> gotmpl::Result<T> {
    RUNNING.with_borrow_mut(|running| match running {
        Some(running) => look(running),
        None => Err(fault("it is used outside of a rendering".to_owned())),
    })
}
