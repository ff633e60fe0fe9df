//! `conntrack.*`: how many connections the firewall keeps in mind. When it can keep no more, it drops new ones.

use std::path::Path;
use std::time::Duration;

use super::{Collector, Readings, percent};
use crate::host::file::{HostError, KeptFile};
use crate::host::system::parse_one;

pub(super) struct Conntrack {
    entries: KeptFile,
    limit: KeptFile,
}

impl Conntrack {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            entries: KeptFile::new(root, "proc/sys/net/netfilter/nf_conntrack_count"),
            limit: KeptFile::new(root, "proc/sys/net/netfilter/nf_conntrack_max"),
        }
    }
}

impl Collector for Conntrack {
    // The tables come and go with the module.
    fn collect(&mut self, _: Duration, out: &mut Readings) -> Result<(), HostError> {
        let entries = self.entries.read_if_there()?.and_then(parse_one);
        let limit = self.limit.read_if_there()?.and_then(parse_one);
        if let (Some(entries), Some(limit)) = (entries, limit) {
            out.count("conntrack.entries", entries);
            out.count("conntrack.limit", limit);
            out.add("conntrack.used.percent", percent(entries, limit));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::testing::check;
    use super::*;

    #[test]
    fn a_firewall_without_tracking_is_no_fault_until_it_tracks() {
        let dir = tempfile::tempdir().unwrap();
        let mut conntrack = Conntrack::new(dir.path());
        check(|out| conntrack.collect(Duration::ZERO, out).unwrap(), "");
        let folder = dir.path().join("proc/sys/net/netfilter");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("nf_conntrack_count"), "50\n").unwrap();
        fs::write(folder.join("nf_conntrack_max"), "200\n").unwrap();
        let expected =
            "conntrack_entries{h} 50\nconntrack_limit{h} 200\nconntrack_used_percent{h} 25";
        check(|out| conntrack.collect(Duration::ZERO, out).unwrap(), expected);
    }
}
