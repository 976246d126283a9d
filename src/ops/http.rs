//! Health and metrics over HTTP, on loopback unless the configuration says otherwise.
//!
//! | path | answer |
//! |---|---|
//! | `/live` | 200 while every loop is alive, else 503 with the names of those that stand still |
//! | `/ready` | 200 once every part has started, else 503 |
//! | `/health` | 200 when nothing is degraded, else 503; JSON with each part, its reason and since when |
//! | `/metrics` | OpenMetrics text |

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Context;
use super::health::{Condition, Part};

/// Where health and metrics are served.
#[derive(Clone, Debug, Default)]
pub struct OpsSettings {
    /// The address; `None` serves nothing.
    pub listen: Option<SocketAddr>,
}

/// Serves until `stop`. Anything that the metrics need to be fresh is done by `before_metrics` at each scrape.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    context: Context,
    before_metrics: Arc<dyn BeforeMetrics>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .with_state((context, before_metrics));
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// Brings gauges up to date before the metrics are read.
#[async_trait::async_trait]
pub trait BeforeMetrics: Send + Sync {
    /// Sets the gauges; what cannot be read keeps its last value and is logged.
    async fn refresh(&self);
}

/// An answer in JSON with a line end behind it, so that the prompt of whoever asked with `curl` stands on its own line.
pub(crate) struct Told<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Told<T> {
    fn into_response(self) -> Response {
        match serde_json::to_string(&self.0) {
            Ok(text) => {
                let json = HeaderValue::from_static("application/json");
                ([(header::CONTENT_TYPE, json)], text + "\n").into_response()
            }
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
        }
    }
}

type Shared = State<(Context, Arc<dyn BeforeMetrics>)>;

async fn live(State((context, _)): Shared) -> Response {
    let silent = context.heartbeats.silent();
    let status = if silent.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Told(json!({ "live": silent.is_empty(), "silent": silent }))).into_response()
}

async fn ready(State((context, _)): Shared) -> Response {
    let is_ready = context.health.is_ready();
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Told(json!({ "ready": is_ready }))).into_response()
}

async fn health(State((context, _)): Shared) -> Response {
    let parts = context.health.parts();
    let told: Vec<_> = parts.iter().map(tell).collect();
    let is_degraded = parts.iter().any(|part| matches!(part.condition, Condition::Degraded { .. }));
    let state = if is_degraded {
        "degraded"
    } else if context.health.is_ready() {
        "good"
    } else {
        "starting"
    };
    let status = if is_degraded { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, Told(json!({ "state": state, "pid": std::process::id(), "parts": told }))).into_response()
}

/// A part, with its moment as people and other programs read it.
fn tell(part: &Part) -> serde_json::Value {
    let (condition, said) = match &part.condition {
        Condition::Good { note } => ("good", note.as_str()),
        Condition::Starting => ("starting", ""),
        Condition::Degraded { reason } => ("degraded", reason.as_str()),
    };
    json!({ "name": part.name, "condition": condition, "said": said, "since": part.since.to_string() })
}

async fn metrics(State((context, before_metrics)): Shared) -> Response {
    before_metrics.refresh().await;
    match context.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixMs;

    #[tokio::test]
    async fn an_answer_is_json_and_ends_its_line() {
        let answer = (StatusCode::SERVICE_UNAVAILABLE, Told(json!({ "live": false }))).into_response();
        assert_eq!(
            (answer.status(), &answer.headers()["content-type"]),
            (StatusCode::SERVICE_UNAVAILABLE, &"application/json".parse().expect("a value"))
        );
        let body = axum::body::to_bytes(answer.into_body(), 100).await.expect("a body");
        assert_eq!(body, "{\"live\":false}\n");
    }

    #[test]
    fn a_part_is_told_with_its_reason_and_a_moment_that_can_be_read() {
        let condition = Condition::Degraded { reason: "refused".to_owned() };
        let part = Part { name: "feed eg".to_owned(), condition, since: UnixMs(0) };
        let told = json!({
            "name": "feed eg", "condition": "degraded", "said": "refused", "since": "1970-01-01T00:00:00.000Z",
        });
        assert_eq!(tell(&part), told);
    }
}
