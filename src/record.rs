//! Records and their account. A batch is one buffer and the spans in it, so that a record costs no allocation of its own.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::Class;

/// The account of a delivery: `read = delivered + filtered + parked + quarantined`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Records found in the payload, readable or not.
    pub read: u64,
    /// Records that the sink confirmed.
    pub delivered: u64,
    /// Records that the route's record filter left out.
    pub filtered: u64,
    /// Records that wait for their parent.
    pub parked: u64,
    /// Records set aside with a reason.
    pub quarantined: u64,
}

impl Counts {
    /// Whether the account adds up.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.delivered
            .checked_add(self.filtered)
            .and_then(|sum| sum.checked_add(self.parked))
            .and_then(|sum| sum.checked_add(self.quarantined))
            == Some(self.read)
    }
}

/// A record that was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BadRecord {
    /// Its number in the payload, from 1.
    pub number: u64,
    /// Where it starts in the decompressed payload, in bytes.
    pub offset: u64,
    /// Why it was set aside.
    pub reason: String,
    /// The class of the reason.
    pub class: Class,
    /// Whether it could be read, so that `bytes` are its body: one JSON value. Otherwise they are as they stood in the file.
    pub is_readable: bool,
    /// Whether `bytes` are only its beginning.
    pub is_cut: bool,
    /// Its own blob type, where it is not its notice's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blob_type: Option<String>,
    /// The record's bytes, cut off at a bound.
    #[serde(skip)]
    pub bytes: Vec<u8>,
}

impl BadRecord {
    /// Keeps no more than so many bytes of it.
    pub fn cut_to(&mut self, bytes_max: usize) {
        if self.bytes.len() > bytes_max {
            self.bytes.truncate(bytes_max);
            self.bytes.shrink_to_fit();
            self.is_cut = true;
        }
    }
}

/// Where a record lies in its batch's buffer, and in its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Start in [`RecordBatch::buffer`], in bytes.
    pub start: usize,
    /// End in [`RecordBatch::buffer`], in bytes.
    pub end: usize,
    /// The record's number in the payload, from 1.
    pub number: u64,
    /// Where the record starts in the decompressed payload, in bytes.
    pub offset: u64,
}

/// Consecutive records of a payload. Every record's body is one valid JSON value without a line break: JSON as it
/// came, or made of a CSV row or an XML element.
#[derive(Clone, Debug, Default)]
pub struct RecordBatch {
    /// Holds the bodies.
    pub buffer: Bytes,
    /// The readable records, in order.
    pub spans: Vec<Span>,
    /// The records among them that could not be read.
    pub bad: Vec<BadRecord>,
    /// The number of the first record of the batch, readable or not; the batch's identity within its delivery.
    pub first: u64,
    /// The number of the last record of the batch, readable or not.
    pub last: u64,
    /// Decompressed bytes read from the payload up to the end of this batch.
    pub bytes_read: u64,
    /// Whether the payload's own text can be handed on as it is: `buffer` holds exactly the bodies of `spans`, each
    /// followed by one line feed, and nothing else. Lets a sink write a batch in one call.
    pub is_lines: bool,
}

/// One record of a batch.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    /// One JSON value, in UTF-8, without a line break.
    pub body: &'a [u8],
    /// The record's number in the payload, from 1.
    pub number: u64,
    /// Where the record starts in the decompressed payload, in bytes.
    pub offset: u64,
}

impl RecordBatch {
    /// The readable records, in order.
    pub fn records(&self) -> impl ExactSizeIterator<Item = RecordRef<'_>> {
        self.spans.iter().map(|span| RecordRef {
            body: &self.buffer[span.start..span.end],
            number: span.number,
            offset: span.offset,
        })
    }

    /// The readable records as JSON lines, each followed by one line feed; without a copy where the batch is that already.
    #[must_use]
    pub fn to_lines(&self) -> Bytes {
        if self.is_lines {
            return self.buffer.clone();
        }
        let mut lines = Vec::with_capacity(self.buffer.len() + self.spans.len());
        for record in self.records() {
            lines.extend_from_slice(record.body);
            lines.push(b'\n');
        }
        Bytes::from(lines)
    }

    /// The readable records as one JSON array.
    #[must_use]
    pub fn to_array(&self) -> Bytes {
        let mut array = Vec::with_capacity(self.buffer.len() + self.spans.len() + 2);
        array.push(b'[');
        for (at, record) in self.records().enumerate() {
            if at > 0 {
                array.push(b',');
            }
            array.extend_from_slice(record.body);
        }
        array.push(b']');
        Bytes::from(array)
    }

    /// Keeps only the readable records for which `keep` says so; returns how many were left out.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8]) -> bool) -> u64 {
        let before = self.spans.len();
        let buffer = &self.buffer;
        self.spans.retain(|span| keep(&buffer[span.start..span.end]));
        let left_out = before - self.spans.len();
        if left_out > 0 {
            self.is_lines = false;
        }
        left_out as u64
    }

    /// Leaves out every record before `number`: an earlier attempt confirmed them.
    pub fn skip_to(&mut self, number: u64) {
        self.spans.retain(|span| span.number >= number);
        self.bad.retain(|bad| bad.number >= number);
        self.first = self.first.max(number);
        self.is_lines = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_taken_up_in_its_middle_holds_the_rest_only() {
        let span = |number: u64| Span { start: 0, end: 1, number, offset: number };
        let mut batch = RecordBatch {
            buffer: Bytes::from_static(b"1"),
            spans: vec![span(1), span(2), span(4)],
            bad: vec![BadRecord {
                number: 3,
                offset: 3,
                reason: String::new(),
                class: Class::Poison,
                is_readable: false,
                is_cut: false,
                blob_type: None,
                bytes: Vec::new(),
            }],
            first: 1,
            last: 4,
            bytes_read: 8,
            is_lines: true,
        };
        batch.skip_to(3);
        assert_eq!(batch.records().map(|record| record.number).collect::<Vec<_>>(), [4]);
        assert_eq!((batch.first, batch.bad.len(), batch.is_lines), (3, 1, false));
    }

    #[test]
    fn an_account_adds_up_or_it_does_not() {
        let mut counts = Counts { read: 10, delivered: 5, filtered: 2, parked: 2, quarantined: 1 };
        assert!(counts.is_balanced());
        counts.delivered = 6;
        assert!(!counts.is_balanced());
    }

    #[test]
    fn a_batch_is_given_out_as_lines_and_as_an_array() {
        let span = |start, end, number| Span { start, end, number, offset: 0 };
        let batch = RecordBatch {
            buffer: Bytes::from_static(b"1,{},3"),
            spans: vec![span(0, 1, 1), span(2, 4, 2)],
            ..RecordBatch::default()
        };
        assert_eq!(batch.to_lines(), "1\n{}\n");
        assert_eq!(batch.to_array(), "[1,{}]");
        assert_eq!(RecordBatch::default().to_array(), "[]");
    }
}
