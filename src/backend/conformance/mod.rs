//! What every backend must do: the suite for those who write one.
//!
//! Say how yours is opened, and run the cases; each gets a store of its own, and panics where the
//! [contract](super) is broken. The suite asks for nothing beyond the contract: what may happen in the background is
//! waited for, ten seconds at most.
//!
//! ```no_run
//! use komatik::backend::{SharedBackend, conformance};
//! use komatik::{History, Result};
//!
//! struct Mine(tempfile::TempDir);
//!
//! impl conformance::Harness for Mine {
//!     fn open(&self, history: History) -> Result<SharedBackend> {
//!         # panic!("{:?} {history:?}", self.0.path());
//!         # #[cfg(any())]
//!         Ok(std::sync::Arc::new(MyBackend::open(self.0.path(), history)?))
//!     }
//!     fn is_persistent(&self) -> bool {
//!         true
//!     }
//! }
//!
//! # fn test() {
//! conformance::run(|| Box::new(Mine(tempfile::tempdir().unwrap())));
//! # }
//! ```
#![expect(
    clippy::unwrap_used,
    reason = "a broken expectation is what a suite panics for"
)]

mod care;
mod chunks;
mod commits;
mod concurrency;
mod history;
mod limits;
mod owners;
mod reopen;
mod rows;
mod scans;
mod tools;

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::SharedBackend;
use crate::error::Result;
use crate::options::History;

/// How the suite opens the backend under test.
pub trait Harness {
    /// Opens the one store of this harness: empty the first time; after that as it was left, where it
    /// [is persistent](Harness::is_persistent), else empty again. The one opened before was closed or dropped.
    ///
    /// # Errors
    /// Whatever opening fails with; the case fails with it.
    fn open(&self, history: History) -> Result<SharedBackend>;

    /// Whether what was settled is there when the store is opened again. The suite expects it, or expects an empty store.
    fn is_persistent(&self) -> bool;
}

/// One claim of the contract.
#[derive(Clone, Copy)]
pub struct Case {
    /// The claim: topic and sentence.
    pub name: &'static str,
    /// Panics where the claim does not hold for the fresh store of this harness.
    pub run: fn(&dyn Harness),
}

macro_rules! cases {
    ($($topic:ident { $($case:ident)* })*) => {
        vec![$($(Case {
            name: concat!(stringify!($topic), "::", stringify!($case)),
            run: $topic::$case,
        }),*),*]
    };
}

/// Every case, in the order in which a new backend is best made to pass them.
#[must_use]
pub fn cases() -> Vec<Case> {
    cases! {
        rows {
            a_row_is_put_read_overwritten_and_deleted
            trees_do_not_mix
            keys_and_values_are_any_bytes
            an_empty_value_is_not_an_absent_row
            a_row_carries_the_revision_of_its_last_commit
        }
        scans {
            rows_come_in_byte_order
            the_start_is_inclusive_and_the_end_exclusive
            an_empty_range_has_no_rows
            a_scan_stays_in_its_tree
            the_end_of_a_scan_is_the_end
            seek_goes_forward
            seek_never_goes_back
            seek_keeps_to_the_bounds
            a_scan_sees_one_moment
            a_scan_sees_one_moment_across_flush_and_compact
            a_scan_sees_one_moment_under_big_commits
            each_scan_sees_its_own_moment
        }
        commits {
            revisions_rise
            ordered_is_called_once_before_commit_returns
            requirements_decide
            the_first_broken_requirement_is_named
            requirements_look_at_the_latest_state
            a_row_made_again_is_another_row
            a_refused_commit_does_nothing
            private_trees_are_refused
            a_row_written_twice_is_refused
            a_broken_form_comes_before_requirements
            deleting_what_is_not_there_is_a_commit
            the_latest_view_sees_a_commit_at_once
            settling_settles_all_before
            flush_settles_everything
        }
        limits {
            a_row_may_be_as_large_as_the_limit
            a_key_may_be_as_long_as_the_limit
            a_commit_may_write_as_many_rows_as_the_limit
            a_commit_may_hold_as_many_bytes_as_the_limit
            a_commit_may_tell_as_many_changes_as_the_limit
        }
        history {
            changes_are_told_in_order
            changes_are_the_bytes_given
            paging_goes_on_inside_a_commit
            the_place_after_a_commit_skips_all_of_it
            a_commit_without_changes_tells_nothing
            nothing_is_behind_the_newest
            no_limit_drops_the_newest
            a_limit_drops_the_oldest
        }
        chunks {
            a_blob_reads_back_before_and_after_adoption
            a_blob_is_put_in_several_calls
            no_bytes_make_no_chunk
            a_chunk_that_is_not_there_is_damage
            blobs_do_not_mix
            a_sync_of_chunks_changes_nothing
            a_discarded_blob_is_given_back
            discard_leaves_an_adopted_blob
            many_blobs_are_adopted_in_one_commit
            blobs_are_put_from_several_threads
        }
        owners {
            a_release_gives_back
            a_hold_keeps_a_released_blob
            each_hold_counts
            only_an_adopted_blob_is_held
            two_adoptions_need_two_releases
            a_blob_moves_from_owner_to_owner
            an_older_scan_keeps_a_released_blob
            a_newer_scan_keeps_nothing
            a_refused_commit_adopts_nothing
            a_refused_commit_releases_nothing
            requirements_come_before_blobs
        }
        concurrency {
            a_scan_never_sees_half_a_commit
            a_scan_never_sees_half_a_huge_commit
            guarded_increments_are_never_lost
            ordered_is_called_in_revision_order
            ordered_is_called_before_anybody_sees_the_commit
            a_follower_sees_every_change_once
            a_held_blob_stays_under_overwriting
        }
        care {
            stats_count_rows
            stats_count_adopted_chunks
            a_sound_store_has_no_findings
            verify_can_be_cancelled
            compact_changes_nothing_that_is_read
            compact_leaves_what_is_held
            a_closed_backend_answers_errors
        }
        reopen {
            rows_are_kept_when_closed
            rows_are_kept_when_dropped
            rows_are_kept_when_flushed_and_dropped
            deletions_are_kept
            a_huge_commit_is_kept_whole
            revisions_go_on
            requirements_hold_across
            history_goes_on
            adopted_chunks_are_kept
            owners_are_kept
            released_chunks_stay_gone
            chunks_that_nobody_adopted_are_gone
            it_opens_many_times
        }
    }
}

/// Runs every case on a harness of its own.
///
/// # Panics
/// Behind the last case, with the names of all that failed.
pub fn run(make: impl Fn() -> Box<dyn Harness>) {
    let failed: Vec<&str> = cases()
        .into_iter()
        .filter(|case| {
            let harness = make();
            catch_unwind(AssertUnwindSafe(|| (case.run)(harness.as_ref()))).is_err()
        })
        .map(|case| case.name)
        .collect();
    assert!(
        failed.is_empty(),
        "the backend breaks the contract: {}",
        failed.join(", ")
    );
}
