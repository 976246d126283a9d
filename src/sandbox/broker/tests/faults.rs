use super::client::{Client, LIMIT, SUBSCRIPTION, id, lost, publish, receive, start, within};
use crate::sandbox::broker::AttachFault;

#[tokio::test]
async fn an_unknown_entity_is_not_found() {
    let broker = start().await;
    let mut client = Client::admitted(&broker).await;
    assert!(client.refusal("t1/Subscriptions/none").await.contains("NotFound"));
}

#[tokio::test]
async fn attaches_are_refused_as_often_as_asked() {
    let broker = start().await;
    let mut client = Client::admitted(&broker).await;
    broker.server_busy(1);
    assert!(client.refusal(SUBSCRIPTION).await.contains("server-busy"));
    broker.redirect(1, ([127, 0, 0, 1], 9).into());
    assert!(client.refusal(SUBSCRIPTION).await.contains("Redirect"));
    broker.refuse_attach(1, AttachFault::Timeout);
    assert!(client.refusal(SUBSCRIPTION).await.contains("timeout"));
    client.receiver(SUBSCRIPTION).await;
    assert_eq!(broker.state().links_refused, 3);
}

#[tokio::test]
async fn all_links_are_detached_on_request() {
    let broker = start().await;
    let mut client = Client::admitted(&broker).await;
    let mut receiver = client.receiver(SUBSCRIPTION).await;
    broker.detach_all("amqp:link:detach-forced");
    assert!(lost(&mut receiver).await.contains("DetachForced"));
}

#[tokio::test]
async fn dropped_connections_break_off_and_new_ones_are_served() {
    let broker = start().await;
    let mut client = Client::admitted(&broker).await;
    let mut receiver = client.receiver(SUBSCRIPTION).await;
    broker.drop_connections();
    lost(&mut receiver).await;
    broker.wait_until(LIMIT, |state| state.connections == 0).await.unwrap();
    Client::admitted(&broker).await.receiver(SUBSCRIPTION).await;
}

#[tokio::test]
async fn a_stalled_broker_says_nothing_and_goes_on_afterwards() {
    let broker = start().await;
    let mut client = Client::admitted(&broker).await;
    let mut receiver = client.receiver(SUBSCRIPTION).await;
    broker.stall(true);
    publish(&broker, &["a"]);
    let heard = tokio::time::timeout(std::time::Duration::from_millis(200), receive(&mut receiver)).await;
    assert!(heard.is_err());
    assert_eq!(broker.state().connections, 1);
    broker.stall(false);
    let delivery = receive(&mut receiver).await;
    assert_eq!(id(&delivery), "a");
    within(receiver.accept(&delivery)).await.unwrap();
}

#[tokio::test]
async fn a_stopped_broker_leaves_nothing_running() {
    let broker = start().await;
    let mut client = Client::admitted(&broker).await;
    let mut receiver = client.receiver(SUBSCRIPTION).await;
    within(broker.stop()).await;
    lost(&mut receiver).await;
}
