//! `disk.io.*`: what went to and from the disks.

use std::path::Path;
use std::time::Duration;

use super::{Collector, Readings};
use crate::host::disk::{DiskStats, is_whole_disk, parse};
use crate::host::file::{HostError, KeptFile};

const SECTOR_BYTES: f64 = 512.0;

pub(super) struct Disks {
    file: KeptFile,
    before: Option<(Duration, Vec<DiskStats>)>,
}

impl Disks {
    pub(super) fn new(root: &Path) -> Self {
        Self { file: KeptFile::new(root, "proc/diskstats"), before: None }
    }
}

impl Collector for Disks {
    fn collect(&mut self, monotonic: Duration, out: &mut Readings) -> Result<(), HostError> {
        let disks = parse(self.file.read()?, is_whole_disk);
        for disk in &disks {
            count(disk, out);
            let Some((then, before)) = &self.before else { continue };
            if let Some(before) = before.iter().find(|before| before.device == disk.device) {
                measure(disk, before, monotonic.saturating_sub(*then), out);
            }
        }
        self.before = Some((monotonic, disks));
        Ok(())
    }
}

fn count(disk: &DiskStats, out: &mut Readings) {
    let own = [("device", disk.device.as_str())];
    let mut count = |metric, value: u64| out.add_with(metric, &own, value as f64);
    count("disk.io.read_requests", disk.reads);
    count("disk.io.read_merged", disk.reads_merged);
    count("disk.io.read_sectors", disk.sectors_read);
    count("disk.io.msec_read", disk.read_millis);
    count("disk.io.write_requests", disk.writes);
    count("disk.io.write_merged", disk.writes_merged);
    count("disk.io.write_sectors", disk.sectors_written);
    count("disk.io.msec_write", disk.write_millis);
    count("disk.io.ios_in_progress", disk.in_progress);
    count("disk.io.msec_total", disk.busy_millis);
    count("disk.io.msec_weighted_total", disk.weighted_millis);
}

// Old kernels count milliseconds in 32 bits, and a device may come back under its old name: a counter that
// went backwards counts as nothing.
fn measure(now: &DiskStats, before: &DiskStats, elapsed: Duration, out: &mut Readings) {
    let millis = elapsed.as_secs_f64() * 1000.0;
    if millis <= 0.0 {
        return;
    }
    let since = |field: fn(&DiskStats) -> u64| field(now).saturating_sub(field(before)) as f64;
    let requests = since(|disk| disk.reads) + since(|disk| disk.writes);
    let sectors_read = since(|disk| disk.sectors_read);
    let sectors_written = since(|disk| disk.sectors_written);
    let busy = since(|disk| disk.busy_millis);
    let request_millis = since(|disk| disk.read_millis) + since(|disk| disk.write_millis);
    let per_request = |sum: f64| if requests > 0.0 { sum / requests } else { 0.0 };

    let own = [("device", now.device.as_str())];
    let mut add = |metric, value| out.add_with(metric, &own, value);
    add("disk.io.read_bytes", sectors_read * SECTOR_BYTES * 1000.0 / millis);
    add("disk.io.write_bytes", sectors_written * SECTOR_BYTES * 1000.0 / millis);
    add("disk.io.avgrq_sz", per_request(sectors_read + sectors_written));
    add("disk.io.avgqu-sz", since(|disk| disk.weighted_millis) / millis);
    add("disk.io.await", per_request(request_millis));
    add("disk.io.svctm", per_request(busy));
    add("disk.io.util", (busy * 100.0 / millis).min(100.0));
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, lines};
    use super::*;

    fn disk() -> DiskStats {
        DiskStats { device: "vda".to_owned(), ..DiskStats::default() }
    }

    #[test]
    fn derived_values_are_means_over_the_whole_interval() {
        let now = DiskStats {
            reads: 60,
            writes: 40,
            sectors_read: 2000,
            sectors_written: 1000,
            read_millis: 300,
            write_millis: 700,
            busy_millis: 5000,
            weighted_millis: 20_000,
            ..disk()
        };
        let expected = r#"disk_io_read_bytes{device="vda", h} 102400
            disk_io_write_bytes{device="vda", h} 51200
            disk_io_avgrq_sz{device="vda", h} 30
            disk_io_avgqu_sz{device="vda", h} 2
            disk_io_await{device="vda", h} 10
            disk_io_svctm{device="vda", h} 50
            disk_io_util{device="vda", h} 50"#;
        check(|out| measure(&now, &disk(), Duration::from_secs(10), out), expected);
    }

    #[test]
    fn a_disk_at_rest_has_no_request_and_no_division_by_zero() {
        let found = lines(|out| measure(&disk(), &disk(), Duration::from_secs(10), out));
        assert_eq!(found.len(), 7);
        assert!(found.iter().all(|line| line.ends_with(" 0")), "{found:?}");
        check(|out| measure(&disk(), &disk(), Duration::ZERO, out), "");
    }

    #[test]
    fn a_counter_that_goes_backwards_counts_as_nothing_and_use_stays_below_100() {
        let before = DiskStats { reads: 100, read_millis: 100, ..disk() };
        let now = DiskStats { reads: 5, busy_millis: 11_000, ..disk() };
        let found = lines(|out| measure(&now, &before, Duration::from_secs(10), out));
        assert!(found.contains(&r#"disk_io_await{device="vda", h} 0"#.to_owned()), "{found:?}");
        assert!(found.contains(&r#"disk_io_util{device="vda", h} 100"#.to_owned()), "{found:?}");
    }

    #[test]
    fn a_new_disk_is_counted_at_once_and_measured_from_its_second_round() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("proc")).unwrap();
        let table = dir.path().join("proc/diskstats");
        let line = "8 0 sda 1 2 3 4 5 6 7 8 9 10 11\n";
        std::fs::write(&table, line).unwrap();
        let mut disks = Disks::new(dir.path());
        assert_eq!(lines(|out| disks.collect(Duration::from_secs(1), out).unwrap()).len(), 11);
        std::fs::write(&table, format!("{line}{}", line.replace("sda", "sdb"))).unwrap();
        assert_eq!(
            lines(|out| disks.collect(Duration::from_secs(31), out).unwrap()).len(),
            11 + 7 + 11
        );
    }
}
