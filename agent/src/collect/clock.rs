//! `sys.ntp.offset` and `agent.clock.offset`: how wrong the local clock is.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use daemon::Clock;

use super::{Collector, Readings};
use crate::config::Ntp;
use crate::host::file::HostError;
use crate::metrics::Metrics;
use crate::sntp;

pub(super) struct ClockOffset {
    servers: Vec<String>,
    timeout: Duration,
    metrics: Arc<Metrics>,
}

impl ClockOffset {
    pub(super) fn new(config: &Ntp, metrics: Arc<Metrics>) -> Self {
        Self { servers: config.servers.clone(), timeout: config.timeout, metrics }
    }
}

impl Collector for ClockOffset {
    fn collect(&mut self, _: Duration, out: &mut Readings) -> Result<(), HostError> {
        if let Some(millis) = self.metrics.hbs_clock_offset_millis() {
            out.add("agent.clock.offset", millis);
        }
        // The first server that answers is believed: they are the operator's own, and named by preference.
        for server in &self.servers {
            match ask(server, self.timeout) {
                Ok(millis) => {
                    out.add("sys.ntp.offset", millis);
                    return Ok(());
                }
                Err(error) => {
                    tracing::debug!(server.name = server, "no time from a time server: {error:#}")
                }
            }
        }
        Ok(())
    }
}

fn ask(server: &str, timeout: Duration) -> anyhow::Result<f64> {
    let address = resolve(server).context("find the server's address")?;
    let local =
        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(local, 0)).context("open a socket")?;
    socket.set_read_timeout(Some(timeout))?;
    socket.connect(address)?;
    let clock = Clock::System;
    let sent = clock.now();
    // The keys of a `RandomState` come from the system's random numbers.
    let nonce = RandomState::new().hash_one(sent);
    socket.send(&sntp::question(nonce)).context("ask")?;
    let mut answer = [0; sntp::PACKET_BYTES];
    let length = socket.recv(&mut answer).context("wait for the answer")?;
    Ok(sntp::offset_millis(&answer[..length], nonce, sent, clock.now())?)
}

fn resolve(server: &str) -> io::Result<SocketAddr> {
    let with_port = server.to_socket_addrs();
    let addresses = with_port.or_else(|_| (server.trim_matches(['[', ']']), 123).to_socket_addrs());
    addresses?
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::super::testing::lines;
    use super::*;

    // A server whose clock is an hour behind, on a socket of its own.
    fn server() -> String {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let mut packet = [0; sntp::PACKET_BYTES];
            let (_, client) = socket.recv_from(&mut packet).unwrap();
            let seconds = (Clock::System.now().seconds() + 2_208_988_800 - 3600) as u32;
            packet.copy_within(40..48, 24);
            packet[0] = 0b00_100_100;
            packet[1] = 1;
            for at in [32, 40] {
                packet[at..at + 8].copy_from_slice(&(u64::from(seconds) << 32).to_be_bytes());
            }
            socket.send_to(&packet, client).unwrap();
        });
        address
    }

    #[test]
    fn a_server_that_does_not_answer_is_passed_over() {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let servers = vec![silent.local_addr().unwrap().to_string(), server()];
        let config = Ntp { servers, timeout: Duration::from_millis(300) };
        let found = lines(|out| {
            ClockOffset::new(&config, Arc::default()).collect(Duration::ZERO, out).unwrap()
        });
        let offset: f64 = found[0].strip_prefix("sys_ntp_offset{h} ").unwrap().parse().unwrap();
        assert!((3_599_000.0..=3_602_000.0).contains(&offset), "{offset}");
    }

    #[test]
    fn without_servers_there_is_no_offset_to_tell() {
        let found = lines(|out| {
            ClockOffset::new(&Ntp::default(), Arc::default()).collect(Duration::ZERO, out).unwrap()
        });
        assert!(found.is_empty());
    }

    #[test]
    fn the_port_may_be_left_out() {
        assert_eq!(resolve("127.0.0.1").unwrap().port(), 123);
        assert_eq!(resolve("[::1]").unwrap().port(), 123);
        assert_eq!(resolve("127.0.0.1:1123").unwrap().port(), 1123);
    }
}
