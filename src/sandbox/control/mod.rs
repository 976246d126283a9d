//! The control API: the verbs of [`Sandbox`] over HTTP on loopback, JSON in and out, for a person with `curl` and for
//! tests in other languages.
//!
//! [`HELP`] and `router` are the one table of all verbs; what is more than a line stands in a file for each vendor's side.
//!
//! A web page cannot use it: whatever a browser sends from a page of elsewhere carries `Origin`, and is refused.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::ops::http::Told;

use super::{DropRequest, Dropped, Sandbox, SandboxError, SandboxState, SendRequest, WebhookState, serve};

mod bucket;
mod export;
mod subscriptions;
#[cfg(test)]
mod tests;

/// What `GET /` answers.
pub const HELP: &str = "\
The sandbox's control API. Bodies are JSON; where one is marked optional, an empty body takes the defaults.

GET    /state                          counts and faults of every part
GET    /blobs                          the blobs that lie in the store, at most 1000
POST   /publish                        {\"file\": {\"sample\": {\"kind\": \"items\", \"records\": 1000}}, \"files\": 3}
         file: sample | repeated | ugly | text | path | uri | message
         sample: kind (items prices stores customers store-groups), records, first, parents, seed,
                 format (json-lines json-array xml-lines xml-document csv), compression (none gzip deflate br zstd),
                 bom, last_newline_missing
         repeated: kind, decompressed_bytes, block_records, seed, compression (gzip none)
         ugly: way (truncated-gzip corrupt-gzip multi-member-gzip plain-called-gzip gzip-called-plain bad-line
                 long-line utf16 bom-and-no-last-newline cr-lf empty unknown-type missing-blob), first, records, seed
         also: blob_type, correlation_id, content_type, content_encoding, properties, message_id, pascal_case,
                 parents_after (of a sample: what its records refer to is published last)
POST   /rotate-keys                    optional {\"service_bus\": true, \"blob\": true}
POST   /expire-tokens                  optional {\"service_bus\": true, \"blob\": true, \"access\": true}
POST   /detach                         optional {\"condition\": \"amqp:link:detach-forced\"}
POST   /drop-connections
POST   /stall                          {\"seconds\": 30}; 0 ends it
POST   /duplicate                      optional {\"count\": 1}
POST   /server-busy                    optional {\"count\": 1}
POST   /blob-faults                    {\"fault\": \"status\", \"status\": 503, \"retry_after\": 2, \"requests\": 3}
         fault: status | cut (after) | corrupt (at) | slow (bytes_per_second) | change-etag (after)
                | stall (after; until the faults are cleared or its time is over)
         also: blob (part of its name), requests, seconds
DELETE /blob-faults
POST   /tenant-faults                  {\"status\": 403, \"retry_after\": 2, \"requests\": 1}
DELETE /tenant-faults
POST   /certificates                   {\"name\": \"next\", \"valid_days\": 365, \"registered\": true}
DELETE /certificates/{name}            the authority forgets it; the file stays
POST   /drop                           optional {\"rows\": 1000}: a day's zip of CSVs, answered when it is whole
         also: date (2026-11-22; absent for yesterday), seed, broken_rows (of the first file),
                 arrival (part growing whole), pause_ms (half-way)
POST   /send                           optional {\"events\": 1}: events to those who subscribed, each until its 200 or seven days
         also: first, seed, times (each arrives so often), body (this text instead),
                 to (subscribers; listener for the daemon's own, whoever subscribed)
GET    /subscriptions                  what is subscribed to at fulfillmenttools, without secrets
POST   /subscriptions                  {\"name\": \"shop\", \"event\": \"ORDER_CREATED\", \"target\": {\"type\": \"WEBHOOK\",
                                       \"callbackUrl\": \"https://…\", \"headers\": []}}: as somebody else makes one
DELETE /subscriptions                  all of them
DELETE /subscriptions/{id}
POST   /fft/expire-tokens              optional {\"refresh\": false}: also the tokens that others are had for
POST   /fft/faults                     {\"status\": 429, \"retry_after\": 2, \"requests\": 1}
         also: method, path (/api/subscriptions, /v1/accounts, /v1/token), after (so many are let through), done (it is done,
                 and only the answer is lost)
DELETE /fft/faults
POST   /bucket/publish                 optional {\"events\": 1000}: a file of gzipped JSON lines in a day's folder
         also: date (absent for yesterday), first (absent for the one after the last), seed,
                 key (absent for the next free one)
POST   /bucket/rewrite                 {\"key\": \"2026-11-22/part-00000.jsonl.gz\", \"more\": 100}
POST   /bucket/rotate-key              the key file is written anew, the old key opens nothing
POST   /bucket/list-faults             optional {\"status\": 503, \"after\": 0, \"pages\": 1}
POST   /bucket/faults                  as /blob-faults
DELETE /bucket/faults                  those of listings as well
";

/// The running control API; it stops when this is dropped.
pub struct Control {
    address: SocketAddr,
    _stop: DropGuard,
}

impl Control {
    /// Serves the verbs of `sandbox` on a loopback port, 0 for a free one.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start(sandbox: Arc<Sandbox>, port: u16) -> Result<Self, SandboxError> {
        let (listener, address) = serve::bind("control API", port).await?;
        let stop = CancellationToken::new();
        tokio::spawn(serve::serve(listener, None, router(sandbox), stop.clone()));
        Ok(Self { address, _stop: stop.drop_guard() })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

type Shared = State<Arc<Sandbox>>;
type Answer<T> = Result<Told<T>, SandboxError>;

fn router(sandbox: Arc<Sandbox>) -> Router {
    Router::new()
        .route("/", get(|| async { HELP }))
        .route("/state", get(state))
        .route("/blobs", get(export::blobs))
        .route("/publish", post(export::publish))
        .route("/rotate-keys", post(export::rotate_keys))
        .route("/expire-tokens", post(export::expire_tokens))
        .route("/detach", post(export::detach))
        .route("/drop-connections", post(export::drop_connections))
        .route("/stall", post(export::stall))
        .route("/duplicate", post(export::duplicate))
        .route("/server-busy", post(export::server_busy))
        .route("/blob-faults", post(export::add_blob_fault).delete(export::clear_blob_faults))
        .route("/tenant-faults", post(export::add_tenant_fault).delete(export::clear_tenant_faults))
        .route("/certificates", post(export::new_certificate))
        .route("/certificates/{name}", delete(export::forget_certificate))
        .route("/drop", post(drop_zip))
        .route("/send", post(send))
        .route(
            "/subscriptions",
            get(subscriptions::list).post(subscriptions::make).delete(subscriptions::take_all_away),
        )
        .route("/subscriptions/{id}", delete(subscriptions::take_away))
        .route("/fft/expire-tokens", post(subscriptions::expire_tokens))
        .route("/fft/faults", post(subscriptions::add_fault).delete(subscriptions::clear_faults))
        .route("/bucket/publish", post(bucket::publish))
        .route("/bucket/rewrite", post(bucket::rewrite))
        .route("/bucket/rotate-key", post(bucket::rotate_key))
        .route("/bucket/list-faults", post(bucket::add_list_fault))
        .route("/bucket/faults", post(bucket::add_fault).delete(bucket::clear_faults))
        .layer(middleware::from_fn(refuse_browsers))
        .with_state(sandbox)
}

async fn refuse_browsers(request: Request, next: Next) -> Response {
    if request.headers().contains_key(header::ORIGIN) {
        let error = json!({ "error": "the control API is not for web pages" });
        return (StatusCode::FORBIDDEN, Told(error)).into_response();
    }
    next.run(request).await
}

impl IntoResponse for SandboxError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Request(_) | Self::Broker(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Told(json!({ "error": self.to_string() }))).into_response()
    }
}

/// Reads a body whatever its `Content-Type`, so that `curl -d` needs no further option.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, SandboxError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|e| SandboxError::Request(format!("the body cannot be understood: {e}")))
}

/// What a verb without an answer of its own answers: the state after it.
fn done(sandbox: &Sandbox) -> Answer<SandboxState> {
    Ok(Told(sandbox.state()))
}

async fn state(State(sandbox): Shared) -> Answer<SandboxState> {
    done(&sandbox)
}

async fn drop_zip(State(sandbox): Shared, body: Bytes) -> Answer<Dropped> {
    let request: DropRequest = read(&body)?;
    Ok(Told(sandbox.drop_zip(&request).await?))
}

async fn send(State(sandbox): Shared, body: Bytes) -> Answer<WebhookState> {
    let request: SendRequest = read(&body)?;
    Ok(Told(sandbox.send_events(&request)?))
}
