//! Payloads out of the sandbox's blob store, over TLS and with the vendor's tokens: every format and compression, and
//! everything that can happen to a download.

#![cfg(feature = "sandbox")]

use std::sync::Arc;
use std::time::Duration;

use longshore::access::vendor_tokens;
use longshore::clock::{Clock as _, SystemClock};
use longshore::error::{Class, Classify as _};
use longshore::notice::{FeedName, Metadata, Notice, NoticeId};
use longshore::ops::Context;
use longshore::payload::{Encoding, FetchSettings, PayloadError, PayloadLimits, PayloadOpener, RecordStream};
use longshore::record::RecordBatch;
use longshore::route::FormatHints;
use longshore::sandbox::sample::{Compression, Format, Kind, SampleSpec};
use longshore::sandbox::{BlobFault, Content, FaultKind, Sandbox, SandboxSettings};
use longshore::sink::BatchLimits;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Far more than any step takes.
const LIMIT: Duration = Duration::from_secs(180);

struct Vendor {
    sandbox: Sandbox,
    opener: PayloadOpener,
    _stop: DropGuard,
}

impl Vendor {
    async fn start() -> Self {
        Self::with(PayloadLimits::default()).await
    }

    async fn with(limits: PayloadLimits) -> Self {
        let settings = SandboxSettings { blob_tls: true, ..SandboxSettings::default() };
        let sandbox = Sandbox::start(settings).await.expect("a sandbox");
        let context = Context::new(Arc::new(SystemClock));
        let mut tenant_service = sandbox.tenant_service_settings();
        tenant_service.refresh_interval_min = Duration::ZERO;
        let stop = CancellationToken::new();
        let tokens = vendor_tokens(sandbox.identity_settings(), tenant_service, &context, &stop).expect("tokens");
        let fetch = FetchSettings { ca_file: Some(sandbox.ca_file().to_owned()), ..FetchSettings::default() };
        let opener = PayloadOpener::new(fetch, limits, Some(tokens), context).expect("an opener");
        Self { sandbox, opener, _stop: stop.drop_guard() }
    }

    /// Puts a sample in place and opens it.
    fn open(&self, spec: &SampleSpec) -> RecordStream {
        let name = format!("{}/a b+%{}", spec.kind.blob_type(), spec.extension());
        let content = Content::Bytes(spec.to_vec().into());
        let uri = self.sandbox.put_blob(&name, content, spec.format.content_type()).expect("a blob");
        let now = SystemClock.now();
        let notice = Notice {
            id: NoticeId(1),
            feed: FeedName::new("export"),
            dedupe_key: name,
            metadata: Metadata {
                blob_type: spec.kind.blob_type().to_owned(),
                uri: Some(uri.to_string()),
                content_type: Some(spec.format.content_type().to_owned()),
                content_encoding: spec.compression.content_encoding().map(str::to_owned),
                ..Metadata::default()
            },
            body: None,
            published: now,
            sequence: 1,
            stored: now,
        };
        let batch = BatchLimits { records_max: 1_000, bytes_max: 64 << 10 };
        self.opener.open_records(&notice, &FormatHints::default(), batch).expect("a form with records")
    }

    fn fault(&self, kind: FaultKind, requests: u32) {
        self.sandbox.add_blob_fault(BlobFault::next(kind, requests)).expect("a fault");
    }
}

async fn rest(stream: &mut RecordStream) -> Result<Vec<RecordBatch>, PayloadError> {
    let mut batches = Vec::new();
    while let Some(batch) = tokio::time::timeout(LIMIT, stream.next()).await.expect("it moves")? {
        batches.push(batch);
    }
    Ok(batches)
}

fn bodies(batches: &[RecordBatch]) -> Vec<&[u8]> {
    batches.iter().flat_map(|batch| batch.records().map(|record| record.body)).collect()
}

/// Random enough that its compressed form is much longer than what waits in any buffer.
fn large() -> SampleSpec {
    SampleSpec { compression: Compression::None, ..SampleSpec::new(Kind::Items, 20_000) }
}

#[tokio::test]
async fn every_format_and_compression_is_read_to_the_last_record() {
    let vendor = Vendor::start().await;
    for format in [Format::JsonLines, Format::JsonArray, Format::XmlLines, Format::XmlDocument, Format::Csv] {
        for compression in
            [Compression::None, Compression::Gzip, Compression::Deflate, Compression::Br, Compression::Zstd]
        {
            let spec = SampleSpec { format, compression, ..SampleSpec::new(Kind::Prices, 2_500) };
            let mut stream = vendor.open(&spec);
            let batches = rest(&mut stream).await.unwrap_or_else(|error| panic!("{format:?} {compression:?}: {error}"));
            assert!(batches.iter().all(|batch| batch.bad.is_empty()), "{format:?} {compression:?}");
            let bodies = bodies(&batches);
            assert_eq!(bodies.len(), 2_500, "{format:?} {compression:?}");
            if matches!(format, Format::JsonLines | Format::JsonArray) {
                for (index, body) in (0..).zip(&bodies) {
                    let value: serde_json::Value = serde_json::from_slice(body).expect("JSON");
                    assert_eq!(value, spec.record(index));
                }
            }
            let summary = stream.summary().expect("it was read to its end");
            assert_eq!(summary.records, 2_500);
            assert!(!summary.is_claim_wrong(), "{summary:?}");
            assert_eq!(summary.encoding == Encoding::Identity, compression == Compression::None);
        }
    }
}

#[tokio::test]
async fn cut_bodies_busy_answers_and_rotated_keys_lose_nothing() {
    let vendor = Vendor::start().await;
    let spec = large();
    let expected = spec.to_vec();
    let mut stream = vendor.open(&spec);
    let whole = rest(&mut stream).await.expect("all of it");
    vendor.fault(FaultKind::Cut { after: 1_000_000 }, 2);
    vendor.fault(FaultKind::Status { status: 500, retry_after: None }, 1);
    vendor.fault(FaultKind::Cut { after: 10 }, 1);
    let mut stream = vendor.open(&spec);
    let first =
        tokio::time::timeout(LIMIT, stream.next()).await.expect("it moves").expect("readable").expect("a batch");
    vendor.sandbox.rotate_blob_key();
    let mut batches = vec![first];
    batches.extend(rest(&mut stream).await.expect("all of it"));
    let got: Vec<u8> = batches.iter().flat_map(|batch| batch.to_lines()).collect();
    assert!(got == expected, "{} of {} bytes", got.len(), expected.len());
    let cuts = |batches: &[RecordBatch]| batches.iter().map(|batch| (batch.first, batch.last)).collect::<Vec<_>>();
    assert_eq!(cuts(&batches), cuts(&whole), "the same content gives the same batches");
}

#[tokio::test]
async fn a_blob_that_is_written_anew_is_read_from_its_start_or_fails_the_attempt() {
    let vendor = Vendor::start().await;
    vendor.fault(FaultKind::ChangeEtag { after: 100 }, 1);
    let mut stream = vendor.open(&SampleSpec::new(Kind::Items, 2_000));
    assert_eq!(bodies(&rest(&mut stream).await.expect("the new blob")).len(), 2_000);

    vendor.fault(FaultKind::ChangeEtag { after: 5_000_000 }, 1);
    let mut stream = vendor.open(&large());
    let error = rest(&mut stream).await.expect_err("records of two versions must not be mixed");
    assert!(matches!(error, PayloadError::Changed { .. }), "{error}");
    assert_eq!(error.class(), Class::Transient);
}

#[tokio::test]
async fn what_arrives_damaged_yields_no_record_and_is_whole_the_next_time() {
    let vendor = Vendor::start().await;
    let gzip = SampleSpec::new(Kind::Items, 100);
    let plain = SampleSpec { compression: Compression::None, ..gzip.clone() };
    let array = SampleSpec { format: Format::JsonArray, ..plain.clone() };
    // Within a string any letter would be good JSON, at the start nothing is, and a gzip breaks or says other things.
    for (spec, at) in [(&plain, 30), (&plain, 0), (&array, 0), (&gzip, 0), (&gzip, 30), (&gzip, 500)] {
        vendor.fault(FaultKind::Corrupt { at }, 1);
        let mut stream = vendor.open(spec);
        let first = tokio::time::timeout(LIMIT, stream.next()).await.expect("it moves");
        let error = first.expect_err("nothing of it may come out");
        assert!(matches!(error, PayloadError::Damaged { .. }), "byte {at}: {error}");
        assert_eq!(error.class(), Class::Transient);
        assert_eq!(bodies(&rest(&mut vendor.open(spec)).await.expect("the next time")).len(), 100);
    }
}

#[tokio::test]
async fn a_large_file_that_arrives_damaged_is_not_taken_for_a_bad_file() {
    // Read while it comes, as one beyond the bound is.
    let vendor = Vendor::with(PayloadLimits { checked_first_bytes_max: 0, ..PayloadLimits::default() }).await;
    let gzip = SampleSpec::new(Kind::Items, 5_000);
    let array = SampleSpec { format: Format::JsonArray, compression: Compression::None, ..gzip.clone() };
    for (spec, at) in [(&gzip, 0), (&gzip, 30), (&gzip, 50_000), (&array, 0), (&array, 500_000)] {
        vendor.fault(FaultKind::Corrupt { at }, 1);
        let ended = rest(&mut vendor.open(spec)).await;
        assert!(matches!(ended, Err(PayloadError::Damaged { .. })), "byte {at}: {:?}", ended.err());
    }
}
