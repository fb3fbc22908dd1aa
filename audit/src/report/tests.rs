//! Reports of evidence that is made here: what they add up, what they must not say, and that clients' texts
//! stay text in every form.

use std::collections::BTreeSet;

use tidegate_core::event::{Event, FindingCount, Kind, Outcome, ResourceUse, SubjectTags, push_posting};
use tidegate_core::words::Timestamp;

use super::observed::Observed;
use super::processing::{Activity, Declared, Recipient, Side, drift};
use super::*;
use crate::log::{LogOptions, ShardLog};
use crate::query::{Indexes, Query};
use crate::subject::account::Account;
use crate::subject::{Answer, Found, Hit};

const HOSTILE: &str = "<script>alert(1)</script> | `x` & \u{1b}[2J";

fn finding(topic: &str, class: &str, operator: &str) -> FindingCount {
    FindingCount {
        topic: topic.into(),
        class: class.into(),
        operator: operator.into(),
        count: 2,
        ..FindingCount::default()
    }
}

fn resource(topic: &str, allowed: bool) -> ResourceUse {
    ResourceUse {
        kind: "topic".into(),
        name: topic.into(),
        partition: Some(0),
        allowed,
        rule: "grant-1".into(),
        purpose: "billing".into(),
        records: 10,
        bytes: 100,
        ..ResourceUse::default()
    }
}

fn exchange(
    n: i64,
    api: &str,
    principal: &str,
    group: &str,
    resources: Vec<ResourceUse>,
    findings: Vec<FindingCount>,
) -> Event {
    Event {
        time_micros: 1_700_000_000_000_000 + n * 1_000_000,
        kind: Kind::Exchange as i32,
        outcome: Outcome::Allowed as i32,
        api: api.into(),
        principal: principal.into(),
        groups: vec![group.into()],
        session: format!("s{n}"),
        resources,
        findings,
        ..Event::default()
    }
}

fn hit(n: u64, event: Event, found: Vec<Found>) -> Hit {
    Hit { shard: 0, sequence: n, epoch: 1, event, found }
}

fn found(topic: &str, operator: &str, offsets: &[i64]) -> Found {
    Found {
        class: "email".into(),
        finding: finding(topic, "email", operator),
        partition: 0,
        offsets: offsets.to_vec(),
        offsets_known: true,
    }
}

fn account() -> Account {
    let of = |api: &str, who: &str, topic: &str| {
        exchange(1, api, who, "analysts", vec![resource(topic, true)], vec![finding(topic, "email", "redact")])
    };
    let failed = Event { outcome: Outcome::UpstreamFailed as i32, ..of("Fetch", "mallory", "orders") };
    Account::new(&Answer {
        hits: vec![
            hit(0, of("Produce", "shop", "orders"), vec![found("orders", "observe", &[5])]),
            hit(1, of("Fetch", "bob", "orders"), vec![found("orders", "redact", &[5, 6, 9])]),
            hit(2, of("Fetch", HOSTILE, "orders"), vec![found("orders", "none", &[6, 7])]),
            // Masked before it was stored, and a response that never left.
            hit(3, of("Produce", "shop", "clean"), vec![found("clean", "redact", &[1])]),
            hit(4, failed, vec![found("orders", "none", &[99])]),
        ],
        ..Answer::default()
    })
}

#[test]
fn an_account_says_who_got_what_in_which_form() {
    let account = account();
    let messages: Vec<_> = account.messages.iter().map(|m| (m.topic.as_str(), m.offsets.clone(), m.count)).collect();
    assert_eq!(messages, [("orders", vec![(5, 7), (9, 9), (99, 99)], 5)]);
    let recipients: BTreeSet<&str> = account.recipients.iter().map(|party| party.principal.as_str()).collect();
    assert_eq!(recipients, BTreeSet::from([HOSTILE, "bob"]));
    let bob = account.recipients.iter().find(|party| party.principal == "bob").unwrap();
    assert_eq!((bob.messages, bob.entries, bob.first_entries[0].as_str()), (3, 1, "0/1"));
    assert_eq!(bob.classes["email"], BTreeSet::from(["masked (redact)".to_owned()]));
    assert_eq!(account.sources.len(), 1);
    assert_eq!(account.accesses.iter().filter(|access| !access.completed).count(), 1);
}

#[test]
fn texts_of_clients_stay_text_and_the_subjects_report_names_nobody() {
    let basis = subject::Basis { value: "alice@example.com".into(), made: "now".into(), ..subject::Basis::default() };
    let internal = subject::internal(&account(), &basis);
    let answer = subject::for_subject(&account(), &basis);
    let page = internal.write(Format::Html);
    assert!(page.starts_with("<!DOCTYPE html>") && !page.contains("<script>") && page.contains("&lt;script&gt;"));
    assert!(page.contains("bob") && page.contains("5-7, 9") && page.contains("Art. 19"));
    let markdown = internal.write(Format::Markdown);
    assert!(markdown.contains("\\<script\\>") && !markdown.contains('\u{1b}') && !markdown.contains(" | `x` & "));
    for format in [Format::Html, Format::Markdown, Format::Json] {
        let text = answer.write(format);
        assert!(!text.contains("bob") && !text.contains("script") && !text.contains("grant-1"), "{text}");
        assert!(text.contains("billing") && text.contains("analysts"), "{text}");
    }
    let data: serde_json::Value = serde_json::from_str(&internal.write(Format::Json)).unwrap();
    assert_eq!(data["account"]["recipients"].as_array().unwrap().len(), 2);
    assert_eq!(data["complete"], true);
}

/// Evidence of twelve exchanges on two topics.
fn evidence() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let (mut log, _) = ShardLog::open(root.path(), 0, "gw", LogOptions::default(), Timestamp(0)).unwrap();
    for n in 0..12_i64 {
        let (topic, class) = if n % 3 == 0 { ("hr", "iban") } else { ("orders", "email") };
        let who = ["anna", "bob"][(n % 2) as usize];
        let mut event =
            exchange(n, "Fetch", who, "staff", vec![resource(topic, true)], vec![finding(topic, class, "none")]);
        let mut tags = SubjectTags { base_offset: Some(0), ..SubjectTags::default() };
        push_posting(&mut tags.postings, 0, n, (n % 5) as u64);
        event.subjects.push(tags);
        event.subjects_cut = u64::from(n == 1);
        log.append(&event);
    }
    log.append(&exchange(12, "Fetch", "eve", "x", vec![resource("hr", false)], Vec::new()));
    log.close().unwrap();
    root
}

fn observed(topics: &[&str]) -> Observed {
    let root = evidence();
    let query = Query { topics: topics.iter().map(|topic| (*topic).to_owned()).collect(), ..Query::default() };
    Observed::read(root.path(), query, Indexes::Use).unwrap()
}

#[test]
fn sums_are_those_of_the_entries() {
    let all = observed(&[]);
    assert_eq!(
        all.lines.values().map(|sum| (sum.exchanges, sum.records)).collect::<Vec<_>>(),
        [(2, 20), (2, 20), (4, 40), (4, 40)]
    );
    assert_eq!(all.denied[&("eve".to_owned(), "hr".to_owned())], 1);
    assert_eq!((all.subjects["email"], all.subjects["iban"], all.subjects_cut), (5, 4, 1));
    let hr = observed(&["hr"]);
    assert_eq!((hr.lines.len(), hr.subjects.len(), hr.subjects["iban"]), (2, 1, 4));
    let page = breach::report(&hr, &breach::Basis { topics: vec!["hr".into()], ..breach::Basis::default() });
    let data = &page.data;
    assert_eq!((&data["records_read"], &data["subjects_by_class"]["iban"]), (&40.into(), &4.into()));
    assert!(page.write(Format::Html).contains("<svg"));
}

#[test]
fn drift_is_what_is_seen_and_not_declared_or_the_other_way_round() {
    let seen = observed(&[]);
    let mut declared = Declared {
        controller: "Shop Ltd".into(),
        activities: vec![
            Activity {
                name: "Orders".into(),
                topics: vec!["ord*".into()],
                purposes: vec!["billing".into()],
                classes: vec!["email".into()],
                recipients: vec![Recipient {
                    name: "Staff".into(),
                    groups: vec!["staff".into()],
                    ..Recipient::default()
                }],
                ..Activity::default()
            },
            Activity { name: "Old".into(), topics: vec!["legacy".into()], ..Activity::default() },
        ],
        ..Declared::default()
    };
    let kinds =
        |declared: &Declared| drift(declared, &seen).iter().map(|d| (d.kind, d.what.clone())).collect::<Vec<_>>();
    assert_eq!(
        kinds(&declared),
        [
            ("undeclared topic", "hr carries iban".to_owned()),
            ("never seen", "Old: nothing of topic legacy in this period".to_owned())
        ]
    );
    declared.activities.truncate(1);
    declared.activities[0].topics = vec!["*".into()];
    declared.activities[0].purposes.clear();
    declared.activities[0].recipients[0].groups = vec!["others".into()];
    declared.activities[0].recipients[0].principals = vec!["anna".into()];
    assert_eq!(
        kinds(&declared).iter().map(|(kind, what)| format!("{kind}: {what}")).collect::<Vec<_>>(),
        [
            "undeclared class: iban in hr",
            "undeclared purpose: “billing” for hr",
            "undeclared purpose: “billing” for orders",
            "undeclared recipient: bob reads hr",
            "undeclared recipient: bob reads orders",
        ]
    );
    assert!(drift(&declared, &seen).iter().all(|drift| !drift.entries.is_empty()), "each is traceable");
    for side in [Side::Controller, Side::Processor] {
        let page = processing::report(&declared, &seen, side, &processing::Basis::default());
        let text = page.write(Format::Markdown);
        assert!(text.contains("Shop Ltd") && text.contains("undeclared class"), "{text}");
        assert_eq!(page.data["drift"].as_array().unwrap().len(), 5);
    }
}
