//! The exit codes, those of `sysexits.h`, and which error ends in which.

use std::process::ExitCode;

use crate::daemon::BuildError;
use crate::error::{Class, Classify};
use crate::inbox::InboxError;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything was done.
    Ok = 0,
    /// The command line cannot be understood (`EX_USAGE`).
    Usage = 64,
    /// The data is not as it should be: an account does not add up, something was lost or doubled (`EX_DATAERR`).
    Data = 65,
    /// Something that is needed does not answer (`EX_UNAVAILABLE`).
    Unavailable = 69,
    /// Longshore itself is at fault (`EX_SOFTWARE`).
    Software = 70,
    /// A file or the inbox cannot be read or written (`EX_IOERR`).
    Io = 74,
    /// What is left has to wait, for a later time, its hours or a person (`EX_TEMPFAIL`).
    Later = 75,
    /// The configuration is wrong (`EX_CONFIG`).
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The table in the help.
pub const HELP: &str = "\
Exit codes:
   0  everything was done
  64  the command line cannot be understood
  65  the data is not as it should be: something was lost or doubled, or an account does not add up
  69  something that is needed does not answer
  70  Longshore itself is at fault
  74  a file or the inbox cannot be read or written
  75  what is left to do has to wait, for a later time, its hours or a decision
  78  the configuration is wrong";

/// Says which code an error ends in, where the error cannot say so itself: `result.map_err(Exit::Data.because())`.
#[derive(Debug, thiserror::Error)]
#[error("{error:#}")]
struct Because {
    exit: Exit,
    error: anyhow::Error,
}

impl Exit {
    /// Makes any error end in this code.
    pub fn because<E: Into<anyhow::Error>>(self) -> impl FnOnce(E) -> anyhow::Error {
        move |error| Because { exit: self, error: error.into() }.into()
    }

    /// The code that `error` ends in: the outermost cause that knows decides.
    #[must_use]
    pub fn of(error: &anyhow::Error) -> Self {
        error.chain().find_map(Self::of_cause).unwrap_or(Self::Software)
    }

    fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Self> {
        if let Some(because) = cause.downcast_ref::<Because>() {
            Some(because.exit)
        } else if let Some(inbox) = cause.downcast_ref::<InboxError>() {
            Some(match inbox {
                InboxError::Unbalanced { .. } => Self::Data,
                _ => Self::Io,
            })
        } else if let Some(build) = cause.downcast_ref::<BuildError>() {
            // Its variants are transparent, so that the chain does not show them.
            Some(match build {
                BuildError::Inbox(_) => Self::Io,
                BuildError::Sink(sink) => Self::of_class(sink.class()),
                BuildError::Access(access) => Self::of_class(access.class()),
                BuildError::Route(_) | BuildError::Net(_) | BuildError::Listen { .. } => Self::Config,
            })
        } else if let Some(access) = cause.downcast_ref::<crate::access::AccessError>() {
            Some(Self::of_class(access.class()))
        } else if let Some(sink) = cause.downcast_ref::<crate::sink::SinkError>() {
            Some(Self::of_class(sink.class()))
        } else if cause.is::<crate::net::NetError>() || cause.is::<crate::config::ConfigError>() {
            Some(Self::Config)
        } else if cause.is::<std::io::Error>() {
            Some(Self::Io)
        } else {
            None
        }
    }

    fn of_class(class: Class) -> Self {
        match class {
            Class::Transient | Class::Throttled | Class::Unauthorized | Class::MissingObject => Self::Unavailable,
            Class::Poison | Class::MissingParent => Self::Data,
            Class::Permanent => Self::Config,
            Class::DiskFull => Self::Io,
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn an_error_ends_in_the_code_of_its_outermost_cause_that_knows() {
        let lost = std::io::Error::other("gone");
        let error = Err::<(), _>(lost).context("reading x").expect_err("an error");
        assert_eq!(Exit::of(&error), Exit::Io);
        let error = Err::<(), _>(error).map_err(Exit::Data.because()).context("in the demo").expect_err("an error");
        assert_eq!(Exit::of(&error), Exit::Data);
        assert_eq!(format!("{error:#}"), "in the demo: reading x: gone");
        assert_eq!(Exit::of(&anyhow::anyhow!("odd")), Exit::Software);
    }
}
