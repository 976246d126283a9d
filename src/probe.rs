//! What `longshore check --connect` finds out: one [`Step`] after the other, each with its time and, on failure, its remedy.

use std::time::Duration;

use serde::Serialize;

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

fn as_ms<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
}
