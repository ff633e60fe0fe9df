//! What is printed parses to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use promql::{Features, parse_with};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(expr) = parse_with(text, Features::all()) else { return };
    let printed = expr.to_string();
    assert_eq!(parse_with(&printed, Features::all()), Ok(expr), "{text:?} is printed as {printed:?}");
});
