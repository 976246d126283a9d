//! The way from a certificate to a downloaded blob, against the sandbox's authority, TenantService and blob store.
#![cfg(feature = "sandbox")]

use std::sync::Arc;
use std::time::Duration;

use longshore::access::{Keeper, TokenSet, TokenSource as _, vendor_tokens};
use longshore::clock::SystemClock;
use longshore::error::{Class, Classify as _};
use longshore::net::{HttpLimits, http_client};
use longshore::ops::{Condition, Context};
use longshore::probe::Finding;
use longshore::sandbox::{Content, Sandbox, SandboxSettings, TenantFault};
use tokio_util::sync::CancellationToken;
use url::Url;

/// Far more than any step takes.
const LIMIT: Duration = Duration::from_secs(120);
const DAY: Duration = Duration::from_secs(86_400);

struct Bench {
    sandbox: Sandbox,
    context: Context,
    tokens: Arc<Keeper>,
    client: reqwest::Client,
    blob: Url,
}

impl Bench {
    async fn new(settings: SandboxSettings) -> Self {
        let sandbox = Sandbox::start(settings).await.expect("a sandbox");
        let context = Context::new(Arc::new(SystemClock));
        let mut tenant_service = sandbox.tenant_service_settings();
        // The waits between refreshes have tests of their own under paused time.
        tenant_service.refresh_interval_min = Duration::ZERO;
        let stop = CancellationToken::new();
        let tokens =
            vendor_tokens(sandbox.identity_settings(), tenant_service, &context, &stop).expect("good settings");
        let client = http_client(Some(sandbox.ca_file()), HttpLimits::default()).expect("a client");
        let blob = sandbox
            .put_blob("Item/2026-03-01/a b%+.jsonl", Content::Bytes(b"{}\n"[..].into()), "application/x-jsonlines")
            .expect("stored");
        Self { sandbox, context, tokens, client, blob }
    }

    async fn current(&self) -> Arc<TokenSet> {
        tokio::time::timeout(LIMIT, self.tokens.current()).await.expect("in time").expect("tokens")
    }

    /// The status of a download of the blob with the token that `tokens` has for it.
    async fn download(&self, tokens: &TokenSet) -> u16 {
        let url = tokens.for_blob(&self.blob).expect("a token for the blob").url_for(&self.blob);
        self.client.get(url).send().await.expect("an answer").status().as_u16()
    }

    fn part(&self, name: &str) -> Condition {
        let parts = self.context.health.parts();
        parts.into_iter().find(|part| part.name == name).expect("it reports").condition
    }
}

#[tokio::test]
async fn a_certificate_becomes_a_download_and_every_step_is_probed() {
    let bench = Bench::new(SandboxSettings { blob_tls: true, ..SandboxSettings::default() }).await;
    let tokens = bench.current().await;
    assert_eq!(
        (tokens.service_bus.topic.as_str(), tokens.service_bus.subscription.as_str()),
        ("fileexport", "longshore")
    );
    assert!(tokens.service_bus.audience.ends_with("/fileexport/subscriptions/longshore"));
    assert_eq!(bench.download(&tokens).await, 200);
    for part in ["tokens", "certificate", "clock"] {
        assert!(matches!(bench.part(part), Condition::Good { .. }), "{part}: {:?}", bench.part(part));
    }
    let steps = bench.tokens.probe().await;
    assert_eq!(steps.len(), 5);
    assert!(steps.iter().all(|step| matches!(step.finding, Finding::Good { .. })), "{steps:#?}");
}

#[tokio::test]
async fn a_rotated_key_costs_one_refresh_however_many_were_refused() {
    let bench = Bench::new(SandboxSettings::default()).await;
    let old = bench.current().await;
    bench.sandbox.rotate_blob_key();
    assert_eq!(bench.download(&old).await, 403);
    let refused = (0..20).map(|_| bench.tokens.refused(old.generation));
    for new in tokio::time::timeout(LIMIT, futures::future::join_all(refused)).await.expect("in time") {
        let new = new.expect("newer tokens");
        assert_eq!(new.generation, old.generation + 1);
        assert_eq!(bench.download(&new).await, 200);
    }
    assert_eq!(bench.sandbox.vendor_state().tenant_answers, 2);
}

#[tokio::test]
async fn tokens_are_renewed_before_they_end_without_anybody_asking() {
    // They are renewed after half of it; a busy machine may take the other half for that.
    let settings = SandboxSettings { sas_lifetime: Duration::from_secs(24), ..SandboxSettings::default() };
    let bench = Bench::new(settings).await;
    let first = bench.current().await;
    let mut watch = bench.tokens.watch();
    let renewed = watch.wait_for(|tokens| tokens.as_ref().is_some_and(|t| t.generation > first.generation));
    let renewed = tokio::time::timeout(LIMIT, renewed).await.expect("in time").expect("a refresh").clone();
    let renewed = renewed.expect("tokens");
    assert!(renewed.obtained < first.expires().expect("an expiry"), "in time for those who still use the first");
    assert_eq!(bench.download(&renewed).await, 200);
}

#[tokio::test]
async fn certificates_roll_over_on_disk_without_a_restart() {
    let bench = Bench::new(SandboxSettings::default()).await;
    let first = bench.current().await;
    // The newest is not registered yet, so the next one serves.
    bench.sandbox.new_certificate("zz-not-yet", 900 * DAY, false).expect("written");
    bench.sandbox.expire_access_tokens();
    let second = bench.tokens.refused(first.generation).await.expect("tokens with the old certificate");
    assert_eq!(bench.sandbox.vendor_state().access_tokens_refused, 1);
    // Another is registered, and all others are gone.
    bench.sandbox.new_certificate("next", 800 * DAY, true).expect("written");
    let old: Vec<_> = std::fs::read_dir(bench.sandbox.certificates())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| !["next.pem", "zz-not-yet.pem"].iter().any(|name| path.ends_with(name)))
        .collect();
    assert_eq!(old.len(), 1);
    std::fs::remove_file(&old[0]).expect("removed");
    bench.sandbox.expire_access_tokens();
    let third = bench.tokens.refused(second.generation).await.expect("tokens with the next certificate");
    assert_eq!(bench.download(&third).await, 200);
    assert_eq!(bench.sandbox.vendor_state().access_tokens_refused, 1, "the one that is not registered is asked last");
}

#[tokio::test]
async fn the_last_good_tokens_serve_while_the_service_is_down() {
    let bench = Bench::new(SandboxSettings::default()).await;
    let tokens = bench.current().await;
    bench.sandbox.add_tenant_fault(TenantFault { status: 503, retry_after: Some(1), requests: None });
    let error = bench.tokens.refused(tokens.generation).await.expect_err("no newer tokens");
    assert_eq!(error.class(), Class::Unauthorized, "no attempt of a notice is used up");
    assert!(error.retry_after().is_some_and(|wait| wait >= Duration::from_secs(1)), "{error:?}");
    let Condition::Degraded { reason } = bench.part("tokens") else { panic!("{:?}", bench.part("tokens")) };
    assert!(reason.contains("answered 503") && reason.contains("stay in use until"), "{reason}");
    let kept = bench.current().await;
    assert_eq!(kept.generation, tokens.generation);
    assert_eq!(bench.download(&kept).await, 200);
    // It comes back by itself: somebody's demand is still open.
    bench.sandbox.clear_tenant_faults();
    let mut watch = bench.tokens.watch();
    let newer = watch.wait_for(|now| now.as_ref().is_some_and(|now| now.generation > tokens.generation));
    tokio::time::timeout(LIMIT, newer).await.expect("in time").expect("a refresh");
    assert!(matches!(bench.part("tokens"), Condition::Good { .. }));
}

#[tokio::test]
async fn a_permission_that_is_not_granted_is_said_so() {
    let bench = Bench::new(SandboxSettings::default()).await;
    bench.sandbox.add_tenant_fault(TenantFault { status: 403, retry_after: None, requests: None });
    let error = bench.tokens.current().await.expect_err("not granted");
    assert!(error.to_string().contains("the permission is not granted yet: ask the vendor"), "{error}");
    let steps = bench.tokens.probe().await;
    assert!(matches!(&steps[2].finding, Finding::Bad { remedy, .. } if remedy.contains("not granted")), "{steps:#?}");
    assert!(matches!(steps[3].finding, Finding::Skipped));
}

#[tokio::test]
async fn a_certificate_that_nobody_knows_is_named_with_what_to_do() {
    let bench = Bench::new(SandboxSettings::default()).await;
    for entry in std::fs::read_dir(bench.sandbox.certificates()).expect("a folder") {
        std::fs::remove_file(entry.expect("an entry").path()).expect("removed");
    }
    bench.sandbox.new_certificate("unknown", 90 * DAY, false).expect("written");
    let error = bench.tokens.current().await.expect_err("refused").to_string();
    assert!(error.contains("refused every certificate: unknown.pem (valid until "), "{error}");
    assert!(error.contains("AADSTS700027") && error.contains("let the vendor register the public part"), "{error}");
}
