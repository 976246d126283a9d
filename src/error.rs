//! What an error means for the work: every room's error answers one question, its [`Class`].
//!
//! Retries are decided on the class alone (see `worker::retry`), never on the text of an error.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What went wrong, by what can be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// May pass by itself: a reset connection, a time-out, a 5xx answer, a busy database.
    Transient,
    /// The other side asks for time; [`Classify::retry_after`] may say how much.
    Throttled,
    /// A token or secret was refused. Uses up no attempt: fresh access is fetched, then the work is done again.
    Unauthorized,
    /// The content behind a notice is not there (404, 410). Has a policy of its own: it may be late, or gone.
    MissingObject,
    /// A record's parent is not known to the sink.
    MissingParent,
    /// The content cannot be read: truncated, corrupt, beyond a bound, of an unknown type. The same bytes fail again.
    Poison,
    /// Refused for good: trying again without a change of configuration cannot help.
    Permanent,
    /// No room on the disk. Uses up no attempt.
    DiskFull,
}

impl Class {
    /// The class as it stands in the inbox, in logs, metrics and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Throttled => "throttled",
            Self::Unauthorized => "unauthorized",
            Self::MissingObject => "missing-object",
            Self::MissingParent => "missing-parent",
            Self::Poison => "poison",
            Self::Permanent => "permanent",
            Self::DiskFull => "disk-full",
        }
    }

    /// The class that [`Class::as_str`] wrote; `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Transient,
            Self::Throttled,
            Self::Unauthorized,
            Self::MissingObject,
            Self::MissingParent,
            Self::Poison,
            Self::Permanent,
            Self::DiskFull,
        ]
        .into_iter()
        .find(|class| class.as_str() == text)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error that knows its class.
pub trait Classify {
    /// What can be done about it.
    fn class(&self) -> Class;

    /// How long the other side asked us to wait, if it did.
    fn retry_after(&self) -> Option<Duration> {
        None
    }
}

/// The class of an I/O error on a local file: a full disk (or quota) is [`Class::DiskFull`], all else transient.
#[must_use]
pub fn class_of_local_io(error: &std::io::Error) -> Class {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    match error.kind() {
        StorageFull | QuotaExceeded => Class::DiskFull,
        _ => Class::Transient,
    }
}

/// An error with all its causes on one line, `outer: inner: innermost`.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        // Some libraries repeat their cause in their own text.
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_read_back_as_written() {
        for class in [
            Class::Transient,
            Class::Throttled,
            Class::Unauthorized,
            Class::MissingObject,
            Class::MissingParent,
            Class::Poison,
            Class::Permanent,
            Class::DiskFull,
        ] {
            assert_eq!(Class::parse(class.as_str()), Some(class));
        }
        assert_eq!(Class::parse("other"), None);
    }
}
