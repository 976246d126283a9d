//! What can go wrong with a download, on demand.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::{BoxStream, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use super::super::SandboxError;

/// More faults than this at the same time are refused: something in the test does not clear them.
const FAULTS_MAX: usize = 1_000;

/// Long enough for the bytes before a cut to leave the process.
const FLUSH_PAUSE: Duration = Duration::from_millis(20);

/// So often the server may send on what it has, should it have been held up for the whole pause.
const FLUSHES: u32 = 4;

/// One fault, and which requests it hits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlobFault {
    /// What goes wrong.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// Only blobs whose name contains this text; absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<String>,
    /// It hits so many requests, then ends; absent for any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
    /// It ends after this time; absent for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

impl BlobFault {
    /// `kind` for the next `requests` requests, whatever the blob.
    #[must_use]
    pub fn next(kind: FaultKind, requests: u32) -> Self {
        Self { kind, blob: None, requests: Some(requests), seconds: None }
    }

    /// Only for blobs whose name contains `text`.
    #[must_use]
    pub fn on(mut self, text: impl Into<String>) -> Self {
        self.blob = Some(text.into());
        self
    }
}

/// What goes wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum FaultKind {
    /// The answer is an error: 403, 404, 429, 500, 503 or another.
    Status {
        /// The status.
        status: u16,
        /// `Retry-After`, in seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<u32>,
    },
    /// The connection breaks after so many bytes of the body.
    Cut {
        /// How many bytes still come.
        after: u64,
    },
    /// One byte is wrong.
    Corrupt {
        /// Which one, counted from the start of the blob.
        at: u64,
    },
    /// The body comes slowly.
    Slow {
        /// At most this many bytes a second.
        bytes_per_second: u64,
    },
    /// The body stands still after so many bytes, and goes on once the faults are cleared or this one's time ends:
    /// what a test needs that something is in progress for, however fast or slow the machine is.
    Stall {
        /// How many bytes still come.
        after: u64,
    },
    /// The blob is written anew while it is read: the connection breaks after so many bytes, and from then on the
    /// blob has another ETag.
    ChangeEtag {
        /// How many bytes still come.
        after: u64,
    },
}

/// The faults in force, in the order in which they were asked for.
#[derive(Default)]
pub(in crate::sandbox) struct Faults {
    all: VecDeque<(BlobFault, Option<Instant>)>,
    /// Tells bodies that stand still when the faults are cleared, or gone with their store.
    cleared: watch::Sender<()>,
}

/// A fault that hits a request.
pub(in crate::sandbox) struct Hit {
    pub kind: FaultKind,
    end: Option<Instant>,
    cleared: watch::Receiver<()>,
}

impl Hit {
    /// Waits until the fault is over.
    async fn over(mut self) {
        let end = async {
            match self.end {
                Some(end) => tokio::time::sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // An error says that the store is gone, which ends its faults as well.
            _ = self.cleared.changed() => {}
            () = end => {}
        }
    }
}

impl Faults {
    pub(in crate::sandbox) fn add(&mut self, fault: BlobFault) -> Result<(), SandboxError> {
        self.forget_ended();
        if self.all.len() >= FAULTS_MAX {
            return Err(SandboxError::Request(format!("there are already {FAULTS_MAX} blob faults; clear them first")));
        }
        let end = match fault.seconds {
            None => None,
            Some(seconds) => {
                let time = Duration::try_from_secs_f64(seconds)
                    .map_err(|e| SandboxError::Request(format!("a fault of {seconds} seconds: {e}")))?;
                Some(Instant::now() + time)
            }
        };
        self.all.push_back((fault, end));
        Ok(())
    }

    pub(in crate::sandbox) fn clear(&mut self) {
        self.all.clear();
        self.cleared.send_replace(());
    }

    /// The fault that hits a request for `blob`, used up by one. A fault of the body does not hit a request for none.
    pub(in crate::sandbox) fn take(&mut self, blob: &str, has_body: bool) -> Option<Hit> {
        self.forget_ended();
        let (fault, end) = self.all.iter_mut().find(|(fault, _)| {
            let fits = fault.blob.as_deref().is_none_or(|text| blob.contains(text));
            fits && (has_body || matches!(fault.kind, FaultKind::Status { .. }))
        })?;
        if let Some(left) = &mut fault.requests {
            *left -= 1;
        }
        Some(Hit { kind: fault.kind.clone(), end: *end, cleared: self.cleared.subscribe() })
    }

    pub(in crate::sandbox) fn list(&mut self) -> Vec<BlobFault> {
        self.forget_ended();
        self.all.iter().map(|(fault, _)| fault.clone()).collect()
    }

    fn forget_ended(&mut self) {
        let now = Instant::now();
        self.all.retain(|(fault, end)| fault.requests != Some(0) && end.is_none_or(|end| end > now));
    }
}

type Body = BoxStream<'static, std::io::Result<Bytes>>;

/// `body`, which starts at byte `start` of the blob, with the fault in it.
pub(in crate::sandbox) fn spoil(body: Body, start: u64, fault: Option<Hit>) -> Body {
    let Some(fault) = fault else { return body };
    match fault.kind {
        FaultKind::Status { .. } => body,
        FaultKind::Cut { after } | FaultKind::ChangeEtag { after } => cut(body, after),
        FaultKind::Corrupt { at } => corrupt(body, start, at),
        FaultKind::Slow { bytes_per_second } => slow(body, bytes_per_second.max(1)),
        FaultKind::Stall { after } => stall(body, after, fault),
    }
}

fn cut(body: Body, after: u64) -> Body {
    let kept = body.scan(after, |left, piece| {
        let next = match piece {
            _ if *left == 0 => None,
            Ok(mut bytes) => {
                bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= bytes.len() as u64;
                Some(Ok(bytes))
            }
            Err(error) => Some(Err(error)),
        };
        std::future::ready(next)
    });
    // An error in a body makes the server break the connection off, and throw away what it has not sent by then: the
    // pause lets the kept bytes go out.
    let broken = futures::stream::once(async {
        tokio::time::sleep(FLUSH_PAUSE).await;
        for _ in 0..FLUSHES {
            tokio::task::yield_now().await;
        }
        Err(std::io::Error::new(std::io::ErrorKind::ConnectionReset, "the sandbox cuts this body short"))
    });
    kept.chain(broken).boxed()
}

/// The fault is waited for where `after` bytes have gone.
fn stall(body: Body, after: u64, fault: Hit) -> Body {
    let state = (body, after, Some(fault), Bytes::new());
    futures::stream::unfold(state, |(mut body, mut left, mut fault, mut kept)| async move {
        if left == 0
            && let Some(fault) = fault.take()
        {
            fault.over().await;
        }
        let mut piece = if kept.is_empty() { body.next().await? } else { Ok(std::mem::take(&mut kept)) };
        if fault.is_some()
            && let Ok(bytes) = &mut piece
        {
            kept = bytes.split_off(usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len()));
            left -= bytes.len() as u64;
        }
        Some((piece, (body, left, fault, kept)))
    })
    .boxed()
}

fn corrupt(body: Body, start: u64, at: u64) -> Body {
    body.scan(start, move |position, piece| {
        let piece = piece.map(|bytes| {
            let here = *position;
            *position += bytes.len() as u64;
            if !(here..*position).contains(&at) {
                return bytes;
            }
            let mut spoilt = BytesMut::from(&bytes[..]);
            spoilt[(at - here) as usize] ^= 0xff;
            spoilt.freeze()
        });
        std::future::ready(Some(piece))
    })
    .boxed()
}

fn slow(body: Body, bytes_per_second: u64) -> Body {
    let begun = Instant::now();
    // Twenty pieces a second look like a slow line, and not like one that stands still.
    let most = usize::try_from(bytes_per_second / 20).unwrap_or(usize::MAX).max(1);
    body.flat_map(move |piece| {
        let parts: Vec<_> = match piece {
            Ok(mut bytes) => {
                let mut parts = Vec::with_capacity(bytes.len() / most + 1);
                while bytes.len() > most {
                    parts.push(Ok(bytes.split_to(most)));
                }
                parts.push(Ok(bytes));
                parts
            }
            Err(error) => vec![Err(error)],
        };
        futures::stream::iter(parts)
    })
    .scan(0_u64, move |sent, piece| {
        let due = begun + Duration::from_secs_f64(*sent as f64 / bytes_per_second as f64);
        *sent += piece.as_ref().map_or(0, |bytes| bytes.len() as u64);
        async move {
            tokio::time::sleep_until(due).await;
            Some(piece)
        }
    })
    .boxed()
}
