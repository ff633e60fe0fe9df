//! Rules of Saker, before they are written.

use std::collections::BTreeMap;

use crate::nodata::Missing;
use crate::portal::{Portal, Trigger};
use crate::report::Note;
use crate::series::span;
use crate::window::DayWindow;

/// The label that says which thing of the portal database a rule comes from.
pub(crate) const ORIGIN_LABEL: &str = "falcon_id";
/// The label with the teams that were told.
pub(crate) const TEAMS_LABEL: &str = "teams";
/// The label by which the receiver of a callback is found.
pub(crate) const ACTION_LABEL: &str = "falcon_action";

/// The longest name of an alert that is made of a note.
const NAME_CHARS_MAX: usize = 120;

/// A rule.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rule {
    /// Name of the alert or of the recorded series.
    pub(crate) name: String,
    pub(crate) expr: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// Where it comes from, for people.
    pub(crate) comment: String,
    pub(crate) kind: Kind,
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Alerting(Box<Alerting>),
    Recording,
}

/// What an alerting rule has besides.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Alerting {
    pub(crate) recover: String,
    pub(crate) missing: Missing,
    /// What passes between the last sample and its absence from the rule's expression, in seconds.
    pub(crate) unseen: i64,
    pub(crate) notifications_max: i64,
    pub(crate) window: Option<DayWindow>,
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Alerting {
    /// The policy for missing data, as it is written.
    pub(crate) fn no_data(&self) -> String {
        match self.missing {
            Missing::Keep => "keep".to_owned(),
            Missing::Ok => "ok".to_owned(),
            Missing::Alert(silence) if silence > self.unseen => {
                format!("alert after {}", span(silence - self.unseen))
            }
            Missing::Alert(_) => "alert".to_owned(),
        }
    }
}

/// Rules that are evaluated together.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) comment: String,
    /// Seconds between two evaluations.
    pub(crate) interval: i64,
    pub(crate) rules: Vec<Rule>,
}

/// Evaluations of a rule over samples that come every `step` seconds. A sample arrives some time after its
/// own; several evaluations a step make sure that one of them sees every window complete.
pub(crate) fn alert_interval(step: i64) -> i64 {
    (step / 4).clamp(5, 60)
}

/// What an alert is called: the note, or else what is compared.
pub(crate) fn alert_name(trigger: &Trigger, subject: &str) -> String {
    let note: String = trigger
        .note
        .split(|c: char| c.is_control() || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    let name = if note.is_empty() { format!("{subject} {}", comparison(trigger)) } else { note };
    name.chars().take(NAME_CHARS_MAX).collect()
}

/// `all(#3) > 90`
pub(crate) fn comparison(trigger: &Trigger) -> String {
    format!("{} {} {}", trigger.function, trigger.operator, trigger.threshold)
}

/// The labels of a rule: how urgent it is, where it comes from, who is told.
pub(crate) fn labels(
    portal: &Portal,
    trigger: &Trigger,
    origin: &str,
    action: i64,
    notes: &mut Vec<Note>,
) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        ("severity".to_owned(), severity(trigger.priority, notes)),
        (ORIGIN_LABEL.to_owned(), origin.to_owned()),
    ]);
    match portal.actions.get(&action) {
        Some(action_row) => {
            if !action_row.teams.is_empty() {
                labels.insert(TEAMS_LABEL.to_owned(), verbatim(&action_row.teams));
            }
            if !action_row.callback.is_empty() {
                labels.insert(ACTION_LABEL.to_owned(), action.to_string());
            }
        }
        None if action > 0 => {
            let text = format!("action {action} is not in the database: nobody was told");
            notes.push(Note::new("receivers", text));
        }
        None => {}
    }
    labels
}

fn severity(priority: i64, notes: &mut Vec<Note>) -> String {
    match priority {
        0..=6 => format!("P{priority}"),
        9 => {
            let text = "P9, a phone call, is severity P0: give receivers of P0 the phone";
            notes.push(Note::new("priority", text));
            "P0".to_owned()
        }
        _ => {
            let text = format!("priority {priority} is none of 0 to 6 and became P3");
            notes.push(Note::new("priority", text));
            "P3".to_owned()
        }
    }
}

/// A text that templates leave as it is.
pub(crate) fn verbatim(text: &str) -> String {
    text.replace("{{", "{{ `{{` }}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger(note: &str, priority: i64) -> Trigger {
        Trigger {
            function: "all(#3)".to_owned(),
            operator: ">".to_owned(),
            threshold: 90.0,
            notifications_max: 3,
            priority,
            note: note.to_owned(),
        }
    }

    #[test]
    fn an_alert_is_called_by_its_note_on_one_line() {
        assert_eq!(alert_name(&trigger(" memory\n high ", 0), "mem.memused"), "memory high");
        assert_eq!(alert_name(&trigger("", 0), "mem.memused"), "mem.memused all(#3) > 90");
        assert_eq!(alert_name(&trigger(&"长".repeat(300), 0), "x").chars().count(), 120);
    }

    #[test]
    fn priorities_become_severities() {
        let mut notes = Vec::new();
        let severity = |priority, notes: &mut Vec<Note>| severity(priority, notes);
        assert_eq!((severity(0, &mut notes), severity(6, &mut notes)), ("P0".into(), "P6".into()));
        assert!(notes.is_empty());
        assert_eq!((severity(9, &mut notes), severity(7, &mut notes)), ("P0".into(), "P3".into()));
        assert_eq!(notes.len(), 2);
    }

    #[test]
    fn a_silence_counts_from_the_last_sample() {
        let alerting = |missing| Alerting {
            recover: String::new(),
            missing,
            unseen: 180,
            notifications_max: 1,
            window: None,
            annotations: BTreeMap::new(),
        };
        assert_eq!(alerting(Missing::Alert(300)).no_data(), "alert after 2m");
        assert_eq!(alerting(Missing::Alert(180)).no_data(), "alert");
        assert_eq!(alerting(Missing::Keep).no_data(), "keep");
    }

    #[test]
    fn rules_are_evaluated_several_times_a_step() {
        assert_eq!([10, 30, 60, 600].map(alert_interval), [5, 7, 15, 60]);
    }
}
