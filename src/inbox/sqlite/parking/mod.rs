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
//! - Every step of [`tend`] takes at most [`RECORDS_A_STEP`] records and about [`BYTES_A_STEP`].
//! - The tables of keys have no foreign keys: deliveries are pruned, what they registered is not.

use rusqlite::{Connection, OptionalExtension};

use super::fault::Fault;
use super::rows::count;
use super::writer::Outcome;
use crate::clock::UnixMs;
use crate::inbox::{ParkingBounds, Tended};

mod confirmed;
mod end;
mod expire;
mod follow;
mod known;
mod let_on;
mod look;
mod park;
mod record;
mod settle;
mod wake;

pub(super) use confirmed::Confirmed;
pub(super) use end::{Replayed, claimed, ended, is_woken, replaced, replayed};
pub(super) use follow::{discarded, finished, parked_of};
pub(super) use known::{known, note};
pub(super) use let_on::Release;
pub(super) use look::{counts, entity_known, groups, import, lines, release, totals};
pub(super) use park::{decided, forget_attempts, has_leftovers, park};

/// Records that one step takes. More hold up the other writes longer; fewer make more notices of what waits for one
/// parent.
const RECORDS_A_STEP: usize = 1_000;

/// Bytes of records that one step takes, and that a woken notice holds; one record may be larger.
const BYTES_A_STEP: usize = 4 << 20;

/// Whether parking has work that no deadline is needed for.
pub(super) const HAS_WORK: &str = "EXISTS (SELECT 1 FROM chores) OR EXISTS (SELECT 1 FROM wakes)";

/// The next deadline.
pub(super) const NEXT_DEADLINE: &str = "SELECT min(deadline) FROM parked WHERE state = 'waiting'";

/// What is parked: records and bytes.
fn parked_now(connection: &Connection) -> Result<(u64, u64), Fault> {
    let mut select =
        connection.prepare_cached("SELECT coalesce(sum(records), 0), coalesce(sum(bytes), 0) FROM parking")?;
    Ok(select.query_row([], |row| Ok((count(row.get(0)?), count(row.get(1)?))))?)
}

/// Whether a step of [`tend`] would find anything to do, and when the next deadline comes; read beside the writer.
pub(super) fn look_for_work(
    connection: &Connection,
    bounds: ParkingBounds,
    now: UnixMs,
) -> Result<(bool, Option<UnixMs>), Fault> {
    let has_work: bool = connection.prepare_cached(&format!("SELECT {HAS_WORK}"))?.query_row([], |row| row.get(0))?;
    let next: Option<i64> = connection.prepare_cached(NEXT_DEADLINE)?.query_row([], |row| row.get(0))?;
    let (rows, bytes) = parked_now(connection)?;
    // Without one in force, nothing can be let go: the bound is then for `park`.
    let is_crowded = next.is_some() && !bounds.soft().holds(rows, bytes);
    Ok((has_work || is_crowded || next.is_some_and(|next| next <= now.0), next.map(UnixMs)))
}

/// One step of everything that there is to do.
pub(super) fn tend(connection: &Connection, bounds: ParkingBounds, now: UnixMs) -> Result<Outcome<Tended>, Fault> {
    let mut tended = Tended::default();
    settle::step(connection, now, &mut tended)?;
    wake::step(connection, now, &mut tended)?;
    expire::deadlines(connection, now, &mut tended)?;
    expire::crowd(connection, bounds, now, &mut tended)?;
    (tended.more, tended.next_deadline) = look_for_work(connection, bounds, now)?;
    // Also without a woken notice: who works until nothing is left waits for the last step.
    Ok(Outcome::woken(tended))
}

/// The number of an entity at a sink, if it has one.
fn scope(connection: &Connection, sink: &str, entity: &str) -> Result<Option<i64>, Fault> {
    let mut select = connection.prepare_cached("SELECT id FROM scopes WHERE sink = ?1 AND entity = ?2")?;
    Ok(select.query_row([sink, entity], |row| row.get(0)).optional()?)
}

/// The number of an entity at a sink, made if it has none.
fn scope_or_new(connection: &Connection, sink: &str, entity: &str) -> Result<i64, Fault> {
    if let Some(id) = scope(connection, sink, entity)? {
        return Ok(id);
    }
    let mut insert = connection.prepare_cached("INSERT INTO scopes (sink, entity) VALUES (?1, ?2) RETURNING id")?;
    Ok(insert.query_row([sink, entity], |row| row.get(0))?)
}
