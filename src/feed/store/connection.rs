//! The way to a bucket: its client, made under the secrets that the files hold now.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::list::PaginatedListStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use crate::error::chain;
use crate::net::HttpLimits;
use crate::secret::{Secret, redact};

use super::access::{AzureSecret, BucketAccess, Provider};
use super::client::Connector;

/// A credential is a few lines; more is a mistake.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// Why a bucket cannot be used at all as things are.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// A file with a secret cannot be read.
    #[error("the secret file {path} cannot be read: {reason}")]
    SecretFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// There is no way to the network.
    #[error(transparent)]
    Net(#[from] Arc<crate::net::NetError>),
    /// What the files hold cannot be used.
    #[error("the bucket {bucket} cannot be reached with these settings: {reason}")]
    Settings {
        /// The bucket.
        bucket: String,
        /// Why not, redacted.
        reason: String,
    },
}

/// A bucket that is ready for requests: its objects, and its listing page by page.
#[derive(Clone)]
pub struct Store {
    /// Getting, and whatever else is done with one object.
    pub objects: Arc<dyn ObjectStore>,
    /// Listing, one request a page.
    pub pages: Arc<dyn PaginatedListStore>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.objects)
    }
}

impl Store {
    fn new<T: ObjectStore + PaginatedListStore>(store: T) -> Self {
        let store = Arc::new(store);
        Self { objects: Arc::clone(&store) as _, pages: store }
    }
}

/// What tells that a file was replaced.
type Stamp = Vec<(Option<SystemTime>, u64)>;

/// The way to a bucket. It makes its client when it is first asked, and anew when a secret file was replaced.
pub struct Connection {
    access: BucketAccess,
    limits: HttpLimits,
    made: Mutex<Option<(Stamp, Store)>>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("access", &self.access).finish_non_exhaustive()
    }
}

impl Connection {
    /// A way to the bucket; nothing is read or connected yet.
    #[must_use]
    pub fn new(access: BucketAccess, limits: HttpLimits) -> Self {
        Self { access, limits, made: Mutex::default() }
    }

    /// What it leads to.
    #[must_use]
    pub fn access(&self) -> &BucketAccess {
        &self.access
    }

    /// The bucket, under the secrets that the files hold now.
    ///
    /// # Errors
    /// When a file cannot be read (also the CA file), or what it holds cannot be used.
    pub fn store(&self) -> Result<Store, ConnectError> {
        // The stamp is taken before the files are read: one that is replaced in between is read again next time.
        let stamp = self.access.provider.files().into_iter().map(stamp).collect::<Result<Stamp, _>>()?;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, store)) = &*made
            && *known == stamp
        {
            return Ok(store.clone());
        }
        if made.is_some() {
            tracing::info!(bucket = %self.access, "a secret file was replaced; the new one is used from now on");
        }
        let store = self.make()?;
        *made = Some((stamp, store.clone()));
        Ok(store)
    }

    /// Forgets the client, so that the next request is made under secrets that are read again: for one that was refused.
    pub fn refused(&self) {
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn make(&self) -> Result<Store, ConnectError> {
        let BucketAccess { provider, bucket, endpoint, .. } = &self.access;
        let wrong = |reason: String| ConnectError::Settings { bucket: bucket.clone(), reason: redact(&reason) };
        let of_library = |error: object_store::Error| wrong(chain(&error));
        let endpoint = endpoint.as_ref().map(|url| url.as_str().trim_end_matches('/').to_owned());
        // The connector decides on addresses by the rule of the house; the builders would only refuse loopback as well.
        let options = ClientOptions::new().with_allow_http(true);
        let client = crate::net::http_client(self.access.ca_file.as_deref(), self.limits).map_err(Arc::new)?;
        let connector = |keeps_gzip| Connector { client: client.clone(), keeps_gzip };
        Ok(match provider {
            Provider::Google { key_file } => {
                let mut builder = GoogleCloudStorageBuilder::new()
                    .with_bucket_name(bucket)
                    .with_service_account_key(read_secret(key_file)?.expose())
                    .with_client_options(options)
                    .with_retry(retry())
                    .with_http_connector(connector(true));
                if let Some(endpoint) = endpoint {
                    builder = builder.with_base_url(&endpoint);
                }
                Store::new(builder.build().map_err(of_library)?)
            }
            Provider::S3 { region, path_style, access_key_file, secret_key_file } => {
                let mut builder = AmazonS3Builder::new()
                    .with_bucket_name(bucket)
                    .with_region(region)
                    .with_access_key_id(read_secret(access_key_file)?.expose())
                    .with_secret_access_key(read_secret(secret_key_file)?.expose())
                    .with_virtual_hosted_style_request(!path_style)
                    // One request for one object: not every compatible store knows the other kind.
                    .with_config(AmazonS3ConfigKey::DisableBulkDelete, "true")
                    .with_client_options(options)
                    .with_retry(retry())
                    .with_http_connector(connector(false));
                if let Some(endpoint) = endpoint {
                    builder = builder.with_endpoint(endpoint);
                }
                Store::new(builder.build().map_err(of_library)?)
            }
            Provider::Azure { account, secret } => {
                let mut builder = MicrosoftAzureBuilder::new()
                    .with_account(account)
                    .with_container_name(bucket)
                    .with_client_options(options)
                    .with_retry(retry())
                    .with_http_connector(connector(false));
                builder = match secret {
                    AzureSecret::SasFile(file) => builder.with_sas_authorization(sas_pairs(&read_secret(file)?)),
                    AzureSecret::KeyFile(file) => builder.with_access_key(read_secret(file)?.expose()),
                };
                if let Some(endpoint) = endpoint {
                    builder = builder.with_endpoint(endpoint);
                }
                Store::new(builder.build().map_err(of_library)?)
            }
        })
    }
}

/// A request that failed is repeated a few times at once; who asked decides on all that lasts longer.
fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(2),
            ..BackoffConfig::default()
        },
        max_retries: 2,
        retry_timeout: Duration::from_secs(20),
    }
}

fn stamp(path: &Path) -> Result<(Option<SystemTime>, u64), ConnectError> {
    use std::os::unix::fs::MetadataExt as _;
    let found = std::fs::metadata(path)
        .map_err(|error| ConnectError::SecretFile { path: path.to_owned(), reason: error.to_string() })?;
    Ok((found.modified().ok(), found.ino() ^ found.len().rotate_left(32)))
}

fn read_secret(path: &Path) -> Result<Secret, ConnectError> {
    let fail = |reason: String| ConnectError::SecretFile { path: path.to_owned(), reason };
    let size = std::fs::metadata(path).map_err(|error| fail(error.to_string()))?.len();
    if size > SECRET_BYTES_MAX {
        return Err(fail(format!("it is longer than {SECRET_BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
    if text.trim().is_empty() {
        return Err(fail("it is empty".to_owned()));
    }
    Ok(Secret::new(text.trim()))
}

/// The pairs of a SAS token. Split first and decoded then: a value may hold an encoded `&`.
fn sas_pairs(sas: &Secret) -> Vec<(String, String)> {
    url::form_urlencoded::parse(sas.expose().trim_start_matches('?').as_bytes()).into_owned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sas_is_split_before_it_is_decoded() {
        let pairs = sas_pairs(&Secret::new("?sv=2024&sig=a%2Bb%26c%3D&se=x"));
        assert_eq!(pairs[1], ("sig".to_owned(), "a+b&c=".to_owned()));
        assert_eq!(pairs.len(), 3);
    }

    #[test]
    fn a_replaced_secret_file_is_read_again() {
        let folder = tempfile::tempdir().expect("folder");
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        let access = BucketAccess {
            provider: Provider::S3 {
                region: "eu-north-1".to_owned(),
                path_style: true,
                access_key_file: file("id", "AKIA1\n"),
                secret_key_file: file("secret", "one\n"),
            },
            bucket: "b".to_owned(),
            endpoint: None,
            ca_file: None,
        };
        let connection = Connection::new(access, HttpLimits::default());
        let first = connection.store().expect("store");
        let again = connection.store().expect("store");
        assert!(Arc::ptr_eq(&first.objects, &again.objects));
        // A rename, as a careful tool replaces a file: another inode.
        std::fs::rename(file("new", "two\n"), folder.path().join("secret")).expect("renamed");
        let replaced = connection.store().expect("store");
        assert!(!Arc::ptr_eq(&first.objects, &replaced.objects));
        std::fs::remove_file(folder.path().join("secret")).expect("removed");
        let gone = connection.store().expect_err("no secret");
        assert!(gone.to_string().contains("the secret file"), "{gone}");
    }
}
