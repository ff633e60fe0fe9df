//! `vmstat.*`: page faults, swapping, and what was killed for want of memory.

use std::path::Path;
use std::time::Duration;

use super::{Collector, Readings};
use crate::host::file::{HostError, KeptFile};
use crate::host::vmstat::VmStat;

pub(super) struct Paging {
    file: KeptFile,
}

impl Paging {
    pub(super) fn new(root: &Path) -> Self {
        Self { file: KeptFile::new(root, "proc/vmstat") }
    }
}

impl Collector for Paging {
    fn collect(&mut self, _: Duration, out: &mut Readings) -> Result<(), HostError> {
        let stat = VmStat::parse(self.file.read()?);
        for (metric, count) in [
            ("vmstat.oom_kill", stat.oom_kills),
            ("vmstat.pgfault", stat.faults),
            ("vmstat.pgmajfault", stat.major_faults),
            ("vmstat.pswpin", stat.swapped_in),
            ("vmstat.pswpout", stat.swapped_out),
            ("vmstat.pgscan_direct", stat.scanned_directly),
        ] {
            if let Some(count) = count {
                out.count(metric, count);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::*;

    #[test]
    fn what_the_kernel_does_not_count_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("proc")).unwrap();
        std::fs::write(dir.path().join("proc/vmstat"), "pgfault 5\npswpin 0\n").unwrap();
        let mut paging = Paging::new(dir.path());
        let expected = "vmstat_pgfault{h} 5\nvmstat_pswpin{h} 0";
        check(|out| paging.collect(Duration::ZERO, out).unwrap(), expected);
    }
}
