//! `longshore feed list`: what a source holds beside what the inbox has of it.

use std::process::ExitCode;

use anyhow::anyhow;
use serde::Serialize;

use super::shelf::{Shelf, Thing, screen};
use super::{Place, ended, ended_by_hand, numbers, place, states};
use crate::cli::exit::Exit;
use crate::cli::screen::number;
use crate::cli::select;
use crate::clock::UnixMs;
use crate::config::Config;
use crate::feed::bucket::Bucket;
use crate::feed::drop::{ByHand, File, FileState, Gone, Holding};
use crate::inbox::SqliteInbox;
use crate::inbox::ledger::{Ledger, NoticeState, stamp};
use crate::notice::{FeedName, NoticeId};

/// How many days back a bucket is listed.
const DAYS: u16 = 7;

/// What can be typed.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The feed
    name: String,
    /// Of a bucket: how many days back (7); each costs a LIST request for every thousand objects in it
    #[arg(long, value_name = "N")]
    days: Option<u16>,
    /// Only what the inbox has not heard of
    #[arg(long)]
    missing: bool,
    /// Of a drop: no more than so many files that were taken and are there no more
    #[arg(long, value_name = "N", default_value_t = 10)]
    gone: usize,
    /// No more than so many objects one by one; all of them are counted
    #[arg(long, value_name = "N", default_value_t = 200)]
    limit: usize,
    /// As a JSON array of folders
    #[arg(long)]
    json: bool,
}

/// A day's folder in a bucket.
#[derive(Clone, Debug, Serialize)]
struct Day {
    folder: String,
    objects: Vec<Line>,
}

/// An object, and what the inbox has of it.
#[derive(Clone, Debug, Serialize)]
struct Line {
    path: String,
    bytes: u64,
    #[serde(serialize_with = "stamp::at")]
    written: UnixMs,
    /// The notice of this version; `None`: it was not heard of.
    notice: Option<NoticeId>,
    state: Option<NoticeState>,
}

/// A drop's folder.
#[derive(Clone, Debug, Serialize)]
struct Folder {
    folder: String,
    /// Whether there are as many files as are looked at, and perhaps more.
    is_cut_off: bool,
    objects: Vec<FileLine>,
    gone: Vec<GoneLine>,
}

#[derive(Clone, Debug, Serialize)]
struct FileLine {
    path: String,
    bytes: u64,
    #[serde(serialize_with = "stamp::maybe")]
    written: Option<UnixMs>,
    state: FileState,
    why: Option<String>,
    notices: Vec<NoticeLine>,
    same_as: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
struct GoneLine {
    path: String,
    #[serde(serialize_with = "stamp::at")]
    stored: UnixMs,
    notices: Vec<NoticeLine>,
}

#[derive(Clone, Debug, Serialize)]
struct NoticeLine {
    notice: NoticeId,
    state: NoticeState,
}

pub(super) async fn run(args: Args, config: &Config, inbox: &SqliteInbox) -> anyhow::Result<ExitCode> {
    match place(config, &args.name)? {
        Place::Bucket(feed, bucket) => {
            let days = days(&args, &feed, &bucket, inbox).await?;
            if args.json {
                select::print_json(&days)?;
            } else {
                select::print(&told(&days.iter().map(shelf_of_day).collect::<Vec<_>>(), args.limit))?;
            }
        }
        Place::Drop(drop) => {
            let holding = holding(&args, &drop, inbox).await?;
            if args.json {
                select::print_json(&[folder(holding)])?;
            } else {
                select::print(&told(&shelves_of_drop(&holding), args.limit))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn told(shelves: &[Shelf], limit: usize) -> String {
    if shelves.is_empty() { "nothing lies there\n".to_owned() } else { screen(shelves, limit) }
}

async fn days(args: &Args, feed: &FeedName, bucket: &Bucket, inbox: &SqliteInbox) -> anyhow::Result<Vec<Day>> {
    let mut days = Vec::new();
    for day in bucket.days(select::now(), args.days.unwrap_or(DAYS)) {
        let held = bucket.day(day).await.map_err(ended)?;
        let keys: Vec<String> = held.iter().map(|held| held.dedupe_key.clone()).collect();
        let states = inbox.states_of(feed.clone(), keys).await?;
        let lines = held.into_iter().zip(states).map(|(held, known)| Line {
            path: held.object.key,
            bytes: held.object.size,
            written: held.object.modified,
            notice: known.map(|(notice, _)| notice),
            state: known.map(|(_, state)| state),
        });
        let objects: Vec<Line> = lines.filter(|line| !args.missing || line.notice.is_none()).collect();
        if !objects.is_empty() {
            days.push(Day { folder: bucket.folder(day), objects });
        }
    }
    Ok(days)
}

fn shelf_of_day(day: &Day) -> Shelf {
    let missing = day.objects.iter().filter(|line| line.notice.is_none()).count() as u64;
    let thing = |line: &Line| Thing {
        name: line.path.strip_prefix(&day.folder).unwrap_or(&line.path).to_owned(),
        bytes: Some(line.bytes),
        time: Some(line.written),
        state: line.state.map_or_else(|| "not heard".to_owned(), |state| state.to_string()),
        notices: line.notice.map_or_else(String::new, |notice| notice.to_string()),
        note: None,
    };
    Shelf {
        title: day.folder.clone(),
        says: if missing == 0 { "all heard".to_owned() } else { format!("{} not heard", number(missing)) },
        one: "object",
        time: "written",
        things: day.objects.iter().map(thing).collect(),
    }
}

async fn holding(args: &Args, drop: &ByHand, inbox: &SqliteInbox) -> anyhow::Result<Holding> {
    if args.days.is_some() {
        let said = anyhow!("the feed {:?} is a drop: its folder has no days (--days)", args.name);
        return Err(said).map_err(Exit::Usage.because());
    }
    let gone = if args.missing { 0 } else { args.gone };
    let mut holding = drop.holding(inbox, gone).await.map_err(ended_by_hand)?;
    if args.missing {
        holding.files.retain(|file| !matches!(file.state, FileState::Taken | FileState::Ignored));
    }
    Ok(holding)
}

fn shelves_of_drop(holding: &Holding) -> Vec<Shelf> {
    let count = |is: fn(FileState) -> bool| holding.files.iter().filter(|file| is(file.state)).count() as u64;
    let missing = count(|state| !matches!(state, FileState::Taken | FileState::Ignored));
    let ignored = count(|state| state == FileState::Ignored);
    let mut says = if missing == 0 { "all taken".to_owned() } else { format!("{} not taken", number(missing)) };
    if ignored > 0 {
        says.push_str(&format!(", {} ignored", number(ignored)));
    }
    if holding.is_cut_off {
        says.push_str("; there may be more, which are not looked at before these are gone");
    }
    let mut shelves = Vec::new();
    if !holding.files.is_empty() {
        let things = holding.files.iter().map(thing_of_file).collect();
        shelves.push(Shelf { title: holding.place.clone(), says, one: "file", time: "written", things });
    }
    if !holding.gone.is_empty() {
        let things = holding.gone.iter().map(thing_that_is_gone).collect();
        let title = "taken, and there no more".to_owned();
        shelves.push(Shelf { title, says: "the latest (--gone)".to_owned(), one: "file", time: "stored", things });
    }
    shelves
}

fn thing_of_file(file: &File) -> Thing {
    let taken = || if file.notices.is_empty() { "taken".to_owned() } else { states(&file.notices) };
    let same_as = || format!("the same content was taken as {}", file.same_as.join(", "));
    Thing {
        name: file.name.clone(),
        bytes: Some(file.bytes),
        time: file.written,
        state: match file.state {
            FileState::New => "not taken".to_owned(),
            FileState::Changed => "changed".to_owned(),
            FileState::Incomplete => "incomplete".to_owned(),
            FileState::TooLarge => "too large".to_owned(),
            FileState::Ignored => "ignored".to_owned(),
            FileState::Taken => taken(),
        },
        notices: numbers(&file.notices),
        note: file.why.clone().or_else(|| (!file.same_as.is_empty()).then(same_as)),
    }
}

fn thing_that_is_gone(file: &Gone) -> Thing {
    Thing {
        name: file.name.clone(),
        bytes: None,
        time: Some(file.stored),
        state: states(&file.notices),
        notices: numbers(&file.notices),
        note: None,
    }
}

fn folder(holding: Holding) -> Folder {
    let notices = |notices: Vec<(NoticeId, NoticeState)>| {
        notices.into_iter().map(|(notice, state)| NoticeLine { notice, state }).collect()
    };
    let line = |file: File| FileLine {
        path: file.name,
        bytes: file.bytes,
        written: file.written,
        state: file.state,
        why: file.why,
        notices: notices(file.notices),
        same_as: file.same_as,
    };
    let gone = |file: Gone| GoneLine { path: file.name, stored: file.stored, notices: notices(file.notices) };
    Folder {
        folder: holding.place,
        is_cut_off: holding.is_cut_off,
        objects: holding.files.into_iter().map(line).collect(),
        gone: holding.gone.into_iter().map(gone).collect(),
    }
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
