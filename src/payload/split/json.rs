//! A JSON document: each element of a top-level array is a record, found without holding the array; any other value is
//! the only record.

use std::io::Read;

use memchr::memchr2;

use super::batches::Batches;
use super::pieces::{READ_BYTES, each_piece};
use super::{Emit, Plan, Stop, json_text};
use crate::payload::decode::text::Text;

/// Splits `text`, a JSON document, into its elements.
pub(super) fn split<R: Read>(plan: &Plan, text: &mut Text<R>, emit: &mut Emit<'_>) -> Result<u64, Stop> {
    let mut elements = Elements {
        plan,
        batches: Batches::new(plan, emit),
        place: Place::Before,
        element: Vec::new(),
        element_offset: 0,
        is_too_long: false,
        depth: 0,
        string: None,
        checker: json_text::Checker::default(),
    };
    let end = each_piece(text, |piece, at| elements.take(piece, at))?;
    elements.end(end)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the first byte that is not white space.
    Before,
    /// Within the only value.
    Single,
    /// Within the array; whether an element was ended in it.
    Array { has_elements: bool },
    /// After the array.
    After,
}

/// Within a string; whether the last byte was a backslash that escapes the next.
#[derive(Clone, Copy)]
struct InString {
    is_escaped: bool,
}

struct Elements<'a, 'b> {
    plan: &'a Plan,
    batches: Batches<'a, 'b>,
    place: Place,
    /// The element so far, without white space before it.
    element: Vec<u8>,
    element_offset: u64,
    is_too_long: bool,
    depth: usize,
    string: Option<InString>,
    checker: json_text::Checker,
}

impl Elements<'_, '_> {
    fn take(&mut self, piece: &[u8], offset: u64) -> Result<(), Stop> {
        let mut at = 0;
        while at < piece.len() {
            let here = offset + at as u64;
            match self.place {
                Place::Before => {
                    let byte = piece[at];
                    if byte == b'[' {
                        self.place = Place::Array { has_elements: false };
                        at += 1;
                    } else if byte.is_ascii_whitespace() {
                        at += 1;
                    } else {
                        self.place = Place::Single;
                    }
                }
                Place::Single => {
                    self.append(&piece[at..], here);
                    at = piece.len();
                }
                Place::Array { .. } => at = self.take_element(piece, at, offset)?,
                Place::After => {
                    if let Some(found) = piece[at..].iter().position(|byte| !byte.is_ascii_whitespace()) {
                        return Err(Stop::Unreadable(format!(
                            "something follows the end of its array, at byte {}",
                            here + found as u64 + 1
                        )));
                    }
                    at = piece.len();
                }
            }
        }
        Ok(())
    }

    /// Takes bytes of an element up to its end or the end of the piece; returns where to go on.
    fn take_element(&mut self, piece: &[u8], from: usize, offset: u64) -> Result<usize, Stop> {
        let mut at = from;
        while at < piece.len() {
            if let Some(string) = &mut self.string {
                if string.is_escaped {
                    string.is_escaped = false;
                    at += 1;
                    continue;
                }
                let Some(found) = memchr2(b'"', b'\\', &piece[at..]) else {
                    break;
                };
                at += found + 1;
                match piece[at - 1] {
                    b'"' => self.string = None,
                    _ => string.is_escaped = true,
                }
                continue;
            }
            match piece[at] {
                b'"' => self.string = Some(InString { is_escaped: false }),
                b'{' | b'[' => self.depth += 1,
                end @ (b',' | b']') if self.depth == 0 => {
                    self.append(&piece[from..at], offset + from as u64);
                    self.end_element(end, offset + at as u64)?;
                    return Ok(at + 1);
                }
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            at += 1;
        }
        self.append(&piece[from..], offset + from as u64);
        Ok(piece.len())
    }

    fn append(&mut self, mut bytes: &[u8], mut offset: u64) {
        if self.element.is_empty() {
            let blank = bytes.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            bytes = &bytes[blank..];
            offset += blank as u64;
            self.element_offset = offset;
        }
        let room = self.plan.limits.record_bytes_max.saturating_sub(self.element.len());
        if bytes.len() > room {
            // White space after the element does not belong to it, however much there is.
            self.is_too_long |= bytes[room..].iter().any(|byte| !byte.is_ascii_whitespace());
            bytes = &bytes[..room];
        }
        self.element.extend_from_slice(bytes);
    }

    fn end_element(&mut self, end: u8, offset: u64) -> Result<(), Stop> {
        let had_elements = self.place == Place::Array { has_elements: true };
        let is_last = end == b']';
        self.place = if is_last { Place::After } else { Place::Array { has_elements: true } };
        if self.element.is_empty() {
            self.element_offset = offset;
            let is_empty_array = is_last && !had_elements;
            return if is_empty_array { Ok(()) } else { self.batches.push_bad("it is empty".to_owned(), b"", offset) };
        }
        self.push()
    }

    fn push(&mut self) -> Result<(), Stop> {
        let mut element = std::mem::take(&mut self.element);
        let is_too_long = std::mem::take(&mut self.is_too_long);
        self.depth = 0;
        let fault = if is_too_long {
            Some(format!("it is longer than {} bytes", self.plan.limits.record_bytes_max))
        } else {
            self.checker.check(&element, self.plan.limits.depth_max).err()
        };
        match fault {
            Some(reason) => self.batches.push_bad(reason, &element, self.element_offset)?,
            None => {
                json_text::put_on_one_line(&mut element);
                self.batches.push(element.trim_ascii_end(), self.element_offset)?;
            }
        }
        element.clear();
        // Kept for the next element, unless this one was uncommonly large.
        if element.capacity() <= READ_BYTES {
            self.element = element;
        }
        Ok(())
    }

    fn end(mut self, offset: u64) -> Result<u64, Stop> {
        match self.place {
            Place::Before | Place::After => {}
            Place::Single => self.push()?,
            Place::Array { .. } => {
                let so_far = self.batches.records();
                self.batches.finish(offset)?;
                return Err(Stop::Unreadable(format!("its array is cut off after {so_far} records")));
            }
        }
        self.batches.finish(offset)
    }
}
