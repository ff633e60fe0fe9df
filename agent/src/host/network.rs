//! `/proc/net/dev` and `/sys/class/net`: what went through the interfaces.

use std::path::Path;

use super::fields::{decimal, fields, lines, name, numbers};
use super::file::read_once;

/// Counters of one interface since it came up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkStats {
    /// `eth0`.
    pub interface: String,
    /// Bytes, packets, errors, drops, FIFO errors, frame errors, compressed and multicast packets that came
    /// in.
    pub received: [u64; 8],
    /// Bytes, packets, errors, drops, FIFO errors, collisions, carrier errors and compressed packets that
    /// went out.
    pub sent: [u64; 8],
}

/// The interfaces that `keep` wants.
pub fn parse(table: &[u8], keep: impl Fn(&str) -> bool) -> Vec<NetworkStats> {
    lines(table).filter_map(|line| interface(line, &keep)).collect()
}

// Old kernels put no blank between the colon and a long first number, so the colon is the border and not the
// blank. An alias (`eth0:1`) has a colon in its name: the last one counts.
fn interface(line: &[u8], keep: impl Fn(&str) -> bool) -> Option<NetworkStats> {
    let colon = line.iter().rposition(|byte| *byte == b':')?;
    let interface = std::str::from_utf8(&line[..colon]).ok()?.trim();
    if interface.is_empty() || !keep(interface) {
        return None;
    }
    let mut values = [0; 16];
    if numbers(fields(&line[colon + 1..]), &mut values) < values.len() {
        return None;
    }
    let mut stats =
        NetworkStats { interface: name(interface.as_bytes()), ..NetworkStats::default() };
    stats.received.copy_from_slice(&values[..8]);
    stats.sent.copy_from_slice(&values[8..]);
    Some(stats)
}

/// The speed of an interface in bits a second; `None` when the driver does not know it. Virtual ones say -1.
pub fn speed_bits(root: &Path, interface: &str) -> Option<f64> {
    // A name is one component of a path, whatever the table said.
    if interface.contains('/') || interface.starts_with('.') {
        return None;
    }
    let text = read_once(root, &format!("sys/class/net/{interface}/speed")).ok()?;
    decimal(&text).filter(|megabits| *megabits > 0.0).map(|megabits| megabits * 1e6)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn interfaces_are_read_with_and_without_a_blank_after_the_colon() {
        let table = b"Inter-|   Receive  |  Transmit
 face |bytes packets|bytes
  eth0:1234567890 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16
    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16
";
        let interfaces = parse(table, |name| name != "lo");
        assert_eq!(interfaces.len(), 1);
        assert_eq!(interfaces[0].interface, "eth0");
        assert_eq!((interfaces[0].received[0], interfaces[0].sent[0]), (1_234_567_890, 9));
    }

    #[test]
    fn an_unknown_speed_is_no_speed() {
        let dir = tempfile::tempdir().unwrap();
        for (interface, speed) in [("eth0", "1000\n"), ("virt0", "-1\n"), ("odd0", "fast")] {
            let folder = dir.path().join("sys/class/net").join(interface);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("speed"), speed).unwrap();
        }
        let speeds = ["eth0", "virt0", "odd0", "none", "../net/eth0"]
            .map(|name| speed_bits(dir.path(), name));
        assert_eq!(speeds, [Some(1e9), None, None, None, None]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes, |_| true);
        }
    }
}
