//! `cgroup.*`: what the container may use and what it uses. Outside of a container there is nothing: the root
//! of the control groups has no limits, and its use is that of the host.

use std::path::Path;
use std::time::Duration;

use super::{Collector, Readings, percent};
use crate::host::cgroup::{parse_cpu_limit, parse_limit, parse_value};
use crate::host::file::{HostError, KeptFile};

pub(super) struct Container {
    memory_current: KeptFile,
    memory_max: KeptFile,
    memory_stat: KeptFile,
    memory_events: KeptFile,
    cpu_max: KeptFile,
    cpu_stat: KeptFile,
    pids_current: KeptFile,
    pids_max: KeptFile,
    before: Option<(Duration, u64)>,
}

impl Container {
    pub(super) fn new(root: &Path) -> Self {
        let file = |name: &str| KeptFile::new(root, &format!("sys/fs/cgroup/{name}"));
        Self {
            memory_current: file("memory.current"),
            memory_max: file("memory.max"),
            memory_stat: file("memory.stat"),
            memory_events: file("memory.events"),
            cpu_max: file("cpu.max"),
            cpu_stat: file("cpu.stat"),
            pids_current: file("pids.current"),
            pids_max: file("pids.max"),
            before: None,
        }
    }

    fn memory(&mut self, out: &mut Readings) -> Result<(), HostError> {
        let Some(used) = self.memory_current.read_if_there()?.and_then(parse_limit) else {
            return Ok(());
        };
        let inactive = self.memory_stat.read_if_there()?;
        let inactive = inactive.and_then(|table| parse_value(table, "inactive_file")).unwrap_or(0);
        let working_set = used.saturating_sub(inactive);
        out.count("cgroup.memory.used", used);
        out.count("cgroup.memory.workingset", working_set);
        if let Some(limit) = self.memory_max.read_if_there()?.and_then(parse_limit) {
            out.count("cgroup.memory.limit", limit);
            out.add("cgroup.memory.used.percent", percent(working_set, limit));
        }
        if let Some(events) = self.memory_events.read_if_there()? {
            count(events, "oom", "cgroup.memory.oom", out);
            count(events, "oom_kill", "cgroup.memory.oom_kills", out);
        }
        Ok(())
    }

    fn processors(&mut self, monotonic: Duration, out: &mut Readings) -> Result<(), HostError> {
        // The root has `cpu.stat` too, and no `cpu.max`.
        let Some(limit) = self.cpu_max.read_if_there()?.map(parse_cpu_limit) else {
            return Ok(());
        };
        let Some(stat) = self.cpu_stat.read_if_there()? else { return Ok(()) };
        count(stat, "usage_usec", "cgroup.cpu.usec", out);
        let used = parse_value(stat, "usage_usec").map(|micros| (monotonic, micros));
        if let Some(limit) = limit {
            out.add("cgroup.cpu.limit", limit);
            count(stat, "nr_periods", "cgroup.cpu.periods", out);
            count(stat, "nr_throttled", "cgroup.cpu.throttled.periods", out);
            count(stat, "throttled_usec", "cgroup.cpu.throttled.usec", out);
            if let Some(share) = share(self.before, used, limit) {
                out.add("cgroup.cpu.used.percent", share);
            }
        }
        self.before = used;
        Ok(())
    }

    fn threads(&mut self, out: &mut Readings) -> Result<(), HostError> {
        if let Some(used) = self.pids_current.read_if_there()?.and_then(parse_limit) {
            out.count("cgroup.pids.used", used);
        }
        if let Some(limit) = self.pids_max.read_if_there()?.and_then(parse_limit) {
            out.count("cgroup.pids.limit", limit);
        }
        Ok(())
    }
}

impl Collector for Container {
    fn collect(&mut self, monotonic: Duration, out: &mut Readings) -> Result<(), HostError> {
        self.memory(out)?;
        self.processors(monotonic, out)?;
        self.threads(out)
    }
}

fn count(table: &[u8], name: &str, metric: &'static str, out: &mut Readings) {
    if let Some(value) = parse_value(table, name) {
        out.count(metric, value);
    }
}

/// Processor time since the round before in percent of the limit; `None` in the first round, and when the
/// counter was reset.
fn share(before: Option<(Duration, u64)>, now: Option<(Duration, u64)>, limit: f64) -> Option<f64> {
    let (before, now) = (before?, now?);
    let elapsed = now.0.checked_sub(before.0)?.as_secs_f64() * 1e6;
    let used = now.1.checked_sub(before.1)? as f64;
    (elapsed > 0.0 && limit > 0.0).then(|| used * 100.0 / (elapsed * limit))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::testing::{check, lines};
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("sys/fs/cgroup");
        fs::create_dir_all(&folder).unwrap();
        for (name, content) in files {
            fs::write(folder.join(name), content).unwrap();
        }
        dir
    }

    #[test]
    fn the_root_of_the_control_groups_is_no_container() {
        let dir = tree(&[("cpu.stat", "usage_usec 5\n"), ("cgroup.procs", "1\n")]);
        check(|out| Container::new(dir.path()).collect(Duration::ZERO, out).unwrap(), "");
    }

    #[test]
    fn a_container_without_limits_has_use_and_no_shares() {
        let dir = tree(&[
            ("memory.current", "1000\n"),
            ("memory.max", "max\n"),
            ("memory.stat", "anon 300\ninactive_file 400\n"),
            ("memory.events", "low 0\noom 2\noom_kill 1\n"),
            ("cpu.max", "max 100000\n"),
            ("cpu.stat", "usage_usec 77\nuser_usec 70\n"),
            ("pids.current", "9\n"),
            ("pids.max", "max\n"),
        ]);
        let expected = "cgroup_memory_used{h} 1000
            cgroup_memory_workingset{h} 600
            cgroup_memory_oom{h} 2
            cgroup_memory_oom_kills{h} 1
            cgroup_cpu_usec{h} 77
            cgroup_pids_used{h} 9";
        check(|out| Container::new(dir.path()).collect(Duration::ZERO, out).unwrap(), expected);
    }

    #[test]
    fn shares_are_of_the_limits() {
        let dir = tree(&[
            ("memory.current", "600\n"),
            ("memory.max", "800\n"),
            ("cpu.max", "50000 100000\n"),
            ("cpu.stat", "usage_usec 0\nnr_periods 4\nnr_throttled 1\nthrottled_usec 9\n"),
        ]);
        let mut container = Container::new(dir.path());
        let found = lines(|out| container.collect(Duration::from_secs(10), out).unwrap());
        assert!(found.contains(&"cgroup_memory_used_percent{h} 75".to_owned()), "{found:?}");
        assert!(found.contains(&"cgroup_cpu_throttled_periods{h} 1".to_owned()), "{found:?}");
        // 2 s of processor time in 10 s are 40 % of half a processor.
        let table = "usage_usec 2000000\n";
        fs::write(dir.path().join("sys/fs/cgroup/cpu.stat"), table).unwrap();
        let found = lines(|out| container.collect(Duration::from_secs(20), out).unwrap());
        assert!(found.contains(&"cgroup_cpu_used_percent{h} 40".to_owned()), "{found:?}");
    }

    #[test]
    fn a_reset_counter_gives_no_share() {
        let at = |seconds, micros| Some((Duration::from_secs(seconds), micros));
        assert_eq!(share(at(0, 10), at(10, 5), 1.0), None);
        assert_eq!(share(at(10, 0), at(10, 5), 1.0), None);
        assert_eq!(share(None, at(10, 5), 1.0), None);
    }
}
