//! Parking in SQLite. What always holds and why stands in [`crate::inbox::parking`]; here is how.
//!
//! ```text
//! progress, finish ──> known ──new key that is waited for──> wakes ─┐
//!      │ held ──> staged_keys ──┐                                    │ wake
//! park ──> parked (decided) ────┴─ end ──> chores ──> settle ──> parked (waiting) + waits
//!                                                       │            │ deadline, bound, release
//!                                                       └── woken notice, its delivery, woken + woken_records
//! end of a woken notice ──> follow: account of the first delivery, its bad records, parked again
//! ```
//!
//! - Looking up a key is one seek in one tree, in the order of the keys; the tree holds nothing else. What was found a
//!   short while ago is remembered, as long as no key is taken away (`confirmed`).
//! - Registering costs an insert a key, and one seek more while anything waits for that entity at that sink.
//! - Every step of [`tend()`] takes at most [`bounds::RECORDS_A_STEP`] records and about [`bounds::BYTES_A_STEP`].
//! - The tables of keys have no foreign keys: deliveries are pruned, what they registered is not.

mod bounds;
mod confirmed;
mod end;
mod expire;
mod follow;
mod known;
mod let_on;
mod look;
mod park;
mod record;
mod scope;
mod settle;
mod tend;
mod wake;

pub(super) use confirmed::Confirmed;
pub(super) use end::{Replayed, claimed, ended, is_woken, replaced, replayed};
pub(super) use follow::{discarded, finished, parked_of};
pub(super) use known::{known, note};
pub(super) use let_on::Release;
pub(super) use look::{counts, entity_known, groups, import, lines, release, totals};
pub(super) use park::{decided, forget_attempts, has_leftovers, park};
pub(super) use tend::{HAS_WORK, look_for_work, tend};
