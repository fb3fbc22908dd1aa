//! An end to sessions, tokens and principals. When the answer comes, no request is admitted after it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use tidegate_core::words::SessionId;
use tidegate_policy::authority::{Actor, Command, RefusalKind, Role};

use super::Admin;
use super::caller::Caller;
use super::extract::{Body, Named, Query, moment, page_size};
use super::model::{Done, Page, SessionView};
use super::problem::Problem;
use super::requests::{ListPage, Reason, RevokePrincipal, RevokeToken};
use super::route::{Access, Route};
use crate::control::authority::SubmitError;
use crate::control::now;
use crate::shared::LiveSession;

/// Who sees the sessions of others.
const SEE_ALL: &[Role] = &[Role::Admin, Role::Auditor, Role::Operator];
/// Who shuts principals out, and lets them in.
const PRINCIPALS: Access = Access::Roles(&[Role::Admin, Role::Operator]);
/// How long a token's revocation counts where nobody says when it ends: longer than any token should live.
const TOKEN_MILLIS: i64 = 30 * 24 * 3600 * 1000;
/// Said of a session whose credential cannot be told from others of its principal.
const COMES_BACK: &str = "the connection is closed, but what it logged in with has no id (`jti`, `sid`) and can be used \
                          again; revoke the principal to keep it out";

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get::<Page<SessionView>>("/v1/sessions", "listSessions", "Open sessions, the oldest first")
            .query::<ListPage>()
            .handler(list),
        Route::post::<Done>(
            "/v1/sessions/{session}/revoke",
            "revokeSession",
            "End a session now, and what it was opened with",
        )
        .body::<Reason>()
        .refuses(&[404, 409])
        .handler(revoke_session),
        Route::post::<Done>("/v1/tokens/revoke", "revokeToken", "Let a token count no longer")
            .body::<RevokeToken>()
            .refuses(&[409])
            .handler(revoke_token),
        Route::post::<Done>("/v1/principals/revoke", "revokePrincipal", "Shut a principal out")
            .body::<RevokePrincipal>()
            .access(PRINCIPALS)
            .refuses(&[409])
            .handler(revoke_principal),
        Route::post::<Done>("/v1/principals/restore", "restorePrincipal", "Let a principal in again")
            .body::<RevokePrincipal>()
            .access(PRINCIPALS)
            .refuses(&[404, 409])
            .handler(restore_principal),
    ]
}

async fn list(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Query(query): Query<ListPage>,
) -> Result<Json<Page<SessionView>>, Problem> {
    let size = page_size(query.limit)?;
    let after = match &query.after {
        Some(after) => {
            Some(session_id(after).ok_or_else(|| Problem::malformed("`after` is not the `next` of a page"))?)
        }
        None => None,
    };
    let all = admin.shared.sessions.list();
    let all_seen = caller.has(SEE_ALL);
    let mut wanted = all.iter().filter(|session| {
        after.is_none_or(|after| session.id > after)
            && query.principal.as_ref().is_none_or(|name| **name == *session.principal.name)
            && (all_seen || caller.actor.is(&session.principal))
    });
    let page: Vec<_> = wanted.by_ref().take(size).collect();
    let more = wanted.next().is_some();
    let next = page.last().filter(|_| more).map(|session| session.id.to_string());
    Ok(Json(Page { items: page.into_iter().map(|session| SessionView::from(&**session)).collect(), next }))
}

fn session_id(text: &str) -> Option<SessionId> {
    uuid::Uuid::try_parse(text).ok().map(SessionId)
}

async fn revoke_session(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Named(session): Named,
    Body(ask): Body<Reason>,
) -> Result<Json<Done>, Problem> {
    // A session that is not open may be one of a token that has not been used yet: its id may be any.
    let open = session_id(&session).and_then(|id| admin.shared.sessions.get(id));
    let holder = match &open {
        Some(open) => Some(Actor::from(&*open.principal)),
        // Whoever calls with a token of a login may end that very one.
        None => (caller.login.as_deref() == Some(&*session.to_lowercase())).then(|| caller.actor.clone()),
    };
    let comes_back = open.as_ref().is_some_and(|open| open.token_id.is_none() && open.login.is_none());
    // The connection alone would be made anew within the second, with the same token.
    if let Some(command) = open.and_then(|open| credential(&open, &ask.reason)) {
        match admin.authority.submit(caller.actor.clone(), command).await {
            Err(SubmitError::Refused(refusal)) if refusal.kind == RefusalKind::NotPending => {}
            done => drop(done?),
        }
    }
    let command = Command::RevokeSession { session, reason: ask.reason, holder };
    let Json(done) = admin.do_it(caller, command).await?;
    let remark = comes_back.then(|| COMES_BACK.to_owned());
    Ok(Json(Done { remark, ..done }))
}

/// What revokes that with which a session was opened: the login that its token is part of, or the token.
fn credential(open: &LiveSession, reason: &str) -> Option<Command> {
    let (reason, holder) = (reason.to_owned(), Some(Actor::from(&*open.principal)));
    if let Some(login) = &open.login {
        return Some(Command::RevokeSession { session: login.to_string(), reason, holder });
    }
    let token_id = open.token_id.as_ref()?.to_string();
    Some(Command::RevokeToken { token_id, until: now().plus_millis(TOKEN_MILLIS), reason, holder })
}

async fn revoke_token(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Body(ask): Body<RevokeToken>,
) -> Result<Json<Done>, Problem> {
    let until = ask.until.as_deref().map(|until| moment(until, "until")).transpose()?;
    // Whoever calls with a token may end that very one.
    let own = caller.token_id.as_deref() == Some(&ask.token_id);
    let command = Command::RevokeToken {
        token_id: ask.token_id,
        until: until.unwrap_or_else(|| now().plus_millis(TOKEN_MILLIS)),
        reason: ask.reason,
        holder: own.then(|| caller.actor.clone()),
    };
    admin.do_it(caller, command).await
}

async fn revoke_principal(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Body(ask): Body<RevokePrincipal>,
) -> Result<Json<Done>, Problem> {
    let until = ask.until.as_deref().map(|until| moment(until, "until")).transpose()?;
    let (issuer, name) = (ask.issuer.map(Arc::from), Arc::from(ask.name));
    admin.do_it(caller, Command::RevokePrincipal { issuer, name, until, reason: ask.reason }).await
}

async fn restore_principal(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Body(ask): Body<RevokePrincipal>,
) -> Result<Json<Done>, Problem> {
    if ask.until.is_some() {
        return Err(Problem::malformed("`until` has no meaning when restoring"));
    }
    let (issuer, name) = (ask.issuer.map(Arc::from), Arc::from(ask.name));
    admin.do_it(caller, Command::RestorePrincipal { issuer, name, reason: ask.reason }).await
}

impl Admin {
    async fn do_it(&self, caller: Caller, command: Command) -> Result<Json<Done>, Problem> {
        let done = self.authority.submit(caller.actor, command).await?;
        Ok(Json(Done::from(&done)))
    }
}
