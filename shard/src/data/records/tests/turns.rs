//! Records that take more than one turn: the same comes out, and the rights of the last turn count.

use kafka_protocol::ResponseError as E;
use kafka_protocol::messages::fetch_response::FetchResponse;
use kafka_protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use kafka_protocol::messages::share_fetch_request::ShareFetchRequest;
use kafka_protocol::messages::share_fetch_response::ShareFetchResponse;

use super::fetch::{broker, fetch, outcomes, topic_name};
use super::*;

const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

/// As the first policy, but e-mail is replaced, and `shop.a` is masked as well.
const OTHER_MASKS: &str = r#"
version: 1
grants:
  - name: alice-orders
    purpose: testing
    principals: [alice]
    resources: [{topic: orders}, {topic: {prefix: shop.}}]
    operations: [read, write]
masks:
  - name: personal
    topics: [orders, shop.a]
    everyone: true
    directions: [produce, fetch]
    classes: [email]
    operator: {replace: "(gone)"}
"#;

/// `orders` may not be read any more, nor written.
const NO_ORDERS: &str = r#"
version: 1
grants:
  - name: alice-shop
    purpose: testing
    principals: [alice]
    resources: [{topic: {prefix: shop.}}]
    operations: [read, write]
"#;

/// A batch in each codec, of many records, some with personal data; then a partial one.
fn many(base_offset: i64) -> Bytes {
    let values: Vec<&str> = (0..300).map(|n| if n % 7 == 0 { PERSONAL } else { PLAIN }).collect();
    let mut all = Vec::new();
    for (n, codec) in CODECS.into_iter().enumerate() {
        all.extend_from_slice(&batch_at(base_offset + 300 * n as i64, codec, &values));
    }
    all.extend_from_slice(&batch(&[PLAIN])[..40]);
    all.into()
}

/// Fetches `many` from these partitions in turns of `work`. What the client gets, the evidence, and
/// the turns it took.
fn fetched(work: usize, between: fn(&mut World)) -> (FetchResponse, Draft, usize) {
    let mut world = World::new();
    let sent = fetch(12, &[("orders", 0), ("orders", 1), ("shop.a", 0)]);
    let (asked, mut draft) = world.ask(ApiKey::Fetch, 12, &sent);
    (world.work, world.between, world.turns) = (work, between, 0);
    let response = world.respond(asked, &broker(&sent, &many(5)), &mut draft).unwrap();
    (response, draft, world.turns)
}

fn to_policy(world: &mut World, policy: &str) {
    if world.turns == 5 {
        world.view = view(policy, 2);
    }
}

#[test]
fn a_large_fetch_takes_turns_and_yields_the_same() {
    let (at_once, draft, turns) = fetched(usize::MAX, |_| {});
    assert_eq!(turns, 1);
    for work in [1, 10_000] {
        let stepped = fetched(work, |_| {});
        assert!(stepped.2 > 20, "{} turns", stepped.2);
        assert_eq!(encoded(&stepped.0, 12), encoded(&at_once, 12), "turns of {work}");
        assert_eq!(stepped.1, draft);
    }
}

#[test]
fn each_partition_that_delivers_has_its_offsets_in_the_evidence() {
    let mut world = World::new();
    let sent = fetch(12, &[("orders", 0), ("orders", 1), ("orders", 2), ("orders", 3), ("shop.a", 0), ("shop.a", 1)]);
    let (asked, mut draft) = world.ask(ApiKey::Fetch, 12, &sent);
    let mut response = broker(&sent, &Bytes::new());
    let records = [
        many(5),
        corrupt(),
        batch_at(40, Codec::Zstd, &[PLAIN, PLAIN]),
        Bytes::new(),
        many(7),
        batch_at(9, Codec::None, &[PLAIN]),
    ];
    for (partition, records) in response.responses.iter_mut().flat_map(|t| &mut t.partitions).zip(records) {
        partition.records = Some(records);
    }
    let response = world.respond(asked, &response, &mut draft).unwrap();
    let errors: Vec<i16> = response.responses.iter().flat_map(|t| &t.partitions).map(|p| p.error_code).collect();
    assert_eq!(errors, [0, E::CorruptMessage.code(), 0, 0, 0, 0]);
    let said: Vec<_> = draft
        .resources
        .iter()
        .map(|r| (r.name.as_str(), r.partition, r.allowed, r.records, r.first_offset, r.last_offset))
        .collect();
    // In the order in which they were asked for, and then what was added to that.
    let expected = [
        ("orders", Some(0), true, 1500, Some(5), Some(1504)),
        ("shop.a", Some(0), true, 1500, Some(7), Some(1506)),
        ("orders", Some(1), false, 0, None, None),
        ("orders", Some(2), true, 2, Some(40), Some(41)),
        ("shop.a", Some(1), true, 1, Some(9), Some(9)),
    ];
    assert_eq!(said, expected);
    assert_eq!(draft.resources[2].rule, "unparseable records: the batch's CRC-32C is wrong");
    assert!(draft.resources.iter().all(|r| !r.allowed || r.bytes > 0));
}

#[test]
fn a_policy_that_changes_between_turns_begins_anew() {
    let (response, draft, turns) = fetched(10_000, |world| to_policy(world, OTHER_MASKS));
    assert!(turns > 20);
    let text: String = response
        .responses
        .iter()
        .flat_map(|t| &t.partitions)
        .flat_map(|p| values(p.records.as_ref().unwrap()))
        .collect();
    assert!(!text.contains("jane.doe") && !text.contains("[email]"));
    let replaced = 3 * CODECS.len() * 300_usize.div_ceil(7);
    assert_eq!(text.matches("(gone)").count(), replaced);
    let counts = ["email replace 430 orders", "email replace 215 shop.a"];
    assert_eq!(findings(&draft), counts, "what was found under the first policy is not counted");
}

#[test]
fn what_may_not_be_read_any_more_is_not_released() {
    let (response, draft, _) = fetched(10_000, |world| to_policy(world, NO_ORDERS));
    let denied = E::TopicAuthorizationFailed.code();
    let own = str::to_owned;
    let expected = [(own("orders"), 0, denied, 0), (own("orders"), 1, denied, 0), (own("shop.a"), 0, 0, many(5).len())];
    assert_eq!(outcomes(&response), expected);
    assert_eq!(findings(&draft), [""; 0]);
    assert_eq!(resources(&draft)[2..], ["-read orders-0 0", "-read orders-1 0"]);
}

#[test]
fn a_grant_that_ends_between_turns_ends_the_release() {
    let policy = &POLICY.replace("topics: [orders]", "topics: [orders, brief]");
    let mut world = World::new();
    world.view = view(policy, 1);
    let sent = fetch(12, &[("brief", 0)]);
    let (asked, mut draft) = world.ask(ApiKey::Fetch, 12, &sent);
    world.between = |world| world.now = NOON.plus_millis(6000);
    let response = world.respond(asked, &broker(&sent, &many(0)), &mut draft).unwrap();
    assert_eq!(outcomes(&response), [("brief".to_owned(), 0, E::TopicAuthorizationFailed.code(), 0)]);
}

/// Produces `many` to these partitions in turns of `work`.
fn produced(work: usize, between: fn(&mut World)) -> (Asked, Draft, usize) {
    let mut world = World::new();
    (world.work, world.between) = (work, between);
    let topic = |name: &str, partitions: std::ops::Range<i32>| {
        let data = partitions.map(|n| PartitionProduceData::default().with_index(n).with_records(Some(many(0))));
        TopicProduceData::default().with_name(topic_name(name)).with_partition_data(data.collect())
    };
    let request = ProduceRequest::default().with_acks(-1).with_topic_data(vec![
        topic("orders", 0..2),
        topic("secret", 0..1),
        topic("shop.a", 0..1),
    ]);
    let (asked, draft) = world.ask(ApiKey::Produce, 9, &request);
    (asked, draft, world.turns)
}

#[test]
fn a_large_produce_takes_turns_and_yields_the_same() {
    let (at_once, draft, turns) = produced(usize::MAX, |_| {});
    assert_eq!(turns, 1);
    assert_eq!(findings(&draft), ["email redact 430 orders"]);
    let (stepped, stepped_draft, turns) = produced(10_000, |_| {});
    assert!(turns > 20, "{turns} turns");
    assert_eq!(stepped.forwarded::<ProduceRequest>(), at_once.forwarded::<ProduceRequest>());
    assert_eq!(stepped_draft, draft);
}

#[test]
fn what_may_not_be_written_any_more_is_not_forwarded() {
    let (asked, draft, _) = produced(10_000, |world| to_policy(world, NO_ORDERS));
    let (forwarded, _) = asked.forwarded::<ProduceRequest>();
    let names: Vec<_> = forwarded.topic_data.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["shop.a"]);
    assert_eq!(resources(&draft)[..3], ["-write orders-0 0", "-write orders-1 0", "-write secret-0 0"]);
}

#[test]
fn a_large_share_fetch_takes_turns_and_yields_the_same() {
    let run = |work| {
        let mut world = World::new();
        let sent: ShareFetchRequest = super::share::share("alice-group", 0, &[("orders", 0), ("shop.a", 0)]);
        let (asked, mut draft) = world.ask(ApiKey::ShareFetch, super::share::VERSION, &sent);
        (world.work, world.turns) = (work, 0);
        let response = super::share::broker(&sent, &many(5));
        let got: ShareFetchResponse = world.respond(asked, &response, &mut draft).unwrap();
        (got, draft, world.turns)
    };
    let (at_once, draft, turns) = run(usize::MAX);
    assert_eq!(turns, 1);
    let stepped = run(10_000);
    assert!(stepped.2 > 10, "{} turns", stepped.2);
    assert_eq!((stepped.0, stepped.1), (at_once, draft));
}
