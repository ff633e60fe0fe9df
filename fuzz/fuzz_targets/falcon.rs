//! A list of Open-Falcon samples, as `/api/push`, `/v1/push` and `Transfer.Update` take it. Every item
//! is accounted for, and what was read is written and read to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::{ENDPOINT, Timestamp};
use serde_json::value::RawValue;
use wire::falcon_json::{counter_name, decode, encode, original_name};
use wire::known::KnownLabels;

const NOW: Timestamp = Timestamp::from_seconds(1_760_000_460);
const SAMPLES_MAX: usize = 20;

fuzz_target!(|bytes: &[u8]| {
    let first = decode(bytes, NOW, SAMPLES_MAX);
    assert_eq!(format!("{first:?}"), format!("{:?}", decode(bytes, NOW, SAMPLES_MAX)));
    let Ok(decoded) = first else { return };
    assert!(decoded.total() <= SAMPLES_MAX);
    assert!(decoded.refused.is_sorted_by(|a, b| a.0 < b.0));
    if let Ok(items) = serde_json::from_slice::<Option<Vec<&RawValue>>>(bytes) {
        assert_eq!(items.map_or(0, |items| items.len()), decoded.total());
    }
    let known = KnownLabels::new(100, 7);
    for sample in &decoded.samples {
        let series = sample.to_series();
        for _ in 0..2 {
            assert_eq!(format!("{series:?}"), format!("{:?}", sample.to_known_series(&known)));
        }
        assert_eq!(original_name(&sample.metadata().help), Some(&*sample.metric));
        let Ok(series) = series else { continue };
        assert_eq!(series.labels.get(ENDPOINT), Some(&*sample.endpoint));
        assert!(counter_name(&sample.metric, &series.labels).starts_with(&*sample.metric));
    }
    // NaN and infinities are taken as texts, and JSON has no numbers for them.
    let finite: Vec<_> =
        decoded.samples.into_iter().filter(|sample| sample.value.is_finite()).collect();
    let text = encode(&finite);
    let again = decode(text.as_bytes(), NOW, SAMPLES_MAX).expect("we wrote it");
    assert_eq!(again.refused, []);
    assert_eq!(again.samples, finite);
});
