//! Break-glass: opened by whoever a rule names, without asking; told to everybody; reviewed by another.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use tidegate_policy::authority::{ApprovalId, Command};

use super::Admin;
use super::caller::Caller;
use super::extract::{Body, Named, Query};
use super::grants::millis;
use super::model::{About, ApprovalView, Page};
use super::problem::Problem;
use super::requests::{ListApprovals, OpenBreakGlass, Reason};
use super::route::Route;
use crate::control::authority::{draw_approval, draw_grant};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get::<Page<ApprovalView>>("/v1/break-glass", "listBreakGlass", "What was opened in emergencies")
            .query::<ListApprovals>()
            .handler(list),
        Route::post::<ApprovalView>("/v1/break-glass", "openBreakGlass", "Open something in an emergency")
            .body::<OpenBreakGlass>()
            .created()
            .refuses(&[422])
            .handler(open),
        Route::post::<ApprovalView>("/v1/break-glass/{approval}/review", "reviewBreakGlass", "Say what a review found")
            .body::<Reason>()
            .refuses(&[404, 409])
            .handler(review),
    ]
}

async fn list(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Query(query): Query<ListApprovals>,
) -> Result<Json<Page<ApprovalView>>, Problem> {
    admin.page(&caller, &ListApprovals { about: Some(About::BreakGlass), ..query }).map(Json)
}

async fn open(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Body(ask): Body<OpenBreakGlass>,
) -> Result<Response, Problem> {
    let millis = ask.duration.as_deref().map(millis).transpose()?;
    let (id, grant) = (draw_approval(), draw_grant());
    let command = Command::BreakGlass { id: id.clone(), grant, rule: ask.rule, millis, reason: ask.reason };
    admin.authority.submit(caller.actor, command).await?;
    admin.asked(id)
}

async fn review(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Named(id): Named,
    Body(ask): Body<Reason>,
) -> Result<Response, Problem> {
    let id = ApprovalId::from(id.as_str());
    admin.authority.submit(caller.actor, Command::Review { id: id.clone(), reason: ask.reason }).await?;
    admin.stands(id, StatusCode::OK)
}
