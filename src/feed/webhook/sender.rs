//! Who may send: by address, by a secret in a header, by a signature over the body. What is configured must all hold.
//!
//! Secrets are compared as SHA-256 digests and signatures by the library's `verify`, so that the time of an answer tells
//! neither how much of a guess was right nor how long the secret is.

use std::net::IpAddr;
use std::path::PathBuf;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use super::secrets::Watched;
use crate::secret::Secret;

/// Who may send. With nothing set, anyone.
#[derive(Clone, Debug, Default)]
pub struct SenderSettings {
    /// A header whose value must be one of those in a file.
    pub secret: Option<SharedSecret>,
    /// A header that carries a signature over the body.
    pub signature: Option<Signature>,
    /// The networks that requests may come from; empty for any.
    pub addresses: Vec<IpNet>,
    /// Where a proxy says what address a request came from.
    pub forwarded: Option<Forwarded>,
}

/// A secret that the sender shows.
#[derive(Clone, Debug)]
pub struct SharedSecret {
    /// The header, such as `Authorization`.
    pub header: HeaderName,
    /// The accepted values of the whole header, one a line.
    pub file: PathBuf,
}

/// An HMAC-SHA256 over the raw body.
#[derive(Clone, Debug)]
pub struct Signature {
    /// The header that carries it.
    pub header: HeaderName,
    /// The accepted keys, one a line.
    pub key_file: PathBuf,
    /// What stands before the signature in the header, such as `sha256=`.
    pub prefix: String,
    /// How the signature is written.
    pub encoding: SignatureEncoding,
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignatureEncoding {
    /// Hexadecimal digits, in any case.
    #[default]
    Hex,
    /// Base64, with or without padding.
    Base64,
}

/// How the address of a request behind a proxy is known.
#[derive(Clone, Debug)]
pub struct Forwarded {
    /// The header, such as `X-Forwarded-For`: addresses with commas between, to which each proxy appends.
    pub header: HeaderName,
    /// The proxies whose word counts.
    pub proxies: Vec<IpNet>,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It comes from an address that may not send.
    Address,
    /// The secret is missing or wrong.
    Secret,
    /// The signature is missing or wrong.
    Signature,
}

type Digest = [u8; digest::SHA256_OUTPUT_LEN];

fn sha256(bytes: &[u8]) -> Digest {
    let mut out = [0; digest::SHA256_OUTPUT_LEN];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// Decides who may send.
#[derive(Debug)]
pub(super) struct Sender {
    settings: SenderSettings,
    secrets: Option<Watched<Digest>>,
    keys: Option<Watched<hmac::Key>>,
}

impl Sender {
    /// Nothing is accepted before the first [`Sender::refresh`], where a secret or a signature is asked for.
    pub(super) fn new(settings: SenderSettings) -> Self {
        let digest_of = |secret: &Secret| sha256(secret.expose().as_bytes());
        let key_of = |secret: &Secret| hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        let secrets = settings.secret.as_ref().map(|secret| Watched::new(secret.file.clone(), digest_of));
        let keys = settings.signature.as_ref().map(|signature| Watched::new(signature.key_file.clone(), key_of));
        Self { settings, secrets, keys }
    }

    /// Reads anew what was replaced.
    ///
    /// # Errors
    /// What cannot be read.
    pub(super) fn refresh(&self) -> Result<(), String> {
        let secrets = self.secrets.as_ref().map_or(Ok(()), Watched::refresh);
        let keys = self.keys.as_ref().map_or(Ok(()), Watched::refresh);
        secrets.and(keys)
    }

    /// Whether a request with these headers from `peer` may be read.
    pub(super) fn admit(&self, headers: &HeaderMap, peer: IpAddr) -> Result<(), Refusal> {
        if !self.settings.addresses.is_empty() {
            let from = self.address(headers, peer).ok_or(Refusal::Address)?;
            if !contains(&self.settings.addresses, from) {
                return Err(Refusal::Address);
            }
        }
        let (Some(secret), Some(accepted)) = (&self.settings.secret, &self.secrets) else { return Ok(()) };
        let mut given = headers.get_all(&secret.header).iter();
        // A header that stands there twice could mean one thing to a proxy and another here.
        let (Some(shown), None) = (given.next(), given.next()) else { return Err(Refusal::Secret) };
        let shown = sha256(shown.as_bytes().trim_ascii());
        let is_one_of = |accepted: &[Digest]| {
            accepted.iter().fold(false, |found, digest| found | verify_slices_are_equal(digest, &shown).is_ok())
        };
        if accepted.accepts(is_one_of) { Ok(()) } else { Err(Refusal::Secret) }
    }

    /// Whether the body is signed as it must be.
    pub(super) fn verify(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), Refusal> {
        let (Some(signature), Some(keys)) = (&self.settings.signature, &self.keys) else { return Ok(()) };
        let mut given = headers.get_all(&signature.header).iter();
        let (Some(shown), None) = (given.next(), given.next()) else { return Err(Refusal::Signature) };
        let shown = shown.to_str().ok().and_then(|text| text.trim().strip_prefix(signature.prefix.as_str()));
        let shown = shown.and_then(|text| signature.encoding.decode(text)).ok_or(Refusal::Signature)?;
        let is_of_one =
            |keys: &[hmac::Key]| keys.iter().fold(false, |found, key| found | hmac::verify(key, body, &shown).is_ok());
        if keys.accepts(is_of_one) { Ok(()) } else { Err(Refusal::Signature) }
    }

    /// The address that a request came from: the last that is no trusted proxy's own. `None` where a proxy's word
    /// cannot be read.
    fn address(&self, headers: &HeaderMap, peer: IpAddr) -> Option<IpAddr> {
        let peer = peer.to_canonical();
        let Some(forwarded) = self.settings.forwarded.as_ref() else { return Some(peer) };
        if !contains(&forwarded.proxies, peer) {
            return Some(peer);
        }
        let mut from = peer;
        let lines: Vec<_> = headers.get_all(&forwarded.header).iter().collect();
        for line in lines.into_iter().rev() {
            for hop in line.to_str().ok()?.rsplit(',') {
                from = hop.trim().parse::<IpAddr>().ok()?.to_canonical();
                if !contains(&forwarded.proxies, from) {
                    return Some(from);
                }
            }
        }
        Some(from)
    }
}

fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

impl SignatureEncoding {
    fn decode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Base64 => {
                let padded = format!("{}{}", text, &"==="[..(4 - text.len() % 4) % 4]);
                STANDARD.decode(padded).ok()
            }
            Self::Hex => {
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                let pairs = text.as_bytes().chunks_exact(2);
                let whole = pairs.remainder().is_empty();
                let bytes: Option<Vec<u8>> = pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect();
                bytes.filter(|_| whole)
            }
        }
    }
}

#[cfg(test)]
#[path = "sender_tests.rs"]
mod tests;
