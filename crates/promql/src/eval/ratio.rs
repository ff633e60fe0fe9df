//! Which series `limit_ratio` picks: the same ones as Prometheus, by the hash of their labels.

use model::Labels;

const PRIMES: [u64; 5] = [
    0x9E37_79B1_85EB_CA87,
    0xC2B2_AE3D_27D4_EB4F,
    0x1656_67B1_9E37_79F9,
    0x85EB_CA77_C2B2_AE63,
    0x27D4_EB2F_1656_67C5,
];

/// Where a series stands between 0 and 1.
pub(super) fn position(labels: &Labels) -> f64 {
    xxh64(&encoded(labels)) as f64 / u64::MAX as f64
}

/// The labels as Prometheus keeps them in memory: every name and value after its length, which
/// takes one byte, or four when it is 255 or more.
fn encoded(labels: &Labels) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(labels.byte_len());
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        match u8::try_from(text.len()) {
            Ok(length) if length < u8::MAX => bytes.push(length),
            _ => {
                bytes.push(u8::MAX);
                bytes.extend(&text.len().to_le_bytes()[..3]);
            }
        }
        bytes.extend(text.as_bytes());
    }
    bytes
}

fn round(accumulator: u64, word: u64) -> u64 {
    let mixed = accumulator.wrapping_add(word.wrapping_mul(PRIMES[1]));
    mixed.rotate_left(31).wrapping_mul(PRIMES[0])
}

fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| (word << 8) | u64::from(*byte))
}

/// XXH64 with seed 0. Our own hash is another one (xxh3), so this small one stands here for itself.
fn xxh64(bytes: &[u8]) -> u64 {
    let stripes = bytes.chunks_exact(32);
    let rest = stripes.remainder();
    let mut hash = PRIMES[4];
    if bytes.len() >= 32 {
        let mut lanes =
            [PRIMES[0].wrapping_add(PRIMES[1]), PRIMES[1], 0, 0u64.wrapping_sub(PRIMES[0])];
        for stripe in stripes {
            for (lane, bytes) in lanes.iter_mut().zip(stripe.chunks_exact(8)) {
                *lane = round(*lane, word(bytes));
            }
        }
        let turned = lanes.iter().zip([1, 7, 12, 18]).map(|(lane, turn)| lane.rotate_left(turn));
        hash = turned.fold(0, u64::wrapping_add);
        for lane in lanes {
            hash = (hash ^ round(0, lane)).wrapping_mul(PRIMES[0]).wrapping_add(PRIMES[3]);
        }
    }
    hash = hash.wrapping_add(bytes.len() as u64);
    let words = rest.chunks_exact(8);
    let mut tail = words.remainder();
    for bytes in words {
        hash ^= round(0, word(bytes));
        hash = hash.rotate_left(27).wrapping_mul(PRIMES[0]).wrapping_add(PRIMES[3]);
    }
    if let Some((half, after)) = tail.split_at_checked(4) {
        hash ^= word(half).wrapping_mul(PRIMES[0]);
        hash = hash.rotate_left(23).wrapping_mul(PRIMES[1]).wrapping_add(PRIMES[2]);
        tail = after;
    }
    for byte in tail {
        hash ^= u64::from(*byte).wrapping_mul(PRIMES[4]);
        hash = hash.rotate_left(11).wrapping_mul(PRIMES[0]);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(PRIMES[1]);
    hash = (hash ^ (hash >> 29)).wrapping_mul(PRIMES[2]);
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_specification() {
        assert_eq!(xxh64(b""), 0xEF46_DB37_51D8_E999);
        assert_eq!(xxh64(b"a"), 0xD24E_C4F1_A98C_6E5B);
        assert_eq!(xxh64(b"abc"), 0x44BC_2CF5_AD77_0999);
        assert_eq!(xxh64(b"Nobody inspects the spammish repetition"), 0xFBCE_A83C_8A37_8BF1);
    }

    #[test]
    fn long_values_have_longer_lengths() {
        let labels = Labels::from_pairs([("a", "x".repeat(300))]);
        let bytes = encoded(&labels);
        assert_eq!(&bytes[..6], [1, b'a', 255, 44, 1, 0]);
        assert_eq!(bytes.len(), 306);
    }

    #[test]
    fn positions_are_spread_between_zero_and_one() {
        let at = |index: u32| position(&Labels::from_pairs([("i", index.to_string())]));
        let low = (0..1000).filter(|index| at(*index) < 0.5).count();
        assert!((400..600).contains(&low), "{low}");
    }
}
