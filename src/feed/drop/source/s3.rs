//! A folder of a bucket in S3 as a source: the objects under one prefix, without those in folders below it.
//!
//! An object appears whole, and its ETag tells its versions apart: what is read is the version that was listed, also
//! where a connection breaks and the rest is asked for (`If-Match`), or nothing.
//!
//! S3 cannot move: a file is copied, and the original is deleted. Cut off between the two, both are there; the next try
//! finds the copy to be one (by size and ETag, or by reading it), and only deletes the original.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::digest;
use futures::StreamExt as _;
use http::StatusCode;
use object_store::list::PaginatedListOptions;
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectMeta, ObjectStoreExt as _};

use super::contract::{Goal, Listed, ReadEnd, Receive, Source, SourceError, Stamp};
use super::remote::STEP_MAX;
use crate::feed::store::{BucketAccess, ConnectError, Connection, Provider, Store, bare_etag, said, status};
use crate::net::HttpLimits;

/// Connections that break one after the other without a byte in between; then the next look begins anew.
const BREAKS_MAX: u32 = 3;
/// A store that breaks connections is given this long before the rest is asked for.
const BREAK_PAUSE: Duration = Duration::from_millis(200);
/// S3 copies no larger object in one request.
const COPY_BYTES_MAX: u64 = 5 << 30;
/// The store copies within itself; a whole object takes it a minute or so.
const COPY_MAX: Duration = Duration::from_secs(10 * 60);
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// A folder of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Settings {
    /// The bucket, and how it is reached.
    pub access: BucketAccess,
    /// What the names of its objects begin with; empty, or with a slash at its end.
    pub prefix: String,
}

impl S3Settings {
    /// The way to the bucket; nothing is read or connected yet.
    pub(super) fn connection(&self) -> Connection {
        // A body may take as long as it wants, as long as it comes.
        Connection::new(self.access.clone(), HttpLimits { connect: CONNECT_MAX, idle: STEP_MAX, total: None })
    }
}

impl fmt::Display for S3Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.access.uri(&self.prefix).trim_end_matches('/'))
    }
}

/// What is done, and the right that the key needs for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doing {
    pub(super) what: &'static str,
    pub(super) right: &'static str,
}

const LIST: Doing = Doing { what: "listing", right: "s3:ListBucket of the bucket" };
const LOOK: Doing = Doing { what: "looking", right: "s3:GetObject and s3:ListBucket" };
pub(super) const READ: Doing = Doing { what: "reading", right: "s3:GetObject" };
const COPY: Doing = Doing { what: "copying", right: "s3:GetObject and s3:PutObject" };
const DELETE: Doing = Doing { what: "deleting", right: "s3:DeleteObject" };

/// A folder that is open.
pub(super) struct S3 {
    settings: S3Settings,
    connection: Arc<Connection>,
    pub(super) store: Store,
}

impl S3 {
    /// Reads the secrets; connects when it is first asked for something.
    pub(super) fn open(settings: &S3Settings, connection: &Arc<Connection>) -> Result<Self, SourceError> {
        let store = connection.store().map_err(|error| of_connection(settings, &error))?;
        Ok(Self { settings: settings.clone(), connection: Arc::clone(connection), store })
    }

    fn object(&self, name: &str) -> String {
        self.settings.access.uri(&format!("{}{name}", self.settings.prefix))
    }

    /// The object of that name in the folder.
    pub(super) fn path(&self, name: &str) -> Result<Path, SourceError> {
        Path::parse(format!("{}{name}", self.settings.prefix))
            .map_err(|error| SourceError::trouble(self.object(name), error))
    }

    /// Waits for an answer about the object of that name, but not for ever.
    pub(super) async fn within<T>(
        &self,
        name: &str,
        doing: Doing,
        max: Duration,
        asked: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, SourceError> {
        match tokio::time::timeout(max, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.fail(name, doing, &error)),
            Err(_) => {
                let reason = format!("{}: no answer within {} s", doing.what, max.as_secs());
                Err(SourceError::trouble(self.object(name), reason))
            }
        }
    }

    fn fail(&self, name: &str, doing: Doing, error: &Error) -> SourceError {
        let reason = format!("{}: {}", doing.what, said(error));
        let Some(remedy) = remedy(&self.settings.access, doing, error) else {
            return SourceError::trouble(self.object(name), reason);
        };
        // Perhaps the files hold other secrets by now.
        self.connection.refused();
        SourceError::Refused { object: self.object(name), reason, remedy }
    }

    /// What lies there, if anything.
    async fn head(&self, name: &str) -> Result<Option<ObjectMeta>, SourceError> {
        let path = self.path(name)?;
        let asked = async {
            match self.store.objects.head(&path).await {
                Err(Error::NotFound { .. }) => Ok(None),
                other => other.map(Some),
            }
        };
        self.within(name, LOOK, STEP_MAX, asked).await
    }

    /// Reads the listed version from byte `from` on, and moves `from` along; `Err` of a text: the connection broke.
    async fn read_on(
        &self,
        file: &Listed,
        from: &mut u64,
        into: &mut dyn Receive,
    ) -> Result<Result<ReadEnd, String>, SourceError> {
        let path = self.path(&file.name)?;
        let is_resumed = *from > 0;
        let options = GetOptions {
            range: is_resumed.then_some(GetRange::Offset(*from)),
            if_match: is_resumed.then(|| format!("\"{}\"", file.stamp.tag)),
            ..GetOptions::default()
        };
        let asked = async {
            match self.store.objects.get_opts(&path, options).await {
                // A range behind the end is one of an object that has become shorter.
                Err(Error::NotFound { .. } | Error::Precondition { .. }) => Ok(None),
                Err(error) if is_resumed && status(&error) == Some(StatusCode::RANGE_NOT_SATISFIABLE) => Ok(None),
                other => other.map(Some),
            }
        };
        let got = match self.within(&file.name, READ, STEP_MAX, asked).await {
            Ok(Some(got)) => got,
            Ok(None) => return Ok(Ok(ReadEnd::Replaced)),
            Err(SourceError::Trouble { reason, .. }) => return Ok(Err(reason)),
            Err(refused) => return Err(refused),
        };
        if stamp(&got.meta).tag != file.stamp.tag || got.meta.size != file.stamp.size || got.range.start != *from {
            return Ok(Ok(ReadEnd::Replaced));
        }
        let mut pieces = got.into_stream();
        loop {
            match tokio::time::timeout(STEP_MAX, pieces.next()).await {
                Ok(Some(Ok(piece))) => {
                    into.take(&piece).await?;
                    *from += piece.len() as u64;
                }
                Ok(Some(Err(error))) => return Ok(Err(said(&error))),
                Ok(None) if *from == file.stamp.size => return Ok(Ok(ReadEnd::Whole)),
                Ok(None) => return Ok(Err(format!("it ended after {from} of {} bytes", file.stamp.size))),
                Err(_) => return Ok(Err(format!("nothing came for {} s", STEP_MAX.as_secs()))),
            }
        }
    }

    /// Whether `there` is a copy of what we moved from. Copies of objects that were uploaded in parts, or that the store
    /// encrypts, have ETags of their own: then the content tells.
    async fn is_copy(&self, name: &str, there: &ObjectMeta, of: &Stamp, hash: &str) -> Result<bool, SourceError> {
        let found = Listed { name: name.to_owned(), stamp: stamp(there) };
        if found.stamp.size != of.size || found.stamp.tag == of.tag {
            return Ok(found.stamp.size == of.size);
        }
        let mut content = Hashing(digest::Context::new(&digest::SHA256));
        let is_whole = self.read_whole(&found, &mut content).await? == ReadEnd::Whole;
        let found: String = content.0.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(is_whole && found == hash)
    }

    async fn read_whole(&self, file: &Listed, into: &mut dyn Receive) -> Result<ReadEnd, SourceError> {
        let (mut from, mut breaks) = (0, 0);
        loop {
            let before = from;
            let why = match self.read_on(file, &mut from, into).await? {
                Ok(end) => return Ok(end),
                Err(why) => why,
            };
            breaks = if from > before { 1 } else { breaks + 1 };
            if breaks > BREAKS_MAX {
                return Err(SourceError::trouble(self.object(&file.name), why));
            }
            tracing::debug!(file = file.name, from, why, "the connection broke; asking for the rest");
            tokio::time::sleep(BREAK_PAUSE).await;
        }
    }
}

struct Hashing(digest::Context);

#[async_trait]
impl Receive for Hashing {
    async fn take(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        self.0.update(bytes);
        Ok(())
    }
}

pub(super) fn of_connection(settings: &S3Settings, error: &ConnectError) -> SourceError {
    let remedy = match error {
        ConnectError::SecretFile { .. } => "put the key into this file, readable to the user who runs Longshore",
        ConnectError::Settings { .. } => "look at `endpoint` and `region` of the feed",
        ConnectError::Net(error) => return SourceError::trouble(settings.to_string(), error),
    };
    SourceError::Refused { object: settings.to_string(), reason: error.to_string(), remedy: remedy.to_owned() }
}

/// What a person has to do about a refusal; `None` for what may pass by itself. The codes are those of
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>.
fn remedy(access: &BucketAccess, doing: Doing, error: &Error) -> Option<String> {
    let Provider::S3 { region, access_key_file, secret_key_file, .. } = &access.provider else { return None };
    let answer = status(error);
    let text = said(error);
    let has = |code: &str| text.contains(code);
    if has("InvalidAccessKeyId") {
        return Some(format!("look whether {} holds an access key that is in force", access_key_file.display()));
    }
    if has("SignatureDoesNotMatch") {
        let (id, secret) = (access_key_file.display(), secret_key_file.display());
        return Some(format!("look whether {secret} holds the secret of the key in {id}"));
    }
    if has("RequestTimeTooSkewed") {
        return Some("set this machine's clock".to_owned());
    }
    if has("AuthorizationHeaderMalformed") || has("PermanentRedirect") || has("IllegalLocationConstraint") {
        return Some(format!("look at `region` of the feed ({region}): the bucket is in another one"));
    }
    if has("NoSuchBucket") {
        return Some("look at the bucket in `source`, and at `endpoint` and `region` of the feed".to_owned());
    }
    let is_refusal = matches!(error, Error::PermissionDenied { .. } | Error::Unauthenticated { .. })
        || matches!(answer, Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN));
    is_refusal.then(|| format!("give the key in {} the right {}", access_key_file.display(), doing.right))
}

/// A listing tells milliseconds, an answer about one object whole seconds.
fn stamp(meta: &ObjectMeta) -> Stamp {
    let etag = meta.e_tag.as_deref().map(bare_etag);
    Stamp {
        size: meta.size,
        modified_ms: Some(meta.last_modified.timestamp() * 1_000),
        tag: etag.or(meta.version.as_deref()).unwrap_or_default().to_owned(),
    }
}

#[async_trait]
impl Source for S3 {
    async fn list(&mut self, files_max: usize) -> Result<Vec<Listed>, SourceError> {
        let prefix = &self.settings.prefix;
        let mut listed = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let options = PaginatedListOptions {
                delimiter: Some("/".into()),
                page_token: token.clone(),
                ..PaginatedListOptions::default()
            };
            let page = self.store.pages.list_paginated(Some(prefix), options);
            let page = self.within("", LIST, STEP_MAX, page).await?;
            for meta in &page.result.objects {
                // The folder itself may be an object, of no name in it.
                let name = meta.location.as_ref().strip_prefix(prefix.as_str()).unwrap_or_default();
                if name.is_empty() || name.contains('/') {
                    continue;
                }
                if listed.len() == files_max {
                    return Ok(listed);
                }
                listed.push(Listed { name: name.to_owned(), stamp: stamp(meta) });
            }
            let next = page.page_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(listed);
            }
            if next == token {
                return Err(SourceError::trouble(self.object(""), "listing: the store names the same page again"));
            }
            token = next;
        }
    }

    async fn stat(&mut self, name: &str) -> Result<Option<Stamp>, SourceError> {
        Ok(self.head(name).await?.as_ref().map(stamp))
    }

    async fn read(&mut self, file: &Listed, into: &mut dyn Receive) -> Result<ReadEnd, SourceError> {
        self.read_whole(file, into).await
    }

    async fn delete(&mut self, name: &str) -> Result<(), SourceError> {
        let path = self.path(name)?;
        let asked = async {
            match self.store.objects.delete(&path).await {
                Err(Error::NotFound { .. }) => Ok(()),
                other => other,
            }
        };
        self.within(name, DELETE, STEP_MAX, asked).await
    }

    async fn move_to(&mut self, name: &str, goal: &Goal<'_>) -> Result<(), SourceError> {
        let Some(before) = self.stat(name).await? else { return Ok(()) };
        if before.size > COPY_BYTES_MAX {
            return Err(SourceError::Refused {
                object: self.object(name),
                reason: format!("S3 copies no object of more than {COPY_BYTES_MAX} bytes, so that it cannot be moved"),
                remedy: "set after = \"leave\" or \"delete\"".to_owned(),
            });
        }
        for to in [name, goal.other] {
            let to = format!("{}/{to}", goal.folder);
            match self.head(&to).await? {
                Some(there) if self.is_copy(&to, &there, &before, goal.hash).await? => break,
                Some(_) => {}
                None => {
                    let (from, goal) = (self.path(name)?, self.path(&to)?);
                    self.within(&to, COPY, COPY_MAX, self.store.objects.copy(&from, &goal)).await?;
                    break;
                }
            }
        }
        // Here a copy lies there: ours, or one under the name that only this content has. What took the original's place
        // while it was copied is another file.
        if self.stat(name).await? == Some(before) { self.delete(name).await } else { Ok(()) }
    }
}
