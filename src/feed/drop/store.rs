//! Payloads out of the spool: a whole file, or an entry of an archive, from any byte on.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::sync::mpsc;

use super::archive;
use super::key::parse_key;
use super::spool::path_of;
use crate::notice::Notice;
use crate::payload::{Content, ContentStore, PayloadError};

/// Pieces that are read ahead.
const PIECES_AHEAD: usize = 4;
const PIECE_BYTES: usize = 64 << 10;

/// The contents in a feed's spool. What stands there never changes, so that a hash is a version.
#[derive(Debug)]
pub struct SpoolStore {
    folder: PathBuf,
}

impl SpoolStore {
    /// The store of the spool in `folder`.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }
}

#[async_trait]
impl ContentStore for SpoolStore {
    async fn open(&self, notice: &Notice, from: u64, version: Option<&str>) -> Result<Content, PayloadError> {
        let object = notice.metadata.uri.clone().unwrap_or_else(|| notice.dedupe_key.clone());
        let Some((hash, entry)) = parse_key(&notice.dedupe_key) else {
            let reason = "its key names no content; it was not heard by a feed of type drop".to_owned();
            return Err(PayloadError::Forbidden { object, reason });
        };
        if version.is_some_and(|version| version != hash.as_str()) {
            return Err(PayloadError::Changed { object });
        }
        let path = path_of(&self.folder, &hash);
        let file = tokio::fs::File::open(&path).await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                PayloadError::Missing { object: object.clone(), said: format!("no {} in the spool", path.display()) }
            }
            _ => PayloadError::Broken { object: object.clone(), reason: format!("{}: {error}", path.display()) },
        })?;
        let file = file.into_std().await;
        let size = file.metadata().map(|found| found.len());
        let size = size.map_err(|error| PayloadError::Broken { object, reason: error.to_string() })?;
        let length = if entry.is_none() { Some(size) } else { None };
        let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
        let entry = entry.map(str::to_owned);
        tokio::task::spawn_blocking(move || {
            let mut give = |piece: &[u8]| sender.blocking_send(Ok(Bytes::copy_from_slice(piece))).is_ok();
            let read = match entry {
                Some(entry) => archive::read_from(file, &entry, from, &mut give),
                None => read_plain(file, from, &mut give),
            };
            if let Err(error) = read {
                // Whoever has gone does not hear it.
                let _ = sender.blocking_send(Err(error.to_string()));
            }
        });
        let bytes = futures::stream::unfold(pieces, |mut pieces| async { Some((pieces.recv().await?, pieces)) });
        Ok(Content { version: Some(hash.as_str().to_owned()), length, md5: None, bytes: bytes.boxed() })
    }
}

fn read_plain(mut file: File, from: u64, give: &mut dyn FnMut(&[u8]) -> bool) -> io::Result<()> {
    file.seek(SeekFrom::Start(from))?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 || !give(&piece[..count]) {
            return Ok(());
        }
    }
}
