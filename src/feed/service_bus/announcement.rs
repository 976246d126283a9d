//! From a message to a notice. The metadata is the message's body: JSON text in a data section, or in an amqp-value
//! section as string or binary; its names in any case (the vendor writes camelCase, and wrote PascalCase).
//!
//! What cannot be understood is kept: it becomes a notice with [`Verdict::Unreadable`] and the raw bytes as body. No
//! token reaches the disk either way: a `uri` loses its query, and raw bytes lose what looks like a signature.

use bytes::Bytes;
use fe2o3_amqp_types::messaging::{Body, Message, MessageAnnotations, MessageId};
use fe2o3_amqp_types::primitives::{LazyValue, Value};

use crate::access::Refusal;
use crate::clock::UnixMs;
use crate::feed::filter::BlobTypeFilter;
use crate::feed::service_bus::guard::Refused;
use crate::feed::service_bus::metadata::{self, Unreadable};
use crate::notice::{FeedName, HeardNotice, Metadata, Verdict};
use crate::secret::{redact, redact_bytes};

/// The constructors of binary and string (AMQP 1.0, part 1, section 1.6.19 and 1.6.20).
const TEXT_CODES: [u8; 4] = [0xa0, 0xb0, 0xa1, 0xb1];

/// A message as it is received: its body is left as it came.
pub(super) type RawMessage = Message<Body<LazyValue>>;

/// Makes a notice of a message that was heard at `now`; and says which rule its address breaks, if the notice is set aside
/// for that. Where the message stands in for one that was `refused`, the notice says why.
pub(super) fn read(
    feed: &FeedName,
    filter: &BlobTypeFilter,
    message: RawMessage,
    refused: Option<Refused>,
    now: UnixMs,
) -> (HeardNotice, Option<Refusal>) {
    let annotations = message.message_annotations.as_ref();
    let sequence = annotation(annotations, "x-opt-sequence-number").unwrap_or(0);
    let published = annotation(annotations, "x-opt-enqueued-time").map_or(now, UnixMs);
    let delivery_count = message.header.as_ref().map_or(0, |header| header.delivery_count);
    let message_id = message.properties.and_then(|properties| properties.message_id);
    let raw = raw_body(message.body);
    let dedupe_key = dedupe_key(message_id, sequence, raw.as_ref().map_or(b"", |raw| raw));

    let read = match refused {
        Some(refused) => Err(refused.reason.into()),
        None => raw.as_ref().map_err(Unreadable::from).and_then(|raw| metadata::parse(raw)),
    };
    let mut broken = None;
    let (metadata, verdict, body) = match read {
        Ok(metadata) if filter.wants(&metadata.blob_type) => (metadata, Verdict::Accepted, None),
        Ok(metadata) => {
            let reason = format!("the feed's filter leaves out {}", metadata.blob_type);
            (metadata, Verdict::Skipped(reason), None)
        }
        Err(Unreadable { reason, address }) => {
            broken = address;
            (
                Metadata::default(),
                Verdict::Unreadable(redact(&reason)),
                raw.ok().map(|raw| Bytes::from(redact_bytes(&raw))),
            )
        }
    };
    let notice =
        HeardNotice { feed: feed.clone(), dedupe_key, metadata, body, published, sequence, delivery_count, verdict };
    (notice, broken)
}

/// The bytes of the body, whichever section carries them.
fn raw_body(body: Body<LazyValue>) -> Result<Bytes, String> {
    match body {
        Body::Data(mut sections) if sections.len() == 1 => {
            Ok(sections.pop().map(|data| Bytes::from(data.0.into_vec())).unwrap_or_default())
        }
        Body::Data(sections) => {
            let mut whole = Vec::new();
            for data in sections {
                whole.extend_from_slice(&data.0);
            }
            Ok(Bytes::from(whole))
        }
        // Nothing else is decoded: the library calls itself for each level of a value, and ends the process on a deep one.
        Body::Value(value) if value.0.as_slice().first().is_some_and(|code| TEXT_CODES.contains(code)) => {
            match serde_amqp::from_slice::<Value>(value.0.as_slice()) {
                Ok(Value::String(text)) => Ok(Bytes::from(text)),
                Ok(Value::Binary(bytes)) => Ok(Bytes::from(bytes.into_vec())),
                _ => Ok(value.0.into_bytes()),
            }
        }
        // Not text: the encoded value itself is what is kept.
        Body::Value(value) => Ok(value.0.into_bytes()),
        Body::Sequence(sections) => {
            let mut whole = Vec::new();
            for value in sections.into_iter().flat_map(|section| section.0) {
                whole.extend_from_slice(value.as_slice());
            }
            Ok(Bytes::from(whole))
        }
        Body::Empty => Err("the message has no body".to_owned()),
    }
}

/// The source's own id of the message; where it has none, its sequence number in the topic, and where it has not even
/// that, what it says.
fn dedupe_key(id: Option<MessageId>, sequence: i64, raw: &[u8]) -> String {
    match id {
        Some(MessageId::String(text)) if !text.trim().is_empty() => text,
        Some(MessageId::Uuid(uuid)) => uuid::Uuid::from_bytes(uuid.into_inner()).to_string(),
        Some(MessageId::Ulong(number)) => number.to_string(),
        Some(MessageId::Binary(bytes)) if !bytes.is_empty() => hex(&bytes),
        _ if sequence != 0 => format!("sequence {sequence}"),
        _ => format!("content {}", hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, raw).as_ref())),
    }
}

fn annotation(annotations: Option<&MessageAnnotations>, name: &'static str) -> Option<i64> {
    use fe2o3_amqp_types::messaging::annotations::AnnotationKey;
    match annotations?.get(&name as &dyn AnnotationKey)? {
        Value::Timestamp(moment) => Some(moment.milliseconds()),
        Value::Long(number) => Some(*number),
        Value::Int(number) => Some(i64::from(*number)),
        Value::Ulong(number) => i64::try_from(*number).ok(),
        Value::Uint(number) => Some(i64::from(*number)),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
        text
    })
}

#[cfg(test)]
#[path = "announcement_tests.rs"]
mod tests;
