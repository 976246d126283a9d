//! The meaning of a `[[feed]]` of type `drop`.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use toml::Spanned;

use super::Common;
use crate::config::meaning::{Rules, globs, section, work};
use crate::config::problem::Problem;
use crate::config::reader::Written;
use crate::config::value::{Glob, OneOf, Size, Time, Whole};
use crate::config::written::{AfterWord, Document, DropFeed, Expected};
use crate::config::{FeedConfig, FeedKind};
use crate::feed::drop::{After, ArchiveLimits, DropSettings, Expect, FileFilter, Naming, Pattern};
use crate::payload::PayloadLimits;

/// What is being written, by the manners of the usual transfer programs.
const IGNORE: [&str; 7] = ["*.part", "*.partial", "*.tmp", "*.filepart", "*.crdownload", "*.uploading", "*~"];
/// Daily files have time; a look at a remote server is a connection.
const POLL: Duration = Duration::from_secs(30);
/// Longer than an upload pauses between two writes, as a rule; what has an end that can be checked is checked besides.
const STABLE_FOR: Duration = Duration::from_secs(10);
/// An upload that broke off is begun again within this time, or by hand.
const INCOMPLETE_FOR: Duration = Duration::from_secs(3_600);
const PATTERN: &str = "{blob_type}_{date}";
const FILE_BYTES_MAX: u64 = 64 << 30;
const ENTRIES_MAX: u64 = 10_000;
const UNPACKED_BYTES_MAX: u64 = 1 << 40;

impl Rules<'_, '_> {
    pub(super) fn drop_feed(&mut self, feed: &DropFeed, span: Range<usize>, document: &Document) -> Option<FeedConfig> {
        let changes = self.changed.len();
        let common = self.common(span.clone(), &feed.name, "\"netcore\"", &feed.include, &feed.exclude);
        let source = self.drop_source(feed, span.clone());
        let files = self.file_filter(feed, span.clone());
        let after = self.after(feed, span);
        let marker = self.marker(&feed.marker);
        let pattern = self.file_name_pattern(&feed.pattern);
        let key = |key: &str| format!("feed.{key}");
        let date_order = self.or(&key("date_order"), &feed.date_order, OneOf(Default::default())).0;
        let zone = self.zone("feed.zone", &feed.zone).unwrap_or(TimeZone::UTC);
        let expect = self.expected(&feed.expect, &zone);
        let poll = self.or(&key("poll"), &feed.poll, Time(POLL)).0;
        let stable_for = self.or(&key("stable_for"), &feed.stable_for, Time(STABLE_FOR)).0;
        let incomplete_for = self.or(&key("incomplete_for"), &feed.incomplete_for, Time(INCOMPLETE_FOR)).0;
        let limits = ArchiveLimits {
            file_bytes_max: self.or(&key("file_bytes_max"), &feed.file_bytes_max, Size(FILE_BYTES_MAX)).0,
            entries_max: usize::try_from(self.or(&key("entries_max"), &feed.entries_max, Whole(ENTRIES_MAX)).0)
                .expect("the reader holds it below a million"),
            unpacked_bytes_max: self
                .or(&key("unpacked_bytes_max"), &feed.unpacked_bytes_max, Size(UNPACKED_BYTES_MAX))
                .0,
            ratio_max: section(&document.limits)
                .ratio_max
                .value()
                .map_or(PayloadLimits::default().ratio_max, |max| max.0),
        };
        let spool = self.path("feed.spool", &feed.spool);
        let Common { name, filter, include, exclude } = common?;
        self.name_changes(changes, "feed", name.as_str());
        let inbox = section(&document.inbox);
        let settings = DropSettings {
            spool: spool.unwrap_or_else(|| self.spool_beside(&inbox.path, name.as_str())),
            name: name.clone(),
            filter: filter.clone(),
            source: source?,
            files: files?,
            marker,
            poll,
            stable_for,
            incomplete_for,
            after: after?,
            naming: Naming { pattern: pattern?, date_order, zone },
            expect,
            limits,
            commit_notices_max: usize::try_from(
                inbox.commit_notices_max.value().map_or(work::COMMIT_NOTICES_MAX, |max| max.0),
            )
            .expect("the reader holds it below a hundred thousand"),
        };
        let kind = FeedKind::Drop { settings: Box::new(settings) };
        Some(FeedConfig { name, filter, include, exclude, kind })
    }

    /// The spool's folder unless one is named: the feed's own, beside the inbox.
    fn spool_beside(&self, inbox: &Written<crate::config::value::PathText>, feed: &str) -> PathBuf {
        let inbox = match inbox.value() {
            Some(path) => self.surroundings.folder.join(&path.0),
            None => PathBuf::from(work::INBOX_PATH),
        };
        inbox.with_file_name("spool").join(feed)
    }

    fn file_filter(&mut self, feed: &DropFeed, span: Range<usize>) -> Option<FileFilter> {
        let files = if feed.files.is_absent() { vec!["*".to_owned()] } else { globs(&feed.files) };
        let ignore = if feed.ignore.is_absent() { IGNORE.map(str::to_owned).to_vec() } else { globs(&feed.ignore) };
        self.list_changes("feed.files", &feed.files, &["*"]);
        self.list_changes("feed.ignore", &feed.ignore, &IGNORE);
        match FileFilter::new(&files, &ignore) {
            Ok(filter) => Some(filter),
            Err(error) => {
                let message = "the globs of files of this [[feed]] cannot be used together";
                self.problems.add(Problem::new(span, message, error.to_string()));
                None
            }
        }
    }

    fn list_changes(&mut self, key: &str, written: &Written<Vec<Spanned<Glob>>>, default: &[&str]) {
        let list = globs(written);
        if !written.is_absent() && list != default {
            let (value, default) = (format!("{list:?}"), format!("{default:?}"));
            self.changed.push(crate::config::Changed { key: key.to_owned(), value, default });
        }
    }

    fn after(&mut self, feed: &DropFeed, span: Range<usize>) -> Option<After> {
        let after = self.or("feed.after", &feed.after, OneOf(AfterWord::default())).0;
        if let (Some(folder), true) = (feed.move_to.spanned(), after != AfterWord::Move) {
            let message = "`feed.move_to` names a folder, and nothing is moved";
            self.problems.add(Problem::new(folder.span(), message, "needs after = \"move\""));
        }
        match after {
            AfterWord::Leave => Some(After::Leave),
            AfterWord::Delete => Some(After::Delete),
            AfterWord::Move => {
                let folder = self.required("[[feed]]", span, "move_to", &feed.move_to, "\"done\"")?;
                let name = folder.get_ref().trim_end_matches('/');
                let is_below = !name.starts_with('/') && !name.split('/').any(|part| matches!(part, "" | "." | ".."));
                if !is_below {
                    let shown = self.problems.written(folder.span());
                    let message = format!("`feed.move_to` cannot be {shown}");
                    self.problems.add(Problem::new(folder.span(), message, "must be a folder below the source's own"));
                    return None;
                }
                Some(After::Move(name.to_owned()))
            }
        }
    }

    fn expected(&mut self, written: &Written<Expected>, feed_zone: &TimeZone) -> Option<Expect> {
        let expected = written.spanned()?;
        let (keys, span) = (expected.get_ref(), expected.span());
        let by = self.required("`feed.expect`", span, "by", &keys.by, "\"07:00\"")?;
        let Some(time) = work::parse_time_of_day(by.get_ref()) else {
            let shown = self.problems.written(by.span());
            let message = format!("`feed.expect.by` cannot be {shown}");
            self.problems.add(Problem::new(by.span(), message, "must be a time of day such as \"07:00\""));
            return None;
        };
        let zone = self.zone("feed.expect.zone", &keys.zone).unwrap_or_else(|| feed_zone.clone());
        Some(Expect { every: keys.every.value().map_or_else(Default::default, |every| every.0), by: time, zone })
    }

    fn marker(&mut self, written: &Written<String>) -> Option<String> {
        let marker = written.spanned()?;
        let text = marker.get_ref();
        if !text.contains("{file}") || text == "{file}" || text.contains('/') {
            let shown = self.problems.written(marker.span());
            let message = format!("`feed.marker` cannot be {shown}");
            let must = "must be a name with {file} in it, such as \"{file}.done\"";
            self.problems.add(Problem::new(marker.span(), message, must));
            return None;
        }
        Some(text.clone())
    }

    fn file_name_pattern(&mut self, written: &Written<String>) -> Option<Pattern> {
        let text = self.or_text("feed.pattern", written, PATTERN);
        match Pattern::parse(&text) {
            Ok(pattern) => Some(pattern),
            Err(reason) => {
                let span = written.spanned().map(Spanned::span).unwrap_or_default();
                let shown = self.problems.written(span.clone());
                self.problems.add(Problem::new(span, format!("`feed.pattern` cannot be {shown}"), reason));
                None
            }
        }
    }
}
