//! `longshore feed fetch`: one thing taken by hand. It becomes notices like any other; the daemon does the rest.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::anyhow;
use serde::Serialize;

use super::{Place, ended, ended_by_hand, numbers, place, states};
use crate::cli::exit::Exit;
use crate::cli::screen::{clean, plural, size};
use crate::cli::select;
use crate::config::Config;
use crate::feed::bucket::Bucket;
use crate::feed::drop::{Fetched as Taken, Left, Outcome};
use crate::inbox::ledger::{Ledger, NoticeState};
use crate::inbox::{Inbox, SqliteInbox};
use crate::notice::{FeedName, NoticeId};

/// What can be typed.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The feed
    name: String,
    /// The object's whole name in the bucket, or the file's in the drop, as `feed list` tells it
    path: String,
    /// Take it also if this version of it was taken before
    #[arg(long)]
    again: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// An object that was taken.
#[derive(Debug, Serialize)]
struct Fetched {
    notice: NoticeId,
    path: String,
    blob_type: String,
    bytes: u64,
}

/// A file that was taken.
#[derive(Debug, Serialize)]
struct FetchedFile {
    path: String,
    bytes: u64,
    outcome: Outcome,
    by_daemon: bool,
    notices: Vec<NoticeOfFile>,
    /// `stays`, `moved`, `deleted`, or `untold`: that is still to come.
    at_source: &'static str,
    /// Where it was moved, or why that is still to come.
    at_source_said: Option<String>,
}

#[derive(Debug, Serialize)]
struct NoticeOfFile {
    notice: NoticeId,
    state: NoticeState,
}

pub(super) async fn run(args: Args, config: &Config, inbox: Arc<SqliteInbox>) -> anyhow::Result<ExitCode> {
    match place(config, &args.name)? {
        Place::Bucket(feed, bucket) => {
            let fetched = from_bucket(&args, feed, &bucket, &inbox).await?;
            tell(args.json, &screen(&fetched), &fetched)?;
        }
        Place::Drop(drop) => {
            let say = |text: &str| eprintln!("{}", clean(text));
            let taken = drop.fetch(&args.path, args.again, inbox, &say).await.map_err(ended_by_hand)?;
            let text = screen_of_file(&taken);
            tell(args.json, &text, &file(taken))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(json: bool, text: &str, value: &impl Serialize) -> anyhow::Result<()> {
    if json { select::print_json(value) } else { select::print(text) }
}

async fn from_bucket(args: &Args, feed: FeedName, bucket: &Bucket, inbox: &SqliteInbox) -> anyhow::Result<Fetched> {
    let (heard, bytes) = bucket.notice(&args.path, select::now(), args.again).await.map_err(ended)?;
    let known = inbox.states_of(feed, vec![heard.dedupe_key.clone()]).await?.pop().flatten();
    if let Some((notice, state)) = known {
        let said = anyhow!(
            "{} is notice {notice} already, and {state}: `longshore replay {notice}` delivers it again, --again takes it as a new notice",
            clean(&args.path)
        );
        return Err(said).map_err(Exit::Data.because());
    }
    let blob_type = heard.metadata.blob_type.clone();
    let stored = inbox.store(vec![heard]).await?;
    let Some(notice) = stored.first().map(crate::inbox::Receipt::notice) else {
        return Err(anyhow!("the inbox gave no receipt")).map_err(Exit::Software.because());
    };
    Ok(Fetched { notice, path: args.path.clone(), blob_type, bytes })
}

fn screen(fetched: &Fetched) -> String {
    format!(
        "{} ({}) is notice {} of blob type {}; see `longshore show {}`\n",
        clean(&fetched.path),
        size(fetched.bytes),
        fetched.notice,
        clean(&fetched.blob_type),
        fetched.notice
    )
}

fn screen_of_file(taken: &Taken) -> String {
    let which = match taken.notices.as_slice() {
        [] => String::new(),
        [(notice, state)] => format!("notice {notice}, {state}"),
        notices => format!("{}, {} ({})", plural(notices.len() as u64, "notice"), numbers(notices), states(notices)),
    };
    let by = if taken.by_daemon { "by the daemon, which was first, " } else { "" };
    let first = taken.notices.first().map_or(NoticeId(0), |(notice, _)| *notice);
    let became = match (taken.outcome, taken.notices.is_empty()) {
        (Outcome::Taken, _) => format!("was taken {by}as {which}; see `longshore show {first}`"),
        (Outcome::Quarantined, _) => {
            format!("was taken {by}as {which}; what is set aside, and why: `longshore quarantine list`")
        }
        (Outcome::Duplicate, true) => {
            let remedy = if taken.left == Left::Stays { ": --again takes it as a new one" } else { "" };
            format!("holds what was taken before, and its notices were pruned{remedy}")
        }
        (Outcome::Duplicate, false) => {
            format!("holds nothing new: it is {which}; `longshore replay {first}` delivers it again")
        }
    };
    let at_source = match &taken.left {
        Left::Stays => String::new(),
        Left::Moved(folder) => format!("at the source it was moved to {}\n", clean(folder)),
        Left::Deleted => "at the source it was deleted\n".to_owned(),
        Left::Untold(why) => {
            format!("at the source it is still to be moved or deleted, which the feed tries again: {}\n", clean(why))
        }
    };
    format!("{} ({}) {became}\n{at_source}", clean(&taken.name), size(taken.bytes))
}

fn file(taken: Taken) -> FetchedFile {
    let notices = taken.notices.into_iter().map(|(notice, state)| NoticeOfFile { notice, state });
    let (at_source, at_source_said) = match taken.left {
        Left::Stays => ("stays", None),
        Left::Moved(folder) => ("moved", Some(folder)),
        Left::Deleted => ("deleted", None),
        Left::Untold(why) => ("untold", Some(why)),
    };
    FetchedFile {
        path: taken.name,
        bytes: taken.bytes,
        outcome: taken.outcome,
        by_daemon: taken.by_daemon,
        notices: notices.collect(),
        at_source,
        at_source_said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_told() {
        let fetched = Fetched {
            notice: NoticeId(4711),
            path: "2025-12-24/orders\u{1b}.jsonl.gz".to_owned(),
            blob_type: "fft.export".to_owned(),
            bytes: 1_234_567,
        };
        insta::assert_snapshot!(screen(&fetched));
        insta::assert_snapshot!("feed_fetch_json", serde_json::to_string_pretty(&fetched).unwrap());
    }

    #[test]
    fn each_end_of_a_file_is_told() {
        let taken = |outcome, notices: &[(i64, NoticeState)], left| Taken {
            name: "Client ID_ 02012022\u{1b}.zip".to_owned(),
            bytes: 1_234_567,
            outcome,
            by_daemon: false,
            notices: notices.iter().map(|(notice, state)| (NoticeId(*notice), *state)).collect(),
            left,
        };
        let (heard, finished) = (NoticeState::Heard, NoticeState::Finished);
        let several = [(12, heard), (13, heard), (14, NoticeState::Skipped)];
        let moved = taken(Outcome::Taken, &several, Left::Moved("done".to_owned()));
        let cases = [
            taken(Outcome::Taken, &[(12, heard)], Left::Stays),
            taken(Outcome::Quarantined, &[(12, heard), (13, NoticeState::Quarantined)], Left::Stays),
            taken(Outcome::Duplicate, &[(12, finished)], Left::Deleted),
            taken(Outcome::Duplicate, &[], Left::Untold("done: Permission denied".to_owned())),
            Taken { by_daemon: true, ..taken(Outcome::Taken, &[(12, finished)], Left::Stays) },
            moved.clone(),
        ];
        insta::assert_snapshot!("feed_fetch_file", cases.each_ref().map(screen_of_file).concat());
        insta::assert_snapshot!("feed_fetch_file_json", serde_json::to_string_pretty(&file(moved)).unwrap());
    }
}
