//! A strict front before a store: it takes only tokens of keys in force, deals out listings in small pages, and breaks
//! a page or a body in the middle when it is told.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode};
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::sync::watch;

use crate::common::net::client;
use crate::common::wait::in_time;
use crate::key::KnownKeys;

/// Objects on a page of Google's store, which has no pages of its own in XML.
const PAGE: usize = 2;

/// What is done to answers; each strikes as often as it says, and then no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Good,
    /// So many pages pass; the next one breaks off in its middle.
    BreakPage {
        passes: u32,
    },
    /// So many bodies break off after so many bytes.
    BreakBody {
        after: usize,
        times: u32,
    },
    /// Every body stands still after so many bytes, until the manner changes.
    HoldBody {
        after: usize,
    },
    /// The bodies that stand still break off there; what comes after passes.
    BreakHeld,
    /// Deletions stand still before the store has heard of them, until the manner changes.
    HoldDeletion,
    /// So many copies end in this way.
    FailCopies {
        end: CopyEnd,
        times: u32,
    },
}

/// How a copy within the store fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyEnd {
    /// The connection ends; nothing was copied.
    NotDone,
    /// The store copies, and the connection ends before it says so.
    DoneUnsaid,
    /// The store says 200 and only then, in the body, that it could not copy
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>).
    ErrorWithin200,
}

pub struct Front {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    server: String,
    http: reqwest::Client,
    /// Whose tokens are taken; `None`: the store sees to that itself.
    keys: Option<KnownKeys>,
    /// How many objects of S3 are on a page, if not as many as the store puts there.
    page: Option<usize>,
    manner: watch::Sender<Manner>,
    /// How often a fault struck, and how many requests were refused.
    struck: watch::Sender<u32>,
    refused: watch::Sender<u32>,
    /// The queries of listings.
    listed: Mutex<Vec<String>>,
    /// Whether the store is not told which version a request means.
    forgets_if_match: AtomicBool,
    /// Which version each request for the rest of a body meant.
    resumed: Mutex<Vec<String>>,
}

impl Front {
    /// A front before Google's store, which takes no token before it is told of a key.
    pub async fn strict(server: &str) -> Self {
        Self::start(server, Some(KnownKeys::default()), None).await
    }

    /// A front that lets the store look at tokens.
    pub async fn before(server: &str) -> Self {
        Self::start(server, None, None).await
    }

    /// A front before S3 that has no more than so many objects put on a page.
    pub async fn of_pages(server: &str, page: usize) -> Self {
        Self::start(server, None, Some(page)).await
    }

    async fn start(server: &str, keys: Option<KnownKeys>, page: Option<usize>) -> Self {
        let shared = Arc::new(Shared {
            server: server.to_owned(),
            http: client(),
            keys,
            page,
            manner: watch::Sender::new(Manner::Good),
            struck: watch::Sender::new(0),
            refused: watch::Sender::new(0),
            listed: Mutex::default(),
            forgets_if_match: AtomicBool::new(false),
            resumed: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let app = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, shared }
    }

    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn keys(&self) -> &KnownKeys {
        self.shared.keys.as_ref().expect("a strict front")
    }

    /// Lets so many pages pass and breaks the next one in its middle.
    pub fn break_page(&self, passes: u32) {
        self.set(Manner::BreakPage { passes });
    }

    pub fn break_bodies(&self, after: usize, times: u32) {
        self.set(Manner::BreakBody { after, times });
    }

    pub fn hold_bodies(&self, after: usize) {
        self.set(Manner::HoldBody { after });
    }

    /// Breaks the bodies that are held.
    pub fn break_held(&self) {
        self.set(Manner::BreakHeld);
    }

    pub fn hold_deletions(&self) {
        self.set(Manner::HoldDeletion);
    }

    pub fn fail_copies(&self, end: CopyEnd, times: u32) {
        self.set(Manner::FailCopies { end, times });
    }

    /// From here on the store is asked for whatever version it has.
    pub fn forget_if_match(&self) {
        self.shared.forgets_if_match.store(true, Ordering::SeqCst);
    }

    /// Which version each request for the rest of a body meant so far; forgets them.
    pub fn resumed(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.resumed.lock().expect("unharmed"))
    }

    pub fn be_good(&self) {
        self.set(Manner::Good);
    }

    fn set(&self, manner: Manner) {
        self.shared.struck.send_replace(0);
        self.shared.manner.send_replace(manner);
    }

    /// Waits until a fault has struck so often.
    pub async fn struck(&self, times: u32) {
        wait(&self.shared.struck, times).await;
    }

    /// Waits until a request was refused since the last call.
    pub async fn refused(&self) {
        wait(&self.shared.refused, 1).await;
        self.shared.refused.send_replace(0);
    }

    /// The queries of the listings so far; forgets them.
    pub fn listed(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.listed.lock().expect("unharmed"))
    }
}

async fn wait(counter: &watch::Sender<u32>, times: u32) {
    let mut count = counter.subscribe();
    let waiting = count.wait_for(|count| *count >= times);
    drop(in_time(&format!("it has happened {times} times"), waiting).await.expect("the front lives"));
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let authorization = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    if let Some(Err(why)) = shared.keys.as_ref().map(|keys| keys.check(authorization)) {
        shared.refused.send_modify(|count| *count += 1);
        let body = format!("<Error><Code>AuthenticationRequired</Code><Message>{why}</Message></Error>");
        return Ok(status(StatusCode::UNAUTHORIZED, body));
    }
    let mut path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let query = request.uri().query().unwrap_or_default();
    let is_list = query.contains("list-type=2") || query.contains("comp=list");
    if is_list {
        shared.listed.lock().expect("unharmed").push(query.to_owned());
        if let Some(page) = shared.page {
            path.push_str(&format!("&max-keys={page}"));
        }
    }
    if request.method() == Method::DELETE && *shared.manner.borrow() == Manner::HoldDeletion {
        shared.struck.send_modify(|count| *count += 1);
        let _ = shared.manner.subscribe().wait_for(|manner| *manner != Manner::HoldDeletion).await;
    }
    let mut headers = request.headers().clone();
    headers.remove("host");
    if headers.contains_key("range") {
        let version = headers.get("if-match").map_or("", |version| version.to_str().unwrap_or_default());
        shared.resumed.lock().expect("unharmed").push(version.to_owned());
    }
    if shared.forgets_if_match.load(Ordering::SeqCst) {
        headers.remove("if-match");
    }
    let copy_end = if headers.contains_key("x-amz-copy-source") { failed_copy(&shared) } else { None };
    match copy_end {
        Some(CopyEnd::NotDone) => return Ok(broken()),
        Some(CopyEnd::ErrorWithin200) => {
            let error = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate</Message></Error>";
            return Ok(status(StatusCode::OK, error.to_owned()));
        }
        Some(CopyEnd::DoneUnsaid) | None => {}
    }
    let is_body = request.method() == Method::GET && !is_list;
    let uri = request.uri().clone();
    let forwarded = shared.http.request(request.method().clone(), format!("{}{path}", shared.server)).headers(headers);
    let content = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap_or_default();
    let Ok(got) = forwarded.body(content).send().await else {
        return Ok(status(StatusCode::BAD_GATEWAY, String::new()));
    };
    if copy_end.is_some() {
        return Ok(broken());
    }
    let (code, headers) = (got.status(), got.headers().clone());
    let mut body = got.bytes().await.unwrap_or_default();
    if is_list && shared.keys.is_some() {
        body = page_of(&body, uri.query().unwrap_or_default()).into();
    }
    Ok(deal(&shared, code, headers, body, is_list, is_body && code.is_success()))
}

/// How the copy that was asked for fails, if it is to.
fn failed_copy(shared: &Shared) -> Option<CopyEnd> {
    let mut failed = None;
    shared.manner.send_if_modified(|manner| {
        if let Manner::FailCopies { end, times } = *manner {
            failed = Some(end);
            *manner = if times > 1 { Manner::FailCopies { end, times: times - 1 } } else { Manner::Good };
        }
        failed.is_some()
    });
    if failed.is_some() {
        shared.struck.send_modify(|count| *count += 1);
    }
    failed
}

/// An answer whose connection ends before it is whole.
fn broken() -> Response<Body> {
    let cut =
        futures::stream::once(async { Err::<Bytes, _>(std::io::Error::from(std::io::ErrorKind::ConnectionReset)) });
    Response::builder().header("content-length", "100").body(Body::from_stream(cut)).expect("an answer")
}

fn status(code: StatusCode, body: String) -> Response<Body> {
    Response::builder()
        .status(code)
        .header("content-type", "application/xml")
        .body(Body::from(body))
        .expect("an answer")
}

/// Gives the answer out, or as much of it as the manner allows.
fn deal(
    shared: &Shared,
    code: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    is_list: bool,
    is_body: bool,
) -> Response<Body> {
    let mut cut = None;
    let mut is_held = false;
    shared.manner.send_modify(|manner| match *manner {
        Manner::BreakPage { passes: 0 } if is_list => {
            cut = Some(body.len() / 2);
            *manner = Manner::Good;
        }
        Manner::BreakPage { passes } if is_list => *manner = Manner::BreakPage { passes: passes - 1 },
        Manner::BreakBody { after, times } if is_body && body.len() > after => {
            cut = Some(after);
            *manner = if times > 1 { Manner::BreakBody { after, times: times - 1 } } else { Manner::Good };
        }
        Manner::HoldBody { after } if is_body && body.len() > after => (cut, is_held) = (Some(after), true),
        _ => {}
    });
    let mut answer = Response::builder().status(code);
    for (name, value) in &headers {
        if !["content-length", "transfer-encoding", "connection"].contains(&name.as_str()) {
            answer = answer.header(name, value);
        }
    }
    // An answer about an object has its length, and no body.
    let length = headers.get("content-length").filter(|_| body.is_empty()).cloned();
    answer = answer.header("content-length", length.unwrap_or_else(|| body.len().into()));
    let Some(cut) = cut else {
        return answer.body(Body::from(body)).expect("an answer");
    };
    shared.struck.send_modify(|count| *count += 1);
    let (head, tail) = (body.slice(..cut), body.slice(cut..));
    let mut manner = shared.manner.subscribe();
    let rest = async move {
        if is_held {
            let is_let_go = |manner: &Manner| matches!(manner, Manner::Good | Manner::BreakHeld);
            if manner.wait_for(is_let_go).await.is_ok_and(|manner| *manner == Manner::Good) {
                return Ok(tail);
            }
        }
        // What came before is sent while this waits; then whoever serves it ends the connection the hard way.
        tokio::task::yield_now().await;
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
    };
    let parts = futures::stream::iter([Ok(head)]).chain(futures::stream::once(rest));
    answer.body(Body::from_stream(parts)).expect("an answer")
}

/// One page of a whole listing.
fn page_of(whole: &[u8], query: &str) -> String {
    let whole = String::from_utf8_lossy(whole);
    let after = url::form_urlencoded::parse(query.as_bytes())
        .find_map(|(name, value)| (name == "continuation-token").then(|| value.into_owned()))
        .unwrap_or_default();
    let contents: Vec<&str> = whole
        .split("<Contents>")
        .skip(1)
        .map(|rest| rest.split("</Contents>").next().unwrap_or_default())
        .filter(|content| *key_of(content) > *after)
        .collect();
    let page: Vec<&str> = contents.iter().copied().take(PAGE).collect();
    let next = match page.last() {
        Some(last) if contents.len() > PAGE => {
            format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{}</NextContinuationToken>", key_of(last))
        }
        _ => String::new(),
    };
    let listed: String = page.iter().map(|content| format!("<Contents>{content}</Contents>")).collect();
    format!(
        "<?xml version=\"1.0\"?><ListBucketResult><KeyCount>{}</KeyCount>{next}{listed}</ListBucketResult>",
        page.len()
    )
}

fn key_of(content: &str) -> &str {
    content.split("<Key>").nth(1).and_then(|rest| rest.split("</Key>").next()).unwrap_or_default()
}
