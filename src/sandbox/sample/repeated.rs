//! Files of any size that take no room: one block of records, compressed once and served again and again.
//!
//! A gzip member may consist of any number of deflate blocks. A block that ends with a full flush refers to nothing
//! before it and ends on a whole byte, so the same bytes can stand there a thousand times:
//!
//! ```text
//! gzip header | block | block | block | … | empty last block, CRC-32 of it all, length
//! ```

use bytes::Bytes;
use flate2::{Compress, Crc, FlushCompress, Status};
use serde::{Deserialize, Serialize};

use super::{Compression, Format, Kind, SampleSpec};
use crate::sandbox::{Content, SandboxError};

/// A gzip header without a name and a time (RFC 1952, 2.3).
const GZIP_HEADER: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// A deflate block that holds nothing and is the last (RFC 1951, 3.2.6).
const EMPTY_LAST_BLOCK: &[u8] = &[0x03, 0x00];

/// JSON lines of any length, in which the same records come again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RepeatedSpec {
    /// What it is about.
    pub kind: Kind,
    /// About how long it is once decompressed, in bytes: rounded up to whole blocks.
    pub decompressed_bytes: u64,
    /// How many different records there are.
    pub block_records: u64,
    /// Decides everything that the numbers leave open.
    pub seed: u64,
    /// Gzip or none.
    pub compression: Compression,
}

impl Default for RepeatedSpec {
    fn default() -> Self {
        Self {
            kind: Kind::Items,
            decompressed_bytes: 1 << 30,
            block_records: 2_000,
            seed: 0,
            compression: Compression::Gzip,
        }
    }
}

/// A repeated file, ready to be served.
#[derive(Clone, Debug)]
pub struct Repeated {
    /// What is served.
    pub content: Content,
    /// How long it is once decompressed, in bytes.
    pub decompressed_bytes: u64,
    /// How many records it has.
    pub records: u64,
}

impl RepeatedSpec {
    /// Makes the block, and says how often it stands there.
    ///
    /// # Errors
    /// When the compression is neither gzip nor none, or a block would be empty.
    pub fn build(&self) -> Result<Repeated, SandboxError> {
        let spec = SampleSpec {
            kind: self.kind,
            records: self.block_records,
            seed: self.seed,
            format: Format::JsonLines,
            compression: Compression::None,
            ..SampleSpec::default()
        };
        let plain = spec.to_vec();
        if plain.is_empty() {
            return Err(SandboxError::Request("a repeated file needs at least one record in its block".to_owned()));
        }
        let times = self.decompressed_bytes.div_ceil(plain.len() as u64);
        let content = match self.compression {
            Compression::None => {
                Content::Repeated { head: Bytes::new(), unit: plain.clone().into(), times, tail: Bytes::new() }
            }
            Compression::Gzip => gzip(&plain, times)?,
            other => {
                return Err(SandboxError::Request(format!("a repeated file can be gzip or none, not {other:?}")));
            }
        };
        Ok(Repeated { content, decompressed_bytes: plain.len() as u64 * times, records: self.block_records * times })
    }
}

fn gzip(plain: &[u8], times: u64) -> Result<Content, SandboxError> {
    let mut compress = Compress::new(flate2::Compression::default(), false);
    // Compressed text is shorter than plain; the margin is for tiny blocks.
    let mut block = Vec::with_capacity(plain.len() + 1_024);
    let status = compress
        .compress_vec(plain, &mut block, FlushCompress::Full)
        .map_err(|e| SandboxError::Request(format!("a repeated file cannot be compressed: {e}")))?;
    if status != Status::Ok || compress.total_in() != plain.len() as u64 {
        return Err(SandboxError::Request("a repeated file does not compress".to_owned()));
    }
    let mut one = Crc::new();
    one.update(plain);
    let mut all = Crc::new();
    for _ in 0..times {
        all.combine(&one);
    }
    let mut tail = EMPTY_LAST_BLOCK.to_vec();
    tail.extend_from_slice(&all.sum().to_le_bytes());
    // The length modulo 2^32 (RFC 1952, 2.3.1).
    tail.extend_from_slice(&((plain.len() as u64 * times) as u32).to_le_bytes());
    Ok(Content::Repeated { head: Bytes::from_static(GZIP_HEADER), unit: block.into(), times, tail: tail.into() })
}
