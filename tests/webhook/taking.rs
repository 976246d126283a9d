//! What is taken, what is answered, and what becomes of it.

use longshore::inbox::ledger::{Ledger as _, Selector};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::common::place::lay;
use crate::common::wait::{in_time, until_async};
use crate::world::{SECRET, World, event};

#[tokio::test(flavor = "multi_thread")]
async fn what_curl_posts_over_tls_is_answered_200_and_delivered() {
    let world = World::new("", "");
    let daemon = world.serve().await;
    let url = world.url("/events");
    let header = format!("Authorization: {SECRET}");
    let post = async |body: &str| world.curl(&["--header", &header, "--data-binary", body, &url]).await;
    let created = event("ORDER_CREATED", "1", r#"{"id":"a","version":1}"#);
    let Some((status, said)) = post(&created).await else { return };
    assert_eq!(status, 200, "{said}");
    // Again, as a sender does that missed the answer.
    assert_eq!(post(&created).await.expect("curl runs").0, 200);
    let stocks = event("STOCKS_CHANGED", "2", r#"[{"id":"b","version":1}, {"id":"c","version":1}]"#);
    assert_eq!(post(&stocks).await.expect("curl runs").0, 200);
    for strange in ["this is no JSON", r#"{"id":"d","version":9,"unlike":"an envelope"}"#] {
        assert_eq!(post(strange).await.expect("curl runs").0, 200);
    }
    let summary = world.wait("all are finished", |summary| summary.notices.finished >= 3).await;
    assert_eq!((summary.notices.finished, summary.notices.quarantined), (3, 1));
    let delivered = world.delivered();
    assert_eq!(
        delivered,
        [
            json!({ "id": "a", "version": 1 }),
            json!({ "id": "b", "version": 1 }),
            json!({ "id": "c", "version": 1 }),
            json!({ "id": "d", "version": 9, "unlike": "an envelope" }),
        ]
    );
    let notices = world.inbox().notices(Selector::default()).await.expect("notices");
    let types: Vec<_> = notices.iter().map(|notice| notice.blob_type.as_str()).collect();
    assert!(types.contains(&"ORDER_CREATED") && types.contains(&"STOCKS_CHANGED") && types.contains(&"unknown"));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_is_answered_as_it_deserves_and_stores_nothing() {
    let world = World::new("body_bytes_max = \"2KiB\"", "");
    let daemon = world.serve().await;
    let url = world.url("/events");
    let header = format!("Authorization: {SECRET}");
    let large = "x".repeat(3_000);
    let cases: [(&str, &[&str], u16); 7] = [
        ("no secret", &["--data-binary", "{}", &url], 401),
        ("another secret", &["--header", "Authorization: Bearer firs", "--data-binary", "{}", &url], 401),
        ("another path", &["--header", &header, "--data-binary", "{}", &world.url("/event")], 404),
        ("no post", &["--header", &header, &url], 405),
        ("too large", &["--header", &header, "--data-binary", &large, &url], 413),
        (
            "too large, in chunks",
            &["--header", &header, "--header", "Transfer-Encoding: chunked", "--data-binary", &large, &url],
            413,
        ),
        (
            "large headers",
            &["--header", &header, "--header", &format!("X: {}", "x".repeat(20_000)), "--data", "{}", &url],
            431,
        ),
    ];
    for (what, args, expected) in cases {
        let Some((status, said)) = world.curl(args).await else { return };
        assert_eq!(status, expected, "{what}: {said}");
    }
    let all = world.inbox().notices(Selector::default()).await.expect("notices");
    assert!(all.is_empty(), "{all:?}");
    let log = daemon.stop().await;
    assert!(!log.contains("Bearer"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_version_stays_in_whatever_order_events_come() {
    let world = World::new("", "[work]\nworkers = 4\nordering = \"none\"\nper_blob_type_max = 4\n");
    let daemon = world.serve().await;
    let client = world.client();
    let versions = [3, 1, 12, 2, 11, 7, 12, 9];
    for (number, version) in versions.iter().enumerate() {
        let payload = format!(r#"{{"id":"a","version":{version}}}"#);
        let body =
            event(if number % 2 == 0 { "ORDER_CREATED" } else { "ORDER_MODIFIED" }, &number.to_string(), &payload);
        assert_eq!(world.post(&client, body).await, Some(200));
    }
    world.wait("all are finished", |summary| summary.notices.finished == versions.len() as u64).await;
    assert_eq!(world.delivered(), [json!({ "id": "a", "version": 12 })]);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secret_and_certificate_are_replaced_without_a_restart() {
    let world = World::new("", "");
    let daemon = world.serve().await;
    let (old, new) = ("Authorization: Bearer first", "Authorization: Bearer second");
    let url = world.url("/events");
    let post = async |header: &str, id: &str| {
        let body = event("X", id, "{}");
        world.curl(&["--header", header, "--data-binary", &body, &url]).await.map(|(status, _)| status)
    };
    let Some(status) = post(old, "1").await else { return };
    assert_eq!(status, 200);
    assert_eq!(post(new, "2").await, Some(401));
    let replace = |text: &str| lay(&world.path("secret"), text);
    replace("Bearer second\nBearer first\n");
    until_async("the new secret is taken", async || post(new, "2").await == Some(200)).await;
    assert_eq!(post(old, "3").await, Some(200), "both are accepted meanwhile");
    replace("Bearer second\n");
    until_async("the old secret is refused", async || post(old, "4").await == Some(401)).await;
    assert_eq!(post(new, "4").await, Some(200));

    // curl trusts what now lies there, and nothing else.
    world.renew_certificate();
    let trusts = async || {
        let output = tokio::process::Command::new("curl")
            .args(["--silent", "--cacert"])
            .arg(world.path("certificate.pem"))
            .arg(&url)
            .output()
            .await;
        output.expect("curl runs").status.success()
    };
    until_async("the new certificate is shown", trusts).await;
    let log = daemon.stop().await;
    assert!(log.contains("the certificate was replaced"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_says_nothing_or_little_ends_and_others_are_served_meanwhile() {
    let world = World::new("idle_timeout = \"1s\"\nanswer_timeout = \"1s\"\n", "");
    // Plain, so that the test can speak half a request.
    world.reconfigure(|text| text.replace("certificate_file = \"certificate.pem\"\nkey_file = \"key.pem\"\n", ""));
    let daemon = world.serve().await;
    let said = async |half: &str| {
        let mut stream = tokio::net::TcpStream::connect(world.address).await.expect("connected");
        stream.write_all(half.as_bytes()).await.expect("written");
        let mut answer = String::new();
        let reading = stream.read_to_string(&mut answer);
        in_time("the connection ends", reading).await.expect("readable");
        answer
    };
    let head = format!("POST /events HTTP/1.1\r\nHost: x\r\nAuthorization: {SECRET}\r\nContent-Length: 10\r\n");
    let nothing = said("");
    let half_a_head = said(&head);
    let half_a_body = async {
        // An idle connection ends as well, after its answer.
        said(&format!("{head}\r\n{{\"a\"")).await
    };
    // As senders do: a busy machine may not be up to answering in a second.
    let whole = async {
        let body = "{\"a\": 1234}";
        let request = format!("{}\r\n{body}", head.replace("10", &body.len().to_string()));
        loop {
            let answer = said(&request).await;
            if answer.starts_with("HTTP/1.1 200") {
                return answer;
            }
        }
    };
    let whole = in_time("it is served meanwhile", whole);
    let (nothing, half_a_head, half_a_body, whole) = tokio::join!(nothing, half_a_head, half_a_body, whole);
    assert_eq!(nothing, "");
    assert!(half_a_head.is_empty() || half_a_head.starts_with("HTTP/1.1 408"), "{half_a_head}");
    assert!(half_a_body.starts_with("HTTP/1.1 408"), "{half_a_body}");
    assert!(whole.starts_with("HTTP/1.1 200"), "{whole}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_what_the_webhook_needs_and_disturbs_nobody() {
    let world = World::new("", "");
    let said = world.say(&["check", "--connect"]).await;
    for part in ["webhook on https://", "certificate and key fit", "one value is accepted", "is free"] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    let daemon = world.serve().await;
    let said = world.say(&["check", "--connect"]).await;
    assert!(said.contains("answers"), "{said}");
    world.write("key.pem", "no key");
    let (status, said) = world.try_say(&["check", "--connect"]).await;
    assert!(!status.success() && said.contains("key.pem") && said.contains("FAIL"), "{said}");
    assert!(!said.contains("Bearer"), "{said}");
    daemon.stop().await;
}
