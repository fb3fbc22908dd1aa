//! Decisions, row by row: policy × principal × operation × resource × time → expected; and the
//! property that nothing is allowed without a grant that says so.

use proptest::prelude::*;
use tidegate_core::words::{DataClass, Principal};

use super::*;
use crate::document::text::Moment;
use crate::snapshot::Snapshot;

fn time(text: &str) -> Timestamp {
    text.parse::<Moment>().unwrap().0
}

fn principal(name: &str) -> Principal {
    Principal { issuer: "idp".into(), subject: name.into(), name: name.into(), groups: vec!["staff".into()] }
}

/// The view of `alice` under grants written as YAML list items.
fn view(grants: &str) -> View {
    policy(&format!("version: 1\ngrants:\n{grants}"), "alice")
}

fn policy(yaml: &str, name: &str) -> View {
    match Snapshot::read(yaml, "policy.yaml", 3) {
        Ok(snapshot) => snapshot.view(&principal(name)),
        Err(problems) => panic!("{problems:#?}"),
    }
}

const NOON: &str = "2026-11-24T12:00:00Z";

fn check(view: &View, operation: Operation, resource: Resource<'_>, at: &str, expected: &str) {
    let decision = view.authorise(operation, resource, time(at));
    assert_eq!(&*decision.rule, expected, "{operation:?} {resource:?} at {at}");
    let denied = expected.starts_with("no grant") || expected.starts_with("grant ");
    assert_eq!(decision.allowed, !denied, "{operation:?} {resource:?} at {at}");
    assert_eq!(decision.purpose.is_empty(), denied, "{operation:?} {resource:?} at {at}");
}

#[test]
fn names_operations_and_implications() {
    use Operation as O;
    let view = view(
        r#"
  - {name: literal, purpose: p, principals: [alice], operations: [read], resources: [{topic: a}, {group: g}]}
  - {name: prefix, purpose: p, groups: [staff], operations: [write, alter_configs], resources: [{topic: {prefix: b.}}, {transactional_id: {prefix: tx}}]}
  - {name: any, purpose: p, everyone: true, operations: [delete], resources: [{group: "*"}]}
  - {name: cluster, purpose: p, principals: ["*"], operations: [create, alter], resources: [{cluster: true}]}
  - {name: tokens, purpose: p, principals: [alice], operations: [describe, create_tokens], resources: [{delegation_token: t}, {user: "User:bob"}]}
  - {name: other, purpose: p, principals: [bob], operations: [all], resources: [{topic: "*"}, {group: "*"}, {cluster: true}]}
"#,
    );
    for (operation, resource, expected) in [
        (O::Read, Resource::topic("a"), "literal"),
        (O::Read, Resource::partition("a", 7), "literal"),
        (O::Describe, Resource::topic("a"), "literal"),
        (O::DescribeConfigs, Resource::topic("a"), "no grant"),
        (O::Write, Resource::topic("a"), "no grant"),
        (O::Read, Resource::topic("aa"), "no grant"),
        (O::Read, Resource::topic(""), "no grant"),
        (O::Read, Resource::Group("a"), "no grant"),
        (O::Write, Resource::topic("b."), "prefix"),
        (O::Write, Resource::topic("b.c"), "prefix"),
        (O::Write, Resource::topic("b"), "no grant"),
        (O::Describe, Resource::topic("b.c"), "prefix"),
        (O::AlterConfigs, Resource::topic("b.c"), "prefix"),
        (O::DescribeConfigs, Resource::topic("b.c"), "prefix"),
        (O::Read, Resource::topic("b.c"), "no grant"),
        (O::Write, Resource::TransactionalId("tx-1"), "prefix"),
        (O::Describe, Resource::TransactionalId("tx-1"), "prefix"),
        (O::Write, Resource::TransactionalId("t"), "no grant"),
        (O::Delete, Resource::Group("whatever"), "any"),
        (O::Describe, Resource::Group("whatever"), "any"),
        (O::Describe, Resource::Group("g"), "literal"),
        (O::Read, Resource::Group("whatever"), "no grant"),
        (O::Create, Resource::Cluster, "cluster"),
        (O::Describe, Resource::Cluster, "cluster"),
        (O::ClusterAction, Resource::Cluster, "no grant"),
        (O::Describe, Resource::DelegationToken("t"), "tokens"),
        (O::Describe, Resource::DelegationToken("u"), "no grant"),
        (O::CreateTokens, Resource::User("User:bob"), "tokens"),
        (O::DescribeTokens, Resource::User("User:bob"), "no grant"),
        (O::IdempotentWrite, Resource::Cluster, "prefix"),
    ] {
        check(&view, operation, resource, NOON, expected);
    }
    for (operation, like, allowed) in [
        (O::Write, Resource::topic(""), true),
        (O::Read, Resource::topic("x"), true),
        (O::Create, Resource::topic("x"), false),
        (O::Read, Resource::Group(""), true),
        (O::Write, Resource::TransactionalId(""), true),
        (O::TwoPhaseCommit, Resource::TransactionalId(""), false),
    ] {
        assert_eq!(view.authorise_any(operation, like, time(NOON)).allowed, allowed, "{operation:?} {like:?}");
    }
    assert_eq!(view.version(), 3);
}

#[test]
fn a_grant_of_partitions_covers_them_and_describe_of_the_topic() {
    use Operation as O;
    let view = view(
        r#"
  - {name: some, purpose: p, principals: [alice], operations: [read, delete], resources: [{topic: t, partitions: [1, 4-5]}]}
  - {name: everything, purpose: p, principals: [alice], operations: [all], resources: [{topic: u, partitions: [0]}]}
"#,
    );
    for (operation, resource, expected) in [
        (O::Read, Resource::partition("t", 1), "some"),
        (O::Read, Resource::partition("t", 4), "some"),
        (O::Read, Resource::partition("t", 5), "some"),
        (O::Read, Resource::partition("t", 0), "no grant"),
        (O::Read, Resource::partition("t", 6), "no grant"),
        (O::Read, Resource::partition("t", -1), "no grant"),
        (O::Read, Resource::topic("t"), "no grant"),
        (O::Delete, Resource::topic("t"), "no grant"),
        (O::Delete, Resource::partition("t", 1), "some"),
        (O::Describe, Resource::topic("t"), "some"),
        (O::Describe, Resource::partition("t", 1), "some"),
        (O::Describe, Resource::partition("t", 2), "no grant"),
        (O::Alter, Resource::topic("u"), "no grant"),
        (O::Describe, Resource::topic("u"), "everything"),
        (O::Write, Resource::partition("u", 0), "everything"),
        (O::IdempotentWrite, Resource::Cluster, "everything"),
    ] {
        check(&view, operation, resource, NOON, expected);
    }
}

#[test]
fn time_decides_and_the_denial_says_so() {
    let view = view(
        r#"
  - {name: past, purpose: p, principals: [alice], operations: [read], resources: [{topic: a}, {topic: d}], not_after: 2026-01-01T00:00:00Z}
  - {name: future, purpose: p, principals: [alice], operations: [write], resources: [{topic: b}], not_before: 2027-01-01T00:00:00Z}
  - name: night
    purpose: p
    principals: [alice]
    operations: [read]
    resources: [{topic: c}]
    windows: [{from: "22:00", to: "06:00", timezone: Europe/Berlin, days: [mon-fri]}]
  - {name: present, purpose: p, principals: [alice], operations: [read], resources: [{topic: d}]}
"#,
    );
    for (operation, topic, at, expected) in [
        (Operation::Read, "a", "2025-12-31T23:59:59.999999Z", "past"),
        (Operation::Read, "a", "2026-01-01T00:00:00Z", "grant past ended 2026-01-01T00:00:00Z"),
        (Operation::Describe, "a", NOON, "grant past ended 2026-01-01T00:00:00Z"),
        (Operation::Write, "a", NOON, "no grant"),
        (Operation::Write, "b", NOON, "grant future starts 2027-01-01T00:00:00Z"),
        (Operation::Write, "b", "2027-01-01T00:00:00Z", "future"),
        (Operation::Read, "c", NOON, "grant night outside its window"),
        (Operation::Read, "c", "2026-11-24T21:00:00Z", "night"),
        (Operation::Read, "c", "2026-11-28T04:59:59Z", "night"),
        (Operation::Read, "c", "2026-11-28T05:00:00Z", "grant night outside its window"),
        (Operation::Read, "c", "2026-11-24T21:00:00Z", "night"),
        (Operation::Read, "d", NOON, "present"),
        (Operation::Read, "d", "2025-06-01T00:00:00Z", "past"),
    ] {
        check(&view, operation, Resource::topic(topic), at, expected);
    }
}

#[test]
fn the_end_of_all_grants() {
    let grant = |name: &str, more: &str| {
        format!(
            "  - {{name: {name}, purpose: p, principals: [alice], operations: [read], resources: [{{topic: t}}], {more}}}\n"
        )
    };
    let january = grant("january", "not_before: 2026-01-01T00:00:00Z, not_after: 2026-02-01T00:00:00Z");
    let february = grant("february", "not_before: 2026-02-01T00:00:00Z, not_after: 2026-03-01T00:00:00Z");
    let april = grant("april", "not_before: 2026-04-01T00:00:00Z, not_after: 2026-05-01T00:00:00Z");
    let office = grant("office", "windows: [{from: \"08:00\", to: \"18:00\", timezone: UTC}]");
    let shifts = grant(
        "shifts",
        "windows: [{from: \"06:00\", to: \"14:00\", timezone: UTC}, {from: \"14:00\", to: \"22:00\", timezone: UTC}]",
    );
    let forever = grant("forever", "");
    let around_the_clock = grant("clock", "windows: [{from: \"00:00\", to: \"24:00\", timezone: Europe/Berlin}]");
    for (grants, at, expected) in [
        (vec![&january], "2026-01-15T00:00:00Z", Some("2026-02-01T00:00:00Z")),
        (vec![&january, &february, &april], "2026-01-15T00:00:00Z", Some("2026-03-01T00:00:00Z")),
        (vec![&april], "2026-01-15T00:00:00Z", Some("2026-01-15T00:00:00Z")),
        (vec![&january, &forever], "2026-01-15T00:00:00Z", None),
        (vec![&january, &office], "2026-01-15T10:00:00Z", Some("2026-02-01T00:00:00Z")),
        (vec![&january, &office], "2026-01-31T10:00:00Z", Some("2026-02-01T00:00:00Z")),
        (vec![&office], "2026-01-15T10:00:00Z", Some("2026-01-15T18:00:00Z")),
        (vec![&office, &shifts], "2026-01-15T10:00:00Z", Some("2026-01-15T22:00:00Z")),
        (vec![&around_the_clock], "2026-01-15T10:00:00Z", None),
        (vec![], "2026-01-15T10:00:00Z", Some("2026-01-15T10:00:00Z")),
    ] {
        let grants: String = grants.into_iter().map(String::as_str).collect();
        let list = if grants.is_empty() { "  []\n" } else { &grants };
        let view = view(list);
        let end = view.grants_end(time(at));
        assert_eq!(end, expected.map(time), "{grants} at {at}");
        assert_eq!(view.has_any_grant(time(at)), end != Some(time(at)), "{grants} at {at}");
        if let Some(end) = end {
            assert!(!view.has_any_grant(end), "{grants}");
        }
    }
}

#[test]
fn masks_by_topic_direction_class_and_exemption() {
    let yaml = r#"
version: 1
masks:
  - {name: cards, topics: [t], groups: [staff], except: {principals: [auditor]}, classes: [payment_card], operator: {keep_last: 4}, keys: true}
  - {name: rest, topics: [t, {prefix: u}], everyone: true, classes: [email, payment_card], operator: redact}
  - {name: in, topics: ["*"], principals: [alice], directions: [produce], classes: [phone], operator: {replace: x}}
"#;
    let plan = |name: &str, topic: &str, direction| {
        let view = policy(yaml, name);
        let first = view.mask(topic, direction);
        assert_eq!(first, view.mask(topic, direction), "remembered as it was compiled");
        let entry = |class| {
            first.as_ref().and_then(|plan| plan.entry(class)).map(|e| (e.rule.to_string(), e.operator.clone(), e.keys))
        };
        [DataClass::Email, DataClass::Phone, DataClass::PaymentCard].map(entry)
    };
    let rule = |name: &str, operator, keys| Some((name.to_owned(), operator, keys));
    let redact = || rule("rest", Operator::Redact, false);
    assert_eq!(plan("alice", "t", Direction::Fetch), [redact(), None, rule("cards", Operator::KeepLast(4), true)]);
    assert_eq!(plan("auditor", "t", Direction::Fetch), [redact(), None, rule("cards", Operator::None, true)]);
    assert_eq!(plan("alice", "u2", Direction::Fetch), [redact(), None, redact()]);
    assert_eq!(plan("alice", "v", Direction::Produce), [None, rule("in", Operator::Replace("x".into()), false), None]);
    assert!(policy(yaml, "alice").mask("v", Direction::Fetch).is_none());
    assert!(policy(yaml, "bob").mask("t", Direction::Produce).is_none());
}

#[test]
fn plans_of_many_topics_stay_bounded() {
    let view = policy(
        "{version: 1, masks: [{name: m, topics: ['*'], everyone: true, classes: [email], operator: redact}]}",
        "alice",
    );
    for topic in 0..PLANS_MAX + 10 {
        assert!(view.mask(&format!("t{topic}"), Direction::Fetch).is_some());
    }
    assert!(view.plans.iter().all(|plans| plans.borrow().len() <= PLANS_MAX));
}

/// A grant as a row: topic name or prefix, whether it is a prefix, operations, partitions.
type Row = (String, bool, Vec<Operation>, Option<(i32, i32)>);

/// What the policy file says about one question, read off the rows in the plainest way.
fn allowed_by(rows: &[Row], operation: Operation, name: &str, partition: Option<i32>) -> bool {
    rows.iter().any(|(pattern, prefixed, operations, partitions)| {
        let names = if *prefixed { name.starts_with(pattern.as_str()) } else { name == pattern };
        let covers = match (partitions, partition) {
            (None, _) => true,
            (Some((first, last)), Some(partition)) => (*first..=*last).contains(&partition),
            (Some(_), None) => operation == Operation::Describe,
        };
        names && covers && operations.iter().any(|granted| granted.implies(operation))
    })
}

proptest! {
    #[test]
    fn nothing_is_allowed_without_a_grant_that_says_so(
        rows in prop::collection::vec(
            (
                "[ab]{1,3}",
                any::<bool>(),
                prop::sample::subsequence(vec![Operation::Read, Operation::Write, Operation::Describe, Operation::Delete], 1..=3),
                prop::option::of((0..4i32, 0..3i32).prop_map(|(first, more)| (first, first + more))),
            ),
            0..6,
        ),
        operation in prop::sample::select(Operation::ALL.to_vec()),
        name in "[ab]{0,4}",
        partition in prop::option::of(-1..6i32),
    ) {
        let mut yaml = String::from("version: 1\ngrants:\n");
        for (index, (pattern, prefixed, operations, partitions)) in rows.iter().enumerate() {
            let topic = if *prefixed { format!("{{prefix: {pattern}}}") } else { pattern.clone() };
            let operations: Vec<&str> = operations.iter().map(|operation| operation.name()).collect();
            let only = partitions.map(|(first, last)| format!(", partitions: [{first}-{last}]")).unwrap_or_default();
            yaml += &format!(
                "  - {{name: g{index}, purpose: p, principals: [alice], operations: [{}], resources: [{{topic: {topic}{only}}}]}}\n",
                operations.join(", "),
            );
        }
        if rows.is_empty() {
            yaml += "  []\n";
        }
        let expected = allowed_by(&rows, operation, &name, partition);
        let resource = Resource::Topic { name: &name, partition };
        let alice = policy(&yaml, "alice");
        let decision = alice.authorise(operation, resource, time(NOON));
        prop_assert_eq!(decision.allowed, expected, "{}", yaml);
        let mallory = policy(&yaml, "mallory");
        prop_assert!(!mallory.authorise(operation, resource, time(NOON)).allowed);
        prop_assert!(!mallory.has_any_grant(time(NOON)));
        prop_assert!(!alice.authorise(operation, Resource::Group(&name), time(NOON)).allowed);
    }
}
