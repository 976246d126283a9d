//! The account of one delivery while it runs.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Class;
use crate::fail_point::{FailPoint, reach};
use crate::inbox::{Claim, ClaimKey, InboxError, Progress, Remarks};
use crate::payload::PayloadLimits;
use crate::record::{BadRecord, Counts, RecordBatch};
use crate::route::OwnTypes;
use crate::sink::Transfer;

use super::intake::Prepared;
use super::missing::Comparison;
use super::outcome::{Done, Stopped, refusal};
use super::parents::{CHANGES_HELD_MAX, Changes, Family, Withheld};
use super::tools::Tools;

/// Set-aside records are written down in pieces of this many, so that a file of nothing but bad records needs no
/// more memory than another.
const BAD_RECORDS_HELD_MAX: usize = 256;

/// Keeps a delivery's account while its batches pass, and writes it down as the sink confirms.
pub(super) struct Account<'a> {
    tools: &'a Tools,
    key: ClaimKey,
    progress: Progress,
    /// Records up to this number are in the account already.
    counted: u64,
    /// Records up to this number were confirmed by an earlier attempt, whether or not the account has them.
    resume_after: u64,
    /// Whether the sink holds records that it will confirm at the end only.
    is_held: bool,
    bad: Vec<BadRecord>,
    /// Records set aside for a missing parent: they say nothing about the file.
    orphaned: u64,
    changes: Changes,
    /// More records than this set aside, and the whole delivery is quarantined.
    bad_records_max: u64,
    /// To be set once more is confirmed than `confirmed_before`.
    has_progressed: &'a AtomicBool,
    confirmed_before: u64,
    /// How much of a refused record is kept.
    bad_record_bytes_kept: usize,
    /// The blob type of all records, where a woken notice is of its records' own.
    own_type: Option<String>,
}

impl<'a> Account<'a> {
    pub(super) fn resume(
        tools: &'a Tools,
        claim: &Claim,
        resume_after: u64,
        limits: &PayloadLimits,
        has_progressed: &'a AtomicBool,
    ) -> Self {
        let stored = claim.progress;
        // A sink that starts over, or lies behind, has its records counted anew; bad ones are written over themselves.
        // Nothing is confirmed where a sink only held records: whatever was counted then is counted again.
        let starts_over = resume_after < stored.confirmed || stored.confirmed == 0;
        let progress = if starts_over { Progress::default() } else { stored };
        let is_typed = claim.woken.is_some() && tools.router.is_typed(&claim.notice.feed);
        Self {
            tools,
            key: claim.key,
            progress,
            counted: progress.confirmed,
            resume_after,
            is_held: false,
            bad: Vec::new(),
            orphaned: 0,
            changes: Changes::default(),
            bad_records_max: limits.bad_records_max,
            has_progressed,
            // A sink that has lost what it had confirmed goes over the same ground again, which is no progress.
            confirmed_before: if resume_after < stored.confirmed { u64::MAX } else { stored.confirmed },
            bad_record_bytes_kept: limits.bad_record_bytes_kept,
            own_type: is_typed.then(|| claim.notice.metadata.blob_type.clone()),
        }
    }

    /// Records up to this number are in the account already.
    pub(super) fn counted(&self) -> u64 {
        self.counted
    }

    pub(super) async fn take(
        &mut self,
        transfer: &mut dyn Transfer,
        family: Option<&Family<'_>>,
        comparison: Option<&Comparison<'_>>,
        prepared: Prepared,
    ) -> Result<(), Stopped> {
        let Prepared { mut batch, filtered, types, mut missing, looked, is_counted } = prepared;
        self.progress.bytes = batch.bytes_read;
        if is_counted {
            return Ok(());
        }
        self.progress.counts.read += filtered + (batch.spans.len() + batch.bad.len()) as u64;
        self.progress.counts.filtered += filtered;
        self.progress.known += missing.known;
        self.set_aside(std::mem::take(&mut batch.bad), types.as_ref())?;
        let mut noted = Vec::new();
        if let (Some(family), Some(looked)) = (family, looked) {
            let withheld = family.withhold(&mut batch, types.as_ref(), looked, self.resume_after).await?;
            self.withhold(withheld, types.as_ref());
            noted = family.note(&batch, types.as_ref());
        }
        missing.events.retain(|(number, _)| batch.spans.binary_search_by_key(number, |span| span.number).is_ok());
        let mut is_confirmed = false;
        self.count_confirmed(&mut batch);
        if !batch.spans.is_empty() {
            let delivered = transfer.deliver(&batch).await?;
            self.progress.counts.delivered += (batch.spans.len() - delivered.refused.len()) as u64;
            if !delivered.refused.is_empty() {
                let refused: HashSet<u64> = delivered.refused.iter().map(|bad| bad.number).collect();
                noted.retain(|noted| !refused.contains(&noted.number));
                missing.events.retain(|(number, _)| !refused.contains(number));
            }
            let mut refused = delivered.refused;
            refused.iter_mut().for_each(|bad| bad.cut_to(self.bad_record_bytes_kept));
            self.set_aside(refused, types.as_ref())?;
            is_confirmed = delivered.confirmed;
            self.is_held |= !delivered.confirmed;
        }
        self.changes.add(family, noted);
        if let Some(comparison) = comparison {
            self.changes.know(comparison.delivered_by(), missing.events.into_iter().map(|(_, event)| event));
        }
        // A batch of which nothing was left to deliver is as good as confirmed, unless the sink still holds one before it.
        if !self.is_held {
            self.progress.confirmed = batch.last;
        }
        if is_confirmed {
            reach(FailPoint::Confirmed);
        }
        if is_confirmed || self.bad.len() >= BAD_RECORDS_HELD_MAX || self.changes.len() >= CHANGES_HELD_MAX {
            self.store().await?;
            reach(FailPoint::Progressed);
        }
        Ok(())
    }

    fn withhold(&mut self, withheld: Withheld, types: Option<&OwnTypes>) {
        let refused = withheld.refused.len() as u64;
        self.progress.counts.parked += withheld.parked;
        self.progress.counts.quarantined += refused;
        self.orphaned += refused;
        self.keep(withheld.refused, types);
    }

    /// Counts as delivered what the sink confirmed before a crash kept the inbox from hearing of it. A sink goes ahead
    /// only over records of which it refused none.
    fn count_confirmed(&mut self, batch: &mut RecordBatch) {
        if batch.first <= self.resume_after {
            let before = batch.spans.len();
            batch.skip_to(self.resume_after + 1);
            self.progress.counts.delivered += (before - batch.spans.len()) as u64;
        }
    }

    /// Holds them under their own blob types, where they have any.
    fn keep(&mut self, bad: Vec<BadRecord>, types: Option<&OwnTypes>) {
        let typed = bad.into_iter().map(|bad| {
            let own_type = types.and_then(|types| types.name(bad.number)).map(str::to_owned);
            BadRecord { blob_type: own_type.or_else(|| self.own_type.clone()), ..bad }
        });
        self.bad.extend(typed);
    }

    fn set_aside(&mut self, bad: Vec<BadRecord>, types: Option<&OwnTypes>) -> Result<(), Stopped> {
        self.progress.counts.quarantined += bad.len() as u64;
        self.keep(bad, types);
        let bad_records_max = self.bad_records_max;
        if self.progress.counts.quarantined - self.orphaned > bad_records_max {
            let said = format!(
                "more than {bad_records_max} records could not be read or were refused, the last one because {}; \
                 it is of another type than its route expects (`bad_records_max` in [limits])",
                self.bad.last().map_or("of an earlier reason", |bad| bad.reason.as_str())
            );
            return Err(refusal(Class::Poison, said));
        }
        Ok(())
    }

    async fn store(&mut self) -> Result<(), InboxError> {
        let mut progress = self.progress;
        if self.is_held {
            // What the sink holds is in nobody's sight yet: should the delivery fail for good, its account must not
            // claim it.
            let set_aside = progress.counts.quarantined;
            progress.counts = Counts { read: set_aside, quarantined: set_aside, ..Counts::default() };
            progress.known = 0;
        }
        loop {
            // What is held is only staged, so that it may be written down in pieces. What is confirmed goes with the
            // progress in one commit, or a crash between two would leave a parent unknown for good.
            let piece = if self.is_held { CHANGES_HELD_MAX } else { usize::MAX };
            let remarks = Remarks {
                bad: std::mem::take(&mut self.bad),
                entities: self.changes.take(piece),
                is_held: self.is_held,
            };
            self.tools.inbox.progress(self.key, progress, remarks).await?;
            if self.changes.len() == 0 {
                break;
            }
        }
        if progress.confirmed > self.confirmed_before {
            self.has_progressed.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(super) fn close(mut self, location: String) -> Done {
        self.progress.confirmed = self.progress.counts.read;
        let entities = self.changes.take(usize::MAX);
        Done { progress: self.progress, location, remarks: Remarks { bad: self.bad, entities, is_held: self.is_held } }
    }
}
