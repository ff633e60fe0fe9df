//! `mem.*`: what the memory is used for.

use std::path::Path;
use std::time::Duration;

use super::{Collector, Readings, percent};
use crate::host::file::{HostError, KeptFile};
use crate::host::memory::Memory;

pub(super) struct MemoryUse {
    file: KeptFile,
}

impl MemoryUse {
    pub(super) fn new(root: &Path) -> Self {
        Self { file: KeptFile::new(root, "proc/meminfo") }
    }
}

impl Collector for MemoryUse {
    fn collect(&mut self, _: Duration, out: &mut Readings) -> Result<(), HostError> {
        let Some(memory) = Memory::parse(self.file.read()?) else {
            return Err(self.file.lacks("line `MemTotal`"));
        };
        measure(&memory, out);
        Ok(())
    }
}

// `mem.memused` keeps Open-Falcon's first formula, for which "real use = memused + shmem" holds; what the
// kernel estimates as available is a metric of its own.
fn measure(memory: &Memory, out: &mut Readings) {
    let free =
        memory.free.saturating_add(memory.buffers).saturating_add(memory.cached).min(memory.total);
    let used = memory.total - free;
    out.count("mem.memtotal", memory.total);
    out.count("mem.memused", used);
    out.count("mem.memfree", free);
    out.add("mem.memused.percent", percent(used, memory.total));
    out.add("mem.memfree.percent", percent(free, memory.total));
    if let Some(available) = memory.available {
        out.count("mem.memavailable", available);
        out.add("mem.memavailable.percent", percent(available, memory.total));
    }
    out.count("mem.cached", memory.cached);
    out.count("mem.buffers", memory.buffers);
    if let Some(shmem) = memory.shmem {
        out.count("mem.shmem", shmem);
    }
    let swap_used = memory.swap_total.saturating_sub(memory.swap_free);
    out.count("mem.swaptotal", memory.swap_total);
    out.count("mem.swapused", swap_used);
    out.count("mem.swapfree", memory.swap_free);
    out.add("mem.swapused.percent", percent(swap_used, memory.swap_total));
    out.add("mem.swapfree.percent", percent(memory.swap_free, memory.swap_total));
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, lines};
    use super::*;

    #[test]
    fn used_and_free_make_up_the_total() {
        let memory = Memory {
            total: 1000,
            free: 200,
            available: Some(450),
            buffers: 50,
            cached: 150,
            shmem: Some(20),
            swap_total: 400,
            swap_free: 300,
        };
        let expected = "mem_memtotal{h} 1000
            mem_memused{h} 600
            mem_memfree{h} 400
            mem_memused_percent{h} 60
            mem_memfree_percent{h} 40
            mem_memavailable{h} 450
            mem_memavailable_percent{h} 45
            mem_cached{h} 150
            mem_buffers{h} 50
            mem_shmem{h} 20
            mem_swaptotal{h} 400
            mem_swapused{h} 100
            mem_swapfree{h} 300
            mem_swapused_percent{h} 25
            mem_swapfree_percent{h} 75";
        check(|out| measure(&memory, out), expected);
    }

    #[test]
    fn a_kernel_that_does_not_estimate_gives_no_estimate() {
        let found = lines(|out| measure(&Memory { total: 10, ..Memory::default() }, out));
        assert!(
            !found.iter().any(|line| line.contains("available") || line.contains("shmem")),
            "{found:?}"
        );
        assert!(found.contains(&"mem_swapused_percent{h} 0".to_owned()), "{found:?}");
    }
}
