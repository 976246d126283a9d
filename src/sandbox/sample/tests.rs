use std::collections::HashSet;
use std::io::Read as _;

use flate2::bufread::MultiGzDecoder;
use futures::TryStreamExt as _;
use serde_json::Value;

use super::ugly::{Expected, Ugly};
use super::*;
use crate::sandbox::Content;

fn gunzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    MultiGzDecoder::new(bytes).read_to_end(&mut out)?;
    Ok(out)
}

#[test]
fn the_same_seed_makes_the_same_file() {
    for kind in Kind::ALL {
        let spec = SampleSpec { seed: 7, ..SampleSpec::new(kind, 50) };
        assert_eq!(spec.to_vec(), spec.to_vec());
        assert_ne!(spec.to_vec(), SampleSpec { seed: 8, ..spec.clone() }.to_vec());
        let later = SampleSpec { first: 20, records: 1, ..spec.clone() };
        assert_eq!(spec.record(20), later.record(0), "a record depends on its number alone");
    }
}

#[test]
fn every_format_holds_every_record() {
    for kind in Kind::ALL {
        let spec = SampleSpec { compression: Compression::None, ..SampleSpec::new(kind, 30) };
        let wanted: Vec<Value> = (0..30).map(|index| spec.record(index)).collect();

        let lines = String::from_utf8(spec.to_vec()).expect("UTF-8");
        assert!(lines.ends_with('\n'));
        let read: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(read, wanted);

        let array = SampleSpec { format: Format::JsonArray, ..spec.clone() }.to_vec();
        assert_eq!(serde_json::from_slice::<Vec<Value>>(&array).expect("JSON"), wanted);

        let rows = SampleSpec { format: Format::Csv, last_newline_missing: true, ..spec.clone() }.to_vec();
        assert_ne!(rows.last(), Some(&b'\n'));
        let mut reader = csv::Reader::from_reader(&rows[..]);
        let header = reader.headers().expect("a header").clone();
        assert_eq!(reader.records().map(|row| row.expect("a row")).filter(|row| row.len() == header.len()).count(), 30);

        for format in [Format::XmlLines, Format::XmlDocument] {
            let xml = String::from_utf8(SampleSpec { format, ..spec.clone() }.to_vec()).expect("UTF-8");
            let mut reader = quick_xml::Reader::from_str(&xml);
            let (mut records, mut depth) = (0, 0);
            let level = i32::from(format == Format::XmlDocument);
            loop {
                match reader.read_event().expect("XML") {
                    quick_xml::events::Event::Start(_) => {
                        records += i32::from(depth == level);
                        depth += 1;
                    }
                    quick_xml::events::Event::End(_) => depth -= 1,
                    quick_xml::events::Event::Eof => break,
                    _ => {}
                }
            }
            assert_eq!(records, 30);
        }
    }
}

#[test]
fn every_compression_is_undone_by_its_own_reader() {
    let spec = |compression| SampleSpec { compression, bom: true, ..SampleSpec::new(Kind::Prices, 200) };
    let plain = spec(Compression::None).to_vec();
    assert_eq!(&plain[..3], "\u{feff}".as_bytes());
    assert_eq!(gunzip(&spec(Compression::Gzip).to_vec()).expect("gzip"), plain);
    let mut out = Vec::new();
    flate2::read::ZlibDecoder::new(&spec(Compression::Deflate).to_vec()[..]).read_to_end(&mut out).expect("zlib");
    assert_eq!(out, plain);
    out.clear();
    brotli::Decompressor::new(&spec(Compression::Br).to_vec()[..], 4_096).read_to_end(&mut out).expect("brotli");
    assert_eq!(out, plain);
    assert_eq!(zstd::decode_all(&spec(Compression::Zstd).to_vec()[..]).expect("zstd"), plain);
}

#[test]
fn a_price_belongs_to_an_item_of_its_range() {
    let items = SampleSpec::new(Kind::Items, 10);
    let prices = SampleSpec { parents: Some(10), ..SampleSpec::new(Kind::Prices, 25) };
    let parent = |index| prices.record(index)["itemIdentifier"].clone();
    assert_eq!(parent(3), items.record(3)["identifier"]);
    assert_eq!(parent(23), items.record(3)["identifier"]);
}

/// Every value under one of these names in `record`.
fn references(record: &Value) -> Vec<(Kind, Value)> {
    let item = |pointer: &str| record.pointer(pointer).map(|found| (Kind::Items, found["sku"].clone()));
    let group = |pointer: &str| record.pointer(pointer).map(|found| (Kind::StoreGroups, found.clone()));
    let bundled = ["/bundleContentItemReferences/0/item", "/bundleContentItemReferences/1/item", "/itemIdentifier"];
    let groups = ["/storeGroup/code", "/profile/code", "/priceZone"];
    bundled.iter().filter_map(|at| item(at)).chain(groups.iter().filter_map(|at| group(at))).collect()
}

#[test]
fn whatever_a_sample_refers_to_is_among_its_parents_or_before_it() {
    for spec in [
        SampleSpec { first: 30, ..SampleSpec::new(Kind::Prices, 40) },
        SampleSpec { parents: Some(20), ..SampleSpec::new(Kind::Prices, 50) },
        SampleSpec::new(Kind::Stores, 40),
        SampleSpec::new(Kind::StoreGroups, 40),
        SampleSpec::new(Kind::Items, 40),
    ] {
        let twice = SampleSpec { first: spec.first + spec.records, ..spec.clone() };
        let mut known = HashSet::new();
        let mut kinds = HashSet::new();
        let mut children = 0;
        let parents = spec.parents_of(2);
        for file in parents.iter().chain([&spec, &twice]) {
            for record in (0..file.records).map(|index| file.record(index)) {
                for (kind, key) in references(&record) {
                    // Within the parents, what comes first is before what refers to it.
                    assert!(known.contains(&(kind, key.clone())), "{kind:?} {key} of {record}");
                    children += 1;
                    kinds.insert(kind);
                }
                let own = [(Kind::Items, record.pointer("/identifier/sku")), (Kind::StoreGroups, record.get("code"))];
                known.extend(own.into_iter().filter_map(|(kind, key)| Some((kind, key?.clone()))));
            }
        }
        assert!(children >= 2, "{spec:?} refers to {children}");
        assert!(kinds.contains(&Kind::Items) || spec.kind == Kind::Stores || spec.kind == Kind::StoreGroups);
    }
}

#[tokio::test]
async fn a_repeated_file_is_one_good_gzip_member() {
    let spec = RepeatedSpec { decompressed_bytes: 3_000_000, block_records: 100, ..RepeatedSpec::default() };
    let repeated = spec.build().expect("built");
    assert!(matches!(repeated.content, Content::Repeated { times, .. } if times > 50));
    let parts: Vec<bytes::Bytes> = repeated.content.read(0..repeated.content.len()).try_collect().await.expect("read");
    let served = parts.concat();
    let plain = gunzip(&served).expect("checksum and length are right");
    assert_eq!(plain.len() as u64, repeated.decompressed_bytes);
    assert_eq!(plain.iter().filter(|byte| **byte == b'\n').count() as u64, repeated.records);
}

#[test]
fn every_ugly_file_is_ugly_in_its_own_way() {
    for ugly in Ugly::ALL {
        let file = ugly.build(0, 100, 1);
        let bytes = file.bytes.clone().unwrap_or_default();
        let gzip = gunzip(&bytes);
        match ugly {
            Ugly::TruncatedGzip | Ugly::CorruptGzip => {
                assert_eq!(file.expected, Expected::Poison);
                assert!(gzip.is_err());
            }
            Ugly::PlainCalledGzip => assert!(gzip.is_err() && file.content_encoding == Some("gzip")),
            Ugly::GzipCalledPlain => assert!(gzip.is_ok() && file.content_encoding.is_none()),
            Ugly::Utf16 => assert_eq!(bytes[..2], [0xff, 0xfe]),
            Ugly::CrLf => assert!(bytes.windows(4).any(|bytes| bytes == b"\r\n\r\n")),
            Ugly::Empty => assert!(file.bytes.as_ref().is_some_and(Vec::is_empty)),
            Ugly::MissingBlob => assert_eq!((file.bytes, file.expected), (None, Expected::Missing)),
            Ugly::UnknownType => assert_eq!(file.expected, Expected::Opaque),
            Ugly::MultiMemberGzip | Ugly::BadLine | Ugly::LongLine | Ugly::BomAndNoLastNewline => {
                let text = String::from_utf8(gzip.expect("gzip")).expect("UTF-8");
                let lines = text.trim_start_matches('\u{feff}').lines();
                let (good, bad): (Vec<_>, Vec<_>) =
                    lines.partition(|line| line.len() < 4 << 20 && serde_json::from_str::<Value>(line).is_ok());
                assert_eq!((good.len() as u64, bad.len() as u64), (file.records, file.bad_records), "{ugly:?}");
            }
        }
    }
}
