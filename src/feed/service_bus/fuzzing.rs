//! Fuzz targets over what the broker hands us.

use fe2o3_amqp_types::messaging::message::DecodeIntoMessage;
use fe2o3_amqp_types::messaging::{Batch, Body, Data, Message};
use fe2o3_amqp_types::primitives::{Binary, LazyValue};
use serde_amqp::read::SliceReader;

use super::announcement::{self, RawMessage};
use super::guard::{FRAME_BYTES_MAX, Filter, Mark, is_certain};
use crate::blob_type::BlobTypeFilter;
use crate::clock::UnixMs;
use crate::hidden::assert_hidden;
use crate::notice::{FeedName, Verdict};

/// A body is the metadata of a file, or is kept with its reason; neither way does a token reach the notice.
pub fn notice_body(data: &[u8]) {
    read(Message {
        header: None,
        delivery_annotations: None,
        message_annotations: None,
        properties: None,
        application_properties: None,
        body: Body::Data(Batch::new(vec![Data(Binary::from(data.to_vec()))])),
        footer: None,
    });
}

/// A message as it stands in a transfer.
pub fn amqp_message(data: &[u8]) {
    match Body::<LazyValue>::decode_message_from_reader(SliceReader::new(data)) {
        Ok(message) => read(message),
        Err(error) => assert!(!is_certain(data), "it was not tried out, and does not decode: {error}"),
    }
}

fn read(message: RawMessage) {
    let filter = BlobTypeFilter::new(&["*".to_owned()], &[]).expect("globs");
    let raw = format!("{message:?}");
    let (notice, refused) = announcement::read(&FeedName::new("eg"), &filter, message, None, UnixMs(77));
    match &notice.verdict {
        Verdict::Accepted => {
            let uri = notice.metadata.uri.as_deref().expect("an accepted notice has an address");
            assert!(!uri.contains(['?', '#']), "{uri:?}");
            assert!(!notice.metadata.blob_type.is_empty() && notice.body.is_none() && refused.is_none());
            let properties = notice.metadata.properties.map(|value| value.to_string()).unwrap_or_default();
            assert_hidden(&raw, &format!("{uri} {properties}"));
        }
        Verdict::Unreadable(reason) => {
            assert!(!reason.is_empty());
            let body = String::from_utf8_lossy(notice.body.as_deref().unwrap_or_default()).into_owned();
            assert_hidden(&body, &body);
        }
        Verdict::Skipped(reason) => panic!("nothing is left out: {reason}"),
    }
}

/// What the broker sends on a connection, as deliveries: each is a byte for its channel, its link and how it goes on, a
/// byte for its length, and so many bytes. An odd first byte means bytes as they are.
pub fn amqp_stream(data: &[u8]) {
    let Some((&first, mut rest)) = data.split_first() else {
        return;
    };
    let piece = usize::from(first >> 1) + 1;
    if first % 2 == 1 {
        return stream_of(rest, piece);
    }
    let mut wire = Vec::new();
    while let [how, len, more @ ..] = rest {
        let (payload, after) = more.split_at(usize::from(*len).min(more.len()));
        let (link, is_more, is_aborted) = (how >> 2 & 1, how & 0x10 != 0, how & 0xe0 == 0xe0);
        let bool = |is: bool| if is { 0x41 } else { 0x42 };
        let fields = [0x52, link, 0x43, 0xa0, 1, 7, 0x43, 0x42, bool(is_more), 0x40, 0x40, 0x42, bool(is_aborted)];
        wire.extend_from_slice(&(27 + payload.len() as u32).to_be_bytes());
        wire.extend_from_slice(&[2, 0, 0, how & 1, 0x00, 0x53, 0x14, 0xc0, 14, 10]);
        wire.extend_from_slice(&fields);
        wire.extend_from_slice(payload);
        rest = after;
    }
    let (frames, error) = through_the_guard(&wire, piece);
    assert!(error.is_none(), "these are frames: {error:?}");
    let mut messages: std::collections::HashMap<(u16, u8), Vec<u8>> = std::collections::HashMap::new();
    for frame in frames {
        let key = (u16::from_be_bytes([frame[6], frame[7]]), frame[15]);
        messages.entry(key).or_default().extend_from_slice(&frame[27..]);
        if frame[26] == 0x41 {
            messages.remove(&key);
        } else if frame[22] == 0x42 {
            // The library gets through it, whatever it says.
            amqp_message(&messages.remove(&key).unwrap_or_default());
        }
    }
}

/// Any bytes: they end in frames or in an error.
pub(super) fn stream_of(wire: &[u8], piece: usize) {
    through_the_guard(wire, piece);
}

/// The frames that come out, and why there are no more.
fn through_the_guard(wire: &[u8], piece: usize) -> (Vec<Vec<u8>>, Option<std::io::Error>) {
    const BYTES_MAX: usize = 300;
    let mut filter = Filter::new(Mark::draw(), BYTES_MAX);
    let mut frames = Vec::new();
    for part in wire.chunks(piece) {
        filter.put(part);
        loop {
            let mut out = bytes::BytesMut::new();
            let done = filter.run(&mut out);
            let is_all = out.is_empty();
            while !out.is_empty() {
                let len = if out.starts_with(b"AMQP") {
                    8
                } else {
                    u32::from_be_bytes([out[0], out[1], out[2], out[3]]) as usize
                };
                frames.push(out.split_to(len).to_vec());
            }
            if let Err(error) = done {
                return (frames, Some(error));
            }
            if is_all {
                break;
            }
        }
    }
    // A frame that is not whole yet, and a delivery on each of a few channels.
    assert!(
        filter.held_bytes() <= FRAME_BYTES_MAX + piece + 64 * (BYTES_MAX + 300),
        "{} bytes are held",
        filter.held_bytes()
    );
    (frames, None)
}
