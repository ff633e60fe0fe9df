//! Real processes, ended with the test.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::NamedTempFile;

use crate::eventually;

/// One of the workspace's own binaries, of the profile that the test runs in.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let folder = test.ancestors().nth(2).expect("tests run from target/<profile>/deps");
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is missing: run `cargo build --workspace` (scripts/test does)",
        path.display()
    );
    path
}

/// A program of the system, or `None` with a note when it is not installed. With `CI` set its absence fails the test:
/// there everything must be installed.
pub fn program(name: &str) -> Option<PathBuf> {
    let folders = ["/usr/bin", "/usr/sbin", "/usr/local/bin"];
    let found =
        folders.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists());
    if found.is_none() {
        assert!(
            std::env::var_os("CI").is_none(),
            "{name} is not installed; .ci/run must install it"
        );
        eprintln!("skipped: {name} is not installed");
    }
    found
}

/// A child process; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    output: NamedTempFile,
}

impl Process {
    /// Starts a program; its output goes to a file that [`Process::output`] reads.
    pub fn start<S: AsRef<OsStr>>(program: &Path, args: impl IntoIterator<Item = S>) -> Self {
        let output = NamedTempFile::new().expect("the temporary folder is writable");
        let writer = || {
            Stdio::from(
                File::options().append(true).open(output.path()).expect("the file was just made"),
            )
        };
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(writer()).stderr(writer());
        let child =
            command.spawn().unwrap_or_else(|error| panic!("start {}: {error}", program.display()));
        Self { child, output }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the process printed so far.
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.output.path()).unwrap_or_default()
    }

    /// Ends the process at once, as a power cut would (SIGKILL), and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks the process to stop (SIGTERM) and waits for its end, at most `deadline`.
    pub async fn terminate(&mut self, deadline: Duration) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait(deadline).await
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("process ids are positive i32");
        let _ = kill(Pid::from_raw(pid), signal);
    }

    /// Waits for the end of the process, at most `deadline`.
    pub async fn wait(&mut self, deadline: Duration) -> ExitStatus {
        eventually("the process ends", deadline, async || self.child.try_wait().ok().flatten())
            .await
    }

    /// Whether the process is still there.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- output of process {}:\n{}", self.pid(), self.output());
        }
    }
}
