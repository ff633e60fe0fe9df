//! Circles: the members, the shares and the circle itself are three hashes with one tag. Moments go by the server's
//! clock.

use redis::{Script, ScriptInvocation};

use super::RedisStore;
use crate::{CircleMember, CircleView, Membership, ShareRow, StateError, TurnAnswer, Want, Work};

const NOUN: &str = "circle";
/// What stands for "no moment".
const NEVER: &str = "-";

type ShareAnswer = (String, String, i64, i64, String, String, i64);
type ViewAnswer = (i64, i64, bool, Vec<(String, i64, String)>, Option<Vec<ShareAnswer>>);

impl RedisStore {
    pub(crate) async fn attend(
        &self,
        who: Membership<'_>,
        report: &str,
        lease_millis: i64,
        settle_millis: i64,
        seen: i64,
    ) -> Result<Option<CircleView>, StateError> {
        let mut script = self.on_circle(&self.scripts.circle_attend, who);
        script.arg(lease_millis).arg(settle_millis).arg(seen).arg(report);
        let answer: Option<ViewAnswer> = self.run("attend a circle", &script).await?;
        Ok(answer.map(|(now, version, is_settling, members, shares)| CircleView {
            now,
            version,
            is_settling,
            members: members
                .into_iter()
                .map(|(name, incarnation, report)| CircleMember { name, incarnation, report })
                .collect(),
            shares: shares.map(|shares| shares.into_iter().map(share).collect()),
        }))
    }

    pub(crate) async fn take_shares(
        &self,
        who: Membership<'_>,
        wants: &[Want<'_>],
    ) -> Result<Vec<ShareRow>, StateError> {
        let mut script = self.on_circle(&self.scripts.circle_take, who);
        for want in wants {
            script.arg(want.name).arg(want.held);
            put_work(&mut script, &want.work);
        }
        let taken: Vec<ShareAnswer> = self.run("take shares", &script).await?;
        Ok(taken.into_iter().map(share).collect())
    }

    pub(crate) async fn begin_turns(
        &self,
        who: Membership<'_>,
        turns: &[(&str, Work)],
    ) -> Result<Vec<TurnAnswer>, StateError> {
        let mut script = self.on_circle(&self.scripts.circle_begin, who);
        for (name, work) in turns {
            script.arg(*name);
            put_work(&mut script, work);
        }
        let answers: Vec<String> = self.run("begin turns", &script).await?;
        let read = |answer: String| match answer.as_str() {
            "yours" => TurnAnswer::Yours,
            "not yours" => TurnAnswer::NotYours,
            _ => TurnAnswer::Unknown,
        };
        Ok(answers.into_iter().map(read).collect())
    }

    pub(crate) async fn give_shares(
        &self,
        who: Membership<'_>,
        given: &[(&str, Work)],
    ) -> Result<(), StateError> {
        let mut script = self.on_circle(&self.scripts.circle_give, who);
        for (name, work) in given {
            script.arg(*name);
            put_work(&mut script, work);
        }
        self.run("give shares back", &script).await
    }

    pub(crate) async fn remove_share(
        &self,
        who: Membership<'_>,
        name: &str,
    ) -> Result<(), StateError> {
        let mut script = self.on_circle(&self.scripts.circle_leave, who);
        self.run("remove a share", script.arg(name)).await
    }

    pub(crate) async fn leave(&self, who: Membership<'_>) -> Result<(), StateError> {
        let script = self.on_circle(&self.scripts.circle_leave, who);
        self.run("leave a circle", &script).await
    }

    fn on_circle<'s>(&self, script: &'s Script, who: Membership<'_>) -> ScriptInvocation<'s> {
        let mut script = script.key(self.key(NOUN, who.circle, ":members"));
        script.key(self.key(NOUN, who.circle, ":shares")).key(self.key(NOUN, who.circle, ""));
        script.arg(who.member).arg(who.incarnation);
        script
    }
}

fn put_work(script: &mut ScriptInvocation<'_>, work: &Work) {
    for moment in [work.turn, work.succeeded] {
        match moment {
            Some(moment) => script.arg(moment),
            None => script.arg(NEVER),
        };
    }
    script.arg(work.cost);
}

fn share((name, holder, incarnation, fencing, turn, succeeded, cost): ShareAnswer) -> ShareRow {
    let work = Work { turn: turn.parse().ok(), succeeded: succeeded.parse().ok(), cost };
    ShareRow { name, holder, incarnation, fencing, work }
}
