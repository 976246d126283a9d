//! Several requests in one commit: each is answered for itself, and what was answered 200 is there after any end.

use std::collections::BTreeMap;
use std::sync::Arc;

use longshore::inbox::ledger::{Ledger as _, Selector};
use tokio::task::JoinSet;

use crate::world::{SECRET, World, event};

/// Requests of each kind; all of them are sent at once.
const EACH: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sent {
    /// An event of its own.
    New,
    /// An event that another of them brings too.
    Twice,
    /// One that was stored before.
    Before,
    /// No JSON: kept, in quarantine.
    Unreadable,
    TooLarge,
    /// Without the secret.
    Stranger,
}

const KINDS: [Sent; 6] = [Sent::New, Sent::Twice, Sent::Before, Sent::Unreadable, Sent::TooLarge, Sent::Stranger];

impl Sent {
    fn body(self, number: usize) -> String {
        let payload = |id: &str| format!(r#"{{"id":"{id}","version":1}}"#);
        match self {
            Self::New | Self::Stranger => event("X", &format!("{self:?} {number}"), &payload(&format!("{number}"))),
            Self::Twice => event("X", &format!("{self:?} {}", number / 2), &payload(&format!("{number}"))),
            Self::Before => event("X", "before", &payload("before")),
            Self::Unreadable => format!("no JSON, {number}"),
            Self::TooLarge => event("X", &format!("{self:?} {number}"), &payload(&"x".repeat(4_096))),
        }
    }

    fn answer(self) -> u16 {
        match self {
            Self::New | Self::Twice | Self::Before | Self::Unreadable => 200,
            Self::TooLarge => 413,
            Self::Stranger => 401,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_a_batch_is_answered_for_itself_and_what_was_answered_200_survives_a_kill() {
    // All that is stored goes into few commits. Nobody works on it.
    let keys = "body_bytes_max = \"2KiB\"\nbatch_wait = \"300ms\"\nbatch_requests_max = 20";
    let world = Arc::new(World::new(keys, "[work]\nworkers = 1\nwindows = [\"00:00-00:01\"]\nzone = \"UTC\"\n"));
    let daemon = world.serve().await;
    let client = world.client();
    assert_eq!(world.post(&client, Sent::Before.body(0)).await, Some(200));
    let mut senders = JoinSet::new();
    for number in 0..EACH {
        for kind in KINDS {
            let (world, client) = (Arc::clone(&world), client.clone());
            senders.spawn(async move {
                let secret = if kind == Sent::Stranger { "Bearer nobody" } else { SECRET };
                let request = client.post(world.url("/events")).header("Authorization", secret);
                let answer = request.body(kind.body(number)).send().await.expect("an answer");
                (kind, answer.status().as_u16())
            });
        }
    }
    let mut answers: BTreeMap<Sent, Vec<u16>> = BTreeMap::new();
    while let Some(answered) = senders.join_next().await {
        let (kind, status) = answered.expect("sent");
        answers.entry(kind).or_default().push(status);
    }
    daemon.kill().await;
    for kind in KINDS {
        assert_eq!(answers[&kind], vec![kind.answer(); EACH], "{kind:?}");
    }
    let inbox = world.inbox();
    let notices = inbox.notices(Selector::default()).await.expect("notices");
    let quarantined = notices.iter().filter(|notice| notice.reason.is_some()).count();
    assert_eq!(quarantined, EACH, "{notices:?}");
    assert_eq!(notices.len() - quarantined, EACH + EACH / 2 + 1, "{notices:?}");
    let seen: u32 = notices.iter().map(|notice| u32::try_from(notice.seen_count).expect("few")).sum();
    assert_eq!(seen as usize, 4 * EACH + 1, "each that was answered 200 is counted: {notices:?}");
}
