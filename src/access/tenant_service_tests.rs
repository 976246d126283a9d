use super::*;
use crate::access::fakes::{Reply as Answered, Server};
use crate::clock::{SystemClock, UnixMs};
use crate::error::Classify as _;
use crate::secret::Secret;
use std::time::Duration;

const GOOD: &str = r#"{"serviceBusSubscriptionConnectionString":"Endpoint=sb://ns.example/;SharedAccessSignature=sr=x&sig=y;EntityPath=t/subscriptions/s","serviceBusSubscriptionName":"s","blobBaseUrlsWithToken":["https://a.example/c?sv=1&sig=z"]}"#;

fn token() -> EntraToken {
    EntraToken { secret: Secret::new("c4nary-token"), expires: UnixMs(i64::MAX) }
}

fn service(server: &Server, path: &str) -> TenantService {
    let settings = TenantServiceSettings {
        url: server.url.join(path).expect("a URL"),
        integration_name: "Default \"x\"".to_owned(),
        refresh_ahead: Duration::ZERO,
        refresh_interval_min: Duration::ZERO,
    };
    TenantService::new(&settings, server.client(), Arc::new(SystemClock)).expect("a good address")
}

#[tokio::test]
async fn the_question_is_the_vendors() {
    let server = Server::start(|_| Answered::new(200, GOOD)).await;
    let (reply, skew) = service(&server, "/base/").ask(&token()).await;
    assert!(matches!(reply, Ok(Reply::Tokens(_))));
    assert!(!skew.expect("a date").is_large());
    let seen = &server.seen()[0];
    assert_eq!(seen.path, "/base/api/external/integration/export/temporaryendpoints");
    assert_eq!(seen.authorization.as_deref(), Some("Bearer c4nary-token"));
    assert_eq!(seen.body, r#"{"integrationName":"Default \"x\"","useNewSBConnectionStringFormat":true}"#);
}

#[tokio::test]
async fn every_refusal_says_what_to_do_and_never_the_token() {
    let server = Server::start(|_| Answered::new(200, GOOD)).await;
    let service = service(&server, "/");
    for (status, part, class) in [
        (401, "check `scope`", Class::Unauthorized),
        (403, "the permission is not granted yet", Class::Permanent),
        (404, "the integration's name", Class::Permanent),
        (302, "does not follow a redirect", Class::Permanent),
        (418, "check the service's `url`", Class::Permanent),
        (429, "asked again later", Class::Throttled),
        (500, "asked again later", Class::Transient),
        (503, "asked again later", Class::Throttled),
    ] {
        server.handle(move |seen| {
            let echo = format!("{} said {}", seen.authorization.as_deref().unwrap_or_default(), "c4nary-token\nx");
            Answered::new(status, echo).header("retry-after", "9").header("location", "https://evil.example")
        });
        let error = match service.ask(&token()).await.0 {
            Ok(Reply::TokenRefused(error)) if status == 401 => error,
            Err(error) => error,
            Ok(_) => panic!("{status} is no answer"),
        };
        let text = format!("{error} {error:?}");
        assert!(text.contains(part) && text.contains(&status.to_string()), "{text}");
        assert!(!text.contains("c4nary"), "{text}");
        assert_eq!(error.class(), class, "{text}");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(9)));
    }
    assert_eq!(server.seen().len(), 8, "no redirect was followed");
}

#[tokio::test]
async fn an_answer_that_cannot_be_used_is_said_without_its_secrets() {
    let server = Server::start(|_| Answered::new(200, GOOD.replace("EntityPath", "c4nary"))).await;
    let service = service(&server, "/");
    let error = service.ask(&token()).await.0.err().expect("no topic");
    assert!(error.to_string().contains("has no EntityPath") && !error.to_string().contains("c4nary"), "{error}");
    server.handle(|_| Answered::new(200, " ".repeat((1 << 20) + 1)));
    let error = service.ask(&token()).await.0.err().expect("too long");
    assert!(error.to_string().contains("longer than 1048576 bytes"), "{error}");
    assert_eq!(error.class(), Class::Transient);
}

#[tokio::test]
async fn a_service_that_is_not_there_is_named() {
    let server = Server::start(|_| Answered::new(200, GOOD)).await;
    let service = service(&server, "/");
    let gone = server.url.clone();
    drop(server);
    let error = service.ask(&token()).await.0.err().expect("nobody listens");
    assert!(error.to_string().contains(&format!("TenantService at {gone}")), "{error}");
    assert_eq!(error.class(), Class::Transient);
}

#[tokio::test]
async fn a_token_goes_over_https_only() {
    let settings = |url: &str| TenantServiceSettings {
        url: Url::parse(url).expect("a URL"),
        integration_name: String::new(),
        refresh_ahead: Duration::ZERO,
        refresh_interval_min: Duration::ZERO,
    };
    let client = crate::net::http_client(None, crate::net::HttpLimits::default()).expect("a client");
    let new = |url: &str| TenantService::new(&settings(url), client.clone(), Arc::new(SystemClock));
    assert!(new("http://tenant.example").is_err());
    assert!(new("https://u:p@tenant.example").is_err());
    assert!(new("http://127.0.0.1:1").is_ok());
}
