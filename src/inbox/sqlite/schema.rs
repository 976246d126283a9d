//! Opening the file: whose it is, who may read it, and bringing it up to date.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::fault::Fault;
use crate::inbox::InboxError;

/// Marks the file as an inbox of Longshore: `LSHR` in ASCII.
const APPLICATION_ID: u32 = 0x4c53_4852;

/// The steps from each schema version to the next; the first makes version 1 of an empty file. A step that has been
/// released is never changed.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_inbox.sql"),
    include_str!("migrations/0002_quarantine.sql"),
    include_str!("migrations/0003_audit.sql"),
    include_str!("migrations/0004_marks.sql"),
    include_str!("migrations/0005_parking.sql"),
    include_str!("migrations/0006_times.sql"),
    include_str!("migrations/0007_own_types.sql"),
    include_str!("migrations/0008_events.sql"),
    include_str!("migrations/0009_outlived_keys.sql"),
    include_str!("migrations/0010_bad_types.sql"),
    include_str!("migrations/0011_settlements.sql"),
    include_str!("migrations/0012_forgettings.sql"),
    include_str!("migrations/0013_checks.sql"),
    include_str!("migrations/0014_keys.sql"),
];

/// `auto_vacuum` as SQLite numbers it.
const INCREMENTAL: i64 = 2;

/// How long a connection waits for another process to let go of the write lock. Longer than any commit of ours takes
/// on a slow disk, shorter than a peek lock of Service Bus.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// To what size the log file is cut after a checkpoint.
pub(super) const JOURNAL_BYTES_MAX: u64 = 64 << 20;

/// Prepared statements kept by a connection; more than there are different ones.
const STATEMENTS_MAX: usize = 96;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The one that writes; makes and migrates the file.
    Write,
    /// One of several that read.
    Read,
}

/// Opens a connection to an inbox that [`prepare`] has prepared.
pub(super) fn connect(path: &Path, purpose: Purpose) -> Result<Connection, Fault> {
    // A reader opens for writing too: the first connection to a log needs its index file, whoever it is.
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Checkpoints are made by the writer and the mover alone, which look how they end; also that at the close.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // In KiB, as negative numbers: what a connection may hold in memory.
    let cache_kib = if purpose == Purpose::Write { 4096 } else { 512 };
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    if purpose == Purpose::Read {
        connection.pragma_update(None, "query_only", true)?;
    }
    Ok(connection)
}

/// Makes the file if there is none, sees that it is ours and private, and brings its schema up to date. Returns the
/// connection that writes.
pub(super) fn prepare(path: &Path) -> Result<Connection, InboxError> {
    make_file(path).map_err(|error| of_io(path, &error))?;
    let prepared = (|| {
        let mut connection = connect(path, Purpose::Write)?;
        check_owner(&connection, path)?;
        // Must stand before the first table: lets pruning give pages back to the file system.
        // Setting it again would write, which a full disk does not take from somebody who only wants to look.
        if connection.pragma_query_value(None, "auto_vacuum", |row| row.get::<_, i64>(0))? != INCREMENTAL {
            connection.pragma_update(None, "auto_vacuum", INCREMENTAL)?;
        }
        let mode = crate::write_ahead::switch_to_wal(&connection, BUSY_TIMEOUT)?;
        if !mode.eq_ignore_ascii_case("wal") {
            return Err(Fault::Strange("it cannot use a write-ahead log: keep it on a local disk".to_owned()));
        }
        // FULL: a commit returns after fsync. Once the inbox is open, the `syncer` does that instead.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "journal_size_limit", JOURNAL_BYTES_MAX as i64)?;
        migrate(&mut connection, path)?;
        Ok(connection)
    })();
    prepared.map_err(|fault| {
        if is_read_only_disk(path) {
            return read_only(path);
        }
        fault.into_error(path)
    })
}

/// What is said of an inbox that can be read and not written.
pub(super) fn read_only(path: &Path) -> InboxError {
    let reason = if is_read_only_disk(path) {
        "its disk is read-only: mount it for writing again, and look why it was not"
    } else {
        "it is read-only: make the file and its folder writable for the user who runs longshore"
    };
    InboxError::Unusable { path: path.display().to_string(), reason: reason.to_owned() }
}

/// Whether the file system is mounted so that nothing can be written; SQLite says so in many words.
fn is_read_only_disk(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|disk| disk.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

fn make_file(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    // SQLite gives its -wal and -shm files the mode of the database.
    let private = Permissions::from_mode(0o600);
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if std::fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
                std::fs::set_permissions(path, private)?;
            }
            Ok(())
        }
        Err(error) => Err(error),
    }
}

pub(super) fn of_io(path: &Path, error: &io::Error) -> InboxError {
    let path = path.display().to_string();
    match crate::error::class_of_local_io(error) {
        crate::error::Class::DiskFull => InboxError::DiskFull { path },
        _ => InboxError::Unusable {
            path,
            reason: format!("{error}; check that its folder exists and that you may write there"),
        },
    }
}

fn version(connection: &Connection) -> Result<u32, Fault> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

fn check_owner(connection: &Connection, path: &Path) -> Result<(), Fault> {
    let owner: u32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if owner != APPLICATION_ID && tables > 0 {
        return Err(Fault::Strange("it is a database of another program: name another file".to_owned()));
    }
    let found = version(connection)?;
    let known = MIGRATIONS.len() as u32;
    if found > known {
        return Err(Fault::Refused(InboxError::NewerSchema { path: path.display().to_string(), found, known }));
    }
    Ok(())
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), Fault> {
    if version(connection)? as usize == MIGRATIONS.len() {
        return Ok(());
    }
    // Under the write lock, another process that opens the same new file at this moment waits and then finds it done.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    check_owner(&transaction, path)?;
    for step in &MIGRATIONS[version(&transaction)? as usize..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", MIGRATIONS.len() as u32)?;
    transaction.commit()?;
    Ok(())
}

/// An inbox as it was at an earlier version, to be brought up to date.
#[cfg(test)]
pub(super) fn at_version(path: &Path, version: usize) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.pragma_update(None, "auto_vacuum", INCREMENTAL).unwrap();
    for step in &MIGRATIONS[..version] {
        connection.execute_batch(step).unwrap();
    }
    connection.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
    connection.pragma_update(None, "user_version", version as u32).unwrap();
    connection
}
