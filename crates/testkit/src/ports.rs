//! Ports for the processes that a test starts.

use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::ops::Range;

/// Below the ports that the kernel gives to outgoing connections: a busy machine has thousands of these, and each
/// keeps a server from its port. Above those of well-known services.
const PORTS: Range<u16> = 10_000..32_000;
const TRIES: usize = 1000;

/// A loopback port that was free a moment ago. Another test may take it before the caller does; among some twenty
/// thousand that is rare enough.
pub fn free_port() -> u16 {
    let candidates = std::iter::repeat_with(|| {
        let random = RandomState::new().hash_one(()) % PORTS.len() as u64;
        PORTS.start + u16::try_from(random).expect("there are fewer than 65,536 ports")
    });
    candidates
        .take(TRIES)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("loopback has free ports")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_differ_and_are_none_of_outgoing_connections() {
        let ports: std::collections::BTreeSet<u16> = (0..50).map(|_| free_port()).collect();
        assert!(ports.len() > 40, "{ports:?}");
        assert!(ports.iter().all(|port| PORTS.contains(port)), "{ports:?}");
    }
}
