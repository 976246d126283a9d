//! Choosing notices on the command line; the same for every subcommand that does.

use std::sync::Arc;

use anyhow::Context;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Global;
use super::exit::Exit;
use crate::blob_type::BlobTypeFilter;
use crate::clock::{Clock, SystemClock, UnixMs};
use crate::config::Config;
use crate::inbox::SqliteInbox;
use crate::inbox::ledger::{NoticeState, Selector};
use crate::notice::{FeedName, NoticeId, RouteName};

/// Which notices are meant. Every part that is given must be met, by any of its values.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SelectorArgs {
    /// Numbers of notices
    #[arg(value_name = "ID")]
    pub ids: Vec<i64>,
    #[command(flatten)]
    filters: Filters,
}

/// Which notices are meant, but for their numbers.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Filters {
    /// The source's id for tracking the file
    #[arg(long, value_name = "TEXT")]
    pub correlation_id: Vec<String>,
    /// A glob of blob types, such as `Gateway.*`; case does not matter
    #[arg(long, value_name = "GLOB", value_parser = parse_glob)]
    pub blob_type: Vec<String>,
    /// The feed that heard it
    #[arg(long, value_name = "NAME")]
    pub feed: Vec<String>,
    /// Published at this time or later: `2026-03-01T09:30:00Z`, `2026-03-01` (UTC), or `3h`, `2d` for so long ago
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    pub since: Option<Moment>,
    /// Published before this time; written as for `--since`
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    pub until: Option<Moment>,
    /// What has become of it
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    pub state: Vec<NoticeState>,
    /// A route that it was delivered on, or is to be
    #[arg(long, value_name = "NAME")]
    pub route: Vec<String>,
    /// No more than this many
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

impl SelectorArgs {
    /// What was typed, as the inbox understands it.
    #[must_use]
    pub fn selector(&self, now: UnixMs) -> Selector {
        Selector { ids: self.ids.iter().copied().map(NoticeId).collect(), ..self.filters.selector(now) }
    }
}

impl Filters {
    /// What was typed, as the inbox understands it.
    #[must_use]
    pub fn selector(&self, now: UnixMs) -> Selector {
        Selector {
            ids: Vec::new(),
            correlation_ids: self.correlation_id.clone(),
            blob_types: self.blob_type.clone(),
            feeds: self.feed.iter().map(FeedName::new).collect(),
            since: self.since.map(|moment| moment.at(now)),
            until: self.until.map(|moment| moment.at(now)),
            states: self.state.clone(),
            routes: self.route.iter().map(RouteName::new).collect(),
            limit: self.limit,
        }
    }
}

/// A time as it was typed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Moment {
    /// A moment.
    At(UnixMs),
    /// So long ago, in milliseconds.
    Ago(i64),
}

impl Moment {
    fn at(self, now: UnixMs) -> UnixMs {
        match self {
            Self::At(at) => at,
            Self::Ago(ms) => UnixMs(now.0.saturating_sub(ms)),
        }
    }
}

fn parse_glob(text: &str) -> Result<String, String> {
    BlobTypeFilter::new(&[text.to_owned()], &[]).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

fn parse_moment(text: &str) -> Result<Moment, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(Moment::At(UnixMs(at.as_millisecond())));
    }
    if let Ok(date) = text.parse::<jiff::civil::Date>() {
        let midnight = date.to_zoned(TimeZone::UTC).map_err(|error| error.to_string())?;
        return Ok(Moment::At(UnixMs(midnight.timestamp().as_millisecond())));
    }
    let span: jiff::Span =
        text.parse().map_err(|_| "write 2026-03-01T09:30:00Z, 2026-03-01, or 3h or 2d for so long ago")?;
    // A day is 24 hours here, as all times are in UTC.
    let ms = span
        .total((jiff::Unit::Millisecond, jiff::SpanRelativeTo::days_are_24_hours()))
        .map_err(|_| "months and years differ in length: write days, or a date")?;
    Ok(Moment::Ago(ms.abs() as i64))
}

/// The configured inbox, which must be there.
///
/// # Errors
/// When the configuration is wrong, or there is no inbox that can be used.
pub fn open_inbox(global: &Global) -> anyhow::Result<(Config, SqliteInbox)> {
    let config = global.config_of_inbox()?;
    let path = &config.inbox.path;
    let there = path.try_exists().with_context(|| format!("the inbox {} cannot be seen", path.display()))?;
    if !there {
        let hint = "`longshore run` makes it when it starts";
        return Err(anyhow::anyhow!("there is no inbox at {} yet: {hint}", path.display())).map_err(Exit::Io.because());
    }
    let inbox = SqliteInbox::open(&config.inbox, Arc::new(SystemClock))?;
    Ok((config, inbox))
}

/// The present moment.
#[must_use]
pub fn now() -> UnixMs {
    SystemClock.now()
}

/// Whether a change has to be agreed to.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Consent {
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

impl Consent {
    /// Goes on once somebody agreed to `verb` what `plan` tells of: with `--yes`, by what was named (`is_named`), or
    /// when asked.
    ///
    /// # Errors
    /// When nobody agrees, or nobody can be asked.
    pub fn to(self, verb: &str, is_named: bool, json: bool, plan: impl FnOnce() -> String) -> anyhow::Result<()> {
        if self.yes || is_named || agree(&plan(), verb, json)? {
            return Ok(());
        }
        Err(declined())
    }
}

/// Asks whether to `verb` what `plan` tells of. Where nobody can be asked, `--yes` has to be given.
fn agree(plan: &str, verb: &str, json: bool) -> anyhow::Result<bool> {
    use std::io::{IsTerminal, Write};
    let (input, mut output) = (std::io::stdin(), std::io::stderr());
    if json || !input.is_terminal() || !output.is_terminal() {
        let error = anyhow::anyhow!("nobody can be asked here whether to {verb}: give --yes to agree\n{plan}");
        return Err(error).map_err(Exit::Usage.because());
    }
    output.write_all(format!("{plan}{verb}? [y/N] ").as_bytes())?;
    output.flush()?;
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Somebody was asked and did not agree: what there is to do waits.
fn declined() -> anyhow::Error {
    Exit::Later.because()(anyhow::anyhow!("nothing was done, as you did not agree"))
}

/// Prints `value` as JSON, or else the screen for a person.
///
/// # Errors
/// When standard output cannot be written.
pub fn tell(as_json: bool, value: &impl serde::Serialize, screen: impl FnOnce() -> String) -> anyhow::Result<()> {
    if as_json { print_json(value) } else { print(&screen()) }
}

/// Holds that either some are chosen or `--all` is given; `how` says how some are chosen.
///
/// # Errors
/// When both is so, or neither: nobody does something to everything by leaving a word out.
pub fn all_or_some(all: bool, is_everything: bool, how: &str) -> anyhow::Result<()> {
    let hint = match (all, is_everything) {
        (true, false) => "--all goes with no other choice".to_owned(),
        (false, true) => format!("{how}, or give --all"),
        _ => return Ok(()),
    };
    Err(anyhow::anyhow!("what is meant is not clear: {hint}")).map_err(Exit::Usage.because())
}

/// Prints `value` as JSON.
///
/// # Errors
/// When standard output cannot be written.
pub fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value).context("cannot write JSON")?;
    print(&format!("{text}\n"))
}

/// Prints `text` on standard output. A reader that has gone away (`| head`) has read what it wanted.
///
/// # Errors
/// When standard output cannot be written.
pub fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Typed {
        #[command(flatten)]
        selector: SelectorArgs,
    }

    const NOW: UnixMs = UnixMs(1_656_979_200_000);

    #[test]
    fn everything_is_meant_only_when_it_is_said_and_nothing_else_is() {
        assert!(all_or_some(true, true, "name some").is_ok() && all_or_some(false, false, "name some").is_ok());
        let said = |all, is_everything| all_or_some(all, is_everything, "name some").unwrap_err().to_string();
        assert_eq!(said(false, true), "what is meant is not clear: name some, or give --all");
        assert_eq!(said(true, false), "what is meant is not clear: --all goes with no other choice");
    }

    #[test]
    fn what_is_typed_is_what_is_selected() {
        let typed = Typed::try_parse_from([
            "x",
            "4",
            "5",
            "--blob-type",
            "Gateway.*",
            "--feed",
            "eg",
            "--since",
            "2d",
            "--until",
            "2022-07-04T12:00:00Z",
            "--state",
            "finished,quarantined",
            "--route",
            "items",
            "--correlation-id",
            "c",
            "--limit",
            "9",
        ])
        .unwrap();
        assert_eq!(
            typed.selector.selector(NOW),
            Selector {
                ids: vec![NoticeId(4), NoticeId(5)],
                correlation_ids: vec!["c".to_owned()],
                blob_types: vec!["Gateway.*".to_owned()],
                feeds: vec![FeedName::new("eg")],
                since: Some(UnixMs(NOW.0 - 2 * 86_400_000)),
                until: Some(UnixMs(NOW.0 - 12 * 3_600_000)),
                states: vec![NoticeState::Finished, NoticeState::Quarantined],
                routes: vec![RouteName::new("items")],
                limit: Some(9),
            }
        );
        assert!(Typed::try_parse_from(["x"]).unwrap().selector.selector(NOW).is_everything());
    }

    #[test]
    fn who_is_asked_and_says_no_is_no_user_of_a_wrong_command() {
        assert_eq!(Exit::of(&declined()), Exit::Later);
    }

    #[test]
    fn times_are_typed_as_people_write_them() {
        assert_eq!(parse_moment("2022-07-05"), Ok(Moment::At(NOW)));
        assert_eq!(parse_moment("2022-07-05T02:00:00+02:00"), Ok(Moment::At(NOW)));
        for (text, ms) in [("90s", 90_000), ("3h", 10_800_000), ("1d 2h", 93_600_000), ("1 week", 604_800_000)] {
            assert_eq!(parse_moment(text), Ok(Moment::Ago(ms)), "{text}");
        }
        assert!(parse_moment("yesterday").is_err());
        assert!(parse_moment("1 month").is_err());
    }

    #[test]
    fn a_glob_that_cannot_be_understood_is_refused_on_the_command_line() {
        assert!(Typed::try_parse_from(["x", "--blob-type", "["]).is_err());
    }
}
