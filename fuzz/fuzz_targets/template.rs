//! A template of Alertmanager over a group of alerts. It ends within its limits, and the same text gives the same twice.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use model::{Alert, Labels, Timestamp};
use template::alertmanager::{Reader, data, library, own};
use template::{Library, Limits, Template, Value};
use wire::alert::WebhookMessage;

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const LIMITS: Limits = Limits {
    output_bytes_max: 10_000,
    work_bytes_max: 200_000,
    rounds_max: 1_000,
    steps_max: 10_000,
    calls_max: 500,
};

static LIBRARY: LazyLock<Arc<Library>> = LazyLock::new(|| Arc::new(library()));
static DATA: LazyLock<Value> = LazyLock::new(|| {
    let alert = |host: &str, end: i64| Alert {
        labels: Labels::from_pairs([("alertname", "DiskFull"), ("host", host)]),
        annotations: [("summary".to_owned(), "<full>".to_owned())].into(),
        starts_at: Timestamp(NOW.0 - 90_000),
        ends_at: Timestamp(NOW.0 + end),
        generator_url: "http://judge/g".to_owned(),
    };
    let by = Labels::from_pairs([("alertname", "DiskFull")]);
    let alerts = [alert("a", 60_000), alert("b", -500)];
    data(&WebhookMessage::new("ops", "{}:{}", by, "http://alarm", &alerts, NOW), Reader::default())
});

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let template = match Template::parse(&LIBRARY, "t", text, "") {
        Ok(template) => template,
        Err(faults) => {
            assert!(!faults.is_empty());
            for fault in faults {
                assert!(!fault.message.is_empty() && fault.line >= 1 && fault.column >= 1);
                assert!(fault.line <= text.matches('\n').count() + 1, "{fault}");
            }
            return;
        }
    };
    let render = || template.render(&DATA, &own(NOW), &LIMITS, None);
    let first = render();
    assert_eq!(first, render());
    if let Ok(text) = first {
        assert!(text.len() <= LIMITS.output_bytes_max);
    }
});
