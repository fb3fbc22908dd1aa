//! One client connection's state, without I/O: bytes have been put into two frame buffers, frames
//! come out into two outboxes. `connection.rs` pumps the sockets.
//!
//! A session lives through phases: greeting (versions and SASL only), connecting (authenticated,
//! the upstream login under way), open, closing. Requests and responses keep their order: whatever
//! the gateway answers itself waits in the same queue as what the upstream will answer.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use rustls::pki_types::CertificateDer;
use tidegate_core::api;
use tidegate_core::event::{Event, ExchangeEntry, Kind, Outcome};
use tidegate_core::frame::{FrameBuffer, LENGTH_BYTES};
use tidegate_core::limits::SCAN_TURN_BYTES;
use tidegate_core::words::{DataClass, Principal, SessionId, Timestamp};
use tidegate_policy::view::View;

use super::certificate;
use super::greet;
use super::hold::{FirstUses, Waiting};
use super::recording::{Capture, Recording, Said};
use super::records::FetchSessions;
use super::release::Outbox;
use super::sasl::SaslServer;
use super::shard::Shard;
use super::stage::{Decide, Draft, Request, Respond, Scope};
use super::versions::UpstreamVersions;
use super::who::{self, Who};
use crate::config::{Listener, Target};
use crate::shared::{LiveSession, Refusal, ShardMetrics};
use crate::upstream::UpstreamLogin;

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not authenticated: versions and SASL only.
    Greeting,
    /// Authenticated; waiting for the upstream connection and login.
    Connecting,
    /// Requests flow.
    Open,
    /// Nothing more is read from the client; what is queued still leaves.
    Closing,
}

/// A request whose response has not left yet, in the client's order.
pub enum Pending {
    /// The gateway's own answer, ready.
    Answered {
        /// The response frame.
        frame: Bytes,
        /// The evidence it waits for.
        sequence: u64,
    },
    /// The upstream will answer.
    Upstream(Box<InFlight>),
    /// The gateway's own question for the request that is held: topic ids, or settings.
    Resolving {
        /// The question's correlation id.
        correlation_id: i32,
    },
    /// The upstream has answered, and the response is being looked at, over more than one turn.
    Releasing(Releasing),
}

/// A response between two turns of work on it.
pub struct Releasing {
    /// The request, with who sees the response.
    pub in_flight: Box<InFlight>,
    /// The response as it came.
    pub frame: Bytes,
}

/// Counts a request as in flight for as long as it lives, however it ends.
pub struct Counted(Arc<ShardMetrics>);

impl Counted {
    /// One more.
    #[must_use]
    pub fn new(metrics: &Arc<ShardMetrics>) -> Self {
        metrics.requests_in_flight.add(1);
        Self(metrics.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.requests_in_flight.add(-1);
    }
}

/// A request under way at the upstream.
pub struct InFlight {
    /// Its place in the metrics.
    pub counted: Counted,
    /// The client's correlation id, kept towards the upstream.
    pub correlation_id: i32,
    /// The API.
    pub api: ApiKey,
    /// The client's version.
    pub version: i16,
    /// The version that the upstream was asked in.
    pub upstream_version: i16,
    /// Who wants to see the response; `None` lets the very bytes pass.
    pub respond: Option<Box<dyn Respond>>,
    /// What the evidence will say.
    pub exchange: Exchange,
}

/// What is known of an exchange while it is under way.
pub struct Exchange {
    /// The API.
    pub api: ApiKey,
    /// The client's version of it.
    pub version: i16,
    /// When the request's last byte had been read.
    pub started: Timestamp,
    /// The request's size on the wire.
    pub request_bytes: u64,
    /// The policy that decided the request.
    pub policy_version: u64,
    /// What the stages learned.
    pub draft: Draft,
    /// What is kept of it for the session's recording.
    pub capture: Option<Box<Capture>>,
}

impl Exchange {
    /// Of a request that no stage has decided on yet.
    #[must_use]
    pub fn of(request: &Request, started: Timestamp, view: &View) -> Self {
        Self {
            api: request.api(),
            version: request.version(),
            started,
            request_bytes: request.frame.len() as u64,
            policy_version: view.version(),
            draft: Draft::default(),
            capture: None,
        }
    }
}

/// Whether an open connection may stay.
#[derive(Debug, PartialEq, Eq)]
pub enum Right {
    /// It may.
    Holds,
    /// The principal's last grant has ended.
    Lost,
    /// Session, token or principal are revoked, for this reason.
    Revoked(String),
}

/// One client connection.
pub struct Session {
    /// The session's id.
    pub id: SessionId,
    /// The phase.
    pub phase: Phase,
    /// The listener's index in the configuration.
    pub listener: usize,
    /// The broker whose port or host the client connected to.
    pub target: Target,
    /// The client's address as text.
    pub client_address: String,
    /// The client's `client.id`, from its latest request.
    pub client_id: Arc<str>,
    /// Bytes from the client.
    pub from_client: FrameBuffer,
    /// Bytes from the upstream.
    pub from_upstream: FrameBuffer,
    /// Frames to the client.
    pub to_client: Outbox,
    /// Frames to the upstream.
    pub to_upstream: Outbox,
    /// The authentication towards the client.
    pub sasl: SaslServer,
    /// The login at the upstream while it is under way.
    pub login: Option<UpstreamLogin>,
    /// What the broker that is connected offers.
    pub versions: Option<Arc<UpstreamVersions>>,
    /// A new login is due, and waits for what is under way: no further request is taken.
    pub login_is_wanted: bool,
    /// When to log in to the upstream anew.
    pub upstream_login_due: Option<Timestamp>,
    /// Who, once authenticated.
    pub principal: Option<Arc<Principal>>,
    /// The principal's rights.
    pub view: Option<View>,
    /// Some grant of the principal held when last looked at.
    pub had_grant: bool,
    /// When the last grant that holds now ends, where it does.
    pub grants_end: Option<Timestamp>,
    /// The client library's name and version, where the client said them.
    pub client_software: Option<String>,
    /// When the token ends.
    pub expires: Option<Timestamp>,
    /// The id of the token (`jti`) that it authenticated with.
    pub token_id: Option<Arc<str>>,
    /// The login session (`sid`) that the token is part of: one login may have many connections.
    pub login_session: Option<Arc<str>>,
    /// A request that waits: for topic ids, for keys that verify its token, for an approver.
    pub held: Option<Held>,
    /// What is known of the request that the hold stage is at.
    pub hold: Option<Box<Waiting>>,
    /// First uses of topics that wait for an approver.
    pub first: FirstUses,
    /// Requests whose responses have not left.
    pub pending: VecDeque<Pending>,
    /// The recording, where a rule wants one.
    pub recording: Option<Rc<Recording>>,
    /// Recordings begun.
    pub recording_parts: u32,
    /// The fetch sessions of this connection.
    pub fetches: FetchSessions,
    /// The session began, and its end is to be written.
    pub started: bool,
    /// Last time a byte came or went.
    pub last_active: Timestamp,
    /// When the connection was accepted.
    pub accepted: Timestamp,
    /// How much of records may still be scanned in this turn, in bytes.
    pub work: usize,
    /// What every entry says of the session, encoded.
    who: Who,
    pub(super) next_own_id: i32,
}

/// A request that cannot go on yet.
pub struct Held {
    /// The request.
    pub request: Request,
    /// When it came.
    pub started: Timestamp,
    /// What it waits for.
    pub reason: HeldFor,
    /// When waiting ends.
    pub until: Timestamp,
    /// Who goes on with it, where it waits for another turn.
    pub decide: Option<Box<dyn Decide>>,
}

/// What a held request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldFor {
    /// The upstream's answer about topic ids.
    TopicIds,
    /// The issuer's keys.
    Keys,
    /// Another turn: its records are being looked at.
    Turn,
    /// The broker's answer about settings that an exemption depends on.
    Settings,
    /// An approver.
    Approval,
}

impl Session {
    /// A connection just accepted.
    #[must_use]
    pub fn new(shard: &Shard, listener: usize, target: Target, peer: SocketAddr, now: Timestamp) -> Self {
        Self {
            id: SessionId(uuid::Uuid::now_v7()),
            phase: Phase::Greeting,
            listener,
            target,
            client_address: peer.to_string(),
            client_id: Arc::from(""),
            from_client: FrameBuffer::new(),
            from_upstream: FrameBuffer::new(),
            to_client: Outbox::default(),
            to_upstream: Outbox::default(),
            sasl: greet::sasl_server(shard, listener),
            login: None,
            versions: None,
            login_is_wanted: false,
            upstream_login_due: None,
            principal: None,
            view: None,
            had_grant: false,
            grants_end: None,
            client_software: None,
            expires: None,
            token_id: None,
            login_session: None,
            held: None,
            hold: None,
            first: FirstUses::default(),
            pending: VecDeque::new(),
            recording: None,
            recording_parts: 0,
            fetches: FetchSessions::default(),
            started: false,
            last_active: now,
            accepted: now,
            work: SCAN_TURN_BYTES,
            who: Who::default(),
            next_own_id: i32::MIN,
        }
    }

    /// Begins once the handshake is done: the server name may say which broker is meant, and a
    /// certificate who the client is.
    pub fn begin(
        &mut self,
        shard: &Shard,
        server_name: Option<&str>,
        certificate: Option<&CertificateDer<'static>>,
        now: Timestamp,
    ) {
        let config = self.listener(shard).clone();
        if self.target == Target::Bootstrap {
            match config.target_of_server_name(server_name) {
                Some(target) => self.target = target,
                None => {
                    let name = server_name.unwrap_or("none");
                    let reason = format!("the TLS server name {name} is no host of this listener");
                    return self.refuse(shard, Refusal::Tls, reason, now);
                }
            }
        }
        let from = config.tls.as_ref().map(|tls| tls.principal_from);
        let shown = certificate.zip(from).map(|(certificate, from)| certificate::principal(certificate, from));
        if config.sasl.is_some() {
            return;
        }
        let principal = match shown {
            Some(Some(principal)) => principal,
            Some(None) => {
                let reason = "the client certificate has no part that names a principal".to_owned();
                return self.refuse(shard, Refusal::Authentication, reason, now);
            }
            None => Principal::anonymous(),
        };
        if let Some(reason) = shard.policy().revoked(&principal, &self.id, None) {
            return self.refuse(shard, Refusal::Authentication, format!("revoked: {reason}"), now);
        }
        self.sasl = SaslServer::known(principal.clone(), &[], None);
        let how = if certificate.is_some() {
            "by client certificate"
        } else {
            "not authenticated: the listener asks for nothing"
        };
        self.authenticated(shard, principal, None, how.to_owned(), now);
    }

    /// The configuration of the listener that accepted the connection.
    #[must_use]
    pub fn listener<'a>(&self, shard: &'a Shard) -> &'a Listener {
        // The index came from this very configuration.
        &shard.config.listeners[self.listener]
    }

    /// Takes over who the client is, and what he may do; `how` says by what for the evidence.
    /// Returns the evidence that telling the client so waits for.
    pub fn authenticated(
        &mut self,
        shard: &Shard,
        principal: Principal,
        expires: Option<Timestamp>,
        how: String,
        now: Timestamp,
    ) -> u64 {
        let principal = Arc::new(principal);
        let had_grant = self.had_grant;
        self.take_view(shard.policy().view(&principal), now);
        if had_grant && !self.had_grant {
            // It comes back with fewer groups, and what it had has ended: found with the next look.
            (self.had_grant, self.grants_end) = (true, Some(now));
        }
        self.principal = Some(principal);
        self.follow_recording(shard, now);
        self.expires = expires;
        if self.phase == Phase::Greeting {
            self.phase = Phase::Connecting;
        }
        if !std::mem::replace(&mut self.started, true) {
            shard.metrics.sessions.increment();
        }
        self.enter(shard, now);
        let mut event = self.event(Kind::SessionStart, now);
        event.outcome = Outcome::Allowed as i32;
        event.detail = how;
        shard.evidence.append(&event)
    }

    /// Has lists of open sessions show this one.
    fn enter(&self, shard: &Shard, now: Timestamp) {
        let Some(principal) = self.principal.clone() else { return };
        let live = LiveSession {
            id: self.id,
            principal,
            client_address: Arc::from(self.client_address.as_str()),
            client_id: self.client_id.clone(),
            listener: self.listener(shard).name.clone(),
            broker: self.broker(),
            since: now,
            expires: self.expires,
            token_id: self.token_id.clone(),
            login: self.login_session.clone(),
            recorded: self.recording.as_ref().map(|recording| recording.rule.name.clone()),
        };
        shard.shared.sessions.enter(shard.id, live);
    }

    fn take_view(&mut self, mut view: View, now: Timestamp) {
        if let Some(before) = &mut self.view {
            view.keep_first_uses(before);
        }
        self.had_grant = view.has_any_grant(now);
        self.grants_end = if self.had_grant { view.grants_end(now) } else { None };
        self.view = Some(view);
    }

    /// Brings the view up to the policy that is current now, and says whether the connection may stay
    /// open. (A principal that never had a grant is denied by each API's own error, as on a broker:
    /// that tells its user more.)
    pub fn refresh_view(&mut self, shard: &Shard, now: Timestamp) -> Right {
        let (Some(view), Some(principal)) = (&self.view, &self.principal) else { return Right::Holds };
        let changed = view.version() != shard.policy_version();
        // Between these moments nothing changes, so a request costs two comparisons.
        if !changed && self.grants_end.is_none_or(|end| now < end) {
            return Right::Holds;
        }
        let had_grant = self.had_grant;
        let policy = shard.policy();
        let revoked = policy.revoked(principal, &self.id, self.token_id.as_deref());
        let of_login = || policy.standing().session_revoked(self.login_session.as_deref()?);
        let revoked = revoked.or_else(of_login).map(str::to_owned);
        self.take_view(policy.view(principal), now);
        self.follow_recording(shard, now);
        match revoked {
            Some(reason) => Right::Revoked(reason),
            None if had_grant && !self.had_grant => Right::Lost,
            None => Right::Holds,
        }
    }

    /// Whether requests may be taken from the client now.
    #[must_use]
    pub fn takes_requests(&self, shard: &Shard) -> bool {
        let limits = &shard.limits;
        match self.phase {
            Phase::Closing | Phase::Connecting => false,
            Phase::Greeting | Phase::Open => {
                self.held.is_none()
                    && self.login.is_none()
                    && !self.login_is_wanted
                    && self.pending.len() < limits.in_flight_requests_max as usize
                    && self.to_upstream.bytes() < limits.queued_bytes_max as usize
                    && self.to_client.bytes() < limits.queued_bytes_max as usize
                    && !shard.evidence.is_full()
                    && !self.waits_for_recorder(shard)
            }
        }
    }

    /// Begins a turn: the connection may have as much scanned as each of the others.
    pub fn begin_turn(&mut self) {
        self.work = SCAN_TURN_BYTES;
    }

    /// Whether the turn's work is used up: it is the other connections' turn.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.work == 0
    }

    /// Whether a response is being looked at, over more than one turn.
    #[must_use]
    pub fn is_releasing(&self) -> bool {
        matches!(self.pending.front(), Some(Pending::Releasing(_)))
    }

    /// Whether bytes should be read from the client: its requests can be taken, or there is room
    /// for the frame under way.
    #[must_use]
    pub fn wants_client_bytes(&self, shard: &Shard) -> bool {
        self.phase != Phase::Closing
            && (self.takes_requests(shard) || self.from_client.len() < super::runtime::READ_BYTES)
    }

    /// Whether bytes should be read from the upstream.
    #[must_use]
    pub fn wants_upstream_bytes(&self, shard: &Shard) -> bool {
        !self.is_releasing()
            && self.to_client.bytes() < shard.limits.queued_bytes_max as usize
            && !shard.evidence.is_full()
            && !self.waits_for_recorder(shard)
    }

    /// Ends the connection after what is queued, and says why in log, metrics and evidence.
    pub fn refuse(&mut self, shard: &Shard, why: Refusal, reason: String, now: Timestamp) {
        if self.phase == Phase::Closing {
            return;
        }
        self.phase = Phase::Closing;
        self.held = None;
        tracing::info!(
            session = %self.id, client = %self.client_address, principal = self.principal_name(),
            cause = why.name(), %reason, "connection refused"
        );
        shard.metrics.refused(why);
        let (kind, outcome) = match why {
            Refusal::Authentication => (Kind::AuthenticationFailure, Outcome::Denied),
            Refusal::Malformed | Refusal::Unsupported | Refusal::Tls | Refusal::ProxyHeader => {
                (Kind::ConnectionRefused, Outcome::Malformed)
            }
            Refusal::Upstream => (Kind::ConnectionRefused, Outcome::UpstreamFailed),
            _ => (Kind::ConnectionRefused, Outcome::Denied),
        };
        let mut event = self.event(kind, now);
        event.outcome = outcome as i32;
        event.detail = reason;
        shard.evidence.append(&event);
    }

    /// Ends the connection as the peers end it: nothing to complain about.
    pub fn close(&mut self) {
        self.phase = Phase::Closing;
        self.held = None;
    }

    /// Writes the session's end, or how an authentication ended that the client did not wait for.
    pub fn ended(&mut self, shard: &Shard, now: Timestamp) {
        if self.phase != Phase::Closing
            && let Some(failure) = self.sasl.abandoned()
        {
            self.fail(shard, failure, now);
        }
        self.abandon_hold(shard, now);
        self.end_recording(shard, "the session ended", now);
        if std::mem::take(&mut self.started) {
            shard.shared.sessions.leave(shard.id, self.id);
            let mut event = self.event(Kind::SessionEnd, now);
            event.latency_micros = u64::try_from(now.0 - self.accepted.0).unwrap_or(0);
            shard.evidence.append(&event);
        }
    }

    /// The principal's name; empty before authentication.
    #[must_use]
    pub fn principal_name(&self) -> &str {
        self.principal.as_ref().map_or("", |principal| &principal.name)
    }

    /// The node id of the broker that the client wants; -1 for any.
    #[must_use]
    pub fn broker(&self) -> i32 {
        match self.target {
            Target::Bootstrap => -1,
            Target::Broker(id) => id,
        }
    }

    /// An entry of `kind` with what the session knows about itself.
    #[must_use]
    pub fn event(&self, kind: Kind, now: Timestamp) -> Event {
        Event {
            time_micros: now.0,
            kind: kind as i32,
            policy_version: self.view.as_ref().map_or(0, View::version),
            broker: self.broker(),
            ..who::event(self)
        }
    }

    /// Writes an exchange's entry; returns the sequence number that its response waits for.
    pub fn record(&self, shard: &Shard, exchange: &Exchange, response_bytes: usize, now: Timestamp) -> u64 {
        let outcome = outcome_of(&exchange.draft);
        self.record_as(shard, exchange, outcome, response_bytes, now)
    }

    /// Writes the entries of exchanges whose response will never leave, with the reason.
    pub fn record_unanswered(&mut self, shard: &Shard, outcome: Outcome, reason: &str, now: Timestamp) {
        for pending in std::mem::take(&mut self.pending) {
            let in_flight = match pending {
                Pending::Upstream(in_flight) => Some(in_flight),
                Pending::Releasing(releasing) => Some(releasing.in_flight),
                Pending::Answered { .. } | Pending::Resolving { .. } => None,
            };
            if let Some(mut in_flight) = in_flight {
                in_flight.exchange.draft.detail = reason.to_owned();
                self.record_as(shard, &in_flight.exchange, outcome, 0, now);
            }
        }
    }

    pub(super) fn record_as(
        &self,
        shard: &Shard,
        exchange: &Exchange,
        outcome: Outcome,
        response_bytes: usize,
        now: Timestamp,
    ) -> u64 {
        let Exchange { api, version, started, request_bytes, policy_version, draft, capture: _ } = exchange;
        let latency_micros = u64::try_from(now.0 - started.0).unwrap_or(0);
        count(&shard.metrics, *api, latency_micros, draft);
        let who = self.who.encoded(self);
        let sequence = shard.evidence.append(&ExchangeEntry {
            who: &who,
            time_micros: now.0,
            api: api::name(*api),
            api_version: *version,
            outcome,
            resources: &draft.resources,
            policy_version: *policy_version,
            findings: &draft.findings,
            upstream_errors: &draft.upstream_errors,
            latency_micros,
            detail: &draft.detail,
            request_bytes: *request_bytes,
            response_bytes: response_bytes as u64,
            broker: self.broker(),
            approval: &draft.approval,
            subjects: &draft.subjects,
            subjects_cut: draft.subjects_cut,
        });
        if let Some(recording) = &self.recording {
            let (api, client_id) = (api::name(*api), &*self.client_id);
            let said = Said { api, outcome: outcome as i32, response_bytes, latency_micros, client_id };
            recording.take(shard, exchange, said, now);
        }
        sequence
    }

    /// Calls `stage` with everything it may consult.
    pub fn in_scope<T>(
        view: &View,
        shard: &Shard,
        listener: usize,
        now: Timestamp,
        may_resolve: bool,
        work: &mut usize,
        stage: impl FnOnce(&mut Scope<'_>) -> T,
    ) -> T {
        let mut topics = shard.topics.borrow_mut();
        let mut addresses = shard.addresses(listener).borrow_mut();
        let mut scope = Scope {
            view,
            now,
            limits: &shard.limits,
            topics: &mut topics,
            addresses: &mut addresses,
            on_unparseable: view.on_unparseable(),
            subjects: shard.subjects.as_ref(),
            schemas: &shard.shared.schemas,
            may_resolve,
            work: *work,
        };
        let result = stage(&mut scope);
        *work = scope.work;
        result
    }

    /// When something has to be looked at, though no byte comes.
    #[must_use]
    pub fn deadline(&self, shard: &Shard, now: Timestamp) -> Timestamp {
        let limits = &shard.limits;
        let mut deadline = self.last_active.plus_millis(i64::from(limits.idle_millis_max));
        if self.phase == Phase::Greeting {
            deadline = deadline.min(self.accepted.plus_millis(i64::from(limits.authentication_millis_max)));
        }
        // Once it is past, the token's end is looked at with the next request or response.
        let expires = self.expires.filter(|expires| *expires > now);
        [expires, self.grants_end, self.upstream_login_due, self.held.as_ref().map(|held| held.until)]
            .into_iter()
            .flatten()
            .fold(deadline, Timestamp::min)
    }

    /// Ends what has lasted too long or has lost its right.
    pub fn check_deadlines(&mut self, shard: &Shard, now: Timestamp) {
        let limits = &shard.limits;
        match self.phase {
            Phase::Closing => {}
            Phase::Greeting if now.millis_since(self.accepted) >= i64::from(limits.authentication_millis_max) => {
                let reason = format!("not authenticated within {} ms", limits.authentication_millis_max);
                self.refuse(shard, Refusal::Authentication, reason, now);
            }
            Phase::Greeting => {}
            Phase::Connecting | Phase::Open => {
                if now.millis_since(self.last_active) >= i64::from(limits.idle_millis_max) {
                    tracing::debug!(session = %self.id, "idle");
                    shard.metrics.refused(Refusal::Idle);
                    self.close();
                } else if self.may_stay(shard, now) {
                    self.log_in_anew_where_due(shard, now);
                }
            }
        }
    }

    /// Whether an open connection that nothing comes through may stay open. A token that has ended
    /// ends what is under way; an idle client may still authenticate anew, as at a broker (KIP-368).
    fn may_stay(&mut self, shard: &Shard, now: Timestamp) -> bool {
        if self.pending.is_empty() { self.grants_hold(shard, now) } else { self.still_authorised(shard, now) }
    }

    /// Whether no whole request is left among the client's bytes.
    #[must_use]
    pub fn has_no_whole_request(&self) -> bool {
        self.held.is_none() && (self.from_client.len() < LENGTH_BYTES || self.from_client.missing() > 0)
    }

    /// Whether everything asked was answered and everything queued has left.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.pending.is_empty()
            && self.held.is_none()
            && self.from_client.is_empty()
            && self.to_client.is_empty()
            && self.to_upstream.is_empty()
    }
}

fn count(metrics: &ShardMetrics, api: ApiKey, latency_micros: u64, draft: &Draft) {
    metrics.requested(api as i16);
    metrics.latency.record(latency_micros);
    if draft.resources.iter().any(|resource| !resource.allowed) {
        metrics.denied.increment();
    }
    metrics.records_scanned.add(draft.inspected.records);
    metrics.records_rewritten.add(draft.inspected.changed);
    metrics.unparseable.add(draft.inspected.unparseable);
    metrics.batches_recalled.add(draft.inspected.recalled);
    for finding in &draft.findings {
        let class = DataClass::ALL.into_iter().find(|class| class.name() == finding.class);
        metrics.found(class, finding.count);
    }
}

fn outcome_of(draft: &Draft) -> Outcome {
    if draft.malformed {
        return Outcome::Malformed;
    }
    let denied = draft.resources.iter().filter(|resource| !resource.allowed).count();
    if denied == 0 {
        Outcome::Allowed
    } else if denied == draft.resources.len() {
        if draft.unparseable { Outcome::Malformed } else { Outcome::Denied }
    } else {
        Outcome::PartlyDenied
    }
}

#[cfg(test)]
mod tests;
