//! One request under authorisation: what may be asked, and the ways it may end.
//!
//! Every API's function takes a [`Call`], decodes, asks policy, and ends in one of:
//! [`Call::pass`] (the very bytes go), [`Call::ask`] (fewer items go), [`Call::answer`] (nothing
//! goes), or, where items are refused one by one, [`Call::settle`], which picks among these.
//!
//! A response is shown to an *edit*: a closure that puts the refusals in, filters and rewrites. The
//! same edit makes the gateway's own answer out of an empty response, so both cannot differ.

use std::marker::PhantomData;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::Encodable;
use tidegate_core::decode::{self, Body, decode_request, decode_response};
use tidegate_core::words::{Operation, Resource};

use super::super::addresses::NoAddress;
use super::super::stage::{Draft, Progress, Request, Respond, Scope, StageError, Verdict};
use super::outcome::{Answer, note_upstream_errors};

/// Largest request body that is decoded here, in bytes; over it the connection is closed. These
/// requests carry names and numbers, no records: the largest in use, the assignment of a group of
/// thousands of members, stays below it.
pub(super) const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What an API's function yields.
pub(super) type Outcome = Result<Verdict, StageError>;

/// Whether an edit changed the response; `Unfit` where the response must not be passed on.
pub(super) type Edited = Result<bool, Unfit>;

/// Why a response must not be passed on.
pub(super) struct Unfit(pub(super) String);

impl From<NoAddress> for Unfit {
    fn from(error: NoAddress) -> Self {
        Self(error.to_string())
    }
}

/// How much of a request is left when what was refused is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// Nothing was refused.
    Everything,
    /// Some was refused, some is left.
    Something,
    /// All was refused.
    Nothing,
}

impl Left {
    /// From whether anything was refused, and whether anything is left.
    pub(super) const fn of(anything_refused: bool, anything_left: bool) -> Self {
        match (anything_refused, anything_left) {
            (false, _) => Self::Everything,
            (true, true) => Self::Something,
            (true, false) => Self::Nothing,
        }
    }
}

/// One request, with all that its API's function may consult and tell.
pub(super) struct Call<'c, 's> {
    request: &'c Request,
    pub(super) scope: &'c mut Scope<'s>,
    pub(super) draft: &'c mut Draft,
}

impl<'c, 's> Call<'c, 's> {
    pub(super) fn new(request: &'c Request, scope: &'c mut Scope<'s>, draft: &'c mut Draft) -> Self {
        Self { request, scope, draft }
    }

    /// The version that the client speaks.
    pub(super) fn version(&self) -> i16 {
        self.request.version()
    }

    /// The request's body, whole.
    pub(super) fn decode<Q: Body>(&self) -> Result<Q, StageError> {
        decode_request(&self.request.body(), self.version(), BODY_BYTES_MAX).map_err(|error| self.malformed(error))
    }

    /// The error for a request that cannot be understood.
    pub(super) fn malformed(&self, reason: impl ToString) -> StageError {
        StageError::Request { api: self.request.api(), version: self.version(), reason: reason.to_string() }
    }

    /// Asks policy; the answer goes into the evidence.
    pub(super) fn may(&mut self, operation: Operation, resource: Resource<'_>) -> bool {
        self.scope.authorise(operation, resource, self.draft)
    }

    /// As [`Call::may`]; a denial leaves no entry, since another right may do instead.
    pub(super) fn may_quietly(&mut self, operation: Operation, resource: Resource<'_>) -> bool {
        let decision = self.scope.view.authorise(operation, resource, self.scope.now);
        decision.allowed && self.draft.decided(operation, resource, &decision)
    }

    /// `error` where policy denies.
    pub(super) fn refusal(
        &mut self,
        operation: Operation,
        resource: Resource<'_>,
        error: ResponseError,
    ) -> Option<ResponseError> {
        (!self.may(operation, resource)).then_some(error)
    }

    /// The gateway answers.
    pub(super) fn answer<R: Encodable>(&self, response: &R) -> Outcome {
        decode::encode(response, self.version()).map(Verdict::Answer).map_err(|error| self.malformed(error))
    }

    /// The very bytes go, and the very response comes back; its errors are noted.
    pub(super) fn pass<R: Answer>(&self) -> Outcome {
        self.pass_then(|_: &mut R, _, _| Ok(false))
    }

    /// The very bytes go; the response is edited.
    pub(super) fn pass_then<R: Answer, E>(&self, edit: E) -> Outcome
    where
        E: FnOnce(&mut R, &mut Scope<'_>, &mut Draft) -> Edited + 'static,
    {
        Ok(Verdict::ForwardThen(self.then(self.version(), edit)))
    }

    /// Another body goes, in the client's version; the response is edited.
    pub(super) fn ask<Q: Encodable, R: Answer, E>(&self, request: &Q, edit: E) -> Outcome
    where
        E: FnOnce(&mut R, &mut Scope<'_>, &mut Draft) -> Edited + 'static,
    {
        self.ask_in(self.version(), request, edit)
    }

    /// Another body goes, in another version; the edit must make the response fit the client's.
    pub(super) fn ask_in<Q: Encodable, R: Answer, E>(&self, version: i16, request: &Q, edit: E) -> Outcome
    where
        E: FnOnce(&mut R, &mut Scope<'_>, &mut Draft) -> Edited + 'static,
    {
        let body = decode::encode(request, version).map_err(|error| self.malformed(error))?;
        Ok(Verdict::Rewrite { version, body, respond: self.then(version, edit) })
    }

    /// Ends a request whose items were allowed or refused one by one: `request` holds what is left,
    /// and `edit` puts the refusals into the response.
    pub(super) fn settle<Q: Encodable, R: Answer, E>(self, left: Left, request: &Q, edit: E) -> Outcome
    where
        E: FnOnce(&mut R, &mut Scope<'_>, &mut Draft) -> Edited + 'static,
    {
        match left {
            Left::Everything => self.pass_then(edit),
            Left::Something => self.ask(request, edit),
            Left::Nothing => {
                let mut response = R::default();
                edit(&mut response, self.scope, self.draft).map_err(|Unfit(reason)| self.malformed(reason))?;
                self.answer(&response)
            }
        }
    }

    /// Ends a request that is allowed or refused as a whole.
    pub(super) fn decide<R: Answer>(
        &self,
        refusal: Option<ResponseError>,
        refused: impl FnOnce(ResponseError) -> R,
    ) -> Outcome {
        match refusal {
            Some(error) => self.answer(&refused(error)),
            None => self.pass::<R>(),
        }
    }

    fn then<R: Answer, E>(&self, asked_in: i16, edit: E) -> Box<dyn Respond>
    where
        E: FnOnce(&mut R, &mut Scope<'_>, &mut Draft) -> Edited + 'static,
    {
        let (api, version) = (self.request.api(), self.version());
        Box::new(Then { api, version, asked_in, edit, response: PhantomData })
    }
}

/// Decodes a response, notes its errors, edits it, and encodes it where that changed anything.
struct Then<R, E> {
    api: ApiKey,
    version: i16,
    asked_in: i16,
    edit: E,
    response: PhantomData<fn() -> R>,
}

impl<R: Answer, E> Respond for Then<R, E>
where
    E: FnOnce(&mut R, &mut Scope<'_>, &mut Draft) -> Edited,
{
    fn respond(self: Box<Self>, body: Bytes, scope: &mut Scope<'_>, draft: &mut Draft) -> Result<Progress, StageError> {
        let Self { api, version, asked_in, edit, .. } = *self;
        let unfit = |version, reason: &dyn ToString| StageError::Response { api, version, reason: reason.to_string() };
        let mut response: R = decode_response(&body, asked_in).map_err(|error| unfit(asked_in, &error))?;
        note_upstream_errors(&response, draft);
        let changed = edit(&mut response, scope, draft).map_err(|Unfit(reason)| unfit(asked_in, &reason))?;
        if !changed && asked_in == version {
            return Ok(Progress::Done(None));
        }
        decode::encode(&response, version)
            .map(|body| Progress::Done(Some(body)))
            .map_err(|error| unfit(version, &error))
    }
}
