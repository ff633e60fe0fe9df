//! A message of remote write that is handed on series by series in its bytes. What is put together from its parts is
//! read as the message itself, labels survive being written, and packed bodies join to the joined messages.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::remote_write::raw::{RawPart, RawParts, encode_labels, find_label, read_labels};
use wire::remote_write::{Limits, decode, join, message_len, pack, unpack};

const LIMITS: Limits = Limits { message_bytes_max: 1 << 16, samples_max: 1_000_000 };

fuzz_target!(|message: &[u8]| {
    let mut rebuilt = Vec::new();
    let mut samples = 0;
    for part in RawParts::of(message) {
        let Ok(part) = part else { return };
        match part {
            RawPart::Metadata(field) => rebuilt.extend_from_slice(field),
            RawPart::Series(series) => {
                rebuilt.extend_from_slice(series.field);
                samples += series.samples;
                assert!(series.field.ends_with(series.rest));
                assert!(series.labels.len() + series.rest.len() <= series.field.len());
                let Ok(labels) = read_labels(series.labels) else { continue };
                assert_eq!(read_labels(&encode_labels(&labels)), Ok(labels.clone()));
                for (name, value) in labels.iter() {
                    assert_eq!(find_label(&encode_labels(&labels), name), Some(value));
                }
            }
        }
    }
    let (body, again) = (pack(message), pack(&rebuilt));
    let read = decode(&body, LIMITS);
    assert_eq!(format!("{read:?}"), format!("{:?}", decode(&again, LIMITS)));
    if let Ok(read) = read {
        let kept: usize = read.series.iter().map(|series| series.samples.len()).sum();
        assert!(kept <= samples);
    }

    assert_eq!(message_len(&body), Some(message.len()));
    let joined = join(&[&body, &again]).expect("both are blocks");
    let mut unpacked = Vec::new();
    unpack(&joined, LIMITS, &mut unpacked).expect("it is a block");
    assert_eq!(unpacked, [message, &rebuilt].concat());
});
