//! The blackhole as stock librdkafka sees it: a cluster like any other.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tidegate_loadtest::blackhole::cluster::Serves;
use tidegate_loadtest::blackhole::{Blackhole, Options};
use tidegate_loadtest::payload::Pool;
use tidegate_loadtest::profile::Profile;

const PATIENCE: Duration = Duration::from_secs(20);

fn client(blackhole: &Blackhole) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", blackhole.addresses()[0].to_string());
    config
}

fn start(serves: Serves) -> (Blackhole, Arc<Pool>) {
    let pool = Arc::new(Pool::new(&Profile::default()).unwrap());
    let options = Options { brokers: 3, serves, ..Options::new(vec![("orders".to_owned(), 4)]) };
    (Blackhole::start(&options, pool.clone()).unwrap(), pool)
}

/// Reads `count` messages: partition, offset and value of each.
fn read(consumer: &BaseConsumer, count: usize) -> Vec<(i32, i64, Vec<u8>)> {
    let deadline = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    while seen.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} came", seen.len());
        if let Some(message) = consumer.poll(Duration::from_millis(200)) {
            let message = message.unwrap();
            seen.push((message.partition(), message.offset(), message.payload().unwrap_or_default().to_vec()));
        }
    }
    seen
}

#[test]
fn what_is_produced_is_kept_and_read_back_through_a_group() {
    let (blackhole, _) = start(Serves::Kept { bytes_max: 1 << 20 });
    let producer: BaseProducer = client(&blackhole).set("enable.idempotence", "true").create().unwrap();
    let sent: HashSet<Vec<u8>> = (0..500).map(|number| format!("record {number}").into_bytes()).collect();
    // Left to itself, the producer may put them all into one partition.
    for (partition, value) in (0..3).cycle().zip(&sent) {
        let record = BaseRecord::<[u8], _>::to("orders").partition(partition).payload(value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();

    let consumer: BaseConsumer =
        client(&blackhole).set("group.id", "g").set("auto.offset.reset", "earliest").create().unwrap();
    consumer.subscribe(&["orders"]).unwrap();
    let seen = read(&consumer, sent.len());
    assert_eq!(seen.iter().map(|(_, _, value)| value.clone()).collect::<HashSet<_>>(), sent);
    let partitions: HashSet<i32> = seen.iter().map(|(partition, _, _)| *partition).collect();
    assert_eq!(partitions, HashSet::from([0, 1, 2]));
    consumer.commit_consumer_state(rdkafka::consumer::CommitMode::Sync).unwrap();
    let committed = consumer.committed(PATIENCE).unwrap();
    let total: i64 =
        committed.elements().iter().filter_map(|one| one.offset().to_raw()).filter(|offset| *offset >= 0).sum();
    assert_eq!(total, 500);
}

#[test]
fn prepared_batches_are_whole_at_any_offset() {
    let (blackhole, pool) = start(Serves::Prepared);
    let consumer: BaseConsumer = client(&blackhole)
        .set("group.id", "g")
        .set("check.crcs", "true")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let mut from = TopicPartitionList::new();
    let first = 1_000_003;
    from.add_partition_offset("orders", 2, Offset::Offset(first)).unwrap();
    consumer.assign(&from).unwrap();
    let seen = read(&consumer, 2000);
    for (index, (partition, offset, value)) in seen.iter().enumerate() {
        assert_eq!((*partition, *offset), (2, first + index as i64));
        let each = i64::from(pool.records_per_batch());
        // Writers of prepared batches are numbered by partition.
        let number = tidegate_loadtest::payload::Identity { writer: 2, sequence: (offset / each) as u32 }.number();
        assert_eq!(*value, pool.records(number)[(offset % each) as usize].value.bytes, "offset {offset}");
    }
}
