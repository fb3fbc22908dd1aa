//! Batches that were met before: the same bytes and the same evidence as if they had been scanned.

use std::sync::LazyLock;

use kafka_protocol::messages::fetch_response::FetchResponse;
use kafka_protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use proptest::prelude::*;

use super::fetch::{broker, fetch, topic_name};
use super::*;

/// Readers' plans: other operators, another key of the same name and epoch, observed only, exempt, by field,
/// and what cannot be parsed treated otherwise.
const PLANS: [(&str, &str); 8] = [
    ("{classes: [email], operator: redact}", ""),
    ("{classes: [email], operator: {keep_last: 3}}", ""),
    ("{classes: [email], operator: {pseudonym: k}}", "one"),
    ("{classes: [email], operator: {pseudonym: k}}", "two"),
    ("{classes: [email], operator: redact, mode: observe}", ""),
    ("{classes: [email], operator: redact, except: {principals: [alice]}}", ""),
    ("{fields: [{path: $.email}], operator: redact}", ""),
    ("{classes: [email], operator: drop_record}", ""),
];

const UNPARSEABLE: [&str; 3] = ["reject", "mask_whole_value", "pass"];

/// Every plan under every treatment of what cannot be parsed, compiled once.
static POLICIES: LazyLock<Vec<Snapshot>> = LazyLock::new(|| {
    (0..PLANS.len() * UNPARSEABLE.len())
        .map(|at| plan(at / UNPARSEABLE.len(), UNPARSEABLE[at % UNPARSEABLE.len()]))
        .collect()
});

/// Batches clean, masked, unparseable by field, of equal checksum, of control records, and unsound.
static BATCHES: LazyLock<Vec<Bytes>> = LazyLock::new(|| {
    let control = BatchBuilder { control: true, ..BatchBuilder::new(0) };
    vec![
        batch_at(0, Codec::None, &[PERSONAL, PLAIN]),
        batch_at(0, Codec::None, &[PLAIN]),
        batch_at(0, Codec::Zstd, &[PLAIN, PERSONAL, PERSONAL]),
        batch_at(0, Codec::Gzip, &[PLAIN]),
        batch_at(0, Codec::Snappy, &["not JSON, jane@example.com", "nor this"]),
        batch_at(0, Codec::Lz4, &["{\"email\":17}", "{"]),
        with_checksum(b"nobody is written to here ....", 7),
        with_checksum(b"write to jane.doe@example.com ", 7),
        control.record(Some(b"\0\0\0\x01"), Some(b"jane@example.com")).build().unwrap(),
        corrupt(),
    ]
});

fn plan(index: usize, on_unparseable: &str) -> Snapshot {
    let (rule, secret) = PLANS[index];
    let rule =
        rule.replacen('{', "{name: personal, topics: [orders], everyone: true, directions: [produce, fetch], ", 1);
    let keys = if secret.is_empty() { "" } else { "keys: [{name: k, epoch: 1, file: k}]\n" };
    let policy = format!(
        "version: 1\non_unparseable: {on_unparseable}\n{keys}grants: [{{name: g, purpose: p, principals: [alice], \
         resources: [{{topic: orders}}], operations: [read, write]}}]\nmasks: [{rule}]\n"
    );
    let read_key = |_: &str| Ok(secret.repeat(16).into_bytes());
    let snapshot = Snapshot::read_with_keys(&policy, "policy.yaml", 1, &read_key);
    snapshot.unwrap_or_else(|problems| panic!("{}", problems[0]))
}

fn remembering() -> World {
    let mut world = World::new();
    world.limits.verdict_cache_bytes_per_shard_max = 1 << 20;
    world
}

/// What a reader gets of these records, and the evidence.
fn read(world: &mut World, records: &Bytes) -> (Option<FetchResponse>, Draft) {
    let sent = fetch(12, &[("orders", 0)]);
    let (asked, mut draft) = world.ask(ApiKey::Fetch, 12, &sent);
    let response = world.respond(asked, &broker(&sent, records), &mut draft);
    (response, draft)
}

/// What reaches the broker of a producer's records.
fn write(world: &mut World, records: &Bytes) -> (Option<Bytes>, Draft) {
    let data = PartitionProduceData::default().with_index(0).with_records(Some(records.clone()));
    let topic = TopicProduceData::default().with_name(topic_name("orders")).with_partition_data(vec![data]);
    let sent = ProduceRequest::default().with_acks(-1).with_timeout_ms(9).with_topic_data(vec![topic]);
    let (asked, draft) = world.ask(ApiKey::Produce, 9, &sent);
    let reached = match &asked.verdict {
        Verdict::Answer(_) => None,
        _ => asked.forwarded::<ProduceRequest>().0.topic_data[0].partition_data[0].records.clone(),
    };
    (reached, draft)
}

fn recalled(draft: &mut Draft) -> u64 {
    std::mem::take(&mut draft.inspected.recalled)
}

/// The batch as a broker would have stored it.
fn stored(batch: &Bytes, base_offset: i64, epoch: i32) -> Bytes {
    let mut stored = batch.to_vec();
    stored[..8].copy_from_slice(&base_offset.to_be_bytes());
    stored[12..16].copy_from_slice(&epoch.to_be_bytes());
    stored.into()
}

#[test]
fn ten_readers_cost_one_scan() {
    let mut world = remembering();
    for codec in Codec::ALL {
        let records = [batch_at(0, codec, &[PERSONAL, PLAIN]), batch_at(2, codec, &[PLAIN])].concat().into();
        let (first, mut draft) = read(&mut world, &records);
        assert_eq!(recalled(&mut draft), 0);
        for _ in 1..10 {
            let (again, mut evidence) = read(&mut world, &records);
            assert_eq!(recalled(&mut evidence), 2);
            assert_eq!((&again, &evidence), (&first, &draft), "{codec:?}");
        }
        assert_eq!(findings(&draft), ["email redact 1 orders"]);
    }
}

#[test]
fn readers_find_what_a_producer_had_scanned() {
    let mut world = remembering();
    let sent = batch_at(0, Codec::Zstd, &[PLAIN, PLAIN]);
    let (reached, mut draft) = write(&mut world, &sent);
    assert_eq!((reached.as_ref(), recalled(&mut draft)), (Some(&sent), 0));
    let (response, mut draft) = read(&mut world, &stored(&sent, 4711, 3));
    assert_eq!((response, recalled(&mut draft)), (None, 1));
    assert_eq!((draft.resources[0].first_offset, draft.resources[0].last_offset), (Some(4711), Some(4712)));
    // And what was masked keeps the place that the broker gave it.
    let sent = batch_at(0, Codec::None, &[PERSONAL]);
    let masked = write(&mut world, &sent).0.unwrap();
    let (response, mut draft) = read(&mut world, &stored(&sent, 12, 9));
    assert_eq!(recalled(&mut draft), 1);
    let records = response.unwrap().responses[0].partitions[0].records.clone().unwrap();
    assert_eq!(records, stored(&masked, 12, 9));
}

#[test]
fn a_batch_with_the_same_checksum_and_length_is_another() {
    let harmless = with_checksum(b"nobody is written to here ....", 0x1234_5678);
    let harmful = with_checksum(b"write to jane.doe@example.com ", 0x1234_5678);
    assert_eq!(harmless[17..21], harmful[17..21]);
    assert_eq!(harmless.len(), harmful.len());
    let mut world = remembering();
    assert_eq!(read(&mut world, &harmless).0, None);
    let (response, mut draft) = read(&mut world, &harmful);
    assert_eq!(recalled(&mut draft), 0);
    assert_eq!(findings(&draft), ["email redact 1 orders"]);
    assert!(response.is_some());
}

/// A batch whose value begins with `text` and whose CRC-32C is `wanted`: the checksum is linear, so what
/// each of the last bits changes in it makes a system of equations.
fn with_checksum(text: &[u8], wanted: u32) -> Bytes {
    let sealed = |ending: u32| -> Bytes {
        let value = [text, &ending.to_be_bytes()].concat();
        BatchBuilder::new(0).values([value.as_slice()]).build().unwrap()
    };
    let crc = |batch: &Bytes| u32::from_be_bytes(batch[17..21].try_into().unwrap());
    let zero = crc(&sealed(0));
    // Pairs of what changes and what it changes, by the highest bit changed.
    let mut basis: Vec<(u32, u32)> = Vec::new();
    let reduce = |basis: &[(u32, u32)], mut bits: u32, mut pattern: u32| {
        for (ending, changes) in basis {
            if pattern & (1 << changes.ilog2()) != 0 {
                (bits, pattern) = (bits ^ ending, pattern ^ changes);
            }
        }
        (bits, pattern)
    };
    for bit in 0..32 {
        let (ending, changes) = reduce(&basis, 1 << bit, crc(&sealed(1 << bit)) ^ zero);
        if changes != 0 {
            basis.push((ending, changes));
        }
    }
    let (ending, rest) = reduce(&basis, 0, zero ^ wanted);
    assert_eq!(rest, 0, "every checksum can be had");
    let batch = sealed(ending);
    assert_eq!(crc(&batch), wanted);
    batch
}

#[test]
fn what_is_refused_is_refused_again_and_what_stands_before_it_is_known() {
    let mut world = remembering();
    let records: Bytes = [batch(&[PERSONAL]), corrupt()].concat().into();
    let (first, mut draft) = read(&mut world, &records);
    assert_eq!(recalled(&mut draft), 0);
    let (again, mut evidence) = read(&mut world, &records);
    assert_eq!(recalled(&mut evidence), 1);
    assert_eq!((again, evidence), (first, draft));
    let (first, _) = read(&mut world, &corrupt());
    assert_eq!(first.unwrap().responses[0].partitions[0].error_code, 2);
}

/// What is done next: by whom, with which batches, read or written.
#[derive(Debug, Clone)]
struct Next {
    policy: usize,
    batches: Vec<usize>,
    base_offset: i64,
    writes: bool,
}

fn next() -> impl Strategy<Value = Next> {
    let batches = proptest::collection::vec(0..BATCHES.len(), 1..5);
    (0..POLICIES.len(), batches, 0i64..3, any::<bool>()).prop_map(|(policy, batches, base_offset, writes)| Next {
        policy,
        batches,
        base_offset,
        writes,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn remembering_changes_nothing(steps in proptest::collection::vec(next(), 1..30), small in any::<bool>()) {
        let (mut with, mut without) = (remembering(), World::new());
        if small {
            // Most is forgotten soon.
            with.limits.verdict_cache_bytes_per_shard_max = 3000;
        }
        for step in steps {
            let policy = &POLICIES[step.policy];
            for world in [&mut with, &mut without] {
                world.view = policy.view(&alice());
                world.on_unparseable = policy.on_unparseable();
            }
            let batches = step.batches.iter().map(|at| stored(&BATCHES[*at], step.base_offset, 1));
            let records: Bytes = batches.collect::<Vec<_>>().concat().into();
            if step.writes {
                let (mut a, b) = (write(&mut with, &records), write(&mut without, &records));
                recalled(&mut a.1);
                prop_assert_eq!(a, b);
            } else {
                let (mut a, b) = (read(&mut with, &records), read(&mut without, &records));
                recalled(&mut a.1);
                prop_assert_eq!(a, b);
            }
        }
    }
}
