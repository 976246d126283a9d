//! Ends without notice, and a disk that is full: what was answered 200 is there, and everything is there once.

use std::sync::Arc;
use std::time::Duration;

use longshore::inbox::ledger::{Ledger as _, Selector};
use tokio::task::JoinSet;

use crate::common::disk::Mounted;
use crate::common::wait::{in_time, until_async};
use crate::world::{SECRET, World, event};

/// Posts each of `numbers` until it is answered 200, as the vendor does.
async fn send_until_taken(world: &Arc<World>, numbers: std::ops::Range<u64>) {
    let client = world.client();
    let mut senders = JoinSet::new();
    for number in numbers {
        let (world, client) = (Arc::clone(world), client.clone());
        senders.spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(50));
            loop {
                tick.tick().await;
                let payload = format!(r#"{{"id":"{number:05}","version":1}}"#);
                if world.post(&client, event("ORDER_CREATED", &number.to_string(), &payload)).await == Some(200) {
                    return;
                }
            }
        });
    }
    let all = async { while senders.join_next().await.is_some() {} };
    in_time("all are taken", all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_commit_and_answer_each_event_is_stored_once() {
    let world = Arc::new(World::new("", "[work]\nlease = \"5s\"\n"));
    let (rounds, each) = (4, 200);
    let mut daemon = world.serve().await;
    for round in 0..rounds {
        let sending = tokio::spawn({
            let world = Arc::clone(&world);
            async move { send_until_taken(&world, round * each..(round + 1) * each).await }
        });
        // The first commit of the round is the signal: its answers are on their way.
        let stored = |summary: &longshore::inbox::ledger::Summary| {
            let counts = summary.notices;
            counts.heard + counts.open + counts.finished > round * each
        };
        world.wait("more are stored", stored).await;
        daemon.kill().await;
        daemon = world.serve().await;
        sending.await.expect("all are taken");
    }
    let total = rounds * each;
    let summary = world.wait("all are delivered", |summary| summary.notices.finished >= total).await;
    assert_eq!(summary.notices.finished, total);
    let delivered = world.delivered();
    assert_eq!(delivered.len() as u64, total);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_is_told_503_while_the_disk_is_full_and_its_event_is_stored_once_there_is_room() {
    let Some(disk) = Mounted::tmpfs(8 << 20) else { return };
    let world = World::new("", "");
    world.reconfigure(|text| text.replace("\"inbox.db\"", &format!("\"{}/inbox.db\"", disk.path().display())));
    let daemon = world.serve().await;
    let client = world.client();
    let post = async |id: &str, bytes: usize| {
        let payload = format!(r#"{{"id":"{id}","version":1,"filling":"{}"}}"#, "x".repeat(bytes));
        let request = client.post(world.url("/events")).header("Authorization", SECRET);
        let answer = request.body(event("X", id, &payload)).send().await.expect("an answer");
        let again = answer.headers().contains_key("retry-after");
        (answer.status().as_u16(), again)
    };
    assert_eq!(post("a", 10).await, (200, false));
    // Whatever room there is goes into a file of somebody else.
    let filler = disk.fill();
    assert_eq!(post("b", 500_000).await, (503, true));
    daemon.says("no room left for the inbox").await;
    std::fs::remove_file(filler).expect("removed");
    until_async("it is taken once there is room", async || post("b", 500_000).await == (200, false)).await;
    world.wait("both are delivered", |summary| summary.notices.finished == 2).await;
    assert_eq!(world.inbox().notices(Selector::default()).await.expect("notices").len(), 2);
    let log = daemon.stop().await;
    assert!(log.contains("works again"), "{log}");
}
