//! The task that asks for tokens, and decides when.
//!
//! - Nobody ever asked: never. The first caller starts it.
//! - `refresh_ahead` before the earliest expiry, though never in the first half of a token's life, and not within
//!   `refresh_interval_min` of the last success if the tokens live that long.
//! - A caller found the tokens refused: at once if they are older than `refresh_interval_min`, else after a growing wait.
//! - After a failure: a growing wait, whoever asks; the last good tokens stay in force meanwhile.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::{Jitter, after_failure, after_refusal};
use super::origin::{Answer, Origin, Why};
use super::{AccessError, TokenSet};
use crate::clock::UnixMs;
use crate::error::{Class, Classify};
use crate::ops::{Condition, Context};

/// Several certificates may be tried in one attempt, each with the HTTP client's own limits; this ends what they do not.
const ATTEMPT_MAX: Duration = Duration::from_secs(180);

/// The wall clock is looked at again this often while waiting for an expiry: it may have been set, or the machine slept.
const CLOCK_LOOK: Duration = Duration::from_secs(60);

/// No two attempts follow each other faster than this, whatever is configured.
const ATTEMPT_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// When tokens are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    pub refresh_ahead: Duration,
    pub refresh_interval_min: Duration,
}

/// How the last attempt ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) attempts: u64,
    pub(super) failed: Option<AccessError>,
}

/// The task's ends of what it shares with its keeper.
pub(super) struct Ends {
    /// The generation that somebody wants; zero while nobody does.
    pub(super) demand: watch::Receiver<u64>,
    pub(super) tokens: watch::Sender<Option<Arc<TokenSet>>>,
    pub(super) outcome: watch::Sender<Outcome>,
    /// What a probe was answered: the first tokens, should they be asked for.
    pub(super) probed: Arc<Mutex<Option<Answer>>>,
}

/// The task.
pub(super) struct Task {
    ends: Ends,
    origin: Arc<dyn Origin>,
    timing: Timing,
    context: Context,
    /// What it reports as in the health.
    part: String,
    jitter: Jitter,
    /// When the last attempt succeeded.
    obtained: Option<Instant>,
    /// When the tokens are to be renewed by the wall clock.
    refresh_at: Option<UnixMs>,
    /// After a failure: no attempt before this.
    not_before: Instant,
    failures: u32,
    /// How many generations in a row were refused while fresh.
    refusals: u32,
    /// The generation that was refused last, and when the next may be asked for.
    refusal: Option<(u64, Instant)>,
}

impl Task {
    /// A task that has asked for nothing yet; it reports as `part` in the health.
    pub(super) fn new(
        origin: Arc<dyn Origin>,
        timing: Timing,
        context: Context,
        part: String,
        jitter: Jitter,
        ends: Ends,
    ) -> Self {
        Self {
            ends,
            origin,
            timing,
            context,
            part,
            jitter,
            obtained: None,
            refresh_at: None,
            not_before: Instant::now(),
            failures: 0,
            refusals: 0,
            refusal: None,
        }
    }

    /// Asks when it is due, until `stop` or until its keeper is gone.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let due = self.due();
            if let Some((at, why)) = due
                && at <= Instant::now()
            {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = self.attempt(why) => continue,
                }
            }
            let look = Instant::now() + CLOCK_LOOK;
            let wake = due.map_or(look, |(at, _)| at.min(look));
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = self.ends.demand.changed() => if changed.is_err() { return },
                // Before anybody asked there is nothing to look at.
                () = tokio::time::sleep_until(wake), if due.is_some() => {}
            }
        }
    }

    fn generation(&self) -> u64 {
        self.ends.tokens.borrow().as_ref().map_or(0, |tokens| tokens.generation)
    }

    /// When the next attempt is due, and why.
    fn due(&mut self) -> Option<(Instant, Why)> {
        let now = Instant::now();
        let generation = self.generation();
        let demand = *self.ends.demand.borrow_and_update();
        let (at, why) = if demand == 0 {
            return None;
        } else if generation == 0 {
            if self.failures == 0 {
                self.context.health.set(&self.part, Condition::Starting);
            }
            (now, Why::First)
        } else if demand > generation {
            (self.refusal_due(generation, now), Why::Refused)
        } else {
            let wait = self.refresh_at?.since(self.context.clock.now());
            (now + wait, Why::Expiring)
        };
        Some((at.max(self.not_before), why))
    }

    /// When a refused `generation` may be replaced: at once when it is old enough, else later each time.
    fn refusal_due(&mut self, generation: u64, now: Instant) -> Instant {
        if let Some((of, at)) = self.refusal
            && of == generation
        {
            return at;
        }
        let interval = self.timing.refresh_interval_min;
        let obtained = self.obtained.unwrap_or(now);
        let at = if now.duration_since(obtained) >= interval {
            self.refusals = 0;
            now
        } else {
            self.refusals = self.refusals.saturating_add(1);
            obtained + after_refusal(self.refusals, interval, &self.jitter)
        };
        self.refusal = Some((generation, at));
        tracing::info!(
            generation,
            wait_ms = as_ms(at.saturating_duration_since(now)),
            "tokens refused; newer ones are asked for"
        );
        at
    }

    async fn attempt(&mut self, why: Why) {
        let probed = self.ends.probed.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(answer), Why::First) = (probed, why) {
            return self.succeeded(answer, why);
        }
        let answered = match tokio::time::timeout(ATTEMPT_MAX, self.origin.fetch(why)).await {
            Ok(answered) => answered,
            Err(_) => Err(AccessError::new(
                Class::Transient,
                format!("{} gave no answer within {} s", self.origin.name(), ATTEMPT_MAX.as_secs()),
            )),
        };
        match answered {
            Ok(answer) => self.succeeded(answer, why),
            Err(error) => self.failed(&error, why),
        }
    }

    fn succeeded(&mut self, answer: Answer, why: Why) {
        let obtained = self.context.clock.now();
        let generation = self.generation() + 1;
        let tokens = TokenSet { generation, obtained, service_bus: answer.service_bus, blobs: answer.blobs };
        let expires = tokens.expires();
        self.refresh_at = expires.map(|expires| refresh_at(obtained, expires, self.timing));
        self.obtained = Some(Instant::now());
        self.not_before = Instant::now() + ATTEMPT_INTERVAL_MIN;
        self.failures = 0;
        self.context.metrics.token_refreshes.inc();
        let until = expires.map_or_else(|| "no time that they name".to_owned(), |expires| expires.to_string());
        if expires.is_some_and(|expires| expires <= obtained) {
            tracing::warn!(generation, %until, "tokens arrived expired");
            self.degraded(format!(
                "{} handed out tokens that expired at {until}, and it is {obtained} here; check the clock",
                self.origin.name()
            ));
        } else {
            tracing::info!(generation, why = why.as_str(), %until, blobs = tokens.blobs.len(), "tokens refreshed");
            self.context.health.set(&self.part, Condition::Good { note: format!("valid until {until}") });
        }
        self.ends.tokens.send_replace(Some(Arc::new(tokens)));
        self.ends.outcome.send_modify(|outcome| {
            outcome.attempts += 1;
            outcome.failed = None;
        });
    }

    fn failed(&mut self, error: &AccessError, why: Why) {
        self.failures = self.failures.saturating_add(1);
        let wait = after_failure(error.class(), self.failures, error.retry_after(), &self.jitter);
        let wait = wait.max(ATTEMPT_INTERVAL_MIN);
        self.not_before = Instant::now() + wait;
        self.context.metrics.token_refresh_failures.inc();
        let in_force = match self.ends.tokens.borrow().as_ref() {
            None => "there are no tokens yet".to_owned(),
            Some(tokens) => match tokens.expires() {
                None => "the last tokens stay in use".to_owned(),
                Some(at) if at <= self.context.clock.now() => format!("the last tokens expired at {at}"),
                Some(at) => format!("the last tokens stay in use until {at}"),
            },
        };
        tracing::warn!(
            why = why.as_str(), %error, class = %error.class(), failures = self.failures, wait_ms = as_ms(wait),
            "token refresh failed; {in_force}"
        );
        self.degraded(format!("{error}; {in_force}"));
        // Callers decide on the class: whatever the cause, no attempt of a notice is used up while there is no access.
        let told = error.clone().with_class(Class::Unauthorized).with_retry_after(Some(wait));
        self.ends.outcome.send_modify(|outcome| {
            outcome.attempts += 1;
            outcome.failed = Some(told);
        });
    }

    fn degraded(&self, reason: String) {
        self.context.health.set(&self.part, Condition::Degraded { reason });
    }
}

/// When tokens that live from `obtained` to `expires` are to be renewed.
fn refresh_at(obtained: UnixMs, expires: UnixMs, timing: Timing) -> UnixMs {
    let lifetime = expires.since(obtained);
    let soonest = obtained.plus(timing.refresh_interval_min.max(ATTEMPT_INTERVAL_MIN));
    if lifetime.is_zero() {
        // Asking again would bring the same; a caller who finds them refused makes it sooner.
        return soonest;
    }
    let at = expires.minus(timing.refresh_ahead.min(lifetime / 2));
    if at < soonest && soonest < expires { soonest } else { at }
}

fn as_ms(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}
