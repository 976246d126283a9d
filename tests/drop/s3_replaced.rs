//! What is replaced while it is read, and copies that break, in a bucket in S3 as moto plays it.

use crate::front::{CopyEnd, Front};
use crate::s3::{keys, put, until_keys, world};
use crate::servers::Server;
use crate::world::csv;

/// A CSV is not whole or broken as a zip is: one that is mixed of two is taken for good.
#[tokio::test(flavor = "multi_thread")]
async fn a_csv_that_is_replaced_by_one_of_its_length_while_it_is_read_is_never_delivered_mixed() {
    let Some(server) = Server::s3().await else { return };
    let front = Front::before(&server.base).await;
    let world = world(&front.base(), "after = \"delete\"");
    assert_eq!(csv(1).len(), csv(2).len());
    // The second time before a store that gives the rest of whatever it has.
    for (number, forgets) in [(0, false), (1, true)] {
        let (old, new) = (1 + 2 * number, 2 + 2 * number);
        if forgets {
            front.forget_if_match();
        }
        put(&server, "day.csv", csv(old)).await;
        let version = etag(&csv(old));
        front.hold_bodies(100_000);
        let daemon = world.run();
        front.struck(1).await;
        put(&server, "day.csv", csv(new)).await;
        front.break_held();
        world.wait_finished(u64::from(number) + 1).await;
        until_keys(&server, &[]).await;
        daemon.stop().await;
        // The rest is asked for as the rest of what was read, by a tag that the store can hold it against. (The library
        // asks before that, without a tag, and looks at the tag of what comes.)
        assert_eq!(front.resumed().last(), Some(&version));
    }
    world.assert_each_once([2, 4]);
    assert_eq!(world.notices().await.len(), 2);
}

/// The tag of an object that was uploaded in one piece.
fn etag(content: &[u8]) -> String {
    use md5::{Digest as _, Md5};
    let digest = Md5::digest(content);
    format!("\"{}\"", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_breaks_or_fails_leaves_the_original_and_is_made_once_in_the_end() {
    let Some(server) = Server::s3().await else { return };
    let front = Front::before(&server.base).await;
    let world = world(&front.base(), "after = \"move\"\nmove_to = \"done\"");
    for (number, end) in [CopyEnd::NotDone, CopyEnd::DoneUnsaid, CopyEnd::ErrorWithin200].into_iter().enumerate() {
        let day = u32::try_from(number).expect("few");
        let name = format!("{day}.csv");
        front.fail_copies(end, u32::MAX);
        put(&server, &name, csv(day)).await;
        let daemon = world.run();
        // The one that is made unsaid is found by the next try; the others are tried again and again.
        front.struck(if end == CopyEnd::DoneUnsaid { 1 } else { 3 }).await;
        if end != CopyEnd::DoneUnsaid {
            let there = keys(&server).await;
            assert!(there.contains(&format!("in/net core/{name}")), "{end:?}: it stays as long as there is no copy");
            assert!(!there.contains(&format!("in/net core/done/{name}")), "{end:?}: {there:?}");
            front.be_good();
        }
        let expected: Vec<_> = (0..=number).map(|n| format!("in/net core/done/{n}.csv")).collect();
        until_keys(&server, &expected.iter().map(String::as_str).collect::<Vec<_>>()).await;
        world.wait_finished(u64::from(day) + 1).await;
        daemon.stop().await;
    }
    world.assert_each_once([0, 1, 2]);
    assert!(world.notices().await.iter().all(|notice| notice.seen_count == 1));
}
