//! What hardly ever changes: processors, the agent's version.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Collector, Readings};
use crate::host::file::HostError;
use crate::host::system::Identity;

pub(super) struct Stable {
    root: PathBuf,
}

impl Stable {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }
}

impl Collector for Stable {
    fn collect(&mut self, _: Duration, out: &mut Readings) -> Result<(), HostError> {
        let cpus = Identity::read(&self.root).cpus;
        if cpus > 0 {
            out.count("host.cpucores", u64::from(cpus));
        }
        out.count("agent_version", digits(env!("CARGO_PKG_VERSION")));
        Ok(())
    }
}

/// The digits of a version without its dots, as Open-Falcon's fork reports it: 6.1.0 is 610.
fn digits(version: &str) -> u64 {
    version
        .chars()
        .filter_map(|c| c.to_digit(10))
        .fold(0, |number, digit| number * 10 + u64::from(digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_becomes_its_digits() {
        assert_eq!((digits("6.1.0"), digits("0.1.0")), (610, 10));
    }
}
