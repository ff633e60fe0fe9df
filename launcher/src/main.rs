//! Becomes the agent: the release on trial, the last good one, or the package's.

use std::env;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{Write, stderr, stdout};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use launcher::choose::{Choice, Decision, Host, choose};
use launcher::crash;
use launcher::keys::{DEFAULT_FILE, Keys, KeysError};
use launcher::layout::Layout;
use launcher::moment::Moment;
use launcher::release::{Manifest, check, committed};
use launcher::state::{State, try_lock};

const HELP: &str = "\
Starts the agent: the release on trial, the last good one, or the one of the package.

Usage: saker-launcher [--base DIR] [--baseline FILE] [--keys FILE] [-- ARGUMENTS OF THE AGENT]

  --base DIR       the folder of releases and of state.json (/opt/saker/agent)
  --baseline FILE  the agent of the package (/usr/lib/saker/baseline/saker-agent)
  --keys FILE      public keys; when there are any, only signed releases are started
                   (/etc/saker/upgrade.keys)
";

/// How often the lock is tried before the launcher goes on without it: a command that hangs must not keep the
/// agent from starting.
const LOCK_TRIES: u32 = 40;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

struct Args {
    layout: Layout,
    keys: PathBuf,
    agent: Vec<OsString>,
}

fn main() -> ExitCode {
    let args = match parse(env::args_os().skip(1)) {
        Ok(Some(args)) => args,
        Ok(None) => return ExitCode::SUCCESS,
        Err(fault) => {
            say(fault);
            return ExitCode::from(2);
        }
    };
    say(launch(&args));
    ExitCode::FAILURE
}

fn parse(mut given: impl Iterator<Item = OsString>) -> Result<Option<Args>, String> {
    let mut args = Args { layout: Layout::default(), keys: DEFAULT_FILE.into(), agent: Vec::new() };
    while let Some(flag) = given.next() {
        let mut value = || given.next().map(PathBuf::from).ok_or("a flag has no value; see --help");
        match flag.to_str() {
            Some("--base") => args.layout.base = value()?,
            Some("--baseline") => args.layout.baseline = value()?,
            Some("--keys") => args.keys = value()?,
            Some("--") => {
                args.agent.extend(given);
                break;
            }
            Some("--help" | "-h") => return Ok(tell(HELP)),
            Some("--version" | "-V") => {
                return Ok(tell(concat!("saker-launcher ", env!("CARGO_PKG_VERSION"), "\n")));
            }
            _ => return Err(format!("unknown argument {}; see --help", flag.display())),
        }
    }
    Ok(Some(args))
}

// Nobody is left to tell when standard output is closed.
fn tell(text: &str) -> Option<Args> {
    let _ = stdout().write_all(text.as_bytes());
    None
}

fn say(text: impl Display) {
    let _ = writeln!(stderr(), "saker-launcher: {text}");
}

// Comes back only when nothing at all could be started.
fn launch(args: &Args) -> String {
    let keys = Keys::read(&args.keys);
    if let Err(error) = &keys {
        say(format_args!("no release is trusted: {error}"));
    }
    let mut broken: Vec<(String, String)> = Vec::new();
    loop {
        let decision = decide(args, &keys, &broken);
        for note in &decision.notes {
            say(note);
        }
        let Choice::Release(release) = &decision.choice else {
            let error = become_agent(args, None);
            return format!("cannot start {}: {error}", args.layout.baseline.display());
        };
        // A folder mounted noexec, or a file that is no program: the next choice goes on without it.
        let fault = format!("it cannot be started: {}", become_agent(args, Some(release)));
        broken.push((release.clone(), fault));
    }
}

fn decide(args: &Args, keys: &Result<Keys, KeysError>, broken: &[(String, String)]) -> Decision {
    let layout = &args.layout;
    let _lock = (0..LOCK_TRIES).find_map(|_| {
        try_lock(layout).or_else(|| {
            std::thread::sleep(LOCK_PAUSE);
            None
        })
    });
    let check = |release: &str| {
        if let Some((_, fault)) = broken.iter().find(|(name, _)| name == release) {
            return Err(fault.clone());
        }
        let keys = keys.as_ref().map_err(ToString::to_string)?;
        check(layout, release, keys).map(drop).map_err(|error| error.to_string())
    };
    let old = State::load(layout).inspect_err(|error| say(error)).ok();
    let baseline = layout.baseline_version();
    let committed = || committed(layout);
    let mut host = Host {
        now: Moment::now(),
        at_ms: at_ms(),
        baseline: baseline.as_deref(),
        check: &check,
        committed: &committed,
        can_save: true,
    };
    let decision = choose(old.clone(), &host);
    if old.as_ref() == Some(&decision.state) {
        return decision;
    }
    crash::point(layout, "launcher-before-state");
    let Err(error) = decision.state.save(layout) else {
        crash::point(layout, "launcher-after-state");
        return decision;
    };
    say(format_args!("starts cannot be counted, so nothing is tried: {error}"));
    host.can_save = false;
    choose(old, &host)
}

#[expect(clippy::disallowed_methods, reason = "the edge of this process; for the history only")]
fn at_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

// Comes back only with the reason why not.
fn become_agent(args: &Args, release: Option<&str>) -> String {
    let layout = &args.layout;
    let (mut command, overlay) = match release.map(|name| (name, Manifest::read(layout, name))) {
        None => (Command::new(&layout.baseline), None),
        Some((_, Err(error))) => return error.to_string(),
        Some((name, Ok(manifest))) => {
            let overlay = (!manifest.cfg_sha256.is_empty()).then(|| layout.cfg(name));
            (Command::new(manifest.program(layout, name)), overlay)
        }
    };
    command.args(&args.agent).env("SAKER_RELEASE", release.unwrap_or_default());
    match overlay {
        Some(file) => command.env("SAKER_OVERLAY", file),
        None => command.env_remove("SAKER_OVERLAY"),
    };
    command.exec().to_string()
}
