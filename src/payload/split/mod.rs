//! Splitting: from text to batches of records.
//!
//! What always holds:
//!
//! 1. The same content gives the same batches, however it arrives in pieces: idempotency keys depend on it.
//! 2. Every record is in exactly one batch, readable or bad, numbered from 1 without a gap.
//! 3. Every body is one JSON value in UTF-8 without a line feed, nested no deeper than `depth_max`.
//! 4. A record longer than `record_bytes_max` is set aside without being held in memory.
//! 5. A bad record never ends the payload, unless there are more than `bad_records_max` of them.

mod batches;
mod columns;
mod csv;
mod json;
mod json_lines;
mod json_text;
mod markup;
mod pieces;
mod xml;
mod xml_json;
mod xml_lines;

pub use csv::csv_columns;

use std::io::{self, Read};

use super::decode::Abandoned;
use super::decode::text::Text;
use super::{Form, PayloadError, PayloadLimits};
use crate::record::RecordBatch;
use crate::route::FormatHints;
use crate::sink::BatchLimits;

/// Where finished batches go; waits while they are not wanted yet. An error means that the reader has gone.
pub(super) type Emit<'a> = dyn FnMut(RecordBatch) -> Result<(), Abandoned> + 'a;

/// What a splitter is told.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub form: Form,
    pub hints: FormatHints,
    pub batch: BatchLimits,
    pub limits: PayloadLimits,
}

/// Why splitting ended early.
#[derive(Debug)]
pub(super) enum Stop {
    /// Reading failed: the payload's error, or [`Abandoned`], is inside.
    Io(io::Error),
    /// The reader has gone.
    Abandoned,
    /// The content as a whole cannot be read. Holds the reason.
    Unreadable(String),
}

impl Stop {
    /// Whether the bytes that came are to blame, and not the way that they came.
    pub fn is_unreadable(&self) -> bool {
        match self {
            Self::Unreadable(_) => true,
            Self::Abandoned => false,
            Self::Io(error) => error
                .get_ref()
                .and_then(|error| error.downcast_ref::<PayloadError>())
                .is_some_and(|error| matches!(error, PayloadError::Unreadable { .. })),
        }
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Abandoned> for Stop {
    fn from(_: Abandoned) -> Self {
        Self::Abandoned
    }
}

/// Splits all of `text` into batches; returns how many records there were, readable or bad.
pub(super) fn split<R: Read>(plan: &Plan, text: &mut Text<R>, emit: &mut Emit<'_>) -> Result<u64, Stop> {
    match plan.form {
        Form::JsonLines => json_lines::split(plan, text, emit),
        Form::Json => json::split(plan, text, emit),
        Form::Csv => csv::split(plan, text, emit),
        Form::XmlLines => xml_lines::split(plan, text, emit),
        Form::Xml => xml::split(plan, text, emit),
        Form::Opaque => Err(Stop::Unreadable("its form has no records".to_owned())),
    }
}

#[cfg(test)]
mod tests;
