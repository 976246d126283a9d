//! The certificate that the listener shows, read anew when its files are replaced.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::parse_x509_certificate;

use super::CertificateFiles;
use super::secrets::{Stamp, stamp};
use crate::clock::UnixMs;

/// Certificates that renew themselves do so weeks ahead; one this near to its end was forgotten.
const EXPIRES_SOON: Duration = Duration::from_secs(7 * 24 * 3_600);

/// A certificate with its key, ready to serve.
pub(super) struct Loaded {
    pub(super) config: Arc<ServerConfig>,
    pub(super) not_after: UnixMs,
}

/// Reads and matches certificate and key.
///
/// # Errors
/// Which file cannot be used, and why.
pub(super) fn load(files: &CertificateFiles) -> Result<Loaded, String> {
    let fail = |path: &Path, reason: String| format!("{} cannot be used: {reason}", path.display());
    let certificate = files.certificate.as_path();
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| fail(certificate, error.to_string()))?;
    let leaf = chain.first().ok_or_else(|| fail(certificate, "it holds no PEM certificate".to_owned()))?;
    let (_, parsed) =
        parse_x509_certificate(leaf).map_err(|error| fail(certificate, format!("it holds no certificate: {error}")))?;
    let not_after = UnixMs(parsed.validity().not_after.timestamp().saturating_mul(1_000));
    // The library's own words could hold some of the file.
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|_| fail(&files.key, "it holds no PEM private key that can be read".to_owned()))?;
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| fail(certificate, format!("with the key in {}: {error}", files.key.display())))?;
    let mut config = config;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Loaded { config: Arc::new(config), not_after })
}

/// The certificate in force.
pub(super) struct Certificate {
    files: CertificateFiles,
    config: ArcSwapOption<ServerConfig>,
    seen: Mutex<Option<Seen>>,
}

/// What the files were when they were read.
struct Seen {
    stamps: (Stamp, Stamp),
    not_after: UnixMs,
}

impl Certificate {
    /// Nothing is read before the first [`Certificate::refresh`].
    pub(super) fn new(files: CertificateFiles) -> Self {
        Self { files, config: ArcSwapOption::empty(), seen: Mutex::default() }
    }

    /// What new connections are served with; `None` while no certificate could be read.
    pub(super) fn config(&self) -> Option<Arc<ServerConfig>> {
        self.config.load_full()
    }

    /// Reads the files anew if they are others than before. What cannot be read leaves the earlier certificate in
    /// force: a certificate is often replaced a moment before its key.
    ///
    /// # Errors
    /// What is wrong, also when the certificate in force ends soon.
    pub(super) fn refresh(&self, now: UnixMs) -> Result<(), String> {
        let look = |path: &Path| stamp(path).map_err(|error| format!("{} cannot be read: {error}", path.display()));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = (look(&self.files.certificate)?, look(&self.files.key)?);
        let not_after = match &*seen {
            Some(seen) if seen.stamps == stamps => seen.not_after,
            before => {
                let is_first = before.is_none();
                let loaded = load(&self.files)?;
                self.config.store(Some(loaded.config));
                *seen = Some(Seen { stamps, not_after: loaded.not_after });
                if !is_first {
                    tracing::info!(until = %loaded.not_after, "the certificate was replaced");
                }
                loaded.not_after
            }
        };
        in_time(&self.files, not_after, now)
    }
}

/// Whether a certificate is valid for some time yet.
pub(super) fn in_time(files: &CertificateFiles, not_after: UnixMs, now: UnixMs) -> Result<(), String> {
    let name = files.certificate.display();
    if not_after <= now {
        return Err(format!("the certificate in {name} ended at {not_after}: senders refuse it; put a new one there"));
    }
    if not_after.since(now) < EXPIRES_SOON {
        return Err(format!("the certificate in {name} ends at {not_after}: put a new one there"));
    }
    Ok(())
}
