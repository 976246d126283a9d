//! TLS, WebSocket, and what `check --connect` sees.

use longshore::feed::Feed;
use longshore::feed::service_bus::{ServiceBusFeed, ServiceBusSettings, Transport};
use longshore::probe::Finding;

use crate::world::{PATH, setup, world};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_transport_carries_the_same() {
    for (transport, tls) in [(Transport::Amqp, true), (Transport::WebSocket, true), (Transport::WebSocket, false)] {
        let mut setup = setup();
        setup.settings.transport = transport;
        setup.tls = tls;
        let world = world(setup).await;
        world.publish(0..300);
        world.start();
        world.all_completed().await;
        world.stop().await;
        assert_eq!(world.counted().stored, 300);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_nobody_vouches_for_gets_no_token() {
    let mut setup = setup();
    setup.tls = true;
    let one = world(setup).await;
    let settings = ServiceBusSettings { ca_file: None, ..one.settings.clone() };
    let tokens = std::sync::Arc::clone(&one.tokens);
    let feed = ServiceBusFeed::new(settings, tokens, one.context.clone());
    let steps = feed.probe().await;
    assert!(matches!(&steps[2].finding, Finding::Bad { error, .. } if error.contains("TLS failed")), "{steps:?}");
    assert_eq!(one.broker.state().tokens_put, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_walks_the_chain_and_consumes_nothing() {
    let world = world(setup()).await;
    world.publish(0..3);
    let steps = world.feed.probe().await;
    assert!(steps.iter().all(|step| matches!(step.finding, Finding::Good { .. })), "{steps:?}");
    assert_eq!(steps.len(), 6);
    let state = world.broker_is(|state| state.connections == 0).await;
    assert_eq!(state.subscription(PATH).delivered, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_names_the_step_that_fails_and_what_to_do() {
    let world = world(setup()).await;
    world.broker.rotate_key();
    let steps = world.feed.probe().await;
    let bad = steps.iter().position(|step| matches!(step.finding, Finding::Bad { .. })).expect("a bad step");
    assert_eq!(steps[bad].name, "Service Bus takes the token");
    assert!(matches!(steps[5].finding, Finding::Skipped));
    let shown = serde_json::to_string(&steps).expect("JSON");
    assert!(!shown.contains("sig=") || shown.contains("sig=[secret]"), "{shown}");
}
