//! The decompressor on whole, cut off, joined and lying files.

use std::io::Read as _;

use compression_codecs::core::util::{PartialBuffer, WriteBuffer};
use compression_codecs::{BrotliEncoder, DeflateEncoder, EncodeV2, GzipEncoder, ZlibEncoder, ZstdEncoder};

use super::*;
use crate::error::{Class, Classify as _};

fn compress(mut encoder: impl EncodeV2, plain: &[u8]) -> Vec<u8> {
    let mut room = vec![0; plain.len() + 4096];
    let mut output = WriteBuffer::new_initialized(&mut room);
    let mut input = PartialBuffer::new(plain);
    while !input.unwritten().is_empty() {
        encoder.encode(&mut input, &mut output).unwrap();
    }
    while !encoder.finish(&mut output).unwrap() {}
    output.written().to_vec()
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    compress(GzipEncoder::new(flate2::Compression::default().into()), plain)
}

fn zstd(plain: &[u8]) -> Vec<u8> {
    compress(ZstdEncoder::new(3), plain)
}

fn every_kind(plain: &[u8]) -> [(&'static str, Encoding, Vec<u8>); 5] {
    let level = || flate2::Compression::default().into();
    [
        ("gzip", Encoding::Gzip, gzip(plain)),
        ("deflate", Encoding::Zlib, compress(ZlibEncoder::new(level()), plain)),
        ("deflate", Encoding::Deflate, compress(DeflateEncoder::new(level()), plain)),
        ("br", Encoding::Brotli, compress(BrotliEncoder::new(Default::default()), plain)),
        ("zstd", Encoding::Zstd, zstd(plain)),
    ]
}

/// Reads stored bytes to their end, in pieces of `size` on either side.
fn read_with(
    stored: &[u8],
    claimed: &str,
    size: usize,
    limits: &PayloadLimits,
    md5: Option<[u8; 16]>,
) -> Result<(Vec<u8>, Seen), PayloadError> {
    let pieces: Vec<_> = stored.chunks(size).map(|piece| Ok(Piece::Bytes(Bytes::copy_from_slice(piece)))).collect();
    let (sender, channel) = mpsc::channel(pieces.len() + 2);
    if let Some(md5) = md5 {
        sender.try_send(Ok(Piece::Md5(md5))).unwrap();
    }
    for piece in pieces {
        sender.try_send(piece).unwrap();
    }
    sender.try_send(Ok(Piece::End)).unwrap();
    let error = |e: io::Error| e.downcast::<PayloadError>().unwrap();
    let mut plain = Decompressor::open(channel, Some(claimed), "blob", limits.clone()).map_err(error)?;
    let mut out = Vec::new();
    let mut buffer = vec![0; size];
    loop {
        match plain.read(&mut buffer).map_err(error)? {
            0 => return Ok((out, plain.seen())),
            count => out.extend_from_slice(&buffer[..count]),
        }
    }
}

fn read(stored: &[u8], claimed: &str, size: usize) -> Result<(Vec<u8>, Seen), PayloadError> {
    read_with(stored, claimed, size, &PayloadLimits::default(), None)
}

fn sample() -> Vec<u8> {
    (0..200).flat_map(|n| format!("{{\"id\":{n},\"text\":\"item number {}\"}}\n", n * 7).into_bytes()).collect()
}

#[test]
fn every_compression_is_undone_however_it_arrives() {
    let plain = sample();
    for (claimed, encoding, stored) in every_kind(&plain) {
        for size in [1, 7, 100, 1 << 20] {
            let (out, seen) = read(&stored, claimed, size).unwrap();
            assert_eq!(out, plain, "{encoding:?} in pieces of {size}");
            assert_eq!((seen.encoding, seen.compressed), (encoding, stored.len() as u64));
            assert_eq!(seen.decompressed, plain.len() as u64);
        }
    }
    assert_eq!(read(&plain, "", 9).unwrap().0, plain);
}

#[test]
fn every_member_and_frame_is_read() {
    let joined = [gzip(b"{\"a\":1}\n"), gzip(b""), gzip(b"{\"b\":2}\n")].concat();
    let framed = [vec![0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9], zstd(b"{\"a\":1}\n"), zstd(b"{\"b\":2}\n")].concat();
    for size in [1, 5, 1 << 20] {
        assert_eq!(read(&joined, "gzip", size).unwrap().0, b"{\"a\":1}\n{\"b\":2}\n");
        assert_eq!(read(&framed, "zstd", size).unwrap().0, b"{\"a\":1}\n{\"b\":2}\n");
    }
}

#[test]
fn a_file_cut_off_anywhere_is_poison() {
    for (claimed, encoding, stored) in every_kind(b"{\"a\":1}\n{\"b\":2}\n{\"c\":3}\n") {
        for cut in 1..stored.len() {
            for size in [1, 1 << 20] {
                let error = match read(&stored[..cut], claimed, size) {
                    Err(error) => error,
                    Ok(out) => panic!("{encoding:?} cut at {cut} of {} is read as {out:?}", stored.len()),
                };
                assert_eq!(error.class(), Class::Poison, "{encoding:?} cut at {cut}: {error}");
            }
        }
        assert_eq!(read(&[], claimed, 1).unwrap_err().class(), Class::MissingObject, "{encoding:?}");
    }
    let joined = [gzip(b"1\n"), gzip(b"2\n")].concat();
    let first = gzip(b"1\n").len();
    for cut in (1..joined.len()).filter(|cut| *cut != first) {
        assert_eq!(read(&joined[..cut], "gzip", 64).unwrap_err().class(), Class::Poison, "cut at {cut}");
    }
}

#[test]
fn whatever_follows_the_end_is_an_error() {
    for (claimed, encoding, stored) in every_kind(&sample()) {
        for rest in [&b"\0"[..], b"garbage", b"\x1f\x8b"] {
            for size in [1, 1 << 20] {
                let error = read(&[&stored[..], rest].concat(), claimed, size).unwrap_err();
                assert_eq!(error.class(), Class::Poison, "{encoding:?} and {rest:?}");
            }
        }
    }
}

#[test]
fn a_corrupt_file_is_poison() {
    let mut stored = gzip(&sample());
    let last = stored.len() - 5;
    stored[last] ^= 1;
    let error = read(&stored, "gzip", 64).unwrap_err();
    assert_eq!(error.class(), Class::Poison);
    assert!(error.to_string().contains("the gzip data is corrupt"), "{error}");
}

#[test]
fn bombs_are_stopped_at_the_ratio_and_at_the_size() {
    let bomb = gzip(&vec![0; 8 << 20]);
    let limits = PayloadLimits { ratio_max: 100, ..PayloadLimits::default() };
    let error = read_with(&bomb, "gzip", 1 << 16, &limits, None).unwrap_err();
    assert!(error.to_string().contains("expands more than 100 times"), "{error}");
    let limits = PayloadLimits { decompressed_bytes_max: 1 << 20, ratio_max: u64::MAX, ..PayloadLimits::default() };
    let error = read_with(&bomb, "gzip", 1 << 16, &limits, None).unwrap_err();
    assert!(error.to_string().contains("larger than 1048576 decompressed bytes"), "{error}");
    assert_eq!(error.class(), Class::Poison);
}

#[test]
fn a_checksum_that_differs_is_said() {
    let good = Some(Md5::digest(b"{}").into());
    let bad = Some([0; 16]);
    let limits = PayloadLimits::default();
    assert_eq!(read_with(b"{}", "", 8, &limits, good).unwrap().0, b"{}");
    let error = read_with(b"{}", "", 8, &limits, bad).unwrap_err();
    assert_eq!(error.class(), Class::Transient);
    assert!(error.to_string().contains("its MD5 is 99914b932bd37a50b983c5e7c90ae93b"), "{error}");
}

#[test]
fn a_small_blob_is_checked_before_anything_of_it_is_read_and_a_bomb_is_not_read_to_its_end() {
    let plain = sample();
    let other = Some([7; 16]);
    let limits = PayloadLimits { checked_first_bytes_max: plain.len(), ..PayloadLimits::default() };
    for size in [1, 100, plain.len()] {
        let error = read_with(&plain, "", size, &limits, other).unwrap_err();
        assert!(matches!(error, PayloadError::Damaged { .. }), "{error}");
        let right = Some(Md5::digest(&plain).into());
        assert_eq!(read_with(&plain, "", size, &limits, right).unwrap().0, plain);
    }
    let bomb = PayloadLimits { checked_first_bytes_max: 0, decompressed_bytes_max: 100, ..limits };
    let error = read_with(&plain, "", 50, &bomb, other).unwrap_err();
    assert!(matches!(error, PayloadError::Unreadable { .. }), "{error}");
}
