//! The Entra authority: gives an access token to whoever proves, with a signed assertion, to hold the private key of a
//! registered certificate.
//!
//! ```text
//! POST /{tenant}/oauth2/v2.0/token ──> client_credentials? ──> assertion (see `assertion`) ──> scope? ──> access token
//! ```
//!
//! Refusals carry Entra's own error names and AADSTS numbers, so that a client's error handling meets what it will
//! meet in production.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::core::Core;

pub(super) mod assertion;
pub(super) mod token;

use assertion::Refusal;

const CLIENT_ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The authority's pages.
pub(super) fn router(core: Arc<Core>) -> Router {
    Router::new()
        .route("/{tenant}/oauth2/v2.0/token", post(token_request))
        // Python's and Java's libraries read where the token endpoint is before they call it.
        .route("/{tenant}/v2.0/.well-known/openid-configuration", get(openid_configuration))
        .route("/common/discovery/instance", get(instance_discovery))
        .with_state(core)
}

#[derive(Deserialize)]
struct TokenForm {
    grant_type: Option<String>,
    client_id: Option<String>,
    scope: Option<String>,
    client_assertion_type: Option<String>,
    client_assertion: Option<String>,
}

async fn token_request(
    State(core): State<Arc<Core>>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    Form(form): Form<TokenForm>,
) -> Response {
    let answer = if core.is_known_tenant(&tenant) {
        check(&core, &format!("{}/{tenant}/oauth2/v2.0/token", base(&headers)), &form)
    } else {
        Err(Refusal::new("invalid_request", 90002, format!("Tenant '{tenant}' not found.")))
    };
    match answer {
        Ok(scope) => {
            let lifetime = core.settings.access_token_lifetime;
            let token = core.tokens.issue(core.now(), lifetime, &core.settings.client_id, resource(&scope));
            core.count(|state| state.access_tokens_issued += 1);
            Json(json!({
                "token_type": "Bearer",
                "expires_in": lifetime.as_secs(),
                "ext_expires_in": lifetime.as_secs(),
                "access_token": token,
            }))
            .into_response()
        }
        Err(refusal) => {
            tracing::debug!(code = refusal.code, "the authority refuses: {}", refusal.message);
            core.count(|state| state.access_tokens_refused += 1);
            error_answer(&core, &refusal)
        }
    }
}

/// The scope that is granted.
fn check(core: &Core, endpoint: &str, form: &TokenForm) -> Result<String, Refusal> {
    let need = |value: &Option<String>, name: &str| {
        value.clone().filter(|v| !v.is_empty()).ok_or_else(|| {
            let message = format!("The request body must contain the following parameter: '{name}'.");
            Refusal::new("invalid_request", 900_144, message)
        })
    };
    if need(&form.grant_type, "grant_type")? != "client_credentials" {
        return Err(Refusal::new(
            "unsupported_grant_type",
            70003,
            "The app requested an unsupported grant type.".to_owned(),
        ));
    }
    let client_id = need(&form.client_id, "client_id")?;
    if client_id != core.settings.client_id {
        let message = format!("Application with identifier '{client_id}' was not found in the directory.");
        return Err(Refusal::new("unauthorized_client", 700_016, message));
    }
    let scope = need(&form.scope, "scope")?;
    if scope != core.settings.scope {
        let message = format!("The provided request must include a 'scope' input parameter. '{scope}' is not valid.");
        return Err(Refusal::new("invalid_scope", 70011, message));
    }
    if form.client_assertion_type.as_deref() != Some(CLIENT_ASSERTION_TYPE) {
        let message = "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.";
        return Err(Refusal::new("invalid_client", 7_000_218, message.to_owned()));
    }
    let jwt = need(&form.client_assertion, "client_assertion")?;
    let registered = core.registered_certificates();
    assertion::verify(&jwt, &registered, &client_id, endpoint, core.now())?;
    Ok(scope)
}

/// What a scope such as `<resource>/.default` gives access to.
pub(super) fn resource(scope: &str) -> &str {
    scope.strip_suffix("/.default").unwrap_or(scope)
}

/// The authority's address as the client wrote it, so that `localhost` and `127.0.0.1` both are right.
fn base(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or("127.0.0.1");
    format!("https://{host}")
}

fn error_answer(core: &Core, refusal: &Refusal) -> Response {
    let trace = uuid::Uuid::new_v4();
    let correlation = uuid::Uuid::new_v4();
    let now = core.now();
    // Entra writes its times with a blank and a `Z`, not in RFC 3339.
    let timestamp = now.to_timestamp().strftime("%Y-%m-%d %H:%M:%SZ").to_string();
    let description = format!(
        "AADSTS{}: {} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {timestamp}",
        refusal.code, refusal.message
    );
    let status = match refusal.error {
        "invalid_client" => StatusCode::UNAUTHORIZED,
        _ => StatusCode::BAD_REQUEST,
    };
    let body = json!({
        "error": refusal.error,
        "error_description": description,
        "error_codes": [refusal.code],
        "timestamp": timestamp,
        "trace_id": trace.to_string(),
        "correlation_id": correlation.to_string(),
    });
    (status, Json(body)).into_response()
}

async fn openid_configuration(
    State(core): State<Arc<Core>>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
) -> Response {
    if !core.is_known_tenant(&tenant) {
        let message = format!("Tenant '{tenant}' not found.");
        return error_answer(&core, &Refusal::new("invalid_tenant", 90002, message));
    }
    let own = format!("{}/{tenant}", base(&headers));
    Json(json!({
        "issuer": format!("{own}/v2.0"),
        "token_endpoint": format!("{own}/oauth2/v2.0/token"),
        "authorization_endpoint": format!("{own}/oauth2/v2.0/authorize"),
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "response_types_supported": ["token"],
        "scopes_supported": ["openid"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }))
    .into_response()
}

async fn instance_discovery(headers: HeaderMap) -> Json<Value> {
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or("127.0.0.1").to_owned();
    Json(json!({
        "tenant_discovery_endpoint": format!("https://{host}/common/v2.0/.well-known/openid-configuration"),
        "api-version": "1.1",
        "metadata": [{ "preferred_network": host, "preferred_cache": host, "aliases": [host] }],
    }))
}
