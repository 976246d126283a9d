use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::*;
use crate::access::ServiceBusAccess;
use crate::access::origin::Why;
use crate::clock::{BootId, Clock, UnixMs, Uptime};
use crate::error::Classify as _;
use crate::ops::Condition;
use crate::secret::Secret;

const MINUTE: Duration = Duration::from_secs(60);
const START: UnixMs = UnixMs(1_700_000_000_000);

/// The time of day that goes with tokio's paused time.
#[derive(Debug)]
struct PausedClock(Instant);

impl Clock for PausedClock {
    fn now(&self) -> UnixMs {
        START.plus(self.0.elapsed())
    }

    fn uptime(&self) -> Uptime {
        Uptime { boot: BootId(0), ms: i64::try_from(self.0.elapsed().as_millis()).unwrap() }
    }
}

/// An origin that answers as told, with tokens that live for `life`.
struct Fake {
    clock: Arc<dyn Clock>,
    life: Option<Duration>,
    failures: Mutex<VecDeque<AccessError>>,
    asked: Mutex<Vec<(Duration, Why)>>,
    started: Instant,
    takes: Duration,
    calls: AtomicUsize,
}

#[async_trait]
impl Origin for Fake {
    fn name(&self) -> String {
        "TenantService at https://fake.example".to_owned()
    }

    async fn fetch(&self, why: Why) -> Result<Answer, AccessError> {
        self.asked.lock().unwrap().push((self.started.elapsed(), why));
        tokio::time::sleep(self.takes).await;
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        if let Some(error) = self.failures.lock().unwrap().pop_front() {
            return Err(error);
        }
        let service_bus = ServiceBusAccess {
            host: "ns.example".into(),
            port: None,
            development_emulator: false,
            topic: "t".into(),
            subscription: "s".into(),
            sas: Secret::new(format!("SharedAccessSignature sr=x&sig=c4nary{call}")),
            audience: "x".into(),
            expires: self.life.map(|life| self.clock.now().plus(life)),
        };
        Ok(Answer { service_bus, blobs: Vec::new() })
    }

    async fn probe(&self) -> (Vec<Step>, Option<Answer>) {
        (Vec::new(), self.fetch(Why::First).await.ok())
    }
}

struct Bench {
    keeper: Arc<Keeper>,
    fake: Arc<Fake>,
    context: Context,
    stop: CancellationToken,
}

impl Bench {
    fn new(life: Option<Duration>) -> Self {
        Self::with(life, Vec::new(), Duration::from_millis(100))
    }

    fn with(life: Option<Duration>, failures: Vec<AccessError>, takes: Duration) -> Self {
        let started = Instant::now();
        let clock: Arc<dyn Clock> = Arc::new(PausedClock(started));
        let fake = Arc::new(Fake {
            clock: Arc::clone(&clock),
            life,
            failures: Mutex::new(failures.into()),
            asked: Mutex::default(),
            started,
            takes,
            calls: AtomicUsize::new(0),
        });
        let context = Context::new(clock);
        let stop = CancellationToken::new();
        let timing = Timing { refresh_ahead: 5 * MINUTE, refresh_interval_min: 5 * MINUTE };
        let origin = Arc::clone(&fake) as Arc<dyn Origin>;
        let keeper = Keeper::spawn_with(origin, timing, &context, &stop, Jitter::fixed(1.0));
        Self { keeper: Arc::new(keeper), fake, context, stop }
    }

    /// The whole seconds since the start at which the origin was asked.
    fn asked(&self) -> Vec<u64> {
        self.fake.asked.lock().unwrap().iter().map(|(at, _)| at.as_secs()).collect()
    }

    fn condition(&self) -> Condition {
        let parts = self.context.health.parts();
        parts.into_iter().find(|part| part.name == PART).expect("the part reports").condition
    }
}

fn down() -> AccessError {
    AccessError::new(Class::Transient, "TenantService is down")
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_before_somebody_wants_it() {
    let bench = Bench::new(Some(60 * MINUTE));
    tokio::time::sleep(600 * MINUTE).await;
    assert!(bench.asked().is_empty());
    assert!(bench.context.health.parts().is_empty());
    assert_eq!(bench.keeper.current().await.expect("tokens").generation, 1);
}

#[tokio::test(start_paused = true)]
async fn many_callers_share_one_refresh() {
    let bench = Bench::new(Some(60 * MINUTE));
    let all = futures::future::join_all((0..100).map(|_| bench.keeper.current())).await;
    assert!(all.into_iter().all(|tokens| tokens.expect("tokens").generation == 1));
    tokio::time::sleep(6 * MINUTE).await;
    let all = futures::future::join_all((0..100).map(|_| bench.keeper.refused(1))).await;
    assert!(all.into_iter().all(|tokens| tokens.expect("tokens").generation == 2));
    assert_eq!(bench.asked(), [0, 360]);
    assert_eq!(bench.context.metrics.token_refreshes.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_does_not_stop_the_refresh_of_the_others() {
    let bench = Bench::new(Some(60 * MINUTE));
    let hasty = tokio::time::timeout(Duration::from_millis(10), bench.keeper.current()).await;
    assert!(hasty.is_err());
    bench.keeper.current().await.expect("tokens");
    assert_eq!(bench.asked(), [0]);
}

#[tokio::test(start_paused = true)]
async fn tokens_are_renewed_ahead_of_their_expiry_without_anybody_asking() {
    let bench = Bench::new(Some(60 * MINUTE));
    bench.keeper.current().await.expect("tokens");
    let mut watch = bench.keeper.watch();
    for generation in 2..5 {
        watch.wait_for(|tokens| tokens.as_ref().is_some_and(|t| t.generation == generation)).await.expect("a refresh");
    }
    assert_eq!(bench.asked(), [0, 55 * 60, 110 * 60, 165 * 60]);
    assert!(matches!(bench.condition(), Condition::Good { .. }));
}

#[tokio::test(start_paused = true)]
async fn short_lived_tokens_are_not_renewed_before_half_of_their_life() {
    let bench = Bench::new(Some(4 * MINUTE));
    bench.keeper.current().await.expect("tokens");
    tokio::time::sleep(5 * MINUTE).await;
    assert_eq!(bench.asked(), [0, 120, 240]);
    // They outlive the minimum interval, so that holds.
    let bench = Bench::new(Some(8 * MINUTE));
    bench.keeper.current().await.expect("tokens");
    tokio::time::sleep(11 * MINUTE).await;
    assert_eq!(bench.asked(), [0, 300, 600]);
}

#[tokio::test(start_paused = true)]
async fn a_stale_refusal_gets_the_newer_tokens_at_once() {
    let bench = Bench::new(Some(60 * MINUTE));
    bench.keeper.current().await.expect("tokens");
    tokio::time::sleep(10 * MINUTE).await;
    bench.keeper.refused(1).await.expect("newer tokens");
    let before = Instant::now();
    assert_eq!(bench.keeper.refused(1).await.expect("newer tokens").generation, 2);
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(bench.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn fresh_tokens_that_are_refused_are_replaced_after_a_growing_wait() {
    let bench = Bench::with(None, Vec::new(), Duration::ZERO);
    let mut generation = bench.keeper.current().await.expect("tokens").generation;
    for _ in 0..9 {
        generation = bench.keeper.refused(generation).await.expect("newer tokens").generation;
    }
    let asked = bench.asked();
    let waits: Vec<u64> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
    // Tokens that worked for longer than the minimum interval begin anew.
    tokio::time::sleep(6 * MINUTE).await;
    let before = Instant::now();
    bench.keeper.refused(generation).await.expect("newer tokens");
    assert!(before.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn the_last_good_tokens_keep_working_while_a_refresh_fails() {
    let bench = Bench::new(Some(60 * MINUTE));
    bench.keeper.current().await.expect("tokens");
    bench.fake.failures.lock().unwrap().extend(std::iter::repeat_n(down(), 4));
    tokio::time::sleep(55 * MINUTE + Duration::from_secs(2)).await;
    assert_eq!(bench.keeper.current().await.expect("the last good ones").generation, 1);
    let Condition::Degraded { reason } = bench.condition() else { panic!("{:?}", bench.condition()) };
    assert_eq!(reason, "TenantService is down; the last tokens stay in use until 2023-11-14T23:13:20.100Z");
    let mut watch = bench.keeper.watch();
    watch.wait_for(|tokens| tokens.as_ref().is_some_and(|t| t.generation == 2)).await.expect("a refresh");
    assert_eq!(bench.asked(), [0, 3300, 3301, 3303, 3307, 3315]);
    assert_eq!(bench.context.metrics.token_refresh_failures.get(), 4);
    assert!(matches!(bench.condition(), Condition::Good { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_to_all_who_wait_and_the_next_try_is_later() {
    let asked_to_wait = down().with_retry_after(Some(Duration::from_secs(30)));
    let bench = Bench::with(None, vec![asked_to_wait, down()], Duration::ZERO);
    let all = futures::future::join_all((0..10).map(|_| bench.keeper.current())).await;
    for result in all {
        let error = result.expect_err("the service is down");
        assert_eq!(error.to_string(), "TenantService is down");
        assert_eq!(error.class(), Class::Unauthorized, "no attempt of a notice may be used up");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(30)));
    }
    bench.keeper.current().await.expect_err("still down");
    bench.keeper.current().await.expect("up again");
    assert_eq!(bench.asked(), [0, 30, 32]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_comes_is_a_failure() {
    let bench = Bench::with(None, Vec::new(), 1_000 * MINUTE);
    let error = bench.keeper.current().await.expect_err("no answer");
    assert!(error.to_string().contains("gave no answer within 180 s"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_task_and_whoever_waits_for_it() {
    let bench = Bench::with(None, Vec::new(), 2 * MINUTE);
    let keeper = Arc::clone(&bench.keeper);
    let waiting = tokio::spawn(async move { keeper.current().await });
    tokio::time::sleep(MINUTE).await;
    bench.stop.cancel();
    let error = waiting.await.expect("no panic").expect_err("stopped");
    assert!(error.to_string().contains("Longshore is stopping"), "{error}");
    let mut watch = bench.keeper.watch();
    assert!(watch.changed().await.is_err(), "the task has ended");
}

#[tokio::test(start_paused = true)]
async fn tokens_that_arrive_expired_are_said_and_not_asked_for_in_a_loop() {
    let bench = Bench::new(Some(Duration::ZERO));
    bench.keeper.current().await.expect("tokens");
    let Condition::Degraded { reason } = bench.condition() else { panic!("{:?}", bench.condition()) };
    assert!(reason.contains("check the clock"), "{reason}");
    tokio::time::sleep(14 * MINUTE).await;
    assert_eq!(bench.asked(), [0, 300, 600]);
}

#[tokio::test(start_paused = true)]
async fn a_second_source_does_not_speak_over_the_first() {
    let bench = Bench::with(None, vec![down()], Duration::ZERO);
    let timing = Timing { refresh_ahead: MINUTE, refresh_interval_min: MINUTE };
    let origin = Arc::clone(&Bench::new(None).fake) as Arc<dyn Origin>;
    let second = Keeper::spawn_with(origin, timing, &bench.context, &bench.stop, Jitter::fixed(1.0));
    bench.keeper.current().await.expect_err("down");
    second.current().await.expect("tokens");
    assert!(matches!(bench.condition(), Condition::Degraded { .. }));
    assert!(bench.context.health.parts().iter().any(|part| part.name == "tokens 2"));
}

#[tokio::test(start_paused = true)]
async fn the_seconds_left_are_read_as_they_are_now() {
    let bench = Bench::new(Some(60 * MINUTE));
    assert!(!bench.context.metrics.encode().unwrap().contains("token_seconds_left"));
    bench.keeper.current().await.expect("tokens");
    tokio::time::sleep(10 * MINUTE).await;
    let text = bench.context.metrics.encode().unwrap();
    assert!(text.contains("longshore_token_seconds_left{source=\"tokens\"} 3000\n"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn the_first_tokens_after_a_probe_are_those_that_it_was_answered() {
    let bench = Bench::new(Some(60 * MINUTE));
    bench.keeper.probe().await;
    let tokens = bench.keeper.current().await.unwrap();
    assert_eq!((tokens.generation, bench.fake.calls.load(Ordering::SeqCst)), (1, 1));
    bench.keeper.refused(1).await.unwrap();
    assert_eq!(bench.fake.calls.load(Ordering::SeqCst), 2, "a refused one is not handed out again");
}
