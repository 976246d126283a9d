//! The Identity Toolkit: a username and a password for a token, a refresh token for another.
//!
//! Answers and refusals are in Google's own words: a sign-in speaks `camelCase` and a renewal `snake_case`, and both say
//! seconds as a text.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Core;
use crate::clock::UnixMs;
use crate::sandbox::serve::lock;

/// What was handed out.
#[derive(Default)]
pub(super) struct Tokens {
    good_until: HashMap<String, UnixMs>,
    refresh: HashSet<String>,
}

impl Tokens {
    pub(super) fn revoke(&mut self) {
        self.good_until.clear();
    }

    pub(super) fn revoke_refresh(&mut self) {
        self.refresh.clear();
    }
}

pub(super) fn router() -> Router<Arc<Core>> {
    Router::new().route("/v1/accounts:signInWithPassword", post(sign_in)).route("/v1/token", post(refresh))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignIn {
    email: Option<String>,
    password: Option<String>,
    return_secure_token: Option<bool>,
}

type Key = Query<HashMap<String, String>>;

async fn sign_in(State(core): State<Arc<Core>>, key: Key, Json(asked): Json<SignIn>) -> Response {
    if let Err(refused) = core.check_key(&key) {
        return *refused;
    }
    let settings = &core.settings;
    let Some(password) = asked.password else { return refusal("MISSING_PASSWORD") };
    if asked.email.as_deref() != Some(&settings.username) || password != settings.password {
        return refusal("INVALID_LOGIN_CREDENTIALS");
    }
    let (token, refresh_token) = core.issue();
    let mut answer = json!({
        "kind": "identitytoolkit#VerifyPasswordResponse",
        "localId": "sandbox-user",
        "email": settings.username,
        "displayName": "",
        "idToken": token,
        "registered": true,
    });
    if asked.return_secure_token == Some(true) {
        answer["refreshToken"] = json!(refresh_token);
        answer["expiresIn"] = json!(settings.token_lifetime.as_secs().to_string());
    }
    Json(answer).into_response()
}

#[derive(Deserialize)]
struct Renewal {
    grant_type: Option<String>,
    refresh_token: Option<String>,
}

async fn refresh(State(core): State<Arc<Core>>, key: Key, Json(asked): Json<Renewal>) -> Response {
    if let Err(refused) = core.check_key(&key) {
        return *refused;
    }
    if asked.grant_type.as_deref() != Some("refresh_token") {
        return refusal("INVALID_GRANT_TYPE");
    }
    let Some(refresh_token) = asked.refresh_token else { return refusal("MISSING_REFRESH_TOKEN") };
    if !lock(&core.tokens).refresh.contains(&refresh_token) {
        return refusal("TOKEN_EXPIRED");
    }
    let (token, refresh_token) = core.issue();
    Json(json!({
        "access_token": token,
        "expires_in": core.settings.token_lifetime.as_secs().to_string(),
        "token_type": "Bearer",
        "refresh_token": refresh_token,
        "id_token": token,
        "user_id": "sandbox-user",
        "project_id": "000000000000",
    }))
    .into_response()
}

fn refusal(message: &str) -> Response {
    let error = json!({ "message": message, "domain": "global", "reason": "invalid" });
    let body = json!({ "error": { "code": 400, "message": message, "errors": [error] } });
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}

impl Core {
    fn check_key(&self, Query(given): &Key) -> Result<(), Box<Response>> {
        if given.get("key") == Some(&self.settings.api_key) {
            return Ok(());
        }
        Err(Box::new(refusal("API key not valid. Please pass a valid API key.")))
    }

    fn issue(&self) -> (String, String) {
        let until = self.settings.clock.now().plus(self.settings.token_lifetime);
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let head = part(json!({ "alg": "RS256", "kid": "sandbox", "typ": "JWT" }));
        let claims =
            part(json!({ "aud": "ocff-sandbox-pre", "exp": until.0 / 1_000, "email": self.settings.username }));
        // Nobody but this fake reads it, which remembers what it handed out.
        let token = format!("{head}.{claims}.{}", URL_SAFE_NO_PAD.encode(uuid::Uuid::new_v4()));
        let refresh_token = format!("AMf-{}", uuid::Uuid::new_v4().simple());
        let mut tokens = lock(&self.tokens);
        let now = self.settings.clock.now();
        tokens.good_until.retain(|_, until| now < *until);
        tokens.good_until.insert(token.clone(), until);
        tokens.refresh.insert(refresh_token.clone());
        (token, refresh_token)
    }

    /// Whether a request carries a token that is good now.
    pub(super) fn is_signed_in(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let now = self.settings.clock.now();
        shown.is_some_and(|token| lock(&self.tokens).good_until.get(token).is_some_and(|until| now < *until))
    }
}
