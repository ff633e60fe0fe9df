//! `ss.*`: TCP sockets by state, from the kernel's own counts and without listing the sockets.

use std::path::Path;
use std::time::Duration;

use super::{Collector, Readings};
use crate::host::file::{HostError, KeptFile};
use crate::host::network::tables;
use crate::host::protocol::{counters, socket_count};
use crate::host::sock_diag::half_open_connections;

pub(super) struct Sockets {
    // Netlink answers for the network of the agent, which under another root may not be the host's.
    is_own_network: bool,
    sockstat: KeptFile,
    sockstat6: KeptFile,
    snmp: KeptFile,
}

impl Sockets {
    pub(super) fn new(root: &Path) -> Self {
        let file = |name: &str| KeptFile::new(root, &format!("{}/{name}", tables(root)));
        Self {
            is_own_network: root == Path::new("/"),
            sockstat: file("sockstat"),
            sockstat6: file("sockstat6"),
            snmp: file("snmp"),
        }
    }
}

impl Collector for Sockets {
    fn collect(&mut self, _: Duration, out: &mut Readings) -> Result<(), HostError> {
        // A host without IPv6 has no second table.
        let in_use6 = self.sockstat6.read_if_there()?;
        let in_use6 = in_use6.and_then(|table| socket_count(table, "TCP6", "inuse")).unwrap_or(0);
        count(self.sockstat.read()?, in_use6, out);
        counters(self.snmp.read()?, "Tcp", |name, value| {
            if name == "CurrEstab" {
                out.count("ss.estab", value);
            }
        });
        // A kernel without socket diagnosis, as in some sandboxes, is no fault of the host.
        if self.is_own_network
            && let Ok(connections) = half_open_connections()
        {
            out.count("ss.synrecv", connections);
        }
        Ok(())
    }
}

// As `ss -s` reckons, on which rules of Open-Falcon were built: what is allocated or waits out its time, and is
// in no table.
fn count(sockstat: &[u8], in_use6: u64, out: &mut Readings) {
    let tcp = |name| socket_count(sockstat, "TCP", name);
    if let (Some(in_use), Some(allocated), Some(waiting)) = (tcp("inuse"), tcp("alloc"), tcp("tw"))
    {
        let in_tables = in_use.saturating_add(in_use6);
        out.count("ss.closed", allocated.saturating_add(waiting).saturating_sub(in_tables));
    }
    if let Some(orphaned) = tcp("orphan") {
        out.count("ss.orphaned", orphaned);
    }
    if let Some(waiting) = tcp("tw") {
        out.count("ss.timewait", waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::*;

    #[test]
    fn closed_sockets_are_those_in_no_table() {
        let table = b"TCP: inuse 10 orphan 1 tw 2 alloc 20 mem 3\n";
        check(|out| count(table, 5, out), "ss_closed{h} 7\nss_orphaned{h} 1\nss_timewait{h} 2");
    }

    #[test]
    fn many_that_wait_out_their_time_count_as_closed_too() {
        let table = b"TCP: inuse 3 orphan 0 tw 154 alloc 3 mem 3\n";
        check(|out| count(table, 0, out), "ss_closed{h} 154\nss_orphaned{h} 0\nss_timewait{h} 154");
    }

    #[test]
    fn a_table_without_tcp_gives_nothing() {
        check(|out| count(b"UDP: inuse 3 mem 1\n", 0, out), "");
    }
}
