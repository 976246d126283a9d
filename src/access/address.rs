//! An address in a notice is untrusted input: this reads it, and names every trick that keeps it from being fetched.

use percent_encoding::percent_decode_str;
use url::Url;

use crate::net::is_allowed;

/// Longer than any blob's address: a name has at most 1,024 characters, each up to twelve bytes when it is encoded.
const ADDRESS_BYTES_MAX: usize = 16 << 10;

/// How often a segment is decoded to see what a proxy or a store that decodes too often would make of it.
const DECODED_MAX: usize = 4;

/// Why an address is refused, as it stands in `longshore_refused_addresses_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It is no address at all, or too long for one.
    Unreadable,
    /// It goes over neither `https` nor `http` on this machine.
    Scheme,
    /// It carries a user name or a password.
    UserName,
    /// Its path could be read otherwise than we compared it.
    Path,
    /// No container that the vendor named matches it.
    Unnamed,
    /// Several containers match it equally.
    Ambiguous,
    /// The store sent us elsewhere.
    Redirect,
}

impl Refusal {
    /// As it stands in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Scheme => "scheme",
            Self::UserName => "user-name",
            Self::Path => "path",
            Self::Unnamed => "unnamed",
            Self::Ambiguous => "ambiguous",
            Self::Redirect => "redirect",
        }
    }
}

/// An address that is not fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct AddressError {
    /// Which rule it breaks.
    pub refusal: Refusal,
    /// What is wrong with it, without the address.
    pub reason: String,
}

impl AddressError {
    /// An address that `refusal` is about, for `reason`.
    pub fn new(refusal: Refusal, reason: impl Into<String>) -> Self {
        Self { refusal, reason: reason.into() }
    }
}

/// Reads the address in a notice and holds it to everything that needs no token to be seen.
///
/// # Errors
/// Which rule it breaks.
pub fn read_address(text: &str) -> Result<Url, AddressError> {
    let unreadable = |reason: String| AddressError::new(Refusal::Unreadable, reason);
    if text.len() > ADDRESS_BYTES_MAX {
        return Err(unreadable(format!("its uri is longer than {ADDRESS_BYTES_MAX} bytes")));
    }
    // The URL parser drops some of them without a word, so that what is read is not what was compared.
    if text.chars().any(char::is_control) {
        return Err(unreadable("its uri has control characters in it".to_owned()));
    }
    let url = Url::parse(text).map_err(|e| unreadable(format!("its uri is not an address: {e}")))?;
    check(&url)?;
    Ok(url)
}

/// Holds an address to the rules of scheme, user name and path.
pub(super) fn check(url: &Url) -> Result<(), AddressError> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err(AddressError::new(Refusal::UserName, "its uri carries a user name"));
    }
    if !is_allowed(url) {
        return Err(AddressError::new(
            Refusal::Scheme,
            format!("its uri begins with {}://; only https is fetched, or http from this machine", url.scheme()),
        ));
    }
    path_trick(url.path()).map_or(Ok(()), |trick| Err(AddressError::new(Refusal::Path, trick)))
}

/// What no path may have, because it could make the store read another path than we compared.
pub(super) fn path_trick(path: &str) -> Option<&'static str> {
    let lower = path.to_ascii_lowercase();
    if lower.contains("%2f") || lower.contains("%5c") || path.contains('\\') {
        return Some("its path has an encoded slash or a backslash");
    }
    if percent_decode_str(path).any(|byte| byte.is_ascii_control()) {
        return Some("its path has an encoded control character");
    }
    // The URL parser resolves `..` and `%2e%2e`; what is encoded twice is for those who decode twice.
    path.split('/').any(|segment| climbs(segment.as_bytes())).then_some("its path has a segment of dots")
}

/// Whether a segment is one of dots, for whoever decodes it once or more, or takes what follows a `;` for parameters.
fn climbs(segment: &[u8]) -> bool {
    let mut decoded = segment.to_vec();
    for _ in 0..DECODED_MAX {
        let parts = decoded.split(|byte| matches!(byte, b'/' | b'\\'));
        let bare =
            |part: &[u8]| part.split(|byte| *byte == b';').next().is_some_and(|name| matches!(name, b"." | b".."));
        if parts.into_iter().any(bare) {
            return true;
        }
        let next: Vec<u8> = percent_encoding::percent_decode(&decoded).collect();
        if next == decoded {
            return false;
        }
        decoded = next;
    }
    // Nobody encodes a name so often without a reason.
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_climbs_for_anybody_is_refused() {
        for path in [
            "/c/%252e%252e/x",
            "/c/%25252e%25252e/x",
            "/c/..%252fx",
            "/c/..;/x",
            "/c/..;a=1/x",
            "/c/%2e%2e;/x",
            "/c/%00x",
            "/c/x%0d%0aHost:%20evil",
            "/c/%2525252525252e/x",
        ] {
            assert!(path_trick(path).is_some(), "{path}");
        }
        for path in
            ["/c/x", "/c/...", "/c/a..b", "/c/%252e%252e y", "/c/100%25/x", "/c/a;b", "/c/%C3%A9", "/c//x", "/c/%"]
        {
            assert_eq!(path_trick(path), None, "{path}");
        }
    }

    #[test]
    fn an_address_is_bounded_and_plain() {
        let refusal = |text: &str| read_address(text).expect_err("refused").refusal;
        assert_eq!(refusal(&format!("https://a.example/{}", "x".repeat(ADDRESS_BYTES_MAX))), Refusal::Unreadable);
        assert_eq!(refusal("https://a.example/c/\tx"), Refusal::Unreadable);
        assert_eq!(refusal(""), Refusal::Unreadable);
        assert_eq!(refusal("https://u@a.example/c"), Refusal::UserName);
        assert_eq!(refusal("data:text/plain,x"), Refusal::Scheme);
        assert!(read_address("https://a.example/c/x").is_ok());
    }
}
