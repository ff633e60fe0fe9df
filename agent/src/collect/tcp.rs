//! `TcpExt.*`, `TcpPkg.*` and `snmp.Udp.*`: what the protocols count.

use std::path::Path;
use std::time::Duration;

use super::{Collector, Readings};
use crate::catalogue::Group;
use crate::host::file::{HostError, KeptFile};
use crate::host::network::tables;
use crate::host::protocol::counters;

/// A protocol's counters under one prefix of the catalogue.
struct Family {
    protocol: &'static str,
    prefix: &'static str,
    /// The kernel's names and the catalogue's.
    metrics: Vec<(&'static str, &'static str)>,
}

impl Family {
    fn new(protocol: &'static str, prefix: &'static str) -> Self {
        let originals = Group::Tcp.metrics().map(|(metric, _)| metric.original);
        let metrics =
            originals.filter_map(|name| Some((name.strip_prefix(prefix)?, name))).collect();
        Self { protocol, prefix, metrics }
    }

    // What a kernel does not count is left out rather than sent as 0.
    fn count(&self, table: &[u8], out: &mut Readings) {
        counters(table, self.protocol, |name, value| {
            if let Some((_, original)) = self.metrics.iter().find(|(kernels, _)| *kernels == name) {
                out.count(original, value);
            }
        });
    }
}

pub(super) struct Tcp {
    netstat: KeptFile,
    snmp: KeptFile,
    families: [Family; 3],
    before: Option<Retransmits>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Retransmits {
    fast: Option<u64>,
    sent: Option<u64>,
}

impl Tcp {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            netstat: KeptFile::new(root, &format!("{}/netstat", tables(root))),
            snmp: KeptFile::new(root, &format!("{}/snmp", tables(root))),
            families: [
                Family::new("TcpExt", "TcpExt."),
                Family::new("Tcp", "TcpPkg."),
                Family::new("Udp", "snmp.Udp."),
            ],
            before: None,
        }
    }
}

impl Collector for Tcp {
    fn collect(&mut self, _: Duration, out: &mut Readings) -> Result<(), HostError> {
        let mut now = Retransmits::default();
        let netstat = self.netstat.read()?;
        let snmp = self.snmp.read()?;
        for family in &self.families {
            family.count(if family.prefix == "TcpExt." { netstat } else { snmp }, out);
        }
        counters(netstat, "TcpExt", |name, value| {
            if name == "TCPFastRetrans" {
                now.fast = Some(value);
            }
        });
        counters(snmp, "Tcp", |name, value| {
            if name == "OutSegs" {
                now.sent = Some(value);
            }
        });
        if let Some(rate) = self.before.and_then(|before| fast_retransmit_rate(now, before)) {
            out.add("TcpExt.TCPFastRetransRate", rate);
        }
        self.before = Some(now);
        Ok(())
    }
}

/// Fast retransmits of 10,000 segments sent in the interval; `None` after a reset of a counter.
fn fast_retransmit_rate(now: Retransmits, before: Retransmits) -> Option<f64> {
    let fast = now.fast?.checked_sub(before.fast?)?;
    let sent = now.sent?.checked_sub(before.sent?)?;
    Some(if sent == 0 { 0.0 } else { fast as f64 * 1e4 / sent as f64 })
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::*;

    fn counts(fast: u64, sent: u64) -> Retransmits {
        Retransmits { fast: Some(fast), sent: Some(sent) }
    }

    #[test]
    fn the_rate_is_of_the_interval_in_ten_thousandths() {
        assert_eq!(fast_retransmit_rate(counts(15, 2000), counts(5, 1000)), Some(100.0));
        assert_eq!(fast_retransmit_rate(counts(5, 1000), counts(5, 1000)), Some(0.0));
    }

    #[test]
    fn a_reset_counter_gives_no_rate() {
        assert_eq!(fast_retransmit_rate(counts(1, 2000), counts(5, 1000)), None);
        assert_eq!(fast_retransmit_rate(counts(6, 10), counts(5, 1000)), None);
        assert_eq!(fast_retransmit_rate(Retransmits::default(), counts(5, 1000)), None);
    }

    #[test]
    fn only_counters_of_the_catalogue_are_taken() {
        let family = Family::new("Tcp", "TcpPkg.");
        let table = b"Tcp: RtoMin InSegs OutSegs\nTcp: 200 7 8\n";
        check(|out| family.count(table, out), "TcpPkg_InSegs{h} 7\nTcpPkg_OutSegs{h} 8");
    }
}
