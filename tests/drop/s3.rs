//! A folder of a bucket in S3, as moto plays it: left, moved and deleted, cut off and replaced wherever it hurts.

use crate::common::net;
use crate::common::process::LIMIT;
use crate::common::wait::looking;
use crate::front::Front;
use crate::servers::Server;
use crate::world::{World, day};

/// What the store is asked by a test of its own accord; it looks at no signature.
const SOMEBODY: &str = "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20261124/eu-north-1/s3/aws4_request, \
                        SignedHeaders=host, Signature=0";

/// A world whose feed takes from the folder `in/net core` of the bucket.
pub fn world(base: &str, keys: &str) -> World {
    let world = World::of_folder("");
    world.hold("id", "AKIAEXAMPLE\n");
    world.hold("secret", "secret\n");
    configure(&world, base, keys);
    world
}

fn configure(world: &World, base: &str, keys: &str) {
    let keys = format!(
        "region = \"eu-north-1\"\npath_style = true\naccess_key_file = \"id\"\nsecret_key_file = \"secret\"\n\
         endpoint = {base:?}\n{keys}\n"
    );
    world.configure("s3://exports/in/net%20core", &keys);
}

pub async fn put(server: &Server, name: &str, content: Vec<u8>) {
    server.put_s3(&format!("in/net%20core/{}", name.replace(' ', "%20")), content).await;
}

/// The names of everything in the bucket, in order.
pub async fn keys(server: &Server) -> Vec<String> {
    let listed = net::client().get(format!("{}/exports?list-type=2", server.base)).header("authorization", SOMEBODY);
    let listed = listed.send().await.expect("answered").text().await.expect("text");
    let keys = listed.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>"));
    keys.map(|(key, _)| key.to_owned()).collect()
}

pub async fn until_keys(server: &Server, expected: &[&str]) {
    let waiting = looking(async || keys(server).await == expected);
    if tokio::time::timeout(LIMIT, waiting).await.is_err() {
        panic!("waited in vain for {expected:?}; there are {:?}", keys(server).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zip_in_a_bucket_is_delivered_and_moved_and_what_was_moved_before_stays() {
    let Some(server) = Server::s3().await else { return };
    let world = world(&server.base, "after = \"move\"\nmove_to = \"done\"");
    put(&server, "Client ID_ 02012022.zip", day(1)).await;
    // Neither a folder below, nor one beside it, nor the folder itself is any of ours.
    put(&server, "below/other.zip", day(7)).await;
    server.put_s3("in/net%20core2/other.zip", day(8)).await;
    put(&server, "", Vec::new()).await;
    let checked = world.say(&["check", "--connect"]).await;
    for seen in [
        "LIST requests a day",
        "key readable",
        "s3://exports/in/net core, 1 file in it",
        "files readable",
        "originals deleted",
    ] {
        assert!(checked.contains(seen), "{seen} is not in:\n{checked}");
    }
    let daemon = world.run();
    world.wait_finished(2).await;
    let others = ["in/net core/", "in/net core/below/other.zip", "in/net core2/other.zip"];
    let moved = "in/net core/done/Client ID_ 02012022.zip";
    until_keys(&server, &[others[0], others[1], moved, others[2]]).await;
    put(&server, "Client ID_ 02012022.zip", day(2)).await;
    world.wait_finished(4).await;
    let hash = sha256(&day(2));
    let second = format!("{moved}.{}", &hash[..12]);
    until_keys(&server, &[others[0], others[1], moved, &second, others[2]]).await;
    daemon.stop().await;
    world.assert_each_once([1, 2]);
}

fn sha256(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zip_that_stays_is_taken_once_and_again_when_it_is_written_anew() {
    let Some(server) = Server::s3().await else { return };
    let world = world(&server.base, "");
    put(&server, "day.zip", day(1)).await;
    let daemon = world.run();
    world.wait_finished(2).await;
    daemon.stop().await;
    // The same bytes later, and other bytes.
    put(&server, "day.zip", day(1)).await;
    put(&server, "next.zip", day(2)).await;
    let daemon = world.run();
    world.wait_finished(4).await;
    put(&server, "day.zip", day(3)).await;
    world.wait_finished(6).await;
    daemon.stop().await;
    world.assert_each_once([1, 2, 3]);
    assert_eq!(keys(&server).await, ["in/net core/day.zip", "in/net core/next.zip"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_breaks_in_the_middle_of_a_page_leaves_nothing_out() {
    let Some(server) = Server::s3().await else { return };
    let front = Front::of_pages(&server.base, 2).await;
    let world = world(&front.base(), "");
    for n in 0..5 {
        put(&server, &format!("day {n}.zip"), day(n)).await;
    }
    front.break_page(1);
    let daemon = world.run();
    front.struck(1).await;
    world.wait_finished(10).await;
    // What stands on the pages that did not come is not taken for gone: it would be taken again.
    front.break_page(1);
    front.struck(1).await;
    put(&server, "day 5.zip", day(5)).await;
    world.wait_finished(12).await;
    daemon.stop().await;
    world.assert_each_once(0..6);
    assert!(world.notices().await.iter().all(|notice| notice.seen_count == 1), "{:?}", world.notices().await);
    let pages = front.listed();
    assert!(pages.iter().filter(|query| query.contains("continuation-token")).count() >= 2, "{pages:?}");
    assert!(pages.iter().all(|query| query.contains("delimiter=%2F")), "{pages:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_break_in_the_middle_of_a_file_cost_the_rest_of_it_and_no_more() {
    let Some(server) = Server::s3().await else { return };
    let front = Front::before(&server.base).await;
    let world = world(&front.base(), "after = \"delete\"");
    put(&server, "day.zip", day(1)).await;
    front.break_bodies(30_000, 6);
    let daemon = world.run();
    front.struck(6).await;
    world.wait_finished(2).await;
    until_keys(&server, &[]).await;
    let log = daemon.log();
    daemon.stop().await;
    world.assert_each_once([1]);
    assert!(!log.contains("trying again"), "the look went on:\n{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zip_that_is_replaced_while_it_is_read_is_taken_as_the_new_one_and_never_mixed() {
    let Some(server) = Server::s3().await else { return };
    let front = Front::before(&server.base).await;
    let world = world(&front.base(), "after = \"delete\"");
    // As long as each other: only the version tells them apart, in any byte that is mixed.
    let (old, new) = (day(1), day(2));
    assert_eq!(old.len(), new.len());
    // Once the rest of the old one still comes, and once it is asked for when it is not there any more.
    for (n, breaks) in [(0, false), (1, true)] {
        put(&server, "day.zip", if n == 0 { old.clone() } else { day(3) }).await;
        front.hold_bodies(100_000);
        let daemon = world.run();
        front.struck(1).await;
        put(&server, "day.zip", if n == 0 { new.clone() } else { day(4) }).await;
        if breaks {
            front.break_held()
        } else {
            front.be_good()
        }
        world.wait_finished(2 * (n + 1)).await;
        until_keys(&server, &[]).await;
        daemon.stop().await;
    }
    world.assert_each_once([2, 4]);
    assert_eq!(world.notices().await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_nine_in_the_middle_of_a_copy_and_before_the_deletion_loses_nothing_and_doubles_nothing() {
    let Some(server) = Server::s3().await else { return };
    let front = Front::before(&server.base).await;
    let world = world(&front.base(), "after = \"delete\"");
    put(&server, "day.zip", day(1)).await;
    front.hold_bodies(100_000);
    let daemon = world.run();
    front.struck(1).await;
    daemon.kill().await;
    assert_eq!(world.notices().await, []);
    front.hold_deletions();
    let daemon = world.run();
    front.struck(1).await;
    world.wait_finished(2).await;
    daemon.kill().await;
    assert_eq!(keys(&server).await, ["in/net core/day.zip"]);
    front.be_good();
    let daemon = world.run();
    until_keys(&server, &[]).await;
    daemon.stop().await;
    world.assert_each_once([1]);
    assert!(world.notices().await.iter().all(|notice| notice.seen_count == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_nine_between_the_copy_and_the_deletion_of_a_move_ends_with_one_copy() {
    let Some(server) = Server::s3().await else { return };
    let front = Front::before(&server.base).await;
    let world = world(&front.base(), "after = \"move\"\nmove_to = \"done\"");
    put(&server, "day.zip", day(1)).await;
    front.hold_deletions();
    let daemon = world.run();
    front.struck(1).await;
    daemon.kill().await;
    assert_eq!(keys(&server).await, ["in/net core/day.zip", "in/net core/done/day.zip"]);
    front.be_good();
    let daemon = world.run();
    until_keys(&server, &["in/net core/done/day.zip"]).await;
    world.wait_finished(2).await;
    // Another file under the name that is taken, killed in the same place: both stay.
    front.hold_deletions();
    put(&server, "day.zip", day(2)).await;
    front.struck(1).await;
    daemon.kill().await;
    front.be_good();
    let daemon = world.run();
    let second = format!("in/net core/done/day.zip.{}", &sha256(&day(2))[..12]);
    until_keys(&server, &["in/net core/done/day.zip", &second]).await;
    world.wait_finished(4).await;
    daemon.stop().await;
    world.assert_each_once([1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_refuses_is_told_with_what_to_do() {
    let Some(server) = Server::s3().await else { return };
    let world = world(&server.base, "after = \"delete\"");
    put(&server, "day.zip", day(1)).await;
    let user = server.user_of_s3("reader", &["s3:ListBucket", "s3:GetObject"]).await;
    let refused = async |what: &str, hint: &str| {
        let (status, said) = world.try_say(&["check", "--connect"]).await;
        assert!(!status.success() && said.contains(hint), "{what}: {hint:?} is not in:\n{said}");
        said
    };
    refused("a key that the store does not know", "holds an access key that is in force").await;
    world.hold("id", &user.id);
    refused("a secret of another key", "holds the secret of the key").await;
    world.hold("secret", &user.secret);
    let said = refused("a key that may read only", "s3:DeleteObject").await;
    assert!(said.contains("files readable"), "{said}");
    configure(&world, &server.base, "after = \"move\"\nmove_to = \"done\"");
    refused("a key that may not write", "s3:PutObject").await;
    configure(&world, &server.base, "");
    let said = world.say(&["check", "--connect"]).await;
    assert!(said.contains("files readable"), "{said}");
    world.reconfigure(|text| text.replace("exports/in", "imports/in"));
    refused("no such bucket", "look at the bucket in `source`").await;
    // The daemon says the same, and goes on once it is mended.
    configure(&world, &server.base, "after = \"delete\"");
    let daemon = world.run();
    world.wait_finished(2).await;
    daemon.says("s3:DeleteObject").await;
    daemon.stop().await;
    world.assert_each_once([1]);
}
