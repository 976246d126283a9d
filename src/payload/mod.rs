//! Payloads: fetch the content behind a notice, undo its compression, split it into records.
//!
//! What always holds:
//!
//! 1. Memory does not depend on the size of a payload, a line or a record: every queue and buffer has a bound, and a slow
//!    reader slows the network down.
//! 2. All records of one stream are of one version of the blob, and the same content gives the same batches.
//! 3. The end of a stream is said only after length, checksum and compression were found whole.
//! 4. Dropping a stream stops its fetch and its decoder.
//!
//! ```text
//!     a task                                a thread of its own                               the worker
//! fetch (resumes) ─ 4 pieces ─> decompress ─> text (marks, UTF-16) ─> split, check ─ 1 batch ─> next()
//! ```
//!
//! A payload that holds several files (an archive) will open as a sequence of such streams; nothing here but
//! [`PayloadOpener`] knows that there is one.

mod buffers;
mod decode;
mod error;
mod fetch;
mod form;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod opener;
mod split;
mod stream;

pub use decode::encoding::Encoding;
pub use error::PayloadError;
pub use fetch::{Content, ContentStore};
pub use form::Form;
pub use opener::{ByteStream, PayloadOpener, RecordStream};
pub use split::csv_columns;
pub use stream::{PayloadStream, Summary};

use std::time::Duration;

use crate::notice::Notice;

/// Bounds of what a payload may be. Each, when met, is a named outcome: the record or the notice is quarantined.
#[derive(Clone, Debug)]
pub struct PayloadLimits {
    /// The longest record, in bytes; a longer one is set aside and the rest of the file goes on.
    pub record_bytes_max: usize,
    /// The deepest nesting of a JSON or XML record.
    pub depth_max: usize,
    /// The most records in one payload.
    pub records_max: u64,
    /// The most decompressed bytes of one payload.
    pub decompressed_bytes_max: u64,
    /// The largest ratio of decompressed to compressed bytes, looked at once 1 MiB is decompressed.
    pub ratio_max: u64,
    /// After this many bad records the whole payload is quarantined: it is of another type than it says.
    pub bad_records_max: u64,
    /// How many bytes of a bad record are kept.
    pub bad_record_bytes_kept: usize,
    /// A payload of no more bytes than this, as it lies in the store, is compared with the MD5 that the store names
    /// before anything of it is read.
    pub checked_first_bytes_max: usize,
}

impl Default for PayloadLimits {
    fn default() -> Self {
        Self {
            record_bytes_max: 4 << 20,
            depth_max: 128,
            records_max: u64::MAX,
            decompressed_bytes_max: 1 << 40,
            ratio_max: 1_000,
            bad_records_max: 10_000,
            bad_record_bytes_kept: 16 << 10,
            // Most files of a shop are smaller, and each worker holds no more than this.
            checked_first_bytes_max: 4 << 20,
        }
    }
}

/// How payloads are fetched.
#[derive(Clone, Debug)]
pub struct FetchSettings {
    /// How long a connection may take to open.
    pub connect_timeout: Duration,
    /// How long a read may stand still before the request is made again from there.
    pub idle_timeout: Duration,
    /// How often one fetch resumes a broken body before the attempt fails.
    pub resumes_max: u32,
    /// Bytes a second that a body must bring on the whole, or it is asked for again from there; 0 for any.
    pub rate_min: u64,
    /// A CA file to trust besides the system's roots.
    pub ca_file: Option<std::path::PathBuf>,
}

impl Default for FetchSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            resumes_max: 10,
            rate_min: 1_024,
            ca_file: None,
        }
    }
}

/// More of an address than this would leave no room for what is wrong with it.
const OBJECT_CHARS_MAX: usize = 512;

/// How errors and logs name a notice's payload: its address without query and fragment.
pub(crate) fn object_of(notice: &Notice) -> String {
    match &notice.metadata.uri {
        Some(uri) => {
            let address = uri.split(['?', '#']).next().unwrap_or_default();
            match address.char_indices().nth(OBJECT_CHARS_MAX) {
                None => crate::secret::redact(address),
                Some((end, _)) => format!("{}…", crate::secret::redact(&address[..end])),
            }
        }
        None => format!("the body of notice {}", notice.id),
    }
}
