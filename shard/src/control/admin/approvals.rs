//! Questions to approvers: listed, shown with their story, decided.
//!
//! Somebody sees what he asked, what he may decide or review, and what he decided; with a role that
//! sees all, everything.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tidegate_core::words::Timestamp;
use tidegate_policy::authority::{Approval, ApprovalId, Authority, Command, Filter, Question, Role};

use super::Admin;
use super::caller::Caller;
use super::extract::{Body, Named, Query, page_size};
use super::gate::Note;
use super::model::{About, ApprovalStatus, ApprovalView, Done, Page};
use super::problem::Problem;
use super::requests::{ListApprovals, Reason};
use super::route::Route;
use crate::control::{authority, now};

/// Who sees the questions of others.
const SEE_ALL: &[Role] = &[Role::Admin, Role::Auditor, Role::Approver];
/// Questions looked at in one step of a list.
const STEP: usize = 1000;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get::<Page<ApprovalView>>("/v1/approvals", "listApprovals", "Questions to approvers, the newest first")
            .query::<ListApprovals>()
            .handler(list),
        Route::get::<ApprovalView>("/v1/approvals/{approval}", "showApproval", "A question and its story so far")
            .refuses(&[404])
            .handler(show),
        Route::post::<ApprovalView>("/v1/approvals/{approval}/approve", "approve", "Decide for it")
            .body::<Reason>()
            .refuses(&[404, 409, 422])
            .handler(approve),
        Route::post::<ApprovalView>("/v1/approvals/{approval}/deny", "deny", "Decide against it")
            .body::<Reason>()
            .refuses(&[404, 409, 422])
            .handler(deny),
        Route::get::<Page<ApprovalView>>("/v1/holds", "listHolds", "Operations that wait for an approver")
            .query::<ListApprovals>()
            .handler(holds),
    ]
}

impl From<&authority::Done> for Done {
    fn from(done: &authority::Done) -> Self {
        Self { sequence: done.sequence, event: done.change.kind().to_owned(), remark: None }
    }
}

/// Whether `caller` may see a question.
fn may_see(admin: &Admin, state: &Authority, caller: &Caller, approval: &Approval, now: Timestamp) -> bool {
    if caller.has(SEE_ALL) || approval.asked_by().is(&caller.principal) {
        return true;
    }
    if approval.votes.iter().any(|vote| vote.actor.is(&caller.principal)) {
        return true;
    }
    // Deciding changes nothing before it is in the log, so asking whether one might is free.
    let (id, reason) = (approval.id.clone(), "may I?".to_owned());
    let command = match approval.question {
        Question::BreakGlass(_) => Command::Review { id, reason },
        Question::Grant(_) | Question::Operation(_) => Command::Deny { approval: id, reason },
    };
    state.decide(command, &caller.actor, &admin.shared.policy.load(), now).is_ok()
}

async fn list(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Query(query): Query<ListApprovals>,
) -> Result<Json<Page<ApprovalView>>, Problem> {
    admin.page(&caller, &query).map(Json)
}

async fn holds(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Query(query): Query<ListApprovals>,
) -> Result<Json<Page<ApprovalView>>, Problem> {
    let status = query.status.or(Some(ApprovalStatus::Pending));
    admin.page(&caller, &ListApprovals { about: Some(About::Operation), status, ..query }).map(Json)
}

impl Admin {
    /// A page of the questions that `caller` may see.
    pub(super) fn page(&self, caller: &Caller, query: &ListApprovals) -> Result<Page<ApprovalView>, Problem> {
        let size = page_size(query.limit)?;
        let mut before = match &query.after {
            Some(after) => Some(after.parse().map_err(|_| Problem::malformed("`after` is not the `next` of a page"))?),
            None => None,
        };
        let filter = Filter {
            status: query.status.map(ApprovalStatus::status),
            principal: query.principal.clone(),
            rule: query.rule.clone(),
            about: query.about.map(|about| about.name().to_owned()),
        };
        let (state, now) = (self.authority.read(), now());
        let mut page = Vec::new();
        loop {
            let step = state.list(&filter, before, STEP, now);
            before = step.last().map(|approval| approval.sequence);
            page.extend(step.iter().copied().filter(|approval| may_see(self, &state, caller, approval, now)));
            if page.len() > size || step.len() < STEP {
                break;
            }
        }
        let next = (page.len() > size).then(|| page.get(size - 1).map(|last| last.sequence.to_string())).flatten();
        page.truncate(size);
        Ok(Page { items: page.into_iter().map(|approval| ApprovalView::of(approval, now)).collect(), next })
    }

    /// A question that `caller` may see, as it stands.
    pub(super) fn seen(&self, caller: &Caller, id: &str) -> Result<ApprovalView, Problem> {
        let (state, now) = (self.authority.read(), now());
        let approval = state.approval(&ApprovalId::from(id));
        let approval = approval.filter(|approval| may_see(self, &state, caller, approval, now));
        let unknown = || Problem::not_found(format!("there is no approval {id}, or not for you"));
        approval.map(|approval| ApprovalView::of(approval, now)).ok_or_else(unknown)
    }

    /// A question as it stands, after something was done about it.
    pub(super) fn stands(&self, id: ApprovalId, status: StatusCode) -> Result<Response, Problem> {
        let state = self.authority.read();
        let view = state.approval(&id).map(|approval| ApprovalView::of(approval, now()));
        let view = view.ok_or_else(|| Problem::fault(format!("{id} is gone")))?;
        let mut response = (status, Json(view)).into_response();
        response.extensions_mut().insert(Note { approval: Some(id), ..Note::default() });
        Ok(response)
    }

    /// The answer to whoever asked a question.
    pub(super) fn asked(&self, id: ApprovalId) -> Result<Response, Problem> {
        self.stands(id, StatusCode::CREATED)
    }
}

async fn show(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Named(id): Named,
) -> Result<Json<ApprovalView>, Problem> {
    admin.seen(&caller, &id).map(Json)
}

async fn approve(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Named(id): Named,
    Body(ask): Body<Reason>,
) -> Result<Response, Problem> {
    let approval = ApprovalId::from(id.as_str());
    let command = Command::Approve { approval: approval.clone(), reason: ask.reason };
    admin.authority.submit(caller.actor, command).await?;
    admin.stands(approval, StatusCode::OK)
}

async fn deny(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Named(id): Named,
    Body(ask): Body<Reason>,
) -> Result<Response, Problem> {
    let approval = ApprovalId::from(id.as_str());
    let command = Command::Deny { approval: approval.clone(), reason: ask.reason };
    admin.authority.submit(caller.actor, command).await?;
    admin.stands(approval, StatusCode::OK)
}
