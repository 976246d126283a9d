//! The secret of an HTTP sink: read from its file, kept, and read again when it is refused.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use tokio::io::AsyncReadExt;

use crate::sink::HttpAuth;

/// No secret is longer; a file that is, is another file.
const SECRET_BYTES_MAX: u64 = 64 * 1_024;

pub(super) struct Auth {
    header: HeaderName,
    prefix: &'static str,
    file: PathBuf,
    value: ArcSwapOption<HeaderValue>,
}

impl Auth {
    /// Checks the settings; reads nothing yet.
    pub(super) fn new(settings: HttpAuth) -> Result<Self, String> {
        let (header, prefix, file) = match settings {
            HttpAuth::BearerFile(file) => (AUTHORIZATION, "Bearer ", file),
            HttpAuth::HeaderFile(name, file) => {
                let header = HeaderName::from_bytes(name.as_bytes())
                    .map_err(|_| format!("{name:?} is not the name of a header"))?;
                (header, "", file)
            }
        };
        Ok(Self { header, prefix, file, value: ArcSwapOption::empty() })
    }

    /// The header with the secret: as kept, or read anew.
    pub(super) async fn header(&self, anew: bool) -> Result<(HeaderName, HeaderValue), String> {
        if !anew && let Some(value) = self.value.load_full() {
            return Ok((self.header.clone(), (*value).clone()));
        }
        let value = self.read().await?;
        self.value.store(Some(Arc::new(value.clone())));
        Ok((self.header.clone(), value))
    }

    /// `text` of the receiver with the secret taken out: some receivers repeat what they were sent.
    pub(super) fn hide(&self, text: String) -> String {
        let kept = self.value.load();
        let secret = kept.as_ref().and_then(|value| value.to_str().ok()).map(|value| &value[self.prefix.len()..]);
        match secret {
            Some(secret) if text.contains(secret) => text.replace(secret, "[secret]"),
            _ => text,
        }
    }

    async fn read(&self) -> Result<HeaderValue, String> {
        let path = self.file.display();
        let text = read_bounded(&self.file).await.map_err(|e| format!("the secret file {path} cannot be read: {e}"))?;
        let secret = text.trim();
        if secret.is_empty() {
            return Err(format!("the secret file {path} is empty"));
        }
        // The error of the header library would quote nothing, but it would not name the file either.
        let mut value = HeaderValue::from_str(&format!("{}{secret}", self.prefix))
            .map_err(|_| format!("the secret file {path} holds more than one line, or no plain text"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

async fn read_bounded(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let read = tokio::fs::File::open(path).await?.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text).await?;
    if read as u64 > SECRET_BYTES_MAX {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "it is too long for a secret"));
    }
    Ok(text)
}
