//! The document, who one is, and reloading.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tidegate_policy::authority::Role;
use tokio::sync::oneshot;

use super::Admin;
use super::caller::Caller;
use super::model::{Me, Person, Reloaded};
use super::problem::Problem;
use super::route::{Access, Route};

pub(super) fn routes() -> Vec<Route> {
    let document = "The OpenAPI document of this API";
    vec![
        Route::get::<serde_json::Value>("/openapi.json", "openapi", document).access(Access::Open).handler(openapi),
        Route::get::<serde_json::Value>("/v1/openapi.json", "openapiV1", document)
            .access(Access::Open)
            .handler(openapi),
        Route::get::<Me>("/v1/me", "whoAmI", "Who calls, as the gateway sees him").handler(me),
        Route::post::<Reloaded>("/v1/reload", "reload", "Read policy, certificates and secrets anew")
            .access(Access::Roles(&[Role::Admin, Role::Operator]))
            .handler(reload),
    ]
}

async fn openapi(State(admin): State<Arc<Admin>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], admin.document.clone()).into_response()
}

async fn me(caller: Caller) -> Json<Me> {
    Json(Me {
        person: Person::from(&caller.actor),
        groups: caller.principal.groups.iter().map(ToString::to_string).collect(),
        roles: caller.roles.iter().map(|role| role.name().to_owned()).collect(),
    })
}

async fn reload(State(admin): State<Arc<Admin>>) -> Result<Response, Problem> {
    let stopping = || Problem::unavailable("the gateway is stopping");
    let (reply, report) = oneshot::channel();
    admin.reloads.send(reply).await.map_err(|_| stopping())?;
    let report = report.await.map_err(|_| stopping())?;
    let problems = report.problems.iter().map(|problem| match problem.line {
        0 => format!("{}: {}", problem.file, problem.message),
        line => format!("{}:{line}:{}: {}: {}", problem.file, problem.column, problem.path, problem.message),
    });
    let body = Reloaded { ok: report.ok, policy_version: report.policy_version, problems: problems.collect() };
    Ok((StatusCode::OK, Json(body)).into_response())
}
