//! Looks at recordings, which lie in files: put on record by whoever looks, before he does.
//!
//! The gateway cannot see who reads files; `tidegate session show` and `replay` show nothing before this answers.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use tidegate_core::event::{Event, Kind, Outcome, RecordingAct, RecordingNote};
use tidegate_policy::authority::Role;

use super::Admin;
use super::caller::Caller;
use super::extract::Body;
use super::gate::Note;
use super::model::Recorded;
use super::problem::Problem;
use super::requests::WatchedRecording;
use super::route::{Access, Route};
use crate::control::now;

/// Bytes of how it was watched, and of why.
const TEXT_BYTES_MAX: usize = 500;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post::<Recorded>("/v1/recordings/watched", "recordWatch", "Put on record that a recording is watched")
            .access(Access::Roles(&[Role::Auditor]))
            .body::<WatchedRecording>()
            .refuses(&[422])
            .handler(record),
    ]
}

async fn record(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Body(watched): Body<WatchedRecording>,
) -> Result<Response, Problem> {
    let WatchedRecording { session, part, how, why } = watched;
    let Ok(session) = uuid::Uuid::try_parse(&session) else {
        return Err(Problem::unacceptable("`session` is no session's id"));
    };
    if how.is_empty() || [&how, &why].iter().any(|text| text.len() > TEXT_BYTES_MAX || text.contains(char::is_control))
    {
        return Err(Problem::unacceptable(format!(
            "texts are at most {TEXT_BYTES_MAX} bytes, without control characters"
        )));
    }
    let why = if why.is_empty() { String::new() } else { format!("; why: {why}") };
    let detail = format!("{how}{why}");
    let note = RecordingNote { act: RecordingAct::Watched as i32, part, ..RecordingNote::default() };
    admin.shared.notices.put(Event {
        time_micros: now().0,
        kind: Kind::Recording as i32,
        session: session.to_string(),
        principal: caller.actor.name.to_string(),
        issuer: caller.actor.issuer.to_string(),
        subject: caller.actor.subject.to_string(),
        groups: caller.actor.groups.iter().map(ToString::to_string).collect(),
        outcome: Outcome::Allowed as i32,
        policy_version: admin.shared.policy.load().version(),
        detail: detail.clone(),
        broker: -1,
        recording: Some(Box::new(note)),
        ..Event::default()
    });
    let mut response = Json(Recorded { recorded: true }).into_response();
    response
        .extensions_mut()
        .insert(Note { detail: format!("recording {session}-{part:03} {detail}"), ..Note::default() });
    Ok(response)
}
