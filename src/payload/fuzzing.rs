//! Fuzz targets over payloads: the same content gives the same outcome however it arrives, and every record is one JSON
//! value that is accounted for.
//!
//! The first bytes of an input choose how it is cut up and which bounds hold; the rest is the content.

use std::io::{self, Read};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::decode::Decompressor;
use super::decode::text::Text;
use super::fetch::Piece;
use super::split::{Plan, Stop, split};
use super::{Form, PayloadError, PayloadLimits};
use crate::record::RecordBatch;
use crate::route::FormatHints;
use crate::sink::BatchLimits;

/// What came of a payload.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// Number, offset and body of each readable record.
    records: Vec<(u64, u64, Vec<u8>)>,
    /// Number, offset, reason and kept bytes of each bad one.
    bad: Vec<(u64, u64, String, Vec<u8>)>,
    /// First and last record of each batch.
    batches: Vec<(u64, u64)>,
    /// Why it ended early.
    stopped: Option<String>,
}

/// JSON lines.
pub fn json_lines(data: &[u8]) {
    let Some((outcome, content)) = records(Form::JsonLines, data) else {
        return;
    };
    // Another reader agrees on every line, as far as the bounds and the marks allow to tell.
    // Half of a surrogate pair is no text to us.
    let is_plain = content.is_ascii()
        && !content.windows(2).any(|two| two == b"\\u")
        && content.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() < DEPTH_MAX;
    if is_plain && outcome.stopped.is_none() && content.len() < RECORD_BYTES_MAX {
        let lines = content.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
        let good = lines.filter(|line| serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()).count();
        assert_eq!(outcome.records.len(), good, "readable records in {:?}", String::from_utf8_lossy(content));
    }
}

/// A JSON document.
pub fn json(data: &[u8]) {
    records(Form::Json, data);
}

/// An XML document.
pub fn xml(data: &[u8]) {
    records(Form::Xml, data);
}

/// XML lines.
pub fn xml_lines(data: &[u8]) {
    records(Form::XmlLines, data);
}

/// CSV.
pub fn csv(data: &[u8]) {
    records(Form::Csv, data);
}

const RECORD_BYTES_MAX: usize = 512;
const DEPTH_MAX: usize = 12;

/// Splits `data` as a whole and in pieces; returns what came of it, and the content.
fn records(form: Form, data: &[u8]) -> Option<(Outcome, &[u8])> {
    let (&[size, choice], content) = data.split_first_chunk()?;
    let plan = Plan {
        form,
        hints: FormatHints {
            xml_record_element: (choice & 1 != 0).then(|| "r".to_owned()),
            csv_separator: (choice & 2 != 0).then_some(b';'),
            ..FormatHints::default()
        },
        batch: BatchLimits { records_max: usize::from(choice >> 4) + 1, bytes_max: 300 },
        limits: PayloadLimits {
            record_bytes_max: RECORD_BYTES_MAX,
            depth_max: DEPTH_MAX,
            records_max: 500,
            bad_records_max: 100,
            bad_record_bytes_kept: 64,
            ..PayloadLimits::default()
        },
    };
    let whole = outcome(&plan, content, content.len().max(1));
    let pieces = outcome(&plan, content, usize::from(size) % 31 + 1);
    assert_eq!(whole, pieces, "the pieces in which it arrives make no difference");
    Some((whole, content))
}

fn outcome(plan: &Plan, content: &[u8], size: usize) -> Outcome {
    let mut outcome = Outcome::default();
    let mut last = 0;
    let mut emit = |batch: RecordBatch| {
        assert_eq!(batch.first, last + 1, "records are numbered without a gap");
        assert_eq!(batch.last - last, (batch.spans.len() + batch.bad.len()) as u64, "every record is accounted for");
        assert!(batch.spans.len() + batch.bad.len() <= plan.batch.records_max);
        last = batch.last;
        outcome.batches.push((batch.first, batch.last));
        for record in batch.records() {
            let value = serde_json::from_slice::<serde::de::IgnoredAny>(record.body);
            assert!(value.is_ok(), "a body is JSON: {:?}", String::from_utf8_lossy(record.body));
            assert!(std::str::from_utf8(record.body).is_ok() && !record.body.contains(&b'\n'));
            outcome.records.push((record.number, record.offset, record.body.to_vec()));
        }
        for bad in batch.bad {
            assert!(!bad.reason.is_empty() && bad.bytes.len() <= plan.limits.bad_record_bytes_kept);
            outcome.bad.push((bad.number, bad.offset, bad.reason, bad.bytes));
        }
        Ok(())
    };
    let mut text = Text::new(InPieces { content, size }, None);
    match split(plan, &mut text, &mut emit) {
        Ok(records) => assert_eq!(records, last, "every record is in a batch"),
        Err(Stop::Unreadable(reason)) => outcome.stopped = Some(reason),
        Err(stop) => panic!("nothing else can go wrong here: {stop:?}"),
    }
    let mut numbers: Vec<u64> =
        outcome.records.iter().map(|record| record.0).chain(outcome.bad.iter().map(|bad| bad.0)).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(1..=last), "each number once");
    outcome
}

/// Gives a content out in pieces.
struct InPieces<'a> {
    content: &'a [u8],
    size: usize,
}

impl Read for InPieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.size.min(out.len()).min(self.content.len());
        out[..count].copy_from_slice(&self.content[..count]);
        self.content = &self.content[count..];
        Ok(count)
    }
}

/// gzip, deflate, br, zstd and none: the second byte claims one.
pub fn decode(data: &[u8]) {
    const CLAIMS: [Option<&str>; 6] = [None, Some("gzip"), Some("deflate"), Some("br"), Some("zstd"), Some("other")];
    let Some((&[size, choice], content)) = data.split_first_chunk() else {
        return;
    };
    let claimed = CLAIMS[usize::from(choice) % CLAIMS.len()];
    let whole = plain(content, claimed, content.len().max(1), 8 << 10);
    let pieces = plain(content, claimed, usize::from(size) % 31 + 1, usize::from(size) + 16);
    match (&whole, &pieces) {
        (Ok(whole), Ok(pieces)) => assert!(whole == pieces, "the same bytes, however they arrive"),
        (Err(_), Err(_)) => {}
        _ => panic!("whole: {:?}, in pieces: {:?}", whole.as_ref().err(), pieces.as_ref().err()),
    }
}

/// Everything in `content`, which arrives in pieces of `piece` and is read in pieces of `read`.
fn plain(content: &[u8], claimed: Option<&str>, piece: usize, read: usize) -> Result<Vec<u8>, PayloadError> {
    const PLAIN_BYTES_MAX: u64 = 32 << 10;
    let pieces: Vec<_> = content.chunks(piece).map(|piece| Ok(Piece::Bytes(Bytes::copy_from_slice(piece)))).collect();
    let (sender, channel) = mpsc::channel(pieces.len() + 1);
    for piece in pieces.into_iter().chain([Ok(Piece::End)]) {
        sender.try_send(piece).expect("there is room for all");
    }
    let error = |error: io::Error| error.downcast::<PayloadError>().expect("a payload's error");
    let limits = PayloadLimits { decompressed_bytes_max: PLAIN_BYTES_MAX, ..PayloadLimits::default() };
    let mut plain = Decompressor::open(channel, claimed, "blob", limits).map_err(error)?;
    let mut all = Vec::new();
    let mut buffer = vec![0; read];
    loop {
        let count = plain.read(&mut buffer).map_err(error)?;
        if count == 0 {
            assert_eq!(plain.seen().decompressed, all.len() as u64);
            return Ok(all);
        }
        all.extend_from_slice(&buffer[..count]);
        assert!(all.len() as u64 <= PLAIN_BYTES_MAX, "the bound holds");
    }
}

/// Text in any encoding: the second byte names one.
pub fn text(data: &[u8]) {
    const TYPES: [Option<&str>; 5] = [
        None,
        Some("text/csv; charset=utf-16le"),
        Some("text/csv; charset=iso-8859-1"),
        Some("text/csv; charset=shift_jis"),
        Some("text/csv; charset=\"nonsense"),
    ];
    let Some((&[size, choice], content)) = data.split_first_chunk() else {
        return;
    };
    let content_type = TYPES[usize::from(choice) % TYPES.len()];
    let read = |size| {
        let mut out = Vec::new();
        let mut text = Text::new(InPieces { content, size }, content_type);
        let mut buffer = [0; 256];
        loop {
            match text.read(&mut buffer) {
                Ok(0) => return Ok((out, text.mark_bytes())),
                Ok(count) => out.extend_from_slice(&buffer[..count]),
                Err(error) => return Err(error.to_string()),
            }
        }
    };
    let (whole, pieces) = (read(content.len().max(1)), read(usize::from(size) % 31 + 1));
    assert_eq!(whole.as_ref().ok(), pieces.as_ref().ok());
    if let Ok((out, mark)) = whole {
        let is_foreign = content.starts_with(&[0xff, 0xfe]) || content.starts_with(&[0xfe, 0xff]);
        assert!(!is_foreign || std::str::from_utf8(&out).is_ok(), "another encoding becomes UTF-8");
        assert!(mark == 0 || mark == 3);
    }
}
