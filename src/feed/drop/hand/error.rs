//! Why a drop did not do by hand what it was asked.

use std::time::Duration;

use crate::error::{Class, Classify as _};
use crate::feed::drop::source::SourceError;
use crate::feed::drop::trouble::Trouble;
use crate::inbox::InboxError;
use crate::inbox::ledger::NoticeState;
use crate::notice::NoticeId;

/// For how long the daemon may be at one file before whoever waits for the turn is told to come again.
pub(super) const TURN_MAX: Duration = Duration::from_secs(120);

/// Why a file was not taken, or a place could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum HandError {
    /// There is no such file.
    #[error("{place} has no file {name:?}; `longshore feed list` tells what it has")]
    NoFile {
        /// What was asked for.
        name: String,
        /// The place.
        place: String,
    },
    /// The file is never taken.
    #[error("{name:?} is not taken: {why}")]
    Ignored {
        /// The file.
        name: String,
        /// Why not.
        why: String,
    },
    /// The file is not complete; nothing was done.
    #[error("{name:?} is not complete and was not taken: {why}; the feed goes on waiting for the rest of it")]
    Incomplete {
        /// The file.
        name: String,
        /// What is missing.
        why: String,
    },
    /// This version of it was taken before.
    #[error("{name:?} was taken before{}", told(notices))]
    Known {
        /// The file.
        name: String,
        /// Its notices, if the inbox still has them.
        notices: Vec<(NoticeId, NoticeState)>,
    },
    /// It went away while it was waited for.
    #[error("{name:?} is there no more: the feed or its sender took it away meanwhile; `longshore feed list` tells")]
    Gone {
        /// The file.
        name: String,
    },
    /// The daemon does not get done with what it is at.
    #[error("the daemon is taking a file since {} s, and takes {name:?} as well; ask again later", TURN_MAX.as_secs())]
    Busy {
        /// The file.
        name: String,
    },
    /// What we wrote there, the daemon could not read.
    #[error("the spool {path} belongs to user {owner}, and this is user {ours}: run this as its owner (`sudo -u`)")]
    Foreign {
        /// The spool.
        path: String,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        ours: u32,
    },
    /// The source, the spool or the inbox did not do what it was asked.
    #[error("{said}")]
    Trouble {
        /// What it is.
        class: Class,
        /// For people.
        said: String,
    },
    /// The inbox could not be read.
    #[error(transparent)]
    Inbox(#[from] InboxError),
}

fn told(notices: &[(NoticeId, NoticeState)]) -> String {
    match notices {
        [] => ", and its notices were pruned: --again takes it as a new one".to_owned(),
        [(notice, state)] => {
            format!(
                " as notice {notice}, which is {state}: `longshore replay {notice}` delivers it again, --again takes it as a new one"
            )
        }
        [(first, _), .., (last, _)] => format!(
            " as {} notices, {first} to {last}: `longshore replay` delivers them again, --again takes it as new ones",
            notices.len()
        ),
    }
}

impl From<Trouble> for HandError {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble { class: trouble.class(), said: trouble.to_string() }
    }
}

impl From<SourceError> for HandError {
    fn from(error: SourceError) -> Self {
        Trouble::from(error).into()
    }
}
