use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use futures::future::join_all;
use tokio::sync::Semaphore;

use super::*;
use crate::clock::ManualClock;
use crate::feed::filter::BlobTypeFilter;
use crate::feed::webhook::{Arrays, EnvelopeSettings, SenderSettings, WebhookLimits};
use crate::inbox::conformance::{START, heard};
use crate::inbox::ledger::{Ledger as _, Selector};
use crate::inbox::sqlite::hand::{Hand, LIMIT};
use crate::inbox::{Inbox as _, SqliteInbox};
use crate::notice::{FeedName, Verdict};
use crate::ops::Condition;
use crate::pointer::Pointer;

fn settings() -> WebhookSettings {
    WebhookSettings {
        name: FeedName::new("eg"),
        filter: BlobTypeFilter::new(&["*".to_owned()], &[]).unwrap(),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        path: "/".to_owned(),
        certificate: None,
        envelope: EnvelopeSettings {
            blob_type: "{event}".to_owned(),
            event: Pointer::parse("/event").unwrap(),
            id: Pointer::parse("/eventId").unwrap(),
            payload: Vec::new(),
            arrays: Arrays::default(),
        },
        sender: SenderSettings::default(),
        limits: WebhookLimits {
            connections_max: 1,
            body_bytes_max: 1_000,
            bodies_bytes_max: 1_000,
            idle_timeout: LIMIT,
            answer_timeout: LIMIT,
            batch_requests_max: 7,
            batch_wait: Duration::ZERO,
        },
        subscriptions: None,
    }
}

struct World {
    inbox: Arc<SqliteInbox>,
    context: Context,
    committer: Committer,
    room: Arc<Semaphore>,
}

impl World {
    fn new(folder: &Path) -> (Self, Hand) {
        let (inbox, hand) = Hand::open(folder);
        let inbox = Arc::new(inbox);
        let context = Context::new(Arc::new(ManualClock::new(START)));
        let troubles = Arc::new(Troubles::new("feed eg".to_owned(), Arc::clone(&context.health)));
        let shared: SharedInbox = Arc::clone(&inbox) as SharedInbox;
        let (committer, _) = Committer::start(&settings(), shared, context.clone(), troubles);
        (Self { inbox, context, committer, room: Arc::new(Semaphore::new(1_000)) }, hand)
    }

    async fn store(&self, notice: HeardNotice) -> Result<Receipt, InboxError> {
        let room = Arc::clone(&self.room).acquire_owned().await.unwrap();
        let answer = tokio::time::timeout(LIMIT, self.committer.store(notice, room)).await;
        answer.expect("answered in time").expect("the committer is there")
    }

    /// Waits until so many arrivals were committed, whether they are on disk or not.
    async fn committed(&self, count: u64) {
        let looking = async {
            while self.inbox.notices(Selector::default()).await.unwrap().iter().map(|one| one.seen_count).sum::<u64>()
                < count
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, looking).await.expect("committed in time");
    }

    async fn ids(&self) -> HashMap<String, NoticeId> {
        self.inbox.unplanned(1_000).await.unwrap().into_iter().map(|one| (one.dedupe_key, one.id)).collect()
    }

    fn is_degraded(&self) -> bool {
        self.context.health.parts().iter().any(|part| matches!(part.condition, Condition::Degraded { .. }))
    }
}

#[tokio::test]
async fn who_waits_for_a_commit_that_fails_is_told_so_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let (world, mut hand) = World::new(folder.path());
    let world = Arc::new(world);
    let store = |key: &str| {
        let (world, notice) = (Arc::clone(&world), heard(key, "T", 0));
        tokio::spawn(async move { world.store(notice).await })
    };
    let first = store("a");
    hand.asked().await;
    // More than one batch, all of it stored and on no disk: new ones, one twice, one that is just being synced.
    let keys = ["b", "c", "b", "a", "d", "e", "f", "g", "h", "i"];
    let behind: Vec<_> = keys.iter().map(|key| store(key)).collect();
    world.committed(1 + keys.len() as u64).await;
    hand.succeed();
    assert!(!first.await.unwrap().unwrap().is_duplicate());
    hand.asked().await;
    hand.fail();
    for (key, answer) in keys.iter().zip(join_all(behind).await) {
        let answer = answer.unwrap();
        assert!(matches!(answer, Err(InboxError::Unavailable { .. })), "{key}: {answer:?}");
    }
    assert!(world.is_degraded());

    // They come again, with one that is new.
    hand.let_go();
    for (key, is_known) in [("b", true), ("i", true), ("j", false)] {
        assert_eq!(world.store(heard(key, "T", 0)).await.unwrap().is_duplicate(), is_known, "{key}");
    }
    assert!(!world.is_degraded());
    assert_eq!(world.ids().await.len(), 10, "each is there once");
}

#[tokio::test]
async fn each_gets_the_receipt_of_its_own_event_whatever_stands_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let (world, hand) = World::new(folder.path());
    hand.let_go();
    world.store(heard("known", "T", 0)).await.unwrap();
    let mut notices = Vec::new();
    for number in 0..60 {
        let mut one = heard(&format!("{number}"), "T", 0);
        match number % 6 {
            0 => one.dedupe_key = "known".to_owned(),
            1 => one.dedupe_key = format!("twice {}", number / 12),
            2 => one.verdict = Verdict::Unreadable("no JSON".to_owned()),
            3 => one.verdict = Verdict::Skipped("not wanted".to_owned()),
            _ => {}
        }
        notices.push(one);
    }
    let answers = join_all(notices.iter().map(|one| world.store(one.clone()))).await;
    let ids = world.ids().await;
    let mut of_others = std::collections::HashSet::new();
    for (one, answer) in notices.iter().zip(answers) {
        let receipt = answer.unwrap();
        match &one.verdict {
            Verdict::Accepted => assert_eq!(ids[&one.dedupe_key], receipt.notice(), "{}", one.dedupe_key),
            _ => {
                let story = world.inbox.story(receipt.notice()).await.unwrap().unwrap();
                assert!(story.reason.is_some(), "{story:?}");
                assert!(of_others.insert(receipt.notice()), "each has one of its own");
            }
        }
        let is_known = one.dedupe_key == "known";
        assert!(!is_known || receipt.is_duplicate());
    }
}
