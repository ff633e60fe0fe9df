//! What a page knows of its reader: language, colour scheme, time, and where they are.

use std::time::Duration;

use askama::Template;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use jiff::tz::TimeZone;
use model::Timestamp;

use crate::page::frame::Frame;
use crate::page::origin::{cookie, parameter};
use crate::page::time;
use crate::page::words::{Language, Words};

/// How often a page with what changes by itself asks for itself again.
pub const RENEWED_EVERY_SECONDS: u32 = 30;

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

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|theme| theme.word() == word)
    }
}

/// A link that changes a choice and stays on the page.
#[derive(Debug)]
pub struct Switch {
    /// What it says.
    pub label: &'static str,
    /// The choice, for `lang=` and classes.
    pub tag: &'static str,
    /// Where it leads.
    pub href: String,
    /// Whether it is what holds now.
    pub chosen: bool,
}

/// An entry of the menu.
#[derive(Debug)]
pub struct MenuItem {
    /// What it says.
    pub label: &'static str,
    /// Where it leads.
    pub path: &'static str,
    /// Whether the page is it, or below it.
    pub is_here: bool,
}

/// What every page knows of its reader. Handlers below [`Frame::dress`] take it as an argument.
#[derive(Debug)]
pub struct Page {
    /// The words in the language of the reader.
    pub words: Words,
    /// When the page was asked for.
    pub now: Timestamp,
    theme: Theme,
    path: String,
    query: String,
    frame: Frame,
}

impl<S: Sync> FromRequestParts<S> for Page {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        // Without a frame the routes were wired wrongly, which any test of the page sees.
        let frame = parts.extensions.get::<Frame>().ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
        Ok(Self::of(frame, &parts.uri, &parts.headers))
    }
}

impl Page {
    /// For whoever asks for this address with these headers. The address chooses before cookies, these before
    /// what the browser accepts.
    pub fn of(frame: &Frame, uri: &Uri, headers: &HeaderMap) -> Self {
        let query = uri.query().unwrap_or("");
        let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        let language = parameter(query, "lang")
            .and_then(|tag| Language::parse(&tag))
            .or_else(|| cookie(headers, "saker_lang").and_then(Language::parse))
            .or_else(|| accepted.and_then(Language::accepted))
            .unwrap_or(Language::English);
        let theme = parameter(query, "theme")
            .and_then(|word| Theme::parse(&word))
            .or_else(|| cookie(headers, "saker_theme").and_then(Theme::parse))
            .unwrap_or_default();
        Self {
            words: frame.catalogue.words(language),
            now: frame.clock.now(),
            theme,
            path: uri.path().to_owned(),
            query: query.to_owned(),
            frame: frame.clone(),
        }
    }

    /// The text under a key in the language of the reader.
    pub fn text(&self, key: &str) -> &'static str {
        self.words.text(key)
    }

    /// The text under a key, with placeholders filled in.
    pub fn fill<Value: AsRef<str>>(&self, key: &str, values: &[(&str, Value)]) -> String {
        self.words.fill(key, values)
    }

    /// The language of the reader.
    pub fn language(&self) -> Language {
        self.words.language
    }

    /// The zone that moments are written in.
    pub fn zone(&self) -> &TimeZone {
        &self.frame.zone
    }

    /// The query part of the address.
    pub fn query(&self) -> &str {
        &self.query
    }

    /// A parameter of the address.
    pub fn parameter(&self, name: &str) -> Option<String> {
        parameter(&self.query, name)
    }

    /// The colour scheme, for the style sheet.
    pub fn theme(&self) -> &'static str {
        self.theme.word()
    }

    /// Links to the page in each language.
    pub fn languages(&self) -> Vec<Switch> {
        let switch = |language: Language| Switch {
            label: language.own_name(),
            tag: language.tag(),
            href: self.address_with("lang", language.word()),
            chosen: language == self.language(),
        };
        Language::ALL.into_iter().map(switch).collect()
    }

    /// Links to the page in each colour scheme.
    pub fn themes(&self) -> Vec<Switch> {
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

    /// The menu of the role.
    pub fn menu(&self) -> Vec<MenuItem> {
        let is_at = |path| {
            let rest = self.path.strip_prefix(path);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let item = |&(path, key): &(&'static str, &'static str)| MenuItem {
            label: self.text(key),
            path,
            // A role with one page is on it, or on one that belongs to it.
            is_here: is_at(path) || self.frame.menu.len() == 1,
        };
        self.frame.menu.iter().map(item).collect()
    }

    /// The first page of the role.
    pub fn home(&self) -> &'static str {
        self.frame.home()
    }

    /// A moment as pages write it.
    pub fn absolute(&self, moment: Timestamp) -> String {
        time::absolute(moment, self.zone())
    }

    /// How long ago a moment is.
    pub fn ago(&self, moment: Timestamp) -> String {
        time::ago(moment, self.now, self.words)
    }

    /// How far ahead a moment is.
    pub fn ahead(&self, moment: Timestamp) -> String {
        time::ahead(moment, self.now, self.words)
    }

    /// A span in words.
    pub fn span(&self, span: Duration) -> String {
        time::span_words(span, self.words)
    }

    /// The foot of a page that stays as it is, since somebody may be typing.
    pub fn footer(&self) -> String {
        let zone = self.zone().iana_name().unwrap_or("UTC");
        self.fill("app.footer", &[("version", env!("CARGO_PKG_VERSION")), ("zone", zone)])
    }

    /// The foot of a page that renews itself.
    pub fn renewing_footer(&self) -> String {
        let seconds = RENEWED_EVERY_SECONDS.to_string();
        format!("{} · {}", self.footer(), self.fill("app.renewing", &[("seconds", seconds)]))
    }

    /// Seconds until a page that renews itself does so.
    pub fn refresh_seconds(&self) -> u32 {
        RENEWED_EVERY_SECONDS
    }

    /// Which style sheet the page wants; see [`Frame::with_style`].
    pub fn style_version(&self) -> String {
        self.frame.style_version()
    }

    /// A page that only says something; `retries` makes it ask for itself again.
    pub fn message(
        self,
        status: StatusCode,
        title: &'static str,
        detail: String,
        retries: bool,
    ) -> Response {
        (status, rendered(&Message { page: self, title, detail, retries })).into_response()
    }

    fn address_with(&self, name: &str, value: &str) -> String {
        let others = form_urlencoded::parse(self.query.as_bytes())
            .filter(|(key, _)| key != "lang" && key != "theme");
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(others).append_pair(name, value);
        format!("{}?{}", self.path, query.finish())
    }
}

#[derive(Debug, Template)]
#[template(path = "message.html")]
struct Message {
    page: Page,
    title: &'static str,
    detail: String,
    retries: bool,
}

/// The answer with a page, or one that says that it could not be written.
pub fn rendered(template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Clock;
    use axum::http::HeaderValue;

    use super::*;
    use crate::page::words::Catalogue;

    fn page(address: &'static str, headers: &[(&'static str, &'static str)]) -> Page {
        let catalogue = Box::leak(Box::new(Catalogue::read("", "")));
        const MENU: &[(&str, &str)] = &[("/alerts", "app.metrics"), ("/people", "app.metrics")];
        let frame = Frame::new(catalogue, MENU, Clock::manual(Timestamp(0)), TimeZone::UTC);
        let headers = headers.iter().map(|(name, value)| {
            (header::HeaderName::from_static(name), HeaderValue::from_static(value))
        });
        Page::of(&frame, &Uri::from_static(address), &headers.collect())
    }

    #[test]
    fn a_switch_stays_on_the_page_and_keeps_the_filter() {
        let page = page("/alerts?q=a%26b&lang=en&theme=dark&page=2", &[]);
        let chinese = page.languages().into_iter().find(|switch| switch.tag == "zh-CN").unwrap();
        assert_eq!(chinese.href, "/alerts?q=a%26b&page=2&lang=zh");
        assert!(!chinese.chosen);
        let themes: Vec<_> = page.themes().iter().map(|switch| switch.chosen).collect();
        assert_eq!(themes, [false, false, true]);
        assert_eq!(page.parameter("q").as_deref(), Some("a&b"));
    }

    #[test]
    fn the_address_chooses_before_the_cookie_and_the_cookie_before_the_browser() {
        let headers = [("cookie", "saker_lang=zh; saker_theme=light"), ("accept-language", "en")];
        let choice = |page: Page| (page.language(), page.theme());
        assert_eq!(choice(page("/alerts", &headers)), (Language::Chinese, "light"));
        let address = "/alerts?lang=en&theme=auto";
        assert_eq!(choice(page(address, &headers)), (Language::English, "auto"));
        assert_eq!(choice(page("/alerts", &headers[1..])), (Language::English, "auto"));
    }

    #[test]
    fn the_menu_knows_where_the_reader_is() {
        let here = |address| page(address, &[]).menu().iter().map(|item| item.is_here).collect();
        let here: [Vec<bool>; 3] = ["/alerts", "/people/users/ann", "/alertsx"].map(here);
        assert_eq!(here, [vec![true, false], vec![false, true], vec![false, false]]);
    }
}
