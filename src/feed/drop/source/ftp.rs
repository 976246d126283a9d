//! FTP as a source, over TLS (`AUTH TLS` on the ordinary port) or in plain text. Listings are `MLSD`, which tells size and
//! time exactly; a server without it is not supported, since `LIST` tells minutes at best.

use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use suppaftp::list::ListParser;
use suppaftp::tokio::{AsyncRustlsConnector, AsyncRustlsFtpStream};
use suppaftp::types::FileType;
use suppaftp::{FtpError, FtpResult, Mode, Status};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::contract::{Goal, Listed, ReadEnd, Receive, Source, SourceError, Stamp};
use super::remote::{FAREWELL_MAX, Place, no_folder, read_secret, step};

const READ_BYTES: usize = 256 << 10;

/// A folder on an FTP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FtpSettings {
    /// Where it is.
    pub place: Place,
    /// The file with the password.
    pub password_file: PathBuf,
    /// Whether commands and files go over TLS.
    pub is_secure: bool,
    /// A CA file to trust besides the system's roots.
    pub ca_file: Option<PathBuf>,
}

/// A connection to an FTP server.
pub(super) struct Ftp {
    place: Place,
    scheme: &'static str,
    server: AsyncRustlsFtpStream,
}

impl Ftp {
    pub(super) async fn connect(settings: &FtpSettings) -> Result<Self, SourceError> {
        let place = &settings.place;
        let scheme = if settings.is_secure { "ftps" } else { "ftp" };
        let object = format!("{scheme}://{place}");
        let address = (place.host.as_str(), place.port);
        let stream = step(&object, "connecting", TcpStream::connect(address)).await?;
        let mut server = asked(&object, "connecting", AsyncRustlsFtpStream::connect_with_stream(stream)).await?;
        if settings.is_secure {
            let config = crate::net::tls_config(settings.ca_file.as_deref())
                .map_err(|error| SourceError::trouble(object.as_str(), error))?;
            let connector = AsyncRustlsConnector::from(TlsConnector::from(config));
            let securing = async { Ok::<_, SourceError>(server.into_secure(connector, &place.host).await) };
            server = step(&object, "TLS", securing).await?.map_err(|error| no_tls(&object, &error))?;
        }
        server.set_mode(Mode::ExtendedPassive);
        let password = read_secret(&settings.password_file)?;
        let login = asked(&object, "logging in", async {
            match server.login(place.user.as_str(), password.expose()).await {
                Err(FtpError::UnexpectedResponse(answer)) if answer.status == Status::NotLoggedIn => Ok(false),
                // Some servers repeat what they were sent.
                Err(error) if error.to_string().contains(password.expose()) => Err(FtpError::ConnectionError(
                    std::io::Error::other("the server refuses it, and repeats the password"),
                )),
                other => other.map(|()| true),
            }
        });
        if !login.await? {
            return Err(SourceError::Refused {
                object,
                reason: format!("the server does not let {:?} in", place.user),
                remedy: format!("look whether {} holds its password", settings.password_file.display()),
            });
        }
        asked(&object, "asking for bytes as they are", server.transfer_type(FileType::Binary)).await?;
        if place.folder != "." {
            let entering = async { Ok::<_, SourceError>(server.cwd(&place.folder).await) };
            step(&object, "entering the folder", entering).await?.map_err(|error| match error {
                FtpError::UnexpectedResponse(answer) if is_refusal(answer.status) => no_folder(object.clone()),
                error => SourceError::trouble(object.as_str(), format!("entering the folder: {}", said(&error))),
            })?;
        }
        Ok(Self { place: place.clone(), scheme, server })
    }

    fn object(&self, name: &str) -> String {
        format!("{}://{}/{name}", self.scheme, self.place)
    }

    fn fail(&self, name: &str, error: &FtpError) -> SourceError {
        let object = self.object(name);
        match error {
            FtpError::UnexpectedResponse(answer) if is_refusal(answer.status) => SourceError::Refused {
                object,
                reason: said(error),
                remedy: "let the user read it there, and move or delete it if so configured".to_owned(),
            },
            _ => SourceError::trouble(object, said(error)),
        }
    }
}

/// As [`step`], with what the server says in short.
async fn asked<T>(object: &str, what: &str, doing: impl Future<Output = FtpResult<T>>) -> Result<T, SourceError> {
    step(object, what, async { doing.await.map_err(|error| said(&error)) }).await
}

/// What an error comes to. The library calls each refusal an invalid response, and repeats its code.
fn said(error: &FtpError) -> String {
    match error {
        FtpError::UnexpectedResponse(answer) => {
            let text = String::from_utf8_lossy(&answer.body).split_whitespace().collect::<Vec<_>>().join(" ");
            format!("the server answers {}", if text.is_empty() { answer.status.to_string() } else { text })
        }
        FtpError::ConnectionError(error) => error.to_string(),
        FtpError::BadResponse => "what answers there does not speak FTP".to_owned(),
        FtpError::SecureError(text) => {
            let text = text.trim_start_matches("Secure error: ");
            // What follows is for programmers.
            text.split_once(" {").map_or(text, |(before, _)| before).to_owned()
        }
        other => other.to_string(),
    }
}

/// Why there is no TLS, and what to do.
fn no_tls(object: &str, error: &FtpError) -> SourceError {
    let remedy = match error {
        FtpError::UnexpectedResponse(_) => {
            "the server offers no TLS (AUTH TLS) at this port: ask its owner; ftp:// is FTP in plain text"
        }
        FtpError::SecureError(_) => {
            "the server's certificate has to be made out to the host in `source`, and come from an authority that this machine \
             trusts or that `ca_file` of the feed holds"
        }
        _ => return SourceError::trouble(object, format!("TLS: {}", said(error))),
    };
    SourceError::Refused {
        object: object.to_owned(),
        reason: format!("TLS: {}", crate::secret::redact(&said(error))),
        remedy: remedy.to_owned(),
    }
}

fn is_refusal(status: Status) -> bool {
    status.code() == 550 || status.code() == 553
}

/// The file that a line of `MLSD` tells of, if it is one.
fn listed(line: &str) -> Option<Listed> {
    // The parser takes what it does not find for a file without a size.
    line.to_ascii_lowercase().contains("size=").then_some(())?;
    let file = ListParser::parse_mlsd(line).ok().filter(suppaftp::list::File::is_file)?;
    let modified_ms =
        file.modified().duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_millis()).ok());
    let stamp = Stamp { size: file.size() as u64, modified_ms, tag: String::new() };
    Some(Listed { name: file.name().to_owned(), stamp })
}

#[async_trait]
impl Source for Ftp {
    async fn leave(mut self: Box<Self>) {
        // A server that does not hear it notices the closed connection.
        let _ = tokio::time::timeout(FAREWELL_MAX, self.server.quit()).await;
    }

    async fn list(&mut self, files_max: usize) -> Result<Vec<Listed>, SourceError> {
        let object = self.object("");
        let lines = asked(&object, "listing (MLSD)", self.server.mlsd(None)).await?;
        Ok(lines.iter().filter_map(|line| listed(line)).take(files_max).collect())
    }

    async fn stat(&mut self, name: &str) -> Result<Option<Stamp>, SourceError> {
        // MLST leaves room for doubt about names with blanks; the listing does not.
        Ok(self.list(usize::MAX).await?.into_iter().find(|file| file.name == name).map(|file| file.stamp))
    }

    async fn read(&mut self, file: &Listed, into: &mut dyn Receive) -> Result<ReadEnd, SourceError> {
        let object = self.object(&file.name);
        let mut content = asked(&object, "opening", self.server.retr_as_stream(&file.name)).await?;
        let mut piece = vec![0; READ_BYTES];
        loop {
            let count = step(&object, "reading", content.read(&mut piece)).await?;
            if count == 0 {
                break;
            }
            into.take(&piece[..count]).await?;
        }
        // The server says here whether it has sent all; a data connection alone does not tell an end from a break.
        asked(&object, "reading", content.finish()).await?;
        Ok(ReadEnd::Whole)
    }

    async fn delete(&mut self, name: &str) -> Result<(), SourceError> {
        match self.server.rm(name).await {
            Ok(()) => Ok(()),
            Err(_) if self.stat(name).await?.is_none() => Ok(()),
            Err(error) => Err(self.fail(name, &error)),
        }
    }

    async fn move_to(&mut self, name: &str, goal: &Goal<'_>) -> Result<(), SourceError> {
        let Goal { folder, other, .. } = *goal;
        // One that is there already is refused; the rename tells.
        let _ = self.server.mkdir(folder).await;
        let object = self.object(folder);
        let there = asked(&object, "listing (MLSD)", self.server.mlsd(Some(folder))).await?;
        let there: Vec<_> = there.iter().filter_map(|line| listed(line)).map(|file| file.name).collect();
        // A server may rename over what is there: the names are looked at first.
        let Some(to) = [name, other].into_iter().find(|to| !there.iter().any(|file| file == to)) else {
            // Both names are taken, the second by the same content: an earlier move was cut off after it.
            return self.delete(name).await;
        };
        match self.server.rename(name, &format!("{folder}/{to}")).await {
            Ok(()) => Ok(()),
            Err(_) if self.stat(name).await?.is_none() => Ok(()),
            Err(error) => Err(self.fail(name, &error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_tells_files_with_their_size_and_time_and_nothing_else() {
        let file = listed("type=file;size=17;modify=20220102013000; Client ID_ 01012022.zip").expect("a file");
        assert_eq!(file.name, "Client ID_ 01012022.zip");
        assert_eq!((file.stamp.size, file.stamp.modified_ms), (17, Some(1_641_087_000_000)));
        assert_eq!(listed("type=dir;modify=20220102013000; done"), None);
        assert_eq!(listed("nonsense"), None);
    }
}
