//! What operators ask for: start, pause, resume, cancel.

use db::AuditEntry;
use model::Timestamp;
use state::UpgradeTally;

use super::{Current, Known, Upgrades};
use crate::door::Caller as Operator;
use crate::rollout::{Phase, Plan, Request, RequestError};

/// Others may change the plan at the same moment; it is read anew so often.
const TRIES: usize = 5;

/// Why an operator's wish is not fulfilled.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("{0}")]
    Conflict(String),
    #[error("the shared state is not available: {0}")]
    Away(String),
}

/// What an operator wants.
#[derive(Debug, Clone, Copy)]
enum Wish<'a> {
    /// With the identity of a new rollout.
    Start(&'a Request, &'a str),
    Cancel,
    Pause,
    Resume,
}

/// What is to become of the plan.
#[derive(Debug, PartialEq)]
enum Wanted {
    Change(Box<Plan>),
    /// It is as wished.
    Keep,
}

impl Upgrades {
    /// Starts a rollout, or goes on with the same one after a halt.
    pub(crate) async fn start(&self, body: &[u8]) -> Result<Plan, Refusal> {
        let request = Request::decode(body, self.config().in_flight_max)?;
        let id = self.shared.trail.id(self.shared.context.clock.now());
        self.change(Wish::Start(&request, &id)).await?.ok_or_else(no_rollout)
    }

    /// Ends the rollout; hosts that are underway finish or roll back. Nothing when there was none.
    pub(crate) async fn cancel(&self) -> Result<Option<Plan>, Refusal> {
        self.change(Wish::Cancel).await
    }

    /// Offers nothing until [`Upgrades::resume`].
    pub(crate) async fn pause(&self) -> Result<Plan, Refusal> {
        self.change(Wish::Pause).await?.ok_or_else(no_rollout)
    }

    /// Goes on after a pause or a halt; the failures so far are forgiven.
    pub(crate) async fn resume(&self) -> Result<Plan, Refusal> {
        self.change(Wish::Resume).await?.ok_or_else(no_rollout)
    }

    /// Changes the plan as it stands in the shared state; answers the plan that stands then.
    async fn change(&self, wish: Wish<'_>) -> Result<Option<Plan>, Refusal> {
        for _ in 0..TRIES {
            let current = self.current().await?;
            let now = self.shared.context.clock.now();
            let tally = self.in_time(self.tally(now)).await;
            let tally = tally.ok_or_else(|| self.is_away())?;
            let plan = current.as_ref().map(|current| current.plan.as_ref());
            let changed = match decide(plan, &wish, &tally, now)? {
                Wanted::Keep => return Ok(plan.cloned()),
                Wanted::Change(changed) => changed,
            };
            let expected = current.map_or(0, |current| current.revision);
            if self.save(expected, &changed).await.ok_or_else(|| self.is_away())? {
                self.refresh().await;
                return Ok(Some(*changed));
            }
        }
        Err(conflict("others change the rollout at the same time; try again"))
    }

    /// Writes who changed the rollout. The change was made: a database that is away does not undo it.
    pub(crate) async fn audit(&self, action: &str, operator: &Operator, plan: &Plan) {
        let now = self.shared.context.clock.now();
        let task = serde_json::json!({
            "rollout": plan.rollout,
            "wgeturl": plan.task.wgeturl,
            "type": plan.task.kind,
            "reason": plan.reason,
        });
        let entry = AuditEntry {
            detail: task.to_string(),
            ..self.shared.trail.entry(operator, action, &plan.task.version, now)
        };
        tracing::info!(
            action,
            operator = entry.actor,
            peer = entry.peer,
            rollout.id = plan.rollout,
            version = plan.task.version,
            "an operator changed the rollout"
        );
        if let Err(error) = self.shared.db.audit().add(&entry).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                action,
                "the audit has no entry of this change"
            );
        }
    }

    pub(super) fn is_away(&self) -> Refusal {
        match self.known() {
            Known::Away(why) => Refusal::Away(why),
            Known::Read(_) => Refusal::Away("it did not answer".to_owned()),
        }
    }

    /// The plan as it stands now.
    pub(crate) async fn current(&self) -> Result<Option<Current>, Refusal> {
        self.refresh().await;
        match self.known() {
            Known::Read(current) => Ok(current),
            Known::Away(_) => Err(self.is_away()),
        }
    }
}

fn decide(
    plan: Option<&Plan>,
    wish: &Wish<'_>,
    tally: &UpgradeTally,
    now: Timestamp,
) -> Result<Wanted, Refusal> {
    let changed = match (wish, plan) {
        (Wish::Start(request, id), Some(plan)) if plan.is_unfinished() => {
            return start_over(plan, (request, id), tally, now);
        }
        (Wish::Start(request, id), _) => Some(new_plan(request, id, now)),
        (Wish::Cancel, Some(plan)) if plan.phase != Phase::Cancelled => Some(plan.cancelled(now)),
        (Wish::Cancel, _) => return Ok(Wanted::Keep),
        (Wish::Pause, plan) => plan.and_then(|plan| plan.paused(now)),
        (Wish::Resume, plan) => plan.and_then(|plan| plan.resumed(tally, now)),
    };
    changed.map(|plan| Wanted::Change(Box::new(plan))).ok_or_else(|| {
        conflict(match wish {
            Wish::Pause => "no rollout is running",
            _ => "no rollout is paused or halted",
        })
    })
}

/// A rollout is asked for while one is unfinished.
fn start_over(
    plan: &Plan,
    (request, id): (&Request, &str),
    tally: &UpgradeTally,
    now: Timestamp,
) -> Result<Wanted, Refusal> {
    if !plan.is_same(request) {
        return if request.force {
            Ok(Wanted::Change(Box::new(new_plan(request, id, now))))
        } else {
            Err(conflict(&format!(
                "the rollout of version {} is not finished; DELETE it first, or post with \
                 \"force\":true",
                plan.task.version
            )))
        };
    }
    let why = match &plan.phase {
        Phase::Halted { why, .. } => format!("halted ({why})"),
        Phase::Paused(_) => "paused".to_owned(),
        _ => return Ok(Wanted::Keep),
    };
    if let Some(resumed) = plan.resumed(tally, now).filter(|_| request.force) {
        return Ok(Wanted::Change(Box::new(resumed)));
    }
    Err(conflict(&format!(
        "this rollout is {why}; post it with \"force\":true to go on, or DELETE it"
    )))
}

fn new_plan(request: &Request, id: &str, now: Timestamp) -> Plan {
    Plan::new(request.clone(), id.to_owned(), now)
}

fn conflict(text: &str) -> Refusal {
    Refusal::Conflict(text.to_owned())
}

fn no_rollout() -> Refusal {
    conflict("there is no rollout")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(5_000);

    fn request(version: &str, more: &str) -> Request {
        let md5 = "0".repeat(32);
        let body = format!(
            r#"{{"wgeturl":"http://a","version":"{version}","binfile_md5":"{md5}"{more}}}"#
        );
        Request::decode(body.as_bytes(), 2000).expect("it is valid")
    }

    fn ask(plan: &Plan, request: &Request) -> Result<Wanted, String> {
        let tally = UpgradeTally::default();
        decide(Some(plan), &Wish::Start(request, "r2"), &tally, NOW)
            .map_err(|error| error.to_string())
    }

    fn halted(plan: &Plan) -> Plan {
        let crate::rollout::Phase::Running(stage) = plan.phase else { panic!("it is new") };
        Plan { phase: Phase::Halted { why: "a canary".into(), stage }, ..plan.clone() }
    }

    #[test]
    fn a_rollout_that_runs_is_cut_off_only_by_force() {
        let plan = new_plan(&request("7.1", ""), "r1", Timestamp(0));
        assert_eq!(ask(&plan, &request("7.1", "")), Ok(Wanted::Keep), "it was posted twice");
        let error = ask(&plan, &request("7.2", "")).expect_err("one is running");
        assert!(error.contains("version 7.1 is not finished"), "{error}");
        let Ok(Wanted::Change(new)) = ask(&plan, &request("7.2", r#","force":true"#)) else {
            panic!("force begins another one")
        };
        assert_eq!((new.rollout.as_str(), new.task.version.as_str()), ("r2", "7.2"));
        for phase in [Phase::Done, Phase::Cancelled] {
            let over = Plan { phase, ..plan.clone() };
            assert!(matches!(ask(&over, &request("7.1", "")), Ok(Wanted::Change(_))));
        }
    }

    #[test]
    fn a_halted_rollout_goes_on_only_by_force() {
        let plan = halted(&new_plan(&request("7.1", ""), "r1", Timestamp(0)));
        let error = ask(&plan, &request("7.1", "")).expect_err("it was halted");
        assert!(error.contains("halted (a canary)") && error.contains("force"), "{error}");
        let Ok(Wanted::Change(on)) = ask(&plan, &request("7.1", r#","force":true"#)) else {
            panic!("force goes on")
        };
        assert_eq!(on.rollout, plan.rollout, "it is the same rollout");
        assert!(matches!(on.phase, Phase::Running(_)));
    }

    #[test]
    fn what_is_not_running_cannot_be_paused_and_cancelling_nothing_is_no_fault() {
        let decide = |plan: Option<&Plan>, wish| decide(plan, &wish, &UpgradeTally::default(), NOW);
        assert!(decide(None, Wish::Pause).is_err() && decide(None, Wish::Resume).is_err());
        assert_eq!(decide(None, Wish::Cancel), Ok(Wanted::Keep));
        let plan = new_plan(&request("7.1", ""), "r1", Timestamp(0));
        assert!(decide(Some(&plan), Wish::Resume).is_err(), "it runs");
        let Ok(Wanted::Change(paused)) = decide(Some(&plan), Wish::Pause) else {
            panic!("it runs")
        };
        assert!(decide(Some(&paused), Wish::Pause).is_err());
        let Ok(Wanted::Change(cancelled)) = decide(Some(&paused), Wish::Cancel) else {
            panic!("it is there")
        };
        assert_eq!(decide(Some(&cancelled), Wish::Cancel), Ok(Wanted::Keep));
    }
}
