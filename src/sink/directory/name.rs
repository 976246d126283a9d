//! Names of files: a pattern, filled with what a notice says, of which nothing can lead out of the folder.

use percent_encoding::percent_decode_str;

use crate::sink::identity::short_hash;
use crate::sink::{DeliveryContext, DirectoryFormat};

/// Bytes that one value may add to a name.
const VALUE_BYTES_MAX: usize = 120;
/// Bytes of one folder or file name; file systems take 255.
const COMPONENT_BYTES_MAX: usize = 240;
/// Folders in a pattern, so that the path stays far below the 4,096 bytes that the system takes.
const COMPONENTS_MAX: usize = 8;

/// A pattern such as `{blob_type}/{date}/{notice}.{ext}`, read and checked.
#[derive(Clone, Debug)]
pub(super) struct NamePattern {
    components: Vec<Vec<Piece>>,
}

#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    Value(Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    BlobType,
    Date,
    Time,
    Notice,
    CorrelationId,
    File,
    Route,
    Feed,
    Run,
    Extension,
}

const VALUES: [(&str, Value); 10] = [
    ("blob_type", Value::BlobType),
    ("date", Value::Date),
    ("time", Value::Time),
    ("notice", Value::Notice),
    ("correlation_id", Value::CorrelationId),
    ("file", Value::File),
    ("route", Value::Route),
    ("feed", Value::Feed),
    ("run", Value::Run),
    ("ext", Value::Extension),
];

/// Where a delivery's file goes, below the sink's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FilePlace {
    pub(super) folders: Vec<String>,
    pub(super) file: String,
}

impl NamePattern {
    /// Reads a pattern; the error says what is wrong with it.
    pub(super) fn parse(pattern: &str) -> Result<Self, String> {
        let components: Vec<&str> = pattern.split('/').collect();
        if components.len() > COMPONENTS_MAX {
            return Err(format!("more than {COMPONENTS_MAX} folders deep"));
        }
        let components = components.into_iter().map(parse_component).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { components })
    }

    /// Whether each notice and run gets a name of its own, so that no file takes the place of another notice's.
    pub(super) fn is_unique(&self) -> bool {
        let has = |value| self.components.iter().flatten().any(|p| matches!(p, Piece::Value(v) if *v == value));
        has(Value::Notice) && has(Value::Run)
    }

    /// The place of a delivery's file: the same on every try.
    pub(super) fn place(&self, delivery: &DeliveryContext, format: DirectoryFormat) -> FilePlace {
        let mut names: Vec<String> = self
            .components
            .iter()
            .map(|pieces| {
                let mut name = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Text(text) => name.push_str(text),
                        Piece::Value(value) => name.push_str(&safe_value(&value.of(delivery, format))),
                    }
                }
                safe_component(name)
            })
            .collect();
        let file = names.pop().expect("a split gives at least one component, and each was refused if empty");
        FilePlace { folders: names, file }
    }
}

fn parse_component(component: &str) -> Result<Vec<Piece>, String> {
    if component.is_empty() {
        return Err("a folder or file name in it is empty".to_owned());
    }
    if component.starts_with('.') {
        return Err("a folder or file name in it begins with a dot".to_owned());
    }
    if component.chars().any(|c| c.is_control() || c == '\\') {
        return Err("it has a control character or a backslash in it".to_owned());
    }
    let mut pieces = Vec::new();
    let mut rest = component;
    while let Some(open) = rest.find('{') {
        if open > 0 {
            pieces.push(Piece::Text(rest[..open].to_owned()));
        }
        let after = &rest[open + 1..];
        let close = after.find('}').ok_or("a `{` has no `}`")?;
        let name = &after[..close];
        let known = VALUES.iter().find(|(known, _)| *known == name);
        let (_, value) = known.ok_or_else(|| {
            let all: Vec<String> = VALUES.iter().map(|(name, _)| format!("{{{name}}}")).collect();
            format!("{{{name}}} is not known; known are {}", all.join(", "))
        })?;
        pieces.push(Piece::Value(*value));
        rest = &after[close + 1..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}

impl Value {
    fn of(self, delivery: &DeliveryContext, format: DirectoryFormat) -> String {
        let notice = &delivery.notice;
        // The time of publishing, not the present: the name must be the same on the next try.
        let published = || notice.published.to_timestamp().to_zoned(jiff::tz::TimeZone::UTC);
        match self {
            Self::BlobType => notice.metadata.blob_type.clone(),
            Self::Date => published().strftime("%Y-%m-%d").to_string(),
            Self::Time => published().strftime("%H%M%S").to_string(),
            Self::Notice => notice.id.to_string(),
            Self::CorrelationId => notice.metadata.correlation_id.clone().unwrap_or_default(),
            Self::File => file_of(notice.metadata.uri.as_deref()),
            Self::Route => delivery.target.route.to_string(),
            Self::Feed => notice.feed.to_string(),
            Self::Run => delivery.run.0.to_string(),
            Self::Extension => match format {
                DirectoryFormat::JsonLines => "jsonl".to_owned(),
                DirectoryFormat::Raw => extension_of(delivery),
            },
        }
    }
}

/// The last segment of the uri, decoded, without a compression suffix: the sink writes decompressed bytes.
fn file_of(uri: Option<&str>) -> String {
    const COMPRESSED: [&str; 5] = [".gz", ".gzip", ".br", ".zst", ".deflate"];
    let url = uri.and_then(|uri| url::Url::parse(uri).ok());
    let path = url.as_ref().map(url::Url::path).or(uri).unwrap_or_default();
    let segment = path.rsplit('/').next().unwrap_or_default();
    let name = percent_decode_str(segment).decode_utf8_lossy().into_owned();
    let lower = name.to_ascii_lowercase();
    match COMPRESSED.iter().find(|suffix| lower.ends_with(**suffix) && lower.len() > suffix.len()) {
        Some(suffix) => name[..name.len() - suffix.len()].to_owned(),
        None => name,
    }
}

fn extension_of(delivery: &DeliveryContext) -> String {
    let metadata = &delivery.notice.metadata;
    let file = file_of(metadata.uri.as_deref());
    if let Some((stem, extension)) = file.rsplit_once('.')
        && !stem.is_empty()
        && (1..=10).contains(&extension.len())
        && extension.bytes().all(|byte| byte.is_ascii_alphanumeric())
    {
        return extension.to_ascii_lowercase();
    }
    let content_type = metadata.content_type.as_deref().unwrap_or_default().to_ascii_lowercase();
    match content_type.split(';').next().unwrap_or_default().trim() {
        "application/x-jsonlines" | "application/x-ndjson" => "jsonl",
        "application/json" => "json",
        "application/x-xmllines" => "xmll",
        "text/xml" | "application/xml" => "xml",
        "text/csv" => "csv",
        "text/plain" => "txt",
        _ => "bin",
    }
    .to_owned()
}

/// A value as part of a name: what separates, hides, controls or reorders is replaced, and its length is bounded. A
/// value that is cut off ends in a hash of the whole, so that two long values stay two.
fn safe_value(value: &str) -> String {
    let mut safe: String = value.chars().map(|c| if is_harmless(c) { c } else { '_' }).collect();
    if safe.starts_with(['.', '-', ' ']) {
        // A leading dot hides a file or climbs out; a leading dash is an option to many programs.
        safe.replace_range(..1, "_");
    }
    if safe.is_empty() {
        return "_".to_owned();
    }
    cut(safe, value, VALUE_BYTES_MAX)
}

fn is_harmless(c: char) -> bool {
    // Invisible and direction-changing characters make one name look like another.
    let is_invisible = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    !(c.is_control() || is_invisible || "/\\:*?\"<>|{}".contains(c) || c == char::REPLACEMENT_CHARACTER)
}

fn safe_component(name: String) -> String {
    /// Devices on Windows under any extension: a share or a synchronised folder would trip over them.
    const RESERVED: [&str; 6] = ["con", "prn", "aux", "nul", "com", "lpt"];
    let mut safe = name.clone();
    if safe.ends_with(['.', ' ']) {
        safe.pop();
        safe.push('_');
    }
    let stem = safe.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let device = stem.trim_end_matches(|c: char| c.is_ascii_digit());
    if safe.starts_with('.') || (RESERVED.contains(&device) && stem.len() <= device.len() + 1) {
        safe.insert(0, '_');
    }
    cut(safe, &name, COMPONENT_BYTES_MAX)
}

fn cut(mut text: String, whole: &str, bytes_max: usize) -> String {
    const HASH_DIGITS: usize = 12;
    if text.len() <= bytes_max {
        return text;
    }
    text.truncate(text.floor_char_boundary(bytes_max - HASH_DIGITS - 1));
    format!("{text}~{}", short_hash(whole, HASH_DIGITS))
}

#[cfg(test)]
#[path = "name_tests.rs"]
mod tests;
