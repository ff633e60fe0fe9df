//! Ports for the processes that a test starts.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Below the ports that the kernel gives to outgoing connections: a busy machine has thousands of these, and each
/// keeps a server from its port. Above those of well-known services.
const PORTS: Range<u16> = 10_000..32_000;
const TRIES: usize = 1000;
/// What this process gave away: a port is free until somebody listens on it.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A loopback port that was free a moment ago, and none that this process was given before. Another process may take
/// it before the caller does; among some twenty thousand that is rare enough.
pub fn free_port() -> u16 {
    let candidates = std::iter::repeat_with(|| {
        let random = RandomState::new().hash_one(()) % PORTS.len() as u64;
        PORTS.start + u16::try_from(random).expect("there are fewer than 65,536 ports")
    });
    candidates
        .take(TRIES)
        .find(|port| {
            let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
            TcpListener::bind(("127.0.0.1", *port)).is_ok() && given.insert(*port)
        })
        .expect("loopback has free ports")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_differ_and_are_none_of_outgoing_connections() {
        let ports: BTreeSet<u16> = (0..500).map(|_| free_port()).collect();
        assert_eq!(ports.len(), 500, "one that is still to be listened on is not given twice");
        assert!(ports.iter().all(|port| PORTS.contains(port)), "{ports:?}");
    }
}
