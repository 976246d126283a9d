//! Times for people, in JSON too.

use serde::{Serialize, Serializer};

use crate::clock::UnixMs;
use crate::ops::health::{Condition, Part};

pub(crate) fn at<S: Serializer>(at: &UnixMs, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

pub(crate) fn maybe<S: Serializer>(at: &Option<UnixMs>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(|at| at.to_string()).serialize(serializer)
}

pub(super) fn parts<S: Serializer>(parts: &[Part], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Stamped<'a> {
        name: &'a str,
        #[serde(flatten)]
        condition: &'a Condition,
        #[serde(serialize_with = "at")]
        since: UnixMs,
    }
    serializer.collect_seq(parts.iter().map(|part| Stamped {
        name: &part.name,
        condition: &part.condition,
        since: part.since,
    }))
}
