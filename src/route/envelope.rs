//! Records that come wrapped: what a record is, and what of it is delivered, is told by the record itself.
//!
//! One file of such a feed holds records of many blob types. Every route that takes from the feed reads the file, and
//! leaves out the records of other routes: they are counted as filtered.

use std::collections::HashMap;

use crate::blob_type::BlobTypeFilter;
use crate::error::Class;
use crate::pointer::{Pointer, PointerError};
use crate::record::{BadRecord, RecordBatch};

/// How the records of a feed are wrapped, as it is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvelopeSettings {
    /// JSON pointer to a record's blob type; `None`: a record is of its file's.
    pub blob_type: Option<String>,
    /// JSON pointer to what is delivered; `None`: the record as it is.
    pub record: Option<String>,
}

/// The same, ready for use.
#[derive(Clone, Debug)]
pub struct Envelope {
    blob_type: Option<Pointer>,
    record: Option<Pointer>,
}

impl Envelope {
    /// Reads the pointers.
    ///
    /// # Errors
    /// When one is none.
    pub fn new(settings: &EnvelopeSettings) -> Result<Self, PointerError> {
        let parse = |pointer: &Option<String>| pointer.as_deref().map(Pointer::parse).transpose();
        Ok(Self { blob_type: parse(&settings.blob_type)?, record: parse(&settings.record)? })
    }

    /// Whether each record has a blob type of its own.
    #[must_use]
    pub fn is_typed(&self) -> bool {
        self.blob_type.is_some()
    }

    /// Keeps the records for whose blob type `takes` says so; returns how many were left out. A record without one is
    /// of `otherwise`.
    pub(super) fn sort(&self, batch: &mut RecordBatch, otherwise: &str, takes: impl Fn(&str) -> bool) -> u64 {
        let Some(pointer) = &self.blob_type else { return 0 };
        // A file holds few types and many records.
        let mut known: HashMap<String, bool> = HashMap::new();
        batch.retain(|body| {
            let raw = pointer.find(body).unwrap_or_default();
            if let Some(takes) = known.get(raw) {
                return *takes;
            }
            let named: Option<String> = serde_json::from_str(raw).ok();
            let taken = takes(named.as_deref().unwrap_or(otherwise));
            known.insert(raw.to_owned(), taken);
            taken
        })
    }

    /// Takes the records out of their envelopes; returns those that have nothing in them.
    pub(super) fn open(&self, batch: &mut RecordBatch) -> Vec<BadRecord> {
        let Some(pointer) = &self.record else { return Vec::new() };
        let mut bad = Vec::new();
        let buffer = batch.buffer.clone();
        batch.spans.retain_mut(|span| {
            let body = &buffer[span.start..span.end];
            let Some(found) = pointer.find(body) else {
                bad.push(BadRecord {
                    number: span.number,
                    offset: span.offset,
                    reason: format!("there is nothing at {pointer}"),
                    class: Class::Poison,
                    is_readable: true,
                    is_cut: false,
                    bytes: body.to_vec(),
                });
                return false;
            };
            // What was found is a part of the body, so that the distance of their beginnings is its place.
            let start = span.start + (found.as_ptr().addr() - body.as_ptr().addr());
            (span.start, span.end) = (start, start + found.len());
            true
        });
        batch.is_lines = false;
        bad
    }
}

/// Whether a filter takes a blob type that may end in a version, such as `order-created_event-v1`: it may name either.
pub(super) fn wants(filter: &BlobTypeFilter, blob_type: &str) -> bool {
    match without_version(blob_type) {
        Some(bare) => filter.wants_any(&[blob_type, bare]),
        None => filter.wants(blob_type),
    }
}

fn without_version(blob_type: &str) -> Option<&str> {
    let (bare, version) = blob_type.rsplit_once("-v")?;
    let is_version = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    (is_version && !bare.is_empty()).then_some(bare)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Span;
    use bytes::Bytes;

    fn batch(lines: &[&str]) -> RecordBatch {
        let mut batch = RecordBatch { first: 1, last: lines.len() as u64, is_lines: true, ..RecordBatch::default() };
        let mut buffer = Vec::new();
        for (number, line) in (1..).zip(lines) {
            let start = buffer.len();
            buffer.extend_from_slice(line.as_bytes());
            batch.spans.push(Span { start, end: buffer.len(), number, offset: start as u64 });
            buffer.push(b'\n');
        }
        batch.buffer = Bytes::from(buffer);
        batch
    }

    fn envelope() -> Envelope {
        let settings =
            EnvelopeSettings { blob_type: Some("/eventName".to_owned()), record: Some("/payload".to_owned()) };
        Envelope::new(&settings).expect("pointers")
    }

    #[test]
    fn each_record_goes_by_its_own_blob_type_with_or_without_its_version() {
        let filter = |include: &str, exclude: &[String]| BlobTypeFilter::new(&[include.to_owned()], exclude).unwrap();
        let orders = filter("order-created_event", &[]);
        let first_only = filter("order-created_event-v1", &[]);
        let not_second = filter("order-*", &["order-created_event-v2".to_owned()]);
        let lines = [
            r#"{"eventName":"order-created_event-v1","payload":1}"#,
            r#"{"eventName":"order-created_event-v2","payload":2}"#,
            r#"{"eventName":"pick-job-created_event-v1","payload":3}"#,
            r#"{"payload":4}"#,
        ];
        for (filter, left) in [(&orders, &[1, 2][..]), (&first_only, &[1]), (&not_second, &[1])] {
            let mut batch = batch(&lines);
            let filtered = envelope().sort(&mut batch, "fft.export", |blob_type| wants(filter, blob_type));
            assert_eq!(batch.spans.iter().map(|span| span.number).collect::<Vec<_>>(), left);
            assert_eq!(filtered, 4 - left.len() as u64);
        }
        let mut batch = batch(&lines);
        envelope().sort(&mut batch, "fft.export", |blob_type| blob_type == "fft.export");
        assert_eq!(batch.spans[0].number, 4, "a record without a type is of its file's");
    }

    #[test]
    fn what_is_delivered_is_what_the_envelope_holds() {
        let lines = [r#"{"id":"1", "payload": {"id":"o1"} }"#, r#"{"id":"2"}"#, r#"{"payload":"bare"}"#];
        let mut batch = batch(&lines);
        let bad = envelope().open(&mut batch);
        assert_eq!(bad.iter().map(|bad| bad.number).collect::<Vec<_>>(), [2]);
        assert_eq!(bad[0].bytes, lines[1].as_bytes());
        assert_eq!(&batch.to_lines()[..], b"{\"id\":\"o1\"}\n\"bare\"\n");
    }
}
