//! OAuth's forms and errors on the wire (RFC 6749 §3.1, §5.2; RFC 7009 §2.2.1; RFC 8628 §3.5).

use std::borrow::Cow;
use std::collections::HashMap;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use zeroize::Zeroizing;

/// Parameters in one form. Real requests have ten at most.
const FIELDS_MAX: usize = 32;

/// The parameters of a request, each once.
pub(super) struct Form(HashMap<String, Zeroizing<String>>);

impl Form {
    /// Reads `application/x-www-form-urlencoded` bytes: a body, or a URL's query.
    ///
    /// # Errors
    /// `invalid_request` where a parameter comes twice (RFC 6749 §3.1) or there are too many.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, OAuthError> {
        let mut fields = HashMap::new();
        for (name, value) in form_urlencoded::parse(bytes) {
            // A parameter without a value is as good as none (RFC 6749 §3.1).
            if value.is_empty() {
                continue;
            }
            let twice = fields.insert(name.into_owned(), Zeroizing::new(Cow::into_owned(value))).is_some();
            if twice || fields.len() > FIELDS_MAX {
                return Err(OAuthError::invalid_request("a parameter comes twice, or there are too many"));
            }
        }
        Ok(Self(fields))
    }

    /// Reads a body, which must be a form.
    ///
    /// # Errors
    /// `invalid_request`.
    pub(super) fn of_body(headers: &HeaderMap, body: &[u8]) -> Result<Self, OAuthError> {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(OAuthError::invalid_request("the body must be application/x-www-form-urlencoded"));
        }
        Self::parse(body)
    }

    /// A parameter's value; `None` where it is missing or empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.as_str())
    }

    /// A parameter that must be there.
    ///
    /// # Errors
    /// `invalid_request`, naming it.
    pub(super) fn need(&self, name: &str) -> Result<&str, OAuthError> {
        self.get(name).ok_or_else(|| OAuthError::invalid_request(format!("`{name}` is missing")))
    }
}

/// A refusal as OAuth says it. Its description is for people, and never quotes a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OAuthError {
    /// The status of the answer.
    pub status: StatusCode,
    /// OAuth's error code.
    pub code: &'static str,
    /// A sentence.
    pub description: String,
    /// Seconds after which it is worth trying again.
    pub retry_after: Option<u32>,
}

impl OAuthError {
    /// A refusal with a status and code of its own.
    pub(super) fn new(status: StatusCode, code: &'static str, description: impl Into<String>) -> Self {
        Self { status, code, description: description.into(), retry_after: None }
    }

    /// The request itself is wrong.
    pub(super) fn invalid_request(description: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", description)
    }

    /// The code, token or assertion is not good, or good no longer.
    pub(super) fn invalid_grant(description: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_grant", description)
    }

    /// The client is not who it says. One sentence for every reason, so that nobody learns which names exist.
    pub(super) fn invalid_client() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "invalid_client", "the client could not be authenticated")
    }

    /// Something else than us does not answer; trying again may help.
    pub(super) fn unavailable(description: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", description);
        Self { retry_after: Some(5), ..error }
    }

    /// Too many attempts failed.
    pub(super) fn too_many(retry_after: u32) -> Self {
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "temporarily_unavailable", "too many attempts failed");
        Self { retry_after: Some(retry_after), ..error }
    }

    /// Our own fault.
    pub(super) fn server_error(description: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", description)
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.code, "error_description": ascii(&self.description) });
        let mut response = (self.status, no_store(), axum::Json(body)).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"tidegate\""));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Answers with tokens and errors are kept nowhere (RFC 6749 §5.1).
pub(super) fn no_store() -> [(header::HeaderName, &'static str); 2] {
    [(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")]
}

/// RFC 6749 §5.2 allows printable ASCII without `"` and `\`.
fn ascii(text: &str) -> String {
    let shown = |c: char| if matches!(c, ' '..='~') && c != '"' && c != '\\' { c } else { '\'' };
    text.chars().take(500).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_have_each_parameter_once() {
        let form = Form::parse(b"grant_type=a+b%2Fc&empty=&x=%C3%A9").ok().unwrap();
        assert_eq!(form.get("grant_type"), Some("a b/c"));
        assert_eq!(form.get("x"), Some("\u{e9}"));
        assert_eq!(form.get("empty"), None);
        assert!(form.need("empty").is_err());
        assert!(Form::parse(b"code=1&code=2").is_err());
        let many: String = (0..40).map(|n| format!("p{n}=1&")).collect();
        assert!(Form::parse(many.as_bytes()).is_err());
    }

    #[test]
    fn a_refusal_says_when_to_try_again_and_is_kept_nowhere() {
        let response = OAuthError::too_many(30).into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "30");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(
            OAuthError::invalid_client().into_response().headers()["www-authenticate"],
            "Basic realm=\"tidegate\""
        );
        assert_eq!(ascii("a \"b\" \\ \u{e9}\n"), "a 'b' ' ''");
    }
}
