//! What carries `azure_identity`'s requests: our own HTTP client, with a bound on the answer and a memory of what it said.
//!
//! The library reads an error answer with borrowed text, which fails on any JSON escape in it, and then reports a parse
//! error in place of Entra's. So the status and Entra's words are read here, before the library sees them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, Body, HttpClient, Request};
use http::header::CONTENT_TYPE;
use serde::Deserialize;

use super::skew::Skew;
use crate::clock::Clock;
use crate::error::chain;
use crate::net::read_bounded;
use crate::retry_after::retry_after;

/// A token with its claims is a few kilobytes.
const ANSWER_BYTES_MAX: usize = 256 << 10;

/// What the authority answered last.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    /// The HTTP status; `None` when no answer came.
    pub status: Option<u16>,
    /// Why no answer came.
    pub unreachable: Option<String>,
    /// OAuth's name of the error, such as `invalid_client`.
    pub error: String,
    /// Entra's numbers, such as 700027 for `AADSTS700027`.
    pub codes: Vec<u32>,
    /// Entra's text.
    pub description: String,
    /// How far its clock is from ours.
    pub skew: Option<Skew>,
    /// When to come back.
    pub retry_after: Option<Duration>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorAnswer {
    error: String,
    error_description: String,
    error_codes: Vec<u32>,
}

/// The client that `azure_identity` is given.
#[derive(Debug)]
pub(super) struct Transport {
    client: reqwest::Client,
    clock: Arc<dyn Clock>,
    said: Mutex<Said>,
    skew: Mutex<Option<Skew>>,
}

impl Transport {
    pub fn new(client: reqwest::Client, clock: Arc<dyn Clock>) -> Self {
        Self { client, clock, said: Mutex::default(), skew: Mutex::default() }
    }

    /// What was said since the last call; empty if nothing was asked.
    pub fn take_said(&self) -> Said {
        std::mem::take(&mut *self.said.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How far the authority's clock was from ours, if it was asked since the last call.
    pub fn take_skew(&self) -> Option<Skew> {
        self.skew.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note(&self, said: Said) {
        if said.skew.is_some() {
            *self.skew.lock().unwrap_or_else(PoisonError::into_inner) = said.skew;
        }
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = said;
    }

    async fn send(&self, request: &Request) -> Result<(u16, Vec<u8>), String> {
        let Body::Bytes(body) = request.body().clone() else {
            return Err("a token request is never a stream".to_owned());
        };
        let assertion = assertion_in(&body);
        let sent = self
            .client
            .post(request.url().clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(http::header::ACCEPT, "application/json")
            .body(body)
            .send()
            .await;
        let answer = sent.map_err(|e| chain(&e.without_url()))?;
        let status = answer.status();
        let now = self.clock.now();
        let mut said = Said {
            status: Some(status.as_u16()),
            skew: Skew::from_headers(answer.headers(), now),
            retry_after: retry_after(answer.headers(), Some(now)),
            ..Said::default()
        };
        let body = read_bounded(answer, ANSWER_BYTES_MAX).await?;
        if !status.is_success() {
            let told: ErrorAnswer = serde_json::from_slice(&body).unwrap_or_default();
            said.codes = told.error_codes;
            said.error = without(&told.error, &assertion);
            said.description = without(&told.error_description, &assertion);
        }
        self.note(said);
        Ok((status.as_u16(), body))
    }
}

/// The assertion that a form carries: an authority may quote it back at us.
fn assertion_in(form: &[u8]) -> String {
    url::form_urlencoded::parse(form)
        .find(|(name, _)| name == "client_assertion")
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

fn without(text: &str, assertion: &str) -> String {
    if assertion.is_empty() { text.to_owned() } else { text.replace(assertion, "[secret]") }
}

#[async_trait]
impl HttpClient for Transport {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        match self.send(request).await {
            Ok((status, body)) => Ok(AsyncRawResponse::from_bytes(status.into(), Headers::new(), body)),
            Err(reason) => {
                self.note(Said { unreachable: Some(reason.clone()), ..Said::default() });
                Err(azure_core::Error::with_message(ErrorKind::Io, reason))
            }
        }
    }
}
