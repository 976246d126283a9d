//! The HTTP sink: records go to an address, one a request or a batch a request.
//!
//! What always holds: the records of a request have the same `Idempotency-Key` on every try, so a receiver that keeps
//! the keys does nothing twice; a batch is confirmed by its 2xx answer and by nothing else; no redirect is followed.
//!
//! ```text
//! batch ──> request (idempotency key, CloudEvents headers) ──> 2xx: confirmed
//!                                                              refused: the record is set aside | the delivery fails
//!                                                              not now: the delivery is tried again
//! ```

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::clock::Clock;
use crate::error::{Class, chain};
use crate::inbox::Progress;
use crate::net::{self, HttpLimits};
use crate::notice::SinkName;
use crate::record::RecordBatch;
use crate::retry_after::retry_after;
use crate::sink::{
    Accepts, BatchLimits, Delivered, DeliveryContext, HttpBody, HttpMethod, HttpSettings, Opened, Promise, Sink,
    SinkContext, SinkError, Transfer, refuse,
};

mod answer;
mod auth;
mod events;

use answer::Meaning;
use auth::Auth;
use events::{Carried, EventHeaders};

/// Small enough for the default body limits of common receivers, large enough that the way there does not count.
pub const DEFAULT_BATCH: BatchLimits = BatchLimits { records_max: 500, bytes_max: 1 << 20 };

/// How long one request may take.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// How much of an answer is read: enough for its reason, and for the connection to be used again.
const ANSWER_BYTES_MAX: usize = 16 * 1_024;
/// How many characters of an answer are shown.
const ANSWER_SHOWN_CHARS: usize = 300;

/// Headers that the sink sets itself, or that belong to the connection.
const RESERVED_HEADERS: [&str; 7] =
    ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "idempotency-key"];

/// Requests to an address.
pub struct HttpSink {
    shared: Arc<Shared>,
    batch: BatchLimits,
}

struct Shared {
    name: SinkName,
    client: reqwest::Client,
    settings: HttpSettings,
    auth: Option<Auth>,
    headers: HeaderMap,
    clock: Arc<dyn Clock>,
}

/// An answer, read as far as it is needed.
struct Answer {
    status: StatusCode,
    meaning: Meaning,
    retry_after: Option<Duration>,
    said: String,
}

impl HttpSink {
    /// A sink of these settings; connects to nothing.
    ///
    /// # Errors
    /// When the address, a header or the CA file cannot be used.
    pub fn new(
        name: SinkName,
        batch: BatchLimits,
        mut settings: HttpSettings,
        context: &SinkContext,
    ) -> Result<Self, SinkError> {
        let fail = |reason: String| SinkError::new(Class::Permanent, format!("sink {name}: {reason}"));
        if !net::is_allowed(&settings.url) {
            let address = address_of(&settings.url);
            return Err(fail(format!("{address} is not https, and plain http is for loopback addresses only")));
        }
        if !settings.url.username().is_empty() || settings.url.password().is_some() {
            return Err(fail("its address holds a user or a password: put the secret into a file".to_owned()));
        }
        let headers = own_headers(&settings).map_err(fail)?;
        let auth = settings.auth.take().map(Auth::new).transpose().map_err(fail)?;
        let timeout = settings.timeout;
        let limits = HttpLimits { connect: timeout, idle: timeout, total: Some(timeout) };
        let client = net::http_client(settings.ca_file.as_deref(), limits).map_err(|e| fail(e.to_string()))?;
        let clock = context.clock.clone();
        Ok(Self { shared: Arc::new(Shared { name, client, settings, auth, headers, clock }), batch })
    }
}

/// The content type and the headers of the configuration.
fn own_headers(settings: &HttpSettings) -> Result<HeaderMap, String> {
    let content_type = match settings.body {
        HttpBody::Record | HttpBody::Array => "application/json",
        HttpBody::JsonLines => "application/x-ndjson",
    };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    for (name, value) in &settings.headers {
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is not a header's name"))?;
        if RESERVED_HEADERS.contains(&header.as_str()) || header.as_str().starts_with("ce-") {
            return Err(format!("the header {name:?} is set by longshore itself: leave it out"));
        }
        let value = HeaderValue::from_str(value).map_err(|_| format!("the value of {name:?} is no header's value"))?;
        headers.insert(header, value);
    }
    Ok(headers)
}

#[async_trait]
impl Sink for HttpSink {
    fn kind(&self) -> &'static str {
        "http"
    }

    fn accepts(&self) -> Accepts {
        Accepts::Records
    }

    fn promise(&self) -> Promise {
        Promise::SameKey
    }

    fn batch_limits(&self) -> BatchLimits {
        self.batch
    }

    async fn open(&self, delivery: DeliveryContext, progress: Progress) -> Result<Opened, SinkError> {
        let transfer = HttpTransfer { shared: self.shared.clone(), events: EventHeaders::of(&delivery) };
        Ok(Opened { transfer: Box::new(transfer), resume_after: progress.confirmed })
    }

    async fn probe(&self) -> Result<String, SinkError> {
        let answer = self.shared.send(Method::HEAD, HeaderMap::new(), Bytes::new()).await?;
        match answer.meaning {
            // Many receivers know no HEAD; that they say so is enough.
            Meaning::Taken | Meaning::Refused | Meaning::Wrong if !answer.status.is_redirection() => {
                Ok(format!("{} answers {}", self.shared.address(), answer.status.as_u16()))
            }
            _ => Err(self.shared.error(&answer)),
        }
    }
}

impl Shared {
    fn address(&self) -> String {
        address_of(&self.settings.url)
    }

    fn method(&self) -> Method {
        match self.settings.method {
            HttpMethod::Post => Method::POST,
            HttpMethod::Put => Method::PUT,
        }
    }

    /// Sends a request; a secret that is refused is read from its file again, and the request sent once more.
    async fn send(&self, method: Method, headers: HeaderMap, body: Bytes) -> Result<Answer, SinkError> {
        let answer = self.send_once(method.clone(), headers.clone(), body.clone(), false).await?;
        if answer.meaning == Meaning::Unauthorized && self.auth.is_some() {
            return self.send_once(method, headers, body, true).await;
        }
        Ok(answer)
    }

    async fn send_once(
        &self,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
        read_secret_anew: bool,
    ) -> Result<Answer, SinkError> {
        let mut request = self.client.request(method, self.settings.url.clone()).headers(self.headers.clone());
        request = request.headers(headers).body(body);
        if let Some(auth) = &self.auth {
            let (name, value) = auth
                .header(read_secret_anew)
                .await
                .map_err(|reason| SinkError::new(Class::Unauthorized, format!("sink {}: {reason}", self.name)))?;
            request = request.header(name, value);
        }
        let mut response = request.send().await.map_err(|error| self.unanswered(error))?;
        let status = response.status();
        let retry_after = retry_after(response.headers(), Some(self.clock.now()));
        let mut said = Vec::new();
        while said.len() < ANSWER_BYTES_MAX {
            match response.chunk().await {
                Ok(Some(chunk)) => said.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES_MAX - said.len())]),
                // The status has been given, and with it the answer; a broken body takes nothing back.
                Ok(None) | Err(_) => break,
            }
        }
        let meaning = Meaning::of(status, retry_after);
        // Hidden before it is cut, so that no half of a secret is left at the end.
        let said = String::from_utf8_lossy(&said).into_owned();
        let said = match &self.auth {
            Some(auth) => auth.hide(said),
            None => said,
        };
        Ok(Answer { status, meaning, retry_after, said: shown(&said) })
    }

    fn unanswered(&self, error: reqwest::Error) -> SinkError {
        let class = if error.is_builder() { Class::Permanent } else { Class::Transient };
        let what = if error.is_timeout() {
            format!("did not answer within {:?}", self.settings.timeout)
        } else {
            format!("could not be asked: {}", chain(&error.without_url()))
        };
        SinkError::new(class, format!("sink {}: {} {what}", self.name, self.address()))
    }

    fn reason(&self, answer: &Answer) -> String {
        let said = if answer.said.is_empty() { String::new() } else { format!(" ({})", answer.said) };
        format!("{} answered {}{said}{}", self.address(), answer.status.as_u16(), answer::remedy(answer.status))
    }

    fn error(&self, answer: &Answer) -> SinkError {
        let class = match answer.meaning {
            Meaning::Again(class) => class,
            Meaning::Unauthorized => Class::Unauthorized,
            Meaning::Taken | Meaning::Refused | Meaning::Wrong => Class::Permanent,
        };
        let message = format!("sink {}: {}", self.name, self.reason(answer));
        SinkError::new(class, message).with_retry_after(answer.retry_after)
    }
}

struct HttpTransfer {
    shared: Arc<Shared>,
    events: EventHeaders,
}

impl HttpTransfer {
    async fn send(&self, carried: &Carried, body: Bytes) -> Result<Answer, SinkError> {
        let headers = self.events.for_request(carried);
        let answer = self.shared.send(self.shared.method(), headers, body).await?;
        match answer.meaning {
            Meaning::Taken | Meaning::Refused => Ok(answer),
            _ => Err(self.shared.error(&answer)),
        }
    }

    /// One request a record, in order; a refused record is set aside and the rest goes on.
    async fn deliver_each(&self, batch: &RecordBatch) -> Result<Delivered, SinkError> {
        let mut delivered = Delivered { confirmed: true, refused: Vec::new() };
        for (record, span) in batch.records().zip(&batch.spans) {
            let body = batch.buffer.slice(span.start..span.end);
            let answer = self.send(&Carried::One { number: record.number }, body).await?;
            if answer.meaning == Meaning::Refused {
                delivered.refused.push(refuse(record, Class::Permanent, &self.shared.reason(&answer)));
            }
        }
        Ok(delivered)
    }

    /// One request for all; which records a refusal means is not known, so the delivery fails.
    async fn deliver_all(&self, batch: &RecordBatch, body: Bytes) -> Result<Delivered, SinkError> {
        let carried = Carried::Batch { first: batch.first, last: batch.last, records: batch.spans.len() };
        let answer = self.send(&carried, body).await?;
        if answer.meaning == Meaning::Refused {
            return Err(self.shared.error(&answer));
        }
        Ok(Delivered { confirmed: true, refused: Vec::new() })
    }
}

#[async_trait]
impl Transfer for HttpTransfer {
    async fn deliver(&mut self, batch: &RecordBatch) -> Result<Delivered, SinkError> {
        if batch.spans.is_empty() {
            return Ok(Delivered { confirmed: true, refused: Vec::new() });
        }
        match self.shared.settings.body {
            HttpBody::Record => self.deliver_each(batch).await,
            HttpBody::Array => self.deliver_all(batch, batch.to_array()).await,
            HttpBody::JsonLines => self.deliver_all(batch, batch.to_lines()).await,
        }
    }

    async fn deliver_bytes(&mut self, _bytes: Bytes) -> Result<(), SinkError> {
        Err(SinkError::not_bytes(&self.shared.name))
    }

    async fn finish(self: Box<Self>) -> Result<String, SinkError> {
        Ok(format!("{} {}", self.shared.method(), self.shared.address()))
    }
}

/// The address without what may be secret in it: user, password, query and fragment.
fn address_of(url: &url::Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

/// The beginning of an answer, on one line.
fn shown(said: &str) -> String {
    let words: Vec<&str> = said.split_whitespace().collect();
    words.join(" ").chars().filter(|c| !c.is_control()).take(ANSWER_SHOWN_CHARS).collect()
}

#[cfg(test)]
pub(in crate::sink) mod tests;
