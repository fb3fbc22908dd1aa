//! The control address: `/livez`, `/readyz`, `/metrics`, `/version`, and `POST /reload` for the machine
//! itself. Everything that needs to know who asks is in `admin`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot};

use super::listen::Peer;
use super::reload::ReloadRequest;
use crate::shared::Shared;

/// What the handlers need.
pub(super) struct App {
    /// What readiness and version are read from.
    pub shared: Arc<Shared>,
    /// What `/metrics` encodes.
    pub registry: Registry,
    /// Whether nothing is served while evidence cannot be written.
    pub refuses: bool,
    /// Where reloads are asked for.
    pub reloads: mpsc::Sender<ReloadRequest>,
}

/// The routes.
pub(super) fn router(app: App) -> Router {
    Router::new()
        .route("/livez", get(|| async { "live\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/version", get(version))
        .route("/reload", post(reload))
        .with_state(Arc::new(app))
}

/// 200 where clients are welcome, else 503 and why, a line each.
async fn ready(State(app): State<Arc<App>>) -> Response {
    let mut missing = app.shared.readiness.missing();
    if app.shared.is_draining() {
        missing.insert(0, "draining".to_owned());
    }
    if app.refuses && app.shared.shards.iter().any(|metrics| metrics.evidence_failing.get() > 0) {
        missing.push("evidence cannot be written".to_owned());
    }
    if missing.is_empty() {
        return (StatusCode::OK, "ready\n").into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, missing.join("\n") + "\n").into_response()
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &app.registry) {
        Ok(()) => {
            let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, content_type)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn version(State(app): State<Arc<App>>) -> Response {
    axum::Json(serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "policy_version": app.shared.policy.load().version(),
        "shards": app.shared.shards.len(),
    }))
    .into_response()
}

/// Reloads everything: 200 and the report, 422 where something was refused.
///
/// Only from the loopback, as SIGHUP is: others use `POST /v1/reload`, which asks who they are.
async fn reload(ConnectInfo(peer): ConnectInfo<Peer>, State(app): State<Arc<App>>) -> Response {
    if !peer.0.ip().is_loopback() {
        return (StatusCode::FORBIDDEN, "only from this machine; see POST /v1/reload\n").into_response();
    }
    let (reply, report) = oneshot::channel();
    if app.reloads.send(reply).await.is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    match report.await {
        Ok(report) => {
            let status = if report.ok { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
            (status, axum::Json(report)).into_response()
        }
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response(),
    }
}
