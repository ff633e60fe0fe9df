//! Every way an upgrade can go, walked through: power cuts and a full disk between any two steps, and every kind
//! of new release. The launcher's choice and the agent's steps are the real ones.

use std::collections::{HashMap, HashSet};

use launcher::choose::{Choice, Host, choose};
use launcher::moment::Moment;
use launcher::state::{Pending, State};
use saker_agent::upgrade::trial::{Facts, Step, apply, step};

const OLD: &str = "7.0";
const NEW: &str = "7.1";
const POWER_CUTS: u8 = 4;
const FULL_DISKS: u8 = 2;
const SOAK: u64 = 1;
const LOCAL: u64 = 3;
const CONTACT: u64 = 2;

/// What the new release is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Good,
    CrashesAtStart,
    CrashesLater,
    CrashesAfterLocalOk,
    Hangs,
    NeverMeetsHbs,
    CorruptOnDisk,
    /// Anything may happen at any moment.
    Fickle,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Good,
        Self::CrashesAtStart,
        Self::CrashesLater,
        Self::CrashesAfterLocalOk,
        Self::Hangs,
        Self::NeverMeetsHbs,
        Self::CorruptOnDisk,
        Self::Fickle,
    ];

    fn may_commit(self) -> bool {
        matches!(self, Self::Good | Self::Fickle)
    }

    fn may_crash(self, local_ok: bool) -> bool {
        match self {
            Self::CrashesAtStart | Self::CrashesLater | Self::Fickle => true,
            Self::CrashesAfterLocalOk => local_ok,
            _ => false,
        }
    }

    fn may_pass_local(self) -> bool {
        matches!(self, Self::Good | Self::CrashesAfterLocalOk | Self::NeverMeetsHbs | Self::Fickle)
    }

    // One that crashes or hangs does not wait for its deadline.
    fn may_wait(self, local_ok: bool) -> bool {
        match self {
            Self::CrashesAtStart | Self::CrashesLater | Self::Hangs => false,
            Self::CrashesAfterLocalOk => !local_ok,
            _ => true,
        }
    }
}

/// What runs on the host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Process {
    Off,
    Launcher,
    /// It has chosen and has yet to write the state.
    Chosen(Option<String>, String),
    /// It has written the state and has yet to become the agent.
    Written(Option<String>),
    /// The old agent, with how many steps of the upgrade it has done.
    Old(u8),
    New {
        since: u64,
        contact: bool,
    },
    Baseline,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    kind: Kind,
    /// The text of `state.json`.
    file: String,
    new_is_there: bool,
    process: Process,
    now: u64,
    boot: u8,
    power_cuts: u8,
    full_disks: u8,
    /// Starts of the new release before and after its local checks.
    starts: (u8, u8),
}

impl World {
    fn new(kind: Kind) -> Self {
        let state = State { active: Some(OLD.to_owned()), ..State::default() };
        Self {
            kind,
            file: serde_json::to_string(&state).unwrap(),
            new_is_there: false,
            process: Process::Off,
            now: 0,
            boot: 0,
            power_cuts: 0,
            full_disks: 0,
            starts: (0, 0),
        }
    }

    fn state(&self) -> State {
        serde_json::from_str(&self.file).unwrap()
    }

    fn moment(&self) -> Moment {
        Moment { boot_id: self.boot.to_string(), up_ms: self.now }
    }

    fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut next = self.clone();
        change(&mut next);
        next
    }

    fn becomes(&self, process: Process) -> Self {
        self.with(|next| next.process = process)
    }

    fn saves(&self, state: &State, process: Process) -> Self {
        self.with(|next| {
            next.file = serde_json::to_string(state).unwrap();
            next.process = process;
        })
    }

    fn is_settled(&self) -> bool {
        let state = self.state();
        let is_new = matches!(self.process, Process::New { .. });
        let is_old = matches!(self.process, Process::Old(_)) && !state.history.is_empty();
        state.pending.is_none() && (is_new || is_old)
    }

    /// What comes next when the power stays on.
    fn next(&self) -> Vec<Self> {
        match &self.process {
            Process::Off => vec![self.becomes(Process::Launcher)],
            Process::Launcher => self.choices(),
            Process::Chosen(choice, file) => vec![self.with(|next| {
                next.file.clone_from(file);
                next.process = Process::Written(choice.clone());
            })],
            Process::Written(choice) => vec![self.started(choice.as_deref())],
            Process::Old(steps) => self.old_agent(*steps),
            Process::New { since, contact } => self.new_agent(*since, *contact),
            Process::Baseline => Vec::new(),
        }
    }

    fn choices(&self) -> Vec<Self> {
        let decide = |can_save| {
            let check = |release: &str| match release {
                OLD => Ok(()),
                NEW if self.new_is_there && self.kind != Kind::CorruptOnDisk => Ok(()),
                _ => Err("damaged".to_owned()),
            };
            let host = Host {
                now: self.moment(),
                at_ms: 0,
                baseline: None,
                check: &check,
                committed: &Vec::new,
                can_save,
            };
            let decision = choose(Some(self.state()), &host);
            let choice = match decision.choice {
                Choice::Release(release) => Some(release),
                Choice::Baseline => None,
            };
            (choice, serde_json::to_string(&decision.state).unwrap())
        };
        let (choice, file) = decide(true);
        let mut next = vec![self.becomes(Process::Chosen(choice, file))];
        if self.full_disks < FULL_DISKS {
            let (choice, _) = decide(false);
            next.push(self.with(|next| {
                next.full_disks += 1;
                next.process = Process::Written(choice);
            }));
        }
        next
    }

    fn started(&self, choice: Option<&str>) -> Self {
        match choice {
            Some(NEW) => self.with(|next| {
                match self.state().pending.as_ref().map(|pending| pending.local_ok) {
                    Some(false) => next.starts.0 += 1,
                    Some(true) => next.starts.1 += 1,
                    None => {}
                }
                next.process = Process::New { since: self.now, contact: false };
            }),
            Some(_) => self.becomes(Process::Old(0)),
            None => self.becomes(Process::Baseline),
        }
    }

    // Fetching and checking; the release's folder in its place; the state; the end of the process.
    fn old_agent(&self, steps: u8) -> Vec<Self> {
        let mut state = self.state();
        if steps == 0 && state.pending.is_some() {
            let facts = self.facts(OLD, 0, false);
            let step = step(&state, &facts);
            assert_eq!(step, Step::NotStarted);
            apply(step, &mut state, &facts);
            return vec![self.saves(&state, Process::Old(0))];
        }
        match steps {
            _ if steps < 3 && !state.history.is_empty() => Vec::new(),
            0 => vec![self.becomes(Process::Old(1))],
            1 => vec![self.with(|next| {
                next.new_is_there = true;
                next.process = Process::Old(2);
            })],
            2 => {
                state.begin(Pending {
                    release: NEW.to_owned(),
                    version: NEW.to_owned(),
                    local_ms: LOCAL,
                    contact_ms: CONTACT,
                    ..Pending::default()
                });
                vec![self.saves(&state, Process::Old(3))]
            }
            _ => vec![self.becomes(Process::Launcher)],
        }
    }

    fn new_agent(&self, since: u64, contact: bool) -> Vec<Self> {
        let mut state = self.state();
        let Some(local_ok) = state.pending.as_ref().map(|pending| pending.local_ok) else {
            return Vec::new();
        };
        let mut next = Vec::new();
        // A hang ends by the watchdog.
        if self.kind.may_crash(local_ok) || self.kind == Kind::Hangs {
            next.push(self.becomes(Process::Launcher));
        }
        if self.kind == Kind::CrashesAtStart || self.kind == Kind::Hangs {
            return next;
        }
        if self.kind.may_commit() && !contact {
            next.push(self.becomes(Process::New { since, contact: true }));
            // A good release meets hbs at once; a fickle one perhaps never.
            if self.kind == Kind::Good {
                return next;
            }
        }
        let facts = self.facts(NEW, since, contact);
        match step(&state, &facts) {
            Step::End => next.push(self.becomes(Process::Launcher)),
            Step::LocalOk if !self.kind.may_pass_local() => {}
            Step::Wait if self.kind.may_wait(local_ok) => {
                next.push(self.with(|next| next.now += 1));
            }
            Step::Wait => {}
            step => {
                apply(step, &mut state, &facts);
                next.push(self.saves(&state, Process::New { since, contact }));
            }
        }
        next
    }

    fn facts(&self, release: &str, since: u64, contact: bool) -> Facts {
        Facts {
            release: release.to_owned(),
            now: self.moment(),
            up_since_ms: since,
            soak_ms: SOAK,
            has_collected: true,
            has_contact: contact,
            at_ms: 0,
        }
    }

    fn power_cut(&self) -> Option<Self> {
        (self.power_cuts < POWER_CUTS && self.process != Process::Off).then(|| {
            self.with(|next| {
                next.power_cuts += 1;
                next.boot += 1;
                next.now = 0;
                next.process = Process::Off;
            })
        })
    }

    /// Why no host may ever be in this world.
    fn fault(&self) -> Option<&'static str> {
        let state = self.state();
        if self.process == Process::Baseline {
            return Some("the last good release was given up");
        }
        let runs_new = matches!(self.process, Process::New { .. });
        if runs_new && (!self.new_is_there || self.kind == Kind::CorruptOnDisk) {
            return Some("a damaged release was started");
        }
        if state.active.as_deref() == Some(NEW) && !self.kind.may_commit() {
            return Some("a bad release was kept");
        }
        if self.starts.0 > 3 || self.starts.1 > 3 {
            return Some("a release was started too often");
        }
        None
    }
}

/// All worlds that can come, with their successors while the power stays on.
fn explore(kind: Kind) -> HashMap<World, Vec<World>> {
    let mut worlds = HashMap::new();
    let mut open = vec![World::new(kind)];
    while let Some(world) = open.pop() {
        if worlds.contains_key(&world) {
            continue;
        }
        assert_eq!(world.fault(), None, "{world:#?}");
        let next = world.next();
        open.extend(next.iter().cloned());
        open.extend(world.power_cut());
        worlds.insert(world, next);
    }
    worlds
}

/// A world from which a host may never settle: an unsettled one without a successor, or one on a circle.
fn stuck(worlds: &HashMap<World, Vec<World>>) -> Option<&World> {
    let dead_end = worlds.iter().find(|(world, next)| next.is_empty() && !world.is_settled());
    if let Some((world, _)) = dead_end {
        return Some(world);
    }
    // Worlds are taken away once all their successors are: what remains lies on or before a circle.
    let mut before: HashMap<&World, Vec<&World>> = HashMap::new();
    let mut left: HashMap<&World, usize> = HashMap::new();
    for (world, next) in worlds {
        left.insert(world, next.len());
        for successor in next {
            before.entry(successor).or_default().push(world);
        }
    }
    let mut ends: Vec<_> =
        left.iter().filter(|(_, count)| **count == 0).map(|(world, _)| *world).collect();
    while let Some(end) = ends.pop() {
        left.remove(end);
        for world in before.get(end).into_iter().flatten() {
            let count = left.get_mut(world).unwrap();
            *count -= 1;
            if *count == 0 {
                ends.push(world);
            }
        }
    }
    left.into_keys().next()
}

#[test]
fn no_power_cut_and_no_new_release_leaves_a_host_without_a_working_agent() {
    let mut count = 0;
    for kind in Kind::ALL {
        let worlds = explore(kind);
        assert_eq!(stuck(&worlds), None);
        count += worlds.len();
    }
    assert!(count > 5_000, "only {count} worlds were seen");
}

#[test]
fn a_good_release_is_kept_and_a_bad_one_is_not() {
    for kind in Kind::ALL {
        let worlds = explore(kind);
        let settled = worlds.keys().filter(|world| world.is_settled() && world.power_cuts == 0);
        let kept: HashSet<_> = settled
            .filter(|world| world.full_disks == 0)
            .map(|world| world.state().active.unwrap())
            .collect();
        let expected: &[&str] = match kind {
            Kind::Good => &[NEW],
            Kind::Fickle => &[OLD, NEW],
            _ => &[OLD],
        };
        assert_eq!(kept, expected.iter().map(|name| (*name).to_owned()).collect(), "{kind:?}");
    }
}

#[test]
fn the_bounds_of_starts_are_reached_and_so_are_tight() {
    let most = |kind| {
        let worlds = explore(kind);
        let total = |world: &World| world.starts.0 + world.starts.1;
        worlds.keys().map(total).max().unwrap()
    };
    assert_eq!(most(Kind::CrashesAtStart), 3);
    assert_eq!(most(Kind::CorruptOnDisk), 0);
    assert!(most(Kind::Fickle) == 6 && most(Kind::CrashesAfterLocalOk) <= 6);
}
