use super::client::{AUDIENCE, Client, LIMIT, SUBSCRIPTION, in_seconds, start, within};
use crate::clock::UnixMs;
use crate::sandbox::sas::SasKey;

#[tokio::test]
async fn a_link_without_a_token_is_refused() {
    let broker = start().await;
    let mut client = Client::connect(&broker).await;
    assert!(client.refusal(SUBSCRIPTION).await.contains("UnauthorizedAccess"));
}

#[tokio::test]
async fn a_token_opens_its_own_entity_only() {
    let broker = start().await;
    let mut client = Client::connect(&broker).await;
    client.put_token(AUDIENCE, &broker.key().token(AUDIENCE, in_seconds(60))).await.unwrap();
    assert!(client.refusal("t1/Subscriptions/s2").await.contains("UnauthorizedAccess"));
    client.receiver(SUBSCRIPTION).await;
}

#[tokio::test]
async fn a_bad_token_is_refused_with_a_description() {
    let broker = start().await;
    let mut client = Client::connect(&broker).await;
    let expired = broker.key().token(AUDIENCE, UnixMs(1000));
    let forged = SasKey::random(broker.key().name).token(AUDIENCE, in_seconds(60));
    let elsewhere = broker.key().token("sb://127.0.0.1/t2", in_seconds(60));
    for (token, text) in [(expired, "expired"), (forged, "invalid signature"), (elsewhere, "another entity")] {
        let error = client.put_token(AUDIENCE, &token).await.unwrap_err();
        assert!(error.contains("401") && error.contains(text), "{error}");
    }
    assert_eq!((broker.state().tokens_put, broker.state().tokens_refused), (0, 3));
}

#[tokio::test]
async fn a_link_is_detached_when_its_token_expires_and_not_when_it_was_put_again() {
    let broker = start().await;
    let mut brief = Client::connect(&broker).await;
    let mut renewed = Client::connect(&broker).await;
    // Whole seconds are all that a token can say, so this one lasts between one and two.
    let short = broker.key().token(AUDIENCE, in_seconds(2));
    for client in [&mut brief, &mut renewed] {
        client.put_token(AUDIENCE, &short).await.unwrap();
    }
    let mut brief_receiver = brief.receiver(SUBSCRIPTION).await;
    let mut renewed_receiver = renewed.receiver(SUBSCRIPTION).await;
    renewed.put_token(AUDIENCE, &broker.key().token(AUDIENCE, in_seconds(60))).await.unwrap();
    let error = super::client::lost(&mut brief_receiver).await;
    assert!(error.contains("UnauthorizedAccess"), "{error}");
    super::client::publish(&broker, &["after"]);
    let delivery = super::client::receive(&mut renewed_receiver).await;
    within(renewed_receiver.accept(&delivery)).await.unwrap();
}

#[tokio::test]
async fn a_rotated_key_detaches_the_links_of_the_old_one() {
    let broker = start().await;
    let mut client = Client::admitted(&broker).await;
    let mut receiver = client.receiver(SUBSCRIPTION).await;
    let old = broker.key();
    let fresh = broker.rotate_key();
    assert!(super::client::lost(&mut receiver).await.contains("UnauthorizedAccess"));
    assert!(client.put_token(AUDIENCE, &old.token(AUDIENCE, in_seconds(60))).await.is_err());
    client.put_token(AUDIENCE, &fresh.token(AUDIENCE, in_seconds(60))).await.unwrap();
    client.receiver(SUBSCRIPTION).await;
    broker.wait_until(LIMIT, |state| state.links_detached == 1).await.unwrap();
}

#[tokio::test]
async fn tokens_can_be_expired_on_request() {
    let broker = start().await;
    let mut client = Client::admitted(&broker).await;
    let mut receiver = client.receiver(SUBSCRIPTION).await;
    broker.expire_tokens();
    assert!(super::client::lost(&mut receiver).await.contains("UnauthorizedAccess"));
}
