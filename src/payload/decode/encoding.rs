//! Which compression a payload has: what the notice claims, against what the first bytes are.

/// How a payload is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    #[default]
    Identity,
    /// gzip, RFC 1952.
    Gzip,
    /// zlib, RFC 1950: what HTTP calls `deflate`.
    Zlib,
    /// Raw DEFLATE, RFC 1951: what some servers send as `deflate`.
    Deflate,
    /// Brotli, RFC 7932.
    Brotli,
    /// Zstandard, RFC 8878.
    Zstd,
}

/// How many first bytes are looked at.
pub(super) const START_BYTES: usize = 64;

/// How many bytes tell whether another member or frame begins.
pub(super) const MEMBER_START_BYTES: usize = 4;

/// RFC 8878, 3.1.1.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Why the first bytes cannot be read as anything.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is not a byte, though even an empty compressed file has some: it is not written yet, or was lost.
    Empty,
    /// The claim is unknown, or the bytes are not what it says nor text. Holds the reason.
    Unknown(String),
}

impl Encoding {
    /// Its name, as in `contentEncoding`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zlib | Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// Whether several may follow each other in one file.
    pub(super) fn has_members(self) -> bool {
        matches!(self, Self::Gzip | Self::Zstd)
    }

    /// Whether `bytes` begin a member or frame of it.
    pub(super) fn starts_member(self, bytes: &[u8]) -> bool {
        match self {
            Self::Gzip => bytes.starts_with(&[0x1f, 0x8b, 0x08]),
            Self::Zstd => {
                // A skippable frame (RFC 8878, 3.1.2) carries no content and may stand first.
                let is_skippable = bytes.len() >= 4 && bytes[0] & 0xf0 == 0x50 && bytes[1..4] == [0x2a, 0x4d, 0x18];
                bytes.starts_with(&ZSTD_MAGIC) || is_skippable
            }
            // RFC 1950: method 8, and the first two bytes are a multiple of 31.
            Self::Zlib => {
                bytes.len() >= 2
                    && bytes[0] & 0x0f == 8
                    && bytes[0] >> 4 <= 7
                    && (u16::from(bytes[0]) << 8 | u16::from(bytes[1])).is_multiple_of(31)
            }
            Self::Identity | Self::Deflate | Self::Brotli => false,
        }
    }
}

/// What the payload is compressed with. A magic number wins; then the claim, where the bytes do not contradict it.
pub(super) fn detect(claimed: Option<&str>, start: &[u8]) -> Result<Encoding, Refusal> {
    let claimed = claimed.unwrap_or_default().trim().to_ascii_lowercase();
    let is_plain = matches!(claimed.as_str(), "" | "identity" | "none" | "utf-8" | "utf8");
    if start.is_empty() && !is_plain {
        return Err(Refusal::Empty);
    }
    for by_magic in [Encoding::Gzip, Encoding::Zstd] {
        if by_magic.starts_member(start) {
            return Ok(by_magic);
        }
    }
    match claimed.as_str() {
        // Cut off within the magic number, whose first byte alone is text.
        "zstd" | "x-zstd" if start.len() < ZSTD_MAGIC.len() && ZSTD_MAGIC.starts_with(start) => Ok(Encoding::Zstd),
        // The usual zlib levels. `x^`, its fourth, is also text, and so is believed only where it was claimed.
        _ if is_plain && matches!(start, [0x78, 0x01 | 0x9c | 0xda, ..]) => Ok(Encoding::Zlib),
        _ if is_plain => Ok(Encoding::Identity),
        "deflate" | "zlib" if Encoding::Zlib.starts_member(start) => Ok(Encoding::Zlib),
        // Plain text may be mistaken for raw DEFLATE or Brotli, which have no magic number; JSON, XML and CSV may not.
        "deflate" | "zlib" | "br" | "brotli" if is_opening(start) => Ok(Encoding::Identity),
        "deflate" | "zlib" => Ok(Encoding::Deflate),
        "br" | "brotli" => Ok(Encoding::Brotli),
        "gzip" | "x-gzip" | "zstd" | "x-zstd" if matches!(start, [0x78, 0x01 | 0x9c | 0xda, ..]) => Ok(Encoding::Zlib),
        "gzip" | "x-gzip" | "zstd" | "x-zstd" if is_text(start) => Ok(Encoding::Identity),
        "gzip" | "x-gzip" | "zstd" | "x-zstd" => {
            Err(Refusal::Unknown(format!("its first bytes are neither {claimed} nor text")))
        }
        other => Err(Refusal::Unknown(format!(
            "its contentEncoding {:?} is not known; known are gzip, deflate, br, zstd and identity",
            other.chars().take(40).collect::<String>()
        ))),
    }
}

/// Whether a JSON or XML text begins here, with a byte order mark or without.
fn is_opening(start: &[u8]) -> bool {
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    let first = start.iter().position(|byte| !byte.is_ascii_whitespace());
    is_text(start) && first.is_some_and(|at| matches!(start[at], b'{' | b'[' | b'<'))
}

/// Whether these bytes look like text: a UTF-16 byte order mark, or no control characters but white space.
fn is_text(start: &[u8]) -> bool {
    start.starts_with(&[0xff, 0xfe])
        || start.starts_with(&[0xfe, 0xff])
        || start.iter().all(|byte| *byte >= 0x20 && *byte != 0x7f || matches!(byte, b'\t' | b'\r' | b'\n' | 0x0c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_outweigh_the_claim() {
        let gzip = [0x1f, 0x8b, 8, 0];
        for claimed in [None, Some(""), Some("identity"), Some("br"), Some("zstd"), Some("GZIP"), Some("lzma")] {
            assert_eq!(detect(claimed, &gzip), Ok(Encoding::Gzip), "{claimed:?}");
        }
        assert_eq!(detect(Some("gzip"), &[0x28, 0xb5, 0x2f, 0xfd]), Ok(Encoding::Zstd));
        assert_eq!(detect(None, &[0x50, 0x2a, 0x4d, 0x18]), Ok(Encoding::Zstd));
        assert_eq!(detect(Some("gzip"), b"{\"a\":1}\n"), Ok(Encoding::Identity));
        assert_eq!(detect(Some("br"), b"{\"a\":1}\n"), Ok(Encoding::Identity));
        assert_eq!(detect(Some("gzip"), &[0xff, 0xfe, b'{', 0]), Ok(Encoding::Identity));
        assert_eq!(detect(Some("deflate"), &[0x78, 0x5e, 0, 0]), Ok(Encoding::Zlib));
        assert_eq!(detect(Some("deflate"), &[0xab, 0x56, 0, 0]), Ok(Encoding::Deflate));
        assert_eq!(detect(None, b"x^2,y\n"), Ok(Encoding::Identity));
    }

    #[test]
    fn what_is_neither_its_claim_nor_text_is_refused() {
        assert!(matches!(detect(Some("gzip"), &[0, 1, 2, 3]), Err(Refusal::Unknown(_))));
        assert!(matches!(detect(Some("compress"), b"{}"), Err(Refusal::Unknown(_))));
    }

    #[test]
    fn no_bytes_are_an_empty_file_only_where_no_compression_is_claimed() {
        assert_eq!(detect(None, b""), Ok(Encoding::Identity));
        assert_eq!(detect(Some("gzip"), b""), Err(Refusal::Empty));
    }
}
