//! Decisions by programs: a signed message counts as the decision of the one approver that the
//! configuration names for it. What `signature` says holds; the rest is the policy's, as for people.

use std::sync::Arc;

use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use tidegate_policy::authority::{Actor, ApprovalId, Command};

use super::extract::{Named, bytes, is_json, json};
use super::gate::Note;
use super::model::{ApprovalView, DecisionWord};
use super::problem::Problem;
use super::requests::CallbackBody;
use super::route::{Access, Route};
use super::{Admin, lock};
use crate::control::now;
use crate::control::signature::{NONCE, Purpose, SIGNATURE, Secret, TIMESTAMP, is_nonce};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post::<ApprovalView>("/v1/callbacks/{name}", "callback", "A program decides, by a signed message")
            .body::<CallbackBody>()
            .access(Access::Signed)
            .refuses(&[404, 409, 422])
            .handler(callback),
    ]
}

/// A header that must be there once.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, Problem> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().and_then(|value| value.to_str().ok());
    match (value, values.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(Problem::unauthenticated(format!("a callback has the header `{name}` exactly once"))),
    }
}

async fn callback(State(admin): State<Arc<Admin>>, request: Request) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let Named(name) = Named::from_request_parts(&mut parts, &admin).await?;
    if !is_json(&parts.headers) {
        return Err(Problem::media_type());
    }
    let headers = parts.headers.clone();
    let body = bytes(Request::from_parts(parts, body), &admin).await?;
    // One sentence for every failed signature: whether a name is configured is nobody's affair.
    let refused = || Problem::unauthenticated("the callback is not known, or its signature is wrong");
    let (seconds, nonce, signature) = (one(&headers, TIMESTAMP)?, one(&headers, NONCE)?, one(&headers, SIGNATURE)?);
    let seconds: i64 = seconds.parse().map_err(|_| refused())?;
    let callback = admin.config.control.callbacks.iter().find(|callback| *callback.name == *name);
    let callback = callback.filter(|_| is_nonce(nonce)).ok_or_else(refused)?;
    let secret = Secret::read(&callback.secret_file).map_err(|error| {
        tracing::error!(callback = %callback.name, "a callback cannot be verified: {error}");
        Problem::unavailable("the callback's secret cannot be read; the gateway's log says why")
    })?;
    if !secret.verifies(Purpose::Callback(&callback.name), seconds, nonce, &body, signature) {
        return Err(refused());
    }
    let taken = lock(&admin.nonces).take(&callback.name, nonce, seconds, now());
    taken.map_err(|stale| Problem::unauthenticated(format!("the callback counts no longer: {stale}")))?;

    let ask: CallbackBody = json(&body)?;
    let actor = Actor::from(&callback.approver);
    let approval = ApprovalId::from(ask.approval.as_str());
    let command = match ask.decision {
        DecisionWord::Approve => Command::Approve { approval: approval.clone(), reason: ask.reason },
        DecisionWord::Deny => Command::Deny { approval: approval.clone(), reason: ask.reason },
    };
    let done = match admin.shared.policy.load().standing().principal_revoked(&callback.approver) {
        Some(reason) => Err(Problem::forbidden(format!("{} is revoked: {reason}", actor.name))),
        None => admin.authority.submit(actor.clone(), command).await.map_err(Problem::from),
    };
    let answer = done.and_then(|_| admin.stands(approval.clone(), StatusCode::OK));
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    response.extensions_mut().insert(Note { actor: Some(actor), approval: Some(approval), ..Note::default() });
    Ok(response)
}
