//! What the demo publishes for EG Retail, in which order, and which records each file must bring.

use serde_json::Value;

use super::super::account::name_of;
use crate::sandbox::sample::ugly::Ugly;
use crate::sandbox::sample::{Compression, Format, Kind, STORE_GROUPS, SampleSpec};
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
    /// Names each record that must be delivered, once to every sink of its route.
    pub expected: Vec<String>,
    /// Whether its records go into files.
    pub to_files: bool,
    /// Whether they go into the database.
    pub to_shop: bool,
}

/// A mixed load of `files` ordinary files that hold `records` records together, a few ugly ones spread among them, and
/// the store groups. Children come before their parents: prices before items and store groups, stores before store
/// groups, bundles before what they are made of.
pub fn mixed(files: u32, records: u64) -> Vec<Load> {
    // Kind, form and compression, in turn: what the vendor documents, and what HTTP would allow it to send.
    const MANNERS: [(Kind, Format, Compression); 8] = [
        (Kind::Items, Format::JsonLines, Compression::Gzip),
        (Kind::Prices, Format::JsonLines, Compression::Gzip),
        (Kind::Stores, Format::JsonArray, Compression::None),
        (Kind::Customers, Format::Csv, Compression::Gzip),
        (Kind::Items, Format::JsonArray, Compression::Br),
        (Kind::Prices, Format::JsonLines, Compression::Zstd),
        (Kind::Customers, Format::XmlLines, Compression::Gzip),
        (Kind::Customers, Format::XmlDocument, Compression::Deflate),
    ];
    let mut specs: Vec<SampleSpec> = Vec::new();
    let mut first_of = [0; Kind::ALL.len()];
    for number in 0..files {
        let (kind, format, compression) = MANNERS[number as usize % MANNERS.len()];
        // The first files take what an even split leaves over.
        let share = records / u64::from(files) + u64::from(u64::from(number) < records % u64::from(files));
        let first = &mut first_of[kind as usize];
        specs.push(SampleSpec {
            first: *first,
            seed: SEED,
            format,
            compression,
            bom: number % 5 == 1 && format == Format::JsonLines,
            last_newline_missing: number % 7 == 1,
            ..SampleSpec::new(kind, share)
        });
        *first += share;
    }
    // Every price belongs to an item that is published, however many there are of each.
    let items = first_of[Kind::Items as usize];
    specs.iter_mut().filter(|spec| spec.kind == Kind::Prices).for_each(|spec| spec.parents = Some(items));
    let mut loads: Vec<Load> = children_first(specs).iter().map(ordinary).collect();
    spread(&mut loads, ugly(items));
    loads
}

/// Puts the first half of the prices before everything else, the later items before the earlier ones, and the store groups,
/// as lines of XML, into the middle.
fn children_first(specs: Vec<SampleSpec>) -> Vec<SampleSpec> {
    let (mut prices, mut others): (Vec<_>, Vec<_>) = specs.into_iter().partition(|spec| spec.kind == Kind::Prices);
    others.reverse();
    let groups =
        SampleSpec { seed: SEED, format: Format::XmlLines, ..SampleSpec::new(Kind::StoreGroups, STORE_GROUPS) };
    others.insert(others.len() / 2, groups);
    let late_prices = prices.split_off(prices.len().div_ceil(2));
    [prices, others, late_prices].concat()
}

fn ordinary(spec: &SampleSpec) -> Load {
    let (to_files, to_shop) = match spec.kind {
        Kind::Items | Kind::Prices => (false, true),
        Kind::Stores | Kind::Customers => (true, false),
        Kind::StoreGroups => (true, true),
    };
    Load { expected: expected(spec), request: PublishRequest::samples(spec.clone(), 1), to_files, to_shop }
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
    let to_files = |request, expected| Load { request, expected, to_files: true, to_shop: false };
    let mut loads = Vec::new();
    for way in ways {
        let file = way.build(first, UGLY_RECORDS, SEED);
        let spec = SampleSpec { first, seed: SEED, ..SampleSpec::new(Kind::Items, UGLY_RECORDS) };
        let is_read = file.expected == crate::sandbox::sample::ugly::Expected::Delivered && file.records > 0;
        let source = FileSource::Ugly { way, first, records: UGLY_RECORDS, seed: SEED };
        let request = PublishRequest::new(source).blob_type(UGLY_BLOB_TYPE);
        loads.push(to_files(request, if is_read { expected(&spec) } else { Vec::new() }));
        first += UGLY_RECORDS;
    }
    let nonsense = FileSource::Message("this is not an announcement".to_owned());
    loads.push(to_files(PublishRequest::new(nonsense), Vec::new()));
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_record_is_published_once_and_has_a_name_of_its_own() {
        let loads = mixed(16, 1_003);
        assert_eq!(loads.len(), 16 + 1 + 9);
        let names: Vec<&String> = loads.iter().flat_map(|load| &load.expected).collect();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
    }

    #[test]
    fn prices_are_published_before_what_they_refer_to_and_every_parent_is() {
        for (files, records) in [(1, 10), (2, 5), (3, 1), (16, 1_003)] {
            let loads = mixed(files, records);
            let kinds: Vec<Kind> = loads
                .iter()
                .filter_map(|load| match &load.request.file {
                    FileSource::Sample(spec) => Some(spec.kind),
                    _ => None,
                })
                .collect();
            assert!(kinds.contains(&Kind::Items) && kinds.contains(&Kind::StoreGroups));
            if files > 1 {
                assert_eq!(kinds[0], Kind::Prices);
            }
            let names: HashSet<&String> = loads.iter().flat_map(|load| &load.expected).collect();
            for load in &loads {
                let FileSource::Sample(spec) = &load.request.file else { continue };
                for record in (0..spec.records).map(|index| spec.record(index)) {
                    for pointer in ["/itemIdentifier/sku", "/storeGroup/code", "/profile/code"] {
                        let parent = record.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
                        assert!(parent.as_ref().is_none_or(|name| names.contains(name)), "{parent:?} is published");
                    }
                }
            }
        }
    }
}
