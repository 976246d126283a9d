use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::access::certificates;
use crate::access::fakes::{Issued, Reply, Server};
use crate::clock::{ManualClock, SystemClock};
use crate::error::Classify as _;

struct Bench {
    server: Server,
    entra: Entra,
    clock: ManualClock,
    /// Newest first.
    certificates: Vec<Certificate>,
}

/// A client with `count` certificates before an authority that answers with `handler`.
async fn bench(count: i64, handler: impl FnMut(&crate::access::fakes::Seen) -> Reply + Send + 'static) -> Bench {
    let server = Server::start(handler).await;
    let clock = ManualClock::new(SystemClock.now());
    let folder = tempfile::tempdir().expect("a folder");
    for n in 0..count {
        Issued::rsa("me", clock.now(), -1, 100 - n).write(folder.path(), &format!("{n}.pem"));
    }
    let settings = IdentitySettings {
        authority: server.url.join("contoso.example").expect("a URL"),
        client_id: "me".to_owned(),
        scope: "api://x/.default".to_owned(),
        certificates: folder.path().to_owned(),
        certificate_warning: Duration::ZERO,
        ca_file: Some(server.ca_file()),
    };
    let certificates =
        if count == 0 { Vec::new() } else { certificates::load(folder.path(), clock.now()).expect("usable").usable };
    let entra = Entra::new(settings, server.client(), Arc::new(clock.clone())).expect("good settings");
    Bench { server, entra, clock, certificates }
}

#[tokio::test]
async fn a_token_is_had_once_and_then_cached() {
    let bench = bench(1, |_| Reply::token("c4nary", 3_600)).await;
    for _ in 0..3 {
        let obtained = bench.entra.token(Ok(&bench.certificates), false).await.expect("a token");
        assert_eq!(obtained.token.secret.expose(), "c4nary");
        assert!(!format!("{obtained:?} {:?}", bench.entra).contains("c4nary"));
    }
    let seen = bench.server.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].path, "/contoso.example/oauth2/v2.0/token");
    assert_eq!(seen[0].form("grant_type").as_deref(), Some("client_credentials"));
    assert_eq!(seen[0].form("client_id").as_deref(), Some("me"));
    assert_eq!(seen[0].form("scope").as_deref(), Some("api://x/.default"));
    assert_eq!(seen[0].signed_by(), Some((bench.certificates[0].thumbprint.clone(), Algorithm::PS256)));
}

#[tokio::test]
async fn a_refused_certificate_gives_way_to_the_next_and_the_choice_is_remembered() {
    let bench = bench(3, |_| Reply::refused(700_027)).await;
    let accepted = bench.certificates[1].thumbprint.clone();
    bench.server.handle(move |seen| match seen.signed_by() {
        Some((thumbprint, _)) if thumbprint == accepted => Reply::token("t", 60),
        _ => Reply::refused(700_027),
    });
    for _ in 0..2 {
        let obtained = bench.entra.token(Ok(&bench.certificates), false).await.expect("a token");
        assert!(obtained.certificate.expect("the authority was asked").starts_with("1.pem"));
    }
    let signed: Vec<_> = bench.server.seen().iter().map(|seen| seen.signed_by().expect("signed").0).collect();
    let of = |n: usize| bench.certificates[n].thumbprint.clone();
    assert_eq!(signed, [of(0), of(1), of(1)]);
    // The one that worked is withdrawn: the others are asked again, the refused one last.
    bench.server.handle(|_| Reply::refused(700_027));
    let bench_error = bench.entra.token(Ok(&bench.certificates), true).await.expect_err("all refused");
    let said = bench_error.to_string();
    assert!(said.contains("refused every certificate: ") && said.contains("0.pem") && said.contains("2.pem"), "{said}");
    assert!(said.contains("AADSTS700027: The certificate is not registered.") && !said.contains("Trace"), "{said}");
    assert_eq!(bench_error.class(), Class::Permanent);
    let signed: Vec<_> = bench.server.seen()[3..].iter().map(|seen| seen.signed_by().expect("signed").0).collect();
    assert_eq!(signed, [of(1), of(2), of(0)]);
}

#[tokio::test]
async fn an_authority_without_ps256_is_asked_with_rs256() {
    let bench = bench(1, |seen| match seen.signed_by() {
        Some((_, Algorithm::RS256)) => Reply::token("t", 60),
        _ => Reply::refused(5_002_738),
    })
    .await;
    for _ in 0..2 {
        bench.entra.token(Ok(&bench.certificates), false).await.expect("a token");
    }
    let algorithms: Vec<_> = bench.server.seen().iter().map(|seen| seen.signed_by().expect("signed").1).collect();
    assert_eq!(algorithms, [Algorithm::PS256, Algorithm::RS256, Algorithm::RS256]);
}

#[tokio::test]
async fn the_last_token_is_used_while_it_is_valid_and_the_authority_is_down() {
    let calls = AtomicU64::new(0);
    // Under five minutes left, so the library asks again each time.
    let bench = bench(1, move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::token("first", 200),
        _ => Reply::new(503, "<html>down</html>").header("retry-after", "7"),
    })
    .await;
    bench.entra.token(Ok(&bench.certificates), false).await.expect("a token");
    let kept = bench.entra.token(Ok(&bench.certificates), false).await.expect("the last one");
    assert_eq!(kept.token.secret.expose(), "first");
    // Nor does a certificate that is being replaced on disk matter.
    let gone = AccessError::new(Class::Permanent, "no certificate");
    bench.entra.token(Err(gone), false).await.expect("the last one");
    bench.clock.advance(Duration::from_secs(180));
    let error = bench.entra.token(Ok(&bench.certificates), false).await.expect_err("nothing valid is left");
    assert_eq!((error.class(), error.retry_after()), (Class::Transient, Some(Duration::from_secs(7))));
    assert!(error.to_string().contains("answered with status 503"), "{error}");
}

#[tokio::test]
async fn a_refused_token_is_not_used_again() {
    let calls = AtomicU64::new(0);
    let bench = bench(1, move |_| Reply::token(&format!("t{}", calls.fetch_add(1, Ordering::SeqCst)), 3_600)).await;
    bench.entra.token(Ok(&bench.certificates), false).await.expect("a token");
    let anew = bench.entra.token(Ok(&bench.certificates), true).await.expect("a token");
    assert_eq!(anew.token.secret.expose(), "t1");
}

#[tokio::test]
async fn a_wrong_clock_is_noticed_and_made_up_for() {
    let bench = bench(1, |_| Reply::refused(700_024)).await;
    bench.clock.set(UnixMs(SystemClock.now().0 - 3_600_000));
    let theirs = SystemClock.now().0 / 1_000;
    bench.server.handle(move |seen| {
        let jwt = seen.form("client_assertion").expect("an assertion");
        let claims = jsonwebtoken::dangerous::insecure_decode::<serde_json::Value>(&jwt).expect("a JWT").claims;
        let exp = claims["exp"].as_i64().expect("a number");
        if exp > theirs && exp < theirs + 600 { Reply::token("t", 3_600) } else { Reply::refused(700_024) }
    });
    bench.entra.token(Ok(&bench.certificates), false).await.expect("a token");
    assert!(bench.entra.take_skew().expect("a date").is_large());
    assert_eq!(bench.server.seen().len(), 2);
}

#[tokio::test]
async fn what_the_authority_says_comes_with_a_remedy() {
    let bench = bench(1, |_| Reply::new(200, "{}")).await;
    for (status, body, part, class) in [
        (400, r#"{"error":"unauthorized_client","error_codes":[700016]}"#, "check `client_id`", Class::Permanent),
        (400, r#"{"error":"invalid_scope","error_codes":[70011]}"#, "check `scope`", Class::Permanent),
        (401, r#"{"error":"invalid_client","error_codes":[700024]}"#, "time synchronisation", Class::Permanent),
        (429, "", "asked again later", Class::Throttled),
        (500, "", "asked again later", Class::Transient),
        (302, "", "check `authority`", Class::Permanent),
    ] {
        bench.server.handle(move |_| Reply::new(status, body));
        let error = bench.entra.token(Ok(&bench.certificates), false).await.expect_err("no token");
        assert!(error.to_string().contains(part), "{status}: {error}");
        assert_eq!(error.class(), class, "{status}: {error}");
    }
    bench.server.handle(|_| Reply::new(200, "x".repeat(300 << 10)));
    let error = bench.entra.token(Ok(&bench.certificates), false).await.expect_err("too long");
    assert!(error.to_string().contains("longer than"), "{error}");
}

#[test]
fn an_authority_is_https_with_a_tenant() {
    let split = |text: &str| split_authority(&Url::parse(text).expect("a URL"));
    assert_eq!(
        split("https://login.example:8443/contoso.example/").expect("good"),
        ("https://login.example:8443".to_owned(), "contoso.example".to_owned())
    );
    for text in [
        "http://127.0.0.1/t",
        "https://login.example",
        "https://login.example/t/v2.0",
        "https://u:p@login.example/t",
        "https://login.example/t?x",
    ] {
        assert!(split(text).is_err(), "{text}");
    }
}
