//! What a refused call gets: `application/problem+json` (RFC 9457), one shape for every error.
//!
//! `type` is a stable name for programs, `detail` a sentence for people that says what to do. Nothing
//! of a token or a secret is ever in it.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A refusal in the form of RFC 9457.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// A stable name of the kind of problem, as a URN.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status code.
    #[schemars(range(min = 400, max = 599))]
    pub status: u16,
    /// What is wrong here, and what to do about it.
    pub detail: String,
    /// Seconds after which to try again, where that may help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
}

/// The media type of problems.
pub const PROBLEM_JSON: &str = "application/problem+json";

impl Problem {
    /// A problem of one of the kinds below.
    fn new(status: StatusCode, name: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:tidegate:problem:{name}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            retry_after: None,
        }
    }

    /// 400: the request cannot be understood.
    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", "The request cannot be understood", detail)
    }

    /// 401: nobody known asks.
    pub(super) fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "Who asks is not known", detail)
    }

    /// 403: who asks may not.
    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed", detail)
    }

    /// 403: nobody decides on what is his own.
    pub(super) fn own_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "own-request", "Nobody approves his own", detail)
    }

    /// 404: there is no such thing, or not for who asks.
    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    /// 405: the path knows other methods only.
    pub(super) fn method_not_allowed() -> Self {
        let detail = "this path does not know the method; /openapi.json lists what there is";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed", detail)
    }

    /// 409: it is no longer in the state that this needs.
    pub(super) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "Not in that state", detail)
    }

    /// 413: more bytes than any request needs.
    pub(super) fn too_large(bytes_max: usize) -> Self {
        let detail = format!("a request's body has at most {bytes_max} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Too large", detail)
    }

    /// 415: not JSON.
    pub(super) fn media_type() -> Self {
        let detail = "send the body as `content-type: application/json`";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", "Not JSON", detail)
    }

    /// 422: understood, but outside what the policy lets be asked for.
    pub(super) fn unacceptable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unacceptable", "Outside the policy", detail)
    }

    /// 429: too many, for now.
    pub(super) fn too_many(detail: impl Into<String>, retry_after: u32) -> Self {
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many", "Too many", detail);
        Self { retry_after: Some(retry_after), ..problem }
    }

    /// 503: the gateway cannot do it now.
    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not now", detail);
        Self { retry_after: Some(1), ..problem }
    }

    /// 500: a fault of the gateway.
    pub(super) fn fault(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "fault", "A fault of the gateway", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tidegate\""));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        // What the evidence says of the call.
        response.extensions_mut().insert(self);
        response
    }
}
