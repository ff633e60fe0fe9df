//! `/proc/stat`: where the processors' time went.

use super::fields::{fields, lines, number, numbers};

/// Ticks (1/100 s on every usual kernel) that processors spent, since boot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// In user mode; holds `guest`.
    pub user: u64,
    /// In user mode at low priority; holds the guests at low priority.
    pub nice: u64,
    /// In the kernel.
    pub system: u64,
    /// Doing nothing.
    pub idle: u64,
    /// Doing nothing while a disk request was open. The kernel lets it go backwards at times.
    pub iowait: u64,
    /// In interrupt handlers.
    pub irq: u64,
    /// In deferred interrupt work.
    pub softirq: u64,
    /// Taken away by the hypervisor.
    pub steal: u64,
    /// Running virtual machines; already in `user`.
    pub guest: u64,
}

impl CpuTimes {
    /// Ticks of all states. Guests are in `user` and `nice` already and not counted again.
    pub fn total(&self) -> u64 {
        [
            self.user,
            self.nice,
            self.system,
            self.idle,
            self.iowait,
            self.irq,
            self.softirq,
            self.steal,
        ]
        .iter()
        .fold(0, |sum: u64, ticks| sum.saturating_add(*ticks))
    }

    /// What was spent since `before`; a column that went backwards counts as nothing.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            user: self.user.saturating_sub(before.user),
            nice: self.nice.saturating_sub(before.nice),
            system: self.system.saturating_sub(before.system),
            idle: self.idle.saturating_sub(before.idle),
            iowait: self.iowait.saturating_sub(before.iowait),
            irq: self.irq.saturating_sub(before.irq),
            softirq: self.softirq.saturating_sub(before.softirq),
            steal: self.steal.saturating_sub(before.steal),
            guest: self.guest.saturating_sub(before.guest),
        }
    }

    fn parse<'a>(columns: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let mut ticks = [0; 9];
        // Four columns are there since Linux 2.0; the others came later.
        if numbers(columns, &mut ticks) < 4 {
            return None;
        }
        let [user, nice, system, idle, iowait, irq, softirq, steal, guest] = ticks;
        Some(Self { user, nice, system, idle, iowait, irq, softirq, steal, guest })
    }
}

/// What the agent takes from `/proc/stat`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stat {
    /// All processors together.
    pub total: CpuTimes,
    /// Each processor that is on line, with its number.
    pub cores: Vec<(u32, CpuTimes)>,
    /// Context switches since boot.
    pub switches: Option<u64>,
    /// Processes and threads that were started since boot.
    pub forks: Option<u64>,
    /// Tasks that run or wait for a processor.
    pub running: Option<u64>,
    /// Tasks that wait for a disk.
    pub blocked: Option<u64>,
}

impl Stat {
    /// Reads the table into `self`, keeping what is allocated. `false` when it has no line for all
    /// processors; `self` is then of no use.
    pub fn read_from(&mut self, table: &[u8]) -> bool {
        let mut cores = std::mem::take(&mut self.cores);
        cores.clear();
        *self = Self { cores, ..Self::default() };
        let mut has_total = false;
        for line in lines(table) {
            let mut columns = fields(line);
            match columns.next() {
                Some(b"cpu") => {
                    let Some(times) = CpuTimes::parse(columns) else { return false };
                    self.total = times;
                    has_total = true;
                }
                Some(b"ctxt") => self.switches = columns.next().and_then(number),
                Some(b"processes") => self.forks = columns.next().and_then(number),
                Some(b"procs_running") => self.running = columns.next().and_then(number),
                Some(b"procs_blocked") => self.blocked = columns.next().and_then(number),
                Some(core) => {
                    let core = core
                        .strip_prefix(b"cpu")
                        .and_then(number)
                        .and_then(|n| u32::try_from(n).ok());
                    let Some(core) = core else { continue };
                    if let Some(times) = CpuTimes::parse(columns) {
                        self.cores.push((core, times));
                    }
                }
                None => {}
            }
        }
        has_total
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn totals_cores_and_switches_are_read() {
        let mut stat = Stat::default();
        let table =
            b"cpu  10 1 5 80 4 0 1 2 3 1\ncpu0 10 1 5 80 4 0 1 2 3 1\ncpu7 1 2 3 4\nintr 5 0 0\nctxt 977\n\
              processes 40\nprocs_running 3\nprocs_blocked 1\n";
        assert!(stat.read_from(table));
        assert_eq!((stat.total.user, stat.total.steal, stat.total.guest), (10, 2, 3));
        assert_eq!(stat.cores.iter().map(|(core, _)| *core).collect::<Vec<_>>(), [0, 7]);
        assert_eq!(stat.switches, Some(977));
        assert_eq!((stat.forks, stat.running, stat.blocked), (Some(40), Some(3), Some(1)));
        assert!(stat.read_from(b"cpu 1 2 3 4\n"));
        assert_eq!((stat.cores.len(), stat.switches, stat.forks), (0, None, None));
    }

    #[test]
    fn the_total_counts_no_guest_twice() {
        let times = CpuTimes { user: 10, idle: 90, guest: 8, ..CpuTimes::default() };
        assert_eq!(times.total(), 100);
    }

    #[test]
    fn a_table_without_the_total_line_is_refused() {
        assert!(!Stat::default().read_from(b"cpu0 1 2 3 4\n"));
        assert!(!Stat::default().read_from(b"cpu 1 2 x 4\n"));
        assert!(!Stat::default().read_from(b""));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, tail: Vec<u8>) {
            let mut table = b"cpu 1 2 3 4 ".to_vec();
            table.extend_from_slice(&tail);
            let mut stat = Stat::default();
            stat.read_from(&bytes);
            stat.read_from(&table);
            let _ = stat.total.since(&CpuTimes::default()).total();
        }
    }
}
