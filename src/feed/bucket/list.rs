//! Listing: the objects under a prefix, page by page. A page that cannot be had is an error, never an end.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use object_store::list::PaginatedListOptions;
use object_store::{Error, ObjectMeta};

use crate::clock::UnixMs;
use crate::error::{Class, Classify};
use crate::feed::store::{ConnectError, Connection, bare_etag, said, status};

/// An object as a listing tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its name in the bucket.
    pub key: String,
    /// What tells this version of it from others: its ETag without quotes and weakness mark; a fresh one with each write.
    pub version: String,
    /// Its size as it lies there, in bytes.
    pub size: u64,
    /// When it was written.
    pub modified: UnixMs,
}

/// One page of a listing.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Its objects.
    pub objects: Vec<Object>,
    /// How the next page is asked for; `None` on the last one.
    pub next: Option<String>,
}

/// Where objects are listed.
#[async_trait]
pub trait Lister: Send + Sync + fmt::Debug {
    /// The objects whose names begin with `prefix`: the first page, or the one that an earlier page named.
    ///
    /// # Errors
    /// Why the page cannot be had.
    async fn page(&self, prefix: &str, token: Option<String>) -> Result<Page, ListError>;
}

/// Why a page of a listing cannot be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ListError {
    /// The way to the bucket is not right.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The store refuses us.
    #[error("the bucket refuses us: {said}; look at the key, and ask whether it may list this bucket")]
    Refused {
        /// What was said, redacted.
        said: String,
    },
    /// There is no such bucket.
    #[error("there is no such bucket: {said}; look at its name")]
    NoBucket {
        /// What was said, redacted.
        said: String,
    },
    /// There is no such object.
    #[error("the bucket has no object {key}; `longshore feed list` tells what it has")]
    NoObject {
        /// Its name.
        key: String,
    },
    /// An object has a name that cannot be asked for, and with it the whole page is lost.
    #[error("an object under {prefix} has a name that cannot be handled: {said}; ask for it to be renamed")]
    OddName {
        /// What was listed.
        prefix: String,
        /// What was said.
        said: String,
    },
    /// It may pass.
    #[error(
        "the listing of {prefix} broke off: {said}; is the store up, and can it be reached from here? \
         `longshore check --connect` tells which address it goes to, and whether it answers now"
    )]
    Broken {
        /// What was listed.
        prefix: String,
        /// What was said, redacted.
        said: String,
    },
}

impl Classify for ListError {
    fn class(&self) -> Class {
        match self {
            Self::Connect(_) | Self::NoBucket { .. } | Self::NoObject { .. } | Self::OddName { .. } => Class::Permanent,
            Self::Refused { .. } => Class::Unauthorized,
            Self::Broken { .. } => Class::Transient,
        }
    }
}

/// A listing over the real store.
#[derive(Debug)]
pub struct StoreLister {
    connection: Arc<Connection>,
    /// How long a page may take; a listing that hangs is broken off.
    page_timeout: Duration,
}

impl StoreLister {
    /// Lists what the connection leads to.
    #[must_use]
    pub fn new(connection: Arc<Connection>, page_timeout: Duration) -> Self {
        Self { connection, page_timeout }
    }

    fn error(&self, prefix: &str, error: &Error) -> ListError {
        let (prefix, said) = (prefix.to_owned(), said(error));
        match (status(error), error) {
            (Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN), _)
            | (_, Error::PermissionDenied { .. } | Error::Unauthenticated { .. }) => {
                self.connection.refused();
                ListError::Refused { said }
            }
            (Some(StatusCode::NOT_FOUND), _) | (_, Error::NotFound { .. }) => ListError::NoBucket { said },
            (_, Error::InvalidPath { .. }) => ListError::OddName { prefix, said },
            _ => ListError::Broken { prefix, said },
        }
    }
}

#[async_trait]
impl Lister for StoreLister {
    async fn page(&self, prefix: &str, token: Option<String>) -> Result<Page, ListError> {
        let store = self.connection.store()?;
        let options = PaginatedListOptions { page_token: token, ..PaginatedListOptions::default() };
        let listing = store.pages.list_paginated(Some(prefix), options);
        let listed = tokio::time::timeout(self.page_timeout, listing).await.map_err(|_| ListError::Broken {
            prefix: prefix.to_owned(),
            said: format!("a page did not come within {:?}", self.page_timeout),
        })?;
        let listed = listed.map_err(|error| self.error(prefix, &error))?;
        let next = listed.page_token.filter(|token| !token.is_empty());
        // A folder that somebody made by hand is an object of its own name: it lies not under the prefix, but is it.
        let objects = listed
            .result
            .objects
            .into_iter()
            .map(object)
            .filter(|object| object.key.len() > prefix.len() && object.key.starts_with(prefix));
        Ok(Page { objects: objects.collect(), next })
    }
}

fn object(meta: ObjectMeta) -> Object {
    let modified = UnixMs(meta.last_modified.timestamp_millis());
    let version = match (&meta.e_tag, meta.version) {
        (Some(etag), _) => bare_etag(etag).to_owned(),
        (None, Some(version)) => version,
        (None, None) => format!("at-{}", modified.0),
    };
    Object { key: meta.location.to_string(), version, size: meta.size, modified }
}
