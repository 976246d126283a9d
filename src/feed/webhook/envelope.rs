//! From the body of a request to a notice.
//!
//! The vendor's envelope is `{"event": "ORDER_CREATED", "eventId": "…", "payload": …}`; where each stands is
//! configured, so that other senders of JSON serve as well. The notice's body is the payload's own bytes, as they were
//! sent; what else the envelope says goes into the properties.
//!
//! | the payload | becomes |
//! |---|---|
//! | an object, a text, a number | one record |
//! | an array | a record for each element, or with [`Arrays::Whole`] one record |
//! | missing | the whole body is the payload |

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::value::RawValue;

use crate::clock::UnixMs;
use crate::feed::filter::BlobTypeFilter;
use crate::notice::{FeedName, HeardNotice, Metadata, Verdict};
use crate::pointer::Pointer;

/// What stands for `{event}` where the body names no event.
pub const UNKNOWN_EVENT: &str = "unknown";
/// A longer name is no name.
const EVENT_BYTES_MAX: usize = 200;
/// A longer id is hashed.
const ID_BYTES_MAX: usize = 500;
/// What of an envelope is kept in the properties: its short values, up to this together.
const PROPERTIES_BYTES_MAX: usize = 8 << 10;

/// What the body of a request is.
#[derive(Clone, Debug)]
pub struct EnvelopeSettings {
    /// The blob type, with `{event}` for the event's name.
    pub blob_type: String,
    /// Where the event's name stands.
    pub event: Pointer,
    /// Where the event's id stands: a second request with one id is a duplicate.
    pub id: Pointer,
    /// Where the payload stands; the first that leads somewhere counts.
    pub payload: Vec<Pointer>,
    /// What a payload that is an array becomes.
    pub arrays: Arrays,
}

/// What a payload that is an array becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arrays {
    /// A record for each element.
    #[default]
    Split,
    /// One record.
    Whole,
}

/// Makes a notice of a body that arrived at `now`.
pub(super) fn read(
    settings: &EnvelopeSettings,
    feed: &FeedName,
    filter: &BlobTypeFilter,
    body: Bytes,
    content_encoding: Option<&str>,
    now: UnixMs,
) -> HeardNotice {
    let (dedupe_key, metadata, body, verdict) = match members(&body) {
        Err(reason) => {
            let encoded = content_encoding.map(|name| format!(" (the body is sent in {name:?})")).unwrap_or_default();
            let reason = format!("the body is no JSON: {reason}{encoded}");
            (content_key(&body), Metadata::default(), body, Verdict::Unreadable(reason))
        }
        Ok(members) => {
            let text = |pointer: &Pointer| pointer.find(&body).and_then(plain);
            let event = text(&settings.event).filter(|event| is_name(event));
            let id = text(&settings.id).filter(|id| !id.trim().is_empty());
            let blob_type = settings.blob_type.replace("{event}", event.as_deref().unwrap_or(UNKNOWN_EVENT));
            let found = settings.payload.iter().find_map(|pointer| pointer.find(&body));
            let payload = found.map_or_else(|| body.clone(), |found| body.slice_ref(found.as_bytes()));
            let metadata = Metadata {
                blob_type,
                correlation_id: id.clone(),
                content_type: Some("application/json".to_owned()),
                properties: properties(members, found),
                ..Metadata::default()
            };
            let verdict = if filter.wants(&metadata.blob_type) {
                Verdict::Accepted
            } else {
                Verdict::Skipped(format!("the feed's filter leaves out {}", metadata.blob_type))
            };
            let dedupe_key = match id {
                Some(id) if id.len() <= ID_BYTES_MAX => id,
                Some(id) => format!("id {}", sha256(id.as_bytes())),
                None => content_key(&body),
            };
            (dedupe_key, metadata, settings.arrays.record(payload), verdict)
        }
    };
    HeardNotice {
        feed: feed.clone(),
        dedupe_key,
        metadata,
        body: Some(body),
        published: now,
        sequence: 0,
        delivery_count: 0,
        verdict,
    }
}

/// The members of the envelope, each as it was sent; none where the body is JSON but no object.
fn members(body: &[u8]) -> Result<BTreeMap<String, &RawValue>, String> {
    let is_object = body.trim_ascii_start().first() == Some(&b'{');
    if is_object {
        return serde_json::from_slice(body).map_err(|error| error.to_string());
    }
    serde_json::from_slice::<&RawValue>(body).map(|_| BTreeMap::new()).map_err(|error| error.to_string())
}

/// What the envelope says besides its payload.
fn properties(members: BTreeMap<String, &RawValue>, payload: Option<&str>) -> Option<serde_json::Value> {
    // Without an envelope all of it is the payload.
    let payload = payload?.as_bytes().as_ptr_range();
    let mut room = PROPERTIES_BYTES_MAX;
    let mut kept = serde_json::Map::new();
    for (name, value) in members {
        let range = value.get().as_bytes().as_ptr_range();
        let holds_payload = range.start <= payload.start && payload.end <= range.end;
        let bytes = name.len() + value.get().len();
        if holds_payload || bytes > room {
            continue;
        }
        if let Ok(value) = serde_json::from_str(value.get()) {
            room -= bytes;
            kept.insert(name, value);
        }
    }
    (!kept.is_empty()).then_some(serde_json::Value::Object(kept))
}

/// A text or a number as plain text.
fn plain(raw: &str) -> Option<String> {
    if raw.starts_with('"') {
        return serde_json::from_str(raw).ok();
    }
    raw.starts_with(|c: char| c == '-' || c.is_ascii_digit()).then(|| raw.to_owned())
}

fn is_name(event: &str) -> bool {
    !event.trim().is_empty() && event.len() <= EVENT_BYTES_MAX && !event.chars().any(char::is_control)
}

fn content_key(body: &[u8]) -> String {
    format!("content {}", sha256(body))
}

fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let digest = digest::digest(&digest::SHA256, bytes);
    digest.as_ref().iter().fold(String::with_capacity(64), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
        text
    })
}

impl Arrays {
    /// The payload as a JSON document whose records are those that are wanted.
    fn record(self, payload: Bytes) -> Bytes {
        if self == Self::Split || payload.first() != Some(&b'[') {
            return payload;
        }
        // The elements of an outer array are the records.
        let mut wrapped = BytesMut::with_capacity(payload.len() + 2);
        wrapped.put_u8(b'[');
        wrapped.put_slice(&payload);
        wrapped.put_u8(b']');
        wrapped.freeze()
    }
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;
