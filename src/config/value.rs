//! The kinds of values that a configuration file holds: how each is read, what is allowed, and how it is shown.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use toml::Spanned;
use toml::de::DeValue;
use url::Url;

use super::problem::Problems;
use super::reader::{FromToml, cannot_be, nearest};
use crate::blob_type::BlobTypeFilter;

/// Reads a value with `parse`, which says why it cannot; `must` says what is allowed.
fn scalar<T>(
    key: &str,
    value: &Spanned<DeValue<'_>>,
    must: &str,
    problems: &mut Problems<'_>,
    parse: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
) -> Option<T> {
    match parse(value.get_ref()) {
        Ok(read) => Some(read),
        Err(why) if why.is_empty() => {
            cannot_be(key, value.span(), must, problems);
            None
        }
        Err(why) => {
            cannot_be(key, value.span(), format!("{must}; {why}"), problems);
            None
        }
    }
}

fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, String> {
    value.as_str().ok_or_else(String::new)
}

/// The number in `value`; TOML allows other radices and underscores, which the parser has taken out.
fn whole(value: &DeValue<'_>) -> Result<u64, String> {
    let integer = value.as_integer().ok_or_else(String::new)?;
    u64::from_str_radix(integer.as_str(), integer.radix()).map_err(|_| String::new())
}

impl FromToml for bool {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) -> Option<Self> {
        scalar(key, value, "must be true or false", problems, |value| value.as_bool().ok_or_else(String::new))
    }
}

impl FromToml for String {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) -> Option<Self> {
        scalar(key, value, "must be a text that is not empty", problems, |value| {
            text(value).ok().filter(|text| !text.trim().is_empty()).map(str::to_owned).ok_or_else(String::new)
        })
    }
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

/// An address that may be called: `https`, or `http` on loopback, and nothing secret in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(pub Url);

impl FromToml for Address {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) -> Option<Self> {
        if value.get_ref().as_str().is_some_and(address_carries_secret) {
            problems.mask(value.span());
            let problem = super::problem::Problem::new(
                value.span(),
                format!("`{key}` carries a secret, which cannot stand in this file"),
                "must be an address without a password, a signature or a token",
            );
            problems.add(problem.help("secrets are read from files of their own, never from this one"));
            return None;
        }
        scalar(key, value, "must be an https address, or http on loopback", problems, |value| {
            let url = Url::parse(text(value)?).map_err(|error| format!("{error}"))?;
            if crate::net::is_allowed(&url) {
                Ok(Self(url))
            } else if url.scheme() == "http" {
                Err("a plain connection shows every token to the network".to_owned())
            } else {
                Err(String::new())
            }
        })
    }
}

fn address_carries_secret(text: &str) -> bool {
    const NAMES: [&str; 7] = ["sig", "token", "access_token", "key", "api_key", "apikey", "password"];
    Url::parse(text).is_ok_and(|url| {
        url.password().is_some()
            || url.query_pairs().any(|(name, value)| !value.is_empty() && NAMES.contains(&name.to_lowercase().as_str()))
    })
}

/// The name of a feed, route or sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(pub String);

impl FromToml for Name {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) -> Option<Self> {
        let must = "must be a name of up to 64 letters, digits, dots, dashes and underscores that starts with a letter or digit";
        scalar(key, value, must, problems, |value| {
            let name = text(value)?;
            let fits = name.len() <= 64
                && name.starts_with(|c: char| c.is_ascii_alphanumeric())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c));
            if fits { Ok(Self(name.to_owned())) } else { Err(String::new()) }
        })
    }
}

/// A glob of blob types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(pub String);

impl FromToml for Glob {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) -> Option<Self> {
        scalar(key, value, "must be a glob such as \"Gateway.*\"", problems, |value| {
            let glob = text(value)?;
            if glob.is_empty() {
                return Err(String::new());
            }
            // The very filter that will be made of it.
            BlobTypeFilter::new(&[glob.to_owned()], &[]).map_err(|error| error.msg.to_owned())?;
            Ok(Self(glob.to_owned()))
        })
    }
}

/// A path as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathText(pub String);

impl FromToml for PathText {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) -> Option<Self> {
        scalar(key, value, "must be a path", problems, |value| {
            let path = text(value)?;
            if path.trim().is_empty() || path.contains('\0') { Err(String::new()) } else { Ok(Self(path.to_owned())) }
        })
    }
}

/// An address and port to listen on; `""` for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(pub Option<SocketAddr>);

impl FromToml for Listen {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) -> Option<Self> {
        let must = "must be an address and port such as \"127.0.0.1:9464\", or \"\" for none";
        scalar(key, value, must, problems, |value| match text(value)? {
            "" => Ok(Self(None)),
            text => text.parse().map(|address| Self(Some(address))).map_err(|_| String::new()),
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => write!(f, "\"{address}\""),
            None => f.write_str("\"\""),
        }
    }
}

/// A network, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(pub IpNet);

impl FromToml for Network {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) -> Option<Self> {
        scalar(key, value, "must be a network such as \"192.0.2.0/24\", or an address", problems, |value| {
            let text = text(value)?;
            let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            network.map(|network| Self(network.trunc())).map_err(|_| String::new())
        })
    }
}

/// A JSON pointer (RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer(pub String);

impl FromToml for Pointer {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) -> Option<Self> {
        scalar(key, value, "must be a JSON pointer such as \"/status/isDeleted\"", problems, |value| {
            let pointer = text(value)?;
            crate::pointer::Pointer::parse(pointer).map_err(|error| error.reason().to_owned())?;
            Ok(Self(pointer.to_owned()))
        })
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// A value to compare a record's with.
#[derive(Clone, Debug, PartialEq)]
pub struct Literal(pub serde_json::Value);

impl FromToml for Literal {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) -> Option<Self> {
        scalar(key, value, "must be a text, a number, true or false", problems, |value| {
            Ok(Self(match value {
                DeValue::String(text) => serde_json::Value::from(text.as_ref()),
                DeValue::Boolean(flag) => serde_json::Value::from(*flag),
                DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
                    .map(serde_json::Value::from)
                    .map_err(|_| String::new())?,
                DeValue::Float(float) => float
                    .as_str()
                    .parse::<f64>()
                    .ok()
                    .and_then(serde_json::Number::from_f64)
                    .map(serde_json::Value::Number)
                    .ok_or_else(String::new)?,
                DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => return Err(String::new()),
            }))
        })
    }
}

/// One of a few words.
pub trait Word: Copy + PartialEq + 'static {
    /// Every word and what it means.
    const WORDS: &'static [(&'static str, Self)];
}

/// A value that is one of a few words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OneOf<T>(pub T);

impl<T: Word> FromToml for OneOf<T> {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) -> Option<Self> {
        one_of(key, value, T::WORDS.iter().map(|(word, _)| *word), problems)
            .and_then(|found| T::WORDS.iter().find(|(word, _)| *word == found))
            .map(|(_, meaning)| Self(*meaning))
    }
}

impl<T: Word> fmt::Display for OneOf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, _) = T::WORDS.iter().find(|(_, meaning)| *meaning == self.0).expect("every meaning has a word");
        write!(f, "{word:?}")
    }
}

/// `"a", "b" or "c"`.
pub fn either<'w>(words: impl Iterator<Item = &'w str>) -> String {
    let quoted: Vec<_> = words.map(|word| format!("{word:?}")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// The one of `words` that `value` is, or a problem that names them all.
pub fn one_of<'w>(
    key: &str,
    value: &Spanned<DeValue<'_>>,
    words: impl Iterator<Item = &'w str> + Clone,
    problems: &mut Problems<'_>,
) -> Option<&'w str> {
    scalar(key, value, &format!("must be {}", either(words.clone())), problems, |value| {
        let typed = text(value)?;
        words.clone().find(|word| *word == typed).ok_or_else(|| {
            nearest(typed, words.clone()).map(|near| format!("did you mean {near:?}?")).unwrap_or_default()
        })
    })
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
