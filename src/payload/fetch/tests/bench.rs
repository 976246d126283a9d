//! A store that breaks in every way, the tokens for it, and the opener that reads from it.

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
use crate::notice::{FeedName, Metadata, Notice, NoticeId};
use crate::ops::Context;
use crate::payload::{FetchSettings, PayloadError, PayloadLimits, PayloadOpener, RecordStream};
use crate::probe::Step;
use crate::route::FormatHints;
use crate::secret::Secret;
use crate::sink::BatchLimits;

pub(super) type Headers = &'static [(&'static str, &'static str)];

/// What the store does with one request.
#[derive(Clone)]
pub(super) enum Act {
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
pub(super) struct Store(pub(super) Arc<Mutex<Inner>>);

pub(super) struct Inner {
    content: Bytes,
    pub(super) etag: Option<&'static str>,
    pub(super) headers: Vec<(&'static str, String)>,
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
pub(super) struct Bench {
    pub(super) store: Store,
    pub(super) url: Url,
    pub(super) tokens: Arc<Tokens>,
}

pub(super) struct Tokens {
    base: Url,
    pub(super) set: Mutex<Arc<TokenSet>>,
}

pub(super) fn tokens_of(base: &Url, generation: u64) -> Arc<TokenSet> {
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
    pub(super) async fn new(content: impl Into<Bytes>, acts: impl IntoIterator<Item = Act>) -> Self {
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

    pub(super) fn notice(&self, path: &str) -> Notice {
        notice(Metadata {
            blob_type: "ItemChanges".to_owned(),
            uri: Some(self.url.join(path).unwrap().to_string()),
            content_type: Some("application/x-jsonlines".to_owned()),
            ..Metadata::default()
        })
    }

    pub(super) fn open(&self) -> RecordStream {
        self.open_in_batches_of(1 << 20)
    }

    pub(super) fn open_in_batches_of(&self, bytes_max: usize) -> RecordStream {
        opener(Some(self.tokens.clone()))
            .open_records(
                &self.notice("acct/export/a%20b.jsonl"),
                &FormatHints::default(),
                BatchLimits { records_max: 1 << 20, bytes_max },
            )
            .unwrap()
    }

    pub(super) fn asked(&self) -> Vec<String> {
        self.store.0.lock().unwrap().asked.clone()
    }
}

pub(super) fn notice(metadata: Metadata) -> Notice {
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

pub(super) fn opener(tokens: Option<Arc<dyn TokenSource>>) -> PayloadOpener {
    let settings = FetchSettings { idle_timeout: Duration::from_secs(60), resumes_max: 3, ..FetchSettings::default() };
    PayloadOpener::new(settings, PayloadLimits::default(), tokens, Context::new(Arc::new(SystemClock))).unwrap()
}

pub(super) async fn read(stream: &mut RecordStream) -> Result<Vec<u8>, PayloadError> {
    let all = async {
        let mut out = Vec::new();
        while let Some(batch) = stream.next().await? {
            out.extend_from_slice(&batch.buffer);
        }
        Ok(out)
    };
    tokio::time::timeout(Duration::from_secs(120), all).await.expect("a fetch ends in time")
}

pub(super) fn lines(count: usize) -> Vec<u8> {
    (0..count).flat_map(|n| format!("{{\"id\":{n}}}\n").into_bytes()).collect()
}
