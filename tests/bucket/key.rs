//! Service accounts: a key file as Google hands it out, and the eye of a store that knows which keys are in force.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use longshore::clock::{Clock as _, SystemClock};
use rcgen::{KeyPair, PKCS_RSA_SHA256, PublicKeyData as _, RsaKeySize};
use serde::Deserialize;

use crate::common::place::lay;

const ACCOUNT: &str = "longshore@project.iam.gserviceaccount.com";

/// A service account's key.
pub struct ServiceKey {
    id: String,
    pair: KeyPair,
}

impl ServiceKey {
    pub fn new(id: &str) -> Self {
        let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key");
        Self { id: id.to_owned(), pair }
    }

    /// Puts the key file in its place whole, at once.
    pub fn write(&self, path: &Path) {
        let file = serde_json::json!({
            "type": "service_account",
            "project_id": "project",
            "private_key_id": self.id,
            "private_key": self.pair.serialize_pem(),
            "client_email": ACCOUNT,
            "token_uri": "https://oauth2.googleapis.com/token",
        });
        lay(path, file.to_string());
    }
}

/// The keys that a store takes tokens of.
#[derive(Default)]
pub struct KnownKeys(Mutex<HashMap<String, DecodingKey>>);

/// https://developers.google.com/identity/protocols/oauth2/service-account#jwt-auth
#[derive(Deserialize)]
struct Claims {
    scope: String,
    iat: u64,
    exp: u64,
    sub: String,
}

impl KnownKeys {
    /// From now on only tokens of this key are taken.
    pub fn only(&self, key: &ServiceKey) {
        let public = DecodingKey::from_rsa_der(key.pair.der_bytes());
        *self.0.lock().expect("unharmed") = HashMap::from([(key.id.clone(), public)]);
    }

    /// Why a request with this header is refused.
    pub fn check(&self, authorization: Option<&str>) -> Result<(), String> {
        let token = authorization.and_then(|text| text.strip_prefix("Bearer ")).ok_or("no bearer token")?;
        let id = decode_header(token).map_err(|error| error.to_string())?.kid.ok_or("no key id")?;
        let keys = self.0.lock().expect("unharmed");
        let key = keys.get(&id).ok_or_else(|| format!("the key {id} is not in force"))?;
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_issuer(&[ACCOUNT]);
        validation.validate_aud = false;
        let claims = decode::<Claims>(token, key, &validation).map_err(|error| error.to_string())?.claims;
        let now = u64::try_from(SystemClock.now().0 / 1_000).expect("after 1970");
        let is_scope = claims.scope.split(' ').any(|one| one == "https://www.googleapis.com/auth/cloud-platform");
        let is_short = claims.exp - claims.iat <= 3_600 && claims.iat <= now + 60;
        if claims.sub == ACCOUNT && is_scope && is_short { Ok(()) } else { Err("wrong claims".to_owned()) }
    }
}
