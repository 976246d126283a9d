//! `longshore quarantine`: what was set aside, whole notices and single records, and what becomes of it.
//!
//! | subcommand | |
//! |---|---|
//! | none | groups: how many of which reason, the first look at three in the morning |
//! | `list` | one by one |
//! | `show` | one thing with its bytes, which cannot steer the terminal |
//! | `export` | everything as JSON lines, bytes included |
//! | `release`, `discard` | the decision, which asks before it is carried out |

use std::process::ExitCode;

use super::Global;
use super::select::{self, Filters};
use crate::clock::UnixMs;
use crate::error::Class;
use crate::inbox::ledger::{Aside, AsideId, AsideKind, AsideSelector, Quarantine};
use crate::inbox::{InboxError, SqliteInbox};
use crate::notice::NoticeId;

mod bytes;
mod decide;
mod export;
#[cfg(test)]
mod fixture;
mod groups;
mod list;
mod show;

/// Things that are read from the inbox at once.
const PAGE: usize = 500;

/// What can be typed.
#[derive(Clone, Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    groups: groups::Args,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// How many were set aside for which reason; the same without any subcommand
    Groups(groups::Args),
    /// List what was set aside, one by one
    List(list::Args),
    /// Show a notice's things, or one record with its bytes
    Show(show::Args),
    /// Write what was set aside as JSON lines, bytes included
    Export(export::Args),
    /// Let it go on, after what was wrong has been mended
    Release(decide::Args),
    /// Give it up: it stays in the account and in the history, and waits no longer
    Discard(decide::Args),
}

/// Shows what was set aside, or decides about it.
///
/// # Errors
/// When the configuration is wrong, the inbox cannot be used, or nobody agreed to a decision.
pub fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let (config, inbox) = select::open_inbox(global)?;
    super::runtime(1)?.block_on(async {
        match args.command.unwrap_or(Command::Groups(args.groups)) {
            Command::Groups(args) => groups::run(args, &inbox).await,
            Command::List(args) => list::run(args, &inbox).await,
            Command::Show(args) => show::run(args, &inbox).await,
            Command::Export(args) => export::run(args, &inbox).await,
            Command::Release(args) => decide::release(args, &config, &inbox).await,
            Command::Discard(args) => decide::discard(args, &config, &inbox).await,
        }
    })
}

/// Which of the things that were set aside are meant. Every part that is given must be met, by any of its values.
#[derive(Clone, Debug, Default, clap::Args)]
struct Which {
    /// Numbers of notices, or of single records in them, such as `42` or `42/17`
    #[arg(value_name = "ID[/RECORD]", value_parser = parse_name)]
    which: Vec<Name>,
    #[command(flatten)]
    filters: Filters,
    /// The class of the reason, such as poison or permanent
    #[arg(long, value_name = "CLASS", value_delimiter = ',', value_parser = parse_class)]
    class: Vec<Class>,
    /// What stands in the reason; case does not matter
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Whole notices alone, or single records alone
    #[arg(long, value_name = "WHAT")]
    only: Option<AsideKind>,
}

/// A notice, or one of its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name {
    notice: NoticeId,
    record: Option<u64>,
}

fn parse_name(text: &str) -> Result<Name, String> {
    let (notice, record) = match text.split_once('/') {
        Some((notice, record)) => (notice, Some(record)),
        None => (text, None),
    };
    let wrong = |_| "write the number of a notice, such as 42, or of a record in it, such as 42/17".to_owned();
    let notice = NoticeId(notice.parse().map_err(wrong)?);
    Ok(Name { notice, record: record.map(|record| record.parse().map_err(wrong)).transpose()? })
}

fn parse_class(text: &str) -> Result<Class, String> {
    Class::parse(text).ok_or_else(|| {
        "it is one of transient, throttled, unauthorized, missing-object, missing-parent, poison, permanent, disk-full"
            .to_owned()
    })
}

impl Which {
    fn selector(&self, now: UnixMs) -> AsideSelector {
        let mut notices = self.filters.selector(now);
        notices.ids = self.which.iter().map(|name| name.notice).collect();
        AsideSelector {
            notices,
            records: self.which.iter().filter_map(|name| Some((name.notice, name.record?))).collect(),
            classes: self.class.clone(),
            reason: self.reason.clone(),
            only: self.only,
        }
    }

    /// Whether it means everything that was set aside.
    fn is_everything(&self) -> bool {
        let mut selector = self.selector(UnixMs(0));
        selector.notices.limit = None;
        selector == AsideSelector::default()
    }
}

/// Goes through what is selected, page by page, so that memory does not depend on how much that is.
struct Pages<'a> {
    inbox: &'a SqliteInbox,
    selector: AsideSelector,
    with_bytes: bool,
    after: Option<AsideId>,
    left: usize,
}

impl<'a> Pages<'a> {
    fn new(inbox: &'a SqliteInbox, mut selector: AsideSelector, with_bytes: bool) -> Self {
        let left = selector.notices.limit.take().unwrap_or(usize::MAX);
        Self { inbox, selector, with_bytes, after: None, left }
    }

    /// The next page; empty at the end.
    async fn next(&mut self) -> Result<Vec<Aside>, InboxError> {
        let limit = self.left.min(PAGE);
        let page = self.inbox.set_aside(self.selector.clone(), self.after, limit, self.with_bytes).await?;
        self.seen(&page);
        Ok(page)
    }

    /// As [`Pages::next`], with all the things of each notice on one page: what is decided about one of them may take
    /// the others out of sight.
    async fn next_whole(&mut self) -> Result<Vec<Aside>, InboxError> {
        let limit = self.left.min(PAGE);
        let mut page = self.inbox.set_aside(self.selector.clone(), self.after, limit, self.with_bytes).await?;
        if page.len() == limit
            && let Some(last) = page.last().map(|aside| aside.id.notice)
        {
            let kept = page.iter().take_while(|aside| aside.id.notice != last).count();
            if kept > 0 && limit < self.left {
                page.truncate(kept);
            }
        }
        self.seen(&page);
        Ok(page)
    }

    fn seen(&mut self, page: &[Aside]) {
        self.left -= page.len();
        self.after = page.last().map(|aside| aside.id).or(self.after);
    }
}

/// How a thing is named on the command line: `42`, `42/17`.
fn name(id: AsideId) -> String {
    match id.number {
        Some(number) => format!("{}/{number}", id.notice),
        None => id.notice.to_string(),
    }
}

/// `items to files`; `-` for a notice that could not be read.
fn way(aside: &Aside) -> String {
    aside.target.as_ref().map_or_else(|| "-".to_owned(), |target| format!("{} to {}", target.route, target.sink))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_and_records_are_named_as_they_are_listed() {
        assert_eq!(parse_name("42"), Ok(Name { notice: NoticeId(42), record: None }));
        assert_eq!(parse_name("42/17"), Ok(Name { notice: NoticeId(42), record: Some(17) }));
        for wrong in ["", "x", "42/", "42/x", "/17", "42/-1"] {
            assert!(parse_name(wrong).is_err(), "{wrong}");
        }
        assert!(parse_class("poison").is_ok() && parse_class("bad").is_err());
    }
}
