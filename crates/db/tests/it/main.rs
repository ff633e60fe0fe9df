//! The SQL store on SQLite and on a real MariaDB: the same cases on both.
#![cfg(test)]

mod alerts;
mod claims;
mod data_centres;
mod directory;
mod groups;
mod hosts;
mod journal;
mod mariadb;
mod messages;
mod noise;
mod notifications;
mod portal;
mod routing;
mod rules;
mod search;
mod silences;
mod sqlite;
mod state;

/// Every case, as a test on SQLite each, with and without a journal of alerts; and `every_case` for a server that is too dear to be
/// started for each.
macro_rules! on_both_databases {
    ($($module:ident :: $case:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let folder = tempfile::tempdir().unwrap();
                let db = db::Db::open(&folder.path().join("saker.db")).await.unwrap();
                crate::$module::$case(&db).await;
            })+
        }

        mod with_a_journal {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let folder = tempfile::tempdir().unwrap();
                let db = db::Db::open(&folder.path().join("saker.db")).await.unwrap();
                db.alerts().keep_journal().await.unwrap();
                crate::$module::$case(&db).await;
            })+
        }

        /// Runs every case on an empty database, which is asked for by the number of the case.
        async fn every_case(database: impl AsyncFn(usize) -> db::Db) {
            let mut number = 0;
            $(
                number += 1;
                println!("case {number}: {}", stringify!($case));
                let db = database(number).await;
                // Not all of them on one stack.
                Box::pin($module::$case(&db)).await;
                db.close().await;
            )+
        }
    };
}

on_both_databases!(
    hosts::a_known_host_is_updated_and_keeps_its_first_sight,
    hosts::thousands_of_hosts_are_recorded_at_once,
    hosts::of_a_host_that_comes_twice_the_last_counts,
    hosts::sights_are_recorded_without_the_rest_of_the_row,
    hosts::silent_hosts_are_purged_with_their_memberships,
    groups::a_change_is_counted_and_audited_with_it,
    groups::members_are_by_hand_and_by_rule_beside_each_other,
    groups::the_hosts_of_a_group_are_a_range_that_is_read_in_pages,
    groups::a_bundle_keeps_its_files_until_they_are_old_and_unused,
    groups::a_window_is_listed_until_it_is_over_and_ended_once,
    groups::the_audit_is_read_backwards_in_pages,
    groups::two_who_forget_the_audit_at_once_forget_each_entry_once,
    rules::a_group_is_created_changed_and_removed,
    rules::owner_and_switch_change_by_themselves,
    rules::a_change_meant_for_another_version_is_refused,
    rules::every_version_and_who_made_it_is_kept,
    rules::old_versions_are_forgotten,
    rules::groups_are_listed_in_pages,
    rules::names_and_bodies_are_data_and_never_sql,
    rules::one_group_stored_by_many_at_once_has_a_version_for_each,
    alerts::an_alert_reads_back_as_it_was_stored_and_is_replaced_by_its_fingerprint,
    alerts::thousands_are_stored_at_once,
    alerts::an_event_waits_until_it_is_queued_and_is_kept_once,
    alerts::only_firing_alerts_can_be_overdue,
    alerts::what_still_fires_is_never_forgotten,
    alerts::the_longest_texts_that_are_taken_can_be_stored,
    notifications::an_entry_reads_back_and_its_detail_is_cut,
    notifications::an_end_that_somebody_waits_for_is_found,
    search::unresolved_comes_first_then_urgency_then_the_newest,
    search::text_is_found_without_regard_to_case_and_wildcards_are_letters,
    search::counts_are_by_state_and_priority,
    data_centres::a_data_centre_is_set_changed_and_removed_with_an_entry_each,
    directory::an_entry_is_changed_only_from_the_version_that_was_seen,
    routing::all_changes_are_made_or_none,
    routing::of_changes_made_at_once_from_one_revision_one_is_made,
    directory::a_removed_entry_and_an_old_stand_in_are_gone,
    silences::a_silence_is_stored_changed_and_forgotten_after_its_end,
    notifications::what_was_held_back_is_found_page_by_page,
    state::of_many_who_take_a_lease_at_once_one_holds_it,
    state::a_document_is_written_by_the_latest_holder_only,
    state::documents_that_are_written_together_are_judged_one_by_one,
    state::an_event_is_taken_by_one_of_many,
    state::many_events_are_put_and_removed_at_once_and_each_name_once,
    claims::a_claim_takes_the_place_of_the_one_before_and_is_forgotten,
    claims::a_note_about_a_claim_leaves_the_claim_as_it_is,
    noise::who_took_an_alert_is_kept_although_the_claim_is_replaced,
    messages::a_message_is_stored_once_and_open_until_it_is_settled,
    messages::what_failed_is_counted_and_listed_until_it_is_forgotten,
    messages::a_mute_is_replaced_ended_and_forgotten,
    messages::of_many_who_claim_a_name_at_once_one_gets_it,
);
