//! What goes wrong on the way, and that the next apply ends it.

use axum::http::{Method, StatusCode};
use longshore::sandbox::fft::{FftFault, FftSettings};

use crate::world::{TO_DO, World};

const PATH: &str = "/api/subscriptions";

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_that_fails_in_the_middle_is_ended_by_the_next() {
    let world = World::new(&["ORDER_CREATED", "ORDER_MODIFIED", "SHIPMENT_CREATED"]).await;
    world.ends(0, &["apply", "--yes"]).await;
    world.hold("secret", "Bearer second\nBearer first\n");
    // The first is replaced; of the second the new one is made, and the old one cannot be deleted.
    let fault = FftFault::once(Method::DELETE, PATH, StatusCode::BAD_REQUEST);
    world.vendor.fail(FftFault { after: 1, ..fault });
    let said = world.ends(78, &["apply", "--yes"]).await;
    assert!(said.err.contains("3 of 6 steps are done") && said.err.contains("apply again"), "{}", said.err);
    let there = [
        "ORDER_CREATED Bearer second",
        "ORDER_MODIFIED Bearer first",
        "ORDER_MODIFIED Bearer second",
        "SHIPMENT_CREATED Bearer first",
    ];
    assert_eq!(world.there(), there, "each event is delivered all along");
    let said = world.ends(TO_DO, &["plan"]).await;
    assert!(said.out.contains("its successor is there"), "{}", said.out);
    world.ends(0, &["apply", "--yes"]).await;
    let there = ["ORDER_CREATED Bearer second", "ORDER_MODIFIED Bearer second", "SHIPMENT_CREATED Bearer second"];
    assert_eq!(world.there(), there);
    world.ends(0, &["plan"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_without_an_answer_is_not_made_twice() {
    let world = World::new(&["ORDER_CREATED"]).await;
    let fault = FftFault::once(Method::POST, PATH, StatusCode::BAD_GATEWAY);
    world.vendor.fail(FftFault { is_done: true, ..fault });
    world.ends(0, &["apply", "--yes"]).await;
    assert_eq!(world.there(), ["ORDER_CREATED Bearer first"]);
    assert_eq!(world.changes(), ["POST 502"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_for_time_gets_it_and_whoever_stays_away_is_told() {
    let world = World::new(&["ORDER_CREATED"]).await;
    let busy = FftFault::once(Method::POST, PATH, StatusCode::TOO_MANY_REQUESTS);
    world.vendor.fail(FftFault { retry_after: Some(1), ..busy });
    world.vendor.fail(FftFault::once(Method::GET, PATH, StatusCode::INTERNAL_SERVER_ERROR));
    world.vendor.fail(FftFault::once(Method::POST, "/v1/accounts", StatusCode::SERVICE_UNAVAILABLE));
    world.ends(0, &["apply", "--yes"]).await;
    assert_eq!(world.changes(), ["POST 429", "POST 201"]);
    let away = FftFault::once(Method::GET, PATH, StatusCode::TOO_MANY_REQUESTS);
    world.vendor.fail(FftFault { retry_after: Some(3_000), ..away });
    let said = world.ends(69, &["plan"]).await;
    assert!(said.err.contains("429"), "{}", said.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_refused_is_renewed_and_one_that_cannot_be_is_signed_in_for() {
    let world = World::new(&["ORDER_CREATED", "ORDER_MODIFIED"]).await;
    let refused = FftFault::once(Method::POST, PATH, StatusCode::UNAUTHORIZED);
    world.vendor.fail(refused.clone());
    world.ends(0, &["apply", "--yes"]).await;
    let signed = |path: &str| {
        let requests = world.vendor.requests().into_iter();
        requests.filter(|request| request.path.starts_with(path) && request.status == 200).count()
    };
    assert_eq!((signed("/v1/accounts"), signed("/v1/token")), (1, 1), "one sign-in, one renewal");
    assert_eq!(world.changes(), ["POST 401", "POST 201", "POST 201"]);
    // A refresh token that is not taken either.
    world.vendor.fail(FftFault { method: Some(Method::GET), ..refused });
    world.vendor.fail(FftFault::once(Method::POST, "/v1/token", StatusCode::BAD_REQUEST));
    world.ends(0, &["plan"]).await;
    assert_eq!((signed("/v1/accounts"), signed("/v1/token")), (3, 1), "signed in anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_near_its_end_is_renewed_before_it_is_shown() {
    let settings = FftSettings { token_lifetime: std::time::Duration::from_secs(30), ..FftSettings::default() };
    let world = World::with(&["ORDER_CREATED", "ORDER_MODIFIED"], "", settings).await;
    world.ends(0, &["apply", "--yes"]).await;
    let requests = world.vendor.requests();
    assert!(requests.iter().all(|request| request.status < 400), "{requests:?}");
    let renewed = requests.iter().filter(|request| request.path.starts_with("/v1/token")).count();
    let asked = requests.iter().filter(|request| request.path.starts_with("/api/")).count();
    assert_eq!(renewed + 1, asked, "signed in once, and renewed for each request after that");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_is_told_what_to_do() {
    let settings = FftSettings { is_administrator: false, ..FftSettings::default() };
    let world = World::with(&["ORDER_CREATED"], "", settings).await;
    let said = world.ends(78, &["plan"]).await;
    assert!(said.err.contains("missing permission") && said.err.contains("administrator"), "{}", said.err);
    world.hold("password", "wrong");
    let said = world.ends(69, &["plan"]).await;
    assert!(said.err.contains("INVALID_LOGIN_CREDENTIALS") && said.err.contains("password_file"), "{}", said.err);
    world.hold("api-key", "another");
    let said = world.ends(78, &["plan"]).await;
    assert!(said.err.contains("API key not valid") && said.err.contains("api_key_file"), "{}", said.err);
}
