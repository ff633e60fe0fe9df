//! `/proc/vmstat`: what the memory management counts.

use super::fields::{fields, lines, number};

/// Counters since boot; `None` where the kernel does not have one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VmStat {
    /// Pages that were not mapped when they were touched.
    pub faults: Option<u64>,
    /// Those that had to be read from a disk.
    pub major_faults: Option<u64>,
    /// Pages read from swap space.
    pub swapped_in: Option<u64>,
    /// Pages written to swap space.
    pub swapped_out: Option<u64>,
    /// Pages looked at by tasks that had to find free memory themselves.
    pub scanned_directly: Option<u64>,
    /// Processes killed for want of memory; Linux 4.13 began to count them.
    pub oom_kills: Option<u64>,
}

impl VmStat {
    /// Reads the table.
    pub fn parse(table: &[u8]) -> Self {
        let mut stat = Self::default();
        for line in lines(table) {
            let mut columns = fields(line);
            let (Some(name), Some(value)) = (columns.next(), columns.next().and_then(number))
            else {
                continue;
            };
            match name {
                b"pgfault" => stat.faults = Some(value),
                b"pgmajfault" => stat.major_faults = Some(value),
                b"pswpin" => stat.swapped_in = Some(value),
                b"pswpout" => stat.swapped_out = Some(value),
                b"oom_kill" => stat.oom_kills = Some(value),
                name if is_direct_scan(name) => {
                    let sum = stat.scanned_directly.unwrap_or(0).saturating_add(value);
                    stat.scanned_directly = Some(sum);
                }
                _ => {}
            }
        }
        stat
    }
}

// One counter since Linux 4.8, one a zone before (`pgscan_direct_dma`); the throttled ones are tasks and no
// pages.
fn is_direct_scan(name: &[u8]) -> bool {
    name.starts_with(b"pgscan_direct") && name != b"pgscan_direct_throttle"
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zones_of_an_old_kernel_are_added_up() {
        let table = b"pgfault 10\npgmajfault 2\npswpin 3\npswpout 4\npgscan_direct_dma 5\n\
            pgscan_direct_normal 6\npgscan_direct_throttle 100\n";
        let stat = VmStat::parse(table);
        assert_eq!((stat.faults, stat.major_faults), (Some(10), Some(2)));
        assert_eq!((stat.swapped_in, stat.swapped_out), (Some(3), Some(4)));
        assert_eq!((stat.scanned_directly, stat.oom_kills), (Some(11), None));
    }

    #[test]
    fn a_new_kernel_counts_them_once_and_counts_kills() {
        let stat = VmStat::parse(b"pgscan_direct 7\noom_kill 1\n");
        assert_eq!((stat.scanned_directly, stat.oom_kills), (Some(7), Some(1)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = VmStat::parse(&bytes);
        }
    }
}
