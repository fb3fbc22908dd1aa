//! The pages that people see while they log in. Plain HTML without scripts, readable on a telephone; everything that
//! came from outside is escaped, and a page allows nothing but its own style.

use std::sync::LazyLock;

use aws_lc_rs::digest;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::Url;

use super::oauth::OAuthError;

/// The style of every page.
const STYLE: &str = "body{font:1.1em/1.5 system-ui,sans-serif;max-width:34em;margin:3em auto;padding:0 1em}\
     h1{font-size:1.5em}input,button{font:inherit;padding:.4em .7em;margin:.2em .4em .2em 0}\
     .code{font-family:monospace;font-size:1.3em;letter-spacing:.1em}dt{font-weight:bold}";

/// What a page may load: its style, by its hash, and nothing else.
static CONTENT_SECURITY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()));
    let policy = format!("default-src 'none'; style-src 'sha256-{hash}'; frame-ancestors 'none'; base-uri 'none'");
    HeaderValue::from_str(&policy).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"))
});

/// Where somebody can log in.
pub(super) struct Provider<'a> {
    /// Which one: an issuer's URL or an entity id.
    pub name: &'a str,
    /// What pages call it.
    pub label: &'a str,
}

/// A page that says one thing.
pub(super) fn page(status: StatusCode, title: &str, text: &str) -> Response {
    html(status, title, &format!("<p>{}</p>", escape(text)))
}

/// The page on which somebody chooses where to log in: `/authorize` anew, with the choice.
pub(super) fn choices(query: &str, providers: &[Provider<'_>]) -> Response {
    let links = providers.iter().map(|provider| {
        let mut more = form_urlencoded::Serializer::new(format!("{query}&"));
        more.append_pair("idp", provider.name);
        format!("<li><a href=\"/authorize?{}\">{}</a></li>", escape(&more.finish()), escape(provider.label))
    });
    html(StatusCode::OK, "Log in", &format!("<p>Log in at</p><ul>{}</ul>", links.collect::<String>()))
}

/// The page on which a device's code is entered. `problem` says what was wrong with the last one.
pub(super) fn device_entry(code: &str, problem: Option<&OAuthError>, providers: &[Provider<'_>]) -> Response {
    let problem_text = problem.map_or_else(String::new, |problem| {
        format!("<p role=\"alert\"><strong>{}</strong></p>", escape(&problem.description))
    });
    let buttons = providers.iter().map(|provider| {
        let (name, label) = (escape(provider.name), escape(provider.label));
        format!("<p><button name=\"idp\" value=\"{name}\">Log in at {label}</button></p>")
    });
    let body = format!(
        "{problem_text}<p>A program that cannot open a browser shows a code. Enter it only if you started that program \
         yourself.</p><form method=\"post\"><p><label>Code <input class=\"code\" name=\"user_code\" value=\"{}\" \
         autocomplete=\"off\" autocapitalize=\"characters\" spellcheck=\"false\" maxlength=\"16\" size=\"11\" required>\
         </label></p>{}</form>",
        escape(code),
        buttons.collect::<String>()
    );
    html(problem.map_or(StatusCode::OK, |problem| problem.status), "Log in a device", &body)
}

/// What somebody is asked before a device is logged in as him.
pub(super) struct Question<'a> {
    /// Where the answer is posted.
    pub action: &'a str,
    /// Makes the answer this page's.
    pub token: &'a str,
    /// Who logged in.
    pub principal: &'a str,
    /// The code that the device shows.
    pub user_code: &'a str,
    /// Where it asked from.
    pub peer: &'a str,
    /// How long ago, in minutes.
    pub minutes: i64,
}

/// The page that asks it.
pub(super) fn device_question(question: &Question<'_>) -> Response {
    let ago = match question.minutes {
        0 => "less than a minute ago".to_owned(),
        1 => "a minute ago".to_owned(),
        minutes => format!("{minutes} minutes ago"),
    };
    let body = format!(
        "<p>You are <strong>{}</strong>. A device wants to act as you:</p><dl><dt>Code</dt><dd class=\"code\">{}</dd>\
         <dt>Its address</dt><dd>{}</dd><dt>It asked</dt><dd>{ago}</dd></dl>\
         <p>Agree only if the device shows this very code and is yours. If somebody sent you here, refuse.</p>\
         <form method=\"post\" action=\"{}\"><input type=\"hidden\" name=\"token\" value=\"{}\">\
         <button name=\"answer\" value=\"yes\">Log it in</button><button name=\"answer\" value=\"no\">Refuse</button></form>",
        escape(question.principal),
        escape(question.user_code),
        escape(question.peer),
        escape(question.action),
        escape(question.token),
    );
    html(StatusCode::OK, "Log in this device?", &body)
}

/// Sends a browser elsewhere, with these cookies.
pub(super) fn redirect(url: &Url, cookies: impl IntoIterator<Item = String>) -> Result<Response, OAuthError> {
    let mut response = (StatusCode::SEE_OTHER, [(header::CACHE_CONTROL, "no-store")]).into_response();
    response.headers_mut().insert(header::LOCATION, header_value(url.as_str())?);
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    for cookie in cookies {
        set_cookie(&mut response, &cookie)?;
    }
    Ok(response)
}

/// Adds a cookie.
pub(super) fn set_cookie(response: &mut Response, cookie: &str) -> Result<(), OAuthError> {
    response.headers_mut().append(header::SET_COOKIE, header_value(cookie)?);
    Ok(())
}

fn header_value(text: &str) -> Result<HeaderValue, OAuthError> {
    HeaderValue::from_str(text).map_err(|_| OAuthError::server_error("no usable URL"))
}

fn html(status: StatusCode, title: &str, body: &str) -> Response {
    let headers = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // `same-origin`: with `no-referrer` a browser hides the origin of what the page itself posts.
        (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY.clone()),
    ];
    let document = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title} \u{2013} Tidegate</title>\
         <style>{STYLE}</style></head><body><main><h1>{title}</h1>{body}</main></body></html>"
    );
    (status, headers, Html(document)).into_response()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn text(response: Response) -> String {
        String::from_utf8(axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn what_comes_from_outside_is_only_ever_text() {
        let evil = "\"><script>alert('x')</script>&";
        let providers = [Provider { name: evil, label: evil }];
        let question = Question { action: evil, token: evil, principal: evil, user_code: evil, peer: evil, minutes: 1 };
        for response in [
            page(StatusCode::OK, "x", evil),
            choices(evil, &providers),
            device_entry(evil, Some(&OAuthError::invalid_grant(evil)), &providers),
            device_question(&question),
        ] {
            assert!(
                response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'none'")
            );
            let text = text(response).await;
            assert!(!text.contains("<script") && !text.contains("alert('"), "{text}");
        }
    }
}
