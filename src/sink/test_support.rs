//! What the tests of sinks share.

use std::sync::Arc;

use bytes::Bytes;

use crate::clock::{ManualClock, UnixMs};
use crate::inbox::{RunId, Target};
use crate::notice::{FeedName, Metadata, Notice, NoticeId, RouteName, SinkName};
use crate::record::{RecordBatch, Span};
use crate::sink::{DeliveryContext, SinkContext};

/// The time of every test: 2022-07-05T00:00:00Z.
pub(crate) const NOW: UnixMs = UnixMs(1_656_979_200_000);

pub(crate) fn context() -> SinkContext {
    SinkContext { clock: Arc::new(ManualClock::new(NOW)) }
}

pub(crate) fn delivery(blob_type: &str) -> DeliveryContext {
    let metadata = Metadata {
        blob_type: blob_type.to_owned(),
        correlation_id: Some("c-1".to_owned()),
        uri: Some("https://blobs.example/export/items.jsonl.gz".to_owned()),
        content_type: Some("application/x-jsonlines".to_owned()),
        ..Metadata::default()
    };
    let notice = Notice {
        id: NoticeId(42),
        feed: FeedName::new("eg"),
        dedupe_key: "m-42".to_owned(),
        metadata,
        body: None,
        published: NOW,
        sequence: 7,
        stored: NOW,
    };
    DeliveryContext {
        notice: Arc::new(notice),
        target: Target { route: RouteName::new("items"), sink: SinkName::new("out") },
        run: RunId(0),
        attempt: 1,
    }
}

/// A batch of records as the payload room makes it of JSON lines; the first has the number `first`.
pub(crate) fn batch(first: u64, bodies: &[&str]) -> RecordBatch {
    let mut buffer = Vec::new();
    let mut spans = Vec::new();
    for (number, body) in (first..).zip(bodies) {
        let start = buffer.len();
        buffer.extend_from_slice(body.as_bytes());
        spans.push(Span { start, end: buffer.len(), number, offset: 1_000 + start as u64 });
        buffer.push(b'\n');
    }
    let last = first + bodies.len() as u64 - 1;
    let bytes_read = buffer.len() as u64;
    RecordBatch { buffer: Bytes::from(buffer), spans, bad: Vec::new(), first, last, bytes_read, is_lines: true }
}
