//! `saker-agent upgrade`: what an operator on the host sees and decides.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use daemon::Clock;
use launcher::layout::Layout;
use launcher::state::{End, Mark, Outcome, State};
use launcher::version::is_version;
use model::Timestamp;

use crate::config::Upgrade;
use crate::upgrade::Started;

/// Set by the launcher for the agent that it becomes.
#[derive(Debug, Clone, Default, Args)]
pub struct LaunchFlags {
    /// The release that runs; empty for the package's agent.
    #[arg(long, global = true, env = "SAKER_RELEASE", hide = true)]
    release: Option<String>,
    /// Settings of an upgrade, which go over the configuration.
    #[arg(long, global = true, env = "SAKER_OVERLAY", hide = true)]
    overlay: Option<PathBuf>,
}

impl LaunchFlags {
    /// How this process was started.
    pub fn started(&self, config: Option<PathBuf>) -> Started {
        Started { release: self.release.clone(), config }
    }

    /// The file that goes over the configuration.
    pub fn overlay(&self) -> Option<&PathBuf> {
        self.overlay.as_ref()
    }
}

/// What can be asked and told.
#[derive(Debug, Clone, Subcommand)]
pub enum UpgradeCommand {
    /// Show which release runs, what is on trial and what is pinned.
    Status,
    /// Follow only offers of this version from now on.
    Pin {
        /// The version, such as 7.1.0.
        version: String,
    },
    /// Follow offers of any version again.
    Unpin,
    /// Go back to the release before this one, at the next start of the agent.
    Rollback,
    /// Show how earlier upgrades ended.
    History,
}

impl UpgradeCommand {
    /// Does it, and returns what to print.
    ///
    /// # Errors
    /// When the state cannot be read or written, or the version is none.
    pub fn run(&self, config: &Upgrade) -> anyhow::Result<String> {
        let layout = Layout { base: config.dir.clone(), ..Layout::default() };
        match self {
            Self::Status => Ok(status(&State::load(&layout)?, config.enabled)),
            Self::Pin { version } => {
                ensure!(is_version(version), "{version:?} is not a version such as 7.1.0");
                let pinned = Some(version.clone());
                change(&layout, |state| state.pinned = pinned)?;
                Ok(format!("pinned to {version}: offers of other versions are refused\n"))
            }
            Self::Unpin => {
                change(&layout, |state| state.pinned = None)?;
                Ok("not pinned: offers of any version are followed\n".to_owned())
            }
            Self::Rollback => {
                let at_ms = Clock::System.now().millis();
                let mut text = String::new();
                change(&layout, |state| text = roll_back(state, at_ms))?;
                Ok(text)
            }
            Self::History => Ok(history(&State::load(&layout)?)),
        }
    }
}

fn change(layout: &Layout, change: impl FnOnce(&mut State)) -> anyhow::Result<State> {
    State::update(layout, change).with_context(|| {
        format!("change the state in {}; are you root or the agent's user?", layout.base.display())
    })
}

fn name(release: Option<&String>) -> &str {
    release.map_or("the agent of the package", String::as_str)
}

fn status(state: &State, is_enabled: bool) -> String {
    let mut lines = vec![
        ("upgrades", if is_enabled { "on" } else { "off (upgrade.enabled)" }.to_owned()),
        ("active", name(state.active.as_ref()).to_owned()),
        ("previous", name(state.previous.as_ref()).to_owned()),
        ("package", state.baseline.clone().unwrap_or_else(|| "unknown".to_owned())),
        ("pinned", state.pinned.clone().unwrap_or_else(|| "no".to_owned())),
    ];
    lines.push((
        "on trial",
        state.pending.as_ref().map_or("nothing".to_owned(), |pending| {
            let part = if pending.local_ok { "waits for hbs" } else { "local checks" };
            format!("{} ({part}, {} starts)", pending.release, pending.boots_total)
        }),
    ));
    for (what, marks) in [("bad", &state.bad), ("unproven", &state.unproven)] {
        lines.extend(marks.iter().map(|mark| (what, format!("{}: {}", mark.version, mark.reason))));
    }
    lines.into_iter().map(|(what, text)| format!("{what:<9} {text}\n")).collect()
}

fn history(state: &State) -> String {
    if state.history.is_empty() {
        return "no upgrade has ended on this host\n".to_owned();
    }
    state.history.iter().map(|outcome| format!("{}\n", Line(outcome))).collect()
}

struct Line<'a>(&'a Outcome);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { at_ms, version, end, reason, boots, .. } = self.0;
        let end = match end {
            End::Confirmed => "confirmed",
            End::Failed => "failed",
            End::RolledBack => "rolled back",
        };
        let at = Timestamp::from_millis(*at_ms).seconds();
        write!(f, "{at} {version} {end}, {boots} starts")?;
        if reason.is_empty() { Ok(()) } else { write!(f, ": {reason}") }
    }
}

const BY_HAND: &str = "rolled back by hand";
const RESTART: &str = "restart the agent to make it so: systemctl restart saker-agent\n";

// The version is marked as bad, so that the rollout that brought it does not bring it again.
fn roll_back(state: &mut State, at_ms: i64) -> String {
    if let Some(pending) = state.pending.clone() {
        state.roll_back(BY_HAND, true, at_ms);
        return format!("the trial of {} is over; {RESTART}", pending.release);
    }
    let Some(active) = state.active.take() else {
        return "the agent of the package runs; there is nothing to go back to\n".to_owned();
    };
    let version = active.split('~').next().unwrap_or(&active).to_owned();
    let brought = state.history.iter().rev().find(|outcome| outcome.version == version);
    let rollout = brought.map(|outcome| outcome.rollout.clone()).unwrap_or_default();
    let reason = BY_HAND.to_owned();
    state.active = state.previous.take();
    state.bad.push(Mark { version: version.clone(), md5: String::new(), reason: reason.clone() });
    let end = End::RolledBack;
    state.remember(Outcome { at_ms, rollout, version, end, reason, boots: 0, bytes: 0 });
    format!("from {active} to {}; {RESTART}", name(state.active.as_ref()))
}

#[cfg(test)]
mod tests {
    use launcher::state::Pending;

    use super::*;

    fn config(dir: &tempfile::TempDir) -> Upgrade {
        Upgrade { dir: dir.path().to_owned(), ..Upgrade::default() }
    }

    fn load(config: &Upgrade) -> State {
        State::load(&Layout { base: config.dir.clone(), ..Layout::default() }).unwrap()
    }

    #[test]
    fn a_pin_is_set_and_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(&dir);
        let pin = |version: &str| UpgradeCommand::Pin { version: version.to_owned() };
        assert!(pin("7.0").run(&config).unwrap().starts_with("pinned to 7.0"));
        assert_eq!(load(&config).pinned.as_deref(), Some("7.0"));
        let told = UpgradeCommand::Status.run(&config).unwrap();
        assert!(told.contains("pinned    7.0\n"), "{told}");
        assert!(pin("../x").run(&config).is_err());
        UpgradeCommand::Unpin.run(&config).unwrap();
        assert_eq!(load(&config).pinned, None);
    }

    #[test]
    fn going_back_by_hand_is_final_for_that_version() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(&dir);
        let layout = Layout { base: config.dir.clone(), ..Layout::default() };
        let release = |name: &str| Pending {
            release: name.to_owned(),
            version: name.to_owned(),
            rollout: format!("to {name}"),
            ..Pending::default()
        };
        State::update(&layout, |state| {
            state.begin(release("7.0"));
            state.commit(1);
            state.begin(release("7.1"));
            state.commit(2);
        })
        .unwrap();
        let told = UpgradeCommand::Rollback.run(&config).unwrap();
        assert!(told.starts_with("from 7.1 to 7.0; restart"), "{told}");
        let state = load(&config);
        assert_eq!((state.active.as_deref(), state.previous.as_deref()), (Some("7.0"), None));
        assert!(state.bad_mark("7.1", "any").is_some());
        assert_eq!(state.history[2].rollout, "to 7.1");
        let told = UpgradeCommand::Rollback.run(&config).unwrap();
        assert!(told.starts_with("from 7.0 to the agent of the package"), "{told}");
        let told = UpgradeCommand::Rollback.run(&config).unwrap();
        assert!(told.contains("nothing to go back to"), "{told}");
        let told = UpgradeCommand::History.run(&config).unwrap();
        assert!(told.contains("7.1 rolled back, 0 starts: rolled back by hand"), "{told}");
    }

    #[test]
    fn a_trial_can_be_ended_by_hand() {
        let mut state = State { active: Some("7.0".to_owned()), ..State::default() };
        state.begin(Pending { release: "7.1".to_owned(), ..Pending::default() });
        assert!(roll_back(&mut state, 1).starts_with("the trial of 7.1 is over"));
        assert_eq!((state.pending, state.active.as_deref()), (None, Some("7.0")));
    }
}
