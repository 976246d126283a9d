//! What `longshore check --connect` looks at: the certificate, the secrets, the address. A daemon that runs meanwhile
//! is not disturbed; the vendor's API is asked for what it has, where the feed has subscriptions.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::Instant;

use super::{CertificateFiles, WebhookSettings, certificate, secrets};
use crate::clock::UnixMs;
use crate::ops::Context;
use crate::probe::{Finding, Step};

/// Looks at all of it; one thing that is wrong does not keep the others from being looked at.
pub(super) async fn walk(settings: &WebhookSettings, context: &Context) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Some(files) = &settings.certificate {
        steps.push(timed("certificate and key fit", || certificate_of(files, context.clock.now())));
    }
    if let Some(secret) = &settings.sender.secret {
        steps.push(timed("secret can be read", || values(&secret.file)));
    }
    if let Some(signature) = &settings.sender.signature {
        steps.push(timed("signature key can be read", || values(&signature.key_file)));
    }
    let began = Instant::now();
    let finding = address(settings).await;
    steps.push(Step { name: "address can be had".to_owned(), took: began.elapsed(), finding });
    if let Some(subscriptions) = &settings.subscriptions {
        steps.extend(super::subscriptions::probe(subscriptions, settings.sender.secret.as_ref(), context).await);
    }
    steps
}

fn timed(name: &str, look: impl FnOnce() -> Finding) -> Step {
    let began = Instant::now();
    let finding = look();
    Step { name: name.to_owned(), took: began.elapsed(), finding }
}

fn certificate_of(files: &CertificateFiles, now: UnixMs) -> Finding {
    let remedy = "put a certificate with its chain and the key that belongs to it there, in PEM".to_owned();
    match certificate::load(files) {
        Err(error) => Finding::Bad { error, remedy },
        Ok(loaded) => match certificate::in_time(files, loaded.not_after, now) {
            Ok(()) => Finding::Good { seen: format!("valid until {}", loaded.not_after) },
            Err(error) if loaded.not_after <= now => Finding::Bad { error, remedy },
            Err(seen) => Finding::Warning { seen, remedy },
        },
    }
}

fn values(path: &std::path::Path) -> Finding {
    match secrets::read(path) {
        Ok(values) if values.len() == 1 => Finding::Good { seen: "one value is accepted".to_owned() },
        Ok(values) => Finding::Good { seen: format!("{} values are accepted", values.len()) },
        Err(error) => Finding::Bad { error, remedy: "write the accepted values into it, one a line".to_owned() },
    }
}

async fn address(settings: &WebhookSettings) -> Finding {
    /// Long enough for the loopback and for a local network.
    const CONNECT_MAX: Duration = Duration::from_secs(2);
    let address = settings.listen;
    match TcpListener::bind(address).await {
        Ok(_) => Finding::Good { seen: format!("{address} is free") },
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let connecting = tokio::net::TcpStream::connect(address);
            let answers = matches!(tokio::time::timeout(CONNECT_MAX, connecting).await, Ok(Ok(_)));
            let state = if answers { "answers" } else { "is taken" };
            Finding::Warning {
                seen: format!("{address} {state}"),
                remedy: "all is well if it is this daemon that runs; otherwise end what listens there".to_owned(),
            }
        }
        Err(error) => Finding::Bad {
            error: format!("{address}: {error}"),
            remedy: "change `listen`; ports below 1024 need CAP_NET_BIND_SERVICE".to_owned(),
        },
    }
}
