//! What the worker reads from: the results of the decoder's thread, and how it ended.

use std::fmt;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use super::decode::encoding::Encoding;
use super::decode::{Abandoned, Decompressor, Seen};
use super::fetch::Fetcher;
use super::split::Stop;
use super::{Form, PayloadError, PayloadLimits};
use crate::notice::Notice;
use crate::ops::Metrics;

/// Results that wait to be read. With one waiting and one being read, decoder and sink work side by side; more would only
/// hold memory.
const RESULTS_MAX: usize = 1;

/// How often a payload that changed before anything of it was read starts again by itself. A blob that is written over
/// more often than that is left to the worker's own pace.
const CHANGES_MAX: u32 = 3;

/// What a decoder's thread does with the plain bytes: it emits results and returns how many records there were.
pub(super) type Job<T> = Arc<
    dyn Fn(&mut Decompressor, &mut dyn FnMut(T) -> Result<(), Abandoned>) -> Result<(u64, Seen), Stop> + Send + Sync,
>;

/// What was seen of a payload that was read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Records, readable or bad; 0 where it was not split.
    pub records: u64,
    /// Bytes as they lie in the store.
    pub bytes_compressed: u64,
    /// Bytes after decompression.
    pub bytes_decompressed: u64,
    /// The form that the notice names.
    pub form: Form,
    /// The compression that the notice names.
    pub encoding_claimed: Option<String>,
    /// The compression that the bytes have.
    pub encoding: Encoding,
}

impl Summary {
    /// Whether the bytes are compressed otherwise than the notice says.
    #[must_use]
    pub fn is_claim_wrong(&self) -> bool {
        let claimed = self.encoding_claimed.as_deref().unwrap_or_default().trim().to_ascii_lowercase();
        let claimed = match claimed.as_str() {
            "" => Encoding::Identity.as_str(),
            other => other.strip_prefix("x-").unwrap_or(other),
        };
        claimed != self.encoding.as_str()
    }
}

/// The results of one payload, in order. Dropped, it stops the fetch and the decoder at once.
pub struct PayloadStream<T> {
    start: Start<T>,
    running: Option<Running<T>>,
    ended: Option<Result<Summary, PayloadError>>,
    results: u64,
    changes: u32,
}

impl<T> fmt::Debug for PayloadStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PayloadStream")
            .field("results", &self.results)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// Everything that is needed to start, and to start again.
struct Start<T> {
    fetcher: Fetcher,
    limits: PayloadLimits,
    notice: Notice,
    form: Form,
    job: Job<T>,
    metrics: Arc<Metrics>,
}

struct Running<T> {
    results: mpsc::Receiver<T>,
    decoder: JoinHandle<Result<Summary, PayloadError>>,
    // Held for its drop: it ends the fetch, which ends the decoder.
    _fetch: AbortOnDropHandle<()>,
}

impl<T: Send + 'static> PayloadStream<T> {
    pub(super) fn start(
        fetcher: Fetcher,
        limits: PayloadLimits,
        notice: Notice,
        form: Form,
        job: Job<T>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let start = Start { fetcher, limits, notice, form, job, metrics };
        let running = Some(start.run());
        Self { start, running, ended: None, results: 0, changes: 0 }
    }

    /// The next result; `None` once everything was read and every check passed. Cancel safe.
    ///
    /// # Errors
    /// Why the payload cannot be read on; the same again at every later call. Results before it are good, but the
    /// payload as a whole is not.
    pub async fn next(&mut self) -> Result<Option<T>, PayloadError> {
        loop {
            let Some(running) = &mut self.running else {
                return match &self.ended {
                    Some(Err(error)) => Err(error.clone()),
                    _ => Ok(None),
                };
            };
            if let Some(result) = running.results.recv().await {
                self.results += 1;
                return Ok(Some(result));
            }
            let ended = match (&mut running.decoder).await {
                Ok(ended) => ended,
                Err(failure) => Err(PayloadError::Broken {
                    object: super::object_of(&self.start.notice),
                    reason: format!("its decoder failed: {failure}"),
                }),
            };
            let is_untouched = self.results == 0 && self.changes < CHANGES_MAX;
            if is_untouched && matches!(ended, Err(PayloadError::Changed { .. })) {
                self.changes += 1;
                self.running = Some(self.start.run());
                continue;
            }
            if let Err(PayloadError::Address { source, .. }) = &ended {
                self.start.metrics.count_refused_address(&self.start.notice.feed, source.refusal.as_str());
            }
            self.running = None;
            self.ended = Some(ended);
        }
    }

    /// What was seen of the payload, once [`PayloadStream::next`] returned `None`.
    #[must_use]
    pub fn summary(&self) -> Option<&Summary> {
        self.ended.as_ref().and_then(|ended| ended.as_ref().ok())
    }
}

impl<T: Send + 'static> Start<T> {
    fn run(&self) -> Running<T> {
        let fetching = self.fetcher.start(&self.notice);
        let (sender, results) = mpsc::channel(RESULTS_MAX);
        let object = super::object_of(&self.notice);
        let claimed = self.notice.metadata.content_encoding.clone();
        let (limits, form, job) = (self.limits.clone(), self.form, Arc::clone(&self.job));
        let metrics = Arc::clone(&self.metrics);
        let pieces = fetching.pieces;
        let decoder = tokio::task::spawn_blocking(move || {
            let ended = Decompressor::open(pieces, claimed.as_deref(), &object, limits).map_err(Stop::Io).and_then(
                |mut plain| {
                    let ended = job(&mut plain, &mut |result| sender.blocking_send(result).map_err(|_| Abandoned));
                    ended
                        .map_err(|stop| if stop.is_unreadable() { plain.damage().map_or(stop, Stop::Io) } else { stop })
                },
            );
            let (records, seen) = ended.map_err(|stop| why(stop, &object))?;
            metrics.payload_bytes.inc_by(seen.decompressed);
            Ok(Summary {
                records,
                bytes_compressed: seen.compressed,
                bytes_decompressed: seen.decompressed,
                form,
                encoding_claimed: claimed,
                encoding: seen.encoding,
            })
        });
        Running { results, decoder, _fetch: fetching.task }
    }
}

/// The payload's error behind a stop.
fn why(stop: Stop, object: &str) -> PayloadError {
    let object = object.to_owned();
    match stop {
        Stop::Unreadable(reason) => PayloadError::Unreadable { object, reason },
        // Heard by nobody when the reader has gone; otherwise the fetch ended without saying how.
        Stop::Abandoned => PayloadError::Broken { object, reason: "nobody reads it any more".to_owned() },
        Stop::Io(error) => match error.downcast::<PayloadError>() {
            Ok(error) => error,
            Err(error) => PayloadError::Broken { object, reason: format!("its fetch ended early: {error}") },
        },
    }
}
