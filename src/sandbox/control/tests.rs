//! The control API as a person with `curl` uses it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::clock::{Clock as _, SystemClock};
use crate::net::{HttpLimits, http_client};
use crate::sandbox::SandboxSettings;

struct Api {
    sandbox: Arc<Sandbox>,
    control: Control,
    http: reqwest::Client,
}

impl Api {
    async fn start() -> Self {
        let sandbox = Arc::new(Sandbox::start(SandboxSettings::default()).await.expect("started"));
        let control = Control::start(Arc::clone(&sandbox), 0).await.expect("started");
        Self { sandbox, control, http: http_client(None, HttpLimits::default()).expect("a client") }
    }

    async fn send(&self, method: reqwest::Method, path: &str, body: &str) -> (u16, Value) {
        let url = format!("http://{}{path}", self.control.address());
        let answer = self.http.request(method, url).body(body.to_owned()).send().await.expect("answered");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("text");
        assert!(text.ends_with('\n'), "the prompt of a person with curl stands on a line of its own: {text}");
        (status, serde_json::from_str(&text).expect("JSON"))
    }

    async fn post(&self, path: &str, body: &str) -> Value {
        let (status, answer) = self.send(reqwest::Method::POST, path, body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }
}

#[tokio::test]
async fn what_is_published_lies_in_the_store_and_on_the_subscription() {
    let api = Api::start().await;
    let body = r#"{"file": {"sample": {"kind": "prices", "records": 20}}, "files": 3, "properties": {"a": 1}}"#;
    let published = api.post("/publish", body).await;
    let files = published.as_array().expect("a list");
    assert_eq!(files.len(), 3);
    for file in files {
        assert_eq!((&file["records"], &file["blob_type"]), (&json!(20), &json!("Gateway.PriceChanges")));
        let uri = file["uri"].as_str().expect("a URI");
        let query = api.sandbox.blob_sas(SystemClock.now().plus(Duration::from_secs(3_600)));
        let answer = api.http.get(format!("{uri}?{}", query.expose())).send().await.expect("answered");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.content_length(), file["blob_bytes"].as_u64());
    }
    let path = api.sandbox.subscription_path();
    assert_eq!(api.sandbox.broker().state().subscription(&path).active, 3);
    let ugly = api.post("/publish", r#"{"file": {"ugly": {"way": "missing-blob"}}}"#).await;
    assert_eq!(ugly[0]["expected"], "missing");
    let blobs = api.send(reqwest::Method::GET, "/blobs", "").await.1;
    assert_eq!(blobs.as_array().map(Vec::len), Some(3), "a missing blob is not there");
    let state = api.send(reqwest::Method::GET, "/state", "").await.1;
    assert_eq!(state["vendor"]["blobs"], 3);
    assert_eq!(state["broker"]["subscriptions"][&path]["published"], 4);
}

#[tokio::test]
async fn children_can_be_published_before_their_parents() {
    let api = Api::start().await;
    let body =
        r#"{"file": {"sample": {"kind": "prices", "first": 20, "records": 5}}, "files": 2, "parents_after": true}"#;
    let published = api.post("/publish", body).await;
    let told: Vec<(String, u64)> = published
        .as_array()
        .expect("a list")
        .iter()
        .map(|file| (file["blob_type"].to_string(), file["records"].as_u64().expect("a number")))
        .collect();
    let prices = ("\"Gateway.PriceChanges\"".to_owned(), 5);
    // From the start of the row of items that number 20 stands in, for the bundles in it.
    let items = ("\"Gateway.ItemChanges\"".to_owned(), 14);
    assert_eq!(told, [prices.clone(), prices, items, ("\"StoreService.StoreGroups\"".to_owned(), 40)]);
}

#[tokio::test]
async fn a_zip_of_yesterday_is_whole_when_the_answer_comes_and_the_same_when_it_is_sent_again() {
    let api = Api::start().await;
    let body = r#"{"rows": 10, "broken_rows": 1, "pause_ms": 0}"#;
    let dropped = api.post("/drop", body).await;
    assert_eq!((&dropped["rows"], &dropped["files"][0]["broken_rows"]), (&json!(49), &json!(1)));
    let path = dropped["path"].as_str().expect("a path");
    let zip = std::fs::read(path).expect("there");
    assert_eq!(dropped["bytes"], zip.len());
    let files = std::fs::read_dir(api.sandbox.drop_folder()).expect("a folder").count();
    assert_eq!(files, 1, "no `.part` is left");
    api.post("/drop", body).await;
    assert_eq!(std::fs::read(path).expect("there"), zip);
    assert_eq!((api.sandbox.state().drop.zips, api.sandbox.state().drop.uploading), (2, 0));
}

#[tokio::test]
async fn a_bucket_file_goes_on_after_the_last_event_unless_its_first_is_named() {
    let api = Api::start().await;
    let mut firsts = Vec::new();
    for body in
        ["", r#"{"events": 10}"#, r#"{"events": 10}"#, r#"{"first": 5, "events": 10, "date": "2026-11-22"}"#, ""]
    {
        let written = api.post("/bucket/publish", body).await;
        firsts.push(written["first"].as_u64().expect("a number"));
    }
    api.post("/bucket/rewrite", r#"{"key": "2026-11-22/part-00000.jsonl.gz", "more": 5000}"#).await;
    firsts.push(api.post("/bucket/publish", "").await["first"].as_u64().expect("a number"));
    assert_eq!(firsts, [0, 1_000, 1_010, 5, 1_020, 5_015]);
}

#[tokio::test]
async fn every_verb_can_be_said() {
    let api = Api::start().await;
    for (path, body) in [
        ("/rotate-keys", ""),
        ("/rotate-keys", r#"{"blob": false}"#),
        ("/expire-tokens", ""),
        ("/detach", ""),
        ("/drop-connections", ""),
        ("/stall", r#"{"seconds": 60}"#),
        ("/stall", r#"{"seconds": 0}"#),
        ("/duplicate", ""),
        ("/server-busy", r#"{"count": 2}"#),
        ("/blob-faults", r#"{"fault": "cut", "after": 10, "requests": 1, "blob": "Items"}"#),
        ("/blob-faults", r#"{"fault": "stall", "after": 10, "requests": 1, "blob": "Prices"}"#),
        ("/tenant-faults", r#"{"status": 403, "requests": 1}"#),
        ("/certificates", r#"{"name": "next", "valid_days": 10}"#),
        ("/publish", r#"{"file": {"message": "not an announcement"}}"#),
        ("/publish", r#"{"file": {"text": "{}\n"}, "blob_type": "Mine", "pascal_case": true}"#),
        ("/publish", r#"{"file": {"repeated": {"decompressed_bytes": 100000}}}"#),
        ("/drop", r#"{"rows": 10, "arrival": "growing", "pause_ms": 0}"#),
        ("/send", r#"{"events": 3, "times": 2, "to": "listener"}"#),
        ("/send", r#"{"events": 8}"#),
        (
            "/subscriptions",
            r#"{"name": "shop", "event": "ORDER_CREATED", "target": {"type": "WEBHOOK", "callbackUrl": "https://a.example/"}}"#,
        ),
        ("/send", r#"{"events": 8}"#),
        ("/fft/expire-tokens", r#"{"refresh": true}"#),
        ("/fft/faults", r#"{"status": 429, "retry_after": 2, "method": "POST", "path": "/api/subscriptions"}"#),
        ("/bucket/publish", r#"{"events": 10, "date": "2026-11-22"}"#),
        ("/bucket/rewrite", r#"{"key": "2026-11-22/part-00000.jsonl.gz", "more": 1}"#),
        ("/bucket/rotate-key", ""),
        ("/bucket/list-faults", r#"{"after": 1}"#),
        ("/bucket/faults", r#"{"fault": "cut", "after": 10}"#),
    ] {
        api.post(path, body).await;
    }
    let state = api.sandbox.state();
    assert_eq!((state.blob_faults.len(), state.tenant_faults.len(), state.broker.stalled), (2, 1, false));
    assert_eq!((state.webhook.sent, state.webhook.answered, state.webhook.open()), (6, 0, 6), "nobody listens");
    assert_eq!((state.webhook.unsubscribed, state.webhook.elsewhere), (15, 1));
    assert_eq!((state.fft.subscriptions, state.fft.faults), (1, 1));
    assert_eq!((state.bucket.objects, state.bucket.faults.len(), state.bucket.list_faults.len()), (1, 1, 1));
    for path in
        ["/blob-faults", "/tenant-faults", "/certificates/next", "/bucket/faults", "/fft/faults", "/subscriptions"]
    {
        assert_eq!(api.send(reqwest::Method::DELETE, path, "").await.0, 200);
    }
    let state = api.sandbox.state();
    assert_eq!((state.fft.subscriptions, state.fft.faults), (0, 0));
    assert!(state.blob_faults.is_empty() && state.bucket.faults.is_empty() && state.bucket.list_faults.is_empty());
}

#[tokio::test]
async fn a_subscription_is_made_shown_without_its_secret_and_taken_away() {
    let api = Api::start().await;
    let body = r#"{"name": "shop", "event": "ORDER_CREATED", "target": {"type": "WEBHOOK",
        "callbackUrl": "https://127.0.0.1:9/", "headers": [{"key": "Authorization", "value": "hidden"}]}}"#;
    let made = api.post("/subscriptions", body).await;
    assert_eq!(api.sandbox.fft().subscriptions()[0]["target"]["headers"][0]["value"], "hidden");
    let listed = api.send(reqwest::Method::GET, "/subscriptions", "").await.1;
    assert_eq!(listed, json!([made]));
    assert_eq!(listed[0]["target"]["headers"], json!([{ "key": "Authorization", "value": "…" }]));
    let path = format!("/subscriptions/{}", made["id"].as_str().expect("an id"));
    assert_eq!(api.send(reqwest::Method::DELETE, &path, "").await.0, 200);
    assert_eq!(api.send(reqwest::Method::DELETE, &path, "").await.0, 400);
    assert!(api.sandbox.fft().subscriptions().is_empty());
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_told_so() {
    let api = Api::start().await;
    for (path, body) in [
        ("/publish", "{}"),
        ("/publish", r#"{"file": {"sample": {"kind": "items", "recods": 1}}}"#),
        ("/publish", r#"{"file": {"path": "/does/not/exist"}}"#),
        ("/stall", r#"{"seconds": -1}"#),
        ("/blob-faults", r#"{"fault": "cut"}"#),
        ("/certificates", r#"{"name": "../x"}"#),
        ("/drop", r#"{"date": "2026-02-30"}"#),
        ("/bucket/rewrite", r#"{"key": "2026-11-22/none"}"#),
        ("/send", r#"{"events": 200001}"#),
        ("/send", r#"{"to": "nobody"}"#),
        ("/subscriptions", r#"{"name": "shop", "event": "ORDER_CREATED"}"#),
        ("/fft/faults", r#"{"status": 1}"#),
    ] {
        let (status, answer) = api.send(reqwest::Method::POST, path, body).await;
        assert_eq!(status, 400, "{path} {body} {answer}");
        assert!(answer["error"].is_string());
    }
    let page = api.http.post(format!("http://{}/rotate-keys", api.control.address()));
    assert_eq!(page.header("origin", "http://example.com").send().await.expect("answered").status(), 403);
}
