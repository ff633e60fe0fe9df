//! What parses is printed in both forms, and each parses to the same tree.
#![no_main]

use libfuzzer_sys::fuzz_target;
use promql::{Features, ast_json, output_labels, parse_with};

fuzz_target!(|text: &str| {
    let Ok(expr) = parse_with(text, Features::all()) else { return };
    for printed in [expr.to_string(), expr.pretty()] {
        let again = parse_with(&printed, Features::all());
        assert_eq!(again.as_ref(), Ok(&expr), "{text} was printed as {printed}");
    }
    assert!(ast_json(&expr).starts_with('{'));
    let _ = output_labels(&expr);
});
