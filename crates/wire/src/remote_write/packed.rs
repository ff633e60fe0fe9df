//! The snappy blocks that hold messages, and how several become one without being unpacked.

use super::{DecodeError, Limits};

/// Unpacks a body into `message`, whose room is used again.
///
/// # Errors
/// When it is no snappy block, or the message is longer than the limit.
pub fn unpack(body: &[u8], limits: Limits, message: &mut Vec<u8>) -> Result<(), DecodeError> {
    let bytes = snap::raw::decompress_len(body).map_err(DecodeError::Snappy)?;
    if bytes > limits.message_bytes_max {
        return Err(DecodeError::MessageTooLong { bytes, max: limits.message_bytes_max });
    }
    message.resize(bytes, 0);
    let written =
        snap::raw::Decoder::new().decompress(body, message).map_err(DecodeError::Snappy)?;
    message.truncate(written);
    Ok(())
}

/// Packs a message into the body of a request.
pub fn pack(message: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new()
        .compress_vec(message)
        .expect("compression fails only for messages beyond 4 GiB, which no batch of samples is")
}

/// Bytes of the message in a body; `None` when it is no snappy block.
pub fn message_len(body: &[u8]) -> Option<usize> {
    length_and_elements(body).map(|(length, _)| length as usize)
}

/// One body that holds the messages of all, in their order. Nothing is unpacked: the elements of a
/// snappy block refer backwards by distance, so blocks can be put one behind the other, and a
/// message behind another adds its series to it.
///
/// `None` when one of them is no snappy block, or all together are beyond 4 GiB.
pub fn join<B: AsRef<[u8]>>(bodies: &[B]) -> Option<Vec<u8>> {
    let mut total = 0_u32;
    let mut all_elements = Vec::with_capacity(bodies.len());
    for body in bodies {
        let (length, elements) = length_and_elements(body.as_ref())?;
        total = total.checked_add(length)?;
        all_elements.push(elements);
    }
    let bytes: usize = all_elements.iter().map(|elements| elements.len()).sum();
    let mut joined = Vec::with_capacity(bytes + 5);
    crate::protobuf::put_varint(&mut joined, u64::from(total));
    all_elements.iter().for_each(|elements| joined.extend_from_slice(elements));
    Some(joined)
}

/// The length of what is in a block, and the elements behind it.
fn length_and_elements(body: &[u8]) -> Option<(u32, &[u8])> {
    let length = u32::try_from(snap::raw::decompress_len(body).ok()?).ok()?;
    let header = body.iter().position(|byte| byte & 0x80 == 0).map_or(body.len(), |last| last + 1);
    Some((length, &body[header..]))
}

#[cfg(test)]
mod tests {
    use model::{Labels, Sample, Series};
    use proptest::prelude::*;

    use super::super::{decode, encode};
    use super::*;

    #[test]
    fn joined_bodies_hold_the_series_of_all() {
        let series = |value: usize| Series {
            labels: Labels::from_pairs([("__name__", "up"), ("job", &format!("j{value}"))]),
            samples: vec![Sample::new(value as i64, value as f64)],
        };
        let all: Vec<Series> = (0..3000).map(series).collect();
        let bodies: Vec<Vec<u8>> = all.chunks(999).map(|some| encode(some, &[])).collect();
        let joined = join(&bodies).expect("they are snappy blocks");
        assert_eq!(decode(&joined, Limits::default()).expect("it is a body").series, all);
    }

    #[test]
    fn what_is_no_block_is_not_joined() {
        assert_eq!(join(&[encode(&[], &[]), vec![0xff; 12]]), None);
        assert_eq!(join(&[pack(b"a"), Vec::new()]).map(|joined| joined.len()), Some(3));
    }

    proptest! {
        #[test]
        fn blocks_put_together_unpack_to_their_contents_put_together(
            parts in prop::collection::vec(prop::collection::vec(0_u8..4, 0..3000), 0..8),
        ) {
            let blocks: Vec<Vec<u8>> = parts.iter().map(|part| pack(part)).collect();
            let joined = join(&blocks).expect("they are blocks");
            prop_assert_eq!(message_len(&joined), Some(parts.iter().map(Vec::len).sum()));
            let mut message = vec![7; 9];
            unpack(&joined, Limits::default(), &mut message).expect("it is a block");
            prop_assert_eq!(message, parts.concat());
        }

        #[test]
        fn no_bytes_make_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut message = Vec::new();
            let _ = unpack(&bytes, Limits::default(), &mut message);
            let _ = join(&[&bytes, &bytes]);
        }
    }
}
