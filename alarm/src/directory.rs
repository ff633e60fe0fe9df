//! Who there is: users with their addresses, teams, and who is on call. Pure.

use std::collections::{BTreeMap, HashMap};

use channels::Language;
use db::directory::{EntryKind, EntryRow};
use jiff::tz::TimeZone;
use model::Timestamp;
use serde::{Deserialize, Serialize};

use crate::quiet::{self, QuietConfig};
use crate::rotation::{self, Rotation, RotationConfig, Shift, StandIn};

/// How many users there may be.
pub(crate) const USERS_MAX: usize = 20_000;
/// How many teams there may be.
pub(crate) const TEAMS_MAX: usize = 2_000;
/// How many stand-ins there may be, those of the last days included.
pub(crate) const STAND_INS_MAX: usize = 10_000;
const MEMBERS_MAX: usize = 1_000;
const NAME_CHARS_MAX: usize = 64;
const ADDRESS_BYTES_MAX: usize = 500;
const STAND_IN_DAYS_MAX: u64 = 366;

/// A field and what is wrong with it.
pub(crate) type FieldFault = (String, String);

/// A user, as the settings and the API write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserConfig {
    /// Name of the person; mutes, teams and rotations go by it.
    #[serde(default)]
    pub name: String,
    /// Where the person is reached, by `feishu`, `dingtalk`, `wecom`, `slack`, `telegram`, `mail` or `phone`.
    #[serde(default)]
    pub addresses: BTreeMap<String, String>,
    /// The language of messages to the person; that of the receiver if it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
    /// The time zone of moments in messages, an IANA name; empty for that of alarm.
    #[serde(default)]
    pub time_zone: String,
    /// When what is not urgent waits for the person, at most twenty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quiet: Vec<QuietConfig>,
}

/// A team, as the settings and the API write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeamConfig {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Names of users.
    #[serde(default)]
    pub members: Vec<String>,
    /// Who is on call when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationConfig>,
}

/// A stand-in, as the API writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StandInConfig {
    #[serde(default)]
    pub(crate) team: String,
    pub(crate) user: String,
    /// In milliseconds since the epoch.
    pub(crate) from: i64,
    /// In milliseconds since the epoch; not any more at this moment.
    pub(crate) until: i64,
}

/// Where an entry comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// The settings: the API cannot change it.
    Settings,
    /// The database.
    Stored { version: i64, changed_at: Timestamp, changed_by: String },
}

impl Source {
    /// The version that a change is made from; 0 in the settings.
    pub(crate) const fn version(&self) -> i64 {
        match self {
            Self::Settings => 0,
            Self::Stored { version, .. } => *version,
        }
    }
}

/// A user and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) config: UserConfig,
    pub(crate) source: Source,
}

/// A team, ready to be asked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Team {
    pub(crate) config: TeamConfig,
    pub(crate) source: Source,
    pub(crate) rotation: Option<Rotation>,
    pub(crate) stand_ins: Vec<StandIn>,
}

impl Team {
    /// Who is on call.
    pub(crate) fn on_call(&self, at: Timestamp) -> Shift {
        rotation::on_call(self.rotation.as_ref(), &self.stand_ins, at)
    }

    /// Who is on call for a while.
    pub(crate) fn schedule(&self, from: Timestamp, to: Timestamp) -> Vec<Shift> {
        rotation::schedule(self.rotation.as_ref(), &self.stand_ins, (from, to))
    }

    /// Whether anybody is ever on call.
    pub(crate) fn has_duty(&self) -> bool {
        self.rotation.is_some() || !self.stand_ins.is_empty()
    }
}

/// Everybody, at one moment.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    pub(crate) users: BTreeMap<String, User>,
    pub(crate) teams: BTreeMap<String, Team>,
    /// Who has an account; nobody where two say so.
    accounts: HashMap<String, Option<String>>,
}

impl Directory {
    /// From the settings and the database; what the settings name is as they say.
    pub(crate) fn of(
        (users, teams): (&[UserConfig], &[TeamConfig]),
        rows: Vec<EntryRow>,
        zone: &TimeZone,
    ) -> Self {
        let mut directory = Self::default();
        let mut stand_ins: HashMap<String, Vec<StandIn>> = HashMap::new();
        for row in rows {
            directory.add_row(row, &mut stand_ins, zone);
        }
        for config in users {
            let user = User { config: config.clone(), source: Source::Settings };
            directory.users.insert(config.name.clone(), user);
        }
        for config in teams {
            let team = ready(config.clone(), Source::Settings, zone);
            directory.teams.insert(config.name.clone(), team);
        }
        for (team, stand_ins) in stand_ins {
            if let Some(team) = directory.teams.get_mut(&team) {
                team.stand_ins = stand_ins;
            }
        }
        for user in directory.users.values() {
            for (kind, address) in &user.config.addresses {
                let owner = directory.accounts.entry(account(kind, address));
                let owner = owner.or_insert_with(|| Some(user.config.name.clone()));
                if owner.as_ref() != Some(&user.config.name) {
                    *owner = None;
                }
            }
        }
        directory
    }

    fn add_row(
        &mut self,
        row: EntryRow,
        stand_ins: &mut HashMap<String, Vec<StandIn>>,
        zone: &TimeZone,
    ) {
        let EntryRow { kind, name, body, version, changed_at, changed_by, .. } = row;
        let source = Source::Stored { version, changed_at, changed_by };
        let read = match kind {
            EntryKind::User => serde_json::from_str(&body).map(|config: UserConfig| {
                let config = UserConfig { name: name.clone(), ..config };
                self.users.insert(name.clone(), User { config, source });
            }),
            EntryKind::Team => serde_json::from_str(&body).map(|config: TeamConfig| {
                let config = TeamConfig { name: name.clone(), ..config };
                self.teams.insert(name.clone(), ready(config, source, zone));
            }),
            EntryKind::StandIn => serde_json::from_str(&body).map(|config: StandInConfig| {
                let stand_in = StandIn {
                    id: name.clone(),
                    person: config.user,
                    from: Timestamp(config.from),
                    until: Timestamp(config.until),
                    made_at: changed_at,
                };
                stand_ins.entry(config.team).or_default().push(stand_in);
            }),
        };
        if let Err(fault) = read {
            // A newer version wrote it.
            tracing::error!(entry.name = name, "ignored an entry of the directory: {fault}");
        }
    }

    /// Who has an account of a platform, as `feishu:ou_1`; nobody where two users say so.
    pub(crate) fn owner(&self, account: &str) -> Option<&str> {
        let (platform, id) = account.split_once(':')?;
        let (kind, id) = match platform {
            "twilio" => ("phone", id),
            // Slack names the workspace too.
            "slack" => ("slack", id.rsplit('/').next().unwrap_or(id)),
            _ => (platform, id),
        };
        self.accounts.get(&format!("{kind}:{id}"))?.as_deref()
    }

    /// Until when a message of this priority waits for somebody; `None` when it does not. `zone` is for those who have
    /// none of their own.
    pub(crate) fn quiet_until(
        &self,
        user: &str,
        priority: u8,
        zone: &TimeZone,
        at: Timestamp,
    ) -> Option<Timestamp> {
        let config = &self.users.get(user).filter(|user| !user.config.quiet.is_empty())?.config;
        let own = Some(&config.time_zone).filter(|name| !name.is_empty());
        let own = own.and_then(|name| TimeZone::get(name).ok());
        quiet::holds(&config.quiet, priority, own.as_ref().unwrap_or(zone), at)
    }

    /// How many stand-ins there are.
    pub(crate) fn stand_ins(&self) -> usize {
        self.teams.values().map(|team| team.stand_ins.len()).sum()
    }
}

fn account(kind: &str, address: &str) -> String {
    format!("{kind}:{address}")
}

fn ready(config: TeamConfig, source: Source, zone: &TimeZone) -> Team {
    // Faults were refused when it was written; what a newer version wrote has nobody on call.
    let rotation = config.rotation.as_ref().and_then(|one| Rotation::read(one, zone).ok());
    Team { config, source, rotation, stand_ins: Vec::new() }
}

/// What is wrong with a name; names stand in addresses of pages and behind `team:`.
pub(crate) fn name_fault(name: &str) -> Option<String> {
    let is_plain = |c: char| c.is_alphanumeric() || "._-@".contains(c);
    let is_good = !name.is_empty()
        && name.chars().count() <= NAME_CHARS_MAX
        && name.chars().all(is_plain)
        && !name.chars().all(|c| c == '.');
    let advice = "letters, digits and . _ - @";
    (!is_good).then(|| format!("{name:?} must have 1 to {NAME_CHARS_MAX} of {advice}"))
}

impl UserConfig {
    /// What is wrong with it.
    pub(crate) fn faults(&self) -> Vec<FieldFault> {
        let mut faults: Vec<FieldFault> = Vec::new();
        faults.extend(name_fault(&self.name).map(|fault| ("name".to_owned(), fault)));
        for (kind, address) in &self.addresses {
            let field = format!("addresses.{kind}");
            if !channels::FAMILIES.contains(&kind.as_str()) {
                faults.push((field, format!("is none of {}", channels::FAMILIES.join(", "))));
            } else if address.is_empty()
                || address.len() > ADDRESS_BYTES_MAX
                || address.chars().any(char::is_control)
            {
                let fault = format!("must have 1 to {ADDRESS_BYTES_MAX} bytes in one line");
                faults.push((field, fault));
            }
        }
        if !self.time_zone.is_empty() && TimeZone::get(&self.time_zone).is_err() {
            let fault = format!("{:?} is not a time zone of this system", self.time_zone);
            faults.push(("time_zone".to_owned(), fault));
        }
        faults.extend(quiet::faults(&self.quiet));
        faults
    }
}

impl TeamConfig {
    /// What is wrong with it.
    pub(crate) fn faults(&self) -> Vec<FieldFault> {
        let mut faults: Vec<FieldFault> = Vec::new();
        faults.extend(name_fault(&self.name).map(|fault| ("name".to_owned(), fault)));
        if self.members.len() > MEMBERS_MAX {
            faults.push(("members".to_owned(), format!("more than {MEMBERS_MAX}")));
        }
        let on_duty = self.rotation.iter().flat_map(|rotation| &rotation.people);
        let lists = self
            .members
            .iter()
            .map(|name| ("members", name))
            .chain(on_duty.map(|name| ("rotation.people", name)));
        for (field, name) in lists {
            faults.extend(name_fault(name).map(|fault| (field.to_owned(), fault)));
        }
        if let Some(rotation) = &self.rotation
            && let Err(found) = Rotation::read(rotation, &TimeZone::UTC)
        {
            let named = |(field, fault)| (format!("rotation.{field}"), fault);
            faults.extend(found.into_iter().map(named));
        }
        faults
    }
}

impl StandInConfig {
    /// What is wrong with it.
    pub(crate) fn faults(&self) -> Vec<FieldFault> {
        let mut faults: Vec<FieldFault> = Vec::new();
        faults.extend(name_fault(&self.user).map(|fault| ("user".to_owned(), fault)));
        let days = Timestamp(self.until).since(Timestamp(self.from)).as_secs() / 86_400;
        if self.until <= self.from || days > STAND_IN_DAYS_MAX {
            let fault = format!("must be behind from, by {STAND_IN_DAYS_MAX} days at most");
            faults.push(("until".to_owned(), fault));
        }
        faults
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::rotation::tests::weekly;

    pub(crate) fn user(name: &str, addresses: &[(&str, &str)]) -> UserConfig {
        let pair = |(kind, address): &(&str, &str)| ((*kind).to_owned(), (*address).to_owned());
        UserConfig {
            name: name.to_owned(),
            addresses: addresses.iter().map(pair).collect(),
            language: None,
            time_zone: String::new(),
            quiet: Vec::new(),
        }
    }

    pub(crate) fn team(name: &str, members: &[&str]) -> TeamConfig {
        let members: Vec<String> = members.iter().map(|name| (*name).to_owned()).collect();
        let people: Vec<&str> = members.iter().map(String::as_str).collect();
        let rotation = Some(weekly("UTC", "09:00", "2026-01-05", &people));
        TeamConfig { name: name.to_owned(), members, rotation }
    }

    fn row(kind: EntryKind, name: &str, body: &str) -> EntryRow {
        EntryRow {
            kind,
            name: name.to_owned(),
            body: body.to_owned(),
            version: 3,
            changed_at: Timestamp(5),
            changed_by: "ann".to_owned(),
            ends_at: Timestamp::MAX,
        }
    }

    #[test]
    fn what_the_settings_name_is_as_they_say_and_the_rest_is_from_the_database() {
        let rows = vec![
            row(EntryKind::User, "ann", r#"{"addresses":{"mail":"other@x"}}"#),
            row(EntryKind::User, "bob", r#"{"addresses":{"mail":"bob@x"},"language":"zh-CN"}"#),
            row(EntryKind::Team, "dba", r#"{"members":["bob"]}"#),
            row(EntryKind::Team, "new", r#"{"invented":1}"#),
            row(
                EntryKind::StandIn,
                "s1",
                r#"{"team":"web","user":"bob","from":1767603600000,"until":1767690000000}"#,
            ),
        ];
        let settings = ([user("ann", &[("mail", "ann@x")])], [team("web", &["ann"])]);
        let directory = Directory::of((&settings.0, &settings.1), rows, &TimeZone::UTC);
        assert_eq!(directory.users["ann"].config.addresses["mail"], "ann@x");
        assert_eq!(directory.users["bob"].source.version(), 3);
        assert_eq!(directory.users["bob"].config.language, Some(Language::Chinese));
        assert_eq!(directory.teams["dba"].config.members, ["bob"]);
        assert!(!directory.teams.contains_key("new") && !directory.teams["dba"].has_duty());
        let web = &directory.teams["web"];
        let on_call = |at: &str| web.on_call(Timestamp::parse_rfc3339(at).unwrap()).person;
        assert_eq!(on_call("2026-01-05T10:00:00Z").as_deref(), Some("bob"));
        assert_eq!(on_call("2026-01-07T10:00:00Z").as_deref(), Some("ann"));
        assert_eq!(on_call("2026-01-05T08:00:00Z"), None);
    }

    #[test]
    fn an_account_belongs_to_one_person_or_to_nobody() {
        let users = [
            user("ann", &[("feishu", "ou_1"), ("slack", "U1"), ("phone", "+861")]),
            user("bob", &[("feishu", "ou_2"), ("telegram", "7")]),
            user("cyd", &[("telegram", "7")]),
        ];
        let directory = Directory::of((&users, &[]), Vec::new(), &TimeZone::UTC);
        for (account, owner) in [
            ("feishu:ou_1", Some("ann")),
            ("feishu:ou_2", Some("bob")),
            ("slack:T9/U1", Some("ann")),
            ("twilio:+861", Some("ann")),
            ("telegram:7", None),
            ("feishu:ou_3", None),
            ("ou_1", None),
        ] {
            assert_eq!(directory.owner(account), owner, "{account}");
        }
    }

    #[test]
    fn faults_are_named_with_their_fields() {
        let mut ann = user("a b", &[("fax", "1"), ("mail", ""), ("phone", "1\n2")]);
        ann.time_zone = "Mars/Olympus".to_owned();
        let fields: Vec<String> = ann.faults().into_iter().map(|(field, _)| field).collect();
        let expected = ["name", "addresses.fax", "addresses.mail", "addresses.phone", "time_zone"];
        assert_eq!(fields, expected);
        let mut dba = team("dba", &["ann", "b/c"]);
        dba.rotation.as_mut().unwrap().at = "noon".to_owned();
        let fields: Vec<String> = dba.faults().into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, ["members", "rotation.people", "rotation.at"]);
        for name in ["", ".", "..", "a/b", "a b", "a:b", "<b>", &"x".repeat(65)] {
            assert!(name_fault(name).is_some(), "{name}");
        }
        for name in ["ann", "张三", "ann.b_c-d@x"] {
            assert_eq!(name_fault(name), None, "{name}");
        }
        let reversed = StandInConfig { team: "dba".into(), user: "ann".into(), from: 5, until: 5 };
        assert_eq!(reversed.faults()[0].0, "until");
    }
}
