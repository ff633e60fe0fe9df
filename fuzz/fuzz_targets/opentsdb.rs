//! A body of `/api/put`. Every point is accounted for, and a refused one is told in JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::Timestamp;
use serde_json::value::RawValue;
use wire::opentsdb::{DecodeError, decode};

const NOW: Timestamp = Timestamp::from_seconds(1_760_000_460);
const POINTS_MAX: usize = 20;

fuzz_target!(|bytes: &[u8]| {
    let first = decode(bytes, NOW, POINTS_MAX);
    assert_eq!(format!("{first:?}"), format!("{:?}", decode(bytes, NOW, POINTS_MAX)));
    let given = serde_json::from_slice::<Vec<&RawValue>>(bytes);
    match first {
        Ok(decoded) => {
            let total = decoded.series.len() + decoded.refused.len();
            assert!(total <= POINTS_MAX);
            assert_eq!(total, given.map_or(1, |given| given.len()));
            for series in &decoded.series {
                assert_eq!(series.samples.len(), 1);
                assert!(!series.labels.metric_name().is_empty());
            }
        }
        Err(DecodeError::TooManyPoints { max }) => {
            // What is beyond the limit is not looked at closely.
            assert!(max == POINTS_MAX && given.map_or(true, |given| given.len() > max));
        }
        Err(DecodeError::NotJson(_)) => assert!(given.is_err()),
    }
});
