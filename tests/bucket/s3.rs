//! S3, as moto plays it. It looks at no signature, but pages, ranges and ETags are its own.

use crate::common::net::free_address;
use crate::common::place::ALL;
use crate::front::Front;
use crate::servers::Server;
use crate::world::{World, days_ago, file};

#[tokio::test(flavor = "multi_thread")]
async fn day_folders_of_s3_are_delivered_also_when_pages_and_bodies_break() {
    let Some(server) = Server::s3().await else { return };
    let front = Front::before(&server.base).await;
    let keys = format!(
        "provider = \"s3\"\nregion = \"eu-north-1\"\npath_style = true\naccess_key_file = \"id\"\n\
         secret_key_file = \"secret\"\nendpoint = {:?}\nbackfill = \"5d\"",
        front.base()
    );
    let world = World::new(&keys, ALL);
    world.write("id", "AKIAEXAMPLE\n");
    world.write("secret", "secret\n");
    for (days, name) in [(9, "too-old"), (4, "old"), (1, "with blank ä"), (0, "today")] {
        let name_in_path = name.replace(' ', "%20").replace('ä', "%C3%A4");
        server.put_s3(&format!("{}/{name_in_path}.jsonl.gz", days_ago(days)), file(name)).await;
    }
    let checked = world.say(&["check", "--connect"]).await;
    assert!(checked.contains("the bucket can be listed"), "{checked}");
    front.break_page(1);
    let daemon = world.run();
    front.struck(1).await;
    world.wait_finished(3).await;
    front.break_bodies(1_000, 4);
    let rewritten = format!("{}/today.jsonl.gz", days_ago(0));
    server.put_s3(&rewritten, file("again")).await;
    front.struck(4).await;
    world.wait_finished(4).await;
    world.assert_each_once(&["old", "with blank ä", "today", "again"]);
    // What it held at first comes back: sinks hold the other by now. Written over itself, it is nothing new.
    server.put_s3(&rewritten, file("today")).await;
    world.wait_finished(5).await;
    server.put_s3(&rewritten, file("today")).await;
    server.put_s3(&format!("{}/last.jsonl.gz", days_ago(0)), file("last")).await;
    world.wait_finished(6).await;
    daemon.stop().await;
    let delivered = world.delivered();
    let times = |name: &str| -> Vec<u32> {
        delivered.iter().filter(|(id, _)| id.starts_with(name)).map(|(_, times)| *times).collect()
    };
    assert!(times("today-").iter().all(|times| *times == 2) && times("again-").iter().all(|times| *times == 1));
    assert_eq!(world.notices().await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_down_is_told_with_what_to_do() {
    let address = free_address();
    let keys = format!(
        "provider = \"s3\"\nregion = \"eu-north-1\"\naccess_key_file = \"id\"\nsecret_key_file = \"secret\"\n\
         path_style = true\nendpoint = \"http://{address}\""
    );
    let world = World::new(&keys, ALL);
    world.write("id", "AKIAEXAMPLE\n");
    world.write("secret", "secret\n");
    let (status, said) = world.try_say(&["feed", "list", "export"]).await;
    assert_eq!(status.code(), Some(69), "{said}");
    assert!(said.contains("is the store up") && said.contains("longshore check --connect"), "{said}");
    let (status, said) = world.try_say(&["check", "--connect"]).await;
    assert!(!status.success() && said.contains(&address.to_string()), "the remedy leads on: {said}");
}
