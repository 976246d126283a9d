//! Azure containers, as Azurite serves them: under a SAS token of the container, and under the account's key.

use std::time::Duration;

use longshore::clock::{Clock as _, SystemClock};
use longshore::sandbox::{AccountKey, ContainerGrant, container_sas};

use crate::common::azurite::{ACCOUNT, Azurite};
use crate::common::net::{client, free_address};
use crate::common::place::{ALL, lay};
use crate::front::Front;
use crate::world::{World, days_ago, file};

const CONTAINER: &str = "exports";

struct Azure {
    azurite: Azurite,
    front: Front,
    world: World,
    http: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl Azure {
    async fn start(secret: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let azurite = Azurite::start(folder.path(), AccountKey::generate(), free_address().port()).await?;
        let http = client();
        azurite.create_container(&http, CONTAINER).await;
        let front = Front::before(&format!("http://127.0.0.1:{}", azurite.port())).await;
        let keys = format!(
            "provider = \"azure\"\naccount = {ACCOUNT:?}\n{secret}\nendpoint = \"{}/{ACCOUNT}\"\nbackfill = \"5d\"",
            front.base()
        );
        Some(Self { azurite, front, world: World::new(&keys, ALL), http, _folder: folder })
    }

    /// A token of the container, with these permissions, that is in force for so many seconds from now.
    fn sas(&self, permissions: &str, seconds: i64) -> String {
        let now = SystemClock.now();
        let expiry =
            if seconds > 0 { now.plus(Duration::from_secs(3_600)) } else { now.minus(Duration::from_secs(60)) };
        let start = now.minus(Duration::from_secs(7_200));
        let grant = ContainerGrant {
            account: ACCOUNT,
            container: CONTAINER,
            permissions,
            start,
            expiry,
            protocol: "https,http",
        };
        container_sas(&self.azurite.key, &grant)
    }

    async fn put(&self, days: i64, name: &str, records: &str) {
        let sas = self.sas("cw", 3_600);
        let url = format!("{}/{CONTAINER}/{}/{name}.jsonl.gz?{sas}", self.azurite.base, days_ago(days));
        let put = self.http.put(url).header("x-ms-blob-type", "BlockBlob").body(file(records));
        assert_eq!(put.send().await.expect("answered").status(), 201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_delivered_under_a_sas_that_is_replaced_once_it_has_expired() {
    let Some(azure) = Azure::start("sas_file = \"sas\"").await else { return };
    let Azure { front, world, .. } = &azure;
    world.write("sas", azure.sas("rl", -1));
    for (days, name) in [(9, "too-old"), (4, "old"), (0, "today")] {
        azure.put(days, name, name).await;
    }
    let (status, said) = world.try_say(&["check", "--connect"]).await;
    assert!(!status.success() && said.contains("look at the key's file"), "{said}");
    let signature = azure.sas("rl", -1);
    let signature = signature.split("sig=").nth(1).expect("a signature").split('&').next().expect("a signature");
    assert!(!said.contains(signature), "a secret is shown: {said}");
    let daemon = world.run();
    world.wait("it says so", |summary| format!("{:?}", summary.daemons).contains("refuses us")).await;
    lay(&world.path("sas"), azure.sas("rl", 3_600));
    world.wait_finished(2).await;
    front.break_bodies(1_000, 4);
    azure.put(0, "today", "again").await;
    front.struck(4).await;
    world.wait_finished(3).await;
    daemon.stop().await;
    world.assert_each_once(&["old", "today", "again"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_delivered_under_the_accounts_key() {
    let Some(azure) = Azure::start("account_key_file = \"key\"").await else { return };
    let Azure { azurite, front, world, .. } = &azure;
    world.write("key", azurite.key.to_base64());
    azure.put(1, "with%20blank%20%C3%A4", "a").await;
    azure.put(0, "b", "b").await;
    let checked = world.say(&["check", "--connect"]).await;
    assert!(checked.contains("the bucket can be listed"), "{checked}");
    front.break_page(2);
    let daemon = world.run();
    front.struck(1).await;
    world.wait_finished(2).await;
    daemon.stop().await;
    world.assert_each_once(&["a", "b"]);
}
