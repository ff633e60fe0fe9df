//! What the form of a silence says, and what becomes of it. Pure.

use axum::http::StatusCode;
use daemon::page::Page;
use jiff::civil::DateTime;
use model::{Labels, MatchOp, Matcher, Timestamp, parse_duration};
use serde::Deserialize;
use wire::silence::{PostableSilence, SilenceMatcher, SilenceState};

use crate::matchers::{matcher_text, matchers_text, parse_matchers};
use crate::silence::Silence;

/// What the form offers for how long it holds.
pub(super) const SPANS: [&str; 8] = ["30m", "1h", "2h", "4h", "8h", "1d", "3d", "7d"];
const SPAN_DEFAULT: &str = "2h";
/// What the form offers for how long after its last alert was resolved it ends.
pub(super) const ENDS_AFTER: [&str; 4] = ["5m", "10m", "30m", "1h"];
/// What takes the end with the alerts away.
const NEVER: &str = "0s";
const MINUTE_FORM: &str = "%Y-%m-%dT%H:%M";

/// The form, as it is shown and as it is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct SilenceForm {
    /// The silence to change; empty for a new one.
    pub(super) id: String,
    /// One a line, or with commas between.
    pub(super) matchers: String,
    /// `2026-01-02T15:04` in the zone of the pages; empty for at once.
    pub(super) starts: String,
    /// For so long, as `2h`; empty for up to `ends`.
    pub(super) span: String,
    /// `2026-01-02T15:04` in the zone of the pages.
    pub(super) ends: String,
    /// How long after its last alert was resolved it ends; empty for not at all.
    pub(super) ends_after: String,
    pub(super) author: String,
    pub(super) comment: String,
    /// The matchers whose preview was looked at: nothing is stored that was not.
    pub(super) seen: String,
    /// Which button.
    pub(super) action: String,
}

/// What a form means.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) posted: PostableSilence,
    pub(super) matchers: Vec<Matcher>,
}

impl Read {
    /// The matchers as `seen` has them.
    pub(super) fn text(&self) -> String {
        matchers_text(&self.matchers)
    }
}

impl SilenceForm {
    /// For a new silence.
    pub(super) fn about(matchers: &[Matcher], author: String) -> Self {
        Self {
            matchers: lines(matchers),
            span: SPAN_DEFAULT.to_owned(),
            seen: if matchers.is_empty() { String::new() } else { matchers_text(matchers) },
            author,
            ..Self::default()
        }
    }

    /// For a silence that is to be changed.
    pub(super) fn of(silence: &Silence, page: &Page) -> Self {
        let is_pending = silence.state(page.now) == SilenceState::Pending;
        Self {
            id: silence.id.clone(),
            matchers: lines(silence.matchers()),
            starts: if is_pending { minute(silence.starts_at, page) } else { String::new() },
            ends: minute(silence.ends_at, page),
            ends_after: silence.ends_after().map_or_else(String::new, model::format_duration),
            author: silence.created_by.clone(),
            comment: silence.comment.clone(),
            seen: matchers_text(silence.matchers()),
            ..Self::default()
        }
    }

    /// What it means; `old` is the silence that it changes. Fails with all that is wrong.
    pub(super) fn read(&self, old: Option<&Silence>, page: &Page) -> Result<Read, Vec<String>> {
        let mut faults = Vec::new();
        let mut fault = |key: &str, exactly: &str| {
            faults.push(format!("{} {exactly}", page.text(key)).trim_end().to_owned());
        };
        let matchers = read_matchers(&self.matchers).unwrap_or_else(|wrong| {
            fault("silence.fault.matchers", &wrong);
            Vec::new()
        });
        let (author, comment) = (self.author.trim(), self.comment.trim());
        if author.is_empty() {
            fault("silence.fault.author", "");
        }
        if comment.is_empty() {
            fault("silence.fault.comment", "");
        }
        let starts_at = match self.starts.as_str() {
            "" => old.map_or(page.now, |old| old.starts_at),
            text => moment(text, old.map(|old| old.starts_at), page).unwrap_or_else(|| {
                fault("silence.fault.moment", text);
                page.now
            }),
        };
        let ends_at = match (self.span.as_str(), self.ends.as_str()) {
            ("", text) => moment(text, old.map(|old| old.ends_at), page),
            // What holds already is prolonged from now on.
            (span, _) => parse_duration(span).ok().map(|span| starts_at.max(page.now).plus(span)),
        };
        let ends_at = ends_at.unwrap_or_else(|| {
            fault("silence.fault.moment", &self.ends);
            page.now
        });
        if !faults.is_empty() {
            return Err(faults);
        }
        let ends_after = if self.ends_after.is_empty() { NEVER } else { &self.ends_after };
        let posted = PostableSilence {
            id: Some(self.id.clone()).filter(|id| !id.is_empty()),
            matchers: matchers.iter().map(written).collect(),
            starts_at,
            ends_at,
            created_by: author.to_owned(),
            comment: comment.to_owned(),
            ends_with_alert: Some(ends_after.to_owned()),
        };
        Ok(Read { posted, matchers })
    }
}

/// Matchers on lines of their own, or with commas between.
pub(super) fn read_matchers(text: &str) -> Result<Vec<Matcher>, String> {
    let mut matchers = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        matchers.extend(parse_matchers(line).map_err(|fault| fault.to_string())?);
    }
    if matchers.is_empty() {
        return Err("alertname=\"DiskFull\"".to_owned());
    }
    Ok(matchers)
}

fn lines(matchers: &[Matcher]) -> String {
    matchers.iter().map(matcher_text).collect::<Vec<_>>().join("\n")
}

fn written(matcher: &Matcher) -> SilenceMatcher {
    SilenceMatcher {
        name: matcher.name.clone(),
        value: matcher.value.clone(),
        is_regex: matches!(matcher.op, MatchOp::Regex | MatchOp::NotRegex),
        is_equal: matches!(matcher.op, MatchOp::Equal | MatchOp::Regex),
    }
}

/// What a field for a moment shows.
fn minute(at: Timestamp, page: &Page) -> String {
    let at = jiff::Timestamp::from_millisecond(at.millis());
    at.map_or_else(
        |_| String::new(),
        |at| at.to_zoned(page.zone().to_owned()).strftime(MINUTE_FORM).to_string(),
    )
}

/// The moment in such a field. The form knows minutes only: one that was not touched stays what it is.
fn moment(text: &str, old: Option<Timestamp>, page: &Page) -> Option<Timestamp> {
    if let Some(old) = old.filter(|old| minute(*old, page) == text) {
        return Some(old);
    }
    let moment = text.parse::<DateTime>().ok()?.to_zoned(page.zone().to_owned()).ok()?;
    Some(Timestamp(moment.timestamp().as_millisecond()))
}

/// How much of an alert's surroundings a silence is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The alert itself.
    Alert,
    /// What is told together with it.
    Group,
    /// Alerts of that name, wherever.
    Name,
    /// Whatever happens to that host.
    Host,
}

impl Scope {
    pub(super) const ALL: [Self; 4] = [Self::Alert, Self::Group, Self::Name, Self::Host];

    /// The word in addresses.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Group => "group",
            Self::Name => "name",
            Self::Host => "host",
        }
    }

    /// The key of what it is called.
    pub(super) fn label(self, page: &Page) -> &'static str {
        match self {
            Self::Alert => page.text("silence.scope.alert"),
            Self::Group => page.text("silence.scope.group"),
            Self::Name => page.text("silence.scope.name"),
            Self::Host => page.text("silence.scope.host"),
        }
    }

    /// The matchers of a silence about an alert with these labels, in a group with those; none where that is
    /// nothing of its own.
    pub(super) fn matchers(self, labels: &Labels, group: &Labels) -> Vec<Matcher> {
        let of = |labels: &Labels| -> Vec<Matcher> {
            let equal = |(name, value): (&str, &str)| Matcher::new(name, MatchOp::Equal, value);
            labels.iter().filter_map(|pair| equal(pair).ok()).collect()
        };
        match self {
            Self::Alert => of(labels),
            Self::Group => of(group),
            Self::Name => of(&labels.only(&[model::ALERT_NAME])),
            Self::Host => of(&labels.only(&[model::ENDPOINT])),
        }
    }
}

/// How a refusal is answered.
pub(super) const REFUSED: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use daemon::page::Language;
    use proptest::prelude::*;

    use super::*;
    use crate::silence::tests::{matcher, silence};
    use crate::web::tests::page;

    const HOUR: Duration = Duration::from_secs(3600);

    fn form() -> SilenceForm {
        SilenceForm {
            matchers: "alertname=\"DiskFull\"\nendpoint=~\"web-.*\"".to_owned(),
            span: "2h".to_owned(),
            author: " ann ".to_owned(),
            comment: "disk is changed".to_owned(),
            ..SilenceForm::default()
        }
    }

    #[test]
    fn a_new_one_begins_now_and_holds_for_its_span() {
        let page = page(Language::English, "");
        let read = form().read(None, &page).unwrap();
        assert_eq!(
            (read.posted.starts_at, read.posted.ends_at),
            (page.now, page.now.plus(HOUR * 2))
        );
        assert_eq!((read.posted.created_by.as_str(), read.posted.id), ("ann", None));
        let ops: Vec<_> = read.posted.matchers.iter().map(|m| (m.is_regex, m.is_equal)).collect();
        assert_eq!(ops, [(false, true), (true, true)]);
        assert_eq!(read.posted.ends_with_alert.as_deref(), Some("0s"));
    }

    #[test]
    fn moments_are_those_of_the_zone_of_the_page() {
        let page = page(Language::English, "");
        let to = SilenceForm { span: String::new(), ends: "2025-10-09T18:01".to_owned(), ..form() };
        assert_eq!(to.read(None, &page).unwrap().posted.ends_at, page.now.plus(HOUR));
        let later = SilenceForm { starts: "2025-10-09T19:01".to_owned(), ..form() };
        let posted = later.read(None, &page).unwrap().posted;
        assert_eq!(
            (posted.starts_at, posted.ends_at),
            (page.now.plus(HOUR * 2), page.now.plus(HOUR * 4))
        );
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let form = SilenceForm { ends: "soon".to_owned(), ..SilenceForm::default() };
        let faults = form.read(None, &page(Language::English, "")).unwrap_err();
        assert_eq!(faults.len(), 4, "{faults:?}");
        let form = SilenceForm { matchers: "alertname=~\"(\"".to_owned(), ..self::form() };
        let faults = form.read(None, &page(Language::Chinese, "")).unwrap_err();
        assert!(faults.len() == 1 && faults[0].contains("alertname"), "{faults:?}");
    }

    #[test]
    fn a_form_that_nobody_touched_changes_nothing() {
        let page = page(Language::English, "");
        let from = page.now.minus(Duration::from_millis(61_234));
        let mut old = silence("a", vec![matcher("alertname", "Disk.*", true)], from);
        old.ends_after = Some(HOUR);
        let mut later = old.clone();
        later.starts_at = page.now.plus(HOUR / 2);
        for now_or_later in [old, later] {
            let posted = SilenceForm::of(&now_or_later, &page).read(Some(&now_or_later), &page);
            let read = Silence::read(posted.unwrap().posted, page.now).unwrap();
            assert_eq!(
                (read.starts_at, read.ends_at, read.matchers_text(), read.ends_after()),
                (
                    now_or_later.starts_at,
                    now_or_later.ends_at,
                    now_or_later.matchers_text(),
                    now_or_later.ends_after()
                )
            );
        }
    }

    #[test]
    fn a_silence_about_an_alert_can_be_wider_than_it() {
        let labels = [("alertname", "DiskFull"), ("endpoint", "web-03"), ("mount", "/data")];
        let labels = Labels::from_pairs(labels);
        let text = |scope: Scope| matchers_text(&scope.matchers(&labels, &labels.only(&["mount"])));
        assert_eq!(
            Scope::ALL.map(text),
            [
                r#"{alertname="DiskFull",endpoint="web-03",mount="/data"}"#,
                r#"{mount="/data"}"#,
                r#"{alertname="DiskFull"}"#,
                r#"{endpoint="web-03"}"#
            ]
        );
    }

    proptest! {
        #[test]
        fn matchers_of_any_labels_are_read_back_as_they_were(
            pairs in proptest::collection::btree_map("[a-z]{1,5}", "\\PC{1,12}", 1..5)
        ) {
            let labels = Labels::from_pairs(pairs);
            let matchers = Scope::Alert.matchers(&labels, &labels);
            let read = read_matchers(&lines(&matchers)).unwrap();
            prop_assert_eq!(matchers_text(&read), matchers_text(&matchers));
        }

        #[test]
        fn no_form_makes_the_page_fail(text in "\\PC{0,60}", ends in "\\PC{0,20}") {
            let form = SilenceForm { matchers: text, ends, span: String::new(), ..form() };
            let _ = form.read(None, &page(Language::English, ""));
        }
    }
}
