//! The one thread that syncs: it brings the log to disk and then answers. The writer commits without waiting for the
//! disk, and runs the next group while the one before is synced; what was committed meanwhile shares the next fsync.
//!
//! ```text
//! writer ── runs, commits to the log ──> waiting ──> fsync of the log ──> answers
//!   ^                                       └── all of them at once ─┘       │
//!   └──────────────── what undoes a claim that nobody took ─────────────────┘
//! ```
//!
//! The log is valid up to the first frame that is not on disk. So what is on disk is always all that was committed up
//! to some moment: a write that follows from an earlier one that it saw is never there without it.
//!
//! After an fsync has failed, what of the log is on disk is not known, and the next fsync may report success for pages
//! that the kernel has given up. From then on every answer is that error, until the writer has written the log over
//! (`relog`).

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, watch};

use super::checkpoint;
use super::writer::{End, Job, Message};
use crate::error::{Class, class_of_local_io};
use crate::inbox::InboxError;

/// The writer's hold on the thread.
pub(super) struct Syncer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    is_due: Condvar,
    has_failed: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Committed, and not covered by an fsync yet.
    waiting: Vec<Box<dyn Job>>,
    /// Nothing comes any more.
    is_closed: bool,
    /// What is to be undone, and came when the writer's queue was closed already.
    undo: Vec<Box<dyn Job>>,
}

/// Brings the log to disk.
pub(super) type SyncLog = Box<dyn FnMut() -> io::Result<()> + Send>;

/// How the log of the inbox at `path` is brought to disk; it exists by then.
pub(super) fn sync_log(path: &Path) -> io::Result<SyncLog> {
    // A handle of our own sees every failure to write the log back, also one that SQLite has been told of. It takes no
    // lock with it when it is closed: SQLite has none on its log.
    let log = File::open(checkpoint::log_path(path))?;
    // The log's size is synced with it, and no other fact about the file matters.
    Ok(Box::new(move || log.sync_data()))
}

impl Syncer {
    /// Starts the thread for the inbox at `path`.
    pub(super) fn start(
        path: &Path,
        log: SyncLog,
        queue: mpsc::WeakSender<Message>,
        changes: watch::Sender<u64>,
    ) -> io::Result<Self> {
        let shared =
            Arc::new(Shared { state: Mutex::default(), is_due: Condvar::new(), has_failed: AtomicBool::new(false) });
        let work = Work { shared: Arc::clone(&shared), log, path: path.to_owned(), queue, changes };
        let thread = std::thread::Builder::new().name("inbox-sync".to_owned()).spawn(move || work.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Takes over jobs that are committed, to answer them once they are on disk.
    pub(super) fn sync_and_answer(&self, jobs: Vec<Box<dyn Job>>) {
        if !jobs.is_empty() {
            self.shared.state().waiting.extend(jobs);
            self.shared.is_due.notify_one();
        }
    }

    /// Whether the log must be written over before anything else is written.
    pub(super) fn has_failed(&self) -> bool {
        self.shared.has_failed.load(Ordering::SeqCst)
    }

    /// From here on nothing is answered as on disk, until it has [recovered](Self::recovered).
    pub(super) fn fail(&self) {
        self.shared.has_failed.store(true, Ordering::SeqCst);
    }

    /// All that was committed is on disk.
    pub(super) fn recovered(&self) {
        self.shared.has_failed.store(false, Ordering::SeqCst);
    }

    /// Answers what waits and ends the thread. Returns what is to be undone.
    pub(super) fn finish(&mut self) -> Vec<Box<dyn Job>> {
        self.close();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that syncs the inbox panicked; what it held was not answered");
        }
        std::mem::take(&mut self.shared.state().undo)
    }

    fn close(&self) {
        self.shared.state().is_closed = true;
        self.shared.is_due.notify_one();
    }
}

impl Drop for Syncer {
    /// Also when the writer ends in a panic, what is committed is answered.
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What waits, once something does; `None` at the end.
    fn next(&self) -> Option<Vec<Box<dyn Job>>> {
        let idle = |state: &mut State| state.waiting.is_empty() && !state.is_closed;
        let mut state = self.is_due.wait_while(self.state(), idle).unwrap_or_else(PoisonError::into_inner);
        let waiting = std::mem::take(&mut state.waiting);
        (!waiting.is_empty()).then_some(waiting)
    }
}

struct Work {
    shared: Arc<Shared>,
    log: SyncLog,
    path: PathBuf,
    queue: mpsc::WeakSender<Message>,
    changes: watch::Sender<u64>,
}

impl Work {
    fn run(mut self) {
        while let Some(jobs) = self.shared.next() {
            let end = self.sync();
            let (woken, undo) = answer(jobs, &end);
            if woken {
                self.changes.send_modify(|changes| *changes += 1);
            }
            for job in undo {
                self.undo(job);
            }
        }
    }

    fn sync(&mut self) -> End {
        let failed = match (self.log)() {
            Ok(()) => None,
            Err(error) => {
                self.shared.has_failed.store(true, Ordering::SeqCst);
                Some(error)
            }
        };
        let path = || self.path.display().to_string();
        match failed {
            Some(error) if class_of_local_io(&error) == Class::DiskFull => {
                End::NotSynced(InboxError::DiskFull { path: path() })
            }
            Some(error) => {
                End::NotSynced(InboxError::Unavailable { path: path(), reason: format!("{error} (fsync failed)") })
            }
            None if self.shared.has_failed.load(Ordering::SeqCst) => {
                let reason = "an fsync failed before, and its log is not written anew yet".to_owned();
                End::NotSynced(InboxError::Unavailable { path: path(), reason })
            }
            None => End::Done,
        }
    }

    fn undo(&self, job: Box<dyn Job>) {
        let unsent = match self.queue.upgrade() {
            // The writer takes from its queue as long as somebody can send to it, and never waits for this thread.
            Some(queue) => queue.blocking_send(Message::Job(job)).err().map(|error| error.0),
            None => Some(Message::Job(job)),
        };
        if let Some(Message::Job(job)) = unsent {
            self.shared.state().undo.push(job);
        }
    }
}

/// Answers jobs that ended alike. Returns whether waiters are to be woken, and what undoes what nobody took.
pub(super) fn answer(jobs: Vec<Box<dyn Job>>, end: &End) -> (bool, Vec<Box<dyn Job>>) {
    let mut woken = false;
    let mut undo = Vec::new();
    for job in jobs {
        let (wakes, job) = job.answer(end);
        woken |= wakes;
        undo.extend(job);
    }
    (woken, undo)
}
