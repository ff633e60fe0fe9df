//! `/proc/diskstats`: what went to and from block devices.

use super::fields::{fields, lines, name, numbers};

/// Counters of one block device since boot. Sectors have 512 bytes whatever the device says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskStats {
    /// `vda`, `nvme0n1`.
    pub device: String,
    /// Reads that were completed.
    pub reads: u64,
    /// Reads that were merged with a neighbour.
    pub reads_merged: u64,
    /// Sectors read.
    pub sectors_read: u64,
    /// Milliseconds all reads took, added up.
    pub read_millis: u64,
    /// Writes that were completed.
    pub writes: u64,
    /// Writes that were merged with a neighbour.
    pub writes_merged: u64,
    /// Sectors written.
    pub sectors_written: u64,
    /// Milliseconds all writes took, added up.
    pub write_millis: u64,
    /// Requests that are open now.
    pub in_progress: u64,
    /// Milliseconds with at least one open request.
    pub busy_millis: u64,
    /// Milliseconds of all requests, weighted with the length of the queue.
    pub weighted_millis: u64,
}

/// The devices that `keep` wants. A line with fewer columns than Linux 2.6 wrote is left out.
pub fn parse(table: &[u8], keep: impl Fn(&str) -> bool) -> Vec<DiskStats> {
    lines(table).filter_map(|line| device(line, &keep)).collect()
}

fn device(line: &[u8], keep: impl Fn(&str) -> bool) -> Option<DiskStats> {
    let mut columns = fields(line).skip(2);
    let device = columns
        .next()
        .and_then(|field| std::str::from_utf8(field).ok())
        .filter(|device| keep(device))?;
    let mut values = [0; 11];
    if numbers(columns, &mut values) < values.len() {
        return None;
    }
    let [
        reads,
        reads_merged,
        sectors_read,
        read_millis,
        writes,
        writes_merged,
        sectors_written,
        write_millis,
        ..,
    ] = values;
    let [.., in_progress, busy_millis, weighted_millis] = values;
    Some(DiskStats {
        device: name(device.as_bytes()),
        reads,
        reads_merged,
        sectors_read,
        read_millis,
        writes,
        writes_merged,
        sectors_written,
        write_millis,
        in_progress,
        busy_millis,
        weighted_millis,
    })
}

/// Whether a name is that of a whole disk: partitions would count everything twice, and loop devices, RAM
/// disks and optical drives tell nothing. Xen numbers its disks like partitions (`xvda1`), so all of them are
/// kept.
pub fn is_whole_disk(device: &str) -> bool {
    let letters_after = |prefix: &str| {
        device
            .strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_lowercase()))
    };
    let digits_after = |prefix: &str| {
        device
            .strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
    };
    let is_namespace = device.strip_prefix("nvme").is_some_and(|rest| {
        let mut parts = rest.split('n');
        let is_digits = |part: Option<&str>| {
            part.is_some_and(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
        };
        is_digits(parts.next()) && is_digits(parts.next()) && parts.next().is_none()
    });
    device.starts_with("xvd")
        || device.starts_with("fio")
        || ["sd", "vd", "hd", "dasd"].into_iter().any(letters_after)
        || ["dm-", "md", "nbd", "mmcblk", "rbd", "bcache", "drbd"].into_iter().any(digits_after)
        || is_namespace
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn eleven_columns_of_an_old_kernel_are_enough() {
        let table = b"   8  0 sda 1 2 3 4 5 6 7 8 9 10 11\n   8  1 sda1 1 2 3 4 5 6 7 8 9 10 11\n";
        let disks = parse(table, is_whole_disk);
        assert_eq!(disks.len(), 1);
        assert_eq!((disks[0].device.as_str(), disks[0].reads, disks[0].writes), ("sda", 1, 5));
        assert_eq!(
            (disks[0].in_progress, disks[0].busy_millis, disks[0].weighted_millis),
            (9, 10, 11)
        );
    }

    #[test]
    fn later_columns_for_discard_and_flush_change_nothing() {
        let new = parse(b"254 0 vda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n", |_| true);
        let old = parse(b"254 0 vda 1 2 3 4 5 6 7 8 9 10 11\n", |_| true);
        assert_eq!(new, old);
    }

    #[test]
    fn a_short_line_is_left_out() {
        assert_eq!(parse(b"8 1 sda1 1 2 3 4\n8 0 sda\n", |_| true), []);
    }

    #[test]
    fn whole_disks_are_told_from_their_partitions() {
        for disk in [
            "sda", "sdaa", "vdb", "hdc", "xvda", "xvda1", "nvme0n1", "nvme12n3", "dm-0", "md127",
            "nbd3", "mmcblk0",
        ] {
            assert!(is_whole_disk(disk), "{disk}");
        }
        for other in [
            "sda1",
            "vdb12",
            "nvme0n1p2",
            "nvme0",
            "nvme0c0n1",
            "mmcblk0p1",
            "loop0",
            "ram1",
            "zram0",
            "sr0",
            "sd",
            "",
        ] {
            assert!(!is_whole_disk(other), "{other}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes, is_whole_disk);
        }
    }
}
