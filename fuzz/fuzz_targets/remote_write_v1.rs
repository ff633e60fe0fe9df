//! A body of remote write, version 1. It is read the same twice and with labels from memory, every
//! sample of it is accounted for, and what was read is written and read to the same.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use prost::Message;
use wire::known::KnownLabels;
use wire::remote_write::{Limits, decode, decode_known, encode};

const LIMITS: Limits = Limits { message_bytes_max: 1 << 16, samples_max: 50 };

#[derive(Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    series: Vec<TimeSeries>,
}

#[derive(Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "2")]
    samples: Vec<TimedValue>,
}

#[derive(Message)]
struct TimedValue {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else { return };
    // A mutated block is hardly ever a block any more, so most inputs are the message in it.
    let message = (*kind % 8 > 0).then_some(rest);
    let packed = message.map(|rest| snap::raw::Encoder::new().compress_vec(rest));
    let body = packed.as_ref().map_or(rest, |packed| packed.as_deref().expect("it fits"));

    let first = decode(body, LIMITS);
    assert_eq!(format!("{first:?}"), format!("{:?}", decode(body, LIMITS)));
    let known = KnownLabels::new(100, 7);
    for _ in 0..2 {
        let again = decode_known(body, LIMITS, &known);
        assert_eq!(format!("{first:?}"), format!("{again:?}"));
    }
    let Ok(decoded) = first else { return };

    let kept: usize = decoded.series.iter().map(|series| series.samples.len()).sum();
    let refused: usize = decoded.refused.values().map(|refusal| refusal.samples).sum();
    assert!(kept + refused <= LIMITS.samples_max);
    for series in &decoded.series {
        assert!(!series.labels.metric_name().is_empty() && !series.samples.is_empty());
        assert!(series.samples.is_sorted_by(|a, b| a.timestamp < b.timestamp));
    }
    if let Some(Ok(request)) = message.map(Request::decode) {
        let sent: usize = request.series.iter().map(|series| series.samples.len()).sum();
        let repeated: usize = request.series.iter().map(repeated).sum();
        assert!(kept + refused <= sent && kept + refused + repeated >= sent);
    }

    let again = decode(&encode(&decoded.series, &decoded.metadata), LIMITS).expect("we wrote it");
    assert!(again.refused.is_empty());
    assert_eq!(format!("{:?}", again.series), format!("{:?}", decoded.series));
    assert_eq!(again.metadata, decoded.metadata);
});

fn repeated(series: &TimeSeries) -> usize {
    let times: BTreeSet<i64> = series.samples.iter().map(|sample| sample.timestamp).collect();
    series.samples.len() - times.len()
}
