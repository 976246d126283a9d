use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};

use super::*;
use crate::error::Classify;
use crate::sink::test_support::{batch, context, delivery};
use crate::sink::{HttpAuth, http::DEFAULT_BATCH};

/// What the receiver does with a request.
pub(in crate::sink) enum Reply {
    Status(u16),
    With(u16, &'static str, &'static str),
    /// Unavailable until a date, by a clock.
    Until(&'static str, &'static str),
    Says(u16, String),
    /// Takes the records, and never answers.
    Hangs,
}

#[derive(Default)]
pub(in crate::sink) struct Receiver {
    replies: Mutex<VecDeque<Reply>>,
    requests: Mutex<Vec<(HeaderMap, String)>>,
    /// Told of each request.
    asked: tokio::sync::Notify,
    /// What a receiver that keeps idempotency keys has done.
    pub(in crate::sink) done: Mutex<HashMap<String, String>>,
}

async fn receive(State(receiver): State<Arc<Receiver>>, request: Request) -> Response {
    let headers = request.headers().clone();
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.expect("body");
    let body = String::from_utf8(body.to_vec()).expect("text");
    receiver.requests.lock().expect("lock").push((headers.clone(), body.clone()));
    receiver.asked.notify_one();
    let reply = receiver.replies.lock().expect("lock").pop_front().unwrap_or(Reply::Status(200));
    let status = |status: u16| StatusCode::from_u16(status).expect("status");
    if let Reply::Status(200..=299) | Reply::Hangs = reply {
        let key = headers.get("idempotency-key").map_or_else(String::new, |key| key.to_str().expect("key").to_owned());
        receiver.done.lock().expect("lock").insert(key, body);
    }
    match reply {
        Reply::Status(code) => status(code).into_response(),
        Reply::With(code, name, value) => (status(code), [(name, value)]).into_response(),
        Reply::Until(until, date) => (status(503), [("retry-after", until), ("date", date)]).into_response(),
        Reply::Says(code, text) => (status(code), text).into_response(),
        Reply::Hangs => std::future::pending().await,
    }
}

/// A receiver on loopback, and its address.
pub(in crate::sink) async fn receiver(replies: Vec<Reply>) -> (Arc<Receiver>, url::Url) {
    let receiver = Arc::new(Receiver { replies: Mutex::new(replies.into()), ..Receiver::default() });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
    let address = listener.local_addr().expect("address");
    let app = axum::Router::new().fallback(receive).with_state(receiver.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.expect("serve") });
    (receiver, format!("http://{address}/in?key=canary").parse().expect("address"))
}

/// No receiver here takes nearly this long on a busy machine; where it is to run out, time is moved.
const TIMEOUT: Duration = Duration::from_secs(60);

fn settings(url: url::Url, body: HttpBody) -> HttpSettings {
    let timeout = TIMEOUT;
    let headers = vec![("x-tenant".to_owned(), "t1".to_owned())];
    HttpSettings { url, method: HttpMethod::Post, body, auth: None, headers, timeout, ca_file: None }
}

fn sink(settings: HttpSettings) -> HttpSink {
    HttpSink::new(SinkName::new("out"), DEFAULT_BATCH, settings, &context()).expect("settings")
}

async fn open(sink: &HttpSink) -> Box<dyn Transfer> {
    sink.open(delivery("Items"), Progress::default()).await.expect("open").transfer
}

fn bodies(receiver: &Receiver) -> Vec<String> {
    receiver.requests.lock().expect("lock").iter().map(|(_, body)| body.clone()).collect()
}

fn keys(receiver: &Receiver) -> Vec<String> {
    let requests = receiver.requests.lock().expect("lock");
    requests.iter().map(|(headers, _)| headers["idempotency-key"].to_str().expect("key").to_owned()).collect()
}

#[tokio::test]
async fn a_batch_goes_out_in_the_form_that_is_asked_for() {
    for (form, expected, content_type) in [
        (HttpBody::Array, vec!["[1,2]"], "application/json"),
        (HttpBody::JsonLines, vec!["1\n2\n"], "application/x-ndjson"),
        (HttpBody::Record, vec!["1", "2"], "application/json"),
    ] {
        let (receiver, url) = receiver(Vec::new()).await;
        let sink = sink(settings(url, form));
        let mut transfer = open(&sink).await;
        let delivered = transfer.deliver(&batch(1, &["1", "2"])).await.expect("deliver");
        assert!(delivered.confirmed && delivered.refused.is_empty());
        assert_eq!(bodies(&receiver), expected);
        let headers = receiver.requests.lock().expect("lock")[0].0.clone();
        assert_eq!(headers["content-type"], content_type);
        assert_eq!(headers["x-tenant"], "t1");
        assert_eq!(headers["ce-type"], "Items");
        let location = transfer.finish().await.expect("finish");
        assert!(location.starts_with("POST http://127.0.0.1:") && !location.contains("canary"), "{location}");
    }
}

#[tokio::test]
async fn a_batch_of_which_nothing_is_left_is_confirmed_without_a_request() {
    let (receiver, url) = receiver(Vec::new()).await;
    let mut empty = batch(1, &["1"]);
    empty.retain(|_| false);
    let sink = sink(settings(url, HttpBody::Array));
    assert!(open(&sink).await.deliver(&empty).await.expect("deliver").confirmed);
    assert!(bodies(&receiver).is_empty());
}

#[tokio::test]
async fn an_answer_that_never_comes_after_the_work_is_done_is_made_up_for_by_the_same_key() {
    let (receiver, url) = receiver(vec![Reply::Hangs]).await;
    let sink = sink(settings(url, HttpBody::Array));
    let (records, mut transfer) = (batch(1, &["1"]), open(&sink).await);
    let time_goes_by = async {
        receiver.asked.notified().await;
        tokio::time::pause();
        tokio::time::advance(TIMEOUT).await;
        tokio::time::resume();
    };
    let (delivered, ()) = tokio::join!(transfer.deliver(&records), time_goes_by);
    let error = delivered.expect_err("no answer");
    assert_eq!(error.class(), Class::Transient);
    assert!(error.to_string().contains("did not answer within 60s"), "{error}");
    open(&sink).await.deliver(&batch(1, &["1"])).await.expect("second try");
    let keys = keys(&receiver);
    assert_eq!((keys.len(), &keys[0]), (2, &keys[1]));
    assert_eq!(receiver.done.lock().expect("lock").len(), 1);
}

#[tokio::test]
async fn a_receiver_that_asks_for_time_is_given_it() {
    let (_, url) = receiver(vec![
        Reply::With(429, "retry-after", "7"),
        // Their clock is not the one of this machine, nor of the test.
        Reply::Until("Tue, 05 Jul 2033 00:01:00 GMT", "Tue, 05 Jul 2033 00:00:00 GMT"),
        Reply::Status(500),
    ])
    .await;
    let sink = sink(settings(url, HttpBody::Array));
    let mut seen = Vec::new();
    for _ in 0..3 {
        let error = open(&sink).await.deliver(&batch(1, &["1"])).await.expect_err("not now");
        seen.push((error.class(), error.retry_after().map(|wait| wait.as_secs())));
    }
    assert_eq!(seen, [(Class::Throttled, Some(7)), (Class::Throttled, Some(60)), (Class::Transient, None)]);
}

#[tokio::test]
async fn a_refused_record_is_set_aside_and_the_rest_goes_on() {
    let replies = vec![Reply::Status(200), Reply::Says(422, "no such\n store".to_owned()), Reply::Status(201)];
    let (receiver, url) = receiver(replies).await;
    let sink = sink(settings(url, HttpBody::Record));
    let delivered = open(&sink).await.deliver(&batch(10, &["1", "2", "3"])).await.expect("deliver");
    assert_eq!(bodies(&receiver), ["1", "2", "3"]);
    let [refused] = delivered.refused.as_slice() else { panic!("{:?}", delivered.refused) };
    assert_eq!((refused.number, refused.offset, refused.class), (11, 1_002, Class::Permanent));
    assert_eq!(refused.bytes, b"2");
    assert!(refused.reason.contains("422 (no such store)"), "{}", refused.reason);
}

#[tokio::test]
async fn a_refused_batch_fails_the_delivery_and_says_what_to_do() {
    let (_, url) = receiver(vec![Reply::Status(413), Reply::Status(400), Reply::With(302, "location", "/x")]).await;
    let sink = sink(settings(url, HttpBody::JsonLines));
    for remedy in ["make the sink's batches smaller", "answered 400", "redirects are not followed"] {
        let error = open(&sink).await.deliver(&batch(1, &["1"])).await.expect_err("refused");
        assert_eq!(error.class(), Class::Permanent);
        assert!(error.to_string().contains(remedy), "{error}");
        assert!(!error.to_string().contains("canary"), "{error}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_in_record_mode_either() {
    let (receiver, url) = receiver(vec![Reply::With(307, "location", "/x")]).await;
    let sink = sink(settings(url, HttpBody::Record));
    assert_eq!(open(&sink).await.deliver(&batch(1, &["1"])).await.expect_err("redirect").class(), Class::Permanent);
    assert_eq!(bodies(&receiver).len(), 1);
}

#[tokio::test]
async fn a_refused_secret_is_read_again_from_its_file_once() {
    let dir = tempfile::tempdir().expect("dir");
    let file = dir.path().join("secret");
    std::fs::write(&file, "first\n").expect("secret");
    let (receiver, url) = receiver(vec![Reply::Status(200), Reply::Status(401), Reply::Status(200)]).await;
    let mut with_auth = settings(url, HttpBody::Array);
    with_auth.auth = Some(HttpAuth::BearerFile(file.clone()));
    let sink = sink(with_auth);
    let mut transfer = open(&sink).await;
    transfer.deliver(&batch(1, &["1"])).await.expect("first");
    std::fs::write(&file, "second\n").expect("secret");
    transfer.deliver(&batch(2, &["2"])).await.expect("second");
    let seen: Vec<_> =
        receiver.requests.lock().expect("lock").iter().map(|(headers, _)| headers["authorization"].clone()).collect();
    assert_eq!(seen, ["Bearer first", "Bearer first", "Bearer second"]);
    assert_eq!(keys(&receiver)[1], keys(&receiver)[2]);

    receiver.replies.lock().expect("lock").extend([Reply::Status(403), Reply::Status(403)]);
    let error = transfer.deliver(&batch(3, &["3"])).await.expect_err("refused for good");
    assert_eq!(error.class(), Class::Unauthorized);
    std::fs::remove_file(&file).expect("remove");
    receiver.replies.lock().expect("lock").push_back(Reply::Status(401));
    let error = transfer.deliver(&batch(3, &["3"])).await.expect_err("no secret");
    assert_eq!(error.class(), Class::Unauthorized);
    assert!(error.to_string().contains("secret file"), "{error}");
}

#[tokio::test]
async fn a_secret_that_the_receiver_repeats_is_not_repeated_by_us() {
    let dir = tempfile::tempdir().expect("dir");
    let file = dir.path().join("secret");
    std::fs::write(&file, "canary-secret").expect("secret");
    let (_, url) = receiver(vec![Reply::Says(400, "you sent x-key: canary-secret".to_owned())]).await;
    let mut with_auth = settings(url, HttpBody::Array);
    with_auth.auth = Some(HttpAuth::HeaderFile("x-key".to_owned(), file));
    let error = open(&sink(with_auth)).await.deliver(&batch(1, &["1"])).await.expect_err("refused");
    assert!(error.to_string().contains("you sent x-key: [secret]"), "{error}");
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    let (_, url) = receiver(vec![Reply::Says(400, "x".repeat(5_000_000))]).await;
    let error = open(&sink(settings(url, HttpBody::Array))).await.deliver(&batch(1, &["1"])).await;
    assert!(error.expect_err("refused").to_string().len() < 1_000);
}

#[tokio::test]
async fn nobody_there_is_transient() {
    // It is taken, so that no other test comes to it, and nobody listens.
    let taken = tokio::net::TcpSocket::new_v4().expect("socket");
    taken.bind(([127, 0, 0, 1], 0).into()).expect("port");
    let url = format!("http://{}/", taken.local_addr().expect("address")).parse().expect("address");
    let error = open(&sink(settings(url, HttpBody::Array))).await.deliver(&batch(1, &["1"])).await;
    assert_eq!(error.expect_err("nobody").class(), Class::Transient);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let refused = |url: &str, change: fn(&mut HttpSettings)| {
        let mut settings = settings(url.parse().expect("address"), HttpBody::Array);
        change(&mut settings);
        HttpSink::new(SinkName::new("out"), DEFAULT_BATCH, settings, &context()).err().map(|e| e.to_string())
    };
    assert_eq!(refused("https://example.com/", |_| {}), None);
    let plain = refused("http://example.com/?k=canary", |_| {}).expect("plain http");
    assert!(plain.contains("loopback") && !plain.contains("canary"), "{plain}");
    assert!(refused("https://u:canary@example.com/", |_| {}).is_some_and(|error| !error.contains("canary")));
    assert!(refused("https://example.com/", |s| s.headers = vec![("Idempotency-Key".into(), "x".into())]).is_some());
    assert!(refused("https://example.com/", |s| s.headers = vec![("x".into(), "a\r\nb".into())]).is_some());
}

#[tokio::test]
async fn a_probe_asks_without_sending_anything() {
    let (receiver, url) = receiver(vec![Reply::Status(405), Reply::Status(503), Reply::Status(401)]).await;
    let sink = sink(settings(url, HttpBody::Array));
    assert!(sink.probe().await.expect("reachable").ends_with("answers 405"));
    assert_eq!(sink.probe().await.expect_err("down").class(), Class::Transient);
    assert_eq!(sink.probe().await.expect_err("secret").class(), Class::Unauthorized);
    assert_eq!(bodies(&receiver), ["", "", ""]);
}
