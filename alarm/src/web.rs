//! The web view: server-rendered pages that need no script, in two languages and two colour schemes.

mod alert_view;
mod alerts;
mod case;
mod claim;
mod filter;
mod noise;
mod person;
mod roster;
mod routing;
pub(crate) mod text;
mod time;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use daemon::Door;
use db::DbError;
use jiff::tz::TimeZone;
use model::Timestamp;

use crate::app::Common;
use crate::claiming::Claimer;
use text::Language;

const STYLE: &str = include_str!("../assets/saker.css");
const ICON: &str = include_str!("../assets/saker.svg");
const REFRESH_SECONDS: u32 = 30;
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What the pages need.
#[derive(Debug)]
pub(crate) struct Web {
    pub(crate) common: Common,
    pub(crate) zone: TimeZone,
    pub(crate) door: Arc<Door>,
    pub(crate) claimer: Claimer,
}

/// The routes of the web view. Every answer carries the headers that keep hostile alert texts harmless.
pub(crate) fn routes(web: Arc<Web>) -> Router {
    Router::new()
        .route("/", get(|| async { Redirect::to("/alerts") }))
        .route("/alerts", get(alerts::page))
        .route("/alerts.json", get(alerts::json))
        .route("/alerts/{fingerprint}", get(case::page))
        .route("/noise", get(noise::page))
        .route("/routing", get(routing::page))
        .route("/alerts/{fingerprint}/claims", post(claim::change))
        .route("/people", get(roster::page))
        .route("/people/users/{name}", get(person::user_page).post(person::save_user))
        .route("/people/teams/{name}", get(person::team_page).post(person::save_team))
        .route("/assets/saker.css", get(|| async { asset("text/css; charset=utf-8", STYLE) }))
        .route("/assets/saker.svg", get(|| async { asset("image/svg+xml", ICON) }))
        .route("/favicon.ico", get(|| async { Redirect::permanent("/assets/saker.svg") }))
        .fallback(page_unknown)
        .layer(axum::middleware::from_fn(remember_choices))
        .layer(axum::middleware::map_response(protect))
        .with_state(web)
}

/// The colour scheme that was chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Theme {
    /// What the system of the reader prefers.
    #[default]
    Auto,
    Light,
    Dark,
}

impl Theme {
    const ALL: [Self; 3] = [Self::Auto, Self::Light, Self::Dark];

    const fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|theme| theme.word() == word)
    }
}

/// A link that changes a choice and stays on the page.
#[derive(Debug)]
pub(crate) struct Switch {
    pub(crate) label: &'static str,
    pub(crate) tag: &'static str,
    pub(crate) href: String,
    pub(crate) chosen: bool,
}

/// What every page knows of its reader.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) language: Language,
    pub(crate) theme: Theme,
    pub(crate) now: Timestamp,
    pub(crate) zone: TimeZone,
    path: String,
    query: String,
}

impl FromRequestParts<Arc<Web>> for Page {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, web: &Arc<Web>) -> Result<Self, Infallible> {
        let query = parts.uri.query().unwrap_or("");
        let cookie = |name| cookie(parts, name);
        let accepted =
            parts.headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        let language = parameter(query, "lang")
            .and_then(|tag| Language::parse(&tag))
            .or_else(|| cookie("saker_lang").and_then(|tag| Language::parse(&tag)))
            .or_else(|| accepted.and_then(Language::accepted))
            .unwrap_or(Language::English);
        let theme = parameter(query, "theme")
            .and_then(|word| Theme::parse(&word))
            .or_else(|| cookie("saker_theme").and_then(|word| Theme::parse(&word)))
            .unwrap_or_default();
        let (path, query) = (parts.uri.path().to_owned(), query.to_owned());
        Ok(Self {
            language,
            theme,
            now: web.common.clock.now(),
            zone: web.zone.clone(),
            path,
            query,
        })
    }
}

impl Page {
    /// The text under a key in the language of the reader.
    pub(crate) fn text(&self, key: &str) -> &'static str {
        self.language.text(key)
    }

    /// The query part of the address.
    pub(crate) fn query(&self) -> &str {
        &self.query
    }

    pub(crate) fn theme_word(&self) -> &'static str {
        self.theme.word()
    }

    pub(crate) fn languages(&self) -> Vec<Switch> {
        let switch = |language: Language| Switch {
            label: language.own_name(),
            tag: language.tag(),
            href: self.address_with("lang", language.word()),
            chosen: language == self.language,
        };
        Language::ALL.into_iter().map(switch).collect()
    }

    pub(crate) fn themes(&self) -> Vec<Switch> {
        let labels = [
            self.text("app.theme.auto"),
            self.text("app.theme.light"),
            self.text("app.theme.dark"),
        ];
        let switch = |(theme, label): (Theme, &'static str)| Switch {
            label,
            tag: theme.word(),
            href: self.address_with("theme", theme.word()),
            chosen: theme == self.theme,
        };
        Theme::ALL.into_iter().zip(labels).map(switch).collect()
    }

    /// Whether the page is this one, or below it.
    pub(crate) fn is_at(&self, path: &str) -> bool {
        self.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// A moment as the page writes it.
    pub(crate) fn absolute(&self, moment: Timestamp) -> String {
        time::absolute(moment, &self.zone)
    }

    pub(crate) fn ago(&self, moment: Timestamp) -> String {
        time::ago(moment, self.now, self.language)
    }

    /// A span in words.
    pub(crate) fn span(&self, span: Duration) -> String {
        time::span_words(span, self.language)
    }

    pub(crate) fn footer(&self) -> String {
        let zone = self.zone.iana_name().unwrap_or("UTC");
        let seconds = REFRESH_SECONDS.to_string();
        let values =
            [("version", env!("CARGO_PKG_VERSION")), ("zone", zone), ("seconds", &seconds)];
        self.language.fill("app.footer", &values)
    }

    /// The foot of a page that does not renew itself, since somebody may be typing.
    pub(crate) fn still_footer(&self) -> String {
        let zone = self.zone.iana_name().unwrap_or("UTC");
        let values = [("version", env!("CARGO_PKG_VERSION")), ("zone", zone)];
        self.language.fill("app.footer.still", &values)
    }

    /// Changes with every style sheet that is not the one before, so that caches do not show an old one.
    pub(crate) fn style_version(&self) -> String {
        format!("{}-{}", env!("CARGO_PKG_VERSION"), STYLE.len())
    }

    pub(crate) fn refresh_seconds(&self) -> u32 {
        REFRESH_SECONDS
    }

    fn address_with(&self, name: &str, value: &str) -> String {
        let others = form_urlencoded::parse(self.query.as_bytes())
            .filter(|(key, _)| key != "lang" && key != "theme");
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(others).append_pair(name, value);
        format!("{}?{}", self.path, query.finish())
    }
}

/// A page that only says something.
#[derive(Debug, Template)]
#[template(path = "message.html")]
struct Message {
    page: Page,
    title: &'static str,
    detail: String,
    retry: bool,
}

/// Renders a page, or says that it could not be.
fn render(template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn not_found(page: Page, detail: String) -> Response {
    let title = page.text("error.not_found");
    (StatusCode::NOT_FOUND, render(&Message { page, title, detail, retry: false })).into_response()
}

/// A page that says why something was not done: a sentence of the catalogue, and what exactly is wrong.
fn refused(page: Page, status: StatusCode, key: &'static str, exactly: String) -> Response {
    let (title, sentence) = (page.text("error.refused"), page.text(key));
    let detail =
        if exactly.is_empty() { sentence.to_owned() } else { format!("{sentence} {exactly}") };
    (status, render(&Message { page, title, detail, retry: false })).into_response()
}

fn store_away(page: Page, error: &DbError) -> Response {
    tracing::error!(error = daemon::error_chain(error), "a page cannot be shown");
    let (title, detail) = (page.text("error.store"), page.text("error.store.detail").to_owned());
    (StatusCode::SERVICE_UNAVAILABLE, render(&Message { page, title, detail, retry: true }))
        .into_response()
}

async fn page_unknown(page: Page) -> Response {
    let detail = page.text("error.page_unknown").to_owned();
    not_found(page, detail)
}

fn asset(content_type: &'static str, body: &'static str) -> Response {
    let headers =
        [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "public, max-age=86400")];
    (headers, body).into_response()
}

/// Writes `?lang=` and `?theme=` into cookies, so that the next page is right from its first paint.
async fn remember_choices(request: Request, next: Next) -> Response {
    let query = request.uri().query().unwrap_or("").to_owned();
    let mut response = next.run(request).await;
    let language =
        parameter(&query, "lang").and_then(|tag| Language::parse(&tag)).map(Language::word);
    let theme = parameter(&query, "theme").and_then(|word| Theme::parse(&word)).map(Theme::word);
    for (name, word) in [("saker_lang", language), ("saker_theme", theme)] {
        let Some(word) = word else { continue };
        let cookie = format!("{name}={word}; Path=/; Max-Age=31536000; SameSite=Lax; HttpOnly");
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
    }
    response
}

pub(crate) async fn protect(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::VARY, "Accept-Language, Cookie"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn parameter(query: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

fn cookie(parts: &Parts, name: &str) -> Option<String> {
    let all =
        parts.headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        all.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A page at 2025-10-09 17:01:00 in Shanghai.
    pub(crate) fn page(language: Language, query: &str) -> Page {
        Page {
            language,
            theme: Theme::Auto,
            now: Timestamp(1_760_000_460_000),
            zone: TimeZone::get("Asia/Shanghai").unwrap(),
            path: "/alerts".to_owned(),
            query: query.to_owned(),
        }
    }

    #[test]
    fn a_switch_stays_on_the_page_and_keeps_the_filter() {
        let page = page(Language::English, "q=a%26b&lang=en&theme=dark&page=2");
        let chinese = page.languages().into_iter().find(|switch| switch.tag == "zh-CN").unwrap();
        assert_eq!(chinese.href, "/alerts?q=a%26b&page=2&lang=zh");
        assert!(!chinese.chosen);
        let themes: Vec<_> = page.themes().iter().map(|switch| switch.chosen).collect();
        assert_eq!(themes, [true, false, false]);
    }

    #[test]
    fn the_pages_ask_for_nothing_that_their_policy_forbids() {
        for template in [
            include_str!("../templates/base.html"),
            include_str!("../templates/alerts.html"),
            include_str!("../templates/case.html"),
            include_str!("../templates/message.html"),
            include_str!("../templates/noise.html"),
            include_str!("../templates/routing.html"),
            include_str!("../templates/mute.html"),
            include_str!("../templates/claim.html"),
            include_str!("../templates/people.html"),
            include_str!("../templates/user.html"),
            include_str!("../templates/team.html"),
        ] {
            for forbidden in ["<script", "style=", "onclick", "http://", "https://", "|safe"] {
                assert!(!template.contains(forbidden), "{forbidden}");
            }
        }
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
    }

    /// The value of a custom property: light, dark.
    fn colours(name: &str) -> [String; 2] {
        let definition = STYLE
            .split(&format!("--{name}: light-dark(#"))
            .nth(1)
            .unwrap_or_else(|| panic!("{name}"));
        let (light, rest) = definition.split_at(6);
        [light.to_owned(), rest[3..9].to_owned()]
    }

    /// Relative luminance as WCAG 2 defines it.
    fn luminance(colour: &str) -> f64 {
        let channel = |at: usize| {
            let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(0) + 0.7152 * channel(2) + 0.0722 * channel(4)
    }

    #[test]
    fn every_text_has_the_contrast_of_wcag_aa_in_both_schemes() {
        let mut pairs = Vec::new();
        for ground in ["ground", "card", "raised"] {
            pairs.extend(
                ["ink", "ink-quiet", "link", "critical", "warning", "good"]
                    .map(|text| (text.to_owned(), ground.to_owned())),
            );
        }
        for tone in ["critical", "error", "warning", "minor", "info", "good"] {
            pairs.push((tone.to_owned(), format!("{tone}-ground")));
            pairs.push((tone.to_owned(), "card".to_owned()));
            pairs.push(("ink-quiet".to_owned(), format!("{tone}-ground")));
        }
        pairs.extend(
            [("accent", "accent-ground"), ("ink", "info-ground"), ("error", "card")]
                .map(|(a, b)| (a.into(), b.into())),
        );
        for (text, ground) in pairs {
            for (scheme, (text_colour, ground_colour)) in
                colours(&text).iter().zip(colours(&ground)).enumerate()
            {
                let (a, b) = (luminance(text_colour), luminance(&ground_colour));
                let ratio = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                assert!(ratio >= 4.5, "{text} on {ground}, scheme {scheme}: {ratio:.2}");
            }
        }
    }
}
