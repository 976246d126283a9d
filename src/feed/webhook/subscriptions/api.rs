//! The vendor's API of subscriptions: list, create, delete. There is no way to change one.

use std::collections::HashSet;
use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use url::Url;

use super::told::Told;
use super::{SubscriptionsSettings, Terms, Wanted};
use crate::access::{AccessError, IdentityToolkit, Patience};
use crate::clock::Clock;
use crate::error::{Class, chain};
use crate::net::read_bounded;
use crate::retry_after::retry_after;
use crate::secret::redact;

const PATH: &str = "/api/subscriptions";
/// What the vendor gives on a page by itself.
const PAGE_SIZE: usize = 25;
/// Five of each of some hundred events are twenty pages.
const PAGES_MAX: usize = 1_000;
/// A page of subscriptions is some tens of kilobytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// How much of a refusal is shown.
const SHOWN_CHARS_MAX: usize = 300;

/// The API.
#[derive(Debug)]
pub struct Api {
    base: Url,
    client: reqwest::Client,
    identity: IdentityToolkit,
    clock: Arc<dyn Clock>,
}

impl Api {
    /// Nothing is sent before something is asked.
    #[must_use]
    pub fn new(settings: &SubscriptionsSettings, client: reqwest::Client, clock: Arc<dyn Clock>) -> Self {
        let identity = IdentityToolkit::new(settings.identity.clone(), client.clone(), Arc::clone(&clock));
        Self { base: settings.api.clone(), client, identity, clock }
    }

    /// Signs in, if that was not done yet.
    ///
    /// # Errors
    /// Why that cannot be.
    pub async fn sign_in(&self) -> Result<(), AccessError> {
        self.identity.token().await.map(drop)
    }

    /// Every subscription that the vendor has.
    ///
    /// # Errors
    /// Why it cannot be told.
    pub async fn list(&self) -> Result<Vec<Told>, AccessError> {
        let mut all: Vec<Told> = Vec::new();
        let mut seen = HashSet::new();
        for _ in 0..PAGES_MAX {
            let mut url = self.url(None);
            url.query_pairs_mut().append_pair("size", &PAGE_SIZE.to_string());
            if let Some(last) = all.last() {
                url.query_pairs_mut().append_pair("startAfterId", &last.id);
            }
            let body = self.patiently(Method::GET, url).await?;
            let page: Value = serde_json::from_slice(&body).map_err(|_| self.strange("no list"))?;
            let page = page.get("subscriptions").and_then(Value::as_array).ok_or_else(|| self.strange("no list"))?;
            let before = all.len();
            all.extend(page.iter().filter_map(Told::read).filter(|told| seen.insert(told.id.clone())));
            // The last page is an empty one: how many there are on a full page is the vendor's to say.
            if all.len() == before {
                return Ok(all);
            }
        }
        Err(self.strange("pages without end"))
    }

    /// Makes a subscription. One that was made although no answer came is found, and not made twice.
    ///
    /// # Errors
    /// Why it is not made.
    pub async fn create(&self, wanted: &Wanted, terms: &Terms, known: &HashSet<String>) -> Result<String, AccessError> {
        let body = body_of(wanted, terms);
        let mut patience = Patience::default();
        let mut is_uncertain = false;
        loop {
            if is_uncertain
                && let Some(made) = self.list().await?.iter().find(|told| is_made(told, wanted, terms, known))
            {
                return Ok(made.id.clone());
            }
            match self.call(&Method::POST, &self.url(None), Some(&body)).await {
                Ok(answer) => {
                    let made: Value = serde_json::from_slice(&answer).unwrap_or_default();
                    let id = made.get("id").and_then(Value::as_str).ok_or_else(|| self.strange("no id"))?;
                    return Ok(id.to_owned());
                }
                Err(error) => {
                    is_uncertain = true;
                    patience.wait_after(error).await?;
                }
            }
        }
    }

    /// Deletes a subscription; one that is gone already is as good.
    ///
    /// # Errors
    /// Why it is still there.
    pub async fn delete(&self, id: &str) -> Result<(), AccessError> {
        self.patiently(Method::DELETE, self.url(Some(id))).await.map(drop)
    }

    fn url(&self, id: Option<&str>) -> Url {
        let mut url = self.base.clone();
        url.set_query(None);
        url.set_path(&format!("{}{PATH}", self.base.path().trim_end_matches('/')));
        if let (Some(id), Ok(mut segments)) = (id, url.path_segments_mut()) {
            segments.push(id);
        }
        url
    }

    /// A request that may be sent again.
    async fn patiently(&self, method: Method, url: Url) -> Result<Vec<u8>, AccessError> {
        let mut patience = Patience::default();
        loop {
            match self.call(&method, &url, None).await {
                Ok(answer) => return Ok(answer),
                Err(error) => patience.wait_after(error).await?,
            }
        }
    }

    /// One request; a second one, with another token, if the first token is not taken.
    async fn call(&self, method: &Method, url: &Url, body: Option<&Value>) -> Result<Vec<u8>, AccessError> {
        let token = self.identity.token().await?;
        let answered = self.send(method, url, body, token.expose()).await?;
        let answered = match answered {
            Err(_) => {
                let token = self.identity.refused(&token).await?;
                self.send(method, url, body, token.expose()).await?
            }
            taken => taken,
        };
        answered.map_err(|error| error.with_remedy("check what the user may do; a token was made anew for this"))
    }

    /// The inner error is a token that is not taken.
    async fn send(
        &self,
        method: &Method,
        url: &Url,
        body: Option<&Value>,
        token: &str,
    ) -> Result<Result<Vec<u8>, AccessError>, AccessError> {
        let mut request = self.client.request(method.clone(), url.clone()).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let unreachable = |reason: String| {
            AccessError::new(Class::Transient, format!("{} cannot be reached: {reason}", self.place()))
                .with_remedy("check the network and `api`")
        };
        let answer = request.send().await.map_err(|error| unreachable(chain(&error.without_url())))?;
        let status = answer.status();
        let wait = retry_after(answer.headers(), Some(self.clock.now()));
        let answer = read_bounded(answer, ANSWER_BYTES_MAX).await.map_err(unreachable)?;
        let is_gone = status == StatusCode::NOT_FOUND && *method == Method::DELETE;
        if status.is_success() || is_gone {
            return Ok(Ok(answer));
        }
        let error = self.refusal(status, &answer, token).with_retry_after(wait);
        if status == StatusCode::UNAUTHORIZED { Ok(Err(error)) } else { Err(error) }
    }

    fn refusal(&self, status: StatusCode, body: &[u8], token: &str) -> AccessError {
        let (class, remedy) = match status.as_u16() {
            401 => (Class::Unauthorized, "check what the user may do"),
            403 => (
                Class::Permanent,
                "only an administrator may see and change subscriptions: ask the vendor for the role",
            ),
            404 => (Class::Permanent, "check `api`"),
            429 | 503 => (Class::Throttled, "try again later"),
            408 | 500.. => (Class::Transient, "try again later"),
            300..=399 => (Class::Permanent, "a token does not follow a redirect; set `api` to its end"),
            _ => (Class::Permanent, "look at what the vendor says about it, and correct the feed's subscriptions"),
        };
        let said = excerpt(body).replace(token, "[secret]");
        AccessError::new(class, format!("{} answered {status}{said}", self.place())).with_remedy(remedy)
    }

    fn strange(&self, what: &str) -> AccessError {
        AccessError::new(Class::Permanent, format!("{} answered {what}", self.place()))
            .with_remedy("check `api`; its form may have changed")
    }

    fn place(&self) -> String {
        format!("the vendor's API at {}", self.url(None))
    }
}

/// What the vendor says of a refusal: a list of summaries, or the beginning of whatever it is.
fn excerpt(body: &[u8]) -> String {
    let told: Value = serde_json::from_slice(body).unwrap_or_default();
    let one = |error: &Value| {
        let text = |name: &str| error.get(name).and_then(Value::as_str).map(str::to_owned);
        Some([text("summary"), text("description")].into_iter().flatten().collect::<Vec<_>>().join(": "))
            .filter(|text| !text.is_empty())
    };
    let summaries: Vec<String> = match &told {
        Value::Array(errors) => errors.iter().filter_map(one).collect(),
        other => one(other).into_iter().collect(),
    };
    let text = if summaries.is_empty() { String::from_utf8_lossy(body).into_owned() } else { summaries.join("; ") };
    let line = redact(&text.split_whitespace().collect::<Vec<_>>().join(" "));
    if line.is_empty() {
        return String::new();
    }
    format!(": {}", line.chars().take(SHOWN_CHARS_MAX).collect::<String>())
}

fn body_of(wanted: &Wanted, terms: &Terms) -> Value {
    let mut target = json!({ "type": "WEBHOOK", "callbackUrl": terms.target.as_str() });
    if let Some((header, value)) = &terms.header {
        target["headers"] = json!([{ "key": canonical(header.as_str()), "value": value.expose() }]);
    }
    let mut body = json!({ "name": name_of(wanted, terms), "event": wanted.event, "target": target });
    if !wanted.contexts.is_empty() {
        body["contexts"] = json!(wanted.contexts);
    }
    body
}

/// What a subscription of ours is called.
pub(super) fn name_of(wanted: &Wanted, terms: &Terms) -> String {
    format!("{} {}", terms.name, wanted.event)
}

/// `authorization` as people write it: names of headers are the same in any case, but a sender may not know that.
fn canonical(header: &str) -> String {
    let parts = header.split('-').map(|part| {
        let mut characters = part.chars();
        let first = characters.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(characters).collect::<String>()
    });
    parts.collect::<Vec<_>>().join("-")
}

/// Whether this is the one that was just asked for.
fn is_made(told: &Told, wanted: &Wanted, terms: &Terms, known: &HashSet<String>) -> bool {
    !known.contains(&told.id) && told.what == *wanted && told.name == name_of(wanted, terms) && terms.fits(told)
}
