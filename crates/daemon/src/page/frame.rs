//! The frame of a role's pages: style sheet, icon, menu, and the headers of every answer.

use std::sync::Arc;

use crate::Clock;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn, map_response};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Extension, Router};
use jiff::tz::TimeZone;

use crate::page::origin::parameter;
use crate::page::reader::Theme;
use crate::page::words::{Catalogue, Language};

const STYLE: &str = include_str!("../../assets/saker.css");
const ICON: &str = include_str!("../../assets/saker.svg");
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const CHOICE_KEPT_SECONDS: u32 = 365 * 86_400;

/// What the pages of a role have around them; clones share it.
#[derive(Debug, Clone)]
pub struct Frame {
    pub(crate) catalogue: &'static Catalogue,
    pub(crate) menu: &'static [(&'static str, &'static str)],
    pub(crate) clock: Clock,
    pub(crate) zone: TimeZone,
    style: Arc<str>,
}

impl Frame {
    /// `menu` has the path of each entry and the key of its name, the page to begin with first.
    pub fn new(
        catalogue: &'static Catalogue,
        menu: &'static [(&'static str, &'static str)],
        clock: Clock,
        zone: TimeZone,
    ) -> Self {
        Self { catalogue, menu, clock, zone, style: STYLE.into() }
    }

    /// With a sheet for what only this role has, after the shared one.
    pub fn with_style(self, own: &str) -> Self {
        Self { style: format!("{STYLE}{own}").into(), ..self }
    }

    /// Style sheet, icon, and the way from `/` to the first page of the menu.
    pub fn assets<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let (style, home) = (Arc::clone(&self.style), self.home());
        let style = move || async move { asset("text/css; charset=utf-8", String::from(&*style)) };
        let router = Router::new()
            .route("/", get(move || async move { Redirect::to(home) }))
            .route("/assets/saker.css", get(style))
            .route("/assets/saker.svg", get(|| async { asset("image/svg+xml", ICON) }))
            .route("/favicon.ico", get(|| async { Redirect::permanent("/assets/saker.svg") }));
        self.dress(router)
    }

    /// Gives the handlers of these routes their [`crate::page::Page`], and every answer the headers that keep hostile
    /// texts harmless.
    pub fn dress<S: Clone + Send + Sync + 'static>(&self, routes: Router<S>) -> Router<S> {
        routes
            .layer(from_fn(remember_choices))
            .layer(map_response(protect))
            .layer(Extension(self.clone()))
    }

    pub(crate) fn home(&self) -> &'static str {
        self.menu.first().map_or("/", |(path, _)| path)
    }

    /// Changes with every style sheet that is not the one before, so that caches do not show an old one.
    pub(crate) fn style_version(&self) -> String {
        format!("{}-{}", env!("CARGO_PKG_VERSION"), self.style.len())
    }
}

fn asset(content_type: &'static str, body: impl IntoResponse) -> Response {
    let headers =
        [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "public, max-age=86400")];
    (headers, body).into_response()
}

/// Writes `?lang=` and `?theme=` into cookies, so that the next page is right from its first paint.
async fn remember_choices(request: Request, next: Next) -> Response {
    let (language, theme) = choices(request.uri().query().unwrap_or(""));
    let mut response = next.run(request).await;
    for (name, word) in [("saker_lang", language), ("saker_theme", theme)] {
        let Some(word) = word else { continue };
        let cookie =
            format!("{name}={word}; Path=/; Max-Age={CHOICE_KEPT_SECONDS}; SameSite=Lax; HttpOnly");
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
    }
    response
}

/// Language and colour scheme that an address chooses.
fn choices(query: &str) -> (Option<&'static str>, Option<&'static str>) {
    let language = parameter(query, "lang").and_then(|tag| Language::parse(&tag));
    let theme = parameter(query, "theme").and_then(|word| Theme::parse(&word));
    (language.map(Language::word), theme.map(Theme::word))
}

async fn protect(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        // With `no-referrer` browsers hide the origin of a form, too, which is what tells ours from others.
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::VARY, "Accept-Language, Cookie"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// For pages behind signed links: no search engine keeps them.
pub async fn hide_from_robots(mut response: Response) -> Response {
    let robots = HeaderName::from_static("x-robots-tag");
    response.headers_mut().insert(robots, HeaderValue::from_static("noindex, nofollow"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_asks_for_nothing_that_its_policy_forbids() {
        for template in [
            include_str!("../../templates/frame.html"),
            include_str!("../../templates/message.html"),
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
