use std::time::Duration;

use bytes::Bytes;
use fe2o3_amqp::Sender;
use fe2o3_amqp::types::definitions::{Error, ReceiverSettleMode};
use fe2o3_amqp::types::messaging::Modified;

use super::client::{
    Client, SUBSCRIPTION, delivery_count, id, publish, receive, settled, start, start_with_lock, within,
};
use crate::sandbox::broker::OutgoingMessage;

const DEAD_LETTERS: &str = "t1/Subscriptions/s1/$DeadLetterQueue";

#[tokio::test]
async fn a_published_message_is_received_and_completed_on_each_subscription() {
    let broker = start().await;
    publish(&broker, &["a", "b"]);
    let mut client = Client::admitted(&broker).await;
    let mut receiver = client.receiver("amqps://127.0.0.1:5671/T1/subscriptions/S1").await;
    for expected in ["a", "b"] {
        let delivery = receive(&mut receiver).await;
        assert_eq!((id(&delivery).as_str(), delivery_count(&delivery)), (expected, 0));
        assert_eq!(delivery.delivery_tag().len(), 16, "the lock token");
        within(receiver.accept(&delivery)).await.unwrap();
    }
    settled(&broker, |state| state.completed == 2 && state.locked == 0 && state.active == 0).await;
    assert_eq!(broker.state().subscription("t1/Subscriptions/s2").active, 2);
}

#[tokio::test]
async fn a_message_published_later_reaches_a_receiver_that_waits() {
    let broker = start().await;
    let mut client = Client::admitted(&broker).await;
    let mut receiver = client.receiver_in(SUBSCRIPTION, ReceiverSettleMode::First).await;
    broker.wait_until(super::client::LIMIT, |state| state.links_attached == 1).await.unwrap();
    publish(&broker, &["late"]);
    let delivery = receive(&mut receiver).await;
    assert_eq!(id(&delivery), "late");
    within(receiver.accept(&delivery)).await.unwrap();
    settled(&broker, |state| state.completed == 1).await;
}

#[tokio::test]
async fn a_range_of_deliveries_is_settled_at_once() {
    let broker = start().await;
    let ids: Vec<String> = (0..500).map(|i| format!("m{i}")).collect();
    publish(&broker, &ids.iter().map(String::as_str).collect::<Vec<_>>());
    let mut client = Client::admitted(&broker).await;
    let mut receiver = client.receiver(SUBSCRIPTION).await;
    let mut deliveries = Vec::new();
    for expected in &ids {
        deliveries.push(receive(&mut receiver).await);
        assert_eq!(&id(deliveries.last().unwrap()), expected);
        if deliveries.len() == 50 {
            within(receiver.accept_all(std::mem::take(&mut deliveries))).await.unwrap();
        }
    }
    settled(&broker, |state| state.completed == 500 && state.locked == 0).await;
}

#[tokio::test]
async fn a_released_message_comes_again_uncounted_and_an_abandoned_one_counted() {
    let broker = start().await;
    publish(&broker, &["a"]);
    let mut client = Client::admitted(&broker).await;
    let mut receiver = client.receiver(SUBSCRIPTION).await;
    let delivery = receive(&mut receiver).await;
    within(receiver.release(&delivery)).await.unwrap();
    let delivery = receive(&mut receiver).await;
    assert_eq!(delivery_count(&delivery), 0);
    let failed = Modified { delivery_failed: Some(true), undeliverable_here: Some(false), message_annotations: None };
    within(receiver.modify(&delivery, failed)).await.unwrap();
    let delivery = receive(&mut receiver).await;
    assert_eq!(delivery_count(&delivery), 1);
    within(receiver.accept(&delivery)).await.unwrap();
    settled(&broker, |state| state.completed == 1 && state.abandoned == 1).await;
}

#[tokio::test]
async fn a_rejected_message_is_found_among_the_dead_letters() {
    let broker = start().await;
    publish(&broker, &["bad"]);
    let mut client = Client::admitted(&broker).await;
    let mut receiver = client.receiver(SUBSCRIPTION).await;
    let delivery = receive(&mut receiver).await;
    let error =
        Error::new(fe2o3_amqp::types::definitions::AmqpError::DecodeError, Some("it is broken".to_owned()), None);
    within(receiver.reject(&delivery, error)).await.unwrap();
    settled(&broker, |state| state.dead_lettered == 1 && state.locked == 0).await;
    let mut dead = client.receiver(DEAD_LETTERS).await;
    let delivery = receive(&mut dead).await;
    assert_eq!(id(&delivery), "bad");
    let properties = delivery.message().application_properties.as_ref().unwrap();
    assert!(format!("{properties:?}").contains("it is broken"));
    within(dead.accept(&delivery)).await.unwrap();
    settled(&broker, |state| state.dead_lettered == 0).await;
}

#[tokio::test]
async fn a_message_that_fails_ten_times_is_dead_lettered() {
    let broker = start().await;
    publish(&broker, &["a"]);
    let mut client = Client::admitted(&broker).await;
    let mut receiver = client.receiver(SUBSCRIPTION).await;
    for count in 0..10 {
        let delivery = receive(&mut receiver).await;
        assert_eq!(delivery_count(&delivery), count);
        let failed = Modified { delivery_failed: Some(true), undeliverable_here: None, message_annotations: None };
        within(receiver.modify(&delivery, failed)).await.unwrap();
    }
    settled(&broker, |state| state.dead_lettered == 1 && state.active == 0).await;
}

#[tokio::test]
async fn a_lock_that_runs_out_brings_the_message_back_counted() {
    let broker = start_with_lock(Duration::from_millis(50)).await;
    publish(&broker, &["a"]);
    let mut client = Client::admitted(&broker).await;
    let mut receiver = client.receiver(SUBSCRIPTION).await;
    let late = receive(&mut receiver).await;
    let again = receive(&mut receiver).await;
    assert_eq!((id(&again).as_str(), delivery_count(&again)), ("a", 1));
    within(receiver.accept(&late)).await.unwrap();
    settled(&broker, |state| state.locks_lost == 1 && state.completed == 0).await;
}

#[tokio::test]
async fn a_message_longer_than_many_frames_arrives_whole_both_ways() {
    let broker = start().await;
    let body: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
    let mut client = Client::admitted(&broker).await;
    let mut receiver = client.receiver(SUBSCRIPTION).await;
    let long = OutgoingMessage { body: Bytes::from(body.clone()), ..OutgoingMessage::json("long", "") };
    broker.publish("t1", vec![long]).unwrap();
    let mut sender = within(Sender::attach(&mut client.session, "sender", "t1")).await.unwrap();
    let outcome = within(sender.send(fe2o3_amqp::types::messaging::Data(body.clone().into()))).await.unwrap();
    assert!(outcome.is_accepted());
    for _ in 0..2 {
        let delivery = receive(&mut receiver).await;
        let data: Vec<u8> = delivery.message().body.try_as_data().unwrap().flat_map(|data| data.to_vec()).collect();
        assert!(data == body);
        within(receiver.accept(&delivery)).await.unwrap();
    }
    settled(&broker, |state| state.completed == 2).await;
}

#[tokio::test]
async fn receive_and_delete_takes_messages_without_a_settlement() {
    let broker = start().await;
    publish(&broker, &["a"]);
    let mut client = Client::admitted(&broker).await;
    let attach = fe2o3_amqp::Receiver::builder()
        .name("taker")
        .source(SUBSCRIPTION)
        .sender_settle_mode(fe2o3_amqp::types::definitions::SenderSettleMode::Settled);
    let mut receiver = within(attach.attach(&mut client.session)).await.unwrap();
    assert_eq!(id(&receive(&mut receiver).await), "a");
    settled(&broker, |state| state.completed == 1 && state.locked == 0).await;
}

#[tokio::test]
async fn a_message_can_be_delivered_twice_on_request() {
    let broker = start().await;
    broker.duplicate_next(SUBSCRIPTION, 1).unwrap();
    publish(&broker, &["a"]);
    let mut client = Client::admitted(&broker).await;
    let mut receiver = client.receiver(SUBSCRIPTION).await;
    for _ in 0..2 {
        let delivery = receive(&mut receiver).await;
        assert_eq!((id(&delivery).as_str(), delivery_count(&delivery)), ("a", 0));
        within(receiver.accept(&delivery)).await.unwrap();
    }
    settled(&broker, |state| state.completed == 2).await;
}
