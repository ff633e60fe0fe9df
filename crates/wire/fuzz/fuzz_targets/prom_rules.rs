//! A rule file in Prometheus' YAML. It is read the same twice, a good one has rules with names, and a
//! bad one says where and why.
#![no_main]
#![expect(dead_code, reason = "the reader's files are judge's; only reading is wanted here")]

#[path = "../../../../judge/src/humanize.rs"]
mod humanize;
#[path = "../../../../judge/src/rule_file.rs"]
mod rule_file;
#[path = "../../../../judge/src/rules.rs"]
mod rules;
#[path = "../../../../judge/src/template.rs"]
mod template;
#[path = "../../../../judge/src/template_check.rs"]
mod template_check;
#[path = "../../../../judge/src/template_functions.rs"]
mod template_functions;

use libfuzzer_sys::fuzz_target;

use crate::rule_file::{Defaults, Fault, read_file, read_group};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let defaults = Defaults::default();
    let first = read_file("r.yml", text, &defaults);
    assert_eq!(first, read_file("r.yml", text, &defaults));
    match first {
        Ok(groups) => {
            for group in groups {
                assert!(!group.interval.is_zero());
                assert!(group.rules.iter().all(|rule| !rule.name.is_empty()));
            }
        }
        Err(faults) => check(&faults, "r.yml", text),
    }
    if let Err(faults) = read_group("g", text, &defaults) {
        check(&faults, "db", text);
    }
});

fn check(faults: &[Fault], file: &str, text: &str) {
    assert!(!faults.is_empty());
    for fault in faults {
        assert!(fault.file == file && !fault.message.is_empty());
        // The end of a text with a newline is a line of its own.
        assert!(fault.line <= text.split(['\n', '\r']).count() as u64 + 1, "{fault}");
    }
}
