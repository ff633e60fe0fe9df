//! What became of everything that was read, and what means something else than it did.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::row::RowFault;

/// Something of the portal database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum Origin {
    /// A rule of a template.
    Strategy(i64),
    /// A combined rule of the fork.
    Combined(i64),
    /// A rule without a template.
    Expression(i64),
    /// A sum over hosts.
    Aggregator(i64),
    /// A value pushed in the place of missing samples.
    NoData(i64),
    /// A template.
    Template(i64),
    /// A group of hosts.
    Group(i64),
    /// Who is told.
    Action(i64),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Strategy(id) => write!(f, "strategy {id}"),
            Self::Combined(id) => write!(f, "combined rule {id}"),
            Self::Expression(id) => write!(f, "expression {id}"),
            Self::Aggregator(id) => write!(f, "cluster {id}"),
            Self::NoData(id) => write!(f, "nodata {id}"),
            Self::Template(id) => write!(f, "template {id}"),
            Self::Group(id) => write!(f, "group {id}"),
            Self::Action(id) => write!(f, "action {id}"),
        }
    }
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It means what it meant.
    Same,
    /// It was taken, and its notes say what means something else.
    Differs,
    /// It did nothing there and is left out here.
    Off,
    /// It cannot be taken.
    Refused,
}

impl Outcome {
    /// All of them, best first.
    pub const ALL: [Self; 4] = [Self::Same, Self::Differs, Self::Off, Self::Refused];

    /// The word for people and machines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Differs => "differs",
            Self::Off => "off",
            Self::Refused => "refused",
        }
    }
}

/// Something worth knowing of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// A word for what it is about, the same for all notes of the sort.
    pub about: &'static str,
    /// What to know, and what to do if it matters.
    pub text: String,
}

impl Note {
    pub(crate) fn new(about: &'static str, text: impl Into<String>) -> Self {
        Self { about, text: text.into() }
    }
}

/// What became of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Where it comes from.
    pub origin: Origin,
    /// Its name for people.
    pub name: String,
    /// What became of it.
    pub outcome: Outcome,
    /// The rule groups that it is in now.
    pub rule_groups: Vec<String>,
    /// What to know.
    pub notes: Vec<Note>,
}

/// What became of everything.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// What goes for all rules.
    pub general: Vec<Note>,
    /// What goes for one thing each, in order.
    pub entries: Vec<Entry>,
    /// Rows that could not be read.
    pub faults: Vec<RowFault>,
}

impl Report {
    /// How many things had an outcome.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.entries.iter().filter(|entry| entry.outcome == outcome).count()
    }
}

/// The entries of a report while it is made.
#[derive(Debug, Default)]
pub(crate) struct Entries(BTreeMap<Origin, Entry>);

impl Entries {
    /// Notes what became of something; what is told of the same thing later is added to the first.
    pub(crate) fn note(&mut self, entry: Entry) {
        let Some(known) = self.0.get_mut(&entry.origin) else {
            self.0.insert(entry.origin, entry);
            return;
        };
        known.outcome = known.outcome.max(entry.outcome);
        for group in entry.rule_groups {
            if !known.rule_groups.contains(&group) {
                known.rule_groups.push(group);
            }
        }
        for note in entry.notes {
            if !known.notes.contains(&note) {
                known.notes.push(note);
            }
        }
    }

    /// Whether something was noted of this.
    pub(crate) fn has(&self, origin: Origin) -> bool {
        self.0.contains_key(&origin)
    }

    /// All of them, by origin.
    pub(crate) fn into_list(self) -> Vec<Entry> {
        self.0.into_values().collect()
    }
}

impl fmt::Display for Report {
    /// The report for people: counts, what goes for all, then everything that is not the same as before.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<String> = Outcome::ALL
            .iter()
            .map(|outcome| format!("{} {}", self.count(*outcome), outcome.as_str()))
            .collect();
        writeln!(f, "{}, {} rows not readable", counts.join(", "), self.faults.len())?;
        for note in &self.general {
            writeln!(f, "\n{}: {}", note.about, note.text)?;
        }
        for fault in &self.faults {
            write!(f, "\nnot readable: {fault}")?;
        }
        if !self.faults.is_empty() {
            writeln!(f)?;
        }
        for entry in self.entries.iter().filter(|entry| !entry.notes.is_empty()) {
            write!(f, "\n{} {:?}: {}", entry.origin, entry.name, entry.outcome.as_str())?;
            if !entry.rule_groups.is_empty() {
                write!(f, " (in {})", entry.rule_groups.join(", "))?;
            }
            for note in &entry.notes {
                write!(f, "\n  {}: {}", note.about, note.text)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: i64, outcome: Outcome, note: &str) -> Entry {
        Entry {
            origin: Origin::Strategy(id),
            name: "cpu".to_owned(),
            outcome,
            rule_groups: vec![format!("g{id}")],
            notes: vec![Note::new("gap", note)],
        }
    }

    #[test]
    fn what_is_told_of_the_same_thing_twice_stands_together() {
        let mut entries = Entries::default();
        entries.note(entry(1, Outcome::Same, "x"));
        entries.note(entry(2, Outcome::Off, "y"));
        entries.note(entry(1, Outcome::Differs, "x"));
        let report = Report { entries: entries.into_list(), ..Report::default() };
        assert_eq!((report.entries.len(), report.entries[0].notes.len()), (2, 1));
        let text = report.to_string();
        assert!(text.starts_with("0 same, 1 differs, 1 off, 0 refused, 0 rows not readable\n"));
        assert!(text.contains("\nstrategy 1 \"cpu\": differs (in g1)\n  gap: x\n"), "{text}");
    }

    #[test]
    fn machines_read_kind_and_id() {
        let json = serde_json::to_value(entry(1, Outcome::Same, "x")).unwrap();
        assert_eq!(json["origin"], serde_json::json!({ "kind": "strategy", "id": 1 }));
    }
}
