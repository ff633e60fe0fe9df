//! The life of a process: start, wait, stop.

use std::process::ExitCode;

use anyhow::Context as _;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::{Clock, CommonArgs, Context, ExitReason, StartError, init_log};

/// Which tokio runtime a process wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeKind {
    /// One thread: the agent.
    CurrentThread,
    /// A thread a core: the central services.
    MultiThread,
}

/// Starts logging and the runtime, calls `start`, waits for SIGTERM or SIGINT (SIGHUP asks for a reload), and stops
/// all tasks, the last started first. A second signal while stopping ends the process at once.
///
/// An error of `start` is printed as one message on standard error; see [`ExitReason`] for the exit codes.
pub fn run<F>(name: &'static str, kind: RuntimeKind, args: &CommonArgs, start: F) -> ExitCode
where
    F: AsyncFnOnce(&Context) -> anyhow::Result<()>,
{
    match try_run(name, kind, args, start) {
        Ok(()) => ExitReason::Clean.into(),
        Err(error) => {
            eprintln!("{name}: {error:#}");
            StartError::reason_of(&error).into()
        }
    }
}

fn try_run<F>(name: &'static str, kind: RuntimeKind, args: &CommonArgs, start: F) -> anyhow::Result<()>
where
    F: AsyncFnOnce(&Context) -> anyhow::Result<()>,
{
    init_log(args)?;
    let mut builder = match kind {
        RuntimeKind::CurrentThread => Builder::new_current_thread(),
        RuntimeKind::MultiThread => Builder::new_multi_thread(),
    };
    let runtime = builder.enable_all().build().context("start the async runtime")?;
    let outcome = runtime.block_on(async {
        let context = Context::new(name, Clock::System)?;
        let outcome = match start(&context).await {
            Ok(()) => {
                tracing::info!(version = env!("CARGO_PKG_VERSION"), pid = std::process::id(), "{name} is up");
                wait_for_stop(&context).await
            }
            failed => failed,
        };
        tokio::select! {
            () = context.stop() => outcome,
            _ = stop_signal() => Err(anyhow::anyhow!("stopped at once: a second signal came while stopping")),
        }
    });
    // Blocking work that is still running must not hold the process.
    runtime.shutdown_background();
    outcome
}

async fn wait_for_stop(context: &Context) -> anyhow::Result<()> {
    let mut hangup = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
    loop {
        tokio::select! {
            name = stop_signal() => {
                tracing::info!(signal = name?, "stopping");
                return Ok(());
            }
            task = context.task_failed() => anyhow::bail!("task {task} panicked; the log above says where"),
            _ = hangup.recv() => {
                tracing::info!("SIGHUP: reloading");
                context.request_reload();
            }
        }
    }
}

async fn stop_signal() -> anyhow::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}
