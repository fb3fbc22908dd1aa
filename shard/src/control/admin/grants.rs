//! Grants at run time: asked for, listed, extended, ended.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use tidegate_policy::authority::{Command, GrantId, GrantSpan, Role, RunGrant};

use super::Admin;
use super::caller::Caller;
use super::extract::{Body, Named, Query, moment, page_size};
use super::gate::Note;
use super::model::{ApprovalView, Done, GrantView, Page};
use super::problem::Problem;
use super::requests::{AskGrant, Extend, ListPage, Reason};
use super::route::Route;
use crate::config::values::Span;
use crate::control::authority::{draw_approval, draw_grant};
use crate::control::now;

/// Who sees the grants of others.
const SEE_ALL: &[Role] = &[Role::Admin, Role::Auditor, Role::Operator];

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get::<Page<GrantView>>("/v1/grants", "listGrants", "Run-time grants, the newest first")
            .query::<ListPage>()
            .handler(list),
        Route::post::<ApprovalView>("/v1/grants", "requestGrant", "Ask for a grant")
            .body::<AskGrant>()
            .created()
            .refuses(&[409, 422])
            .handler(request),
        Route::get::<GrantView>("/v1/grants/{grant}", "showGrant", "A run-time grant").refuses(&[404]).handler(show),
        Route::post::<ApprovalView>("/v1/grants/{grant}/extend", "extendGrant", "Ask for a grant to last longer")
            .body::<Extend>()
            .created()
            .refuses(&[404, 409, 422])
            .handler(extend),
        Route::post::<Done>("/v1/grants/{grant}/revoke", "revokeGrant", "End a grant now")
            .body::<Reason>()
            .refuses(&[404, 409])
            .handler(revoke),
    ]
}

fn may_see(caller: &Caller, grant: &RunGrant) -> bool {
    caller.has(SEE_ALL) || grant.principal.is(&caller.principal)
}

async fn list(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Query(query): Query<ListPage>,
) -> Result<Json<Page<GrantView>>, Problem> {
    let size = page_size(query.limit)?;
    let after = match &query.after {
        Some(after) => after.parse().map_err(|_| Problem::malformed("`after` is not the `next` of a page"))?,
        None => u64::MAX,
    };
    let (authority, now) = (admin.authority.read(), now());
    let wanted = |grant: &&RunGrant| {
        grant.sequence < after
            && query.principal.as_ref().is_none_or(|name| **name == *grant.principal.name)
            && may_see(&caller, grant)
    };
    let mut grants = authority.grants().into_iter().filter(wanted);
    let page: Vec<&RunGrant> = grants.by_ref().take(size).collect();
    let more = grants.next().is_some();
    let next = page.last().filter(|_| more).map(|grant| grant.sequence.to_string());
    Ok(Json(Page { items: page.into_iter().map(|grant| GrantView::of(grant, now)).collect(), next }))
}

async fn show(State(admin): State<Arc<Admin>>, caller: Caller, Named(id): Named) -> Result<Json<GrantView>, Problem> {
    let authority = admin.authority.read();
    let grant = authority.grant(&GrantId::from(id.as_str())).filter(|grant| may_see(&caller, grant));
    let grant = grant.ok_or_else(|| Problem::not_found(format!("there is no run-time grant {id}, or not for you")))?;
    Ok(Json(GrantView::of(grant, now())))
}

/// A duration such as `8h`, in milliseconds.
pub(super) fn millis(text: &str) -> Result<u64, Problem> {
    let span: Span = text.parse().map_err(|error: String| Problem::malformed(format!("`duration`: {error}")))?;
    u64::try_from(span.0.as_millis()).map_err(|_| Problem::malformed("`duration` is too long"))
}

fn span(duration: Option<&str>, from: Option<&str>, to: Option<&str>) -> Result<GrantSpan, Problem> {
    match (duration, from, to) {
        (Some(duration), None, None) => Ok(GrantSpan::Millis(millis(duration)?)),
        (None, from, Some(to)) => {
            let from = from.map_or_else(|| Ok(now()), |from| moment(from, "not_before"))?;
            Ok(GrantSpan::Between(from, moment(to, "not_after")?))
        }
        _ => Err(Problem::malformed("give either `duration`, or `not_after` with or without `not_before`")),
    }
}

async fn request(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Body(ask): Body<AskGrant>,
) -> Result<Response, Problem> {
    let span = span(ask.duration.as_deref(), ask.not_before.as_deref(), ask.not_after.as_deref())?;
    let (id, grant) = (draw_approval(), draw_grant());
    let AskGrant { rule, resources, operations, purpose, reason, .. } = ask;
    let command = Command::RequestGrant { id: id.clone(), grant, rule, resources, operations, span, purpose, reason };
    admin.authority.submit(caller.actor, command).await?;
    admin.asked(id)
}

async fn extend(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Named(grant): Named,
    Body(ask): Body<Extend>,
) -> Result<Response, Problem> {
    let span = span(ask.duration.as_deref(), None, ask.not_after.as_deref())?;
    let id = draw_approval();
    let grant = GrantId::from(grant.as_str());
    let command = Command::ExtendGrant { id: id.clone(), grant, span, reason: ask.reason };
    admin.authority.submit(caller.actor, command).await?;
    admin.asked(id)
}

async fn revoke(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Named(grant): Named,
    Body(ask): Body<Reason>,
) -> Result<Response, Problem> {
    let command = Command::RevokeGrant { grant: GrantId::from(grant.as_str()), reason: ask.reason };
    let approval = admin.authority.read().grant(&GrantId::from(grant.as_str())).map(|grant| grant.approval.clone());
    let done = admin.authority.submit(caller.actor, command).await?;
    let mut response = Json(Done::from(&done)).into_response();
    response.extensions_mut().insert(Note { approval, ..Note::default() });
    Ok(response)
}
