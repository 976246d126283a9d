//! Walks the chain to the subscription for `longshore check --connect`. Attaches without credit: consumes nothing.

use crate::access::{TokenSet, TokenSource};
use crate::feed::service_bus::ServiceBusSettings;
use crate::feed::service_bus::fault::Fault;
use crate::feed::service_bus::link::{Link, step, subscription_path};
use crate::feed::service_bus::stream::{Route, dress, open_tcp};
use crate::probe::{Finding, Step, Walk};

/// The names of the steps, in order.
const STEPS: [&str; 6] = [
    "Service Bus token",
    "Service Bus host reachable",
    "TLS to Service Bus",
    "AMQP connection",
    "Service Bus takes the token",
    "subscription attach",
];

/// Tries each step; those behind a failed one are skipped.
pub(super) async fn walk(settings: &ServiceBusSettings, tokens: &dyn TokenSource) -> Vec<Step> {
    let mut walk = Walk::along(&STEPS);
    // A fault is written down as the step that it ended.
    if let Err(fault) = try_all(&mut walk, settings, tokens).await {
        walk.next(Finding::Bad { error: fault.to_string(), remedy: fault.remedy() });
    }
    walk.skip_all_but(0);
    walk.end()
}

async fn try_all(walk: &mut Walk, settings: &ServiceBusSettings, tokens: &dyn TokenSource) -> Result<(), Fault> {
    let tokens: std::sync::Arc<TokenSet> =
        step("getting the token", async { tokens.current().await.map_err(Fault::NoTokens) }).await?;
    let access = &tokens.service_bus;
    let route = Route::new(access, settings.transport)?;
    walk.good(access.expires.map_or_else(|| "no expiry named".to_owned(), |at| format!("valid until {at}")));

    let (tcp, pulse) = step("connecting", open_tcp(&route)).await?;
    walk.good(route.to_string());

    let stream = step("TLS", dress(tcp, &route, settings)).await?;
    walk.good(
        match (route.tls, route.web_socket) {
            (true, false) => "certificate trusted",
            (true, true) => "certificate trusted, WebSocket open",
            (false, false) => "not used on loopback",
            (false, true) => "not used on loopback, WebSocket open",
        }
        .to_owned(),
    );

    let mut link = Link::open(stream, pulse, &route, settings, tokens.generation).await?;
    walk.good("opened".to_owned());

    let cbs = link.authorize(&tokens).await?;
    walk.good(format!("for {}", crate::secret::redact(&access.audience)));

    let receiver = link.subscribe(access, tokens.generation).await?;
    walk.good(subscription_path(access));
    drop(cbs);
    link.close(receiver).await;
    Ok(())
}
