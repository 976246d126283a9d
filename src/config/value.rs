//! The kinds of values that a configuration file holds: how each is read, what is allowed, and how it is shown.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use toml::Spanned;
use toml::de::DeValue;
use url::Url;

use super::problem::Problems;
use super::reader::{FromToml, cannot_be, nearest};
use crate::blob_type::BlobTypeFilter;

mod quantity;

pub use quantity::{Limit, Size, SizeLimit, Time, Whole, show_size, show_time};

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
