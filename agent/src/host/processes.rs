//! The processes of the host, in one pass over `/proc`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::fields::{fields, number};
use super::file::HostError;

/// Longer command lines are cut.
const CMDLINE_BYTES_MAX: u64 = 64 << 10;
const STAT_BYTES_MAX: u64 = 4 << 10;
/// What `/proc/PID/stat` counts memory in, on every platform the agent is built for.
const PAGE_BYTES: u64 = 4096;

/// A process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process<'a> {
    /// Its number.
    pub pid: u32,
    /// Its name as the kernel has it: at most 15 bytes.
    pub name: &'a [u8],
    /// Processor time in ticks.
    pub ticks: u64,
    /// When it began, in ticks since boot: with `pid` it names the process for good.
    pub started: u64,
    /// Resident memory in bytes.
    pub resident_bytes: u64,
}

/// Calls `visit` with every process whose name `is_wanted` and its command line, in which blanks part the
/// arguments. Kernel threads and processes that end meanwhile are left out.
///
/// # Errors
/// When the processes cannot be listed.
pub fn visit(
    root: &Path,
    is_wanted: impl Fn(&[u8]) -> bool,
    mut visit: impl FnMut(&Process<'_>, &[u8]),
) -> Result<(), HostError> {
    let folder = root.join("proc");
    let read_error = |source| HostError::Read { path: folder.clone(), source };
    let (mut stat, mut cmdline) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(&folder).map_err(read_error)? {
        let entry = entry.map_err(read_error)?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let path: PathBuf = entry.path();
        if read(&path.join("stat"), STAT_BYTES_MAX, &mut stat).is_err() {
            continue;
        }
        let Some(process) = parse_stat(pid, &stat).filter(|process| is_wanted(process.name)) else {
            continue;
        };
        if read(&path.join("cmdline"), CMDLINE_BYTES_MAX, &mut cmdline).is_err() {
            continue;
        }
        for byte in &mut cmdline {
            if *byte == 0 {
                *byte = b' ';
            }
        }
        let arguments = cmdline.trim_ascii();
        if !arguments.is_empty() {
            visit(&process, arguments);
        }
    }
    Ok(())
}

fn read(path: &Path, bytes_max: u64, into: &mut Vec<u8>) -> io::Result<()> {
    into.clear();
    File::open(path)?.take(bytes_max).read_to_end(into).map(|_| ())
}

// The name is in parentheses and may hold blanks and parentheses itself.
fn parse_stat(pid: u32, stat: &[u8]) -> Option<Process<'_>> {
    let begin = stat.iter().position(|byte| *byte == b'(')? + 1;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let name = stat.get(begin..end)?;
    let mut columns = fields(stat[end + 1..].trim_ascii_end());
    let user = columns.nth(11).and_then(number)?;
    let system = columns.next().and_then(number)?;
    let started = columns.nth(6).and_then(number)?;
    let pages = columns.nth(1).and_then(number)?;
    Some(Process {
        pid,
        name,
        ticks: user.saturating_add(system),
        started,
        resident_bytes: pages.saturating_mul(PAGE_BYTES),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STAT: &[u8] =
        b"7 (a) b) S 1 2 3 4 5 6 7 8 9 10 30 12 13 14 15 16 17 18 4242 20 500 22 23\n";

    #[test]
    fn the_columns_are_counted_from_behind_the_name() {
        let process = parse_stat(7, STAT).unwrap();
        assert_eq!((process.name, process.ticks), (&b"a) b"[..], 42));
        assert_eq!((process.started, process.resident_bytes), (4242, 500 * 4096));
        assert_eq!(parse_stat(7, b"7 (x) S 1"), None);
        assert_eq!(parse_stat(7, b")("), None);
    }

    #[test]
    fn this_very_process_is_found_with_its_arguments() {
        let own = std::process::id();
        let mut found = None;
        visit(
            Path::new("/"),
            |_| true,
            |process, cmdline| {
                if process.pid == own {
                    found = Some((process.resident_bytes, cmdline.to_vec()));
                }
            },
        )
        .unwrap();
        let (resident, cmdline) = found.unwrap();
        assert!(resident > 100_000 && !cmdline.contains(&0));
    }

    #[test]
    fn kernel_threads_and_unwanted_names_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        for (pid, cmdline) in [("7", "x\0y\0"), ("8", "")] {
            let folder = dir.path().join("proc").join(pid);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("stat"), STAT).unwrap();
            fs::write(folder.join("cmdline"), cmdline).unwrap();
        }
        fs::create_dir_all(dir.path().join("proc/9")).unwrap();
        let found = |name: &'static [u8]| {
            let mut found = Vec::new();
            let add =
                |process: &Process<'_>, cmdline: &[u8]| found.push((process.pid, cmdline.to_vec()));
            visit(dir.path(), |other| other == name, add).unwrap();
            found
        };
        assert_eq!(found(b"a) b"), [(7, b"x y".to_vec())]);
        assert_eq!(found(b"other"), []);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, columns in "[0-9 ]{0,60}") {
            let _ = parse_stat(1, &bytes);
            let _ = parse_stat(1, format!("1 (x) {columns}").as_bytes());
        }
    }
}
