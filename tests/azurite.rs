//! Microsoft's own blob emulator: it takes the signatures that our sandbox makes, and the daemon's rooms download from
//! it with tokens that expire and are rotated while they do.

#![cfg(feature = "sandbox")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::azurite::{ACCOUNT, Azurite};
use common::net::{client, free_address};
use common::wait::{in_time, until_async};
use longshore::access::{TokenSource as _, vendor_tokens};
use longshore::clock::{Clock as _, SystemClock, UnixMs};
use longshore::error::{Class, Classify as _};
use longshore::notice::{FeedName, Metadata, Notice, NoticeId};
use longshore::ops::Context;
use longshore::payload::{ByteStream, FetchSettings, PayloadError, PayloadLimits, PayloadOpener};
use longshore::sandbox::sample::{Compression, Kind, SampleSpec};
use longshore::sandbox::{AccountKey, ContainerGrant, Sandbox, SandboxSettings, TenantFault, container_sas};
use tokio_util::sync::CancellationToken;
use url::Url;

const CONTAINER: &str = "batchtoprocess";

fn sas(key: &AccountKey, permissions: &str, expiry: UnixMs) -> String {
    let start = expiry.minus(Duration::from_secs(7_200));
    let grant =
        ContainerGrant { account: ACCOUNT, container: CONTAINER, permissions, start, expiry, protocol: "https,http" };
    container_sas(key, &grant)
}

#[tokio::test]
async fn a_container_sas_of_ours_opens_azurite_until_it_expires() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(azurite) = Azurite::start(folder.path(), AccountKey::generate(), free_address().port()).await else {
        return;
    };
    let http = client();
    azurite.create_container(&http, CONTAINER).await;
    let soon = SystemClock.now().plus(Duration::from_secs(3_600));
    let blob = |query: &str| format!("{}/{CONTAINER}/Customers/2026-01-01/a%20b.jsonl?{query}", azurite.base);

    let put = http.put(blob(&sas(&azurite.key, "cw", soon))).header("x-ms-blob-type", "BlockBlob").body("{}\n{}\n");
    assert_eq!(put.send().await.expect("answered").status(), 201);

    let read = sas(&azurite.key, "r", soon);
    let got = http.get(blob(&read)).send().await.expect("answered");
    assert_eq!(got.status(), 200);
    assert_eq!(got.text().await.expect("a body"), "{}\n{}\n");
    let part = http.get(blob(&read)).header("range", "bytes=3-").send().await.expect("answered");
    assert_eq!((part.status().as_u16(), part.text().await.expect("a body").as_str()), (206, "{}\n"));

    let expired = sas(&azurite.key, "r", SystemClock.now().minus(Duration::from_secs(1)));
    let other = sas(&AccountKey::generate(), "r", soon);
    for query in [expired, other] {
        assert_eq!(http.get(blob(&query)).send().await.expect("answered").status(), 403);
    }
    azurite.stop().await;
}

fn notice(uri: &str) -> Notice {
    let metadata = Metadata {
        blob_type: "Gateway.ItemChanges".to_owned(),
        uri: Some(uri.to_owned()),
        content_type: Some("application/x-jsonlines".to_owned()),
        ..Metadata::default()
    };
    let now = SystemClock.now();
    Notice {
        id: NoticeId(1),
        feed: FeedName::new("export"),
        dedupe_key: "1".to_owned(),
        metadata,
        body: None,
        published: now,
        sequence: 1,
        stored: now,
    }
}

/// The rest of a stream.
async fn rest(stream: &mut ByteStream) -> Result<Vec<u8>, PayloadError> {
    let mut bytes = Vec::new();
    while let Some(piece) = in_time("it moves", stream.next()).await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn downloads_from_azurite_survive_tokens_that_expire_and_keys_that_are_rotated() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(azurite) = Azurite::start(folder.path(), AccountKey::generate(), free_address().port()).await else {
        return;
    };
    let http = client();
    azurite.create_container(&http, CONTAINER).await;
    // Long enough that most of it is still with Azurite when the reader stands still.
    let block = SampleSpec { compression: Compression::None, ..SampleSpec::new(Kind::Items, 4_000) }.to_vec();
    let content = block.repeat(40);
    let name = format!("{CONTAINER}/Gateway.ItemChanges/2026-01-01/whole.jsonl");
    let write = sas(&azurite.key, "cw", SystemClock.now().plus(Duration::from_secs(3_600)));
    let put = http.put(format!("{}/{name}?{write}", azurite.base)).header("x-ms-blob-type", "BlockBlob");
    assert_eq!(put.body(content.clone()).send().await.expect("answered").status(), 201);
    // What it holds is on disk only once it has ended in peace; later it will be killed.
    let (port, key) = (azurite.port(), azurite.key.clone());
    azurite.stop().await;
    let azurite = Azurite::start(folder.path(), key, port).await.expect("it is installed");

    // The vendor hands out tokens for Azurite that live for four seconds.
    let settings = SandboxSettings { sas_lifetime: Duration::from_secs(4), ..SandboxSettings::default() };
    let sandbox = Sandbox::start(settings).await.expect("a sandbox");
    sandbox.hand_out_blob_store(&azurite.base, azurite.key.clone());
    let context = Context::new(Arc::new(SystemClock));
    let mut tenant_service = sandbox.tenant_service_settings();
    tenant_service.refresh_ahead = Duration::from_secs(1);
    tenant_service.refresh_interval_min = Duration::ZERO;
    let stop = CancellationToken::new();
    let tokens = vendor_tokens(sandbox.identity_settings(), tenant_service, &context, &stop).expect("tokens");
    let fetch = FetchSettings { resumes_max: 1_000, ..FetchSettings::default() };
    let opener =
        PayloadOpener::new(fetch, PayloadLimits::default(), Some(tokens.clone()), context.clone()).expect("an opener");
    let uri = format!("{}/{name}", azurite.base);
    let notice = notice(&uri);
    assert!(rest(&mut opener.open_bytes(&notice)).await.expect("all of it") == content);

    // Expired: no new tokens are to be had until Azurite itself refuses the old ones.
    sandbox.add_tenant_fault(TenantFault { status: 503, retry_after: None, requests: None });
    let blob = Url::parse(&uri).expect("a URL");
    // The newest: some may still have been on their way.
    let newest = || tokens.watch().borrow().clone().expect("tokens");
    let is_refused = async || {
        let url = newest().for_blob(&blob).expect("a token for it").url_for(&blob);
        http.head(url).send().await.expect("answered").status() == 403
    };
    until_async("the token has expired", is_refused).await;
    let held = newest();
    let error = rest(&mut opener.open_bytes(&notice)).await.expect_err("no token is in force");
    assert_eq!(error.class(), Class::Unauthorized, "{error}");
    assert!(!error.to_string().contains("sig="), "{error}");
    sandbox.clear_tenant_faults();
    let mut watch = tokens.watch();
    let newer = watch.wait_for(|now| now.as_ref().is_some_and(|now| now.generation > held.generation));
    drop(in_time("there are newer tokens", newer).await.expect("newer tokens"));

    // Rotated in mid-body: the same Azurite, killed and started again with another key, refuses the old tokens.
    let mut stream = opener.open_bytes(&notice);
    let mut got = stream.next().await.expect("readable").expect("a first piece").to_vec();
    let of_the_old_key = sas(&azurite.key, "r", SystemClock.now().plus(Duration::from_secs(3_600)));
    azurite.kill().await;
    let azurite = Azurite::start(folder.path(), AccountKey::generate(), port).await.expect("it is installed");
    assert_eq!(http.head(format!("{uri}?{of_the_old_key}")).send().await.expect("answered").status(), 403);
    sandbox.hand_out_blob_store(&azurite.base, azurite.key.clone());
    got.extend(rest(&mut stream).await.expect("all of it"));
    assert!(got == content, "{} of {} bytes", got.len(), content.len());
    stop.cancel();
    azurite.stop().await;
}
