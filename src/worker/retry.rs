//! What is done about a failed delivery: decided on the class of the error, by data, with jitter and a budget.
//!
//! | class | tried again | uses an attempt | until |
//! |---|---|---|---|
//! | transient | after a growing wait | yes | `attempts_max`, counted anew when more was confirmed meanwhile |
//! | throttled | when the other side says, or after a growing wait | no: it is alive and asks for time | for ever |
//! | unauthorized, vendor's side | after a growing wait | no: the notice is not to blame | for ever |
//! | unauthorized, sink's side | after a growing wait | yes | `attempts_max` |
//! | missing-object | after a growing wait | no | `missing_object_for` after the notice was ready |
//! | missing-parent | as transient | yes | `attempts_max` |
//! | disk-full | after a growing wait | no | for ever |
//! | poison, permanent | no | | quarantine at once |
//! | none: the lease was lost with its process | when the lease has run out | no | attempts and losses exceed `attempts_max` |

use std::time::Duration;

use crate::clock::UnixMs;
use crate::error::Class;
use crate::inbox::Finish;

use super::WorkSettings;

/// Where a delivery failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// At the vendor's: the payload could not be fetched or opened.
    Vendor,
    /// At the user's: the sink did not take it.
    Sink,
}

/// A delivery that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Where.
    pub side: Side,
    /// What can be done about it.
    pub class: Class,
    /// What was said, redacted.
    pub error: String,
    /// How long the other side asked us to wait.
    pub retry_after: Option<Duration>,
}

/// What is known of the delivery that failed.
#[derive(Clone, Copy, Debug)]
pub struct Tries {
    /// Which attempt failed, from 1.
    pub attempt: u32,
    /// Failures in a row that used up no attempt, this one included.
    pub waits: u32,
    /// Whether more was confirmed since the delivery was claimed: what comes further is no hopeless case, and its attempts
    /// count anew from this failure on.
    pub has_progressed: bool,
    /// When the delivery was first made ready.
    pub since: UnixMs,
    /// The present moment.
    pub now: UnixMs,
}

/// Decides how the claim ends. `jitter` is drawn evenly from 0 to 1.
#[must_use]
pub fn decide(settings: &WorkSettings, failure: Failure, tries: Tries, jitter: f64) -> Finish {
    let Failure { side, class, error, retry_after } = failure;
    let uses_attempt = match class {
        Class::Poison | Class::Permanent => return Finish::Quarantine { class, error },
        Class::Transient | Class::MissingParent => true,
        Class::Unauthorized => side == Side::Sink,
        Class::Throttled | Class::MissingObject | Class::DiskFull => false,
    };
    let attempt = if tries.has_progressed { 1 } else { tries.attempt };
    if uses_attempt && attempt >= settings.attempts_max {
        return Finish::Quarantine {
            class,
            error: format!("{error} (attempt {attempt} of {})", settings.attempts_max),
        };
    }
    if class == Class::MissingObject && tries.now.since(tries.since) >= settings.missing_object_for {
        return Finish::Quarantine { class, error };
    }
    let step = if uses_attempt { attempt } else { tries.waits };
    let wait = backoff(settings.retry, step, jitter).max(retry_after.unwrap_or_default());
    Finish::Retry { due: tries.now.plus(wait), class, error, uses_attempt, has_progressed: tries.has_progressed }
}

/// Whether a claimed delivery is given up before it is begun: one that takes the process with it each time loses its
/// lease and uses up no attempt, so that nothing else would ever end it.
#[must_use]
pub fn give_up(settings: &WorkSettings, attempt: u32, lost: u32) -> Option<Finish> {
    (lost > 0 && attempt.saturating_add(lost) > settings.attempts_max).then(|| Finish::Quarantine {
        class: Class::Transient,
        error: format!(
            "it lost its lease {lost} times, as when the process dies or is killed over it (attempt {attempt} of {}); \
             look at the journal before it is replayed",
            settings.attempts_max
        ),
    })
}

/// The wait before try `step + 1`: doubles from the first to the longest, less a random part of at most half, so that
/// many that failed together do not come back together.
#[must_use]
pub fn backoff((first, longest): (Duration, Duration), step: u32, jitter: f64) -> Duration {
    // 2^32 times any first wait is beyond any sensible longest one.
    let factor = 2_u32.checked_pow(step.saturating_sub(1).min(31)).unwrap_or(u32::MAX);
    let full = first.saturating_mul(factor).min(longest);
    full.mul_f64(1.0 - 0.5 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tries(attempt: u32, waits: u32) -> Tries {
        Tries { attempt, waits, has_progressed: false, since: UnixMs(0), now: UnixMs(1_000) }
    }

    fn failure(side: Side, class: Class) -> Failure {
        Failure { side, class, error: "it broke".to_owned(), retry_after: None }
    }

    #[test]
    fn poison_is_quarantined_at_once() {
        let finish = decide(&WorkSettings::default(), failure(Side::Vendor, Class::Poison), tries(1, 0), 0.0);
        assert!(matches!(finish, Finish::Quarantine { class: Class::Poison, .. }));
    }

    #[test]
    fn transient_faults_are_tried_again_until_the_attempts_are_used_up() {
        let settings = WorkSettings { attempts_max: 3, ..WorkSettings::default() };
        let decide_at = |attempt| decide(&settings, failure(Side::Sink, Class::Transient), tries(attempt, 0), 0.0);
        assert!(matches!(decide_at(2), Finish::Retry { uses_attempt: true, .. }));
        assert!(matches!(decide_at(3), Finish::Quarantine { class: Class::Transient, .. }));
    }

    #[test]
    fn what_comes_further_each_time_is_not_given_up() {
        let settings = WorkSettings { attempts_max: 3, ..WorkSettings::default() };
        let further = Tries { has_progressed: true, ..tries(3, 0) };
        let finish = decide(&settings, failure(Side::Sink, Class::Transient), further, 0.0);
        assert!(matches!(finish, Finish::Retry { uses_attempt: true, has_progressed: true, .. }));
        let poison = decide(&settings, failure(Side::Vendor, Class::Poison), further, 0.0);
        assert!(matches!(poison, Finish::Quarantine { .. }));
    }

    #[test]
    fn an_expired_token_of_the_vendor_uses_up_no_attempt() {
        let settings = WorkSettings { attempts_max: 1, ..WorkSettings::default() };
        let finish = decide(&settings, failure(Side::Vendor, Class::Unauthorized), tries(1, 500), 0.0);
        assert!(matches!(finish, Finish::Retry { uses_attempt: false, .. }));
    }

    #[test]
    fn a_blob_that_stays_away_is_quarantined_when_its_time_is_up() {
        let settings = WorkSettings { missing_object_for: Duration::from_millis(1_000), ..WorkSettings::default() };
        let mut known = tries(1, 4);
        assert!(matches!(
            decide(&settings, failure(Side::Vendor, Class::MissingObject), known, 0.0),
            Finish::Quarantine { class: Class::MissingObject, .. }
        ));
        known.now = UnixMs(999);
        assert!(matches!(
            decide(&settings, failure(Side::Vendor, Class::MissingObject), known, 0.0),
            Finish::Retry { uses_attempt: false, .. }
        ));
    }

    #[test]
    fn a_delivery_that_takes_the_process_with_it_each_time_is_given_up() {
        let settings = WorkSettings { attempts_max: 3, ..WorkSettings::default() };
        assert!(give_up(&settings, 1, 2).is_none());
        assert!(give_up(&settings, 4, 0).is_none(), "attempts alone are decided on when they have failed");
        let Some(Finish::Quarantine { error, .. }) = give_up(&settings, 1, 3) else {
            panic!("the budget is used up");
        };
        assert!(error.contains("lost its lease 3 times"), "{error}");
        assert!(give_up(&settings, 3, 1).is_some());
    }

    #[test]
    fn the_other_side_may_ask_for_more_time_than_we_would_wait() {
        let asked = Failure { retry_after: Some(Duration::from_secs(3_600)), ..failure(Side::Sink, Class::Throttled) };
        let Finish::Retry { due, .. } = decide(&WorkSettings::default(), asked, tries(1, 1), 1.0) else {
            panic!("throttled is tried again");
        };
        assert_eq!(due, UnixMs(3_601_000));
    }

    #[test]
    fn waits_double_up_to_the_longest_and_jitter_takes_at_most_half() {
        let bounds = (Duration::from_secs(1), Duration::from_secs(60));
        assert_eq!(backoff(bounds, 1, 0.0), Duration::from_secs(1));
        assert_eq!(backoff(bounds, 4, 0.0), Duration::from_secs(8));
        assert_eq!(backoff(bounds, 4, 1.0), Duration::from_secs(4));
        assert_eq!(backoff(bounds, u32::MAX, 0.0), Duration::from_secs(60));
    }
}
