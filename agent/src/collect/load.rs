//! `load.*`: the load averages.

use std::path::Path;
use std::time::Duration;

use super::{Collector, Readings};
use crate::host::file::{HostError, KeptFile};
use crate::host::system::parse_load;

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
        let Some(averages) = parse_load(self.file.read()?) else {
            return Err(self.file.lacks("three averages"));
        };
        for (metric, average) in ["load.1min", "load.5min", "load.15min"].into_iter().zip(averages)
        {
            out.add(metric, average);
        }
        Ok(())
    }
}
