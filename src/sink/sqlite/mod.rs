//! The SQLite sink: a table a route, a row a key, the newest record's body in it.
//!
//! What always holds: the rows of a batch and the progress of its delivery commit together; an older record never
//! takes the place of a newer one, in whatever order deliveries finish; a record without a key is set aside.
//!
//! ```text
//! batch ──> key and version of each record ──> BEGIN; upsert each; progress; COMMIT ──> confirmed
//!                 └──> none: set aside
//! ```

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use crate::clock::Clock;
use crate::error::{Class, chain};
use crate::inbox::Progress;
use crate::notice::{RouteName, SinkName};
use crate::record::RecordBatch;
use crate::sink::{
    Accepts, BatchLimits, Delivered, DeliveryContext, DeliveryIdentity, Opened, Promise, Sink, SinkContext, SinkError,
    SqliteSettings, Transfer, refuse,
};

mod database;
mod key;

use database::{Database, DatabaseError, Origin, Row, Step};
use key::RecordReader;

/// A commit costs a sync of the disk, so batches are large.
pub const DEFAULT_BATCH: BatchLimits = BatchLimits { records_max: 5_000, bytes_max: 4 << 20 };

/// The table's name unless the configuration says otherwise.
pub const DEFAULT_TABLE: &str = "{route}";

/// Bytes of a table's name.
const TABLE_BYTES_MAX: usize = 120;

/// A table in an SQLite database.
pub struct SqliteSink {
    shared: Arc<Shared>,
    batch: BatchLimits,
}

struct Shared {
    name: SinkName,
    settings: SqliteSettings,
    clock: Arc<dyn Clock>,
    /// Used on blocking threads only, one delivery at a time: SQLite has one writer anyway.
    database: Mutex<Database>,
}

impl SqliteSink {
    /// A sink of these settings; touches no disk.
    ///
    /// # Errors
    /// When the key, the version or the table's name cannot be used.
    pub fn new(
        name: SinkName,
        batch: BatchLimits,
        settings: SqliteSettings,
        context: &SinkContext,
    ) -> Result<Self, SinkError> {
        let fail = |reason: String| SinkError::new(Class::Permanent, format!("sink {name}: {reason}"));
        for key in settings.key.all() {
            if key.is_empty() {
                return Err(fail("its key names no pointer".to_owned()));
            }
            RecordReader::new(key, settings.version.as_deref()).map_err(|e| fail(e.to_string()))?;
        }
        table_of(&settings.table, &RouteName::new("route")).map_err(fail)?;
        let database = Mutex::new(Database::new(settings.path.clone()));
        let clock = context.clock.clone();
        Ok(Self { shared: Arc::new(Shared { name, settings, clock, database }), batch })
    }
}

/// The name of a route's table.
fn table_of(pattern: &str, route: &RouteName) -> Result<String, String> {
    let table = pattern.replace("{route}", route.as_str());
    let fail = |reason: &str| Err(format!("the table name {table:?} cannot be used: {reason}"));
    if pattern.replace("{route}", "").contains(['{', '}']) {
        return fail("only {route} is known in it");
    }
    if table.is_empty() || table.len() > TABLE_BYTES_MAX {
        return fail("it is empty or too long");
    }
    if table.chars().any(char::is_control) {
        return fail("it has a control character in it");
    }
    let lower = table.to_ascii_lowercase();
    if lower.starts_with("sqlite_") || lower.starts_with("longshore_") {
        return fail("names that begin with sqlite_ or longshore_ are taken");
    }
    Ok(table)
}

/// As an identifier in SQL, whatever characters it has.
fn quoted(table: &str) -> String {
    format!("\"{}\"", table.replace('"', "\"\""))
}

#[async_trait]
impl Sink for SqliteSink {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    fn accepts(&self) -> Accepts {
        Accepts::Records
    }

    fn promise(&self) -> Promise {
        Promise::OneTransaction
    }

    fn batch_limits(&self) -> BatchLimits {
        self.batch
    }

    async fn open(&self, delivery: DeliveryContext, progress: Progress) -> Result<Opened, SinkError> {
        let shared = self.shared.clone();
        let route = &delivery.target.route;
        let fail = |reason: String| SinkError::new(Class::Permanent, format!("sink {}: {reason}", shared.name));
        let table = table_of(&shared.settings.table, route).map_err(fail)?;
        let key = shared.settings.key.of(route);
        let key = key.ok_or_else(|| fail(format!("its configuration has no key for records of route {route}")))?;
        let reader = RecordReader::new(key, shared.settings.version.as_deref()).map_err(|e| fail(e.to_string()))?;
        let reader = Arc::new(reader);
        let origin = Origin {
            table: quoted(&table),
            delivery: DeliveryIdentity::of(&delivery).as_str().to_owned(),
            published: delivery.notice.published,
            sequence: delivery.notice.sequence,
            notice: delivery.notice.id.0,
        };
        let begun = origin.clone();
        let now = shared.clock.now();
        let resume_after =
            shared.clone().on_database(move |database, _| database.begin(&begun, progress.confirmed, now)).await?;
        Ok(Opened { transfer: Box::new(SqliteTransfer { shared, origin, table, reader }), resume_after })
    }

    async fn probe(&self) -> Result<String, SinkError> {
        let shared = self.shared.clone();
        let looked = tokio::task::spawn_blocking(move || look_at(&shared.settings.path)).await;
        let looked = looked.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        looked.map_err(|error| self.shared.error(&DatabaseError::Io(error)))
    }
}

/// Looks at the file without SQLite, which would leave files of its own beside it.
fn look_at(path: &Path) -> std::io::Result<String> {
    use std::io::Read;

    use rustix::fs::Access;
    const MAGIC: &[u8; 16] = b"SQLite format 3\0";

    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let existing = folder.ancestors().find(|place| place.exists()).unwrap_or(Path::new("."));
    rustix::fs::access(existing, Access::WRITE_OK | Access::EXEC_OK)?;
    if !path.exists() {
        return Ok(format!("{} will be made", path.display()));
    }
    rustix::fs::access(path, Access::READ_OK | Access::WRITE_OK)?;
    let mut start = Vec::new();
    std::fs::File::open(path)?.take(MAGIC.len() as u64).read_to_end(&mut start)?;
    // An empty file is a database without a table.
    if !start.is_empty() && start != MAGIC {
        return Err(std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            "it is no SQLite database, name another file",
        ));
    }
    Ok(format!("{} can be written", path.display()))
}

impl Shared {
    /// Works on the database on a blocking thread. Goes on to its end when the caller is dropped: a transaction is
    /// done as a whole or not at all.
    async fn on_database<T: Send + 'static>(
        self: Arc<Self>,
        work: impl FnOnce(&mut Database, &Self) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, SinkError> {
        let shared = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            // A panic under the lock leaves no half-done state: the transaction it was in is rolled back.
            let mut database = shared.database.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut database, &shared)
        })
        .await;
        let done = done.unwrap_or_else(|error| Err(DatabaseError::Io(std::io::Error::other(error))));
        done.map_err(|error| self.error(&error))
    }

    fn error(&self, error: &DatabaseError) -> SinkError {
        let (path, remedy) = (self.settings.path.display(), error.remedy());
        let message = format!("sink {}: cannot write {path}: {}{remedy}", self.name, chain(error));
        SinkError::new(error.class(), message)
    }
}

struct SqliteTransfer {
    shared: Arc<Shared>,
    origin: Origin,
    table: String,
    reader: Arc<RecordReader>,
}

impl Shared {
    fn write(
        &self,
        database: &mut Database,
        origin: &Origin,
        reader: &RecordReader,
        batch: &RecordBatch,
    ) -> Result<Delivered, DatabaseError> {
        let mut delivered = Delivered { confirmed: true, refused: Vec::new() };
        let mut rows = Vec::with_capacity(batch.spans.len());
        for record in batch.records() {
            let row = std::str::from_utf8(record.body).map_err(|e| format!("it is not UTF-8: {e}")).and_then(|body| {
                let key = reader.key(record.body)?;
                let version = reader.version(record.body, origin.published)?;
                Ok(Row { key, body, version, record: record.number })
            });
            match row {
                Ok(row) => rows.push(row),
                Err(reason) => delivered.refused.push(refuse(record, Class::Poison, &reason)),
            }
        }
        let has_refused = !delivered.refused.is_empty();
        database.apply(origin, &rows, Step { last: batch.last, has_refused, now: self.clock.now() })?;
        Ok(delivered)
    }
}

#[async_trait]
impl Transfer for SqliteTransfer {
    async fn deliver(&mut self, batch: &RecordBatch) -> Result<Delivered, SinkError> {
        let (batch, origin, reader) = (batch.clone(), self.origin.clone(), self.reader.clone());
        let shared = self.shared.clone();
        shared.on_database(move |database, shared| shared.write(database, &origin, &reader, &batch)).await
    }

    async fn deliver_bytes(&mut self, _bytes: Bytes) -> Result<(), SinkError> {
        Err(SinkError::not_bytes(&self.shared.name))
    }

    async fn finish(self: Box<Self>) -> Result<String, SinkError> {
        Ok(format!("{} table {}", self.shared.settings.path.display(), self.table))
    }
}

#[cfg(test)]
mod tests;
