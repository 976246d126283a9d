//! An XML document: its records are the elements that the route names, or the children of the root. They are found
//! without holding the document, and each becomes a JSON value by the rule of [`super::xml_json`].
//!
//! A document type declaration is stepped over: nothing in it is read, and an entity that it declares is not known.

use std::io::Read;

use super::batches::Batches;
use super::markup::{self, Markup, Seen};
use super::pieces::each_piece;
use super::xml_json::{self, Namespaces};
use super::{Emit, Plan, Stop};
use crate::payload::decode::text::Text;

/// Splits `text` into the elements that are records.
pub(super) fn split<R: Read>(plan: &Plan, text: &mut Text<R>, emit: &mut Emit<'_>) -> Result<u64, Stop> {
    let mut elements = Elements {
        plan,
        batches: Batches::new(plan, emit),
        markup: Markup::new(),
        around: Vec::new(),
        depth: 0,
        has_root: false,
        record: None,
        tag_offset: 0,
        body: Vec::new(),
    };
    let end = each_piece(text, |piece, at| elements.take(piece, at))?;
    elements.end(end)
}

/// The record that is being read.
struct Record {
    bytes: Vec<u8>,
    offset: u64,
    is_too_long: bool,
    /// How many elements are open around it.
    depth: usize,
}

impl Record {
    fn append(&mut self, bytes: &[u8], bytes_max: usize) {
        let room = bytes_max.saturating_sub(self.bytes.len());
        self.is_too_long |= bytes.len() > room;
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

struct Elements<'a, 'b> {
    plan: &'a Plan,
    batches: Batches<'a, 'b>,
    markup: Markup,
    /// For each open element around the records, the namespaces in force in it.
    around: Vec<Namespaces>,
    /// How many elements are open.
    depth: usize,
    has_root: bool,
    record: Option<Record>,
    /// Where the tag at hand starts.
    tag_offset: u64,
    body: Vec<u8>,
}

impl Elements<'_, '_> {
    fn take(&mut self, piece: &[u8], offset: u64) -> Result<(), Stop> {
        // From here on, the bytes of the piece belong to the open record and are not appended yet.
        let mut pending = 0;
        let mut at = 0;
        while at < piece.len() {
            at += self.markup.skippable(&piece[at..], self.depth == 0);
            let Some(byte) = piece.get(at) else {
                break;
            };
            let here = offset + at as u64;
            at += 1;
            match self.markup.take(*byte) {
                Seen::Nothing => {}
                Seen::Opening => self.tag_offset = here,
                Seen::Text if self.depth > 0 => {}
                Seen::Text => {
                    return Err(Stop::Unreadable(format!(
                        "it is not XML: text stands outside of its root, at byte {}",
                        here + 1
                    )));
                }
                Seen::LongTag => self.long_tag()?,
                seen @ (Seen::Start | Seen::Empty | Seen::End) => {
                    if self.record.is_some() {
                        self.append(&piece[pending..at]);
                    }
                    pending = at;
                    self.take_tag(seen)?;
                }
            }
        }
        if self.record.is_some() {
            self.append(&piece[pending..]);
        }
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) {
        let bytes_max = self.plan.limits.record_bytes_max;
        if let Some(record) = &mut self.record {
            record.append(bytes, bytes_max);
        }
    }

    /// A tag that is too long to be held is an affair of the record that it is in, or begins.
    fn long_tag(&mut self) -> Result<(), Stop> {
        let is_within = self.record.is_some() || self.starts_record();
        if is_within {
            return Ok(());
        }
        Err(Stop::Unreadable(format!("a tag around its records is too long, at byte {}", self.tag_offset + 1)))
    }

    fn take_tag(&mut self, seen: Seen) -> Result<(), Stop> {
        match seen {
            Seen::End => {
                if self.depth == 0 {
                    return Err(self.not_xml("an element ends that did not start"));
                }
                self.depth -= 1;
                if self.record.as_ref().is_some_and(|record| record.depth == self.depth) {
                    self.end_record()?;
                } else if self.record.is_none() {
                    self.around.pop();
                }
            }
            _ if self.depth == 0 && self.has_root => {
                return Err(self.not_xml("an element follows its root"));
            }
            _ => {
                let starts_record = self.record.is_none() && self.starts_record();
                self.has_root = true;
                if starts_record {
                    let mut record = Record {
                        bytes: Vec::new(),
                        offset: self.tag_offset,
                        is_too_long: self.markup.is_long(),
                        depth: self.depth,
                    };
                    record.append(&self.markup.tag, self.plan.limits.record_bytes_max);
                    self.record = Some(record);
                } else if self.record.is_none() && seen == Seen::Start {
                    self.enter()?;
                }
                match seen {
                    Seen::Start => self.depth += 1,
                    _ if starts_record => self.end_record()?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Whether the tag at hand begins a record, given that none is open.
    fn starts_record(&self) -> bool {
        let name = markup::name(&self.markup.tag);
        match self.plan.hints.xml_record_element.as_deref().map(str::as_bytes) {
            Some(wanted) if wanted.contains(&b':') => name == wanted,
            // A name without a prefix is meant in any namespace.
            Some(wanted) => name.rsplit(|byte| *byte == b':').next() == Some(wanted),
            None => self.depth == 1,
        }
    }

    /// Goes into an element that holds records.
    fn enter(&mut self) -> Result<(), Stop> {
        if self.around.len() >= self.plan.limits.depth_max {
            return Err(Stop::Unreadable(format!("it is nested deeper than {}", self.plan.limits.depth_max)));
        }
        let none = Namespaces::new();
        let outer = self.around.last().unwrap_or(&none);
        let namespaces = xml_json::namespaces(&self.markup.tag, outer).map_err(|reason| self.not_xml(&reason))?;
        self.around.push(namespaces);
        Ok(())
    }

    fn end_record(&mut self) -> Result<(), Stop> {
        let Some(record) = self.record.take() else {
            return Ok(());
        };
        let none = Namespaces::new();
        let around = self.around.last().unwrap_or(&none);
        let limits = &self.plan.limits;
        let fault = if record.is_too_long {
            Some(format!("it is longer than {} bytes", limits.record_bytes_max))
        } else {
            xml_json::convert(&record.bytes, around, limits.depth_max, &mut self.body).err()
        };
        match fault {
            None => self.batches.push(&self.body, record.offset),
            Some(reason) => self.batches.push_bad(reason, &record.bytes, record.offset),
        }
    }

    fn not_xml(&self, reason: &str) -> Stop {
        Stop::Unreadable(format!("it is not XML: {reason}, at byte {}", self.tag_offset + 1))
    }

    fn end(self, offset: u64) -> Result<u64, Stop> {
        let so_far = self.batches.records();
        let is_whole = self.depth == 0 && self.markup.is_between();
        let records = self.batches.finish(offset)?;
        if is_whole {
            return Ok(records);
        }
        Err(Stop::Unreadable(format!("its document is cut off after {so_far} records")))
    }
}
