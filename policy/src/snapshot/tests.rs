//! The policy file as a whole: the example, files with many mistakes, who is meant, fingerprints.

use std::sync::Arc;

use tidegate_core::words::{DataClass, Direction, Operation, Principal, Resource, Timestamp};

use super::*;
use crate::mask::Operator;
use crate::recording::{RecordingMode, WhenFull};

const EXAMPLE: &str = include_str!("../../../deploy/policy.example.yaml");

fn time(text: &str) -> Timestamp {
    text.parse::<document::text::Moment>().unwrap().0
}

fn principal(issuer: &str, name: &str, groups: &[&str]) -> Principal {
    let groups = groups.iter().map(|group| Arc::from(*group)).collect();
    Principal { issuer: issuer.into(), subject: name.into(), name: name.into(), groups }
}

fn problems(yaml: &str) -> Vec<String> {
    Snapshot::read(yaml, "policy.yaml", 1).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn a_snapshot_is_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Snapshot>();
}

#[test]
fn the_example_does_what_its_comments_say() {
    let policy = Snapshot::read(EXAMPLE, "policy.example.yaml", 7).unwrap();
    assert_eq!((policy.version(), policy.counts()), (7, (5, 7)));
    let services = "https://login.example.com/realms/services";
    let analyst = policy.view(&principal("idp", "ann", &["analysts"]));
    let shop = policy.view(&principal(services, "shop-backend", &[]));
    let impostor = policy.view(&principal("https://elsewhere", "shop-backend", &[]));
    let carol = policy.view(&principal("idp", "carol", &[]));
    let operator = policy.view(&principal("idp", "olga", &["platform-operators"]));
    let anonymous = policy.view(&Principal::anonymous());
    let day = "2026-11-24T10:00:00Z"; // a Tuesday, 11:00 in Berlin
    for (view, operation, resource, at, expected) in [
        (&analyst, Operation::Read, Resource::topic("orders"), day, "analysts-read-orders"),
        (&analyst, Operation::Read, Resource::Group("analysts-1"), day, "analysts-read-orders"),
        (&analyst, Operation::Write, Resource::topic("orders"), day, "no grant"),
        (
            &analyst,
            Operation::Read,
            Resource::topic("orders"),
            "2027-06-30T22:00:00Z",
            "grant analysts-read-orders ended 2027-06-30T22:00:00Z",
        ),
        (&shop, Operation::Write, Resource::partition("shop.carts", 3), day, "shop-writes-orders"),
        (&shop, Operation::Write, Resource::TransactionalId("shop-1"), day, "shop-writes-orders"),
        (&shop, Operation::IdempotentWrite, Resource::Cluster, day, "shop-writes-orders"),
        (&impostor, Operation::Write, Resource::partition("shop.carts", 3), day, "no grant"),
        (&carol, Operation::Read, Resource::partition("orders", 5), day, "support-office-hours"),
        (&carol, Operation::Read, Resource::partition("orders", 1), day, "no grant"),
        (
            &carol,
            Operation::Read,
            Resource::partition("orders", 5),
            "2026-11-24T19:00:00Z",
            "grant support-office-hours outside its window",
        ),
        (&carol, Operation::Read, Resource::partition("orders", 5), "2026-11-28T02:00:00Z", "support-office-hours"),
        (&operator, Operation::Alter, Resource::Cluster, day, "platform-operations"),
        (&carol, Operation::Describe, Resource::topic("anything"), day, "catalogue"),
        (&anonymous, Operation::Describe, Resource::topic("anything"), day, "no grant"),
    ] {
        let decision = view.authorise(operation, resource, time(at));
        assert_eq!(&*decision.rule, expected, "{operation:?} {resource:?} at {at}");
    }
    let card = |view: &View, topic: &str, direction| {
        view.mask(topic, direction)
            .and_then(|plan| plan.entry(DataClass::PaymentCard).map(|entry| entry.operator.clone()))
    };
    let fraud = policy.view(&principal(services, "fraud-detection", &[]));
    assert_eq!(card(&carol, "orders", Direction::Fetch), Some(Operator::KeepLast(4)));
    assert_eq!(card(&analyst, "orders", Direction::Fetch), Some(Operator::Redact));
    assert_eq!(card(&anonymous, "orders", Direction::Fetch), Some(Operator::Redact));
    assert_eq!(card(&fraud, "orders", Direction::Fetch), Some(Operator::None));
    assert_eq!(card(&analyst, "orders", Direction::Produce), None);
    assert_eq!(card(&fraud, "logs.web", Direction::Produce), Some(Operator::Replace("(card number removed)".into())));
}

#[test]
fn a_file_with_many_mistakes_reports_them_all_with_their_lines() {
    let yaml = r#"version: 1
on_unparsable: reject
grants:
  - name: a
    purpose: p
    principals: [alice]
    resources: [{topic: "orders.*"}]
    operations: [read]
    not_before: 2026-02-01T00:00:00Z
    not_after: 2026-01-01T00:00:00Z
  - name: a
    purpose: " "
    resources: [{group: g, topic: t}]
    operations: [read]
  - name: b
    purpose: p
    everyone: true
    resources: [{topic: t, partitions: [0-3, 2]}, {}]
    operations: [create_tokens]
    operatons: [read]
    windows: [{from: "08:00", to: "08:00", timezone: UTC}]
masks:
  - name: m
    topics: [t]
    classes: [email, email]
    operator: redact
"#;
    assert_eq!(
        problems(yaml),
        [
            "policy.yaml:2:1: on_unparsable: unknown key; did you mean `on_unparseable`?",
            "policy.yaml:7:18: grants[0].resources[0].topic: `*` is no pattern; for every name that begins so write `{prefix: orders.}`",
            "policy.yaml:10:5: grants[0].not_after: the grant ends before it begins at 2026-02-01T00:00:00Z",
            "policy.yaml:11:5: grants[1]: is for nobody; give `principals`, `groups` or `everyone: true`",
            "policy.yaml:11:5: grants[1].name: `a` is also the name of grants[0]",
            "policy.yaml:12:5: grants[1].purpose: must not be blank",
            "policy.yaml:13:17: grants[1].resources[0]: names `topic` and `group` at once; give each an item of its own",
            "policy.yaml:18:17: grants[2].resources[0]: none of the grant's operations applies to it",
            "policy.yaml:18:46: grants[2].resources[0].partitions[1]: overlaps with `0-3`",
            "policy.yaml:18:51: grants[2].resources[1]: names no resource; give `topic`, `group`, `transactional_id`, `cluster`, `delegation_token` or `user`",
            "policy.yaml:19:18: grants[2].operations[0]: `create_tokens` applies to none of the grant's resources",
            "policy.yaml:20:5: grants[2].operatons: unknown key; did you mean `operations`?",
            "policy.yaml:21:31: grants[2].windows[0].to: is the same as `from`; for a whole day write 00:00 to 24:00",
            "policy.yaml:23:5: masks[0]: is for nobody; give `principals`, `groups` or `everyone: true`",
            "policy.yaml:25:22: masks[0].classes[1]: repeats item 0 of this list",
        ]
    );
}

#[test]
fn mistakes_of_structure_are_said_in_peoples_words() {
    let yaml = r#"version: 2
grants:
  - name: 12
    purpose: p
    principals: [alice]
    resources: [{topic: {prefx: a}, partitions: [x, -1]}]
    operations: [raed, 3]
    not_after: tomorrow
    windows: [{from: "25:00", to: "18:00", timezone: Europe/Berln, days: [mond]}]
  - purpose:
    resources: []
    operations: read
masks:
  - {name: m, topics: [t], everyone: true, classes: [emial], operator: redct}
  - {name: n, topics: [t], everyone: true, classes: [email], operator: {keep_last: 0}}
  - {name: o, topics: [t], everyone: true, classes: [email], operator: {keep: 4}}
"#;
    let found = problems(yaml);
    for expected in [
        "policy.yaml:1:1: version: must be at most 1",
        "policy.yaml:3:5: grants[0].name: expected a text, not a whole number; put `12` in quotes",
        "policy.yaml:6:26: grants[0].resources[0].topic.prefx: unknown key; did you mean `prefix`?",
        "policy.yaml:6:50: grants[0].resources[0].partitions[0]: `x` is not a range of partitions such as `0-3`",
        "policy.yaml:6:53: grants[0].resources[0].partitions[1]: must be at least 0",
        "policy.yaml:7:18: grants[0].operations[0]: `raed` is not one of `read`, `write`, `create`, `delete`, `alter`, `describe`, \
         `cluster_action`, `describe_configs`, `alter_configs`, `idempotent_write`, `create_tokens`, `describe_tokens`, \
         `two_phase_commit`, `all`; did you mean `read`?",
        "policy.yaml:7:24: grants[0].operations[1]: expected a text, not a whole number; put `3` in quotes",
        "policy.yaml:8:5: grants[0].not_after: `tomorrow` is not a time such as `2026-03-31T18:00:00+02:00` or `2026-03-31T16:00:00Z`",
        "policy.yaml:9:16: grants[0].windows[0].from: `25:00` is not a time of day such as `08:30` (00:00 to 24:00)",
        "policy.yaml:9:44: grants[0].windows[0].timezone: `Europe/Berln` is not a time zone of the IANA database, such as `Europe/Berlin`",
        "policy.yaml:9:75: grants[0].windows[0].days[0]: `mond` is not a day such as `mon`, or days such as `mon-fri`",
        "policy.yaml:10:5: grants[1]: the key `name` is missing",
        "policy.yaml:10:5: grants[1].purpose: a value is missing; expected a text",
        "policy.yaml:11:5: grants[1].resources: must not be empty",
        "policy.yaml:12:5: grants[1].operations: expected a list, not the text `read`",
        "policy.yaml:14:62: masks[0].operator: `redct` is not one of `redact`, `nullify`, `generalise`, `drop_record`; did you mean `redact`?",
        "policy.yaml:15:73: masks[1].operator.keep_last: must be at least 1",
        "policy.yaml:16:62: masks[2].operator: expected one of the keys `keep_last`, `replace`, `truncate`, `pseudonym`, `encrypt`",
    ] {
        assert!(found.iter().any(|problem| problem == expected), "missing: {expected}\nin {found:#?}");
    }
    assert!(
        found.iter().any(|problem| problem.starts_with("policy.yaml:7:24: grants[0].operations[1]: expected")),
        "{found:#?}"
    );
    assert_eq!(found.len(), 18, "{found:#?}");
}

#[test]
fn the_fingerprint_follows_the_meaning_not_the_layout() {
    let read = |yaml: &str| Snapshot::read(yaml, "p", 1).unwrap().fingerprint().to_owned();
    let one = read("version: 1\ngrants: []\n");
    assert_eq!(one, read("# comment\ngrants:   []\nversion: 1\n"));
    assert_ne!(one, read("version: 1\non_unparseable: pass\n"));
    assert!(one.starts_with("sha256:") && one.len() == 7 + 64);
}

#[test]
fn who_is_meant() {
    let named = |name: &str, issuer: Option<&str>| Named { name: name.into(), issuer: issuer.map(Into::into) };
    let alice = Who { principals: vec![named("alice", None)], ..Who::default() };
    let alice_of_a = Who { principals: vec![named("alice", Some("a"))], ..Who::default() };
    let ops_of_a = Who { groups: vec![named("ops", Some("a"))], ..Who::default() };
    let everyone = Who { everyone: true, ..Who::default() };
    let unauthenticated = Who { principals: vec![named("ANONYMOUS", None)], ..Who::default() };
    for (who, principal, granted, masked) in [
        (&alice, principal("b", "alice", &[]), true, true),
        (&alice, principal("b", "bob", &["alice"]), false, false),
        (&alice_of_a, principal("a", "alice", &[]), true, true),
        (&alice_of_a, principal("b", "alice", &[]), false, false),
        (&ops_of_a, principal("a", "x", &["dev", "ops"]), true, true),
        (&ops_of_a, principal("b", "x", &["ops"]), false, false),
        (&ops_of_a, principal("a", "ops", &[]), false, false),
        (&everyone, principal("a", "x", &[]), true, true),
        (&everyone, Principal::anonymous(), false, true),
        (&unauthenticated, Principal::anonymous(), true, true),
        (&unauthenticated, principal("a", "ANONYMOUS", &[]), false, false),
    ] {
        assert_eq!((who.grants_to(&principal), who.masks_for(&principal)), (granted, masked), "{who:?} {principal:?}");
    }
}

#[test]
fn every_key_of_the_file_is_explained_in_the_schema() {
    fn visit(path: &str, schema: &serde_json::Value, unexplained: &mut Vec<String>) {
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            if property["description"].as_str().unwrap_or_default().is_empty() {
                unexplained.push(format!("{path}.{key}"));
            }
        }
        for (key, inner) in schema.as_object().into_iter().flatten() {
            visit(&format!("{path}/{key}"), inner, unexplained);
        }
        for inner in schema.as_array().into_iter().flatten() {
            visit(path, inner, unexplained);
        }
    }
    let schema = document::schema::<PolicyFile>();
    let mut unexplained = Vec::new();
    visit("", &schema, &mut unexplained);
    // The operators' descriptions stand one level up, where the variants are.
    unexplained.retain(|path| !path.starts_with("/$defs/OperatorRule/oneOf."));
    assert!(unexplained.is_empty(), "{unexplained:?}");
}

proptest::proptest! {
    /// A policy file is text from outside: whatever one character does to it, there is a snapshot
    /// or there are problems, never a panic.
    #[test]
    fn a_damaged_file_is_read_or_refused(at in 0..EXAMPLE.len(), with in "[\\x00-\\x7f]{0,3}", cut in 0..8usize) {
        let (before, rest) = EXAMPLE.as_bytes().split_at(at);
        let after = rest.get(cut..).unwrap_or_default();
        let text = String::from_utf8_lossy(&[before, with.as_bytes(), after].concat()).into_owned();
        match Snapshot::read(&text, "p.yaml", 1) {
            Ok(snapshot) => drop(snapshot.view(&principal("idp", "carol", &["analysts"]))),
            Err(problems) => proptest::prop_assert!(!problems.is_empty()),
        }
    }
}

#[test]
fn keys_are_read_and_checked() {
    let yaml = r#"
version: 1
keys:
  - {name: customers, epoch: 2, file: customers.key}
masks:
  - {name: joinable, topics: [t], everyone: true, classes: [email], operator: {pseudonym: customers}}
  - {name: testable, topics: [t], everyone: true, classes: [payment_card], operator: {encrypt: customers}}
  - {name: coarse, topics: [t], everyone: true, classes: [ipv4], operator: generalise}
"#;
    let secret = |file: &str| if file == "customers.key" { Ok(vec![7; 32]) } else { Err("gone".to_owned()) };
    let snapshot = Snapshot::read_with_keys(yaml, "p", 1, &secret).unwrap();
    assert_eq!(snapshot.counts(), (0, 3));
    assert_eq!(snapshot.key_files(), ["customers.key"]);
    let other = Snapshot::read_with_keys(yaml, "p", 1, &|_| Ok(vec![8; 32])).unwrap();
    assert_ne!(other.fingerprint(), snapshot.fingerprint(), "another secret is another policy");
    let problems = |yaml: &str, secret: ReadKey<'_>| -> Vec<String> {
        Snapshot::read_with_keys(yaml, "p", 1, secret).unwrap_err().iter().map(ToString::to_string).collect()
    };
    assert_eq!(problems(yaml, &|_| Err("gone".to_owned())), ["p:4:33: keys[0].file: cannot be read: gone"]);
    assert_eq!(
        problems(yaml, &|_| Ok(vec![7; 31])),
        ["p:4:33: keys[0].file: holds 31 bytes; a secret has at least 32"]
    );
    let wrong =
        yaml.replace("[email]", "[email, ipv4]").replace("[payment_card]", "[email]").replace("[ipv4], ", "[phone], ");
    let wrong = wrong.replace("{encrypt: customers}", "{encrypt: custmers}");
    let wrong = problems(&wrong, &secret);
    assert_eq!(wrong.len(), 3, "{wrong:?}");
    assert!(wrong[0].ends_with("masks[1].classes[0]: the rule's operator cannot be used for `email`"), "{wrong:?}");
    assert!(wrong[1].ends_with("masks[1].operator: there is no key `custmers` under `keys`"), "{wrong:?}");
    assert!(wrong[2].ends_with("masks[2].classes[0]: the rule's operator cannot be used for `phone`"), "{wrong:?}");
}

#[test]
fn what_a_mask_rule_is_about_is_checked() {
    let text = r#"
version: 1
classes:
  - {name: Badge, regex: '\d+'}
  - {name: email, regex: 'x'}
  - {name: own, regex: '(a', keywords: [ok, "--"]}
  - {name: fine, regex: 'KD-\d+', check: luhn}
masks:
  - {name: a, topics: [t], everyone: true, classes: [emial, fine], operator: redact}
  - {name: b, topics: [t], everyone: true, operator: redact}
  - {name: c, topics: [t], everyone: true, fields: [{path: customer.name}, {path: $.a, name: a}, {}, {column: 1}, {name: "-"}], operator: redact}
  - {name: d, topics: [t], everyone: true, fields: [{names_of: jwt}, {path: $.a, class: fien}], operator: redact}
  - name: e
    topics: [t]
    everyone: true
    csv: {separator: '"', columns: [id, name]}
    fields: [{path: $.a}, {column: nmae}, {column: 3}, {column: Name}]
    operator: redact
  - {name: f, topics: [t], everyone: true, csv: {}, fields: [{name: x}], operator: redact}
  - {name: g, topics: [t], everyone: true, classes: [fine], fields: [{path: $.a}, {path: $.b, class: email}], operator: generalise}
"#;
    let problems: Vec<String> =
        Snapshot::read(text, "policy.yaml", 1).unwrap_err().iter().map(ToString::to_string).collect();
    let expected = [
        "4:6: classes[0].name: may have small letters, digits and `_` only",
        "5:6: classes[1].name: `email` is a built-in class",
        "6:17: classes[2].regex: is not a regular expression: unclosed group",
        "6:45: classes[2].keywords[1]: has no letter or digit",
        "masks[0].classes[0]: `emial` is neither a built-in class nor one under `classes`; did you mean `email`?",
        "masks[1]: masks nothing; give `classes` or `fields`",
        "masks[2].fields[0].path: a path begins with `$`, as in `$.customer.email`",
        "masks[2].fields[1]: gives `path` and `name` at once; give each an item of its own",
        "masks[2].fields[2]: names no field; give `path`, `name`, `names_of`, `tag` or `column`",
        "masks[2].fields[3].column: only CSV has columns; say how to read it with the rule's `csv`",
        "masks[2].fields[4].name: has no letter or digit",
        "masks[3].fields[0].names_of: no names of fields are known for `jwt`; give `name`",
        "masks[3].fields[1].class: `fien` is neither a built-in class nor one under `classes`; did you mean `fine`?",
        "masks[4].csv.separator: cannot stand between fields",
        "masks[4].fields[0].path: CSV has columns, not paths; give `column` or `name`",
        "masks[4].fields[1].column: no column is named `nmae`",
        "masks[4].fields[2].column: there are only 2 columns",
        "masks[5].csv: fields are given by name, so say `header: true` or give `columns`",
        "masks[6].classes[0]: the rule's operator cannot be used for `fine`",
        "masks[6].fields[0]: the rule's operator needs a `class` that has ranges",
    ];
    for line in expected {
        assert!(problems.iter().any(|problem| problem.ends_with(line)), "missing: {line}\nin {problems:#?}");
    }
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
}

#[test]
fn fields_and_own_classes_reach_the_plan() {
    let text = r#"
version: 1
classes: [{name: badge, regex: 'B\d{4}', keywords: [badge]}]
masks:
  - {name: trial, topics: [t], everyone: true, mode: observe, classes: [email], operator: drop_record}
  - {name: own, topics: [t], everyone: true, except: {principals: [boss]}, classes: [badge, person_name], operator: redact}
  - {name: paths, topics: [t], everyone: true, fields: [{path: $.a.b, class: badge}, {names_of: phone}], operator: {keep_last: 1}}
  - {name: table, topics: [csv], everyone: true, csv: {header: true}, fields: [{column: n}], operator: redact}
"#;
    let snapshot = Snapshot::read(text, "policy.yaml", 1).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let masked = |name: &str, topic: &str, value: &str| {
        let principal = Principal { name: name.into(), ..Principal::anonymous() };
        let plan = snapshot.view(&principal).mask(topic, Direction::Fetch).unwrap();
        let mut pass = plan.begin();
        let masked = pass.value(value.as_bytes()).unwrap();
        let masked = masked.map_or(value.to_owned(), |masked| String::from_utf8(masked).unwrap());
        let counts: Vec<String> = pass
            .counts()
            .map(|(entry, count)| {
                format!("{} {} {} {} {count}", entry.rule, entry.class_name(), entry.field(), entry.outcome())
            })
            .collect();
        (masked, counts.join(", "))
    };
    let (value, counts) = masked("x", "t", r#"{"a":{"b":"xyz"},"lastName":"L","tel":"12","m":"badge B1234 a@b.cc"}"#);
    assert_eq!(value, r#"{"a":{"b":"**z"},"lastName":"[person_name]","tel":"*2","m":"badge [badge] a@b.cc"}"#);
    assert_eq!(
        counts,
        "trial email  observe 1, own badge  redact 1, own person_name  redact 1, paths badge $.a.b keep_last 1, \
         paths phone names of phone keep_last 1"
    );
    let (value, counts) = masked("boss", "t", r#"{"lastName":"L","m":"badge B1234"}"#);
    assert_eq!(value, r#"{"lastName":"L","m":"badge B1234"}"#);
    assert_eq!(counts, "own badge  none 1, own person_name  none 1");
    assert_eq!(masked("x", "csv", "id,n\n1,Ann\n").0, "id,n\n1,[field]\n");
}

#[test]
fn mistakes_in_the_sections_about_authority_are_named_with_their_places() {
    let yaml = r#"version: 1
requests:
  - name: a
    groups: [analysts]
    resources: [{topic: orders, group: x}, {topic: "orders*"}]
    operations: [read, read]
    duration_max: 0s
    approvers: {principals: ["*"]}
  - name: a
    resources: [{topic: orders}]
    operations: [create_tokens]
    duration_max: 400d
    approvers: {principals: [olga], quorum: 2}
holds:
  - name: h
    everyone: true
    operations: [delete_topics]
    configs: [retention.ms]
    unless: [{config: segment.ms, change: grows}]
    approvers: {}
    hold: 2h
    pending: 1h
    automatic: {url: "http://example.com/", secret_file: s}
break_glass:
  - {name: b, principals: ["*"], resources: [{cluster: false}], operations: [all], duration_max: 1h, review_within: 1h}
roles:
  admin: {}
notify:
  - {url: "ftp://x", events: [decided, decided]}
"#;
    assert_eq!(
        problems(yaml),
        [
            "policy.yaml:5:17: requests[0].resources[0]: names `topic` and `group` at once; give each an item of its own",
            "policy.yaml:5:45: requests[0].resources[1].topic: `*` is no pattern; for every name that begins so write `{prefix: orders}`",
            "policy.yaml:6:24: requests[0].operations[1]: repeats item 0 of this list",
            "policy.yaml:7:5: requests[0].duration_max: must be more than nothing",
            "policy.yaml:8:30: requests[0].approvers.principals[0]: not everyone can be meant here; name each",
            "policy.yaml:9:5: requests[1]: is for nobody; give `principals`, `groups` or `everyone: true`",
            "policy.yaml:9:5: requests[1].name: `a` is also the name of requests[0]",
            "policy.yaml:10:17: requests[1].resources[0]: none of the grant's operations applies to it",
            "policy.yaml:11:18: requests[1].operations[0]: `create_tokens` applies to none of the grant's resources",
            "policy.yaml:12:5: requests[1].duration_max: must be 366 days at most",
            "policy.yaml:13:37: requests[1].approvers.quorum: 1 approvers are named; nothing could be approved",
            "policy.yaml:18:5: holds[0].configs: needs `alter_configs` among the operations",
            "policy.yaml:19:5: holds[0].unless: needs `alter_configs` among the operations",
            "policy.yaml:19:15: holds[0].unless[0].config: `segment.ms` is not among the rule's `configs`",
            "policy.yaml:20:5: holds[0].approvers: is for nobody; give `principals`, `groups` or `everyone: true`",
            "policy.yaml:21:5: holds[0].hold: the client would wait longer than the question stays open",
            "policy.yaml:23:17: holds[0].automatic.url: must begin with https://, or with http:// and the machine itself",
            "policy.yaml:25:28: break_glass[0].principals[0]: not everyone can be meant here; name each",
            "policy.yaml:25:47: break_glass[0].resources[0].cluster: only `true` makes sense",
            "policy.yaml:27:3: roles.admin: is for nobody; give `principals`, `groups` or `everyone: true`",
            "policy.yaml:29:6: notify[0].url: must begin with https://, or with http:// and the machine itself",
            "policy.yaml:29:40: notify[0].events[1]: repeats item 0 of this list",
        ]
    );
}

#[test]
fn a_policy_without_rules_about_authority_allows_nothing_of_it() {
    let policy = Snapshot::read("version: 1\n", "policy.yaml", 1).unwrap();
    let anna = principal("idp", "anna", &["admin", "analysts"]);
    assert!(policy.roles(&anna).is_empty() && policy.notify().is_empty() && !policy.view(&anna).has_holds());
}

#[test]
fn recordings_go_by_the_first_rule_that_names_the_principal() {
    let key = format!("tidegate-auditor:{}A=", "A".repeat(42));
    let text = format!(
        "
version: 1
recordings:
  - name: machines
    groups: [machines]
    except: {{principals: [quiet]}}
    mode: headers
    topics: [{{prefix: orders}}]
  - name: suspects
    principals: [eve]
    mode: originals
    session_bytes_max: 1MiB
    keep: 3d
    when_full: close
    auditors: [{{name: dpo, key: \"{key}\"}}]
  - {{name: rest, everyone: true}}
"
    );
    let policy = Snapshot::read(&text, "policy.yaml", 1).unwrap();
    let rule = |name: &str, groups: &[&str]| policy.view(&principal("idp", name, groups)).recording().cloned().unwrap();
    assert_eq!(&*rule("m1", &["machines"]).name, "machines");
    assert!(rule("m1", &["machines"]).names_topic("orders-eu") && !rule("m1", &["machines"]).names_topic("hr"));
    assert_eq!(&*rule("quiet", &["machines"]).name, "rest");
    let eve = rule("eve", &[]);
    assert_eq!((eve.mode, eve.session_bytes_max, eve.keep_millis), (RecordingMode::Originals, 1 << 20, 259_200_000));
    assert_eq!((eve.when_full, eve.auditors.len(), eve.is_of_topics()), (WhenFull::Close, 1, false));
    assert_eq!(rule("bob", &[]).mode, RecordingMode::Masked);
    let none = Snapshot::read("version: 1", "policy.yaml", 1).unwrap();
    assert!(none.view(&principal("idp", "eve", &[])).recording().is_none());

    let wrong = problems(&format!(
        "
version: 1
recordings:
  - {{name: a, everyone: true, mode: originals}}
  - {{name: a, mode: masked, auditors: [{{name: x, key: \"{key}\"}}], keep: 0s}}
  - name: b
    principals: [p]
    mode: originals
    session_bytes_max: 1KiB
    topics: [\"a*\"]
    auditors: [{{name: x, key: \"tidegate-auditor-secret:AAAA\"}}, {{name: x, key: ssh-rsa}}]
"
    ));
    let expected = [
        ("recordings[0]", "originals are sealed"),
        ("recordings[1]", "is for nobody"),
        ("recordings[1]", "never decides"),
        ("recordings[1].name", "is also the name of recordings[0]"),
        ("recordings[1].auditors", "only `mode: originals` is sealed"),
        ("recordings[1].keep", "from 1s"),
        ("recordings[2]", "never decides"),
        ("recordings[2].topics[0]", "`*` is no pattern"),
        ("recordings[2].session_bytes_max", "64KiB at least"),
        ("recordings[2].auditors[0].key", "is a secret key"),
        ("recordings[2].auditors[1].key", "is no public key"),
        ("recordings[2].auditors[1]", "repeats the name"),
    ];
    for (path, words) in expected {
        let found = wrong.iter().any(|problem| problem.contains(path) && problem.contains(words));
        assert!(found, "{path}: {words} in {wrong:#?}");
    }
    assert_eq!(wrong.len(), expected.len(), "{wrong:#?}");
}
