//! Whatever happens to the connection, the feed comes back and loses nothing.

use std::time::Duration;

use longshore::sandbox::broker::AttachFault;

use crate::world::{PATH, setup, world};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_detached_link_is_attached_again() {
    let world = world(setup()).await;
    world.start();
    world.connected().await;
    for round in 0..3 {
        world.broker.detach_all("amqp:link:detach-forced");
        world.broker_is(|state| state.links_attached == round + 2).await;
    }
    world.publish(0..10);
    world.all_completed().await;
    world.stop().await;
    assert_eq!(world.counted().connections, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_being_stored_when_the_link_ended_is_completed_without_coming_again() {
    let world = world(setup()).await;
    world.inbox.set_open(false);
    world.publish(0..5);
    world.start();
    world.inbox.until(|asked| !asked.is_empty()).await;
    world.broker_is(|state| state.subscription(PATH).delivered == 5).await;
    world.broker.rotate_key();
    world.broker_is(|state| state.links_detached == 1).await;
    world.inbox.set_open(true);
    let state = world.all_completed().await.subscription(PATH);
    assert_eq!((state.delivered, state.locks_expired), (5, 0));
    world.stop().await;
    assert_eq!((world.counted().stored, world.counted().duplicates, world.counted().settled), (5, 0, 5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_break_off_in_mid_stream_lose_nothing() {
    let mut setup = setup();
    setup.broker.lock_duration = Duration::from_secs(5);
    let world = world(setup).await;
    world.publish(0..2000);
    world.start();
    for part in 1..=3 {
        world.broker_is(|state| state.subscription(PATH).completed > part * 300).await;
        world.broker.drop_connections();
    }
    world
        .broker_is(|state| {
            let queue = state.subscription(PATH);
            queue.active == 0 && queue.locked == 0
        })
        .await;
    world.stop().await;
    assert_eq!(world.inbox.keys().await.len(), 2000);
    assert_eq!(world.broker.state().subscription(PATH).dead_lettered, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_connection_is_rebuilt() {
    let mut setup = setup();
    setup.settings.silence_max = Duration::from_secs(2);
    setup.broker.lock_duration = Duration::from_secs(5);
    let world = world(setup).await;
    world.start();
    world.connected().await;
    world.broker.stall(true);
    world.degraded_with("nothing was heard for").await;
    world.broker.stall(false);
    world.publish(0..10);
    world.all_completed().await;
    assert!(world.broker.state().connections_total >= 2);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_with_heartbeats_is_left_alone() {
    let mut setup = setup();
    // The broker beats twice as often at least: a busy machine may hold it up for the rest.
    setup.settings.silence_max = Duration::from_secs(4);
    let world = world(setup).await;
    world.start();
    world.connected().await;
    let quiet = world.broker.wait_until(Duration::from_secs(9), |state| state.connections_total > 1).await;
    assert!(quiet.is_err(), "the connection was rebuilt: {quiet:?}");
    world.publish(0..1);
    world.all_completed().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_attach_is_tried_again_and_health_says_why() {
    let world = world(setup()).await;
    world.broker.refuse_attach(2, AttachFault::NotFound);
    world.start();
    world.degraded_with("the subscription was not found").await;
    world.connected().await;
    world.broker.redirect(1, "127.0.0.1:9".parse().expect("an address"));
    world.broker.detach_all("amqp:internal-error");
    world.degraded_with("points to another place").await;
    world.connected().await;
    world.publish(0..2);
    world.all_completed().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_broker_is_given_time() {
    let world = world(setup()).await;
    world.broker.server_busy(1);
    let since = std::time::Instant::now();
    world.start();
    world.degraded_with("the broker is busy").await;
    world.connected().await;
    assert!(since.elapsed() >= Duration::from_secs(4));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_is_heeded_while_there_is_no_broker_and_while_it_is_silent() {
    let first = world(setup()).await;
    first.broker.stall(true);
    first.start();
    first.stop().await;

    let mut setup = setup();
    setup.settings.reconnect = (Duration::from_secs(600), Duration::from_secs(600));
    let second = world(setup).await;
    second.broker.refuse_attach(9, AttachFault::Timeout);
    second.start();
    second.degraded_with("not connected").await;
    second.stop().await;
}
