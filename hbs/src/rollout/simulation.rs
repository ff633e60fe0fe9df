//! Any rollout over any fleet, against a model of hosts and places.

use std::collections::BTreeMap;
use std::time::Duration;

use db::{HostPhase, UpgradeTally};
use model::Timestamp;
use proptest::prelude::*;

use super::step::{Census, Moment, Step};
use super::{ATTEMPTS_MAX, Phase, Plan, Request, Stage, count};

const TICK: Duration = Duration::from_secs(5);
const LEASE: Duration = Duration::from_secs(60);
const QUIET: Duration = Duration::from_secs(120);

/// How a host takes an offer.
#[derive(Debug, Clone, Copy)]
enum Temper {
    Good,
    RollsBack,
    Refuses,
    Dies,
    FailsOnce,
}

#[derive(Debug, Clone, Copy)]
struct Host {
    temper: Temper,
    ticks: u32,
    phase: Option<HostPhase>,
    wave: u32,
    attempts: u32,
    since: Timestamp,
    is_new: bool,
}

#[derive(Debug)]
struct World {
    plan: Plan,
    hosts: Vec<Host>,
    now: Timestamp,
    last_started: Option<Timestamp>,
    last_end: Timestamp,
}

impl World {
    fn tally(&self) -> UpgradeTally {
        let mut counts: BTreeMap<(u32, HostPhase), u64> = BTreeMap::new();
        for host in &self.hosts {
            if let Some(phase) = host.phase {
                *counts.entry((host.wave, phase)).or_default() += 1;
            }
        }
        let counts = counts.into_iter().map(|((wave, phase), hosts)| (wave, phase, hosts));
        UpgradeTally {
            counts: counts.collect(),
            last_started_at: self.last_started,
            ..UpgradeTally::default()
        }
    }

    fn in_flight(&self) -> u64 {
        count(&self.tally(), |_, phase| phase.is_underway())
    }

    fn started(&self) -> u64 {
        count(&self.tally(), |_, _| true)
    }

    /// Hosts go on with their offers.
    fn work(&mut self) {
        for host in &mut self.hosts {
            if !host.phase.is_some_and(HostPhase::is_underway) {
                continue;
            }
            let age = self.now.since(host.since);
            let is_ready = age >= TICK * host.ticks;
            host.phase = Some(match host.temper {
                Temper::Dies if age >= LEASE => HostPhase::Lost,
                Temper::Dies => HostPhase::Downloading,
                _ if !is_ready => HostPhase::Downloading,
                Temper::RollsBack => HostPhase::RolledBack,
                Temper::Refuses => HostPhase::Refused,
                Temper::FailsOnce if host.attempts == 1 => HostPhase::Failed,
                Temper::Good | Temper::FailsOnce => HostPhase::Confirmed,
            });
            host.is_new = matches!(host.phase, Some(HostPhase::Confirmed));
            if !host.phase.is_some_and(HostPhase::is_underway) {
                self.last_end = self.now;
            }
        }
    }

    /// Every host asks, as with its heartbeats; the rules are those of crate `state`.
    fn ask(&mut self) {
        let Some(wave) = self.plan.wave() else { return };
        for n in 0..self.hosts.len() {
            let host = self.hosts[n];
            if !self.plan.is_offering() || host.is_new {
                continue;
            }
            let may = match host.phase {
                None => self.plan.started_max.is_none_or(|max| self.started() < max),
                Some(phase) => {
                    phase.may_retry() && !phase.is_underway() && host.attempts < ATTEMPTS_MAX
                }
            };
            if !may || self.in_flight() >= u64::from(self.plan.policy.in_flight_max) {
                continue;
            }
            let host = &mut self.hosts[n];
            host.wave = if host.phase.is_none() { wave } else { host.wave };
            host.phase = Some(HostPhase::Offered);
            host.attempts += 1;
            host.since = self.now;
            self.last_started = Some(self.now);
        }
    }

    fn conduct(&mut self) {
        let census = Census {
            left: self.hosts.iter().filter(|host| host.phase.is_none()).count() as u64,
            heard: self.hosts.len() as u64,
            newest: self.now,
            group_sizes: BTreeMap::new(),
        };
        let moment = Moment { now: self.now, up_since: Timestamp(0), quiet: QUIET };
        let before = self.plan.clone();
        let Step::Change(after) = self.plan.step(&self.tally(), Some(&census), &moment) else {
            return;
        };
        if after.opened > before.opened && before.opened > 0 {
            let wave = before.wave().and_then(|wave| before.wave_at(wave)).copied();
            let soak = Duration::from_secs(u64::from(wave.expect("it was opened").soak_seconds));
            assert!(self.now.since(before.phase_since) >= soak, "the wave opened early");
            assert!(self.now.since(self.last_end) >= soak, "the last host had not soaked");
            assert_eq!(self.in_flight(), 0, "a wave opened while hosts were at it");
        }
        self.plan = *after;
    }
}

fn temper() -> impl Strategy<Value = Temper> {
    prop_oneof![
        20 => Just(Temper::Good),
        1 => Just(Temper::RollsBack),
        1 => Just(Temper::Refuses),
        1 => Just(Temper::Dies),
        1 => Just(Temper::FailsOnce),
    ]
}

fn world() -> impl Strategy<Value = World> {
    let hosts = prop::collection::vec((temper(), 0_u32..12), 1..80);
    (hosts, 0_u64..4, 1_u32..12, 0_u32..300, 0_u64..8).prop_map(
        |(hosts, canary, cap, soak, fail)| {
            let body = format!(
                r#"{{"wgeturl":"http://a","version":"2","binfile_md5":"{}","canary":{canary},
                "waves":[5,30,100],"max_in_flight":{cap},"soak":{soak},"max_fail":{fail}}}"#,
                "0".repeat(32)
            );
            let request = Request::decode(body.as_bytes(), 2000).expect("it is valid");
            let start = Timestamp::from_seconds(1_000_000);
            let host = |(temper, ticks)| Host {
                temper,
                ticks,
                phase: None,
                wave: 0,
                attempts: 0,
                since: start,
                is_new: false,
            };
            World {
                plan: Plan::new(request, "r".into(), start),
                hosts: hosts.into_iter().map(host).collect(),
                now: start,
                last_started: None,
                last_end: start,
            }
        },
    )
}

proptest! {
    #[test]
    fn a_rollout_keeps_its_limits_and_comes_to_an_end(mut world in world()) {
        for _ in 0..20_000 {
            world.work();
            world.conduct();
            let (plan, started) = (world.plan.clone(), world.started());
            world.ask();
            prop_assert!(world.in_flight() <= u64::from(plan.policy.in_flight_max));
            prop_assert!(world.started() <= plan.started_max.unwrap_or(u64::MAX));
            prop_assert!(world.hosts.iter().all(|host| host.attempts <= ATTEMPTS_MAX));
            let is_open = matches!(plan.phase, Phase::Running(Stage::Offering) | Phase::Done);
            prop_assert!(is_open || world.started() == started, "offered while {:?}", plan.phase);
            let is_over = matches!(plan.phase, Phase::Done | Phase::Halted { .. });
            if is_over && world.in_flight() == 0 {
                break;
            }
            world.now = world.now.plus(TICK);
        }
        let failures = count(&world.tally(), |_, phase| phase.is_failure());
        match world.plan.phase {
            Phase::Done => prop_assert!(world.hosts.iter().all(|host| host.phase.is_some())),
            Phase::Halted { .. } => prop_assert!(failures > 0),
            ref other => prop_assert!(false, "it did not end: {:?}", other),
        }
    }
}
