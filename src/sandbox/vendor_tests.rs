//! The way of a client from its certificate to a blob, and what stops it.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::*;
use crate::clock::{ManualClock, UnixMs};
use crate::net::{HttpLimits, http_client};

const START: UnixMs = UnixMs(1_800_000_000_000);

struct Client {
    sandbox: Sandbox,
    clock: ManualClock,
    http: reqwest::Client,
}

impl Client {
    async fn start() -> Self {
        let clock = ManualClock::new(START);
        let settings = SandboxSettings { clock: Arc::new(clock.clone()), ..SandboxSettings::default() };
        Self::with(settings, clock).await
    }

    async fn with(settings: SandboxSettings, clock: ManualClock) -> Self {
        let sandbox = Sandbox::start(settings).await.expect("started");
        let http = http_client(Some(sandbox.ca_file()), HttpLimits::default()).expect("client");
        Self { sandbox, clock, http }
    }

    fn endpoint(&self) -> String {
        format!("{}/oauth2/v2.0/token", self.sandbox.authority())
    }

    fn claims(&self) -> Value {
        let id = &self.sandbox.settings().client_id;
        let now = START.0 / 1000;
        json!({ "iss": id, "sub": id, "aud": self.endpoint(), "nbf": now, "exp": now + 300, "jti": "1" })
    }

    fn sign(&self, certificate: &str, algorithm: Algorithm, claims: &Value) -> String {
        let path = self.sandbox.certificates().join(format!("{certificate}.pem"));
        let der = CertificateDer::from_pem_file(&path).expect("certificate");
        let key = std::fs::read(&path).expect("readable");
        let key = String::from_utf8(key).expect("text");
        let key = &key[key.find("-----BEGIN PRIVATE").expect("a key")..];
        let mut header = Header::new(algorithm);
        match algorithm {
            Algorithm::PS256 => {
                header.x5t_s256 = Some(URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, &der)));
            }
            _ => {
                let sum = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &der);
                header.x5t = Some(URL_SAFE_NO_PAD.encode(sum));
            }
        }
        jsonwebtoken::encode(&header, claims, &EncodingKey::from_rsa_pem(key.as_bytes()).expect("RSA key"))
            .expect("signed")
    }

    async fn token(&self, assertion: &str) -> (u16, Value) {
        let settings = self.sandbox.settings();
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &settings.client_id),
            ("scope", &settings.scope),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", assertion),
        ];
        let answer = self.http.post(self.endpoint()).form(&form).send().await.expect("answered");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    async fn bearer(&self) -> String {
        let (status, body) = self.token(&self.sign("longshore", Algorithm::PS256, &self.claims())).await;
        assert_eq!(status, 200, "{body}");
        body["access_token"].as_str().expect("a token").to_owned()
    }

    async fn endpoints(&self, bearer: &str) -> (u16, Value) {
        let url = format!("{}api/external/integration/export/temporaryendpoints", self.sandbox.tenant_service());
        let body = json!({ "integrationName": "longshore", "useNewSBConnectionStringFormat": true });
        let answer = self.http.post(url).bearer_auth(bearer).json(&body).send().await.expect("answered");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    async fn blob_query(&self) -> String {
        let (status, tokens) = self.endpoints(&self.bearer().await).await;
        assert_eq!(status, 200, "{tokens}");
        let url = tokens["blobBaseUrlsWithToken"][0].as_str().expect("a URL");
        url.split_once('?').expect("a token").1.to_owned()
    }

    async fn get(&self, uri: &Url, query: &str) -> reqwest::Response {
        self.http.get(format!("{uri}?{query}")).send().await.expect("answered")
    }
}

#[tokio::test]
async fn a_certificate_leads_to_a_blob() {
    let client = Client::start().await;
    let uri = client
        .sandbox
        .put_blob("a/b c.jsonl", Content::Bytes(Bytes::from_static(b"{\"id\":1}\n")), "application/x-jsonlines")
        .expect("stored");
    let query = client.blob_query().await;
    let answer = client.get(&uri, &query).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-md5"], "A5C5wrXAC5LHd4CSaPkSfg==");
    assert_eq!(answer.text().await.expect("text"), "{\"id\":1}\n");

    let missing = client.get(&uri.join("none").expect("URL"), &query).await;
    assert_eq!(missing.status(), 404);
    assert!(missing.text().await.expect("text").contains("<Code>BlobNotFound</Code>"));
    client.sandbox.stop().await;
}

#[tokio::test]
async fn an_assertion_is_refused_for_whatever_is_wrong_with_it() {
    let client = Client::start().await;
    client.sandbox.new_certificate("stranger", Duration::from_secs(86_400), false).expect("made");
    let rs256 = client.token(&client.sign("longshore", Algorithm::RS256, &client.claims())).await;
    assert_eq!(rs256.0, 200, "{}", rs256.1);

    let with = |key: &str, value: Value| {
        let mut claims = client.claims();
        claims[key] = value;
        claims
    };
    let now = START.0 / 1000;
    let wrong = [
        (with("aud", json!("https://elsewhere/token")), 700_023),
        (with("iss", json!("someone")), 700_021),
        (with("sub", json!("someone")), 700_021),
        (with("exp", json!(now - 301)), 700_024),
        (with("nbf", json!(now + 301)), 700_024),
    ];
    for (claims, code) in wrong {
        let (status, body) = client.token(&client.sign("longshore", Algorithm::PS256, &claims)).await;
        assert_eq!((status, &body["error"]), (401, &json!("invalid_client")));
        assert_eq!(body["error_codes"], json!([code]), "{body}");
        assert!(body["error_description"].as_str().expect("text").starts_with(&format!("AADSTS{code}: ")));
    }
    let (status, body) = client.token(&client.sign("stranger", Algorithm::PS256, &client.claims())).await;
    assert_eq!((status, &body["error_codes"]), (401, &json!([700_027])));
    let good = client.sign("longshore", Algorithm::PS256, &client.claims());
    let (head, signature) = good.rsplit_once('.').expect("three parts");
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    let other = format!("{head}.{first}{}", &signature[1..]);
    let (status, body) = client.token(&other).await;
    assert_eq!((status, &body["error_codes"]), (401, &json!([700_027])), "{body}");
    assert_eq!(client.sandbox.vendor_state().access_tokens_refused, 7);
}

#[tokio::test]
async fn tenant_service_believes_only_tokens_in_force() {
    let client = Client::start().await;
    let bearer = client.bearer().await;
    assert_eq!(client.endpoints("garbage").await.0, 401);
    let (status, tokens) = client.endpoints(&bearer).await;
    assert_eq!(status, 200);
    let connection = tokens["serviceBusSubscriptionConnectionString"].as_str().expect("text");
    assert!(connection.starts_with("Endpoint=sb://127.0.0.1:"), "{connection}");
    assert!(connection.contains("EntityPath=fileexport/subscriptions/longshore"), "{connection}");

    client.sandbox.add_tenant_fault(TenantFault { status: 403, retry_after: None, requests: Some(1) });
    assert_eq!(client.endpoints(&bearer).await.0, 403);
    assert_eq!(client.endpoints(&bearer).await.0, 200);
    client.sandbox.expire_access_tokens();
    assert_eq!(client.endpoints(&bearer).await.0, 401);
    let bearer = client.bearer().await;
    assert_eq!(client.endpoints(&bearer).await.0, 200);
    client.clock.advance(Duration::from_secs(3600));
    assert_eq!(client.endpoints(&bearer).await.0, 401);
}

#[tokio::test]
async fn a_blob_token_dies_by_time_by_rotation_and_by_hand() {
    let client = Client::start().await;
    let content = Content::Bytes(Bytes::from_static(b"x"));
    let uri = client.sandbox.put_blob("x", content, "text/plain").expect("stored");
    let query = client.blob_query().await;
    assert_eq!(client.get(&uri, &query).await.status(), 200);
    client.sandbox.expire_blob_tokens();
    assert_eq!(client.get(&uri, &query).await.status(), 403);
    let query = client.blob_query().await;
    assert_eq!(client.get(&uri, &query).await.status(), 200);
    client.sandbox.rotate_blob_key();
    assert_eq!(client.get(&uri, &query).await.status(), 403);
    let query = client.blob_query().await;
    client.clock.advance(Duration::from_secs(3600));
    let refused = client.get(&uri, &query).await;
    assert_eq!(refused.status(), 403);
    assert!(refused.text().await.expect("text").contains("not valid in the specified time frame"));
    assert_eq!(client.sandbox.vendor_state().blob_requests_unauthorized, 3);
}

#[tokio::test]
async fn a_download_resumes_by_range_and_notices_another_etag() {
    let client = Client::start().await;
    let whole: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
    let uri = client.sandbox.put_blob("w", Content::Bytes(whole.clone().into()), "text/plain").expect("stored");
    let query = client.blob_query().await;
    let first = client.get(&uri, &query).await;
    let etag = first.headers()["etag"].clone();
    let md5 = first.headers()["content-md5"].clone();
    assert_eq!(first.bytes().await.expect("body"), whole);

    let ranged = || client.http.get(format!("{uri}?{query}")).header("range", "bytes=150000-");
    let part = ranged().header("if-match", &etag).send().await.expect("answered");
    assert_eq!(part.status(), 206);
    assert_eq!(part.headers()["content-range"], "bytes 150000-199999/200000");
    assert_eq!(part.headers()["x-ms-blob-content-md5"], md5);
    assert_eq!(part.bytes().await.expect("body"), whole[150_000..]);

    client.sandbox.add_blob_fault(BlobFault::next(FaultKind::ChangeEtag { after: 70_000 }, 1)).expect("set");
    client.get(&uri, &query).await.bytes().await.expect_err("the connection breaks");
    let stale = ranged().header("if-match", &etag).send().await.expect("answered");
    assert_eq!(stale.status(), 412);
    let beyond = client.http.get(format!("{uri}?{query}")).header("range", "bytes=200000-");
    assert_eq!(beyond.send().await.expect("answered").status(), 416);
}

#[tokio::test]
async fn faults_hit_the_requests_they_are_meant_for() {
    let client = Client::start().await;
    let whole = Bytes::from(vec![7_u8; 100_000]);
    let uri = client.sandbox.put_blob("f", Content::Bytes(whole.clone()), "text/plain").expect("stored");
    let query = client.blob_query().await;
    for status in [403, 404, 429, 500, 503] {
        let kind = FaultKind::Status { status, retry_after: Some(3) };
        client.sandbox.add_blob_fault(BlobFault::next(kind, 1)).expect("set");
        let answer = client.get(&uri, &query).await;
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()["retry-after"], "3");
    }
    let elsewhere = BlobFault::next(FaultKind::Status { status: 500, retry_after: None }, 1).on("other");
    client.sandbox.add_blob_fault(elsewhere).expect("set");
    assert_eq!(client.get(&uri, &query).await.bytes().await.expect("body"), whole);
    client.sandbox.clear_blob_faults();

    client.sandbox.add_blob_fault(BlobFault::next(FaultKind::Cut { after: 70_000 }, 1)).expect("set");
    let mut cut = client.get(&uri, &query).await;
    let mut got = 0;
    let ended = loop {
        match cut.chunk().await {
            Ok(Some(piece)) => got += piece.len(),
            other => break other,
        }
    };
    assert!(ended.is_err(), "a cut body is an error, not an end");
    assert_eq!(got, 70_000);

    client.sandbox.add_blob_fault(BlobFault::next(FaultKind::Corrupt { at: 99_999 }, 1)).expect("set");
    let spoilt = client.get(&uri, &query).await.bytes().await.expect("body");
    assert_eq!(spoilt[..99_999], whole[..99_999]);
    assert_ne!(spoilt[99_999], whole[99_999]);

    let slow = FaultKind::Slow { bytes_per_second: 1_000_000 };
    client.sandbox.add_blob_fault(BlobFault::next(slow, 1)).expect("set");
    let begun = tokio::time::Instant::now();
    assert_eq!(client.get(&uri, &query).await.bytes().await.expect("body"), whole);
    assert!(begun.elapsed() >= Duration::from_millis(45), "{:?}", begun.elapsed());
    assert!(client.sandbox.blob_faults().is_empty());
}

#[tokio::test]
async fn a_body_that_stands_still_goes_on_once_the_faults_are_cleared() {
    let client = Client::start().await;
    let whole: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
    let uri = client.sandbox.put_blob("s", Content::Bytes(whole.clone().into()), "text/plain").expect("stored");
    let query = client.blob_query().await;
    for after in [0, 70_000] {
        client.sandbox.add_blob_fault(BlobFault::next(FaultKind::Stall { after }, 1)).expect("set");
        let mut stalled = client.get(&uri, &query).await;
        let mut got = Vec::new();
        while (got.len() as u64) < after {
            got.extend(stalled.chunk().await.expect("no error").expect("no end"));
        }
        assert_eq!(got.len() as u64, after);
        assert!(futures::poll!(Box::pin(stalled.chunk())).is_pending(), "the rest does not come");
        client.sandbox.clear_blob_faults();
        got.extend(stalled.bytes().await.expect("the rest comes"));
        assert_eq!(got, whole);
    }

    let ends = BlobFault { seconds: Some(0.05), ..BlobFault::next(FaultKind::Stall { after: 10 }, 1) };
    client.sandbox.add_blob_fault(ends).expect("set");
    assert_eq!(client.get(&uri, &query).await.bytes().await.expect("its time is over"), whole);
}

#[tokio::test]
async fn the_blob_store_serves_tls_with_the_same_ca() {
    let clock = ManualClock::new(START);
    let settings = SandboxSettings { blob_tls: true, clock: Arc::new(clock.clone()), ..SandboxSettings::default() };
    let client = Client::with(settings, clock).await;
    let uri = client.sandbox.put_blob("x", Content::Bytes(Bytes::from_static(b"x")), "text/plain").expect("stored");
    assert_eq!(uri.scheme(), "https");
    let query = client.blob_query().await;
    assert!(query.contains("spr=https&"), "{query}");
    assert_eq!(client.get(&uri, &query).await.status(), 200);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_webhooks_port_is_kept_for_the_daemon() {
    let sandbox = Sandbox::start(SandboxSettings::default()).await.expect("started");
    let address = sandbox.webhook_address();
    let other = tokio::net::TcpSocket::new_v4().expect("a socket");
    other.bind(address).expect_err("it is taken");
    for _ in 0..2 {
        let listener = tokio::net::TcpListener::bind(address).await.expect("the daemon may listen there");
        let (_client, _) = tokio::try_join!(tokio::net::TcpStream::connect(address), listener.accept()).expect("heard");
    }
}

#[tokio::test]
async fn what_is_written_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let sandbox = Sandbox::start(SandboxSettings::default()).await.expect("started");
    for path in [sandbox.ca_file().to_owned(), sandbox.certificates().join("longshore.pem")] {
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
    let dir = sandbox.dir().to_owned();
    drop(sandbox);
    assert!(!dir.exists());
}
