//! `kernel.*`: the kernel's limits and how near they are.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Collector, Readings};
use crate::host::file::{HostError, KeptFile};
use crate::host::system::{count_processes, parse_one, parse_open_files};

pub(super) struct Kernel {
    open_files: KeptFile,
    processes_max: KeptFile,
    root: PathBuf,
}

impl Kernel {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            open_files: KeptFile::new(root, "proc/sys/fs/file-nr"),
            processes_max: KeptFile::new(root, "proc/sys/kernel/pid_max"),
            root: root.to_owned(),
        }
    }
}

impl Collector for Kernel {
    fn collect(&mut self, _: Duration, out: &mut Readings) -> Result<(), HostError> {
        let Some((open, max)) = parse_open_files(self.open_files.read()?) else {
            return Err(self.open_files.lacks("three numbers"));
        };
        out.count("kernel.maxfiles", max);
        out.count("kernel.files.allocated", open);
        out.count("kernel.files.left", max.saturating_sub(open));
        let Some(processes) = parse_one(self.processes_max.read()?) else {
            return Err(self.processes_max.lacks("number"));
        };
        out.count("kernel.maxproc", processes);
        out.count("processes.total", count_processes(&self.root)?);
        Ok(())
    }
}
