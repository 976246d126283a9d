//! When a batch is full, how bad records are counted, and batches made of bodies that are written one by one.

use bytes::Bytes;

use super::{Emit, Plan, Stop};
use crate::error::Class;
use crate::payload::PayloadLimits;
use crate::record::{BadRecord, RecordBatch, Span};
use crate::secret::redact_bytes;
use crate::sink::BatchLimits;

/// Numbers the records of a payload and holds it to its limits.
#[derive(Debug)]
pub(super) struct Tally {
    limits: PayloadLimits,
    /// Records so far, readable or bad.
    pub records: u64,
    bad: u64,
}

impl Tally {
    pub fn new(limits: &PayloadLimits) -> Self {
        Self { limits: limits.clone(), records: 0, bad: 0 }
    }

    /// The number of the next record.
    pub fn next(&mut self) -> Result<u64, Stop> {
        if self.records >= self.limits.records_max {
            return Err(Stop::Unreadable(format!(
                "it has more than {} records; raise `records_max` if that is right",
                self.limits.records_max
            )));
        }
        self.records += 1;
        Ok(self.records)
    }

    /// Sets the record with this number aside.
    pub fn set_aside(&mut self, number: u64, offset: u64, reason: String, start: &[u8]) -> Result<BadRecord, Stop> {
        self.bad += 1;
        if self.bad > self.limits.bad_records_max {
            return Err(Stop::Unreadable(format!(
                "more than {} of its records cannot be read; the last is number {number}: {reason}",
                self.limits.bad_records_max
            )));
        }
        let kept = start.len().min(self.limits.bad_record_bytes_kept);
        // Nobody holds more of a record than it may be long.
        let is_cut = kept < start.len() || start.len() >= self.limits.record_bytes_max;
        // Nobody takes it for a record: it may be the error page of a server, which repeats the request with its token.
        let mut bytes = redact_bytes(&start[..kept]);
        bytes.truncate(self.limits.bad_record_bytes_kept);
        Ok(BadRecord {
            number,
            offset,
            reason,
            class: Class::Poison,
            is_readable: false,
            is_cut,
            blob_type: None,
            bytes,
        })
    }
}

/// How full the batch in the making is. It is cut before a record that does not fit; one alone always fits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fill {
    pub records: usize,
    pub body_bytes: usize,
}

impl Fill {
    /// Whether a batch so full must be cut before a record of `body_bytes` (none for a bad one).
    pub fn must_cut_before(&self, body_bytes: usize, limits: BatchLimits) -> bool {
        let is_over = self.body_bytes > 0 && self.body_bytes.saturating_add(body_bytes) > limits.bytes_max;
        self.records > 0 && (self.records >= limits.records_max.max(1) || is_over)
    }

    pub fn add(&mut self, body_bytes: usize) {
        self.records += 1;
        self.body_bytes += body_bytes;
    }
}

/// Makes batches of bodies that are written one after the other.
pub(super) struct Batches<'a, 'b> {
    plan: &'a Plan,
    emit: &'a mut Emit<'b>,
    tally: Tally,
    fill: Fill,
    buffer: Vec<u8>,
    spans: Vec<Span>,
    bad: Vec<BadRecord>,
    first: u64,
}

impl<'a, 'b> Batches<'a, 'b> {
    pub fn new(plan: &'a Plan, emit: &'a mut Emit<'b>) -> Self {
        Self {
            plan,
            emit,
            tally: Tally::new(&plan.limits),
            fill: Fill::default(),
            buffer: Vec::new(),
            spans: Vec::new(),
            bad: Vec::new(),
            first: 1,
        }
    }

    /// Takes the next record, which starts at `offset`.
    pub fn push(&mut self, body: &[u8], offset: u64) -> Result<(), Stop> {
        debug_assert!(!body.contains(&b'\n'), "a body stands on one line");
        if self.fill.must_cut_before(body.len(), self.plan.batch) {
            self.cut(offset)?;
        }
        let number = self.tally.next()?;
        self.fill.add(body.len());
        let start = self.buffer.len();
        self.buffer.extend_from_slice(body);
        self.spans.push(Span { start, end: self.buffer.len(), number, offset });
        self.buffer.push(b'\n');
        Ok(())
    }

    /// Sets the next record aside; `start` is its beginning.
    pub fn push_bad(&mut self, reason: String, start: &[u8], offset: u64) -> Result<(), Stop> {
        if self.fill.must_cut_before(0, self.plan.batch) {
            self.cut(offset)?;
        }
        let number = self.tally.next()?;
        self.fill.add(0);
        let bad = self.tally.set_aside(number, offset, reason, start)?;
        self.bad.push(bad);
        Ok(())
    }

    /// How many records there were so far, readable or bad.
    pub fn records(&self) -> u64 {
        self.tally.records
    }

    /// Ends the last batch, after `bytes_read` bytes of text; returns how many records there were.
    pub fn finish(mut self, bytes_read: u64) -> Result<u64, Stop> {
        if self.fill.records > 0 {
            self.cut(bytes_read)?;
        }
        Ok(self.tally.records)
    }

    fn cut(&mut self, bytes_read: u64) -> Result<(), Stop> {
        let last = self.tally.records;
        let first = std::mem::replace(&mut self.first, last + 1);
        self.fill = Fill::default();
        let room = self.buffer.len();
        let batch = RecordBatch {
            buffer: Bytes::from(std::mem::replace(&mut self.buffer, Vec::with_capacity(room))),
            spans: std::mem::take(&mut self.spans),
            bad: std::mem::take(&mut self.bad),
            first,
            last,
            bytes_read,
            is_lines: true,
        };
        (self.emit)(batch)?;
        Ok(())
    }
}
