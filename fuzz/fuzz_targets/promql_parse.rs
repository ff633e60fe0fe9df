//! No bytes make the parser panic, and every error says something.
#![no_main]

use libfuzzer_sys::fuzz_target;
use promql::{Features, parse, parse_with};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let _ = parse(&text);
    if let Err(error) = parse_with(&text, Features::all()) {
        assert!(!error.to_string().is_empty());
    }
});
