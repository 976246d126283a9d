//! Keeps one set of tokens in force: asks for new ones once, however many want them, and not more often than is polite.
//!
//! One task owns the whole decision. Callers say which generation they want, and wait for the outcome of an attempt:
//!
//! ```text
//! refused(7) ─┐                      ┌─> tokens (watch): Some(generation 8)
//! refused(7) ─┼─> demand: "8" ─> task ─┤
//! current()  ─┘    `se` nears ──^      └─> outcome (watch): what the last attempt came to
//! ```
//!
//! When the task asks the origin, `refresh` tells.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::backoff::Jitter;
use super::origin::{Answer, Origin};
use super::refresh::{Ends, Outcome, Task, Timing};
use super::{AccessError, TokenSet, TokenSource};
use crate::error::Class;
use crate::ops::Context;
use crate::ops::metrics::ComputedGauge;
use crate::probe::Step;

/// What the first token source of the daemon reports as in the health.
const PART: &str = "tokens";

/// The tokens in force, and the task that renews them.
pub struct Keeper {
    origin: Arc<dyn Origin>,
    /// The generation that somebody wants; zero while nobody does.
    demand: watch::Sender<u64>,
    tokens: watch::Receiver<Option<Arc<TokenSet>>>,
    outcome: watch::Receiver<Outcome>,
    /// What a probe was answered: the first tokens, should they be asked for.
    probed: Arc<Mutex<Option<Answer>>>,
    _stop_with_us: DropGuard,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("origin", &self.origin.name()).finish_non_exhaustive()
    }
}

impl Keeper {
    /// Starts the task. It ends with `stop`, or when the keeper is dropped.
    pub(super) fn spawn(origin: Arc<dyn Origin>, timing: Timing, context: &Context, stop: &CancellationToken) -> Self {
        Self::spawn_with(origin, timing, context, stop, Jitter::random())
    }

    /// As [`Keeper::spawn`], with chance of the caller's choosing.
    pub(super) fn spawn_with(
        origin: Arc<dyn Origin>,
        timing: Timing,
        context: &Context,
        stop: &CancellationToken,
        jitter: Jitter,
    ) -> Self {
        let stop = stop.child_token();
        let demand = watch::Sender::new(0);
        let tokens = watch::Sender::new(None);
        let outcome = watch::Sender::new(Outcome::default());
        let probed = Arc::<Mutex<Option<Answer>>>::default();
        let keeper = Self {
            probed: Arc::clone(&probed),
            origin: Arc::clone(&origin),
            demand: demand.clone(),
            tokens: tokens.subscribe(),
            outcome: outcome.subscribe(),
            _stop_with_us: stop.clone().drop_guard(),
        };
        let part = context.health.claim(PART);
        seconds_left(context, &part, tokens.subscribe());
        let ends = Ends { demand: demand.subscribe(), tokens, outcome, probed };
        let task = Task::new(origin, timing, context.clone(), part, jitter, ends);
        tokio::spawn(task.run(stop));
        keeper
    }

    /// The tokens in force once they are of `wanted` or later; an error as soon as an attempt fails.
    async fn at_least(&self, wanted: u64) -> Result<Arc<TokenSet>, AccessError> {
        // The order matters: from here on an outcome is noticed, so none can fall between the look and the wait.
        let mut outcome = self.outcome.clone();
        outcome.borrow_and_update();
        if let Some(tokens) = self.in_force(wanted) {
            return Ok(tokens);
        }
        self.demand.send_if_modified(|demand| {
            let more = *demand < wanted;
            *demand = (*demand).max(wanted);
            more
        });
        loop {
            let changed = outcome.changed().await;
            if let Some(tokens) = self.in_force(wanted) {
                return Ok(tokens);
            }
            if changed.is_err() {
                return Err(AccessError::new(
                    Class::Unauthorized,
                    format!("no tokens are asked for any more from {}: Longshore is stopping", self.origin.name()),
                ));
            }
            if let Some(error) = outcome.borrow_and_update().failed.clone() {
                return Err(error);
            }
        }
    }

    fn in_force(&self, wanted: u64) -> Option<Arc<TokenSet>> {
        self.tokens.borrow().clone().filter(|tokens| tokens.generation >= wanted)
    }
}

#[async_trait]
impl TokenSource for Keeper {
    async fn current(&self) -> Result<Arc<TokenSet>, AccessError> {
        self.at_least(1).await
    }

    async fn refused(&self, generation: u64) -> Result<Arc<TokenSet>, AccessError> {
        // A generation that was never handed out (of an earlier process, say) asks for the next one, not for a far one.
        let newest = self.tokens.borrow().as_ref().map_or(0, |tokens| tokens.generation);
        self.at_least(generation.min(newest).saturating_add(1)).await
    }

    fn watch(&self) -> watch::Receiver<Option<Arc<TokenSet>>> {
        self.tokens.clone()
    }

    async fn probe(&self) -> Vec<Step> {
        let (steps, answer) = self.origin.probe().await;
        // Whoever asks for the first tokens next gets these: the origin is not to be asked twice within minutes.
        *self.probed.lock().unwrap_or_else(PoisonError::into_inner) = answer;
        steps
    }
}

/// A gauge of how long the tokens still last; negative once one has expired.
fn seconds_left(context: &Context, part: &str, tokens: watch::Receiver<Option<Arc<TokenSet>>>) {
    let clock = Arc::clone(&context.clock);
    context.metrics.computed_gauge(ComputedGauge::TokenSecondsLeft, part, move || {
        let expires = tokens.borrow().as_ref().and_then(|tokens| tokens.expires())?;
        Some((expires.0 - clock.now().0).div_euclid(1_000))
    });
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
