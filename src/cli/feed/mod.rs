//! `longshore feed`: what a source holds beside what the inbox has of it, and one thing of it taken by hand.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::anyhow;

use super::Global;
use super::exit::Exit;
use super::screen::number;
use crate::clock::SystemClock;
use crate::config::{Config, FeedKind};
use crate::error::{Class, Classify};
use crate::feed::bucket::{Bucket, ListError};
use crate::feed::drop::{ByHand, HandError};
use crate::inbox::SqliteInbox;
use crate::inbox::ledger::NoticeState;
use crate::notice::{FeedName, NoticeId};
use crate::ops::Context;

mod fetch;
mod list;
mod shelf;

/// What can be typed.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Show what a bucket (day by day) or a drop holds, beside what the inbox has of it
    List(list::Args),
    /// Take one object of a bucket, or one file of a drop, by hand and now
    Fetch(fetch::Args),
}

/// Shows a source, or takes something of it.
///
/// # Errors
/// When the configuration is wrong, the inbox cannot be used, or the source does not answer.
pub fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    // The secrets of the source are needed.
    let config = global.config()?;
    let inbox = Arc::new(SqliteInbox::open(&config.inbox, Arc::new(SystemClock))?);
    super::runtime(2)?.block_on(async {
        match args.command {
            Command::List(args) => list::run(args, &config, &inbox).await,
            Command::Fetch(args) => fetch::run(args, &config, inbox).await,
        }
    })
}

/// A source that can be looked into.
enum Place {
    Bucket(FeedName, Box<Bucket>),
    Drop(Box<ByHand>),
}

/// The source of the feed that is named.
fn place(config: &Config, name: &str) -> anyhow::Result<Place> {
    let Some(feed) = config.feeds.iter().find(|feed| feed.name.as_str() == name) else {
        let names: Vec<&str> = config.feeds.iter().map(|feed| feed.name.as_str()).collect();
        let said = anyhow!("there is no feed {name:?} in the configuration: {}", names.join(", "));
        return Err(said).map_err(Exit::Usage.because());
    };
    match &feed.kind {
        FeedKind::Bucket { settings } => {
            let bucket = Bucket::new((**settings).clone(), crate::daemon::bucket(config, settings));
            Ok(Place::Bucket(feed.name.clone(), Box::new(bucket)))
        }
        FeedKind::Drop { settings } => {
            let context = Context::new(Arc::new(SystemClock));
            Ok(Place::Drop(Box::new(ByHand::new((**settings).clone(), context))))
        }
        _ => {
            let said = anyhow!(
                "the feed {name:?} is neither a bucket nor a drop: what it has heard is in `longshore notices --feed {name}`"
            );
            Err(said).map_err(Exit::Usage.because())
        }
    }
}

/// How an error of a bucket ends.
fn ended(error: ListError) -> anyhow::Error {
    let exit = match (&error, error.class()) {
        (ListError::NoObject { .. }, _) => Exit::Usage,
        (_, Class::Permanent) => Exit::Config,
        _ => Exit::Unavailable,
    };
    exit.because()(error)
}

/// How an error of a drop ends.
fn ended_by_hand(error: HandError) -> anyhow::Error {
    let exit = match &error {
        HandError::NoFile { .. } | HandError::Ignored { .. } => Exit::Usage,
        HandError::Known { .. } => Exit::Data,
        HandError::Incomplete { .. } | HandError::Gone { .. } | HandError::Busy { .. } => Exit::Later,
        HandError::Foreign { .. } | HandError::Inbox(_) => Exit::Io,
        HandError::Trouble { class: Class::Permanent, .. } => Exit::Config,
        HandError::Trouble { class: Class::DiskFull, .. } => Exit::Io,
        HandError::Trouble { .. } => Exit::Unavailable,
    };
    exit.because()(error)
}

/// What became of notices: `finished`, or `2 finished, 1 skipped`.
fn states(notices: &[(NoticeId, NoticeState)]) -> String {
    let mut counts: Vec<(NoticeState, u64)> = Vec::new();
    for (_, state) in notices {
        match counts.iter_mut().find(|(counted, _)| counted == state) {
            Some((_, count)) => *count += 1,
            None => counts.push((*state, 1)),
        }
    }
    match counts.as_slice() {
        [(state, _)] => state.to_string(),
        _ => counts.iter().map(|(state, count)| format!("{count} {state}")).collect::<Vec<_>>().join(", "),
    }
}

/// The numbers of notices: `12`, `12-14`, or `12, 15`; of very many that are not in a row, how many besides.
fn numbers(notices: &[(NoticeId, NoticeState)]) -> String {
    const RUNS_MAX: usize = 3;
    let mut runs: Vec<(NoticeId, NoticeId)> = Vec::new();
    for (notice, _) in notices {
        match runs.last_mut() {
            Some((_, last)) if last.0 + 1 == notice.0 => *last = *notice,
            _ => runs.push((*notice, *notice)),
        }
    }
    let shown = runs.iter().take(RUNS_MAX).map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if runs.len() > RUNS_MAX {
        let more: i64 = runs[RUNS_MAX..].iter().map(|(first, last)| last.0 - first.0 + 1).sum();
        text.push_str(&format!(" and {} more", number(more.unsigned_abs())));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_a_bucket_does_not_hold_is_a_slip_of_whoever_typed_it() {
        assert_eq!(Exit::of(&ended(ListError::NoObject { key: "x".to_owned() })), Exit::Usage);
        assert_eq!(Exit::of(&ended(ListError::NoBucket { said: String::new() })), Exit::Config);
        assert_eq!(Exit::of(&ended(ListError::Refused { said: String::new() })), Exit::Unavailable);
    }

    #[test]
    fn notices_are_told_in_short() {
        let of = |ids: &[i64]| -> Vec<_> { ids.iter().map(|id| (NoticeId(*id), NoticeState::Finished)).collect() };
        assert_eq!(numbers(&of(&[12])), "12");
        assert_eq!(numbers(&of(&[12, 13, 14, 20])), "12-14, 20");
        assert_eq!(numbers(&of(&[1, 3, 5, 7, 8])), "1, 3, 5 and 2 more");
        let mut mixed = of(&[1, 2]);
        assert_eq!(states(&mixed), "finished");
        mixed.push((NoticeId(3), NoticeState::Skipped));
        assert_eq!(states(&mixed), "2 finished, 1 skipped");
    }
}
