//! Time that no clock change can move: since the boot, and which boot.

use std::fs;

/// A moment on the host, for deadlines that an NTP jump must not expire.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moment {
    /// The kernel's boot id; empty when it cannot be read.
    pub boot_id: String,
    /// Milliseconds since the boot, sleep included (CLOCK_BOOTTIME).
    pub up_ms: u64,
}

impl Moment {
    /// The present moment, from `/proc`. Where that cannot be read no deadline ever passes; the count of starts
    /// still ends a trial.
    pub fn now() -> Self {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
        Self { boot_id: boot_id.trim().to_owned(), up_ms: up_ms(&uptime).unwrap_or(0) }
    }
}

fn up_ms(uptime: &str) -> Option<u64> {
    let seconds: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    Some((seconds * 1000.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_of_uptime_counts() {
        assert_eq!(up_ms("354.81 700.11\n"), Some(354_810));
        assert_eq!((up_ms(""), up_ms("x y")), (None, None));
    }

    #[test]
    fn this_host_has_a_moment() {
        let now = Moment::now();
        assert!(!now.boot_id.is_empty() && now.up_ms > 0, "{now:?}");
    }
}
