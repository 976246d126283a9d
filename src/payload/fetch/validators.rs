//! What an answer says of the blob's version, length and checksum.

use base64::Engine as _;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap};

/// The version of a blob, by the first answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Version {
    /// Its strong ETag, with quotes. A weak one does not say that the bytes are the same (RFC 9110, 8.8.1), so a range
    /// cannot be asked for under it.
    pub etag: Option<String>,
    /// Its length, where the store says so.
    pub length: Option<u64>,
    /// Its MD5, where the store holds one.
    pub md5: Option<[u8; 16]>,
}

impl Version {
    /// The version that an answer with the whole body is of.
    pub fn of(headers: &HeaderMap) -> Self {
        Self { etag: strong_etag(headers), length: number(headers, CONTENT_LENGTH.as_str()), md5: md5(headers) }
    }

    /// Whether an answer is of this version, as far as it says.
    pub fn matches(&self, headers: &HeaderMap) -> bool {
        let said = strong_etag(headers);
        self.etag.is_some() && said == self.etag
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.parse().ok()
}

fn strong_etag(headers: &HeaderMap) -> Option<String> {
    text(headers, ETAG.as_str()).filter(|etag| etag.starts_with('"')).map(str::to_owned)
}

fn md5(headers: &HeaderMap) -> Option<[u8; 16]> {
    // An answer with a range carries the checksum of the range as Content-MD5, so only a whole answer is asked.
    let encoded = text(headers, "content-md5")?;
    base64::engine::general_purpose::STANDARD.decode(encoded).ok()?.try_into().ok()
}

/// The first byte and the whole length of a `Content-Range: bytes 100-199/200`; the length may be `*`.
pub(super) fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let range = text(headers, CONTENT_RANGE.as_str())?.strip_prefix("bytes ")?;
    let (span, length) = range.split_once('/')?;
    let (first, _) = span.split_once('-')?;
    Some((first.trim().parse().ok()?, length.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_weak_etag_is_no_ground_for_a_range() {
        let version = Version::of(&headers(&[("etag", "W/\"1\"")]));
        assert_eq!(version.etag, None);
        assert!(!version.matches(&headers(&[("etag", "W/\"1\"")])));
        let version = Version::of(&headers(&[("etag", "\"1\"")]));
        assert!(version.matches(&headers(&[("etag", "\"1\"")])));
        assert!(!version.matches(&headers(&[("etag", "\"2\"")])));
        assert!(!version.matches(&headers(&[])));
    }

    #[test]
    fn ranges_and_checksums_are_read() {
        assert_eq!(content_range(&headers(&[("content-range", "bytes 5-9/10")])), Some((5, Some(10))));
        assert_eq!(content_range(&headers(&[("content-range", "bytes 5-9/*")])), Some((5, None)));
        assert_eq!(content_range(&headers(&[("content-range", "items 5-9/10")])), None);
        let version = Version::of(&headers(&[("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="), ("content-length", "0")]));
        assert_eq!(version.md5.unwrap()[..2], [0xd4, 0x1d]);
        assert_eq!(version.length, Some(0));
    }
}
