//! The life of a process: start, wait, stop.

use std::process::ExitCode;

use anyhow::Context as _;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::notify::Notifier;
use crate::{Clock, CommonArgs, Context, ExitReason, StartError, init_log, open_files};

/// Which tokio runtime a process wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeKind {
    /// One thread: the agent.
    CurrentThread,
    /// A thread a core: the central services.
    #[cfg(feature = "multi-thread")]
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

fn try_run<F>(
    name: &'static str,
    kind: RuntimeKind,
    args: &CommonArgs,
    start: F,
) -> anyhow::Result<()>
where
    F: AsyncFnOnce(&Context) -> anyhow::Result<()>,
{
    init_log(args)?;
    open_files::raise_limit();
    let mut builder = match kind {
        RuntimeKind::CurrentThread => Builder::new_current_thread(),
        #[cfg(feature = "multi-thread")]
        RuntimeKind::MultiThread => Builder::new_multi_thread(),
    };
    let runtime = builder.enable_all().build().context("start the async runtime")?;
    let outcome = runtime.block_on(async {
        // Before the start, which may take a while: a signal of that time must not end the process half-way.
        let mut stop = StopSignals::listen()?;
        let mut hangup = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
        let context = Context::new(name, Clock::System)?;
        let outcome = tokio::select! {
            signal = stop.next() => {
                tracing::info!(signal, "stopping before the start was complete");
                Ok(())
            }
            started = start(&context) => match started {
                Ok(()) => {
                    tracing::info!(version = env!("CARGO_PKG_VERSION"), pid = std::process::id(), "{name} is up");
                    Notifier::from_environment().ready(&context);
                    wait_for_stop(&context, &mut stop, &mut hangup).await
                }
                failed => failed,
            },
        };
        Notifier::from_environment().tell("STOPPING=1");
        tokio::select! {
            () = context.stop() => outcome,
            _ = stop.next() => Err(anyhow::anyhow!("stopped at once: a second signal came while stopping")),
        }
    });
    // Blocking work that is still running must not hold the process.
    runtime.shutdown_background();
    outcome
}

async fn wait_for_stop(
    context: &Context,
    stop: &mut StopSignals,
    hangup: &mut Signal,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            signal = stop.next() => {
                tracing::info!(signal, "stopping");
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

struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("listen for SIGINT")?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::{Signal, raise};

    use super::*;
    use crate::args::LogFormat;

    #[test]
    fn signals_during_the_start_are_obeyed_in_order() {
        let args = CommonArgs { config: None, log: "off".to_owned(), log_format: LogFormat::Text };
        let outcome = try_run("test", RuntimeKind::CurrentThread, &args, async |_: &Context| {
            // Without a handler this one would end the process.
            raise(Signal::SIGHUP)?;
            raise(Signal::SIGTERM)?;
            std::future::pending().await
        });
        outcome.expect("it stopped in order");
    }
}
