//! The whole daemon downloads from Azurite, with container SAS tokens that expire and a key that is rotated in mid-run.

#![cfg(feature = "sandbox")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::azurite::{ACCOUNT, Azurite};
use common::delivered;
use common::net::{client, free_address};
use common::process::LIMIT;
use common::wait::{in_time, looking, until_async};
use longshore::clock::{Clock as _, SystemClock};
use longshore::config::{Config, Files};
use longshore::daemon::{self, Duty, Parts};
use longshore::inbox::ledger::{Ledger, Selector};
use longshore::ops::Context;
use longshore::sandbox::sample::{Kind, SampleSpec};
use longshore::sandbox::{
    AccountKey, ContainerGrant, FileSource, PublishRequest, Sandbox, SandboxSettings, TenantFault, container_sas,
};
use tokio_util::sync::CancellationToken;

const CONTAINER: &str = "batchtoprocess";
const RECORDS: u64 = 200;
const FILES: u64 = 30;
/// How long the tokens live that the vendor hands out.
const TOKEN: Duration = Duration::from_secs(4);

/// A token for Azurite that is good for `time` from now.
fn sas(key: &AccountKey, permissions: &str, time: Duration) -> String {
    let now = SystemClock.now();
    let (start, expiry) = (now.minus(Duration::from_secs(60)), now.plus(time));
    let grant =
        ContainerGrant { account: ACCOUNT, container: CONTAINER, permissions, start, expiry, protocol: "https,http" };
    container_sas(key, &grant)
}

fn address(azurite: &Azurite, file: u64) -> String {
    format!("{}/{CONTAINER}/Gateway.ItemChanges/{file}.jsonl.gz", azurite.base)
}

async fn upload(azurite: &Azurite, http: &reqwest::Client) {
    azurite.create_container(http, CONTAINER).await;
    let write = sas(&azurite.key, "cw", LIMIT);
    for file in 0..FILES {
        let spec = SampleSpec { first: file * RECORDS, ..SampleSpec::new(Kind::Items, RECORDS) };
        let put = http.put(format!("{}?{write}", address(azurite, file))).header("x-ms-blob-type", "BlockBlob");
        assert_eq!(put.body(spec.to_vec()).send().await.expect("answered").status(), 201);
    }
}

async fn announce(sandbox: &Sandbox, azurite: &Azurite, files: std::ops::Range<u64>) {
    for file in files {
        let mut request = PublishRequest::new(FileSource::Uri(address(azurite, file))).blob_type("Gateway.ItemChanges");
        request.content_encoding = Some("gzip".to_owned());
        sandbox.publish(request).await.expect("announced");
    }
}

/// Waits until `wanted` notices are finished.
async fn finished(ledger: &dyn Ledger, wanted: u64) {
    let is_so = async || ledger.summary().await.expect("readable").notices.finished >= wanted;
    let in_time = tokio::time::timeout(LIMIT, looking(is_so)).await.is_ok();
    assert!(in_time, "{wanted} finished: {:#?}", ledger.summary().await.expect("readable").notices);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_daemon_delivers_each_record_once_while_tokens_expire_and_a_key_is_rotated() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(azurite) =
        Azurite::start(&folder.path().join("azurite"), AccountKey::generate(), free_address().port()).await
    else {
        return;
    };
    let http = client();
    upload(&azurite, &http).await;
    // What it holds is on disk only once it has ended in peace.
    let (port, key) = (azurite.port(), azurite.key.clone());
    azurite.stop().await;
    let azurite = Azurite::start(&folder.path().join("azurite"), key, port).await.expect("it is installed");

    let settings = SandboxSettings { sas_lifetime: TOKEN, ..SandboxSettings::new(folder.path().join("vendor")) };
    let sandbox = Sandbox::start(settings).await.expect("a sandbox");
    sandbox.hand_out_blob_store(&azurite.base, azurite.key.clone());
    let path = sandbox.write_configuration().expect("written");
    let short = "\n[tokens]\nrefresh_ahead = \"1s\"\nrefresh_interval_min = \"1s\"\n[work]\nretry_min = \"100ms\"\n\
                 retry_max = \"1s\"\n[ops]\nlisten = \"\"\n";
    std::fs::write(&path, sandbox.configuration() + short).expect("written");
    let config = Config::load(&path, Files::Checked).expect("a good configuration");
    let (context, stop) = (Context::new(Arc::new(SystemClock)), CancellationToken::new());
    let parts = Parts::build(&config, &context, &stop).await.expect("parts");
    let ledger = Arc::clone(&parts.ledger);
    let running = tokio::spawn({
        let (context, stop) = (context.clone(), stop.clone());
        async move { daemon::run_parts(parts, &config, Duty::Both, context, stop).await }
    });
    announce(&sandbox, &azurite, 0..10).await;
    finished(&*ledger, 10).await;

    // Expired: the vendor hands out nothing until Azurite refuses every token that it has handed out.
    sandbox.add_tenant_fault(TenantFault { status: 503, retry_after: None, requests: None });
    let youngest = format!("{}?{}", address(&azurite, 0), sas(&azurite.key, "r", TOKEN));
    let is_refused = async || http.head(&youngest).send().await.expect("answered").status() == 403;
    until_async("tokens have expired", is_refused).await;
    announce(&sandbox, &azurite, 10..20).await;
    let refused = sandbox.vendor_state().tenant_refusals;
    sandbox.wait_until(LIMIT, |state| state.tenant_refusals > refused).await.expect("new tokens are asked for");
    sandbox.clear_tenant_faults();
    finished(&*ledger, 20).await;
    let notices = ledger.notices(Selector::default()).await.expect("readable");
    assert!(notices.iter().all(|notice| notice.attempts <= notice.deliveries), "an expired token used up an attempt");

    // Rotated: the same Azurite with another key, while ten more files are under way.
    let of_the_old_key = sas(&azurite.key, "r", LIMIT);
    announce(&sandbox, &azurite, 20..25).await;
    azurite.kill().await;
    let azurite = Azurite::start(&folder.path().join("azurite"), AccountKey::generate(), port).await.expect("again");
    let old = http.head(format!("{}?{of_the_old_key}", address(&azurite, 0)));
    assert_eq!(old.send().await.expect("answered").status(), 403);
    announce(&sandbox, &azurite, 25..FILES).await;
    sandbox.hand_out_blob_store(&azurite.base, azurite.key.clone());
    finished(&*ledger, FILES).await;

    stop.cancel();
    in_time("it has ended", running).await.expect("no panic").expect("a good end");
    let items = delivered::named(&folder.path().join("vendor/delivered"), "/identifier/sku");
    assert_eq!(items.len() as u64, FILES * RECORDS, "each record was delivered");
    assert!(items.values().all(|times| *times == 1), "and none twice");
    azurite.stop().await;
}
