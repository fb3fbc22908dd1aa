//! The authority's rules, one by one; `replay` holds that the log alone gives the state.

mod replay;

use tidegate_core::words::{Operation, Principal, Resource, SessionId};

use super::*;
use crate::file::{AllOperations, NameRule, OperationRule, PrefixRule, ResourceRule};
use crate::snapshot::Snapshot;

const POLICY: &str = r#"
version: 1
requests:
  - name: analysts-may-ask
    groups: [analysts]
    resources: [{topic: {prefix: orders}}, {group: {prefix: analysts-}}]
    operations: [read]
    duration_max: 8h
    approvers: {groups: [data-owners]}
    pending: 4h
  - name: two-owners
    groups: [analysts]
    resources: [{topic: secrets, partitions: [0-3]}]
    operations: [read, write]
    duration_max: 1h
    approvers: {groups: [data-owners], quorum: 2}
holds:
  - name: no-quiet-deletion
    everyone: true
    except: {principals: [janitor]}
    operations: [delete_topics, alter_configs, alter_acls]
    topics: [{prefix: orders}]
    configs: [retention.ms]
    unless: [{config: retention.ms, change: grows}]
    approvers: {groups: [data-owners]}
    pending: 1h
    valid: 15m
    automatic: {url: "https://approver.example.com/", secret_file: secret}
break_glass:
  - {name: oncall, groups: [oncall], resources: [{topic: "*"}], operations: [all], duration_max: 1h, review_within: 24h}
roles:
  admin: {principals: [ada]}
  auditor: {principals: [aud]}
  operator: {principals: [ops]}
"#;

fn policy() -> Snapshot {
    Snapshot::read(POLICY, "policy.yaml", 1).unwrap()
}

fn actor(issuer: &str, name: &str, subject: &str, groups: &[&str]) -> Actor {
    let groups = groups.iter().map(|group| Arc::from(*group)).collect();
    Actor { issuer: issuer.into(), name: name.into(), subject: subject.into(), groups }
}

/// One of the cast: ann and bob ask, olga and oscar own the data, ada, aud and ops have roles.
fn cast(name: &str) -> Actor {
    let groups: &[&str] = match name {
        "ann" | "bob" => &["analysts"],
        "olga" | "oscar" => &["data-owners"],
        "cal" => &["oncall"],
        _ => &[],
    };
    actor("idp", name, &format!("s-{name}"), groups)
}

fn topic(name: &str) -> ResourceRule {
    ResourceRule { topic: Some(NameRule::Literal(name.into())), ..ResourceRule::default() }
}

const READ: OperationRule = OperationRule::One(Operation::Read);
const HOUR: i64 = 3600 * 1000;

struct World {
    authority: Authority,
    policy: Snapshot,
    now: Timestamp,
    log: Vec<ControlEvent>,
}

impl World {
    fn new() -> Self {
        Self {
            authority: Authority::default(),
            policy: policy(),
            now: Timestamp::from_secs(1_800_000_000),
            log: vec![],
        }
    }

    fn pass(&mut self, millis: i64) {
        self.now = self.now.plus_millis(millis);
    }

    /// Has a command decided and its event applied, as the actor does.
    fn act(&mut self, actor: &Actor, command: Command) -> Result<Change, RefusalKind> {
        let change = self.authority.decide(command, actor, &self.policy, self.now).map_err(|refusal| refusal.kind)?;
        let event = ControlEvent::new(self.now, actor.clone(), change.clone());
        let applied = self.authority.apply(self.authority.sequence() + 1, &event).unwrap();
        assert_eq!(applied, Applied::Took, "{change:?}");
        self.log.push(event);
        Ok(change)
    }

    fn request(&mut self, who: &Actor, id: &str, resource: ResourceRule, millis: i64) -> Result<Change, RefusalKind> {
        let command = Command::RequestGrant {
            id: id.into(),
            grant: id.replace("ap-", "gr-").as_str().into(),
            rule: None,
            resources: vec![resource],
            operations: vec![READ],
            span: GrantSpan::Millis(millis as u64),
            purpose: "Monthly report".into(),
            reason: "Closing the books".into(),
        };
        self.act(who, command)
    }

    fn hold(&mut self, who: &Actor, id: &str, what: &[u8]) -> Result<Change, RefusalKind> {
        let held = held(who, id, what, self.policy.fingerprint());
        self.act(who, Command::Hold(held))
    }

    fn approve(&mut self, who: &Actor, id: &str) -> Result<Change, RefusalKind> {
        self.act(who, Command::Approve { approval: id.into(), reason: "fine".into() })
    }

    fn deny(&mut self, who: &Actor, id: &str) -> Result<Change, RefusalKind> {
        self.act(who, Command::Deny { approval: id.into(), reason: "no".into() })
    }

    fn use_up(&mut self, id: &str) -> Result<Change, RefusalKind> {
        self.act(&Actor::gateway(), Command::Use { approval: id.into(), session: "s".into() })
    }

    fn status(&self, id: &str) -> Status {
        self.authority.approval(&id.into()).unwrap().status(self.now)
    }

    /// What a view of `who` says of reading `topic` now.
    fn reads(&self, who: &Actor, topic: &str) -> (bool, String, String) {
        let policy = self.policy.with_standing(2, self.authority.standing(self.now));
        let view = policy.view(&who.principal());
        let decision = view.authorise(Operation::Read, Resource::topic(topic), self.now);
        (decision.allowed, decision.rule.to_string(), decision.purpose.to_string())
    }
}

fn held(who: &Actor, id: &str, what: &[u8], fingerprint: &str) -> HeldOperation {
    HeldOperation {
        id: id.into(),
        key: RequestKey::unkeyed(&who.principal(), "DeleteTopics", what),
        api: "DeleteTopics".into(),
        summary: "Delete the topic orders".into(),
        resources: vec![HeldResource { kind: "topic".into(), name: "orders".into() }],
        principal: who.clone(),
        session: "s".into(),
        rule: "no-quiet-deletion".into(),
        policy_fingerprint: fingerprint.into(),
        // The rule decides, not the caller.
        expires: Timestamp::MAX,
        valid_millis: u64::MAX,
    }
}

#[test]
fn a_grant_opens_on_approval_and_ends_with_its_window() {
    let (mut world, ann, olga) = (World::new(), cast("ann"), cast("olga"));
    world.request(&ann, "ap-1", topic("orders"), 2 * HOUR).unwrap();
    assert!(!world.reads(&ann, "orders").0);
    world.pass(1000);
    world.approve(&olga, "ap-1").unwrap();
    assert_eq!(world.reads(&ann, "orders"), (true, "gr-1".into(), "Monthly report".into()));
    assert!(!world.reads(&ann, "orders-2").0, "the request named one topic");
    assert!(!world.reads(&cast("bob"), "orders").0);
    assert!(!world.reads(&actor("other-idp", "ann", "s-ann", &[]), "orders").0, "another issuer's ann");
    assert!(!world.reads(&actor("idp", "ann", "s-other", &[]), "orders").0, "another subject of that name");

    let view = world.policy.with_standing(2, world.authority.standing(world.now)).view(&ann.principal());
    let end = world.now.plus_millis(2 * HOUR);
    assert_eq!(view.grants_end(world.now), Some(end), "sessions are told so");
    assert_eq!(world.authority.next_expiry(world.now), Some(end));
    let denied = view.authorise(Operation::Read, Resource::topic("orders"), end);
    assert!(!denied.allowed && denied.rule.starts_with("grant gr-1 ended"), "{denied:?}");
    world.now = end;
    assert!(!world.authority.grant(&"gr-1".into()).unwrap().is_live(end));
    assert_eq!(world.authority.standing(end).grants(), 0);
    assert_eq!(world.reads(&ann, "orders").1, "no grant");
}

#[test]
fn a_grant_may_be_for_a_later_window() {
    let (mut world, ann) = (World::new(), cast("ann"));
    let (from, to) = (world.now.plus_millis(HOUR), world.now.plus_millis(2 * HOUR));
    let ask = |id: &str, from, to| Command::RequestGrant {
        id: id.into(),
        grant: id.into(),
        rule: Some("analysts-may-ask".into()),
        resources: vec![topic("orders")],
        operations: vec![READ],
        span: GrantSpan::Between(from, to),
        purpose: "Report".into(),
        reason: "Report".into(),
    };
    world.act(&ann, ask("ap-1", from, to)).unwrap();
    world.approve(&cast("olga"), "ap-1").unwrap();
    assert!(world.reads(&ann, "orders").1.starts_with("grant ap-1 starts"));
    world.now = from;
    assert!(world.reads(&ann, "orders").0);
    assert_eq!(world.act(&ann, ask("ap-2", from.plus_millis(-2 * HOUR), from)), Err(RefusalKind::Expired));
    assert_eq!(world.act(&ann, ask("ap-2", to, from)), Err(RefusalKind::Malformed), "backwards");
    assert_eq!(world.act(&ann, ask("ap-2", from, from.plus_millis(8 * HOUR + 1))), Err(RefusalKind::TooLong));
}

#[test]
fn nobody_asks_for_more_than_a_rule_allows() {
    let (mut world, ann) = (World::new(), cast("ann"));
    let prefix = |text: &str| NameRule::Prefixed(PrefixRule { prefix: text.into() });
    let partitions = |text: &str| serde_json::from_str(&format!(r#"{{"topic":"secrets","partitions":[{text}]}}"#));
    let all = OperationRule::All(AllOperations::All);
    for (resource, operation, expected) in [
        (topic("orders.eu"), READ, None),
        (ResourceRule { topic: Some(prefix("orders-")), ..Default::default() }, READ, None),
        (ResourceRule { group: Some(prefix("analysts-a")), ..Default::default() }, READ, None),
        (partitions("1, \"2-3\"").unwrap(), OperationRule::One(Operation::Write), None),
        (partitions("4").unwrap(), READ, Some(RefusalKind::NotAllowed)),
        (topic("secrets"), READ, Some(RefusalKind::NotAllowed)),
        (topic("order"), READ, Some(RefusalKind::NotAllowed)),
        (topic("*"), READ, Some(RefusalKind::NotAllowed)),
        (ResourceRule { topic: Some(prefix("o")), ..Default::default() }, READ, Some(RefusalKind::NotAllowed)),
        (ResourceRule { cluster: Some(true), ..Default::default() }, all, Some(RefusalKind::NotAllowed)),
        (topic("orders"), all, Some(RefusalKind::NotAllowed)),
        (topic("orders"), OperationRule::One(Operation::Write), Some(RefusalKind::NotAllowed)),
        (topic("no topic"), READ, Some(RefusalKind::Malformed)),
        (ResourceRule::default(), READ, Some(RefusalKind::Malformed)),
        (topic("orders"), OperationRule::One(Operation::CreateTokens), Some(RefusalKind::Malformed)),
    ] {
        let command = Command::RequestGrant {
            id: "ap-1".into(),
            grant: "gr-1".into(),
            rule: None,
            resources: vec![resource.clone()],
            operations: vec![operation],
            span: GrantSpan::Millis(1000),
            purpose: "Report".into(),
            reason: "Report".into(),
        };
        let decided = world.authority.decide(command, &ann, &world.policy, world.now);
        assert_eq!(decided.err().map(|refusal| refusal.kind), expected, "{resource:?} {operation:?}");
    }
    let kind = |result: Result<_, RefusalKind>| result.err();
    assert_eq!(kind(world.request(&ann, "ap-1", topic("orders"), 8 * HOUR + 1)), Some(RefusalKind::TooLong));
    assert_eq!(kind(world.request(&ann, "ap-1", topic("orders"), 0)), Some(RefusalKind::Malformed));
    assert_eq!(kind(world.request(&cast("cal"), "ap-1", topic("orders"), HOUR)), Some(RefusalKind::NotAllowed));
    let anonymous = Actor::from(&Principal::anonymous());
    assert_eq!(kind(world.request(&anonymous, "ap-1", topic("orders"), HOUR)), Some(RefusalKind::NotAllowed));
}

#[test]
fn nobody_decides_on_his_own_request() {
    let mut world = World::new();
    let both = ["analysts", "data-owners"];
    let asker = actor("idp", "ann", "s-ann", &both);
    world.request(&asker, "ap-1", topic("orders"), HOUR).unwrap();
    world.hold(&asker, "ap-2", b"x").unwrap();
    for same in [
        asker.clone(),
        actor("other-idp", "ann", "another", &both),
        actor("other-idp", "admin-7", "s-ann", &both),
        actor("tls", "ANN", "CN=ann", &both),
        actor("tls", "s-ann", "CN=ann", &both),
    ] {
        for id in ["ap-1", "ap-2"] {
            assert_eq!(world.approve(&same, id), Err(RefusalKind::OwnRequest), "{same:?}");
            assert_eq!(world.deny(&same, id), Err(RefusalKind::OwnRequest), "{same:?}");
        }
    }
    let impostor = Principal { issuer: Actor::gateway().issuer, ..cast("bob").principal() };
    assert!(!Actor::from(&impostor).is_gateway());
    // Roles approve nothing, nor does the gateway in a person's place.
    for other in [cast("ada"), cast("bob"), Actor::gateway()] {
        assert_eq!(world.approve(&other, "ap-1"), Err(RefusalKind::NotAllowed), "{other:?}");
    }
    world.approve(&cast("olga"), "ap-1").unwrap();
}

#[test]
fn a_quorum_is_of_different_people_and_one_denial_wins() {
    let (mut world, ann) = (World::new(), cast("ann"));
    let secrets: ResourceRule = serde_json::from_str(r#"{"topic":"secrets","partitions":["0-3"]}"#).unwrap();
    world.request(&ann, "ap-1", secrets.clone(), HOUR).unwrap();
    world.approve(&cast("olga"), "ap-1").unwrap();
    assert_eq!(world.status("ap-1"), Status::Pending);
    assert_eq!(world.authority.standing(world.now).grants(), 0);
    assert_eq!(world.approve(&cast("olga"), "ap-1"), Err(RefusalKind::NotPending));
    let other_account = actor("tls", "olga", "CN=olga", &["data-owners"]);
    assert_eq!(world.approve(&other_account, "ap-1"), Err(RefusalKind::NotPending));
    world.approve(&cast("oscar"), "ap-1").unwrap();
    assert_eq!(world.status("ap-1"), Status::Approved);
    assert_eq!(world.authority.standing(world.now).grants(), 1);

    world.request(&ann, "ap-2", secrets, HOUR).unwrap();
    world.approve(&cast("olga"), "ap-2").unwrap();
    world.deny(&cast("oscar"), "ap-2").unwrap();
    assert_eq!(world.status("ap-2"), Status::Denied);
    let late = actor("idp", "otto", "s-otto", &["data-owners"]);
    assert_eq!(world.approve(&late, "ap-2"), Err(RefusalKind::NotPending), "the first decision wins");
    assert_eq!(world.authority.standing(world.now).grants(), 1);
}

#[test]
fn questions_and_approvals_lapse() {
    let (mut world, ann, olga) = (World::new(), cast("ann"), cast("olga"));
    world.request(&ann, "ap-1", topic("orders"), HOUR).unwrap();
    world.hold(&ann, "ap-2", b"x").unwrap();
    world.hold(&ann, "ap-3", b"y").unwrap();
    world.pass(HOUR - 1);
    world.approve(&olga, "ap-2").unwrap();
    world.pass(1);
    assert_eq!(world.approve(&olga, "ap-3"), Err(RefusalKind::Expired), "nobody decided within the hour");
    world.pass(15 * 60 * 1000 - 2);
    assert_eq!(world.status("ap-2"), Status::Approved);
    world.pass(1);
    assert_eq!(world.use_up("ap-2"), Err(RefusalKind::Expired), "nobody used it within a quarter of an hour");
    world.pass(3 * HOUR);
    assert_eq!(world.approve(&olga, "ap-1"), Err(RefusalKind::Expired));
    // A clock that is set back brings nothing back.
    world.hold(&ann, "ap-4", b"z").unwrap();
    world.now = world.log[0].time;
    assert_eq!(world.approve(&olga, "ap-1"), Err(RefusalKind::Expired));
}

#[test]
fn an_approval_is_used_once_for_that_request_under_that_policy() {
    let (mut world, ann) = (World::new(), cast("ann"));
    let fingerprint = world.policy.fingerprint().to_owned();
    let key = RequestKey::unkeyed(&ann.principal(), "DeleteTopics", b"x");
    let state = |world: &World| world.authority.approvals(world.now).get(&key, &fingerprint).cloned();
    assert_eq!(state(&world), None);
    assert_eq!(world.use_up("ap-1"), Err(RefusalKind::NotFound));
    world.hold(&ann, "ap-1", b"x").unwrap();
    assert_eq!(state(&world), Some(ApprovalState::Pending { id: "ap-1".into() }));
    assert_eq!(world.hold(&ann, "ap-2", b"x"), Err(RefusalKind::AlreadyAsked));
    assert_eq!(world.use_up("ap-1"), Err(RefusalKind::NotPending));
    world.approve(&cast("olga"), "ap-1").unwrap();
    assert_eq!(state(&world), Some(ApprovalState::Approved { id: "ap-1".into() }));
    let other = world.act(&cast("bob"), Command::Use { approval: "ap-1".into(), session: "b".into() });
    assert_eq!(other, Err(RefusalKind::NotAllowed));
    world.use_up("ap-1").unwrap();
    assert_eq!(state(&world), Some(ApprovalState::Used { id: "ap-1".into(), session: "s".into() }));
    assert_eq!(world.use_up("ap-1"), Err(RefusalKind::NotPending));

    // What changes any part of a request makes it another.
    let principal = ann.principal();
    for other in [
        RequestKey::unkeyed(&principal, "DeleteTopics", b"X"),
        RequestKey::unkeyed(&principal, "DeleteTopic", b"sx"),
        RequestKey::unkeyed(&cast("bob").principal(), "DeleteTopics", b"x"),
        RequestKey::unkeyed(&Principal { issuer: "other".into(), ..principal.clone() }, "DeleteTopics", b"x"),
    ] {
        assert_ne!(other, key);
        assert_eq!(world.authority.approvals(world.now).get(&other, &fingerprint), None);
    }

    // Used up, so the next time is a new question; under another policy the approval counts for nothing.
    world.hold(&ann, "ap-2", b"x").unwrap();
    world.approve(&cast("olga"), "ap-2").unwrap();
    world.hold(&ann, "ap-3", b"y").unwrap();
    let changed = POLICY.replace("valid: 15m", "valid: 16m");
    world.policy = Snapshot::read(&changed, "policy.yaml", 3).unwrap();
    assert_eq!(world.use_up("ap-2"), Err(RefusalKind::PolicyChanged));
    assert_eq!(world.approve(&cast("olga"), "ap-3"), Err(RefusalKind::PolicyChanged));
    assert_eq!(world.authority.approvals(world.now).get(&key, world.policy.fingerprint()), None);
    world.hold(&ann, "ap-4", b"x").unwrap();
}

#[test]
fn a_denied_operation_is_not_asked_about_again_at_once() {
    let (mut world, ann) = (World::new(), cast("ann"));
    world.hold(&ann, "ap-1", b"x").unwrap();
    world.deny(&cast("olga"), "ap-1").unwrap();
    assert_eq!(world.hold(&ann, "ap-2", b"x"), Err(RefusalKind::AlreadyAsked));
    let key = RequestKey::unkeyed(&ann.principal(), "DeleteTopics", b"x");
    let approvals = world.authority.approvals(world.now);
    let denied = ApprovalState::Denied { id: "ap-1".into(), reason: "no".into() };
    assert_eq!(approvals.get(&key, world.policy.fingerprint()), Some(&denied));
    world.pass(HOUR);
    world.hold(&ann, "ap-2", b"x").unwrap();
}

#[test]
fn an_automated_approver_speaks_only_through_the_gateway_and_for_its_rule() {
    let (mut world, ann) = (World::new(), cast("ann"));
    world.hold(&ann, "ap-1", b"x").unwrap();
    world.request(&ann, "ap-2", topic("orders"), HOUR).unwrap();
    let decide = |id: &str| Command::DecideAutomatically {
        approval: id.into(),
        decision: Decision::Approve,
        reason: "within hours".into(),
    };
    assert_eq!(world.act(&cast("olga"), decide("ap-1")), Err(RefusalKind::NotAllowed));
    assert_eq!(world.act(&Actor::gateway(), decide("ap-2")), Err(RefusalKind::NotAllowed), "the rule has none");
    world.act(&Actor::gateway(), decide("ap-1")).unwrap();
    assert_eq!(world.status("ap-1"), Status::Approved);
}

#[test]
fn a_grant_is_extended_by_asking_again_and_revoked_at_once() {
    let (mut world, ann, olga) = (World::new(), cast("ann"), cast("olga"));
    world.request(&ann, "ap-1", topic("orders"), HOUR).unwrap();
    world.approve(&olga, "ap-1").unwrap();
    world.pass(HOUR / 2);
    let extend = |id: &str, millis: i64| Command::ExtendGrant {
        id: id.into(),
        grant: "gr-1".into(),
        span: GrantSpan::Millis(millis as u64),
        reason: "Not done".into(),
    };
    assert_eq!(world.act(&cast("bob"), extend("ap-2", HOUR)), Err(RefusalKind::NotAllowed));
    assert_eq!(world.act(&ann, extend("ap-2", HOUR / 4)), Err(RefusalKind::Malformed), "it lasts longer already");
    assert_eq!(world.act(&ann, extend("ap-2", 9 * HOUR)), Err(RefusalKind::TooLong));
    world.act(&ann, extend("ap-2", 2 * HOUR)).unwrap();
    let before = world.authority.grant(&"gr-1".into()).unwrap().not_after;
    world.approve(&olga, "ap-2").unwrap();
    assert_eq!(world.authority.grant(&"gr-1".into()).unwrap().not_after, before.plus_millis(3 * HOUR / 2));
    assert!(world.reads(&ann, "orders").0);

    world.act(&ann, extend("ap-3", 3 * HOUR)).unwrap();
    let revoke = Command::RevokeGrant { grant: "gr-1".into(), reason: "Left the team".into() };
    assert_eq!(world.act(&cast("bob"), revoke.clone()), Err(RefusalKind::NotAllowed));
    world.act(&cast("ops"), revoke.clone()).unwrap();
    assert_eq!(world.reads(&ann, "orders").1, "no grant");
    assert_eq!(world.act(&olga, revoke), Err(RefusalKind::NotPending));
    assert_eq!(world.approve(&olga, "ap-3"), Err(RefusalKind::NotPending), "an extension does not bring it back");

    for (who, allowed) in [("ann", true), ("olga", true), ("ada", true), ("aud", false), ("bob", false)] {
        let mut world = World::new();
        world.request(&ann, "ap-1", topic("orders"), HOUR).unwrap();
        world.approve(&cast("oscar"), "ap-1").unwrap();
        let revoke = Command::RevokeGrant { grant: "gr-1".into(), reason: "Done".into() };
        assert_eq!(world.act(&cast(who), revoke).is_ok(), allowed, "{who}");
    }
}

#[test]
fn an_approval_is_given_by_the_policy_as_it_is_by_then() {
    let (ann, olga) = (cast("ann"), cast("olga"));
    for (from, to, expected) in [
        ("duration_max: 8h", "duration_max: 30m", RefusalKind::TooLong),
        ("{prefix: orders}}, {group", "{prefix: other}}, {group", RefusalKind::PolicyChanged),
        ("name: analysts-may-ask", "name: renamed", RefusalKind::PolicyChanged),
        ("groups: [analysts]", "groups: [others]", RefusalKind::PolicyChanged),
        ("approvers: {groups: [data-owners]}", "approvers: {groups: [others]}", RefusalKind::NotAllowed),
    ] {
        let mut world = World::new();
        world.request(&ann, "ap-1", topic("orders"), HOUR).unwrap();
        world.policy = Snapshot::read(&POLICY.replacen(from, to, 1), "policy.yaml", 2).unwrap();
        assert_eq!(world.approve(&olga, "ap-1"), Err(expected), "{to}");
    }
    let mut world = World::new();
    world.request(&ann, "ap-1", topic("orders"), HOUR).unwrap();
    let text = POLICY.replacen("{groups: [data-owners]}", "{groups: [data-owners], quorum: 2}", 1);
    world.policy = Snapshot::read(&text, "policy.yaml", 2).unwrap();
    world.approve(&olga, "ap-1").unwrap();
    assert_eq!(world.status("ap-1"), Status::Pending, "the quorum is the one of now");
}

#[test]
fn break_glass_opens_at_once_for_a_while_and_is_reviewed_by_another() {
    let (mut world, cal) = (World::new(), cast("cal"));
    let open = |id: &str, millis| Command::BreakGlass {
        id: id.into(),
        grant: id.replace("ap", "gr").as_str().into(),
        rule: None,
        millis,
        reason: "Broker 3 is down".into(),
    };
    assert_eq!(world.act(&cast("ann"), open("ap-1", None)), Err(RefusalKind::NotAllowed));
    assert_eq!(world.act(&cal, open("ap-1", Some(2 * HOUR as u64))), Err(RefusalKind::TooLong));
    world.act(&cal, open("ap-1", None)).unwrap();
    assert_eq!(world.reads(&cal, "anything"), (true, "gr-1".into(), "Broker 3 is down".into()));
    let in_emergency = |world: &World, who: &Actor| {
        let policy = world.policy.with_standing(2, world.authority.standing(world.now));
        policy.view(&who.principal()).in_emergency(world.now)
    };
    assert!(in_emergency(&world, &cal) && !in_emergency(&world, &cast("ann")));
    // What is done then is recorded, though no rule of recordings says so.
    let recorded = |world: &World, who: &Actor| {
        let policy = world.policy.with_standing(2, world.authority.standing(world.now));
        policy.view(&who.principal()).recording().map(|rule| rule.name.to_string())
    };
    assert_eq!(recorded(&world, &cal).as_deref(), Some("break-glass"));
    assert_eq!(recorded(&world, &cast("ann")), None);
    assert_eq!(world.status("ap-1"), Status::ReviewDue);
    assert_eq!(world.approve(&cast("olga"), "ap-1"), Err(RefusalKind::NotPending));
    world.pass(HOUR);
    assert_eq!(world.reads(&cal, "anything").1, "no grant");
    assert!(!in_emergency(&world, &cal));
    assert_eq!(recorded(&world, &cal), None);
    world.pass(23 * HOUR);
    assert_eq!(world.status("ap-1"), Status::ReviewOverdue);
    let review = Command::Review { id: "ap-1".into(), reason: "Needed".into() };
    let same = actor("other", "boss", "s-cal", &[]);
    assert_eq!(world.act(&cal, review.clone()), Err(RefusalKind::OwnRequest));
    assert_eq!(world.act(&same, review.clone()), Err(RefusalKind::OwnRequest));
    assert_eq!(world.act(&cast("bob"), review.clone()), Err(RefusalKind::NotAllowed));
    world.act(&cast("aud"), review.clone()).unwrap();
    assert_eq!(world.act(&cast("aud"), review), Err(RefusalKind::NotPending));
    assert_eq!(world.status("ap-1"), Status::Reviewed);
}

#[test]
fn what_is_revoked_is_refused_until_it_is_restored_or_over() {
    let (mut world, ops, ann) = (World::new(), cast("ops"), cast("ann"));
    let session = SessionId("0198c2a4-5d2e-7c00-8000-0000000000ab".parse().unwrap());
    let other = SessionId("0198c2a4-5d2e-7c00-8000-0000000000ac".parse().unwrap());
    let revoked = |world: &World, who: &Actor, session: &SessionId, token: Option<&str>| {
        let policy = world.policy.with_standing(9, world.authority.standing(world.now));
        policy.revoked(&who.principal(), session, token).map(ToOwned::to_owned)
    };
    let reason = || "why".to_owned();
    let of_session =
        |holder| Command::RevokeSession { session: session.to_string().to_uppercase(), reason: reason(), holder };
    assert_eq!(world.act(&cast("bob"), of_session(None)), Err(RefusalKind::NotAllowed));
    assert_eq!(world.act(&cast("bob"), of_session(Some(ann.clone()))), Err(RefusalKind::NotAllowed));
    world.act(&ann, of_session(Some(ann.clone()))).unwrap();
    assert_eq!(world.act(&ops, of_session(None)), Err(RefusalKind::NotPending));
    assert_eq!(revoked(&world, &ann, &session, None), Some(reason()));
    assert_eq!(revoked(&world, &ann, &other, None), None);

    let until = world.now.plus_millis(HOUR);
    let of_token = Command::RevokeToken { token_id: "jti-1".into(), until, reason: reason(), holder: None };
    world.act(&ops, of_token).unwrap();
    assert_eq!(revoked(&world, &ann, &other, Some("jti-1")), Some(reason()));
    assert_eq!(revoked(&world, &ann, &other, Some("jti-2")), None);
    assert_eq!(world.authority.next_expiry(world.now), Some(until));

    let of_principal = |issuer: Option<&str>, until| Command::RevokePrincipal {
        issuer: issuer.map(Arc::from),
        name: "bob".into(),
        until,
        reason: reason(),
    };
    world.act(&ops, of_principal(Some("idp"), None)).unwrap();
    assert_eq!(revoked(&world, &cast("bob"), &other, None), Some(reason()));
    assert_eq!(revoked(&world, &actor("elsewhere", "bob", "x", &[]), &other, None), None);
    let restore = |issuer: Option<&str>| Command::RestorePrincipal {
        issuer: issuer.map(Arc::from),
        name: "bob".into(),
        reason: reason(),
    };
    assert_eq!(world.act(&ops, restore(None)), Err(RefusalKind::NotFound));
    assert_eq!(world.act(&actor("idp", "Bob", "x", &[]), restore(Some("idp"))), Err(RefusalKind::NotAllowed));
    world.act(&ops, restore(Some("idp"))).unwrap();
    assert_eq!(revoked(&world, &cast("bob"), &other, None), None);
    world.act(&ops, of_principal(None, Some(until))).unwrap();
    assert_eq!(revoked(&world, &actor("elsewhere", "bob", "x", &[]), &other, None), Some(reason()));
    world.now = until;
    assert_eq!(revoked(&world, &cast("bob"), &other, Some("jti-1")), None, "both were to end then");
}

#[test]
fn keys_are_published_an_hour_before_they_sign() {
    let mut world = World::new();
    let key = |kid: &str, not_before| {
        let (kid, algorithm) = (kid.to_owned(), "EdDSA".to_owned());
        Command::PublishKey(PublishedKey { kid, algorithm, public_jwk: "{}".into(), not_before })
    };
    let gateway = Actor::gateway();
    assert_eq!(world.act(&cast("ops"), key("a", world.now)), Err(RefusalKind::NotAllowed));
    world.act(&gateway, key("a", world.now)).unwrap();
    assert_eq!(world.act(&gateway, key("b", world.now.plus_millis(HOUR - 1))), Err(RefusalKind::Malformed));
    world.act(&gateway, key("b", world.now.plus_millis(HOUR))).unwrap();
    // The first of another algorithm signs at once at a first start: there is no other that could.
    let (kid, algorithm) = ("c".to_owned(), "ES256".to_owned());
    let other = PublishedKey { kid, algorithm, public_jwk: "{}".into(), not_before: world.now };
    world.act(&gateway, Command::PublishKey(other.clone())).unwrap();
    let next = PublishedKey { kid: "d".to_owned(), ..other };
    assert_eq!(world.act(&gateway, Command::PublishKey(next)), Err(RefusalKind::Malformed));
    world.act(&cast("ada"), Command::RetireKey { kid: "c".into() }).unwrap();
    world.act(&cast("ada"), Command::RetireKey { kid: "a".into() }).unwrap();
    assert_eq!(world.act(&gateway, Command::RetireKey { kid: "a".into() }), Err(RefusalKind::NotFound));
    assert_eq!(world.authority.keys().keys().collect::<Vec<_>>(), ["b"]);
}

#[test]
fn ten_thousand_questions_wait_and_no_more() {
    let mut world = World::new();
    for person in 0..100 {
        let who = actor("idp", &format!("p{person}"), &format!("s{person}"), &["analysts"]);
        for n in 0..100 {
            world.hold(&who, &format!("ap-{person}-{n}"), &[n]).unwrap();
        }
        assert_eq!(world.hold(&who, "ap-more", b"more"), Err(RefusalKind::TooMany), "one principal's bound");
    }
    assert_eq!(world.hold(&cast("ann"), "ap-more", b"more"), Err(RefusalKind::TooMany));
    assert_eq!(world.authority.approvals(world.now).len(), 10_000);
    world.deny(&cast("olga"), "ap-7-7").unwrap();
    world.hold(&cast("ann"), "ap-more", b"more").unwrap();
    world.pass(HOUR);
    world.hold(&cast("bob"), "ap-later", b"more").unwrap();
    assert_eq!(world.authority.pending(&cast("bob"), world.now), (1, 1));
    let filter = Filter { status: Some(Status::Pending), ..Filter::default() };
    let listed: Vec<_> =
        world.authority.list(&filter, None, 10, world.now).iter().map(|approval| approval.id.to_string()).collect();
    assert_eq!(listed, ["ap-later"]);
}

#[test]
fn history_is_forgotten_at_its_bound_and_what_still_counts_is_not() {
    let mut world = World::new();
    world.authority = Authority::new(Bounds { approvals_kept_max: 50, ..Bounds::default() });
    let (ann, olga) = (cast("ann"), cast("olga"));
    world.request(&ann, "ap-grant", topic("orders"), 8 * HOUR).unwrap();
    world.approve(&olga, "ap-grant").unwrap();
    world.hold(&ann, "ap-waits", b"waits").unwrap();
    for n in 0..200 {
        world.hold(&ann, &format!("ap-{n}"), &[n]).unwrap();
        world.deny(&olga, &format!("ap-{n}")).unwrap();
        world.pass(1000);
    }
    assert!(world.authority.approvals.len() <= 55, "{}", world.authority.approvals.len());
    assert_eq!(world.authority.approvals.len(), world.authority.asked.len());
    assert!(world.authority.by_key.values().all(|id| world.authority.approvals.contains_key(id)));
    for id in ["ap-grant", "ap-waits", "ap-199"] {
        assert!(world.authority.approval(&id.into()).is_some(), "{id}");
    }
    assert!(world.authority.approval(&"ap-0".into()).is_none());
    world.approve(&olga, "ap-waits").unwrap();
    assert!(world.reads(&ann, "orders").0);
}

#[test]
fn what_no_rule_could_have_written_is_found_in_the_log() {
    let mut world = World::new();
    world.request(&cast("ann"), "ap-1", topic("orders"), HOUR).unwrap();
    world.hold(&cast("ann"), "ap-2", b"x").unwrap();
    let decided = |id: &str, by| Change::Decided {
        approval: id.into(),
        decision: Decision::Approve,
        reason: "fine".into(),
        by,
        quorum: 1,
    };
    let automatic = DecidedBy::Automatic { rule: "no-quiet-deletion".into() };
    let again = |index: usize| world.log[index].change.clone();
    for (actor, change, expected) in [
        (cast("olga"), decided("ap-9", DecidedBy::Person), "approval ap-9 never began"),
        (cast("ann"), decided("ap-1", DecidedBy::Person), "ann decided on his own request ap-1"),
        (Actor::gateway(), decided("ap-1", DecidedBy::Person), "tidegate cannot decide on ap-1 in this way"),
        (cast("olga"), decided("ap-2", automatic), "olga cannot decide on ap-2 in this way"),
        (cast("ann"), again(0), "approval ap-1 begins a second time"),
        (cast("ann"), again(1), "approval ap-2 begins a second time"),
        (cast("ops"), Change::GrantRevoked { grant: "gr-9".into(), reason: "x".into() }, "grant gr-9 never began"),
        (
            Actor::gateway(),
            Change::Used { approval: "ap-1".into(), session: "s".into() },
            "ap-1 is no operation that could be used",
        ),
        (cast("aud"), Change::BreakGlassReviewed { id: "ap-1".into(), reason: "x".into() }, "ap-1 is no break-glass"),
    ] {
        let mut authority = world.authority.clone();
        let error = authority.apply(3, &ControlEvent::new(world.now, actor, change)).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(authority, world.authority, "nothing changed");
    }
    for found in [0, 1, 2, 4, u64::MAX] {
        let mut authority = world.authority.clone();
        let expected = Inconsistent::Order { expected: 3, found };
        assert_eq!(authority.apply(found, &world.log[1]), Err(expected));
    }
}

#[test]
fn hold_rules_name_operations_topics_and_configurations() {
    let policy = policy();
    let view = policy.view(&cast("ann").principal());
    let none = policy.view(&cast("janitor").principal());
    assert!(view.has_holds() && !none.has_holds());
    for (kind, topic, config, held) in [
        (HeldKind::DeleteTopics, Some("orders.eu"), None, true),
        (HeldKind::DeleteTopics, Some("other"), None, false),
        (HeldKind::CreateTopics, Some("orders"), None, false),
        (HeldKind::AlterConfigs, Some("orders"), Some("retention.ms"), true),
        (HeldKind::AlterConfigs, Some("orders"), Some("segment.ms"), false),
        (HeldKind::AlterAcls, None, None, true),
    ] {
        assert_eq!(view.hold_rule(kind, topic, config).is_some(), held, "{kind:?} {topic:?} {config:?}");
        assert!(none.hold_rule(kind, topic, config).is_none());
    }
    let rule = policy.hold_rule("no-quiet-deletion").unwrap();
    for (from, to, passes) in [
        (Some("1000"), Some("1001"), true),
        (Some("1000"), Some("1000"), true),
        (Some("1000"), Some("999"), false),
        (Some("1000"), Some("-1"), true),
        (Some("-1"), Some("9223372036854775806"), false),
        (Some("1000"), None, false),
        (None, Some("1000"), false),
        (Some("1000"), Some("1e9"), false),
    ] {
        assert_eq!(rule.passes("retention.ms", from, to), passes, "{from:?} {to:?}");
    }
    assert!(!rule.passes("segment.ms", Some("1"), Some("2")));
}
