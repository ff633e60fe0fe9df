//! Shared state: the same cases embedded in SQLite, embedded in MariaDB, on Redis and on a Redis
//! cluster.
#![cfg(test)]

mod circles;
mod documents;
mod drain;
mod events;
mod history;
mod inbox;
mod leases;
mod mutes;
mod redis;
mod redis_mutes;
mod upgrades;
mod world;

use testkit::{MariaDb, Redis};

use crate::world::World;

/// Every case as a test embedded in SQLite and as one on Redis; and `every_case` for servers that
/// are too dear to be started for each.
macro_rules! on_every_backend {
    ($($module:ident :: $case:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let mut world = crate::world::World::sqlite().await;
                crate::$module::$case(&mut world).await;
            })+
        }

        mod on_redis {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let Some(server) = testkit::Redis::start().await else { return };
                let mut world = crate::world::World::redis(&server, "test");
                crate::$module::$case(&mut world).await;
            })+
        }

        /// Runs every case in an empty world, which is asked for by the number of the case.
        async fn every_case(world: impl AsyncFn(usize) -> World) {
            let mut number = 0;
            $(
                number += 1;
                println!("case {number}: {}", stringify!($case));
                Box::pin($module::$case(&mut world(number).await)).await;
            )+
        }
    };
}

on_every_backend!(
    leases::only_one_owner_holds_a_lease_until_it_ends,
    leases::a_renewal_keeps_the_fencing_number_and_a_lapse_does_not,
    leases::a_released_lease_is_free_at_once_and_only_its_owner_releases_it,
    leases::of_many_who_ask_at_once_one_gets_the_lease,
    leases::a_dead_holders_lease_is_free_after_one_lease_time_and_not_after_two,
    leases::of_many_who_take_over_from_a_dead_holder_one_wins,
    leases::who_lost_its_lease_cannot_release_that_of_its_successor,
    leases::leases_with_odd_names_are_apart,
    leases::names_are_reserved_one_by_one_until_they_end_or_are_released,
    documents::a_former_holder_cannot_overwrite_its_successor,
    documents::of_documents_saved_together_a_later_holders_stays,
    documents::documents_of_a_kind_are_listed_until_removed,
    mutes::a_mute_is_seen_by_all_until_it_is_ended,
    mutes::mutes_whose_names_look_the_same_are_apart,
    documents::who_was_paused_past_its_lease_cannot_write,
    events::important_events_overtake_older_ones,
    events::an_event_that_is_not_acknowledged_comes_back_in_its_place,
    events::a_returned_event_waits_for_its_moment,
    events::pushing_the_same_id_twice_is_one_event_until_it_is_done,
    events::of_many_takers_each_gets_other_events,
    events::what_is_urgent_goes_first_and_what_is_not_gets_its_turn,
    events::thousands_are_pushed_taken_and_done_at_once,
    upgrades::the_limit_is_never_passed_by_many_who_ask_at_once,
    upgrades::a_dead_hosts_place_returns_after_its_lease_and_only_its_own,
    upgrades::a_host_that_talks_keeps_its_place_but_not_for_ever,
    upgrades::leases_last_while_nobody_could_renew_them,
    upgrades::who_asks_by_an_older_revision_gets_no_place,
    upgrades::of_many_who_change_the_plan_one_wins,
    upgrades::a_wave_starts_as_many_hosts_as_it_may,
    upgrades::a_host_is_offered_a_rollout_twice_at_most_and_rests_in_between,
    upgrades::an_offer_that_was_lost_on_its_way_is_repeated_once,
    upgrades::a_group_has_places_of_its_own,
    upgrades::another_rollout_begins_anew_while_places_stay,
    upgrades::the_hosts_are_told_in_numbers_and_by_name,
    circles::members_see_each_other_until_they_fall_silent,
    circles::a_share_has_one_holder_until_that_one_is_gone,
    circles::a_turn_is_begun_once,
    circles::of_many_who_take_a_share_at_once_one_gets_it,
    circles::what_changed_is_told_once,
    circles::a_later_start_of_a_member_takes_its_place,
    circles::who_leaves_makes_room_at_once,
    circles::after_a_time_without_looks_everybody_finds_what_was_its_own,
    circles::names_of_shares_and_members_may_be_anything,
    history::never_two_holders_that_both_write,
);

#[tokio::test(flavor = "multi_thread")]
async fn never_two_holders_that_both_write_while_the_server_is_paused_and_killed() {
    let Some(mut server) = Redis::start().await else { return };
    history::never_two_holders_while_the_server_is_paused_and_killed(&mut server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_holds_embedded_in_mariadb() {
    let Some(server) = MariaDb::start().await else { return };
    every_case(async |case| World::mariadb(&server, &format!("case_{case}")).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_holds_on_a_cluster_where_keys_of_two_nodes_cannot_be_mixed() {
    let Some(server) = Redis::start_as_cluster().await else { return };
    redis::own_all_slots(&server).await;
    every_case(async |case| World::redis(&server, &format!("case{case}"))).await;
}
