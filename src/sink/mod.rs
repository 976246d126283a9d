//! Sinks: where records go.
//!
//! What always holds, for every sink (the conformance suite checks it):
//!
//! 1. A record counts as delivered once [`Transfer::deliver`] or [`Transfer::finish`] confirmed it, not before.
//! 2. A delivery that was cut off anywhere can be opened again and ends as if it had not been: a file is renamed into
//!    place, a database commits rows and progress in one transaction, a request carries an idempotency key.
//! 3. Nothing of a delivery's identity (blob type, file name, record) can leave the place that the sink was given.
//!
//! ```text
//! Sink::open(delivery, progress) ──> Opened { transfer, resume_after }
//!     transfer.deliver(batch) ──> Confirmed | Held        Held: confirmed by `finish` only
//!     transfer.finish()       ──> where it lies
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::clock::Clock;
use crate::error::{Class, Classify};
use crate::inbox::{Progress, RunId, Target};
use crate::notice::{Notice, SinkName};
use crate::record::{BadRecord, RecordBatch, RecordRef};

pub mod command;
#[cfg(test)]
mod conformance;
pub mod directory;
pub mod http;
mod identity;
mod settings;
pub mod sqlite;
#[cfg(test)]
mod test_support;

pub use identity::DeliveryIdentity;
pub use settings::{
    CommandSettings, DirectoryFormat, DirectorySettings, HttpAuth, HttpBody, HttpMethod, HttpSettings, SinkKind,
    SinkSettings, SqliteSettings, TableKey,
};

/// What a sink takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepts {
    /// Records, in batches.
    Records,
    /// The payload's bytes, unopened: decompressed, but not split.
    Bytes,
}

/// What a sink promises of a delivery that is cut off and done again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// The same bytes under the same name, once.
    SameFile,
    /// Rows and progress commit together: each row is applied once.
    OneTransaction,
    /// At most the one batch in flight is sent again, under the same idempotency key.
    SameKey,
}

/// How large batches a sink takes. A batch ends at whichever bound is met first; a single record may exceed the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Records in a batch, at most.
    pub records_max: usize,
    /// Bytes of record bodies in a batch, at most.
    pub bytes_max: usize,
}

/// What a sink is told of a delivery.
#[derive(Clone, Debug)]
pub struct DeliveryContext {
    /// The notice.
    pub notice: Arc<Notice>,
    /// The route and the sink.
    pub target: Target,
    /// The run: 0 for the first, a number of its own for each replay.
    pub run: RunId,
    /// Which attempt this is, from 1.
    pub attempt: u32,
}

/// A place where records go.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Its kind, as in the configuration: `directory`, `http`, `command`, `sqlite`.
    fn kind(&self) -> &'static str;

    /// Whether it wants records or the unopened bytes.
    fn accepts(&self) -> Accepts;

    /// What it promises.
    fn promise(&self) -> Promise;

    /// How large batches it takes.
    fn batch_limits(&self) -> BatchLimits;

    /// Starts a delivery, or takes up one that was cut off after `progress`.
    async fn open(&self, delivery: DeliveryContext, progress: Progress) -> Result<Opened, SinkError>;

    /// Whether the sink can be reached and written; changes nothing. Returns what was seen.
    async fn probe(&self) -> Result<String, SinkError>;
}

/// A delivery that has begun.
pub struct Opened {
    /// Takes the records.
    pub transfer: Box<dyn Transfer>,
    /// Records up to this number are confirmed already and are not handed over again; 0 for none. It may lie before
    /// what the inbox has stored (a file is written from its start), or after it (a database knows of a batch that
    /// was committed just before a crash, and that had no refused record); the account counts them all the same.
    pub resume_after: u64,
}

/// A delivery in the making. Dropped without [`Transfer::finish`], it leaves nothing half done in sight.
#[async_trait]
pub trait Transfer: Send {
    /// Hands over a batch of records (for [`Accepts::Records`]).
    async fn deliver(&mut self, batch: &RecordBatch) -> Result<Delivered, SinkError>;

    /// Hands over a piece of the payload (for [`Accepts::Bytes`]).
    async fn deliver_bytes(&mut self, bytes: Bytes) -> Result<(), SinkError>;

    /// Ends the delivery: everything handed over is confirmed when this returns. Returns where it lies, for people:
    /// a path, a table, an address without secrets.
    async fn finish(self: Box<Self>) -> Result<String, SinkError>;
}

/// The answer to a batch.
#[derive(Debug, Default)]
pub struct Delivered {
    /// Whether the batch is confirmed now; otherwise `finish` confirms it.
    pub confirmed: bool,
    /// Records of the batch that the sink refused for good.
    pub refused: Vec<BadRecord>,
}

/// Why a sink could not take a delivery. The text is redacted and names the sink's object.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SinkError {
    class: Class,
    message: String,
    retry_after: Option<Duration>,
}

impl SinkError {
    /// An error of `class`; `message` says the object and what to do.
    pub fn new(class: Class, message: impl AsRef<str>) -> Self {
        Self { class, message: crate::secret::redact(message.as_ref()), retry_after: None }
    }

    /// A sink of records was handed bytes: an error of the caller.
    fn not_bytes(name: &SinkName) -> Self {
        Self::new(Class::Permanent, format!("sink {name}: it takes records, not unopened bytes"))
    }

    /// A sink of bytes was handed records: an error of the caller.
    fn not_records(name: &SinkName) -> Self {
        Self::new(Class::Permanent, format!("sink {name}: it takes unopened bytes, not records"))
    }

    /// The other side asked for `wait`.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }
}

impl Classify for SinkError {
    fn class(&self) -> Class {
        self.class
    }

    fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

/// What sinks need besides their settings.
#[derive(Clone, Debug)]
pub struct SinkContext {
    /// The time of day.
    pub clock: Arc<dyn Clock>,
}

/// Makes the configured sinks. Opens nothing and connects to nothing: that is for [`Sink::open`] and [`Sink::probe`].
///
/// # Errors
/// Settings that cannot work, with the sink's name; always [`Class::Permanent`].
pub fn build(
    settings: Vec<SinkSettings>,
    context: &SinkContext,
) -> Result<HashMap<SinkName, Arc<dyn Sink>>, SinkError> {
    let mut sinks: HashMap<SinkName, Arc<dyn Sink>> = HashMap::with_capacity(settings.len());
    for one in settings {
        let name = one.name.clone();
        let sink: Arc<dyn Sink> = match one.kind {
            SinkKind::Directory(kind) => Arc::new(directory::DirectorySink::new(one.name, one.batch, kind, context)?),
            SinkKind::Http(kind) => Arc::new(http::HttpSink::new(one.name, one.batch, kind, context)?),
            SinkKind::Command(kind) => Arc::new(command::CommandSink::new(one.name, one.batch, kind)?),
            SinkKind::Sqlite(kind) => Arc::new(sqlite::SqliteSink::new(one.name, one.batch, kind, context)?),
        };
        if sinks.insert(name.clone(), sink).is_some() {
            let message = format!("there are two sinks named {name}: give one of them another name");
            return Err(SinkError::new(Class::Permanent, message));
        }
    }
    Ok(sinks)
}

/// A record that a sink refuses for good, whole: how much of it is kept is not the sink's to say.
fn refuse(record: RecordRef<'_>, class: Class, reason: &str) -> BadRecord {
    BadRecord {
        number: record.number,
        offset: record.offset,
        reason: crate::secret::redact(reason),
        class,
        is_readable: true,
        is_cut: false,
        blob_type: None,
        bytes: record.body.to_vec(),
    }
}
