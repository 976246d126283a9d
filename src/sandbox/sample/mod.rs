//! Sample files in the vendor's manner: what a shop's export looks like, of any size, the same for the same seed.
//!
//! ```text
//! SampleSpec ──> records (one JSON value each) ──> format (lines, array, XML, CSV) ──> compression ──> bytes
//! ```
//!
//! Which export rows the vendor writes is not published; the field names are those of its public interfaces.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

mod event;
mod format;
mod record;
mod repeated;
pub mod ugly;

pub use event::{Event, EventSpec};
pub use repeated::RepeatedSpec;

/// What a file is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Items, with their identifiers. Each sixteenth is a bundle of two others, which come before it.
    #[default]
    Items,
    /// Prices; each belongs to an item and to a store group.
    Prices,
    /// Stores; each belongs to two store groups, its profile and its price zone.
    Stores,
    /// Customers.
    Customers,
    /// Store groups. A price zone belongs to a profile, which is a store group as well. The first
    /// [`STORE_GROUPS`] are those that stores and prices name.
    StoreGroups,
}

/// How many store groups stores and prices refer to.
pub const STORE_GROUPS: u64 = record::STORE_GROUPS;

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Items, Self::Prices, Self::Stores, Self::Customers, Self::StoreGroups];

    /// The blob type under which such a file is announced.
    #[must_use]
    pub const fn blob_type(self) -> &'static str {
        match self {
            Self::Items => "Gateway.ItemChanges",
            Self::Prices => "Gateway.PriceChanges",
            Self::Stores => "StoreService.Stores",
            Self::Customers => "Customers",
            Self::StoreGroups => "StoreService.StoreGroups",
        }
    }

    /// The name of one record, as an XML element.
    const fn element(self) -> &'static str {
        match self {
            Self::Items => "Item",
            Self::Prices => "Price",
            Self::Stores => "Store",
            Self::Customers => "Customer",
            Self::StoreGroups => "StoreGroup",
        }
    }
}

/// How the records stand in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// One JSON object a line.
    #[default]
    JsonLines,
    /// One JSON array.
    JsonArray,
    /// One XML element a line, without a prolog.
    XmlLines,
    /// One XML document with an element a record.
    XmlDocument,
    /// A header and a row a record.
    Csv,
}

impl Format {
    /// The content type that the vendor writes for it.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::JsonLines => "application/x-jsonlines",
            Self::JsonArray => "application/json",
            Self::XmlLines => "application/x-xmllines",
            Self::XmlDocument => "text/xml",
            Self::Csv => "text/csv",
        }
    }

    const fn extension(self) -> &'static str {
        match self {
            Self::JsonLines => "jsonl",
            Self::JsonArray => "json",
            Self::XmlLines => "xmll",
            Self::XmlDocument => "xml",
            Self::Csv => "csv",
        }
    }
}

/// How the file is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// Not at all.
    None,
    /// As the vendor does it.
    #[default]
    Gzip,
    /// HTTP's deflate, which is zlib's format.
    Deflate,
    /// Brotli.
    Br,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// The value of `contentEncoding`.
    #[must_use]
    pub const fn content_encoding(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip => Some("gzip"),
            Self::Deflate => Some("deflate"),
            Self::Br => Some("br"),
            Self::Zstd => Some("zstd"),
        }
    }

    const fn extension(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Deflate => ".zz",
            Self::Br => ".br",
            Self::Zstd => ".zst",
        }
    }
}

/// A sample file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SampleSpec {
    /// What it is about.
    pub kind: Kind,
    /// How many records it has.
    pub records: u64,
    /// The number of its first record. Two files whose numbers do not meet have no record in common.
    pub first: u64,
    /// A price's item is its own number modulo this; absent for one price an item.
    pub parents: Option<u64>,
    /// Decides everything that the numbers leave open.
    pub seed: u64,
    /// How the records stand in it.
    pub format: Format,
    /// How it is compressed.
    pub compression: Compression,
    /// Starts with a byte order mark, as the vendor's own samples do.
    pub bom: bool,
    /// Its last line has no newline, as in the vendor's own samples.
    pub last_newline_missing: bool,
}

impl Default for SampleSpec {
    fn default() -> Self {
        Self {
            kind: Kind::default(),
            records: 100,
            first: 0,
            parents: None,
            seed: 0,
            format: Format::default(),
            compression: Compression::default(),
            bom: false,
            last_newline_missing: false,
        }
    }
}

impl SampleSpec {
    /// `records` items as gzipped JSON lines.
    #[must_use]
    pub fn new(kind: Kind, records: u64) -> Self {
        Self { kind, records, ..Self::default() }
    }

    /// How its name ends, such as `.jsonl.gz`.
    #[must_use]
    pub fn extension(&self) -> String {
        format!(".{}{}", self.format.extension(), self.compression.extension())
    }

    /// The record of number `self.first + index`, as JSON.
    #[must_use]
    pub fn record(&self, index: u64) -> serde_json::Value {
        record::record(self.kind, self.seed, self.first + index, self.parents)
    }

    /// The files whose records must be there before those of this one and of `files` further ones like it.
    #[must_use]
    pub fn parents_of(&self, files: u32) -> Vec<Self> {
        /// Items in a row of which the last is a bundle of two others.
        const ROW: u64 = record::BUNDLE_EVERY;
        let records = self.records.saturating_mul(files.into());
        let of = |kind, first, records| Self {
            first,
            seed: self.seed,
            format: self.format,
            compression: self.compression,
            ..Self::new(kind, records)
        };
        let groups = of(Kind::StoreGroups, 0, STORE_GROUPS);
        match self.kind {
            Kind::Prices => {
                let (first, end) = match self.parents {
                    Some(items) => (0, items.max(1)),
                    None => (self.first, self.first.saturating_add(records)),
                };
                let first = first - first % ROW;
                vec![of(Kind::Items, first, end - first), groups]
            }
            Kind::Stores => vec![groups],
            Kind::Items | Kind::Customers | Kind::StoreGroups => Vec::new(),
        }
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn write_to<W: Write>(&self, out: W) -> io::Result<W> {
        match self.compression {
            Compression::None => self.write_plain(out),
            Compression::Gzip => {
                let encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
                self.write_plain(encoder)?.finish()
            }
            Compression::Deflate => {
                let encoder = flate2::write::ZlibEncoder::new(out, flate2::Compression::default());
                self.write_plain(encoder)?.finish()
            }
            Compression::Br => {
                let mut encoder = self.write_plain(brotli::CompressorWriter::new(out, 64 * 1024, 5, 22))?;
                encoder.flush()?;
                Ok(encoder.into_inner())
            }
            Compression::Zstd => self.write_plain(zstd::stream::write::Encoder::new(out, 3)?)?.finish(),
        }
    }

    /// The file as bytes, for sizes that memory bears.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.write_to(Vec::new()).expect("memory can always be written")
    }

    fn write_plain<W: Write>(&self, mut out: W) -> io::Result<W> {
        if self.bom {
            out.write_all("\u{feff}".as_bytes())?;
        }
        format::write(self, &mut out)?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests;
