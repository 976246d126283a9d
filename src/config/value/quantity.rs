//! Values that are an amount: whole numbers, lengths of time and sizes, each within its bounds.

use std::fmt;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::{scalar, text};
use crate::config::problem::Problems;
use crate::config::reader::FromToml;

/// The number in `value`; TOML allows other radices and underscores, which the parser has taken out.
fn whole(value: &DeValue<'_>) -> Result<u64, String> {
    let integer = value.as_integer().ok_or_else(String::new)?;
    u64::from_str_radix(integer.as_str(), integer.radix()).map_err(|_| String::new())
}

/// A whole number within bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole<const MIN: u64, const MAX: u64>(pub u64);

impl<const MIN: u64, const MAX: u64> FromToml for Whole<MIN, MAX> {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) -> Option<Self> {
        let must = format!("must be a whole number from {MIN} to {MAX}");
        scalar(key, value, &must, problems, |value| {
            whole(value).ok().filter(|number| (MIN..=MAX).contains(number)).map(Self).ok_or_else(String::new)
        })
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Display for Whole<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A whole number of at least 1, or none at all: `"unlimited"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(pub Option<u64>);

impl FromToml for Limit {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) -> Option<Self> {
        let must = "must be a whole number of at least 1, or \"unlimited\"";
        scalar(key, value, must, problems, |value| match value.as_str() {
            Some("unlimited") => Ok(Self(None)),
            _ => {
                whole(value).ok().filter(|number| *number > 0).map(|number| Self(Some(number))).ok_or_else(String::new)
            }
        })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(number) => number.fmt(f),
            None => f.write_str("\"unlimited\""),
        }
    }
}

/// A length of time within bounds (in milliseconds), such as `"30s"` or `"1h30m"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time<const MIN_MS: u64, const MAX_MS: u64>(pub Duration);

impl<const MIN_MS: u64, const MAX_MS: u64> FromToml for Time<MIN_MS, MAX_MS> {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) -> Option<Self> {
        let must = format!(
            "must be a time such as \"30s\" or \"1h30m\", from {} to {}",
            show_time(Duration::from_millis(MIN_MS)),
            show_time(Duration::from_millis(MAX_MS))
        );
        scalar(key, value, &must, problems, |value| {
            let time = text(value).and_then(parse_time)?;
            let allowed = Duration::from_millis(MIN_MS)..=Duration::from_millis(MAX_MS);
            if allowed.contains(&time) { Ok(Self(time)) } else { Err(String::new()) }
        })
    }
}

impl<const MIN_MS: u64, const MAX_MS: u64> fmt::Display for Time<MIN_MS, MAX_MS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", show_time(self.0))
    }
}

const TIME_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

fn parse_time(text: &str) -> Result<Duration, String> {
    let mut total_ms = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
        let (unit, after) = after.split_at(after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len()));
        let (_, unit_ms) = TIME_UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(|| "the units are d, h, m, s and ms".to_owned())?;
        let part_ms = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*unit_ms));
        total_ms = part_ms.and_then(|part| total_ms.checked_add(part)).ok_or_else(String::new)?;
        rest = after;
    }
    if text.is_empty() { Err(String::new()) } else { Ok(Duration::from_millis(total_ms)) }
}

/// A length of time as the configuration writes it, such as `1h30m`.
#[must_use]
pub fn show_time(time: Duration) -> String {
    let mut rest_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let mut shown = String::new();
    for (unit, unit_ms) in TIME_UNITS {
        if rest_ms >= unit_ms {
            shown.push_str(&format!("{}{unit}", rest_ms / unit_ms));
            rest_ms %= unit_ms;
        }
    }
    if shown.is_empty() { "0s".to_owned() } else { shown }
}

/// A number of bytes, such as `"64MiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size<const MIN: u64>(pub u64);

impl<const MIN: u64> FromToml for Size<MIN> {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) -> Option<Self> {
        let must = format!("must be a size such as \"64MiB\", of at least {}", show_size(MIN));
        scalar(key, value, &must, problems, |value| {
            let size = match value.as_str() {
                Some(text) => parse_size(text)?,
                None => whole(value)?,
            };
            if size >= MIN { Ok(Self(size)) } else { Err(String::new()) }
        })
    }
}

impl<const MIN: u64> fmt::Display for Size<MIN> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", show_size(self.0))
    }
}

/// A size or none at all: `"unlimited"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeLimit<const MIN: u64>(pub Option<u64>);

impl<const MIN: u64> FromToml for SizeLimit<MIN> {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) -> Option<Self> {
        if value.get_ref().as_str() == Some("unlimited") {
            return Some(Self(None));
        }
        Size::<MIN>::read(key, value, problems).map(|size| Self(Some(size.0)))
    }
}

impl<const MIN: u64> fmt::Display for SizeLimit<MIN> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(size) => Size::<MIN>(size).fmt(f),
            None => f.write_str("\"unlimited\""),
        }
    }
}

const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let (_, unit_bytes) = SIZE_UNITS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit.trim()))
        .ok_or_else(|| "the units are B, kB, MB, GB, TB, KiB, MiB, GiB and TiB".to_owned())?;
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(*unit_bytes)).ok_or_else(String::new)
}

/// A size as the configuration writes it, such as `64MiB`.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    let exact = SIZE_UNITS.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    exact.map_or_else(|| format!("{bytes}B"), |(name, unit)| format!("{}{name}", bytes / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_read_as_they_are_shown() {
        for text in ["1ms", "30s", "1h30m", "30d", "1d2h3m4s5ms"] {
            assert_eq!(show_time(parse_time(text).expect("a time")), text);
        }
        for text in ["", "30", "s", "5 m", "1w", "99999999999999999999s", "18446744073709551615d"] {
            assert!(parse_time(text).is_err(), "{text:?} is no time");
        }
        for text in ["64MiB", "10GiB", "1500B", "3MB"] {
            assert_eq!(show_size(parse_size(text).expect("a size")), text);
        }
        for text in ["", "64", "MiB", "1XB", "99999999TiB"] {
            assert!(parse_size(text).is_err(), "{text:?} is no size");
        }
    }
}
