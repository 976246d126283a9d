//! Fuzz target over what senders post.

use bytes::Bytes;

use super::envelope::{Arrays, EnvelopeSettings, read};
use crate::clock::UnixMs;
use crate::feed::filter::BlobTypeFilter;
use crate::notice::{FeedName, Verdict};
use crate::pointer::Pointer;

/// A body becomes a notice whose payload is JSON and whose names are short and plain, or is kept as it came. The first
/// byte chooses what becomes of arrays.
pub fn webhook(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else {
        return;
    };
    let pointer = |text| Pointer::parse(text).expect("a pointer");
    let settings = EnvelopeSettings {
        blob_type: "fft.{event}".to_owned(),
        event: pointer("/event"),
        id: pointer("/eventId"),
        payload: vec![pointer("/payload"), pointer("/data/0")],
        arrays: if choice & 1 == 0 { Arrays::Split } else { Arrays::Whole },
    };
    let filter = BlobTypeFilter::new(&["*".to_owned()], &[]).expect("globs");
    let notice = read(&settings, &FeedName::new("fft"), &filter, Bytes::copy_from_slice(body), None, UnixMs(7));
    let kept = notice.body.as_deref().expect("an event arrives whole");
    assert!(!notice.dedupe_key.trim().is_empty() && notice.dedupe_key.len() <= 600, "{:?}", notice.dedupe_key);
    match &notice.verdict {
        Verdict::Accepted => {
            let is_json = serde_json::from_slice::<&serde_json::value::RawValue>(kept).is_ok();
            assert!(is_json, "{:?}", String::from_utf8_lossy(kept));
            let blob_type = &notice.metadata.blob_type;
            assert!(blob_type.starts_with("fft.") && blob_type.len() <= 204, "{blob_type:?}");
            assert!(!blob_type.chars().any(char::is_control), "{blob_type:?}");
            let properties = notice.metadata.properties.map(|value| value.to_string()).unwrap_or_default();
            // Control characters are written longer than they came.
            assert!(properties.len() <= 6 * (8 << 10) + 100, "{} bytes of properties", properties.len());
        }
        Verdict::Unreadable(reason) => assert!(!reason.is_empty() && kept == body),
        Verdict::Skipped(reason) => panic!("nothing is left out: {reason}"),
    }
}
