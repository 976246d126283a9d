//! The meaning of `source` of a drop: a folder of this machine, or the address of one on another or in a bucket.

use std::ops::Range;

use percent_encoding::percent_decode_str;
use toml::Spanned;
use url::Url;

use super::bucket::S3Keys;
use crate::config::meaning::{Rules, each};
use crate::config::problem::Problem;
use crate::config::reader::Written;
use crate::config::value::PathText;
use crate::config::written::DropFeed;
use crate::feed::drop::{FtpSettings, Login, Place, S3Settings, SftpSettings, SourceSettings};
use crate::feed::store::BucketAccess;
use crate::net::is_loopback;

/// A key, where it was written, and the schemes that it belongs to.
type KeyOf = (&'static str, Option<Range<usize>>, &'static [&'static str]);

const MUST: &str = "must be a folder, or an address such as \"sftp://user@host/folder\"";

impl Rules<'_, '_> {
    pub(super) fn drop_source(&mut self, feed: &DropFeed, span: Range<usize>) -> Option<SourceSettings> {
        let source = self.required("[[feed]]", span.clone(), "source", &feed.source, "\"/srv/drop\"")?;
        let text = source.get_ref().0.as_str();
        if !text.contains("://") {
            self.only_for(feed, "");
            return Some(SourceSettings::Directory(self.path_of("feed.source", source)?));
        }
        let Ok(url) = Url::parse(text) else {
            return self.no_source(source, "it cannot be read as an address");
        };
        if url.password().is_some() {
            self.problems.mask(source.span());
            return self.no_source(source, "a password cannot stand in this file: name a file with `password_file`");
        }
        if url.scheme() == "s3" {
            self.only_for(feed, "s3");
            return match folder_of_bucket(&url) {
                Ok((bucket, prefix)) => self.s3_source(feed, &span, bucket, prefix).map(SourceSettings::S3),
                Err(why) => self.no_source(source, why),
            };
        }
        let place = match place(&url) {
            Ok(place) => place,
            Err(why) => return self.no_source(source, why),
        };
        self.only_for(feed, url.scheme());
        match url.scheme() {
            "sftp" => self.sftp(feed, span, place).map(SourceSettings::Sftp),
            "ftp" | "ftps" => self.ftp(feed, span, source, place, url.scheme() == "ftps").map(SourceSettings::Ftp),
            _ => self.no_source(source, "sftp, ftps, ftp and s3 are known"),
        }
    }

    fn no_source<T>(&mut self, source: &Spanned<PathText>, why: &str) -> Option<T> {
        let shown = self.problems.written(source.span());
        let problem = Problem::new(source.span(), format!("`feed.source` cannot be {shown}"), MUST);
        self.problems.add(problem.help(why));
        None
    }

    fn sftp(&mut self, feed: &DropFeed, span: Range<usize>, place: Place) -> Option<SftpSettings> {
        let login = match (feed.password_file.spanned(), feed.key_file.spanned()) {
            (Some(password), Some(key)) => {
                let problem = Problem::new(password.span(), "a [[feed]] has both a password and a key", "either this");
                self.problems.add(problem.also(key.span(), "or this"));
                None
            }
            (Some(password), None) => self.secret_file("feed.password_file", password).map(Login::Password),
            (None, Some(key)) => self.secret_file("feed.key_file", key).map(Login::Key),
            (None, None) => {
                let message = "a [[feed]] with an sftp address does not say how to log in";
                self.problems.add(Problem::new(span.clone(), message, "add key_file = \"…\" or password_file = \"…\""));
                None
            }
        };
        let known_hosts = feed.known_hosts.spanned().and_then(|file| self.public_file("feed.known_hosts", file));
        if feed.host_keys.is_absent() && feed.known_hosts.is_absent() {
            let message = "a [[feed]] with an sftp address does not say how the server is known";
            let problem = Problem::new(span, message, "add host_keys = [\"SHA256:…\"]");
            self.problems.add(problem.help(format!(
                "ask the server's owner for the fingerprint of its key, or compare it with `ssh-keyscan -p {} {} | ssh-keygen -lf -`; \
                 known_hosts = \"…\" names a file as OpenSSH keeps it",
                place.port, place.host
            )));
            return None;
        }
        let host_keys = self.host_keys(&feed.host_keys);
        Some(SftpSettings { place, login: login?, host_keys, known_hosts })
    }

    fn host_keys(&mut self, written: &Written<Vec<Spanned<String>>>) -> Vec<String> {
        let mut keys = Vec::new();
        for key in each(written) {
            // 32 bytes in base64, without the sign at its end.
            let is_fingerprint = key.get_ref().strip_prefix("SHA256:").is_some_and(|hash| hash.len() == 43);
            if !is_fingerprint {
                let shown = self.problems.written(key.span());
                let message = format!("`feed.host_keys` cannot be {shown}");
                self.problems.add(Problem::new(
                    key.span(),
                    message,
                    "must be \"SHA256:\" and 43 characters, as `ssh-keygen -lf` shows it",
                ));
            }
            keys.push(key.get_ref().clone());
        }
        keys
    }

    fn ftp(
        &mut self,
        feed: &DropFeed,
        span: Range<usize>,
        source: &Spanned<PathText>,
        place: Place,
        is_secure: bool,
    ) -> Option<FtpSettings> {
        let is_meant = feed.plain_text.value().copied().unwrap_or(false);
        if !is_secure && !is_meant && !is_loopback(&place.host) {
            let message = "the password and the files would go over the network in plain text";
            let problem = Problem::new(source.span(), message, "use ftps:// or sftp://");
            self.problems.add(problem.help("where that has to be, say so with plain_text = true"));
        }
        let password = self.required("[[feed]]", span, "password_file", &feed.password_file, "\"credential:ftp\"");
        let password_file = password.and_then(|file| self.secret_file("feed.password_file", file));
        let ca_file = self.ca_file("feed.ca_file", &feed.ca_file);
        Some(FtpSettings { place, password_file: password_file?, is_secure, ca_file })
    }

    fn s3_source(
        &mut self,
        feed: &DropFeed,
        span: &Range<usize>,
        bucket: String,
        prefix: String,
    ) -> Option<S3Settings> {
        let DropFeed { region, path_style, access_key_file, secret_key_file, .. } = feed;
        let provider = self.s3(span, &S3Keys { region, path_style, access_key_file, secret_key_file });
        let ca_file = self.ca_file("feed.ca_file", &feed.ca_file);
        let endpoint = feed.endpoint.value().map(|address| address.0.clone());
        let access = BucketAccess { provider: provider?, bucket, endpoint, ca_file };
        Some(S3Settings { access, prefix })
    }

    /// Reports keys that say nothing for this kind of source.
    fn only_for(&mut self, feed: &DropFeed, scheme: &str) {
        let span = |written: &Written<PathText>| written.spanned().map(Spanned::span);
        let keys: [KeyOf; 11] = [
            ("password_file", span(&feed.password_file), &["sftp", "ftp", "ftps"]),
            ("key_file", span(&feed.key_file), &["sftp"]),
            ("host_keys", feed.host_keys.spanned().map(Spanned::span), &["sftp"]),
            ("known_hosts", span(&feed.known_hosts), &["sftp"]),
            ("ca_file", span(&feed.ca_file), &["ftps", "s3"]),
            ("endpoint", feed.endpoint.spanned().map(Spanned::span), &["s3"]),
            ("region", feed.region.spanned().map(Spanned::span), &["s3"]),
            ("path_style", feed.path_style.spanned().map(Spanned::span), &["s3"]),
            ("access_key_file", span(&feed.access_key_file), &["s3"]),
            ("secret_key_file", span(&feed.secret_key_file), &["s3"]),
            ("plain_text", feed.plain_text.spanned().map(Spanned::span), &["ftp"]),
        ];
        for (key, span, schemes) in keys {
            if let Some(span) = span.filter(|_| !schemes.contains(&scheme)) {
                let label = format!("needs a source that begins with {}", schemes.join(", "));
                self.problems.add(Problem::new(span, format!("`feed.{key}` says nothing for this source"), label));
            }
        }
    }
}

fn place(url: &Url) -> Result<Place, &'static str> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(|text| text.into_owned()).ok();
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or("there is no host in it")?;
    let user = decoded(url.username()).filter(|user| !user.is_empty()).ok_or("there is no user in it: user@host")?;
    let path = decoded(url.path()).ok_or("its path is not UTF-8")?;
    if path.chars().chain(user.chars()).any(char::is_control) {
        return Err("there is a control character in it");
    }
    let folder = match path.trim_end_matches('/') {
        "" | "/~" => ".".to_owned(),
        // As curl and others have it: from where the user begins.
        path => path.strip_prefix("/~/").unwrap_or(path).to_owned(),
    };
    let port = url.port().unwrap_or(if url.scheme() == "sftp" { 22 } else { 21 });
    Ok(Place { host: host.trim_matches(['[', ']']).to_owned(), port, user, folder })
}

/// The bucket, and what the names of the folder's objects begin with.
fn folder_of_bucket(url: &Url) -> Result<(String, String), &'static str> {
    let bucket =
        url.host_str().filter(|host| !host.is_empty()).ok_or("there is no bucket in it: s3://bucket/folder")?;
    if !url.username().is_empty() {
        return Err("who we are stands in `access_key_file`");
    }
    if url.port().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("it names a bucket and a folder only; where the store is stands in `endpoint`");
    }
    let path = percent_decode_str(url.path()).decode_utf8().map_err(|_| "its path is not UTF-8")?;
    let folder = path.trim_matches('/');
    if folder.is_empty() {
        return Ok((bucket.to_owned(), String::new()));
    }
    if folder.chars().any(char::is_control) || folder.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("its folder has an empty part, a dot as a part, or a control character in it");
    }
    Ok((bucket.to_owned(), format!("{folder}/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_user_host_port_and_folder() {
        let read = |text: &str| place(&Url::parse(text).expect("an address")).map(|place| place.to_string());
        let folder = |text: &str| place(&Url::parse(text).expect("an address")).map(|place| place.folder);
        assert_eq!(read("sftp://net%20core@files.example.com/up").as_deref(), Ok("net core@files.example.com:22/up"));
        assert_eq!(read("ftps://u@[::1]:2121").as_deref(), Ok("u@::1:2121/~"));
        assert_eq!(folder("sftp://u@h/~/in/").as_deref(), Ok("in"));
        assert_eq!(folder("sftp://u@h/a%20b/").as_deref(), Ok("/a b"));
        assert_eq!(folder("sftp://u@h/").as_deref(), Ok("."));
        assert!(read("sftp://h/up").is_err());
    }

    #[test]
    fn an_address_names_bucket_and_folder_and_nothing_else() {
        let read = |text: &str| folder_of_bucket(&Url::parse(text).expect("an address")).ok();
        let of = |bucket: &str, prefix: &str| Some((bucket.to_owned(), prefix.to_owned()));
        assert_eq!(read("s3://Drop_1"), of("Drop_1", ""));
        assert_eq!(read("s3://drop/"), of("drop", ""));
        assert_eq!(read("s3://drop/net%20core/daily//"), of("drop", "net core/daily/"));
        for text in [
            "s3://key@drop/a",
            "s3:///a",
            "s3://drop:9000/a",
            "s3://drop/a?b",
            "s3://drop/a//b",
            "s3://drop/a%2f..%2fb",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
