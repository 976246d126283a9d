//! SFTP as a source. The server is known by its key: one that is not expected is refused before we say who we are, and
//! the feed stops until a person has looked.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use russh::client::{self, AuthResult, Handle, KeyboardInteractiveAuthResponse};
use russh::keys::{HashAlg, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{Disconnect, MethodKind};
use russh_sftp::client::SftpSession;
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::client::fs::Metadata;
use russh_sftp::protocol::StatusCode;
use tokio::io::AsyncReadExt as _;

use super::contract::{Goal, Listed, ReadEnd, Receive, Source, SourceError, Stamp};
use super::remote::{FAREWELL_MAX, Login, Place, STEP_MAX, no_folder, read_secret, step, written};
use crate::secret::Secret;

const READ_BYTES: usize = 256 << 10;
/// How often a server may ask; the last time there is mostly nothing to answer.
const QUESTIONS_MAX: usize = 3;
/// A server that says nothing for this long is asked whether it is there; it may miss three such questions.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// A folder on an SFTP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SftpSettings {
    /// Where it is.
    pub place: Place,
    /// How it knows us.
    pub login: Login,
    /// How we know it: fingerprints such as `SHA256:…`, any of which will do.
    pub host_keys: Vec<String>,
    /// How we know it: a file as OpenSSH writes it.
    pub known_hosts: Option<PathBuf>,
}

/// A connection to an SFTP server.
pub(super) struct Sftp {
    place: Place,
    files: SftpSession,
    session: Handle<KeyCheck>,
    /// The fingerprint of the server's key.
    fingerprint: String,
}

impl Sftp {
    pub(super) async fn connect(settings: &SftpSettings) -> Result<Self, SourceError> {
        let place = &settings.place;
        let object = format!("sftp://{place}");
        let seen = Arc::new(Mutex::new(None));
        let check = KeyCheck { settings: settings.clone(), seen: Arc::clone(&seen) };
        let config = client::Config { keepalive_interval: Some(KEEPALIVE), nodelay: true, ..client::Config::default() };
        let connecting = client::connect(Arc::new(config), (place.host.as_str(), place.port), check);
        let connected = step(&object, "connecting", connecting).await;
        let seen: Option<SeenKey> = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
        let fingerprint = match seen {
            Some(SeenKey { is_known: false, fingerprint, why }) => {
                return Err(SourceError::HostKey { object, fingerprint, why });
            }
            Some(seen) => seen.fingerprint,
            None => String::new(),
        };
        let mut session = connected?;
        authenticate(&mut session, settings, &object).await?;
        let channel = step(&object, "opening a channel", session.channel_open_session()).await?;
        step(&object, "asking for sftp", channel.request_subsystem(true, "sftp")).await?;
        let config = russh_sftp::client::Config { request_timeout_secs: STEP_MAX.as_secs(), ..Default::default() };
        let opening = SftpSession::new_with_config(channel.into_stream(), config);
        let files = step(&object, "asking for sftp", opening).await?;
        Ok(Self { place: place.clone(), files, session, fingerprint })
    }

    fn object(&self, path: &str) -> String {
        format!("sftp://{}:{}{}", self.place.host, self.place.port, written(path))
    }

    fn fail(&self, path: &str, error: &SftpError) -> SourceError {
        let object = self.object(path);
        if status(error) == Some(StatusCode::PermissionDenied) {
            let remedy =
                format!("let the user {:?} read it there, and move or delete it if so configured", self.place.user);
            return SourceError::Refused { object, reason: said(error), remedy };
        }
        SourceError::trouble(object, said(error))
    }
}

/// What the server answered; many repeat the name of the status as its explanation.
fn said(error: &SftpError) -> String {
    match error {
        SftpError::Status(status) if status.error_message.is_empty() => status.status_code.to_string(),
        SftpError::Status(status) => status.error_message.clone(),
        other => other.to_string(),
    }
}

fn status(error: &SftpError) -> Option<StatusCode> {
    match error {
        SftpError::Status(status) => Some(status.status_code),
        _ => None,
    }
}

async fn authenticate(
    session: &mut Handle<KeyCheck>,
    settings: &SftpSettings,
    object: &str,
) -> Result<(), SourceError> {
    let user = settings.place.user.as_str();
    let (done, remedy) = match &settings.login {
        Login::Password(file) => {
            let password = read_secret(file)?;
            let remedy = format!("look whether {} holds its password", file.display());
            (step(object, "logging in", by_password(session, user, &password)).await?, remedy)
        }
        Login::Key(file) => {
            let key = russh::keys::load_secret_key(file, None).map_err(|error| no_key(file, &error))?;
            let hash = step(object, "logging in", session.best_supported_rsa_hash()).await?.flatten();
            let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
            let remedy = format!(
                "the server's owner has to put the public half of the key into that user's authorized keys: `ssh-keygen -y -f {}` \
                 shows it",
                file.display()
            );
            (step(object, "logging in", session.authenticate_publickey(user, key)).await?.success(), remedy)
        }
    };
    if done {
        return Ok(());
    }
    Err(SourceError::Refused {
        object: object.to_owned(),
        reason: format!("the server does not let {user:?} in"),
        remedy,
    })
}

fn no_key(file: &Path, error: &russh::keys::Error) -> SourceError {
    let file = file.display();
    let (reason, remedy) = match error {
        russh::keys::Error::KeyIsEncrypted => (
            "the key has a passphrase",
            format!("`ssh-keygen -p -f {file}` takes it off, of a copy that only Longshore reads"),
        ),
        russh::keys::Error::IO(error) => {
            let remedy = "let the user who runs Longshore read it".to_owned();
            return SourceError::Refused { object: file.to_string(), reason: error.to_string(), remedy };
        }
        _ => (
            "it is no private key",
            "name the file that `ssh-keygen` wrote beside the one that ends in .pub".to_owned(),
        ),
    };
    SourceError::Refused { object: file.to_string(), reason: reason.to_owned(), remedy }
}

/// Shows the password as such; to a server that takes none as such, but asks questions, as the answer. One that takes
/// both is shown it once: a wrong password counts there.
async fn by_password(session: &mut Handle<KeyCheck>, user: &str, password: &Secret) -> Result<bool, russh::Error> {
    let remaining = match session.authenticate_password(user, password.expose()).await? {
        AuthResult::Success => return Ok(true),
        AuthResult::Failure { remaining_methods, .. } => remaining_methods,
    };
    if remaining.contains(&MethodKind::Password) || !remaining.contains(&MethodKind::KeyboardInteractive) {
        return Ok(false);
    }
    let mut asked = session.authenticate_keyboard_interactive_start(user, None).await?;
    for _ in 0..QUESTIONS_MAX {
        let KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } = asked else { break };
        // What is not to be seen is the password; a server that asks for anything else besides does not let us in.
        let answers =
            prompts.iter().map(|prompt| if prompt.echo { "" } else { password.expose() }.to_owned()).collect();
        asked = session.authenticate_keyboard_interactive_respond(answers).await?;
    }
    Ok(matches!(asked, KeyboardInteractiveAuthResponse::Success))
}

/// What the server showed, and what we make of it.
struct SeenKey {
    is_known: bool,
    fingerprint: String,
    why: String,
}

struct KeyCheck {
    settings: SftpSettings,
    seen: Arc<Mutex<Option<SeenKey>>>,
}

impl client::Handler for KeyCheck {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let verdict = match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => judge(&self.settings, key),
            PublicKeyOrCertificate::Certificate(_) => SeenKey {
                is_known: false,
                fingerprint: "a certificate".to_owned(),
                why: "certificates of hosts are not supported".to_owned(),
            },
        };
        let is_known = verdict.is_known;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(verdict);
        Ok(is_known)
    }
}

fn judge(settings: &SftpSettings, key: &PublicKey) -> SeenKey {
    let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
    if settings.host_keys.contains(&fingerprint) {
        return SeenKey { is_known: true, fingerprint, why: String::new() };
    }
    let why = match &settings.known_hosts {
        None => "it is none of `host_keys`".to_owned(),
        Some(file) => match keys_in(file, &settings.place) {
            Ok(known) if known.iter().any(|known| known.key_data() == key.key_data()) => {
                return SeenKey { is_known: true, fingerprint, why: String::new() };
            }
            Ok(known) if known.is_empty() => {
                format!("{} knows no key of {}, port {}", file.display(), settings.place.host, settings.place.port)
            }
            Ok(_) => format!("{} knows it by another", file.display()),
            Err(error) => format!("{} cannot be read: {error}", file.display()),
        },
    };
    SeenKey { is_known: false, fingerprint, why }
}

/// The keys by which a file knows the server.
fn keys_in(file: &Path, place: &Place) -> Result<Vec<PublicKey>, russh::keys::Error> {
    let known = russh::keys::known_hosts::known_host_keys_path(&place.host, place.port, file)?;
    Ok(known.into_iter().map(|(_, key)| key).collect())
}

/// The protocol tells whole seconds.
fn stamp(found: &Metadata) -> Stamp {
    Stamp {
        size: found.size.unwrap_or(0),
        modified_ms: found.mtime.map(|seconds| i64::from(seconds) * 1_000),
        tag: String::new(),
    }
}

#[async_trait]
impl Source for Sftp {
    async fn leave(self: Box<Self>) {
        // A server that does not hear it notices the closed connection.
        let _ = tokio::time::timeout(FAREWELL_MAX, async {
            let _ = self.files.close().await;
            self.session.disconnect(Disconnect::ByApplication, "", "en").await
        })
        .await;
    }

    fn seen(&self) -> Option<String> {
        Some(format!("host key {}", self.fingerprint))
    }

    async fn list(&mut self, files_max: usize) -> Result<Vec<Listed>, SourceError> {
        let folder = self.place.folder.clone();
        let object = self.object(&folder);
        let listing = async { Ok::<_, SourceError>(self.files.read_dir(folder.clone()).await) };
        let found = match step(&object, "listing", listing).await? {
            Ok(found) => found,
            Err(error) if status(&error) == Some(StatusCode::NoSuchFile) => return Err(no_folder(object)),
            Err(error) => return Err(self.fail(&folder, &error)),
        };
        let files = found.filter(|entry| entry.metadata().is_regular());
        let listed =
            files.take(files_max).map(|entry| Listed { name: entry.file_name(), stamp: stamp(&entry.metadata()) });
        Ok(listed.collect())
    }

    async fn stat(&mut self, name: &str) -> Result<Option<Stamp>, SourceError> {
        let path = self.place.path(name);
        match self.files.symlink_metadata(path.clone()).await {
            Ok(found) => Ok(found.is_regular().then(|| stamp(&found))),
            Err(error) if status(&error) == Some(StatusCode::NoSuchFile) => Ok(None),
            Err(error) => Err(self.fail(&path, &error)),
        }
    }

    async fn read(&mut self, file: &Listed, into: &mut dyn Receive) -> Result<ReadEnd, SourceError> {
        let path = self.place.path(&file.name);
        let object = self.object(&path);
        let mut file = self.files.open(path.clone()).await.map_err(|error| self.fail(&path, &error))?;
        let mut piece = vec![0; READ_BYTES];
        loop {
            let count = step(&object, "reading", file.read(&mut piece)).await?;
            if count == 0 {
                return Ok(ReadEnd::Whole);
            }
            into.take(&piece[..count]).await?;
        }
    }

    async fn delete(&mut self, name: &str) -> Result<(), SourceError> {
        let path = self.place.path(name);
        match self.files.remove_file(path.clone()).await {
            Err(error) if status(&error) != Some(StatusCode::NoSuchFile) => Err(self.fail(&path, &error)),
            _ => Ok(()),
        }
    }

    async fn move_to(&mut self, name: &str, goal: &Goal<'_>) -> Result<(), SourceError> {
        let Goal { folder, other, .. } = *goal;
        let from = self.place.path(name);
        let folder = self.place.path(folder);
        // One that is there already is refused with a failure that says no more; the rename tells.
        let _ = self.files.create_dir(folder.clone()).await;
        let mut last = None;
        for to in [format!("{folder}/{name}"), format!("{folder}/{other}")] {
            // Version 3 of the protocol refuses to rename over a file, OpenSSH with it; others are asked first.
            match self.files.try_exists(to.clone()).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => return Err(self.fail(&to, &error)),
            }
            match self.files.rename(from.clone(), to.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) if status(&error) == Some(StatusCode::NoSuchFile) && self.stat(name).await?.is_none() => {
                    return Ok(());
                }
                Err(error) => last = Some(self.fail(&to, &error)),
            }
        }
        match last {
            Some(error) => Err(error),
            // Both names are taken, the second by the same content: an earlier move was cut off after it.
            None => self.delete(name).await,
        }
    }
}
