//! The page behind a signed mute link. `GET` shows and changes nothing, since chats and mail gateways open links
//! by themselves; `POST` from that page mutes, once for each link.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use channels::Language;
use channels::link::{LinkFault, MuteLink};
use channels::mute::Subject;
use channels::sign;
use jiff::tz::TimeZone;
use model::Timestamp;
use serde::Deserialize;

use crate::mutes::Wish;
use crate::people::People;
use crate::web;

const COOKIE: &str = "saker_mute";
/// Lengths that the page offers, in seconds.
const LENGTHS: [u64; 5] = [900, 3_600, 3 * 3_600, 6 * 3_600, 24 * 3_600];

/// The routes.
pub(crate) fn routes() -> Router<Arc<People>> {
    Router::new()
        .route("/m/{token}", get(show).post(change))
        .layer(axum::middleware::map_response(web::protect))
        .layer(axum::middleware::map_response(hide_from_robots))
}

pub(crate) async fn hide_from_robots(mut response: Response) -> Response {
    let robots = header::HeaderName::from_static("x-robots-tag");
    response.headers_mut().insert(robots, HeaderValue::from_static("noindex, nofollow"));
    response
}

/// What the page shows.
#[derive(Debug, Template)]
#[template(path = "mute.html")]
struct Page {
    tag: &'static str,
    title: &'static str,
    words: Words,
    user: String,
    endpoint: String,
    metric: String,
    /// Until when it is muted now; empty when it is not.
    until: String,
    actor: String,
    is_used: bool,
    lengths: Vec<Length>,
    nonce: String,
    /// Why nothing can be done; empty when something can.
    fault: &'static str,
}

#[derive(Debug)]
struct Length {
    seconds: u64,
    label: String,
    is_chosen: bool,
}

/// The words of the page in one language.
#[derive(Debug, Clone, Copy)]
struct Words {
    who: &'static str,
    endpoint: &'static str,
    everywhere: &'static str,
    metric: &'static str,
    length: &'static str,
    only_you: &'static str,
    mute: &'static str,
    unmute: &'static str,
    muted_until: &'static str,
    by: &'static str,
    not_muted: &'static str,
    used: &'static str,
}

const ENGLISH: Words = Words {
    who: "Muting as",
    endpoint: "Endpoint",
    everywhere: "every endpoint",
    metric: "Metric",
    length: "For how long",
    only_you: "Only this recipient stops getting messages. All others are still told.",
    mute: "Mute",
    unmute: "Unmute",
    muted_until: "Muted until",
    by: "by",
    not_muted: "Not muted now.",
    used: "This link was used. The buttons in the next message work again.",
};

const CHINESE: Words = Words {
    who: "屏蔽对象",
    endpoint: "主机",
    everywhere: "所有主机",
    metric: "监控项",
    length: "屏蔽时长",
    only_you: "只有该接收人不再收到消息,其他人照常接收。",
    mute: "屏蔽",
    unmute: "取消屏蔽",
    muted_until: "已屏蔽至",
    by: "操作人",
    not_muted: "当前未屏蔽。",
    used: "此链接已使用。请使用下一条消息中的按钮。",
};

async fn show(
    State(people): State<Arc<People>>,
    Path(token): Path<String>,
    headers: HeaderMap,
) -> Response {
    let language = language(&headers);
    match people.office.links.read(&token, people.now()) {
        Ok(link) => people.page(&link, language).await,
        Err(fault) => people.refused(fault, language),
    }
}

/// What the form sends.
#[derive(Debug, Deserialize)]
struct Posted {
    nonce: String,
    act: String,
    #[serde(default)]
    seconds: u64,
}

async fn change(
    State(people): State<Arc<People>>,
    Path(token): Path<String>,
    headers: HeaderMap,
    Form(posted): Form<Posted>,
) -> Response {
    let language = language(&headers);
    let link = match people.office.links.read(&token, people.now()) {
        Ok(link) => link,
        Err(fault) => return people.refused(fault, language),
    };
    let given = cookie(&headers, COOKIE).unwrap_or("");
    let is_own = !given.is_empty() && sign::equal(given.as_bytes(), posted.nonce.as_bytes());
    if !is_own || !is_same_origin(&headers) {
        let fault = match language {
            Language::English => "Open the link itself and press the button there.",
            Language::Chinese => "请打开链接并在页面上点击按钮。",
        };
        return failed(StatusCode::FORBIDDEN, fault, language);
    }
    let done = match posted.act.as_str() {
        "mute" => people.mute_once(&link, posted.seconds).await,
        "unmute" => people.unmute_by(&link).await,
        _ => Ok(()),
    };
    match done {
        Ok(()) => people.page(&link, language).await,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "a mute link did nothing");
            let fault = match language {
                Language::English => "It could not be stored. Try again in a moment.",
                Language::Chinese => "未能保存,请稍后重试。",
            };
            failed(StatusCode::SERVICE_UNAVAILABLE, fault, language)
        }
    }
}

impl People {
    /// Mutes, unless this link has muted before.
    async fn mute_once(&self, link: &MuteLink, seconds: u64) -> anyhow::Result<()> {
        let Some(subject) = subject(link) else { return Ok(()) };
        let asked = if seconds == 0 { link.seconds } else { seconds };
        let seconds = asked.clamp(channels::mute::SECONDS_MIN, LENGTHS[LENGTHS.len() - 1]);
        let name = used_name(link);
        let until = Timestamp(link.expires.saturating_mul(1000));
        let claims = self.office.common.db.mutes();
        if !claims.claim(&name, until, "").await? {
            return Ok(());
        }
        let wish = Wish::about(&link.user, &subject, seconds, format!("{} via link", link.user));
        if let Err(fault) = self.office.mutes.mute(wish, self.now()).await {
            // It did not happen, so the link is still good.
            claims.release(&name).await?;
            return Err(fault.into());
        }
        Ok(())
    }

    async fn unmute_by(&self, link: &MuteLink) -> anyhow::Result<()> {
        let Some(subject) = subject(link) else { return Ok(()) };
        let wish = Wish::about(&link.user, &subject, 0, format!("{} via link", link.user));
        Ok(self.office.mutes.unmute(wish, self.now()).await?)
    }

    async fn page(&self, link: &MuteLink, language: Language) -> Response {
        let Some(subject) = subject(link) else {
            return self.refused(LinkFault::Forged, language);
        };
        let now = self.now();
        let used = self.office.common.db.mutes().claimed(&used_name(link), now).await;
        let known = self.office.mutes.known();
        let mute = known.holding(&link.user, &subject, now);
        let chosen = if link.seconds == 0 { 3_600 } else { link.seconds };
        let nonce = uuid::Uuid::new_v4().simple().to_string();
        let page = Page {
            tag: language.tag(),
            title: title(language),
            words: words(language),
            user: link.user.clone(),
            endpoint: subject.endpoint.unwrap_or_default(),
            metric: subject.metric,
            until: mute.map(|mute| moment(mute.until, &self.office.zone)).unwrap_or_default(),
            actor: mute.map(|mute| mute.actor.clone()).unwrap_or_default(),
            is_used: matches!(used, Ok(Some(_))),
            lengths: lengths(language, chosen),
            nonce: nonce.clone(),
            fault: "",
        };
        with_cookie(rendered(StatusCode::OK, &page), &(COOKIE, "/m", nonce))
    }

    fn refused(&self, fault: LinkFault, language: Language) -> Response {
        self.office.metrics.refused_links.inc();
        let (status, english, chinese) = match fault {
            LinkFault::Forged => (StatusCode::NOT_FOUND, "There is no such link.", "链接不存在。"),
            LinkFault::Expired => (StatusCode::GONE, "This link is too old.", "链接已过期。"),
        };
        let text = match language {
            Language::English => english,
            Language::Chinese => chinese,
        };
        failed(status, text, language)
    }
}

fn failed(status: StatusCode, fault: &'static str, language: Language) -> Response {
    let page = Page {
        tag: language.tag(),
        title: title(language),
        words: words(language),
        user: String::new(),
        endpoint: String::new(),
        metric: String::new(),
        until: String::new(),
        actor: String::new(),
        is_used: false,
        lengths: Vec::new(),
        nonce: String::new(),
        fault,
    };
    rendered(status, &page)
}

/// The answer with a nonce that only the next form of the page repeats: name, path and value.
pub(crate) fn with_cookie(
    mut response: Response,
    (name, path, value): &(&str, &str, String),
) -> Response {
    let cookie = format!("{name}={value}; Path={path}; Max-Age=900; HttpOnly; SameSite=Strict");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

pub(crate) fn rendered(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot write the page behind a link");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn subject(link: &MuteLink) -> Option<Subject> {
    Subject::parse(&link.counter, &link.scope)
}

fn used_name(link: &MuteLink) -> String {
    format!("link:{}", link.id)
}

fn lengths(language: Language, chosen: u64) -> Vec<Length> {
    let label = |seconds: u64| match (language, seconds) {
        (Language::English, 900) => "15 min".to_owned(),
        (Language::Chinese, 900) => "15 分钟".to_owned(),
        (Language::English, _) => format!("{} h", seconds / 3_600),
        (Language::Chinese, _) => format!("{} 小时", seconds / 3_600),
    };
    let length = |seconds| Length { seconds, label: label(seconds), is_chosen: seconds == chosen };
    LENGTHS.map(length).into()
}

// Without names: whoever opens links for a preview shows the title.
const fn title(language: Language) -> &'static str {
    match language {
        Language::English => "Mute an alert",
        Language::Chinese => "屏蔽告警",
    }
}

const fn words(language: Language) -> Words {
    match language {
        Language::English => ENGLISH,
        Language::Chinese => CHINESE,
    }
}

/// A moment in the zone of the web view.
pub(crate) fn moment(at: Timestamp, zone: &TimeZone) -> String {
    match jiff::Timestamp::from_millisecond(at.millis()) {
        Ok(at) => at.to_zoned(zone.clone()).strftime("%F %T %:z").to_string(),
        Err(_) => at.rfc3339(),
    }
}

pub(crate) fn language(headers: &HeaderMap) -> Language {
    let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    let is_chinese = accepted.is_some_and(|tags| tags.trim_start().starts_with("zh"));
    if is_chinese { Language::Chinese } else { Language::English }
}

pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|all| all.split(';')).filter_map(|one| one.trim().split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// Whether a form was sent from a page of ours, as far as the browser says.
pub(crate) fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let is_own_site =
        text("sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"));
    let host = text("host").unwrap_or("");
    let is_own_origin = text("origin")
        .is_none_or(|origin| origin.split_once("://").is_some_and(|(_, of)| of == host));
    is_own_site && is_own_origin
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (header::HeaderName::from_static(name), HeaderValue::from_static(value))
            })
            .collect()
    }

    #[test]
    fn a_form_of_another_site_is_told_apart() {
        for (pairs, is_own) in [
            (vec![("host", "a:1")], true),
            (vec![("host", "a:1"), ("origin", "http://a:1")], true),
            (vec![("host", "a:1"), ("origin", "http://b")], false),
            (vec![("host", "a:1"), ("origin", "null")], false),
            (vec![("host", "a"), ("sec-fetch-site", "cross-site")], false),
            (vec![("host", "a"), ("sec-fetch-site", "same-origin")], true),
        ] {
            assert_eq!(is_same_origin(&headers(&pairs)), is_own, "{pairs:?}");
        }
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let sent = headers(&[("cookie", "a=1; saker_mute=xyz; b=2")]);
        assert_eq!(cookie(&sent, COOKIE), Some("xyz"));
        assert_eq!(cookie(&sent, "c"), None);
    }

    #[test]
    fn the_page_offers_lengths_with_that_of_the_link_chosen() {
        let offered = lengths(Language::English, 6 * 3_600);
        let chosen: Vec<_> = offered.iter().filter(|length| length.is_chosen).collect();
        assert_eq!((chosen.len(), chosen[0].label.as_str()), (1, "6 h"));
    }
}
