//! Influx line protocol. A good line before a text changes nothing but the numbers of its lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::{Sample, Timestamp};
use wire::influx::{Precision, decode};

const NOW: Timestamp = Timestamp::from_seconds(1_760_000_460);
const FIELDS_MAX: usize = 50;
const WORDS: [&str; 6] = ["ns", "us", "ms", "s", "m", "h"];

fuzz_target!(|bytes: &[u8]| {
    let Some((word, text)) = bytes.split_first() else { return };
    let Ok(text) = str::from_utf8(text) else { return };
    let word = WORDS[usize::from(*word) % WORDS.len()];
    let precision = Precision::parse(word).expect("it is one of the words");
    let first = decode(text, precision, NOW, FIELDS_MAX);
    assert_eq!(format!("{first:?}"), format!("{:?}", decode(text, precision, NOW, FIELDS_MAX)));
    let Ok(decoded) = first else { return };
    assert!(decoded.series.len() + decoded.refused.len() <= FIELDS_MAX);
    let lines = text.lines().count();
    assert!(decoded.refused.iter().all(|(line, _)| (1..=lines).contains(line)));
    assert!(decoded.refused.is_sorted_by_key(|(line, _)| *line));
    for series in &decoded.series {
        assert!(series.samples.len() == 1 && !series.labels.metric_name().is_empty());
    }

    let longer = format!("m,host=a v=1 5\n{text}");
    let mut longer = decode(&longer, precision, NOW, FIELDS_MAX + 1).expect("there is room for one");
    let before = longer.series.remove(0);
    assert_eq!(before.labels.to_string(), "m_v{host=\"a\"}");
    let Sample { value, .. } = before.samples[0];
    assert_eq!(value, 1.0);
    longer.refused.iter_mut().for_each(|(line, _)| *line -= 1);
    assert_eq!(format!("{longer:?}"), format!("{decoded:?}"));
});
