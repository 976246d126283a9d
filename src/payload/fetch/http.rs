//! The GET behind a fetch, and what is done about each answer.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use reqwest::StatusCode;
use reqwest::header::{IF_MATCH, RANGE};
use tokio::sync::mpsc;
use tokio::time::Instant;
use url::Url;

use super::pace::Pace;
use super::validators::{self, Version};
use super::{Ended, PAUSE_MAX, Piece, pause, send_pieces};
use crate::access::{AccessError, AddressError, Refusal, TokenSet, TokenSource, read_address};
use crate::clock::UnixMs;
use crate::error::{Class, chain};
use crate::notice::Notice;
use crate::payload::{PayloadError, object_of};
use crate::retry_after::retry_after;
use crate::secret::redact;

/// How many fresh tokens in a row may be refused. The first refusal is a rotated token; a second may be a token set
/// that was fetched while the vendor rotated; a third is about the blob.
const REFUSALS_MAX: u32 = 2;

/// How long a worker waits for newer tokens. The wish stays; the notice comes back.
const NEWER_WAIT: Duration = Duration::from_secs(2);

/// The blob stores of a feed, and the way to them.
pub(super) struct Blobs<'a> {
    pub client: &'a reqwest::Client,
    /// None: addresses are fetched as they are.
    pub tokens: Option<&'a dyn TokenSource>,
    /// How often one fetch resumes a broken body.
    pub resumes_max: u32,
    /// Bytes a second that a body must bring, on the whole.
    pub rate_min: u64,
}

/// What became of one request.
enum Outcome {
    /// The fetch is over.
    Ended(Ended),
    /// The body or the connection broke; asking again from where it broke may help.
    Broken { reason: String, wait: Option<Duration> },
    /// The token of this generation was refused.
    Refused { status: u16, generation: Option<u64> },
}

/// How far a fetch has come.
struct Position<'a> {
    object: &'a str,
    /// When the notice was stored.
    stored: UnixMs,
    /// Bytes sent to the reader.
    offset: u64,
    /// The version that the bytes are of; none before the first answer.
    version: Option<Version>,
}

impl Position<'_> {
    fn changed(&self) -> PayloadError {
        PayloadError::Changed { object: self.object.to_owned() }
    }

    fn broken(&self, reason: impl Into<String>) -> PayloadError {
        PayloadError::Broken { object: self.object.to_owned(), reason: redact(&reason.into()) }
    }

    fn length(&self) -> Option<u64> {
        self.version.as_ref().and_then(|version| version.length)
    }
}

/// Fetches what the notice's `uri` names and sends its bytes.
pub(super) async fn fetch(
    blobs: &Blobs<'_>,
    notice: &Notice,
    sender: &mpsc::Sender<Result<Piece, PayloadError>>,
) -> Result<Ended, PayloadError> {
    let object = object_of(notice);
    let object = object.as_str();
    let uri = notice.metadata.uri.as_deref().ok_or_else(|| PayloadError::Forbidden {
        object: object.to_owned(),
        reason: "the notice has neither a uri nor a body".to_owned(),
    })?;
    let uri = read_address(uri).map_err(|source| PayloadError::Address { object: object.to_owned(), source })?;
    let mut position = Position { object, stored: notice.stored, offset: 0, version: None };
    let mut resumes = 0;
    let mut refusals = 0;
    loop {
        let offset_before = position.offset;
        let outcome = request(blobs, &uri, &mut position, sender).await?;
        if position.offset > offset_before {
            refusals = 0;
        }
        match outcome {
            Outcome::Ended(ended) => return Ok(ended),
            Outcome::Refused { status, generation } => {
                let refused = PayloadError::Refused { object: object.to_owned(), status };
                let (Some(tokens), Some(generation)) = (blobs.tokens, generation) else {
                    return Err(refused);
                };
                refusals += 1;
                if refusals > REFUSALS_MAX {
                    return Err(refused);
                }
                tracing::info!(object, status, generation, "the blob store refused the token; asking for a fresh one");
                tokens
                    .refused(generation)
                    .await
                    .map_err(|source| PayloadError::Access { object: object.to_owned(), source })?;
            }
            Outcome::Broken { reason, wait } => {
                resumes += 1;
                if resumes > blobs.resumes_max {
                    return Err(position.broken(format!("{reason}, after {} resumes", resumes - 1)));
                }
                if position.offset > 0 && position.version.as_ref().is_none_or(|version| version.etag.is_none()) {
                    return Err(position.broken(format!(
                        "{reason}, after {} bytes, and the store gives no strong ETag to resume under",
                        position.offset
                    )));
                }
                let pause = wait.unwrap_or_else(|| pause(resumes)).min(PAUSE_MAX);
                tracing::debug!(object, offset = position.offset, reason, "resuming the payload");
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// One request from the position onwards.
async fn request(
    blobs: &Blobs<'_>,
    uri: &Url,
    position: &mut Position<'_>,
    sender: &mpsc::Sender<Result<Piece, PayloadError>>,
) -> Result<Outcome, PayloadError> {
    let (url, generation) = authorized(blobs, uri, position).await?;
    let mut request = blobs.client.get(url);
    if position.offset > 0 {
        request = request.header(RANGE, format!("bytes={}-", position.offset));
        if let Some(etag) = position.version.as_ref().and_then(|version| version.etag.as_deref()) {
            request = request.header(IF_MATCH, etag);
        }
    }
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) => return Ok(Outcome::Broken { reason: said(error), wait: None }),
    };
    let status = response.status();
    let headers = response.headers();
    match status {
        StatusCode::OK if position.offset == 0 => {
            let version = Version::of(headers);
            let md5 = version.md5.map(|md5| Ok(Piece::Md5(md5)));
            position.version = Some(version);
            if let Some(md5) = md5
                && sender.send(md5).await.is_err()
            {
                return Ok(Outcome::Ended(Ended::Abandoned));
            }
        }
        StatusCode::PARTIAL_CONTENT if position.offset > 0 => {
            let version = position.version.as_ref();
            let is_same = version.is_some_and(|version| version.matches(headers));
            let continues = validators::content_range(headers).is_some_and(|(first, length)| {
                first == position.offset
                    && (length.is_none() || length == position.length() || position.length().is_none())
            });
            if !is_same || !continues {
                return Err(position.changed());
            }
        }
        // A store that does not know ranges sends everything again: what was sent is skipped, if it is the same.
        StatusCode::OK => {
            if !position.version.as_ref().is_some_and(|version| version.matches(headers)) {
                return Err(position.changed());
            }
            let skip = position.offset;
            return body(response, position, skip, blobs.rate_min, sender).await;
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Ok(Outcome::Refused { status: status.as_u16(), generation });
        }
        _ => return refused_otherwise(&response, position),
    }
    body(response, position, 0, blobs.rate_min, sender).await
}

/// The address with the token in force, and the token's generation; the address as it is where there are no tokens.
async fn authorized(blobs: &Blobs<'_>, uri: &Url, position: &Position<'_>) -> Result<(Url, Option<u64>), PayloadError> {
    let Some(tokens) = blobs.tokens else {
        return Ok((uri.clone(), None));
    };
    let object = || position.object.to_owned();
    let no_access = |source| PayloadError::Access { object: object(), source };
    let mut set = tokens.current().await.map_err(no_access)?;
    let is_unnamed = |set: &TokenSet| set.for_blob(uri).is_err_and(|error| error.refusal == Refusal::Unnamed);
    // The vendor may have added a container since: tokens that are younger than the notice must know it. So each notice
    // asks for one refresh at most, and all that wait share it.
    if is_unnamed(&set) && set.obtained < position.stored {
        set = newer(tokens, &set).await.map_err(no_access)?;
    }
    let access = set.for_blob(uri).map_err(|source| PayloadError::Address { object: object(), source })?;
    Ok((access.url_for(uri), Some(set.generation)))
}

/// Tokens newer than `set`. The source keeps its own pace, which may take minutes: the worker does other work meanwhile.
async fn newer(tokens: &dyn TokenSource, set: &TokenSet) -> Result<Arc<TokenSet>, AccessError> {
    tracing::info!(generation = set.generation, "no container of the tokens is the notice's; asking for newer tokens");
    let asked = tokio::time::timeout(NEWER_WAIT, tokens.refused(set.generation)).await;
    asked.unwrap_or_else(|_| {
        let said =
            "no container that came with the tokens is the notice's; newer tokens, which may know it, are asked for";
        Err(AccessError::new(Class::Unauthorized, said))
    })
}

/// Sends a body on, less its first `skip` bytes.
async fn body(
    response: reqwest::Response,
    position: &mut Position<'_>,
    mut skip: u64,
    rate_min: u64,
    sender: &mpsc::Sender<Result<Piece, PayloadError>>,
) -> Result<Outcome, PayloadError> {
    let mut chunks = response.bytes_stream();
    let mut pace = Pace::new(rate_min);
    loop {
        let asked = Instant::now();
        let Some(chunk) = chunks.next().await else { break };
        let mut chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) => return Ok(Outcome::Broken { reason: said(error), wait: None }),
        };
        let slow = pace.note(asked.elapsed(), chunk.len());
        let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
        skip -= skipped as u64;
        let chunk = chunk.split_off(skipped);
        if position.length().is_some_and(|length| position.offset + chunk.len() as u64 > length) {
            return Err(position.changed());
        }
        position.offset += chunk.len() as u64;
        if !send_pieces(chunk, sender).await {
            return Ok(Outcome::Ended(Ended::Abandoned));
        }
        // What has come whole is not asked for again.
        if let Some(reason) = slow
            && position.length().is_some_and(|length| position.offset < length)
        {
            return Ok(Outcome::Broken { reason, wait: None });
        }
    }
    match position.length() {
        Some(length) if position.offset < length => Ok(Outcome::Broken {
            reason: format!("the body ended after {} of {length} bytes", position.offset),
            wait: None,
        }),
        _ => Ok(Outcome::Ended(Ended::Complete)),
    }
}

/// Every answer without content but a refused token.
fn refused_otherwise(response: &reqwest::Response, position: &Position<'_>) -> Result<Outcome, PayloadError> {
    let status = response.status();
    let object = position.object.to_owned();
    // Azure and Azurite name the reason in a header of their own, such as `BlobArchived`.
    let code = response.headers().get("x-ms-error-code").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let said = format!("HTTP {status} {code}").trim_end().to_owned();
    // Without a `Date` beside it, a date says nothing here: then our own back-off decides.
    let wait = retry_after(response.headers(), None);
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => Err(PayloadError::Missing { object, said }),
        StatusCode::PRECONDITION_FAILED | StatusCode::RANGE_NOT_SATISFIABLE if position.offset > 0 => {
            Err(position.changed())
        }
        // At the start of a body the worker can do other work meanwhile; in its middle, much would be read again.
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE if position.offset == 0 => {
            Err(PayloadError::Throttled { object, status: status.as_u16(), wait })
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Ok(Outcome::Broken { reason: said, wait }),
        _ if status.is_server_error() => Ok(Outcome::Broken { reason: said, wait }),
        _ if status.is_redirection() => {
            let reason = format!("the store answers with a redirect ({said}), and a token must not follow it");
            Err(PayloadError::Address { object, source: AddressError::new(Refusal::Redirect, reason) })
        }
        _ => Err(PayloadError::Forbidden { object, reason: format!("the store answers {said}") }),
    }
}

/// A network error without the address, whose query is a secret.
fn said(error: reqwest::Error) -> String {
    redact(&chain(&error.without_url()))
}
