//! Checks that are answered from `/proc`: ports and processes. All of them together read the tables once.

use std::collections::HashMap;
use std::path::Path;

use wire::heartbeat::{Check, ProcessMatch};

use super::Finding;
use crate::host::file::{HostError, read_once};
use crate::host::ports::Ports;
use crate::host::processes::{self, Process};
use crate::host::system::parse_uptime;

/// The kernel cuts names of processes to so many bytes.
const NAME_BYTES_MAX: usize = 15;
/// Ticks of `/proc/PID/stat` in a second, the same on every platform the agent is built for.
const TICKS_PER_SECOND: f64 = 100.0;

/// Ticks that processes had spent by number and start, and the time since boot in seconds when they were read.
#[derive(Debug, Default)]
struct Before {
    uptime: f64,
    ticks: HashMap<(u32, u64), u64>,
}

/// The checks that are due together, and what processes had spent the last time.
#[derive(Debug, Default)]
pub struct Tables {
    before: Option<Before>,
}

/// What the processes that match one check amount to.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    count: u64,
    resident_bytes: u64,
    ticks: u64,
}

impl Tables {
    /// Looks at all of `checks`; other kinds are left out. Findings are given also when one of the tables
    /// cannot be read: those of the others.
    pub fn look(&mut self, checks: &[Check], root: &Path) -> (Vec<Finding>, Option<HostError>) {
        let mut findings = Vec::new();
        let ports = look_at_ports(checks, root, &mut findings);
        let processes = self.look_at_processes(checks, root, &mut findings);
        (findings, ports.err().or(processes.err()))
    }

    fn look_at_processes(
        &mut self,
        checks: &[Check],
        root: &Path,
        findings: &mut Vec<Finding>,
    ) -> Result<(), HostError> {
        let wanted: Vec<(&Check, &ProcessMatch)> = checks.iter().filter_map(processes_of).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let uptime = parse_uptime(&read_once(root, "proc/uptime")?).unwrap_or_default();
        let mut now = Before { uptime, ticks: HashMap::new() };
        let mut sums = vec![Sum::default(); wanted.len()];
        let is_wanted = |name: &[u8]| wanted.iter().any(|(_, wanted)| has_name(wanted, name));
        processes::visit(root, is_wanted, |process, cmdline| {
            let spent = self.spent(process);
            for ((_, wanted), sum) in wanted.iter().zip(&mut sums) {
                if has_name(wanted, process.name) && has_part(cmdline, wanted.cmdline.as_bytes()) {
                    sum.count += 1;
                    sum.resident_bytes = sum.resident_bytes.saturating_add(process.resident_bytes);
                    sum.ticks = sum.ticks.saturating_add(spent);
                    now.ticks.insert((process.pid, process.started), process.ticks);
                }
            }
        })?;
        let elapsed = self.before.as_ref().map(|before| now.uptime - before.uptime);
        for ((check, _), sum) in wanted.iter().zip(&sums) {
            findings.extend(findings_of(check, sum, elapsed));
        }
        self.before = Some(now);
        Ok(())
    }

    // Ticks since the last time. A process that was not there then has spent all of its ticks since; one that
    // was there and did not match is new to us, and what it spent before is nobody's business.
    fn spent(&self, process: &Process<'_>) -> u64 {
        let Some(before) = &self.before else { return 0 };
        match before.ticks.get(&(process.pid, process.started)) {
            Some(ticks) => process.ticks.saturating_sub(*ticks),
            None if process.started as f64 / TICKS_PER_SECOND >= before.uptime => process.ticks,
            None => 0,
        }
    }
}

fn look_at_ports(
    checks: &[Check],
    root: &Path,
    findings: &mut Vec<Finding>,
) -> Result<(), HostError> {
    let wanted = checks.iter().filter_map(|check| match check {
        Check::PortListen { port } => Some((check, *port)),
        _ => None,
    });
    let wanted: Vec<(&Check, u16)> = wanted.collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let ports = Ports::read(root)?;
    let value = |port| if ports.has(port) { 1.0 } else { 0.0 };
    findings.extend(wanted.into_iter().map(|(check, port)| Finding::new(check, value(port))));
    Ok(())
}

fn processes_of(check: &Check) -> Option<(&Check, &ProcessMatch)> {
    match check {
        Check::ProcNum(processes) | Check::ProcUsage(processes) => Some((check, processes)),
        _ => None,
    }
}

fn findings_of(check: &Check, sum: &Sum, elapsed: Option<f64>) -> Vec<Finding> {
    if let Check::ProcNum(_) = check {
        return vec![Finding::new(check, sum.count as f64)];
    }
    let share = elapsed
        .filter(|elapsed| *elapsed > 0.0)
        .map(|elapsed| sum.ticks as f64 / TICKS_PER_SECOND / elapsed * 100.0);
    let values = [share, Some(sum.resident_bytes as f64)];
    let of = |(metric, value): (&&'static str, Option<f64>)| {
        Some(Finding { metric, tags: check.tags(), value: value? })
    };
    check.metrics().iter().zip(values).filter_map(of).collect()
}

fn has_name(wanted: &ProcessMatch, name: &[u8]) -> bool {
    let cut = &wanted.name.as_bytes()[..wanted.name.len().min(NAME_BYTES_MAX)];
    cut.is_empty() || cut == &name[..name.len().min(NAME_BYTES_MAX)]
}

fn has_part(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new(uptime: &str) -> Self {
            let tree = Self(tempfile::tempdir().unwrap());
            fs::create_dir_all(tree.0.path().join("proc")).unwrap();
            tree.at(uptime);
            tree
        }

        fn at(&self, uptime: &str) {
            fs::write(self.0.path().join("proc/uptime"), format!("{uptime} 1\n")).unwrap();
        }

        fn process(&self, pid: u32, name: &str, cmdline: &str, ticks: u32, started: u32) {
            let folder = self.0.path().join("proc").join(pid.to_string());
            fs::create_dir_all(&folder).unwrap();
            let stat = format!(
                "{pid} ({name}) S 1 2 3 4 5 6 7 8 9 10 {ticks} 0 0 0 1 1 1 1 {started} 9 2"
            );
            fs::write(folder.join("stat"), stat).unwrap();
            fs::write(folder.join("cmdline"), cmdline).unwrap();
        }
    }

    fn processes(name: &str, cmdline: &str) -> ProcessMatch {
        ProcessMatch { name: name.into(), cmdline: cmdline.into() }
    }

    fn values(tables: &mut Tables, checks: &[Check], tree: &Tree) -> Vec<(&'static str, f64)> {
        let (findings, error) = tables.look(checks, tree.0.path());
        assert!(error.is_none(), "{error:?}");
        findings.into_iter().map(|finding| (finding.metric, finding.value)).collect()
    }

    #[test]
    fn processes_are_counted_by_name_and_part_of_the_command_line() {
        let tree = Tree::new("100");
        tree.process(1, "java", "java\0-jar\0pay.jar\0", 0, 1);
        tree.process(2, "java", "java\0-jar\0web.jar\0", 0, 1);
        tree.process(3, "a-name-longer-t", "x\0", 0, 1);
        tree.process(4, "kthreadd", "", 0, 1);
        let check = |name, cmdline| Check::ProcNum(processes(name, cmdline));
        let checks = [
            check("java", ""),
            check("java", "-jar pay"),
            check("", "web.jar"),
            check("a-name-longer-than-15", ""),
            check("kthreadd", ""),
            check("jav", ""),
        ];
        let counts: Vec<f64> =
            values(&mut Tables::default(), &checks, &tree).iter().map(|(_, n)| *n).collect();
        assert_eq!(counts, [2.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn the_share_is_of_one_processor_over_the_interval_and_new_processes_count() {
        let tree = Tree::new("100");
        let mut tables = Tables::default();
        let checks = [Check::ProcUsage(processes("java", ""))];
        tree.process(1, "java", "java\0", 1000, 1);
        assert_eq!(values(&mut tables, &checks, &tree), [("proc.mem", 8192.0)]);
        tree.at("110");
        tree.process(1, "java", "java\0", 1500, 1);
        tree.process(2, "java", "java\0", 200, 10_500);
        assert_eq!(
            values(&mut tables, &checks, &tree),
            [("proc.cpu", 70.0), ("proc.mem", 16384.0)]
        );
        // Another process under an old number, that was there before we looked: nothing is known of it.
        tree.at("120");
        tree.process(1, "java", "java\0", 9999, 500);
        assert_eq!(values(&mut tables, &checks, &tree)[0], ("proc.cpu", 0.0));
    }

    #[test]
    fn a_missing_table_costs_only_its_own_checks() {
        let tree = Tree::new("1");
        tree.process(1, "a", "a\0", 0, 1);
        let checks = [Check::PortListen { port: 1 }, Check::ProcNum(processes("a", ""))];
        let (findings, error) = Tables::default().look(&checks, tree.0.path());
        assert_eq!(findings.len(), 1);
        assert!(error.unwrap().to_string().ends_with("proc/net/tcp"));
    }
}
