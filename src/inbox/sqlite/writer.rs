//! The one thread that writes. It takes whatever jobs wait, runs them in one transaction and commits them together.
//! Each job but the first has a savepoint of its own, so that one that fails takes nothing else with it; with the first,
//! nothing else stands in the transaction yet. The commit does not wait for the disk: the group goes on to the `syncer`,
//! which answers it after the fsync that covers it, while the next group runs here.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::thread::JoinHandle;

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tokio::sync::{mpsc, oneshot, watch};

use super::checkpoint::LogKeeper;
use super::fault::Fault;
use super::keys::WaitingKeys;
use super::schema::{JOURNAL_BYTES_MAX, of_io};
use super::syncer::{self, SyncLog, Syncer};
use crate::inbox::InboxError;

/// Jobs that may wait. Callers beyond that wait for room.
const QUEUE_MAX: usize = 1024;

/// Jobs in one commit. Larger groups gain little (the fsync is shared by enough) and keep the first one waiting.
const GROUP_MAX: usize = 256;

/// What a job says about itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nature {
    /// Whether the answer must wait for fsync.
    pub(super) durable: bool,
    /// Whether it is left out when nobody waits for its answer any more.
    pub(super) skip_if_abandoned: bool,
}

/// The usual job: durable, and done even if its caller has gone.
pub(super) const DURABLE: Nature = Nature { durable: true, skip_if_abandoned: false };

/// The result of a job, and whether something may be claimable or plannable now that was not before.
#[derive(Debug)]
pub(super) struct Outcome<T> {
    pub(super) value: T,
    pub(super) woken: bool,
}

impl<T> Outcome<T> {
    pub(super) fn quiet(value: T) -> Self {
        Self { value, woken: false }
    }

    pub(super) fn woken(value: T) -> Self {
        Self { value, woken: true }
    }
}

/// How a group ended.
#[derive(Debug)]
pub(super) enum End {
    /// It is as good as its jobs ask for: on disk, or at least committed.
    Done,
    /// It was not committed.
    NotWritten(InboxError),
    /// It is committed, and nobody knows whether it will outlive a power loss.
    NotSynced(InboxError),
}

/// What a job runs on the writer's connection.
type Run<T> = Box<dyn FnOnce(&Connection) -> Result<Outcome<T>, Fault> + Send>;

/// What is done about a result that nobody was there to take.
type Undo<T> = fn(T) -> Option<Box<dyn Job>>;

/// A job on its way through the writer.
pub(super) trait Job: Send {
    fn nature(&self) -> Nature;
    /// Whether nobody waits for its answer any more.
    fn is_abandoned(&self) -> bool;
    /// Runs it; `Err` when what it did is to be rolled back.
    fn run(&mut self, connection: &Connection, writer: &WriterPath) -> Result<(), Rollback>;
    /// Answers the caller. Returns whether waiters are to be woken, and a job that undoes what nobody took.
    fn answer(self: Box<Self>, group: &End) -> (bool, Option<Box<dyn Job>>);
}

/// What a job did must be rolled back.
#[derive(Debug)]
pub(super) struct Rollback {
    error: InboxError,
    is_io: bool,
}

/// The inbox's path, for errors.
#[derive(Debug)]
pub(super) struct WriterPath(PathBuf);

struct Call<T> {
    nature: Nature,
    run: Option<Run<T>>,
    undo: Option<Undo<T>>,
    result: Option<Result<Outcome<T>, InboxError>>,
    reply: Option<oneshot::Sender<Result<T, InboxError>>>,
}

impl<T: Send + 'static> Job for Call<T> {
    fn nature(&self) -> Nature {
        self.nature
    }

    fn is_abandoned(&self) -> bool {
        self.reply.as_ref().is_some_and(oneshot::Sender::is_closed)
    }

    fn run(&mut self, connection: &Connection, path: &WriterPath) -> Result<(), Rollback> {
        let Some(run) = self.run.take() else {
            return Ok(());
        };
        // A panic over one write must not end the thread: every other caller would find the inbox gone for good.
        let ran = std::panic::catch_unwind(AssertUnwindSafe(|| run(connection)));
        let ran = ran.unwrap_or_else(|_| {
            Err(Fault::Strange("longshore panicked over a write, which was undone; please report it".to_owned()))
        });
        match ran {
            Ok(outcome) => {
                self.result = Some(Ok(outcome));
                Ok(())
            }
            Err(fault) => {
                let is_io = fault.is_io();
                let error = fault.into_error(&path.0);
                self.result = Some(Err(error.clone()));
                Err(Rollback { error, is_io })
            }
        }
    }

    fn answer(mut self: Box<Self>, group: &End) -> (bool, Option<Box<dyn Job>>) {
        // Without a result the job was left out, or the group ended before its turn.
        let (answer, done) = match (self.result.take(), group) {
            (Some(Err(own)), _) => (Err(own), None),
            (_, End::NotWritten(common)) => (Err(common.clone()), None),
            (None, _) => return (false, None),
            (Some(Ok(outcome)), End::Done) => (Ok(outcome), None),
            (Some(Ok(outcome)), End::NotSynced(common)) => (Err(common.clone()), Some(outcome)),
        };
        let woken = answer.as_ref().ok().or(done.as_ref()).is_some_and(|outcome| outcome.woken);
        let answer = answer.map(|outcome| outcome.value);
        let untaken = match self.reply.take() {
            Some(reply) => reply.send(answer).err().and_then(Result::ok),
            None => None,
        };
        // What was done and told as failed is as good as not taken.
        let undo = match (untaken.or(done.map(|outcome| outcome.value)), self.undo) {
            (Some(value), Some(undo)) => undo(value),
            _ => None,
        };
        (woken, undo)
    }
}

/// A job without a caller.
pub(super) fn unattended(run: impl FnOnce(&Connection) -> Result<Outcome<()>, Fault> + Send + 'static) -> Box<dyn Job> {
    Box::new(Call { nature: DURABLE, run: Some(Box::new(run)), undo: None, result: None, reply: None })
}

/// What the thread is sent.
pub(super) enum Message {
    Job(Box<dyn Job>),
    /// Look whether another connection has committed.
    Look,
}

/// The way to the writer's thread.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    queue: mpsc::Sender<Message>,
    changes: watch::Sender<u64>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread. Dropping the writer ends it, once its queue is empty and all are answered. `is_suspect`: it
    /// is not known how much of the log is on disk.
    pub(super) fn start(
        connection: Connection,
        path: PathBuf,
        is_suspect: bool,
        disk: SyncLog,
        keys: WaitingKeys,
    ) -> Result<Self, InboxError> {
        // The fsync is the syncer's.
        set_synchronous(&connection, "NORMAL").map_err(|fault| fault.into_error(&path))?;
        let no_thread = |error: std::io::Error| InboxError::Unavailable {
            path: path.display().to_string(),
            reason: format!("no thread for it: {error}"),
        };
        let log = LogKeeper::new(path.clone(), JOURNAL_BYTES_MAX).map_err(|error| of_io(&path, &error))?;
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let changes = watch::Sender::new(0);
        let syncer = Syncer::start(&path, disk, queue.downgrade(), changes.clone()).map_err(no_thread)?;
        let mut writing = Thread {
            connection,
            path: WriterPath(path.clone()),
            changes: changes.clone(),
            seen_version: None,
            is_suspect,
            keys,
            syncer,
            log,
        };
        // What others commit from here on is found by a later look, what they committed before by the first claim.
        writing.look();
        let thread = std::thread::Builder::new()
            .name("inbox".to_owned())
            .spawn(move || writing.work(jobs))
            .map_err(no_thread)?;
        Ok(Self { path, queue, changes, thread: Some(thread) })
    }

    /// Runs `run` in the next commit and returns its value after that commit.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        nature: Nature,
        run: impl FnOnce(&Connection) -> Result<Outcome<T>, Fault> + Send + 'static,
    ) -> Result<T, InboxError> {
        self.run_or_undo(nature, run, None).await
    }

    /// As [`Writer::run`]; `undo` makes a job of a value that was committed when its caller had gone.
    pub(super) async fn run_or_undo<T: Send + 'static>(
        &self,
        nature: Nature,
        run: impl FnOnce(&Connection) -> Result<Outcome<T>, Fault> + Send + 'static,
        undo: Option<Undo<T>>,
    ) -> Result<T, InboxError> {
        let (reply, answer) = oneshot::channel();
        let call = Call { nature, run: Some(Box::new(run)), undo, result: None, reply: Some(reply) };
        self.queue.send(Message::Job(Box::new(call))).await.map_err(|_| self.gone())?;
        answer.await.map_err(|_| self.gone())?
    }

    /// Counts the commits that may have made something claimable.
    pub(super) fn changes(&self) -> &watch::Sender<u64> {
        &self.changes
    }

    /// Has the thread look for commits of other processes; [`Writer::changes`] then tells. If the queue is full, the
    /// thread is busy, and its own commits wake whoever waits.
    pub(super) fn look(&self) {
        drop(self.queue.try_send(Message::Look));
    }

    fn gone(&self) -> InboxError {
        InboxError::Unavailable {
            path: self.path.display().to_string(),
            reason: "its writer has stopped: restart longshore".to_owned(),
        }
    }
}

impl Drop for Writer {
    /// Waits for the thread, so that the file is closed then, and its log gone unless somebody else has it open.
    fn drop(&mut self) {
        // The thread ends with the last sender.
        self.queue = mpsc::channel(1).0;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(inbox = %self.path.display(), "the inbox's writer panicked");
        }
    }
}

struct Thread {
    connection: Connection,
    path: WriterPath,
    changes: watch::Sender<u64>,
    seen_version: Option<i64>,
    /// The disk failed under a write, or the log is of a process that has ended. What of the log is on disk is not known
    /// then, and a later fsync may report success for pages that the kernel has given up. Until the log has been written
    /// over, nothing is accepted.
    is_suspect: bool,
    keys: WaitingKeys,
    syncer: Syncer,
    log: LogKeeper,
}

impl Thread {
    fn work(mut self, mut queue: mpsc::Receiver<Message>) {
        let mut waiting = Vec::with_capacity(GROUP_MAX);
        while queue.blocking_recv_many(&mut waiting, GROUP_MAX) > 0 {
            let mut group = Vec::with_capacity(waiting.len());
            for message in waiting.drain(..) {
                match message {
                    Message::Job(job) => group.push(job),
                    Message::Look => self.look(),
                }
            }
            while !group.is_empty() {
                group = self.commit(group);
            }
            if !self.log.keep_short(&self.connection) {
                self.is_suspect = true;
                // SQLite has a file of its own, and may be told of a failure before the syncer is.
                self.syncer.fail();
            }
        }
        self.finish();
    }

    /// Commits a group, and hands on who waits for the disk. Returns the jobs that undo what was done for callers that
    /// have gone.
    fn commit(&mut self, mut group: Vec<Box<dyn Job>>) -> Vec<Box<dyn Job>> {
        let end = match self.in_transaction(&mut group) {
            Ok(()) => End::Done,
            Err(error) => End::NotWritten(error),
        };
        // What undoes a write stands after it in the log, and need not wait for it.
        let waits = |job: &mut Box<dyn Job>| job.nature().durable && !job.is_abandoned();
        let waiting = if matches!(end, End::Done) { group.extract_if(.., waits).collect() } else { Vec::new() };
        self.syncer.sync_and_answer(waiting);
        let (woken, undo) = syncer::answer(group, &end);
        if woken {
            self.changes.send_modify(|changes| *changes += 1);
        }
        undo
    }

    /// Answers what waits for the disk, and sees to it that what it undoes is on disk too.
    fn finish(mut self) {
        let undo = self.syncer.finish();
        let is_sound = self.log.finish();
        if self.is_suspect || !is_sound || self.syncer.has_failed() {
            // The log stays as it is, and is looked through by whoever opens it.
            return;
        }
        self.undo(undo);
        // Who closes the file last moves the log into it.
        let closing = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
        if let Err(error) = closing {
            tracing::debug!(inbox = %self.path.0.display(), %error, "the log stays beside the inbox");
        }
    }

    fn undo(&self, undo: Vec<Box<dyn Job>>) {
        if undo.is_empty() {
            return;
        }
        let done = (|| {
            set_synchronous(&self.connection, "FULL")?;
            let transaction = self.connection.unchecked_transaction()?;
            for mut job in undo {
                if let Err(Rollback { error, .. }) = job.run(&transaction, &self.path) {
                    return Err(Fault::Refused(error));
                }
            }
            Ok(transaction.commit()?)
        })();
        if let Err(fault) = done {
            // Its lease runs out.
            tracing::debug!(inbox = %self.path.0.display(), ?fault, "a claim that nobody took was not given back");
        }
    }

    fn in_transaction(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), InboxError> {
        let result = self.recover().and_then(|()| self.try_group(group));
        result.map_err(|fault| {
            self.is_suspect |= fault.is_io();
            self.keys.forget();
            if !self.connection.is_autocommit() {
                // Fails only if SQLite has rolled back already, which is what is wanted.
                drop(self.connection.execute_batch("ROLLBACK"));
            }
            fault.into_error(&self.path.0)
        })
    }

    fn try_group(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), Fault> {
        let connection = &self.connection;
        execute(connection, "BEGIN IMMEDIATE")?;
        // A savepoint keeps every page that its job changes as it was before, in memory: for 50,000 keys all over the
        // index that is 200 MB. The first job can do without, since the whole transaction is its own.
        let mut stands_alone = true;
        for job in group.iter_mut() {
            if job.nature().skip_if_abandoned && job.is_abandoned() {
                continue;
            }
            if !stands_alone {
                execute(connection, "SAVEPOINT job")?;
            }
            if let Err(rollback) = job.run(connection, &self.path) {
                self.is_suspect |= rollback.is_io;
                self.keys.forget();
                if connection.is_autocommit() {
                    // SQLite gave up the whole transaction, as it does when the disk is full.
                    return Err(Fault::Refused(rollback.error));
                }
                if stands_alone {
                    execute(connection, "ROLLBACK")?;
                    execute(connection, "BEGIN IMMEDIATE")?;
                    continue;
                }
                execute(connection, "ROLLBACK TO job")?;
            }
            if !stands_alone {
                execute(connection, "RELEASE job")?;
            }
            stands_alone = false;
        }
        execute(connection, "COMMIT")
    }

    fn recover(&mut self) -> Result<(), Fault> {
        if self.is_suspect || self.syncer.has_failed() {
            self.log.write_over(&self.connection)?;
            self.is_suspect = false;
            self.syncer.recovered();
        }
        Ok(())
    }

    fn look(&mut self) {
        // Changes when another connection commits, and not when this one does. Reads memory only.
        let found = self.connection.pragma_query_value(None, "data_version", |row| row.get::<_, i64>(0));
        match found {
            Ok(version) => {
                if self.seen_version.replace(version).is_some_and(|seen| seen != version) {
                    self.changes.send_modify(|changes| *changes += 1);
                }
            }
            Err(error) => tracing::debug!(inbox = %self.path.0.display(), %error, "cannot look for changes"),
        }
    }
}

fn execute(connection: &Connection, sql: &str) -> Result<(), Fault> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

/// Whether a commit waits for the disk (`FULL`) or not (`NORMAL`). Either way no checkpoint goes on before
/// its log is on disk.
fn set_synchronous(connection: &Connection, mode: &str) -> Result<(), Fault> {
    Ok(connection.pragma_update(None, "synchronous", mode)?)
}
