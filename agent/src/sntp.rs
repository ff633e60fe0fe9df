//! One question to a time server (SNTP, RFC 5905) and what its answer says about the local clock. Pure; the
//! socket is in `collect/clock.rs`.

use model::Timestamp;
use thiserror::Error;

/// Bytes of a packet without extensions.
pub const PACKET_BYTES: usize = 48;

/// Seconds from 1900, where NTP begins, to 1970.
const UNIX_EPOCH_SECONDS: i64 = 2_208_988_800;
/// An answer that took longer says too little about the moment.
const ROUND_TRIP_MILLIS_MAX: i64 = 2000;

/// Why an answer is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SntpError {
    /// Too short for a packet.
    #[error("the answer is shorter than 48 bytes")]
    Short,
    /// No answer of a server, or not to this question.
    #[error("the answer is not one to our question")]
    Foreign,
    /// The server says that its own clock is not set, or tells the client to go away.
    #[error("the server has no time to give (stratum {0})")]
    Unsynchronised(u8),
    /// The times contradict each other, or the answer took too long.
    #[error("the answer took {0} ms by its own times")]
    RoundTrip(i64),
}

/// The question. `nonce` comes back in the answer; one that others cannot guess keeps forged answers out.
pub fn question(nonce: u64) -> [u8; PACKET_BYTES] {
    let mut packet = [0; PACKET_BYTES];
    // No leap warning, version 4, mode 3 (client).
    packet[0] = 0b00_100_011;
    packet[40..48].copy_from_slice(&nonce.to_be_bytes());
    packet
}

/// Milliseconds that the local clock is ahead of the server's, from the answer to `question(nonce)` that was
/// sent and received at these local times.
///
/// # Errors
/// When the answer cannot be trusted.
pub fn offset_millis(
    answer: &[u8],
    nonce: u64,
    sent: Timestamp,
    received: Timestamp,
) -> Result<f64, SntpError> {
    let packet: &[u8; PACKET_BYTES] = answer.first_chunk().ok_or(SntpError::Short)?;
    let (leap, mode, stratum) = (packet[0] >> 6, packet[0] & 0b111, packet[1]);
    if mode != 4 || packet[24..32] != nonce.to_be_bytes() {
        return Err(SntpError::Foreign);
    }
    if leap == 3 || !(1..=15).contains(&stratum) || packet[40..48] == [0; 8] {
        return Err(SntpError::Unsynchronised(stratum));
    }
    let server_received = unix_millis(packet, 32);
    let server_sent = unix_millis(packet, 40);
    let round_trip = (received.millis() - sent.millis()) as f64 - (server_sent - server_received);
    // Two clocks that tick in milliseconds may disagree by one on a fast network.
    if !(-2.0..=ROUND_TRIP_MILLIS_MAX as f64).contains(&round_trip) {
        return Err(SntpError::RoundTrip(round_trip as i64));
    }
    let server_ahead =
        ((server_received - sent.millis() as f64) + (server_sent - received.millis() as f64)) / 2.0;
    Ok(-server_ahead)
}

// 32 bits of seconds turn over in 2036; times before 1968 are those after.
fn unix_millis(packet: &[u8; PACKET_BYTES], at: usize) -> f64 {
    let word = |at: usize| {
        u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
    };
    let seconds = i64::from(word(at));
    let seconds = if seconds < 1 << 31 { seconds + (1 << 32) } else { seconds };
    ((seconds - UNIX_EPOCH_SECONDS) * 1000) as f64
        + f64::from(word(at + 4)) * 1000.0 / 4_294_967_296.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SENT: Timestamp = Timestamp(1_760_000_000_000);
    const RECEIVED: Timestamp = Timestamp(1_760_000_000_040);

    fn answer(nonce: u64, server_millis: i64) -> [u8; PACKET_BYTES] {
        let mut packet = question(0);
        packet[0] = 0b00_100_100;
        packet[1] = 2;
        packet[24..32].copy_from_slice(&nonce.to_be_bytes());
        for at in [32, 40] {
            let seconds = (server_millis.div_euclid(1000) + UNIX_EPOCH_SECONDS) as u32;
            let fraction = (server_millis.rem_euclid(1000) as u64 * 4_294_967_296 / 1000) as u32;
            packet[at..at + 4].copy_from_slice(&seconds.to_be_bytes());
            packet[at + 4..at + 8].copy_from_slice(&fraction.to_be_bytes());
        }
        packet
    }

    fn check(answer: &[u8], expected: Result<i64, SntpError>) {
        let offset = offset_millis(answer, 7, SENT, RECEIVED);
        assert_eq!(offset.map(|offset| offset.round() as i64), expected);
    }

    #[test]
    fn a_local_clock_that_is_ahead_has_a_positive_offset() {
        check(&answer(7, SENT.millis() + 20), Ok(0));
        check(&answer(7, SENT.millis() + 20 - 500), Ok(500));
        check(&answer(7, SENT.millis() + 20 + 90_000), Ok(-90_000));
    }

    #[test]
    fn times_after_2036_are_understood() {
        let sent = Timestamp(2_200_000_000_000);
        let offset = offset_millis(&answer(7, 2_200_000_000_000), 7, sent, sent);
        assert_eq!(offset.map(|offset| offset.round() as i64), Ok(0));
    }

    #[test]
    fn answers_that_cannot_be_trusted_are_refused() {
        let good = answer(7, SENT.millis());
        check(&good[..47], Err(SntpError::Short));
        check(&answer(8, SENT.millis()), Err(SntpError::Foreign));
        let with = |at: usize, byte: u8| {
            let mut packet = good;
            packet[at] = byte;
            packet
        };
        check(&with(0, 0b00_100_011), Err(SntpError::Foreign));
        check(&with(0, 0b11_100_100), Err(SntpError::Unsynchronised(2)));
        check(&with(1, 0), Err(SntpError::Unsynchronised(0)));
        check(&with(1, 16), Err(SntpError::Unsynchronised(16)));
        let slow = offset_millis(&good, 7, SENT, SENT.plus(std::time::Duration::from_secs(5)));
        assert_eq!(slow, Err(SntpError::RoundTrip(5000)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = offset_millis(&bytes, 7, SENT, RECEIVED);
            if bytes.len() >= PACKET_BYTES {
                bytes[24..32].copy_from_slice(&7u64.to_be_bytes());
                bytes[..2].copy_from_slice(&[0b00_100_100, 1]);
                let _ = offset_millis(&bytes, 7, SENT, RECEIVED);
            }
        }
    }
}
