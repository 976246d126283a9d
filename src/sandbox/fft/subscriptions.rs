//! The API of subscriptions: paged by the last id, five of an event, nothing that is not in the specification.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Core;
use crate::sandbox::serve::lock;

const OF_EVENT_MAX: usize = 5;
const PAGE_SIZE: usize = 25;
const PAGE_SIZE_MAX: usize = 250;

/// Some of what the vendor knows.
const EVENTS: [&str; 22] = [
    "ORDER_CREATED",
    "ORDER_MODIFIED",
    "ORDER_CANCELLED",
    "ORDER_UNLOCKED",
    "PICK_JOB_CREATED",
    "PICK_JOB_CANCELED",
    "PICK_JOB_PICKING_FINISHED",
    "PICK_JOB_PICK_LINE_PICKED",
    "PACK_JOB_CREATED",
    "PACK_JOB_CLOSED",
    "HANDOVERJOB_CREATED",
    "HANDOVERJOB_HANDED_OVER",
    "SHIPMENT_CREATED",
    "SHIPMENT_UPDATED",
    "ROUTING_PLAN_ROUTED",
    "ROUTING_PLAN_SPLITTED",
    "PROCESS_ANONYMIZED",
    "PROCESS_DELETED",
    "FACILITY_CREATED",
    "FACILITY_UPDATED",
    "FACILITY_DELETED",
    "INVENTORY_FACILITY_STOCK_CHANGED",
];

pub(super) fn router() -> Router<Arc<Core>> {
    Router::new()
        .route("/api/subscriptions", get(list).post(create))
        .route("/api/subscriptions/{id}", delete(remove))
        .route("/api/supportedevents", get(supported))
}

/// A body as the specification has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Asked {
    name: String,
    event: String,
    target: Option<Target>,
    callback_url: Option<String>,
    headers: Option<Vec<Header>>,
    #[serde(default)]
    contexts: Vec<Context>,
}

#[derive(Deserialize)]
#[serde(tag = "type", deny_unknown_fields, rename_all_fields = "camelCase", rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(dead_code, reason = "read to be checked")]
enum Target {
    Webhook {
        callback_url: String,
        #[serde(default)]
        headers: Vec<Header>,
    },
    MicrosoftAzureServiceBus {
        tenant_id: String,
        client_id: String,
        client_secret: String,
        namespace: String,
        queue_or_topic_name: String,
    },
    GoogleCloudPubSub {
        project_id: String,
        topic_id: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read to be checked")]
struct Header {
    key: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Context {
    r#type: ContextKind,
    values: Vec<String>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum ContextKind {
    Facility,
    FacilityGroup,
}

async fn list(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    Query(asked): Query<HashMap<String, String>>,
) -> Response {
    if let Err(refused) = core.admit(&headers) {
        return *refused;
    }
    let size = asked.get("size").map_or(Ok(PAGE_SIZE), |text| text.parse());
    let Some(size) = size.ok().filter(|size| (1..=PAGE_SIZE_MAX).contains(size)) else {
        return refusal(StatusCode::BAD_REQUEST, "size must be from 1 to 250");
    };
    let all = lock(&core.subscriptions);
    let after = asked.get("startAfterId").map(String::as_str);
    let from = match after {
        None => 0,
        Some(after) => match all.iter().position(|told| id_of(told) == after) {
            Some(at) => at + 1,
            None => return refusal(StatusCode::BAD_REQUEST, "startAfterId is not known"),
        },
    };
    let page: Vec<&Value> = all.iter().skip(from).take(size).collect();
    Json(json!({ "subscriptions": page, "total": all.len() })).into_response()
}

async fn create(State(core): State<Arc<Core>>, headers: HeaderMap, body: Bytes) -> Response {
    if let Err(refused) = core.admit(&headers) {
        return *refused;
    }
    match make(&core, &body) {
        Ok(made) => (StatusCode::CREATED, Json(made)).into_response(),
        Err(why) => refusal(StatusCode::BAD_REQUEST, &why),
    }
}

/// Makes the subscription that `body` asks for; otherwise why it is refused.
pub(super) fn make(core: &Core, body: &[u8]) -> Result<Value, String> {
    let asked: Asked = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    check(&asked)?;
    let of_event = |told: &Value| told["event"] == asked.event.as_str();
    if lock(&core.subscriptions).iter().filter(|told| of_event(told)).count() >= OF_EVENT_MAX {
        return Err("there are 5 subscriptions of this event, which is the most".to_owned());
    }
    let mut made: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    made["created"] = json!(core.settings.clock.now().to_string());
    let id = put(core, made.clone());
    made["id"] = json!(id);
    Ok(made)
}

fn check(asked: &Asked) -> Result<(), String> {
    if asked.name.is_empty() {
        return Err("name must not be empty".to_owned());
    }
    if !EVENTS.contains(&asked.event.as_str()) {
        return Err(format!("event {} is not supported", asked.event));
    }
    let callback = match (&asked.target, &asked.callback_url) {
        (Some(Target::Webhook { callback_url, .. }), None) => Some(callback_url),
        (Some(_), None) => None,
        (None, Some(callback_url)) if asked.headers.as_ref().is_some_and(|headers| !headers.is_empty()) => {
            Some(callback_url)
        }
        (None, Some(_)) => return Err("headers must have one or more items".to_owned()),
        (Some(_), Some(_)) => return Err("target and callbackUrl exclude each other".to_owned()),
        (None, None) => return Err("target is missing".to_owned()),
    };
    if callback.is_some_and(|url| !url.starts_with("https://")) {
        return Err("callbackUrl must be https".to_owned());
    }
    if asked.contexts.iter().any(|context| context.values.is_empty()) {
        return Err("contexts must have values".to_owned());
    }
    if asked.contexts.iter().filter(|context| context.r#type == ContextKind::Facility).count() > 1 {
        return Err("contexts may hold FACILITY only once".to_owned());
    }
    Ok(())
}

async fn remove(State(core): State<Arc<Core>>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    if let Err(refused) = core.admit(&headers) {
        return *refused;
    }
    match take_away(&core, &id) {
        Some(told) => Json(told).into_response(),
        None => refusal(StatusCode::NOT_FOUND, "no subscription has this id"),
    }
}

/// Takes a subscription away, and returns it.
pub(super) fn take_away(core: &Core, id: &str) -> Option<Value> {
    let mut all = lock(&core.subscriptions);
    let at = all.iter().position(|told| id_of(told) == id)?;
    Some(all.remove(at))
}

async fn supported(State(core): State<Arc<Core>>, headers: HeaderMap) -> Response {
    if let Err(refused) = core.admit(&headers) {
        return *refused;
    }
    let events: Vec<Value> = EVENTS.iter().map(|event| json!({ "event": event, "description": "" })).collect();
    Json(json!({ "supportedEvents": events })).into_response()
}

fn id_of(told: &Value) -> &str {
    told["id"].as_str().unwrap_or_default()
}

/// Keeps it, under an id of its own unless it brings one.
pub(super) fn put(core: &Core, mut subscription: Value) -> String {
    if subscription.get("id").is_none() {
        subscription["id"] = json!(uuid::Uuid::new_v4().to_string());
    }
    let id = id_of(&subscription).to_owned();
    let mut all = lock(&core.subscriptions);
    all.push(subscription);
    // Paging by the last id is over ids in order.
    all.sort_by(|one, other| id_of(one).cmp(id_of(other)));
    id
}

fn refusal(status: StatusCode, summary: &str) -> Response {
    (status, Json(json!([{ "summary": summary }]))).into_response()
}

impl Core {
    fn admit(&self, headers: &HeaderMap) -> Result<(), Box<Response>> {
        if !self.is_signed_in(headers) {
            return Err(Box::new(refusal(StatusCode::UNAUTHORIZED, "token is missing, wrong or expired")));
        }
        if !self.settings.is_administrator {
            return Err(Box::new(refusal(StatusCode::FORBIDDEN, "missing permission")));
        }
        Ok(())
    }
}
