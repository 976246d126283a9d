//! Fetching from a store that breaks in every way, through the whole opener.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::clock::UnixMs;
use crate::error::{Class, Classify as _};
use crate::notice::{Metadata, Notice};
use crate::payload::PayloadError;
use crate::route::FormatHints;
use crate::sink::BatchLimits;

mod bench;

use bench::{Act, Bench, Headers, lines, notice, opener, read, tokens_of};

#[tokio::test]
async fn a_broken_body_resumes_by_range_under_the_same_etag() {
    let content = lines(100_000);
    let bench = Bench::new(content.clone(), [Act::CutAfter(300_001), Act::CutAfter(0), Act::CutAfter(7)]).await;
    let mut stream = bench.open();
    assert!(read(&mut stream).await.unwrap() == content);
    assert_eq!(
        bench.asked(),
        [
            "sv=1&sig=canary1%2B",
            "sv=1&sig=canary1%2B bytes=300001- \"one\"",
            "sv=1&sig=canary1%2B bytes=300001- \"one\"",
            "sv=1&sig=canary1%2B bytes=300008- \"one\"",
        ]
    );
    let summary = stream.summary().unwrap();
    assert_eq!((summary.records, summary.bytes_compressed), (100_000, content.len() as u64));
}

#[tokio::test]
async fn resumes_have_a_bound() {
    let bench = Bench::new(lines(10), vec![Act::CutAfter(1); 9]).await;
    let error = read(&mut bench.open()).await.unwrap_err();
    assert_eq!(error.class(), Class::Transient);
    assert_eq!(bench.asked().len(), 4);
    assert!(!error.to_string().contains("canary"), "{error}");
}

#[tokio::test]
async fn a_refused_token_is_replaced_also_in_the_middle_of_a_body() {
    let acts = [Act::Answer(403, &[]), Act::CutAfter(10), Act::Answer(401, &[]), Act::Answer(403, &[])];
    let bench = Bench::new(lines(10), acts).await;
    assert_eq!(read(&mut bench.open()).await.unwrap(), lines(10));
    assert_eq!(
        bench.asked(),
        [
            "sv=1&sig=canary1%2B",
            "sv=1&sig=canary2%2B",
            "sv=1&sig=canary2%2B bytes=10- \"one\"",
            "sv=1&sig=canary3%2B bytes=10- \"one\"",
            "sv=1&sig=canary4%2B bytes=10- \"one\"",
        ]
    );
}

#[tokio::test]
async fn fresh_tokens_that_are_refused_end_the_fetch() {
    let bench = Bench::new(lines(10), vec![Act::Answer(403, &[]); 9]).await;
    let error = read(&mut bench.open()).await.unwrap_err();
    assert!(matches!(error, PayloadError::Refused { status: 403, .. }), "{error}");
    assert_eq!(bench.asked().len(), 3);
}

#[tokio::test]
async fn a_container_that_was_added_since_the_last_refresh_is_found_by_one_refresh() {
    let bench = Bench::new(lines(1), []).await;
    let mut before = (*tokens_of(&bench.url, 1)).clone();
    before.blobs.clear();
    *bench.tokens.set.lock().unwrap() = Arc::new(before.clone());
    let opener = opener(Some(bench.tokens.clone()));
    let limits = BatchLimits { records_max: 9, bytes_max: 99 };
    let open = |path: &str, stored| {
        let notice = Notice { stored, ..bench.notice(path) };
        opener.open_records(&notice, &FormatHints::default(), limits).unwrap()
    };
    let generation = || bench.tokens.set.lock().unwrap().generation;

    let error = read(&mut open("acct/export/x", before.obtained)).await.unwrap_err();
    assert!(matches!(error, PayloadError::Address { .. }), "the tokens are as young as the notice: {error}");
    assert_eq!(generation(), 1);

    let later = UnixMs(before.obtained.0 + 1);
    assert_eq!(read(&mut open("acct/export/x", later)).await.unwrap(), lines(1));
    assert_eq!(generation(), 2);

    // These tokens say that they are as old as the first; a notice that they do not name asks once and no more.
    let error = read(&mut open("acct/elsewhere/x", later)).await.unwrap_err();
    assert!(matches!(error, PayloadError::Address { .. }), "{error}");
    assert_eq!(generation(), 3);
    assert_eq!(bench.asked().len(), 1);
}

#[tokio::test]
async fn a_token_goes_only_where_the_vendor_named_it_for() {
    let bench = Bench::new(lines(1), []).await;
    let opener = opener(Some(bench.tokens.clone()));
    let limits = BatchLimits { records_max: 9, bytes_max: 99 };
    for path in ["acct/exporter/x", "other/export/x"] {
        let mut stream = opener.open_records(&bench.notice(path), &FormatHints::default(), limits).unwrap();
        assert_eq!(read(&mut stream).await.unwrap_err().class(), Class::Permanent);
    }
    assert!(bench.asked().is_empty());
    let plain = notice(Metadata { uri: Some("http://example.com/x.jsonl".to_owned()), ..Metadata::default() });
    let mut stream = opener.open_records(&plain, &FormatHints::default(), limits).unwrap();
    assert_eq!(read(&mut stream).await.unwrap_err().class(), Class::Permanent);
}

#[tokio::test]
async fn a_blob_that_changed_before_anything_was_handed_out_is_read_from_its_start() {
    let bench = Bench::new(lines(100), [Act::CutAfter(50), Act::Rewrite("\"two\"", "{\"new\":1}\n")]).await;
    let mut stream = bench.open();
    assert_eq!(read(&mut stream).await.unwrap(), b"{\"new\":1}\n");
    assert_eq!(bench.asked().len(), 3);
    assert_eq!(stream.summary().unwrap().records, 1);
}

#[tokio::test]
async fn a_blob_that_changed_after_records_were_handed_out_fails_the_stream() {
    let acts = [Act::CutAfter(1_000_000), Act::Rewrite("\"two\"", "{\"new\":1}\n")];
    let bench = Bench::new(lines(200_000), acts).await;
    let mut stream = bench.open_in_batches_of(1_000);
    assert!(stream.next().await.unwrap().is_some());
    let error = read(&mut stream).await.unwrap_err();
    assert!(matches!(error, PayloadError::Changed { .. }), "{error}");
    assert_eq!(error.class(), Class::Transient);
    assert!(stream.next().await.is_err(), "a failed stream stays failed");
}

#[tokio::test]
async fn without_a_strong_etag_a_broken_body_is_not_patched_together() {
    for etag in [None, Some("W/\"1\"")] {
        let bench = Bench::new(lines(10), [Act::CutAfter(10)]).await;
        bench.store.0.lock().unwrap().etag = etag;
        assert_eq!(read(&mut bench.open()).await.unwrap_err().class(), Class::Transient);
        assert_eq!(bench.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_store_without_ranges_is_read_again_past_what_is_known() {
    let bench = Bench::new(lines(10), [Act::CutAfter(25), Act::IgnoreRange]).await;
    assert_eq!(read(&mut bench.open()).await.unwrap(), lines(10));
}

#[tokio::test]
async fn the_checksum_is_of_the_whole_blob_also_when_it_was_resumed() {
    for (md5, is_good) in [("abUoIA9Jk8S4nyt7Pj7aDA==", false), ("xk48oUa5dPFBBvXGG2924w==", true)] {
        let bench = Bench::new("{\"a\":1}\n{\"b\":2}\n", [Act::CutAfter(5)]).await;
        bench.store.0.lock().unwrap().headers.push(("content-md5", md5.to_owned()));
        let result = read(&mut bench.open()).await;
        assert_eq!(result.is_ok(), is_good, "{result:?}");
    }
}

#[tokio::test]
async fn each_answer_has_its_class() {
    const LATER: Headers =
        &[("retry-after", "Tue, 05 Jul 2022 00:01:00 GMT"), ("date", "Tue, 05 Jul 2022 00:00:30 GMT")];
    let cases: [(u16, Headers, Class, Option<u64>); 8] = [
        (404, &[("x-ms-error-code", "BlobNotFound")], Class::MissingObject, None),
        (410, &[], Class::MissingObject, None),
        (429, &[("retry-after", "7")], Class::Throttled, Some(7)),
        (503, LATER, Class::Throttled, Some(30)),
        (503, &[], Class::Throttled, None),
        (307, &[("location", "http://127.0.0.1:1/")], Class::Permanent, None),
        (409, &[("x-ms-error-code", "BlobArchived")], Class::Permanent, None),
        (500, &[], Class::Transient, None),
    ];
    for (status, headers, class, wait) in cases {
        let bench = Bench::new(lines(1), vec![Act::Answer(status, headers); 9]).await;
        let error = read(&mut bench.open()).await.unwrap_err();
        assert_eq!(error.class(), class, "{status}: {error}");
        assert_eq!(error.retry_after(), wait.map(Duration::from_secs));
        assert!(error.to_string().contains("acct/export/a%20b.jsonl"), "{error}");
    }
}

#[tokio::test]
async fn a_notice_that_carries_its_body_is_not_fetched() {
    let mut carried = notice(Metadata { content_type: Some("application/json".to_owned()), ..Metadata::default() });
    carried.body = Some(Bytes::from_static(b"[{\"a\":1},{\"a\":2}]"));
    let opener = opener(None);
    let limits = BatchLimits { records_max: 9, bytes_max: 99 };
    let mut stream = opener.open_records(&carried, &FormatHints::default(), limits).unwrap();
    assert_eq!(read(&mut stream).await.unwrap(), b"{\"a\":1}\n{\"a\":2}\n");
    let mut plain = opener.open_bytes(&carried);
    assert_eq!(plain.next().await.unwrap().unwrap(), "[{\"a\":1},{\"a\":2}]");
    assert!(plain.next().await.unwrap().is_none());
    assert_eq!(plain.summary().unwrap().bytes_decompressed, 17);
}

#[tokio::test]
async fn a_payload_without_records_is_said_to_be_opaque_and_has_bytes() {
    let bench = Bench::new("not records", []).await;
    let mut image = bench.notice("acct/export/a.png");
    image.metadata.content_type = Some("image/png".to_owned());
    let opener = opener(Some(bench.tokens.clone()));
    let error = opener
        .open_records(&image, &FormatHints::default(), BatchLimits { records_max: 9, bytes_max: 99 })
        .unwrap_err();
    assert!(matches!(error, PayloadError::Opaque { .. }));
    assert_eq!(opener.open_bytes(&image).next().await.unwrap().unwrap(), "not records");
}

#[tokio::test]
async fn a_stream_that_is_dropped_stops_its_fetch_and_its_decoder() {
    let given_up = Arc::new(Notify::new());
    let bench = Bench::new("", [Act::Endless(Arc::clone(&given_up))]).await;
    let mut stream = bench.open_in_batches_of(1_000);
    assert!(stream.next().await.unwrap().is_some());
    drop(stream);
    tokio::time::timeout(Duration::from_secs(120), given_up.notified()).await.expect("the store sees the reader go");
}
