//! The heartbeat and its reply. What was read is written and read to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::heartbeat::{HeartbeatError, HeartbeatReply, HeartbeatRequest};

fuzz_target!(|bytes: &[u8]| {
    match HeartbeatRequest::decode(bytes) {
        Ok(request) => {
            assert!(!request.host.0.is_empty());
            let written = serde_json::to_vec(&request).expect("it is plain");
            let again = HeartbeatRequest::decode(&written).expect("we wrote it");
            assert_eq!(again, request);
        }
        Err(HeartbeatError::Field { field, fault }) => assert!(!field.is_empty() && !fault.is_empty()),
        Err(HeartbeatError::Json(_) | HeartbeatError::TooLong { .. }) => {}
    }
    if let Ok(reply) = serde_json::from_slice::<HeartbeatReply>(bytes) {
        let written = serde_json::to_vec(&reply).expect("it is plain");
        let again: HeartbeatReply = serde_json::from_slice(&written).expect("we wrote it");
        assert_eq!(format!("{again:?}"), format!("{reply:?}"));
    }
});
