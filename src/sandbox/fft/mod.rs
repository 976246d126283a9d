//! fulfillmenttools on loopback: its API of subscriptions, and the Identity Toolkit that stands before it.
//!
//! Passwords, keys, tokens and the form of every request are checked as the vendor's specification says: an unknown
//! member, a sixth subscription of an event or a target that is not https is refused. Who is to hear of an event it can
//! be asked (`recipients`); bringing it there is the webhook's sender's business.
//!
//! ```text
//! POST /v1/accounts:signInWithPassword ─┐
//! POST /v1/token ───────────────────────┴─> id token ──> GET, POST, DELETE /api/subscriptions ──> the webhook's sender
//! ```

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::SandboxError;
use super::serve::{self, lock};
use crate::clock::{Clock, SystemClock};

mod identity;
mod recipients;
mod subscriptions;

use identity::Tokens;
pub(super) use recipients::{Recipient, Recipients};

/// Of no more requests than these, the last ones, it is remembered what was asked.
const REQUESTS_KEPT: usize = 10_000;

/// Settings of the vendor's side.
#[derive(Clone, Debug)]
pub struct FftSettings {
    /// Where it listens on loopback; 0 for a free port.
    pub port: u16,
    /// The key that stands in the address of a sign-in.
    pub api_key: String,
    /// The user.
    pub username: String,
    /// Its password.
    pub password: String,
    /// Whether the user may see and change subscriptions.
    pub is_administrator: bool,
    /// How long a token is good.
    pub token_lifetime: Duration,
    /// Where the time of day comes from.
    pub clock: Arc<dyn Clock>,
}

impl Default for FftSettings {
    fn default() -> Self {
        Self {
            port: 0,
            api_key: "AIzaSy-sandbox-0000".to_owned(),
            username: "longshore@ocff-sandbox-pre.com".to_owned(),
            password: "sandbox-password".to_owned(),
            is_administrator: true,
            token_lifetime: Duration::from_secs(3_600),
            clock: Arc::new(SystemClock),
        }
    }
}

/// What goes wrong with one of the next requests.
#[derive(Clone, Debug)]
pub struct FftFault {
    /// Which requests: this method; any for `None`.
    pub method: Option<Method>,
    /// Which requests: those whose path begins so.
    pub path: String,
    /// How many of them are let through before.
    pub after: u32,
    /// How many of them it hits.
    pub times: u32,
    /// What is answered.
    pub status: StatusCode,
    /// After how many seconds to come again, where that is said.
    pub retry_after: Option<u64>,
    /// Whether the request is done all the same, and only its answer is lost.
    pub is_done: bool,
}

impl FftFault {
    /// The next request of that kind is answered so.
    #[must_use]
    pub fn once(method: Method, path: &str, status: StatusCode) -> Self {
        Self {
            method: Some(method),
            path: path.to_owned(),
            after: 0,
            times: 1,
            status,
            retry_after: None,
            is_done: false,
        }
    }
}

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FftRequest {
    /// Its method.
    pub method: Method,
    /// Its path, with what follows.
    pub path: String,
    /// What was answered.
    pub status: u16,
}

/// What it did so far, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FftState {
    /// Subscriptions that it has.
    pub subscriptions: usize,
    /// Requests that were answered, the sign-in's included.
    pub requests: u64,
    /// Those of them that were refused or went wrong.
    pub refused: u64,
    /// Faults that are still in force.
    pub faults: usize,
}

/// The vendor's side as it runs. It stops when it is dropped.
pub struct Fft {
    core: Arc<Core>,
    base: Url,
    stop: CancellationToken,
}

pub(super) struct Core {
    settings: FftSettings,
    tokens: Mutex<Tokens>,
    subscriptions: Mutex<Vec<Value>>,
    faults: Mutex<Vec<FftFault>>,
    requests: Mutex<Requests>,
}

/// What was asked.
#[derive(Default)]
struct Requests {
    count: u64,
    refused: u64,
    last: VecDeque<FftRequest>,
}

impl Requests {
    fn note(&mut self, request: FftRequest) {
        self.count += 1;
        self.refused += u64::from(request.status >= 400);
        if self.last.len() == REQUESTS_KEPT {
            self.last.pop_front();
        }
        self.last.push_back(request);
    }
}

impl Fft {
    /// Starts it, without TLS.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start(settings: FftSettings) -> Result<Self, SandboxError> {
        Self::start_with(settings, None).await
    }

    /// Starts it with the server's identity `tls`, or without any.
    pub(super) async fn start_with(
        settings: FftSettings,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Result<Self, SandboxError> {
        let (listener, address) = serve::bind("fulfillmenttools API", settings.port).await?;
        let core = Arc::new(Core {
            settings,
            tokens: Mutex::default(),
            subscriptions: Mutex::default(),
            faults: Mutex::default(),
            requests: Mutex::default(),
        });
        let stop = CancellationToken::new();
        let base = base(if tls.is_some() { "https" } else { "http" }, address)?;
        tokio::spawn(serve::serve(listener, tls, router(Arc::clone(&core)), stop.clone()));
        Ok(Self { core, base, stop })
    }

    /// Where it is: the API, the sign-in and the renewal of tokens alike.
    #[must_use]
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// The settings it was started with.
    #[must_use]
    pub fn settings(&self) -> &FftSettings {
        &self.core.settings
    }

    /// The subscriptions that it has, in their order.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<Value> {
        lock(&self.core.subscriptions).clone()
    }

    /// Puts a subscription there as it stands, as somebody else would have made it. It gets an id unless it has one.
    pub fn put(&self, subscription: Value) -> String {
        subscriptions::put(&self.core, subscription)
    }

    /// Makes a subscription as somebody who is signed in would, and returns it.
    ///
    /// # Errors
    /// Why the vendor would refuse it.
    pub fn subscribe(&self, body: &[u8]) -> Result<Value, SandboxError> {
        subscriptions::make(&self.core, body).map_err(SandboxError::Request)
    }

    /// Takes a subscription away; `false` when there is none of this id.
    pub fn unsubscribe(&self, id: &str) -> bool {
        subscriptions::take_away(&self.core, id).is_some()
    }

    /// Takes all subscriptions away.
    pub fn unsubscribe_all(&self) {
        lock(&self.core.subscriptions).clear();
    }

    /// From now on no token that was handed out is taken; refresh tokens are.
    pub fn revoke_tokens(&self) {
        lock(&self.core.tokens).revoke();
    }

    /// From now on no refresh token is taken either.
    pub fn revoke_refresh_tokens(&self) {
        lock(&self.core.tokens).revoke_refresh();
    }

    /// Has some requests go wrong.
    pub fn fail(&self, fault: FftFault) {
        lock(&self.core.faults).push(fault);
    }

    /// Nothing goes wrong any more.
    pub fn clear_faults(&self) {
        lock(&self.core.faults).clear();
    }

    /// What was asked so far, or the last of it.
    #[must_use]
    pub fn requests(&self) -> Vec<FftRequest> {
        lock(&self.core.requests).last.iter().cloned().collect()
    }

    /// What it did so far.
    #[must_use]
    pub fn state(&self) -> FftState {
        let subscriptions = lock(&self.core.subscriptions).len();
        let faults = lock(&self.core.faults).len();
        let requests = lock(&self.core.requests);
        FftState { subscriptions, requests: requests.count, refused: requests.refused, faults }
    }
}

impl Drop for Fft {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn base(scheme: &str, address: SocketAddr) -> Result<Url, SandboxError> {
    Url::parse(&format!("{scheme}://{address}")).map_err(|error| SandboxError::Request(error.to_string()))
}

fn router(core: Arc<Core>) -> Router {
    Router::new()
        .merge(identity::router())
        .merge(subscriptions::router())
        .layer(middleware::from_fn_with_state(Arc::clone(&core), watch))
        .with_state(core)
}

/// Notes each request, and has it go wrong where that was asked for.
async fn watch(State(core): State<Arc<Core>>, request: Request, next: Next) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let answer = match core.fault(&method, uri.path()) {
        None => next.run(request).await,
        Some(fault) => {
            if fault.is_done {
                next.run(request).await;
            }
            let mut answer = fault.status.into_response();
            if let Some(seconds) = fault.retry_after {
                answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            }
            answer
        }
    };
    let path = uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    lock(&core.requests).note(FftRequest { method, path, status: answer.status().as_u16() });
    answer
}

impl Core {
    fn fault(&self, method: &Method, path: &str) -> Option<FftFault> {
        let mut faults = lock(&self.faults);
        let is_meant = |fault: &FftFault| {
            fault.times > 0
                && path.starts_with(&fault.path)
                && fault.method.as_ref().is_none_or(|meant| meant == method)
        };
        let fault = faults.iter_mut().find(|fault| is_meant(fault))?;
        if fault.after > 0 {
            fault.after -= 1;
            return None;
        }
        fault.times -= 1;
        let hit = fault.clone();
        faults.retain(|fault| fault.times > 0);
        Some(hit)
    }
}
