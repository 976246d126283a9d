//! Receive, store, complete: in this order, and nothing else.

use longshore::inbox::InboxError;
use longshore::notice::Verdict;

use crate::watched::Asked;
use crate::world::{PATH, setup, world};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_completed_before_its_commit_has_returned() {
    let world = world(setup()).await;
    world.inbox.set_open(false);
    world.publish(0..5);
    world.start();
    world.inbox.until(|asked| !asked.is_empty()).await;
    let before = world.broker_is(|state| state.subscription(PATH).locked == 5).await;
    assert_eq!(before.subscription(PATH).completed, 0);
    assert_eq!(world.counted().stored, 0);

    world.inbox.set_open(true);
    world.all_completed().await;
    world.inbox.until(|asked| asked.iter().any(|asked| matches!(asked, Asked::Settled(_)))).await;
    let asked = world.inbox.asked();
    let stored = asked.iter().position(|asked| matches!(asked, Asked::Stored(_))).expect("stored");
    let settled = asked.iter().position(|asked| matches!(asked, Asked::Settled(_))).expect("settled");
    assert!(stored < settled, "{asked:?}");
    assert_eq!(world.inbox.keys().await, ["m-0", "m-1", "m-2", "m-3", "m-4"]);
    world.stop().await;
    assert_eq!(world.counted().settled, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_messages_are_held_than_one_commit_takes() {
    let mut setup = setup();
    setup.settings.batch_messages_max = 8;
    let world = world(setup).await;
    world.inbox.set_open(false);
    world.publish(0..50);
    world.start();
    let held = world.broker_is(|state| state.subscription(PATH).locked >= 8).await;
    assert_eq!(held.subscription(PATH).delivered, 8);
    world.inbox.set_open(true);
    world.all_completed().await;
    assert_eq!(world.inbox.keys().await.len(), 50);
    let largest = world.inbox.asked().into_iter().filter_map(|asked| match asked {
        Asked::Store(count) => Some(count),
        _ => None,
    });
    assert!(largest.max() <= Some(8));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_comes_twice_is_stored_once_and_completed_twice() {
    let world = world(setup()).await;
    world.broker.duplicate_next(PATH, 3).expect("the subscription is there");
    world.publish(0..10);
    world.start();
    world.broker_is(|state| state.subscription(PATH).completed == 13).await;
    world.stop().await;
    assert_eq!(world.inbox.keys().await.len(), 10);
    assert_eq!((world.counted().stored, world.counted().duplicates), (10, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_understood_is_kept_and_completed_and_does_not_stop_the_others() {
    let world = world(setup()).await;
    world.publish_raw("bad", b"<not json>");
    world.publish_raw("skip", br#"{"blobType":"X.Unwanted","uri":"https://h/c/x"}"#);
    world.publish(0..1);
    world.start();
    world.all_completed().await;
    world.stop().await;
    assert_eq!(world.inbox.keys().await, ["m-0"]);
    let heard = world.inbox.heard();
    assert!(matches!(heard[0].verdict, Verdict::Unreadable(_)));
    assert_eq!(heard[0].body.as_deref(), Some(&b"<not json>"[..]));
    assert!(matches!(heard[1].verdict, Verdict::Skipped(_)));
    assert_eq!((heard[2].sequence, heard[2].delivery_count), (3, 0));
    assert!(heard[2].published.0 > 1_700_000_000_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_settles_nothing_gives_back_what_is_held_and_hearing_goes_on_by_itself() {
    let world = world(setup()).await;
    world.inbox.fail_with(Some(InboxError::DiskFull { path: "inbox.db".to_owned() }));
    world.publish(0..100);
    world.start();
    world.degraded_with("no room left").await;
    let given_back = world.broker_is(|state| state.subscription(PATH).active == 100).await;
    assert_eq!(given_back.subscription(PATH).completed, 0);
    // The inbox is tried several times, and no message is asked for meanwhile.
    let tries = world.inbox.asked().len();
    world.inbox.until(|asked| asked.len() >= tries + 3).await;
    let delivered = world.broker.state().subscription(PATH).delivered;
    assert_eq!(delivered, given_back.subscription(PATH).delivered);

    world.inbox.fail_with(None);
    world.all_completed().await;
    world.connected().await;
    world.stop().await;
    assert_eq!(world.inbox.keys().await.len(), 100);
    assert_eq!(world.counted().stored, 100);
    assert_eq!(world.broker.state().subscription(PATH).dead_lettered, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_the_middle_leaves_no_lock_and_completes_exactly_what_is_stored() {
    let world = world(setup()).await;
    world.publish(0..5000);
    world.start();
    world.broker_is(|state| state.subscription(PATH).completed > 100).await;
    world.stop().await;
    let state = world.broker_is(|state| state.connections == 0).await.subscription(PATH);
    let stored = world.inbox.keys().await.len();
    assert_eq!(state.locked, 0);
    assert_eq!(usize::try_from(state.completed).expect("fits"), stored);
    assert_eq!(state.active, 5000 - stored);
    assert_eq!(state.locks_expired + state.abandoned, 0);
}
