//! Fetching: the bytes behind a notice, in order, once each, whatever breaks on the way.
//!
//! What always holds:
//!
//! 1. All bytes of one fetch belong to one version of the blob: a range is asked for under the first answer's strong
//!    ETag only, and an answer with another ETag, length or range ends the fetch with [`PayloadError::Changed`].
//! 2. [`Piece::End`] is sent only when the promised length has arrived; a body that ends early is resumed.
//! 3. Every request builds its URL anew from the notice's address and the token that is in force; a token is never
//!    sent to a host and container that the vendor did not name for it, and redirects are not followed.
//! 4. At most [`PIECES_MAX`] pieces wait to be read: a slow reader slows the network down.
//!
//! One plain GET does it all. The store's own client libraries were weighed: they hide the ETag of a resumed range or
//! the checksum headers, spell some blob names differently (`a//b`, `%`, a trailing `/`), and repeat a request with the
//! token that was just refused.
//!
//! ```text
//! GET ─200─> pieces ... broken ─> GET range, If-Match ─206─> pieces ... End
//!  ├─401/403─> tokens.refused(generation) ─> the same again     ├─412 / other ETag ─> Changed
//!  └─404/410─> Missing      429/503 ─> Throttled                └─5xx, reset, silence ─> back-off, again
//! ```

mod http;
mod pace;
mod store;
mod validators;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::{FetchSettings, PayloadError};
use crate::access::TokenSource;
use crate::net::{HttpLimits, NetError};
use crate::notice::Notice;

pub use store::{Content, ContentStore};

/// Pieces that wait between the network and the decoder. Fewer starve the decoder whenever the network's task is not
/// scheduled at once; more only hold memory.
const PIECES_MAX: usize = 4;

/// A larger piece is cut up, so that what waits is bounded in bytes too.
const PIECE_BYTES_MAX: usize = 256 << 10;

/// What a fetch yields.
#[derive(Debug)]
pub(super) enum Piece {
    /// The MD5 that the store holds for the whole blob, if it does; comes before any bytes. The reader, who has a thread
    /// for it, checks it.
    Md5([u8; 16]),
    /// The next bytes, as they lie in the store.
    Bytes(Bytes),
    /// All bytes were sent.
    End,
}

/// A fetch that is under way. Dropped, it stops at once.
#[derive(Debug)]
pub(super) struct Fetching {
    pub pieces: mpsc::Receiver<Result<Piece, PayloadError>>,
    pub task: AbortOnDropHandle<()>,
}

/// How a fetch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// The whole content was sent.
    Complete,
    /// The reader has gone.
    Abandoned,
}

/// Where the content of notices without a body lies.
#[derive(Clone)]
enum Source {
    /// Behind the HTTP of a blob store, under its tokens.
    Blobs { client: reqwest::Client, tokens: Option<Arc<dyn TokenSource>> },
    /// In a store of the feed's own kind.
    Store(Arc<dyn ContentStore>),
    /// Nowhere: every notice of the feed carries its body.
    Bodies,
}

/// Fetches payloads.
#[derive(Clone)]
pub(super) struct Fetcher {
    source: Source,
    settings: FetchSettings,
}

impl Fetcher {
    /// Fetches from blob stores over HTTP; without `tokens`, addresses are fetched as they are.
    pub fn of_blobs(settings: FetchSettings, tokens: Option<Arc<dyn TokenSource>>) -> Result<Self, NetError> {
        let limits = HttpLimits { connect: settings.connect_timeout, idle: settings.idle_timeout, total: None };
        let client = crate::net::http_client(settings.ca_file.as_deref(), limits)?;
        Ok(Self { source: Source::Blobs { client, tokens }, settings })
    }

    /// Fetches from `store`.
    pub fn of_store(settings: FetchSettings, store: Arc<dyn ContentStore>) -> Self {
        Self { source: Source::Store(store), settings }
    }

    /// Fetches nothing: only notices that carry their body can be opened.
    pub fn of_bodies(settings: FetchSettings) -> Self {
        Self { source: Source::Bodies, settings }
    }

    /// Starts to fetch the notice's content. Must be called within a tokio runtime.
    pub fn start(&self, notice: &Notice) -> Fetching {
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        let task = match &notice.body {
            Some(body) => tokio::spawn(send_body(body.clone(), sender)),
            None => {
                let (fetcher, notice) = (self.clone(), notice.clone());
                tokio::spawn(async move {
                    match fetcher.fetch(&notice, &sender).await {
                        Ok(Ended::Complete) => drop(sender.send(Ok(Piece::End)).await),
                        Ok(Ended::Abandoned) => {}
                        Err(error) => drop(sender.send(Err(error)).await),
                    }
                })
            }
        };
        Fetching { pieces, task: AbortOnDropHandle::new(task) }
    }

    async fn fetch(
        &self,
        notice: &Notice,
        sender: &mpsc::Sender<Result<Piece, PayloadError>>,
    ) -> Result<Ended, PayloadError> {
        match &self.source {
            Source::Blobs { client, tokens } => {
                let FetchSettings { resumes_max, rate_min, .. } = self.settings;
                let blobs = http::Blobs { client, tokens: tokens.as_deref(), resumes_max, rate_min };
                http::fetch(&blobs, notice, sender).await
            }
            Source::Store(store) => {
                let FetchSettings { idle_timeout: idle, resumes_max, rate_min, .. } = self.settings;
                let patience = store::Patience { idle, resumes_max, rate_min };
                store::fetch(store.as_ref(), notice, patience, sender).await
            }
            Source::Bodies => Err(PayloadError::Forbidden {
                object: super::object_of(notice),
                reason: "its feed hands over whole events, and this notice carries none".to_owned(),
            }),
        }
    }
}

/// The first wait before a broken body is asked for again; it doubles up to [`PAUSE_MAX`]. Shorter hammers a store that
/// is restarting, longer idles a worker after a mere reset.
const PAUSE_FIRST: Duration = Duration::from_millis(100);

/// The longest such wait; also the longest `Retry-After` that is waited out in the middle of a body.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// The wait before resume number `resumes`: doubled each time, with jitter so that workers do not come back together.
fn pause(resumes: u32) -> Duration {
    let doubled = PAUSE_FIRST.saturating_mul(1 << resumes.saturating_sub(1).min(10)).min(PAUSE_MAX);
    doubled.mul_f64(0.5 + fastrand::f64() / 2.0)
}

async fn send_body(body: Bytes, sender: mpsc::Sender<Result<Piece, PayloadError>>) {
    if send_pieces(body, &sender).await {
        // A reader that has gone needs no end.
        drop(sender.send(Ok(Piece::End)).await);
    }
}

/// Sends `bytes`, cut up; `false` when the reader has gone.
async fn send_pieces(mut bytes: Bytes, sender: &mpsc::Sender<Result<Piece, PayloadError>>) -> bool {
    while !bytes.is_empty() {
        let piece = bytes.split_to(bytes.len().min(PIECE_BYTES_MAX));
        if sender.send(Ok(Piece::Bytes(piece))).await.is_err() {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests;
