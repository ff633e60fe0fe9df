//! A body of remote write, version 2. It is read the same twice, and every sample of it is accounted
//! for; what version 1 makes of the outcome is the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use wire::remote_write::{Limits, decode, encode, v2};

const LIMITS: Limits = Limits { message_bytes_max: 1 << 16, samples_max: 50 };

#[derive(Message)]
struct Request {
    #[prost(bytes = "vec", repeated, tag = "4")]
    symbols: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "5")]
    series: Vec<TimeSeries>,
}

#[derive(Message)]
struct TimeSeries {
    #[prost(uint32, repeated, tag = "1")]
    labels: Vec<u32>,
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
    let message = (*kind % 8 > 0).then_some(rest);
    let packed = message.map(|rest| snap::raw::Encoder::new().compress_vec(rest));
    let body = packed.as_ref().map_or(rest, |packed| packed.as_deref().expect("it fits"));

    let first = v2::decode(body, LIMITS);
    assert_eq!(format!("{first:?}"), format!("{:?}", v2::decode(body, LIMITS)));
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
        assert!(kept + refused <= sent);
        let number_out_of_range = |number: &u32| *number as usize >= request.symbols.len();
        assert!(!request.series.iter().any(|one| one.labels.iter().any(number_out_of_range)));
    }
    let again = decode(&encode(&decoded.series, &[]), LIMITS).expect("we wrote it");
    assert_eq!(format!("{:?}", again.series), format!("{:?}", decoded.series));
});
