//! The bucket of day folders: what Google Cloud Storage is to a reader of the daily event export.
//!
//! What always holds:
//!
//! 1. Nobody reads without a token that the service account's key signed, or that was given for such a signature.
//! 2. A write gives an object another generation; a reader that asks for an older one finds nothing, as in a bucket
//!    without versioning.
//! 3. The events of each object are known beforehand (`Object::spec`).
//!
//! ```text
//! bucket-key.json ──> the daemon ── self-signed JWT ──> list, page by page ──> get
//!                     others ──assertion──> /token ──────^   (`serve`)
//! control API ──> publish, rewrite ──> objects           list faults, get faults
//! ```

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;

use bytes::Bytes;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use url::Url;

use super::blob::fault::{BlobFault, Faults};
use super::entra::token::TokenIssuer;
use super::pki::write_private;
use super::sample::EventSpec;
use super::serve::lock;
use super::{Sandbox, SandboxError};

mod account;
mod answer;
mod objects;
mod serve;
#[cfg(test)]
mod tests;

use account::Account;
use objects::{Object, Objects};
pub(super) use serve::router;

/// Where assertions are turned into tokens.
const TOKEN_PATH: &str = "/token";
/// More events in one object are a mistake: it is held in memory.
const EVENTS_MAX: u64 = 1_000_000;
/// The most objects of one page, as with Google.
const PAGE_MAX: usize = 1_000;
/// More faults at the same time are refused.
const FAULTS_MAX: usize = 1_000;

/// One bucket.
pub(super) struct Bucket {
    name: String,
    page_max: usize,
    url: Url,
    account: Mutex<Account>,
    tokens: TokenIssuer,
    objects: Mutex<Objects>,
    faults: Mutex<Faults>,
    list_faults: Mutex<Vec<ListFault>>,
    state: Mutex<BucketState>,
}

/// What happened at the bucket so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BucketState {
    /// Objects that lie in it.
    pub objects: usize,
    /// Pages of a listing that were asked for.
    pub listings: u64,
    /// Objects that were sent, or a part of them.
    pub downloads: u64,
    /// Requests that were answered with an error.
    pub refused: u64,
    /// Requests without a good token, at the store or at the token endpoint.
    pub unauthorized: u64,
    /// Faults of listings that are still in force.
    pub list_faults: Vec<ListFault>,
    /// Faults of downloads that are still in force.
    pub faults: Vec<BlobFault>,
}

/// Pages of a listing that fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListFault {
    /// The answer: 403, 429, 500, 503 or another.
    pub status: u16,
    /// So many pages come before: with one, a listing breaks off in its middle.
    pub after: u32,
    /// So many pages fail, then it ends.
    pub pages: u32,
}

impl Default for ListFault {
    fn default() -> Self {
        Self { status: 503, after: 0, pages: 1 }
    }
}

/// A day's file that is to be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DayObject {
    /// The day in whose folder it lies; absent for yesterday.
    pub date: Option<Date>,
    /// Its name in the bucket; absent for the next free one in the day's folder. A name that is taken is rewritten.
    pub key: Option<String>,
    /// The number of its first event; absent for the one after the last that was written into the bucket. Two files
    /// whose numbers do not meet have no event in common.
    pub first: Option<u64>,
    /// How many events there are.
    pub events: u64,
    /// Decides everything else.
    pub seed: u32,
}

impl Default for DayObject {
    fn default() -> Self {
        let EventSpec { events, seed, .. } = EventSpec::default();
        Self { date: None, key: None, first: None, events, seed }
    }
}

/// A day's file that is to be rewritten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rewrite {
    /// Its name in the bucket.
    pub key: String,
    /// So many more events stand in it now.
    #[serde(default = "hundred")]
    pub more: u64,
}

const fn hundred() -> u64 {
    100
}

/// An object that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Written {
    /// Its name.
    pub key: String,
    /// Its generation.
    pub generation: u64,
    /// How long it is.
    pub bytes: usize,
    /// The events in it.
    #[serde(flatten)]
    pub events: EventSpec,
}

impl Written {
    fn of(object: &Object) -> Self {
        Self {
            key: object.key.clone(),
            generation: object.generation,
            bytes: object.content.len(),
            events: object.spec,
        }
    }
}

impl Bucket {
    pub(super) fn new(name: &str, page_max: usize, url: Url) -> Result<Self, SandboxError> {
        Ok(Self {
            name: name.to_owned(),
            page_max: page_max.clamp(1, PAGE_MAX),
            url,
            account: Mutex::new(Account::generate()?),
            tokens: TokenIssuer::new(),
            objects: Mutex::default(),
            faults: Mutex::default(),
            list_faults: Mutex::default(),
            state: Mutex::default(),
        })
    }

    pub(super) fn state(&self) -> BucketState {
        BucketState {
            objects: lock(&self.objects).len(),
            list_faults: lock(&self.list_faults).clone(),
            faults: lock(&self.faults).list(),
            ..lock(&self.state).clone()
        }
    }

    fn count(&self, change: impl FnOnce(&mut BucketState)) {
        change(&mut lock(&self.state));
    }

    fn token_endpoint(&self) -> Url {
        self.url.join(TOKEN_PATH).expect("a path goes with every address")
    }

    /// The status that this page of a listing is answered with, should it fail.
    fn take_list_fault(&self) -> Option<u16> {
        let mut faults = lock(&self.list_faults);
        let fault = faults.first_mut()?;
        if fault.after > 0 {
            fault.after -= 1;
            return None;
        }
        fault.pages = fault.pages.saturating_sub(1);
        let status = fault.status;
        faults.retain(|fault| fault.pages > 0);
        Some(status)
    }
}

impl Sandbox {
    /// The address of the store that the bucket lies in.
    #[must_use]
    pub fn bucket_url(&self) -> &Url {
        &self.core.bucket.url
    }

    /// The service account's key file.
    #[must_use]
    pub fn bucket_key_file(&self) -> PathBuf {
        self.dir().join("bucket-key.json")
    }

    /// Writes the service account's key file into the folder.
    pub(super) fn write_bucket_key(&self) -> Result<PathBuf, SandboxError> {
        let bucket = &self.core.bucket;
        let text = lock(&bucket.account).key_file(&bucket.token_endpoint());
        write_private(&self.bucket_key_file(), text.as_bytes())
    }

    /// Gives the service account a new key, and the key file with it: what the old key signed is refused from now on.
    ///
    /// # Errors
    /// When the key file cannot be written.
    pub fn rotate_bucket_key(&self) -> Result<PathBuf, SandboxError> {
        let account = Account::generate()?;
        *lock(&self.core.bucket.account) = account;
        self.core.bucket.tokens.expire_all();
        self.write_bucket_key()
    }

    /// Writes a day's file into the bucket, in place of one of that name.
    ///
    /// # Errors
    /// When the request makes no sense.
    pub fn write_day(&self, day: &DayObject) -> Result<Written, SandboxError> {
        if day.events > EVENTS_MAX {
            return Err(SandboxError::Request(format!("{} events: at most {EVENTS_MAX} are possible", day.events)));
        }
        let date = day.date.unwrap_or_else(|| self.yesterday());
        let mut objects = lock(&self.core.bucket.objects);
        // In the lock: two files that are written at once do not get the same events.
        let first = day.first.unwrap_or_else(|| objects.events_end());
        let spec = EventSpec { first, events: day.events, seed: day.seed };
        let content = lines(spec);
        let key = day.key.clone().unwrap_or_else(|| objects.free_key(&date.to_string()));
        Ok(Written::of(&objects.put(&key, content, spec, self.core.now())))
    }

    /// Writes a day's file anew, with more events behind those that stood in it.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn rewrite_day(&self, rewrite: &Rewrite) -> Result<Written, SandboxError> {
        let found = lock(&self.core.bucket.objects).get(&rewrite.key);
        let EventSpec { first, events, seed } =
            found.ok_or_else(|| SandboxError::Request(format!("there is no object {}", rewrite.key)))?.spec;
        let events = events.saturating_add(rewrite.more);
        self.write_day(&DayObject { date: None, key: Some(rewrite.key.clone()), first: Some(first), events, seed })
    }

    /// Lets pages of a listing fail, after those that were to fail before.
    ///
    /// # Errors
    /// When there are too many faults already.
    pub fn add_list_fault(&self, fault: ListFault) -> Result<(), SandboxError> {
        let mut faults = lock(&self.core.bucket.list_faults);
        if faults.len() >= FAULTS_MAX {
            return Err(SandboxError::Request(format!("there are already {FAULTS_MAX} list faults; clear them first")));
        }
        if fault.pages > 0 {
            faults.push(fault);
        }
        Ok(())
    }

    /// Lets downloads from the bucket go wrong.
    ///
    /// # Errors
    /// When there are too many faults already, or its time makes no sense.
    pub fn add_bucket_fault(&self, fault: BlobFault) -> Result<(), SandboxError> {
        lock(&self.core.bucket.faults).add(fault)
    }

    /// Listings and downloads work again.
    pub fn clear_bucket_faults(&self) {
        lock(&self.core.bucket.list_faults).clear();
        lock(&self.core.bucket.faults).clear();
    }
}

/// The events as gzipped JSON lines.
fn lines(spec: EventSpec) -> Bytes {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    for event in spec.iter() {
        writeln!(gzip, "{}", event.exported()).expect("memory can always be written");
    }
    gzip.finish().expect("memory can always be written").into()
}
