//! Which bytes a request asks for.

use std::ops::Range;

use axum::http::{HeaderMap, HeaderName, header};

use super::answer::StorageError;

/// The range of `x-ms-range` or `Range`, cut to the blob's length; `None` for the whole blob. A form that Azure does
/// not know, such as the last n bytes, asks for the whole as well.
pub(super) fn wanted(headers: &HeaderMap, len: u64) -> Result<Option<Range<u64>>, StorageError> {
    let own = HeaderName::from_static("x-ms-range");
    let Some((first, last)) = text_of(headers, &own).or_else(|| text_of(headers, &header::RANGE)).and_then(read) else {
        return Ok(None);
    };
    if first >= len || last.is_some_and(|last| last < first) {
        return Err(StorageError::RANGE);
    }
    let end = last.map_or(len, |last| last.saturating_add(1).min(len));
    Ok(Some(first..end))
}

fn read(text: &str) -> Option<(u64, Option<u64>)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let last = if last.is_empty() { None } else { Some(last.parse().ok()?) };
    Some((first.parse().ok()?, last))
}

pub(super) fn text_of<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
