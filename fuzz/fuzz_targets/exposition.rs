//! Prometheus text. Every line is accounted for, and what was read is written and read to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::Timestamp;
use wire::exposition::{parse, write};

const NOW: Timestamp = Timestamp(1_760_000_460_123);

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let read = parse(&text, NOW);
    assert_eq!(format!("{read:?}"), format!("{:?}", parse(&text, NOW)));
    let is_sample = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with('#');
    assert_eq!(read.series.len() + read.refused.len(), text.lines().filter(is_sample).count());

    let written = write(&read.series, &read.metadata);
    let again = parse(&written, Timestamp(0));
    assert_eq!(again.refused, [], "{written}");
    assert_eq!(format!("{:?}", again.series), format!("{:?}", read.series));
});
