//! `sys.uptime`: seconds since boot.

use std::path::Path;
use std::time::Duration;

use super::{Collector, Readings};
use crate::host::file::{HostError, KeptFile};
use crate::host::system::parse_uptime;

pub(super) struct Uptime {
    file: KeptFile,
}

impl Uptime {
    pub(super) fn new(root: &Path) -> Self {
        Self { file: KeptFile::new(root, "proc/uptime") }
    }
}

impl Collector for Uptime {
    fn collect(&mut self, _: Duration, out: &mut Readings) -> Result<(), HostError> {
        let Some(seconds) = parse_uptime(self.file.read()?) else {
            return Err(self.file.lacks("number of seconds"));
        };
        out.add("sys.uptime", seconds);
        Ok(())
    }
}
