//! Circles of members that share out work.

use std::time::Duration;

use futures_util::future::join_all;
use state::{Attendance, CircleView, Membership, ShareRow, State, TurnAnswer, Want, Work};

use crate::world::World;

const LEASE: Duration = Duration::from_secs(600);
const SETTLE: Duration = Duration::from_secs(300);
/// How often members look; less than [`SETTLE`].
const LOOK: Duration = Duration::from_secs(120);

fn who(member: &str, incarnation: i64) -> Membership<'_> {
    Membership { circle: "judge", member, incarnation }
}

fn begun(turn: i64) -> Work {
    Work { turn: Some(turn), succeeded: Some(turn - 1), cost: 7 }
}

impl World {
    async fn look(&self, member: &str) -> CircleView {
        self.look_as(who(member, 1), 0).await.expect("no later start of it is there")
    }

    async fn look_as(&self, who: Membership<'_>, seen: i64) -> Option<CircleView> {
        let how = Attendance { report: "a|b c", lease: LEASE, settle: SETTLE, seen };
        self.state.attend(who, how, self.now).await.unwrap()
    }

    async fn take_share(&self, member: &str, name: &str) -> Option<ShareRow> {
        take_in(&self.state, self, who(member, 1), name, 0).await
    }

    async fn begin(&self, member: &str, name: &str, turn: i64) -> TurnAnswer {
        let turns = [(name, begun(turn))];
        self.state.begin_turns(who(member, 1), &turns, self.now).await.unwrap()[0]
    }

    /// Members look for so long that a new circle has settled.
    async fn settled(&mut self, members: &[&str]) {
        for _ in 0..4 {
            for member in members {
                self.look(member).await;
            }
            self.pass(LOOK).await;
        }
        for member in members {
            self.look(member).await;
        }
    }
}

async fn take_in(
    state: &State,
    world: &World,
    who: Membership<'_>,
    name: &str,
    held: i64,
) -> Option<ShareRow> {
    let want = Want { name, held, work: begun(5) };
    state.take_shares(who, &[want], world.now).await.unwrap().pop()
}

pub(crate) async fn members_see_each_other_until_they_fall_silent(world: &mut World) {
    world.settled(&["a", "b"]).await;
    let view = world.look("a").await;
    let names: Vec<&str> = view.members.iter().map(|member| member.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(view.members[1].report, "a|b c");
    assert!(!view.is_settling);
    for _ in 0..5 {
        world.pass(LOOK).await;
        world.look("a").await;
    }
    assert_eq!(world.look("a").await.members.len(), 1);
}

pub(crate) async fn a_share_has_one_holder_until_that_one_is_gone(world: &mut World) {
    world.settled(&["a", "b"]).await;
    let first = world.take_share("a", "g").await.expect("it is free");
    assert_eq!((first.holder.as_str(), first.incarnation), ("a", 1));
    assert_eq!(world.take_share("a", "g").await, Some(first.clone()), "it has it already");
    assert_eq!(world.take_share("b", "g").await, None);
    assert_eq!(world.begin("a", "g", 100).await, TurnAnswer::Yours);
    for _ in 0..5 {
        world.pass(LOOK).await;
        world.look("b").await;
    }
    let second = world.take_share("b", "g").await.expect("its holder is gone");
    assert!(second.fencing > first.fencing);
    assert_eq!(second.work, begun(100), "the heir knows how far the work has come");
    assert_eq!(world.begin("a", "g", 101).await, TurnAnswer::Unknown, "it must look first");
    world.look("a").await;
    assert_eq!(world.begin("a", "g", 101).await, TurnAnswer::NotYours);
    assert_eq!(world.take_share("a", "g").await, None);
}

pub(crate) async fn a_turn_is_begun_once(world: &mut World) {
    world.settled(&["a", "b"]).await;
    world.take_share("a", "g").await.expect("free");
    assert_eq!(world.begin("a", "g", 100).await, TurnAnswer::Yours);
    assert_eq!(world.begin("a", "g", 100).await, TurnAnswer::NotYours, "it was begun");
    assert_eq!(world.begin("b", "g", 101).await, TurnAnswer::NotYours, "it is not its own");
    assert_eq!(world.begin("a", "g", 101).await, TurnAnswer::Yours);
    assert_eq!(world.begin("a", "h", 101).await, TurnAnswer::Unknown, "nobody took it");
    world.state.give_shares(who("a", 1), &[("g", begun(101))]).await.unwrap();
    assert_eq!(world.begin("a", "g", 102).await, TurnAnswer::NotYours);
    let given = world.take_share("b", "g").await.expect("it was given back");
    assert_eq!(given.work, begun(101));
    assert_eq!(world.begin("b", "g", 101).await, TurnAnswer::NotYours, "a began it");
    assert_eq!(world.begin("b", "g", 102).await, TurnAnswer::Yours);
}

pub(crate) async fn of_many_who_take_a_share_at_once_one_gets_it(world: &mut World) {
    let names: Vec<String> = (0..8).map(|n| format!("judge-{n}")).collect();
    world.settled(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let states: Vec<State> = names.iter().map(|_| world.other_process()).collect();
    for round in 0..3 {
        let share = format!("g{round}");
        let asked = names
            .iter()
            .zip(&states)
            .map(|(name, state)| take_in(state, world, who(name, 1), &share, 0));
        let taken = join_all(asked).await.into_iter().flatten().count();
        assert_eq!(taken, 1);
    }
}

pub(crate) async fn what_changed_is_told_once(world: &mut World) {
    world.settled(&["a"]).await;
    world.take_share("a", "g").await.expect("free");
    let view = world.look("a").await;
    assert_eq!(view.shares.as_ref().map(Vec::len), Some(1));
    let again = world.look_as(who("a", 1), view.version).await.expect("there");
    assert_eq!(again.shares, None);
    world.begin("a", "g", 100).await;
    let again = world.look_as(who("a", 1), view.version).await.expect("there");
    assert_eq!(again.shares, None, "a turn changes no hands");
    world.state.give_shares(who("a", 1), &[("g", begun(100))]).await.unwrap();
    let changed = world.look_as(who("a", 1), view.version).await.expect("there");
    assert_eq!(changed.shares.expect("a share changed hands")[0].holder, "");
}

pub(crate) async fn a_later_start_of_a_member_takes_its_place(world: &mut World) {
    world.settled(&["a", "b"]).await;
    let before = world.take_share("a", "g").await.expect("free");
    world.look_as(who("a", 2), 0).await.expect("the later start");
    assert_eq!(world.look_as(who("a", 1), 0).await, None, "the earlier one is told to stop");
    assert_eq!(world.begin("a", "g", 100).await, TurnAnswer::Unknown);
    let state = world.other_process();
    let after = take_in(&state, world, who("a", 2), "g", 0).await.expect("its own of before");
    assert!(after.fencing > before.fencing);
}

pub(crate) async fn who_leaves_makes_room_at_once(world: &mut World) {
    world.settled(&["a", "b"]).await;
    world.take_share("a", "g").await.expect("free");
    world.state.leave_circle(who("a", 1)).await.unwrap();
    assert_eq!(world.look("b").await.members.len(), 1);
    world.take_share("b", "g").await.expect("its holder left");
    world.state.remove_share(who("a", 1), "g").await.unwrap();
    assert_eq!(world.look("b").await.shares.expect("all").len(), 1, "it is b's");
    world.state.remove_share(who("b", 1), "g").await.unwrap();
    assert_eq!(world.look_as(who("b", 1), 0).await.expect("there").shares, Some(vec![]));
}

/// The shared state was away for so long that every membership is over: who held something holds it on.
pub(crate) async fn after_a_time_without_looks_everybody_finds_what_was_its_own(world: &mut World) {
    world.settled(&["a", "b"]).await;
    let before = world.take_share("a", "g").await.expect("free");
    world.pass(LEASE * 2).await;
    assert!(world.look("b").await.is_settling);
    assert_eq!(world.take_share("b", "g").await, None, "a may come back");
    world.look("a").await;
    assert_eq!(world.take_share("a", "g").await, Some(before.clone()));
    assert_eq!(world.begin("a", "g", 100).await, TurnAnswer::Yours);
    world.pass(LOOK).await;
    world.settled(&["a", "b"]).await;
    assert_eq!(world.take_share("b", "g").await, None);
}

pub(crate) async fn names_of_shares_and_members_may_be_anything(world: &mut World) {
    let odd = ["a|b", "1|2|3|4|5|6", "{x}", "磁盘 'x\" -- \n", " "];
    let odd_members = ["a|b c|1", "磁盘\n|"];
    world.settled(&odd_members).await;
    for (name, member) in odd.iter().zip(odd_members.iter().cycle()) {
        let taken = world.take_share(member, name).await.expect("free");
        assert_eq!((taken.name.as_str(), taken.holder.as_str()), (*name, *member));
        assert_eq!(world.begin(member, name, -5).await, TurnAnswer::Yours);
    }
    assert_eq!(world.look(odd_members[0]).await.shares.expect("all").len(), odd.len());
}
