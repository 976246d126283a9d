//! What a listed object becomes: a notice, under a key that tells one version of it from another.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::list::Object;
use super::{BlobTypeFrom, BucketSettings};
use crate::notice::{HeardNotice, Metadata, Notice, Verdict};

/// What a notice keeps of its object, in its properties: what is asked for again when it is fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listed {
    /// The object's name.
    pub(super) key: String,
    /// Its version.
    pub(super) version: String,
    /// Its size in bytes.
    pub(super) size: u64,
    /// The day in whose folder it lies, where days have folders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) day: Option<String>,
}

impl Listed {
    /// What a notice of a bucket says of its object.
    pub(super) fn of(notice: &Notice) -> Option<Self> {
        serde_json::from_value(notice.metadata.properties.clone()?).ok()
    }
}

/// The key under which a version of an object is stored once. The size is part of it, should a store give one ETag to
/// two contents.
pub(super) fn dedupe_key(object: &Object) -> String {
    format!("{}#{}:{}", object.key, object.version, object.size)
}

/// The notice of an object, which was listed in the folder of `day`.
pub(super) fn notice(settings: &BucketSettings, uri: String, day: Date, object: &Object) -> HeardNotice {
    let prefix = &settings.folder.prefix(day);
    let blob_type = blob_type(settings, prefix, &object.key);
    let verdict = if settings.filter.wants(&blob_type) {
        Verdict::Accepted
    } else {
        Verdict::Skipped(format!("the feed does not want {blob_type}"))
    };
    let day = settings.folder.is_dated().then(|| day.to_string());
    let listed = Listed { key: object.key.clone(), version: object.version.clone(), size: object.size, day };
    HeardNotice {
        feed: settings.name.clone(),
        dedupe_key: dedupe_key(object),
        metadata: Metadata {
            blob_type,
            correlation_id: None,
            uri: Some(uri),
            content_type: settings.content_type.clone(),
            content_encoding: None,
            properties: serde_json::to_value(listed).ok(),
        },
        body: None,
        published: object.modified,
        sequence: 0,
        delivery_count: 0,
        verdict,
    }
}

fn blob_type(settings: &BucketSettings, prefix: &str, key: &str) -> String {
    let fixed = || settings.blob_type.clone();
    match &settings.blob_type_from {
        BlobTypeFrom::Feed | BlobTypeFrom::Record => fixed(),
        BlobTypeFrom::Folder => {
            // The folder that the object lies in; the day's own folder is none, and then the one above it is.
            let below = key.strip_prefix(prefix).unwrap_or(key);
            let folder = match below.rsplit_once('/') {
                Some((folders, _)) => folders.rsplit('/').next(),
                None => prefix.trim_end_matches('/').rsplit_once('/').and_then(|(above, _)| above.rsplit('/').next()),
            };
            folder.filter(|folder| !folder.is_empty()).map_or_else(fixed, str::to_owned)
        }
        BlobTypeFrom::Name(pattern) => {
            let name = key.rsplit('/').next().unwrap_or(key);
            pattern.find(name).filter(|found| !found.is_empty()).map_or_else(fixed, str::to_owned)
        }
    }
}

/// A pattern over a file's name with one part that is the blob type, such as `{blob_type}_*.jsonl.gz`: `*` stands for
/// any text, `{blob_type}` for any that is not empty, as much of it as can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern {
    before: String,
    after: String,
}

impl NamePattern {
    const MARK: &str = "{blob_type}";

    /// Reads a pattern.
    ///
    /// # Errors
    /// Why it cannot be used, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (before, after) = text.split_once(Self::MARK).ok_or("it does not hold {blob_type}")?;
        if after.contains(Self::MARK) {
            return Err("it holds {blob_type} twice".to_owned());
        }
        if text.contains('/') {
            return Err("it is matched against the file's name, which holds no `/`".to_owned());
        }
        Ok(Self { before: before.to_owned(), after: after.to_owned() })
    }

    /// The part of `name` that is the blob type, if the name is of this pattern.
    #[must_use]
    pub fn find<'n>(&self, name: &'n str) -> Option<&'n str> {
        let mut cuts: Vec<usize> = name.char_indices().map(|(at, _)| at).collect();
        cuts.push(name.len());
        let starts = cuts.iter().copied().filter(|at| matches(&self.before, &name[..*at]));
        let ends: Vec<usize> = cuts.iter().rev().copied().filter(|at| matches(&self.after, &name[*at..])).collect();
        starts
            .flat_map(|start| ends.iter().map(move |end| (start, *end)))
            .find(|(start, end)| start < end)
            .map(|(start, end)| &name[start..end])
    }
}

/// Whether `text` is of a pattern in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixMs;
    use crate::feed::bucket::tests::settings;

    fn typed(from: BlobTypeFrom, prefix: &str, key: &str) -> String {
        blob_type(&BucketSettings { blob_type_from: from, ..settings() }, prefix, key)
    }

    #[test]
    fn the_blob_type_comes_from_the_folder_the_name_or_the_feed() {
        let day = "2026-11-24/";
        assert_eq!(typed(BlobTypeFrom::Folder, day, "2026-11-24/orders/1.jsonl"), "orders");
        assert_eq!(typed(BlobTypeFrom::Folder, day, "2026-11-24/a/b/1.jsonl"), "b");
        assert_eq!(typed(BlobTypeFrom::Folder, "orders/2026-11-24/", "orders/2026-11-24/1.jsonl"), "orders");
        assert_eq!(typed(BlobTypeFrom::Folder, day, "2026-11-24/1.jsonl"), "fft.export", "no folder but the day's");
        let pattern = |text| BlobTypeFrom::Name(NamePattern::parse(text).expect("a pattern"));
        assert_eq!(typed(pattern("{blob_type}_*"), day, "2026-11-24/add_to_cart_01.csv"), "add_to_cart");
        assert_eq!(typed(pattern("{blob_type}_*"), day, "2026-11-24/other.csv"), "fft.export");
        assert_eq!(typed(BlobTypeFrom::Feed, day, "2026-11-24/orders/1.jsonl"), "fft.export");
    }

    #[test]
    fn a_name_pattern_takes_as_much_as_it_can() {
        let find = |pattern: &str, name| NamePattern::parse(pattern).expect("a pattern").find(name);
        assert_eq!(find("*-{blob_type}.*", "x-ä-b.jsonl.gz"), Some("ä-b.jsonl"));
        assert_eq!(find("{blob_type}", "all"), Some("all"));
        assert_eq!(find("v*_{blob_type}.json", "v1_orders.json"), Some("orders"));
        assert_eq!(find("{blob_type}_*", "_x"), None);
        for wrong in ["*", "{blob_type}{blob_type}", "a/{blob_type}"] {
            assert!(NamePattern::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn another_version_is_another_notice_and_the_same_is_not() {
        let object = Object { key: "k".to_owned(), version: "1".to_owned(), size: 5, modified: UnixMs(1) };
        let again = Object { modified: UnixMs(2), ..object.clone() };
        let rewritten = Object { version: "2".to_owned(), ..object.clone() };
        let grown = Object { size: 6, ..object.clone() };
        assert_eq!(dedupe_key(&object), dedupe_key(&again));
        assert_ne!(dedupe_key(&object), dedupe_key(&rewritten));
        assert_ne!(dedupe_key(&object), dedupe_key(&grown));
    }
}
