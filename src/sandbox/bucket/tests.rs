//! The bucket as clients see it: `object_store`, whose words the daemon speaks, and Google's own interface.

use std::collections::HashMap;
use std::sync::Arc;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::clock::{Clock as _, SystemClock};
use crate::feed::bucket::{Lister as _, StoreLister};
use crate::feed::store::{BucketAccess, Connection, Provider};
use crate::net::{HttpLimits, http_client};
use crate::sandbox::{DayObject, ListFault, Rewrite, Sandbox, SandboxSettings};

const BUCKET: &str = "ocff-sandbox-pre-public-events-export-bucket";

struct World {
    sandbox: Sandbox,
    http: reqwest::Client,
}

impl World {
    async fn start() -> Self {
        let settings = SandboxSettings { bucket_page_max: 2, ..SandboxSettings::default() };
        let sandbox = Sandbox::start(settings).await.expect("started");
        let http = http_client(Some(sandbox.ca_file()), HttpLimits::default()).expect("a client");
        Self { sandbox, http }
    }

    fn write(&self, date: &str, first: u64) -> String {
        let day = DayObject {
            date: Some(date.parse().expect("a date")),
            first: Some(first),
            events: 10,
            ..DayObject::default()
        };
        self.sandbox.write_day(&day).expect("written").key
    }

    fn connection(&self) -> Arc<Connection> {
        let access = BucketAccess {
            provider: Provider::Google { key_file: self.sandbox.bucket_key_file() },
            bucket: BUCKET.to_owned(),
            endpoint: Some(self.sandbox.bucket_url().clone()),
            ca_file: Some(self.sandbox.ca_file().to_owned()),
        };
        Arc::new(Connection::new(access, HttpLimits::default()))
    }

    fn key(&self) -> HashMap<String, String> {
        let text = std::fs::read_to_string(self.sandbox.bucket_key_file()).expect("the key file");
        serde_json::from_str(&text).expect("JSON")
    }

    /// An assertion by the account's key, with `change` in its claims.
    fn assertion(&self, change: impl FnOnce(&mut Value)) -> String {
        let key = self.key();
        let now = SystemClock.now().0 / 1_000;
        let mut claims = json!({
            "iss": key["client_email"],
            "scope": "https://www.googleapis.com/auth/devstorage.read_only",
            "aud": key["token_uri"],
            "iat": now,
            "exp": now + 3_600,
        });
        change(&mut claims);
        let header = Header { kid: Some(key["private_key_id"].clone()), ..Header::new(Algorithm::RS256) };
        let private = EncodingKey::from_rsa_pem(key["private_key"].as_bytes()).expect("a key");
        jsonwebtoken::encode(&header, &claims, &private).expect("signed")
    }

    async fn token(&self, assertion: &str) -> Result<String, String> {
        let form = [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", assertion)];
        let url = self.key()["token_uri"].clone();
        let answer: Value = self.http.post(url).form(&form).send().await.expect("answered").json().await.expect("JSON");
        match answer["access_token"].as_str() {
            Some(token) => Ok(token.to_owned()),
            None => Err(answer["error_description"].to_string()),
        }
    }

    async fn get(&self, path: &str, token: &str) -> (u16, String) {
        let url = format!("{}{path}", self.sandbox.bucket_url());
        let answer = self.http.get(url).bearer_auth(token).send().await.expect("answered");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    }
}

#[tokio::test]
async fn the_daemons_client_lists_page_by_page_and_reads_with_the_key_that_was_written() {
    let world = World::start().await;
    let written: Vec<String> = (0..5).map(|number| world.write("2026-11-22", number * 10)).collect();
    world.write("2026-11-23", 100);
    let connection = world.connection();
    let lister = StoreLister::new(Arc::clone(&connection), std::time::Duration::from_secs(60));
    let (mut listed, mut token) = (Vec::new(), None);
    loop {
        let page = lister.page("2026-11-22/", token).await.expect("a page");
        listed.extend(page.objects);
        token = page.next;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(listed.iter().map(|object| object.key.clone()).collect::<Vec<_>>(), written);
    assert_eq!(world.sandbox.state().bucket.listings, 3, "two objects a page");

    let path = object_store::path::Path::parse(&written[0]).expect("a path");
    let options = object_store::GetOptions { range: Some((4..20).into()), ..object_store::GetOptions::default() };
    let store = connection.store().expect("a store");
    let got = store.objects.get_opts(&path, options).await.expect("got");
    assert_eq!(got.meta.size, listed[0].size);
    assert_eq!(got.bytes().await.expect("bytes").len(), 16);

    world.sandbox.rewrite_day(&Rewrite { key: written[0].clone(), more: 1 }).expect("rewritten");
    let again = lister.page("2026-11-22/", None).await.expect("a page");
    assert_ne!(again.objects[0].version, listed[0].version);
}

#[tokio::test]
async fn a_listing_fails_in_its_middle_as_it_was_told_and_a_rotated_key_opens_nothing() {
    let world = World::start().await;
    (0..5).for_each(|number| drop(world.write("2026-11-22", number * 10)));
    let lister = StoreLister::new(world.connection(), std::time::Duration::from_secs(60));
    // The client repeats a request twice by itself, so that three pages have to fail.
    world.sandbox.add_list_fault(ListFault { after: 1, pages: 3, status: 503 }).expect("added");
    let first = lister.page("2026-11-22/", None).await.expect("a page");
    assert!(lister.page("2026-11-22/", first.next.clone()).await.is_err());
    assert!(lister.page("2026-11-22/", first.next).await.is_ok(), "the fault is used up");

    let old = world.assertion(|_| ());
    world.sandbox.rotate_bucket_key().expect("rotated");
    assert!(world.token(&old).await.is_err());
    assert!(lister.page("2026-11-22/", None).await.is_ok(), "the key file was written anew, and is read again");
}

#[tokio::test]
async fn nobody_reads_without_a_token_that_the_key_signed() {
    let world = World::start().await;
    let key = world.write("2026-11-22", 0);
    let bucket = format!("storage/v1/b/{BUCKET}/o");
    for path in ["", &format!("{BUCKET}?list-type=2"), &format!("{BUCKET}/{key}"), &bucket] {
        assert_eq!(world.get(path, "nonsense").await.0, 401, "{path}");
    }
    let now = SystemClock.now().0 / 1_000;
    for (what, assertion) in [
        ("another's", world.assertion(|claims| claims["iss"] = "somebody@else.example".into())),
        ("for elsewhere", world.assertion(|claims| claims["aud"] = "https://elsewhere.example/token".into())),
        ("for another scope", world.assertion(|claims| claims["scope"] = "openid".into())),
        (
            "over",
            world.assertion(|claims| (claims["iat"], claims["exp"]) = ((now - 9_000).into(), (now - 5_400).into())),
        ),
        ("good for a day", world.assertion(|claims| claims["exp"] = (now + 86_400).into())),
        ("cut short", world.assertion(|_| ()).split_at(40).0.to_owned()),
    ] {
        assert!(world.token(&assertion).await.is_err(), "an assertion that is {what}");
        // Signed for the store itself, it is no better.
        assert_eq!(world.get(&bucket, &assertion).await.0, 401, "{what}");
    }
    let token = world.token(&world.assertion(|_| ())).await.expect("a token");
    assert_eq!(world.get(&bucket, &token).await.0, 200);
    assert_eq!(world.get("other-bucket/x", &token).await.0, 404);
}

#[tokio::test]
async fn googles_own_interface_tells_pages_generations_and_content() {
    let world = World::start().await;
    let keys: Vec<String> = (0..3).map(|number| world.write("2026-11-22", number * 10)).collect();
    let token = world.token(&world.assertion(|_| ())).await.expect("a token");
    let list = |more: &str| format!("storage/v1/b/{BUCKET}/o?prefix=2026-11-22/{more}");
    let page: Value = serde_json::from_str(&world.get(&list(""), &token).await.1).expect("JSON");
    let next = page["nextPageToken"].as_str().expect("another page");
    let last: Value =
        serde_json::from_str(&world.get(&list(&format!("&pageToken={next}")), &token).await.1).expect("JSON");
    assert_eq!((&page["items"][1]["name"], &last["items"][0]["name"]), (&json!(keys[1]), &json!(keys[2])));
    assert!(last["nextPageToken"].is_null());
    let from: Value =
        serde_json::from_str(&world.get(&list(&format!("&startOffset={}", keys[2])), &token).await.1).expect("JSON");
    assert_eq!(from["items"], last["items"]);

    let generation = page["items"][0]["generation"].as_str().expect("a number");
    let object = format!("storage/v1/b/{BUCKET}/o/{}", keys[0].replace('/', "%2F"));
    assert_eq!(world.get(&format!("{object}?alt=media&generation={generation}"), &token).await.0, 200);
    world.sandbox.rewrite_day(&Rewrite { key: keys[0].clone(), more: 1 }).expect("rewritten");
    assert_eq!(world.get(&format!("{object}?alt=media&generation={generation}"), &token).await.0, 404);
    assert_eq!(world.get(&object, &token).await.0, 200);
}
