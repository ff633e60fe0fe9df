//! `load.*`: the load averages; and from the same table how many threads there are.

use std::path::Path;
use std::time::Duration;

use super::{Collector, Readings};
use crate::host::file::{HostError, KeptFile};
use crate::host::system::{parse_load, parse_threads};

pub(super) struct Load {
    file: KeptFile,
}

impl Load {
    pub(super) fn new(root: &Path) -> Self {
        Self { file: KeptFile::new(root, "proc/loadavg") }
    }
}

impl Collector for Load {
    fn collect(&mut self, _: Duration, out: &mut Readings) -> Result<(), HostError> {
        let table = self.file.read()?;
        let threads = parse_threads(table);
        let Some(averages) = parse_load(table) else {
            return Err(self.file.lacks("three averages"));
        };
        for (metric, average) in ["load.1min", "load.5min", "load.15min"].into_iter().zip(averages)
        {
            out.add(metric, average);
        }
        if let Some(threads) = threads {
            out.count("processes.threads", threads);
        }
        Ok(())
    }
}
