//! What every inbox must do, as cases over any [`super::Inbox`]. An implementation names a function that makes a fresh one
//! and gets a test for each case:
//!
//! ```text
//! inbox_conformance!(fresh);      async fn fresh() -> Subject
//! ```

pub(crate) mod accounting;
pub(crate) mod claiming;
pub(crate) mod jumping;
pub(crate) mod looking;
pub(crate) mod model;
pub(crate) mod ordering;
mod orphans;
pub(crate) mod parking;
pub(crate) mod parking_model;
pub(crate) mod pruning;
pub(crate) mod quarantine;
pub(crate) mod releasing;
pub(crate) mod replaying;
pub(crate) mod storing;
mod subject;
pub(crate) mod unparking;

pub(crate) use subject::{LEASE, START, Subject, account, bad, done, heard, target};

/// Makes one test of each case of the suite.
macro_rules! inbox_conformance {
    ($fresh:path) => {
        inbox_conformance!(@cases $fresh, storing,
            every_notice_of_a_batch_gets_its_own_receipt_in_order
            a_second_arrival_is_counted_and_not_stored
            a_key_twice_in_one_batch_is_one_notice
            the_same_key_of_another_feed_is_another_notice
            what_was_heard_comes_back_whole
            a_skipped_or_unreadable_notice_is_not_planned
            an_empty_batch_is_stored
            unplanned_notices_come_oldest_first_and_bounded
            planning_twice_makes_no_second_delivery
            a_notice_that_no_route_wants_is_done_with
            store_wakes_whoever_waits_for_a_change
            a_key_is_held_by_its_beginning_and_by_its_feed
            a_mark_stands_until_the_next_one_and_belongs_to_its_feed
            the_oldest_unfinished_notice_of_a_feed_is_told
        );
        inbox_conformance!(@cases $fresh, claiming,
            a_delivery_is_claimed_once
            two_claimers_in_a_race_never_hold_the_same_delivery
            a_lease_that_ran_out_is_taken_over_and_its_old_holder_writes_nothing
            a_renewed_lease_is_not_taken_over
            a_claim_that_ended_cannot_be_written_to
            a_retry_waits_until_it_is_due
            attempts_count_only_those_that_were_used_up
            progress_lets_the_attempts_count_anew
            a_released_delivery_is_ready_at_once
            progress_is_there_for_the_next_attempt
            a_quarantined_delivery_is_not_given_out_again
            nothing_says_when_to_ask_again
            a_freed_lane_wakes_whoever_waits
        );
        inbox_conformance!(@cases $fresh, jumping,
            a_clock_that_is_set_back_keeps_no_lease_and_no_retry_waiting
            a_clock_that_is_set_forward_ends_no_lease_no_wait_and_no_retention
        );
        inbox_conformance!(@cases $fresh, ordering,
            a_lane_goes_in_published_order_one_at_a_time
            the_sources_number_orders_what_was_published_together
            blob_types_that_differ_in_case_share_a_lane
            lanes_do_not_wait_for_each_other
            a_delivery_that_waits_blocks_its_lane
            a_quarantined_delivery_does_not_block_its_lane
            without_order_a_blob_type_runs_side_by_side
            without_order_a_delivery_that_waits_blocks_nothing
            one_blob_type_is_limited_across_its_lanes
            a_lane_that_shall_stop_waits_behind_what_is_quarantined
            without_order_nothing_stops
        );
        inbox_conformance!(@cases $fresh, accounting,
            an_account_that_does_not_add_up_is_refused
            a_refused_account_leaves_the_claim_as_it_was
            done_on_all_routes_ends_the_work
            bad_records_of_a_repeated_attempt_are_not_doubled
        );
        inbox_conformance!(@cases $fresh, looking,
            a_selector_takes_what_meets_every_part
            notices_are_found_by_how_their_keys_begin
            a_list_shows_the_newest_first_up_to_the_limit
            a_blob_type_glob_that_cannot_be_understood_is_refused
            a_story_tells_every_attempt
            a_story_tells_where_records_went_and_which_were_set_aside
            a_story_tells_what_was_heard_and_settled
            the_summary_counts_what_there_is
            the_summary_counts_the_records_of_the_last_day
            a_daemon_is_alive_as_long_as_it_reports
        );
        inbox_conformance!(@cases $fresh, replaying,
            a_replay_delivers_again_under_a_run_of_its_own
            a_replay_in_steps_takes_each_notice_once
            a_replay_takes_back_what_was_skipped_or_quarantined
            a_replay_leaves_alone_what_is_under_way_or_unreadable
            a_replay_to_one_route_leaves_the_others_as_they_are
            a_replay_plan_says_what_is_known_and_changes_nothing
            a_replay_takes_nothing_that_is_stored_after_it_began
        );
        inbox_conformance!(@cases $fresh, quarantine,
            what_was_set_aside_is_listed_newest_notice_first
            a_choice_takes_what_meets_every_part
            a_release_sends_on_what_was_set_aside_and_nothing_that_is_done
            a_released_delivery_goes_on_after_what_is_confirmed
            a_release_waits_for_a_delivery_of_its_notice_that_is_under_way
            a_discarded_delivery_counts_no_more_and_is_kept_until_the_retention
            a_discarded_record_stays_in_the_account_and_waits_for_nobody
            what_cannot_be_decided_is_left_alone_and_said
            a_delivery_that_starts_over_forgets_what_it_set_aside_before
        );
        inbox_conformance!(@cases $fresh, releasing,
            a_released_record_goes_to_where_it_was_going_and_its_account_follows
            what_cannot_go_alone_stays_and_is_said
            a_record_of_a_delivery_under_way_is_not_released
            a_released_record_that_is_refused_again_is_set_aside_where_it_was_read
            a_released_record_goes_under_its_own_type
            a_released_record_whose_parent_is_missing_is_parked_with_the_time_of_its_route
            an_orphan_is_let_go_without_its_parent_by_its_release
        );
        inbox_conformance!(@cases $fresh, pruning,
            what_is_finished_or_skipped_is_pruned_by_age
            what_is_unfinished_or_quarantined_is_never_pruned
            a_finished_notice_with_withheld_records_is_kept_until_it_is_replayed
            a_key_outlives_a_notice_that_made_room
            the_oldest_go_first_when_the_inbox_is_too_large
            a_number_is_not_given_again_after_pruning
        );
        inbox_conformance!(@cases $fresh, parking,
            a_parked_record_is_woken_by_its_parent_and_the_account_follows
            a_parent_that_landed_meanwhile_makes_its_child_deliverable
            a_parent_that_lands_between_the_decision_and_the_end_wakes_its_child
            parent_and_child_at_the_same_moment_never_miss_each_other
            children_are_woken_in_published_order_and_bounded_pieces
            a_record_of_several_parents_waits_for_all_and_for_any_key_of_each
            a_parent_counts_for_the_sink_that_confirmed_it_alone
            a_deleted_entity_is_not_known_any_more
            a_lost_lease_parks_and_registers_nothing
            the_next_attempt_finds_what_was_decided_also_when_the_parent_has_landed
            an_attempt_that_starts_over_forgets_what_was_decided
            a_decision_about_a_record_that_is_not_there_any_more_is_forgotten
            what_a_sink_only_holds_is_known_at_the_end_and_not_before
            a_woken_record_whose_parent_is_missing_again_is_parked_with_the_time_it_had
            a_woken_record_that_is_refused_is_set_aside_where_it_was_read
        );
        inbox_conformance!(@cases $fresh, unparking,
            at_its_deadline_a_record_is_set_aside_whole
            at_its_deadline_a_record_goes_without_its_parent_where_the_route_says_so
            a_newer_record_takes_the_place_of_a_parked_one
            a_replay_takes_the_place_of_what_was_parked
            a_woken_notice_in_quarantine_can_be_replayed_to_where_it_goes
            nothing_is_pruned_that_has_parked_records_or_is_being_woken
            records_are_released_by_hand_once
            imported_keys_are_known_and_wake
            what_is_parked_is_told_by_record_and_by_parent
            at_the_bound_the_oldest_go_as_at_their_deadline
        );

        proptest::proptest! {
            #![proptest_config(proptest::prelude::ProptestConfig {
                cases: 48,
                failure_persistence: None,
                ..proptest::prelude::ProptestConfig::default()
            })]
            #[test]
            fn random_sequences_go_as_in_the_model(steps in crate::inbox::conformance::model::steps()) {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async { crate::inbox::conformance::model::run($fresh().await, steps).await });
            }

            #[test]
            fn random_parking_keeps_its_promises(steps in crate::inbox::conformance::parking_model::steps()) {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async { crate::inbox::conformance::parking_model::run($fresh().await, steps).await });
            }
        }
    };
    (@cases $fresh:path, $group:ident, $($case:ident)+) => {
        mod $group {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let subject = $fresh().await;
                    let case = crate::inbox::conformance::$group::$case(subject);
                    tokio::time::timeout(std::time::Duration::from_secs(120), case).await.expect("ends in time");
                }
            )+
        }
    };
}
pub(crate) use inbox_conformance;
