//! How requests are read: strict JSON and strict queries, each mistake a problem with a sentence.

use std::sync::Arc;

use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use tidegate_core::words::Timestamp;

use super::caller::Caller;
use super::problem::Problem;
use super::{Admin, BODY_BYTES_MAX};

/// Things of a list on one page, where nothing is asked for.
pub(super) const PAGE: usize = 50;
/// The most on one page.
pub(super) const PAGE_MAX: usize = 500;

/// A JSON body.
pub(super) struct Body<T>(pub T);

/// A body's bytes, bounded.
pub(super) async fn bytes(request: Request, admin: &Arc<Admin>) -> Result<Bytes, Problem> {
    Bytes::from_request(request, admin).await.map_err(|rejection: BytesRejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(BODY_BYTES_MAX),
        _ => Problem::malformed("the body cannot be read"),
    })
}

/// Whether these headers say that the body is JSON.
pub(super) fn is_json(headers: &axum::http::HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

/// JSON as a `T`.
pub(super) fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| Problem::malformed(format!("the body is not as documented: {error}")))
}

impl<T: DeserializeOwned> FromRequest<Arc<Admin>> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, admin: &Arc<Admin>) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::media_type());
        }
        json(&bytes(request, admin).await?).map(Self)
    }
}

/// The parameters of a query.
pub(super) struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Arc<Admin>> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Admin>) -> Result<Self, Problem> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|query| Self(query.0))
            .map_err(|error| Problem::malformed(format!("the query is not as documented: {}", error.body_text())))
    }
}

/// The one name in the path.
pub(super) struct Named(pub String);

impl FromRequestParts<Arc<Admin>> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &Arc<Admin>) -> Result<Self, Problem> {
        let name = Path::<String>::from_request_parts(parts, admin).await;
        let Path(name) = name.map_err(|_| Problem::malformed("the path is not UTF-8"))?;
        if name.len() > 1024 || name.contains(char::is_control) {
            return Err(Problem::malformed("the id in the path is none"));
        }
        Ok(Self(name))
    }
}

impl FromRequestParts<Arc<Admin>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Admin>) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Arc<Caller>>();
        // The gate has put it there for every route that has a caller.
        caller.map(|caller| Self::clone(caller)).ok_or_else(|| Problem::fault("the call has no caller"))
    }
}

/// How many things a page has.
pub(super) fn page_size(limit: Option<u32>) -> Result<usize, Problem> {
    match limit {
        None => Ok(PAGE),
        Some(limit @ 1..) if limit as usize <= PAGE_MAX => Ok(limit as usize),
        Some(_) => Err(Problem::malformed(format!("`limit` is from 1 to {PAGE_MAX}"))),
    }
}

/// A moment as RFC 3339.
pub(super) fn moment(text: &str, what: &str) -> Result<Timestamp, Problem> {
    let time: jiff::Timestamp = text.parse().map_err(|_| {
        Problem::malformed(format!("`{what}` is no time as RFC 3339 has it, as in 2026-11-24T08:00:00Z"))
    })?;
    Ok(Timestamp(time.as_microsecond()))
}
