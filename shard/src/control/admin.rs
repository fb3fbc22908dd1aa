//! The admin API: who may have what, on whose word, and an end to it. JSON over HTTP under `/v1`.
//!
//! Reading order: `route` is the table of routes, which the router and the OpenAPI document
//! (`openapi`) are both made of; `gate` is what every call passes: who asks (`caller`, `operator`),
//! whether he may, how often (`rate`), and its evidence; then the handlers by subject: `grants`,
//! `approvals`, `revocations`, `break_glass`, `callbacks`, `erasures`, `machine`. `model` is the JSON, `extract`
//! how requests are read, `problem` how they are refused.
//!
//! Invariants: nothing is decided here but who asks and what he may see; what changes anything is a
//! command to the authority, which decides it by policy and log. Every call, refused ones included,
//! leaves evidence; where the evidence cannot take more, calls are refused before they do anything.
//! Bodies, pages, rates and times are bounded.

mod approvals;
mod break_glass;
mod callbacks;
mod caller;
mod erasures;
mod extract;
mod gate;
mod gauges;
mod grants;
mod machine;
pub mod model;
mod openapi;
mod operator;
pub mod problem;
mod questions;
mod rate;
mod recordings;
pub mod requests;
mod revocations;
mod route;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use bytes::Bytes;
use tokio::sync::mpsc;

use self::gate::Gate;
pub(super) use self::gauges::Gauges;
pub(super) use self::operator::OperatorToken;
use self::rate::{Buckets, Rate};
use self::route::Route;
use super::authority::{Handle, SubmitError};
use super::now;
use super::reload::ReloadRequest;
use super::signature::Nonces;
use crate::config::Config;
use crate::shared::Shared;

/// The largest body of a request, in bytes: a request for a grant with a thousand resources.
const BODY_BYTES_MAX: usize = 128 * 1024;
/// How often one principal may call.
const CALLERS: Rate = Rate { per_second: 50, burst: 200 };
/// How often one address may be refused as unknown.
const STRANGERS: Rate = Rate { per_second: 5, burst: 50 };

/// What the handlers need.
pub(super) struct Admin {
    shared: Arc<Shared>,
    config: Arc<Config>,
    authority: Handle,
    reloads: mpsc::Sender<ReloadRequest>,
    operator: Option<OperatorToken>,
    callers: Mutex<Buckets>,
    strangers: Mutex<Buckets>,
    /// Calls refused for coming too often since the last one that left evidence.
    unnoted: AtomicU64,
    nonces: Mutex<Nonces>,
    document: Bytes,
}

impl Admin {
    /// An API that nobody has called.
    pub(super) fn new(
        shared: Arc<Shared>,
        config: Arc<Config>,
        authority: Handle,
        reloads: mpsc::Sender<ReloadRequest>,
        operator: Option<OperatorToken>,
    ) -> Self {
        Self {
            shared,
            config,
            authority,
            reloads,
            operator,
            callers: Mutex::new(Buckets::new(CALLERS)),
            strangers: Mutex::new(Buckets::new(STRANGERS)),
            unnoted: AtomicU64::new(0),
            nonces: Mutex::new(Nonces::new(now())),
            document: openapi::document(&routes()).to_string().into(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The table of routes.
fn routes() -> Vec<Route> {
    let chapters = [
        machine::routes(),
        grants::routes(),
        approvals::routes(),
        revocations::routes(),
        break_glass::routes(),
        callbacks::routes(),
        questions::routes(),
        erasures::routes(),
        recordings::routes(),
    ];
    chapters.into_iter().flatten().collect()
}

/// The router of the table.
pub(super) fn router(admin: &Arc<Admin>) -> Router {
    let mut router = Router::new();
    for route in routes() {
        let gate = Arc::new(Gate::new(admin.clone(), &route));
        router = router.route(route.path, route.handler.route_layer(from_fn_with_state(gate, gate::pass)));
    }
    router
        .method_not_allowed_fallback(|| async { problem::Problem::method_not_allowed() })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(admin.clone())
}

impl From<SubmitError> for problem::Problem {
    fn from(error: SubmitError) -> Self {
        use tidegate_policy::authority::RefusalKind as Kind;
        match error {
            SubmitError::Refused(refusal) => match refusal.kind {
                Kind::NotAllowed => Self::forbidden(refusal.sentence),
                Kind::OwnRequest => Self::own_request(refusal.sentence),
                Kind::NotFound => Self::not_found(refusal.sentence),
                Kind::NotPending | Kind::Expired | Kind::PolicyChanged | Kind::AlreadyAsked => {
                    Self::conflict(refusal.sentence)
                }
                Kind::TooLong => Self::unacceptable(refusal.sentence),
                Kind::TooMany => Self::too_many(refusal.sentence, 60),
                Kind::Malformed => Self::malformed(refusal.sentence),
            },
            SubmitError::Log(_) => Self::unavailable(error.to_string()),
            SubmitError::Stopping => Self::unavailable("the gateway is stopping"),
        }
    }
}

#[cfg(all(test, feature = "demo"))]
mod tests;
