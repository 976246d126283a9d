//! The store's pages: the token endpoint, and one bucket under the XML and the JSON interface.
//!
//! ```text
//! POST /token                  an assertion ──> a token
//! GET  /BUCKET?list-type=2     ┐
//! GET  /BUCKET/KEY             ├ a bearer token ──> fault on demand? ──> page or object
//! GET  /storage/v1/b/BUCKET/o… ┘
//! ```

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Form, Request, State};
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::post;
use axum::{Json, Router};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Value, json};

use super::account::{TOKEN_CLIENT, TOKEN_LIFETIME, TOKEN_RESOURCE};
use super::answer::{self, Face, Refused};
use super::objects::{Asked, Object, Page};
use super::{Bucket, TOKEN_PATH};
use crate::sandbox::blob::fault::FaultKind;
use crate::sandbox::core::Core;
use crate::sandbox::serve::lock;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// No object's properties are ever changed.
const METAGENERATION: u64 = 1;
/// Ways to list that would be answered wrongly if they were passed over.
const UNKNOWN: [&str; 3] = ["matchGlob", "softDeleted", "filter"];

type Query = HashMap<String, String>;

/// The store's pages.
pub(in crate::sandbox) fn router(core: Arc<Core>) -> Router {
    Router::new().route(TOKEN_PATH, post(token)).fallback(serve).with_state(core)
}

#[derive(Deserialize)]
struct TokenForm {
    grant_type: Option<String>,
    assertion: Option<String>,
}

async fn token(State(core): State<Arc<Core>>, Form(form): Form<TokenForm>) -> Response<Body> {
    let bucket = &core.bucket;
    let refuse = |error: &str, why: String| {
        bucket.count(|state| state.unauthorized += 1);
        (StatusCode::BAD_REQUEST, Json(json!({ "error": error, "error_description": why }))).into_response()
    };
    if form.grant_type.as_deref() != Some(GRANT) {
        return refuse("unsupported_grant_type", "Invalid grant_type".to_owned());
    }
    let (assertion, endpoint) = (form.assertion.unwrap_or_default(), bucket.token_endpoint());
    if let Err(why) = lock(&bucket.account).signed_for_token(&assertion, endpoint.as_str(), core.now()) {
        return refuse("invalid_grant", format!("Invalid JWT: {why}"));
    }
    let token = bucket.tokens.issue(core.now(), TOKEN_LIFETIME, TOKEN_CLIENT, TOKEN_RESOURCE);
    let expires_in = TOKEN_LIFETIME.as_secs();
    Json(json!({ "access_token": token, "expires_in": expires_in, "token_type": "Bearer" })).into_response()
}

async fn serve(State(core): State<Arc<Core>>, request: Request) -> Response<Body> {
    let is_json = ["/storage/v1/", "/download/storage/v1/", "/upload/storage/v1/"]
        .iter()
        .any(|begin| request.uri().path().starts_with(begin));
    let face = if is_json { Face::Json } else { Face::Xml };
    let is_head = request.method() == Method::HEAD;
    let mut response = answer(&core, face, &request).unwrap_or_else(|refused| {
        core.bucket.count(|state| {
            state.refused += 1;
            state.unauthorized += u64::from(refused.is_unauthorized());
        });
        refused.answer(face)
    });
    response.headers_mut().insert(header::SERVER, HeaderValue::from_static("UploadServer"));
    if is_head { response.map(|_| Body::empty()) } else { response }
}

fn answer(core: &Core, face: Face, request: &Request) -> Result<Response<Body>, Refused> {
    let bucket = &core.bucket;
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let message = "The specified method is not allowed against this resource.";
        return Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message));
    }
    let token = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = token.and_then(|text| text.strip_prefix("Bearer ")).ok_or_else(|| Refused::unauthorized("no token"))?;
    let now = core.now();
    if !bucket.tokens.is_valid(token, TOKEN_RESOURCE, now) {
        lock(&bucket.account).signed_for_store(token, now).map_err(|why| Refused::unauthorized(&why))?;
    }
    let query: Query =
        url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned().collect();
    if request.uri().path() == "/storage/v1/b" {
        let message = "The account does not have storage.buckets.list access to the project.";
        return Err(Refused::new(StatusCode::FORBIDDEN, "forbidden", message));
    }
    if face == Face::Json && request.uri().path() == format!("/storage/v1/b/{}", bucket.name) {
        return Ok(Json(bucket_resource(&bucket.name)).into_response());
    }
    let (name, key) = names(face, request.uri().path())?;
    if name != bucket.name {
        return Err(Refused::no_bucket());
    }
    match (face, key.as_deref()) {
        (face, None) => list(bucket, face, &query),
        (Face::Json, Some(key)) if query.get("alt").is_none_or(|alt| alt != "media") => {
            Ok(Json(resource(&bucket.name, &*find(bucket, key, &query)?)).into_response())
        }
        (_, Some(key)) => {
            let object = find(bucket, key, &query)?;
            let fault = lock(&bucket.faults).take(key, request.method() == Method::GET);
            if let Some(FaultKind::Status { status, retry_after }) = fault.as_ref().map(|fault| &fault.kind) {
                return Err(Refused::of_status(*status, *retry_after));
            }
            let response = answer::content(&object, request.headers(), fault)?;
            bucket.count(|state| state.downloads += u64::from(request.method() == Method::GET));
            Ok(response)
        }
    }
}

/// The bucket's name and the object's, decoded; none for a listing.
fn names(face: Face, path: &str) -> Result<(String, Option<String>), Refused> {
    let rest = match face {
        Face::Xml => path.trim_start_matches('/'),
        Face::Json => path.split_once("/storage/v1/b/").map(|(_, rest)| rest).unwrap_or_default(),
    };
    let (name, key) = rest.split_once('/').unwrap_or((rest, ""));
    let key = match face {
        Face::Xml => key,
        // `o` lists; behind it stands an object's name, its slashes encoded.
        Face::Json => key.strip_prefix('o').ok_or_else(Refused::no_key)?.trim_start_matches('/'),
    };
    let decoded = |text: &str| {
        let text = percent_decode_str(text).decode_utf8();
        text.map(std::borrow::Cow::into_owned).map_err(|_| Refused::argument("the path is not UTF-8"))
    };
    Ok((decoded(name)?, if key.is_empty() { None } else { Some(decoded(key)?) }))
}

fn find(bucket: &Bucket, key: &str, query: &Query) -> Result<Arc<Object>, Refused> {
    let object = lock(&bucket.objects).get(key).ok_or_else(Refused::no_key)?;
    for (name, now, is_wanted) in [
        ("ifGenerationMatch", object.generation, true),
        ("ifGenerationNotMatch", object.generation, false),
        ("ifMetagenerationMatch", METAGENERATION, true),
        ("ifMetagenerationNotMatch", METAGENERATION, false),
    ] {
        let Some(told) = query.get(name) else { continue };
        let told: u64 = told.parse().map_err(|_| Refused::argument(format!("{name} is no number")))?;
        if (told == now) != is_wanted {
            return Err(if is_wanted { Refused::condition() } else { Refused::not_modified() });
        }
    }
    // Without versioning an overwritten generation is gone.
    let is_other = |wanted: &String| *wanted != object.generation.to_string();
    if query.get("generation").is_some_and(is_other) { Err(Refused::no_key()) } else { Ok(object) }
}

fn list(bucket: &Bucket, face: Face, query: &Query) -> Result<Response<Body>, Refused> {
    bucket.count(|state| state.listings += 1);
    if let Some(status) = bucket.take_list_fault() {
        return Err(Refused::of_status(status, None));
    }
    let text = |name: &str| query.get(name).map(String::as_str);
    if let Some(name) = UNKNOWN.into_iter().find(|name| text(name).is_some()) {
        return Err(Refused::argument(format!("the sandbox does not list by {name}")));
    }
    let (token, most) = match face {
        Face::Xml => (text("continuation-token"), text("max-keys")),
        Face::Json => (text("pageToken"), text("maxResults")),
    };
    let most = match most.map(str::parse) {
        None => bucket.page_max,
        Some(Ok(most)) if most > 0 => bucket.page_max.min(most),
        Some(_) => return Err(Refused::argument("the size of a page is no number")),
    };
    let prefix = text("prefix").unwrap_or_default();
    let (after, from, until) = match face {
        Face::Xml => (text("start-after"), None, None),
        Face::Json => (None, text("startOffset"), text("endOffset").filter(|until| !until.is_empty())),
    };
    let delimiter = text("delimiter");
    let page = lock(&bucket.objects).page(&Asked { prefix, after, from, until, delimiter, token, most });
    let page = page.ok_or_else(|| Refused::argument("the page token is not one of ours"))?;
    Ok(match face {
        Face::Xml => xml_page(&bucket.name, prefix, &page),
        Face::Json => {
            let items: Vec<Value> = page.objects.iter().map(|object| resource(&bucket.name, object)).collect();
            let mut answer = json!({ "kind": "storage#objects", "items": items });
            if !page.prefixes.is_empty() {
                answer["prefixes"] = page.prefixes.into();
            }
            if let Some(next) = page.next {
                answer["nextPageToken"] = next.into();
            }
            Json(answer).into_response()
        }
    })
}

fn xml_page(name: &str, prefix: &str, page: &Page) -> Response<Body> {
    let mut xml = format!(
        "<?xml version='1.0' encoding='UTF-8'?><ListBucketResult xmlns='http://doc.s3.amazonaws.com/2006-03-01'>\
         <Name>{name}</Name><Prefix>{}</Prefix><KeyCount>{}</KeyCount><IsTruncated>{}</IsTruncated>",
        quick_xml::escape::escape(prefix),
        page.objects.len() + page.prefixes.len(),
        page.next.is_some()
    );
    if let Some(next) = &page.next {
        let _ = write!(xml, "<NextContinuationToken>{next}</NextContinuationToken>");
    }
    for object in &page.objects {
        let _ = write!(
            xml,
            "<Contents><Key>{}</Key><Generation>{}</Generation><MetaGeneration>1</MetaGeneration>\
             <LastModified>{}</LastModified><ETag>{}</ETag><Size>{}</Size></Contents>",
            quick_xml::escape::escape(&object.key),
            object.generation,
            object.written,
            quick_xml::escape::escape(object.etag()),
            object.content.len()
        );
    }
    for prefix in &page.prefixes {
        let prefix = quick_xml::escape::escape(prefix);
        let _ = write!(xml, "<CommonPrefixes><Prefix>{prefix}</Prefix></CommonPrefixes>");
    }
    xml.push_str("</ListBucketResult>");
    ([(header::CONTENT_TYPE, "application/xml; charset=UTF-8")], xml).into_response()
}

/// The bucket as the JSON interface tells of it.
fn bucket_resource(name: &str) -> Value {
    json!({
        "kind": "storage#bucket",
        "id": name,
        "name": name,
        "location": "EU",
        "storageClass": "STANDARD",
        "metageneration": "1",
    })
}

/// An object as the JSON interface tells of it.
fn resource(bucket: &str, object: &Object) -> Value {
    json!({
        "kind": "storage#object",
        "id": format!("{bucket}/{}/{}", object.key, object.generation),
        "name": object.key,
        "bucket": bucket,
        "generation": object.generation.to_string(),
        "metageneration": METAGENERATION.to_string(),
        "contentType": "application/gzip",
        "storageClass": "STANDARD",
        "size": object.content.len().to_string(),
        "md5Hash": object.md5_base64(),
        "crc32c": object.crc32c_base64(),
        "etag": object.etag().trim_matches('"'),
        "timeCreated": object.written.to_string(),
        "updated": object.written.to_string(),
    })
}
