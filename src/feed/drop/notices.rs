//! From a file that was found whole to its notices: one for a plain file, one for each entry of an archive.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::archive;
use super::columns::KnownColumns;
use super::key::{ContentHash, key};
use super::naming::Named;
use super::settings::DropSettings;
use super::source::Listed;
use super::take::Examined;
use crate::clock::UnixMs;
use crate::notice::{HeardNotice, Metadata, Verdict};

/// What cannot stand in one segment of an address.
const SEGMENT: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'/').add(b'<').add(b'>').add(b'?').add(b'\\');

/// A day that lies this far ahead was read in the wrong order.
const AHEAD_MS_MAX: i64 = 2 * 24 * 3_600 * 1_000;

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
