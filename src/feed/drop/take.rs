//! Taking one file: copy, look whether it is whole, keep, store, settle. Each step is a type, and the next one takes
//! nothing else.
//!
//! ```text
//! Listed ──copy──> Copied ──examine──> (Examined) ──keep, store──> Stored ──settle──> source
//! ```

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use super::archive::{self, ArchiveLimits, Entry, Looked};
use super::columns;
use super::files::FileFilter;
use super::key::ContentHash;
use super::source::Listed;
use crate::inbox::Receipt;

/// What a file was found to be.
#[derive(Debug)]
pub(super) enum Examined {
    /// One payload.
    Plain {
        /// The columns that its header line names, if it is CSV.
        columns: Option<Vec<String>>,
    },
    /// An archive, and what is in it.
    Archive(Vec<Entry>),
    /// It may still become whole.
    NotWhole {
        /// What is missing.
        reason: String,
        /// What can be told apart all the same.
        entries: Vec<Entry>,
    },
    /// It is whole, and not taken.
    Refused(String),
}

/// A file that is on our disk and in the inbox: it can be settled.
pub(super) struct Stored {
    pub(super) file: Listed,
    pub(super) hash: ContentHash,
    /// One for each notice, from the commits that hold them.
    pub(super) receipts: Vec<Receipt>,
    /// Whether any of it could not be read: it then stays at the source, whatever is configured.
    pub(super) is_bad: bool,
}

/// What became of a file that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It has new notices.
    Taken,
    /// It has new notices, of which some are in quarantine.
    Quarantined,
    /// Its content was known under its name.
    Duplicate,
}

impl Outcome {
    /// As it is counted and logged.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Quarantined => "quarantined",
            Self::Duplicate => "duplicate",
        }
    }
}

impl Stored {
    pub(super) fn outcome(&self) -> Outcome {
        match (self.is_bad, self.receipts.iter().all(Receipt::is_duplicate)) {
            (_, true) => Outcome::Duplicate,
            (true, false) => Outcome::Quarantined,
            (false, false) => Outcome::Taken,
        }
    }
}

/// Looks at a copy; blocks for as long as reading it takes.
pub(super) fn examine(file: &mut File, name: &str, limits: &ArchiveLimits, files: &FileFilter) -> io::Result<Examined> {
    file.seek(SeekFrom::Start(0))?;
    if file.metadata()?.len() == 0 {
        return Ok(Examined::NotWhole { reason: "it is empty".to_owned(), entries: Vec::new() });
    }
    let lower = name.to_ascii_lowercase();
    if lower.ends_with(".zip") {
        return Ok(match archive::look(file, limits, files)? {
            Looked::Whole(entries) => Examined::Archive(entries),
            Looked::Broken { reason, entries } => Examined::NotWhole { reason, entries },
            Looked::Refused(reason) => Examined::Refused(reason),
        });
    }
    if let Some(inner) = lower.strip_suffix(".gz").or_else(|| lower.strip_suffix(".gzip")) {
        return gzip(file, inner, limits);
    }
    let mut head = Vec::new();
    if columns::is_csv(name) {
        file.take(columns::HEAD_BYTES as u64).read_to_end(&mut head)?;
    }
    Ok(Examined::Plain { columns: columns::is_csv(name).then(|| columns::of(&head)) })
}

/// A gzip says at its end how long it is and what its sum is.
fn gzip(file: &mut File, inner: &str, limits: &ArchiveLimits) -> io::Result<Examined> {
    let mut content = flate2::read::MultiGzDecoder::new(io::BufReader::new(file));
    let mut head = Vec::new();
    let mut piece = vec![0; 64 << 10];
    let mut unpacked = 0;
    loop {
        let count = match content.read(&mut piece) {
            Ok(count) => count,
            Err(error) => {
                let reason = format!("its gzip stream does not end as it should: {error}");
                return Ok(Examined::NotWhole { reason, entries: Vec::new() });
            }
        };
        unpacked += count as u64;
        // What is beyond the bounds is named when its payload is opened; it need not be read to its end here.
        if count == 0 || unpacked > limits.unpacked_bytes_max {
            break;
        }
        let room = columns::HEAD_BYTES.saturating_sub(head.len()).min(count);
        head.extend_from_slice(&piece[..room]);
    }
    Ok(Examined::Plain { columns: columns::is_csv(inner).then(|| columns::of(&head)) })
}

impl Examined {
    /// Whether any of it cannot be delivered.
    pub(super) fn is_bad(&self) -> bool {
        match self {
            Self::Plain { .. } => false,
            Self::Archive(entries) => entries.iter().any(|entry| entry.fault.is_some()),
            Self::NotWhole { .. } | Self::Refused(_) => true,
        }
    }
}
