use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use url::Url;

use super::*;
use crate::access::TokenSource as _;
use crate::access::fakes::{Issued, Reply, Seen, Server};
use crate::clock::{Clock, ManualClock, SystemClock};
use crate::ops::Condition;
use crate::probe::Finding;

const CANARY: &str = "c4nary";

/// Answers of a vendor who is well.
fn well(seen: &Seen) -> Reply {
    if seen.path.ends_with("/token") { Reply::token("c4nary-token", 3_600) } else { Reply::new(200, endpoints()) }
}

fn endpoints() -> String {
    let se = SystemClock.now().plus(Duration::from_secs(3_600));
    let bus = format!("sr=sb%3A%2F%2Fns.example%2Ft&sig=c4nary%2Bbus%3D&se={}&skn=k", se.0 / 1_000);
    let blob = format!("https://a.example/c?sv=1&se={se}&sig=c4nary%2Bblob%3D");
    format!(
        r#"{{"serviceBusSubscriptionConnectionString":"Endpoint=sb://ns.example/;SharedAccessSignature=SharedAccessSignature {bus};EntityPath=t/subscriptions/s","serviceBusSubscriptionName":"s","blobBaseUrlsWithToken":["{blob}"]}}"#
    )
}

struct Bench {
    server: Server,
    folder: tempfile::TempDir,
    clock: ManualClock,
    context: Context,
    tokens: Arc<Keeper>,
}

async fn bench(handler: impl FnMut(&Seen) -> Reply + Send + 'static) -> Bench {
    let server = Server::start(handler).await;
    let clock = ManualClock::new(SystemClock.now());
    let folder = tempfile::tempdir().expect("a folder");
    Issued::rsa("me", clock.now(), -1, 100).write(folder.path(), "first.pem");
    let context = Context::new(Arc::new(clock.clone()));
    let tokens = spawn(&server, folder.path(), &context);
    Bench { server, folder, clock, context, tokens }
}

fn spawn(server: &Server, certificates: &std::path::Path, context: &Context) -> Arc<Keeper> {
    let identity = IdentitySettings {
        authority: server.url.join("tenant").expect("a URL"),
        client_id: "me".to_owned(),
        scope: "api://x/.default".to_owned(),
        certificates: certificates.to_owned(),
        certificate_warning: Duration::from_secs(30 * 86_400),
        ca_file: Some(server.ca_file()),
    };
    let tenant_service = TenantServiceSettings {
        url: server.url.clone(),
        integration_name: "Default".to_owned(),
        refresh_ahead: Duration::from_secs(300),
        refresh_interval_min: Duration::ZERO,
    };
    vendor_tokens(identity, tenant_service, context, &CancellationToken::new()).expect("good settings")
}

impl Bench {
    fn part(&self, name: &str) -> Condition {
        let parts = self.context.health.parts();
        parts.into_iter().find(|part| part.name == name).unwrap_or_else(|| panic!("{name} does not report")).condition
    }
}

#[tokio::test]
async fn the_chain_leads_from_the_certificate_to_the_tokens() {
    let bench = bench(well).await;
    let tokens = bench.tokens.current().await.expect("tokens");
    assert_eq!((tokens.service_bus.topic.as_str(), tokens.service_bus.subscription.as_str()), ("t", "s"));
    let uri = Url::parse("https://a.example/c/x").expect("a URL");
    assert!(tokens.for_blob(&uri).expect("a token").url_for(&uri).as_str().ends_with("&sig=c4nary%2Bblob%3D"));
    for part in ["tokens", "certificate", "clock"] {
        assert!(matches!(bench.part(part), Condition::Good { .. }), "{part}: {:?}", bench.part(part));
    }
}

#[tokio::test]
async fn an_entra_token_that_the_service_refuses_is_replaced_once() {
    let bench = bench(|seen: &Seen| match seen.authorization.as_deref() {
        None => Reply::token("t", 3_600),
        Some(_) => Reply::new(401, ""),
    })
    .await;
    let error = bench.tokens.current().await.expect_err("refused twice");
    assert!(error.to_string().contains("check `scope`"), "{error}");
    assert_eq!(bench.server.seen().len(), 4, "two Entra tokens, two questions");

    let count = AtomicU64::new(0);
    bench.server.handle(move |seen| match seen.authorization.as_deref() {
        None => Reply::token(&format!("t{}", count.fetch_add(1, Ordering::SeqCst)), 3_600),
        Some("Bearer t0") => Reply::new(401, ""),
        Some(_) => Reply::new(200, endpoints()),
    });
    // Paused time makes nothing of the back-off, and would also hurry the HTTP client's limits along: so only from here.
    let chain = Chain::new(
        bench_identity(&bench),
        &TenantServiceSettings {
            url: bench.server.url.clone(),
            integration_name: "Default".to_owned(),
            refresh_ahead: Duration::ZERO,
            refresh_interval_min: Duration::ZERO,
        },
        &bench.context,
    )
    .expect("good settings");
    chain.fetch(Why::First).await.expect("tokens with the second Entra token");
}

fn bench_identity(bench: &Bench) -> IdentitySettings {
    IdentitySettings {
        authority: bench.server.url.join("tenant").expect("a URL"),
        client_id: "me".to_owned(),
        scope: "api://x/.default".to_owned(),
        certificates: bench.folder.path().to_owned(),
        certificate_warning: Duration::from_secs(30 * 86_400),
        ca_file: Some(bench.server.ca_file()),
    }
}

#[tokio::test]
async fn a_certificate_that_is_about_to_end_is_warned_of_until_its_successor_is_there() {
    let bench = bench(well).await;
    bench.clock.advance(Duration::from_secs(75 * 86_400));
    let tokens = bench.tokens.current().await.expect("tokens");
    let Condition::Degraded { reason } = bench.part("certificate") else { panic!("{:?}", bench.part("certificate")) };
    assert!(reason.contains("in 24 days; put its successor beside it") || reason.contains("in 25 days"), "{reason}");
    Issued::rsa("me", bench.clock.now(), -1, 100).write(bench.folder.path(), "second.pem");
    bench.tokens.refused(tokens.generation).await.expect("tokens");
    let Condition::Good { note } = bench.part("certificate") else { panic!("{:?}", bench.part("certificate")) };
    assert!(note.starts_with("second.pem"), "{note}");
}

#[tokio::test]
async fn a_clock_that_is_off_is_said() {
    let bench = bench(well).await;
    bench.clock.advance(Duration::from_secs(120));
    bench.tokens.current().await.expect("tokens");
    let Condition::Degraded { reason } = bench.part("clock") else { panic!("{:?}", bench.part("clock")) };
    assert!(reason.contains("s ahead of the vendor's"), "{reason}");
}

fn results(steps: &[Step]) -> Vec<&'static str> {
    let result = |step: &Step| match step.finding {
        Finding::Good { .. } => "good",
        Finding::Warning { .. } => "warning",
        Finding::Bad { .. } => "bad",
        Finding::Skipped => "skipped",
    };
    steps.iter().map(result).collect()
}

#[tokio::test]
async fn a_probe_names_the_first_link_that_fails_and_what_to_do() {
    let bench = bench(well).await;
    assert_eq!(results(&bench.tokens.probe().await), ["good"; 5]);

    bench.server.handle(|seen| if seen.authorization.is_some() { Reply::new(403, "") } else { Reply::token("t", 60) });
    let steps = bench.tokens.probe().await;
    assert_eq!(results(&steps), ["good", "good", "bad", "skipped", "good"]);
    let Finding::Bad { error, remedy } = &steps[2].finding else { panic!("{steps:?}") };
    assert!(error.contains("answered 403") && remedy.contains("the permission is not granted yet"), "{steps:?}");

    bench.server.handle(|_| Reply::refused(700_027));
    let steps = bench.tokens.probe().await;
    assert_eq!(results(&steps), ["good", "bad", "skipped", "skipped", "good"]);

    bench.clock.advance(Duration::from_secs(99 * 86_400));
    bench.server.handle(well);
    assert_eq!(results(&bench.tokens.probe().await), ["warning", "good", "good", "bad", "warning"]);

    std::fs::remove_file(bench.folder.path().join("first.pem")).expect("removed");
    let steps = bench.tokens.probe().await;
    assert_eq!(results(&steps), ["bad", "skipped", "skipped", "skipped", "skipped"]);
    assert!(bench.context.health.parts().is_empty(), "a probe changes nothing");
}

/// Everything that was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What goes wrong; `None` where the vendor answers as ever.
type Fault = Box<dyn Fn(&Seen) -> Option<Reply> + Send>;

/// Each way that the vendor's side can go wrong quotes back every secret that it knows.
#[tokio::test]
async fn no_secret_is_found_in_anything_that_is_shown() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let quote = |seen: &Seen| {
        let auth = seen.authorization.clone().unwrap_or_default();
        format!("{auth} said: {} token {} and {}", seen.body, auth.trim_start_matches("Bearer "), endpoints())
    };
    let mut shown = String::new();
    let mut assertions = Vec::new();
    let faults: Vec<Fault> = vec![
        Box::new(|_| None),
        Box::new(move |seen| seen.authorization.as_ref().map(|_| Reply::new(401, quote(seen)))),
        Box::new(move |seen| seen.authorization.as_ref().map(|_| Reply::new(403, quote(seen)))),
        Box::new(move |seen| seen.authorization.as_ref().map(|_| Reply::new(500, quote(seen)))),
        Box::new(move |seen| seen.authorization.as_ref().map(|_| Reply::new(200, quote(seen)))),
        Box::new(|seen| seen.authorization.as_ref().map(|_| Reply::new(200, endpoints().replace("sb:", "http:")))),
        Box::new(|seen| seen.authorization.as_ref().map(|_| Reply::new(200, endpoints().replace("EntityPath", "x")))),
        Box::new(|seen| seen.authorization.as_ref().map(|_| Reply::new(200, endpoints().replace("se=", "se=x")))),
        Box::new(|seen| seen.authorization.as_ref().map(|_| Reply::new(200, endpoints().replace("https:", "http:")))),
        Box::new(|seen| {
            seen.authorization.as_ref().map(|_| Reply::new(302, "").header("location", "https://x/?sig=c4nary"))
        }),
        Box::new(|seen| {
            let assertion = seen.form("client_assertion")?;
            let body = serde_json::json!({
                "error": "invalid_client", "error_codes": [700_027],
                "error_description": format!("the assertion {assertion} in client_assertion={assertion} is not good"),
            });
            Some(Reply::new(401, body.to_string()))
        }),
        Box::new(|seen| {
            let assertion = seen.form("client_assertion")?;
            Some(Reply::new(400, serde_json::json!({ "error": assertion, "error_description": assertion }).to_string()))
        }),
        Box::new(|seen| seen.form("client_assertion").map(|_| Reply::new(200, r#"{"access_token":"c4nary-token""#))),
    ];
    let count = faults.len();
    for fault in faults {
        // Tests on other threads may have met these callsites before there was anybody to listen.
        tracing::callsite::rebuild_interest_cache();
        let bench = bench(move |seen: &Seen| fault(seen).unwrap_or_else(|| well(seen))).await;
        match bench.tokens.current().await {
            Ok(tokens) => {
                let refusals = ["https://a.example/d?sig=c4nary", "http://a.example/c", "https://u:c4nary@a.example/c"];
                for uri in refusals {
                    let error = tokens.for_blob(&Url::parse(uri).expect("a URL")).expect_err("refused");
                    shown.push_str(&format!("{error} {error:?}\n"));
                }
                shown.push_str(&format!("{tokens:?}\n"));
            }
            Err(error) => shown.push_str(&format!("{error} {error:?}\n")),
        }
        shown.push_str(&serde_json::to_string(&bench.tokens.probe().await).expect("JSON"));
        shown.push_str(&serde_json::to_string(&bench.context.health.parts()).expect("JSON"));
        shown.push_str(&format!("{:?} {}", bench.tokens, bench.context.metrics.encode().expect("text")));
        assertions.extend(bench.server.seen().iter().filter_map(|seen| seen.form("client_assertion")));
        let key = std::fs::read_to_string(bench.folder.path().join("first.pem")).expect("a key");
        let key = key.split("PRIVATE KEY").nth(1).expect("a key").lines().nth(1).expect("a line").to_owned();
        assertions.push(format!(".{key}"));
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).expect("text");
    assert!(log.contains("token refresh failed") && log.contains("tokens refreshed"), "the log was heard");
    assert!(assertions.len() > 2 * count);
    for (place, text) in [("shown", &shown), ("log", &log)] {
        let lines = text.lines().filter(|line| line.contains(CANARY));
        assert_eq!(lines.collect::<Vec<_>>(), [""; 0], "in what was {place}");
        for assertion in &assertions {
            let signature = assertion.rsplit('.').next().expect("a signature");
            assert!(!text.contains(signature), "an assertion or a key in what was {place}");
            let beginning = assertion.get(..100).unwrap_or(signature);
            assert!(!text.contains(beginning), "the beginning of an assertion in what was {place}");
        }
    }
}
