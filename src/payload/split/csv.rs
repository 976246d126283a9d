//! CSV: the first row names the columns, every further row is a record: an object of strings, in the columns' order.
//!
//! What becomes of names and values, `columns` says. A row with more or fewer values than there are names is set aside.
//! The separator is the route's, or whichever of `,` `;` tab and `|` is most frequent in the header.
//!
//! A quotation mark that is not closed before the end of the file, or within `record_bytes_max`, would take the rows after
//! it along. So the line in which it opens is set aside alone, and reading goes on at the next line; a value that is too
//! long and stands on one line costs its row, as before.
//! Nothing is read more than twice for it: what stood in the open value had marks in pairs alone, which open nothing in a
//! line of their own.

mod quotes;

use std::io::Read;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use self::quotes::Quotes;
use super::batches::Batches;
use super::columns::Layout;
use super::{Emit, Plan, Stop};
use crate::payload::decode::text::Text;
use crate::route::FormatHints;

const READ_BYTES: usize = 64 << 10;

/// How many values a row may have; a row with more is set aside. Bounds what a row of nothing but separators costs.
const COLUMNS_MAX: usize = 16 << 10;

/// Room for a row at first; it grows with the rows.
const VALUES_BYTES_AT_FIRST: usize = 4 << 10;
const COLUMNS_AT_FIRST: usize = 64;

/// Separators that are looked for; of equally frequent ones the first counts.
const SEPARATORS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// The columns that the header line names with which `head` begins, trimmed; a line that is not whole names those that
/// are. Separator and encoding are found out as for records. Empty if there is no header line that can be read.
#[must_use]
pub fn csv_columns(head: &[u8]) -> Vec<String> {
    let mut start = Vec::new();
    if Text::new(head, None).read_to_end(&mut start).is_err() {
        return Vec::new();
    }
    let (mut values, mut ends) = (vec![0; start.len()], vec![0; COLUMNS_MAX]);
    let mut reader = ReaderBuilder::new().delimiter(separator_of(&start, b'"')).build();
    let (_, _, _, count) = reader.read_record(&start, &mut values, &mut ends);
    let mut from = 0;
    let names = ends[..count].iter().map(|end| {
        let name = String::from_utf8_lossy(&values[from..*end]).trim().to_owned();
        from = *end;
        name
    });
    names.collect()
}

/// Splits `text` into its rows.
pub(super) fn split<R: Read>(plan: &Plan, text: &mut Text<R>, emit: &mut Emit<'_>) -> Result<u64, Stop> {
    let mut input = Input { text, piece: vec![0; READ_BYTES], from: 0, to: 0, offset: 0, is_ended: false };
    // Whole, so that the separator that is found, and whether csv-core sees a second mark, do not depend on how the text
    // arrives.
    input.fill_whole()?;
    input.offset = input.text.mark_bytes();
    let quote = plan.hints.csv_quote.unwrap_or(b'"');
    let separator = plan.hints.csv_separator.unwrap_or_else(|| separator_of(input.rest(), quote));
    let mut rows = Rows {
        quotes: Quotes::new(separator, quote),
        reader: ReaderBuilder::new().delimiter(separator).quote(quote).build(),
        row: Row {
            values: vec![0; plan.limits.record_bytes_max.min(VALUES_BYTES_AT_FIRST)],
            ends: vec![0; COLUMNS_AT_FIRST],
            ..Row::default()
        },
        bytes_max: plan.limits.record_bytes_max,
        // One more than is kept tells whether there was more.
        kept_max: plan.limits.bad_record_bytes_kept.saturating_add(1),
    };
    let mut batches = Batches::new(plan, emit);
    let Some(header) = rows.next(&mut input)? else {
        return batches.finish(input.offset);
    };
    let mut layout = layout(header, &plan.hints).map_err(Stop::Unreadable)?;
    let mut body = Vec::new();
    while let Some(row) = rows.next(&mut input)? {
        match write_object(&mut layout, row, &mut body) {
            Ok(()) => batches.push(&body, row.offset)?,
            Err(reason) => batches.push_bad(reason, &row.start, row.offset)?,
        }
    }
    batches.finish(input.offset)
}

/// The text, piece by piece.
struct Input<'a, R> {
    text: &'a mut Text<R>,
    piece: Vec<u8>,
    from: usize,
    to: usize,
    /// Where `from` lies in the text.
    offset: u64,
    is_ended: bool,
}

impl<R: Read> Input<'_, R> {
    fn rest(&self) -> &[u8] {
        &self.piece[self.from..self.to]
    }

    fn fill(&mut self) -> Result<(), Stop> {
        if self.from == self.to && !self.is_ended {
            self.from = 0;
            // It may have grown when something was read again.
            self.piece.truncate(READ_BYTES);
            self.to = self.text.read(&mut self.piece)?;
            self.is_ended = self.to == 0;
        }
        Ok(())
    }

    fn fill_whole(&mut self) -> Result<(), Stop> {
        while self.to < self.piece.len() {
            match self.text.read(&mut self.piece[self.to..])? {
                0 => break,
                count => self.to += count,
            }
            // The reader of text needs room for a whole character.
            if self.piece.len() - self.to < 4 {
                break;
            }
        }
        Ok(())
    }

    fn advance(&mut self, bytes: usize) {
        self.from += bytes;
        self.offset += bytes as u64;
    }

    /// Goes back to where `tail` begins, which was read last.
    fn read_again(&mut self, mut tail: Vec<u8>) {
        self.offset -= tail.len() as u64;
        tail.extend_from_slice(self.rest());
        self.from = 0;
        self.to = tail.len();
        tail.resize(tail.len().max(READ_BYTES), 0);
        self.piece = tail;
        self.is_ended = false;
    }

    /// Steps over empty lines, so that a row's offset is its own.
    fn skip_line_ends(&mut self) -> Result<(), Stop> {
        loop {
            self.fill()?;
            let blank = self.rest().iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            self.advance(blank);
            if blank == 0 || self.is_ended {
                return Ok(());
            }
        }
    }
}

/// One row.
#[derive(Default)]
struct Row {
    values: Vec<u8>,
    ends: Vec<usize>,
    count: usize,
    offset: u64,
    /// How the row begins in the file, for when it is set aside.
    start: Vec<u8>,
    fault: Option<String>,
}

impl Row {
    fn values(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let mut from = 0;
        self.ends[..self.count].iter().map(move |end| {
            let value = &self.values[from..*end];
            from = *end;
            value
        })
    }
}

struct Rows {
    reader: Reader,
    quotes: Quotes,
    row: Row,
    bytes_max: usize,
    kept_max: usize,
}

impl Rows {
    fn next<R: Read>(&mut self, input: &mut Input<'_, R>) -> Result<Option<&Row>, Stop> {
        Ok(self.read(input)?.then_some(&self.row))
    }

    /// Reads the next row; `false` when there is none.
    fn read<R: Read>(&mut self, input: &mut Input<'_, R>) -> Result<bool, Stop> {
        input.skip_line_ends()?;
        let row = &mut self.row;
        row.offset = input.offset;
        row.start.clear();
        row.fault = None;
        row.count = 0;
        self.quotes.start_row();
        let mut values_from = 0;
        loop {
            input.fill()?;
            let (result, read, written, ended) =
                self.reader.read_record(input.rest(), &mut row.values[values_from..], &mut row.ends[row.count..]);
            let raw = &input.rest()[..read];
            self.quotes.read(raw);
            let room = self.kept_max.saturating_sub(row.start.len()).min(raw.len());
            row.start.extend_from_slice(&raw[..room]);
            input.advance(read);
            if row.fault.is_none() {
                values_from += written;
                row.count += ended;
            }
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if row.fault.is_none() => {
                    if row.values.len() >= self.bytes_max {
                        row.fault = Some(format!("it is longer than {} bytes", self.bytes_max));
                        if let Some(tail) = self.quotes.take_tail() {
                            let why = format!("within {} bytes", self.bytes_max);
                            self.end_at_line(input, tail, &why);
                            return Ok(true);
                        }
                    } else {
                        row.values.resize((row.values.len() * 2).min(self.bytes_max), 0);
                    }
                }
                ReadRecordResult::OutputEndsFull if row.fault.is_none() => {
                    if row.ends.len() >= COLUMNS_MAX {
                        row.fault = Some(format!("it has more than {COLUMNS_MAX} columns"));
                    } else {
                        row.ends.resize(row.ends.len() * 2, 0);
                    }
                }
                // The rest of a row that is set aside anyway goes over what was kept of it.
                ReadRecordResult::OutputFull => values_from = 0,
                ReadRecordResult::OutputEndsFull => row.count = 0,
                ReadRecordResult::Record => {
                    if input.is_ended && self.quotes.is_open() && row.fault.is_none() {
                        row.fault = Some("its quotation mark is not closed before the end of the file".to_owned());
                        if let Some(tail) = self.quotes.take_tail() {
                            self.end_at_line(input, tail, "before the end of the file");
                            return Ok(true);
                        }
                    }
                    while row.start.last().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
                        row.start.pop();
                    }
                    return Ok(true);
                }
                ReadRecordResult::End => return Ok(false),
            }
        }
    }
}

impl Rows {
    /// Ends the row with the line in which its quotation mark opens; `tail` is everything that was read after that line.
    fn end_at_line<R: Read>(&mut self, input: &mut Input<'_, R>, tail: Vec<u8>, why: &str) {
        let line = input.offset - tail.len() as u64 - self.row.offset;
        self.row.start.truncate(usize::try_from(line).unwrap_or(usize::MAX));
        while self.row.start.last().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
            self.row.start.pop();
        }
        self.row.fault = Some(format!(
            "its quotation mark is not closed {why}; reading went on at the line after the one in which it opens"
        ));
        input.read_again(tail);
        self.reader.reset();
        // From here on a byte order mark is a value like another, however the text arrives.
        self.reader.read_record(b"\n", &mut [0], &mut [0]);
    }
}

/// The most frequent separator of the header line, outside of quotation marks.
fn separator_of(start: &[u8], quote: u8) -> u8 {
    let mut counts = [0_usize; SEPARATORS.len()];
    let mut is_quoted = false;
    for byte in start {
        match byte {
            byte if *byte == quote => is_quoted = !is_quoted,
            b'\r' | b'\n' if !is_quoted && counts != [0; SEPARATORS.len()] => break,
            _ if is_quoted => {}
            _ => {
                if let Some(at) = SEPARATORS.iter().position(|separator| separator == byte) {
                    counts[at] += 1;
                }
            }
        }
    }
    let most = counts.iter().copied().max().unwrap_or_default();
    let at = counts.iter().position(|count| *count == most).unwrap_or_default();
    SEPARATORS[at]
}

/// What becomes of the columns that the header names.
fn layout(header: &Row, hints: &FormatHints) -> Result<Layout, String> {
    if let Some(fault) = &header.fault {
        return Err(format!("its header line cannot be used: {fault}"));
    }
    let names: Result<Vec<_>, _> = header.values().map(std::str::from_utf8).collect();
    let names = names.map_err(|_| "its header line is not UTF-8".to_owned())?;
    Ok(Layout::of(names.into_iter(), hints))
}

fn write_object(layout: &mut Layout, row: &Row, body: &mut Vec<u8>) -> Result<(), String> {
    if let Some(fault) = &row.fault {
        return Err(fault.clone());
    }
    if row.count != layout.len() {
        return Err(format!("it has {} values, and the header names {} columns", row.count, layout.len()));
    }
    layout.write(row.values(), body)
}
