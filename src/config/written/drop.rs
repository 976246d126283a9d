//! What was written in a `[[feed]]` of type `drop`.

use toml::Spanned;

use super::kind::Raw;
use super::lengths::{DAY, SECOND, YEAR};
use crate::config::reader::section;
use crate::config::value::{Address, Glob, Name, OneOf, PathText, Size, Time, Whole, Word};
use crate::feed::drop::{DateOrder, Every};

section! {
    /// A place where files are dropped.
    DropFeed {
        name: Name,
        r#type: Raw,
        source: PathText,
        password_file: PathText,
        key_file: PathText,
        host_keys: Vec<Spanned<String>>,
        known_hosts: PathText,
        ca_file: PathText,
        plain_text: bool,
        endpoint: Address,
        region: String,
        path_style: bool,
        access_key_file: PathText,
        secret_key_file: PathText,
        include: Vec<Spanned<Glob>>,
        exclude: Vec<Spanned<Glob>>,
        files: Vec<Spanned<Glob>>,
        ignore: Vec<Spanned<Glob>>,
        marker: String,
        poll: Time<100, DAY>,
        stable_for: Time<0, DAY>,
        incomplete_for: Time<SECOND, YEAR>,
        after: OneOf<AfterWord>,
        move_to: String,
        pattern: String,
        date_order: OneOf<DateOrder>,
        zone: String,
        expect: Expected,
        spool: PathText,
        file_bytes_max: Size<1>,
        entries_max: Whole<1, 1_000_000>,
        unpacked_bytes_max: Size<1>,
    }
}

section! {
    /// What has to come, and by when.
    Expected {
        every: OneOf<Every>,
        by: String,
        zone: String,
    }
}

/// What becomes of a file once it is stored; `move` names its folder elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AfterWord {
    /// It stays.
    #[default]
    Leave,
    /// It is moved.
    Move,
    /// It is deleted.
    Delete,
}

impl Word for AfterWord {
    const WORDS: &'static [(&'static str, Self)] =
        &[("leave", Self::Leave), ("move", Self::Move), ("delete", Self::Delete)];
}

impl Word for DateOrder {
    const WORDS: &'static [(&'static str, Self)] =
        &[("DDMMYYYY", Self::DayMonthYear), ("MMDDYYYY", Self::MonthDayYear), ("YYYYMMDD", Self::YearMonthDay)];
}

impl Word for Every {
    const WORDS: &'static [(&'static str, Self)] = &[("day", Self::Day), ("weekday", Self::Weekday)];
}
