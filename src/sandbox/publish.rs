//! Publishing: a file goes into the blob store, and its announcement onto the topic.

use std::path::PathBuf;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::broker::OutgoingMessage;
use super::sample::ugly::{Expected, Ugly};
use super::sample::{RepeatedSpec, SampleSpec};
use super::{Content, Sandbox, SandboxError};
use crate::notice::Metadata;

/// A generated file with more records than this goes to disk, not into memory.
const RECORDS_IN_MEMORY_MAX: u64 = 50_000;
/// More files than this in one request are a mistake.
const FILES_MAX: u32 = 1_000_000;

/// What to publish, and how to announce it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishRequest {
    /// What the file holds.
    pub file: FileSource,
    /// So many files like this one; generated records go on counting from file to file.
    #[serde(default = "one")]
    pub files: u32,
    /// `blobType`; absent for the one that goes with the file.
    #[serde(default)]
    pub blob_type: Option<String>,
    /// `correlationId`; absent for a new one a file.
    #[serde(default)]
    pub correlation_id: Option<String>,
    /// `contentType`; absent for the true one.
    #[serde(default)]
    pub content_type: Option<String>,
    /// `contentEncoding`; absent for the true one, empty for none.
    #[serde(default)]
    pub content_encoding: Option<String>,
    /// `properties`, any JSON.
    #[serde(default)]
    pub properties: Option<Value>,
    /// The Service Bus message id; absent for a new one a file.
    #[serde(default)]
    pub message_id: Option<String>,
    /// Announce under `BlobType`, `Uri` and so on, as older exports did.
    #[serde(default)]
    pub pascal_case: bool,
    /// After the last file, publish what its records refer to: for prices their items and store groups, for stores
    /// their store groups. So children come before their parents, as they do in a real export.
    #[serde(default)]
    pub parents_after: bool,
}

const fn one() -> u32 {
    1
}

/// Where the content of a published file comes from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileSource {
    /// Generated.
    Sample(SampleSpec),
    /// Generated, of any size, with the same records again and again.
    Repeated(RepeatedSpec),
    /// Generated, and wrong in one way.
    Ugly {
        /// In which way.
        way: Ugly,
        /// The number of its first record.
        #[serde(default)]
        first: u64,
        /// How many records it is made of.
        #[serde(default = "hundred")]
        records: u64,
        /// Decides everything that the numbers leave open.
        #[serde(default)]
        seed: u64,
    },
    /// This text, by default as JSON lines.
    Text(String),
    /// A file of this machine, by default as JSON lines, gzipped if its name ends in `.gz`.
    Path(PathBuf),
    /// Nothing is stored: the announcement names this URI, in our blob store or another.
    Uri(String),
    /// Nothing is stored: the message is this text, which need not be an announcement at all.
    Message(String),
}

const fn hundred() -> u64 {
    100
}

impl PublishRequest {
    /// One file of `source`, announced truthfully.
    #[must_use]
    pub fn new(source: FileSource) -> Self {
        Self {
            file: source,
            files: 1,
            blob_type: None,
            correlation_id: None,
            content_type: None,
            content_encoding: None,
            properties: None,
            message_id: None,
            pascal_case: false,
            parents_after: false,
        }
    }

    /// So many generated files.
    #[must_use]
    pub fn samples(spec: SampleSpec, files: u32) -> Self {
        Self { files, ..Self::new(FileSource::Sample(spec)) }
    }

    /// An ugly file of a hundred records.
    #[must_use]
    pub fn ugly(way: Ugly) -> Self {
        Self::new(FileSource::Ugly { way, first: 0, records: hundred(), seed: 0 })
    }

    /// Announced under another blob type.
    #[must_use]
    pub fn blob_type(mut self, blob_type: impl Into<String>) -> Self {
        self.blob_type = Some(blob_type.into());
        self
    }
}

/// A file that was published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Published {
    /// The Service Bus message id.
    pub message_id: String,
    /// `correlationId`; absent for a message that is no announcement.
    pub correlation_id: Option<String>,
    /// `blobType`; absent for a message that is no announcement.
    pub blob_type: Option<String>,
    /// Where the blob lies, without a token; absent for a message that is no announcement.
    pub uri: Option<String>,
    /// How long the blob is; absent where nothing was stored.
    pub blob_bytes: Option<u64>,
    /// Good records in it; absent where we do not know.
    pub records: Option<u64>,
    /// Bad records in it.
    pub bad_records: u64,
    /// What a careful reader makes of it.
    pub expected: Expected,
}

/// A file that is ready to be stored.
struct Made {
    content: Option<Content>,
    blob_type: &'static str,
    content_type: String,
    content_encoding: Option<String>,
    extension: String,
    records: Option<u64>,
    bad_records: u64,
    expected: Expected,
}

impl Sandbox {
    /// Stores the files and announces them, in order.
    ///
    /// # Errors
    /// When a file cannot be read or written, or the request makes no sense.
    pub async fn publish(&self, request: PublishRequest) -> Result<Vec<Published>, SandboxError> {
        if request.files == 0 || request.files > FILES_MAX {
            return Err(SandboxError::Request(format!("{} files: 1 to {FILES_MAX} are possible", request.files)));
        }
        let mut published = Vec::new();
        for number in 0..request.files {
            published.push(self.publish_one(&request, number).await?);
        }
        if request.parents_after {
            let FileSource::Sample(spec) = &request.file else {
                return Err(SandboxError::Request("only a sample has parents that are known".to_owned()));
            };
            for parents in spec.parents_of(request.files) {
                published.push(self.publish_one(&PublishRequest::samples(parents, 1), 0).await?);
            }
        }
        Ok(published)
    }

    async fn publish_one(&self, request: &PublishRequest, number: u32) -> Result<Published, SandboxError> {
        // A second file under the first one's message id would be a duplicate: that is for `duplicate_next`.
        let message_id = match &request.message_id {
            Some(id) if request.files == 1 => id.clone(),
            Some(id) => format!("{id}-{number}"),
            None => Uuid::new_v4().to_string(),
        };
        if let FileSource::Message(text) = &request.file {
            self.announce(&message_id, None, text.clone().into())?;
            return Ok(Published {
                message_id,
                correlation_id: None,
                blob_type: None,
                uri: None,
                blob_bytes: None,
                records: None,
                bad_records: 0,
                expected: Expected::Poison,
            });
        }
        let (source, folder) = (request.file.clone(), self.dir().join("blobs"));
        let made = tokio::task::spawn_blocking(move || make(source, u64::from(number), &folder))
            .await
            .map_err(|e| SandboxError::Request(format!("the file could not be made: {e}")))??;

        let correlation_id = request.correlation_id.clone().unwrap_or_else(|| Uuid::new_v4().to_string());
        let blob_type = request.blob_type.clone().unwrap_or_else(|| made.blob_type.to_owned());
        let date = self.settings().clock.now().to_timestamp().strftime("%Y-%m-%d").to_string();
        let name = format!("{blob_type}/{date}/{correlation_id}-{}{}", Uuid::new_v4(), made.extension);
        let blob_bytes = made.content.as_ref().map(Content::len);
        let uri = match (&request.file, made.content) {
            (FileSource::Uri(uri), _) => uri.clone(),
            (_, Some(content)) => self.put_blob(&name, content, &made.content_type)?.into(),
            (_, None) => self.blob_uri(&name).into(),
        };
        let encoding = request.content_encoding.clone().or(made.content_encoding);
        let metadata = Metadata {
            blob_type: blob_type.clone(),
            correlation_id: Some(correlation_id.clone()),
            uri: Some(uri.clone()),
            content_type: Some(request.content_type.clone().unwrap_or(made.content_type)),
            content_encoding: encoding.filter(|text| !text.is_empty()),
            properties: request.properties.clone(),
        };
        let body = if request.pascal_case { pascal_case(&metadata) } else { serde_json::json!(metadata).to_string() };
        self.announce(&message_id, Some(&blob_type), body.into())?;
        Ok(Published {
            message_id,
            correlation_id: Some(correlation_id),
            blob_type: Some(blob_type),
            uri: Some(uri),
            blob_bytes,
            records: made.records,
            bad_records: made.bad_records,
            expected: made.expected,
        })
    }

    /// Puts a message onto the topic. A subscription filter of the vendor needs the blob type as a property.
    fn announce(&self, message_id: &str, blob_type: Option<&str>, body: Bytes) -> Result<(), SandboxError> {
        let mut message = OutgoingMessage::json(message_id, body);
        message.properties.extend(blob_type.map(|text| ("blobType".to_owned(), text.to_owned())));
        self.broker().publish(&self.settings().topic, vec![message])?;
        Ok(())
    }
}

/// Makes the file of this source, as number `number` of its request.
fn make(source: FileSource, number: u64, folder: &std::path::Path) -> Result<Made, SandboxError> {
    let plain = |content, records| Made {
        content,
        blob_type: "TestData",
        content_type: "application/x-jsonlines".to_owned(),
        content_encoding: None,
        extension: ".jsonl".to_owned(),
        records,
        bad_records: 0,
        expected: Expected::Delivered,
    };
    Ok(match source {
        FileSource::Sample(mut spec) => {
            spec.first += number * spec.records;
            Made {
                blob_type: spec.kind.blob_type(),
                content_type: spec.format.content_type().to_owned(),
                content_encoding: spec.compression.content_encoding().map(str::to_owned),
                extension: spec.extension(),
                ..plain(Some(generate(&spec, folder)?), Some(spec.records))
            }
        }
        FileSource::Repeated(spec) => {
            let repeated = spec.build()?;
            let encoding = spec.compression.content_encoding();
            Made {
                blob_type: spec.kind.blob_type(),
                content_encoding: encoding.map(str::to_owned),
                extension: if encoding.is_some() { ".jsonl.gz" } else { ".jsonl" }.to_owned(),
                ..plain(Some(repeated.content), Some(repeated.records))
            }
        }
        FileSource::Ugly { way, first, records, seed } => {
            let file = way.build(first + number * records, records, seed);
            let known = matches!(file.expected, Expected::Delivered | Expected::Opaque);
            Made {
                content: file.bytes.map(|bytes| Content::Bytes(bytes.into())),
                blob_type: "Gateway.ItemChanges",
                content_type: file.content_type.to_owned(),
                content_encoding: file.content_encoding.map(str::to_owned),
                extension: file.extension.to_owned(),
                records: known.then_some(file.records),
                bad_records: file.bad_records,
                expected: file.expected,
            }
        }
        FileSource::Text(text) => plain(Some(Content::Bytes(text.into())), None),
        FileSource::Path(path) => {
            let found = std::fs::metadata(&path)
                .map_err(|e| SandboxError::Request(format!("{} cannot be published: {e}", path.display())))?;
            let gzip = path.extension().is_some_and(|extension| extension == "gz");
            Made {
                content_encoding: gzip.then(|| "gzip".to_owned()),
                ..plain(Some(Content::File { path, len: found.len() }), None)
            }
        }
        FileSource::Uri(_) | FileSource::Message(_) => plain(None, None),
    })
}

/// The generated file, in memory or on disk by its size.
fn generate(spec: &SampleSpec, folder: &std::path::Path) -> Result<Content, SandboxError> {
    if spec.records <= RECORDS_IN_MEMORY_MAX {
        return Ok(Content::Bytes(spec.to_vec().into()));
    }
    let path = folder.join(format!("{}{}", Uuid::new_v4(), spec.extension()));
    let fail = |source| SandboxError::Write { path: path.clone(), source };
    std::fs::create_dir_all(folder).map_err(fail)?;
    let file = std::fs::File::create_new(&path).map_err(fail)?;
    let buffered = spec.write_to(std::io::BufWriter::with_capacity(1 << 20, file)).map_err(fail)?;
    let file = buffered.into_inner().map_err(|e| fail(e.into_error()))?;
    let len = file.metadata().map_err(fail)?.len();
    Ok(Content::File { path, len })
}

/// The announcement under the names of older exports: `BlobType`, `Uri`.
fn pascal_case(metadata: &Metadata) -> String {
    let Value::Object(fields) = serde_json::json!(metadata) else { return String::new() };
    let renamed: Map<String, Value> = fields
        .into_iter()
        .map(|(name, value)| {
            let (first, rest) = name.split_at(1);
            (first.to_ascii_uppercase() + rest, value)
        })
        .collect();
    Value::Object(renamed).to_string()
}
