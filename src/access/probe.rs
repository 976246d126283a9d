//! Walks the vendor's chain for `check --connect`: one step after the other, the first failure ends it.

use super::certificates::Found;
use super::chain::Chain;
use super::origin::Answer;
use super::skew::Skew;
use super::tenant_service::Reply;
use super::{AccessError, IdentitySettings, ServiceBusAccess};
use crate::clock::UnixMs;
use crate::probe::{Finding, Step, Walk};

const STEPS: [&str; 5] =
    ["certificate found", "Entra token obtained", "TenantService answers", "tokens are valid", "clock agrees"];

/// Ends with `error`; the clock is still reported if an answer told it.
fn fail(mut walk: Walk, error: &AccessError, skew: Option<Skew>) -> Vec<Step> {
    let remedy = error.remedy().unwrap_or("see the text of the error").to_owned();
    walk.next(Finding::Bad { error: error.message().to_owned(), remedy });
    // All but the clock.
    walk.skip_all_but(1);
    end(walk, skew)
}

fn end(mut walk: Walk, skew: Option<Skew>) -> Vec<Step> {
    let finding = match skew {
        None => Finding::Skipped,
        Some(skew) if skew.is_large() => Finding::Warning {
            seen: format!("this machine's clock {}", skew.describe()),
            remedy: "check its time synchronisation: tokens and assertions carry times".to_owned(),
        },
        Some(skew) => Finding::Good { seen: format!("this machine's clock {}", skew.describe()) },
    };
    walk.next(finding);
    walk.end()
}

/// Walks `chain` from certificate to tokens.
pub(super) async fn walk(chain: &Chain) -> (Vec<Step>, Option<Answer>) {
    let mut walk = Walk::along(&STEPS);
    let clock = &chain.context.clock;
    let found = match chain.certificates().await {
        Ok(found) => found,
        Err(error) => return (fail(walk, &error, None), None),
    };
    walk.next(certificates(&found, &chain.identity, clock.now()));

    // A cached token would prove nothing.
    let obtained = match chain.entra.token(Ok(&found.usable), true).await {
        Ok(obtained) => obtained,
        Err(error) => return (fail(walk, &error, chain.entra.take_skew()), None),
    };
    let with = obtained.certificate.as_deref().unwrap_or("a certificate");
    let seen = format!("{} accepted {with}; valid until {}", chain.entra.endpoint(), obtained.token.expires);
    walk.good(seen);

    let (reply, skew) = chain.tenant_service.ask(&obtained.token).await;
    let skew = skew.or(chain.entra.take_skew());
    let answer = match reply {
        Ok(Reply::Tokens(answer)) => answer,
        Ok(Reply::TokenRefused(error)) | Err(error) => return (fail(walk, &error, skew), None),
    };
    walk.good(endpoints(&answer));
    walk.next(validity(&answer, clock.now()));
    (end(walk, skew), Some(answer))
}

/// Whether a certificate is there that can be used, and for how long.
#[must_use]
pub fn look_at_certificates(identity: &IdentitySettings, now: UnixMs) -> Finding {
    match super::certificates::load(&identity.certificates, now) {
        Ok(found) => certificates(&found, identity, now),
        Err(error) => {
            let remedy = error.remedy().unwrap_or("see the text of the error").to_owned();
            Finding::Bad { error: error.message().to_owned(), remedy }
        }
    }
}

fn certificates(found: &Found, identity: &IdentitySettings, now: UnixMs) -> Finding {
    let names: Vec<&str> = found.usable.iter().map(|certificate| certificate.name.as_str()).collect();
    let passed_over = found.passed_over.iter().map(|text| format!("; passed over: {text}"));
    let seen = format!("{}{}", names.join(", "), passed_over.collect::<String>());
    match found.expires_within(identity.certificate_warning, now) {
        None => Finding::Good { seen },
        Some(at) => Finding::Warning {
            seen,
            remedy: format!(
                "the last one expires at {at}: put its successor beside it, and let the vendor register it"
            ),
        },
    }
}

fn endpoints(answer: &Answer) -> String {
    let ServiceBusAccess { host, topic, subscription, .. } = &answer.service_bus;
    let blobs: Vec<&str> = answer.blobs.iter().map(|blob| blob.base.as_str()).collect();
    let blobs = if blobs.is_empty() { "none".to_owned() } else { blobs.join(", ") };
    format!("topic {topic}, subscription {subscription} on {host}; blobs in {blobs}")
}

fn validity(answer: &Answer, now: UnixMs) -> Finding {
    let blobs = answer.blobs.iter().filter_map(|blob| blob.expires).min();
    let says = |at: Option<UnixMs>| at.map_or_else(|| "not named".to_owned(), |at| at.to_string());
    let seen = format!("expiry: Service Bus {}, blobs {}", says(answer.service_bus.expires), says(blobs));
    match answer.service_bus.expires.into_iter().chain(blobs).min() {
        Some(first) if first <= now => Finding::Bad {
            error: format!("a token arrived expired at {first}, and it is {now} here"),
            remedy: "check the time synchronisation of this machine".to_owned(),
        },
        _ => Finding::Good { seen },
    }
}
