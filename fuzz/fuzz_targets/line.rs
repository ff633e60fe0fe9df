//! Lines of the socket: Open-Falcon's `update` and OpenTSDB's `put`. What an `update` was read as is
//! written and read to the same; a `put` is read as the same point in JSON is.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use model::{Series, Timestamp};
use wire::line::{Command, parse};
use wire::opentsdb;

const NOW: Timestamp = Timestamp::from_seconds(1_760_000_460);

fuzz_target!(|bytes: &[u8]| {
    for line in bytes.split(|byte| *byte == b'\n') {
        let read = parse(line, NOW);
        assert_eq!(format!("{read:?}"), format!("{:?}", parse(line, NOW)));
        match read {
            Err(fault) => assert!(!fault.as_str().is_empty()),
            Ok(Command::Update(sample)) => {
                let text = format!(
                    "update {} {} {} {} {} {}",
                    sample.endpoint,
                    sample.metric,
                    sample.timestamp.seconds(),
                    sample.value,
                    sample.counter_type.as_str(),
                    sample.step
                );
                let again = parse(text.as_bytes(), NOW);
                assert_eq!(format!("{again:?}"), format!("{:?}", Ok::<_, ()>(Command::Update(sample))));
            }
            Ok(Command::Put(series)) => same_in_json(line, &series),
            Ok(Command::Quit | Command::Blank) => {}
        }
    }
});

fn same_in_json(line: &[u8], series: &Series) {
    let text = str::from_utf8(line).expect("it was read").trim();
    let mut words = text.split_once(char::is_whitespace).expect("it has words").1.split_ascii_whitespace();
    let [metric, timestamp, value] = [words.next(), words.next(), words.next()];
    let tags: Vec<(&str, &str)> = words.filter_map(|word| word.split_once('=')).collect();
    let map: BTreeMap<&str, &str> = tags.iter().copied().collect();
    if map.len() < tags.len() {
        // An object has a key once.
        return;
    }
    let point = serde_json::json!({
        "metric": metric, "timestamp": timestamp, "value": value, "tags": map
    });
    let body = point.to_string();
    let decoded = opentsdb::decode(body.as_bytes(), NOW, 1).expect("we wrote it");
    assert_eq!(format!("{:?}", decoded.series), format!("{:?}", [series]));
}
