//! The client assertion: a short-lived JWT that proves to the authority that we hold a certificate's private key.
//!
//! Its form is Microsoft's, <https://learn.microsoft.com/entra/identity-platform/certificate-credentials>.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, Header};
use serde::Serialize;

use super::AccessError;
use super::certificates::Certificate;
use crate::clock::UnixMs;
use crate::error::Class;

/// How long an assertion may be used. It is used once, at once; the rest allows for a clock that is off.
const LIFETIME: Duration = Duration::from_secs(300);

/// How far behind ours the authority's clock may be.
const BACKDATED: Duration = Duration::from_secs(60);

#[derive(Serialize)]
struct Claims<'a> {
    aud: &'a str,
    iss: &'a str,
    sub: &'a str,
    jti: String,
    iat: i64,
    nbf: i64,
    exp: i64,
}

/// Signs an assertion by `client_id` for the token endpoint `audience`.
///
/// # Errors
/// When the key cannot sign.
pub(super) fn sign(
    certificate: &Certificate,
    algorithm: Algorithm,
    audience: &str,
    client_id: &str,
    now: UnixMs,
) -> Result<String, AccessError> {
    let mut header = Header::new(algorithm);
    header.x5t_s256 = Some(certificate.thumbprint.clone());
    // The chain lets an authority that trusts the issuer accept a renewed certificate that it has never seen.
    header.x5c = Some(certificate.chain.iter().map(|der| STANDARD.encode(der)).collect());
    let claims = Claims {
        aud: audience,
        iss: client_id,
        sub: client_id,
        jti: uuid::Uuid::new_v4().to_string(),
        iat: now.0 / 1_000,
        nbf: now.minus(BACKDATED).0 / 1_000,
        exp: now.plus(LIFETIME).0 / 1_000,
    };
    jsonwebtoken::encode(&header, &claims, &certificate.key).map_err(|e| {
        AccessError::new(
            Class::Permanent,
            format!("no assertion can be signed with the certificate {}: {e}", certificate.name),
        )
    })
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation};

    use super::*;
    use crate::access::certificates::load;
    use crate::access::fakes::{Issued, NOW};

    #[test]
    fn an_assertion_is_verified_by_the_certificate_that_it_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let issued = Issued::rsa("client", NOW, -1, 30);
        issued.write(folder.path(), "client.pem");
        let found = load(folder.path(), NOW).expect("a certificate");
        for algorithm in [Algorithm::PS256, Algorithm::RS256] {
            let jwt = sign(&found.usable[0], algorithm, "https://login.example/t/oauth2/v2.0/token", "me", NOW)
                .expect("signed");
            let header = jsonwebtoken::decode_header(&jwt).expect("a header");
            let chain = header.x5c_der().expect("base64").expect("a chain");
            assert_eq!(chain, std::slice::from_ref(&issued.der));
            let (_, parsed) = x509_parser::parse_x509_certificate(&chain[0]).expect("a certificate");
            let key = DecodingKey::from_rsa_der(&parsed.public_key().subject_public_key.data);
            let mut validation = Validation::new(algorithm);
            validation.set_audience(&["https://login.example/t/oauth2/v2.0/token"]);
            validation.set_issuer(&["me"]);
            validation.sub = Some("me".to_owned());
            validation.set_required_spec_claims(&["aud", "iss", "sub", "exp", "nbf"]);
            validation.validate_exp = false;
            let claims = jsonwebtoken::decode::<serde_json::Value>(&jwt, &key, &validation).expect("verified").claims;
            assert_eq!(claims["exp"], NOW.0 / 1_000 + 300);
            assert_eq!(claims["nbf"], NOW.0 / 1_000 - 60);
            assert_eq!(claims["jti"].as_str().map(str::len), Some(36));
        }
    }
}
