//! Ports for the processes that a test starts.

use std::net::TcpListener;

/// A loopback port that was free a moment ago. Another process may take it before the caller does; among some
/// thirty thousand ephemeral ports that is rare enough for tests.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    listener.local_addr().expect("a bound socket has an address").port()
}
