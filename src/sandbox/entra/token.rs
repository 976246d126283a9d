//! The access tokens that the authority issues and TenantService believes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;

#[derive(Serialize, Deserialize)]
struct Claims {
    appid: String,
    aud: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    /// The exact end, for tests with tokens that live less than a second.
    exp_ms: i64,
    /// Tokens of an older generation were expired by hand.
    generation: u64,
    /// Tells two tokens of the same moment apart.
    uti: String,
}

/// Issues and checks access tokens, with a key that lives as long as the sandbox.
///
/// A real token is signed with Entra's RSA key; to a client it is opaque either way.
pub(in crate::sandbox) struct TokenIssuer {
    key: [u8; 32],
    generation: AtomicU64,
}

impl TokenIssuer {
    /// An issuer with a new key.
    pub(in crate::sandbox) fn new() -> Self {
        let mut key = [0; 32];
        key[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        key[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        Self { key, generation: AtomicU64::new(0) }
    }

    /// A token for `resource`, good for `lifetime` from `now`.
    pub(in crate::sandbox) fn issue(&self, now: UnixMs, lifetime: Duration, client: &str, resource: &str) -> String {
        let end = now.plus(lifetime);
        let claims = Claims {
            appid: client.to_owned(),
            aud: resource.to_owned(),
            iat: now.0 / 1000,
            nbf: now.0 / 1000,
            exp: end.0 / 1000,
            exp_ms: end.0,
            generation: self.generation.load(Ordering::SeqCst),
            uti: uuid::Uuid::new_v4().to_string(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(&self.key))
            .expect("plain claims can be signed with a symmetric key")
    }

    /// Whether `token` is one of ours for `resource`, and neither expired nor withdrawn.
    pub(in crate::sandbox) fn is_valid(&self, token: &str, resource: &str, now: UnixMs) -> bool {
        let mut validation = Validation::new(Algorithm::HS256);
        // By our own clock, below.
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        validation.set_audience(&[resource]);
        jsonwebtoken::decode::<Claims>(token, &DecodingKey::from_secret(&self.key), &validation).is_ok_and(|data| {
            data.claims.exp_ms > now.0 && data.claims.generation == self.generation.load(Ordering::SeqCst)
        })
    }

    /// Makes every token issued so far worthless.
    pub(in crate::sandbox) fn expire_all(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }
}
