//! Asking again, for a person who waits in front of a screen: a few times, and not for long.

use std::time::Duration;

use super::AccessError;
use super::backoff::{Jitter, after_failure};
use crate::error::{Class, Classify as _};

/// How often something is asked for.
const TRIES_MAX: u32 = 5;
/// A longer wait that the other side asks for is told instead.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// How often one thing was asked for in vain.
#[derive(Debug)]
pub struct Patience {
    tries: u32,
    jitter: Jitter,
}

impl Default for Patience {
    fn default() -> Self {
        Self { tries: 0, jitter: Jitter::random() }
    }
}

impl Patience {
    /// Waits as long as `error` asks for, if it may pass by itself; what was asked for must bear to be done twice.
    ///
    /// # Errors
    /// `error`, when there is no sense in asking again, for whoever called neither.
    pub async fn wait_after(&mut self, error: AccessError) -> Result<(), AccessError> {
        self.tries += 1;
        let may_pass = matches!(error.class(), Class::Transient | Class::Throttled);
        if !may_pass || error.is_final() || self.tries >= TRIES_MAX {
            return Err(error.for_good());
        }
        let wait = after_failure(error.class(), self.tries, error.retry_after(), &self.jitter);
        if wait > WAIT_MAX {
            return Err(error.for_good());
        }
        // The error's own advice may be to try again later.
        tracing::warn!("{}; asking again in {:.1} s", error.message(), wait.as_secs_f32());
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often something that always fails so is asked for, up to `most`.
    async fn tries(class: Class, retry_after: u64, most: u32) -> u32 {
        let mut patience = Patience::default();
        let mut tries = 1;
        let error = AccessError::new(class, "no").with_retry_after(Some(Duration::from_secs(retry_after)));
        while tries < most && patience.wait_after(error.clone()).await.is_ok() {
            tries += 1;
        }
        tries
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_asked_for_in_vain_another_does_not_ask_for_again() {
        let (mut outer, mut tries) = (Patience::default(), 0);
        loop {
            let mut inner = Patience::default();
            let failed = loop {
                tries += 1;
                if let Err(error) = inner.wait_after(AccessError::new(Class::Transient, "no")).await {
                    break error;
                }
            };
            if outer.wait_after(failed).await.is_err() {
                break;
            }
        }
        assert_eq!(tries, TRIES_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_may_pass_is_asked_for_again_and_not_without_end() {
        assert_eq!(tries(Class::Transient, 0, 99).await, TRIES_MAX);
        assert_eq!(tries(Class::Throttled, 60, 99).await, TRIES_MAX);
        assert_eq!(tries(Class::Throttled, 3_000, 99).await, 1);
        assert_eq!(tries(Class::Permanent, 0, 99).await, 1);
        assert_eq!(tries(Class::Unauthorized, 0, 99).await, 1);
    }
}
