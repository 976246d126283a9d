//! Doing what a plan says, one request after the other.

use std::collections::HashSet;

use serde::Serialize;

use super::{Api, Plan, Step, Terms, Told};
use crate::access::AccessError;

/// One step that was done.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "did")]
pub enum Done {
    /// A subscription was made.
    Created {
        /// What it delivers.
        event: String,
        /// The vendor's number of it.
        id: String,
    },
    /// A subscription was deleted.
    Deleted {
        /// What it delivered.
        event: String,
        /// The vendor's number of it.
        id: String,
    },
}

/// Does all steps, or those up to the first that fails; `told` hears of each that is done. What is left is found by the
/// next plan.
///
/// # Errors
/// Why a step failed.
pub async fn apply(
    api: &Api,
    plan: &Plan,
    terms: &Terms,
    before: &[Told],
    mut told: impl FnMut(Done),
) -> Result<(), AccessError> {
    let mut known: HashSet<String> = before.iter().map(|told| told.id.clone()).collect();
    for step in plan.steps() {
        told(match step {
            Step::Create(wanted) => {
                let id = api.create(&wanted, terms, &known).await?;
                known.insert(id.clone());
                Done::Created { event: wanted.event, id }
            }
            Step::Delete { what, id } => {
                api.delete(&id).await?;
                Done::Deleted { event: what.event, id }
            }
        });
    }
    Ok(())
}
