//! Blob type and date from a file's name, such as `add to cart_01012022.csv`.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::clock::UnixMs;

/// How blob type and date are read from a name.
#[derive(Clone, Debug)]
pub struct Naming {
    /// The pattern of the name, without its ending.
    pub pattern: Pattern,
    /// In which order a date has its parts.
    pub date_order: DateOrder,
    /// The time zone in which the date's day begins.
    pub zone: TimeZone,
}

/// In which order a date of eight digits has its parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub enum DateOrder {
    /// `DDMMYYYY`.
    #[default]
    DayMonthYear,
    /// `MMDDYYYY`.
    MonthDayYear,
    /// `YYYYMMDD`.
    YearMonthDay,
}

/// A pattern such as `{blob_type}_{date}`. What stands for the blob type is as long as possible, so that the last `_`
/// is the one that divides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    BlobType,
    Date,
    Any,
}

/// What a name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// What the file holds; the whole name without its ending where the pattern does not fit.
    pub(super) blob_type: String,
    /// The day that its data are of.
    pub(super) date: Option<Date>,
    /// Such as `text/csv`; `None` for an ending that says nothing.
    pub(super) content_type: Option<&'static str>,
    /// `gzip` and its like.
    pub(super) content_encoding: Option<&'static str>,
}

impl Pattern {
    /// Reads a pattern of text, `{blob_type}`, `{date}` and `*`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, after) = match rest.find(['{', '*']) {
                Some(0) if rest.starts_with('*') => (Piece::Any, &rest[1..]),
                Some(0) => {
                    let (name, after) = rest[1..].split_once('}').ok_or("a `{` has no `}`")?;
                    let piece = match name {
                        "blob_type" => Piece::BlobType,
                        "date" => Piece::Date,
                        other => return Err(format!("{{{other}}} is not known: {{blob_type}} and {{date}} are")),
                    };
                    (piece, after)
                }
                Some(at) => (Piece::Text(rest[..at].to_owned()), &rest[at..]),
                None => (Piece::Text(rest.to_owned()), ""),
            };
            pieces.push(piece);
            rest = after;
        }
        for (piece, name, needed) in [(Piece::BlobType, "{blob_type}", true), (Piece::Date, "{date}", false)] {
            let count = pieces.iter().filter(|other| **other == piece).count();
            if count > 1 || (needed && count == 0) {
                return Err(format!("{name} has to stand in it {}", if needed { "once" } else { "at most once" }));
            }
        }
        Ok(Self(pieces))
    }

    /// Blob type and date text of a stem that fits.
    fn fit<'s>(&self, stem: &'s str, is_date: &dyn Fn(&str) -> bool) -> Option<(&'s str, Option<&'s str>)> {
        let mut found = (None, None);
        fits(&self.0, stem, is_date, &mut found).then_some(())?;
        Some((found.0?, found.1))
    }
}

type Found<'s> = (Option<&'s str>, Option<&'s str>);

fn fits<'s>(pieces: &[Piece], text: &'s str, is_date: &dyn Fn(&str) -> bool, found: &mut Found<'s>) -> bool {
    let Some((piece, rest)) = pieces.split_first() else {
        return text.is_empty();
    };
    if let Piece::Text(wanted) = piece {
        return text.strip_prefix(wanted.as_str()).is_some_and(|after| fits(rest, after, is_date, found));
    }
    // Longest first.
    let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]).rev();
    for end in ends {
        let (this, after) = text.split_at(end);
        let good = match piece {
            Piece::BlobType => !this.trim().is_empty(),
            Piece::Date => is_date(this),
            Piece::Any | Piece::Text(_) => true,
        };
        if good && fits(rest, after, is_date, found) {
            match piece {
                Piece::BlobType => found.0 = Some(this.trim()),
                Piece::Date => found.1 = Some(this),
                Piece::Any | Piece::Text(_) => {}
            }
            return true;
        }
    }
    false
}

impl Naming {
    /// What a file's or entry's name says; folders before it say nothing.
    pub(super) fn read(&self, name: &str) -> Named {
        let base = name.rsplit('/').next().unwrap_or(name);
        let (stem, content_encoding) = strip(base, &COMPRESSIONS);
        let (stem, content_type) = strip(stem, &TYPES);
        let is_date = |text: &str| self.date(text).is_some();
        let (blob_type, date) = match self.pattern.fit(stem, &is_date) {
            Some((blob_type, date)) => (blob_type, date.and_then(|date| self.date(date))),
            None => (stem.trim(), None),
        };
        Named { blob_type: blob_type.to_owned(), date, content_type, content_encoding }
    }

    /// When the day of a date begins.
    pub(super) fn begins(&self, date: Date) -> Option<UnixMs> {
        let begins = date.to_zoned(self.zone.clone()).ok()?;
        Some(UnixMs(begins.timestamp().as_millisecond()))
    }

    /// A date of eight digits, with blanks around it and signs between them.
    fn date(&self, text: &str) -> Option<Date> {
        let digits: Vec<i16> = text
            .trim()
            .chars()
            .filter(|c| !matches!(c, '-' | '.'))
            .map(|c| c.to_digit(10).and_then(|digit| i16::try_from(digit).ok()))
            .collect::<Option<_>>()?;
        if digits.len() != 8 || text.trim().len() > 10 {
            return None;
        }
        let number = |range: std::ops::Range<usize>| digits[range].iter().fold(0, |sum, digit| sum * 10 + digit);
        let small = |range| i8::try_from(number(range)).unwrap_or(0);
        match self.date_order {
            DateOrder::DayMonthYear => Date::new(number(4..8), small(2..4), small(0..2)).ok(),
            DateOrder::MonthDayYear => Date::new(number(4..8), small(0..2), small(2..4)).ok(),
            DateOrder::YearMonthDay => Date::new(number(0..4), small(4..6), small(6..8)).ok(),
        }
    }
}

const COMPRESSIONS: [(&str, &str); 5] =
    [(".gz", "gzip"), (".gzip", "gzip"), (".zst", "zstd"), (".br", "br"), (".zz", "deflate")];

const TYPES: [(&str, &str); 11] = [
    (".csv", "text/csv"),
    (".tsv", "text/csv"),
    (".jsonl", "application/x-jsonlines"),
    (".ndjson", "application/x-jsonlines"),
    (".jsonlines", "application/x-jsonlines"),
    (".json", "application/json"),
    (".xml", "text/xml"),
    (".xmll", "application/x-xmllines"),
    (".xmllines", "application/x-xmllines"),
    (".zip", "application/zip"),
    (".txt", "text/plain"),
];

/// The name without the ending that is known, and what that ending means.
fn strip<'n>(name: &'n str, endings: &[(&str, &'static str)]) -> (&'n str, Option<&'static str>) {
    for (ending, meaning) in endings {
        if let Some(at) = name.len().checked_sub(ending.len())
            && name.is_char_boundary(at)
            && name[at..].eq_ignore_ascii_case(ending)
        {
            return (&name[..at], Some(meaning));
        }
    }
    (name, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naming(pattern: &str, date_order: DateOrder) -> Naming {
        Naming { pattern: Pattern::parse(pattern).expect("a pattern"), date_order, zone: TimeZone::UTC }
    }

    fn read(name: &str) -> (String, Option<String>) {
        let named = naming("{blob_type}_{date}", DateOrder::default()).read(name);
        (named.blob_type, named.date.map(|date| date.to_string()))
    }

    #[test]
    fn the_last_underscore_divides_and_blanks_and_any_letters_stay() {
        let day = Some("2022-01-31".to_owned());
        for (name, blob_type) in [
            ("add to cart_31012022.csv", "add to cart"),
            ("add_to_cart_31012022.CSV", "add_to_cart"),
            ("कार्ट में जोड़ें_31012022.csv", "कार्ट में जोड़ें"),
            ("folder/Prüfung_ 31012022.csv.gz", "Prüfung"),
            ("v2_2021_31-01-2022.csv", "v2_2021"),
        ] {
            assert_eq!(read(name), (blob_type.to_owned(), day.clone()), "{name}");
        }
    }

    #[test]
    fn a_name_that_does_not_fit_is_its_own_blob_type() {
        for (name, blob_type) in [
            ("orders.csv", "orders"),
            ("orders_99999999.csv", "orders_99999999"),
            ("_01012022.csv", "_01012022"),
            ("orders_0101202.csv", "orders_0101202"),
        ] {
            assert_eq!(read(name), (blob_type.to_owned(), None), "{name}");
        }
    }

    #[test]
    fn order_of_the_date_and_pattern_are_settings() {
        let date = |order, name: &str| naming("{blob_type}_{date}", order).read(name).date.map(|date| date.to_string());
        assert_eq!(date(DateOrder::MonthDayYear, "a_01312022.csv").as_deref(), Some("2022-01-31"));
        assert_eq!(date(DateOrder::DayMonthYear, "a_01312022.csv"), None);
        assert_eq!(date(DateOrder::YearMonthDay, "a_2022-01-31.csv").as_deref(), Some("2022-01-31"));
        let named = naming("export-{date}-{blob_type}-*", DateOrder::YearMonthDay).read("export-20220131-a-b-17.jsonl");
        assert_eq!((named.blob_type.as_str(), named.date.is_some()), ("a-b", true));
        assert_eq!(named.content_type, Some("application/x-jsonlines"));
    }

    #[test]
    fn a_pattern_that_cannot_be_meant_is_refused() {
        for pattern in ["{date}", "{blob_type}{blob_type}", "{blobtype}", "{blob_type", "{blob_type}{date}{date}"] {
            assert!(Pattern::parse(pattern).is_err(), "{pattern}");
        }
    }
}
