//! The content of a bucket's notices: the version that was listed, or the word that it is not there any more.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt as _;
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, GetResult};

use super::BucketSettings;
use super::list::Object;
use super::notices::{Listed, dedupe_key};
use super::versions;
use crate::access::AccessError;
use crate::clock::UnixMs;
use crate::error::Class;
use crate::feed::store::{Connection, bare_etag, said};
use crate::inbox::SharedInbox;
use crate::notice::{HeardNotice, Notice, Verdict};
use crate::payload::{Content, ContentStore, PayloadError, object_of};

/// Where the payloads of a bucket feed lie.
pub struct BucketContent {
    settings: BucketSettings,
    connection: Arc<Connection>,
    /// A version that nobody listed, found when an older one is fetched, is heard here.
    inbox: SharedInbox,
}

impl std::fmt::Debug for BucketContent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BucketContent").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl BucketContent {
    /// The contents of the bucket that the connection leads to.
    #[must_use]
    pub fn new(settings: BucketSettings, connection: Arc<Connection>, inbox: SharedInbox) -> Self {
        Self { settings, connection, inbox }
    }

    fn error(&self, object: String, resumed: bool, error: &Error) -> PayloadError {
        match error {
            Error::NotFound { .. } => {
                PayloadError::Missing { object, said: "the bucket has no such object".to_owned() }
            }
            Error::Precondition { .. } | Error::NotModified { .. } => PayloadError::Changed { object },
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
                self.connection.refused();
                let said = format!("the bucket refuses us: {}; look at the key of the feed", said(error));
                PayloadError::Access { object, source: AccessError::new(Class::Unauthorized, said) }
            }
            Error::InvalidPath { .. } => PayloadError::Forbidden { object, reason: said(error) },
            // A range that begins behind the end is one of an object that has become shorter.
            _ if resumed && said(error).contains("416") => PayloadError::Changed { object },
            _ => PayloadError::Broken { object, reason: said(error) },
        }
    }

    /// Stores a notice of the version that lies there now, should the listing not have come by yet: the older notice is
    /// about to be let go, and what took its place may lie in a folder that is not listed any more.
    async fn hear(&self, old: &Notice, now: &Object) -> Result<(), PayloadError> {
        let mut metadata = old.metadata.clone();
        let day = Listed::of(old).and_then(|old| old.day);
        let listed = Listed { key: now.key.clone(), version: now.version.clone(), size: now.size, day };
        metadata.properties = serde_json::to_value(listed).ok();
        let heard = HeardNotice {
            feed: old.feed.clone(),
            dedupe_key: dedupe_key(now),
            metadata,
            body: None,
            published: now.modified,
            sequence: 0,
            delivery_count: 0,
            verdict: Verdict::Accepted,
        };
        let stored = versions::store(&*self.inbox, vec![(heard, now.clone())]).await;
        stored.map_err(|error| PayloadError::Broken { object: object_of(old), reason: error.to_string() })?;
        Ok(())
    }
}

#[async_trait]
impl ContentStore for BucketContent {
    async fn open(&self, notice: &Notice, from: u64, version: Option<&str>) -> Result<Content, PayloadError> {
        let object = object_of(notice);
        let forbidden = |reason: String| PayloadError::Forbidden { object: object.clone(), reason };
        let listed = Listed::of(notice).ok_or_else(|| forbidden("its notice does not name an object".to_owned()))?;
        let path = Path::parse(&listed.key).map_err(|error| forbidden(error.to_string()))?;
        let store = self.connection.store().map_err(|error| PayloadError::Access {
            object: object.clone(),
            source: AccessError::new(Class::Unauthorized, error.to_string()),
        })?;
        let options = GetOptions {
            range: (from > 0).then_some(GetRange::Offset(from)),
            if_match: version.map(|version| format!("\"{version}\"")),
            ..GetOptions::default()
        };
        let got = store.objects.get_opts(&path, options).await;
        let got = got.map_err(|error| self.error(object.clone(), from > 0, &error))?;
        let found = found(&listed.key, &got);
        if from == 0 && (found.version != listed.version || found.size != listed.size) {
            self.hear(notice, &found).await?;
            tracing::info!(object, feed = %self.settings.name, "rewritten since it was heard; the new version is a notice of its own");
            return Err(PayloadError::Superseded { object });
        }
        if from > 0 && got.range.start != from {
            return Err(PayloadError::Changed { object });
        }
        // A weak ETag does not say that the bytes are the same, so nothing can be resumed under it.
        let is_strong = got.meta.e_tag.as_deref().is_some_and(|etag| !etag.starts_with("W/"));
        let bytes = got.into_stream().map(|chunk| chunk.map_err(|error| said(&error))).boxed();
        Ok(Content { version: is_strong.then_some(found.version), length: Some(found.size), md5: None, bytes })
    }
}

fn found(key: &str, got: &GetResult) -> Object {
    let modified = UnixMs(got.meta.last_modified.timestamp_millis());
    let version = match &got.meta.e_tag {
        Some(etag) => bare_etag(etag).to_owned(),
        None => format!("at-{}", modified.0),
    };
    Object { key: key.to_owned(), version, size: got.meta.size, modified }
}
