//! Tokens from files, for a broker and a blob store that no authority stands before.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::keeper::Keeper;
use super::origin::{Answer, Origin, Why};
use super::refresh::Timing;
use super::{AccessError, BlobAccess, ConnectionString};
use crate::clock::Clock;
use crate::error::Class;
use crate::ops::Context;
use crate::probe::{Finding, Step};
use crate::secret::redact;

/// A file of tokens is a few lines; more is a mistake.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where the tokens stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticSettings {
    /// A file with a Service Bus connection string: a ready-made `SharedAccessSignature`, or a key to sign with.
    pub connection_string_file: PathBuf,
    /// The subscription, where the connection string's `EntityPath` does not name it.
    pub subscription: Option<String>,
    /// A file with one blob base URL with its token on each line; empty lines and those that start with `#` are passed over.
    pub blob_urls_file: Option<PathBuf>,
    /// Tokens are read again this long before the earliest of them expires.
    pub refresh_ahead: Duration,
    /// The files are not read again within this time, unless fresh tokens are themselves refused.
    pub refresh_interval_min: Duration,
}

/// Starts to keep tokens that are read from files, again when they are refused or about to expire; nothing is read before
/// somebody asks. A key in the connection string signs a fresh token each time. It ends with `stop`, or when dropped.
///
/// # Panics
/// Outside a tokio runtime.
#[must_use]
pub fn static_tokens(settings: StaticSettings, context: &Context, stop: &CancellationToken) -> Arc<Keeper> {
    let timing = Timing { refresh_ahead: settings.refresh_ahead, refresh_interval_min: settings.refresh_interval_min };
    let files = Files { settings, clock: Arc::clone(&context.clock), last: std::sync::Mutex::default() };
    Arc::new(Keeper::spawn(Arc::new(files), timing, context, stop))
}

#[derive(Debug)]
struct Files {
    settings: StaticSettings,
    clock: Arc<dyn Clock>,
    last: std::sync::Mutex<Option<Vec<String>>>,
}

impl Files {
    async fn read(&self) -> Result<Answer, AccessError> {
        let text = read_file(&self.settings.connection_string_file).await?;
        let service_bus =
            ConnectionString::parse(&text)?.access(self.settings.subscription.as_deref(), self.clock.now())?;
        let mut blobs = Vec::new();
        if let Some(path) = &self.settings.blob_urls_file {
            let text = read_file(path).await?;
            for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
                blobs.push(BlobAccess::parse(line)?);
            }
        }
        Ok(Answer { service_bus, blobs })
    }
}

async fn read_file(path: &Path) -> Result<String, AccessError> {
    use tokio::io::AsyncReadExt as _;
    let fail = |e: std::io::Error| {
        AccessError::new(Class::Permanent, format!("the token file {} cannot be read: {e}", path.display()))
    };
    let mut text = String::new();
    let file = tokio::fs::File::open(path).await.map_err(fail)?;
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).await.map_err(fail)?;
    Ok(text)
}

#[async_trait]
impl Origin for Files {
    fn name(&self) -> String {
        format!("the token file {}", self.settings.connection_string_file.display())
    }

    async fn fetch(&self, why: Why) -> Result<Answer, AccessError> {
        let answer = self.read().await?;
        let secrets: Vec<String> = std::iter::once(&answer.service_bus.sas)
            .chain(answer.blobs.iter().map(|blob| &blob.sas))
            .map(|sas| sas.expose().to_owned())
            .collect();
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if why == Why::Refused && last.as_ref() == Some(&secrets) {
            return Err(AccessError::new(
                Class::Unauthorized,
                format!("{} still holds the tokens that were refused; put fresh ones there", self.name()),
            ));
        }
        *last = Some(secrets);
        Ok(answer)
    }

    async fn probe(&self) -> (Vec<Step>, Option<Answer>) {
        let start = Instant::now();
        let finding = match self.read().await {
            Ok(answer) => Finding::Good {
                seen: format!(
                    "topic {}, subscription {}, {} blob base URLs",
                    answer.service_bus.topic,
                    answer.service_bus.subscription,
                    answer.blobs.len()
                ),
            },
            Err(error) => Finding::Bad {
                error: redact(&error.to_string()),
                remedy: "correct the token files that the configuration names".to_owned(),
            },
        };
        // Reading files again costs nothing.
        (vec![Step { name: "tokens read from files".to_owned(), took: start.elapsed(), finding }], None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::TokenSource as _;
    use crate::clock::SystemClock;

    #[tokio::test]
    async fn tokens_come_from_files_and_refused_ones_are_not_handed_out_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let connection_string_file = folder.path().join("service-bus");
        let blob_urls_file = folder.path().join("blobs");
        let write = |sig: &str| {
            let text = format!(
                "Endpoint=sb://localhost:5672;SharedAccessSignature=sr=x&sig={sig};EntityPath=t;UseDevelopmentEmulator=true\n"
            );
            std::fs::write(&connection_string_file, text).expect("written");
        };
        write("first");
        std::fs::write(&blob_urls_file, "# the store\n\nhttp://127.0.0.1:10000/acct/c?sv=1&sig=b\n").expect("written");
        let settings = StaticSettings {
            connection_string_file: connection_string_file.clone(),
            subscription: Some("s".to_owned()),
            blob_urls_file: Some(blob_urls_file.clone()),
            refresh_ahead: Duration::from_secs(300),
            refresh_interval_min: Duration::ZERO,
        };
        let context = Context::new(Arc::new(SystemClock));
        let tokens = static_tokens(settings, &context, &CancellationToken::new());
        let first = tokens.current().await.expect("tokens");
        assert_eq!(first.service_bus.sas.expose(), "SharedAccessSignature sr=x&sig=first");
        assert_eq!(first.blobs.len(), 1);
        assert!(matches!(tokens.probe().await[..], [Step { finding: Finding::Good { .. }, .. }]));

        let error = tokens.refused(first.generation).await.expect_err("the same tokens");
        assert!(error.to_string().contains("still holds the tokens that were refused"), "{error}");
        write("second");
        tokio::time::pause();
        let second = tokens.refused(first.generation).await.expect("fresh tokens");
        assert_eq!(second.service_bus.sas.expose(), "SharedAccessSignature sr=x&sig=second");
    }
}
