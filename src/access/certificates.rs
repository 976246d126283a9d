//! The certificates that say who we are, read from disk each time they are needed, so that a new one works at once.
//!
//! A file may hold a certificate, its chain and its key, or only one of them: a certificate and a private key belong
//! together when the key's public half is the one in the certificate, whatever the files are called.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::EncodingKey;
use rustls::pki_types::pem::{PemObject, SectionKind};
use x509_parser::oid_registry::OID_PKCS1_RSAENCRYPTION;
use x509_parser::parse_x509_certificate;

use super::AccessError;
use crate::clock::UnixMs;
use crate::error::Class;

/// A folder of certificates holds a few files; what lies beyond this is not looked at, and said.
const FILES_MAX: usize = 256;

/// A PEM file is a few kilobytes; a larger one is something else.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A certificate with its private key, valid now.
#[derive(Clone)]
pub(super) struct Certificate {
    /// The file it was found in, and until when it is valid, for people.
    pub name: String,
    /// The certificate itself, then those of its file that have no key of their own, in DER.
    pub chain: Vec<Vec<u8>>,
    /// SHA-256 over the DER, in base64url without padding: `x5t#S256` of RFC 7515.
    pub thumbprint: String,
    /// The private key.
    pub key: EncodingKey,
    /// Until when it is valid.
    pub not_after: UnixMs,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a look at the disk found.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// Newest first: the one that expires last leads.
    pub usable: Vec<Certificate>,
    /// What was passed over and why, one text each.
    pub passed_over: Vec<String>,
}

impl Found {
    /// Until when there is a valid certificate, if that is nearer than `warning`.
    pub fn expires_within(&self, warning: Duration, now: UnixMs) -> Option<UnixMs> {
        self.usable.first().map(|last| last.not_after).filter(|at| at.since(now) < warning)
    }
}

/// Reads the certificates in `path`, a PEM file or a folder of them.
///
/// # Errors
/// When the path cannot be read or holds nothing usable; the text names what was found and why it does not serve.
pub(super) fn load(path: &Path, now: UnixMs) -> Result<Found, AccessError> {
    let unreadable = |e: std::io::Error| {
        AccessError::new(Class::Permanent, format!("the certificates in {} cannot be read: {e}", path.display()))
            .with_remedy("set `certificates` to a PEM file or a folder of them that Longshore may read")
    };
    let mut passed_over = Vec::new();
    let files = list(path, &mut passed_over).map_err(unreadable)?;
    let mut material = Material::default();
    for file in files {
        material.read(&file, &mut passed_over).map_err(unreadable)?;
    }
    let found = material.pair(now, passed_over);
    if found.usable.is_empty() {
        let what = if found.passed_over.is_empty() { "there is none".to_owned() } else { found.passed_over.join("; ") };
        return Err(AccessError::new(
            Class::Permanent,
            format!("no certificate in {} can be used: {what}", path.display()),
        )
        .with_remedy("put a PEM file there with an RSA certificate that the vendor knows, and its private key"));
    }
    Ok(found)
}

/// The files to look at: `path` itself with a `.key` beside it, or what lies in the folder.
fn list(path: &Path, passed_over: &mut Vec<String>) -> std::io::Result<Vec<PathBuf>> {
    if !std::fs::metadata(path)?.is_dir() {
        let key = path.with_extension("key");
        let mut files = vec![path.to_owned()];
        if key != path && key.is_file() {
            files.push(key);
        }
        return Ok(files);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        // Hidden entries are the `..data` of mounted secrets, and editors' leftovers.
        if entry.file_name().as_encoded_bytes().starts_with(b".") || !entry.path().is_file() {
            continue;
        }
        if files.len() == FILES_MAX {
            passed_over.push(format!("more than {FILES_MAX} files are there, and the rest was not looked at"));
            break;
        }
        files.push(entry.path());
    }
    files.sort();
    Ok(files)
}

/// A certificate as it was read.
struct Read {
    /// Its file, in [`Material::files`].
    file: usize,
    der: Vec<u8>,
    /// The public key that it is about.
    public: Vec<u8>,
    is_rsa: bool,
    not_before: UnixMs,
    not_after: UnixMs,
}

/// The certificates and keys of all files, before they are put together.
#[derive(Default)]
struct Material {
    files: Vec<String>,
    certificates: Vec<Read>,
    /// Private keys, each behind its public half.
    keys: Vec<(Vec<u8>, EncodingKey)>,
}

impl Material {
    fn read(&mut self, file: &Path, passed_over: &mut Vec<String>) -> std::io::Result<()> {
        let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
        if std::fs::metadata(file)?.len() > FILE_BYTES_MAX {
            passed_over.push(format!("{name} is too large for a PEM file"));
            return Ok(());
        }
        let bytes = std::fs::read(file)?;
        let mut sections = 0;
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&bytes) {
            sections += 1;
            match section {
                Ok((SectionKind::Certificate, der)) => match self.read_certificate(der) {
                    Some(certificate) => self.certificates.push(certificate),
                    None => passed_over.push(format!("{name} holds a certificate that cannot be read")),
                },
                Ok((kind @ (SectionKind::PrivateKey | SectionKind::RsaPrivateKey), der)) => match rsa_key(kind, &der) {
                    Ok(key) => self.keys.push(key),
                    Err(reason) => passed_over.push(format!("the key in {name} {reason}")),
                },
                Ok((SectionKind::EcPrivateKey, _)) => {
                    passed_over.push(format!("the key in {name} is an EC key, and Entra ID takes RSA"));
                }
                Ok(_) => {}
                Err(_) => {
                    passed_over.push(format!("{name} is damaged PEM"));
                    break;
                }
            }
        }
        if String::from_utf8_lossy(&bytes).contains("ENCRYPTED PRIVATE KEY") {
            passed_over.push(format!("the key in {name} is encrypted; remove its passphrase"));
        } else if sections == 0 {
            passed_over.push(format!("{name} is not PEM"));
        }
        self.files.push(name);
        Ok(())
    }

    fn read_certificate(&self, der: Vec<u8>) -> Option<Read> {
        let (_, parsed) = parse_x509_certificate(&der).ok()?;
        let public = parsed.public_key();
        let (not_before, not_after) = (parsed.validity().not_before, parsed.validity().not_after);
        Some(Read {
            file: self.files.len(),
            public: public.subject_public_key.data.to_vec(),
            is_rsa: public.algorithm.algorithm == OID_PKCS1_RSAENCRYPTION,
            not_before: UnixMs(not_before.timestamp().saturating_mul(1_000)),
            not_after: UnixMs(not_after.timestamp().saturating_mul(1_000)),
            der,
        })
    }

    fn key_of(&self, certificate: &Read) -> Option<&EncodingKey> {
        self.keys.iter().find(|(public, _)| *public == certificate.public).map(|(_, key)| key)
    }

    fn pair(self, now: UnixMs, passed_over: Vec<String>) -> Found {
        let mut found = Found { usable: Vec::new(), passed_over };
        let mut seen = BTreeSet::new();
        for certificate in &self.certificates {
            let name = &self.files[certificate.file];
            let Some(key) = self.key_of(certificate) else {
                // Beside one that has its key it is a link of that one's chain, which is no fault.
                let is_link = self.beside(certificate).any(|other| self.key_of(other).is_some());
                if !is_link && certificate.is_rsa {
                    found.passed_over.push(format!("{name} has a certificate whose private key was not found"));
                } else if !is_link {
                    found.passed_over.push(format!("the certificate in {name} is not for RSA, which Entra ID wants"));
                }
                continue;
            };
            if certificate.not_after <= now {
                found.passed_over.push(format!("{name} expired at {}", certificate.not_after));
                continue;
            }
            if certificate.not_before > now {
                found.passed_over.push(format!("{name} is not valid before {}", certificate.not_before));
                continue;
            }
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &certificate.der);
            let thumbprint = URL_SAFE_NO_PAD.encode(digest);
            if !seen.insert(thumbprint.clone()) {
                continue;
            }
            let links = self.beside(certificate).filter(|other| self.key_of(other).is_none());
            let chain = std::iter::once(certificate).chain(links).map(|of| of.der.clone()).collect();
            let not_after = certificate.not_after;
            let name = format!("{name} (valid until {not_after})");
            found.usable.push(Certificate { name, chain, thumbprint, key: key.clone(), not_after });
        }
        found.usable.sort_by(|a, b| b.not_after.cmp(&a.not_after).then_with(|| a.name.cmp(&b.name)));
        found
    }

    /// The other certificates of its file.
    fn beside(&self, certificate: &Read) -> impl Iterator<Item = &Read> {
        let (file, der) = (certificate.file, certificate.der.clone());
        self.certificates.iter().filter(move |other| other.file == file && other.der != der)
    }
}

/// An RSA key with its public half, or what is wrong with it.
fn rsa_key(kind: SectionKind, der: &[u8]) -> Result<(Vec<u8>, EncodingKey), String> {
    let (label, pair) = match kind {
        SectionKind::RsaPrivateKey => ("RSA PRIVATE KEY", RsaKeyPair::from_der(der)),
        _ => ("PRIVATE KEY", RsaKeyPair::from_pkcs8(der)),
    };
    let pair = pair.map_err(|e| format!("cannot be used as an RSA key of 2048 bits or more ({e})"))?;
    let pem = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der));
    let key = EncodingKey::from_rsa_pem(pem.as_bytes()).map_err(|e| format!("cannot be used to sign ({e})"))?;
    Ok((pair.public_key().as_ref().to_vec(), key))
}

#[cfg(test)]
#[path = "certificates_tests.rs"]
mod tests;
