//! The meaning of `[inbox]`, `[work]`, `[limits]`, `[fetch]`, `[log]`, `[ops]` and `[runtime]`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use jiff::civil::Time as TimeOfDay;
use jiff::tz::TimeZone;
use toml::Spanned;

use super::{Rules, each, section};
use crate::config::problem::Problem;
use crate::config::reader::Written;
use crate::config::value::{Limit, Listen, OneOf, Size, SizeLimit, Time, Whole};
use crate::config::{LogSettings, written};
use crate::inbox::{InboxSettings, OnPoison, Ordering, ParkingBounds};
use crate::ops::OpsSettings;
use crate::payload::{FetchSettings, PayloadLimits};
use crate::worker::{Window, WorkSettings};

/// Where Prometheus expects exporters that have no port of their own to be near.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);
pub(super) const INBOX_PATH: &str = "/var/lib/longshore/inbox.db";
/// Long enough to replay what a mistake of last month spoilt.
pub(super) const RETENTION_AGE: Duration = Duration::from_secs(30 * 24 * 3_600);
const RETENTION_BYTES: u64 = 10 << 30;
/// A webhook's sender retries for a week.
const DEDUPE_AGE_MIN: Duration = Duration::from_secs(7 * 24 * 3_600);
/// One fsync for many; a larger commit holds up the workers' own writes.
pub(super) const COMMIT_NOTICES_MAX: u64 = 1_000;
/// More threads than this wait for each other: the disk and the network are slower than they are.
const THREADS_MAX: usize = 4;

/// For how long a notice is known by its key: as long as it is kept by age, and as senders commonly retry.
fn dedupe_age_default(written: &written::Inbox) -> Duration {
    written.retention_age.value().map_or(RETENTION_AGE, |age| age.0).max(DEDUPE_AGE_MIN)
}

/// For how long a notice is known by its key, as written or by default; never less than it is kept by age.
pub(super) fn dedupe_age(written: &written::Inbox) -> Duration {
    let kept = written.retention_age.value().map_or(RETENTION_AGE, |age| age.0);
    written.dedupe_age.value().map_or_else(|| dedupe_age_default(written), |age| age.0.max(kept))
}

impl Rules<'_, '_> {
    pub(super) fn inbox(&mut self, written: &written::Inbox, parking: &written::Parking) -> InboxSettings {
        let path = self.path("inbox.path", &written.path).unwrap_or_else(|| PathBuf::from(INBOX_PATH));
        let dedupe_age = dedupe_age(written);
        self.or("inbox.dedupe_age", &written.dedupe_age, Time(dedupe_age_default(written)));
        InboxSettings {
            path,
            retention_age: self.or("inbox.retention_age", &written.retention_age, Time(RETENTION_AGE)).0,
            retention_bytes: self
                .or("inbox.retention_size", &written.retention_size, SizeLimit(Some(RETENTION_BYTES)))
                .0,
            dedupe_age,
            commit_notices_max: usize_of(
                self.or("inbox.commit_notices_max", &written.commit_notices_max, Whole(COMMIT_NOTICES_MAX)).0,
            ),
            parking: self.parking(parking),
        }
    }

    fn parking(&mut self, written: &written::Parking) -> ParkingBounds {
        let default = ParkingBounds::default();
        ParkingBounds {
            rows_max: self.or("parking.rows_max", &written.rows_max, Whole(default.rows_max)).0,
            bytes_max: self.or("parking.bytes_max", &written.bytes_max, Size(default.bytes_max)).0,
        }
    }

    pub(super) fn work(&mut self, written: &written::Work) -> WorkSettings {
        let default = WorkSettings::default();
        let retry_min = self.or("work.retry_min", &written.retry_min, Time(default.retry.0)).0;
        let retry_max = self.or("work.retry_max", &written.retry_max, Time(default.retry.1)).0;
        self.in_order(
            ("work.retry_min", &written.retry_min, retry_min),
            ("work.retry_max", &written.retry_max, retry_max),
        );
        let ordering = self.or("work.ordering", &written.ordering, OneOf(default.ordering)).0;
        let on_poison = self.or("work.on_poison", &written.on_poison, OneOf(default.on_poison)).0;
        if let (Ordering::None, OnPoison::Stop, Some(at)) = (ordering, on_poison, written.on_poison.spanned()) {
            self.problems.add(
                Problem::new(at.span(), "`work.on_poison` has no effect", "needs ordering = \"blob-type\"")
                    .help("without an order, no file waits for another")
                    .warning(),
            );
        }
        WorkSettings {
            workers: usize_of(self.or("work.workers", &written.workers, Whole(default.workers as u64)).0),
            per_blob_type_max: usize_of(
                self.or("work.per_blob_type_max", &written.per_blob_type_max, Whole(default.per_blob_type_max as u64))
                    .0,
            ),
            ordering,
            on_poison,
            lease: self.or("work.lease", &written.lease, Time(default.lease)).0,
            attempts_max: u32_of(
                self.or("work.attempts_max", &written.attempts_max, Whole(default.attempts_max.into())).0,
            ),
            retry: (retry_min, retry_max),
            missing_object_for: self
                .or("work.missing_object_for", &written.missing_object_for, Time(default.missing_object_for))
                .0,
            windows: self.windows(each(&written.windows)),
            zone: self.zone("work.zone", &written.zone).unwrap_or(default.zone),
            drain: self.or("work.drain", &written.drain, Time(default.drain)).0,
        }
    }

    pub(super) fn zone(&mut self, key: &str, written: &Written<String>) -> Option<TimeZone> {
        let name = written.spanned()?;
        match TimeZone::get(name.get_ref()) {
            Ok(zone) => Some(zone),
            Err(error) => {
                let shown = self.problems.written(name.span());
                self.problems.add(
                    Problem::new(
                        name.span(),
                        format!("`{key}` cannot be {shown}"),
                        "must be a time zone such as \"Europe/Oslo\" or \"UTC\"",
                    )
                    .help(format!(
                        "{error}; the names are those of the system's tzdata, which may have to be installed"
                    )),
                );
                None
            }
        }
    }

    fn windows(&mut self, written: &[Spanned<String>]) -> Vec<Window> {
        let mut windows: Vec<(Window, std::ops::Range<usize>)> = Vec::new();
        for text in written {
            let Some(window) = parse_window(text.get_ref()) else {
                let shown = self.problems.written(text.span());
                let message = format!("`work.windows` cannot be {shown}");
                self.problems.add(Problem::new(text.span(), message, "must be hours such as \"22:00-06:00\""));
                continue;
            };
            if window.from == window.to {
                let message = format!("`work.windows`: {:?} holds no time at all", text.get_ref());
                let problem = Problem::new(text.span(), message, "must end at another time than it begins");
                self.problems.add(problem.help("leave `windows` out to work at all hours"));
                continue;
            }
            if let Some((_, other)) = windows.iter().find(|(other, _)| overlap(*other, window)) {
                self.problems.add(
                    Problem::new(text.span(), "two of `work.windows` overlap", "this")
                        .also(other.clone(), "and this")
                        .help("make one of the two"),
                );
            }
            windows.push((window, text.span()));
        }
        windows.into_iter().map(|(window, _)| window).collect()
    }

    pub(super) fn limits(&mut self, written: &written::Limits) -> PayloadLimits {
        let default = PayloadLimits::default();
        let records_max = Limit((default.records_max != u64::MAX).then_some(default.records_max));
        PayloadLimits {
            record_bytes_max: usize_of(
                self.or("limits.record_bytes_max", &written.record_bytes_max, Size(default.record_bytes_max as u64)).0,
            ),
            depth_max: usize_of(self.or("limits.depth_max", &written.depth_max, Whole(default.depth_max as u64)).0),
            records_max: self.or("limits.records_max", &written.records_max, records_max).0.unwrap_or(u64::MAX),
            decompressed_bytes_max: self
                .or(
                    "limits.decompressed_bytes_max",
                    &written.decompressed_bytes_max,
                    Size(default.decompressed_bytes_max),
                )
                .0,
            ratio_max: self.or("limits.ratio_max", &written.ratio_max, Whole(default.ratio_max)).0,
            bad_records_max: self
                .or("limits.bad_records_max", &written.bad_records_max, Whole(default.bad_records_max))
                .0,
            bad_record_bytes_kept: usize_of(
                self.or(
                    "limits.bad_record_bytes_kept",
                    &written.bad_record_bytes_kept,
                    Size(default.bad_record_bytes_kept as u64),
                )
                .0,
            ),
            checked_first_bytes_max: usize_of(
                self.or(
                    "limits.checked_first_bytes_max",
                    &written.checked_first_bytes_max,
                    Size(default.checked_first_bytes_max as u64),
                )
                .0,
            ),
        }
    }

    pub(super) fn fetch(&mut self, document: &written::Document) -> FetchSettings {
        let written = section(&document.fetch);
        let default = FetchSettings::default();
        let ca_file = match self.ca_file("fetch.ca_file", &written.ca_file) {
            Some(own) => Some(own),
            // Already looked at, and reported where it is written.
            None => document
                .identity
                .value()
                .and_then(|identity| identity.ca_file.value())
                .map(|path| self.surroundings.folder.join(&path.0)),
        };
        FetchSettings {
            connect_timeout: self
                .or("fetch.connect_timeout", &written.connect_timeout, Time(default.connect_timeout))
                .0,
            idle_timeout: self.or("fetch.idle_timeout", &written.idle_timeout, Time(default.idle_timeout)).0,
            resumes_max: u32_of(
                self.or("fetch.resumes_max", &written.resumes_max, Whole(default.resumes_max.into())).0,
            ),
            rate_min: self.or("fetch.rate_min", &written.rate_min, Size(default.rate_min)).0,
            ca_file,
        }
    }

    pub(super) fn log(&mut self, written: &written::Log) -> LogSettings {
        let default = LogSettings::default();
        if let Some(level) = written.level.spanned()
            && let Err(error) = crate::config::log_filter(level.get_ref())
        {
            let shown = self.problems.written(level.span());
            let label = "must be error, warn, info, debug or trace, or more exactly \"info,fe2o3_amqp=debug\"";
            self.problems.add(
                Problem::new(level.span(), format!("`log.level` cannot be {shown}"), label).help(error.to_string()),
            );
        }
        LogSettings {
            format: self.or("log.format", &written.format, OneOf(default.format)).0,
            level: self.or_text("log.level", &written.level, &default.level),
        }
    }

    pub(super) fn ops(&mut self, written: &written::Ops) -> OpsSettings {
        let listen = self.or("ops.listen", &written.listen, Listen(Some(LISTEN))).0;
        let beyond_loopback = written.beyond_loopback.value() == Some(&true);
        if let (Some(address), Some(at)) = (listen, written.listen.spanned())
            && !address.ip().is_loopback()
            && !beyond_loopback
        {
            self.problems.add(
                Problem::new(
                    at.span(),
                    format!("`ops.listen` would show health and metrics beyond this machine, at {address}"),
                    "must be a loopback address such as \"127.0.0.1:9464\"",
                )
                .help("there is no login on it; where that is all right, add beyond_loopback = true"),
            );
        }
        OpsSettings { listen }
    }

    pub(super) fn runtime(&mut self, written: &written::Runtime) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        written.threads.value().map_or_else(|| cores.min(THREADS_MAX), |threads| usize_of(threads.0))
    }
}

/// The reader holds every number that comes here far below the bounds of its type.
fn usize_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn u32_of(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// `22:00-06:00`; midnight at the end may be written `24:00`.
fn parse_window(text: &str) -> Option<Window> {
    let (from, to) = text.split_once('-')?;
    let to = if to.trim() == "24:00" { "00:00" } else { to };
    Some(Window { from: parse_time_of_day(from)?, to: parse_time_of_day(to)? })
}

pub(super) fn parse_time_of_day(text: &str) -> Option<TimeOfDay> {
    let (hour, minute) = text.trim().split_once(':')?;
    let two_digits = |part: &str| (part.len() == 2).then(|| part.parse::<i8>().ok()).flatten();
    TimeOfDay::new(two_digits(hour)?, two_digits(minute)?, 0, 0).ok()
}

fn overlap(one: Window, other: Window) -> bool {
    let holds = |window: Window, time: TimeOfDay| {
        if window.from < window.to {
            window.from <= time && time < window.to
        } else {
            time >= window.from || time < window.to
        }
    };
    holds(one, other.from) || holds(other, one.from)
}
