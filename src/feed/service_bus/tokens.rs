//! Keeps the broker's consent: puts a token again before the old one expires, and a new one as soon as there is one,
//! on the live connection, without touching the link that messages come on.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::access::{TokenSet, TokenSource};
use crate::clock::{Clock, UnixMs};
use crate::feed::service_bus::cbs::Cbs;
use crate::feed::service_bus::fault::Fault;
use crate::feed::service_bus::link::{Link, STEP_LIMIT};

/// A token is not put again sooner than this, however short its life.
const RENEWAL_WAIT_MIN: Duration = Duration::from_secs(1);

/// Works until the connection is of no use any more; returns why.
pub(super) async fn keep(
    link: &mut Link,
    mut cbs: Cbs,
    tokens: &dyn TokenSource,
    clock: &dyn Clock,
    mut in_force: Arc<TokenSet>,
) -> Fault {
    let mut watch = tokens.watch();
    let mut renewal = pin!(sleep_until(renewal_at(&in_force, clock.now())));
    loop {
        let newest = watch.borrow_and_update().clone();
        let mut next = match newest {
            Some(newest) if newest.generation > in_force.generation => newest,
            _ => {
                tokio::select! {
                    changed = watch.changed() => {
                        if changed.is_err() {
                            // Nobody refreshes tokens any more; the ones in force are put until they expire.
                            renewal.as_mut().await;
                        } else {
                            continue;
                        }
                    }
                    () = renewal.as_mut() => {}
                }
                // The old tokens come back while a refresh fails.
                tokens.current().await.unwrap_or_else(|_| Arc::clone(&in_force))
            }
        };
        if !is_same_place(&next, &in_force) {
            return Fault::Moved;
        }
        match put(link, &mut cbs, &next).await {
            Ok(()) => {}
            Err(Fault::Refused { generation, said }) => {
                // The link still lives on the token that was put before: hearing goes on while a newer one is fetched.
                tracing::warn!(generation, said, "the broker refused a new token; asking for a newer one");
                match tokens.refused(generation).await {
                    Ok(newer) => next = newer,
                    Err(error) => {
                        tracing::warn!(%error, "no newer token for now; hearing goes on while the old one is good");
                        renewal.as_mut().reset(Instant::now() + STEP_LIMIT);
                        continue;
                    }
                }
                if !is_same_place(&next, &in_force) {
                    return Fault::Moved;
                }
                if let Err(fault) = put(link, &mut cbs, &next).await {
                    return fault;
                }
            }
            Err(fault) => return fault,
        }
        tracing::debug!(generation = next.generation, "token put on the live connection");
        in_force = next;
        renewal.as_mut().reset(renewal_at(&in_force, clock.now()));
    }
}

/// Puts the token; a link pair that timed out is replaced by a new one, once.
async fn put(link: &mut Link, cbs: &mut Cbs, tokens: &TokenSet) -> Result<(), Fault> {
    match cbs.put(tokens, STEP_LIMIT).await {
        Err(Fault::TimedOut { .. }) => {
            *cbs = link.authorize(tokens).await?;
            Ok(())
        }
        other => other,
    }
}

/// Whether a token can be put on a connection that was opened for another: a token goes to the host that it is for.
fn is_same_place(one: &TokenSet, other: &TokenSet) -> bool {
    let place = |tokens: &TokenSet| {
        let access = &tokens.service_bus;
        (
            access.host.to_ascii_lowercase(),
            access.port,
            access.development_emulator,
            access.topic.clone(),
            access.subscription.clone(),
        )
    };
    place(one) == place(other)
}

/// When to put the token again: after 50 to 80 % of what is left of its life. The spread keeps many clients of one
/// broker from coming together.
fn renewal_at(tokens: &TokenSet, now: UnixMs) -> Instant {
    let Some(expires) = tokens.service_bus.expires else {
        // Far enough to be never.
        return Instant::now() + Duration::from_secs(365 * 24 * 3600);
    };
    let left = expires.since(now);
    Instant::now() + left.mul_f64(fastrand::f64().mul_add(0.3, 0.5)).max(RENEWAL_WAIT_MIN)
}
