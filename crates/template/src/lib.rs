//! Templates of Go's `text/template` with the functions of Prometheus and Alertmanager. Pure: what a template may see
//! comes in as a value, what it asks for is answered by the caller's own functions, and the text goes out. Every
//! rendering is bounded in its output, its work, its loops and its depth.

pub mod alertmanager;
mod blocks;
mod builtin;
mod check;
mod date;
mod execute;
pub mod functions;
pub mod humanize;
mod moment;
mod parse;
mod print;
mod printf;
mod value;

use std::collections::HashMap;
use std::fmt;

pub use moment::time_of;
pub use parse::{Library, Template};
pub use value::{List, ListKind, Record, Value};

/// Where and why a template fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Name of the text: a file, or what the caller calls it.
    pub source: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, line, column, message } = self;
        write!(f, "{source}:{line}:{column}: {message}")
    }
}

/// What one rendering may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest text.
    pub output_bytes_max: usize,
    /// What functions may be given and give, all together. A text that doubles itself in a loop ends here and not
    /// when the memory does.
    pub work_bytes_max: usize,
    /// Rounds of all loops together.
    pub rounds_max: u64,
    /// Actions, texts and branches that are gone through, counted with every repetition.
    pub steps_max: u64,
    /// Templates that are called, counted with every repetition.
    pub calls_max: u64,
}

/// Values within values, as by `dict` of `dict`.
pub(crate) const NESTING_MAX: usize = 32;

/// What a function answers; the error is a sentence for people.
pub type Answer = Result<Value, String>;

/// How a function is called.
#[derive(Debug, Clone, Copy)]
pub enum Function {
    /// It only looks at its arguments.
    Pure(fn(&[Value]) -> Answer),
    /// It puts its arguments into a value, which is kept from nesting too deep.
    Builder(fn(&[Value]) -> Answer),
    /// The caller of the rendering answers.
    Own,
    /// `and` and `or`, which look at an argument only when it counts.
    Lazy,
}

/// The caller's own functions: name and arguments.
pub type Own<'a> = dyn Fn(&str, &[Value]) -> Answer + 'a;

/// Makes what comes from a value harmless in the markup that the template writes.
pub type Escape = fn(&str) -> String;

/// The functions that a template may name.
pub struct Dialect {
    functions: HashMap<&'static str, Function>,
}

impl Dialect {
    /// Those of Go's own templates.
    pub fn go() -> Self {
        Self { functions: builtin::all().collect() }
    }

    /// With more functions.
    #[must_use]
    pub fn with(mut self, functions: impl IntoIterator<Item = (&'static str, Function)>) -> Self {
        self.functions.extend(functions);
        self
    }

    pub(crate) fn function(&self, name: &str) -> Option<Function> {
        self.functions.get(name).copied()
    }
}

impl fmt::Debug for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.functions.keys()).finish()
    }
}
