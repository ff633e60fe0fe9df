//! The places of hosts that are upgraded. Fault 8 of Open-Falcon's upgrade (open-falcon.md 5.2) is
//! here: its limit was passed by who asked at once, and one pause emptied the whole set.

use std::time::Duration;

use futures_util::future::join_all;
use state::{Admission, Admitted, GroupLimit, HostPhase, HostReport, State};

use crate::world::World;

const MINUTE: Duration = Duration::from_secs(60);
const LEASE: i64 = 180_000;
const REST: i64 = 300_000;
const LONGEST: i64 = 1_800_000;

fn asks(host: &str, revision: i64) -> Admission<'_> {
    Admission {
        host,
        revision,
        wave: 0,
        in_flight_max: 10,
        started_max: None,
        attempts_max: 2,
        lease_millis: LEASE,
        rest_millis: REST,
        is_idle: false,
        groups: &[],
    }
}

fn says<'a>(host: &'a str, phase: HostPhase, reason: &'a str) -> HostReport<'a> {
    HostReport {
        host,
        rollout: "r1",
        phase,
        reason,
        lease_millis: LEASE,
        underway_millis_max: LONGEST,
        groups: &[],
    }
}

fn group(name: &str, max: u32, hold_millis: i64) -> GroupLimit {
    GroupLimit { name: name.to_owned(), max, hold_millis }
}

impl World {
    async fn plan(&self, rollout: &str) -> i64 {
        let before = self.state.upgrade_plan().await.unwrap().map_or(0, |plan| plan.revision);
        assert!(self.state.save_upgrade_plan(before, rollout, b"plan").await.unwrap());
        before + 1
    }

    async fn admit(&self, admission: Admission<'_>) -> Admitted {
        self.state.admit_upgrade(&admission, self.now).await.unwrap()
    }

    async fn say(&self, host: &str, phase: HostPhase) -> bool {
        self.state.report_upgrade(&says(host, phase, ""), self.now).await.unwrap()
    }

    /// Lets time pass while an hbs looks all the time.
    async fn watched(&mut self, span: Duration) {
        let mut left = span;
        while !left.is_zero() {
            let step = left.min(self.watched_step());
            self.pass(step).await;
            left -= step;
            self.in_flight().await;
        }
    }

    async fn in_flight(&self) -> u64 {
        self.state.upgrade_tally(LEASE, self.now).await.unwrap().in_flight
    }

    async fn counts(&self) -> Vec<(u32, HostPhase, u64)> {
        self.state.upgrade_tally(LEASE, self.now).await.unwrap().counts
    }
}

pub(crate) async fn the_limit_is_never_passed_by_many_who_ask_at_once(world: &mut World) {
    let revision = world.plan("r1").await;
    let processes: Vec<State> = (0..4).map(|_| world.other_process()).collect();
    let hosts: Vec<String> = (0..64).map(|n| format!("host-{n:02}")).collect();
    for round in 0..3 {
        let asking = hosts.iter().zip(processes.iter().cycle());
        let now = world.now;
        let answers = join_all(asking.map(|(host, state)| async move {
            state.admit_upgrade(&asks(host, revision), now).await.unwrap()
        }));
        let answers = answers.await;
        let given = answers.iter().filter(|&&answer| answer == Admitted::Given(1)).count();
        let others = answers.iter().filter(|answer| !matches!(answer, Admitted::Given(_)));
        assert!(
            others.clone().all(|answer| matches!(
                answer,
                Admitted::Full | Admitted::InFlight | Admitted::Spent
            )),
            "{answers:?}"
        );
        assert_eq!((round, given), (round, 10));
        assert_eq!(world.in_flight().await, 10);
        for (host, _) in hosts.iter().zip(&answers).filter(|(_, a)| **a == Admitted::Given(1)) {
            assert!(world.say(host, HostPhase::Confirmed).await);
        }
    }
    assert_eq!(world.counts().await, [(0, HostPhase::Confirmed, 30)]);
}

pub(crate) async fn a_dead_hosts_place_returns_after_its_lease_and_only_its_own(world: &mut World) {
    let revision = world.plan("r1").await;
    let two = |host| Admission { in_flight_max: 2, ..asks(host, revision) };
    assert_eq!(world.admit(two("dead")).await, Admitted::Given(1));
    world.watched(2 * MINUTE).await;
    assert_eq!(world.admit(two("slow")).await, Admitted::Given(1));
    assert_eq!(world.admit(two("next")).await, Admitted::Full);
    world.watched(MINUTE).await;
    assert_eq!(world.admit(two("next")).await, Admitted::Given(1));
    assert_eq!(world.admit(two("more")).await, Admitted::Full, "the slow host keeps its place");
    assert_eq!(world.counts().await, [(0, HostPhase::Offered, 2), (0, HostPhase::Lost, 1)]);
    let lost = world.state.upgrade_hosts(&[HostPhase::Lost], 9).await.unwrap();
    assert_eq!((lost.len(), lost[0].host.as_str()), (1, "dead"));
    assert!(!world.say("dead", HostPhase::Downloading).await, "talk gives no place back");
    assert_eq!(world.in_flight().await, 2);
    assert!(world.say("dead", HostPhase::Confirmed).await, "it was only silent");
    assert_eq!(world.counts().await, [(0, HostPhase::Offered, 2), (0, HostPhase::Confirmed, 1)]);
}

pub(crate) async fn a_host_that_talks_keeps_its_place_but_not_for_ever(world: &mut World) {
    let revision = world.plan("r1").await;
    world.admit(asks("a", revision)).await;
    assert!(world.say("a", HostPhase::Downloading).await);
    for _ in 0..14 {
        world.watched(2 * MINUTE).await;
        assert!(!world.say("a", HostPhase::Downloading).await, "no news");
        assert_eq!(world.in_flight().await, 1);
        assert_eq!(world.admit(asks("a", revision)).await, Admitted::InFlight);
    }
    world.watched(2 * MINUTE).await;
    assert_eq!(world.in_flight().await, 0, "half an hour is over");
    assert_eq!(world.counts().await, [(0, HostPhase::Lost, 1)]);
}

pub(crate) async fn leases_last_while_nobody_could_renew_them(world: &mut World) {
    let revision = world.plan("r1").await;
    let one = |host| Admission { in_flight_max: 1, ..asks(host, revision) };
    assert_eq!(world.admit(one("a")).await, Admitted::Given(1));
    world.unwatched(10 * MINUTE).await;
    assert_eq!(world.admit(one("b")).await, Admitted::Full, "a may be at it still");
    world.watched(2 * MINUTE).await;
    assert_eq!(world.admit(one("b")).await, Admitted::Full);
    world.watched(MINUTE).await;
    assert_eq!(world.admit(one("b")).await, Admitted::Given(1), "a had its time");
}

pub(crate) async fn who_asks_by_an_older_revision_gets_no_place(world: &mut World) {
    assert_eq!(world.admit(asks("a", 0)).await, Admitted::Stale, "there is no plan");
    let revision = world.plan("r1").await;
    let halted = world.plan("r1").await;
    assert_eq!(world.admit(asks("a", revision)).await, Admitted::Stale);
    assert_eq!(world.admit(asks("a", halted)).await, Admitted::Given(1));
}

pub(crate) async fn of_many_who_change_the_plan_one_wins(world: &mut World) {
    let revision = world.plan("r1").await;
    let processes: Vec<State> = (0..8).map(|_| world.other_process()).collect();
    let writes = processes.iter().enumerate().map(|(n, state)| async move {
        state.save_upgrade_plan(revision, "r1", format!("{n}").as_bytes()).await.unwrap()
    });
    let won: Vec<bool> = join_all(writes).await;
    let winner = won.iter().position(|&is_won| is_won).expect("one wins");
    assert_eq!(won.iter().filter(|&&is_won| is_won).count(), 1);
    let plan = world.state.upgrade_plan().await.unwrap().expect("it was written");
    assert_eq!((plan.revision, plan.rollout.as_str()), (revision + 1, "r1"));
    assert_eq!(plan.body, format!("{winner}").into_bytes());
    assert!(!world.state.save_upgrade_plan(0, "r2", b"").await.unwrap(), "there is one");
}

pub(crate) async fn a_wave_starts_as_many_hosts_as_it_may(world: &mut World) {
    let revision = world.plan("r1").await;
    let wave = |host, max| Admission { started_max: Some(max), ..asks(host, revision) };
    assert_eq!(world.admit(wave("a", 1)).await, Admitted::Given(1));
    assert_eq!(world.admit(wave("b", 1)).await, Admitted::WaveFull);
    world.say("a", HostPhase::Confirmed).await;
    assert_eq!(world.admit(wave("b", 1)).await, Admitted::WaveFull, "ended hosts count");
    assert_eq!(world.admit(Admission { wave: 1, ..wave("b", 2) }).await, Admitted::Given(1));
    assert_eq!(world.counts().await, [(0, HostPhase::Confirmed, 1), (1, HostPhase::Offered, 1)]);
}

pub(crate) async fn a_host_is_offered_a_rollout_twice_at_most_and_rests_in_between(
    world: &mut World,
) {
    let revision = world.plan("r1").await;
    assert_eq!(world.admit(asks("a", revision)).await, Admitted::Given(1));
    assert!(world.say("a", HostPhase::Failed).await);
    assert!(!world.say("a", HostPhase::Failed).await, "it was said");
    world.watched(4 * MINUTE).await;
    assert_eq!(world.admit(asks("a", revision)).await, Admitted::Resting);
    world.watched(2 * MINUTE).await;
    let wave = Admission { started_max: Some(1), wave: 7, ..asks("a", revision) };
    assert_eq!(world.admit(wave).await, Admitted::Given(2), "it was counted already");
    world.say("a", HostPhase::Failed).await;
    world.watched(10 * MINUTE).await;
    assert_eq!(world.admit(asks("a", revision)).await, Admitted::Spent);
    for (host, end) in [("b", HostPhase::RolledBack), ("c", HostPhase::Refused)] {
        world.admit(asks(host, revision)).await;
        world.say(host, end).await;
        world.watched(10 * MINUTE).await;
        assert_eq!(world.admit(asks(host, revision)).await, Admitted::Spent, "{end:?}");
    }
}

pub(crate) async fn an_offer_that_was_lost_on_its_way_is_repeated_once(world: &mut World) {
    let revision = world.plan("r1").await;
    let idle = || Admission { is_idle: true, in_flight_max: 1, ..asks("a", revision) };
    assert_eq!(world.admit(idle()).await, Admitted::Given(1));
    assert_eq!(world.admit(idle()).await, Admitted::Given(2));
    assert_eq!(world.admit(idle()).await, Admitted::InFlight);
    assert_eq!(world.in_flight().await, 1);
    world.admit(asks("b", revision)).await;
    world.say("b", HostPhase::Accepted).await;
    let idle = Admission { is_idle: true, ..asks("b", revision) };
    assert_eq!(world.admit(idle).await, Admitted::InFlight, "it had read the offer");
}

pub(crate) async fn a_group_has_places_of_its_own(world: &mut World) {
    let revision = world.plan("r1").await;
    let (web, db) = ([group("corp.web", 1, LEASE)], [group("corp.db", 1, LEASE)]);
    let of = |host, groups| Admission { groups, ..asks(host, revision) };
    assert_eq!(world.admit(of("web-1", &web)).await, Admitted::Given(1));
    assert_eq!(world.admit(of("web-2", &web)).await, Admitted::GroupFull);
    assert_eq!(world.admit(of("db-1", &db)).await, Admitted::Given(1));
    let end = HostReport { groups: &web, ..says("web-1", HostPhase::Confirmed, "") };
    world.state.report_upgrade(&end, world.now).await.unwrap();
    assert_eq!(world.admit(of("web-2", &web)).await, Admitted::Given(1));
    world.watched(4 * MINUTE).await;
    assert_eq!(world.admit(of("web-3", &web)).await, Admitted::Given(1), "the lease is over");
    let long = [group("canaries of r1 in corp.db", 1, 86_400_000)];
    assert_eq!(world.admit(of("db-2", &long)).await, Admitted::Given(1));
    world.say("db-2", HostPhase::Confirmed).await;
    assert_eq!(world.admit(of("db-3", &long)).await, Admitted::GroupFull, "held past the end");
}

pub(crate) async fn another_rollout_begins_anew_while_places_stay(world: &mut World) {
    let revision = world.plan("r1").await;
    let one = |host, revision| Admission { in_flight_max: 1, ..asks(host, revision) };
    assert_eq!(world.admit(one("a", revision)).await, Admitted::Given(1));
    let revision = world.plan("r2").await;
    assert_eq!(world.counts().await, []);
    assert_eq!(world.in_flight().await, 1, "a is still at it");
    assert_eq!(world.admit(one("b", revision)).await, Admitted::Full);
    assert_eq!(world.admit(one("a", revision)).await, Admitted::InFlight);
    assert!(world.say("a", HostPhase::RolledBack).await, "its place is given back");
    assert_eq!((world.counts().await, world.in_flight().await), (Vec::new(), 0));
    assert_eq!(world.admit(one("a", revision)).await, Admitted::Given(1));
    assert!(!world.say("a", HostPhase::RolledBack).await, "it speaks of the former rollout");
    assert_eq!(world.in_flight().await, 1);
}

pub(crate) async fn the_hosts_are_told_in_numbers_and_by_name(world: &mut World) {
    let revision = world.plan("r1").await;
    assert_eq!(world.state.upgrade_tally(LEASE, world.now).await.unwrap().last_started_at, None);
    for host in ["a", "b", "磁盘 | 'x\""] {
        assert_eq!(world.admit(asks(host, revision)).await, Admitted::Given(1));
        world.watched(Duration::from_secs(10)).await;
    }
    for (host, reason) in [("磁盘 | 'x\"", "exit status 1 | 磁盘满"), ("a", "md5 mismatch")] {
        let report = says(host, HostPhase::Failed, reason);
        assert!(world.state.report_upgrade(&report, world.now).await.unwrap());
        world.watched(Duration::from_secs(10)).await;
    }
    let tally = world.state.upgrade_tally(LEASE, world.now).await.unwrap();
    assert_eq!(tally.revision, revision);
    assert_eq!(tally.counts, [(0, HostPhase::Offered, 1), (0, HostPhase::Failed, 2)]);
    assert!(tally.last_started_at.is_some());
    let failed = world.state.upgrade_hosts(&[HostPhase::Failed], 9).await.unwrap();
    let failed: Vec<_> = failed.iter().map(|h| (h.host.as_str(), h.reason.as_str())).collect();
    assert_eq!(failed, [("a", "md5 mismatch"), ("磁盘 | 'x\"", "exit status 1 | 磁盘满")]);
    let all = world.state.upgrade_hosts(&HostPhase::ALL, 2).await.unwrap();
    assert_eq!(all.len(), 2, "the limit holds");
}
