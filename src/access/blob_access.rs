//! Which token a blob URL gets: the one whose base matches on scheme, host, port and whole path segments, or none.

use percent_encoding::percent_decode_str;
use url::Url;

use super::address::{self, AddressError, Refusal};
use super::{AccessError, BlobAccess, TokenSet, sas};
use crate::error::Class;
use crate::net::is_allowed;
use crate::secret::Secret;

fn refused(message: impl AsRef<str>) -> AccessError {
    AccessError::new(Class::Permanent, message)
}

/// `url` for people: without its query, user name and fragment.
fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    // Both fail only where a URL cannot have a user at all.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.to_string()
}

/// The segments of a path, decoded once. An empty last one, which a slash at the end makes, is left out when `base`.
fn segments(url: &Url, base: bool) -> Vec<Vec<u8>> {
    let mut segments: Vec<Vec<u8>> = url.path().split('/').skip(1).map(|s| percent_decode_str(s).collect()).collect();
    if base && segments.last().is_some_and(Vec::is_empty) {
        segments.pop();
    }
    segments
}

fn same_server(a: &Url, b: &Url) -> bool {
    // The parser has brought hosts into one form: lower case, punycode, canonical addresses.
    a.scheme() == b.scheme() && a.host() == b.host() && a.port_or_known_default() == b.port_or_known_default()
}

fn starts_with(whole: &[Vec<u8>], start: &[Vec<u8>], same: impl Fn(&[u8], &[u8]) -> bool) -> bool {
    whole.len() >= start.len() && whole.iter().zip(start).all(|(a, b)| same(a, b))
}

impl BlobAccess {
    /// Reads a base URL with its token, as the vendor hands it out: `https://account.example/container?sv=…&sig=…`.
    ///
    /// # Errors
    /// When it is no URL that a token may be sent to, or its `se` cannot be read; without the token.
    pub fn parse(text: &str) -> Result<Self, AccessError> {
        // A fragment is never sent, and may hide a token: it is not kept.
        let text = text.trim().split('#').next().unwrap_or_default();
        let (address, query) = text.split_once('?').unwrap_or((text, ""));
        let base = Url::parse(address).map_err(|e| refused(format!("a blob base URL cannot be read: {e}")))?;
        // Where the `?` is missing, the token stands in the name before it, and names are shown.
        if base.as_str().to_ascii_lowercase().contains("sig=") {
            return Err(refused("a blob base URL has a token in its host or path; it belongs behind a `?`"));
        }
        if !is_allowed(&base) {
            return Err(refused(format!(
                "the blob base URL {} is refused: tokens go over https, or to a loopback host",
                shown(&base)
            )));
        }
        address::check(&base)
            .map_err(|error| refused(format!("the blob base URL {} is refused: {error}", shown(&base))))?;
        let expires = sas::blob_expiry(query).map_err(|reason| {
            refused(format!("the token of the blob base URL {} is refused: {reason}", shown(&base)))
        })?;
        Ok(Self { base, sas: Secret::new(query), expires })
    }

    /// Whether the entry carries a token at all; a public container needs none.
    #[must_use]
    pub fn has_token(&self) -> bool {
        sas::has_signature(self.sas.expose())
    }

    /// The address to fetch `uri` from: its scheme, host, port and path with exactly this token as the query. Whatever
    /// query `uri` has is replaced, so that a token is never appended twice. The result holds a secret: do not show it.
    #[must_use]
    pub fn url_for(&self, uri: &Url) -> Url {
        let mut url = uri.clone();
        url.set_fragment(None);
        let query = self.sas.expose();
        url.set_query((!query.is_empty()).then_some(query));
        url
    }
}

impl TokenSet {
    /// The token that may be sent to `uri`: the entry with the longest base that matches on scheme, host, port and whole
    /// path segments.
    ///
    /// Paths are compared as they are; where no base matches so, a single base that differs in upper and lower case alone
    /// is taken, because the vendor's own client compares so. Two such bases are ambiguous, and refused.
    ///
    /// # Errors
    /// When no entry matches or the URL is a trick; without the URL.
    pub fn for_blob(&self, uri: &Url) -> Result<&BlobAccess, AddressError> {
        address::check(uri)?;
        let path = segments(uri, false);
        let here = || {
            let same = self.blobs.iter().filter(|blob| same_server(&blob.base, uri));
            same.map(|blob| (segments(&blob.base, true), blob))
        };
        let exact = here().filter(|(base, _)| starts_with(&path, base, |a, b| a == b));
        if let Some((_, blob)) = exact.max_by_key(|(base, _)| base.len()) {
            return Ok(blob);
        }
        let loose: Vec<_> = here().filter(|(base, _)| starts_with(&path, base, <[u8]>::eq_ignore_ascii_case)).collect();
        let longest = loose.iter().map(|(base, _)| base.len()).max();
        let mut longest = loose.iter().filter(|(base, _)| Some(base.len()) == longest);
        match (longest.next(), longest.next()) {
            (Some((_, blob)), None) => Ok(blob),
            (Some(_), Some(_)) => Err(AddressError::new(
                Refusal::Ambiguous,
                "two containers differ from its uri in upper and lower case alone",
            )),
            (None, _) => Err(AddressError::new(
                Refusal::Unnamed,
                format!(
                    "none of the {} blob base URLs that came with the tokens matches its uri, and a token goes nowhere else",
                    self.blobs.len()
                ),
            )),
        }
    }
}

#[cfg(test)]
#[path = "blob_access_tests.rs"]
mod tests;
