//! `df.*`: how full the file systems are, and which of them do not answer.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::time::Duration;

use super::{Collector, Readings, percent};
use crate::config::Collect;
use crate::host::file::{HostError, KeptFile};
use crate::host::mounts::{Mount, Usage, one_per_device, parse};
use crate::worker::Worker;

/// File systems that hang at a time. Each holds a thread; further ones are not asked and count as hanging.
const HANGING_MAX: usize = 16;

type Asked = Receiver<io::Result<Usage>>;
type Ask = fn(&Path) -> io::Result<Usage>;

pub(super) struct FileSystems {
    table: KeptFile,
    root: PathBuf,
    fstypes_ignored: Vec<String>,
    mounts_ignored: Vec<String>,
    prober: Prober,
}

impl FileSystems {
    pub(super) fn new(root: &Path, config: &Collect) -> Self {
        Self::asking(root, config, Usage::of)
    }

    fn asking(root: &Path, config: &Collect, ask: Ask) -> Self {
        // Under another root `proc/self` would be the agent's own view; the host's is that of its first process.
        let of_init = "proc/1/mountinfo";
        let is_foreign = root != Path::new("/") && root.join(of_init).exists();
        Self {
            table: KeptFile::new(root, if is_foreign { of_init } else { "proc/self/mountinfo" }),
            root: root.to_owned(),
            fstypes_ignored: config.fstypes_ignored.clone(),
            mounts_ignored: config.mounts_ignored.clone(),
            prober: Prober::new(config.mount_deadline, ask),
        }
    }
}

impl Collector for FileSystems {
    fn collect(&mut self, _: Duration, out: &mut Readings) -> Result<(), HostError> {
        let keep = |mount: &Mount| is_wanted(mount, &self.fstypes_ignored, &self.mounts_ignored);
        let mounts = one_per_device(parse(self.table.read()?, keep));
        let (mut total, mut used) = (0u64, 0u64);
        for mount in &mounts {
            let path = self.root.join(mount.path.trim_start_matches('/'));
            let Some(answer) = self.prober.ask(&path) else { continue };
            measure(mount, answer, out);
            if let Answer::Usage(usage) = answer {
                total = total.saturating_add(usage.bytes_total);
                used = used.saturating_add(usage.bytes_total.saturating_sub(usage.bytes_free));
            }
        }
        self.prober.forget_all_but(|path| {
            mounts.iter().any(|mount| self.root.join(mount.path.trim_start_matches('/')) == path)
        });
        if total > 0 {
            out.count("df.statistics.total", total);
            out.count("df.statistics.used", used);
            out.add("df.statistics.used.percent", percent(used, total));
        }
        Ok(())
    }
}

fn is_wanted(mount: &Mount, fstypes_ignored: &[String], mounts_ignored: &[String]) -> bool {
    let is_below = |prefix: &String| {
        mount
            .path
            .strip_prefix(prefix.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let is_type = |pattern: &String| match pattern.strip_suffix('*') {
        Some(prefix) => mount.fstype.starts_with(prefix),
        None => mount.fstype == *pattern,
    };
    !fstypes_ignored.iter().any(is_type) && !mounts_ignored.iter().any(is_below)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Usage(Usage),
    Stale,
}

fn measure(mount: &Mount, answer: Answer, out: &mut Readings) {
    let own = [("mount", mount.path.as_str()), ("fstype", mount.fstype.as_str())];
    let mut add = |metric, value: f64| out.add_with(metric, &own, value);
    let Answer::Usage(usage) = answer else {
        add("df.stale", 1.0);
        return;
    };
    // A file system without size is a window into the kernel.
    if usage.bytes_total == 0 {
        return;
    }
    let used = usage.bytes_total.saturating_sub(usage.bytes_free);
    let free = usage.bytes_available;
    let reachable = used.saturating_add(free);
    add("df.bytes.total", usage.bytes_total as f64);
    add("df.bytes.used", used as f64);
    add("df.bytes.free", free as f64);
    add("df.bytes.used.percent", percent(used, reachable));
    add("df.bytes.free.percent", percent(free, reachable));
    // btrfs and others make inodes as they need them and report none.
    if usage.inodes_total > 0 {
        let inodes_used = usage.inodes_total.saturating_sub(usage.inodes_free);
        add("df.inodes.total", usage.inodes_total as f64);
        add("df.inodes.used", inodes_used as f64);
        add("df.inodes.free", usage.inodes_free as f64);
        add("df.inodes.used.percent", percent(inodes_used, usage.inodes_total));
        add("df.inodes.free.percent", percent(usage.inodes_free, usage.inodes_total));
    }
    add("df.readonly", f64::from(mount.is_read_only));
    add("df.stale", 0.0);
}

/// Asks file systems with a deadline each, so that one that hangs costs the others nothing.
struct Prober {
    deadline: Duration,
    ask: Ask,
    worker: Option<Worker>,
    hanging: HashMap<PathBuf, Asked>,
}

impl Prober {
    fn new(deadline: Duration, ask: Ask) -> Self {
        Self { deadline, ask, worker: None, hanging: HashMap::new() }
    }

    // `None` when the file system answers with an error: what the agent may not see, it does not report.
    fn ask(&mut self, path: &Path) -> Option<Answer> {
        // One that hangs is not asked a second time before it has answered the first.
        match self.hanging.get(path).map(Receiver::try_recv) {
            Some(Err(TryRecvError::Empty)) => return Some(Answer::Stale),
            Some(Ok(answer)) => {
                self.hanging.remove(path);
                return answer.ok().map(Answer::Usage);
            }
            Some(Err(TryRecvError::Disconnected)) => {
                self.hanging.remove(path);
            }
            None => {}
        }
        if self.hanging.len() >= HANGING_MAX {
            return Some(Answer::Stale);
        }
        let asked = self.send(path)?;
        match asked.recv_timeout(self.deadline) {
            Ok(answer) => answer.ok().map(Answer::Usage),
            Err(RecvTimeoutError::Timeout) => {
                self.worker = None;
                self.hanging.insert(path.to_owned(), asked);
                Some(Answer::Stale)
            }
            Err(RecvTimeoutError::Disconnected) => {
                self.worker = None;
                None
            }
        }
    }

    fn send(&mut self, path: &Path) -> Option<Asked> {
        let worker = match &mut self.worker {
            Some(worker) => worker,
            none => none.insert(Worker::start().ok()?),
        };
        let (reply, asked) = sync_channel(1);
        let (ask, path) = (self.ask, path.to_owned());
        let taken = worker.run(move || {
            // Nobody listens any more when the mount was given up; the answer is then of no use.
            let _ = reply.send(ask(&path));
        });
        taken.then_some(asked)
    }

    // What is not mounted any more need not be remembered; its thread ends with its call.
    fn forget_all_but(&mut self, is_mounted: impl Fn(&Path) -> bool) {
        self.hanging.retain(|path, _| is_mounted(path));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::SyncSender;
    use std::thread;

    use super::super::testing::{check, lines};
    use super::*;

    fn mount(path: &str, fstype: &str) -> Mount {
        Mount {
            device: "/dev/x".to_owned(),
            path: path.to_owned(),
            fstype: fstype.to_owned(),
            is_read_only: false,
        }
    }

    const USAGE: Usage = Usage {
        bytes_total: 1000,
        bytes_free: 400,
        bytes_available: 200,
        inodes_total: 50,
        inodes_free: 40,
    };

    #[test]
    fn shares_are_of_what_users_can_reach() {
        let expected = "df_bytes_total{x} 1000
            df_bytes_used{x} 600
            df_bytes_free{x} 200
            df_bytes_used_percent{x} 75
            df_bytes_free_percent{x} 25
            df_inodes_total{x} 50
            df_inodes_used{x} 10
            df_inodes_free{x} 40
            df_inodes_used_percent{x} 20
            df_inodes_free_percent{x} 80
            df_readonly{x} 0
            df_stale{x} 0"
            .replace("{x}", r#"{h, fstype="ext4", mount="/"}"#);
        check(|out| measure(&mount("/", "ext4"), Answer::Usage(USAGE), out), &expected);
    }

    #[test]
    fn a_file_system_that_stopped_writing_is_read_only() {
        let stopped = Mount { is_read_only: true, ..mount("/", "ext4") };
        let found = lines(|out| measure(&stopped, Answer::Usage(USAGE), out));
        assert!(
            found.iter().any(|line| line.starts_with("df_readonly") && line.ends_with(" 1")),
            "{found:?}"
        );
    }

    #[test]
    fn a_file_system_without_inodes_or_size_gives_no_shares_of_nothing() {
        let found = lines(|out| {
            measure(&mount("/", "btrfs"), Answer::Usage(Usage { inodes_total: 0, ..USAGE }), out)
        });
        assert_eq!(found.len(), 7);
        check(|out| measure(&mount("/x", "odd"), Answer::Usage(Usage::default()), out), "");
    }

    #[test]
    fn ignored_types_and_folders_are_left_out() {
        let types = ["tmpfs".to_owned(), "fuse*".to_owned()];
        let folders = ["/sys".to_owned()];
        let is_wanted = |path, fstype| is_wanted(&mount(path, fstype), &types, &folders);
        assert!(is_wanted("/", "ext4") && is_wanted("/system", "xfs"));
        assert!(!is_wanted("/run", "tmpfs") && !is_wanted("/mnt", "fuse.sshfs"));
        assert!(!is_wanted("/sys", "ext4") && !is_wanted("/sys/fs", "ext4"));
    }

    static RELEASE: Mutex<Option<SyncSender<()>>> = Mutex::new(None);

    fn hang_on_nas(path: &Path) -> io::Result<Usage> {
        if path == Path::new("/nas") {
            let (release, wait) = sync_channel::<()>(1);
            *RELEASE.lock().unwrap() = Some(release);
            let _ = wait.recv();
        }
        if path == Path::new("/secret") {
            Err(io::ErrorKind::PermissionDenied.into())
        } else {
            Ok(USAGE)
        }
    }

    #[test]
    fn a_dead_server_is_stale_until_it_answers_and_stops_nobody_else() {
        let mut prober = Prober::new(Duration::from_millis(50), hang_on_nas);
        let usage = Some(Answer::Usage(USAGE));
        assert_eq!(prober.ask(Path::new("/nas")), Some(Answer::Stale));
        assert_eq!(prober.ask(Path::new("/data")), usage);
        assert_eq!(prober.ask(Path::new("/secret")), None);
        // It is not asked again while the first question is open, so this does not wait for the deadline.
        prober.deadline = Duration::from_secs(3600);
        assert_eq!(prober.ask(Path::new("/nas")), Some(Answer::Stale));
        RELEASE.lock().unwrap().take();
        let answered = prober.hanging[Path::new("/nas")].recv().unwrap();
        assert_eq!(answered.unwrap(), USAGE);
        prober.forget_all_but(|path| path != Path::new("/nas"));
        assert!(prober.hanging.is_empty());
    }

    fn hang_on_dead(path: &Path) -> io::Result<Usage> {
        if path.ends_with("dead") {
            // As a call to an NFS server that is gone: it never comes back.
            thread::park();
            unreachable!("nobody wakes this thread");
        }
        Ok(USAGE)
    }

    #[test]
    fn the_mounts_beside_a_dead_one_are_measured_in_every_round() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("proc/self")).unwrap();
        let mounts = ["first", "dead", "last"]
            .map(|name| format!("1 0 8:1 / /{name} rw - nfs4 nas:/{name} rw\n"));
        std::fs::write(dir.path().join("proc/self/mountinfo"), mounts.concat()).unwrap();
        let config = Collect { mount_deadline: Duration::from_millis(50), ..Collect::default() };
        let mut file_systems = FileSystems::asking(dir.path(), &config, hang_on_dead);
        for _ in 0..2 {
            let found = lines(|out| file_systems.collect(Duration::ZERO, out).unwrap());
            let of = |metric: &str| {
                let of_metric = found.iter().filter(|line| line.starts_with(metric));
                of_metric.cloned().collect::<Vec<_>>()
            };
            assert_eq!(of("df_bytes_total").len(), 2, "{found:?}");
            let stale = r#"df_stale{h, fstype="nfs4", mount="/dead"} 1"#;
            assert!(of("df_stale").contains(&stale.to_owned()), "{found:?}");
            assert_eq!(of("df_statistics_total"), ["df_statistics_total{h} 2000"]);
        }
    }
}
