//! What the Grafana plug-in of Open-Falcon asks. A host's dots are `~` there, and pieces of a path are
//! divided by `#`: `db~07#load#1min` is `load.1min` of `db.07`.

use std::collections::BTreeMap;

use model::{ENDPOINT, Timestamp};
use serde_json::{Value, json};

use super::history::Question;
use super::names::{Names, Words};
use super::{parameter, series_of};
use crate::error::ApiError;
use crate::params::Params;
use crate::site::Ask;

/// Hosts shown to somebody who has typed nothing yet.
const HOSTS_MAX: usize = 500;
/// What is shown when a question has no start.
const SPAN_SECONDS: i64 = 3600;

/// `metrics/find`: without `#` the hosts that match, behind it the next pieces of the host's counters.
pub(super) async fn find(ask: &Ask, query: &str) -> Result<String, ApiError> {
    let mut pieces = query.trim_end_matches("#*").split('#');
    let host = pieces.next().unwrap_or("").replace('~', ".");
    let path: Vec<&str> = pieces.filter(|piece| !piece.is_empty()).collect();
    let is_host = query.contains('#');
    if !is_host {
        let words = if host == "*" { String::new() } else { host };
        let words = Words::parse(&words).map_err(|fault| parameter("query", fault))?;
        let hosts = ask.label_values(ENDPOINT, &[], (Timestamp::MIN, Timestamp::MAX), 0).await?;
        let found = hosts.iter().filter(|host| words.match_text(host)).take(HOSTS_MAX);
        let line = |host: &String| json!({ "text": host.replace('.', "~"), "expandable": true });
        return Ok(Value::from_iter(found.map(line)).to_string());
    }
    let names = Names::new(ask.metadata(None, 0).await?);
    let series = series_of(ask, &[host], "").await?;
    let next = next_pieces(series.iter().map(|labels| names.counter(labels)), &path);
    let line = |(text, expandable)| json!({ "text": text, "expandable": expandable });
    Ok(Value::from_iter(next.into_iter().map(line)).to_string())
}

/// What may follow a path, and whether that goes on. Pieces of a counter's name are divided by dots; its tags are
/// the last piece's.
fn next_pieces(counters: impl Iterator<Item = String>, path: &[&str]) -> BTreeMap<String, bool> {
    let mut next = BTreeMap::new();
    for counter in counters {
        let (name, tags) = counter.split_once('/').map_or((counter.as_str(), ""), |both| both);
        let mut pieces: Vec<String> = name.split('.').map(str::to_owned).collect();
        if let (Some(last), false) = (pieces.last_mut(), tags.is_empty()) {
            last.push('/');
            last.push_str(tags);
        }
        let begins = pieces.len() > path.len() && pieces.iter().zip(path).all(|(a, b)| a == b);
        if begins {
            let goes_on = pieces.len() > path.len() + 1;
            *next.entry(pieces.swap_remove(path.len())).or_insert(false) |= goes_on;
        }
    }
    next
}

/// `render`: a question for the history of all targets.
pub(super) fn question(params: &Params, now: Timestamp) -> Result<Question, ApiError> {
    let mut question = Question {
        consol_fun: params.get("consolFun").unwrap_or("").to_owned(),
        start_time: moment(params, "from", now, now.seconds() - SPAN_SECONDS)?,
        end_time: moment(params, "until", now, now.seconds())?,
        ..Question::default()
    };
    if let Some(step) = params.get("step") {
        question.step = step.parse().map_err(|_| parameter("step", "must be seconds"))?;
    }
    for target in params.all("target") {
        let (host, counter) = target
            .split_once('#')
            .ok_or_else(|| parameter("target", "must be like host#load#1min"))?;
        let (host, counter) = (host.replace('~', "."), counter.replace('#', "."));
        if !question.hostnames.contains(&host) {
            question.hostnames.push(host);
        }
        if !question.counters.contains(&counter) {
            question.counters.push(counter);
        }
    }
    Ok(question)
}

/// Seconds since the epoch, `now`, or before now as `-6h`.
fn moment(params: &Params, name: &str, now: Timestamp, absent: i64) -> Result<i64, ApiError> {
    let Some(text) = params.get(name) else { return Ok(absent) };
    if text == "now" {
        return Ok(now.seconds());
    }
    let relative = text.strip_prefix('-').and_then(wire::prom_api::parse_duration_millis);
    match relative {
        Some(millis) => Ok(now.seconds() - millis / 1000),
        None => text.parse().map_err(|_| parameter(name, "must be seconds, now, or like -6h")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(path: &[&str]) -> Vec<(String, bool)> {
        let counters = ["load.1min", "load.5min", "df.bytes.used/mount=/", "df.bytes"];
        next_pieces(counters.into_iter().map(str::to_owned), path).into_iter().collect()
    }

    #[test]
    fn a_path_goes_on_piece_by_piece() {
        let pair = |text: &str, goes_on| (text.to_owned(), goes_on);
        assert_eq!(next(&[]), [pair("df", true), pair("load", true)]);
        assert_eq!(next(&["load"]), [pair("1min", false), pair("5min", false)]);
        assert_eq!(next(&["df"]), [pair("bytes", true)]);
        assert_eq!(next(&["df", "bytes"]), [pair("used/mount=/", false)]);
        assert!(next(&["nothing"]).is_empty());
    }
}
