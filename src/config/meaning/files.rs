//! Paths and the files behind them: relative to the configuration file, systemd credentials, and whether they are there.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use toml::Spanned;

use super::Rules;
use crate::config::problem::Problem;
use crate::config::reader::Written;
use crate::config::value::PathText;

/// Where systemd puts the credentials of the service, as seen from outside of it.
const CREDENTIALS_OF_THE_SERVICE: &str = "/run/credentials/longshore.service";
/// Prefixes of a path to a systemd credential.
const CREDENTIAL_PREFIXES: [&str; 2] = ["credential:", "$CREDENTIALS_DIRECTORY/"];

/// Whether the files that a configuration names are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// They must be there and be readable: for the daemon and `longshore check`.
    Checked,
    /// They may be missing or closed to the caller: for commands that only look at the inbox.
    Assumed,
}

/// What the meaning of a configuration depends on besides its text.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The folder that relative paths start from: the configuration file's own.
    pub folder: PathBuf,
    /// systemd's folder of credentials.
    pub credentials: Option<PathBuf>,
    /// Whether files are looked at.
    pub files: Files,
}

impl Rules<'_, '_> {
    /// The path that was written, if one was.
    pub(super) fn path(&mut self, key: &str, written: &Written<PathText>) -> Option<PathBuf> {
        written.spanned().and_then(|path| self.path_of(key, path))
    }

    /// The path that `written` means; `None` is reported.
    pub(super) fn path_of(&mut self, key: &str, written: &Spanned<PathText>) -> Option<PathBuf> {
        let text = written.get_ref().0.as_str();
        let Some(name) = CREDENTIAL_PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix)) else {
            return Some(self.surroundings.folder.join(text));
        };
        let fail = |message: String, label: &str, help: &str| Problem::new(written.span(), message, label).help(help);
        if name.is_empty() || name.contains('/') || name == ".." || name == "." {
            let message = format!("`{key}` names no credential");
            self.problems.add(fail(
                message,
                "must be credential:NAME",
                "NAME is what LoadCredential= calls it in the unit",
            ));
            return None;
        }
        match (&self.surroundings.credentials, self.surroundings.files) {
            (Some(folder), _) => Some(folder.join(name)),
            (None, Files::Assumed) => Some(Path::new(CREDENTIALS_OF_THE_SERVICE).join(name)),
            (None, Files::Checked) => {
                let message = format!("`{key}` names a systemd credential, and $CREDENTIALS_DIRECTORY is not set");
                let help = format!(
                    "systemd sets it for a service with LoadCredential={name}:…; to try it by hand as root, run with CREDENTIALS_DIRECTORY={CREDENTIALS_OF_THE_SERVICE}"
                );
                self.problems.add(fail(message, "not to be had here", &help));
                None
            }
        }
    }

    /// A file with a secret: it must be there, and should be closed to others.
    pub(super) fn secret_file(&mut self, key: &str, written: &Spanned<PathText>) -> Option<PathBuf> {
        let path = self.path_of(key, written)?;
        if self.surroundings.files == Files::Checked {
            match File::open(&path).and_then(|file| file.metadata()) {
                Err(error) => self.unreadable(key, written, &path, &error.to_string()),
                Ok(found) if !found.is_file() => self.unreadable(key, written, &path, "it is no file"),
                Ok(found) if found.len() == 0 => self.unreadable(key, written, &path, "it is empty"),
                Ok(found) => self.warn_if_open(key, written, &path, found.permissions().mode()),
            }
        }
        Some(path)
    }

    /// A file that holds no secret.
    pub(super) fn public_file(&mut self, key: &str, written: &Spanned<PathText>) -> Option<PathBuf> {
        let path = self.path_of(key, written)?;
        if self.surroundings.files == Files::Checked
            && let Err(error) = File::open(&path)
        {
            self.unreadable(key, written, &path, &error.to_string());
        }
        Some(path)
    }

    /// A PEM file with a certificate and its key, or a folder of such files.
    pub(super) fn certificates(&mut self, key: &str, written: &Spanned<PathText>) -> Option<PathBuf> {
        let path = self.path_of(key, written)?;
        if self.surroundings.files == Files::Checked {
            if path.is_dir() {
                match std::fs::read_dir(&path).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
                    Err(error) => self.unreadable(key, written, &path, &error.to_string()),
                    Ok(entries) => self.certificate_folder(key, written, &path, &entries),
                }
            } else {
                return self.secret_file(key, written);
            }
        }
        Some(path)
    }

    fn certificate_folder(
        &mut self,
        key: &str,
        written: &Spanned<PathText>,
        folder: &Path,
        entries: &[std::fs::DirEntry],
    ) {
        let files: Vec<_> = entries
            .iter()
            .filter_map(|entry| {
                entry.path().metadata().ok().filter(std::fs::Metadata::is_file).map(|found| (entry.path(), found))
            })
            .collect();
        if files.is_empty() {
            self.unreadable(key, written, folder, "there is no file in it");
        }
        for (path, found) in files {
            self.warn_if_open(key, written, &path, found.permissions().mode());
        }
    }

    /// A file with certificates to trust.
    pub(super) fn ca_file(&mut self, key: &str, written: &Written<PathText>) -> Option<PathBuf> {
        let written = written.spanned()?;
        let path = self.path_of(key, written)?;
        if self.surroundings.files == Files::Checked {
            let found = CertificateDer::pem_file_iter(&path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            match found {
                Err(error) => self.unreadable(key, written, &path, &error.to_string()),
                Ok(found) if found.is_empty() => self.unreadable(key, written, &path, "it holds no PEM certificate"),
                Ok(_) => {}
            }
        }
        Some(path)
    }

    fn unreadable(&mut self, key: &str, written: &Spanned<PathText>, path: &Path, why: &str) {
        let problem = Problem::new(
            written.span(),
            format!("`{key}` names a file or folder that cannot be used"),
            format!("{}: {why}", path.display()),
        );
        self.problems.add(problem.help("it must be there, and readable by the user who runs this"));
    }

    fn warn_if_open(&mut self, key: &str, written: &Spanned<PathText>, path: &Path, mode: u32) {
        const OTHERS_READ: u32 = 0o004;
        if mode & OTHERS_READ != 0 {
            let message = format!("`{key}` holds a secret that every user of this machine can read");
            let label = format!("chmod 600 {}", path.display());
            self.problems.add(Problem::new(written.span(), message, label).warning());
        }
    }
}
