//! What every call passes, in this order: room for its evidence, who asks, how often, whether he may;
//! then the handler, within a time; then its evidence.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tidegate_core::event::{Event, Kind, Outcome};
use tidegate_policy::authority::{Actor, ApprovalId};

use super::caller::Caller;
use super::problem::Problem;
use super::route::{Access, Route};
use super::{Admin, lock};
use crate::control::listen::Peer;
use crate::control::now;

/// How long a call may take.
const CALL: Duration = Duration::from_secs(20);
/// How long a call waits for room in the evidence.
const EVIDENCE_PATIENCE: Duration = Duration::from_secs(3);
/// How often it looks.
const EVIDENCE_LOOK: Duration = Duration::from_millis(20);

/// The gate of one route.
pub(super) struct Gate {
    admin: Arc<Admin>,
    id: &'static str,
    method: Method,
    path: &'static str,
    access: Access,
}

/// What a handler adds to the evidence of its call.
#[derive(Debug, Clone, Default)]
pub(super) struct Note {
    /// Who called, where only the handler can know.
    pub actor: Option<Actor>,
    /// The approval that the call was about.
    pub approval: Option<ApprovalId>,
    /// What else there is to say; empty where nothing.
    pub detail: String,
}

impl Gate {
    pub(super) fn new(admin: Arc<Admin>, route: &Route) -> Self {
        Self { admin, id: route.id, method: route.method.clone(), path: route.path, access: route.access }
    }
}

/// Lets a call through, or refuses it; either way with evidence.
pub(super) async fn pass(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    if gate.access == Access::Open {
        return next.run(request).await;
    }
    let peer = request.extensions().get::<ConnectInfo<Peer>>().map(|info| info.0.0);
    let until = tokio::time::Instant::now() + EVIDENCE_PATIENCE;
    while gate.admin.shared.notices.is_crowded() {
        if tokio::time::Instant::now() > until {
            gate.admin.unnoted.fetch_add(1, Ordering::Relaxed);
            return Problem::unavailable("the evidence cannot take more entries now").into_response();
        }
        tokio::time::sleep(EVIDENCE_LOOK).await;
    }
    let (caller, response) = match gate.enter(request.headers(), peer.map(|peer| peer.ip())).await {
        Ok(caller) => {
            let mut request = request;
            if let Some(caller) = &caller {
                request.extensions_mut().insert(caller.clone());
            }
            let answered = tokio::time::timeout(CALL, next.run(request)).await;
            let too_long = || Problem::unavailable("it took too long; look whether it was done").into_response();
            (caller, answered.unwrap_or_else(|_| too_long()))
        }
        Err(refused) => (refused.caller, refused.problem.into_response()),
    };
    if response.status() == axum::http::StatusCode::TOO_MANY_REQUESTS && caller.is_none() {
        // A flood must not fill the evidence: the next entry says how many there were.
        gate.admin.unnoted.fetch_add(1, Ordering::Relaxed);
    } else {
        gate.note(caller.as_deref(), peer.map(|peer| peer.to_string()), &response);
    }
    response
}

/// Why a call went no further, and who made it where that is known.
struct Refused {
    caller: Option<Arc<Caller>>,
    problem: Problem,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self { caller: None, problem }
    }
}

impl Gate {
    /// Who asks, where he may.
    async fn enter(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> Result<Option<Arc<Caller>>, Refused> {
        let peer = peer.map_or_else(String::new, |peer| peer.to_string());
        if self.access == Access::Signed {
            self.admin.stranger(&peer)?;
            return Ok(None);
        }
        let caller = match self.admin.authenticate(headers).await {
            Ok(caller) => Arc::new(caller),
            Err(problem) => {
                self.admin.stranger(&peer)?;
                return Err(problem.into());
            }
        };
        let name = format!("{} {}", caller.actor.issuer, caller.actor.subject);
        let taken = lock(&self.admin.callers).take(&name, now());
        if let Err(seconds) = taken {
            return Err(Problem::too_many("you call too often", seconds).into());
        }
        if let Access::Roles(roles) = self.access
            && !caller.has(roles)
        {
            let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
            let problem = Problem::forbidden(format!("this takes one of the roles {}", names.join(", ")));
            return Err(Refused { caller: Some(caller), problem });
        }
        Ok(Some(caller))
    }

    fn note(&self, caller: Option<&Caller>, peer: Option<String>, response: &Response) {
        let problem = response.extensions().get::<Problem>();
        let note = response.extensions().get::<Note>().cloned().unwrap_or_default();
        let actor = note.actor.or_else(|| caller.map(|caller| caller.actor.clone()));
        let status = response.status();
        let mut detail = format!("{} {} {}: {}", self.id, self.method, self.path, status.as_u16());
        if let Some(problem) = problem {
            detail.push_str(&format!(" {}", problem.detail));
        }
        if !note.detail.is_empty() {
            detail.push_str(&format!(" {}", note.detail));
        }
        let unnoted = self.admin.unnoted.swap(0, Ordering::Relaxed);
        if unnoted > 0 {
            detail.push_str(&format!(" (and {unnoted} calls before it that were refused for coming too often)"));
        }
        let outcome = match status.as_u16() {
            0..400 => Outcome::Allowed,
            400 | 405 | 413 | 415 => Outcome::Malformed,
            _ => Outcome::Denied,
        };
        let mut event = Event {
            time_micros: now().0,
            kind: Kind::AdminCall as i32,
            client_address: peer.unwrap_or_default(),
            outcome: outcome as i32,
            policy_version: self.admin.shared.policy.load().version(),
            approval: note.approval.map(|id| id.to_string()).unwrap_or_default(),
            detail,
            broker: -1,
            ..Event::default()
        };
        if let Some(actor) = actor {
            event.principal = actor.name.to_string();
            event.issuer = actor.issuer.to_string();
            event.subject = actor.subject.to_string();
            event.groups = actor.groups.iter().map(ToString::to_string).collect();
        }
        self.admin.shared.notices.put(event);
    }
}

impl Admin {
    /// Counts a call of somebody unknown from this address.
    fn stranger(&self, peer: &str) -> Result<(), Problem> {
        lock(&self.strangers)
            .take(peer, now())
            .map_err(|seconds| Problem::too_many("too many calls from your address without a good token", seconds))
    }
}
