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

/// The own blob types of a batch's records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnTypes {
    names: Vec<String>,
    /// Numbers of records and the places of their types, in order.
    of_records: Vec<(u64, usize)>,
}

impl OwnTypes {
    /// The types that occur, as the records name them.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The type of a record.
    #[must_use]
    pub fn name(&self, number: u64) -> Option<&str> {
        self.place(number).map(|place| self.names[place].as_str())
    }

    /// The place of a record's type in [`OwnTypes::names`].
    #[must_use]
    pub fn place(&self, number: u64) -> Option<usize> {
        let found = self.of_records.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        Some(self.of_records[found].1)
    }
}

/// What taking a batch out of its envelopes came to.
#[derive(Debug, Default)]
pub struct Unwrapped {
    /// Records of other routes, which were left out.
    pub others: u64,
    /// Records that had nothing in their envelope.
    pub empty: Vec<BadRecord>,
    /// The blob types of the records that are left, where each has its own.
    pub types: Option<OwnTypes>,
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

    /// Keeps the records for whose blob type `takes` says so; returns how many were left out, and the types of the
    /// others. A record without one is of `otherwise`.
    pub(super) fn sort(
        &self,
        batch: &mut RecordBatch,
        otherwise: &str,
        takes: impl Fn(&str) -> bool,
    ) -> (u64, Option<OwnTypes>) {
        let Some(pointer) = &self.blob_type else { return (0, None) };
        // A file holds few types and many records. By the text in the record: the place of its type, if it is taken.
        let mut known: HashMap<String, Option<usize>> = HashMap::new();
        let mut types = OwnTypes::default();
        let buffer = batch.buffer.clone();
        let before = batch.spans.len();
        batch.spans.retain(|span| {
            let raw = pointer.find(&buffer[span.start..span.end]).unwrap_or_default();
            let place = known.get(raw).copied().unwrap_or_else(|| {
                let named = serde_json::from_str(raw).unwrap_or_else(|_| otherwise.to_owned());
                let place = takes(&named).then_some(types.names.len());
                types.names.extend(place.map(|_| named));
                known.insert(raw.to_owned(), place);
                place
            });
            types.of_records.extend(place.map(|place| (span.number, place)));
            place.is_some()
        });
        let others = before - batch.spans.len();
        batch.is_lines &= others == 0;
        (others as u64, Some(types))
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
                    // Still in its envelope: not what the sink would be given.
                    is_readable: false,
                    is_cut: false,
                    blob_type: None,
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

/// A blob type without the version at its end; `None` where it has none.
pub(super) fn without_version(blob_type: &str) -> Option<&str> {
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
            let (filtered, types) = envelope().sort(&mut batch, "fft.export", |blob_type| wants(filter, blob_type));
            assert_eq!(batch.spans.iter().map(|span| span.number).collect::<Vec<_>>(), left);
            assert_eq!(filtered, 4 - left.len() as u64);
            let types = types.expect("each has its own");
            assert_eq!(types.name(1), Some("order-created_event-v1"));
            assert_eq!(types.place(3), None);
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
