//! Which form a payload has, by what the notice says of it.

use crate::notice::Metadata;

/// The inner form of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One JSON value a line.
    JsonLines,
    /// One XML element a line.
    XmlLines,
    /// A JSON array of records, or one JSON value that is the only record.
    Json,
    /// An XML document whose root holds the records.
    Xml,
    /// Rows under a header line.
    Csv,
    /// Anything else: it has no records and is delivered whole, to sinks that take files.
    Opaque,
}

impl Form {
    /// The form by the notice's content type; where that is absent or says nothing (`application/octet-stream`), by
    /// the file name's suffix.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        let media_type = metadata.content_type.as_deref().unwrap_or_default();
        let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/x-jsonlines"
            | "application/jsonlines"
            | "application/jsonl"
            | "application/x-jsonl"
            | "application/x-ndjson"
            | "application/ndjson"
            | "application/json-lines"
            | "text/x-jsonlines" => Self::JsonLines,
            "application/x-xmllines" | "application/xmllines" => Self::XmlLines,
            "application/json" | "text/json" => Self::Json,
            "text/xml" | "application/xml" => Self::Xml,
            "text/csv" | "application/csv" => Self::Csv,
            "" | "application/octet-stream" | "binary/octet-stream" | "application/gzip" | "application/x-gzip" => {
                Self::of_name(metadata.uri.as_deref().unwrap_or_default())
            }
            other if other.ends_with("+json") => Self::Json,
            other if other.ends_with("+xml") => Self::Xml,
            _ => Self::Opaque,
        }
    }

    fn of_name(uri: &str) -> Self {
        let path = uri.split(['?', '#']).next().unwrap_or_default();
        let mut name = path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        for suffix in [".gz", ".gzip", ".zst", ".br", ".zz"] {
            if let Some(inner) = name.strip_suffix(suffix) {
                name = inner.to_owned();
                break;
            }
        }
        match name.rsplit_once('.').map(|(_, suffix)| suffix) {
            Some("jsonl" | "ndjson" | "jsonlines") => Self::JsonLines,
            Some("xmll" | "xmllines") => Self::XmlLines,
            Some("json") => Self::Json,
            Some("xml") => Self::Xml,
            Some("csv") => Self::Csv,
            _ => Self::Opaque,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(content_type: Option<&str>, uri: &str) -> Form {
        Form::of(&Metadata {
            content_type: content_type.map(str::to_owned),
            uri: Some(uri.to_owned()),
            ..Metadata::default()
        })
    }

    #[test]
    fn the_content_type_decides_whatever_its_case_and_parameters() {
        assert_eq!(form(Some("application/x-jsonlines"), "https://a/b.csv"), Form::JsonLines);
        assert_eq!(form(Some("Application/X-NDJSON; charset=utf-8"), "https://a/b"), Form::JsonLines);
        assert_eq!(form(Some("application/x-xmllines"), ""), Form::XmlLines);
        assert_eq!(form(Some("application/json;charset=UTF-8"), ""), Form::Json);
        assert_eq!(form(Some("application/vnd.vendor.item+json"), ""), Form::Json);
        assert_eq!(form(Some("TEXT/XML"), ""), Form::Xml);
        assert_eq!(form(Some("application/xml"), ""), Form::Xml);
        assert_eq!(form(Some(" text/csv ; header=present"), ""), Form::Csv);
        assert_eq!(form(Some("image/png"), "https://a/b.csv"), Form::Opaque);
    }

    #[test]
    fn without_a_telling_content_type_the_file_name_decides() {
        assert_eq!(form(None, "https://a/c/ItemChanges/x.jsonl.gz?sig=1"), Form::JsonLines);
        assert_eq!(form(Some("application/octet-stream"), "https://a/x.CSV"), Form::Csv);
        assert_eq!(form(Some(""), "https://a/x.xml.zst"), Form::Xml);
        assert_eq!(form(None, "https://a/x"), Form::Opaque);
    }
}
