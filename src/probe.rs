//! What `longshore check --connect` finds out: one [`Step`] after the other, each with its time and, on failure, its remedy.

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

/// One step of a chain that was walked.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// What was tried, such as `token service answers`.
    pub name: String,
    /// How long it took.
    #[serde(rename = "took_ms", serialize_with = "as_ms")]
    pub took: Duration,
    /// What was found.
    pub finding: Finding,
}

/// What a step found.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum Finding {
    /// It works; what was seen.
    Good {
        /// Such as `valid until 2027-01-01`.
        seen: String,
    },
    /// It works, but somebody should look.
    Warning {
        /// What was seen.
        seen: String,
        /// What to do.
        remedy: String,
    },
    /// It does not work.
    Bad {
        /// What was seen.
        error: String,
        /// What to do.
        remedy: String,
    },
    /// It was not tried, because an earlier step failed.
    Skipped,
}

/// A chain while it is walked: each step takes the time since the one before it.
#[derive(Debug)]
pub(crate) struct Walk {
    names: &'static [&'static str],
    steps: Vec<Step>,
    began: Instant,
}

impl Walk {
    /// Sets out on a chain whose steps have their names as they come.
    pub(crate) fn begin() -> Self {
        Self::along(&[])
    }

    /// Sets out on a chain of these steps.
    pub(crate) fn along(names: &'static [&'static str]) -> Self {
        Self { names, steps: Vec::with_capacity(names.len()), began: Instant::now() }
    }

    /// A step of that name was taken.
    pub(crate) fn step(&mut self, name: &str, finding: Finding) {
        let now = Instant::now();
        self.steps.push(Step { name: name.to_owned(), took: now.duration_since(self.began), finding });
        self.began = now;
    }

    /// The next step of the chain was taken.
    pub(crate) fn next(&mut self, finding: Finding) {
        self.step(self.names[self.steps.len()], finding);
    }

    /// The next step of the chain went well.
    pub(crate) fn good(&mut self, seen: String) {
        self.next(Finding::Good { seen });
    }

    /// What is left of the chain, but for its last `but` steps, is not tried.
    pub(crate) fn skip_all_but(&mut self, but: usize) {
        while self.steps.len() + but < self.names.len() {
            self.next(Finding::Skipped);
        }
    }

    /// The steps.
    pub(crate) fn end(self) -> Vec<Step> {
        self.steps
    }
}

fn as_ms<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
}
