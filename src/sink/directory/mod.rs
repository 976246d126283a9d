//! The directory sink: one file a delivery, raw or as JSON lines.
//!
//! What always holds: a file in sight is whole and on disk; the same delivery gives the same bytes under the same
//! name, however often it is done; nothing is written outside the sink's folder.
//!
//! ```text
//! <path>/.longshore/<identity>.part ──fsync──rename──> <path>/<name from the pattern> ──fsync of the folders
//! ```

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rustix::io::Errno;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::error::{Class, class_of_local_io};
use crate::inbox::Progress;
use crate::notice::SinkName;
use crate::record::RecordBatch;
use crate::sink::{
    Accepts, BatchLimits, Delivered, DeliveryContext, DeliveryIdentity, DirectoryFormat, DirectorySettings, Opened,
    Promise, Sink, SinkContext, SinkError, Transfer,
};

mod name;
mod pending;

use name::{FilePlace, NamePattern};
use pending::PendingFile;

/// Name of the files unless the configuration says otherwise: unique to each notice and run, and sorted by time. The
/// time keeps names apart even when an inbox was begun anew and counts its notices from 1 again.
pub const DEFAULT_NAME: &str = "{blob_type}/{date}/{time}-{notice}.{run}.{ext}";

/// Large writes: a megabyte costs one call. Records are bounded only so that a batch's account stays small.
pub const DEFAULT_BATCH: BatchLimits = BatchLimits { records_max: 65_536, bytes_max: 1 << 20 };

/// How long a delivery waits for an attempt of its own that was just dropped to put its file away.
const TURN_WAIT: Duration = Duration::from_secs(10);

/// Whether each notice and run gets a file of its own under this name pattern. Where it does not, a later notice's
/// file takes an earlier one's place.
///
/// # Errors
/// What is wrong with the pattern.
pub fn is_unique_name(pattern: &str) -> Result<bool, String> {
    NamePattern::parse(pattern).map(|pattern| pattern.is_unique())
}

/// Files in a folder.
pub struct DirectorySink {
    shared: Arc<Shared>,
    batch: BatchLimits,
    clock: Arc<dyn Clock>,
    /// Whether what was abandoned has been looked for since the start.
    is_swept: AtomicBool,
    turns: Turns,
}

struct Shared {
    name: SinkName,
    path: PathBuf,
    format: DirectoryFormat,
    pattern: NamePattern,
}

impl DirectorySink {
    /// A sink of these settings; touches no disk.
    ///
    /// # Errors
    /// When the name pattern cannot be used.
    pub fn new(
        name: SinkName,
        batch: BatchLimits,
        settings: DirectorySettings,
        context: &SinkContext,
    ) -> Result<Self, SinkError> {
        let pattern = NamePattern::parse(&settings.name).map_err(|reason| {
            let message = format!("sink {name}: the file name {:?} cannot be used: {reason}", settings.name);
            SinkError::new(Class::Permanent, message)
        })?;
        let shared = Shared { name, path: settings.path, format: settings.format, pattern };
        Ok(Self {
            shared: Arc::new(shared),
            batch,
            clock: context.clock.clone(),
            is_swept: AtomicBool::new(false),
            turns: Turns::default(),
        })
    }

    /// Once in a process's life, and only when work comes: a check must change nothing.
    async fn sweep(&self) {
        if self.is_swept.swap(true, Ordering::Relaxed) {
            return;
        }
        let (shared, now_seconds) = (self.shared.clone(), self.clock.now().0 / 1_000);
        match blocking(move || pending::remove_abandoned(&shared.path, now_seconds)).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(sink = %self.shared.name, removed, "removed abandoned unfinished files"),
            Err(error) => tracing::warn!(sink = %self.shared.name, %error, "could not look for abandoned files"),
        }
    }
}

#[async_trait]
impl Sink for DirectorySink {
    fn kind(&self) -> &'static str {
        "directory"
    }

    fn accepts(&self) -> Accepts {
        match self.shared.format {
            DirectoryFormat::Raw => Accepts::Bytes,
            DirectoryFormat::JsonLines => Accepts::Records,
        }
    }

    fn promise(&self) -> Promise {
        Promise::SameFile
    }

    fn batch_limits(&self) -> BatchLimits {
        self.batch
    }

    async fn open(&self, delivery: DeliveryContext, _progress: Progress) -> Result<Opened, SinkError> {
        self.sweep().await;
        let shared = self.shared.clone();
        let place = shared.pattern.place(&delivery, shared.format);
        let identity = DeliveryIdentity::of(&delivery);
        let turn = tokio::time::timeout(TURN_WAIT, self.turns.take(identity.as_str()))
            .await
            .map_err(|_| shared.error("begin a file in", &shared.path, &io::ErrorKind::WouldBlock.into()))?;
        let file = blocking({
            let shared = shared.clone();
            move || PendingFile::create(&shared.path, identity.as_str(), turn)
        })
        .await
        .map_err(|e| shared.error("begin a file in", &shared.path, &e))?;
        let transfer = DirectoryTransfer { shared, place, state: State::Ready(file) };
        // Nothing was in sight before: whatever an earlier attempt wrote is written again.
        Ok(Opened { transfer: Box::new(transfer), resume_after: 0 })
    }

    async fn probe(&self) -> Result<String, SinkError> {
        let shared = self.shared.clone();
        let path = shared.path.clone();
        blocking(move || look_at(&path)).await.map_err(|e| shared.error("write to", &shared.path, &e))
    }
}

/// Looks whether files can be made in `path`, or whether it can be made itself.
fn look_at(path: &Path) -> io::Result<String> {
    use rustix::fs::Access;
    let existing = path.ancestors().find(|place| !place.as_os_str().is_empty() && place.exists());
    let existing = existing.unwrap_or(Path::new("."));
    if !existing.is_dir() {
        return Err(Errno::NOTDIR.into());
    }
    rustix::fs::access(existing, Access::WRITE_OK | Access::EXEC_OK)?;
    let disk = rustix::fs::statvfs(existing)?;
    let free_mib = disk.f_bavail.saturating_mul(disk.f_frsize) >> 20;
    let state = if existing == path { "can be written" } else { "will be made" };
    Ok(format!("{} {state}, {free_mib} MiB free", path.display()))
}

impl Shared {
    fn error(&self, action: &str, path: &Path, error: &io::Error) -> SinkError {
        let (class, remedy) = match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::LOOP | Errno::NOTDIR) => {
                (Class::Permanent, ": a symbolic link or a file stands where a folder belongs; remove it")
            }
            Some(Errno::ISDIR) => (Class::Permanent, ": a folder stands where the file belongs; remove it"),
            Some(Errno::XDEV) => {
                (Class::Permanent, ": a folder in it is another file system; name that one as the sink's path")
            }
            Some(Errno::NAMETOOLONG) => (Class::Permanent, ": shorten the sink's path or its file name pattern"),
            _ => match (class_of_local_io(error), error.kind()) {
                (Class::DiskFull, _) => (Class::DiskFull, ": free some space"),
                (class, io::ErrorKind::PermissionDenied) => (class, ": let longshore's user write there"),
                (class, io::ErrorKind::WouldBlock) => (class, ": another attempt still holds the file"),
                (class, _) => (class, ""),
            },
        };
        let message = format!("sink {}: cannot {action} {}: {error}{remedy}", self.name, path.display());
        SinkError::new(class, message)
    }

    fn path_of(&self, place: &FilePlace) -> PathBuf {
        place.folders.iter().fold(self.path.clone(), |path, folder| path.join(folder)).join(&place.file)
    }
}

struct DirectoryTransfer {
    shared: Arc<Shared>,
    place: FilePlace,
    state: State,
}

/// One write may be under way while the next batch is being made; never more, so memory stays bounded.
enum State {
    Ready(PendingFile),
    Writing(JoinHandle<io::Result<PendingFile>>),
    Failed,
}

impl DirectoryTransfer {
    /// Waits for the write under way. May be cancelled: the write goes on, and a later call finds it.
    async fn ready(&mut self) -> Result<PendingFile, SinkError> {
        if let State::Writing(writing) = &mut self.state {
            let written = writing.await.unwrap_or_else(|error| Err(io::Error::other(error)));
            self.state = State::Failed;
            match written {
                Ok(file) => self.state = State::Ready(file),
                Err(error) => return Err(self.error("write", &error)),
            }
        }
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Ready(file) => Ok(file),
            _ => Err(self.error("write", &io::Error::other("an earlier write failed"))),
        }
    }

    async fn write(
        &mut self,
        write: impl FnOnce(&mut PendingFile) -> io::Result<()> + Send + 'static,
    ) -> Result<(), SinkError> {
        let mut file = self.ready().await?;
        self.state = State::Writing(tokio::task::spawn_blocking(move || {
            write(&mut file)?;
            Ok(file)
        }));
        Ok(())
    }

    fn error(&self, action: &str, error: &io::Error) -> SinkError {
        self.shared.error(action, &self.shared.path_of(&self.place), error)
    }
}

#[async_trait]
impl Transfer for DirectoryTransfer {
    async fn deliver(&mut self, batch: &RecordBatch) -> Result<Delivered, SinkError> {
        if self.shared.format == DirectoryFormat::Raw {
            return Err(SinkError::not_records(&self.shared.name));
        }
        if batch.is_lines {
            let lines = batch.buffer.clone();
            self.write(move |file| file.write(&lines)).await?;
        } else if !batch.spans.is_empty() {
            // The copy is of the spans alone; the lines are put together off the runtime.
            let batch = batch.clone();
            self.write(move |file| file.write(&batch.to_lines())).await?;
        }
        Ok(Delivered::default())
    }

    async fn deliver_bytes(&mut self, bytes: Bytes) -> Result<(), SinkError> {
        if self.shared.format == DirectoryFormat::JsonLines {
            return Err(SinkError::not_bytes(&self.shared.name));
        }
        self.write(move |file| file.write(&bytes)).await
    }

    async fn finish(mut self: Box<Self>) -> Result<String, SinkError> {
        let file = self.ready().await?;
        let place = self.place.clone();
        blocking(move || file.put_in_place(&place)).await.map_err(|e| self.error("finish", &e))?;
        Ok(self.shared.path_of(&self.place).display().to_string())
    }
}

/// Lets the attempts on one delivery in this process follow each other: a dropped one may still be putting its file
/// away on another thread. Between processes the lock on the file itself does this.
#[derive(Default)]
struct Turns(Mutex<HashMap<String, Weak<AsyncMutex<()>>>>);

impl Turns {
    async fn take(&self, identity: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| turn.strong_count() > 0);
            let turn = turns.get(identity).and_then(Weak::upgrade).unwrap_or_default();
            turns.insert(identity.to_owned(), Arc::downgrade(&turn));
            turn
        };
        turn.lock_owned().await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests;
