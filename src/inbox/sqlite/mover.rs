//! Moving the log into the database. The bulk of a long log is moved by a thread of its own while the writer goes on, and
//! only what was written meanwhile by the writer itself, without which the log could not start over:
//!
//! ```text
//! writer ── writes ────────────────────────────────── moves the rest ── writes, from the log's beginning
//!    └── the log is long ──> mover: syncs the log, moves it, syncs the database ──┘
//! ```
//!
//! Both are passive checkpoints of SQLite, which get into nobody's way. One that does not reach the log's end leaves the
//! database unsynced (<https://www.sqlite.org/src/file/src/wal.c>, `walCheckpoint`), so that the mover does it: else the
//! writer's own, for which everybody waits, would have all of it to bring to disk.

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;

use rusqlite::{Connection, ffi};

use super::fault::Fault;
use super::schema::{Purpose, connect};
use super::syncer::SyncLog;

/// Why something was not moved.
#[derive(Debug)]
pub(super) enum MoveFault {
    /// It is not known what of the log is on disk. Nothing was moved.
    Log(io::Error),
    /// SQLite said so. What was to be moved will be moved again.
    Sql(Fault),
    /// What was moved may be lost, and is not moved again.
    Lost(String),
}

impl MoveFault {
    /// `moved`: how many frames of the log were in the database before.
    pub(super) fn new(fault: Fault, moved: u64) -> Self {
        // Frames that an earlier checkpoint has moved are not moved again, and it may be their pages that were lost.
        if moved > 0 && is_failed_sync(&fault) {
            return Self::Lost(format!("a checkpoint's fsync failed ({fault:?})"));
        }
        Self::Sql(fault)
    }
}

impl From<Fault> for MoveFault {
    fn from(fault: Fault) -> Self {
        Self::Sql(fault)
    }
}

fn is_failed_sync(fault: &Fault) -> bool {
    matches!(fault, Fault::Sql(rusqlite::Error::SqliteFailure(failure, _))
        if matches!(failure.extended_code, ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC))
}

/// The frames of a log, and how many of them are in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frames {
    pub(super) all: u64,
    pub(super) moved: u64,
}

/// Counts. `connection` has read something before.
pub(super) fn frames(connection: &Connection) -> Result<Frames, Fault> {
    checkpoint(connection, "PRAGMA main.wal_checkpoint(NOOP)")
}

/// Moves what no reader is in the way of, after `moved` frames.
pub(super) fn move_frames(connection: &Connection, moved: u64) -> Result<Frames, MoveFault> {
    checkpoint(connection, "PRAGMA main.wal_checkpoint(PASSIVE)").map_err(|fault| MoveFault::new(fault, moved))
}

fn checkpoint(connection: &Connection, sql: &str) -> Result<Frames, Fault> {
    // Without a log they are -1.
    let count = |count: i64| u64::try_from(count).unwrap_or(0);
    Ok(connection
        .prepare_cached(sql)?
        .query_row([], |row| Ok(Frames { all: count(row.get(1)?), moved: count(row.get(2)?) }))?)
}

/// The writer's hold on the thread, which is started when it is needed first.
pub(super) struct Mover {
    path: PathBuf,
    /// Sees every failure to write the log back since the inbox was opened, also one that others were told of.
    log: Option<SyncLog>,
    thread: Option<Thread>,
    is_moving: bool,
}

struct Thread {
    orders: mpsc::Sender<u64>,
    ended: mpsc::Receiver<Result<(), MoveFault>>,
    running: JoinHandle<()>,
}

impl Mover {
    /// A mover for the inbox at `path`.
    pub(super) fn new(path: PathBuf, log: SyncLog) -> Self {
        Self { path, log: Some(log), thread: None, is_moving: false }
    }

    pub(super) fn is_moving(&self) -> bool {
        self.is_moving
    }

    /// Begins to move a log of which `moved` frames were moved before. Returns whether it does.
    pub(super) fn begin(&mut self, moved: u64) -> bool {
        if let Some(log) = self.log.take() {
            self.thread = start(self.path.clone(), log)
                .inspect_err(
                    |error| tracing::warn!(%error, "no thread moves the inbox's log: whoever writes waits for it"),
                )
                .ok();
        }
        self.is_moving = self.thread.as_ref().is_some_and(|thread| thread.orders.send(moved).is_ok());
        self.is_moving
    }

    /// How it ended, if it has; with `waits` once it has. `None` when nothing is moved, or not to its end yet.
    pub(super) fn ended(&mut self, waits: bool) -> Option<Result<(), MoveFault>> {
        let thread = self.thread.as_ref().filter(|_| self.is_moving)?;
        let ended = match thread.ended.try_recv() {
            Ok(ended) => ended,
            Err(mpsc::TryRecvError::Empty) if !waits => return None,
            Err(_) => thread.ended.recv().unwrap_or_else(|_| {
                self.thread = None;
                Err(MoveFault::Sql(Fault::Strange(
                    "the thread that moves the log panicked; please report it".to_owned(),
                )))
            }),
        };
        self.is_moving = false;
        Some(ended)
    }

    /// Ends the thread; as [`Mover::ended`].
    pub(super) fn finish(&mut self) -> Option<Result<(), MoveFault>> {
        let ended = self.ended(true);
        if let Some(Thread { orders, running, .. }) = self.thread.take() {
            drop(orders);
            // That it panicked was told by what it did not tell.
            drop(running.join());
        }
        ended
    }
}

fn start(path: PathBuf, log: SyncLog) -> io::Result<Thread> {
    let (orders, ordered) = mpsc::channel();
    let (ending, ended) = mpsc::channel();
    let work = move || {
        let mut work = Work { path, log, hold: None };
        while let Ok(moved) = ordered.recv() {
            if ending.send(work.move_log(moved)).is_err() {
                return;
            }
        }
    };
    let running = std::thread::Builder::new().name("inbox-move".to_owned()).spawn(work)?;
    Ok(Thread { orders, ended, running })
}

struct Work {
    path: PathBuf,
    log: SyncLog,
    hold: Option<Hold>,
}

struct Hold {
    connection: Connection,
    /// Never closed: that would take away the locks which SQLite has on the file in this process
    /// (<https://www.sqlite.org/howtocorrupt.html>, 2.2).
    database: ManuallyDrop<File>,
}

impl Work {
    fn move_log(&mut self, moved: u64) -> Result<(), MoveFault> {
        let Hold { connection, database } = match &mut self.hold {
            Some(hold) => hold,
            hold => hold.insert(take_hold(&self.path)?),
        };
        // The connection was opened late, and would not hear of what others were told before.
        (self.log)().map_err(MoveFault::Log)?;
        move_frames(connection, moved)?;
        // What was written meanwhile is not in its answer.
        let now = frames(connection)?;
        if now.moved > moved && now.moved < now.all {
            let lost = |error| MoveFault::Lost(format!("the fsync after a checkpoint failed ({error})"));
            database.sync_data().map_err(lost)?;
        }
        Ok(())
    }
}

fn take_hold(path: &Path) -> Result<Hold, Fault> {
    let connection = connect(path, Purpose::Read)?;
    // Opens the log.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    let database = File::open(path).map_err(|error| Fault::Refused(super::schema::of_io(path, &error)))?;
    Ok(Hold { connection, database: ManuallyDrop::new(database) })
}
