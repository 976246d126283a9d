//! Ugly files: each is wrong, or at least unusual, in one way, and it is known what a careful reader makes of it.

use serde::{Deserialize, Serialize};

use super::{Compression, Format, Kind, SampleSpec};

/// A record longer than this is beyond the daemon's default bound of 4 MiB.
const LONG_RECORD_BYTES: usize = 5 << 20;

/// The way in which a file is ugly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Ugly {
    /// Gzip that ends in the middle.
    TruncatedGzip,
    /// Gzip with one byte wrong in the middle.
    CorruptGzip,
    /// Gzip of several members, which many readers take for the end after the first.
    MultiMemberGzip,
    /// Announced as gzip, and plain.
    PlainCalledGzip,
    /// Announced as plain, and gzip.
    GzipCalledPlain,
    /// A line in the middle that is no JSON.
    BadLine,
    /// A line in the middle that is longer than the daemon's bound.
    LongLine,
    /// UTF-16, little-endian, with a byte order mark.
    Utf16,
    /// Starts with a byte order mark; the last line has no newline. The vendor's own samples are so.
    BomAndNoLastNewline,
    /// Lines that end with CR and LF, and blank lines among them.
    CrLf,
    /// No byte at all.
    Empty,
    /// A content type that nobody knows.
    UnknownType,
    /// Announced, but not there.
    MissingBlob,
}

/// What a careful reader makes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expected {
    /// Its good records are delivered; its bad ones are quarantined.
    Delivered,
    /// It cannot be read to its end: quarantined.
    Poison,
    /// There is nothing to read.
    Missing,
    /// It is one opaque file: delivered to sinks that take files, else quarantined.
    Opaque,
}

/// An ugly file and its announcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UglyFile {
    /// The bytes; `None` when there is no blob.
    pub bytes: Option<Vec<u8>>,
    /// `contentType` of the announcement.
    pub content_type: &'static str,
    /// `contentEncoding` of the announcement.
    pub content_encoding: Option<&'static str>,
    /// How the blob's name ends.
    pub extension: &'static str,
    /// What a careful reader makes of it.
    pub expected: Expected,
    /// Good records in it, where it can be read.
    pub records: u64,
    /// Bad records in it, where it can be read.
    pub bad_records: u64,
}

impl Ugly {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::TruncatedGzip,
        Self::CorruptGzip,
        Self::MultiMemberGzip,
        Self::PlainCalledGzip,
        Self::GzipCalledPlain,
        Self::BadLine,
        Self::LongLine,
        Self::Utf16,
        Self::BomAndNoLastNewline,
        Self::CrLf,
        Self::Empty,
        Self::UnknownType,
        Self::MissingBlob,
    ];

    /// The file, made of `records` items from number `first` on.
    #[must_use]
    pub fn build(self, first: u64, records: u64, seed: u64) -> UglyFile {
        let records = records.max(2);
        let spec = SampleSpec { first, records, seed, kind: Kind::Items, ..SampleSpec::default() };
        let plain = SampleSpec { compression: Compression::None, ..spec.clone() };
        let file = |bytes: Vec<u8>, content_encoding, extension| UglyFile {
            bytes: Some(bytes),
            content_type: Format::JsonLines.content_type(),
            content_encoding,
            extension,
            expected: Expected::Delivered,
            records,
            bad_records: 0,
        };
        let gzip = |bytes| file(bytes, Some("gzip"), ".jsonl.gz");
        match self {
            Self::TruncatedGzip => {
                let mut bytes = spec.to_vec();
                bytes.truncate(bytes.len() * 2 / 3);
                UglyFile { expected: Expected::Poison, records: 0, ..gzip(bytes) }
            }
            Self::CorruptGzip => {
                let mut bytes = spec.to_vec();
                // The checksum before the length: every reader gets to it, and none may pass over it.
                let at = bytes.len() - 5;
                bytes[at] ^= 0xff;
                UglyFile { expected: Expected::Poison, records: 0, ..gzip(bytes) }
            }
            Self::MultiMemberGzip => {
                let half = records / 2;
                let mut bytes = SampleSpec { records: half, ..spec.clone() }.to_vec();
                let rest = SampleSpec { first: first + half, records: records - half, ..spec };
                bytes.extend(rest.to_vec());
                gzip(bytes)
            }
            Self::PlainCalledGzip => gzip(plain.to_vec()),
            Self::GzipCalledPlain => file(spec.to_vec(), None, ".jsonl"),
            Self::BadLine => UglyFile {
                bad_records: 1,
                ..gzip(with_line_in_the_middle(&plain, b"{\"identifier\":{\"sku\":\"12345\",\"itemText\":\"cut off"))
            },
            Self::LongLine => {
                let mut line = b"{\"itemText\":\"".to_vec();
                line.resize(LONG_RECORD_BYTES, b'x');
                line.extend_from_slice(b"\"}");
                UglyFile { bad_records: 1, ..gzip(with_line_in_the_middle(&plain, &line)) }
            }
            Self::Utf16 => {
                let text = String::from_utf8(plain.to_vec()).expect("samples are UTF-8");
                let units = std::iter::once(0xfeff).chain(text.encode_utf16());
                file(units.flat_map(u16::to_le_bytes).collect(), None, ".jsonl")
            }
            Self::BomAndNoLastNewline => gzip(SampleSpec { bom: true, last_newline_missing: true, ..spec }.to_vec()),
            Self::CrLf => {
                let text = String::from_utf8(plain.to_vec()).expect("samples are UTF-8");
                file(text.replacen('\n', "\n\n", 1).replace('\n', "\r\n").into_bytes(), None, ".jsonl")
            }
            Self::Empty => UglyFile { records: 0, ..file(Vec::new(), None, ".jsonl") },
            Self::UnknownType => UglyFile {
                content_type: "application/x-unheard-of",
                expected: Expected::Opaque,
                records: 1,
                ..file(plain.to_vec(), None, ".bin")
            },
            Self::MissingBlob => UglyFile { bytes: None, expected: Expected::Missing, records: 0, ..gzip(Vec::new()) },
        }
    }
}

/// The lines of `plain` with one more in the middle, gzipped.
fn with_line_in_the_middle(plain: &SampleSpec, line: &[u8]) -> Vec<u8> {
    let half = plain.records / 2;
    let mut bytes = SampleSpec { records: half, ..plain.clone() }.to_vec();
    bytes.extend_from_slice(line);
    bytes.push(b'\n');
    bytes.extend(SampleSpec { first: plain.first + half, records: plain.records - half, ..plain.clone() }.to_vec());
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, &bytes).expect("memory can always be written");
    encoder.finish().expect("memory can always be written")
}
