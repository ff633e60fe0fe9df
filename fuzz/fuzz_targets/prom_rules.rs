//! A rule file in Prometheus' YAML. It is checked the same twice, and a bad one says where and why.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let (first, second) = (judge::check_rules("r.yml", text), judge::check_rules("r.yml", text));
    assert_eq!(first.faults, second.faults);
    assert_eq!((first.groups, first.rules), (second.groups, second.rules));
    for fault in &first.faults {
        assert!(fault.file == "r.yml" && !fault.message.is_empty());
        // The end of a text with a newline is a line of its own.
        assert!(fault.line <= text.split(['\n', '\r']).count() as u64 + 1, "{fault}");
    }
});
