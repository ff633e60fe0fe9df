//! A list of alerts as Prometheus posts it. Every item is accounted for; an accepted alert is whole, and
//! is posted and accepted to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::Timestamp;
use serde_json::value::RawValue;
use wire::alert::{PostableAlert, RESOLVE_TIMEOUT, decode};

const NOW: Timestamp = Timestamp::from_seconds(1_760_000_460);

fuzz_target!(|bytes: &[u8]| {
    let first = decode(bytes);
    assert_eq!(format!("{first:?}"), format!("{:?}", decode(bytes)));
    let Ok(items) = first else { return };
    let given: Vec<&RawValue> = serde_json::from_slice(bytes).expect("it was read");
    assert_eq!(items.len(), given.len());
    for alert in items {
        let alert = match alert {
            Ok(alert) => alert,
            Err(fault) => {
                assert!(!fault.to_string().is_empty());
                continue;
            }
        };
        let text = serde_json::to_string(&[&alert]).expect("it is plain");
        let again = decode(text.as_bytes()).expect("we wrote it").remove(0).expect("it was read");
        let Ok(accepted) = alert.accept(NOW, RESOLVE_TIMEOUT) else {
            assert!(again.accept(NOW, RESOLVE_TIMEOUT).is_err());
            continue;
        };
        assert_eq!(again.accept(NOW, RESOLVE_TIMEOUT).as_ref(), Ok(&accepted));
        assert!(accepted.alert.starts_at <= accepted.alert.ends_at);
        let posted = PostableAlert::from(accepted.alert.clone());
        let twice = posted.accept(NOW, RESOLVE_TIMEOUT).expect("it was accepted before");
        assert_eq!(twice.alert, accepted.alert);
    }
});
