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

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::{Class, Classify};
use crate::inbox::{Progress, RunId, Target};
use crate::notice::Notice;
use crate::record::{BadRecord, RecordBatch};

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
    /// Records up to this number are confirmed already and are not handed over again; 0 for none.
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

/// A configured sink.
#[derive(Clone, Debug)]
pub struct SinkSettings {
    /// Its name in the configuration.
    pub name: crate::notice::SinkName,
    /// How large its batches are.
    pub batch: BatchLimits,
    /// Its kind, and what belongs to it.
    pub kind: SinkKind,
}

/// The kinds of sinks.
#[derive(Clone, Debug)]
pub enum SinkKind {
    /// Files in a folder.
    Directory(DirectorySettings),
    /// Requests to an address.
    Http(HttpSettings),
    /// A program that is started.
    Command(CommandSettings),
    /// A table in an SQLite database.
    Sqlite(SqliteSettings),
}

/// A folder that files are put into.
#[derive(Clone, Debug)]
pub struct DirectorySettings {
    /// The folder.
    pub path: std::path::PathBuf,
    /// `raw`: the decompressed payload as it is; `json-lines`: one record a line.
    pub format: DirectoryFormat,
    /// The file's name below the folder, with `{blob_type}`, `{date}`, `{time}`, `{notice}`, `{correlation_id}`,
    /// `{file}` (the last segment of the uri without its compression suffix), `{route}`, `{feed}`, `{run}`, `{ext}`; `/` makes folders.
    pub name: String,
}

/// How a directory sink writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DirectoryFormat {
    /// The decompressed payload as it is.
    Raw,
    /// One JSON record a line.
    #[default]
    JsonLines,
}

/// An address that records are sent to.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// The address; `https`, or `http` to loopback.
    pub url: url::Url,
    /// `POST` or `PUT`.
    pub method: HttpMethod,
    /// One request a record, or one a batch (a JSON array or JSON lines).
    pub body: HttpBody,
    /// A header that carries a secret, such as `authorization`, and the file with its value. The file is read again when a request is refused.
    pub auth: Option<HttpAuth>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// How long one request may take.
    pub timeout: Duration,
    /// A CA file to trust besides the system's roots.
    pub ca_file: Option<std::path::PathBuf>,
}

/// The verb of an HTTP sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// `POST`.
    #[default]
    Post,
    /// `PUT`.
    Put,
}

/// What one request of an HTTP sink carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HttpBody {
    /// One record as JSON.
    Record,
    /// A batch as a JSON array.
    #[default]
    Array,
    /// A batch as JSON lines.
    JsonLines,
}

/// How an HTTP sink shows who it is.
#[derive(Clone, Debug)]
pub enum HttpAuth {
    /// `Authorization: Bearer …` with the content of a file.
    BearerFile(std::path::PathBuf),
    /// A header of this name with the content of a file.
    HeaderFile(String, std::path::PathBuf),
}

/// A program that is started for each batch, with the records on its standard input.
#[derive(Clone, Debug)]
pub struct CommandSettings {
    /// The program and its arguments; no shell.
    pub command: Vec<String>,
    /// How long it may run.
    pub timeout: Duration,
    /// Exit codes that mean that trying again cannot help; any other than 0 is tried again.
    pub permanent_exit_codes: Vec<i32>,
    /// Names of environment variables that are handed on; no others are, but `PATH`.
    pub environment: Vec<String>,
}

/// A table in an SQLite database.
#[derive(Clone, Debug)]
pub struct SqliteSettings {
    /// The database file.
    pub path: std::path::PathBuf,
    /// The table's name, with `{route}`.
    pub table: String,
    /// JSON pointers whose values together are a record's key.
    pub key: Vec<String>,
    /// JSON pointer to a record's own version, a number or an RFC 3339 time; without it the notice's published time decides.
    pub version: Option<String>,
}
