//! The pages of the rules: server-rendered, without scripts, in two languages and two colour schemes. The style
//! sheet is that of alarm's pages, so that both look the same.

mod edit;
mod groups;
mod rule;

use std::convert::Infallible;
use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};

use crate::http::App;
use crate::text::Language;

const STYLE: &str =
    concat!(include_str!("../../alarm/assets/saker.css"), include_str!("../assets/rules.css"));
const ICON: &str = include_str!("../../alarm/assets/saker.svg");
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The routes of the pages. Every answer carries the headers that keep hostile texts harmless.
pub(crate) fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(|| async { Redirect::to("/rules") }))
        .route("/rules", get(groups::page))
        .route("/rules/{id}", get(rule::page))
        .route("/rule-groups/new", get(edit::new_page))
        .route("/rule-groups/{name}", get(edit::page))
        .route("/rule-groups/save", post(edit::save))
        .route("/assets/saker.css", get(|| async { asset("text/css; charset=utf-8", STYLE) }))
        .route("/assets/saker.svg", get(|| async { asset("image/svg+xml", ICON) }))
        .route("/favicon.ico", get(|| async { Redirect::permanent("/assets/saker.svg") }))
        .layer(axum::middleware::from_fn(remember_choices))
        .layer(axum::middleware::map_response(protect))
        .with_state(app)
}

const THEMES: [&str; 3] = ["auto", "light", "dark"];

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
    pub(crate) theme: &'static str,
    path: String,
    query: String,
}

impl<S: Sync> FromRequestParts<S> for Page {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let query = parts.uri.query().unwrap_or("").to_owned();
        let chosen = |name: &str| parameter(&query, name);
        let accepted = parts.headers.get(header::ACCEPT_LANGUAGE);
        let accepted = accepted.and_then(|value| value.to_str().ok()).unwrap_or("");
        let language = chosen("lang")
            .and_then(|tag| Language::parse(&tag))
            .or_else(|| cookie(parts, "saker_lang").and_then(|tag| Language::parse(&tag)))
            .or_else(|| accepted.split(',').find_map(Language::parse))
            .unwrap_or(Language::English);
        let theme = chosen("theme")
            .and_then(|word| theme(&word))
            .or_else(|| cookie(parts, "saker_theme").and_then(|word| theme(&word)))
            .unwrap_or("auto");
        Ok(Self { language, theme, path: parts.uri.path().to_owned(), query })
    }
}

impl Page {
    /// The text under a key in the language of the reader.
    pub(crate) fn text(&self, key: &str) -> &'static str {
        self.language.text(key)
    }

    /// The text under a key, with one value filled in.
    pub(crate) fn fill(&self, key: &str, name: &str, value: &str) -> String {
        self.language.fill(key, &[(name, value.to_owned())])
    }

    /// A parameter of the address.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        parameter(&self.query, name)
    }

    /// The word for a state or health.
    pub(crate) fn state(&self, state: &str) -> &'static str {
        self.language.text(&format!("state.{state}"))
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
        let switch = |(tag, label): (&'static str, &'static str)| Switch {
            label,
            tag,
            href: self.address_with("theme", tag),
            chosen: tag == self.theme,
        };
        THEMES.into_iter().zip(labels).map(switch).collect()
    }

    pub(crate) fn footer(&self) -> String {
        self.fill("app.footer", "version", env!("CARGO_PKG_VERSION"))
    }

    /// Changes with every style sheet that is not the one before.
    pub(crate) fn style_version(&self) -> String {
        format!("{}-{}", env!("CARGO_PKG_VERSION"), STYLE.len())
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

fn message(status: StatusCode, page: Page, key: &str, detail: String) -> Response {
    let title = page.text(key);
    (status, render(&Message { page, title, detail })).into_response()
}

fn store_away(page: Page, error: &db::DbError) -> Response {
    let error = daemon::error_chain(error);
    tracing::error!(error, "a page cannot be shown");
    message(StatusCode::SERVICE_UNAVAILABLE, page, "error.store", error)
}

fn asset(content_type: &'static str, body: &'static str) -> Response {
    let headers =
        [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "public, max-age=86400")];
    (headers, body).into_response()
}

fn theme(word: &str) -> Option<&'static str> {
    THEMES.into_iter().find(|theme| *theme == word)
}

/// Writes `?lang=` and `?theme=` into cookies, so that the next page is right from its first paint.
async fn remember_choices(request: Request, next: Next) -> Response {
    let query = request.uri().query().unwrap_or("").to_owned();
    let mut response = next.run(request).await;
    let language =
        parameter(&query, "lang").and_then(|tag| Language::parse(&tag)).map(Language::word);
    let theme = parameter(&query, "theme").and_then(|word| theme(&word));
    for (name, word) in [("saker_lang", language), ("saker_theme", theme)] {
        let Some(word) = word else { continue };
        let cookie = format!("{name}={word}; Path=/; Max-Age=31536000; SameSite=Lax; HttpOnly");
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
    }
    response
}

async fn protect(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        // Pages on this machine change rules by forms, and their origin is what tells them from others.
        (header::REFERRER_POLICY, "same-origin"),
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
mod tests {
    use super::*;

    #[test]
    fn a_switch_stays_on_the_page_and_keeps_the_search() {
        let page = Page {
            language: Language::English,
            theme: "auto",
            path: "/rules".to_owned(),
            query: "q=a%26b&lang=en&theme=dark".to_owned(),
        };
        let chinese = page.languages().into_iter().find(|switch| switch.tag == "zh-CN").unwrap();
        assert_eq!((chinese.href.as_str(), chinese.chosen), ("/rules?q=a%26b&lang=zh", false));
        assert_eq!(page.parameter("q").as_deref(), Some("a&b"));
    }

    #[test]
    fn the_pages_ask_for_nothing_that_their_policy_forbids() {
        for template in [
            include_str!("../templates/base.html"),
            include_str!("../templates/groups.html"),
            include_str!("../templates/rule.html"),
            include_str!("../templates/edit.html"),
            include_str!("../templates/message.html"),
        ] {
            for forbidden in ["<script", "style=", "onclick", "http://", "https://", "|safe"] {
                assert!(!template.contains(forbidden), "{forbidden}");
            }
        }
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
    }
}
