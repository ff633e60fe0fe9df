//! `net.if.*`: what went through the network interfaces.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Collector, Readings};
use crate::host::file::{HostError, KeptFile};
use crate::host::network::{Line, NetworkStats, parse, tables};

/// Rounds for which a line is taken to be as its driver said: ten minutes.
const LINE_ROUNDS: u32 = 20;
/// Lines kept in mind. Containers come and go with an interface each.
const LINES_MAX: usize = 1024;

pub(super) struct Interfaces {
    file: KeptFile,
    root: PathBuf,
    ignored: Vec<String>,
    lines: HashMap<String, KnownLine>,
}

struct KnownLine {
    line: Line,
    rounds_left: u32,
}

impl Interfaces {
    pub(super) fn new(root: &Path, ignored: Vec<String>) -> Self {
        let file = KeptFile::new(root, &format!("{}/dev", tables(root)));
        Self { file, root: root.to_owned(), ignored, lines: HashMap::new() }
    }
}

impl Collector for Interfaces {
    fn collect(&mut self, _: Duration, out: &mut Readings) -> Result<(), HostError> {
        let keep = |name: &str| !self.ignored.iter().any(|prefix| name.starts_with(prefix));
        let interfaces = parse(self.file.read()?, keep);
        for stats in &interfaces {
            count(stats, self.line(&stats.interface), out);
        }
        Ok(())
    }
}

impl Interfaces {
    fn line(&mut self, interface: &str) -> Line {
        if let Some(known) = self.lines.get_mut(interface).filter(|known| known.rounds_left > 0) {
            known.rounds_left -= 1;
            return known.line;
        }
        if self.lines.len() >= LINES_MAX {
            self.lines.clear();
        }
        let line = Line::read(&self.root, interface);
        // A line that is not up yet is asked again soon.
        let rounds_left = if line == Line::default() { 1 } else { LINE_ROUNDS };
        self.lines.insert(interface.to_owned(), KnownLine { line, rounds_left });
        line
    }
}

fn count(stats: &NetworkStats, line: Line, out: &mut Readings) {
    let own = [("iface", stats.interface.as_str())];
    let mut add = |metric, value: f64| out.add_with(metric, &own, value);
    let [in_bytes, in_packets, in_errors, in_dropped, in_fifo, frame, in_compressed, multicast] =
        stats.received.map(|count| count as f64);
    let [
        out_bytes,
        out_packets,
        out_errors,
        out_dropped,
        out_fifo,
        collisions,
        carrier,
        out_compressed,
    ] = stats.sent.map(|count| count as f64);
    add("net.if.in.bytes", in_bytes);
    add("net.if.in.bits", in_bytes * 8.0);
    add("net.if.in.packets", in_packets);
    add("net.if.in.errors", in_errors);
    add("net.if.in.dropped", in_dropped);
    add("net.if.in.fifo.errs", in_fifo);
    add("net.if.in.frame.errs", frame);
    add("net.if.in.compressed", in_compressed);
    add("net.if.in.multicast", multicast);
    add("net.if.out.bytes", out_bytes);
    add("net.if.out.bits", out_bytes * 8.0);
    add("net.if.out.packets", out_packets);
    add("net.if.out.errors", out_errors);
    add("net.if.out.dropped", out_dropped);
    add("net.if.out.fifo.errs", out_fifo);
    add("net.if.out.collisions", collisions);
    add("net.if.out.carrier.errs", carrier);
    add("net.if.out.compressed", out_compressed);
    add("net.if.total.bytes", in_bytes + out_bytes);
    add("net.if.total.bits", (in_bytes + out_bytes) * 8.0);
    add("net.if.total.packets", in_packets + out_packets);
    add("net.if.total.errors", in_errors + out_errors);
    add("net.if.total.dropped", in_dropped + out_dropped);
    if let Some(is_full) = line.is_full_duplex {
        add("net.if.duplex.full", f64::from(is_full));
    }
    if let Some(speed) = line.speed_bits {
        add("net.if.speed.bits", speed);
        add("net.if.in.percent", in_bytes * 8.0 * 100.0 / speed);
        add("net.if.out.percent", out_bytes * 8.0 * 100.0 / speed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::lines;
    use super::*;

    fn stats() -> NetworkStats {
        NetworkStats {
            interface: "eth0".to_owned(),
            received: [1, 2, 3, 4, 5, 6, 7, 8],
            sent: [10, 20, 30, 40, 50, 60, 70, 80],
        }
    }

    #[test]
    fn every_column_has_its_metric() {
        let found = lines(|out| count(&stats(), Line::default(), out));
        for expected in [
            r#"net_if_in_bytes{h, iface="eth0"} 1"#,
            r#"net_if_in_frame_errs{h, iface="eth0"} 6"#,
            r#"net_if_in_compressed{h, iface="eth0"} 7"#,
            r#"net_if_in_multicast{h, iface="eth0"} 8"#,
            r#"net_if_out_collisions{h, iface="eth0"} 60"#,
            r#"net_if_out_carrier_errs{h, iface="eth0"} 70"#,
            r#"net_if_out_compressed{h, iface="eth0"} 80"#,
            r#"net_if_total_bits{h, iface="eth0"} 88"#,
        ] {
            assert!(found.contains(&expected.to_owned()), "{expected} in {found:?}");
        }
        assert_eq!(found.len(), 23);
    }

    #[test]
    fn the_load_of_the_line_is_told_only_when_its_speed_is_known() {
        let line = Line { speed_bits: Some(800.0), is_full_duplex: Some(false) };
        let found = lines(|out| count(&stats(), line, out));
        assert_eq!(
            found[23..],
            [
                r#"net_if_duplex_full{h, iface="eth0"} 0"#,
                r#"net_if_speed_bits{h, iface="eth0"} 800"#,
                r#"net_if_in_percent{h, iface="eth0"} 1"#,
                r#"net_if_out_percent{h, iface="eth0"} 10"#,
            ]
        );
    }

    #[test]
    fn the_driver_is_asked_again_only_after_ten_minutes() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("sys/class/net/eth0");
        std::fs::create_dir_all(&folder).unwrap();
        let mut interfaces = Interfaces::new(dir.path(), Vec::new());
        let mut speeds = |megabits: &str, rounds: u32| {
            std::fs::write(folder.join("speed"), megabits).unwrap();
            let speeds = (0..rounds).map(|_| interfaces.line("eth0").speed_bits);
            speeds.collect::<Vec<_>>()
        };
        // Not up yet: asked again in the round after the next.
        assert_eq!(speeds("-1", 2), [None, None]);
        assert_eq!(speeds("1000", 1), [Some(1e9)]);
        assert_eq!(speeds("10000", LINE_ROUNDS), vec![Some(1e9); LINE_ROUNDS as usize]);
        assert_eq!(speeds("10000", 1), [Some(1e10)]);
    }
}
