//! What the demo publishes, and which records each file must bring.

use serde_json::Value;

use crate::sandbox::sample::ugly::Ugly;
use crate::sandbox::sample::{Compression, Format, Kind, SampleSpec};
use crate::sandbox::{FileSource, PublishRequest};

/// Decides everything that the numbers leave open; fixed, so that two demos of one size publish the same.
const SEED: u64 = 20_260_301;

/// The records of an ugly file.
const UGLY_RECORDS: u64 = 50;

/// Ugly files go under a blob type of their own, so that the table shows what became of them.
pub const UGLY_BLOB_TYPE: &str = "Gateway.UglyItemChanges";

/// A file to publish.
pub struct Load {
    /// How it is published.
    pub request: PublishRequest,
    /// Names each record that must be delivered, once.
    pub expected: Vec<String>,
}

/// A mixed load of `files` ordinary files that hold `records` records together, and a few ugly ones spread among them.
pub fn mixed(files: u32, records: u64) -> Vec<Load> {
    // Kind, form and compression, in turn: what the vendor documents, and what HTTP would allow it to send.
    const MANNERS: [(Kind, Format, Compression); 8] = [
        (Kind::Prices, Format::JsonLines, Compression::Gzip),
        (Kind::Items, Format::JsonLines, Compression::Gzip),
        (Kind::Stores, Format::JsonArray, Compression::None),
        (Kind::Customers, Format::Csv, Compression::Gzip),
        (Kind::Items, Format::XmlLines, Compression::Gzip),
        (Kind::Prices, Format::JsonLines, Compression::Zstd),
        (Kind::Items, Format::XmlDocument, Compression::Br),
        (Kind::Customers, Format::JsonLines, Compression::Deflate),
    ];
    let mut loads = Vec::new();
    let mut first = 0;
    for number in 0..files {
        let (kind, format, compression) = MANNERS[number as usize % MANNERS.len()];
        // The first files take what an even split leaves over.
        let share = records / u64::from(files) + u64::from(u64::from(number) < records % u64::from(files));
        let spec = SampleSpec {
            first,
            seed: SEED,
            format,
            compression,
            bom: number % 5 == 1 && format == Format::JsonLines,
            last_newline_missing: number % 7 == 1,
            ..SampleSpec::new(kind, share)
        };
        first += share;
        loads.push(Load { expected: expected(&spec), request: PublishRequest::samples(spec, 1) });
    }
    spread(&mut loads, ugly(first));
    loads
}

/// The files that are wrong, or at least unusual.
fn ugly(mut first: u64) -> Vec<Load> {
    let ways = [
        Ugly::BadLine,
        Ugly::TruncatedGzip,
        Ugly::MultiMemberGzip,
        Ugly::Utf16,
        Ugly::PlainCalledGzip,
        Ugly::UnknownType,
        Ugly::MissingBlob,
        Ugly::Empty,
    ];
    let mut loads = Vec::new();
    for way in ways {
        let file = way.build(first, UGLY_RECORDS, SEED);
        let spec = SampleSpec { first, seed: SEED, ..SampleSpec::new(Kind::Items, UGLY_RECORDS) };
        let is_read = file.expected == crate::sandbox::sample::ugly::Expected::Delivered && file.records > 0;
        let source = FileSource::Ugly { way, first, records: UGLY_RECORDS, seed: SEED };
        loads.push(Load {
            request: PublishRequest::new(source).blob_type(UGLY_BLOB_TYPE),
            expected: if is_read { expected(&spec) } else { Vec::new() },
        });
        first += UGLY_RECORDS;
    }
    let nonsense = FileSource::Message("this is not an announcement".to_owned());
    loads.push(Load { request: PublishRequest::new(nonsense), expected: Vec::new() });
    loads
}

/// Puts `others` among `loads` at even distances.
fn spread(loads: &mut Vec<Load>, others: Vec<Load>) {
    let distance = loads.len() / (others.len() + 1);
    for (number, load) in others.into_iter().enumerate() {
        let at = ((number + 1) * distance + number).min(loads.len());
        loads.insert(at, load);
    }
}

fn expected(spec: &SampleSpec) -> Vec<String> {
    (0..spec.records)
        .map(|index| spec.record(index))
        .filter(|record| spec.kind != Kind::Stores || is_open(record))
        .filter_map(|record| name_of(&record))
        .collect()
}

/// What the route of the stores asks for; see the demo's configuration.
fn is_open(store: &Value) -> bool {
    store.get("isOpen") == Some(&Value::Bool(true))
}

/// What names a record of the samples, whichever form it was delivered in.
pub fn name_of(record: &Value) -> Option<String> {
    // As JSON, as a row of CSV, and as an element of XML under its name.
    const POINTERS: [&str; 6] =
        ["/priceGuid", "/identifier/sku", "/storeNo", "/customerNo", "/identifier.sku", "/Item/identifier/sku"];
    let found = POINTERS.iter().find_map(|pointer| record.pointer(pointer))?;
    Some(found.as_str().map_or_else(|| found.to_string(), str::to_owned))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_record_is_published_once_and_has_a_name_of_its_own() {
        let loads = mixed(16, 1_003);
        assert_eq!(loads.len(), 16 + 9);
        let names: Vec<&String> = loads.iter().flat_map(|load| &load.expected).collect();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
    }
}
