//! A few connections that read, each query on a thread of its own. A reader sees the last commit and blocks nobody;
//! it is given back after one query, so that no reader keeps the log from being reset.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::fault::Fault;
use super::schema::{self, Purpose};
use crate::inbox::InboxError;

/// Queries at once. People ask rarely, and each connection holds memory.
const READERS_MAX: usize = 3;

#[derive(Debug)]
pub(super) struct Readers {
    path: Arc<PathBuf>,
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path: Arc::new(path), idle: Arc::default(), permits: Arc::new(Semaphore::new(READERS_MAX)) }
    }

    /// Runs a query in one snapshot of the database.
    pub(super) async fn run<T, F>(&self, query: F) -> Result<T, InboxError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed");
        let (path, idle) = (Arc::clone(&self.path), Arc::clone(&self.idle));
        let asked = tokio::task::spawn_blocking(move || {
            // Held until the query ends, also when nobody waits for it any more.
            let _permit = permit;
            let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let answer = in_snapshot(kept, &path, query);
            let (connection, answer) = answer?;
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            Ok(answer)
        });
        match asked.await {
            Ok(answer) => answer.map_err(|fault: Fault| fault.into_error(&self.path)),
            Err(stopped) => Err(InboxError::Unavailable {
                path: self.path.display().to_string(),
                reason: format!("a query did not end: {stopped}"),
            }),
        }
    }
}

/// Hands the connection back only after an answer: one that failed is closed.
fn in_snapshot<T>(
    kept: Option<Connection>,
    path: &std::path::Path,
    query: impl FnOnce(&Connection) -> Result<T, Fault>,
) -> Result<(Connection, T), Fault> {
    let mut connection = match kept {
        Some(connection) => connection,
        None => schema::connect(path, Purpose::Read)?,
    };
    let transaction = connection.transaction()?;
    let answer = query(&transaction)?;
    transaction.commit()?;
    Ok((connection, answer))
}
