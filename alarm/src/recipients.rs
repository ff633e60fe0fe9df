//! Whom a receiver tells: users, teams, and whoever is on call. Pure.

use model::Timestamp;

use crate::directory::{Directory, name_fault};

/// How many recipients a receiver may name.
pub(crate) const RECIPIENTS_MAX: usize = 100;
const ADVICE: &str = "write user:ann, team:dba or oncall:dba";

/// What a receiver names as its recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Recipient {
    /// One person.
    User(String),
    /// Everybody of a team.
    Team(String),
    /// Who is on call for a team.
    OnCall(String),
}

impl Recipient {
    /// Reads `user:ann`, `team:dba` or `oncall:dba`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (kind, name) = text.split_once(':').ok_or_else(|| format!("{text:?}: {ADVICE}"))?;
        if let Some(fault) = name_fault(name) {
            return Err(fault);
        }
        let name = name.to_owned();
        match kind {
            "user" => Ok(Self::User(name)),
            "team" => Ok(Self::Team(name)),
            "oncall" => Ok(Self::OnCall(name)),
            _ => Err(format!("{text:?}: {ADVICE}")),
        }
    }

    /// Reads all of them; fails with the first fault.
    pub(crate) fn parse_all(texts: &[String]) -> Result<Vec<Self>, String> {
        if texts.len() > RECIPIENTS_MAX {
            return Err(format!("more than {RECIPIENTS_MAX}"));
        }
        texts.iter().map(|text| Self::parse(text)).collect()
    }
}

/// Who is told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Names, each once, in the order of the recipients.
    pub(crate) people: Vec<String>,
    /// What is not as the receiver expects, a sentence each.
    pub(crate) amiss: Vec<String>,
}

/// Who is told at a moment. Where nobody is on call all of the team are: an alert must not be lost for a gap in a
/// rotation.
pub(crate) fn find(recipients: &[Recipient], directory: &Directory, at: Timestamp) -> Found {
    let mut found = Found::default();
    for recipient in recipients {
        match recipient {
            Recipient::User(name) => {
                if !directory.users.contains_key(name) {
                    found.amiss.push(format!("there is no user {name}"));
                }
                found.add(name);
            }
            Recipient::Team(name) | Recipient::OnCall(name) => match directory.teams.get(name) {
                None => found.amiss.push(format!("there is no team {name}")),
                Some(team) => {
                    let is_duty = matches!(recipient, Recipient::OnCall(_));
                    let on_duty = team.on_call(at).person.filter(|_| is_duty);
                    if is_duty && on_duty.is_none() {
                        let what = "nobody is on call; all of the team are told";
                        found.amiss.push(format!("team {name}: {what}"));
                    }
                    match on_duty {
                        Some(person) => found.add(&person),
                        None => team.config.members.iter().for_each(|name| found.add(name)),
                    }
                }
            },
        }
    }
    found
}

impl Found {
    fn add(&mut self, name: &str) {
        if !self.people.iter().any(|known| known == name) {
            self.people.push(name.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::directory::tests::{team, user};

    fn found(texts: &[&str], at: &str) -> Found {
        let users = [user("ann", &[]), user("bob", &[])];
        let teams = [team("dba", &["ann", "bob"]), team("empty", &[])];
        let directory = Directory::of((&users, &teams), Vec::new(), &TimeZone::UTC);
        let recipients: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let recipients = Recipient::parse_all(&recipients).unwrap();
        find(&recipients, &directory, Timestamp::parse_rfc3339(at).unwrap())
    }

    #[test]
    fn who_is_on_call_is_told_and_everybody_once() {
        let week = |n| ["2026-01-05T09:00:00Z", "2026-01-12T09:00:00Z"][n];
        assert_eq!(found(&["oncall:dba"], week(0)).people, ["ann"]);
        assert_eq!(found(&["oncall:dba"], week(1)).people, ["bob"]);
        let all = found(&["user:bob", "oncall:dba", "team:dba"], week(0));
        assert_eq!((all.people, all.amiss.len()), (vec!["bob".to_owned(), "ann".to_owned()], 0));
    }

    #[test]
    fn a_gap_in_the_rotation_tells_the_team_and_says_so() {
        let early = found(&["oncall:dba"], "2026-01-05T08:59:59Z");
        assert_eq!(early.people, ["ann", "bob"]);
        assert!(early.amiss[0].contains("nobody is on call"), "{early:?}");
        let gone = found(&["oncall:gone", "team:empty", "user:cyd"], "2026-01-06T00:00:00Z");
        assert_eq!(gone.people, ["cyd"]);
        assert_eq!(gone.amiss, ["there is no team gone", "there is no user cyd"]);
    }

    #[test]
    fn anything_else_is_refused_with_what_to_write() {
        for text in ["ann", "team:", "duty:dba", "user:a b", ":"] {
            assert!(Recipient::parse(text).is_err(), "{text}");
        }
        assert!(Recipient::parse("duty:dba").unwrap_err().contains("oncall:dba"));
    }
}
