//! The control API: the verbs of [`Sandbox`] over HTTP on loopback, JSON in and out, for a person with `curl` and for
//! tests in other languages.
//!
//! A web page cannot use it: whatever a browser sends from a page of elsewhere carries `Origin`, and is refused.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::blob::BlobInfo;
use super::{BlobFault, PublishRequest, Published, Sandbox, SandboxError, SandboxState, TenantFault, serve};

/// More blobs than this are not listed in one answer.
const BLOBS_LISTED_MAX: usize = 1_000;
/// The longest silence that can be asked for in one request.
const STALL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

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
         also: blob (part of its name), requests, seconds
DELETE /blob-faults
POST   /tenant-faults                  {\"status\": 403, \"retry_after\": 2, \"requests\": 1}
DELETE /tenant-faults
POST   /certificates                   {\"name\": \"next\", \"valid_days\": 365, \"registered\": true}
DELETE /certificates/{name}            the authority forgets it; the file stays
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
type Answer<T> = Result<Json<T>, SandboxError>;

fn router(sandbox: Arc<Sandbox>) -> Router {
    Router::new()
        .route("/", get(|| async { HELP }))
        .route("/state", get(state))
        .route("/blobs", get(blobs))
        .route("/publish", post(publish))
        .route("/rotate-keys", post(rotate_keys))
        .route("/expire-tokens", post(expire_tokens))
        .route("/detach", post(detach))
        .route("/drop-connections", post(drop_connections))
        .route("/stall", post(stall))
        .route("/duplicate", post(duplicate))
        .route("/server-busy", post(server_busy))
        .route("/blob-faults", post(add_blob_fault).delete(clear_blob_faults))
        .route("/tenant-faults", post(add_tenant_fault).delete(clear_tenant_faults))
        .route("/certificates", post(new_certificate))
        .route("/certificates/{name}", delete(forget_certificate))
        .layer(middleware::from_fn(refuse_browsers))
        .with_state(sandbox)
}

async fn refuse_browsers(request: Request, next: Next) -> Response {
    if request.headers().contains_key(header::ORIGIN) {
        let error = json!({ "error": "the control API is not for web pages" });
        return (StatusCode::FORBIDDEN, Json(error)).into_response();
    }
    next.run(request).await
}

impl IntoResponse for SandboxError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Request(_) | Self::Broker(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(json!({ "error": self.to_string() }))).into_response()
    }
}

/// Reads a body whatever its `Content-Type`, so that `curl -d` needs no further option.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, SandboxError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|e| SandboxError::Request(format!("the body cannot be understood: {e}")))
}

/// What a verb without an answer of its own answers: the state after it.
fn done(sandbox: &Sandbox) -> Answer<SandboxState> {
    Ok(Json(sandbox.state()))
}

async fn state(State(sandbox): Shared) -> Answer<SandboxState> {
    done(&sandbox)
}

async fn blobs(State(sandbox): Shared) -> Answer<Vec<BlobInfo>> {
    Ok(Json(sandbox.blobs(BLOBS_LISTED_MAX)))
}

async fn publish(State(sandbox): Shared, body: Bytes) -> Answer<Vec<Published>> {
    let request: PublishRequest = read(&body)?;
    Ok(Json(sandbox.publish(request).await?))
}

/// Which secrets a verb is about; all of them unless said otherwise.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Which {
    service_bus: bool,
    blob: bool,
    access: bool,
}

impl Default for Which {
    fn default() -> Self {
        Self { service_bus: true, blob: true, access: true }
    }
}

async fn rotate_keys(State(sandbox): Shared, body: Bytes) -> Answer<SandboxState> {
    let which: Which = read(&body)?;
    if which.service_bus {
        sandbox.rotate_service_bus_key();
    }
    if which.blob {
        sandbox.rotate_blob_key();
    }
    done(&sandbox)
}

async fn expire_tokens(State(sandbox): Shared, body: Bytes) -> Answer<SandboxState> {
    let which: Which = read(&body)?;
    if which.access {
        sandbox.expire_access_tokens();
    }
    if which.service_bus {
        sandbox.broker().expire_tokens();
    }
    if which.blob {
        sandbox.expire_blob_tokens();
    }
    done(&sandbox)
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Detach {
    condition: String,
}

impl Default for Detach {
    fn default() -> Self {
        Self { condition: "amqp:link:detach-forced".to_owned() }
    }
}

async fn detach(State(sandbox): Shared, body: Bytes) -> Answer<SandboxState> {
    let detach: Detach = read(&body)?;
    sandbox.broker().detach_all(&detach.condition);
    done(&sandbox)
}

async fn drop_connections(State(sandbox): Shared) -> Answer<SandboxState> {
    sandbox.broker().drop_connections();
    done(&sandbox)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stall {
    seconds: f64,
}

async fn stall(State(sandbox): Shared, body: Bytes) -> Answer<SandboxState> {
    let stall: Stall = read(&body)?;
    let time = Duration::try_from_secs_f64(stall.seconds)
        .ok()
        .filter(|time| *time <= STALL_MAX)
        .ok_or_else(|| SandboxError::Request(format!("a silence of {} seconds is not possible", stall.seconds)))?;
    sandbox.broker().stall(!time.is_zero());
    if !time.is_zero() {
        // The sandbox itself is not kept alive by its own silence.
        let weak = Arc::downgrade(&sandbox);
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            if let Some(sandbox) = weak.upgrade() {
                sandbox.broker().stall(false);
            }
        });
    }
    done(&sandbox)
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Count {
    count: u32,
}

impl Default for Count {
    fn default() -> Self {
        Self { count: 1 }
    }
}

async fn duplicate(State(sandbox): Shared, body: Bytes) -> Answer<SandboxState> {
    let Count { count } = read(&body)?;
    sandbox.duplicate_next(count)?;
    done(&sandbox)
}

async fn server_busy(State(sandbox): Shared, body: Bytes) -> Answer<SandboxState> {
    let Count { count } = read(&body)?;
    sandbox.broker().server_busy(count);
    done(&sandbox)
}

async fn add_blob_fault(State(sandbox): Shared, body: Bytes) -> Answer<SandboxState> {
    let fault: BlobFault = read(&body)?;
    sandbox.add_blob_fault(fault)?;
    done(&sandbox)
}

async fn clear_blob_faults(State(sandbox): Shared) -> Answer<SandboxState> {
    sandbox.clear_blob_faults();
    done(&sandbox)
}

async fn add_tenant_fault(State(sandbox): Shared, body: Bytes) -> Answer<SandboxState> {
    let fault: TenantFault = read(&body)?;
    sandbox.add_tenant_fault(fault);
    done(&sandbox)
}

async fn clear_tenant_faults(State(sandbox): Shared) -> Answer<SandboxState> {
    sandbox.clear_tenant_faults();
    done(&sandbox)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewCertificate {
    name: String,
    #[serde(default = "a_year")]
    valid_days: u32,
    #[serde(default = "yes")]
    registered: bool,
}

const fn a_year() -> u32 {
    365
}

const fn yes() -> bool {
    true
}

#[derive(Serialize)]
struct Certificate {
    file: String,
    registered: bool,
}

async fn new_certificate(State(sandbox): Shared, body: Bytes) -> Answer<Certificate> {
    let asked: NewCertificate = read(&body)?;
    let valid = Duration::from_secs(u64::from(asked.valid_days) * 24 * 60 * 60);
    let file = sandbox.new_certificate(&asked.name, valid, asked.registered)?;
    Ok(Json(Certificate { file: file.display().to_string(), registered: asked.registered }))
}

async fn forget_certificate(State(sandbox): Shared, Path(name): Path<String>) -> Answer<SandboxState> {
    if !sandbox.unregister_certificate(&name) {
        return Err(SandboxError::Request(format!("no certificate {name} is registered")));
    }
    done(&sandbox)
}
