//! One run of a plugin: a process group of its own, a deadline, a bound on what it prints.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// So much of what a plugin writes to standard error is kept: its end.
const STDERR_BYTES_MAX: usize = 1024;
/// How long to wait for a killed plugin. A process in a read from a dead disk outlives even SIGKILL.
const KILL_WAIT: Duration = Duration::from_secs(1);
const READ_BYTES: usize = 8 << 10;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is run and within which bounds.
#[derive(Debug, Clone)]
pub struct Order<'a> {
    /// The program; its folder is its working directory.
    pub program: &'a Path,
    /// Its arguments.
    pub args: &'a [String],
    /// Its environment besides `PATH` and `LANG`, which may be among these.
    pub environment: &'a [(String, String)],
    /// When it is killed.
    pub timeout: Duration,
    /// Bytes that it may print.
    pub output_bytes_max: usize,
}

/// Why a run gave nothing.
#[derive(Debug, Error)]
pub enum RunError {
    /// The program cannot be started.
    #[error("cannot run {program}; is it there, executable, and its interpreter too?")]
    Start {
        /// Which.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ended with another code than 0, or by a signal.
    #[error("it ended with {status}: {stderr}")]
    Exit {
        /// How it ended.
        status: ExitStatus,
        /// The end of what it wrote to standard error.
        stderr: String,
    },
    /// It was not done in time.
    #[error("it was not done after {} and was killed", model::format_duration(*.0))]
    Timeout(Duration),
    /// It printed too much.
    #[error("it printed more than {0} bytes and was killed")]
    OutputLimit(usize),
    /// What it printed cannot be used.
    #[error("what it printed cannot be used: {0}")]
    Output(String),
}

impl RunError {
    /// The words for metrics, for all that can happen.
    pub const REASONS: [&'static str; 5] = ["start", "exit", "timeout", "output_limit", "output"];

    /// The word for metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Start { .. } => "start",
            Self::Exit { .. } => "exit",
            Self::Timeout(_) => "timeout",
            Self::OutputLimit(_) => "output_limit",
            Self::Output(_) => "output",
        }
    }

    /// The exit code; `None` when it did not end by itself.
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Exit { status, .. } => status.code(),
            Self::Output(_) => Some(0),
            _ => None,
        }
    }
}

/// The processes that a plugin has started. They are killed when this is dropped before they are gone.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let leader = child.id().and_then(|id| i32::try_from(id).ok());
        Self(leader.map(Pid::from_raw))
    }

    fn kill(&mut self) {
        if let Some(leader) = self.0.take() {
            // Nobody is left to be killed when the plugin has cleaned up behind itself.
            let _ = killpg(leader, Signal::SIGKILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a program to its end and returns what it printed. Whatever it has started is killed when it ends,
/// takes too long, prints too much, or nobody waits for it any more.
///
/// # Errors
/// [`RunError`], but never [`RunError::Output`].
pub async fn run(order: &Order<'_>) -> Result<Vec<u8>, RunError> {
    let start = |source| RunError::Start { program: order.program.to_owned(), source };
    let mut child = command(order).spawn().map_err(start)?;
    let mut group = Group::of(&child);
    let work = to_the_end(&mut child, &mut group, order.output_bytes_max);
    let outcome = timeout(order.timeout, work).await;
    group.kill();
    if let Ok(Some((printed, stderr, status))) = outcome {
        let status = status.map_err(start)?;
        return if status.success() { Ok(printed) } else { Err(RunError::Exit { status, stderr }) };
    }
    let _ = timeout(KILL_WAIT, child.wait()).await;
    Err(match outcome {
        Ok(_) => RunError::OutputLimit(order.output_bytes_max),
        Err(_) => RunError::Timeout(order.timeout),
    })
}

fn command(order: &Order<'_>) -> Command {
    let mut command = Command::new(order.program);
    command
        .args(order.args)
        .env_clear()
        .env("PATH", PATH)
        .env("LANG", "C.UTF-8")
        .envs(order.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(order.program.parent().unwrap_or(Path::new("/")))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command
}

// What it printed, the end of its standard error, and how it ended; nothing when it printed too much. When the
// plugin ends, what it left behind is killed: it could hold the pipes open for ever.
async fn to_the_end(
    child: &mut Child,
    group: &mut Group,
    bytes_max: usize,
) -> Option<(Vec<u8>, String, io::Result<ExitStatus>)> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let ended = async {
        let status = child.wait().await;
        group.kill();
        Ok(status)
    };
    let printed = async { read_all(stdout, bytes_max).await.ok_or(()) };
    tokio::try_join!(printed, async { Ok(read_end(stderr).await) }, ended).ok()
}

// Everything, or nothing when it is more than the limit.
async fn read_all(from: Option<impl AsyncRead + Unpin>, bytes_max: usize) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    let Some(mut from) = from else { return Some(all) };
    let mut piece = [0; READ_BYTES];
    loop {
        match from.read(&mut piece).await {
            Ok(0) | Err(_) => return Some(all),
            Ok(read) => all.extend_from_slice(&piece[..read]),
        }
        if all.len() > bytes_max {
            return None;
        }
    }
}

// The last lines say what went wrong.
async fn read_end(from: Option<impl AsyncRead + Unpin>) -> String {
    let mut end = Vec::new();
    let Some(mut from) = from else { return String::new() };
    let mut piece = [0; STDERR_BYTES_MAX];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        end.extend_from_slice(&piece[..read]);
        let surplus = end.len().saturating_sub(STDERR_BYTES_MAX);
        end.drain(..surplus);
    }
    let text = String::from_utf8_lossy(&end);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct Script(tempfile::TempDir);

    impl Script {
        fn new(text: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("60_x.sh");
            fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
            Self(dir)
        }

        async fn run(&self, args: &[&str], timeout: Duration) -> Result<String, RunError> {
            let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
            let order = Order {
                program: &self.0.path().join("60_x.sh"),
                args: &args,
                environment: &[("SITE".to_owned(), "bj".to_owned())],
                timeout,
                output_bytes_max: 1000,
            };
            run(&order).await.map(|printed| String::from_utf8(printed).unwrap())
        }
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn arguments_are_no_shell_text_and_the_environment_is_clean() {
        let script = Script::new(r#"echo "$1|$SITE|$HOME$CARGO|$(pwd)""#);
        let printed = script.run(&["$(id); x"], LONG).await.unwrap();
        assert_eq!(printed, format!("$(id); x|bj||{}\n", script.0.path().display()));
    }

    #[tokio::test]
    async fn another_exit_code_than_zero_is_told_with_what_was_written_to_standard_error() {
        let error = Script::new("echo out; echo broken pipe >&2; exit 3").run(&[], LONG).await;
        let error = error.unwrap_err();
        assert_eq!((error.exit_code(), error.reason()), (Some(3), "exit"));
        assert!(error.to_string().ends_with("broken pipe"), "{error}");
    }

    fn is_alive(pid: &str) -> bool {
        // A zombie is dead: only its number is left until somebody asks for it.
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[tokio::test]
    async fn the_whole_group_is_killed_at_the_deadline() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let script = Script::new(&format!("sleep 300 & echo $! > {}; wait", file.display()));
        let error = script.run(&[], Duration::from_millis(700)).await.unwrap_err();
        assert_eq!(error.reason(), "timeout");
        let child = fs::read_to_string(&file).unwrap();
        let gone = async || (!is_alive(&child)).then_some(());
        testkit::eventually("the end of the child", LONG, gone).await;
    }

    #[tokio::test]
    async fn what_a_plugin_leaves_behind_does_not_hold_it_up() {
        let printed = Script::new("sleep 300 & echo $!").run(&[], LONG).await.unwrap();
        let gone = async || (!is_alive(&printed)).then_some(());
        testkit::eventually("the end of the child", LONG, gone).await;
    }

    #[tokio::test]
    async fn one_that_prints_without_end_is_stopped() {
        let error = Script::new("while :; do echo xxxxxxxxxxxxxxxx; done").run(&[], LONG).await;
        assert_eq!(error.unwrap_err().reason(), "output_limit");
    }

    #[tokio::test]
    async fn a_program_that_cannot_be_started_is_named() {
        let order = Order {
            program: Path::new("/nonexistent/60_x"),
            args: &[],
            environment: &[],
            timeout: LONG,
            output_bytes_max: 1,
        };
        let error = run(&order).await.unwrap_err();
        assert_eq!(error.reason(), "start");
        assert!(error.to_string().contains("/nonexistent/60_x"), "{error}");
    }
}
