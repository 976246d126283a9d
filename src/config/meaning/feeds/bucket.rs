//! The meaning of a `[[feed]]` of type `bucket`.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;

use super::super::{Rules, section};
use super::Common;
use crate::config::problem::Problem;
use crate::config::reader::Written;
use crate::config::value::{OneOf, PathText, Time};
use crate::config::written::{BucketFeed, BucketProvider, BucketTypeFrom, Document};
use crate::config::{FeedConfig, FeedKind, show_time};
use crate::feed::bucket::{BlobTypeFrom, BucketSettings, DayFolder, NamePattern};
use crate::feed::store::{AzureSecret, BucketAccess, Provider};
use crate::route::EnvelopeSettings;

const DAY: Duration = Duration::from_secs(24 * 3_600);
const FOLDER: &str = "%Y-%m-%d/";
/// A daily export is soon enough heard of; shorter costs more LIST requests.
const POLL: Duration = Duration::from_secs(10 * 60);
/// A weekend in which the vendor's job stood still.
const OVERLAP: Duration = Duration::from_secs(3 * 24 * 3_600);
/// All that a vendor keeps for 90 days.
const BACKFILL: Duration = Duration::from_secs(90 * 24 * 3_600);
/// Long enough to find out what is wrong, and to ask the vendor.
const RETENTION_WARNING: Duration = Duration::from_secs(30 * 24 * 3_600);
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5 * 60));
/// What one commit takes with one fsync, well below the bound of the inbox.
const BATCH_NOTICES_MAX: u64 = 500;
/// A page is a thousand names.
const PAGE_TIMEOUT: Duration = Duration::from_secs(60);

/// What is written of a bucket in S3.
pub(super) struct S3Keys<'a> {
    pub(super) region: &'a Written<String>,
    pub(super) path_style: &'a Written<bool>,
    pub(super) access_key_file: &'a Written<PathText>,
    pub(super) secret_key_file: &'a Written<PathText>,
}

impl Rules<'_, '_> {
    pub(super) fn bucket_feed(
        &mut self,
        feed: &BucketFeed,
        span: Range<usize>,
        document: &Document,
    ) -> Option<FeedConfig> {
        let changes = self.changed.len();
        let common = self.common(span.clone(), &feed.name, "\"export\"", &feed.include, &feed.exclude);
        let access = self.bucket_access(feed, span.clone());
        let folder = self.or_text("feed.folder", &feed.folder, FOLDER);
        let folder = DayFolder::parse(&folder).map_err(|why| self.unusable("feed.folder", &feed.folder, &why)).ok();
        let blob_type_from = self.bucket_type_from(feed, span);
        let poll = self.or("feed.poll", &feed.poll, Time(POLL)).0;
        let overlap = self.or("feed.overlap", &feed.overlap, Time(OVERLAP)).0;
        let backfill = self.or("feed.backfill", &feed.backfill, Time(BACKFILL)).0;
        let warning = self.or("feed.retention_warning", &feed.retention_warning, Time(RETENTION_WARNING)).0;
        let retry_min = self.or("feed.retry_min", &feed.retry_min, Time(RETRY.0)).0;
        let retry_max = self.or("feed.retry_max", &feed.retry_max, Time(RETRY.1)).0;
        self.in_order(("feed.retry_min", &feed.retry_min, retry_min), ("feed.retry_max", &feed.retry_max, retry_max));
        let retention = feed.retention.value().map(|time| time.0);
        if let Some(retention) = retention {
            self.in_order(
                ("feed.retention_warning", &feed.retention_warning, warning),
                ("feed.retention", &feed.retention, retention),
            );
            if let Some(written) = feed.retention.spanned().filter(|_| warning == retention) {
                let message = "what was just written would be warned of already, and so always";
                let label = format!("`retention_warning` is {} as well", show_time(warning));
                self.problems
                    .add(Problem::new(written.span(), message, label).help("make `retention_warning` shorter"));
            }
            self.in_order(("feed.overlap", &feed.overlap, overlap), ("feed.retention", &feed.retention, retention));
        }
        self.overlap_within_memory(feed, overlap, document);
        let inbox = section(&document.inbox);
        let commit_notices_max =
            inbox.commit_notices_max.value().map_or(super::super::work::COMMIT_NOTICES_MAX, |max| max.0);
        let Common { name, filter, include, exclude } = common?;
        self.name_changes(changes, "feed", name.as_str());
        let settings = BucketSettings {
            name: name.clone(),
            filter: filter.clone(),
            access: access?,
            folder: folder?,
            blob_type: feed.blob_type.value().cloned().unwrap_or_else(|| name.to_string()),
            blob_type_from: blob_type_from?,
            envelope: EnvelopeSettings {
                blob_type: feed.record_blob_type.value().map(|pointer| pointer.0.clone()),
                record: feed.record.value().map(|pointer| pointer.0.clone()),
            },
            content_type: feed.content_type.value().cloned(),
            poll,
            overlap,
            backfill,
            retention,
            retention_warning: warning,
            batch_notices_max: usize::try_from(BATCH_NOTICES_MAX.min(commit_notices_max)).unwrap_or(1),
            page_timeout: PAGE_TIMEOUT,
            retry: (retry_min, retry_max),
        };
        Some(FeedConfig { name, filter, include, exclude, kind: FeedKind::Bucket { settings: Box::new(settings) } })
    }

    /// An object that is listed again after its notice was forgotten would be taken for a new one.
    fn overlap_within_memory(&mut self, feed: &BucketFeed, overlap: Duration, document: &Document) {
        let inbox = section(&document.inbox);
        let kept = super::super::work::dedupe_age(&inbox);
        // Days are whole ones, a look is a poll apart, and pruning is not punctual.
        let needed = overlap + 3 * DAY;
        if kept < needed {
            let at = feed.overlap.spanned().map(Spanned::span).or(inbox.dedupe_age.spanned().map(Spanned::span));
            self.problems.add(
                Problem::new(
                    at.unwrap_or_default(),
                    "the inbox forgets a notice while the bucket still lists its object, which would be taken again",
                    format!("listed again for {}, known for {}", show_time(overlap), show_time(kept)),
                )
                .help(format!("set dedupe_age in [inbox] to {} or more, or shorten overlap", show_time(needed))),
            );
        }
    }

    fn bucket_type_from(&mut self, feed: &BucketFeed, span: Range<usize>) -> Option<BlobTypeFrom> {
        let from = self.or("feed.blob_type_from", &feed.blob_type_from, OneOf(BucketTypeFrom::Feed)).0;
        if from != BucketTypeFrom::Name
            && let Some(pattern) = feed.blob_type_pattern.spanned()
        {
            self.problems.add(
                Problem::new(pattern.span(), "`feed.blob_type_pattern` is not used", "asked for by nothing")
                    .help("set blob_type_from = \"name\", or leave it out"),
            );
        }
        if from != BucketTypeFrom::Record
            && let Some(pointer) = feed.record_blob_type.spanned()
        {
            self.problems.add(
                Problem::new(pointer.span(), "`feed.record_blob_type` is not used", "asked for by nothing")
                    .help("set blob_type_from = \"record\", or leave it out"),
            );
        }
        match from {
            BucketTypeFrom::Record => {
                self.required("[[feed]]", span, "record_blob_type", &feed.record_blob_type, "\"/eventName\"")?;
                Some(BlobTypeFrom::Record)
            }
            BucketTypeFrom::Feed => Some(BlobTypeFrom::Feed),
            BucketTypeFrom::Folder => Some(BlobTypeFrom::Folder),
            BucketTypeFrom::Name => {
                let example = "\"{blob_type}_*\"";
                let pattern = self.required("[[feed]]", span, "blob_type_pattern", &feed.blob_type_pattern, example)?;
                let parsed = NamePattern::parse(pattern.get_ref());
                let unusable = |why: String| self.unusable("feed.blob_type_pattern", &feed.blob_type_pattern, &why);
                parsed.map_err(unusable).ok().map(BlobTypeFrom::Name)
            }
        }
    }

    fn unusable(&mut self, key: &str, written: &Written<String>, why: &str) {
        let span = written.spanned().map(Spanned::span).unwrap_or_default();
        let message = format!("`{key}` cannot be {}", self.problems.written(span.clone()));
        self.problems.add(Problem::new(span, message, why));
    }

    /// How the bucket is reached.
    fn bucket_access(&mut self, feed: &BucketFeed, span: Range<usize>) -> Option<BucketAccess> {
        let provider = self.required("[[feed]]", span.clone(), "provider", &feed.provider, "\"gcs\"");
        let bucket = self.required("[[feed]]", span.clone(), "bucket", &feed.bucket, "\"…\"");
        let ca_file = self.ca_file("feed.ca_file", &feed.ca_file);
        let provider = match provider?.get_ref().0 {
            BucketProvider::Google => {
                Provider::Google { key_file: self.bucket_secret(&span, "key_file", &feed.key_file)? }
            }
            BucketProvider::S3 => {
                let BucketFeed { region, path_style, access_key_file, secret_key_file, .. } = feed;
                self.s3(&span, &S3Keys { region, path_style, access_key_file, secret_key_file })?
            }
            BucketProvider::Azure => {
                let account = self.required("[[feed]]", span.clone(), "account", &feed.account, "\"…\"");
                let secret = match feed.account_key_file.spanned() {
                    Some(file) => AzureSecret::KeyFile(self.secret_file("feed.account_key_file", file)?),
                    None => AzureSecret::SasFile(self.bucket_secret(&span, "sas_file", &feed.sas_file)?),
                };
                Provider::Azure { account: account?.get_ref().clone(), secret }
            }
        };
        self.foreign_keys(feed, &provider);
        let endpoint = feed.endpoint.value().map(|address| address.0.clone());
        Some(BucketAccess { provider, bucket: bucket?.get_ref().clone(), endpoint, ca_file })
    }

    /// How a bucket in S3 is reached, whatever is made of it.
    pub(super) fn s3(&mut self, span: &Range<usize>, keys: &S3Keys<'_>) -> Option<Provider> {
        let access_key_file = self.bucket_secret(span, "access_key_file", keys.access_key_file);
        let secret_key_file = self.bucket_secret(span, "secret_key_file", keys.secret_key_file);
        let region = self.required("[[feed]]", span.clone(), "region", keys.region, "\"eu-north-1\"");
        Some(Provider::S3 {
            path_style: self.or("feed.path_style", keys.path_style, false),
            region: region?.get_ref().clone(),
            access_key_file: access_key_file?,
            secret_key_file: secret_key_file?,
        })
    }

    fn bucket_secret(&mut self, span: &Range<usize>, key: &str, written: &Written<PathText>) -> Option<PathBuf> {
        let example = format!("\"credential:{}\"", key.trim_end_matches("_file").replace('_', "-"));
        let file = self.required("[[feed]]", span.clone(), key, written, &example)?;
        self.secret_file(&format!("feed.{key}"), file)
    }

    /// A key of another provider is a mistake.
    fn foreign_keys(&mut self, feed: &BucketFeed, provider: &Provider) {
        let written: [(&str, &str, Option<Range<usize>>); 8] = [
            ("gcs", "key_file", feed.key_file.spanned().map(Spanned::span)),
            ("s3", "region", feed.region.spanned().map(Spanned::span)),
            ("s3", "path_style", feed.path_style.spanned().map(Spanned::span)),
            ("s3", "access_key_file", feed.access_key_file.spanned().map(Spanned::span)),
            ("s3", "secret_key_file", feed.secret_key_file.spanned().map(Spanned::span)),
            ("azure", "account", feed.account.spanned().map(Spanned::span)),
            ("azure", "sas_file", feed.sas_file.spanned().map(Spanned::span)),
            ("azure", "account_key_file", feed.account_key_file.spanned().map(Spanned::span)),
        ];
        for (whose, key, span) in written {
            if let Some(span) = span.filter(|_| whose != provider.as_str()) {
                let message = format!("`feed.{key}` belongs to the provider {whose:?}");
                let label = format!("not used with {:?}", provider.as_str());
                self.problems.add(Problem::new(span, message, label).help("leave it out"));
            }
        }
    }
}
