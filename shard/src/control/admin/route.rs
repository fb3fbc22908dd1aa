//! The table of routes: what the router serves and what the OpenAPI document says are made of the
//! same rows, so that neither can have what the other lacks.

use std::sync::Arc;

use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use tidegate_policy::authority::Role;

use super::Admin;

/// Gives the schema of a type.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Everybody, unknown: the OpenAPI document.
    Open,
    /// Whoever a token vouches for. What is shown or done is his own, or what rules and roles let him.
    Authenticated,
    /// Whoever has one of these roles.
    Roles(&'static [Role]),
    /// Whoever signed the message with a callback's secret; checked by the handler.
    Signed,
}

/// One route.
pub(super) struct Route {
    pub method: Method,
    pub path: &'static str,
    /// The operation's id in the document, and its name in evidence.
    pub id: &'static str,
    /// What it is about, for the document's chapters.
    pub tag: &'static str,
    pub summary: &'static str,
    pub access: Access,
    pub query: Option<SchemaOf>,
    pub body: Option<SchemaOf>,
    /// The status of success and what comes with it.
    pub answer: (u16, SchemaOf),
    /// Refusals beside those that every route has.
    pub refusals: &'static [u16],
    pub handler: MethodRouter<Arc<Admin>>,
}

/// Refusals that every authenticated route has: malformed, unauthenticated, forbidden, too many, not now.
pub(super) const REFUSALS: [u16; 5] = [400, 401, 403, 429, 503];

impl Route {
    /// A route for whoever is authenticated, that answers 200 with an `A`.
    pub(super) fn get<A: JsonSchema>(path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self::new::<A>(Method::GET, path, id, summary)
    }

    /// The same by POST.
    pub(super) fn post<A: JsonSchema>(path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self::new::<A>(Method::POST, path, id, summary)
    }

    fn new<A: JsonSchema>(method: Method, path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self {
            method,
            path,
            id,
            tag: path.split('/').nth(2).unwrap_or("document"),
            summary,
            access: Access::Authenticated,
            query: None,
            body: None,
            answer: (200, schema_of::<A>),
            refusals: &[],
            handler: MethodRouter::new(),
        }
    }

    /// With parameters in the query.
    pub(super) fn query<Q: JsonSchema>(self) -> Self {
        Self { query: Some(schema_of::<Q>), ..self }
    }

    /// With a JSON body.
    pub(super) fn body<B: JsonSchema>(self) -> Self {
        Self { body: Some(schema_of::<B>), ..self }
    }

    /// For these only.
    pub(super) fn access(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// With another status of success.
    pub(super) fn created(self) -> Self {
        Self { answer: (201, self.answer.1), ..self }
    }

    /// With refusals of its own.
    pub(super) fn refuses(self, refusals: &'static [u16]) -> Self {
        Self { refusals, ..self }
    }

    /// What answers.
    pub(super) fn handler<T: 'static>(self, handler: impl Handler<T, Arc<Admin>>) -> Self {
        let filter = if self.method == Method::GET { MethodFilter::GET } else { MethodFilter::POST };
        Self { handler: on(filter, handler), ..self }
    }

    /// Every status that may come.
    pub(super) fn statuses(&self) -> Vec<u16> {
        let mut statuses = vec![self.answer.0];
        match self.access {
            Access::Open => {}
            Access::Signed | Access::Authenticated | Access::Roles(_) => statuses.extend(REFUSALS),
        }
        if self.body.is_some() {
            statuses.extend([413, 415]);
        }
        statuses.extend(self.refusals);
        statuses.sort_unstable();
        statuses.dedup();
        statuses
    }
}

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}
