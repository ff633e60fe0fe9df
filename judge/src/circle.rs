//! What a judge knows of the others and of the groups it holds, and what it makes of that. Pure; `shard` does it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use model::Timestamp;
use state::{CircleMember, CircleView, ShareRow, Work};
use tokio::time::Instant;

use crate::balance::{self, Loads};
use crate::rules::{GroupKey, RuleSet};
use crate::shard::{Arrival, Leave, state_name};

/// After a judge came, went or gave groups away, nobody gives any for this many looks: what is seen lags behind.
const STEADY_LOOKS: u32 = 3;
/// A group that stays free for this many looks is taken by anybody: the judge that should have it does not know it, or
/// cannot take it.
const FREE_LOOKS_MAX: u32 = 3;
/// What a group counts at least, in microseconds a second: cheap ones are told apart by nothing but the noise of the
/// measurement, and are shared out by number.
const COST_MIN: u64 = 1_000;

/// What a judge says of itself: what its groups cost, in microseconds a second, and whether it takes any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Report {
    cost: u64,
    is_idle: bool,
}

/// The circle as this judge sees it.
#[derive(Debug, Default)]
pub(crate) struct Circle {
    /// When it last looked, by both clocks.
    pub(crate) looked: Option<(Timestamp, Instant)>,
    /// Version of the shares.
    pub(crate) version: i64,
    /// Groups that came and that the scheduler does not know of yet.
    pub(crate) arrivals: Vec<Arrival>,
    /// Groups that went and whose alerts may still be in the outboxes.
    pub(crate) departures: Vec<GroupKey>,
    /// Why it evaluates nothing.
    pub(crate) hindrance: Option<String>,
    held: HashMap<GroupKey, Held>,
    members: Vec<CircleMember>,
    is_settling: bool,
    /// Shares as the shared state has them, by name.
    shares: HashMap<String, ShareRow>,
    known: Arc<RuleSet>,
    /// Known groups by the names of their shares.
    names: BTreeMap<String, GroupKey>,
    free_looks: HashMap<String, u32>,
    steady_looks: u32,
    /// Held, but no longer there: the shared state has lost its memory.
    missing: Vec<(String, i64, Work)>,
}

#[derive(Debug)]
struct Held {
    fencing: i64,
    work: Work,
    is_busy: bool,
}

/// What is to be done.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    /// Shares to ask for, with the number under which they were held.
    pub(crate) takes: Vec<(String, i64, Work)>,
    /// Groups to give back.
    pub(crate) gives: Vec<GroupKey>,
}

/// A slot that is to begin.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) leave: Leave,
    pub(crate) work: Work,
    /// No other judge is there that could begin it.
    pub(crate) is_alone: bool,
}

impl Circle {
    /// What the others are told.
    pub(crate) fn report(&self) -> Report {
        let cost = self.held.values().map(|held| self.cost_of(&held.work)).sum();
        Report { cost, is_idle: self.hindrance.is_some() }
    }

    /// Whether the group was among the known ones at the last look.
    pub(crate) fn has_considered(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// Asks for all shares at the next look.
    pub(crate) fn forget_version(&mut self) {
        self.version = 0;
    }

    /// How many groups are held.
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether a group is held.
    pub(crate) fn holds(&self, key: &GroupKey) -> bool {
        self.held.contains_key(key)
    }

    /// The groups that are held.
    pub(crate) fn held(&self) -> Vec<GroupKey> {
        self.held.keys().cloned().collect()
    }

    /// Takes in what was seen.
    pub(crate) fn see(&mut self, view: CircleView, rules: &Arc<RuleSet>, me: (&str, i64)) {
        let names = |members: &[CircleMember]| -> Vec<(String, i64)> {
            members.iter().map(|one| (one.name.clone(), one.incarnation)).collect()
        };
        let is_steady = names(&self.members) == names(&view.members) && !view.is_settling;
        self.steady_looks = if is_steady { self.steady_looks + 1 } else { 0 };
        (self.members, self.is_settling) = (view.members, view.is_settling);
        if !Arc::ptr_eq(&self.known, rules) {
            self.known = rules.clone();
            self.names = rules.keys().map(|key| (state_name(key), key.clone())).collect();
        }
        self.missing.clear();
        let Some(shares) = view.shares else { return };
        self.version = view.version;
        self.shares = shares.into_iter().map(|share| (share.name.clone(), share)).collect();
        let held: Vec<GroupKey> = self.held();
        for key in held {
            let name = state_name(&key);
            match self.shares.get(&name) {
                Some(share) if is_of(share, me) => {}
                Some(_) => drop(self.drop_held(&key)),
                None => {
                    let held = &self.held[&key];
                    self.missing.push((name, held.fencing, held.work));
                }
            }
        }
        let own = self.shares.values().filter(|share| is_of(share, me)).cloned().collect();
        self.taken(own);
    }

    /// What is to be done about what was seen. `skew` is how far this judge's clock is off, when that is too far.
    pub(crate) fn plan(&mut self, me: &str, skew: Option<Duration>) -> Moves {
        self.hindrance = skew.filter(|_| self.members.len() > 1).map(|skew| {
            let seconds = skew.as_secs();
            format!("the clock differs by {seconds} s from that of the shared state; the other judges evaluate")
        });
        if self.hindrance.is_some() {
            return Moves { takes: Vec::new(), gives: self.idle() };
        }
        let mut takes = self.missing.clone();
        let loads = self.loads(me);
        takes.extend(self.free(me, &loads).into_iter().map(|name| (name, 0, Work::default())));
        let gives = match self.steady_looks >= STEADY_LOOKS && takes.is_empty() {
            true => self.surplus(me, &loads),
            false => Vec::new(),
        };
        if !gives.is_empty() {
            self.steady_looks = 0;
        }
        Moves { takes, gives }
    }

    /// A later start of this judge is there.
    pub(crate) fn superseded(&mut self, me: &str) {
        for key in self.held() {
            self.drop_held(&key);
        }
        (self.looked, self.version) = (None, 0);
        self.hindrance = Some(format!(
            "another judge calls itself {me:?}: give each a name of its own (judge.instance)"
        ));
    }

    /// These are this judge's own.
    pub(crate) fn taken(&mut self, shares: Vec<ShareRow>) {
        for share in shares {
            let Some(key) = self.names.get(&share.name) else { continue };
            let held = self.held.get_mut(key);
            if held.as_ref().is_some_and(|held| held.fencing == share.fencing) {
                continue;
            }
            let is_busy = held.is_some_and(|held| held.is_busy);
            let (fencing, work) = (share.fencing, share.work);
            let key = key.clone();
            self.departures.retain(|gone| *gone != key);
            self.arrivals.push((key.clone(), work.turn.map(Timestamp)));
            self.held.insert(key, Held { fencing, work, is_busy });
            self.shares.insert(share.name.clone(), share);
        }
    }

    /// Begins a slot; `None` when the group is another judge's, or this one evaluates nothing.
    pub(crate) fn begin(
        &mut self,
        key: &GroupKey,
        slot: Timestamp,
        succeeded: Option<Timestamp>,
    ) -> Option<Turn> {
        if self.hindrance.is_some() {
            return None;
        }
        let is_alone = self.members.len() < 2;
        let held = self.held.get_mut(key)?;
        if held.work.turn == Some(slot.millis()) {
            return None;
        }
        let before = held.work.succeeded.map(Timestamp);
        held.is_busy = true;
        let succeeded = succeeded.max(before).map(Timestamp::millis);
        let work = Work { turn: Some(slot.millis()), succeeded, ..held.work };
        let fencing = held.fencing.unsigned_abs();
        Some(Turn { leave: Leave { fencing, succeeded: before }, work, is_alone })
    }

    /// Begins a look between the slots, if the group is held; answers its number.
    pub(crate) fn begin_between(&mut self, key: &GroupKey) -> Option<u64> {
        let held = self.held.get_mut(key).filter(|_| self.hindrance.is_none())?;
        held.is_busy = true;
        Some(held.fencing.unsigned_abs())
    }

    /// The slot has begun.
    pub(crate) fn begun(&mut self, key: &GroupKey, work: Work) {
        if let Some(held) = self.held.get_mut(key) {
            (held.work.turn, held.work.succeeded) = (work.turn, work.succeeded);
        }
    }

    /// A slot is done; with what it took and how often it happens.
    pub(crate) fn finish(&mut self, key: &GroupKey, took: Option<(Duration, Duration)>) {
        let Some(held) = self.held.get_mut(key) else { return };
        held.is_busy = false;
        if let Some((took, interval)) = took {
            let cost = took.as_micros() * 1000 / interval.as_millis().max(1);
            let cost = i64::try_from(cost).unwrap_or(i64::MAX / 8).max(1);
            // One slow moment moves no group.
            held.work.cost = match held.work.cost {
                0 => cost,
                before => (before.saturating_mul(3) + cost) / 4,
            };
        }
    }

    /// The group is no longer this judge's; answers how far its work has come.
    pub(crate) fn drop_held(&mut self, key: &GroupKey) -> Option<Work> {
        let held = self.held.remove(key)?;
        self.arrivals.retain(|(arrived, _)| arrived != key);
        self.departures.push(key.clone());
        Some(held.work)
    }

    fn cost_of(&self, work: &Work) -> u64 {
        u64::try_from(work.cost).unwrap_or(0).max(COST_MIN)
    }

    /// Held groups that are not being evaluated.
    fn idle(&self) -> Vec<GroupKey> {
        self.held.iter().filter(|(_, held)| !held.is_busy).map(|(key, _)| key.clone()).collect()
    }

    /// What the judges hold that take groups; of this one it is known exactly.
    fn loads(&self, me: &str) -> Loads {
        let reported = |member: &CircleMember| {
            let report = Report::parse(&member.report);
            report.filter(|report| !report.is_idle).map(|report| (member.name.clone(), report.cost))
        };
        let mut loads: Loads = self.members.iter().filter_map(reported).collect();
        loads.insert(me.to_owned(), self.report().cost);
        loads
    }

    /// Free groups that this judge is to take.
    fn free(&mut self, me: &str, loads: &Loads) -> Vec<String> {
        let alive: HashMap<&str, i64> =
            self.members.iter().map(|one| (one.name.as_str(), one.incarnation)).collect();
        let is_free = |name: &str| {
            self.shares.get(name).is_none_or(|share| {
                let is_gone = alive.get(share.holder.as_str()) != Some(&share.incarnation);
                share.holder.is_empty() || (is_gone && (share.holder == me || !self.is_settling))
            })
        };
        let is_held = |key: &GroupKey| self.held.contains_key(key);
        let free: Vec<(&str, u64)> = self
            .names
            .iter()
            .filter(|(name, key)| !is_held(key) && is_free(name))
            .map(|(name, _)| {
                let work = self.shares.get(name).map(|share| share.work).unwrap_or_default();
                (name.as_str(), self.cost_of(&work))
            })
            .collect();
        let mut looks = HashMap::new();
        for (name, _) in &free {
            let before = self.free_looks.get(*name).copied().unwrap_or(0);
            looks.insert((*name).to_owned(), before + 1);
        }
        let overdue = looks.iter().filter(|(_, looks)| **looks > FREE_LOOKS_MAX);
        let mut mine: Vec<String> = overdue.map(|(name, _)| name.clone()).collect();
        mine.extend(balance::takes(me, loads, free).into_iter().map(str::to_owned));
        mine.sort_unstable();
        mine.dedup();
        self.free_looks = looks;
        mine
    }

    /// Held groups that others should have.
    fn surplus(&self, me: &str, loads: &Loads) -> Vec<GroupKey> {
        let names: Vec<(String, &GroupKey, u64)> = self
            .held
            .iter()
            .filter(|(key, held)| !held.is_busy && self.known.contains_key(*key))
            .map(|(key, held)| (state_name(key), key, self.cost_of(&held.work)))
            .collect();
        let mine = names.iter().map(|(name, _, cost)| (name.as_str(), *cost)).collect();
        let gives = balance::gives(me, loads, mine);
        gives.into_iter().filter_map(|name| self.names.get(name)).cloned().collect()
    }
}

impl Report {
    fn parse(text: &str) -> Option<Self> {
        let (cost, word) = text.split_once(' ')?;
        Some(Self { cost: cost.parse().ok()?, is_idle: word == "idle" })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.cost, if self.is_idle { "idle" } else { "works" })
    }
}

fn is_of(share: &ShareRow, (name, incarnation): (&str, i64)) -> bool {
    share.holder == name && share.incarnation == incarnation
}
