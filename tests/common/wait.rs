//! Waiting for something that gives no signal: looked for again and again, within the limit.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};

use super::process::LIMIT;

/// Looks in a row. Less time between them takes processors from what is waited for; more makes tests slow.
pub fn looks() -> Interval {
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks
}

/// What `waiting` comes to.
pub async fn in_time<T>(what: &str, waiting: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, waiting).await.unwrap_or_else(|_| panic!("waited in vain until {what}"))
}

/// Waits until `is_so`.
pub async fn until(what: &str, is_so: impl Fn() -> bool) {
    until_async(what, async || is_so()).await;
}

/// Waits until `is_so`, for which something else has to be asked.
pub async fn until_async(what: &str, is_so: impl AsyncFnMut() -> bool) {
    in_time(what, looking(is_so)).await;
}

/// Ends once `is_so`.
pub async fn looking(mut is_so: impl AsyncFnMut() -> bool) {
    let mut looks = looks();
    while !is_so().await {
        looks.tick().await;
    }
}
