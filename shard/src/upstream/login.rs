//! Logging in to a broker: versions, then SASL where the credentials want it. Frames in, frames out.
//!
//! The caller asks [`UpstreamLogin::next`] what to do until it says done or failed, and hands every frame that arrives
//! to [`UpstreamLogin::on_frame`]. One request is under way at a time.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
};
use kafka_protocol::protocol::{Encodable, StrBytes};
use tidegate_core::decode::decode_response;
use tidegate_core::header::{request_frame, response_body_start, response_correlation_id};
use zeroize::Zeroizing;

use super::credentials::UpstreamCredentials;
use super::scram::{Scram, ScramError};
use crate::data::versions::{API_VERSIONS_MAX, UpstreamVersions, VersionsError};
use crate::tokens::KeyError;

/// SaslHandshake v0 would be followed by bytes without Kafka's header.
const HANDSHAKE_VERSION: i16 = 1;
/// The highest SaslAuthenticate that is spoken; from v1 on the broker tells how long the session lasts (KIP-368).
const AUTHENTICATE_VERSION_MAX: i16 = 2;
/// Longest text of a broker's that is kept in an error, in characters.
const MESSAGE_CHARS_MAX: usize = 300;

/// What the caller does next.
#[derive(Debug)]
pub enum Action {
    /// Send this frame to the broker.
    Send(Bytes),
    /// Wait for the broker's next frame and hand it over.
    Receive,
    /// The gateway is logged in.
    Done(LoggedIn),
    /// It is not and will not be; the connection is to be closed.
    Failed(LoginError),
}

/// What the login brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedIn {
    /// What this broker offers.
    pub versions: Arc<UpstreamVersions>,
    /// Milliseconds after which the broker wants the gateway to log in anew; `None` where it does not say.
    pub session_lifetime_millis: Option<i64>,
    /// The correlation id that is free for the next request.
    pub next_correlation_id: i32,
}

/// Why the gateway could not log in. Never shows a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// What came is not the response that was asked for: this is no Kafka broker, or no plain one.
    #[error("what answers on the upstream's port does not speak Kafka as expected: {0}")]
    Malformed(&'static str),
    /// ApiVersions was refused.
    #[error(transparent)]
    Versions(#[from] VersionsError),
    /// The broker lacks SASL as it is since Kafka 1.0.
    #[error("the broker does not offer {0}: it is older than Kafka 1.0, or this is not a SASL listener")]
    NotOffered(&'static str),
    /// The mechanism is not enabled at the broker.
    #[error("the broker does not accept {mechanism}; it offers {}", if offered.is_empty() { "nothing".to_owned() } else { offered.join(", ") })]
    Mechanism {
        /// The configured mechanism.
        mechanism: &'static str,
        /// What the broker offers.
        offered: Vec<String>,
    },
    /// The handshake was refused otherwise.
    #[error("the broker refuses the SASL handshake with {}", name_of(*.0))]
    Handshake(i16),
    /// The broker does not accept the gateway's credentials.
    #[error("the broker refuses the gateway's login ({}): {message}", name_of(*code))]
    Refused {
        /// Kafka's error code.
        code: i16,
        /// The broker's words, cut.
        message: String,
    },
    /// No token could be made to log in with.
    #[error("the gateway cannot log in: {0}")]
    Mint(#[from] super::mint::MintError),
    /// The SCRAM conversation failed.
    #[error(transparent)]
    Scram(#[from] ScramError),
}

fn name_of(code: i16) -> String {
    match ResponseError::try_from_code(code) {
        Some(ResponseError::Unknown(code)) => format!("error {code}"),
        Some(error) => format!("{error:?}"),
        None => "no error".to_owned(),
    }
}

/// How far the chosen mechanism is.
#[derive(Debug)]
enum Exchange {
    Plain,
    ScramFirst(Scram),
    ScramFinal(Scram),
    OAuthBearer,
    /// The broker gave its reason and waits for the client's acknowledgement before it says no (RFC 7628 §3.2.3).
    OAuthBearerRefused(String),
}

#[derive(Debug)]
enum State {
    Versions { version: i16 },
    Handshake,
    Authenticate(Exchange),
    Done(LoggedIn),
    Failed(LoginError),
}

/// One login at one broker.
pub struct UpstreamLogin {
    credentials: UpstreamCredentials,
    client_id: String,
    state: State,
    to_send: Option<Bytes>,
    /// The correlation id of the request under way.
    correlation_id: i32,
    versions: Arc<UpstreamVersions>,
}

impl fmt::Debug for UpstreamLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The frame to send may hold a secret.
        f.debug_struct("UpstreamLogin").field("state", &self.state).finish_non_exhaustive()
    }
}

impl UpstreamLogin {
    /// A login on a connection that was just made. Correlation ids begin at 0.
    #[must_use]
    pub fn new(credentials: &UpstreamCredentials, client_id: &str) -> Self {
        let mut login = Self::start(credentials, client_id, Arc::default(), 0);
        login.ask_versions(API_VERSIONS_MAX);
        login
    }

    /// A login anew on a live connection (KIP-368). `correlation_id` and those that follow it must be free; no other
    /// request may be sent until it is done.
    #[must_use]
    pub fn reauthenticate(
        credentials: &UpstreamCredentials,
        client_id: &str,
        versions: &Arc<UpstreamVersions>,
        correlation_id: i32,
    ) -> Self {
        let mut login = Self::start(credentials, client_id, versions.clone(), correlation_id);
        login.begin_sasl();
        login
    }

    fn start(
        credentials: &UpstreamCredentials,
        client_id: &str,
        versions: Arc<UpstreamVersions>,
        correlation_id: i32,
    ) -> Self {
        // A header's client id has a 16-bit length.
        let client_id = client_id.chars().take(1024).collect();
        let correlation_id = correlation_id.wrapping_sub(1);
        let state = State::Handshake;
        Self { credentials: credentials.clone(), client_id, state, to_send: None, correlation_id, versions }
    }

    #[expect(clippy::should_implement_trait, reason = "it is no iterator: it has no end and repeats itself")]
    /// What to do now. Repeats itself until [`Self::on_frame`] changes it, except that a frame is handed out once.
    pub fn next(&mut self) -> Action {
        if let Some(frame) = self.to_send.take() {
            return Action::Send(frame);
        }
        match &self.state {
            State::Versions { .. } | State::Handshake | State::Authenticate(_) => Action::Receive,
            State::Done(done) => Action::Done(done.clone()),
            State::Failed(error) => Action::Failed(error.clone()),
        }
    }

    /// The correlation id of the response that is awaited; `None` where the login is over. On a live connection the
    /// responses to older requests come first.
    #[must_use]
    pub fn awaits(&self) -> Option<i32> {
        match self.state {
            State::Done(_) | State::Failed(_) => None,
            _ => Some(self.correlation_id),
        }
    }

    /// Takes the broker's frame, length prefix included.
    pub fn on_frame(&mut self, frame: Bytes) {
        if self.awaits().is_none() {
            return;
        }
        if response_correlation_id(&frame) != Some(self.correlation_id) {
            return self.fail(LoginError::Malformed("the correlation id is not the one that was sent"));
        }
        let (api, version) = match &self.state {
            State::Versions { version } => (ApiKey::ApiVersions, *version),
            State::Authenticate(_) => (ApiKey::SaslAuthenticate, self.authenticate_version()),
            _ => (ApiKey::SaslHandshake, HANDSHAKE_VERSION),
        };
        let Some(body) = response_body_start(&frame, api, version).filter(|start| *start <= frame.len()) else {
            return self.fail(LoginError::Malformed("the response ends within its header"));
        };
        let body = frame.slice(body..);
        match std::mem::replace(&mut self.state, State::Handshake) {
            State::Versions { version } => self.on_versions(&body, version),
            State::Handshake => self.on_handshake(&body),
            State::Authenticate(exchange) => self.on_authenticate(&body, exchange),
            state => self.state = state,
        }
    }

    fn on_versions(&mut self, body: &[u8], version: i16) {
        match UpstreamVersions::parse(body, version) {
            Ok(versions) => {
                self.versions = Arc::new(versions);
                self.begin_sasl();
            }
            // KIP-511: the broker is older than we are; it names what it speaks, or is so old that only v0 is sure.
            Err(VersionsError::Unsupported { highest }) if version > 0 => {
                let lower = highest.filter(|highest| (0..version).contains(highest)).unwrap_or(0);
                self.ask_versions(lower);
            }
            Err(error) => self.fail(error.into()),
        }
    }

    fn ask_versions(&mut self, version: i16) {
        let body = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("tidegate"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        self.state = State::Versions { version };
        self.send(ApiKey::ApiVersions, version, &body);
    }

    fn begin_sasl(&mut self) {
        let Some(mechanism) = self.credentials.mechanism() else { return self.done(None) };
        if self.versions.negotiate(ApiKey::SaslHandshake, HANDSHAKE_VERSION) != Some(HANDSHAKE_VERSION) {
            return self.fail(LoginError::NotOffered("SaslHandshake v1"));
        }
        if self.versions.negotiate(ApiKey::SaslAuthenticate, AUTHENTICATE_VERSION_MAX).is_none() {
            return self.fail(LoginError::NotOffered("SaslAuthenticate"));
        }
        self.state = State::Handshake;
        let body = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism));
        self.send(ApiKey::SaslHandshake, HANDSHAKE_VERSION, &body);
    }

    fn on_handshake(&mut self, body: &[u8]) {
        let Some((code, rest)) = body.split_first_chunk::<2>() else {
            return self.fail(LoginError::Malformed("a SaslHandshake response that is cut short"));
        };
        let code = i16::from_be_bytes(*code);
        if code == ResponseError::UnsupportedSaslMechanism.code() {
            let mechanism = self.credentials.mechanism().unwrap_or_default();
            return self.fail(LoginError::Mechanism { mechanism, offered: mechanisms(rest) });
        }
        if code != 0 {
            return self.fail(LoginError::Handshake(code));
        }
        match self.credentials.clone() {
            UpstreamCredentials::Plain { username, password } => {
                let parts = ["", &username, password.reveal()];
                self.authenticate(Exchange::Plain, joined(&parts, "\0"));
            }
            UpstreamCredentials::Scram(credentials) => {
                let scram = Scram::new(&credentials);
                let first = Zeroizing::new(scram.first());
                self.authenticate(Exchange::ScramFirst(scram), first);
            }
            UpstreamCredentials::OAuthBearer { token } => {
                let parts = ["n,,\x01auth=Bearer ", token.reveal(), "\x01\x01"];
                self.authenticate(Exchange::OAuthBearer, joined(&parts, ""));
            }
            UpstreamCredentials::None => self.done(None),
            // Whoever begins a login has had a token made: see `UpstreamCredentials::for_session`.
            UpstreamCredentials::Mint(_) => self.fail(LoginError::Mint(KeyError::Sign.into())),
        }
    }

    fn on_authenticate(&mut self, body: &Bytes, exchange: Exchange) {
        let Ok(response) = decode_response::<SaslAuthenticateResponse>(body, self.authenticate_version()) else {
            return self.fail(LoginError::Malformed("a SaslAuthenticate response that cannot be decoded"));
        };
        if response.error_code != 0 {
            let said = response.error_message.as_deref().unwrap_or("no reason given");
            let message = match exchange {
                Exchange::OAuthBearerRefused(reason) if !said.contains(&reason) => cut(&format!("{said} {reason}")),
                _ => cut(said),
            };
            return self.fail(LoginError::Refused { code: response.error_code, message });
        }
        let lifetime = (response.session_lifetime_ms > 0).then_some(response.session_lifetime_ms);
        let challenge = response.auth_bytes;
        match exchange {
            Exchange::Plain => self.done(lifetime),
            Exchange::ScramFirst(mut scram) => match scram.answer(&challenge) {
                Ok(message) => self.authenticate(Exchange::ScramFinal(scram), Zeroizing::new(message)),
                Err(error) => self.fail(error.into()),
            },
            Exchange::ScramFinal(mut scram) => match scram.finish(&challenge) {
                Ok(()) => self.done(lifetime),
                Err(error) => self.fail(error.into()),
            },
            Exchange::OAuthBearer if challenge.is_empty() => self.done(lifetime),
            Exchange::OAuthBearer => {
                let reason = cut(&String::from_utf8_lossy(&challenge));
                self.authenticate(Exchange::OAuthBearerRefused(reason), Zeroizing::new(vec![1]));
            }
            Exchange::OAuthBearerRefused(reason) => {
                self.fail(LoginError::Refused { code: 0, message: reason });
            }
        }
    }

    fn authenticate(&mut self, exchange: Exchange, message: Zeroizing<Vec<u8>>) {
        self.state = State::Authenticate(exchange);
        let body = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from_owner(message));
        self.send(ApiKey::SaslAuthenticate, self.authenticate_version(), &body);
    }

    fn authenticate_version(&self) -> i16 {
        self.versions.negotiate(ApiKey::SaslAuthenticate, AUTHENTICATE_VERSION_MAX).unwrap_or(0)
    }

    fn send<M: Encodable>(&mut self, api: ApiKey, version: i16, message: &M) {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        // Reserved at once: a buffer that grows leaves copies of the secret behind.
        let mut body = Zeroizing::new(Vec::with_capacity(message.compute_size(version).unwrap_or_default()));
        if message.encode(&mut *body, version).is_err() {
            return self.fail(LoginError::Malformed("its version ranges lead to a request that cannot be encoded"));
        }
        let frame = request_frame(self.correlation_id, api, version, &self.client_id, &body);
        // The frame's memory is wiped when it was sent and dropped.
        self.to_send = Some(Bytes::from_owner(Zeroizing::new(Vec::from(frame))));
    }

    fn done(&mut self, session_lifetime_millis: Option<i64>) {
        self.state = State::Done(LoggedIn {
            versions: self.versions.clone(),
            session_lifetime_millis,
            next_correlation_id: self.correlation_id.wrapping_add(1),
        });
    }

    fn fail(&mut self, error: LoginError) {
        self.to_send = None;
        self.state = State::Failed(error);
    }
}

/// The parts with a separator between them, in memory that is wiped.
fn joined(parts: &[&str], separator: &str) -> Zeroizing<Vec<u8>> {
    let length = parts.iter().map(|part| part.len() + separator.len()).sum();
    let mut message = Zeroizing::new(Vec::with_capacity(length));
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            message.extend_from_slice(separator.as_bytes());
        }
        message.extend_from_slice(part.as_bytes());
    }
    message
}

/// The mechanisms that a SaslHandshake response lists; what cannot be read is left out.
fn mechanisms(list: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let Some((_, mut rest)) = list.split_first_chunk::<4>() else { return names };
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let Some((name, after)) = after.split_at_checked(usize::from(u16::from_be_bytes(*length))) else { break };
        names.push(cut(&String::from_utf8_lossy(name)));
        if names.len() >= 32 {
            break;
        }
        rest = after;
    }
    names
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MESSAGE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests;
