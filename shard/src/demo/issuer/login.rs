//! The issuer as an OpenID Connect provider that people log in at: a form for name and password, the code flow with
//! PKCE, and refresh tokens. For tests and the demo: passwords are compared as they are.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::token::TokenRequest;
use super::{Shared, basic_credentials, failure, form_fields, lock, now_secs, refuse};
use crate::tokens::secret::{draw, s256};

/// How long id tokens live.
const LIFETIME: Duration = Duration::from_secs(300);

/// A person who can log in.
#[derive(Debug, Clone)]
pub struct Person {
    /// The name, and the `sub` of the tokens.
    pub name: String,
    /// The password.
    pub password: String,
    /// The `groups` claim.
    pub groups: Vec<String>,
}

/// A program that people log in through, such as a gateway.
#[derive(Debug, Clone)]
pub struct RelyingParty {
    /// Its client id, and the `aud` of id tokens.
    pub client_id: String,
    /// Its secret; none for a public client.
    pub secret: Option<String>,
    /// Where browsers are sent back to.
    pub redirect_uri: String,
}

/// Who can log in, through what, and the logins under way.
#[derive(Default)]
pub(super) struct Logins {
    pub people: HashMap<String, Person>,
    pub parties: HashMap<String, RelyingParty>,
    asked: HashMap<String, HashMap<String, String>>,
    codes: HashMap<String, (String, HashMap<String, String>)>,
    refresh: HashMap<String, (String, String)>,
}

fn drawn() -> String {
    draw("").map(|secret| secret.to_string()).unwrap_or_default()
}

/// `GET /authorize` (OpenID Connect Core §3.1.2.1): the form.
pub(super) async fn authorize(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Response {
    if let Some(failure) = failure(&shared) {
        return failure;
    }
    let asked = form_fields(&query.unwrap_or_default());
    let field = |name: &str| asked.get(name).map(String::as_str).unwrap_or_default();
    let mut logins = lock(&shared.logins);
    let party = logins.parties.get(field("client_id"));
    let good = party.is_some_and(|party| party.redirect_uri == field("redirect_uri"))
        && field("response_type") == "code"
        && field("code_challenge_method") == "S256"
        && field("scope").split(' ').any(|scope| scope == "openid");
    if !good {
        return (StatusCode::BAD_REQUEST, "the request is wrong, or the client is not registered").into_response();
    }
    let request = drawn();
    logins.asked.insert(request.clone(), asked);
    drop(logins);
    Html(format!(
        "<!doctype html><meta charset=\"utf-8\"><title>OIDC provider of the tests</title><h1>Log in</h1>\
         <form method=\"post\" action=\"/login\"><input type=\"hidden\" name=\"request\" value=\"{request}\">\
         <label>User <input name=\"user\"></label><label>Password <input name=\"password\" type=\"password\"></label>\
         <button>Log in</button></form>"
    ))
    .into_response()
}

/// `POST /login`: what the form posts; a code.
pub(super) async fn log_in(State(shared): State<Arc<Shared>>, body: String) -> Response {
    let form = form_fields(&body);
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let mut logins = lock(&shared.logins);
    let known = logins.people.get(field("user")).filter(|person| person.password == field("password"));
    let Some(name) = known.map(|person| person.name.clone()) else {
        return (StatusCode::FORBIDDEN, Html("<h1>Wrong user or password</h1>")).into_response();
    };
    let Some(asked) = logins.asked.remove(field("request")) else {
        return (StatusCode::BAD_REQUEST, "no such login").into_response();
    };
    let code = drawn();
    let pairs =
        [("code", code.as_str()), ("iss", &shared.url), ("state", asked.get("state").map_or("", String::as_str))];
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    let to = format!("{}?{query}", asked.get("redirect_uri").map_or("", String::as_str));
    logins.codes.insert(code, (name, asked));
    (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response()
}

/// The grants of a login at the token endpoint; `None` for other grants.
pub(super) fn redeem(shared: &Shared, headers: &HeaderMap, form: &HashMap<String, String>) -> Option<Response> {
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let mut logins = lock(&shared.logins);
    let (id, secret) = match basic_credentials(headers) {
        Some((id, secret)) => (id, Some(secret)),
        None => (field("client_id").to_owned(), form.get("client_secret").cloned()),
    };
    let party = logins.parties.get(&id).filter(|party| party.secret == secret).cloned();
    let no_client = || refuse(StatusCode::UNAUTHORIZED, "invalid_client");
    let invalid = || refuse(StatusCode::BAD_REQUEST, "invalid_grant");
    let (name, nonce) = match field("grant_type") {
        "authorization_code" => {
            let Some(party) = party else { return Some(no_client()) };
            let Some((name, asked)) = logins.codes.remove(field("code")) else { return Some(invalid()) };
            let same = |name: &str, value: &str| asked.get(name).is_some_and(|asked| asked == value);
            let good = same("client_id", &party.client_id)
                && same("redirect_uri", field("redirect_uri"))
                && same("code_challenge", &s256(field("code_verifier")));
            if !good {
                return Some(invalid());
            }
            (name, asked.get("nonce").cloned())
        }
        "refresh_token" => {
            let Some(party) = party else { return Some(no_client()) };
            let Some((name, client)) = logins.refresh.remove(field("refresh_token")) else { return Some(invalid()) };
            if client != party.client_id {
                return Some(invalid());
            }
            (name, None)
        }
        _ => return None,
    };
    let Some(person) = logins.people.get(&name).cloned() else { return Some(invalid()) };
    let refresh = drawn();
    logins.refresh.insert(refresh.clone(), (name, id.clone()));
    drop(logins);
    let groups: Vec<&str> = person.groups.iter().map(String::as_str).collect();
    let mut request = TokenRequest::new(&person.name, &groups, LIFETIME);
    if let Some(nonce) = nonce {
        request = request.claim("nonce", Value::from(nonce));
    }
    let Ok(id_token) = request.sign(&shared.url, &id, now_secs(), &lock(&shared.keys)) else {
        return Some(refuse(StatusCode::INTERNAL_SERVER_ERROR, "server_error"));
    };
    let answer = json!({
        "id_token": id_token,
        "access_token": URL_SAFE_NO_PAD.encode(drawn()),
        "token_type": "Bearer",
        "expires_in": LIFETIME.as_secs(),
        "refresh_token": refresh,
    });
    Some(([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response())
}
