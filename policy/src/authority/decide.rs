//! From a command to an event, by the policy in force, or to a refusal. Nothing changes by it: the event takes
//! effect when it is in the log.

use tidegate_core::words::{Operation, Timestamp};

use super::Authority;
use super::approval::{Approval, Question, Status};
use super::command::{Command, Refusal, RefusalKind as Kind};
use super::event::{
    Actor, ApprovalId, BreakGlass, Change, DecidedBy, Decision, GrantId, GrantRequest, GrantSpan, HeldOperation,
    PublishedKey,
};
use super::grant::RunGrant;
use super::rules::{Approvers, RequestRule, Role};
use crate::document::text::{Duration, Moment};
use crate::file::{OperationRule, ResourceRule};
use crate::grant::Operations;
use crate::snapshot::{self, Snapshot};

/// The longest sentence that anybody may write into the log, in characters.
const SENTENCE_CHARS_MAX: usize = 2000;
/// The most resources that one request or held operation names.
const RESOURCES_MAX: usize = 1000;
/// How long before its first use a key of the token issuer is published, in milliseconds.
const KEY_NOTICE_MILLIS: i64 = 3600 * 1000;

impl Authority {
    /// What a command changes, if the policy and what happened before let it.
    ///
    /// # Errors
    /// [`Refusal`], with a sentence for whoever asked.
    pub fn decide(
        &self,
        command: Command,
        actor: &Actor,
        policy: &Snapshot,
        now: Timestamp,
    ) -> Result<Change, Refusal> {
        let asking = Asking { authority: self, actor, policy, now: now.max(self.time) };
        match command {
            Command::RequestGrant { id, grant, rule, resources, operations, span, purpose, reason } => {
                let request = Wanted { id, grant, rule, resources, operations, span, purpose, reason };
                asking.request(request)
            }
            Command::ExtendGrant { id, grant, span, reason } => asking.extend(id, grant, span, reason),
            Command::Hold(held) => asking.hold(held),
            Command::Approve { approval, reason } => asking.decide(approval, Decision::Approve, reason),
            Command::Deny { approval, reason } => asking.decide(approval, Decision::Deny, reason),
            Command::DecideAutomatically { approval, decision, reason } => {
                asking.decide_automatically(approval, decision, reason)
            }
            Command::Use { approval, session } => asking.use_up(approval, session),
            Command::RevokeGrant { grant, reason } => asking.revoke_grant(grant, reason),
            Command::RevokeSession { session, reason, holder } => {
                asking.may_revoke(holder.as_ref())?;
                asking.room_for_revocation(self.sessions.len())?;
                id_text(&session, "session")?;
                sentence(&reason, "reason")?;
                if self.sessions.contains_key(session.to_lowercase().as_str()) {
                    return Err(Refusal::new(Kind::NotPending, format!("session {session} is revoked already")));
                }
                Ok(Change::SessionRevoked { session, reason })
            }
            Command::RevokeToken { token_id, until, reason, holder } => {
                asking.may_revoke(holder.as_ref())?;
                asking.room_for_revocation(self.tokens.len())?;
                id_text(&token_id, "token id")?;
                sentence(&reason, "reason")?;
                if until <= asking.now {
                    return Err(Refusal::new(Kind::Expired, "the token has ended by itself"));
                }
                if self.tokens.get(token_id.as_str()).is_some_and(|before| before.until >= until) {
                    return Err(Refusal::new(Kind::NotPending, "the token is revoked already"));
                }
                Ok(Change::TokenRevoked { token_id, until, reason })
            }
            Command::RevokePrincipal { issuer, name, until, reason } => {
                asking.may_revoke(None)?;
                asking.room_for_revocation(self.principals.len())?;
                id_text(&name, "principal")?;
                sentence(&reason, "reason")?;
                if until.is_some_and(|until| until <= asking.now) {
                    return Err(Refusal::new(Kind::Malformed, "the revocation would end before it begins"));
                }
                Ok(Change::PrincipalRevoked { issuer, name, until, reason })
            }
            Command::RestorePrincipal { issuer, name, reason } => {
                asking.may_revoke(None)?;
                sentence(&reason, "reason")?;
                if actor.name.to_lowercase() == name.to_lowercase() {
                    return Err(Refusal::new(Kind::OwnRequest, "nobody lets himself in again"));
                }
                if !self.principals.contains_key(&(name.clone(), issuer.clone())) {
                    return Err(Refusal::new(Kind::NotFound, format!("{name} is not revoked in this way")));
                }
                Ok(Change::PrincipalRestored { issuer, name, reason })
            }
            Command::BreakGlass { id, grant, rule, millis, reason } => {
                asking.break_glass(id, grant, rule.as_deref(), millis, reason)
            }
            Command::Review { id, reason } => asking.review(id, reason),
            Command::PublishKey(key) => asking.publish_key(key),
            Command::RetireKey { kid } => {
                asking.must_be_gateway_or(&[Role::Admin])?;
                if !self.keys.contains_key(&kid) {
                    return Err(Refusal::new(Kind::NotFound, format!("there is no key {kid}")));
                }
                Ok(Change::KeyRetired { kid })
            }
        }
    }
}

/// What is wanted of a new grant.
struct Wanted {
    id: ApprovalId,
    grant: GrantId,
    rule: Option<String>,
    resources: Vec<ResourceRule>,
    operations: Vec<OperationRule>,
    span: GrantSpan,
    purpose: String,
    reason: String,
}

/// Who wants something, when, and by which policy.
struct Asking<'a> {
    authority: &'a Authority,
    actor: &'a Actor,
    policy: &'a Snapshot,
    now: Timestamp,
}

impl Asking<'_> {
    fn request(&self, wanted: Wanted) -> Result<Change, Refusal> {
        let Wanted { id, grant, rule, resources, operations, span, purpose, reason } = wanted;
        sentence(&purpose, "purpose")?;
        sentence(&reason, "reason")?;
        self.new_approval(&id)?;
        self.new_grant(&grant)?;
        if resources.len() > RESOURCES_MAX || operations.len() > RESOURCES_MAX {
            return Err(Refusal::new(Kind::TooMany, format!("a request names {RESOURCES_MAX} resources at most")));
        }
        snapshot::check_request(&purpose, &resources, &operations)
            .map_err(|problem| Refusal::new(Kind::Malformed, problem))?;
        let rule = self.request_rule(rule.as_deref(), &resources, &operations)?;
        self.fits(span, rule)?;
        self.room()?;
        self.room_for_grant()?;
        Ok(Change::GrantRequested(GrantRequest {
            id,
            grant,
            extends: false,
            principal: self.actor.clone(),
            rule: rule.name.to_string(),
            resources,
            operations,
            span,
            purpose,
            reason,
            expires: plus(self.now, rule.pending_millis),
        }))
    }

    fn extend(&self, id: ApprovalId, grant: GrantId, span: GrantSpan, reason: String) -> Result<Change, Refusal> {
        sentence(&reason, "reason")?;
        self.new_approval(&id)?;
        let extended = self.live_grant(&grant)?;
        if !extended.principal.is(&self.actor.principal()) {
            return Err(Refusal::new(Kind::NotAllowed, format!("{grant} is the grant of another")));
        }
        if extended.break_glass {
            return Err(Refusal::new(Kind::NotAllowed, "what was opened in an emergency cannot be extended"));
        }
        let rule = self.request_rule(Some(&extended.rule), &extended.resources, &extended.operations)?;
        self.fits(span, rule)?;
        if span.window(self.now).1 <= extended.not_after {
            let until = Moment(extended.not_after);
            return Err(Refusal::new(Kind::Malformed, format!("{grant} lasts until {until} as it is")));
        }
        self.room()?;
        Ok(Change::GrantRequested(GrantRequest {
            id,
            grant,
            extends: true,
            principal: self.actor.clone(),
            rule: rule.name.to_string(),
            resources: extended.resources.clone(),
            operations: extended.operations.clone(),
            span,
            purpose: extended.purpose.clone(),
            reason,
            expires: plus(self.now, rule.pending_millis),
        }))
    }

    fn hold(&self, mut held: HeldOperation) -> Result<Change, Refusal> {
        self.new_approval(&held.id)?;
        if !self.actor.is(&held.principal.principal()) {
            return Err(Refusal::new(Kind::NotAllowed, "an operation waits in its own principal's name"));
        }
        self.same_policy(&held.policy_fingerprint)?;
        let rule = self.policy.rules().holds.iter().find(|rule| *rule.name == *held.rule);
        let Some(rule) = rule.filter(|rule| rule.holds_for(&self.actor.principal())) else {
            return Err(Refusal::new(Kind::NotFound, format!("no rule {} holds this operation", held.rule)));
        };
        if held.resources.len() > RESOURCES_MAX || held.summary.chars().count() > SENTENCE_CHARS_MAX {
            return Err(Refusal::new(Kind::TooMany, "the operation is too large to be asked about"));
        }
        let before = self.authority.by_key.get(&held.key).and_then(|id| self.authority.approval(id));
        if let Some(before) = before
            && let Question::Operation(other) = &before.question
            && other.policy_fingerprint == held.policy_fingerprint
        {
            let open = matches!(before.status(self.now), Status::Pending | Status::Approved);
            let denied = before.status(self.now) == Status::Denied && self.now < other.expires;
            if open || denied {
                let stands = before.status(self.now).name();
                let sentence = format!("approval {} is about the same, and is {stands}", before.id);
                return Err(Refusal::new(Kind::AlreadyAsked, sentence));
            }
        }
        self.room()?;
        held.expires = rule.expires(self.now);
        held.valid_millis = rule.valid_millis;
        Ok(Change::OperationHeld(held))
    }

    fn decide(&self, approval: ApprovalId, decision: Decision, reason: String) -> Result<Change, Refusal> {
        sentence(&reason, "reason")?;
        let asked = self.pending(&approval)?;
        if self.actor.is_same_as(asked.asked_by()) {
            return Err(Refusal::new(Kind::OwnRequest, "nobody decides on his own request"));
        }
        if asked.votes.iter().any(|vote| vote.actor.is_same_as(self.actor)) {
            return Err(Refusal::new(Kind::NotPending, "you have decided on this already"));
        }
        let approvers = self.still_allowed(asked, decision)?;
        if self.actor.is_gateway() || !approvers.who.names(&self.actor.principal()) {
            let rule = asked.rule();
            return Err(Refusal::new(Kind::NotAllowed, format!("you are no approver of the rule {rule}")));
        }
        let quorum = approvers.quorum;
        Ok(Change::Decided { approval, decision, reason, by: DecidedBy::Person, quorum })
    }

    fn decide_automatically(
        &self,
        approval: ApprovalId,
        decision: Decision,
        reason: String,
    ) -> Result<Change, Refusal> {
        self.must_be_gateway_or(&[])?;
        sentence(&reason, "reason")?;
        let asked = self.pending(&approval)?;
        self.still_allowed(asked, decision)?;
        let rule = self.policy.rules().holds.iter().find(|rule| *rule.name == *asked.rule());
        if !matches!(asked.question, Question::Operation(_)) || rule.is_none_or(|rule| rule.automatic.is_none()) {
            return Err(Refusal::new(Kind::NotAllowed, "the rule has no automated approver"));
        }
        let by = DecidedBy::Automatic { rule: asked.rule().to_owned() };
        Ok(Change::Decided { approval, decision, reason, by, quorum: 1 })
    }

    /// Checks an undecided question against the policy as it is by now; gives its approvers. What the policy
    /// allows no longer can still be denied by whom it names now.
    fn still_allowed(&self, asked: &Approval, decision: Decision) -> Result<&Approvers, Refusal> {
        let gone = || Refusal::new(Kind::PolicyChanged, format!("the policy has no rule {} any more", asked.rule()));
        match &asked.question {
            Question::Operation(held) => {
                self.same_policy(&held.policy_fingerprint)?;
                let rule = self.policy.rules().holds.iter().find(|rule| *rule.name == *held.rule);
                Ok(&rule.ok_or_else(gone)?.approvers)
            }
            Question::Grant(request) => {
                let rules = &self.policy.rules().requests;
                let rule = rules.iter().find(|rule| *rule.name == *request.rule).ok_or_else(gone)?;
                if decision == Decision::Deny {
                    return Ok(&rule.approvers);
                }
                let asker = request.principal.principal();
                if !rule.who.grants_to(&asker) || !covers(rule, &request.resources, &request.operations) {
                    let sentence = format!("the rule {} does not allow this any more", request.rule);
                    return Err(Refusal::new(Kind::PolicyChanged, sentence));
                }
                self.fits(request.span, rule)?;
                if request.extends {
                    self.live_grant(&request.grant)?;
                } else {
                    self.new_grant(&request.grant)?;
                    self.room_for_grant()?;
                }
                Ok(&rule.approvers)
            }
            Question::BreakGlass(_) => {
                Err(Refusal::new(Kind::NotPending, "a break-glass is open already; it is reviewed, not decided on"))
            }
        }
    }

    fn use_up(&self, approval: ApprovalId, session: String) -> Result<Change, Refusal> {
        let asked = self.known(&approval)?;
        let Question::Operation(held) = &asked.question else {
            return Err(Refusal::new(Kind::Malformed, format!("{approval} is about no operation")));
        };
        if !self.actor.is_gateway() && !self.actor.is(&held.principal.principal()) {
            return Err(Refusal::new(Kind::NotAllowed, "the approval is for another"));
        }
        match asked.status(self.now) {
            Status::Approved => {}
            Status::Expired => return Err(Refusal::new(Kind::Expired, format!("{approval} has lapsed"))),
            status => return Err(Refusal::new(Kind::NotPending, format!("{approval} is {}", status.name()))),
        }
        self.same_policy(&held.policy_fingerprint)?;
        Ok(Change::Used { approval, session })
    }

    fn revoke_grant(&self, grant: GrantId, reason: String) -> Result<Change, Refusal> {
        sentence(&reason, "reason")?;
        let revoked = self.live_grant(&grant)?;
        let rules = &self.policy.rules().requests;
        let approver = || {
            let rule = rules.iter().find(|rule| *rule.name == *revoked.rule);
            rule.is_some_and(|rule| rule.approvers.who.names(&self.actor.principal()))
        };
        if !approver() {
            self.may_revoke(Some(&revoked.principal))?;
        }
        Ok(Change::GrantRevoked { grant, reason })
    }

    fn break_glass(
        &self,
        id: ApprovalId,
        grant: GrantId,
        rule: Option<&str>,
        millis: Option<u64>,
        reason: String,
    ) -> Result<Change, Refusal> {
        sentence(&reason, "reason")?;
        self.new_approval(&id)?;
        self.new_grant(&grant)?;
        let principal = self.actor.principal();
        let mut rules = self.policy.rules().break_glass.iter();
        let rule = rules
            .find(|candidate| rule.is_none_or(|name| *candidate.name == *name) && candidate.who.names(&principal))
            .ok_or_else(|| Refusal::new(Kind::NotAllowed, "no rule of break_glass names you"))?;
        let millis = millis.unwrap_or(rule.duration_millis_max);
        within(millis, rule.duration_millis_max)?;
        self.room_for_grant()?;
        Ok(Change::BreakGlassOpened(BreakGlass {
            id,
            grant,
            principal: self.actor.clone(),
            rule: rule.name.to_string(),
            resources: rule.resources.clone(),
            operations: rule.operations.clone(),
            not_before: self.now,
            not_after: plus(self.now, millis),
            reason,
            review_by: plus(self.now, rule.review_millis),
        }))
    }

    fn review(&self, id: ApprovalId, reason: String) -> Result<Change, Refusal> {
        sentence(&reason, "review's finding")?;
        let asked = self.known(&id)?;
        if !matches!(asked.question, Question::BreakGlass(_)) {
            return Err(Refusal::new(Kind::Malformed, format!("{id} is no break-glass")));
        }
        if self.actor.is_same_as(asked.asked_by()) {
            return Err(Refusal::new(Kind::OwnRequest, "nobody reviews what he opened himself"));
        }
        let principal = self.actor.principal();
        let mut rules = self.policy.rules().break_glass.iter();
        let named = rules.any(|rule| *rule.name == *asked.rule() && rule.reviewers.names(&principal));
        if !named && !self.has_any(&[Role::Auditor, Role::Admin]) {
            return Err(Refusal::new(Kind::NotAllowed, "an auditor or a reviewer of the rule reviews this"));
        }
        if asked.status(self.now) == Status::Reviewed {
            return Err(Refusal::new(Kind::NotPending, format!("{id} has been reviewed")));
        }
        Ok(Change::BreakGlassReviewed { id, reason })
    }

    fn publish_key(&self, key: PublishedKey) -> Result<Change, Refusal> {
        self.must_be_gateway_or(&[Role::Admin])?;
        id_text(&key.kid, "key id")?;
        let keys = &self.authority.keys;
        if keys.contains_key(&key.kid) {
            return Err(Refusal::new(Kind::Malformed, format!("key {} is published already", key.kid)));
        }
        if keys.len() >= 100 || key.public_jwk.len() > 16 * 1024 {
            return Err(Refusal::new(Kind::TooMany, "too many keys are published, or this one is too large"));
        }
        // The first of its algorithm has nobody to tell: before it no token of that kind could be verified.
        if keys.values().any(|known| known.algorithm == key.algorithm)
            && key.not_before < self.now.plus_millis(KEY_NOTICE_MILLIS)
        {
            return Err(Refusal::new(Kind::Malformed, "a key is published at least an hour before it signs"));
        }
        Ok(Change::KeyPublished(key))
    }

    /// The rule under which this may be asked for: the one named, or the first that fits.
    fn request_rule(
        &self,
        name: Option<&str>,
        resources: &[ResourceRule],
        operations: &[OperationRule],
    ) -> Result<&RequestRule, Refusal> {
        let principal = self.actor.principal();
        let rules = self.policy.rules().requests.iter();
        let mut mine = rules
            .filter(|rule| name.is_none_or(|name| *rule.name == *name) && rule.who.grants_to(&principal))
            .peekable();
        if mine.peek().is_none() {
            return Err(Refusal::new(Kind::NotAllowed, "no rule of requests lets you ask for this"));
        }
        mine.find(|rule| covers(rule, resources, operations))
            .ok_or_else(|| Refusal::new(Kind::NotAllowed, "this is more than any rule of requests lets you ask for"))
    }

    fn fits(&self, span: GrantSpan, rule: &RequestRule) -> Result<(), Refusal> {
        within(span.millis(), rule.duration_millis_max)?;
        if span.window(self.now).1 <= self.now {
            return Err(Refusal::new(Kind::Expired, "the grant would end before it begins"));
        }
        Ok(())
    }

    fn room(&self) -> Result<(), Refusal> {
        let bounds = &self.authority.bounds;
        let (all, own) = self.authority.pending(self.actor, self.now);
        if own >= bounds.pending_per_principal_max {
            return Err(Refusal::new(Kind::TooMany, format!("{own} requests of yours wait already")));
        }
        if all >= bounds.pending_max {
            return Err(Refusal::new(Kind::TooMany, format!("{all} requests wait already")));
        }
        Ok(())
    }

    fn room_for_grant(&self) -> Result<(), Refusal> {
        let live = self.authority.grants.values().filter(|grant| grant.is_live(self.now)).count();
        if live >= self.authority.bounds.grants_max {
            return Err(Refusal::new(Kind::TooMany, format!("{live} grants are in force already")));
        }
        Ok(())
    }

    fn room_for_revocation(&self, known: usize) -> Result<(), Refusal> {
        if known >= self.authority.bounds.revocations_max {
            return Err(Refusal::new(Kind::TooMany, format!("{known} revocations are in force already")));
        }
        Ok(())
    }

    fn new_approval(&self, id: &ApprovalId) -> Result<(), Refusal> {
        if self.authority.approvals.contains_key(id) {
            return Err(Refusal::new(Kind::Malformed, format!("{id} is an approval already")));
        }
        Ok(())
    }

    fn new_grant(&self, id: &GrantId) -> Result<(), Refusal> {
        if self.authority.grants.contains_key(id) {
            return Err(Refusal::new(Kind::Malformed, format!("{id} is a grant already")));
        }
        Ok(())
    }

    fn known(&self, id: &ApprovalId) -> Result<&Approval, Refusal> {
        let unknown = || Refusal::new(Kind::NotFound, format!("there is no approval {id}"));
        self.authority.approval(id).ok_or_else(unknown)
    }

    fn pending(&self, id: &ApprovalId) -> Result<&Approval, Refusal> {
        let asked = self.known(id)?;
        match asked.status(self.now) {
            Status::Pending => Ok(asked),
            Status::Expired => Err(Refusal::new(Kind::Expired, format!("{id} has lapsed"))),
            status => Err(Refusal::new(Kind::NotPending, format!("{id} is {} already", status.name()))),
        }
    }

    fn live_grant(&self, id: &GrantId) -> Result<&RunGrant, Refusal> {
        let unknown = || Refusal::new(Kind::NotFound, format!("there is no run-time grant {id}"));
        let grant = self.authority.grant(id).ok_or_else(unknown)?;
        if grant.revoked.is_some() {
            return Err(Refusal::new(Kind::NotPending, format!("{id} is revoked already")));
        }
        if !grant.is_live(self.now) {
            let ended = Moment(grant.not_after);
            return Err(Refusal::new(Kind::Expired, format!("{id} ended {ended}")));
        }
        Ok(grant)
    }

    fn same_policy(&self, fingerprint: &str) -> Result<(), Refusal> {
        if self.policy.fingerprint() != fingerprint {
            return Err(Refusal::new(Kind::PolicyChanged, "the policy has changed since this was asked; ask anew"));
        }
        Ok(())
    }

    fn has_any(&self, roles: &[Role]) -> bool {
        let principal = self.actor.principal();
        roles.iter().any(|role| self.policy.has_role(&principal, *role))
    }

    fn must_be_gateway_or(&self, roles: &[Role]) -> Result<(), Refusal> {
        if self.actor.is_gateway() || self.has_any(roles) {
            return Ok(());
        }
        Err(Refusal::new(Kind::NotAllowed, "your roles do not include this"))
    }

    /// Whoever holds something may give it up; of others' only those with a role.
    fn may_revoke(&self, holder: Option<&Actor>) -> Result<(), Refusal> {
        if holder.is_some_and(|holder| holder.is(&self.actor.principal())) {
            return Ok(());
        }
        self.must_be_gateway_or(&[Role::Admin, Role::Operator])
    }
}

/// Whether a rule lets all of this be asked for.
fn covers(rule: &RequestRule, resources: &[ResourceRule], operations: &[OperationRule]) -> bool {
    let wanted = Operations::implied_by(snapshot::operations(operations));
    let operations_fit =
        Operation::ALL.into_iter().all(|operation| !wanted.contains(operation) || rule.operations.contains(operation));
    let mut scopes = resources.iter().map(snapshot::scope);
    operations_fit
        && scopes.all(|scope| scope.is_some_and(|scope| rule.scopes.iter().any(|most| most.includes(&scope))))
}

fn within(millis: u64, most: u64) -> Result<(), Refusal> {
    if millis == 0 {
        return Err(Refusal::new(Kind::Malformed, "a grant lasts longer than nothing"));
    }
    if millis > most {
        let most = Duration(std::time::Duration::from_millis(most));
        return Err(Refusal::new(Kind::TooLong, format!("the policy allows {most} at most")));
    }
    Ok(())
}

fn plus(now: Timestamp, millis: u64) -> Timestamp {
    now.plus_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

/// What people write for people: something to read, on one line, of bounded length.
fn sentence(text: &str, what: &str) -> Result<(), Refusal> {
    let wrong = |complaint: &str| Err(Refusal::new(Kind::Malformed, format!("the {what} {complaint}")));
    if text.trim().is_empty() {
        return wrong("must not be blank");
    }
    if text.chars().any(char::is_control) {
        return wrong("must be one line without control characters");
    }
    if text.chars().count() > SENTENCE_CHARS_MAX {
        return wrong(&format!("has {SENTENCE_CHARS_MAX} characters at most"));
    }
    Ok(())
}

fn id_text(text: &str, what: &str) -> Result<(), Refusal> {
    let fine = !text.trim().is_empty() && text.len() <= 1024 && !text.chars().any(char::is_control);
    if fine { Ok(()) } else { Err(Refusal::new(Kind::Malformed, format!("that is no {what}"))) }
}
