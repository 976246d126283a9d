//! Which bucket, whose it is, and what opens it.

use std::fmt;
use std::path::{Path, PathBuf};

use url::Url;

/// A bucket or container, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketAccess {
    /// Whose it is.
    pub provider: Provider,
    /// The bucket's or container's name.
    pub bucket: String,
    /// Where the store is, if not at its provider's usual address.
    pub endpoint: Option<Url>,
    /// A CA file to trust besides the system's roots.
    pub ca_file: Option<PathBuf>,
}

/// Whose bucket it is, and what opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Google Cloud Storage.
    Google {
        /// A service account's key file, in JSON.
        key_file: PathBuf,
    },
    /// Amazon S3, or a store that speaks its protocol.
    S3 {
        /// The region, which is part of every signature.
        region: String,
        /// Whether the bucket stands in the path of an address, not in its host.
        path_style: bool,
        /// A file with the access key's id.
        access_key_file: PathBuf,
        /// A file with the secret access key.
        secret_key_file: PathBuf,
    },
    /// Azure Blob Storage.
    Azure {
        /// The storage account.
        account: String,
        /// What is shown to it.
        secret: AzureSecret,
    },
}

/// What opens an Azure container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AzureSecret {
    /// A file with a SAS token: a query such as `sv=…&sig=…`.
    SasFile(PathBuf),
    /// A file with the account's key.
    KeyFile(PathBuf),
}

impl Provider {
    /// The word for it in the configuration, and the scheme of an object's address.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Google { .. } => "gcs",
            Self::S3 { .. } => "s3",
            Self::Azure { .. } => "azure",
        }
    }

    pub(super) fn files(&self) -> Vec<&Path> {
        match self {
            Self::Google { key_file } => vec![key_file],
            Self::S3 { access_key_file, secret_key_file, .. } => vec![access_key_file, secret_key_file],
            Self::Azure { secret: AzureSecret::SasFile(file) | AzureSecret::KeyFile(file), .. } => vec![file],
        }
    }
}

impl BucketAccess {
    /// The address of an object for people and for its notice: `gs://bucket/key`, `s3://bucket/key`,
    /// `azure://account/container/key`. Never with a token.
    #[must_use]
    pub fn uri(&self, key: &str) -> String {
        match &self.provider {
            Provider::Google { .. } => format!("gs://{}/{key}", self.bucket),
            Provider::S3 { .. } => format!("s3://{}/{key}", self.bucket),
            Provider::Azure { account, .. } => format!("azure://{account}/{}/{key}", self.bucket),
        }
    }
}

impl fmt::Display for BucketAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.uri("").trim_end_matches('/'))
    }
}
