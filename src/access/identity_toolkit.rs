//! Google's Identity Toolkit: a username and a password become a token of an hour, which a refresh token renews.
//!
//! ```text
//! sign in ──> id token ──(a minute before its end, or refused)──> refresh ──> id token
//!    ^                                                               │
//!    └───────────────── the refresh token is not taken ──────────────┘
//! ```
//!
//! The vendor allows 2,000 sign-ins a minute to all its users, so that a token is kept for as long as it is good; it is
//! never written down.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use url::Url;

use super::AccessError;
use super::patience::Patience;
use crate::clock::{Clock, UnixMs};
use crate::error::{Class, Classify as _, chain};
use crate::net::read_bounded;
use crate::retry_after::retry_after;
use crate::secret::Secret;

/// A token with its claims is a few kilobytes.
const ANSWER_BYTES_MAX: usize = 256 << 10;
/// A password or a key is one line.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// A token is renewed this long before its end: clocks differ, and a request takes a while.
const REFRESH_AHEAD: Duration = Duration::from_secs(60);
/// How much of a refusal is shown.
const SHOWN_CHARS_MAX: usize = 300;

/// Who we are to the vendor's API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityToolkitSettings {
    /// Where to sign in: `https://identitytoolkit.googleapis.com`, but for tests.
    pub sign_in: Url,
    /// Where tokens are renewed: `https://securetoken.googleapis.com`, but for tests.
    pub refresh: Url,
    /// The vendor's key for its users.
    pub api_key: ApiKey,
    /// The user, as an e-mail address.
    pub username: String,
    /// A file with the password.
    pub password_file: PathBuf,
}

/// Where the API key stands. It names the vendor's project, and opens nothing without a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiKey {
    /// In the configuration.
    Written(String),
    /// In a file.
    File(PathBuf),
}

/// Signs in, and keeps the token.
#[derive(Debug)]
pub struct IdentityToolkit {
    settings: IdentityToolkitSettings,
    client: reqwest::Client,
    clock: Arc<dyn Clock>,
    session: Mutex<Option<Session>>,
}

#[derive(Clone, Debug)]
struct Session {
    token: Secret,
    refresh_token: Secret,
    good_until: UnixMs,
}

/// What signing in answers; a renewal answers the same in other words.
#[derive(Deserialize)]
struct Answer {
    #[serde(alias = "idToken")]
    id_token: Secret,
    #[serde(alias = "refreshToken")]
    refresh_token: Secret,
    /// Seconds, as a text.
    #[serde(alias = "expiresIn")]
    expires_in: Value,
}

impl IdentityToolkit {
    /// Nothing is asked before a token is.
    #[must_use]
    pub fn new(settings: IdentityToolkitSettings, client: reqwest::Client, clock: Arc<dyn Clock>) -> Self {
        Self { settings, client, clock, session: Mutex::new(None) }
    }

    /// A token that is good now. Of many that ask at once one is sent.
    ///
    /// # Errors
    /// Why there is none, and what to do.
    pub async fn token(&self) -> Result<Secret, AccessError> {
        let mut session = self.session.lock().await;
        if let Some(kept) = session.as_ref().filter(|kept| self.clock.now() < kept.good_until) {
            return Ok(kept.token.clone());
        }
        self.renew(&mut session).await
    }

    /// Another token than `refused`, which was not taken.
    ///
    /// # Errors
    /// As [`IdentityToolkit::token`].
    pub async fn refused(&self, refused: &Secret) -> Result<Secret, AccessError> {
        let mut session = self.session.lock().await;
        if let Some(kept) = session.as_ref().filter(|kept| kept.token != *refused) {
            return Ok(kept.token.clone());
        }
        self.renew(&mut session).await
    }

    async fn renew(&self, session: &mut Option<Session>) -> Result<Secret, AccessError> {
        let refresh_token = session.take().map(|kept| kept.refresh_token);
        let renewed = match refresh_token {
            Some(token) => match self.patiently(Some(&token)).await {
                // Its refresh token has ended, too: the password is as good as it was.
                Err(error) if matches!(error.class(), Class::Unauthorized | Class::Permanent) => None,
                renewed => Some(renewed?),
            },
            None => None,
        };
        let kept = match renewed {
            Some(kept) => kept,
            None => self.patiently(None).await?,
        };
        Ok(session.insert(kept).token.clone())
    }

    /// Renews by a refresh token, or signs in.
    async fn patiently(&self, refresh_token: Option<&Secret>) -> Result<Session, AccessError> {
        let mut patience = Patience::default();
        loop {
            let asked = match refresh_token {
                Some(token) => self.refresh(token).await,
                None => self.sign_in().await,
            };
            match asked {
                Ok(session) => return Ok(session),
                Err(error) => patience.wait_after(error).await?,
            }
        }
    }

    async fn sign_in(&self) -> Result<Session, AccessError> {
        let password = secret_of(&self.settings.password_file, "password").await?;
        let question = json!({
            "email": self.settings.username,
            "password": password.expose(),
            "returnSecureToken": true,
        });
        self.ask(&self.settings.sign_in, "/v1/accounts:signInWithPassword", &question).await
    }

    async fn refresh(&self, refresh_token: &Secret) -> Result<Session, AccessError> {
        let question = json!({ "grant_type": "refresh_token", "refresh_token": refresh_token.expose() });
        self.ask(&self.settings.refresh, "/v1/token", &question).await
    }

    async fn ask(&self, base: &Url, path: &str, question: &Value) -> Result<Session, AccessError> {
        let key = match &self.settings.api_key {
            ApiKey::Written(key) => Secret::new(key),
            ApiKey::File(path) => secret_of(path, "API key").await?,
        };
        let mut url = base.clone();
        url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
        url.set_query(None);
        let place = format!("the sign-in at {}", url.host_str().unwrap_or_default());
        url.query_pairs_mut().append_pair("key", key.expose());
        let unreachable = |reason: String| {
            AccessError::new(Class::Transient, format!("{place} cannot be reached: {reason}"))
                .with_remedy("check the network and the name")
        };
        // The address carries the key.
        let sent = self.client.post(url).json(question).send().await;
        let answer = sent.map_err(|error| unreachable(chain(&error.without_url())))?;
        let (status, now) = (answer.status(), self.clock.now());
        let wait = retry_after(answer.headers(), Some(now));
        let body = read_bounded(answer, ANSWER_BYTES_MAX).await.map_err(unreachable)?;
        if !status.is_success() {
            return Err(refusal(&place, status.as_u16(), &body, &self.settings.username).with_retry_after(wait));
        }
        let strange = || {
            AccessError::new(Class::Permanent, format!("{place} answered no token"))
                .with_remedy("check the addresses of the sign-in")
        };
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| strange())?;
        let seconds = match &answer.expires_in {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64(),
        };
        let lasts = Duration::from_secs(seconds.ok_or_else(strange)?);
        Ok(Session {
            token: answer.id_token,
            refresh_token: answer.refresh_token,
            good_until: now.plus(lasts.saturating_sub(REFRESH_AHEAD)),
        })
    }
}

/// What a refusal means; Google names it in `error.message`, with a text behind some.
fn refusal(place: &str, status: u16, body: &[u8], username: &str) -> AccessError {
    let told: Value = serde_json::from_slice(body).unwrap_or_default();
    let said = told.pointer("/error/message").and_then(Value::as_str).unwrap_or_default();
    let name = said.split([' ', ':']).next().unwrap_or_default();
    let credentials = format!("check `username` ({username}) and `password_file`");
    let (class, remedy) = match (status, name) {
        (_, "TOO_MANY_ATTEMPTS_TRY_LATER" | "RESOURCE_EXHAUSTED" | "QUOTA_EXCEEDED") | (429, _) => {
            (Class::Throttled, "try again later".to_owned())
        }
        (
            _,
            "INVALID_LOGIN_CREDENTIALS"
            | "EMAIL_NOT_FOUND"
            | "INVALID_PASSWORD"
            | "INVALID_EMAIL"
            | "MISSING_PASSWORD"
            | "MISSING_EMAIL",
        ) => (Class::Unauthorized, credentials),
        (_, "USER_DISABLED" | "USER_NOT_FOUND") => {
            (Class::Unauthorized, format!("ask the vendor to open the user {username}"))
        }
        (_, "TOKEN_EXPIRED" | "INVALID_REFRESH_TOKEN" | "INVALID_ID_TOKEN") => (Class::Unauthorized, credentials),
        (400 | 403, _) if said.contains("API key") || said.contains("API_KEY") => {
            (Class::Permanent, "check `api_key` or `api_key_file`: the vendor tells it to its users".to_owned())
        }
        (401, _) => (Class::Unauthorized, credentials),
        (503, _) => (Class::Throttled, "try again later".to_owned()),
        (408 | 500.., _) => (Class::Transient, "try again later".to_owned()),
        _ => (Class::Permanent, "check `username`, `api_key` and the addresses of the sign-in".to_owned()),
    };
    let said: String = said.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS_MAX).collect();
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    AccessError::new(class, format!("{place} answered {status}{said}")).with_remedy(remedy)
}

/// The one line of a file.
async fn secret_of(path: &std::path::Path, what: &str) -> Result<Secret, AccessError> {
    use tokio::io::AsyncReadExt as _;
    let fail = |why: String| {
        AccessError::new(Class::Permanent, format!("the {what} in {} cannot be read: {why}", path.display()))
    };
    let mut text = String::new();
    let file = tokio::fs::File::open(path).await.map_err(|error| fail(error.to_string()))?;
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).await.map_err(|error| fail(error.to_string()))?;
    let line = text.trim_end_matches(['\r', '\n']);
    if line.is_empty() || line.contains(['\r', '\n']) {
        return Err(fail("it must be one line".to_owned()));
    }
    Ok(Secret::new(line))
}
