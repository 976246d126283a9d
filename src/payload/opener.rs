//! Opening payloads: fetch, decode and split, put together.

use std::fmt;
use std::io::Read as _;
use std::sync::Arc;

use bytes::Bytes;

use super::buffers::Buffers;
use super::decode::text::Text;
use super::fetch::{ContentStore, Fetcher};
use super::split::{self, Plan, Stop};
use super::stream::{Job, PayloadStream};
use super::{FetchSettings, Form, PayloadError, PayloadLimits};
use crate::access::TokenSource;
use crate::net::NetError;
use crate::notice::Notice;
use crate::ops::Context;
use crate::record::RecordBatch;
use crate::route::FormatHints;
use crate::sink::BatchLimits;

/// How large the pieces of a [`ByteStream`] are, at most.
const PLAIN_BYTES: usize = 256 << 10;

/// The records of a payload, in batches.
pub type RecordStream = PayloadStream<RecordBatch>;

/// The decompressed bytes of a payload, in pieces.
pub type ByteStream = PayloadStream<Bytes>;

/// Opens payloads. Cheap to clone; one for the daemon keeps its connections to the stores.
#[derive(Clone)]
pub struct PayloadOpener {
    fetcher: Fetcher,
    limits: PayloadLimits,
    context: Context,
}

impl fmt::Debug for PayloadOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PayloadOpener").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl PayloadOpener {
    /// An opener that asks `tokens` at every request; without them, addresses are fetched as they are.
    ///
    /// # Errors
    /// When the HTTP client cannot be made, such as for a CA file that cannot be read.
    pub fn new(
        settings: FetchSettings,
        limits: PayloadLimits,
        tokens: Option<Arc<dyn TokenSource>>,
        context: Context,
    ) -> Result<Self, NetError> {
        Ok(Self { fetcher: Fetcher::of_blobs(settings, tokens)?, limits, context })
    }

    /// An opener for payloads that lie in `store`.
    #[must_use]
    pub fn of_store(
        settings: FetchSettings,
        limits: PayloadLimits,
        store: Arc<dyn ContentStore>,
        context: Context,
    ) -> Self {
        Self { fetcher: Fetcher::of_store(settings, store), limits, context }
    }

    /// An opener for notices that all carry their body.
    #[must_use]
    pub fn of_bodies(settings: FetchSettings, limits: PayloadLimits, context: Context) -> Self {
        Self { fetcher: Fetcher::of_bodies(settings), limits, context }
    }

    /// Bounds of what a payload may be.
    #[must_use]
    pub fn limits(&self) -> &PayloadLimits {
        &self.limits
    }

    /// Starts to fetch, decompress and split the notice's payload; must be called within a tokio runtime. The same
    /// content gives the same batches.
    ///
    /// # Errors
    /// [`PayloadError::Opaque`] when the payload has no records; see [`Form::of`]. Whatever else goes wrong is said by
    /// [`PayloadStream::next`].
    pub fn open_records(
        &self,
        notice: &Notice,
        hints: &FormatHints,
        batch: BatchLimits,
    ) -> Result<RecordStream, PayloadError> {
        let form = Form::of(&notice.metadata);
        if form == Form::Opaque {
            let media_type = notice.metadata.content_type.clone().unwrap_or_default();
            return Err(PayloadError::Opaque { object: super::object_of(notice), media_type });
        }
        let plan = Plan { form, hints: hints.clone(), batch, limits: self.limits.clone() };
        let mut content_type = notice.metadata.content_type.clone();
        if let (Form::Csv, Some(charset)) = (form, &hints.csv_charset)
            && !content_type.as_deref().unwrap_or_default().to_ascii_lowercase().contains("charset")
        {
            content_type = Some(format!("text/csv; charset={charset}"));
        }
        let job: Job<RecordBatch> = Arc::new(move |decompressor, emit| {
            let mut text = Text::new(&mut *decompressor, content_type.as_deref());
            let records = split::split(&plan, &mut text, emit)?;
            Ok((records, decompressor.seen()))
        });
        Ok(self.start(notice, form, job))
    }

    /// Starts to fetch and decompress the notice's payload, without splitting it; must be called within a tokio runtime.
    /// Any form will do.
    #[must_use]
    pub fn open_bytes(&self, notice: &Notice) -> ByteStream {
        let job: Job<Bytes> = Arc::new(move |decompressor, emit| {
            let buffers = Buffers::new(PLAIN_BYTES);
            loop {
                let mut buffer = buffers.take();
                let count = decompressor.read(&mut buffer).map_err(Stop::Io)?;
                if count == 0 {
                    return Ok((0, decompressor.seen()));
                }
                emit(buffer.freeze().slice(..count))?;
            }
        });
        self.start(notice, Form::of(&notice.metadata), job)
    }

    fn start<T: Send + 'static>(&self, notice: &Notice, form: Form, job: Job<T>) -> PayloadStream<T> {
        PayloadStream::start(
            self.fetcher.clone(),
            self.limits.clone(),
            notice.clone(),
            form,
            job,
            Arc::clone(&self.context.metrics),
        )
    }
}
