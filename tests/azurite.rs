//! Microsoft's own blob emulator takes the signatures that our sandbox makes.

#![cfg(feature = "sandbox")]

#[path = "common/azurite.rs"]
mod azurite;
#[path = "common/peers.rs"]
mod peers;

use std::time::Duration;

use azurite::{ACCOUNT, Azurite};
use longshore::clock::{Clock as _, SystemClock, UnixMs};
use longshore::net::{HttpLimits, http_client};
use longshore::sandbox::{AccountKey, ContainerGrant, container_sas};

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
    let Some(azurite) = Azurite::start(folder.path(), AccountKey::generate(), 0).await else { return };
    let http = http_client(None, HttpLimits::default()).expect("a client");
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
