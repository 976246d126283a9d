use std::fs::File;
use std::io::Write as _;

use zip::write::{SimpleFileOptions, ZipWriter};
use zip::{CompressionMethod, DateTime};

use super::*;

fn limits() -> ArchiveLimits {
    ArchiveLimits { file_bytes_max: 1 << 30, entries_max: 100, unpacked_bytes_max: 64 << 20, ratio_max: 100 }
}

fn options() -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(CompressionMethod::Deflated).last_modified_time(DateTime::default())
}

fn zipped(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(io::Cursor::new(Vec::new()));
    for (name, content) in entries {
        writer.start_file(*name, options()).expect("an entry");
        writer.write_all(content).expect("written");
    }
    writer.finish().expect("an archive").into_inner()
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("written");
    file
}

fn looked_with(bytes: &[u8], limits: &ArchiveLimits) -> Looked {
    let files = FileFilter::new(&["*".to_owned()], &["*.part".to_owned()]).expect("globs");
    look(&file_of(bytes), limits, &files).expect("read")
}

fn looked(bytes: &[u8]) -> Looked {
    looked_with(bytes, &limits())
}

fn entries(bytes: &[u8]) -> Vec<Entry> {
    match looked(bytes) {
        Looked::Whole(entries) => entries,
        other => panic!("{other:?}"),
    }
}

fn refused(bytes: &[u8]) -> String {
    match looked(bytes) {
        Looked::Refused(reason) => reason,
        other => panic!("{other:?}"),
    }
}

/// Text that does not become much smaller.
fn noise(count: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..count).map(|_| random.u8(b' '..b'~')).collect()
}

/// The archive with the bytes `from` replaced wherever they stand.
fn replaced(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let places: Vec<_> = (0..=bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty(), "nothing to replace");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}

/// Changes the field at `offset` of every local header and at `offset + 2` of every directory entry.
fn patched(mut bytes: Vec<u8>, offset: usize, value: [u8; 2]) -> Vec<u8> {
    for (mark, at) in [(b"PK\x03\x04", offset), (b"PK\x01\x02", offset + 2)] {
        let places: Vec<_> = (0..bytes.len() - 4).filter(|at| bytes[*at..].starts_with(mark)).collect();
        for place in places {
            bytes[place + at..place + at + 2].copy_from_slice(&value);
        }
    }
    bytes
}

#[test]
fn every_entry_of_a_whole_archive_is_told_with_its_columns() {
    let bytes = zipped(&[
        ("add to cart_01012022.csv", b"eventId,ts,Payload.price\n1,2,3\n"),
        ("कार्ट_01012022.csv", b"a;b\n"),
        ("readme.txt", b"x"),
        (".DS_Store", b"x"),
        ("__MACOSX/a.csv", b"x"),
        ("b.csv.part", b"x"),
        ("folder/", b""),
    ]);
    let entries = entries(&bytes);
    let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["add to cart_01012022.csv", "कार्ट_01012022.csv", "readme.txt"]);
    assert_eq!(entries[0].columns.as_deref(), Some(["eventId", "ts", "Payload.price"].map(str::to_owned).as_slice()));
    assert_eq!((entries[0].size, entries[2].columns.as_ref()), (31, None));
    assert!(entries.iter().all(|entry| entry.fault.is_none()));
}

#[test]
fn an_archive_that_is_cut_off_anywhere_is_never_whole() {
    let bytes = zipped(&[("a.csv", &noise(3_000)), ("b.csv", b"x\n1\n")]);
    for length in 1..bytes.len() {
        let looked = looked(&bytes[..length]);
        assert!(matches!(looked, Looked::Broken { .. }), "{length} of {}: {looked:?}", bytes.len());
    }
    assert_eq!(entries(&bytes).len(), 2);
}

#[test]
fn a_hole_in_an_entry_is_found_by_its_sum_and_the_others_are_told() {
    let mut bytes = zipped(&[("a.csv", &noise(30_000)), ("b.csv", b"x\n1\n")]);
    bytes[10_000..14_000].fill(0);
    let Looked::Broken { reason, entries } = looked(&bytes) else { panic!("believed") };
    assert!(reason.contains("a.csv"), "{reason}");
    assert!(entries[0].fault.is_some() && entries[1].fault.is_none(), "{entries:?}");
}

#[test]
fn names_that_lead_elsewhere_are_set_aside_one_by_one() {
    for name in ["../a.csv", "x/../../a.csv", "/etc/a.csv", "C:/a.csv", "a\u{1}b.csv", "./a.csv"] {
        let entries = entries(&zipped(&[(name, b"x\n1\n"), ("good.csv", b"x\n1\n")]));
        assert!(entries[0].fault.is_some(), "{name}: {entries:?}");
        assert!(entries[1].fault.is_none(), "{name}: {entries:?}");
    }
    for sign in [b'\\', 0] {
        let bytes =
            replaced(zipped(&[("ab@cd.csv", b"x\n1\n")]), b"ab@cd.csv", &[b"ab", &[sign][..], b"cd.csv"].concat());
        assert!(entries(&bytes)[0].fault.is_some(), "{sign}");
    }
}

#[test]
fn two_entries_of_one_name_are_refused() {
    let bytes = replaced(zipped(&[("aa.csv", b"1"), ("ab.csv", b"2")]), b"ab.csv", b"aa.csv");
    assert!(refused(&bytes).contains("same name"));
}

#[test]
fn a_name_in_the_old_character_set_is_read_as_that() {
    // 0x81 is ü in code page 437; without the flag for UTF-8, that is what a name is in.
    let bytes = replaced(zipped(&[("Pr@fung.csv", b"x\n")]), b"Pr@fung.csv", b"Pr\x81fung.csv");
    assert_eq!(entries(&bytes)[0].name, "Prüfung.csv");
    assert_eq!(entries(&zipped(&[("Prüfung.csv", b"x\n")]))[0].name, "Prüfung.csv");
}

#[test]
fn what_is_encrypted_or_packed_otherwise_is_set_aside_with_that_reason() {
    let encrypted = patched(zipped(&[("a.csv", b"x\n1\n")]), 6, [1, 0]);
    assert!(entries(&encrypted)[0].fault.as_deref().expect("a fault").contains("encrypted"));
    let lzma = patched(zipped(&[("a.csv", b"x\n1\n")]), 8, [14, 0]);
    let fault = entries(&lzma)[0].fault.clone().expect("a fault");
    assert!(fault.contains("Lzma"), "{fault}");
}

#[test]
fn a_bomb_is_named_by_what_it_does() {
    let zeros = vec![b'0'; 4 << 20];
    assert!(refused(&zipped(&[("a.csv", &zeros)])).contains("bomb"));
    let wide = ArchiveLimits { ratio_max: 100_000, unpacked_bytes_max: 7 << 20, ..limits() };
    let Looked::Refused(reason) = looked_with(&zipped(&[("a.csv", &zeros), ("b.csv", &zeros)]), &wide) else {
        panic!("believed")
    };
    assert!(reason.contains("unpacked_bytes_max"), "{reason}");
    let many: Vec<_> = (0..101).map(|n| format!("{n}.csv")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
    assert!(refused(&zipped(&many)).contains("101 entries"));
}

#[test]
fn entries_that_share_bytes_are_refused() {
    let bytes = zipped(&[("a.csv", b"x\n1\n"), ("b.csv", b"x\n1\n")]);
    // The second entry's place in the directory is made that of the first.
    let second = bytes.windows(4).rposition(|bytes| bytes == b"PK\x01\x02").expect("a directory");
    let mut bytes = bytes;
    bytes[second + 42..second + 46].fill(0);
    assert!(matches!(looked(&bytes), Looked::Refused(reason) if reason.contains("overlap")));
}

#[test]
fn an_archive_of_the_large_kind_is_read() {
    let mut writer = ZipWriter::new(io::Cursor::new(Vec::new()));
    writer.start_file("a.csv", options().large_file(true)).expect("an entry");
    writer.write_all(b"x\n1\n").expect("written");
    let bytes = writer.finish().expect("an archive").into_inner();
    assert_eq!(entries(&bytes)[0].size, 4);
}

#[test]
fn an_entry_is_read_from_any_byte_on() {
    let content = noise(200_000);
    let bytes = zipped(&[("a b.csv", &content), ("c.csv", b"x")]);
    for from in [0, 1, 65_536, 199_999, 200_000] {
        let mut read = Vec::new();
        let mut give = |piece: &[u8]| {
            read.extend_from_slice(piece);
            true
        };
        read_from(file_of(&bytes), "a b.csv", from, &mut give).expect("read");
        assert!(read == content[usize::try_from(from).unwrap()..], "from {from}");
    }
    assert!(read_from(file_of(&bytes), "d.csv", 0, &mut |_| true).is_err());
}
