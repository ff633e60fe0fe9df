//! `/people/users/…` and `/people/teams/…`: forms for a user, and for a team with its rotation and stand-ins.
//!
//! A form is taken from a page on this machine (the browser says so by its origin), or with a token that no other
//! site knows. So another site cannot make somebody's browser change who is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use channels::{FAMILIES, Language};
use daemon::page::{Page, rendered};
use daemon::{Caller, PeerAddr};
use db::directory::EntryKind;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use model::Timestamp;

use super::roster::{team_href, until, user_href};
use super::{Web, not_found};
use crate::directory::{Source, StandInConfig, Team, TeamConfig, User, UserConfig};
use crate::directory_http::{expected, masked};
use crate::directory_store::{ChangeFault, Entry};
use crate::quiet::QuietConfig;
use crate::rotation::{AHEAD, Every, RotationConfig, day_after};

/// What stands in the address of the page for a new one; no name has a plus sign.
const NEW: &str = "+new";
/// Shifts that the page shows.
const SHIFTS_SHOWN: usize = 12;
const PAGE_NAMES_MAX: usize = 2_000;

/// A form as it was sent.
pub(super) type Fields = Vec<(String, String)>;

pub(super) fn field<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.trim())
}

/// Names on lines of their own, or with commas between.
fn names(text: &str) -> Vec<String> {
    let names = text.split(['\n', ',', ' ', '\r', '\t']).filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

/// Why a form was not taken.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    pub(super) status: StatusCode,
    pub(super) faults: Vec<String>,
}

impl From<ChangeFault> for Refusals {
    fn from(fault: ChangeFault) -> Self {
        let status = match &fault {
            ChangeFault::Faults(_) | ChangeFault::TooMany(_) => StatusCode::BAD_REQUEST,
            ChangeFault::InSettings(_) | ChangeFault::Conflict(_) => StatusCode::CONFLICT,
            ChangeFault::Unknown(_) => StatusCode::NOT_FOUND,
            ChangeFault::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let faults = match fault {
            ChangeFault::Faults(faults) => {
                faults.into_iter().map(|(field, fault)| format!("{field}: {fault}")).collect()
            }
            other => vec![other.to_string()],
        };
        Self { status, faults }
    }
}

impl Web {
    pub(super) fn admit(
        &self,
        PeerAddr(peer): PeerAddr,
        headers: &HeaderMap,
        fields: &Fields,
    ) -> Result<Caller, Refusals> {
        let admitted = match field(fields, "token") {
            "" => self.door.admit(peer, headers),
            token => self.door.admit_token(peer, token),
        };
        admitted.map_err(|why| {
            tracing::warn!(%peer, why, "a change by form was refused");
            Refusals { status: StatusCode::FORBIDDEN, faults: vec![why] }
        })
    }
}

/// The page of a user.
#[derive(Debug, Template)]
#[template(path = "user.html")]
struct UserPage {
    title: String,
    name: String,
    is_new: bool,
    is_fixed: bool,
    version: i64,
    /// Kind, and the address or the end of it.
    addresses: Vec<(&'static str, String)>,
    language: &'static str,
    time_zone: String,
    /// Quiet hours, one a line.
    quiet: String,
    is_saved: bool,
    faults: Vec<String>,
    page: Page,
}

pub(super) async fn user_page(
    State(web): State<Arc<Web>>,
    PeerAddr(peer): PeerAddr,
    Path(name): Path<String>,
    headers: HeaderMap,
    page: Page,
) -> Response {
    let directory = web.common.directory.known();
    let user = directory.users.get(&name);
    if user.is_none() && name != NEW {
        let detail = page.text("people.unknown").to_owned();
        return not_found(page, detail);
    }
    let is_admitted = web.door.admit(peer, &headers).is_ok();
    rendered(&shown_user(user, is_admitted, page))
}

fn shown_user(user: Option<&User>, is_admitted: bool, page: Page) -> UserPage {
    let config = user.map(|user| &user.config);
    let address = |family: &str| {
        let address = config.and_then(|config| config.addresses.get(family));
        address.map_or_else(String::new, |text| match is_admitted {
            true => text.clone(),
            false => masked(text),
        })
    };
    let language = config.and_then(|config| config.language);
    UserPage {
        title: config.map_or(page.text("people.user.new").to_owned(), |user| user.name.clone()),
        name: config.map(|user| user.name.clone()).unwrap_or_default(),
        is_new: user.is_none(),
        is_fixed: user.is_some_and(|user| user.source == Source::Settings),
        version: user.map_or(0, |user| user.source.version()),
        addresses: FAMILIES.map(|family| (family, address(family))).into(),
        language: language.map_or("", Language::tag),
        time_zone: config.map(|user| user.time_zone.clone()).unwrap_or_default(),
        quiet: config.map_or_else(String::new, |user| {
            user.quiet.iter().map(QuietConfig::line).collect::<Vec<_>>().join("\n")
        }),
        is_saved: page.parameter("saved").is_some(),
        faults: Vec::new(),
        page,
    }
}

/// The user that a form describes. An address of which only the end was shown stays as it is.
fn posted_user(name: String, fields: &Fields, old: Option<&User>) -> (UserConfig, Vec<String>) {
    let mut addresses = BTreeMap::new();
    for family in FAMILIES {
        let given = field(fields, &format!("address_{family}"));
        let before = old.and_then(|user| user.config.addresses.get(family));
        let kept = before.filter(|before| masked(before) == given);
        let address = kept.map_or(given, String::as_str);
        if !address.is_empty() {
            addresses.insert(family.to_owned(), address.to_owned());
        }
    }
    let language = match field(fields, "language") {
        "en" => Some(Language::English),
        "zh-CN" => Some(Language::Chinese),
        _ => None,
    };
    let (mut quiet, mut faults) = (Vec::new(), Vec::new());
    for line in field(fields, "quiet").lines().filter(|line| !line.trim().is_empty()) {
        match QuietConfig::from_line(line) {
            Ok(read) => quiet.push(read),
            Err(fault) => faults.push(fault),
        }
    }
    let time_zone = field(fields, "time_zone").to_owned();
    (UserConfig { name, addresses, language, time_zone, quiet }, faults)
}

/// The name that a form is about: a new one names it itself.
fn named(path: String, fields: &Fields) -> String {
    if path == NEW { field(fields, "name").to_owned() } else { path }
}

pub(super) async fn save_user(
    State(web): State<Arc<Web>>,
    peer: PeerAddr,
    Path(name): Path<String>,
    headers: HeaderMap,
    page: Page,
    Form(fields): Form<Fields>,
) -> Response {
    let name = named(name, &fields);
    let known = web.common.directory.known();
    let old = known.users.get(&name);
    let (user, faults) = posted_user(name, &fields, old);
    let version = field(&fields, "version").parse().ok();
    let done = async {
        let caller = web.admit(peer, &headers, &fields)?;
        let (store, expected) = (&web.common.directory, expected(version));
        if field(&fields, "action") == "remove" {
            let what = (EntryKind::User, user.name.as_str());
            store.remove(&caller, what, expected, page.now).await?;
            return Ok("/people".to_owned());
        }
        if !faults.is_empty() {
            return Err(Refusals { status: StatusCode::BAD_REQUEST, faults });
        }
        store.put(&caller, Entry::User(&user), expected, page.now).await?;
        Ok(format!("{}?saved=1", user_href(&user.name)))
    };
    match done.await {
        Ok(address) => Redirect::to(&address).into_response(),
        Err(refusals) => {
            let refusals: Refusals = refusals;
            // What was typed comes back, and of what was hidden the end.
            let is_known = old.is_some();
            let typed = FAMILIES
                .map(|family| (family, field(&fields, &format!("address_{family}")).to_owned()));
            let edited = User { config: user, source: Source::Settings };
            let shown = UserPage {
                is_new: !is_known,
                is_fixed: false,
                version: version.unwrap_or(0),
                addresses: typed.into(),
                quiet: field(&fields, "quiet").to_owned(),
                faults: refusals.faults,
                ..shown_user(Some(&edited), false, page)
            };
            (refusals.status, rendered(&shown)).into_response()
        }
    }
}

/// The page of a team.
#[derive(Debug, Template)]
#[template(path = "team.html")]
struct TeamPage {
    title: String,
    form: TeamForm,
    is_new: bool,
    is_fixed: bool,
    version: i64,
    schedule: Vec<ShiftRow>,
    stand_ins: Vec<StandInRow>,
    /// Names of users, for stand-ins.
    users: Vec<String>,
    zone: String,
    is_saved: bool,
    faults: Vec<String>,
    page: Page,
}

#[derive(Debug, Default)]
struct TeamForm {
    name: String,
    members: String,
    every: &'static str,
    at: String,
    starts: String,
    time_zone: String,
    people: String,
}

#[derive(Debug)]
struct ShiftRow {
    person: String,
    from: String,
    until: String,
    is_stand_in: bool,
    is_now: bool,
}

#[derive(Debug)]
struct StandInRow {
    id: String,
    person: String,
    from: String,
    until: String,
}

pub(super) async fn team_page(
    State(web): State<Arc<Web>>,
    Path(name): Path<String>,
    page: Page,
) -> Response {
    let directory = web.common.directory.known();
    let team = directory.teams.get(&name);
    if team.is_none() && name != NEW {
        let detail = page.text("people.unknown").to_owned();
        return not_found(page, detail);
    }
    rendered(&shown_team(team, &web, page))
}

fn shown_team(team: Option<&Team>, web: &Web, page: Page) -> TeamPage {
    let config = team.map(|team| &team.config);
    let form = match config {
        Some(config) => form_of(config),
        None => TeamForm {
            at: "09:00".to_owned(),
            starts: day_after(page.now, page.zone(), 0),
            ..TeamForm::default()
        },
    };
    let shifts = team.map(|team| team.schedule(page.now, page.now.plus(AHEAD)));
    let shift = |shift: crate::rotation::Shift| ShiftRow {
        from: if shift.from <= page.now { String::new() } else { page.absolute(shift.from) },
        until: until(&shift, &page),
        is_stand_in: shift.is_stand_in,
        is_now: shift.from <= page.now,
        person: shift.person.unwrap_or_default(),
    };
    let schedule = shifts.into_iter().flatten().take(SHIFTS_SHOWN).map(shift).collect();
    let to_come = team.iter().flat_map(|team| &team.stand_ins).filter(|one| one.until > page.now);
    let stand_ins = to_come.map(|one| StandInRow {
        id: one.id.clone(),
        person: one.person.clone(),
        from: page.absolute(one.from),
        until: page.absolute(one.until),
    });
    let directory = web.common.directory.known();
    TeamPage {
        title: config.map_or(page.text("people.team.new").to_owned(), |team| team.name.clone()),
        form,
        is_new: team.is_none(),
        is_fixed: team.is_some_and(|team| team.source == Source::Settings),
        version: team.map_or(0, |team| team.source.version()),
        schedule,
        stand_ins: stand_ins.collect(),
        users: directory.users.keys().take(PAGE_NAMES_MAX).cloned().collect(),
        zone: zone_of(team, &page).iana_name().unwrap_or("UTC").to_owned(),
        is_saved: page.parameter("saved").is_some(),
        faults: Vec::new(),
        page,
    }
}

/// The zone in which the moments of stand-ins are written: that of the rotation.
fn zone_of(team: Option<&Team>, page: &Page) -> TimeZone {
    let rotation = team.and_then(|team| team.config.rotation.as_ref());
    let named = rotation.and_then(|rotation| TimeZone::get(&rotation.time_zone).ok());
    named.unwrap_or_else(|| page.zone().clone())
}

fn form_of(config: &TeamConfig) -> TeamForm {
    let rotation = config.rotation.as_ref();
    let text = |of: fn(&RotationConfig) -> &String| rotation.map(of).cloned().unwrap_or_default();
    TeamForm {
        name: config.name.clone(),
        members: config.members.join("\n"),
        every: match rotation.map(|rotation| rotation.every) {
            None => "",
            Some(Every::Day) => "day",
            Some(Every::Week) => "week",
        },
        at: text(|rotation| &rotation.at),
        starts: text(|rotation| &rotation.starts),
        time_zone: text(|rotation| &rotation.time_zone),
        people: rotation.map(|rotation| rotation.people.join("\n")).unwrap_or_default(),
    }
}

fn posted_team(name: String, fields: &Fields) -> TeamConfig {
    let every = match field(fields, "every") {
        "day" => Some(Every::Day),
        "week" => Some(Every::Week),
        _ => None,
    };
    let text = |name: &str| field(fields, name).to_owned();
    let members = names(field(fields, "members"));
    let people = names(field(fields, "people"));
    let rotation = every.map(|every| RotationConfig {
        every,
        at: text("at"),
        starts: text("starts"),
        time_zone: text("time_zone"),
        // Whoever names nobody means all members.
        people: if people.is_empty() { members.clone() } else { people },
    });
    TeamConfig { name, members, rotation }
}

pub(super) async fn save_team(
    State(web): State<Arc<Web>>,
    peer: PeerAddr,
    Path(name): Path<String>,
    headers: HeaderMap,
    page: Page,
    Form(fields): Form<Fields>,
) -> Response {
    let name = named(name, &fields);
    let known = web.common.directory.known();
    let version: Option<i64> = field(&fields, "version").parse().ok();
    let saved = format!("{}?saved=1", team_href(&name));
    let done = async {
        let caller = web.admit(peer, &headers, &fields)?;
        let store = &web.common.directory;
        match field(&fields, "action") {
            "remove" => {
                let what = (EntryKind::Team, name.as_str());
                store.remove(&caller, what, expected(version), page.now).await?;
                return Ok("/people".to_owned());
            }
            "stand-in" => {
                let stand_in = posted_stand_in(&name, &fields, known.teams.get(&name), &page)?;
                store.add_stand_in(&caller, &stand_in, page.now).await?;
            }
            action => match action.strip_prefix("drop-") {
                Some(id) => {
                    let what = (EntryKind::StandIn, id);
                    store.remove(&caller, what, expected(None), page.now).await?;
                }
                None => {
                    let team = posted_team(name.clone(), &fields);
                    store.put(&caller, Entry::Team(&team), expected(version), page.now).await?;
                }
            },
        }
        Ok(saved)
    };
    match done.await {
        Ok(address) => Redirect::to(&address).into_response(),
        Err(refusals) => {
            let refusals: Refusals = refusals;
            let team = known.teams.get(&name);
            let mut shown = shown_team(team, &web, page);
            if fields.iter().any(|(name, _)| name == "members") {
                shown.form = form_of(&posted_team(name, &fields));
                shown.version = version.unwrap_or(shown.version);
            }
            shown.is_new = team.is_none();
            shown.faults = refusals.faults;
            (refusals.status, rendered(&shown)).into_response()
        }
    }
}

fn posted_stand_in(
    team: &str,
    fields: &Fields,
    known: Option<&Team>,
    page: &Page,
) -> Result<StandInConfig, Refusals> {
    let zone = zone_of(known, page);
    let moment = |name: &str| {
        let text = field(fields, name);
        let moment = text.parse::<DateTime>().ok();
        let moment = moment.and_then(|moment| moment.to_zoned(zone.clone()).ok());
        moment.map(|moment| Timestamp(moment.timestamp().as_millisecond())).ok_or_else(|| {
            Refusals {
                status: StatusCode::BAD_REQUEST,
                faults: vec![format!("{name}: {text:?}: 2026-01-05T09:00")],
            }
        })
    };
    let (from, until) = (moment("from")?.0, moment("until")?.0);
    Ok(StandInConfig { team: team.to_owned(), user: field(fields, "user").to_owned(), from, until })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::tests::user;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn an_address_that_was_hidden_stays_and_an_emptied_one_goes() {
        let config = user("ann", &[("phone", "+8613812345678"), ("mail", "ann@x")]);
        let old = User { config, source: Source::Settings };
        let sent = fields(&[("address_phone", "•••678"), ("address_mail", ""), ("language", "en")]);
        let (posted, faults) = posted_user("ann".to_owned(), &sent, Some(&old));
        assert!(faults.is_empty());
        assert_eq!(posted.addresses["phone"], "+8613812345678");
        assert_eq!((posted.addresses.len(), posted.language), (1, Some(Language::English)));
    }

    #[test]
    fn quiet_hours_are_read_line_by_line_and_a_line_that_is_none_is_told() {
        let sent = fields(&[("quiet", "22:00-08:00 mon-fri below P2\r\n\r\nat night\r\n")]);
        let (posted, faults) = posted_user("ann".to_owned(), &sent, None);
        assert_eq!(posted.quiet[0].line(), "22:00-08:00 mon-fri below P2");
        assert_eq!((posted.quiet.len(), faults.len()), (1, 1));
        assert!(faults[0].contains("at night"), "{faults:?}");
    }

    #[test]
    fn a_team_form_with_nobody_in_turn_means_all_members() {
        let sent = fields(&[("members", "ann\r\nbob, cyd"), ("every", "week"), ("at", "09:00")]);
        let team = posted_team("dba".to_owned(), &sent);
        assert_eq!(team.members, ["ann", "bob", "cyd"]);
        assert_eq!(team.rotation.unwrap().people, team.members);
        let none = posted_team("dba".to_owned(), &fields(&[("members", "ann"), ("every", "")]));
        assert_eq!(none.rotation, None);
    }
}
