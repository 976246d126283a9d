//! The vendor's metadata: one JSON object, its names in any case, unknown names ignored.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use url::Url;

use crate::access::Refusal;
use crate::notice::Metadata;
use crate::secret::redact;

/// Why a body is not understood.
#[derive(Clone, Debug)]
pub(super) struct Unreadable {
    /// What is wrong with it, in plain words.
    pub reason: String,
    /// Which rule its address breaks, if it is the address.
    pub address: Option<Refusal>,
}

impl<T: Into<String>> From<T> for Unreadable {
    fn from(reason: T) -> Self {
        Self { reason: reason.into(), address: None }
    }
}

/// Reads the metadata; the error says in plain words what is wrong with it.
pub(super) fn parse(raw: &[u8]) -> Result<Metadata, Unreadable> {
    let text = text(raw)?;
    let mut metadata = serde_json::from_str::<Loose>(&text)
        .map_err(|error| format!("the message's body is not the metadata of a file: {error}"))?
        .0;
    if metadata.blob_type.is_empty() {
        return Err("the metadata names no blobType".into());
    }
    let uri = metadata.uri.as_deref().ok_or("the metadata names no uri")?;
    metadata.uri = Some(without_token(uri)?);
    Ok(metadata)
}

/// The body as text: UTF-8, or UTF-16 with a byte order mark.
fn text(raw: &[u8]) -> Result<Cow<'_, str>, String> {
    let (encoding, mark_len) = encoding_rs::Encoding::for_bom(raw).unwrap_or((encoding_rs::UTF_8, 0));
    encoding
        .decode_without_bom_handling_and_without_replacement(&raw[mark_len..])
        .ok_or_else(|| format!("the message's body is not {} text", encoding.name()))
}

/// The address without its query, which may carry a token, and without a fragment.
fn without_token(uri: &str) -> Result<String, Unreadable> {
    let wrong = |refusal, reason: String| Unreadable { reason, address: Some(refusal) };
    let bare = uri.split(['?', '#']).next().unwrap_or_default();
    let url = Url::parse(bare)
        .map_err(|error| wrong(Refusal::Unreadable, format!("the metadata's uri cannot be understood: {error}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong(Refusal::UserName, "the metadata's uri carries a user name or a password".to_owned()));
    }
    Ok(bare.to_owned())
}

/// [`Metadata`], read tolerantly.
struct Loose(Metadata);

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(LooseVisitor)
    }
}

struct LooseVisitor;

impl<'de> Visitor<'de> for LooseVisitor {
    type Value = Loose;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Loose, A::Error> {
        let mut metadata = Metadata::default();
        while let Some(name) = map.next_key::<Name>()? {
            match name {
                Name::BlobType => metadata.blob_type = map.next_value::<Text>()?.0.unwrap_or_default(),
                Name::CorrelationId => metadata.correlation_id = map.next_value::<Text>()?.0,
                Name::Uri => metadata.uri = map.next_value::<Text>()?.0,
                Name::ContentType => metadata.content_type = map.next_value::<Text>()?.0,
                Name::ContentEncoding => metadata.content_encoding = map.next_value::<Text>()?.0,
                Name::Properties => {
                    metadata.properties = Some(map.next_value::<Value>()?).filter(|value| !value.is_null());
                    metadata.properties.iter_mut().for_each(redact_strings);
                }
                Name::Unknown => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Loose(metadata))
    }
}

/// A name in the metadata, in any case.
enum Name {
    BlobType,
    CorrelationId,
    Uri,
    ContentType,
    ContentEncoding,
    Properties,
    Unknown,
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(NameVisitor)
    }
}

struct NameVisitor;

impl Visitor<'_> for NameVisitor {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Name, E> {
        let known = [
            ("blobType", Name::BlobType),
            ("correlationId", Name::CorrelationId),
            ("uri", Name::Uri),
            ("contentType", Name::ContentType),
            ("contentEncoding", Name::ContentEncoding),
            ("properties", Name::Properties),
        ];
        let found = known.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        Ok(found.map_or(Name::Unknown, |(_, name)| name))
    }
}

/// A string, or a number or boolean as its text; `None` for null and for blank text.
struct Text(Option<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
        let trimmed = text.trim();
        Ok(Text((!trimmed.is_empty()).then(|| trimmed.to_owned())))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Text, E> {
        Ok(Text(Some(value.to_string())))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Text, E> {
        Ok(Text(Some(value.to_string())))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Text, E> {
        Ok(Text(Some(value.to_string())))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Text, E> {
        Ok(Text(Some(value.to_string())))
    }
}

/// Takes whatever looks like a token out of the strings in `value`.
fn redact_strings(value: &mut Value) {
    match value {
        Value::String(text) => {
            let redacted = redact(text);
            if redacted != *text {
                *text = redacted;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact_strings),
        Value::Object(members) => members.values_mut().for_each(redact_strings),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
