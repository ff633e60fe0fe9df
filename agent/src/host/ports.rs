//! Ports that something listens on, from `/proc/net/{tcp,tcp6,udp,udp6}`.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::fields::fields;
use super::file::HostError;

/// The state of a TCP socket that waits for connections.
const LISTEN: &[u8] = b"0A";
const BUFFER_BYTES: usize = 32 << 10;
/// A host with a million sockets has tables of 150 MB; what comes after so many lines is not looked at.
const LINES_MAX: usize = 2_000_000;

/// A set of ports.
#[derive(Debug, Clone)]
pub struct Ports(Vec<u64>);

impl Default for Ports {
    /// No ports.
    fn default() -> Self {
        Self(vec![0; 1 << 10])
    }
}

impl Ports {
    /// Reads the tables under `root`: TCP sockets that listen, and all UDP sockets, which have no such state. A
    /// kernel without IPv6 has no tables of it.
    ///
    /// # Errors
    /// When a table of IPv4 cannot be read.
    pub fn read(root: &Path) -> Result<Self, HostError> {
        let mut ports = Self::default();
        for (table, listens_only, is_needed) in [
            ("proc/net/tcp", true, true),
            ("proc/net/tcp6", true, false),
            ("proc/net/udp", false, true),
            ("proc/net/udp6", false, false),
        ] {
            let path = root.join(table);
            match ports.add_table(&path, listens_only) {
                Err(error) if is_needed || error.kind() != io::ErrorKind::NotFound => {
                    return Err(HostError::Read { path, source: error });
                }
                _ => {}
            }
        }
        Ok(ports)
    }

    /// Whether something listens on the port.
    pub fn has(&self, port: u16) -> bool {
        self.0.get(usize::from(port >> 6)).is_some_and(|word| word & bit(port) != 0)
    }

    // Line by line: the tables are as long as the host has sockets, and most of them are of no interest.
    fn add_table(&mut self, path: &PathBuf, listens_only: bool) -> io::Result<()> {
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, File::open(path)?);
        let mut line = Vec::new();
        for _ in 0..LINES_MAX {
            line.clear();
            if reader.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if let Some(port) = local_port(&line, listens_only)
                && let Some(word) = self.0.get_mut(usize::from(port >> 6))
            {
                *word |= bit(port);
            }
        }
        Ok(())
    }
}

const fn bit(port: u16) -> u64 {
    1 << (port & 63)
}

fn local_port(line: &[u8], listens_only: bool) -> Option<u16> {
    let mut columns = fields(line.trim_ascii_end()).skip(1);
    let local = columns.next()?;
    let state = columns.nth(1)?;
    if listens_only && state != LISTEN {
        return None;
    }
    let colon = local.iter().rposition(|byte| *byte == b':')?;
    let port = std::str::from_utf8(&local[colon + 1..]).ok()?;
    u16::from_str_radix(port, 16).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::{TcpListener, UdpSocket};

    use proptest::prelude::*;

    use super::*;

    const HEAD: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n";

    fn tree(tables: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("proc/net")).unwrap();
        for (table, lines) in tables {
            fs::write(dir.path().join("proc/net").join(table), format!("{HEAD}{lines}")).unwrap();
        }
        dir
    }

    #[test]
    fn listening_tcp_and_any_udp_sockets_count() {
        let tcp = "   0: 0100007F:1F90 00000000:0000 0A 0:0 0\n   1: 0100007F:0016 0100007F:1234 01 0:0 0\n";
        let udp6 = "  9: 00000000000000000000000000000000:0035 0000:0000 07 0:0 0\n";
        let dir = tree(&[("tcp", tcp), ("udp", ""), ("udp6", udp6)]);
        let ports = Ports::read(dir.path()).unwrap();
        assert!(ports.has(8080) && ports.has(53));
        assert!(!ports.has(22) && !ports.has(0x1234) && !ports.has(0));
    }

    #[test]
    fn a_host_without_the_tables_is_an_error_and_not_closed_ports() {
        let error = Ports::read(tree(&[("tcp", "")]).path()).unwrap_err();
        assert!(error.to_string().ends_with("proc/net/udp"), "{error}");
    }

    #[test]
    fn the_sockets_of_this_test_are_seen() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("[::1]:0").or_else(|_| UdpSocket::bind("127.0.0.1:0")).unwrap();
        let ports = Ports::read(Path::new("/")).unwrap();
        assert!(ports.has(tcp.local_addr().unwrap().port()));
        assert!(ports.has(udp.local_addr().unwrap().port()));
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line: Vec<u8>, tail in "[0-9A-F: ]{0,40}") {
            let _ = (local_port(&line, false), local_port(tail.as_bytes(), true));
        }
    }
}
