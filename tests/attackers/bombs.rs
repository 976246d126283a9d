//! What is far larger inside than outside, or without an end: each has a bound, and its outcome a name. A bomb in an AMQP
//! message is in `messages`.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use longshore::inbox::ledger::NoticeState;
use longshore::sandbox::{FileSource, PublishRequest};
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

use crate::common::vendor::World;

/// Small, so that small bombs are beyond them.
const LIMITS: &str = "[work]\nordering = \"none\"\n[limits]\nrecord_bytes_max = \"64KiB\"\ndepth_max = 32\nrecords_max = 1000\n\
                      decompressed_bytes_max = \"8MiB\"\nratio_max = 100\nbad_records_max = 10\n";
/// A route for XML whose records lie anywhere in it.
const OUTSIDE: &str = "[[route]]\nname = \"outside\"\nblob_types = [\"XML outside*\"]\nsinks = [\"files\"]\nxml_record_element = \"Item\"\n";
/// What the daemon may take at most, with all of these at work: far less than what is in them.
const MEMORY_KB_MAX: u64 = 400 * 1024;

/// What becomes of a bomb.
enum End {
    /// The file is quarantined for this.
    File(&'static str),
    /// So many of its records are quarantined for this; the others are delivered.
    Records(u64, &'static str),
}

use End::{File, Records};

struct Bomb {
    name: &'static str,
    content_type: &'static str,
    encoding: Option<&'static str>,
    bytes: Vec<u8>,
    end: End,
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("written");
    encoder.finish().expect("finished")
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("written");
    encoder.finish().expect("finished")
}

fn brotli(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = brotli::CompressorWriter::new(Vec::new(), 64 * 1024, 5, 22);
    encoder.write_all(bytes).expect("written");
    encoder.into_inner()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).expect("packed")
}

/// A frame whose reader has to hold 1 GiB.
fn zstd_of_a_large_window() -> Vec<u8> {
    // The magic number, a descriptor without a size, a window of 2^30 bytes, and a last block of nothing.
    [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, (30 - 10) << 3][..], &[0x01, 0x00, 0x00]].concat()
}

/// A document with elements in elements outside of the records (`<Item>`), after `records`.
fn around(records: &str) -> String {
    format!("<r>{records}{}<Item>2</Item>{}</r>", "<a>".repeat(3_000), "</a>".repeat(3_000))
}

/// Lines that do not become much smaller.
fn noise(count: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut lines = Vec::new();
    for _ in 0..count {
        let text: String = (0..30_000).map(|_| random.alphanumeric()).collect();
        writeln!(lines, "{{\"a\":\"{text}\"}}").expect("written");
    }
    lines
}

/// A bad line, and a good one behind it.
fn then_good(bad: &[u8], times: usize) -> Vec<u8> {
    let mut lines = [bad, b"\n"].concat().repeat(times);
    lines.extend_from_slice(b"{\"good\":1}\n");
    lines
}

fn laughs() -> String {
    let mut text = "<!DOCTYPE r [<!ENTITY a0 \"ha\">".to_owned();
    for level in 1..10 {
        let inner = format!("&a{};", level - 1).repeat(10);
        text += &format!("<!ENTITY a{level} \"{inner}\">");
    }
    text + "]><items><item>&a9;</item><item>good</item></items>"
}

fn bombs() -> Vec<Bomb> {
    let lines = "application/x-jsonlines";
    let deep = |open: &str, close: &str, levels: usize| open.repeat(levels) + &close.repeat(levels);
    let row = |name, content_type, encoding, bytes, end| Bomb { name, content_type, encoding, bytes, end };
    let spaces = [&b"{\"a\":1}"[..], &[b' '; 60_000], b"\n"].concat().repeat(100);
    let ratio = gzip(&spaces);
    let member = gzip(&b"{\"a\":1}        \n".repeat(50));
    // Each on its own is within the bounds; all of them together are not.
    let large_member = gzip(&noise(20));
    let blank_member = gzip(&[b' '; 2_000]);
    let text = |text: String| text.into_bytes();
    vec![
        row("ratio", lines, Some("gzip"), ratio.clone(), File("it expands more than 100 times")),
        row("ratio unannounced", lines, None, ratio, File("it expands more than 100 times")),
        row("size", lines, Some("gzip"), gzip(&noise(300)), File("it is larger than 8388608 decompressed bytes")),
        row("many members", lines, Some("gzip"), member.repeat(50), File("it has more than 1000 records")),
        row("size of members", lines, None, large_member.repeat(15), File("larger than 8388608 decompressed bytes")),
        row(
            "ratio of members",
            lines,
            Some("gzip"),
            blank_member.repeat(3_000),
            Records(1, "it is longer than 65536 bytes"),
        ),
        row("members of nothing", lines, Some("gzip"), gzip(b"").repeat(100_000), Records(0, "")),
        row("brotli ratio", lines, Some("br"), brotli(&spaces), File("it expands more than 100 times")),
        row("brotli size", lines, Some("br"), brotli(&noise(300)), File("larger than 8388608 decompressed bytes")),
        row("zstd ratio", lines, Some("zstd"), zstd(&spaces), File("it expands more than 100 times")),
        row("zstd unannounced", lines, None, zstd(&spaces), File("it expands more than 100 times")),
        row("zstd size", lines, Some("zstd"), zstd(&noise(300)), File("larger than 8388608 decompressed bytes")),
        row("zstd window", lines, Some("zstd"), zstd_of_a_large_window(), File("the zstd data is corrupt")),
        row("deflate ratio", lines, Some("deflate"), zlib(&spaces), File("it expands more than 100 times")),
        row("gzip in gzip", lines, Some("gzip"), gzip(&gzip(b"{\"a\":1}\n")), Records(1, "it is not UTF-8")),
        row("zip", "application/zip", None, zipped(&[("a.csv", &[b'0'; 3 << 20])]), File("which has no records")),
        row("records", lines, None, b"{}\n".repeat(1_001), File("it has more than 1000 records")),
        row("bad records", lines, None, b"{\n".repeat(20), File("more than 10 of its records cannot be read")),
        row("line", lines, None, then_good(&[b'1'; 70_000], 1), Records(1, "it is longer than 65536 bytes")),
        row("no line ends", lines, None, vec![b'1'; 3 << 20], Records(1, "it is longer than 65536 bytes")),
        row(
            "JSON depth",
            lines,
            None,
            then_good(deep("[", "]", 5_000).as_bytes(), 2),
            Records(2, "it is nested deeper than 32"),
        ),
        row("JSON depth of objects", lines, None, then_good(&b"{\"a\":".repeat(9_000), 1), Records(1, "nested deeper")),
        row(
            "JSON document",
            "application/json",
            None,
            text(deep("[", "]", 5_000)),
            Records(1, "nested deeper than 32"),
        ),
        row(
            "XML depth",
            "application/x-xmllines",
            None,
            then_good(deep("<a>", "</a>", 3_000).as_bytes(), 1),
            Records(2, "it is nested deeper than 32"),
        ),
        row(
            "XML document",
            "application/xml",
            None,
            text(deep("<a>", "</a>", 3_000)),
            Records(1, "nested deeper than 32"),
        ),
        row(
            "XML outside, before the first",
            "application/xml",
            None,
            text(around("")),
            File("it is nested deeper than 32"),
        ),
        row(
            "XML outside, between",
            "application/xml",
            None,
            text(around("<Item>1</Item>")),
            File("it is nested deeper than 32"),
        ),
        row(
            "XML outside, within",
            "application/xml",
            None,
            text(format!("<r><Item>{}</Item><Item>1</Item></r>", deep("<a>", "</a>", 3_000))),
            Records(1, "it is nested deeper than 32"),
        ),
        row("XML entities", "application/xml", None, text(laughs()), Records(1, "the entity &a9; is not known")),
        row(
            "XML entity of a file",
            "application/xml",
            None,
            text("<!DOCTYPE r [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><r><i>&x;</i><i>good</i></r>".to_owned()),
            Records(1, "the entity &x; is not known"),
        ),
        row(
            "CSV quote",
            "text/csv",
            None,
            [b"a;b\n1;\"", &[b'x'; 200_000][..]].concat(),
            Records(1, "it is longer than"),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bomb_has_a_named_outcome_and_little_memory_is_taken() {
    let world = World::new(LIMITS).await;
    world.reconfigure(|text| text.replacen("[[route]]", &format!("{OUTSIDE}[[route]]"), 1));
    let bombs = bombs();
    for bomb in &bombs {
        let path = world.folder().join(format!("bomb of {}", bomb.name));
        std::fs::write(&path, &bomb.bytes).expect("written");
        let request = PublishRequest {
            content_type: Some(bomb.content_type.to_owned()),
            content_encoding: Some(bomb.encoding.unwrap_or("identity").to_owned()),
            ..PublishRequest::new(FileSource::Path(path))
        };
        world.sandbox.publish(request.blob_type(bomb.name)).await.unwrap_or_else(|e| panic!("{}: {e}", bomb.name));
    }
    let daemon = world.start(&["run"]);
    let count = bombs.len() as u64;
    world.wait("all have ended", |summary| summary.notices.finished + summary.notices.quarantined >= count).await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id().expect("it runs"))).expect("readable");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    daemon.stop().await;
    assert!(peak < MEMORY_KB_MAX, "{peak} kB were taken");

    let lines = world.notices().await;
    let mut wrong = Vec::new();
    for bomb in &bombs {
        let line = lines.iter().find(|line| line.blob_type == bomb.name).unwrap_or_else(|| panic!("{}", bomb.name));
        let story = world.say(&["show", &line.id.0.to_string(), "--json"]).await;
        let (is_so, reason) = match bomb.end {
            File(reason) => (line.state == NoticeState::Quarantined, reason),
            Records(count, reason) => (line.state == NoticeState::Finished && line.counts.quarantined == count, reason),
        };
        if !is_so || !story.contains(reason) {
            wrong.push(format!("{} does not end with {reason:?}: {story:.3000}", bomb.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn zipped(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, content) in entries {
        writer.start_file(*name, options).expect("an entry");
        writer.write_all(content).expect("written");
    }
    writer.finish().expect("an archive").into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_archive_that_is_a_bomb_has_a_named_outcome() {
    let mut world = World::new("[limits]\nratio_max = 100\n").await;
    let feed = world.sandbox.configuration_of_drop();
    let bounds = "entries_max = 10\nunpacked_bytes_max = \"4MiB\"\nfile_bytes_max = \"6MiB\"\n";
    world.reconfigure(|text| format!("{text}\n{feed}{bounds}"));
    let names: Vec<String> = (0..11).map(|n| format!("{n}.csv")).collect();
    let many: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"id\n1\n"[..])).collect();
    let noise = noise(30);
    let heavy: Vec<(&str, &[u8])> = names[..6].iter().map(|name| (name.as_str(), &noise[..])).collect();
    let inner = zipped(&[("a.csv", &[b'0'; 3 << 20])]);
    let archives: [(&str, Vec<u8>, &str); 5] = [
        ("nested", zipped(&[("inner.zip", &inner)]), "which has no records"),
        ("entries", zipped(&many), "it has 11 entries, and no more than 10 are taken"),
        ("ratio", zipped(&[("a.csv", &[b'0'; 3 << 20])]), "unpacks to more than 100 times its size"),
        ("unpacked", zipped(&heavy), "no more than 4194304 are taken"),
        ("way out", zipped(&[("../../a.csv", b"id\n1\n")]), "its name leads out of its folder"),
    ];
    let drop = world.sandbox.drop_folder();
    std::fs::create_dir_all(&drop).expect("a folder");
    for (name, bytes, _) in &archives {
        std::fs::write(drop.join(format!("{name}_01012022.zip")), bytes).expect("laid down");
    }
    // One that is too large is not even copied.
    std::fs::write(drop.join("large_01012022.zip"), vec![0; 7 << 20]).expect("laid down");
    world.publish(1, 3).await;
    let daemon = world.start(&["run"]);
    let count = archives.len() as u64;
    world.wait("all have ended", |summary| summary.notices.quarantined >= count && summary.notices.finished == 1).await;
    daemon.says("is larger than 6291456 bytes (`file_bytes_max`), and is left where it is").await;
    daemon.stop().await;
    world.assert_each_record_once();
    let lines = world.notices().await;
    for (name, _, reason) in &archives {
        let told = lines.iter().filter_map(|line| line.reason.as_deref()).any(|told| told.contains(reason));
        assert!(told, "{name} is told: {lines:#?}");
    }
}
