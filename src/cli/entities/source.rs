//! Where imported keys come from: lines, each a key, or records in any form that a feed could bring.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use futures::StreamExt as _;
use indicatif::ProgressBar;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio_util::io::ReaderStream;

use super::unclear;
use crate::clock::{SystemClock, UnixMs};
use crate::inbox::EntityKey;
use crate::notice::{FeedName, Metadata, Notice, NoticeId};
use crate::ops::Context;
use crate::payload::{
    Content, ContentStore, FetchSettings, Form, PayloadError, PayloadLimits, PayloadOpener, RecordStream,
};
use crate::record::RecordBatch;
use crate::route::{Entity, FormatHints, Key};
use crate::sink::BatchLimits;

/// Lines, or records, that are looked at between two looks at the clock and the bar.
const BATCH: BatchLimits = BatchLimits { records_max: 10_000, bytes_max: 4 << 20 };

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// One key a line; the values of a compound key with tabs between them
    Keys,
    /// One JSON record a line
    JsonLines,
    /// A JSON array of records
    Json,
    /// Rows under a header line
    Csv,
    /// An XML element a line
    XmlLines,
    /// An XML document whose root holds the records
    Xml,
}

impl Format {
    /// By the end of the file's name; lines of keys where that says nothing.
    pub(super) fn of(path: &Path) -> Self {
        let uri = Some(path.display().to_string());
        match Form::of(&Metadata { uri, ..Metadata::default() }) {
            Form::JsonLines => Self::JsonLines,
            Form::Json => Self::Json,
            Form::Csv => Self::Csv,
            Form::XmlLines => Self::XmlLines,
            Form::Xml => Self::Xml,
            Form::Opaque => Self::Keys,
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Keys => "text/plain",
            Self::JsonLines => "application/x-jsonlines",
            Self::Json => "application/json",
            Self::Csv => "text/csv",
            Self::XmlLines => "application/x-xmllines",
            Self::Xml => "text/xml",
        }
    }
}

/// What a few lines or records hold.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) read: u64,
    pub(super) keys: Vec<EntityKey>,
    pub(super) deleted: u64,
    pub(super) without_key: u64,
    /// The first of these, counted from 0, and why.
    pub(super) first_without_key: Option<(u64, String)>,
}

impl Found {
    fn lacks(&mut self, reason: impl FnOnce() -> String) {
        self.without_key += 1;
        if self.first_without_key.is_none() {
            self.first_without_key = Some((self.read, reason()));
        }
    }
}

/// An open file.
pub(super) enum Source {
    /// Each line is a key of this name, with so many values.
    Keys { lines: Lines<BufReader<Input>>, key: Key, bar: ProgressBar },
    /// Records, of which each may carry several keys of the entity.
    Records { records: Box<RecordStream>, entity: Entity },
}

type Input = tokio::fs::File;

impl Source {
    /// Opens the file; `key` names which key lines are. The bar shows how much was read.
    pub(super) fn open(
        path: &Path,
        format: Format,
        entity: &Entity,
        key: Option<&str>,
        csv_separator: Option<char>,
        bar: ProgressBar,
    ) -> anyhow::Result<Self> {
        if format != Format::Keys {
            if key.is_some() {
                return Err(unclear("--key is for one key a line; records are looked through for all keys"));
            }
            let hints = FormatHints {
                csv_separator: csv_separator.and_then(|sign| u8::try_from(sign).ok()),
                ..FormatHints::default()
            };
            let records = Box::new(records(path, format, &hints, bar)?);
            return Ok(Self::Records { records, entity: entity.clone() });
        }
        let names: Vec<&str> = entity.keys().iter().map(Key::name).collect();
        let key = match (key, entity.keys()) {
            (None, [only]) => only,
            (None, _) => {
                let names = names.join(", ");
                return Err(unclear(&format!("which key are the lines? Give --key with one of: {names}")));
            }
            (Some(name), keys) => keys.iter().find(|key| key.name() == name).ok_or_else(|| {
                unclear(&format!("the entity {} has no key {name:?}: {}", entity.name(), names.join(", ")))
            })?,
        };
        let input = input(path).with_context(|| path.display().to_string())?;
        let lines = BufReader::with_capacity(1 << 20, input).lines();
        Ok(Self::Keys { lines, key: key.clone(), bar })
    }

    /// The next few lines or records; `None` at the end.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Found>> {
        match self {
            Self::Records { records, entity } => {
                Ok(records.next().await.context("the file cannot be read")?.map(|batch| keys_of(&batch, entity)))
            }
            Self::Keys { lines, key, bar } => {
                let mut found = Found::default();
                let mut scratch = Vec::new();
                while (found.read as usize) < BATCH.records_max {
                    let Some(line) = lines.next_line().await.context("the file cannot be read")? else { break };
                    bar.inc(line.len() as u64 + 1);
                    let line = line.trim_matches(['\u{feff}', ' ', '\r']);
                    let values: Vec<&str> = line.split('\t').collect();
                    if line.is_empty() {
                        continue;
                    }
                    if values.len() == key.parts() && values.iter().all(|value| !value.is_empty()) {
                        found.keys.push(EntityKey::of(&mut scratch, key.name(), values));
                    } else {
                        let has = values.len();
                        found.lacks(|| {
                            format!("the key {} has {} values, and the line has {has}", key.name(), key.parts())
                        });
                    }
                    found.read += 1;
                }
                Ok((found.read > 0).then_some(found))
            }
        }
    }
}

fn input(path: &Path) -> std::io::Result<Input> {
    let path = if path == Path::new("-") { Path::new("/dev/stdin") } else { path };
    Ok(tokio::fs::File::from_std(std::fs::File::open(path)?))
}

/// All keys that the records of a batch carry of the entity.
fn keys_of(batch: &RecordBatch, entity: &Entity) -> Found {
    let mut found = Found::default();
    let mut scratch = Vec::new();
    for record in batch.records() {
        found.read += 1;
        if entity.is_deleted_by(record.body) {
            found.deleted += 1;
            continue;
        }
        let before = found.keys.len();
        found.keys.extend(entity.keys().iter().filter_map(|key| key.of(record.body, &mut scratch)));
        if found.keys.len() == before {
            found.without_key += 1;
            found.first_without_key.get_or_insert_with(|| {
                let names: Vec<&str> = entity.keys().iter().map(Key::name).collect();
                (record.number - batch.first, format!("it carries none of the keys {}", names.join(", ")))
            });
        }
    }
    for bad in &batch.bad {
        found.read += 1;
        found.without_key += 1;
        let at = bad.number - batch.first;
        if found.first_without_key.as_ref().is_none_or(|(first, _)| at < *first) {
            found.first_without_key = Some((at, bad.reason.clone()));
        }
    }
    found
}

/// The records of a file, by way of the payloads' own reader: what a feed could bring can be imported.
fn records(path: &Path, format: Format, hints: &FormatHints, bar: ProgressBar) -> anyhow::Result<RecordStream> {
    let store = Arc::new(OneFile { path: path.to_owned(), bar });
    // A person who imports a file knows what it is: one wrong record in many is told, and does not end it.
    let limits = PayloadLimits { bad_records_max: u64::MAX, ratio_max: u64::MAX, ..PayloadLimits::default() };
    let settings = FetchSettings { idle_timeout: std::time::Duration::MAX, ..FetchSettings::default() };
    let opener = PayloadOpener::of_store(settings, limits, store, Context::new(Arc::new(SystemClock)));
    let notice = Notice {
        id: NoticeId(0),
        feed: FeedName::new("import"),
        dedupe_key: String::new(),
        metadata: Metadata {
            uri: Some(path.display().to_string()),
            content_type: Some(format.content_type().to_owned()),
            ..Metadata::default()
        },
        body: None,
        published: UnixMs(0),
        sequence: 0,
        stored: UnixMs(0),
    };
    Ok(opener.open_records(&notice, hints, BATCH)?)
}

/// A file of this machine, or standard input.
#[derive(Debug)]
struct OneFile {
    path: PathBuf,
    bar: ProgressBar,
}

#[async_trait]
impl ContentStore for OneFile {
    async fn open(&self, _notice: &Notice, from: u64, _version: Option<&str>) -> Result<Content, PayloadError> {
        let forbidden = |reason: String| PayloadError::Forbidden { object: self.path.display().to_string(), reason };
        if from > 0 {
            return Err(forbidden("it cannot be read again from the middle".to_owned()));
        }
        let input = input(&self.path).map_err(|error| forbidden(error.to_string()))?;
        let bar = self.bar.clone();
        let bytes = ReaderStream::with_capacity(input, 256 << 10).map(move |piece| {
            bar.inc(piece.as_ref().map_or(0, |piece| piece.len() as u64));
            piece.map_err(|error| error.to_string())
        });
        let bytes = bytes.boxed();
        Ok(Content { version: None, length: None, md5: None, bytes })
    }
}
