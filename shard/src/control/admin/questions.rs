//! Questions about people, which are asked of the evidence's files: put on record by whoever asks them.
//!
//! The gateway cannot see who reads files; this is how a reader says that he did. What was asked about is
//! given as keyed tags, so that the record does not spread what it protects.

use axum::Json;
use axum::response::{IntoResponse, Response};
use tidegate_policy::authority::Role;

use super::extract::Body;
use super::gate::Note;
use super::model::Recorded;
use super::problem::Problem;
use super::requests::Asked;
use super::route::{Access, Route};

/// Tags in one question.
const TAGS_MAX: usize = 16;
/// Bytes of each text.
const TEXT_BYTES_MAX: usize = 500;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post::<Recorded>("/v1/evidence/questions", "recordQuestion", "Put on record what was asked of evidence")
            .access(Access::Roles(&[Role::Admin, Role::Auditor, Role::Operator]))
            .body::<Asked>()
            .refuses(&[422])
            .handler(record),
    ]
}

async fn record(Body(asked): Body<Asked>) -> Result<Response, Problem> {
    let Asked { question, tags, entries, why } = asked;
    let is_tag = |tag: &String| tag.len() <= 100 && tag.bytes().all(|byte| byte.is_ascii_graphic());
    if tags.len() > TAGS_MAX || !tags.iter().all(is_tag) {
        return Err(Problem::unacceptable(format!("at most {TAGS_MAX} tags of visible ASCII are taken")));
    }
    if question.len() > 100
        || why.len() > TEXT_BYTES_MAX
        || [&question, &why].iter().any(|t| t.contains(char::is_control))
    {
        return Err(Problem::unacceptable(format!(
            "texts are at most {TEXT_BYTES_MAX} bytes, without control characters"
        )));
    }
    let why = if why.is_empty() { String::new() } else { format!("; why: {why}") };
    let detail = format!("asked: {question} [{}], {entries} entries{why}", tags.join(", "));
    let mut response = Json(Recorded { recorded: true }).into_response();
    response.extensions_mut().insert(Note { detail, ..Note::default() });
    Ok(response)
}
