//! Writing requests of version 1.

use model::{Metadata, MetricKind, Sample, Series};

use super::pack;
use crate::protobuf::{put_length, put_text, put_varint, text_len, varint_len};

fn number_of(kind: MetricKind) -> u64 {
    match kind {
        MetricKind::Unknown => 0,
        MetricKind::Counter => 1,
        MetricKind::Gauge => 2,
        MetricKind::Histogram => 3,
        MetricKind::Summary => 5,
    }
}

/// Encodes series and metadata into the body of a request. The caller keeps batches small: 2,000 to
/// 10,000 samples is what receivers expect.
pub fn encode(series: &[Series], metadata: &[(String, Metadata)]) -> Vec<u8> {
    pack(&encode_message(series, metadata))
}

pub(super) fn encode_message(series: &[Series], metadata: &[(String, Metadata)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(series.len() * 128);
    for one in series {
        let labels: usize = one.labels.iter().map(|pair| nested_len(label_len(pair))).sum();
        let samples: usize = one.samples.iter().map(|sample| nested_len(sample_len(sample))).sum();
        put_length(&mut out, 1, labels + samples);
        for (name, value) in one.labels.iter() {
            put_length(&mut out, 1, label_len((name, value)));
            put_text(&mut out, 1, name);
            put_text(&mut out, 2, value);
        }
        for sample in &one.samples {
            put_length(&mut out, 2, sample_len(sample));
            out.push(1 << 3 | 1);
            out.extend_from_slice(&sample.value.to_bits().to_le_bytes());
            out.push(2 << 3);
            put_varint(&mut out, sample.timestamp.millis() as u64);
        }
    }
    for (name, about) in metadata {
        let length = 2 + text_len(name) + text_len(&about.help) + text_len(&about.unit);
        put_length(&mut out, 3, length);
        out.push(1 << 3);
        put_varint(&mut out, number_of(about.kind));
        put_text(&mut out, 2, name);
        put_text(&mut out, 4, &about.help);
        put_text(&mut out, 5, &about.unit);
    }
    out
}

fn nested_len(length: usize) -> usize {
    1 + varint_len(length as u64) + length
}

fn label_len((name, value): (&str, &str)) -> usize {
    text_len(name) + text_len(value)
}

fn sample_len(sample: &Sample) -> usize {
    10 + varint_len(sample.timestamp.millis() as u64)
}
