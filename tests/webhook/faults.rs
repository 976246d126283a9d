//! Ends without notice, and a disk that is full: what was answered 200 is there, and everything is there once.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use longshore::inbox::ledger::{Ledger as _, Selector};
use tokio::task::JoinSet;

use crate::world::{LIMIT, SECRET, World, event, left_out};

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
    tokio::time::timeout(LIMIT, all).await.expect("all are taken in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_commit_and_answer_each_event_is_stored_once() {
    let world = Arc::new(World::new("", "[work]\nlease = \"5s\"\n"));
    let (rounds, each) = (4, 200);
    let mut daemon = world.start().await;
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
        daemon = world.start().await;
        sending.await.expect("all are taken");
    }
    let total = rounds * each;
    let summary = world.wait("all are delivered", |summary| summary.notices.finished >= total).await;
    assert_eq!(summary.notices.finished, total);
    let delivered = world.delivered();
    assert_eq!(delivered.len() as u64, total);
    daemon.stop().await;
}

/// A file system of `size` at `path`, unmounted on drop; `None` where this user may not mount.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(path: &std::path::Path, size: &str) -> Option<Self> {
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"]).arg(path).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(path.to_owned())),
            Ok(output) => {
                eprintln!("LEFT OUT: mount: {}", String::from_utf8_lossy(&output.stderr));
                None
            }
            Err(error) => {
                left_out(&format!("mount cannot be run: {error}"));
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_is_told_503_while_the_disk_is_full_and_its_event_is_stored_once_there_is_room() {
    let world = World::new("", "");
    let folder = world.path().join("inbox");
    let Some(_disk) = SmallDisk::mount(&folder, "8m") else { return };
    let daemon = world.start().await;
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
    let filling = folder.join("filling");
    let filled = Command::new("dd").arg("if=/dev/zero").arg(format!("of={}", filling.display())).arg("bs=4k").output();
    assert!(!filled.expect("dd runs").status.success(), "it ends with a full disk");
    assert_eq!(post("b", 500_000).await, (503, true));
    let is_told = async {
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        while !daemon.log().contains("no room left for the inbox") {
            tick.tick().await;
        }
    };
    tokio::time::timeout(LIMIT, is_told).await.expect("it says so");
    std::fs::remove_file(filling).expect("removed");
    let taken = async {
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        while post("b", 500_000).await != (200, false) {
            tick.tick().await;
        }
    };
    tokio::time::timeout(LIMIT, taken).await.expect("it is taken once there is room");
    world.wait("both are delivered", |summary| summary.notices.finished == 2).await;
    assert_eq!(world.inbox().notices(Selector::default()).await.expect("notices").len(), 2);
    let log = daemon.stop().await;
    assert!(log.contains("works again"), "{log}");
}
