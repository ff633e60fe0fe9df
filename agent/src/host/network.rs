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

/// What the driver of an interface says of its line.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Line {
    /// Bits a second; `None` when the driver does not know. Virtual interfaces say -1 or refuse to answer.
    pub speed_bits: Option<f64>,
    /// Whether it sends and receives at the same time.
    pub is_full_duplex: Option<bool>,
}

impl Line {
    /// Asks the driver, which takes a lock of the kernel: not a thing to do in every round.
    pub fn read(root: &Path, interface: &str) -> Self {
        // A name is one component of a path, whatever the table said.
        if interface.contains('/') || interface.starts_with('.') {
            return Self::default();
        }
        let text = |file: &str| read_once(root, &format!("sys/class/net/{interface}/{file}")).ok();
        let megabits = text("speed").and_then(|text| decimal(&text));
        // A bond without a working member, and some drivers without a line, say 4294967295 for -1.
        let is_known = |megabits: &f64| *megabits > 0.0 && *megabits < f64::from(u32::MAX);
        Self {
            speed_bits: megabits.filter(is_known).map(|megabits| megabits * 1e6),
            is_full_duplex: text("duplex").and_then(|text| match text.trim_ascii() {
                b"full" => Some(true),
                b"half" => Some(false),
                _ => None,
            }),
        }
    }
}

/// The folder of the network's tables below `root`. Under another root than `/`, `proc/net` would be that of
/// the agent's own network; the host's is that of its first process.
pub fn tables(root: &Path) -> &'static str {
    let of_init = "proc/1/net";
    if root != Path::new("/") && root.join(of_init).exists() { of_init } else { "proc/net" }
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
    fn a_line_that_the_driver_does_not_know_has_neither_speed_nor_duplex() {
        let dir = tempfile::tempdir().unwrap();
        for (interface, speed, duplex) in [
            ("eth0", "1000\n", "full\n"),
            ("old0", "10\n", "half\n"),
            ("virt0", "-1\n", "unknown\n"),
            ("bond0", "4294967295\n", ""),
            ("odd0", "fast", "fuller"),
        ] {
            let folder = dir.path().join("sys/class/net").join(interface);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("speed"), speed).unwrap();
            fs::write(folder.join("duplex"), duplex).unwrap();
        }
        let line = |name| Line::read(dir.path(), name);
        assert_eq!(line("eth0"), Line { speed_bits: Some(1e9), is_full_duplex: Some(true) });
        assert_eq!(line("old0"), Line { speed_bits: Some(1e7), is_full_duplex: Some(false) });
        for name in ["virt0", "bond0", "odd0", "none", "../net/eth0"] {
            assert_eq!(line(name), Line::default(), "{name}");
        }
    }

    #[test]
    fn under_another_root_the_network_is_that_of_the_first_process() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!((tables(Path::new("/")), tables(dir.path())), ("proc/net", "proc/net"));
        fs::create_dir_all(dir.path().join("proc/1/net")).unwrap();
        assert_eq!(tables(dir.path()), "proc/1/net");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes, |_| true);
        }
    }
}
