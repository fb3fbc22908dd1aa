//! Tags of subjects in the evidence: by topic, partition and offset, whichever way records go.

use tidegate_core::event::SubjectTags;

use super::fetch::{broker, fetch};
use super::*;

fn tag(value: &str) -> u64 {
    SubjectKey::new(1, &[7; 32]).unwrap().tag("email", value).unwrap()
}

/// Topic, partition, offset and tag of each posting.
fn postings(draft: &Draft) -> Vec<(String, i32, i64, u64)> {
    let group = |group: &SubjectTags| {
        let topic = draft.findings[group.finding as usize].topic.clone();
        group.iter().map(|(offset, tag)| (topic.clone(), group.partition, offset, tag)).collect::<Vec<_>>()
    };
    draft.subjects.iter().flat_map(group).collect()
}

#[test]
fn a_fetch_says_whose_data_each_record_held() {
    let two = r#"{"a":"Ann@example.com","b":"bob@example.com"}"#;
    let records = [batch_at(5, Codec::None, &[PLAIN, two]), batch_at(90, Codec::Gzip, &["ann@example.com"])].concat();
    for version in [4, 12, 18] {
        let mut world = World::new();
        let (asked, mut draft) =
            world.ask(ApiKey::Fetch, version, &fetch(version, &[("orders", 0), ("orders", 1), ("shop.a", 0)]));
        let sent: kafka_protocol::messages::fetch_request::FetchRequest = asked.forwarded().0;
        world.respond(asked, &broker(&sent, &Bytes::from(records.clone())), &mut draft).unwrap();
        let (ann, bob) = (tag("ann@example.com"), tag("bob@example.com"));
        let of = |partition| [(6, ann), (6, bob), (90, ann)].map(|(at, tag)| ("orders".to_owned(), partition, at, tag));
        assert_eq!(postings(&draft), [of(0), of(1)].concat(), "v{version}: no plan, no tags");
        assert_eq!((draft.subjects.len(), draft.subjects_cut), (2, 0));
        assert!(draft.subjects[0].postings.len() <= 3 * 10);
    }
}

#[test]
fn a_write_says_it_by_the_offsets_that_the_broker_gives() {
    use kafka_protocol::messages::TopicName;
    use kafka_protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
    use kafka_protocol::messages::produce_response::{PartitionProduceResponse, ProduceResponse, TopicProduceResponse};
    let partition = |index: i32| {
        let records = batch(&[PLAIN, "ann@example.com", "bob@example.com"]);
        PartitionProduceData::default().with_index(index).with_records(Some(records))
    };
    let name = TopicName("orders".into());
    let sent = ProduceRequest::default().with_acks(-1).with_topic_data(vec![
        TopicProduceData::default().with_name(name.clone()).with_partition_data(vec![partition(0), partition(1)]),
    ]);
    let mut world = World::new();
    let (asked, mut draft) = world.ask(ApiKey::Produce, 9, &sent);
    assert!(draft.subjects.iter().all(|group| group.base_offset.is_none()), "nobody knows yet");
    // The second is refused by the broker: its offsets are never told.
    let answer = |index: i32, error: i16, base: i64| {
        PartitionProduceResponse::default().with_index(index).with_error_code(error).with_base_offset(base)
    };
    let response = ProduceResponse::default().with_responses(vec![
        TopicProduceResponse::default()
            .with_name(name)
            .with_partition_responses(vec![answer(0, 0, 1000), answer(1, 87, -1)]),
    ]);
    world.respond(asked, &response, &mut draft);
    let (ann, bob) = (tag("ann@example.com"), tag("bob@example.com"));
    let of =
        |partition, base: i64| [(1, ann), (2, bob)].map(|(at, tag)| ("orders".to_owned(), partition, base + at, tag));
    assert_eq!(postings(&draft), [of(0, 1000), of(1, 0)].concat());
    assert_eq!(draft.subjects.iter().map(|group| group.base_offset).collect::<Vec<_>>(), [Some(1000), None]);
}

#[test]
fn the_limit_is_one_for_the_whole_exchange_and_told() {
    let values: Vec<String> = (0..30).map(|n| format!("a{n}@example.com")).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    for (max, kept) in [(1, 1), (45, 45), (60, 60), (1000, 60)] {
        let mut world = World::new();
        world.limits.evidence_subjects_max = max;
        let (asked, mut draft) = world.ask(ApiKey::Fetch, 12, &fetch(12, &[("orders", 0), ("orders", 1)]));
        let sent: kafka_protocol::messages::fetch_request::FetchRequest = asked.forwarded().0;
        world.respond(asked, &broker(&sent, &batch(&values)), &mut draft);
        assert_eq!((postings(&draft).len(), draft.subjects_cut), (kept, 60 - kept as u64), "{max}");
        assert_eq!(findings(&draft), ["email redact 60 orders"], "counts are not cut");
    }
}

#[test]
fn without_a_key_there_are_none() {
    let mut world = World::new();
    world.subjects = None;
    let (asked, mut draft) = world.ask(ApiKey::Fetch, 12, &fetch(12, &[("orders", 0)]));
    let sent: kafka_protocol::messages::fetch_request::FetchRequest = asked.forwarded().0;
    world.respond(asked, &broker(&sent, &batch(&[PERSONAL])), &mut draft);
    assert_eq!((draft.subjects.len(), draft.findings.len()), (0, 1));
}

#[test]
fn a_batch_that_is_known_says_the_same_wherever_it_stands() {
    let mut world = World::new();
    for base in [3, 70, 3, 5000, 9] {
        let (asked, mut draft) = world.ask(ApiKey::Fetch, 12, &fetch(12, &[("orders", 0)]));
        let sent: kafka_protocol::messages::fetch_request::FetchRequest = asked.forwarded().0;
        let records = batch_at(base, Codec::None, &["x", "ann@example.com", "bob@example.com"]);
        world.respond(asked, &broker(&sent, &records), &mut draft);
        let offsets: Vec<i64> = postings(&draft).iter().map(|(_, _, offset, _)| *offset).collect();
        assert_eq!(offsets, [base + 1, base + 2], "recalled: {}", draft.inspected.recalled);
    }
}
