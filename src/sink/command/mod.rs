//! The command sink: a program is started for each batch, with the records on its standard input as JSON lines.
//!
//! What always holds: no shell is involved; the program sees `PATH`, the named variables and what Longshore says of
//! the batch, and nothing else; it is gone, with all that it started in its group, when its time is over or the
//! delivery is dropped; exit code 0 and nothing else confirms a batch.
//!
//! ```text
//! batch ──> process ── stdin: lines ──> exit 0: confirmed | permanent code: refused | else: again
//!              └────── stderr: the last lines go into the error
//! ```

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Class;
use crate::inbox::Progress;
use crate::notice::SinkName;
use crate::record::RecordBatch;
use crate::sink::{
    Accepts, BatchLimits, CommandSettings, Delivered, DeliveryContext, DeliveryIdentity, Opened, Promise, Sink,
    SinkError, Transfer,
};

mod process;

use process::Ended;

/// Starting a program costs a millisecond or more, so batches are large.
pub const DEFAULT_BATCH: BatchLimits = BatchLimits { records_max: 10_000, bytes_max: 4 << 20 };

/// How long one program may run.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of one environment variable; the system takes 128 KiB for each, and a source can send any text.
const VARIABLE_BYTES_MAX: usize = 4_096;

/// A program that is started for each batch.
pub struct CommandSink {
    shared: Arc<Shared>,
    batch: BatchLimits,
}

struct Shared {
    name: SinkName,
    settings: CommandSettings,
}

impl CommandSink {
    /// A sink of these settings; starts nothing.
    ///
    /// # Errors
    /// When no program is named, or an argument cannot be one.
    pub fn new(name: SinkName, batch: BatchLimits, settings: CommandSettings) -> Result<Self, SinkError> {
        let fail = |reason: &str| SinkError::new(Class::Permanent, format!("sink {name}: {reason}"));
        if settings.command.first().is_none_or(String::is_empty) {
            return Err(fail("no command is given"));
        }
        if settings.command.iter().chain(&settings.environment).any(|text| text.contains('\0')) {
            return Err(fail("its command or environment has a NUL character in it"));
        }
        if settings.environment.iter().any(|name| name.is_empty() || name.contains('=')) {
            return Err(fail("`environment` takes names of variables, without values"));
        }
        Ok(Self { shared: Arc::new(Shared { name, settings }), batch })
    }
}

#[async_trait]
impl Sink for CommandSink {
    fn kind(&self) -> &'static str {
        "command"
    }

    fn accepts(&self) -> Accepts {
        Accepts::Records
    }

    fn promise(&self) -> Promise {
        Promise::SameKey
    }

    fn batch_limits(&self) -> BatchLimits {
        self.batch
    }

    async fn open(&self, delivery: DeliveryContext, progress: Progress) -> Result<Opened, SinkError> {
        let identity = DeliveryIdentity::of(&delivery);
        let transfer = CommandTransfer { shared: self.shared.clone(), delivery, identity };
        Ok(Opened { transfer: Box::new(transfer), resume_after: progress.confirmed })
    }

    async fn probe(&self) -> Result<String, SinkError> {
        let program = self.shared.settings.command[0].clone();
        let found = tokio::task::spawn_blocking(move || process::find_program(&program)).await;
        match found {
            Ok(Some(path)) => Ok(format!("{} can be started", path.display())),
            Ok(None) => Err(self.shared.error(Class::Permanent, "is not a program that can be started")),
            Err(error) => Err(self.shared.error(Class::Transient, &format!("could not be looked for: {error}"))),
        }
    }
}

impl Shared {
    fn error(&self, class: Class, what: &str) -> SinkError {
        SinkError::new(class, format!("sink {}: the command {} {what}", self.name, self.settings.command[0]))
    }

    fn judge(&self, ended: Ended) -> Result<(), SinkError> {
        match ended {
            Ended::Exited { status, .. } if status.success() => Ok(()),
            Ended::Exited { status, last_words } => {
                let is_permanent = status.code().is_some_and(|c| self.settings.permanent_exit_codes.contains(&c));
                let class = if is_permanent { Class::Permanent } else { Class::Transient };
                Err(self.error(class, &with_last_words(&told(status), &last_words)))
            }
            Ended::OutOfTime { last_words } => {
                let what = format!("was killed after {:?}", self.settings.timeout);
                Err(self.error(Class::Transient, &with_last_words(&what, &last_words)))
            }
        }
    }
}

fn told(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended without an exit code".to_owned(),
    }
}

fn with_last_words(what: &str, last_words: &str) -> String {
    if last_words.is_empty() { what.to_owned() } else { format!("{what}, and said: {last_words}") }
}

struct CommandTransfer {
    shared: Arc<Shared>,
    delivery: DeliveryContext,
    identity: DeliveryIdentity,
}

impl CommandTransfer {
    /// What the program is told of the batch.
    fn variables(&self, batch: &RecordBatch) -> Vec<(&'static str, String)> {
        let (delivery, notice) = (&self.delivery, &self.delivery.notice);
        let metadata = &notice.metadata;
        let variables = [
            ("LONGSHORE_NOTICE", notice.id.to_string()),
            ("LONGSHORE_FEED", notice.feed.to_string()),
            ("LONGSHORE_BLOB_TYPE", metadata.blob_type.clone()),
            ("LONGSHORE_CORRELATION_ID", metadata.correlation_id.clone().unwrap_or_default()),
            ("LONGSHORE_PUBLISHED", notice.published.to_string()),
            ("LONGSHORE_ROUTE", delivery.target.route.to_string()),
            ("LONGSHORE_SINK", delivery.target.sink.to_string()),
            ("LONGSHORE_RUN", delivery.run.0.to_string()),
            ("LONGSHORE_ATTEMPT", delivery.attempt.to_string()),
            ("LONGSHORE_FIRST_RECORD", batch.first.to_string()),
            ("LONGSHORE_LAST_RECORD", batch.last.to_string()),
            ("LONGSHORE_RECORDS", batch.spans.len().to_string()),
            ("LONGSHORE_IDEMPOTENCY_KEY", self.identity.batch_key(batch.first, batch.last)),
        ];
        variables.map(|(name, value)| (name, as_variable(&value))).into()
    }
}

/// A value that every system takes: no NUL, and not too long.
fn as_variable(value: &str) -> String {
    value[..value.floor_char_boundary(VARIABLE_BYTES_MAX)].replace('\0', "\u{fffd}")
}

#[async_trait]
impl Transfer for CommandTransfer {
    async fn deliver(&mut self, batch: &RecordBatch) -> Result<Delivered, SinkError> {
        if !batch.spans.is_empty() {
            let ended = process::run(&self.shared.settings, self.variables(batch), batch.to_lines()).await;
            let ended = ended.map_err(|error| {
                use std::io::ErrorKind::{NotFound, PermissionDenied};
                let is_lasting = matches!(error.kind(), NotFound | PermissionDenied);
                let class = if is_lasting { Class::Permanent } else { Class::Transient };
                self.shared.error(class, &format!("could not be started: {error}"))
            })?;
            self.shared.judge(ended)?;
        }
        Ok(Delivered { confirmed: true, refused: Vec::new() })
    }

    async fn deliver_bytes(&mut self, _bytes: Bytes) -> Result<(), SinkError> {
        Err(SinkError::not_bytes(&self.shared.name))
    }

    async fn finish(self: Box<Self>) -> Result<String, SinkError> {
        Ok(format!("command {}", self.shared.settings.command[0]))
    }
}

#[cfg(test)]
mod tests;
