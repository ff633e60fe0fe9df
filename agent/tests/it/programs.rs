//! What the agent says, beside what the programs everybody knows say at the same moment.
//!
//! A value that moves is read before and after the agent; the agent's must lie between, with some room for
//! what came and went in between.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use testkit::program;

/// The agent's values by series, of one run of `saker-agent collect`.
fn measured() -> BTreeMap<String, f64> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_saker-agent"));
    let output = command.args(["collect", "--endpoint", "h"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let series = text.lines().filter_map(|line| line.rsplit_once(' '));
    let own = |name: &str| name.replace(r#"endpoint="h", "#, "").replace(r#"{endpoint="h"}"#, "");
    series.map(|(series, value)| (own(series), value.parse().unwrap())).collect()
}

fn output(name: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program(name)?).args(args).env("LC_ALL", "C").output().unwrap();
    assert!(output.status.success(), "{name}: {output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// The number in the given line and column, both from 0.
fn cell(table: &str, line: usize, column: usize) -> f64 {
    let row = table.lines().nth(line).unwrap();
    row.split_whitespace().nth(column).unwrap().parse().unwrap()
}

fn number_after(text: &str, word: &str) -> f64 {
    let rest = &text[text.find(word).unwrap() + word.len()..];
    let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

type Values = BTreeMap<&'static str, f64>;

/// What `free` says, in bytes.
fn free() -> Option<Values> {
    let table = output("free", &["-b"])?;
    Some(Values::from([
        ("mem_memtotal", cell(&table, 1, 1)),
        ("mem_shmem", cell(&table, 1, 4)),
        ("mem_memavailable", cell(&table, 1, 6)),
        ("mem_swaptotal", cell(&table, 2, 1)),
    ]))
}

/// What `df` says of the root file system.
fn df() -> Option<Values> {
    let bytes = output("df", &["-B1", "--output=size,used,avail", "/"])?;
    let inodes = output("df", &["--output=itotal,iused", "/"])?;
    Some(Values::from([
        ("df_bytes_total", cell(&bytes, 1, 0)),
        ("df_bytes_used", cell(&bytes, 1, 1)),
        ("df_bytes_free", cell(&bytes, 1, 2)),
        ("df_inodes_total", cell(&inodes, 1, 0)),
        ("df_inodes_used", cell(&inodes, 1, 1)),
    ]))
}

/// What `ss` says.
fn ss() -> Option<Values> {
    let summary = output("ss", &["-s"])?;
    let half_open = output("ss", &["-Htn", "state", "syn-recv"])?.lines().count();
    Some(Values::from([
        ("ss_estab", number_after(&summary, "(estab")),
        ("ss_closed", number_after(&summary, "closed")),
        ("ss_orphaned", number_after(&summary, "orphaned")),
        ("ss_timewait", number_after(&summary, "timewait")),
        ("ss_synrecv", half_open as f64),
    ]))
}

/// What the kernel's own tables say.
fn proc() -> Values {
    let read = |path: &str| fs::read_to_string(path).unwrap();
    let stat = read("/proc/stat");
    let vmstat = read("/proc/vmstat");
    Values::from([
        ("cpu_switches", number_after(&stat, "\nctxt ")),
        ("processes_forks", number_after(&stat, "\nprocesses ")),
        ("vmstat_pgfault", number_after(&vmstat, "\npgfault ")),
        ("vmstat_pgmajfault", number_after(&vmstat, "\npgmajfault ")),
        ("sys_uptime", cell(&read("/proc/uptime"), 0, 0)),
        ("kernel_maxfiles", cell(&read("/proc/sys/fs/file-nr"), 0, 2)),
        ("load_1min", cell(&read("/proc/loadavg"), 0, 0)),
    ])
}

/// How far beside what was read before and after a value may be, for what came and went in between.
fn room(metric: &str, value: f64) -> f64 {
    match metric {
        "mem_shmem" | "mem_memavailable" => 512e6,
        "df_bytes_used" | "df_bytes_free" => 512e6,
        "df_inodes_used" => 5000.0,
        "load_1min" => 1.0,
        "ss_estab" | "ss_orphaned" | "ss_synrecv" => 20.0,
        // Tests beside this one leave connections behind by the hundred.
        "ss_closed" | "ss_timewait" => 100.0 + value,
        // The total of inodes moves with the space on some file systems.
        "df_inodes_total" => value * 0.01,
        _ => 0.0,
    }
}

#[test]
fn the_agent_agrees_with_free_df_ss_and_proc() {
    let say = || Some([free()?, df()?, ss()?, proc()]);
    let Some(before) = say() else { return };
    let measured = measured();
    let after = say().unwrap();
    let mut compared = 0;
    for (metric, low) in before.iter().flatten() {
        let high = after.iter().find_map(|values| values.get(metric)).unwrap();
        let of_root = |series: &&String| {
            series.starts_with(&format!("{metric}{{")) && series.contains(r#"mount="/""#)
        };
        let series = measured.keys().find(of_root).map_or(*metric, String::as_str);
        let value = measured.get(series).unwrap_or_else(|| panic!("no {series} in {measured:?}"));
        let room = room(metric, *value);
        let range = low.min(*high) - room..=low.max(*high) + room;
        assert!(range.contains(value), "{series} is {value}, the others say {range:?}");
        compared += 1;
    }
    assert!(compared >= 10, "{compared}");
}
