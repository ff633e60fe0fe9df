//! Runs a new agent as a child before anything depends on it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::process::Command;
use tokio::time::{sleep, timeout};

/// How long one command of it may take.
const DEADLINE: Duration = Duration::from_secs(20);
/// What of its complaint is repeated, in characters.
const COMPLAINT_CHARS_MAX: usize = 120;
/// Another thread that starts a child holds our just written file open for a moment.
const BUSY_TRIES: u32 = 10;
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// What is tried before a release is installed.
#[derive(Debug, Clone)]
pub struct Preflight {
    /// The program.
    pub program: PathBuf,
    /// The version that it must print; `None` when the program runs already.
    pub version: Option<String>,
    /// The host's configuration.
    pub config: Option<PathBuf>,
    /// What goes over it.
    pub overlay: Option<PathBuf>,
}

impl Preflight {
    /// The program must say the version that was offered, and its check of the host's configuration must pass.
    ///
    /// # Errors
    /// When it cannot be started, takes longer than 20 s, or does not pass.
    pub async fn run(&self) -> anyhow::Result<()> {
        if let Some(version) = &self.version {
            let output = run(Command::new(&self.program).arg("version"), "version").await?;
            let said = String::from_utf8_lossy(&output.stdout);
            let said = said.trim();
            ensure!(output.status.success(), "`version` ended with {}", output.status);
            ensure!(
                said == format!("saker-agent {version}"),
                "the file says that it is {:?}, not saker-agent {version}",
                short(said)
            );
        }
        let mut command = Command::new(&self.program);
        command.args(["check", "--preflight"]);
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        set_overlay(&mut command, self.overlay.as_deref());
        let output = run(&mut command, "check --preflight").await?;
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            bail!("`check --preflight` ended with {}: {}", output.status, short(complaint.trim()));
        }
        Ok(())
    }
}

fn set_overlay(command: &mut Command, overlay: Option<&Path>) {
    match overlay {
        Some(file) => command.env("SAKER_OVERLAY", file),
        None => command.env_remove("SAKER_OVERLAY"),
    };
}

async fn run(command: &mut Command, what: &str) -> anyhow::Result<Output> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let started = async {
        for _ in 0..BUSY_TRIES {
            match command.output().await {
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                    sleep(BUSY_PAUSE).await;
                }
                done => return done,
            }
        }
        command.output().await
    };
    timeout(DEADLINE, started)
        .await
        .with_context(|| format!("`{what}` took longer than {DEADLINE:?}"))?
        .with_context(|| format!("start `{what}`"))
}

fn short(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(COMPLAINT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    async fn check(script: &str, told: Result<(), &str>) {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("agent");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let version = Some("7.1".to_owned());
        let overlay = Some(PathBuf::from("/over"));
        let preflight = Preflight { program, version, config: Some("/x".into()), overlay };
        match (preflight.run().await, told) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(told)) => assert!(format!("{error:#}").contains(told), "{error:#}"),
            (outcome, told) => panic!("{outcome:?} instead of {told:?}"),
        }
    }

    const SAYS_SO: &str = "[ \"$1\" = version ] && { echo saker-agent 7.1; exit 0; }";

    #[tokio::test]
    async fn an_agent_that_is_what_was_offered_passes() {
        let checks = format!(
            "{SAYS_SO}\n[ \"$*\" = 'check --preflight --config /x' ] && [ \"$SAKER_OVERLAY\" = /over ]"
        );
        check(&checks, Ok(())).await;
    }

    #[tokio::test]
    async fn a_build_with_another_version_inside_than_announced_is_refused() {
        check("echo saker-agent 7.0", Err("says that it is \"saker-agent 7.0\"")).await;
    }

    #[tokio::test]
    async fn an_agent_that_does_not_like_the_configuration_is_refused_with_its_words() {
        let checks = format!("{SAYS_SO}\necho unknown key >&2; exit 2");
        check(&checks, Err("exit status: 2: unknown key")).await;
    }

    #[tokio::test]
    async fn a_file_that_is_no_program_is_refused() {
        let program = PathBuf::from("/etc/passwd");
        let preflight = Preflight { program, version: None, config: None, overlay: None };
        let told = format!("{:#}", preflight.run().await.unwrap_err());
        assert!(told.starts_with("start `check --preflight`"), "{told}");
    }
}
