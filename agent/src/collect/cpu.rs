//! `cpu.*` and `percore.*`: shares of the processors' time over the whole interval; and from the same table
//! what runs, waits and was started.

use std::path::Path;
use std::time::Duration;

use super::{Collector, Readings, percent};
use crate::host::file::{HostError, KeptFile};
use crate::host::stat::{CpuTimes, Stat};

/// All processors together.
pub(super) struct Cpu {
    file: KeptFile,
    before: Option<Stat>,
    now: Stat,
}

impl Cpu {
    pub(super) fn new(root: &Path) -> Self {
        Self { file: KeptFile::new(root, "proc/stat"), before: None, now: Stat::default() }
    }
}

impl Collector for Cpu {
    fn collect(&mut self, _: Duration, out: &mut Readings) -> Result<(), HostError> {
        read(&mut self.file, &mut self.now)?;
        if let Some(before) = &self.before {
            measure(&self.now.total, &before.total, out);
        }
        for (metric, value) in [
            ("cpu.switches", self.now.switches),
            ("processes.running", self.now.running),
            ("processes.blocked", self.now.blocked),
            ("processes.forks", self.now.forks),
        ] {
            if let Some(value) = value {
                out.count(metric, value);
            }
        }
        std::mem::swap(self.before.get_or_insert_default(), &mut self.now);
        Ok(())
    }
}

/// Each processor.
pub(super) struct Percore {
    file: KeptFile,
    before: Stat,
    now: Stat,
}

impl Percore {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            file: KeptFile::new(root, "proc/stat"),
            before: Stat::default(),
            now: Stat::default(),
        }
    }
}

impl Collector for Percore {
    fn collect(&mut self, _: Duration, out: &mut Readings) -> Result<(), HostError> {
        read(&mut self.file, &mut self.now)?;
        measure_cores(&self.now, &self.before, out);
        std::mem::swap(&mut self.before, &mut self.now);
        Ok(())
    }
}

fn read(file: &mut KeptFile, into: &mut Stat) -> Result<(), HostError> {
    if into.read_from(file.read()?) { Ok(()) } else { Err(file.lacks("line `cpu`")) }
}

// No tick since the last round means that the table did not move, not that the processors were idle: no
// reading.
fn measure(now: &CpuTimes, before: &CpuTimes, out: &mut Readings) {
    let spent = now.since(before);
    let total = spent.total();
    if total == 0 {
        return;
    }
    out.add("cpu.idle", percent(spent.idle, total));
    out.add("cpu.busy", percent(total - spent.idle, total));
    out.add("cpu.user", percent(spent.user, total));
    out.add("cpu.nice", percent(spent.nice, total));
    out.add("cpu.system", percent(spent.system, total));
    out.add("cpu.iowait", percent(spent.iowait, total));
    out.add("cpu.irq", percent(spent.irq, total));
    out.add("cpu.softirq", percent(spent.softirq, total));
    out.add("cpu.steal", percent(spent.steal, total));
    out.add("cpu.guest", percent(spent.guest, total));
}

fn measure_cores(now: &Stat, before: &Stat, out: &mut Readings) {
    for (core, times) in &now.cores {
        // The kernel lists them in order.
        let Ok(at) = before.cores.binary_search_by_key(core, |(number, _)| *number) else {
            continue;
        };
        let (_, earlier) = &before.cores[at];
        let spent = times.since(earlier);
        let total = spent.total();
        if total == 0 {
            continue;
        }
        let name = format!("core{core:02}");
        let own = [("core", name.as_str())];
        let mut share = |metric, ticks| out.add_with(metric, &own, percent(ticks, total));
        share("percore.idle", spent.idle);
        share("percore.busy", total - spent.idle);
        share("percore.user", spent.user);
        share("percore.nice", spent.nice);
        share("percore.system", spent.system);
        share("percore.iowait", spent.iowait);
        share("percore.irq", spent.irq);
        share("percore.softirq", spent.softirq);
        share("percore.steal", spent.steal);
        share("percore.guest", spent.guest);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, lines};
    use super::*;

    fn stat(text: &str) -> Stat {
        let mut stat = Stat::default();
        assert!(stat.read_from(text.as_bytes()));
        stat
    }

    #[test]
    fn shares_are_of_the_whole_interval_and_guests_count_once() {
        let before = CpuTimes::default();
        let now =
            CpuTimes { user: 30, nice: 10, system: 15, idle: 40, steal: 5, guest: 20, ..before };
        let expected = "cpu_idle{h} 40
            cpu_busy{h} 60
            cpu_user{h} 30
            cpu_nice{h} 10
            cpu_system{h} 15
            cpu_iowait{h} 0
            cpu_irq{h} 0
            cpu_softirq{h} 0
            cpu_steal{h} 5
            cpu_guest{h} 20";
        check(|out| measure(&now, &before, out), expected);
    }

    #[test]
    fn iowait_that_goes_backwards_counts_as_nothing() {
        let before = CpuTimes { iowait: 100, ..CpuTimes::default() };
        let now = CpuTimes { iowait: 90, idle: 50, user: 50, ..CpuTimes::default() };
        let found = lines(|out| measure(&now, &before, out));
        assert!(found.contains(&"cpu_idle{h} 50".to_owned()), "{found:?}");
        assert!(found.contains(&"cpu_iowait{h} 0".to_owned()), "{found:?}");
    }

    #[test]
    fn a_table_that_did_not_move_gives_nothing() {
        check(|out| measure(&CpuTimes::default(), &CpuTimes::default(), out), "");
    }

    #[test]
    fn cores_are_matched_by_number_when_one_goes_off_line() {
        let before = stat("cpu 0 0 0 0\ncpu0 0 0 0 0\ncpu1 0 0 0 0\ncpu2 0 0 0 0\n");
        let now = stat("cpu 9 0 0 9\ncpu0 1 0 0 3\ncpu2 3 0 0 1\ncpu3 5 0 0 5\n");
        let found = lines(|out| measure_cores(&now, &before, out));
        let idle: Vec<_> = found.iter().filter(|line| line.starts_with("percore_idle")).collect();
        assert_eq!(
            idle,
            [r#"percore_idle{core="core00", h} 75"#, r#"percore_idle{core="core02", h} 25"#]
        );
    }

    #[test]
    fn the_first_round_gives_only_what_needs_no_difference() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("proc")).unwrap();
        std::fs::write(dir.path().join("proc/stat"), "cpu 1 2 3 4\nctxt 5\n").unwrap();
        let mut cpu = Cpu::new(dir.path());
        check(|out| cpu.collect(Duration::ZERO, out).unwrap(), "cpu_switches{h} 5");
        std::fs::write(dir.path().join("proc/stat"), "cpu 2 2 3 7\nctxt 6\n").unwrap();
        let found = lines(|out| cpu.collect(Duration::ZERO, out).unwrap());
        assert_eq!((found.len(), found[0].as_str()), (11, "cpu_idle{h} 75"));
    }
}
