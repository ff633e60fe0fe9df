//! Any text: the parser answers, and its error says where.
#![no_main]

use libfuzzer_sys::fuzz_target;
use promql::{Features, parse_with};

fuzz_target!(|text: &str| {
    for features in [Features::default(), Features::all()] {
        if let Err(fault) = parse_with(text, features) {
            assert!(!fault.to_string().is_empty());
        }
    }
});
