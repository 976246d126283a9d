//! Values that must never be seen: not in a log, an error, the database or a process title.

use std::fmt;

use serde::{Deserialize, Deserializer};

/// A secret text. It can be used through [`Secret::expose`] and is shown as `[secret]` everywhere else.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one call that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

/// What stands in for a signature in a redacted text.
const REDACTED: &str = "[secret]";

/// Text from elsewhere (an error of a library, an answer of a server) with whatever looks like a signature, an
/// account key or a bearer token taken out. `sig=`, `Signature=`, `SharedAccessKey=`, `client_assertion=` and `Bearer ` start a
/// secret; it ends at the first character that cannot belong to it.
#[must_use]
pub fn redact(text: &str) -> String {
    const MARKS: [&str; 9] = [
        "sig=",
        "sig%3d",
        // What S3 is asked with is good for that request, for minutes.
        "signature=",
        "sharedaccesskey=",
        "accountkey=",
        "client_assertion=",
        "client_secret=",
        "access_token\":\"",
        "bearer ",
    ];
    let lower = text.to_ascii_lowercase();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let next = MARKS.iter().filter_map(|mark| lower[at..].find(mark).map(|i| (at + i, mark.len()))).min();
        let Some((start, mark_len)) = next else {
            break;
        };
        let secret_start = start + mark_len;
        let secret_len = text[secret_start..]
            .find(|c: char| !(c.is_ascii_alphanumeric() || "%+/=-_.~".contains(c)))
            .unwrap_or(text.len() - secret_start);
        out.push_str(&text[at..secret_start]);
        out.push_str(REDACTED);
        at = secret_start + secret_len;
    }
    out.push_str(&text[at..]);
    out
}

/// The bytes of a foreign text with the same taken out; nothing else changes.
#[must_use]
pub fn redact_bytes(bytes: &[u8]) -> Vec<u8> {
    // Each byte stands for the character of the same number, so that text in any ASCII superset survives the round trip.
    let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
    let redacted = redact(&text);
    redacted.chars().map(|c| u8::try_from(u32::from(c)).expect("each character was made from one byte")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_itself_to_nobody() {
        let secret = Secret::new("abc");
        assert_eq!(format!("{secret} {secret:?}"), "[secret] [secret]");
    }

    #[test]
    fn signatures_and_tokens_are_taken_out_of_foreign_text() {
        let said =
            "GET https://a.b/c?sv=1&sig=ab%2Bc%3D&se=2 failed; Authorization: Bearer ey.J-x_y; SharedAccessKey=zz==;x";
        assert_eq!(
            redact(said),
            "GET https://a.b/c?sv=1&sig=[secret]&se=2 failed; Authorization: Bearer [secret]; SharedAccessKey=[secret];x"
        );
        assert_eq!(redact("SignedHeaders=host, Signature=12a9c6 */*"), "SignedHeaders=host, Signature=[secret] */*");
        assert_eq!(redact("nothing here"), "nothing here");
        assert_eq!(redact_bytes(b"\xffsig=ab\x80\0"), b"\xffsig=[secret]\x80\0");
    }
}
