//! The states, as words that stand in the inbox and in front of people.

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// The word for it, in the inbox and in front of people.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// What [`Self::as_str`] wrote; `None` for any other word.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words! {
    /// What has become of a notice.
    NoticeState {
        /// Stored; no route has looked at it yet.
        Heard = "heard",
        /// Planned; a delivery is not finished.
        Open = "open",
        /// Every delivery is done.
        Finished = "finished",
        /// The feed's filter or the routes left it out.
        Skipped = "skipped",
        /// Unreadable, or a delivery was set aside.
        Quarantined = "quarantined",
    }
}

words! {
    /// What has become of a delivery.
    DeliveryState {
        /// Waits for a worker, or for its retry.
        Ready = "ready",
        /// A worker has it.
        Claimed = "claimed",
        /// Every record is accounted for.
        Done = "done",
        /// Set aside.
        Quarantined = "quarantined",
    }
}

words! {
    /// How a claim ended.
    AttemptOutcome {
        /// Every record is accounted for.
        Done = "done",
        /// To be tried again.
        Retry = "retry",
        /// Set aside.
        Quarantined = "quarantined",
        /// Given back untouched.
        Released = "released",
        /// The lease ran out and another worker took over.
        Lost = "lost",
    }
}

words! {
    /// What the feed decided when it heard the notice.
    HeardAs {
        /// It goes on to the routes.
        Accepted = "accepted",
        /// The feed's filter left it out.
        Skipped = "skipped",
        /// It could not be understood.
        Unreadable = "unreadable",
    }
}

words! {
    /// What a run is.
    RunKind {
        /// Notices are delivered again.
        Replay = "replay",
        /// What was set aside goes on.
        Release = "release",
        /// What was set aside waits no longer.
        Discard = "discard",
    }
}
