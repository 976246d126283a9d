//! The sandbox's certificates: a CA of its own, one server certificate for loopback, and client certificates as a user
//! of the vendor makes them (RSA, because Entra takes assertions with RS256 and PS256 only).

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_RSA_SHA256,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::SandboxError;
use crate::clock::UnixMs;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What the sandbox's servers identify themselves with.
pub(super) struct ServerIdentity {
    /// The CA's certificate, for clients to trust.
    pub(super) ca_pem: String,
    /// The server's certificate and key, for TLS 1.2 and 1.3.
    pub(super) tls: Arc<rustls::ServerConfig>,
    /// Certificate and key for a listener of the daemon's, by the same CA.
    pub(super) webhook_pem: String,
}

impl ServerIdentity {
    /// A CA and a certificate for `localhost`, `127.0.0.1` and `::1`, valid from the day before `now` for a year.
    pub(super) fn generate(now: UnixMs) -> Result<Self, SandboxError> {
        let ca_key = KeyPair::generate()?;
        let mut ca = params("Longshore sandbox CA", now, 365 * DAY, Vec::new())?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_pem = ca.self_signed(&ca_key)?.pem();

        let issuer = Issuer::from_params(&ca, &ca_key);
        let (certificate, server_key) = server(now, &issuer)?;
        let (webhook, webhook_key) = server(now, &issuer)?;

        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(server_key.serialize_der()));
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|b| b.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key))
            .map_err(|e| SandboxError::Certificate(e.to_string()))?;
        let webhook_pem = format!("{}{}", webhook.pem(), webhook_key.serialize_pem());
        Ok(Self { ca_pem, tls: Arc::new(tls), webhook_pem })
    }
}

/// A server's certificate for loopback, and its key.
fn server(now: UnixMs, issuer: &Issuer<'_, &KeyPair>) -> Result<(rcgen::Certificate, KeyPair), SandboxError> {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    let mut server = params("localhost", now, 365 * DAY, names)?;
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Python 3.13 checks certificates strictly and wants to see who signed them.
    server.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    Ok((server.signed_by(&key, issuer)?, key))
}

/// A client certificate with its private key.
pub(super) struct ClientCertificate {
    /// Certificate and key, as the daemon reads them.
    pub(super) pem: String,
    /// The public part, as the vendor registers it.
    pub(super) der: CertificateDer<'static>,
}

impl ClientCertificate {
    /// A self-signed certificate with an RSA key of 2048 bits, valid from the day before `now` for `valid`.
    pub(super) fn generate(name: &str, now: UnixMs, valid: Duration) -> Result<Self, SandboxError> {
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256)?;
        let mut client = params(name, now, valid, Vec::new())?;
        client.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = client.self_signed(&key)?;
        let pem = format!("{}{}", certificate.pem(), key.serialize_pem());
        Ok(Self { pem, der: certificate.der().clone() })
    }
}

fn params(name: &str, now: UnixMs, valid: Duration, names: Vec<String>) -> Result<CertificateParams, SandboxError> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    // The library's own type of moment cannot be named here; a date and a difference make one.
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.minus(DAY).since(UnixMs(0));
    params.not_after = epoch + now.plus(valid).since(UnixMs(0));
    Ok(params)
}

/// Writes a file that only its owner may read, whole or not at all.
pub(super) fn write_private(path: &Path, content: &[u8]) -> Result<PathBuf, SandboxError> {
    let fail = |source| SandboxError::Write { path: path.to_owned(), source };
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    std::fs::create_dir_all(folder).map_err(fail)?;
    // Temporary files are made with mode 0600, and the mode goes along with the rename.
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(fail)?;
    file.write_all(content).map_err(fail)?;
    file.persist(path).map_err(|e| fail(e.error))?;
    Ok(path.to_owned())
}
