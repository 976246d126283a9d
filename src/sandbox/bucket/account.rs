//! Who may read the bucket: a service account, known by its key. Its clients either sign a token for the store
//! themselves (<https://google.aip.dev/auth/4111>) or sign an assertion and get a token for it
//! (<https://developers.google.com/identity/protocols/oauth2/service-account>).

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rcgen::{KeyPair, PKCS_RSA_SHA256};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use crate::clock::UnixMs;
use crate::sandbox::SandboxError;

/// Google bears clocks that differ by this much.
const SKEW_S: i64 = 300;
/// Google takes no token of a client's own making that is good for longer.
const LIFETIME_MAX_S: i64 = 3_600;
/// What a self-signed token may be for: the store as audience, or one of the scopes that read it.
const AUDIENCE: &str = "https://storage.googleapis.com/";
const SCOPES: [&str; 4] = [
    "https://www.googleapis.com/auth/devstorage.read_only",
    "https://www.googleapis.com/auth/devstorage.read_write",
    "https://www.googleapis.com/auth/devstorage.full_control",
    "https://www.googleapis.com/auth/cloud-platform",
];

/// Google's own libraries sign for this endpoint, whatever `token_uri` says; Google takes either.
const GOOGLES_ENDPOINT: &str = "https://oauth2.googleapis.com/token";

const EMAIL: &str = "event-export@sandbox.iam.gserviceaccount.com";

/// A service account with its one key.
pub(super) struct Account {
    key_id: String,
    private_key: String,
    public_key: DecodingKey,
}

#[derive(Deserialize)]
struct Claims {
    iss: Option<String>,
    sub: Option<String>,
    aud: Option<String>,
    scope: Option<String>,
    iat: Option<i64>,
    exp: Option<i64>,
}

impl Account {
    /// An account with a new key.
    pub(super) fn generate() -> Result<Self, SandboxError> {
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256)?;
        Ok(Self {
            key_id: uuid::Uuid::new_v4().simple().to_string(),
            private_key: key.serialize_pem(),
            public_key: DecodingKey::from_rsa_der(key.public_key_raw()),
        })
    }

    /// The key file as the vendor hands it over; `token` is where tokens are given.
    pub(super) fn key_file(&self, token: &Url) -> String {
        let file = json!({
            "type": "service_account",
            "project_id": "sandbox",
            "private_key_id": self.key_id,
            "private_key": self.private_key,
            "client_email": EMAIL,
            "client_id": "100000000000000000001",
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": token.as_str(),
        });
        format!("{file:#}\n")
    }

    /// Whether `token` is one that the account's owner signed for the store.
    pub(super) fn signed_for_store(&self, token: &str, now: UnixMs) -> Result<(), String> {
        let claims = self.verify(token, now)?;
        if claims.sub.as_deref() != Some(EMAIL) {
            return Err("its `sub` is not the account".to_owned());
        }
        let is_scope = |scope: &str| scope.split(' ').any(|scope| SCOPES.contains(&scope));
        match (claims.aud.as_deref(), claims.scope.as_deref()) {
            (Some(AUDIENCE), None) => Ok(()),
            (None, Some(scope)) if is_scope(scope) => Ok(()),
            _ => Err("neither its `aud` nor its `scope` is the store's".to_owned()),
        }
    }

    /// Whether `assertion` is one that the account's owner signed for the token endpoint `endpoint`.
    pub(super) fn signed_for_token(&self, assertion: &str, endpoint: &str, now: UnixMs) -> Result<(), String> {
        let claims = self.verify(assertion, now)?;
        if !claims.aud.as_deref().is_some_and(|aud| aud == endpoint || aud == GOOGLES_ENDPOINT) {
            return Err(format!("its `aud` is not {endpoint}"));
        }
        let scope = claims.scope.unwrap_or_default();
        if !scope.split(' ').any(|scope| SCOPES.contains(&scope)) {
            return Err("its `scope` does not read the store".to_owned());
        }
        Ok(())
    }

    fn verify(&self, jwt: &str, now: UnixMs) -> Result<Claims, String> {
        let header = jsonwebtoken::decode_header(jwt).map_err(|error| error.to_string())?;
        if header.alg != Algorithm::RS256 {
            return Err("it is not signed with RS256".to_owned());
        }
        if header.kid.as_deref() != Some(&self.key_id) {
            return Err("its `kid` is not the account's key".to_owned());
        }
        // Only the signature is left to the library: its checks of time read the machine's clock, not ours.
        let mut validation = Validation::new(Algorithm::RS256);
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let decoded = jsonwebtoken::decode::<Claims>(jwt, &self.public_key, &validation);
        let claims = decoded.map_err(|error| error.to_string())?.claims;
        if claims.iss.as_deref() != Some(EMAIL) {
            return Err("its `iss` is not the account".to_owned());
        }
        let now_s = now.0 / 1_000;
        match (claims.iat, claims.exp) {
            (Some(iat), Some(exp)) if exp - iat > LIFETIME_MAX_S => Err("it is good for more than an hour".to_owned()),
            (Some(iat), Some(exp)) if iat - SKEW_S <= now_s && now_s < exp + SKEW_S => Ok(claims),
            (Some(_), Some(_)) => Err("its time has not come, or is over".to_owned()),
            _ => Err("it has no `iat` or no `exp`".to_owned()),
        }
    }
}

/// How long a token of the endpoint is good.
pub(super) const TOKEN_LIFETIME: Duration = Duration::from_secs(3_599);
/// Whose tokens they are, and what for.
pub(super) const TOKEN_CLIENT: &str = EMAIL;
pub(super) const TOKEN_RESOURCE: &str = AUDIENCE;
