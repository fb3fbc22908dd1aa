//! SASL towards clients: a state machine without I/O. Requests in, [`Action`]s out.
//!
//! Handshake v1 and SaslAuthenticate v0 to v2; OAUTHBEARER (RFC 7628) and PLAIN (RFC 4616) with the token as password.
//! Identity comes from the verified token and from nothing else: a PLAIN user name or an authorization id is only
//! compared with it. A live connection may authenticate anew (KIP-368), but neither as another principal nor by another
//! mechanism. Tokens lie in memory that is wiped, and stand in no message and no `Debug` output. (The frame they came in
//! is the read buffer's and is not wiped.)
//!
//! What a broker would do out of order is done here too: an error where the layout of one is known, then the end.

pub mod message;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{
    ApiKey, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use kafka_protocol::protocol::{Encodable, StrBytes};
use tidegate_core::decode::{self, decode_request};
use tidegate_core::words::{Principal, Timestamp};
use tidegate_policy::identity::{TokenError, Verified};

use self::message::Credential;
use super::stage::Request;
use super::versions;
use crate::config::Mechanism;

const AUTHENTICATE_VERSION_MAX: i16 = 2;
/// The longest lifetime that is announced, in milliseconds (ten years): clients count it in nanoseconds. What is
/// enforced is [`Authentication::expires`].
const LIFETIME_MILLIS_MAX: i64 = 10 * 365 * 24 * 3_600_000;
/// The PLAIN user name that stands for whoever the token says.
pub const ANY_USER: &str = "token";

/// What the machine asks while it authenticates somebody. A closure from token to verdict is enough where grants do
/// not bound sessions.
pub trait Verify {
    /// Verifies a token with the keys that are known now.
    ///
    /// # Errors
    /// [`TokenError`]; on [`TokenError::UnknownKey`] the machine asks to be called again when keys came.
    fn verify(&mut self, token: &str) -> Result<Verified, TokenError>;

    /// When the session must end for other reasons than its token: the principal's last grant ends. `None` where
    /// nothing else ends it.
    fn ends(&mut self, _principal: &Principal) -> Option<Timestamp> {
        None
    }
}

impl<F: FnMut(&str) -> Result<Verified, TokenError>> Verify for F {
    fn verify(&mut self, token: &str) -> Result<Verified, TokenError> {
        self(token)
    }
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// It is ApiVersions, and its time is right: answer with [`versions::UpstreamVersions::answer`].
    Versions,
    /// It is for others: the client is authenticated.
    Proceed,
    /// Send this body; the conversation goes on.
    Answer(Bytes),
    /// Send this body: the client is authenticated, for the first time or anew.
    Authenticated {
        /// The SaslAuthenticate response.
        body: Bytes,
        /// Who it is now, and until when. Groups and name may differ from those of an earlier authentication.
        authentication: Authentication,
    },
    /// Hold everything: the token names a key that is not known. Ask for the issuer's keys, then call
    /// [`SaslServer::retry`], and [`SaslServer::give_up`] when waiting is over.
    AwaitKeys {
        /// The configured issuer.
        issuer: Arc<str>,
        /// The key's id.
        kid: String,
    },
    /// Send this body, then close.
    AnswerThenClose(Bytes, Failure),
    /// Close.
    Close(Failure),
}

/// A client that is who it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authentication {
    /// Who.
    pub principal: Principal,
    /// How.
    pub mechanism: Mechanism,
    /// When the session ends unless it authenticates anew: the earliest of token, grants and configuration. To be
    /// enforced, since announcing it binds only well-behaved clients.
    pub expires: Timestamp,
    /// The token's id (`jti`), for the evidence.
    pub token_id: Option<Arc<str>>,
    /// Whether the connection had authenticated before.
    pub again: bool,
}

/// Why a client is not let in. Contains no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    /// A short name for metrics; stable.
    pub code: &'static str,
    /// A sentence for log, evidence and, where the protocol has room for it, the client.
    pub reason: String,
}

impl Failure {
    fn new(code: &'static str, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }

    fn out_of_order(api: ApiKey, expected: &str) -> Self {
        Self::new("out_of_order", format!("{api:?} came where {expected} was expected"))
    }

    fn malformed(reason: impl Into<String>) -> Self {
        Self::new("malformed", reason)
    }
}

/// A token that waits for its issuer's keys.
struct Pending {
    mechanism: Mechanism,
    version: i16,
    credential: Credential,
    /// What was wrong when it was last tried.
    missing: TokenError,
}

enum State {
    /// ApiVersions or a handshake may come.
    Start,
    /// The handshake chose a mechanism; SaslAuthenticate must come.
    Chosen(Mechanism),
    /// A handshake to authenticate anew chose another mechanism: the next message is refused, as a broker does.
    OtherMechanism,
    /// Keys are awaited.
    Awaiting(Box<Pending>),
    /// OAUTHBEARER failed and the client was told so; it acknowledges, and then gets Kafka's error (RFC 7628 §3.2.3).
    Challenged(Failure),
    /// Requests flow.
    Authenticated,
    /// It is over.
    Failed,
}

/// Who the connection is known to be.
struct Known {
    principal: Principal,
    /// `None` for whom a certificate names, and for the anonymous.
    mechanism: Option<Mechanism>,
    expires: Option<Timestamp>,
    /// A request was let through: now it is too late to become somebody else.
    served: bool,
}

/// The server's side of SASL on one connection.
pub struct SaslServer {
    mechanisms: Vec<Mechanism>,
    session_millis_max: Option<i64>,
    state: State,
    known: Option<Known>,
}

impl fmt::Debug for SaslServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Start => "start",
            State::Chosen(_) => "chosen",
            State::OtherMechanism => "other mechanism",
            State::Awaiting(_) => "awaiting keys",
            State::Challenged(_) => "challenged",
            State::Authenticated => "authenticated",
            State::Failed => "failed",
        };
        f.debug_struct("SaslServer")
            .field("state", &state)
            .field("principal", &self.principal())
            .finish_non_exhaustive()
    }
}

impl SaslServer {
    /// Clients must authenticate by one of `mechanisms`. No session lasts longer than `session_millis_max`.
    #[must_use]
    pub fn new(mechanisms: &[Mechanism], session_millis_max: Option<i64>) -> Self {
        Self { mechanisms: mechanisms.to_vec(), session_millis_max, state: State::Start, known: None }
    }

    /// The client is known already, by its certificate or as the anonymous principal. Where there are mechanisms it
    /// may still authenticate by one, as its first request but for ApiVersions.
    #[must_use]
    pub fn known(principal: Principal, mechanisms: &[Mechanism], session_millis_max: Option<i64>) -> Self {
        let known = Known { principal, mechanism: None, expires: None, served: false };
        Self { state: State::Authenticated, known: Some(known), ..Self::new(mechanisms, session_millis_max) }
    }

    /// Whether requests may be let through.
    #[must_use]
    pub fn is_authenticated(&self) -> bool {
        matches!(self.state, State::Authenticated)
    }

    /// Who it is, once known. Stays while the client authenticates anew.
    #[must_use]
    pub fn principal(&self) -> Option<&Principal> {
        self.known.as_ref().map(|known| &known.principal)
    }

    /// When the session ends unless the client authenticates anew.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        self.known.as_ref()?.expires
    }

    /// The failure of a client that leaves before it could be told all of it: for log and evidence.
    pub fn abandoned(&mut self) -> Option<Failure> {
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Challenged(failure) => Some(failure),
            State::Awaiting(pending) => Some(token_failure(&pending.missing)),
            _ => None,
        }
    }

    /// Takes a request, in the order in which they came.
    pub fn on_request(&mut self, request: &Request, now: Timestamp, verify: &mut dyn Verify) -> Action {
        match request.api() {
            ApiKey::ApiVersions => self.on_versions(request),
            ApiKey::SaslHandshake => self.on_handshake(request),
            ApiKey::SaslAuthenticate => self.on_authenticate(request, now, verify),
            api => self.on_other(api, now),
        }
    }

    /// Tries the token again that waits for keys.
    pub fn retry(&mut self, now: Timestamp, verify: &mut dyn Verify) -> Action {
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Awaiting(pending) => self.attempt(*pending, now, verify),
            state => {
                self.state = state;
                Action::Close(Failure::new("out_of_order", "no token waits for keys"))
            }
        }
    }

    /// Refuses the token that waits for keys: they did not come in time.
    pub fn give_up(&mut self) -> Action {
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Awaiting(pending) => {
                let failure = token_failure(&pending.missing);
                self.refuse(pending.mechanism, pending.version, failure)
            }
            state => {
                self.state = state;
                Action::Close(Failure::new("out_of_order", "no token waits for keys"))
            }
        }
    }

    fn on_other(&mut self, api: ApiKey, now: Timestamp) -> Action {
        if !self.is_authenticated() {
            let expected = self.expected();
            self.state = State::Failed;
            return Action::Close(Failure::out_of_order(api, expected));
        }
        let Some(known) = &mut self.known else {
            return Action::Close(Failure::new("out_of_order", "nobody is authenticated"));
        };
        if known.expires.is_some_and(|expires| now >= expires) {
            self.state = State::Failed;
            return Action::Close(Failure::new("session_expired", "the session has expired and was not renewed"));
        }
        known.served = true;
        Action::Proceed
    }

    fn on_versions(&mut self, request: &Request) -> Action {
        if matches!(self.state, State::Start | State::Authenticated) {
            return Action::Versions;
        }
        let failure = Failure::out_of_order(ApiKey::ApiVersions, self.expected());
        self.state = State::Failed;
        Action::AnswerThenClose(versions::refusal(ResponseError::IllegalSaslState, request.version()), failure)
    }

    fn on_handshake(&mut self, request: &Request) -> Action {
        let version = request.version();
        if version == 0 {
            // Its token would follow without Kafka's framing; no client of the last years does that unless asked to.
            self.state = State::Failed;
            let failure = Failure::new("unsupported_version", "SaslHandshake v0 is not supported; v1 is (Kafka 1.0)");
            return Action::AnswerThenClose(handshake_body(ResponseError::UnsupportedVersion.code(), &[]), failure);
        }
        if version != 1 {
            self.state = State::Failed;
            return Action::Close(Failure::new("unsupported_version", format!("SaslHandshake v{version} is unknown")));
        }
        let body = request.body();
        let handshake: SaslHandshakeRequest = match decode_request(&body, version, body.len()) {
            Ok(handshake) => handshake,
            Err(error) => {
                self.state = State::Failed;
                return Action::Close(Failure::malformed(format!("the SaslHandshake request: {error}")));
            }
        };
        let illegal = handshake_body(ResponseError::IllegalSaslState.code(), &[]);
        match (&self.state, &self.known) {
            (State::Authenticated, _) if self.mechanisms.is_empty() => return Action::Answer(illegal),
            (State::Authenticated, Some(Known { mechanism: None, served: true, .. })) => {
                self.state = State::Failed;
                let reason = "the client has used the connection as another principal already";
                return Action::AnswerThenClose(illegal, Failure::new("out_of_order", reason));
            }
            (State::Start | State::Authenticated, _) => {}
            _ => {
                let failure = Failure::out_of_order(ApiKey::SaslHandshake, self.expected());
                self.state = State::Failed;
                return Action::AnswerThenClose(illegal, failure);
            }
        }
        self.choose(&handshake.mechanism)
    }

    fn choose(&mut self, name: &str) -> Action {
        let Some(mechanism) = self.mechanisms.iter().copied().find(|mechanism| mechanism.name() == name) else {
            self.state = State::Failed;
            let shown: String = name.chars().take(64).collect();
            let failure = Failure::new("unsupported_mechanism", format!("SASL mechanism {shown:?} is not offered"));
            let code = ResponseError::UnsupportedSaslMechanism.code();
            return Action::AnswerThenClose(handshake_body(code, &self.mechanisms), failure);
        };
        let before = self.known.as_ref().and_then(|known| known.mechanism);
        self.state = match before {
            Some(before) if before != mechanism => State::OtherMechanism,
            _ => State::Chosen(mechanism),
        };
        Action::Answer(handshake_body(0, &self.mechanisms))
    }

    fn on_authenticate(&mut self, request: &Request, now: Timestamp, verify: &mut dyn Verify) -> Action {
        let version = request.version();
        if !(0..=AUTHENTICATE_VERSION_MAX).contains(&version) {
            self.state = State::Failed;
            return Action::Close(Failure::new(
                "unsupported_version",
                format!("SaslAuthenticate v{version} is unknown"),
            ));
        }
        let body = request.body();
        let message: SaslAuthenticateRequest = match decode_request(&body, version, body.len()) {
            Ok(message) => message,
            Err(error) => {
                self.state = State::Failed;
                return Action::Close(Failure::malformed(format!("the SaslAuthenticate request: {error}")));
            }
        };
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Chosen(mechanism) => match Credential::parse(mechanism, &message.auth_bytes) {
                Ok(credential) => {
                    let missing = TokenError::Malformed("it was not tried");
                    self.attempt(Pending { mechanism, version, credential, missing }, now, verify)
                }
                Err(reason) => denied(version, Failure::malformed(reason)),
            },
            State::Challenged(failure) => denied(version, failure),
            State::OtherMechanism => {
                let reason = "a connection may not authenticate anew by another mechanism";
                denied(version, Failure::new("mechanism_changed", reason))
            }
            State::Authenticated => {
                self.state = State::Authenticated;
                let reason = "SaslAuthenticate needs a SaslHandshake before it";
                Action::Answer(authenticate_body(version, ResponseError::IllegalSaslState.code(), Some(reason)))
            }
            state => {
                self.state = state;
                let failure = Failure::out_of_order(ApiKey::SaslAuthenticate, self.expected());
                self.state = State::Failed;
                let code = ResponseError::IllegalSaslState.code();
                Action::AnswerThenClose(authenticate_body(version, code, Some(&failure.reason)), failure)
            }
        }
    }

    fn attempt(&mut self, mut pending: Pending, now: Timestamp, verify: &mut dyn Verify) -> Action {
        let verified = match verify.verify(pending.credential.token()) {
            Ok(verified) => verified,
            Err(TokenError::UnknownKey { issuer, kid }) => {
                pending.missing = TokenError::UnknownKey { issuer: issuer.clone(), kid: kid.clone() };
                self.state = State::Awaiting(Box::new(pending));
                return Action::AwaitKeys { issuer, kid };
            }
            Err(error) => return self.refuse(pending.mechanism, pending.version, token_failure(&error)),
        };
        match self.admit(&pending, verified, now, verify) {
            Ok(authentication) => {
                let lifetime = authentication.expires.millis_since(now).clamp(1, LIFETIME_MILLIS_MAX);
                self.known = Some(Known {
                    principal: authentication.principal.clone(),
                    mechanism: Some(authentication.mechanism),
                    expires: Some(authentication.expires),
                    served: true,
                });
                self.state = State::Authenticated;
                let response = SaslAuthenticateResponse::default().with_error_message(None);
                let body = encode(&response.with_session_lifetime_ms(lifetime), pending.version);
                Action::Authenticated { body, authentication }
            }
            Err(failure) => self.refuse(pending.mechanism, pending.version, failure),
        }
    }

    /// Whether a verified token may have this connection.
    fn admit(
        &self,
        pending: &Pending,
        verified: Verified,
        now: Timestamp,
        verify: &mut dyn Verify,
    ) -> Result<Authentication, Failure> {
        let Verified { principal, expires, token_id, .. } = verified;
        pending.credential.check_names(&principal).map_err(|reason| Failure::new("other_name", reason))?;
        let before = self.known.as_ref().filter(|known| known.mechanism.is_some()).map(|known| &known.principal);
        if before.is_some_and(|before| (&before.issuer, &before.subject) != (&principal.issuer, &principal.subject)) {
            let reason = "a connection may not authenticate anew as another principal";
            return Err(Failure::new("principal_changed", reason));
        }
        let most = self.session_millis_max.map_or(Timestamp::MAX, |millis| now.plus_millis(millis));
        let granted = verify.ends(&principal).unwrap_or(Timestamp::MAX);
        if granted <= now {
            return Err(Failure::new("no_grant", "no grant of the principal holds now"));
        }
        let expires = expires.min(granted).min(most);
        if expires <= now {
            return Err(Failure::new("expired", "the token has expired"));
        }
        Ok(Authentication { principal, mechanism: pending.mechanism, expires, token_id, again: before.is_some() })
    }

    fn refuse(&mut self, mechanism: Mechanism, version: i16, failure: Failure) -> Action {
        match mechanism {
            Mechanism::Plain => denied(version, failure),
            Mechanism::OAuthBearer => {
                self.state = State::Challenged(failure);
                let challenge = Bytes::from_static(br#"{"status":"invalid_token"}"#);
                let response = SaslAuthenticateResponse::default().with_error_message(None).with_auth_bytes(challenge);
                Action::Answer(encode(&response, version))
            }
        }
    }

    /// What may come now, for messages.
    fn expected(&self) -> &'static str {
        match self.state {
            State::Start => "ApiVersions or SaslHandshake",
            State::Chosen(_) | State::OtherMechanism | State::Challenged(_) => "SaslAuthenticate",
            State::Awaiting(_) => "nothing",
            State::Authenticated => "any request",
            State::Failed => "nothing more",
        }
    }
}

fn token_failure(error: &TokenError) -> Failure {
    Failure::new(error.code(), error.to_string())
}

fn denied(version: i16, failure: Failure) -> Action {
    let said = format!("Authentication failed: {}", failure.reason);
    let code = ResponseError::SaslAuthenticationFailed.code();
    Action::AnswerThenClose(authenticate_body(version, code, Some(&said)), failure)
}

fn authenticate_body(version: i16, code: i16, message: Option<&str>) -> Bytes {
    let message = message.map(|text| StrBytes::from_string(text.to_owned()));
    encode(&SaslAuthenticateResponse::default().with_error_code(code).with_error_message(message), version)
}

fn handshake_body(code: i16, mechanisms: &[Mechanism]) -> Bytes {
    let names = mechanisms.iter().map(|mechanism| StrBytes::from_static_str(mechanism.name())).collect();
    // v0 and v1 have the same layout.
    encode(&SaslHandshakeResponse::default().with_error_code(code).with_mechanisms(names), 1)
}

fn encode<M: Encodable>(message: &M, version: i16) -> Bytes {
    // It cannot fail: versions are checked above and every text is ours and short.
    decode::encode(message, version).unwrap_or_default()
}

#[cfg(test)]
mod tests;
