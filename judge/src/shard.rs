//! Which groups this judge speaks for. Any number of judges share the rules: each renews one membership in shared
//! state and sees with the same call who else is there; each group is a share that one of them holds.
//!
//! What may be done is known in two ways. The shared state decides who begins which slot. After that a judge goes by
//! its own clocks: it speaks for its groups for one lease time after it last looked, and whoever was stopped for longer
//! looks before it writes or tells anything.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use daemon::Clock;
use model::Timestamp;
use state::{Attendance, Membership, State, StateError, TurnAnswer, Want, Work};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use crate::circle::{Circle, Moves};
use crate::rules::{GroupKey, RuleSet};

/// What the judges' circle is called in shared state.
const CIRCLE: &str = "judge";
/// Names in shared state have at most 190 bytes.
const NAME_BYTES_MAX: usize = 150;
/// A judge looks this many times in a lease time.
const LOOKS_PER_LEASE: u32 = 5;
/// Shares taken or given with one call.
const SHARES_PER_CALL: usize = 500;

/// The part of this judge.
#[derive(Debug)]
pub(crate) struct Shard {
    state: State,
    clock: Clock,
    member: String,
    incarnation: i64,
    lease: Duration,
    rules: watch::Receiver<Arc<RuleSet>>,
    circle: Mutex<Circle>,
    /// One look at a time.
    looking: tokio::sync::Mutex<()>,
    arrived: Notify,
}

/// A group that this judge has just taken, and the last slot that was begun of it if that is known.
pub(crate) type Arrival = (GroupKey, Option<Timestamp>);

/// Leave to evaluate a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leave {
    /// The number that writes of the group's document carry.
    pub(crate) fencing: u64,
    /// The last slot in which all rules of the group succeeded, as its holder before told.
    pub(crate) succeeded: Option<Timestamp>,
}

impl Shard {
    /// Without groups yet.
    pub(crate) fn new(
        state: State,
        clock: Clock,
        member: String,
        lease: Duration,
        rules: watch::Receiver<Arc<RuleSet>>,
    ) -> Self {
        Self {
            incarnation: clock.now().millis(),
            state,
            clock,
            member,
            lease,
            rules,
            circle: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
            arrived: Notify::new(),
        }
    }

    /// What this judge is called among the others.
    pub(crate) fn member(&self) -> &str {
        &self.member
    }

    /// How long to wait from one look to the next.
    pub(crate) fn pause(&self) -> Duration {
        self.lease / LOOKS_PER_LEASE
    }

    /// Whether this judge still speaks for what it holds, by both clocks: the wall clock may be set, and the other one
    /// stands while the machine sleeps.
    pub(crate) fn stands(&self) -> bool {
        let Some((wall, instant)) = self.circle().looked else { return false };
        let now = self.clock.now();
        let (by_wall, by_instant) = (now.since(wall), instant.elapsed());
        let drift = by_wall.abs_diff(by_instant).max(wall.since(now));
        by_wall < self.lease && by_instant < self.lease && drift < self.lease / 2
    }

    /// Looks who is there, takes what falls to this judge and gives away what should be another's.
    pub(crate) async fn look(&self) -> Result<(), StateError> {
        let _turn = self.looking.lock().await;
        self.look_once().await
    }

    /// Leave to evaluate a slot of a group; `None` when another judge speaks for it. [`Shard::finish`] must follow.
    pub(crate) async fn begin(
        &self,
        key: &GroupKey,
        slot: Timestamp,
        succeeded: Option<Timestamp>,
    ) -> Result<Option<Leave>, StateError> {
        if !self.stands() || !self.circle().has_considered(&state_name(key)) {
            self.look().await?;
        } else if !self.circle().holds(key) {
            // It may just be coming.
            drop(self.looking.lock().await);
        }
        // The second time after the shared state has lost its memory.
        for _ in 0..2 {
            let Some(turn) = self.circle().begin(key, slot, succeeded) else { return Ok(None) };
            if turn.is_alone {
                self.circle().begun(key, turn.work);
                return Ok(Some(turn.leave));
            }
            let turns = [(&*state_name(key), turn.work)];
            let answers = self.state.begin_turns(self.who(), &turns, self.clock.now()).await;
            match answers.as_deref() {
                Ok([TurnAnswer::Yours]) => {
                    self.circle().begun(key, turn.work);
                    return Ok(Some(turn.leave));
                }
                Ok([TurnAnswer::NotYours]) => {
                    self.finish(key, None);
                    self.circle().forget_version();
                    self.look().await?;
                    return Ok(None);
                }
                Ok(_) => {
                    self.finish(key, None);
                    self.circle().forget_version();
                    self.look().await?;
                }
                Err(_) => {
                    self.finish(key, None);
                    return answers.map(|_| None);
                }
            }
        }
        Ok(None)
    }

    /// Leave to look at a group between its slots: the number of the share, or `None` when this judge is not known
    /// to hold it. Nobody is asked, since such a look stores its findings under the number or not at all.
    /// [`Shard::finish`] must follow.
    pub(crate) fn begin_between(&self, key: &GroupKey) -> Option<u64> {
        if !self.stands() {
            return None;
        }
        self.circle().begin_between(key)
    }

    /// The slot is done; with what the evaluation took and how often it happens.
    pub(crate) fn finish(&self, key: &GroupKey, took: Option<(Duration, Duration)>) {
        self.circle().finish(key, took);
    }

    /// Forgets a group without giving it back: somebody else has it.
    pub(crate) fn lost(&self, key: &GroupKey) {
        self.circle().drop_held(key);
        self.circle().forget_version();
    }

    /// Removes a group that is no more.
    pub(crate) async fn remove(&self, key: &GroupKey) -> Result<(), StateError> {
        self.circle().drop_held(key);
        self.state.remove_share(self.who(), &state_name(key)).await
    }

    /// Gives all groups to the others and leaves.
    pub(crate) async fn leave(&self) -> Result<(), StateError> {
        let _turn = self.looking.lock().await;
        let held = self.circle().held();
        self.give(held).await?;
        self.state.leave_circle(self.who()).await
    }

    /// How many groups this judge speaks for.
    pub(crate) fn len(&self) -> usize {
        self.circle().len()
    }

    /// The groups that it no longer speaks for since the last time this was asked.
    pub(crate) fn departures(&self) -> Vec<GroupKey> {
        std::mem::take(&mut self.circle().departures)
    }

    /// Waits for groups that come to this judge.
    pub(crate) async fn arrivals(&self) -> Vec<Arrival> {
        loop {
            let arrivals = std::mem::take(&mut self.circle().arrivals);
            if !arrivals.is_empty() {
                return arrivals;
            }
            self.arrived.notified().await;
        }
    }

    /// Why this judge evaluates nothing although it could, for `/-/ready`.
    pub(crate) fn hindrance(&self) -> Option<String> {
        self.circle().hindrance.clone()
    }

    async fn look_once(&self) -> Result<(), StateError> {
        let (wall, instant) = (self.clock.now(), Instant::now());
        let (report, seen) = {
            let circle = self.circle();
            (circle.report().to_string(), circle.version)
        };
        let how =
            Attendance { report: &report, lease: self.lease, settle: self.pause() * 5 / 2, seen };
        let Some(view) = self.state.attend(self.who(), how, wall).await? else {
            self.circle().superseded(&self.member);
            return Ok(());
        };
        let skew = wall.since(Timestamp(view.now)).max(Timestamp(view.now).since(wall));
        let moves = {
            let rules = self.rules.borrow().clone();
            let mut circle = self.circle();
            circle.looked = Some((wall, instant));
            circle.see(view, &rules, (&self.member, self.incarnation));
            circle.plan(&self.member, (skew > self.lease).then_some(skew))
        };
        self.arrived.notify_one();
        let outcome = self.make(moves).await;
        if outcome.is_err() {
            // It is not known what came of it.
            self.circle().forget_version();
        }
        outcome
    }

    async fn make(&self, moves: Moves) -> Result<(), StateError> {
        self.give(moves.gives).await?;
        self.take(moves.takes).await
    }

    async fn take(&self, wanted: Vec<(String, i64, Work)>) -> Result<(), StateError> {
        for chunk in wanted.chunks(SHARES_PER_CALL) {
            let wants: Vec<Want<'_>> = chunk
                .iter()
                .map(|(name, held, work)| Want { name, held: *held, work: *work })
                .collect();
            let taken = self.state.take_shares(self.who(), &wants, self.clock.now()).await?;
            self.circle().taken(taken);
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// They are no longer this judge's own before the others hear of it.
    async fn give(&self, keys: Vec<GroupKey>) -> Result<(), StateError> {
        for chunk in keys.chunks(SHARES_PER_CALL) {
            let given: Vec<(String, Work)> = chunk
                .iter()
                .filter_map(|key| Some((state_name(key), self.circle().drop_held(key)?)))
                .collect();
            let given: Vec<(&str, Work)> =
                given.iter().map(|(name, work)| (name.as_str(), *work)).collect();
            self.state.give_shares(self.who(), &given).await?;
        }
        Ok(())
    }

    fn who(&self) -> Membership<'_> {
        Membership { circle: CIRCLE, member: &self.member, incarnation: self.incarnation }
    }

    fn circle(&self) -> MutexGuard<'_, Circle> {
        self.circle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of a group in shared state: its own, or the beginning of it and its hash when it is long.
pub(crate) fn state_name(key: &GroupKey) -> String {
    let name = key.to_string();
    if name.len() <= NAME_BYTES_MAX {
        return name;
    }
    let hash = xxh3_64(name.as_bytes());
    format!("{}…{hash:016x}", &name[..name.floor_char_boundary(NAME_BYTES_MAX - 20)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule_file::{Defaults, read_file};

    const LEASE: Duration = Duration::from_secs(10);

    /// Judges on one shared state whose clocks are apart.
    struct Two {
        a: Judge,
        b: Judge,
        _folder: Option<tempfile::TempDir>,
    }

    impl Two {
        async fn embedded(groups: usize) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let db = db::Db::open(&folder.path().join("saker.db")).await.unwrap();
            let (state, start) = (State::embedded(db), Timestamp::from_seconds(1_000_000));
            let judge = |name| Judge::new(&state, name, groups, start);
            Self { a: judge("a"), b: judge("b"), _folder: Some(folder) }
        }

        fn on(state: &State, groups: usize) -> Self {
            let start = Clock::System.now();
            let judge = |name| Judge::new(state, name, groups, start);
            Self { a: judge("a"), b: judge("b"), _folder: None }
        }

        /// Time passes for both, who look as often as they do.
        async fn pass(&self, span: Duration) {
            for _ in 0..span.as_secs() / 2 {
                for judge in [&self.a, &self.b] {
                    judge.clock.advance(Duration::from_secs(2));
                    judge.shard.look().await.unwrap();
                }
            }
        }
    }

    struct Judge {
        shard: Shard,
        clock: Clock,
        _rules: watch::Sender<Arc<RuleSet>>,
    }

    impl Judge {
        fn new(state: &State, name: &str, groups: usize, start: Timestamp) -> Self {
            let text: String = (0..groups)
                .map(|n| format!("- {{name: g{n}, rules: [{{record: r, expr: up}}]}}\n"))
                .collect();
            let groups =
                read_file("f", &format!("groups:\n{text}"), &Defaults::default()).expect("valid");
            let rules = groups.into_iter().map(|group| (group.key.clone(), Arc::new(group)));
            let (sender, rules) = watch::channel(Arc::new(rules.collect::<RuleSet>()));
            let clock = Clock::manual(start);
            let shard = Shard::new(state.clone(), clock.clone(), name.to_owned(), LEASE, rules);
            Self { shard, clock, _rules: sender }
        }

        fn len(&self) -> usize {
            self.shard.len()
        }

        /// Begins the slot of now.
        async fn begin(&self, group: usize) -> Option<Leave> {
            let (key, now) = (key(group), self.clock.now());
            let leave = self.shard.begin(&key, now, Some(now)).await.unwrap();
            let took = (Duration::from_millis(5), Duration::from_secs(60));
            self.shard.finish(&key, leave.map(|_| took));
            leave
        }

        fn held(&self) -> Vec<usize> {
            (0..20).filter(|n| self.shard.circle().holds(&key(*n))).collect()
        }
    }

    fn key(group: usize) -> GroupKey {
        GroupKey { file: "f".to_owned(), name: format!("g{group}") }
    }

    #[tokio::test]
    async fn the_first_judge_takes_all_and_one_that_joins_gets_its_part() {
        let two = Two::embedded(10).await;
        two.a.shard.look().await.unwrap();
        assert_eq!(two.a.len(), 10);
        two.pass(Duration::from_secs(20)).await;
        assert_eq!((two.a.len(), two.b.len()), (5, 5));
        let before = two.a.held();
        two.pass(Duration::from_secs(60)).await;
        assert_eq!(two.a.held(), before, "then none moves");
    }

    #[tokio::test]
    async fn a_dead_judges_groups_are_claimed_within_a_lease_and_a_look_where_it_stopped() {
        let two = Two::embedded(10).await;
        two.pass(Duration::from_secs(30)).await;
        let (group, slot) = (two.a.held()[0], two.a.clock.now());
        let before = two.a.begin(group).await.expect("it holds the group");
        drop(two.b.shard.arrivals().await);
        for _ in 0..5 {
            assert_eq!(two.b.len(), 5);
            two.b.clock.advance(Duration::from_secs(2));
            two.b.shard.look().await.unwrap();
        }
        assert_eq!(two.b.len(), 10, "ten seconds after the last sign of life");
        let arrivals = two.b.shard.arrivals().await;
        assert!(arrivals.contains(&(key(group), Some(slot))), "{arrivals:?}");
        let leave = two.b.begin(group).await.expect("it is its own now");
        assert!(leave.fencing > before.fencing);
        assert_eq!(leave.succeeded, Some(slot), "no gap, so no alert has to settle");
        // The dead one was only asleep.
        two.a.clock.advance(Duration::from_secs(12));
        assert!(!two.a.shard.stands());
        assert_eq!(two.a.begin(group).await, None);
        assert!(two.a.shard.departures().contains(&key(group)));
        assert!(two.a.shard.stands() && two.a.len() == 0);
    }

    #[tokio::test]
    async fn no_slot_is_begun_twice() {
        let two = Two::embedded(2).await;
        two.pass(Duration::from_secs(30)).await;
        let group = two.a.held()[0];
        assert!(two.a.begin(group).await.is_some());
        assert_eq!(two.a.begin(group).await, None, "it was begun");
        assert_eq!(two.b.begin(group).await, None, "it is not its own");
        // A judge that was told to stop in the middle of it.
        two.a.shard.leave().await.unwrap();
        two.b.shard.look().await.unwrap();
        assert_eq!(two.b.len(), 2);
        assert_eq!(two.b.begin(group).await, None, "the other one began it");
        two.b.clock.advance(Duration::from_secs(1));
        assert!(two.b.begin(group).await.is_some());
    }

    #[tokio::test]
    async fn a_judge_that_does_not_look_stands_for_one_lease() {
        let two = Two::embedded(4).await;
        two.pass(Duration::from_secs(30)).await;
        two.a.clock.advance(Duration::from_secs(4));
        assert!(two.a.shard.stands());
        two.a.clock.advance(Duration::from_secs(6));
        assert!(!two.a.shard.stands());
        // So much by one clock alone is a step of it.
        two.a.shard.look().await.unwrap();
        two.a.clock.advance(Duration::from_secs(6));
        assert!(!two.a.shard.stands());
    }

    #[tokio::test]
    async fn a_clock_that_jumps_back_ends_the_standing_as_one_that_jumps_ahead() {
        let two = Two::embedded(2).await;
        two.a.shard.look().await.unwrap();
        let looked = two.a.clock.now();
        two.a.shard.circle().looked =
            Some((looked.plus(Duration::from_secs(3600)), Instant::now()));
        assert!(!two.a.shard.stands(), "the look lies in the future");
        two.a.shard.look().await.unwrap();
        assert!(two.a.shard.stands());
    }

    #[tokio::test]
    async fn a_judge_whose_clock_is_off_leaves_its_groups_to_the_others() {
        let Some(server) = testkit::Redis::start().await else { return };
        let state = State::redis(&state::RedisConfig::new(server.url())).unwrap();
        let two = Two::on(&state, 4);
        testkit::eventually("the groups are shared", Duration::from_secs(60), async || {
            two.a.shard.look().await.unwrap();
            two.b.shard.look().await.unwrap();
            (two.a.len() == 2 && two.b.len() == 2).then_some(())
        })
        .await;
        let group = two.a.held()[0];
        two.a.clock.advance(Duration::from_secs(3600));
        assert!(!two.a.shard.stands(), "it must look first");
        assert_eq!(two.a.begin(group).await, None, "an hour ahead there are no samples");
        assert!(two.a.shard.hindrance().is_some_and(|why| why.contains("clock")));
        assert_eq!(two.a.len(), 0);
        // It says with its next look that it takes none.
        for judge in [&two.b, &two.a, &two.b] {
            judge.shard.look().await.unwrap();
        }
        assert_eq!((two.a.len(), two.b.len()), (0, 4));
    }

    #[test]
    fn long_names_are_cut_and_stay_distinct() {
        let long = |tail: &str| GroupKey {
            file: "db".to_owned(),
            name: format!("{}{tail}", "ü".repeat(200)),
        };
        assert!(state_name(&long("")).len() <= 190);
        assert_ne!(state_name(&long("a")), state_name(&long("b")));
        assert_eq!(state_name(&key(1)), "f;g1");
    }
}
