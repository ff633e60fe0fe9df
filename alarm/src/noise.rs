//! Which rules make noise: how often each fired, how often somebody took it, kept it from himself by a mute, how
//! often it came back at once, and how long it burned before somebody took it. By rule and team.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use db::DbError;
use db::alerts::EventKind;
use db::noise::{AckRow, NoiseEvent};
use model::{Fingerprint, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::Common;
use crate::http::{Api, error};

/// An alert that fires again so soon after its end flaps.
const FLAP_WITHIN: Duration = Duration::from_secs(600);
/// What one answer looks at; with more the oldest is left out, and the answer says so.
const EVENTS_MAX: u32 = 200_000;
const ACKS_MAX: u32 = 100_000;
const MUTED_MAX: u32 = 100_000;
pub(crate) const WINDOW_DEFAULT: &str = "7d";
const WINDOW_MAX: Duration = Duration::from_secs(400 * 86_400);

/// What happened within the window.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// In any order.
    pub(crate) events: Vec<NoiseEvent>,
    pub(crate) acks: Vec<AckRow>,
    /// Messages that a mute kept from somebody.
    pub(crate) muted: Vec<(Fingerprint, u64)>,
    /// Rule and team of the alerts; what is not here is forgotten by now.
    pub(crate) names: HashMap<Fingerprint, (String, String)>,
    /// Whether there was more than is looked at.
    pub(crate) is_cut: bool,
}

/// The statistics of a rule and a team, or of a team.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Noise {
    /// Empty for all rules of a team.
    pub(crate) rule: String,
    /// The label `team`; empty without one.
    pub(crate) team: String,
    /// Times that an alert began.
    pub(crate) fired: u64,
    /// Times that somebody took one.
    pub(crate) acked: u64,
    /// Messages that a mute kept from somebody.
    pub(crate) muted: u64,
    /// Times that an alert began again within ten minutes of its end.
    pub(crate) flapped: u64,
    /// From the start of an alert until somebody took it.
    pub(crate) median_to_ack: Option<Duration>,
}

/// Everything that is shown.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) from: Timestamp,
    pub(crate) is_cut: bool,
    /// By rule and team, the noisiest first.
    pub(crate) rules: Vec<Noise>,
    /// By team.
    pub(crate) teams: Vec<Noise>,
}

#[derive(Debug, Default)]
struct Tally {
    noise: Noise,
    waits: Vec<Duration>,
}

impl Tally {
    fn close(mut self, rule: String, team: String) -> Noise {
        self.waits.sort_unstable();
        let middle = self.waits.len() / 2;
        let median_to_ack = match (self.waits.get(middle), self.waits.len() % 2) {
            (Some(upper), 0) => Some((self.waits[middle - 1] + *upper) / 2),
            (found, _) => found.copied(),
        };
        Noise { rule, team, median_to_ack, ..self.noise }
    }
}

/// Counts by what `key` makes of rule and team. Pure.
fn count(history: &History, key: impl Fn(&(String, String)) -> (String, String)) -> Vec<Noise> {
    let mut tallies: BTreeMap<(String, String), Tally> = BTreeMap::new();
    let unknown = (String::new(), String::new());
    let place = |fingerprint: &Fingerprint| key(history.names.get(fingerprint).unwrap_or(&unknown));
    let mut of_alert: HashMap<Fingerprint, Vec<&NoiseEvent>> = HashMap::new();
    for event in &history.events {
        of_alert.entry(event.fingerprint).or_default().push(event);
    }
    for (fingerprint, mut events) in of_alert {
        events.sort_unstable_by_key(|event| event.at);
        let noise = &mut tallies.entry(place(&fingerprint)).or_default().noise;
        let mut ended_at: Option<Timestamp> = None;
        for event in events {
            match event.kind {
                EventKind::Firing => {
                    noise.fired += 1;
                    let flaps = ended_at.is_some_and(|ended| event.at.since(ended) <= FLAP_WITHIN);
                    noise.flapped += u64::from(flaps);
                }
                EventKind::Resolved => ended_at = Some(event.at),
                EventKind::Renewed | EventKind::Stale => {}
            }
        }
    }
    let mut seen = HashSet::new();
    let mut acks: Vec<&AckRow> = history.acks.iter().collect();
    acks.sort_unstable_by_key(|ack| ack.made_at);
    for ack in acks {
        let tally = tallies.entry(place(&ack.fingerprint)).or_default();
        tally.noise.acked += 1;
        // Who takes it again has not waited again.
        if seen.insert((ack.fingerprint, ack.began_at)) {
            tally.waits.push(ack.made_at.since(ack.began_at));
        }
    }
    for (fingerprint, messages) in &history.muted {
        tallies.entry(place(fingerprint)).or_default().noise.muted += messages;
    }
    let mut rows: Vec<Noise> =
        tallies.into_iter().map(|((rule, team), tally)| tally.close(rule, team)).collect();
    rows.sort_by_key(|row| std::cmp::Reverse((row.fired, row.flapped)));
    rows
}

/// Reads the window, as in `7d`; the fault says what is wrong.
pub(crate) fn read_window(text: &str) -> Result<Duration, String> {
    let window = model::parse_duration(text).map_err(|fault| fault.to_string())?;
    if window.is_zero() || window > WINDOW_MAX {
        return Err("window must be longer than nothing and at most 400d".to_owned());
    }
    Ok(window)
}

/// The statistics of the last `window`.
pub(crate) async fn report(common: &Common, window: Duration) -> Result<Report, DbError> {
    let from = common.clock.now().minus(window);
    let table = common.db.noise();
    let mut history = History {
        events: table.events(from, EVENTS_MAX).await?,
        acks: table.acks(from, ACKS_MAX).await?,
        muted: table.muted(from, MUTED_MAX).await?,
        ..History::default()
    };
    history.is_cut = history.events.len() >= EVENTS_MAX as usize
        || history.acks.len() >= ACKS_MAX as usize
        || history.muted.len() >= MUTED_MAX as usize;
    let of_events = history.events.iter().map(|event| event.fingerprint);
    let of_acks = history.acks.iter().map(|ack| ack.fingerprint);
    let of_muted = history.muted.iter().map(|(fingerprint, _)| *fingerprint);
    let mut fingerprints: Vec<Fingerprint> = of_events.chain(of_acks).chain(of_muted).collect();
    fingerprints.sort_unstable();
    fingerprints.dedup();
    for stored in common.db.alerts().load(&fingerprints).await? {
        let label = |name| stored.alert.labels.get(name).unwrap_or("").to_owned();
        history.names.insert(stored.alert.fingerprint(), (label("alertname"), label("team")));
    }
    Ok(Report {
        from,
        is_cut: history.is_cut,
        rules: count(&history, |(rule, team)| (rule.to_owned(), team.to_owned())),
        teams: count(&history, |(_, team)| (String::new(), team.to_owned())),
    })
}

/// The routes.
pub(crate) fn routes() -> Router<Arc<Api>> {
    Router::new().route("/api/v1/noise", get(show))
}

#[derive(Debug, Deserialize)]
struct Wanted {
    window: Option<String>,
}

async fn show(State(api): State<Arc<Api>>, Query(wanted): Query<Wanted>) -> Response {
    let window = match read_window(wanted.window.as_deref().unwrap_or(WINDOW_DEFAULT)) {
        Ok(window) => window,
        Err(fault) => return error(StatusCode::BAD_REQUEST, &fault),
    };
    match report(&api.common, window).await {
        Ok(report) => {
            let rules: Vec<Value> = report.rules.iter().map(shown).collect();
            let teams: Vec<Value> = report.teams.iter().map(shown).collect();
            let body = json!({
                "from": report.from.rfc3339(), "isCut": report.is_cut, "rules": rules, "teams": teams,
            });
            Json(body).into_response()
        }
        Err(fault) => {
            tracing::error!(error = daemon::error_chain(&fault), "cannot count noise");
            error(StatusCode::INTERNAL_SERVER_ERROR, "the history cannot be read now; ask again")
        }
    }
}

fn shown(row: &Noise) -> Value {
    let mut shown = json!({
        "team": row.team, "fired": row.fired, "acked": row.acked, "muted": row.muted,
        "flapped": row.flapped,
        "medianSecondsToAck": row.median_to_ack.map(|wait| wait.as_secs_f64()),
    });
    if !row.rule.is_empty() {
        shown["rule"] = json!(row.rule);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    fn event(alert: u64, kind: EventKind, minute: i64) -> NoiseEvent {
        NoiseEvent { fingerprint: Fingerprint(alert), kind, at: Timestamp(minute * MINUTE) }
    }

    fn ack(alert: u64, began: i64, made: i64) -> AckRow {
        AckRow {
            fingerprint: Fingerprint(alert),
            began_at: Timestamp(began * MINUTE),
            made_at: Timestamp(made * MINUTE),
        }
    }

    fn history() -> History {
        let names = [(1, "Disk", "db"), (2, "Disk", "web"), (3, "Load", "db")];
        History {
            events: vec![
                event(1, EventKind::Firing, 20),
                event(1, EventKind::Resolved, 10),
                event(1, EventKind::Firing, 0),
                event(1, EventKind::Stale, 25),
                event(1, EventKind::Renewed, 26),
                event(2, EventKind::Firing, 5),
                event(2, EventKind::Resolved, 6),
                event(2, EventKind::Firing, 17),
                event(9, EventKind::Firing, 1),
            ],
            acks: vec![ack(1, 0, 4), ack(1, 0, 9), ack(1, 20, 22), ack(3, 0, 60)],
            muted: vec![(Fingerprint(2), 3)],
            names: names
                .map(|(id, rule, team)| (Fingerprint(id), (rule.to_owned(), team.to_owned())))
                .into(),
            is_cut: false,
        }
    }

    #[test]
    fn a_rule_of_a_team_is_counted_by_what_happened_to_its_alerts() {
        let rows = count(&history(), |names| names.clone());
        let of = |rule, team| {
            rows.iter().find(|row| (row.rule.as_str(), row.team.as_str()) == (rule, team)).unwrap()
        };
        let disk = of("Disk", "db");
        assert_eq!((disk.fired, disk.acked, disk.flapped, disk.muted), (2, 3, 1, 0));
        // Four minutes and two: who took it a second time had it already.
        assert_eq!(disk.median_to_ack, Some(Duration::from_secs(180)));
        let other = of("Disk", "web");
        assert_eq!(
            (other.fired, other.flapped, other.muted),
            (2, 0, 3),
            "eleven minutes are no flap"
        );
        assert_eq!(of("Load", "db").median_to_ack, Some(Duration::from_secs(3600)));
        assert_eq!(of("", "").fired, 1, "an alert that is forgotten still counts");
        assert_eq!(rows.iter().map(|row| row.fired).collect::<Vec<_>>(), [2, 2, 1, 0]);
    }

    #[test]
    fn a_team_is_the_sum_of_its_rules() {
        let rows = count(&history(), |(_, team)| (String::new(), team.to_owned()));
        let db = rows.iter().find(|row| row.team == "db").unwrap();
        assert_eq!((db.fired, db.acked, db.median_to_ack), (2, 4, Some(Duration::from_secs(240))));
    }

    #[test]
    fn a_window_is_a_span_of_time() {
        assert_eq!(read_window("7d"), Ok(Duration::from_secs(7 * 86_400)));
        for text in ["0", "401d", "week", ""] {
            assert!(read_window(text).is_err(), "{text}");
        }
    }
}
