//! Verifying a client assertion: the JWT that proves possession of a registered certificate's private key.
//!
//! As Entra documents it: `alg` RS256 or PS256, the certificate named by `x5t#S256`, `x5t` or the first of `x5c`,
//! `iss` and `sub` the client id, `aud` the token endpoint, `nbf` and `exp` around the present moment.
//! <https://learn.microsoft.com/en-us/entra/identity-platform/certificate-credentials>

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use rustls::pki_types::CertificateDer;
use serde::Deserialize;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::clock::UnixMs;

/// Entra bears clocks that differ by this much.
const SKEW_S: f64 = 300.0;

/// Why the authority gives no token, in Entra's words.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::sandbox) struct Refusal {
    /// OAuth's name of the error.
    pub(in crate::sandbox) error: &'static str,
    /// Entra's number of it, as in `AADSTS700027`.
    pub(in crate::sandbox) code: u32,
    /// What Entra says.
    pub(in crate::sandbox) message: String,
}

impl Refusal {
    pub(in crate::sandbox) fn new(error: &'static str, code: u32, message: String) -> Self {
        Self { error, code, message }
    }

    fn client(code: u32, message: impl Into<String>) -> Self {
        Self::new("invalid_client", code, message.into())
    }
}

#[derive(Deserialize)]
struct Claims {
    iss: Option<String>,
    sub: Option<String>,
    aud: Option<String>,
    // Seconds, with a fraction where the client likes: Python's library writes one.
    nbf: Option<f64>,
    exp: Option<f64>,
}

/// Checks `jwt` as Entra does; `registered` are the certificates that the vendor knows of this client.
pub(super) fn verify(
    jwt: &str,
    registered: &[CertificateDer<'static>],
    client_id: &str,
    endpoint: &str,
    now: UnixMs,
) -> Result<(), Refusal> {
    let malformed =
        |why: &dyn std::fmt::Display| Refusal::client(50027, format!("JWT token is invalid or malformed: {why}."));
    let header = jsonwebtoken::decode_header(jwt).map_err(|e| malformed(&e))?;
    if !matches!(header.alg, Algorithm::RS256 | Algorithm::PS256) {
        return Err(Refusal::client(
            5_002_738,
            format!("Invalid JWT token. '{:?}' is not a supported signature algorithm.", header.alg),
        ));
    }
    let certificate = named_certificate(&header, registered)?;
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|e| malformed(&e))?;
    if parsed.validity().not_after.timestamp() < now.0 / 1000 {
        return Err(Refusal::client(700_027, "The certificate used to sign the client assertion has expired."));
    }
    let key = DecodingKey::from_rsa_der(&parsed.public_key().subject_public_key.data);
    // Only the signature is left to the library: its checks of time read the machine's clock, not ours.
    let mut validation = Validation::new(header.alg);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let claims = jsonwebtoken::decode::<Claims>(jwt, &key, &validation)
        .map_err(|e| match e.kind() {
            jsonwebtoken::errors::ErrorKind::InvalidSignature => Refusal::client(
                700_027,
                "Client assertion failed signature validation. [Reason - The provided signature value did not match \
                 the expected signature value.]",
            ),
            _ => malformed(&e),
        })?
        .claims;

    if claims.iss.as_deref() != Some(client_id) || claims.sub.as_deref() != Some(client_id) {
        return Err(Refusal::client(
            700_021,
            "Client assertion application identifier doesn't match 'client_id' parameter.",
        ));
    }
    let audience = claims.aud.unwrap_or_default();
    if audience.trim_end_matches('/') != endpoint {
        return Err(Refusal::client(
            700_023,
            format!(
                "Client assertion audience claim does not match Realm issuer. Expected '{endpoint}', got '{audience}'."
            ),
        ));
    }
    let now_s = now.0 as f64 / 1000.0;
    let from = claims.nbf.unwrap_or(f64::MIN);
    let Some(until) = claims.exp else {
        return Err(malformed(&"it has no 'exp' claim"));
    };
    if now_s + SKEW_S < from || now_s - SKEW_S > until {
        return Err(Refusal::client(
            700_024,
            format!(
                "Client assertion is not within its valid time range. Current time: {now}, \
                 assertion valid from {from}, expiry time of assertion {until}."
            ),
        ));
    }
    Ok(())
}

/// The registered certificate that the assertion's header names.
fn named_certificate<'a>(
    header: &Header,
    registered: &'a [CertificateDer<'static>],
) -> Result<&'a CertificateDer<'static>, Refusal> {
    let matches = |certificate: &&CertificateDer<'static>| {
        if let Some(thumbprint) = &header.x5t_s256 {
            return is_thumbprint(thumbprint, &digest::SHA256, certificate);
        }
        if let Some(thumbprint) = &header.x5t {
            return is_thumbprint(thumbprint, &digest::SHA1_FOR_LEGACY_USE_ONLY, certificate);
        }
        let first = header.x5c.as_ref().and_then(|chain| chain.first());
        first.and_then(|text| STANDARD.decode(text).ok()).is_some_and(|der| der == certificate.as_ref())
    };
    registered.iter().find(matches).ok_or_else(|| {
        Refusal::client(
            700_027,
            "The certificate with identifier used to sign the client assertion is not registered on application. \
             [Reason - The key was not found.]",
        )
    })
}

fn is_thumbprint(text: &str, algorithm: &'static digest::Algorithm, certificate: &CertificateDer<'_>) -> bool {
    let decoded = URL_SAFE_NO_PAD.decode(text).or_else(|_| URL_SAFE.decode(text));
    decoded.is_ok_and(|bytes| bytes == digest::digest(algorithm, certificate).as_ref())
}
