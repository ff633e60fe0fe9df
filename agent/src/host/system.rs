//! Small tables: load, uptime, open files, limits, and what a host is.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::fields::{decimal, fields, lines, name, number};
use super::file::{HostError, read_once};

/// The averages of `/proc/loadavg` over 1, 5 and 15 minutes.
pub fn parse_load(table: &[u8]) -> Option<[f64; 3]> {
    let mut columns = fields(table).map(decimal);
    Some([columns.next()??, columns.next()??, columns.next()??])
}

/// All threads of the host, from `/proc/loadavg`, where they stand behind those that run: `1/91`.
pub fn parse_threads(table: &[u8]) -> Option<u64> {
    fields(table).nth(3)?.split(|byte| *byte == b'/').nth(1).and_then(number)
}

/// Processes: the folders of `proc` that are a number. Nothing in them is looked at.
///
/// # Errors
/// [`HostError::Read`] when `proc` cannot be listed.
pub fn count_processes(root: &Path) -> Result<u64, HostError> {
    let path = root.join("proc");
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(source) => return Err(HostError::Read { path, source }),
    };
    let is_process = |entry: &fs::DirEntry| number(entry.file_name().as_bytes()).is_some();
    Ok(entries.flatten().filter(is_process).count() as u64)
}

/// Seconds since boot, from `/proc/uptime`.
pub fn parse_uptime(table: &[u8]) -> Option<f64> {
    fields(table).next().and_then(decimal)
}

/// Open files and the most there may be, from `/proc/sys/fs/file-nr`.
pub fn parse_open_files(table: &[u8]) -> Option<(u64, u64)> {
    let mut columns = lines(table).next().map(fields)?.map(number);
    let allocated = columns.next()??;
    let _free = columns.next()?;
    Some((allocated, columns.next()??))
}

/// A table that is one number.
pub fn parse_one(table: &[u8]) -> Option<u64> {
    lines(table).next().and_then(|line| fields(line).next()).and_then(number)
}

/// Resident memory in bytes and processor time in ticks of a process, from its `/proc/PID/stat`. The name is
/// in parentheses and may hold blanks and parentheses itself, so columns are counted from the last one.
pub fn parse_process(table: &[u8]) -> Option<(u64, u64)> {
    let after_name = table.iter().rposition(|byte| *byte == b')')? + 1;
    let mut columns = fields(table[after_name..].trim_ascii_end());
    let user = columns.nth(11).and_then(number)?;
    let system = columns.next().and_then(number)?;
    let pages = columns.nth(8).and_then(number)?;
    Some((pages.saturating_mul(PAGE_BYTES), user.saturating_add(system)))
}

/// What the pages of `/proc/PID/stat` have on every platform the agent is built for.
const PAGE_BYTES: u64 = 4096;

/// What a host is, for the heartbeat. What cannot be read is empty or 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The host's own name.
    pub hostname: String,
    /// The distribution: `Debian GNU/Linux 12 (bookworm)`.
    pub os: String,
    /// The kernel's version.
    pub kernel: String,
    /// Changes with every boot.
    pub boot_id: String,
    /// Processors that are on line.
    pub cpus: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
}

impl Identity {
    /// Reads the files under `root`.
    pub fn read(root: &Path) -> Self {
        let text =
            |relative: &str| name(read_once(root, relative).unwrap_or_default().trim_ascii());
        let stat = read_once(root, "proc/stat").unwrap_or_default();
        let memory = read_once(root, "proc/meminfo").unwrap_or_default();
        let release =
            read_once(root, "etc/os-release").or_else(|_| read_once(root, "usr/lib/os-release"));
        Self {
            hostname: text("proc/sys/kernel/hostname"),
            os: release.ok().and_then(|release| pretty_name(&release)).unwrap_or_default(),
            kernel: text("proc/sys/kernel/osrelease"),
            boot_id: text("proc/sys/kernel/random/boot_id"),
            cpus: u32::try_from(lines(&stat).filter(|line| is_core(line)).count())
                .unwrap_or(u32::MAX),
            memory_bytes: super::memory::Memory::parse(&memory).map_or(0, |memory| memory.total),
        }
    }
}

fn is_core(line: &[u8]) -> bool {
    line.strip_prefix(b"cpu").and_then(|rest| rest.first()).is_some_and(u8::is_ascii_digit)
}

fn pretty_name(release: &[u8]) -> Option<String> {
    let value = lines(release).find_map(|line| line.strip_prefix(b"PRETTY_NAME="))?;
    Some(name(value).trim().trim_matches(['"', '\'']).to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_tables_are_read() {
        assert_eq!(parse_load(b"0.05 0.28 0.23 1/91 12658\n"), Some([0.05, 0.28, 0.23]));
        assert_eq!(parse_threads(b"0.05 0.28 0.23 1/91 12658\n"), Some(91));
        assert_eq!(parse_uptime(b"922.73 1542.29\n"), Some(922.73));
        assert_eq!(parse_open_files(b"521\t0\t2466170\n"), Some((521, 2_466_170)));
        assert_eq!(parse_one(b"4194304\n"), Some(4_194_304));
    }

    #[test]
    fn processes_are_the_numbered_folders() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["proc/1", "proc/4711", "proc/sys", "proc/4a"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        assert_eq!(count_processes(dir.path()).unwrap(), 2);
        let error = count_processes(&dir.path().join("none")).unwrap_err();
        assert!(error.to_string().contains("none/proc"), "{error}");
    }

    #[test]
    fn small_tables_that_are_cut_off_are_refused() {
        assert_eq!(parse_load(b"0.05 0.28"), None);
        assert_eq!(parse_load(b"nan 0 0"), None);
        assert_eq!((parse_threads(b"0.05 0.28 0.23 1"), parse_threads(b"1 2")), (None, None));
        assert_eq!(parse_uptime(b""), None);
        assert_eq!(parse_open_files(b"521\t0\n"), None);
        assert_eq!(parse_one(b"many\n"), None);
    }

    #[test]
    fn a_process_may_have_parentheses_in_its_name() {
        let table = b"42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 30 12 13 14 15 16 17 18 19 20 500 22\n";
        assert_eq!(parse_process(table), Some((500 * 4096, 42)));
        assert_eq!(parse_process(b"42 (x) S 1"), None);
    }

    #[test]
    fn the_distribution_is_named_as_it_names_itself() {
        assert_eq!(
            pretty_name(b"ID=debian\nPRETTY_NAME=\"Debian 12\"\n").as_deref(),
            Some("Debian 12")
        );
        assert_eq!(pretty_name(b"ID=debian\n"), None);
    }

    #[test]
    fn an_empty_root_gives_an_empty_identity() {
        assert_eq!(Identity::read(Path::new("/nonexistent")), Identity::default());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = (parse_load(&bytes), parse_uptime(&bytes), parse_open_files(&bytes), parse_one(&bytes));
            let _ = (parse_process(&bytes), pretty_name(&bytes), parse_threads(&bytes));
        }
    }
}
