//! What is wrong in rules, and where.

use std::fmt;

use serde::Serialize;

/// Something wrong in rules. Its text begins with `file:line:`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// File, or `db`.
    pub file: String,
    /// Line in the file, from 1; 0 when it is not about a line.
    pub line: u64,
    /// Name of the group; empty when it is not about a group.
    pub group: String,
    /// Which rule; empty when it is not about a rule.
    pub rule: String,
    /// What is wrong and how to mend it. For an expression with `line:column` within the expression.
    pub message: String,
}

impl Fault {
    /// About a file as a whole; the message is still to be written.
    pub(crate) fn of_file(file: &str) -> Self {
        let (file, nothing) = (file.to_owned(), String::new);
        Self { file, line: 0, group: nothing(), rule: nothing(), message: nothing() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.group.is_empty() {
            write!(f, ": group {:?}", self.group)?;
        }
        if !self.rule.is_empty() {
            write!(f, ", {}", self.rule)?;
        }
        write!(f, ": {}", self.message)
    }
}
