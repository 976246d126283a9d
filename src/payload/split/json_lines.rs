//! JSON lines: the hot path. Text is read straight into the buffer of the batch, checked there line by line, and handed
//! on as it is; a record costs no allocation and, unless something before it was left out, no copy.
//!
//! ```text
//! buffer   [ batch: bodies, each with its LF | next batch ... | checked so far | part of a line ]  free
//!           ^ 0                               ^ batch_start    ^ kept           ^ line_start   ^ filled
//! ```
//!
//! Blank lines, bad records and carriage returns are squeezed out: what follows them moves down to `kept`. So a batch is
//! always lines and nothing else, and the buffer never holds more than one batch, one record and one piece of reading.

use std::io::{self, Read};

use bytes::Bytes;
use memchr::memchr;

use super::batches::{Fill, Tally};

use super::json_text::Checker;
use super::{Emit, Plan, Stop};
use crate::payload::buffers::{Buffer, Buffers};
use crate::payload::decode::text::Text;
use crate::record::{BadRecord, RecordBatch, Span};

/// How much is read at a time: enough that the decoder works at speed, little enough that it is still in the processor's
/// cache when the lines are looked at.
const READ_BYTES: usize = 128 << 10;

/// A first guess at a batch; larger batches let their buffer grow.
const BATCH_BYTES_GUESSED: usize = 1 << 20;

/// Splits `text` into batches of its lines.
pub(super) fn split<R: Read>(plan: &Plan, text: &mut Text<R>, emit: &mut Emit<'_>) -> Result<u64, Stop> {
    let buffer_bytes = plan.batch.bytes_max.min(BATCH_BYTES_GUESSED) + 2 * READ_BYTES;
    let buffers = Buffers::new(buffer_bytes);
    let mut lines = Lines {
        plan,
        buffer: buffers.take(),
        batch_start: 0,
        kept: 0,
        line_start: 0,
        filled: 0,
        is_skipping: false,
        offset: 0,
        checker: Checker::default(),
        tally: Tally::new(&plan.limits),
        open: Open { first: 1, ..Open::default() },
        ready: Vec::new(),
    };
    let mut is_first = true;
    loop {
        let count = lines.read(text)?;
        if is_first {
            lines.offset = text.mark_bytes();
            is_first = false;
        }
        if count == 0 {
            break;
        }
        lines.scan(lines.filled - count)?;
        lines.hand_over(&buffers, emit)?;
    }
    lines.end()?;
    lines.hand_over(&buffers, emit)?;
    Ok(lines.tally.records)
}

/// The batch in the making. Its spans count from its own start.
#[derive(Default)]
struct Open {
    spans: Vec<Span>,
    bad: Vec<BadRecord>,
    fill: Fill,
    first: u64,
}

/// A finished batch, whose bytes still stand in the buffer.
struct Ready {
    start: usize,
    end: usize,
    batch: RecordBatch,
}

struct Lines<'a> {
    plan: &'a Plan,
    buffer: Buffer,
    batch_start: usize,
    kept: usize,
    line_start: usize,
    filled: usize,
    /// Within a record that was set aside for its length: everything up to its line feed is dropped.
    is_skipping: bool,
    /// Where the line at `line_start` starts in the text.
    offset: u64,
    checker: Checker,
    tally: Tally,
    open: Open,
    ready: Vec<Ready>,
}

impl Lines<'_> {
    fn read<R: Read>(&mut self, text: &mut Text<R>) -> io::Result<usize> {
        self.make_room(READ_BYTES);
        let room = &mut self.buffer[self.filled..self.filled + READ_BYTES];
        let count = text.read(room)?;
        self.filled += count;
        Ok(count)
    }

    fn make_room(&mut self, bytes: usize) {
        if self.buffer.len() - self.filled < bytes {
            let grown = (self.buffer.len() * 2).max(self.filled + bytes);
            self.buffer.resize(grown, 0);
        }
    }

    /// Takes the lines that the bytes from `from` on complete.
    fn scan(&mut self, from: usize) -> Result<(), Stop> {
        let mut at = from;
        while let Some(found) = memchr(b'\n', &self.buffer[at..self.filled]) {
            let end = at + found;
            self.take_line(end)?;
            self.offset += (end + 1 - self.line_start) as u64;
            self.line_start = end + 1;
            at = end + 1;
        }
        let rest = self.filled - self.line_start;
        // A carriage return may still turn out to be the last byte, and is not part of the record.
        if !self.is_skipping && rest > self.plan.limits.record_bytes_max.saturating_add(1) {
            self.set_aside(self.too_long(), self.line_start, self.filled)?;
            self.is_skipping = true;
        }
        if self.is_skipping {
            self.offset += rest as u64;
            self.filled = self.line_start;
        }
        if self.kept < self.line_start {
            self.buffer.copy_within(self.line_start..self.filled, self.kept);
            self.filled -= self.line_start - self.kept;
            self.line_start = self.kept;
        }
        Ok(())
    }

    /// Takes the line from `line_start` to the line feed at `end`.
    fn take_line(&mut self, end: usize) -> Result<(), Stop> {
        if std::mem::take(&mut self.is_skipping) {
            return Ok(());
        }
        let start = self.line_start;
        let line = &self.buffer[start..end];
        let body = line.strip_suffix(b"\r").unwrap_or(line);
        let length = body.len();
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let fault = if length > self.plan.limits.record_bytes_max {
            Some(self.too_long())
        } else {
            self.checker.check(body, self.plan.limits.depth_max).err()
        };
        match fault {
            Some(reason) => self.set_aside(reason, start, start + length),
            None => self.keep(start, length),
        }
    }

    fn too_long(&self) -> String {
        format!("it is longer than {} bytes", self.plan.limits.record_bytes_max)
    }

    fn keep(&mut self, start: usize, length: usize) -> Result<(), Stop> {
        if self.open.fill.must_cut_before(length, self.plan.batch) {
            self.cut(self.offset);
        }
        let number = self.tally.next()?;
        self.open.fill.add(length);
        if self.kept < start {
            self.buffer.copy_within(start..start + length, self.kept);
        }
        self.buffer[self.kept + length] = b'\n';
        let from = self.kept - self.batch_start;
        self.open.spans.push(Span { start: from, end: from + length, number, offset: self.offset });
        self.kept += length + 1;
        Ok(())
    }

    fn set_aside(&mut self, reason: String, start: usize, end: usize) -> Result<(), Stop> {
        if self.open.fill.must_cut_before(0, self.plan.batch) {
            self.cut(self.offset);
        }
        let number = self.tally.next()?;
        self.open.fill.add(0);
        let bad = self.tally.set_aside(number, self.offset, reason, &self.buffer[start..end])?;
        self.open.bad.push(bad);
        Ok(())
    }

    /// Ends the open batch after `bytes_read` bytes of text.
    fn cut(&mut self, bytes_read: u64) {
        let last = self.tally.records;
        let room = self.open.spans.len();
        let next = Open { first: last + 1, spans: Vec::with_capacity(room), ..Open::default() };
        let open = std::mem::replace(&mut self.open, next);
        let batch = RecordBatch {
            buffer: Bytes::new(),
            spans: open.spans,
            bad: open.bad,
            first: open.first,
            last,
            bytes_read,
            is_lines: true,
        };
        self.ready.push(Ready { start: self.batch_start, end: self.kept, batch });
        self.batch_start = self.kept;
    }

    /// Hands the finished batches over, and goes on with what follows them in a buffer of its own.
    fn hand_over(&mut self, buffers: &Buffers, emit: &mut Emit<'_>) -> Result<(), Stop> {
        if self.ready.is_empty() {
            return Ok(());
        }
        let rest = self.batch_start..self.filled;
        let mut next = buffers.take();
        if next.len() < rest.len() {
            next.resize(rest.len(), 0);
        }
        next[..rest.len()].copy_from_slice(&self.buffer[rest.clone()]);
        let full = std::mem::replace(&mut self.buffer, next);
        self.kept -= rest.start;
        self.line_start -= rest.start;
        self.filled -= rest.start;
        self.batch_start = 0;
        let bytes = full.freeze();
        for ready in self.ready.drain(..) {
            emit(RecordBatch { buffer: bytes.slice(ready.start..ready.end), ..ready.batch })?;
        }
        Ok(())
    }

    /// Takes what follows the last line feed, and ends the last batch.
    fn end(&mut self) -> Result<(), Stop> {
        if self.line_start < self.filled {
            self.make_room(1);
            self.buffer[self.filled] = b'\n';
            self.filled += 1;
            self.take_line(self.filled - 1)?;
            self.offset += (self.filled - 1 - self.line_start) as u64;
            self.line_start = self.filled;
        }
        if self.open.fill.records > 0 {
            self.cut(self.offset);
        }
        Ok(())
    }
}
