//! The counters under the names that Open-Falcon's operators know, for `/counter/all`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use model::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::metrics::{Metrics, Protocol};

/// One counter as the original writes it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Counter {
    name: &'static str,
    /// Since the start.
    cnt: u64,
    /// A second, since somebody asked the last time.
    qps: u64,
    /// `2025-10-09 08:21:00`, in UTC.
    time: String,
    /// Details, which the original has for none of these; clients read the key all the same.
    other: BTreeMap<&'static str, u64>,
}

/// The reading before, from which the rates are taken.
#[derive(Debug)]
pub(crate) struct Counters {
    last: Mutex<Reading>,
}

#[derive(Debug)]
struct Reading {
    at: Timestamp,
    counts: Vec<u64>,
}

impl Counters {
    /// Rates of the first reading are since `started`.
    pub(crate) fn new(started: Timestamp) -> Self {
        Self { last: Mutex::new(Reading { at: started, counts: Vec::new() }) }
    }

    /// `{"msg":"success","data":[…]}`.
    pub(crate) fn read(&self, metrics: &Metrics, now: Timestamp) -> Value {
        let counts = counts(metrics);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let counters = with_rates(&counts, &last, now);
        *last = Reading { at: now, counts: counts.iter().map(|(_, count)| *count).collect() };
        json!({ "msg": "success", "data": counters })
    }
}

fn counts(metrics: &Metrics) -> [(&'static str, u64); 7] {
    let of = |protocols: &[Protocol]| protocols.iter().map(|one| metrics.received_of(*one)).sum();
    let rpc = of(&[Protocol::JsonRpc]);
    let socket = of(&[Protocol::Line, Protocol::OpenTsdbLine]);
    let all: u64 = of(&Protocol::ALL);
    [
        ("RecvCnt", all),
        ("RpcRecvCnt", rpc),
        ("HttpRecvCnt", all - rpc - socket),
        ("SocketRecvCnt", socket),
        ("SendToTsdbCnt", metrics.stored.get()),
        ("SendToTsdbDropCnt", metrics.lost_line_samples.get()),
        ("RefusedCnt", metrics.refused_in_all()),
    ]
}

fn with_rates(counts: &[(&'static str, u64)], last: &Reading, now: Timestamp) -> Vec<Counter> {
    let seconds = now.since(last.at).as_secs_f64();
    let text = now.rfc3339();
    let time: String = text.chars().take("2025-10-09T08:21:00".len()).collect();
    let before = last.counts.iter().copied().chain(std::iter::repeat(0));
    let one = |((name, cnt), before): (&(&'static str, u64), u64)| {
        let grown = cnt.saturating_sub(before) as f64;
        let qps = if seconds > 0.0 { (grown / seconds).round() as u64 } else { 0 };
        Counter { name, cnt: *cnt, qps, time: time.replace('T', " "), other: BTreeMap::new() }
    };
    counts.iter().zip(before).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_since_the_last_reading() {
        let last = Reading { at: Timestamp::from_seconds(100), counts: vec![50] };
        let counters =
            with_rates(&[("RecvCnt", 250), ("New", 30)], &last, Timestamp::from_seconds(110));
        let text = serde_json::to_string(&counters[0]).expect("it is plain");
        assert_eq!(
            text,
            r#"{"Name":"RecvCnt","Cnt":250,"Qps":20,"Time":"1970-01-01 00:01:50","Other":{}}"#
        );
        assert_eq!(counters[1].qps, 3);
        let at_once = with_rates(&[("RecvCnt", 250)], &last, last.at);
        assert_eq!(at_once[0].qps, 0, "no time, no rate");
    }
}
