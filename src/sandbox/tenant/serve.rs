//! The service's one page.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::fault::TenantFault;
use crate::clock::UnixMs;
use crate::sandbox::core::Core;
use crate::sandbox::entra::resource;
use crate::sandbox::serve::lock;

/// Azure's clocks differ a little; a token that starts a moment ago works everywhere at once.
const START_EARLIER: Duration = Duration::from_secs(60);

/// The page.
pub(in crate::sandbox) fn router(core: Arc<Core>) -> Router {
    Router::new().route("/api/external/integration/export/temporaryendpoints", post(endpoints)).with_state(core)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EndpointsRequest {
    integration_name: String,
    #[serde(default, rename = "useNewSBConnectionStringFormat")]
    use_new_format: bool,
}

async fn endpoints(State(core): State<Arc<Core>>, headers: HeaderMap, body: Bytes) -> Response {
    match answer(&core, &headers, &body) {
        Ok(answer) => {
            core.count(|state| state.tenant_answers += 1);
            Json(answer).into_response()
        }
        Err(refusal) => {
            core.count(|state| state.tenant_refusals += 1);
            *refusal
        }
    }
}

fn answer(core: &Core, headers: &HeaderMap, body: &[u8]) -> Result<Value, Box<Response>> {
    if let Some(fault) = take_fault(core) {
        let status = StatusCode::from_u16(fault.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = problem(status, "the sandbox was asked to answer so");
        if let Some(seconds) = fault.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        return Err(response);
    }
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    let now = core.now();
    if !bearer.is_some_and(|token| core.tokens.is_valid(token, resource(&core.settings.scope), now)) {
        let mut response = problem(StatusCode::UNAUTHORIZED, "the access token is missing, expired or not ours");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer error=\"invalid_token\""));
        return Err(response);
    }
    let request: EndpointsRequest =
        serde_json::from_slice(body).map_err(|e| problem(StatusCode::BAD_REQUEST, &e.to_string()))?;
    if request.integration_name != core.settings.integration_name {
        return Err(problem(StatusCode::NOT_FOUND, "no integration has this name"));
    }
    Ok(hand_out(core, now, request.use_new_format))
}

/// New tokens, in the vendor's shape.
fn hand_out(core: &Core, now: UnixMs, new_format: bool) -> Value {
    let settings = &core.settings;
    let expiry = now.plus(settings.sas_lifetime);
    let broker = &core.broker;
    let seen_at = |address: SocketAddr| settings.broker_seen_at.unwrap_or(address).to_string();
    let (host, emulator) = match (broker.plain_address(), broker.tls_address()) {
        (Some(plain), _) => (seen_at(plain), ";UseDevelopmentEmulator=true"),
        (None, Some(tls)) => (seen_at(tls), ""),
        (None, None) => ("127.0.0.1".to_owned(), ""),
    };
    let entity = format!("{}/subscriptions/{}", settings.topic, settings.subscription);
    let token = broker.key().token(&format!("sb://{host}/{entity}"), expiry);
    let entity_path = if new_format { &entity } else { &settings.topic };
    let blob_base = lock(&core.blob_base).clone();
    // An account is the last part of its base address, in our store as in Azurite.
    let account = blob_base.rsplit('/').next().unwrap_or_default();
    let blobs: Vec<String> = settings
        .containers
        .iter()
        .map(|container| {
            let sas = core.blobs.read_sas(account, container, now.minus(START_EARLIER), expiry);
            format!("{blob_base}/{container}?{sas}")
        })
        .collect();
    json!({
        "serviceBusSubscriptionConnectionString":
            format!("Endpoint=sb://{host}/;SharedAccessSignature={};EntityPath={entity_path}{emulator}", token.expose()),
        "serviceBusSubscriptionName": settings.subscription,
        "blobBaseUrlsWithToken": blobs,
    })
}

fn take_fault(core: &Core) -> Option<TenantFault> {
    let mut faults = lock(&core.tenant_faults);
    faults.retain(|fault| fault.requests != Some(0));
    let fault = faults.first_mut()?;
    if let Some(left) = &mut fault.requests {
        *left -= 1;
    }
    Some(fault.clone())
}

/// An error as ASP.NET services answer it (RFC 9457).
fn problem(status: StatusCode, detail: &str) -> Box<Response> {
    let title = status.canonical_reason().unwrap_or_default();
    let body = Json(json!({ "title": title, "status": status.as_u16(), "detail": detail }));
    Box::new((status, body).into_response())
}
