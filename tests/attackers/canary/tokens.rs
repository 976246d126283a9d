//! What the vendor hands out, and what a proxy on the way there is told.

use base64::Engine as _;
use longshore::sandbox::{AccountKey, FileSource, PublishRequest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::echo::Echo;
use super::{assert_hidden, canary, replace_key, start_with, world};
use crate::common::vendor::World;

/// How often a trouble is to be met before a round ends: the first time, and once more after a wait.
const TIMES: usize = 2;

async fn publish(world: &World, uri: &str) {
    let request = PublishRequest {
        content_type: Some("application/x-jsonlines".to_owned()),
        ..PublishRequest::new(FileSource::Uri(uri.to_owned()))
    };
    world.sandbox.publish(request.blob_type("Canary")).await.expect("published");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_token_is_shown_nowhere_whatever_the_store_answers() {
    let world = world(str::to_owned).await;
    let echo = Echo::start().await;
    let base = format!("{}/acct", echo.base).parse().expect("an address");
    world.sandbox.hand_out_blob_store(&base, AccountKey::generate());
    for name in ["403", "500", "404", "redirect-302", "truncated", "named"] {
        publish(&world, &format!("{base}/batchtoprocess/{name}")).await;
    }
    let daemon = world.run();
    echo.asked(6 + TIMES, &daemon).await;
    let key = std::fs::read_dir(world.sandbox.certificates()).expect("certificates").next().expect("one").expect("one");
    let pem = std::fs::read_to_string(key.path()).expect("a certificate with its key");
    let mut secrets = echo.secrets();
    // A line from the middle of the private key.
    let private = pem.split("PRIVATE KEY-----").nth(1).expect("a key");
    secrets.extend(private.lines().map(str::to_owned).filter(|line| line.len() > 40));
    assert_hidden(&world, daemon, &secrets, &["certificates"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_is_shown_nowhere_whatever_the_token_service_answers() {
    for path in ["403", "500", "redirect-307", "truncated", "200", "401"] {
        let echo = Echo::start().await;
        let base = format!("{}/{path}", echo.base);
        let world = world(|config| replace_key(config, "tenant_service", &base)).await;
        let daemon = world.run();
        echo.asked(1, &daemon).await;
        let secrets = echo.secrets();
        assert_hidden(&world, daemon, &secrets, &["certificates"]).await;
    }
}

/// The feed of the sandbox, with tokens from files instead.
fn with_files(config: &str) -> String {
    let other = ["tenant_service", "integration_name", "ca_file"];
    let line = |line: &str| !other.iter().any(|key| line.starts_with(key));
    let kept: Vec<&str> = config.lines().filter(|text| line(text)).collect();
    let files = "type = \"service-bus\"\nconnection_string_file = \"connection\"\nblob_urls_file = \"blobs\"\n\
                 reconnect_min = \"50ms\"\nreconnect_max = \"100ms\"";
    kept.join("\n").replacen("type = \"service-bus\"", files, 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_bus_token_is_shown_nowhere_whatever_ends_the_connection() {
    // A broker that refuses it, one whose certificate nobody vouches for, one that speaks another language, and none.
    for way in ["refused", "tls", "not-amqp", "nobody"] {
        let world = world(with_files).await;
        let (sas, key) = (canary("Sas"), canary("Key"));
        let echo = Echo::start().await;
        let port = |url: &str| url.trim_end_matches('/').rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
        let port = match way {
            "refused" => world.sandbox.broker().plain_address().map(|address| address.port()),
            "tls" => port(world.sandbox.authority().join("/").expect("an address").as_str()),
            "not-amqp" => port(&echo.base),
            _ => Some(9),
        };
        let token = format!("SharedAccessSignature sr=sb%3a%2f%2f127.0.0.1&sig={sas}&se=4000000000&skn=k");
        let plain = if way == "tls" { "" } else { ";UseDevelopmentEmulator=true" };
        let connection = format!(
            "Endpoint=sb://127.0.0.1:{};SharedAccessSignature={token};SharedAccessKey={key};EntityPath=fileexport/Subscriptions/longshore{plain}",
            port.expect("a port")
        );
        world.hold("connection", &connection);
        world.hold("blobs", &format!("https://acct.blob.core.windows.net/box?sv=1&sig={}", canary("Blob")));
        let daemon = world.run();
        daemon.repeats("not connected", TIMES).await;
        assert_hidden(&world, daemon, &[sas, key, canary("Blob")], &["certificates", "connection", "blobs"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_proxy_is_told_and_says_is_shown_nowhere() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let proxy = listener.local_addr().expect("bound");
    let visits = watch::Sender::new(0);
    let mut seen = visits.subscribe();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 4_096];
            let count = stream.read(&mut head).await.unwrap_or_default();
            let said = String::from_utf8_lossy(&head[..count]).into_owned();
            let answer =
                format!("HTTP/1.1 407 no\r\nproxy-authenticate: Basic\r\ncontent-length: {}\r\n\r\n{said}", said.len());
            let _ = stream.write_all(answer.as_bytes()).await;
            visits.send_modify(|visits| *visits += 1);
        }
    });
    // Loopback never goes through a proxy: an authority and a token service that are elsewhere.
    let world = world(|config| {
        let config = replace_key(config, "authority", "https://login.canary.example/tenant");
        replace_key(&config, "tenant_service", "https://tenant.canary.example")
    })
    .await;
    let secret = canary("Proxy");
    let address = format!("http://user:{secret}@{proxy}");
    let daemon = start_with(&world, &[("HTTPS_PROXY", &address), ("NO_PROXY", "")]);
    let reached = seen.wait_for(|visits| *visits >= 1);
    drop(daemon.in_time("somebody asks the proxy", reached).await);
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("user:{secret}"));
    assert_hidden(&world, daemon, &[secret, encoded], &["certificates"]).await;
}
