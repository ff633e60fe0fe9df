//! From the kernel's tables to samples: a collector a group of the catalogue.
//!
//! A collector reads its tables and keeps the previous round's, because rates and shares are differences over
//! the whole interval. What it finds goes into [`Readings`], which name the series; the time is put on later,
//! once for the whole slot.

mod cgroup;
mod clock;
mod conntrack;
mod cpu;
mod disk;
mod filesystem;
mod kernel;
mod load;
mod memory;
mod network;
mod own;
mod paging;
mod pressure;
mod readings;
mod sockets;
mod stable;
mod tcp;
mod uptime;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::catalogue::Group;
use crate::config::Config;
use crate::host::file::HostError;
use crate::metrics::Metrics;

pub use readings::{Reading, Readings};

/// Reads one group's tables and turns them into readings.
pub trait Collector: Send {
    /// Takes one round. `monotonic` is the time on a clock that is never set, for differences.
    ///
    /// # Errors
    /// When a table is missing or unreadable. What was found before is in `out` all the same.
    fn collect(&mut self, monotonic: Duration, out: &mut Readings) -> Result<(), HostError>;
}

/// What collectors are made from.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where `proc`, `sys` and `etc` are found: `/`, or where a container sees the host's.
    pub root: PathBuf,
    /// The configuration.
    pub config: Arc<Config>,
    /// What the agent says of itself.
    pub metrics: Arc<Metrics>,
}

/// The collector of a group.
pub fn collector(group: Group, source: &Source) -> Box<dyn Collector> {
    let root = source.root.as_path();
    let collect = &source.config.collect;
    match group {
        Group::Cpu => Box::new(cpu::Cpu::new(root)),
        Group::Percore => Box::new(cpu::Percore::new(root)),
        Group::Load => Box::new(load::Load::new(root)),
        Group::Memory => Box::new(memory::MemoryUse::new(root)),
        Group::Agent => Box::new(own::Own::new(Arc::clone(&source.metrics))),
        Group::Disk => Box::new(disk::Disks::new(root)),
        Group::Network => {
            Box::new(network::Interfaces::new(root, collect.interfaces_ignored.clone()))
        }
        Group::Tcp => Box::new(tcp::Tcp::new(root)),
        Group::Sockets => Box::new(sockets::Sockets::new(root)),
        Group::Kernel => Box::new(kernel::Kernel::new(root)),
        Group::Pressure => Box::new(pressure::Waiting::new(root)),
        Group::Paging => Box::new(paging::Paging::new(root)),
        Group::Cgroup => Box::new(cgroup::Container::new(root)),
        Group::Conntrack => Box::new(conntrack::Conntrack::new(root)),
        Group::Filesystem => Box::new(filesystem::FileSystems::new(root, collect)),
        Group::Uptime => Box::new(uptime::Uptime::new(root)),
        Group::Clock => {
            Box::new(clock::ClockOffset::new(&source.config.ntp, Arc::clone(&source.metrics)))
        }
        Group::Static => Box::new(stable::Stable::new(root)),
    }
}

/// `part` of `whole` in percent; 0 when there is no whole.
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

#[cfg(test)]
mod testing {
    use super::Readings;

    /// Runs `collect` for the host `h` and compares what comes out with `expected`: a line a series, in
    /// order.
    pub(super) fn check(collect: impl FnOnce(&mut Readings), expected: &str) {
        assert_eq!(lines(collect), expected.trim().lines().map(str::trim).collect::<Vec<_>>());
    }

    /// What `collect` yields for the host `h`, a line a series.
    pub(super) fn lines(collect: impl FnOnce(&mut Readings)) -> Vec<String> {
        let mut readings = Readings::new([("endpoint", "h")]);
        collect(&mut readings);
        let written = readings.take().into_iter();
        written
            .map(|reading| {
                format!("{} {}", reading.labels, reading.value).replace(r#"endpoint="h""#, "h")
            })
            .collect()
    }
}
