//! Templates and the definitions that they share.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use gotmpl::TemplateError;
use gotmpl::parse::{ListNode, Parser};

use crate::execute;
use crate::{Dialect, Escape, Fault, Limits, Own, Value};
use crate::{blocks, check};

/// The text that a tree was read from.
pub(crate) struct Source {
    name: String,
    text: String,
    /// Bytes at the beginning of the first line that nobody wrote.
    preamble: usize,
}

impl Source {
    /// The place at so many bytes from the beginning.
    pub(crate) fn fault(&self, offset: usize, message: impl Into<String>) -> Fault {
        let mut end = offset.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &self.text[..end];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let hidden = if line_start == 0 { self.preamble.min(end) } else { line_start };
        Fault {
            source: self.name.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[hidden..].chars().count() + 1,
            message: message.into(),
        }
    }

    fn parse_fault(&self, error: &TemplateError) -> Fault {
        let (line, col, message) = match error {
            TemplateError::Parse { line, col, message, .. }
            | TemplateError::Lex { line, col, message, .. } => (*line, *col, message.to_owned()),
            other => (1, 1, other.to_string()),
        };
        let hidden = if line <= 1 { self.preamble } else { 0 };
        let column = col.saturating_sub(hidden).max(1);
        Fault { source: self.name.to_owned(), line: line.max(1), column, message }
    }
}

/// A body with the text it comes from.
pub(crate) struct Definition {
    pub(crate) source: Arc<Source>,
    pub(crate) body: ListNode,
}

type Definitions = HashMap<String, Arc<Definition>>;

/// Definitions by name, as the files of a folder hold them.
#[derive(Clone)]
pub struct Library {
    dialect: &'static Dialect,
    definitions: Definitions,
}

impl Library {
    /// One without definitions.
    pub fn new(dialect: &'static Dialect) -> Self {
        Self { dialect, definitions: HashMap::new() }
    }

    /// Adds the definitions of a text; one that is there already is replaced. Gives all faults of the text, and
    /// changes nothing if there are some.
    pub fn add(&mut self, name: &str, text: &str) -> Result<(), Vec<Fault>> {
        let parsed = Parsed::read(self.dialect, name, text, "")?;
        self.definitions.extend(parsed.definitions);
        Ok(())
    }

    /// Whether there is a definition of this name.
    pub fn defines(&self, name: &str) -> bool {
        self.definitions.contains_key(name)
    }

    /// The name of the text that a definition is in.
    pub fn origin(&self, name: &str) -> Option<&str> {
        self.definitions.get(name).map(|definition| definition.source.name.as_str())
    }

    /// The names of the definitions of a text, sorted.
    pub fn names_in(&self, text_name: &str) -> Vec<&str> {
        let is_in = |definition: &Definition| definition.source.name == text_name;
        let found = self.definitions.iter().filter(|(_, definition)| is_in(definition));
        let mut names: Vec<&str> = found.map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names
    }

    /// The texts that definitions come from, by name, each with what it says.
    pub fn texts(&self) -> BTreeMap<&str, &str> {
        let sources = self.definitions.values().map(|definition| &definition.source);
        sources.map(|source| (source.name.as_str(), source.text.as_str())).collect()
    }

    /// Calls of definitions that are not there, in the order of their places.
    pub fn missing(&self) -> Vec<Fault> {
        let names = |name: &str| self.defines(name);
        let mut faults: Vec<Fault> =
            self.definitions.values().flat_map(|body| check::missing(body, &names)).collect();
        faults.sort_by(|a, b| (&a.source, a.line, a.column).cmp(&(&b.source, b.line, b.column)));
        faults
    }
}

/// What a text holds.
struct Parsed {
    main: Arc<Definition>,
    definitions: Definitions,
}

impl Parsed {
    fn read(dialect: &Dialect, name: &str, text: &str, preamble: &str) -> Result<Self, Vec<Fault>> {
        let source = Arc::new(Source {
            name: name.to_owned(),
            text: format!("{preamble}{text}"),
            preamble: preamble.len(),
        });
        let read = Parser::new(&source.text, "{{", "}}").and_then(Parser::parse);
        let (body, defines) = read.map_err(|error| vec![source.parse_fault(&error)])?;
        if let Some((at, message)) = blocks::fault(&source.text) {
            return Err(vec![source.fault(at, message)]);
        }
        let mut faults = Vec::new();
        let check = |body: &ListNode, faults: &mut Vec<Fault>| {
            let unknown = check::unknown(body, dialect).into_iter();
            faults.extend(unknown.map(|(at, message)| source.fault(at, message)));
        };
        check(&body, &mut faults);
        let mut definitions = Definitions::new();
        for define in defines {
            check(&define.body, &mut faults);
            // An empty one takes no other's place.
            let is_empty = define.body.is_empty_tree();
            let former = definitions.get(define.name.as_str());
            let has_former = former.is_some_and(|former| !former.body.is_empty_tree());
            if has_former && !is_empty {
                let message = format!("{:?} is defined twice", define.name);
                faults.push(source.fault(define.pos.offset, message));
            } else if !has_former {
                let definition = Definition { source: Arc::clone(&source), body: define.body };
                definitions.insert(define.name.to_string(), Arc::new(definition));
            }
        }
        if faults.is_empty() {
            let main = Arc::new(Definition { source, body });
            return Ok(Self { main, definitions });
        }
        faults.sort_by_key(|fault| (fault.line, fault.column));
        Err(faults)
    }
}

/// A text that can be rendered any number of times.
#[derive(Clone)]
pub struct Template {
    dialect: &'static Dialect,
    main: Arc<Definition>,
    own: Arc<Definitions>,
    library: Arc<Library>,
}

impl Template {
    /// Reads a text. `preamble` stands before it on its first line and declares variables. What it calls
    /// must be in it or in the library, and so must what that calls.
    pub fn parse(
        library: &Arc<Library>,
        name: &str,
        text: &str,
        preamble: &str,
    ) -> Result<Self, Vec<Fault>> {
        let parsed = Parsed::read(library.dialect, name, text, preamble)?;
        let template = Self {
            dialect: library.dialect,
            main: parsed.main,
            own: Arc::new(parsed.definitions),
            library: Arc::clone(library),
        };
        let find = |name: &str| template.definition(name).map(Arc::as_ref);
        let missing = check::missing_from(&template.main, &find);
        if missing.is_empty() { Ok(template) } else { Err(missing) }
    }

    /// The text about some data. The error says where it failed and why.
    pub fn render(
        &self,
        data: &Value,
        own: &Own<'_>,
        limits: &Limits,
        escape: Option<Escape>,
    ) -> Result<String, Fault> {
        execute::run(self, data, own, limits, escape)
    }

    pub(crate) fn dialect(&self) -> &'static Dialect {
        self.dialect
    }

    pub(crate) fn main(&self) -> &Definition {
        &self.main
    }

    pub(crate) fn definition(&self, name: &str) -> Option<&Arc<Definition>> {
        self.own.get(name).or_else(|| self.library.definitions.get(name))
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.definitions.keys()).finish()
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({:?})", &self.main.source.text[self.main.source.preamble..])
    }
}

/// Two templates are the same when they are written the same.
impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.main.source.text == other.main.source.text
            && (Arc::ptr_eq(&self.library, &other.library) || self.library == other.library)
    }
}

impl PartialEq for Library {
    fn eq(&self, other: &Self) -> bool {
        let is_same = |name: &String, mine: &Arc<Definition>| {
            let theirs = other.definitions.get(name);
            theirs.is_some_and(|theirs| theirs.source.text == mine.source.text)
        };
        self.definitions.len() == other.definitions.len()
            && self.definitions.iter().all(|(name, mine)| is_same(name, mine))
    }
}
