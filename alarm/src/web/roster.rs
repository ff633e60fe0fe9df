//! `/people`: who is on call, teams and users.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use channels::Language;
use daemon::page::{Page, rendered};

use super::Web;
use crate::directory::{Directory, Source, Team, User};
use crate::rotation::{Every, Shift};

/// Rows of each list; more are found by the filter.
const ROWS_MAX: usize = 200;
const NAMES_SHOWN: usize = 8;

/// The page.
#[derive(Debug, Template)]
#[template(path = "people.html")]
struct PeoplePage {
    duties: Vec<Duty>,
    teams: Vec<TeamRow>,
    users: Vec<UserRow>,
    filter: String,
    is_capped: bool,
    capped: String,
    page: Page,
}

#[derive(Debug)]
struct Duty {
    team: String,
    href: String,
    person: String,
    person_href: String,
    is_stand_in: bool,
    until: String,
    next: String,
}

#[derive(Debug)]
struct TeamRow {
    name: String,
    href: String,
    members: String,
    rotation: String,
    source: &'static str,
}

#[derive(Debug)]
struct UserRow {
    name: String,
    href: String,
    addresses: String,
    language: &'static str,
    teams: String,
    source: &'static str,
}

/// The address of a user's page.
pub(super) fn user_href(name: &str) -> String {
    href("users", name)
}

/// The address of a team's page.
pub(super) fn team_href(name: &str) -> String {
    href("teams", name)
}

fn href(kind: &str, name: &str) -> String {
    // Names have no blanks, so nothing becomes a plus sign.
    let escaped: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
    format!("/people/{kind}/{escaped}")
}

pub(super) async fn page(State(web): State<Arc<Web>>, page: Page) -> Response {
    let directory = web.common.directory.known();
    let filter = page.parameter("q").unwrap_or_default();
    let wanted = filter.trim().to_lowercase();
    let is_wanted = |name: &str| wanted.is_empty() || name.to_lowercase().contains(&wanted);
    let teams: Vec<&Team> =
        directory.teams.values().filter(|team| is_wanted(&team.config.name)).collect();
    let users: Vec<&User> =
        directory.users.values().filter(|user| is_wanted(&user.config.name)).collect();
    let on_duty = directory.teams.values().filter(|team| team.has_duty());
    let capped = page.fill("alerts.capped", &[("n", &ROWS_MAX.to_string())]);
    rendered(&PeoplePage {
        duties: on_duty.take(ROWS_MAX).map(|team| duty(team, &page)).collect(),
        is_capped: teams.len().max(users.len()) > ROWS_MAX,
        teams: teams.into_iter().take(ROWS_MAX).map(|team| team_row(team, &page)).collect(),
        users: users
            .into_iter()
            .take(ROWS_MAX)
            .map(|user| user_row(user, &directory, &page))
            .collect(),
        filter,
        capped,
        page,
    })
}

fn duty(team: &Team, page: &Page) -> Duty {
    let shift = team.on_call(page.now);
    let next = team.on_call(shift.until).person.unwrap_or_default();
    let person = shift.person.clone().unwrap_or_default();
    Duty {
        team: team.config.name.clone(),
        href: team_href(&team.config.name),
        person_href: user_href(&person),
        is_stand_in: shift.is_stand_in,
        until: until(&shift, page),
        next,
        person,
    }
}

/// When a shift ends; empty when there is no end in sight.
pub(super) fn until(shift: &Shift, page: &Page) -> String {
    if shift.until == model::Timestamp::MAX { String::new() } else { page.absolute(shift.until) }
}

fn team_row(team: &Team, page: &Page) -> TeamRow {
    let config = &team.config;
    let rotation = config.rotation.as_ref().map(|rotation| {
        let values = [("at", rotation.at.as_str()), ("zone", rotation.time_zone.as_str())];
        let words = match rotation.every {
            Every::Day => page.fill("people.rotation.day", &values),
            Every::Week => page.fill("people.rotation.week", &values),
        };
        words.trim_end().to_owned()
    });
    TeamRow {
        name: config.name.clone(),
        href: team_href(&config.name),
        members: some_of(config.members.iter().map(String::as_str)),
        rotation: rotation.unwrap_or_else(|| page.text("people.rotation.none").to_owned()),
        source: source_word(&team.source, page),
    }
}

fn user_row(user: &User, directory: &Directory, page: &Page) -> UserRow {
    let config = &user.config;
    let teams = directory.teams.values().filter(|team| team.config.members.contains(&config.name));
    UserRow {
        name: config.name.clone(),
        href: user_href(&config.name),
        addresses: some_of(config.addresses.keys().map(String::as_str)),
        language: match config.language {
            None => "",
            Some(Language::English) => "English",
            Some(Language::Chinese) => "中文",
        },
        teams: some_of(teams.map(|team| team.config.name.as_str())),
        source: source_word(&user.source, page),
    }
}

fn source_word(source: &Source, page: &Page) -> &'static str {
    match source {
        Source::Settings => page.text("people.source.settings"),
        Source::Stored { .. } => "",
    }
}

/// The first names, and how many more there are.
fn some_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    let mut text = names[..names.len().min(NAMES_SHOWN)].join(", ");
    if names.len() > NAMES_SHOWN {
        text.push_str(&format!(" … +{}", names.len() - NAMES_SHOWN));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut_and_an_address_is_escaped() {
        let names: Vec<String> = (0..10).map(|n| n.to_string()).collect();
        assert_eq!(some_of(names.iter().map(String::as_str)), "0, 1, 2, 3, 4, 5, 6, 7 … +2");
        assert_eq!(some_of(std::iter::empty()), "");
        assert_eq!(user_href("张三@x"), "/people/users/%E5%BC%A0%E4%B8%89%40x");
    }
}
