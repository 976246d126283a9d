//! The keys of a drop's notices: the content's hash, the file's name, and the entry's in an archive.

use aws_lc_rs::digest;

use crate::clock::UnixMs;
use crate::notice::HeardNotice;

/// The SHA-256 of a content, as 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ContentHash(String);

impl ContentHash {
    /// The hash of what was digested.
    pub(super) fn of(digested: digest::Context) -> Self {
        Self(digested.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The hash that `text` is, if it is one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_hash = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_hash.then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Enough of it to tell two versions of one file apart.
    pub(super) fn short(&self) -> &str {
        &self.0[..12]
    }
}

/// What stands in a key between the name of a file that was taken once more and when it was.
const AGAIN: &str = "#again-";

/// How every key of a content begins.
pub(super) fn key_prefix(hash: &ContentHash) -> String {
    format!("{}/", hash.as_str())
}

/// The key of a file, or of an entry in it. A file's name has no slash.
pub(super) fn key(hash: &ContentHash, file: &str, entry: Option<&str>) -> String {
    match entry {
        Some(entry) => format!("{}/{file}/{entry}", hash.as_str()),
        None => format!("{}/{file}", hash.as_str()),
    }
}

/// Makes them other notices than those that the inbox may have of this file, from this moment.
pub(super) fn make_others(heard: &mut [HeardNotice], file: &str, now: UnixMs) {
    for notice in heard {
        let Some((hash, name)) = notice.dedupe_key.split_once('/') else { continue };
        // A file's name has no slash: what follows it is the entry's.
        let entry = name.strip_prefix(file).unwrap_or_default();
        notice.dedupe_key = format!("{hash}/{file}{AGAIN}{now}{entry}");
    }
}

/// The file that a key of ours is about.
pub(super) fn file_of(key: &str) -> Option<&str> {
    let (_, name) = key.split_once('/')?;
    let file = name.split_once('/').map_or(name, |(file, _)| file);
    let again = file.rsplit_once(AGAIN).filter(|(_, moment)| moment.parse::<jiff::Timestamp>().is_ok());
    Some(again.map_or(file, |(file, _)| file))
}

/// The content and the entry that a key names.
pub(super) fn parse_key(key: &str) -> Option<(ContentHash, Option<&str>)> {
    let (hash, name) = key.split_once('/')?;
    Some((ContentHash::parse(hash)?, name.split_once('/').map(|(_, entry)| entry)))
}
