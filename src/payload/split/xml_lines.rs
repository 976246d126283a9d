//! XML lines: each line is an element, which becomes a JSON value by the rule of [`super::xml_json`].

use std::io::Read;

use super::batches::Batches;
use super::xml_json::{self, Namespaces};
use super::{Emit, Plan, Stop};
use crate::payload::decode::text::Text;

const READ_BYTES: usize = 64 << 10;

/// Splits `text` into its lines.
pub(super) fn split<R: Read>(plan: &Plan, text: &mut Text<R>, emit: &mut Emit<'_>) -> Result<u64, Stop> {
    let mut lines =
        Lines { plan, batches: Batches::new(plan, emit), line: Vec::new(), raw_bytes: 0, offset: 0, body: Vec::new() };
    let mut piece = vec![0; READ_BYTES];
    let mut is_first = true;
    loop {
        let count = text.read(&mut piece)?;
        if std::mem::take(&mut is_first) {
            lines.offset = text.mark_bytes();
        }
        if count == 0 {
            break;
        }
        let mut rest = &piece[..count];
        while let Some(found) = memchr::memchr(b'\n', rest) {
            lines.append(&rest[..found]);
            lines.end_line()?;
            lines.offset += 1;
            rest = &rest[found + 1..];
        }
        lines.append(rest);
    }
    lines.end_line()?;
    let offset = lines.offset;
    lines.batches.finish(offset)
}

/// Whether the line is an XML declaration and nothing else, which belongs to documents but does no harm here.
fn is_declaration(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    line.starts_with(b"<?xml ") && memchr::memmem::find(line, b"?>") == Some(line.len() - 2)
}

struct Lines<'a, 'b> {
    plan: &'a Plan,
    batches: Batches<'a, 'b>,
    /// The line so far, up to a byte more than a record may have.
    line: Vec<u8>,
    /// How long the line is in the text.
    raw_bytes: u64,
    /// Where the line starts in the text.
    offset: u64,
    body: Vec<u8>,
}

impl Lines<'_, '_> {
    fn append(&mut self, bytes: &[u8]) {
        self.raw_bytes += bytes.len() as u64;
        // A carriage return may follow the record; what goes beyond that shows that it is too long.
        let room = self.plan.limits.record_bytes_max.saturating_add(2).saturating_sub(self.line.len());
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self) -> Result<(), Stop> {
        let bytes_max = self.plan.limits.record_bytes_max;
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        if line.len() > bytes_max {
            self.batches.push_bad(format!("it is longer than {bytes_max} bytes"), line, self.offset)?;
        } else if !line.iter().all(u8::is_ascii_whitespace) && !is_declaration(line) {
            match xml_json::convert(line, &Namespaces::new(), self.plan.limits.depth_max, &mut self.body) {
                Ok(()) => self.batches.push(&self.body, self.offset)?,
                Err(reason) => self.batches.push_bad(reason, line, self.offset)?,
            }
        }
        self.offset += self.raw_bytes;
        self.raw_bytes = 0;
        self.line.clear();
        Ok(())
    }
}
