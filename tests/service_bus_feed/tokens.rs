//! Tokens expire and are rotated while messages flow.

use std::sync::Arc;
use std::time::Duration;

use longshore::clock::{Clock, SystemClock, UnixMs, Uptime};

use crate::world::{PATH, setup, world};

/// A clock an hour behind: by it, a token lives for much longer than its client thinks.
#[derive(Debug)]
struct Behind;

impl Clock for Behind {
    fn now(&self) -> UnixMs {
        SystemClock.now().minus(Duration::from_secs(3_600))
    }

    fn uptime(&self) -> Uptime {
        SystemClock.uptime()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_put_again_on_the_live_connection_before_it_expires() {
    let mut setup = setup();
    setup.life = Duration::from_secs(4);
    // However busy the machine is, the broker itself ends no connection over an old token.
    setup.broker.clock = Arc::new(Behind);
    let world = world(setup).await;
    world.start();
    world.connected().await;
    for round in 0..2 {
        // A token source refreshes ahead of the end; the feed then finds the new one when its own time comes.
        let put = world.broker.state().tokens_put;
        world.tokens.issue(&world.broker.key());
        world.broker_is(|state| state.tokens_put > put).await;
        world.publish(round..round + 1);
        world.all_completed().await;
    }
    // And once more without being told, by the clock.
    let put = world.broker.state().tokens_put;
    world.broker_is(|state| state.tokens_put > put).await;
    let state = world.broker.state();
    assert_eq!((state.connections_total, state.links_attached, state.links_detached), (1, 1, 0));
    assert_eq!(world.tokens.refusals(), 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_token_that_comes_before_the_old_key_goes_costs_no_reconnect() {
    let world = world(setup()).await;
    world.start();
    world.connected().await;
    world.publish(0..500);
    let old = world.broker.key();
    let new = longshore::sandbox::sas::SasKey::random(old.name.clone());
    world.broker.set_keys(vec![new.clone(), old]);
    let put = world.broker.state().tokens_put;
    world.tokens.issue(&new);
    world.broker_is(|state| state.tokens_put > put).await;
    world.broker.set_keys(vec![new]);
    world.publish(500..1000);
    world.all_completed().await;
    assert_eq!(world.broker.state().connections_total, 1);
    assert_eq!(world.inbox.keys().await.len(), 1000);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_rotation_in_mid_stream_loses_nothing() {
    let mut setup = setup();
    setup.broker.lock_duration = Duration::from_secs(5);
    let world = world(setup).await;
    world.publish(0..3000);
    world.start();
    for part in 1..=3 {
        world.broker_is(|state| state.subscription(PATH).completed > part * 500).await;
        world.broker.rotate_key();
    }
    world.all_completed().await;
    world.stop().await;
    assert_eq!(world.inbox.keys().await.len(), 3000);
    assert_eq!(world.counted().stored, 3000);
    assert!(world.tokens.refusals() >= 1);
    assert_eq!(world.broker.state().subscription(PATH).dead_lettered, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_newer_tokens_the_refused_one_is_not_tried_again_and_health_says_why() {
    let mut setup = setup();
    setup.heals = false;
    let world = world(setup).await;
    world.start();
    world.connected().await;
    world.broker.rotate_key();
    world.degraded_with("the token service is down").await;
    let refused = world.broker.state().tokens_refused;
    let asked = world.tokens.refusals();
    while world.tokens.refusals() < asked + 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.broker.state().tokens_refused, refused);
    world.tokens.issue(&world.broker.key());
    world.publish(0..3);
    world.all_completed().await;
    world.stop().await;
}
