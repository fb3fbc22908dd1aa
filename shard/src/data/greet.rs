//! Greet: what the gateway answers itself, before a client is authenticated and after: which
//! versions there are, and SASL. The conversation is `sasl`'s state machine; here its actions are
//! carried out.

use std::sync::Arc;

use tidegate_core::words::{Principal, SessionId, Timestamp};
use tidegate_policy::identity::{self, TokenError, Verified};

use super::sasl::{Action, Authentication, Failure, SaslServer, Verify};
use super::session::{Held, HeldFor, Pending, Session};
use super::shard::Shard;
use super::stage::Request;
use crate::shared::{Ask, Refusal};

/// How long a token waits for keys that its issuer may have published meanwhile, in milliseconds.
const KEYS_MILLIS_MAX: i64 = 3_000;

/// The SASL of a listener, for a connection just accepted.
#[must_use]
pub fn sasl_server(shard: &Shard, listener: usize) -> SaslServer {
    match &shard.config.listeners[listener].sasl {
        Some(sasl) => {
            let millis = sasl.session_max.map(|max| i64::try_from(max.as_millis()).unwrap_or(i64::MAX));
            SaslServer::new(&sasl.mechanisms, millis)
        }
        None => SaslServer::new(&[], None),
    }
}

/// Verifies tokens with the keys and the policy that are published now.
struct Verifier<'a> {
    shard: &'a Shard,
    session: SessionId,
    /// The login session of the token that was verified last.
    login: Option<Arc<str>>,
    now: Timestamp,
}

impl Verify for Verifier<'_> {
    fn verify(&mut self, token: &str) -> Result<Verified, TokenError> {
        let verified = identity::verify(token, &self.shard.shared.issuers.load(), self.now, &self.shard.limits)?;
        self.login.clone_from(&verified.session);
        let policy = self.shard.policy();
        let of_login = || policy.standing().session_revoked(verified.session.as_deref()?);
        let revoked = policy.revoked(&verified.principal, &self.session, verified.token_id.as_deref());
        match revoked.or_else(of_login) {
            Some(reason) => Err(TokenError::Revoked { reason: reason.to_owned() }),
            None => Ok(verified),
        }
    }

    fn ends(&mut self, principal: &Principal) -> Option<Timestamp> {
        self.shard.policy().view(principal).grants_end(self.now)
    }
}

impl Session {
    /// Shows a request to SASL first. Returns it where it is for the stages behind.
    pub(super) fn greet(&mut self, shard: &Shard, request: Request, now: Timestamp) -> Option<Request> {
        let mut verifier = Verifier { shard, session: self.id, login: None, now };
        let action = self.sasl.on_request(&request, now, &mut verifier);
        self.login_session = verifier.login.or(self.login_session.take());
        match action {
            Action::Proceed => return Some(request),
            Action::Versions => self.answer_versions(shard, &request, now),
            action => self.act(shard, request, action, now),
        }
        None
    }

    /// Tries a token again that waits for its issuer's keys.
    pub(super) fn retry_token(&mut self, shard: &Shard, now: Timestamp) -> bool {
        let Some(held) = self.held.take() else { return false };
        let action = if now >= held.until {
            self.sasl.give_up()
        } else {
            let mut verifier = Verifier { shard, session: self.id, login: None, now };
            let action = self.sasl.retry(now, &mut verifier);
            self.login_session = verifier.login.or(self.login_session.take());
            action
        };
        if let Action::AwaitKeys { .. } = action {
            self.held = Some(held);
            return false;
        }
        self.act(shard, held.request, action, now);
        true
    }

    fn act(&mut self, shard: &Shard, request: Request, action: Action, now: Timestamp) {
        match action {
            Action::Proceed | Action::Versions => {}
            Action::Answer(body) => self.answer_unrecorded(&request, &body, 0),
            Action::Authenticated { body, authentication } => {
                let how = self.describe(&authentication);
                let Authentication { principal, expires, token_id, .. } = authentication;
                self.token_id = token_id;
                let sequence = self.authenticated(shard, principal, Some(expires), how, now);
                self.answer_unrecorded(&request, &body, sequence);
            }
            Action::AwaitKeys { issuer, kid } => {
                shard.shared.ask(Ask::UnknownKey { issuer, kid: kid.into() });
                let until = now.plus_millis(KEYS_MILLIS_MAX);
                self.held = Some(Held { request, started: now, reason: HeldFor::Keys, until, decide: None });
            }
            Action::AnswerThenClose(body, failure) => {
                self.answer_unrecorded(&request, &body, 0);
                self.release_answers();
                self.fail(shard, failure, now);
            }
            Action::Close(failure) => self.fail(shard, failure, now),
        }
    }

    pub(super) fn fail(&mut self, shard: &Shard, failure: Failure, now: Timestamp) {
        let why = match failure.code {
            "session_expired" => Refusal::Expired,
            "malformed" => Refusal::Malformed,
            "unsupported_version" => Refusal::Unsupported,
            _ => Refusal::Authentication,
        };
        self.refuse(shard, why, failure.reason, now);
    }

    /// How somebody authenticated, in words for the evidence.
    fn describe(&self, authentication: &Authentication) -> String {
        let mut how = format!("by {}", authentication.mechanism.name());
        if authentication.again {
            how.push_str(", anew");
        }
        let parts = [
            ("token", authentication.token_id.as_deref()),
            ("login", self.login_session.as_deref()),
            ("with", self.client_software.as_deref()),
        ];
        for (what, value) in parts {
            if let Some(value) = value {
                how.push_str(&format!(", {what} {value}"));
            }
        }
        how
    }

    fn answer_versions(&mut self, shard: &Shard, request: &Request, now: Timestamp) {
        let cluster = shard.shared.cluster.load();
        if cluster.versions.ranges().is_empty() {
            let reason = "the upstream's versions are not known: it has not been reached yet".to_owned();
            shard.shared.ask(Ask::RefreshCluster);
            return self.refuse(shard, Refusal::Upstream, reason, now);
        }
        let answer = cluster.versions.answer(request);
        if answer.client_software.is_some() {
            self.client_software.clone_from(&answer.client_software);
        }
        self.answer_unrecorded(request, &answer.body, 0);
    }

    /// Queues an answer that needs no entry of its own: finding a version and proving who one is
    /// stand in the evidence as the session's start or its refusal.
    fn answer_unrecorded(&mut self, request: &Request, body: &[u8], sequence: u64) {
        let frame = super::stage::answer_frame(request, body);
        self.pending.push_back(Pending::Answered { frame, sequence });
    }
}
