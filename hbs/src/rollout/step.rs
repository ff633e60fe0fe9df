//! What becomes of a plan at a moment: it opens its next wave, ends, halts, or stays as it is.

use std::collections::BTreeMap;
use std::time::Duration;

use db::UpgradeTally;
use model::Timestamp;

use super::{Phase, Plan, Share, Stage, Wave, count};

/// A share of failures alone does not halt before there are so many.
const FAILURES_MIN: u64 = 3;
/// So many hosts more must have fallen silent than usual, and so large a share of the fleet.
const SILENT_MIN: u64 = 3;
const SILENT_PERCENT: u64 = 2;
/// An hbs that was just started, or that hears nobody, does not call hosts silent.
const JUDGES_SILENCE_AFTER: Duration = Duration::from_secs(120);
const NEWS_WITHIN: Duration = Duration::from_secs(90);

/// The fleet in numbers, from the stored hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Census {
    /// Hosts that were heard lately, should get the version, and were not offered it yet.
    pub(crate) left: u64,
    /// Hosts that were heard lately.
    pub(crate) heard: u64,
    /// When the last of them was heard.
    pub(crate) newest: Timestamp,
    /// Hosts by group.
    pub(crate) group_sizes: BTreeMap<String, u64>,
}

/// The circumstances of a step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) now: Timestamp,
    /// Since when this hbs runs.
    pub(crate) up_since: Timestamp,
    /// Nobody took a place for so long: nobody is left who would.
    pub(crate) quiet: Duration,
}

/// What is to be done with a plan.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// Nothing.
    Stay,
    /// Count the fleet, and ask again.
    Count,
    /// Store this one instead.
    Change(Box<Plan>),
}

impl Plan {
    /// Decides. `tally` is of this rollout.
    pub(crate) fn step(
        &self,
        tally: &UpgradeTally,
        census: Option<&Census>,
        moment: &Moment,
    ) -> Step {
        let stage = match self.phase {
            Phase::Running(stage) => stage,
            Phase::Done => Stage::Offering,
            Phase::Paused(_) | Phase::Halted { .. } | Phase::Cancelled => return Step::Stay,
        };
        if let Some(why) = self.too_many_failures(tally) {
            return self.halted(why, stage, moment.now);
        }
        if self.phase == Phase::Done {
            return Step::Stay;
        }
        if let Some(why) = census.and_then(|census| self.fell_silent(census, moment)) {
            return self.halted(why, stage, moment.now);
        }
        match (stage, census) {
            (Stage::Waiting { until }, _) if moment.now < until => Step::Stay,
            (Stage::Waiting { .. }, None) => Step::Count,
            (Stage::Waiting { .. }, Some(census)) => self.next_wave(tally, census, moment.now),
            (Stage::Offering, census) => self.end_of_wave(tally, census, moment),
        }
    }

    fn halted(&self, why: String, stage: Stage, now: Timestamp) -> Step {
        Step::Change(Box::new(self.turned(Phase::Halted { why, stage }, now)))
    }

    fn too_many_failures(&self, tally: &UpgradeTally) -> Option<String> {
        (0..self.opened).find_map(|wave| {
            let failures = count(tally, |of, phase| of == wave && phase.is_failure());
            let forgiven = self.forgiven.get(&wave).copied().unwrap_or(0);
            let failures = failures.saturating_sub(forgiven);
            let started = count(tally, |of, _| of == wave);
            let rules = self.wave_at(wave)?;
            let is_too_many = match self.policy.fail_max {
                Share::Percent(_) if rules.is_canary => failures > 0,
                Share::Percent(percent) => {
                    failures >= FAILURES_MIN && failures as f64 > started as f64 * percent / 100.0
                }
                Share::Hosts(max) => failures > max,
            };
            is_too_many.then(|| {
                let what = if rules.is_canary { "a canary" } else { "max_fail" };
                let limit = match (rules.is_canary, self.policy.fail_max) {
                    (true, Share::Percent(_)) => String::new(),
                    (_, max) => format!(", more than {max}"),
                };
                format!(
                    "{what}: in wave {} ({}) {failures} of {started} hosts failed{limit}",
                    wave + 1,
                    rules.reach
                )
            })
        })
    }

    fn fell_silent(&self, census: &Census, moment: &Moment) -> Option<String> {
        let is_judge = moment.now.since(moment.up_since) >= JUDGES_SILENCE_AFTER
            && moment.now.since(census.newest) <= NEWS_WITHIN;
        let silent = self.heard_before.saturating_sub(census.heard);
        let is_too_many = silent >= SILENT_MIN && silent * 100 > self.heard_before * SILENT_PERCENT;
        (is_judge && is_too_many).then(|| {
            format!(
                "silence: {} hosts were heard when the wave was opened, {} are now",
                self.heard_before, census.heard
            )
        })
    }

    fn end_of_wave(&self, tally: &UpgradeTally, census: Option<&Census>, moment: &Moment) -> Step {
        let started = count(tally, |_, _| true);
        if count(tally, |_, phase| phase.is_underway()) > 0 {
            return Step::Stay;
        }
        let is_full = self.started_max.is_some_and(|max| started >= max);
        if !is_full {
            let Some(census) = census else { return Step::Count };
            let last = tally.last_started_at;
            let is_quiet = last.is_some_and(|last| moment.now.since(last) >= moment.quiet);
            // A wave that reached nobody says nothing about the version.
            if started == 0 || (census.left > 0 && !is_quiet) {
                return Step::Stay;
            }
        }
        let is_last = usize::try_from(self.opened).is_ok_and(|n| n >= self.policy.waves.len());
        let soak = self.wave().and_then(|wave| self.wave_at(wave)).map_or(0, |w| w.soak_seconds);
        let until = moment.now.plus(Duration::from_secs(u64::from(soak)));
        let phase = if is_last { Phase::Done } else { Phase::Running(Stage::Waiting { until }) };
        Step::Change(Box::new(self.turned(phase, moment.now)))
    }

    /// Opens the next wave that reaches further than what was started.
    fn next_wave(&self, tally: &UpgradeTally, census: &Census, now: Timestamp) -> Step {
        let started = count(tally, |_, _| true);
        let all = started + census.left;
        let waves = (self.opened..).zip(self.policy.waves.iter().skip(self.opened as usize));
        let reach = |wave: &Wave| match wave.reach {
            Share::Percent(percent) if percent >= 100.0 => None,
            share => Some(share.of(all)),
        };
        let next = waves
            .map(|(wave, rules)| (wave, reach(rules)))
            .find(|(_, reach)| reach.is_none_or(|reach| reach > started));
        let Some((wave, reach)) = next else {
            return Step::Change(Box::new(self.turned(Phase::Done, now)));
        };
        let mut plan = self.turned(Phase::Running(Stage::Offering), now);
        plan.opened = wave + 1;
        plan.started_max = reach;
        plan.candidates = all;
        plan.heard_before = census.heard;
        plan.group_sizes.clone_from(&census.group_sizes);
        Step::Change(Box::new(plan))
    }
}

#[cfg(test)]
mod tests {
    use db::HostPhase::{self, Confirmed, Downloading, Failed, Lost, RolledBack};

    use super::*;
    use crate::rollout::Request;

    const START: Timestamp = Timestamp(1_000_000_000);
    const QUIET: Duration = Duration::from_secs(360);

    fn plan(more: &str) -> Plan {
        let md5 = "0".repeat(32);
        let body =
            format!(r#"{{"wgeturl":"http://a","version":"7.1","binfile_md5":"{md5}"{more}}}"#);
        let request = Request::decode(body.as_bytes(), 2000).expect("it is valid");
        Plan::new(request, "r1".into(), START)
    }

    fn tally(counts: &[(u32, HostPhase, u64)]) -> UpgradeTally {
        UpgradeTally { counts: counts.to_vec(), last_started_at: Some(START), ..Default::default() }
    }

    fn at(seconds: u64) -> Moment {
        let now = START.plus(Duration::from_secs(seconds));
        Moment { now, up_since: START.minus(Duration::from_secs(3600)), quiet: QUIET }
    }

    fn fleet(left: u64, heard: u64) -> Census {
        let newest = START.plus(Duration::from_secs(9_000));
        Census { left, heard, newest, group_sizes: BTreeMap::new() }
    }

    fn changed(step: Step) -> Plan {
        match step {
            Step::Change(plan) => *plan,
            other => panic!("{other:?}"),
        }
    }

    fn step(plan: &Plan, counts: &[(u32, HostPhase, u64)], left: u64, seconds: u64) -> Step {
        plan.step(&tally(counts), Some(&fleet(left, 1000)), &at(seconds))
    }

    /// Until the wave after the given counts is open.
    fn opened(plan: &Plan, counts: &[(u32, HostPhase, u64)], left: u64, seconds: u64) -> Plan {
        let waiting = changed(step(plan, counts, left, seconds));
        let Phase::Running(Stage::Waiting { until }) = waiting.phase else { panic!("{waiting:?}") };
        let seconds = until.since(START).as_secs();
        assert_eq!(step(&waiting, counts, left, seconds - 1), Step::Stay, "it soaks");
        changed(step(&waiting, counts, left, seconds))
    }

    fn halt_of(plan: &Plan, counts: &[(u32, HostPhase, u64)]) -> Option<String> {
        match step(plan, counts, 500, 1) {
            Step::Change(plan) => match plan.phase {
                Phase::Halted { why, .. } => Some(why),
                other => panic!("{other:?}"),
            },
            _ => None,
        }
    }

    #[test]
    fn a_rollout_goes_by_one_host_one_percent_ten_percent_and_all() {
        let new = plan("");
        assert_eq!(new.step(&tally(&[]), None, &at(0)), Step::Count);
        let canary = changed(step(&new, &[], 1000, 0));
        assert_eq!(
            (canary.started_max, canary.candidates, canary.wave()),
            (Some(1), 1000, Some(0))
        );
        assert_eq!(step(&canary, &[(0, Downloading, 1)], 999, 9), Step::Stay);
        let one = opened(&canary, &[(0, Confirmed, 1)], 999, 10);
        assert_eq!((one.started_max, one.wave()), (Some(10), Some(1)));
        let ten = opened(&one, &[(0, Confirmed, 1), (1, Confirmed, 9)], 990, 700);
        assert_eq!((ten.started_max, ten.wave()), (Some(100), Some(2)));
        let counts = [(0, Confirmed, 1), (1, Confirmed, 9), (2, Confirmed, 90)];
        let all = opened(&ten, &counts, 900, 1400);
        assert_eq!((all.started_max, all.wave()), (None, Some(3)));
        let counts = [counts.as_slice(), &[(3, Confirmed, 900)]].concat();
        assert_eq!(changed(step(&all, &counts, 0, 2000)).phase, Phase::Done);
    }

    #[test]
    fn waves_that_reach_no_further_are_passed_over() {
        let canary = changed(step(&plan(""), &[], 3, 0));
        let next = opened(&canary, &[(0, Confirmed, 1)], 2, 10);
        assert_eq!((next.started_max, next.wave()), (None, Some(3)), "1 % of 3 is one host");
    }

    #[test]
    fn the_seeds_behaviour_offers_to_all_at_once() {
        let all = changed(step(&plan(r#","canary":0,"waves":[100]"#), &[], 1000, 0));
        assert_eq!((all.started_max, all.is_offering()), (None, true));
    }

    /// Fault 11 of open-falcon.md 5.2: no pause on errors.
    #[test]
    fn a_canary_that_fails_halts_the_rollout() {
        let canary = changed(step(&plan(""), &[], 1000, 0));
        for phase in [Failed, RolledBack, Lost] {
            let why = halt_of(&canary, &[(0, phase, 1)]).expect("it failed");
            assert_eq!(why, "a canary: in wave 1 (1 host) 1 of 1 hosts failed");
        }
        assert_eq!(halt_of(&canary, &[(0, HostPhase::Refused, 1), (0, Downloading, 1)]), None);
    }

    #[test]
    fn failures_beyond_the_share_halt_a_wave() {
        let mut wave = changed(step(&plan(r#","canary":0,"waves":[100]"#), &[], 1000, 0));
        assert_eq!(halt_of(&wave, &[(0, Failed, 2), (0, Downloading, 20)]), None, "only two");
        assert_eq!(halt_of(&wave, &[(0, Failed, 3), (0, Downloading, 297)]), None, "just 1 %");
        let why = halt_of(&wave, &[(0, Failed, 2), (0, Lost, 1), (0, Downloading, 296)]);
        assert_eq!(
            why.as_deref(),
            Some("max_fail: in wave 1 (100 %) 3 of 299 hosts failed, more than 1 %")
        );
        wave.policy.fail_max = Share::Hosts(5);
        assert_eq!(halt_of(&wave, &[(0, Failed, 5), (0, Downloading, 9)]), None);
        assert!(halt_of(&wave, &[(0, Failed, 6), (0, Downloading, 9)]).is_some());
        let late = Plan { phase: Phase::Done, ..wave };
        assert!(halt_of(&late, &[(0, Failed, 6), (0, Confirmed, 9)]).is_some(), "late joiners");
    }

    #[test]
    fn what_was_halted_goes_on_after_a_look_and_halts_at_new_failures() {
        let canary = changed(step(&plan(""), &[], 1000, 0));
        let halted = changed(step(&canary, &[(0, Failed, 1)], 999, 1));
        assert!(
            !halted.is_offering() && step(&halted, &[(0, Failed, 1)], 999, 9_999) == Step::Stay
        );
        let resumed = halted.resumed(&tally(&[(0, Failed, 1)]), at(60).now).expect("it was halted");
        assert!(resumed.is_offering());
        assert!(matches!(
            changed(step(&resumed, &[(0, Failed, 1)], 999, 61)).phase,
            Phase::Running(Stage::Waiting { .. })
        ));
        assert!(halt_of(&resumed, &[(0, Failed, 2)]).is_some());
        assert!(resumed.resumed(&tally(&[]), START).is_none(), "it runs");
    }

    #[test]
    fn a_pause_keeps_the_soak_and_a_cancelled_rollout_stays_so() {
        let canary = changed(step(&plan(""), &[], 1000, 0));
        let soaking = changed(step(&canary, &[(0, Confirmed, 1)], 999, 10));
        let paused = soaking.paused(at(20).now).expect("it runs");
        assert_eq!(step(&paused, &[(0, Confirmed, 1)], 999, 9_000), Step::Stay);
        let resumed = paused.resumed(&tally(&[]), at(30).now).expect("it was paused");
        assert_eq!(resumed.phase, soaking.phase);
        let cancelled = resumed.cancelled(at(40).now);
        assert_eq!(step(&cancelled, &[(0, Confirmed, 1)], 999, 9_000), Step::Stay);
        assert!(
            cancelled.paused(START).is_none() && cancelled.resumed(&tally(&[]), START).is_none()
        );
        assert_eq!(cancelled.args(), wire::heartbeat::UpgradeArgs::default());
    }

    #[test]
    fn a_wave_that_nobody_joins_any_more_is_over() {
        let wave = changed(step(&plan(r#","canary":5"#), &[], 1000, 0));
        let counts = [(0, Confirmed, 2)];
        assert_eq!(step(&wave, &counts, 998, 300), Step::Stay, "others may come");
        assert!(matches!(
            changed(step(&wave, &counts, 998, 360)).phase,
            Phase::Running(Stage::Waiting { .. })
        ));
        assert_eq!(step(&wave, &[], 998, 9_000), Step::Stay, "it reached nobody");
        assert!(matches!(changed(step(&wave, &counts, 0, 9)).phase, Phase::Running(_)));
    }

    #[test]
    fn a_fleet_that_falls_silent_halts_the_rollout_unless_hbs_was_away_itself() {
        let wave = changed(step(&plan(""), &[], 1000, 0));
        let counts = tally(&[(0, Downloading, 1)]);
        let ask = |heard, moment| wave.step(&counts, Some(&fleet(500, heard)), &moment);
        assert_eq!(ask(980, at(8_990)), Step::Stay, "2 % may go");
        let halted = changed(ask(979, at(8_990)));
        let why = "silence: 1000 hosts were heard when the wave was opened, 979 are now".to_owned();
        assert_eq!(halted.phase, Phase::Halted { why, stage: Stage::Offering });
        let young = Moment { up_since: at(8_900).now, ..at(8_990) };
        assert_eq!(ask(500, young), Step::Stay, "this hbs was just started");
        assert_eq!(ask(500, at(9_100)), Step::Stay, "it hears nobody: the database was away");
    }
}
