//! Fetching from a store that breaks in every way, through the whole opener.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode, Uri};
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::sync::Notify;
use url::Url;

use crate::access::{AccessError, BlobAccess, ServiceBusAccess, TokenSet, TokenSource};
use crate::clock::{SystemClock, UnixMs};
use crate::error::{Class, Classify as _};
use crate::notice::{FeedName, Metadata, Notice, NoticeId};
use crate::ops::Context;
use crate::payload::{FetchSettings, PayloadError, PayloadLimits, PayloadOpener, RecordStream};
use crate::probe::Step;
use crate::route::FormatHints;
use crate::secret::Secret;
use crate::sink::BatchLimits;

type Headers = &'static [(&'static str, &'static str)];

/// What the store does with one request.
#[derive(Clone)]
enum Act {
    /// Serves what was asked for.
    Serve,
    /// Serves only so many bytes, then breaks the connection.
    CutAfter(usize),
    /// Answers with this status and these headers.
    Answer(u16, Headers),
    /// Serves everything, as if it knew no ranges.
    IgnoreRange,
    /// Serves lines without end, and tells when nobody takes them any more.
    Endless(Arc<Notify>),
    /// First puts other content in place, then serves.
    Rewrite(&'static str, &'static str),
}

#[derive(Clone)]
struct Store(Arc<Mutex<Inner>>);

struct Inner {
    content: Bytes,
    etag: Option<&'static str>,
    headers: Vec<(&'static str, String)>,
    acts: VecDeque<Act>,
    /// What was asked: query, range, if-match.
    asked: Vec<String>,
}

async fn serve(State(store): State<Store>, uri: Uri, headers: HeaderMap) -> Response<Body> {
    let mut store = store.0.lock().unwrap();
    let said = |name: &str| headers.get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
    assert!(!headers.contains_key("accept-encoding"), "the store must not be asked to compress");
    store
        .asked
        .push(format!("{} {} {}", uri.query().unwrap_or_default(), said("range"), said("if-match")).trim().to_owned());
    let act = store.acts.pop_front().unwrap_or(Act::Serve);
    let mut response = Response::builder();
    if let Act::Answer(status, headers) = act {
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        return response.status(status).body(Body::empty()).unwrap();
    }
    if let Act::Endless(given_up) = act {
        struct Guard(Arc<Notify>);
        impl Drop for Guard {
            fn drop(&mut self) {
                self.0.notify_one();
            }
        }
        let lines = Bytes::from(lines(1_000));
        let body = futures::stream::repeat_with(move || Ok::<_, std::io::Error>(lines.clone()));
        let guard = Guard(given_up);
        return response
            .body(Body::from_stream(body.inspect(move |_| {
                let _ = &guard;
            })))
            .unwrap();
    }
    if let Act::Rewrite(etag, content) = act {
        store.etag = Some(etag);
        store.content = Bytes::from_static(content.as_bytes());
    }
    if let Some(etag) = store.etag {
        response = response.header("etag", etag);
        if !said("if-match").is_empty() && said("if-match") != etag {
            return response.status(StatusCode::PRECONDITION_FAILED).body(Body::empty()).unwrap();
        }
    }
    let total = store.content.len();
    let first: usize = match said("range").strip_prefix("bytes=") {
        Some(range) if !matches!(act, Act::IgnoreRange) => range.trim_end_matches('-').parse().unwrap(),
        _ => 0,
    };
    if first > 0 {
        response = response.status(206).header("content-range", format!("bytes {first}-{}/{total}", total - 1));
    } else {
        for (name, value) in &store.headers {
            response = response.header(*name, value);
        }
    }
    let rest = store.content.slice(first..);
    response = response.header("content-length", rest.len());
    let body = match act {
        Act::CutAfter(bytes) => {
            let part = rest.slice(..bytes.min(rest.len()));
            // Given up only at the next poll, when the server has flushed the part.
            let broken = async {
                tokio::task::yield_now().await;
                Err(std::io::Error::other("cut"))
            };
            Body::from_stream(futures::stream::iter([Ok(part)]).chain(futures::stream::once(broken)))
        }
        _ => Body::from(rest),
    };
    response.body(body).unwrap()
}

/// A store with one blob, and tokens whose generation stands in their signature.
struct Bench {
    store: Store,
    url: Url,
    tokens: Arc<Tokens>,
}

struct Tokens {
    base: Url,
    set: Mutex<Arc<TokenSet>>,
}

fn tokens_of(base: &Url, generation: u64) -> Arc<TokenSet> {
    Arc::new(TokenSet {
        generation,
        obtained: UnixMs(0),
        service_bus: ServiceBusAccess {
            host: "localhost".to_owned(),
            port: None,
            development_emulator: false,
            topic: "t".to_owned(),
            subscription: "s".to_owned(),
            sas: Secret::new("none"),
            audience: "none".to_owned(),
            expires: None,
        },
        blobs: vec![BlobAccess {
            base: base.join("/acct/export").unwrap(),
            sas: Secret::new(format!("sv=1&sig=canary{generation}%2B")),
            expires: None,
        }],
    })
}

#[async_trait]
impl TokenSource for Tokens {
    async fn current(&self) -> Result<Arc<TokenSet>, AccessError> {
        Ok(Arc::clone(&self.set.lock().unwrap()))
    }

    async fn refused(&self, generation: u64) -> Result<Arc<TokenSet>, AccessError> {
        let mut set = self.set.lock().unwrap();
        assert_eq!(set.generation, generation, "the generation that was used is the one that is reported");
        *set = tokens_of(&self.base, generation + 1);
        Ok(Arc::clone(&set))
    }

    fn watch(&self) -> tokio::sync::watch::Receiver<Option<Arc<TokenSet>>> {
        tokio::sync::watch::channel(None).1
    }

    async fn probe(&self) -> Vec<Step> {
        Vec::new()
    }
}

impl Bench {
    async fn new(content: impl Into<Bytes>, acts: impl IntoIterator<Item = Act>) -> Self {
        let store = Store(Arc::new(Mutex::new(Inner {
            content: content.into(),
            etag: Some("\"one\""),
            headers: Vec::new(),
            acts: acts.into_iter().collect(),
            asked: Vec::new(),
        })));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let router = Router::new().fallback(serve).with_state(store.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let tokens = Arc::new(Tokens { base: url.clone(), set: Mutex::new(tokens_of(&url, 1)) });
        Self { store, url, tokens }
    }

    fn notice(&self, path: &str) -> Notice {
        notice(Metadata {
            blob_type: "ItemChanges".to_owned(),
            uri: Some(self.url.join(path).unwrap().to_string()),
            content_type: Some("application/x-jsonlines".to_owned()),
            ..Metadata::default()
        })
    }

    fn open(&self) -> RecordStream {
        self.open_in_batches_of(1 << 20)
    }

    fn open_in_batches_of(&self, bytes_max: usize) -> RecordStream {
        opener(Some(self.tokens.clone()))
            .open_records(
                &self.notice("acct/export/a%20b.jsonl"),
                &FormatHints::default(),
                BatchLimits { records_max: 1 << 20, bytes_max },
            )
            .unwrap()
    }

    fn asked(&self) -> Vec<String> {
        self.store.0.lock().unwrap().asked.clone()
    }
}

fn notice(metadata: Metadata) -> Notice {
    Notice {
        id: NoticeId(7),
        feed: FeedName::new("eg"),
        dedupe_key: "k".to_owned(),
        metadata,
        body: None,
        published: UnixMs(0),
        sequence: 0,
        stored: UnixMs(0),
    }
}

fn opener(tokens: Option<Arc<dyn TokenSource>>) -> PayloadOpener {
    let settings = FetchSettings { idle_timeout: Duration::from_secs(60), resumes_max: 3, ..FetchSettings::default() };
    PayloadOpener::new(settings, PayloadLimits::default(), tokens, Context::new(Arc::new(SystemClock))).unwrap()
}

async fn read(stream: &mut RecordStream) -> Result<Vec<u8>, PayloadError> {
    let all = async {
        let mut out = Vec::new();
        while let Some(batch) = stream.next().await? {
            out.extend_from_slice(&batch.buffer);
        }
        Ok(out)
    };
    tokio::time::timeout(Duration::from_secs(120), all).await.expect("a fetch ends in time")
}

fn lines(count: usize) -> Vec<u8> {
    (0..count).flat_map(|n| format!("{{\"id\":{n}}}\n").into_bytes()).collect()
}

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
