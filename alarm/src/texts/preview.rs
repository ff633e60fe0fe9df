//! What messages would look like: of a receiver, or with templates that are only being written. Nothing is sent.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use channels::compose::{self, Frame};
use channels::{Language, Urgency};
use jiff::tz::TimeZone;
use model::{Alert, Labels, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use template::alertmanager::{LIMITS, Reader, data, library, own};
use template::{Library, Template};
use wire::alert::{PostableAlert, RESOLVE_TIMEOUT, WebhookMessage};

use super::{Occasion, TextConfig, Texts};
use crate::http::{Api, error};
use crate::notify::Way;
use crate::plan::Plan;

const BODY_BYTES_MAX: usize = 1 << 20;
const ALERTS_MAX: usize = 500;

/// The routes.
pub(crate) fn routes() -> Router<Arc<Api>> {
    let limit = DefaultBodyLimit::max(BODY_BYTES_MAX);
    Router::new().route("/api/v1/templates/preview", post(answer).layer(limit))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Posted {
    /// Whose templates; or those below.
    receiver: String,
    title: Option<String>,
    text: Option<String>,
    html: Option<String>,
    /// The kind of channel whose markup the text is in.
    kind: String,
    /// One language instead of all.
    language: Option<Language>,
    /// None: a sample.
    alerts: Vec<PostableAlert>,
}

/// A preview that is asked for.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// Whose templates; or those below.
    pub(crate) receiver: String,
    pub(crate) texts: TextConfig,
    /// The kind of channel whose markup the text is in.
    pub(crate) kind: String,
    /// One language instead of all.
    pub(crate) language: Option<Language>,
    /// None: a sample.
    pub(crate) alerts: Vec<Alert>,
}

/// A message as it would be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Shown {
    pub(crate) integration: String,
    pub(crate) kind: String,
    pub(crate) language: Language,
    pub(crate) title: String,
    /// Facts and text.
    pub(crate) text: String,
    /// The page of a mail, where a template makes it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) html: String,
    /// Why built-in words stand where a template should.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) fault: String,
}

async fn answer(State(api): State<Arc<Api>>, body: Bytes) -> Response {
    let posted: Posted = match serde_json::from_slice(&body) {
        Ok(posted) => posted,
        Err(fault) => {
            let advice = "write {\"receiver\":\"ops\"} or {\"text\":\"{{ .Status }}\"}, with \"alerts\" or without";
            return error(StatusCode::BAD_REQUEST, &format!("not a preview: {fault}; {advice}"));
        }
    };
    if posted.alerts.len() > ALERTS_MAX {
        return error(StatusCode::BAD_REQUEST, &format!("more than {ALERTS_MAX} alerts"));
    }
    let (plan, now) = (api.common.plans.borrow().clone(), api.common.clock.now());
    let url = api.common.config.external_url.to_owned();
    let zone = api.common.config.time_zone().unwrap_or(TimeZone::UTC);
    // A template may take its time; the requests of others do not wait for it.
    let shown = tokio::task::spawn_blocking(move || preview(&plan, posted, (&url, &zone), now));
    match shown.await {
        Ok(Ok(shown)) => Json(json!({ "previews": shown })).into_response(),
        Ok(Err((status, faults))) => (status, Json(json!({ "faults": faults }))).into_response(),
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "the preview came to no end"),
    }
}

/// The messages, or what is wrong with what was posted. Pure.
fn preview(
    plan: &Plan,
    posted: Posted,
    at: (&str, &TimeZone),
    now: Timestamp,
) -> Result<Vec<Shown>, (StatusCode, Vec<String>)> {
    let mut alerts = Vec::with_capacity(posted.alerts.len());
    for alert in posted.alerts {
        let taken = alert.accept(now, RESOLVE_TIMEOUT);
        let bad = |fault| (StatusCode::BAD_REQUEST, vec![format!("{fault}")]);
        alerts.push(taken.map_err(bad)?.alert);
    }
    let Posted { receiver, title, text, html, kind, language, .. } = posted;
    let texts = TextConfig { title, text, html, ..TextConfig::default() };
    shown(plan, Asked { receiver, texts, kind, language, alerts }, at, now)
}

/// The messages, or what is wrong with the templates. Pure.
pub(crate) fn shown(
    plan: &Plan,
    asked: Asked,
    (url, zone): (&str, &TimeZone),
    now: Timestamp,
) -> Result<Vec<Shown>, (StatusCode, Vec<String>)> {
    let Asked { receiver, texts, kind, language, mut alerts } = asked;
    if alerts.is_empty() {
        alerts.push(sample(now));
    }
    let about = |receiver: &str| {
        let by = alerts[0].labels.only(&["alertname"]);
        WebhookMessage::new(receiver, "{}:{}", by, url, &alerts, now)
    };
    let mut shown = Vec::new();
    let mut show = |key: &str, kinds: &[&str], texts: &Texts, envelope: &str, receiver: &str| {
        let group = about(receiver);
        let both = [Language::English, Language::Chinese];
        for language in both.into_iter().filter(|one| language.is_none_or(|it| it == *one)) {
            for kind in kinds {
                let place = (key, *kind, envelope);
                shown.push(one(place, texts, &group, (language, zone, now)));
            }
        }
    };
    if receiver.is_empty() {
        let texts = Texts::from_config("preview", &[texts], &plan.library);
        let texts = texts.map_err(|faults| (StatusCode::BAD_REQUEST, faults))?;
        show("", &[kind.as_str()], &texts, "", "preview");
        return Ok(shown);
    }
    let named: Vec<_> = plan.integrations_of(&receiver).collect();
    if named.is_empty() {
        let fault = format!("there is no receiver {receiver:?} that tells somebody");
        return Err((StatusCode::NOT_FOUND, vec![fault]));
    }
    for integration in named {
        let Way::Bots(team) = &integration.way else { continue };
        let mut kinds: Vec<&str> = team.bots.iter().map(|bot| bot.spec.kind()).collect();
        kinds.dedup();
        show(&integration.name, &kinds, &team.texts, &team.envelope, &receiver);
    }
    Ok(shown)
}

fn one(
    (integration, kind, envelope): (&str, &str, &str),
    texts: &Texts,
    group: &WebhookMessage,
    (language, zone, at): (Language, &TimeZone, Timestamp),
) -> Shown {
    let recipient = group.receiver.as_str();
    let frame = Frame {
        key: "preview",
        thread: "preview",
        envelope,
        urgency: Urgency::Normal,
        language,
        zone,
        recipient,
    };
    let mut message = compose::message(frame, group.to_owned(), Vec::new());
    let occasion = Occasion { recipient, language, at };
    let written = texts.write([kind].into_iter(), group, occasion).pop().unwrap_or_default();
    if !written.kind.is_empty() || !texts.is_empty() {
        written.apply(&mut message);
    }
    let title = message.headline();
    let text = message.plain();
    let text = text.strip_prefix(title.as_str()).unwrap_or(&text).trim_start().to_owned();
    let html = message.own.map(|own| own.html).unwrap_or_default();
    let (integration, kind) = (integration.to_owned(), kind.to_owned());
    Shown { integration, kind, language, title, text, html, fault: written.fault }
}

/// An alert for previews.
pub(crate) fn sample(now: Timestamp) -> Alert {
    let labels = [
        ("alertname", "DiskFull"),
        ("endpoint", "web-03"),
        ("mount", "/data"),
        ("severity", "critical"),
        ("team", "db"),
    ];
    let annotations = [("summary", "/data on web-03 is 97 % full"), ("value", "97.2")];
    Alert {
        labels: Labels::from_pairs(labels),
        annotations: annotations.map(|(name, text)| (name.to_owned(), text.to_owned())).into(),
        starts_at: now.minus(Duration::from_secs(300)),
        ends_at: now.plus(Duration::from_secs(300)),
        generator_url: "http://127.0.0.1:6081/rules".to_owned(),
    }
}

/// What `saker ctl templates check` says of files: what each defines, or every fault with its place.
pub fn check_templates(files: &[PathBuf]) -> Result<Vec<String>, Vec<String>> {
    let library = read_files(files)?;
    let missing: Vec<String> = library.missing().iter().map(ToString::to_string).collect();
    if !missing.is_empty() {
        return Err(missing);
    }
    Ok(files.iter().map(|file| format!("{}: good", file.display())).collect())
}

/// What `saker ctl templates render` prints: a text with the definitions of files, about alerts in a file in the form of
/// Alertmanager's webhook, or about a sample.
pub fn render_template(
    files: &[PathBuf],
    text: &str,
    data_file: Option<&Path>,
    is_html: bool,
    now: Timestamp,
) -> Result<String, Vec<String>> {
    let library = Arc::new(read_files(files)?);
    let template = Template::parse(&library, "text", text, "");
    let template =
        template.map_err(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let group = match data_file {
        Some(file) => read_group(file).map_err(|fault| vec![fault])?,
        None => {
            let alert = sample(now);
            let by = alert.labels.only(&["alertname"]);
            WebhookMessage::new("sample", "{}:{}", by, "http://127.0.0.1:9912", &[alert], now)
        }
    };
    let data = data(&group, Reader { name: &group.receiver, language: "en" });
    let escape = is_html.then_some(channels::markdown::html as template::Escape);
    let rendered = template.render(&data, &own(now, &data), &LIMITS, escape);
    rendered.map_err(|fault| vec![fault.to_string()])
}

fn read_files(paths: &[PathBuf]) -> Result<Library, Vec<String>> {
    let mut library = library();
    let patterns: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    match super::files::add(&mut library, Path::new(""), &patterns) {
        Ok(unused) if unused.is_empty() => Ok(library),
        Ok(unused) => Err(vec![format!("no file is named by {}", unused.join(", "))]),
        Err(faults) => Err(faults),
    }
}

/// Alertmanager's data as its own tool reads them: what a message has besides may be left out.
fn read_group(file: &Path) -> Result<WebhookMessage, String> {
    let name = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
    let mut given: BTreeMap<String, Value> =
        serde_json::from_str(&text).map_err(|error| format!("{name}: not JSON: {error}"))?;
    for (key, usual) in [
        ("version", json!("4")),
        ("groupKey", json!("")),
        ("truncatedAlerts", json!(0)),
        ("receiver", json!("")),
        ("status", json!("firing")),
        ("groupLabels", json!({})),
        ("commonLabels", json!({})),
        ("commonAnnotations", json!({})),
        ("externalURL", json!("")),
        ("alerts", json!([])),
    ] {
        given.entry(key.to_owned()).or_insert(usual);
    }
    let alerts = given.get_mut("alerts").and_then(Value::as_array_mut);
    for alert in alerts.into_iter().flatten().filter_map(Value::as_object_mut) {
        for (key, usual) in [
            ("status", json!("firing")),
            ("labels", json!({})),
            ("annotations", json!({})),
            ("startsAt", json!("0001-01-01T00:00:00Z")),
            ("endsAt", json!("0001-01-01T00:00:00Z")),
            ("generatorURL", json!("")),
            ("fingerprint", json!("")),
        ] {
            alert.entry(key).or_insert(usual);
        }
    }
    let whole = given.into_iter().collect();
    serde_json::from_value(Value::Object(whole)).map_err(|error| format!("{name}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::plan;

    const FILE: &str = "route: {receiver: ops}\nreceivers:\n- name: ops\n  telegram_configs: \
        [{bot_token: t, chat_id: 1, message: '<b>{{ .CommonLabels.endpoint }}</b> {{ .Language }}'}]\n\
        - name: hook\n  webhook_configs: [{url: 'http://x/'}]\n";

    fn of(posted: Value) -> Result<Vec<Shown>, (StatusCode, Vec<String>)> {
        let posted = serde_json::from_value(posted).expect("well formed");
        preview(&plan(FILE), posted, ("http://alarm", &TimeZone::UTC), Timestamp(1_700_000_000_000))
    }

    #[test]
    fn a_receiver_is_shown_in_every_language() {
        let shown = of(json!({ "receiver": "ops" })).unwrap();
        let texts: Vec<&str> = shown.iter().map(|one| one.text.as_str()).collect();
        assert_eq!(texts, ["<b>web-03</b> en", "<b>web-03</b> zh-CN"]);
        assert_eq!((shown[0].kind.as_str(), shown[0].title.as_str()), ("telegram", ""));
        assert!(of(json!({ "receiver": "hook" })).unwrap().is_empty());
        assert_eq!(of(json!({ "receiver": "gone" })).unwrap_err().0, StatusCode::NOT_FOUND);
    }

    #[test]
    fn a_template_that_is_being_written_is_shown_with_alerts_of_ones_own() {
        let alerts = json!([{ "labels": { "alertname": "A<b>", "x": "1" } }]);
        let shown = of(json!({
            "title": "{{ .CommonLabels.alertname }}!", "text": "x={{ .CommonLabels.x }}",
            "language": "zh-CN", "alerts": alerts,
        }));
        let shown = shown.unwrap();
        assert_eq!(shown.len(), 1);
        assert_eq!((shown[0].title.as_str(), shown[0].text.as_str()), ("A<b>!", "x=1"));
        let built_in = of(json!({ "language": "en", "title": "T" })).unwrap();
        assert!(built_in[0].text.contains("Value: 97.2"), "{built_in:?}");
    }

    #[test]
    fn a_fault_is_shown_with_its_place() {
        let (status, faults) = of(json!({ "text": "a\n{{ nope }}" })).unwrap_err();
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(faults, ["receivers.preview.texts[0].text:2:4: there is no function \"nope\""]);
        let shown = of(json!({ "text": "{{ index .Alerts 3 }}" })).unwrap();
        assert!(shown[0].fault.contains("index out of range: 3"), "{shown:?}");
    }
}
