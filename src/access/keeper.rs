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
//! When the task asks the origin:
//!
//! - nobody ever asked: never. The first caller starts it.
//! - `refresh_ahead` before the earliest expiry, though never in the first half of a token's life, and not within
//!   `refresh_interval_min` of the last success if the tokens live that long.
//! - a caller found the tokens refused: at once if they are older than `refresh_interval_min`, else after a growing wait.
//! - after a failure: a growing wait, whoever asks; the last good tokens stay in force meanwhile.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::backoff::{Jitter, after_failure, after_refusal};
use super::{AccessError, BlobAccess, ServiceBusAccess, TokenSet};
use crate::clock::UnixMs;
use crate::error::{Class, Classify};
use crate::ops::metrics::ComputedGauge;
use crate::ops::{Condition, Context};
use crate::probe::Step;

/// What the first token source of the daemon reports as in the health.
const PART: &str = "tokens";

/// Several certificates may be tried in one attempt, each with the HTTP client's own limits; this ends what they do not.
const ATTEMPT_MAX: Duration = Duration::from_secs(180);

/// The wall clock is looked at again this often while waiting for an expiry: it may have been set, or the machine slept.
const CLOCK_LOOK: Duration = Duration::from_secs(60);

/// No two attempts follow each other faster than this, whatever is configured.
const ATTEMPT_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Why tokens are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// There are none yet.
    First,
    /// The earliest of them is about to expire.
    Expiring,
    /// A caller found one refused.
    Refused,
}

impl Why {
    const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Expiring => "expiring",
            Self::Refused => "refused",
        }
    }
}

/// What an origin hands out.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub service_bus: ServiceBusAccess,
    pub blobs: Vec<BlobAccess>,
}

/// Where tokens come from.
#[async_trait]
pub(super) trait Origin: Send + Sync {
    /// Its name in texts for people, such as `TenantService at https://…`.
    fn name(&self) -> String;

    /// Asks for tokens, once.
    async fn fetch(&self, why: Why) -> Result<Answer, AccessError>;

    /// Walks the chain to the tokens, reporting each step; with the answer, where one was had.
    async fn probe(&self) -> (Vec<Step>, Option<Answer>);
}

/// When tokens are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    pub refresh_ahead: Duration,
    pub refresh_interval_min: Duration,
}

/// How the last attempt ended.
#[derive(Clone, Debug, Default)]
struct Outcome {
    attempts: u64,
    failed: Option<AccessError>,
}

/// The tokens in force, and the task that renews them.
pub(super) struct Keeper {
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
    pub fn spawn(origin: Arc<dyn Origin>, timing: Timing, context: &Context, stop: &CancellationToken) -> Self {
        Self::spawn_with(origin, timing, context, stop, Jitter::random())
    }

    /// As [`Keeper::spawn`], with chance of the caller's choosing.
    pub fn spawn_with(
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
        let task = Task {
            probed,
            origin,
            timing,
            context: context.clone(),
            part,
            jitter,
            demand: demand.subscribe(),
            tokens,
            outcome,
            obtained: None,
            refresh_at: None,
            not_before: Instant::now(),
            failures: 0,
            refusals: 0,
            refusal: None,
        };
        tokio::spawn(task.run(stop));
        keeper
    }

    pub async fn current(&self) -> Result<Arc<TokenSet>, AccessError> {
        self.at_least(1).await
    }

    pub async fn refused(&self, generation: u64) -> Result<Arc<TokenSet>, AccessError> {
        // A generation that was never handed out (of an earlier process, say) asks for the next one, not for a far one.
        let newest = self.tokens.borrow().as_ref().map_or(0, |tokens| tokens.generation);
        self.at_least(generation.min(newest).saturating_add(1)).await
    }

    pub fn watch(&self) -> watch::Receiver<Option<Arc<TokenSet>>> {
        self.tokens.clone()
    }

    pub async fn probe(&self) -> Vec<Step> {
        let (steps, answer) = self.origin.probe().await;
        // Whoever asks for the first tokens next gets these: the origin is not to be asked twice within minutes.
        *self.probed.lock().unwrap_or_else(PoisonError::into_inner) = answer;
        steps
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

struct Task {
    probed: Arc<Mutex<Option<Answer>>>,
    origin: Arc<dyn Origin>,
    timing: Timing,
    context: Context,
    /// What it reports as in the health.
    part: String,
    jitter: Jitter,
    demand: watch::Receiver<u64>,
    tokens: watch::Sender<Option<Arc<TokenSet>>>,
    outcome: watch::Sender<Outcome>,
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
    async fn run(mut self, stop: CancellationToken) {
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
                changed = self.demand.changed() => if changed.is_err() { return },
                // Before anybody asked there is nothing to look at.
                () = tokio::time::sleep_until(wake), if due.is_some() => {}
            }
        }
    }

    fn generation(&self) -> u64 {
        self.tokens.borrow().as_ref().map_or(0, |tokens| tokens.generation)
    }

    /// When the next attempt is due, and why.
    fn due(&mut self) -> Option<(Instant, Why)> {
        let now = Instant::now();
        let generation = self.generation();
        let demand = *self.demand.borrow_and_update();
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
        let probed = self.probed.lock().unwrap_or_else(PoisonError::into_inner).take();
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
        self.tokens.send_replace(Some(Arc::new(tokens)));
        self.outcome.send_modify(|outcome| {
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
        let in_force = match self.tokens.borrow().as_ref() {
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
        self.outcome.send_modify(|outcome| {
            outcome.attempts += 1;
            outcome.failed = Some(told);
        });
    }

    fn degraded(&self, reason: String) {
        self.context.health.set(&self.part, Condition::Degraded { reason });
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

impl TokenSet {
    /// When the first of the tokens expires; `None` where none says so.
    #[must_use]
    pub fn expires(&self) -> Option<UnixMs> {
        self.blobs.iter().filter_map(|blob| blob.expires).chain(self.service_bus.expires).min()
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

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
