//! The verbs of fulfillmenttools' subscriptions, and of the API that they are made with.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Shared, Told, done, read};
use crate::sandbox::fft::FftFault;
use crate::sandbox::{SandboxError, SandboxState};

pub(super) async fn list(State(sandbox): Shared) -> Answer<Vec<Value>> {
    Ok(Told(sandbox.fft().subscriptions().into_iter().map(without_secrets).collect()))
}

pub(super) async fn make(State(sandbox): Shared, body: Bytes) -> Answer<Value> {
    Ok(Told(without_secrets(sandbox.fft().subscribe(&body)?)))
}

pub(super) async fn take_away(State(sandbox): Shared, Path(id): Path<String>) -> Answer<SandboxState> {
    if !sandbox.fft().unsubscribe(&id) {
        return Err(SandboxError::Request(format!("no subscription {id} is there")));
    }
    done(&sandbox)
}

pub(super) async fn take_all_away(State(sandbox): Shared) -> Answer<SandboxState> {
    sandbox.fft().unsubscribe_all();
    done(&sandbox)
}

/// A subscription whose secrets are left out.
fn without_secrets(mut told: Value) -> Value {
    for headers in ["/headers", "/target/headers"] {
        let headers = told.pointer_mut(headers).and_then(Value::as_array_mut);
        for header in headers.into_iter().flatten() {
            header["value"] = json!("…");
        }
    }
    if let Some(secret) = told.pointer_mut("/target/clientSecret") {
        *secret = json!("…");
    }
    told
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Expiry {
    refresh: bool,
}

pub(super) async fn expire_tokens(State(sandbox): Shared, body: Bytes) -> Answer<SandboxState> {
    let expiry: Expiry = read(&body)?;
    sandbox.fft().revoke_tokens();
    if expiry.refresh {
        sandbox.fft().revoke_refresh_tokens();
    }
    done(&sandbox)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fault {
    status: u16,
    method: Option<String>,
    #[serde(default)]
    path: String,
    #[serde(default)]
    after: u32,
    #[serde(default = "one")]
    requests: u32,
    retry_after: Option<u64>,
    #[serde(default)]
    done: bool,
}

const fn one() -> u32 {
    1
}

pub(super) async fn add_fault(State(sandbox): Shared, body: Bytes) -> Answer<SandboxState> {
    let fault: Fault = read(&body)?;
    let unknown = |what: &str| SandboxError::Request(format!("there is no {what}"));
    let method = fault.method.map(|name| Method::from_bytes(name.as_bytes()).map_err(|_| unknown("such method")));
    sandbox.fft().fail(FftFault {
        method: method.transpose()?,
        path: fault.path,
        after: fault.after,
        times: fault.requests,
        status: StatusCode::from_u16(fault.status).map_err(|_| unknown("such status"))?,
        retry_after: fault.retry_after,
        is_done: fault.done,
    });
    done(&sandbox)
}

pub(super) async fn clear_faults(State(sandbox): Shared) -> Answer<SandboxState> {
    sandbox.fft().clear_faults();
    done(&sandbox)
}
