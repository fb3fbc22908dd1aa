//! A small real OIDC issuer: discovery, JWKS, a token endpoint for client credentials, and a login form for people.
//!
//! `tidegate demo` logs its principals in with it, and the integration tests mint good and
//! deliberately broken tokens with it. It keeps everything in memory and is no identity provider
//! for production: whoever knows a client's secret gets a token, and nothing is rate-limited.
//!
//! Reading order: this file (the server), `keys` (what signs), `token` (what is signed, and how
//! it can be broken), `login` (people in browsers).

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

mod keys;
mod login;
mod token;

pub use keys::{KeyError, KeyKind};
pub use login::{Person, RelyingParty};
pub use token::{Flaw, TokenRequest};

use keys::KeyRing;

/// How an issuer is started.
#[derive(Clone)]
pub struct Options {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The host name in its URLs; it must resolve to `listen` and stand in the certificate.
    pub host: String,
    /// The `aud` of the tokens it mints.
    pub audience: String,
    /// What its first key signs with.
    pub key: KeyKind,
    /// TLS; `None` serves plain HTTP.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

impl Options {
    /// Plain HTTP on a free port of the loopback address, RS256.
    #[must_use]
    pub fn loopback(audience: &str) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            host: "localhost".to_owned(),
            audience: audience.to_owned(),
            key: KeyKind::Rs256,
            tls: None,
        }
    }
}

/// A client that may ask for tokens at the token endpoint.
#[derive(Debug, Clone)]
pub struct Client {
    /// The client's id, and the `sub` of its tokens.
    pub id: String,
    /// Its secret.
    pub secret: String,
    /// The `groups` claim of its tokens.
    pub groups: Vec<String>,
    /// How long its tokens live.
    pub lifetime: Duration,
}

impl Client {
    /// A client whose tokens live for five minutes.
    #[must_use]
    pub fn new(id: &str, secret: &str, groups: &[&str]) -> Self {
        Self {
            id: id.to_owned(),
            secret: secret.to_owned(),
            groups: groups.iter().map(|&g| g.to_owned()).collect(),
            lifetime: Duration::from_secs(300),
        }
    }
}

/// A running issuer. Dropping it stops the server.
pub struct Issuer {
    shared: Arc<Shared>,
    server: AbortHandle,
}

struct Shared {
    url: String,
    audience: String,
    address: SocketAddr,
    keys: Mutex<KeyRing>,
    clients: Mutex<HashMap<String, Client>>,
    logins: Mutex<login::Logins>,
    jwks_requests: AtomicU64,
    failing: AtomicBool,
}

impl Issuer {
    /// Binds, makes a key, and serves on the current tokio runtime.
    ///
    /// # Errors
    /// When the address is taken or no key can be made.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared {
            url: format!("{scheme}://{}:{}", options.host, address.port()),
            audience: options.audience,
            address,
            keys: Mutex::new(KeyRing::new(options.key).map_err(io::Error::other)?),
            clients: Mutex::new(HashMap::new()),
            logins: Mutex::default(),
            jwks_requests: AtomicU64::new(0),
            failing: AtomicBool::new(false),
        });
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/jwks", get(jwks))
            .route("/token", post(token_endpoint))
            .route("/authorize", get(login::authorize))
            .route("/login", post(login::log_in))
            .with_state(shared.clone());
        let server = match options.tls {
            None => tokio::spawn(async move { axum::serve(listener, routes).await }),
            Some(tls) => {
                let listener = TlsListener { tcp: listener, acceptor: TlsAcceptor::from(tls) };
                tokio::spawn(async move { axum::serve(listener, routes).await })
            }
        };
        Ok(Self { shared, server: server.abort_handle() })
    }

    /// The issuer's identifier: its `iss`, and the base of its URLs.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// The `aud` of its tokens.
    #[must_use]
    pub fn audience(&self) -> &str {
        &self.shared.audience
    }

    /// The URL of its key set.
    #[must_use]
    pub fn jwks_uri(&self) -> String {
        format!("{}/jwks", self.shared.url)
    }

    /// The URL of its token endpoint.
    #[must_use]
    pub fn token_endpoint(&self) -> String {
        format!("{}/token", self.shared.url)
    }

    /// Lets `client` ask for tokens; one with the same id is replaced.
    pub fn register(&self, client: Client) {
        lock(&self.shared.clients).insert(client.id.clone(), client);
    }

    /// Lets somebody log in; one with the same name is replaced, so that groups can change.
    pub fn register_person(&self, person: Person) {
        lock(&self.shared.logins).people.insert(person.name.clone(), person);
    }

    /// Lets people log in through a program; one with the same client id is replaced.
    pub fn register_party(&self, party: RelyingParty) {
        lock(&self.shared.logins).parties.insert(party.client_id.clone(), party);
    }

    /// A good token for `subject` in `groups` that lives for `lifetime`.
    ///
    /// # Errors
    /// When signing fails.
    pub fn mint(&self, subject: &str, groups: &[&str], lifetime: Duration) -> Result<String, KeyError> {
        self.sign(&TokenRequest::new(subject, groups, lifetime))
    }

    /// The token that `request` describes, broken where it says so.
    ///
    /// # Errors
    /// When signing fails.
    pub fn sign(&self, request: &TokenRequest) -> Result<String, KeyError> {
        request.sign(&self.shared.url, &self.shared.audience, now_secs(), &lock(&self.shared.keys))
    }

    /// Signs with a new key from now on. Former keys stay in the key set until [`Self::retire`].
    ///
    /// # Errors
    /// When no key can be made.
    pub fn rotate(&self, kind: KeyKind) -> Result<(), KeyError> {
        lock(&self.shared.keys).rotate(kind)
    }

    /// Takes all keys but the newest out of the key set.
    pub fn retire(&self) {
        lock(&self.shared.keys).retire();
    }

    /// How often the key set was asked for.
    #[must_use]
    pub fn jwks_requests(&self) -> u64 {
        self.shared.jwks_requests.load(Ordering::Relaxed)
    }

    /// While set, every request is answered with 503, as by an issuer in trouble.
    pub fn set_failing(&self, failing: bool) {
        self.shared.failing.store(failing, Ordering::Relaxed);
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A panic while the lock was held leaves the maps whole, so poisoning is ignored.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now_secs() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs().try_into().unwrap_or(i64::MAX))
}

async fn discovery(State(shared): State<Arc<Shared>>) -> Response {
    if let Some(failure) = failure(&shared) {
        return failure;
    }
    let url = &shared.url;
    Json(json!({
        "issuer": url,
        "jwks_uri": format!("{url}/jwks"),
        "token_endpoint": format!("{url}/token"),
        "authorization_endpoint": format!("{url}/authorize"),
        "grant_types_supported": ["client_credentials", "authorization_code", "refresh_token"],
        "response_types_supported": ["code"],
        "code_challenge_methods_supported": ["S256"],
        "subject_types_supported": ["public"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "id_token_signing_alg_values_supported": lock(&shared.keys).algorithms(),
    }))
    .into_response()
}

async fn jwks(State(shared): State<Arc<Shared>>) -> Response {
    shared.jwks_requests.fetch_add(1, Ordering::Relaxed);
    failure(&shared).unwrap_or_else(|| Json(lock(&shared.keys).jwks()).into_response())
}

fn failure(shared: &Shared) -> Option<Response> {
    shared.failing.load(Ordering::Relaxed).then(|| StatusCode::SERVICE_UNAVAILABLE.into_response())
}

/// RFC 6749, section 4.4, with the client's credentials in the header or in the form.
async fn token_endpoint(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: String) -> Response {
    if let Some(failure) = failure(&shared) {
        return failure;
    }
    let form = form_fields(&body);
    if let Some(answer) = login::redeem(&shared, &headers, &form) {
        return answer;
    }
    if form.get("grant_type").map(String::as_str) != Some("client_credentials") {
        return refuse(StatusCode::BAD_REQUEST, "unsupported_grant_type");
    }
    let credentials = basic_credentials(&headers)
        .or_else(|| Some((form.get("client_id")?.clone(), form.get("client_secret")?.clone())));
    let client = credentials
        .and_then(|(id, secret)| lock(&shared.clients).get(&id).filter(|client| client.secret == secret).cloned());
    let Some(client) = client else {
        return refuse(StatusCode::UNAUTHORIZED, "invalid_client");
    };
    let groups: Vec<&str> = client.groups.iter().map(String::as_str).collect();
    let mut request = TokenRequest::new(&client.id, &groups, client.lifetime);
    if let Some(scope) = form.get("scope").filter(|scope| !scope.is_empty()) {
        request = request.claim("scope", Value::from(scope.as_str()));
    }
    match request.sign(&shared.url, &shared.audience, now_secs(), &lock(&shared.keys)) {
        Ok(token) => (
            [(header::CACHE_CONTROL, "no-store")],
            Json(json!({
                "access_token": token,
                "token_type": "Bearer",
                "expires_in": client.lifetime.as_secs(),
            })),
        )
            .into_response(),
        Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
    }
}

fn refuse(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

/// The id and secret of an `Authorization: Basic` header. They are form-encoded first (RFC 6749,
/// section 2.3.1), though not every client does so; decoding leaves plain ones as they are.
fn basic_credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let encoded = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((form_decode(id), form_decode(secret)))
}

fn form_fields(body: &str) -> HashMap<String, String> {
    body.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (form_decode(name), form_decode(value)))
        .collect()
}

/// Undoes `application/x-www-form-urlencoded`; what is not a valid escape stays as it is.
fn form_decode(text: &str) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let escaped = match byte {
            b'+' => Some(b' '),
            b'%' => after
                .get(..2)
                .and_then(|hex| std::str::from_utf8(hex).ok())
                .and_then(|hex| u8::from_str_radix(hex, 16).ok())
                .inspect(|_| rest = after.get(2..).unwrap_or_default()),
            _ => None,
        };
        decoded.push(escaped.unwrap_or(byte));
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Accepts TLS connections for axum. A failed handshake is that peer's loss alone.
struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, peer) = axum::serve::Listener::accept(&mut self.tcp).await;
            // A peer that never finishes its handshake must not keep the others waiting for long.
            let handshake = tokio::time::timeout(Duration::from_secs(2), self.acceptor.accept(stream));
            if let Ok(Ok(tls)) = handshake.await {
                return (tls, peer);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

#[cfg(test)]
mod tests;
