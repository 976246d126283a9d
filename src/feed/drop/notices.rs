//! From a file that was found whole to its notices: one for a plain file, one for each entry of an archive.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::columns::KnownColumns;
use super::naming::Named;
use super::source::Listed;
use super::spool::ContentHash;
use super::take::Examined;
use super::{DropSettings, archive};
use crate::clock::UnixMs;
use crate::notice::{HeardNotice, Metadata, Verdict};

/// What cannot stand in one segment of an address.
const SEGMENT: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'/').add(b'<').add(b'>').add(b'?').add(b'\\');

/// A day that lies this far ahead was read in the wrong order.
const AHEAD_MS_MAX: i64 = 2 * 24 * 3_600 * 1_000;

/// What stands in a key between the name of a file that was taken once more and when it was.
const AGAIN: &str = "#again-";

/// How every key of a content begins.
pub(super) fn key_prefix(hash: &ContentHash) -> String {
    format!("{}/", hash.as_str())
}

/// The key of a file, or of an entry in it. A file's name has no slash.
fn key(hash: &ContentHash, file: &str, entry: Option<&str>) -> String {
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

/// Makes the notices of a file that was copied at `now`. The same file gives the same keys.
pub(super) fn of(
    settings: &DropSettings,
    file: &Listed,
    hash: &ContentHash,
    examined: Examined,
    known: &mut KnownColumns,
    now: UnixMs,
) -> Vec<HeardNotice> {
    let maker = Maker { settings, file, hash, now };
    match examined {
        Examined::Plain { columns } => {
            vec![maker.notice(None, file.stamp.size, Ok(columns), known)]
        }
        Examined::Archive(entries) => maker.entries(entries, known),
        // What can be told apart in a broken archive goes on; what cannot is one notice for all.
        Examined::NotWhole { reason, entries } if entries.is_empty() => {
            vec![maker.notice(None, file.stamp.size, Err(format!("it is not whole: {reason}")), known)]
        }
        Examined::NotWhole { entries, .. } => maker.entries(entries, known),
        Examined::Refused(reason) => vec![maker.notice(None, file.stamp.size, Err(reason), known)],
    }
}

struct Maker<'a> {
    settings: &'a DropSettings,
    file: &'a Listed,
    hash: &'a ContentHash,
    now: UnixMs,
}

impl Maker<'_> {
    fn entries(&self, entries: Vec<archive::Entry>, known: &mut KnownColumns) -> Vec<HeardNotice> {
        let make = |(at, entry): (usize, archive::Entry)| {
            let found = match entry.fault {
                Some(fault) => Err(fault),
                None => Ok(entry.columns),
            };
            let mut notice = self.notice(Some(&entry.name), entry.size, found, known);
            notice.sequence = i64::try_from(at).unwrap_or(i64::MAX);
            notice
        };
        entries.into_iter().enumerate().map(make).collect()
    }

    fn notice(
        &self,
        entry: Option<&str>,
        size: u64,
        found: Result<Option<Vec<String>>, String>,
        known: &mut KnownColumns,
    ) -> HeardNotice {
        let named = self.settings.naming.read(entry.unwrap_or(&self.file.name));
        let mut properties = Map::new();
        properties.insert("file".to_owned(), json!(self.file.name));
        if let Some(entry) = entry {
            properties.insert("entry".to_owned(), json!(entry));
        }
        properties.insert("bytes".to_owned(), json!(size));
        if let Some(date) = named.date {
            properties.insert("date".to_owned(), json!(date));
        }
        let verdict = match &found {
            Err(reason) => Verdict::Unreadable(reason.clone()),
            Ok(_) if self.settings.filter.wants(&named.blob_type) => Verdict::Accepted,
            Ok(_) => Verdict::Skipped(format!("the feed's filter leaves out {}", named.blob_type)),
        };
        if let Ok(Some(columns)) = &found
            && let Some(drift) = known.drift(&named.blob_type, columns)
        {
            properties.insert("drift".to_owned(), json!(drift));
        }
        HeardNotice {
            feed: self.settings.name.clone(),
            dedupe_key: key(self.hash, &self.file.name, entry),
            published: self.published(&named),
            metadata: Metadata {
                blob_type: named.blob_type,
                correlation_id: Some(self.file.name.clone()),
                uri: Some(self.uri(entry)),
                content_type: named.content_type.map(str::to_owned),
                content_encoding: named.content_encoding.map(str::to_owned),
                properties: Some(Value::Object(properties)),
            },
            body: None,
            sequence: 0,
            delivery_count: 0,
            verdict,
        }
    }

    /// The day of the data; for a file that says none, when it was written.
    fn published(&self, named: &Named) -> UnixMs {
        let written = self.file.stamp.modified_ms.map_or(self.now, UnixMs);
        let Some(begins) = named.date.and_then(|date| self.settings.naming.begins(date)) else { return written };
        if begins.0 - self.now.0 > AHEAD_MS_MAX {
            let date = named.date.map(|date| date.to_string()).unwrap_or_default();
            tracing::warn!(
                file = self.file.name,
                date,
                "the day of the data is yet to come: look whether `date_order` is right"
            );
            return written;
        }
        begins
    }

    /// For people and for names: `drop:/FEED/FILE/ENTRY`.
    fn uri(&self, entry: Option<&str>) -> String {
        let mut uri = format!("drop:/{}", self.settings.name);
        let entry = entry.into_iter().flat_map(|entry| entry.split('/'));
        for segment in std::iter::once(self.file.name.as_str()).chain(entry) {
            uri.push('/');
            uri.extend(utf8_percent_encode(segment, SEGMENT));
        }
        uri
    }
}
