//! What a store said, read and shown.

use http::StatusCode;
use object_store::Error;

use crate::error::chain;
use crate::secret::redact;

/// A strong or weak ETag, quoted or not (Azure lists it without quotes and serves it with them), by what is in it.
pub(in crate::feed) fn bare_etag(etag: &str) -> &str {
    etag.trim_start_matches("W/").trim_matches('"')
}

/// One line of what a store said. Its answers are XML or JSON documents over many lines.
pub(in crate::feed) fn said(error: &Error) -> String {
    const SHOWN_CHARS: usize = 400;
    let line = redact(&chain(error)).split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN_CHARS) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// What the store answered. The library sorts errors by it for single objects, and not for listings: there it is in the
/// text alone, before anything that the store said.
pub(in crate::feed) fn status(error: &Error) -> Option<StatusCode> {
    let text = chain(error);
    let (_, after) = text.split_once("non-2xx status code: ")?;
    after.get(..3)?.parse().ok()
}
