//! What the brokers know: topics, logs, groups, and a ledger of who produced what.
//!
//! The ledger is the oracle's: batches carry who sent them and the how manieth they are
//! ([`Identity`]), so that loss, doubling and reordering are seen as they happen, in a few bytes per
//! writer however long a run takes.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::Waker;

use bytes::Bytes;

use super::Options;
use crate::payload::{Identity, Pool};
use crate::result::Verdict;
use crate::wire::{BatchHead, batch_head, batch_is_whole};

/// Where a broker listens.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// Without TLS.
    pub plain: SocketAddr,
    /// With TLS.
    pub tls: Option<SocketAddr>,
}

/// What fetches are answered from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    /// Batches made beforehand, at any offset, without end.
    Prepared,
    /// What was produced, the newest of it.
    Kept {
        /// Bytes that one partition keeps.
        bytes_max: usize,
    },
}

/// How many records a prepared log is said to have: more than anybody reads.
pub const PREPARED_RECORDS: i64 = 1 << 50;
/// Batches are compared with what was sent, byte by byte: one in so many.
const LOOKED_AT_ONE_IN: u64 = 16;
/// Topics there may be.
const TOPICS_MAX: usize = 20_000;

/// The state of all brokers.
pub struct Cluster {
    addresses: Vec<Addresses>,
    pub(super) serves: Serves,
    creates_topics: bool,
    pub(super) pool: Arc<Pool>,
    topics: RwLock<Topics>,
    pub(super) groups: Mutex<HashMap<String, Group>>,
    pub(super) producer_ids: std::sync::atomic::AtomicI64,
}

#[derive(Default)]
struct Topics {
    by_name: BTreeMap<String, Arc<Topic>>,
    by_id: HashMap<[u8; 16], Arc<Topic>>,
    /// Partitions made so far: the prepared batches of each are another writer's.
    partitions: u32,
}

/// A topic.
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: [u8; 16],
    /// Its partitions.
    pub partitions: Vec<Partition>,
}

/// A partition of a topic.
pub struct Partition {
    /// Who the prepared batches say they are from.
    pub prepared_writer: u32,
    /// The node id of its leader.
    pub leader: u16,
    log: Mutex<Log>,
}

/// What was produced to a partition.
#[derive(Default)]
pub(super) struct Log {
    /// The next offset.
    pub(super) next: i64,
    /// The first offset that is kept.
    pub(super) start: i64,
    kept: VecDeque<(i64, Bytes)>,
    kept_bytes: usize,
    writers: HashMap<u32, Written>,
    pub(super) waiting: Vec<Waker>,
    batches: u64,
    /// Batches of the generator's, and how many of them were compared with what was sent.
    ours: u64,
    compared: u64,
    verdict: Verdict,
}

/// What one writer wrote to one partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// The next sequence that is due.
    pub next: u32,
    /// Batches in all.
    pub batches: u64,
}

/// A consumer group, or as much of it as one member at a time needs.
#[derive(Default)]
pub(super) struct Group {
    pub(super) generation: i32,
    pub(super) assignments: HashMap<String, Bytes>,
    pub(super) offsets: HashMap<(String, i32), i64>,
}

/// A panic while a lock was held leaves these whole enough for a load test.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cluster {
    pub(super) fn new(addresses: Vec<Addresses>, options: &Options, pool: Arc<Pool>) -> Self {
        let cluster = Self {
            addresses,
            serves: options.serves,
            creates_topics: options.creates_topics,
            pool,
            topics: RwLock::default(),
            groups: Mutex::default(),
            producer_ids: 1.into(),
        };
        for (name, partitions) in &options.topics {
            cluster.create(name, *partitions);
        }
        cluster
    }

    /// Where the brokers listen, by node id.
    #[must_use]
    pub fn addresses(&self) -> &[Addresses] {
        &self.addresses
    }

    /// What fetches are answered from.
    #[must_use]
    pub fn serves(&self) -> Serves {
        self.serves
    }

    /// Makes a topic, or finds it; `None` where there are too many.
    pub fn create(&self, name: &str, partitions: u32) -> Option<Arc<Topic>> {
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = topics.by_name.get(name) {
            return Some(there.clone());
        }
        if topics.by_name.len() >= TOPICS_MAX {
            return None;
        }
        // Ids need only differ; those of a name are the same in every run.
        let mut id = [0; 16];
        id[..8].copy_from_slice(&crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, name.as_bytes()).to_be_bytes());
        id[8..].copy_from_slice(&(topics.by_name.len() as u64 + 1).to_be_bytes());
        let brokers = self.addresses.len().max(1) as u32;
        let first = topics.partitions;
        let partitions: Vec<Partition> = (0..partitions)
            .map(|index| Partition {
                prepared_writer: (first + index) % Identity::WRITERS_MAX,
                leader: u16::try_from(index % brokers).unwrap_or(0),
                log: Mutex::default(),
            })
            .collect();
        topics.partitions = first.wrapping_add(partitions.len() as u32);
        let topic = Arc::new(Topic { name: name.to_owned(), id, partitions });
        topics.by_name.insert(name.to_owned(), topic.clone());
        topics.by_id.insert(id, topic.clone());
        Some(topic)
    }

    /// A topic by name; made where unknown ones are, and `may_create`.
    #[must_use]
    pub fn topic(&self, name: &str, may_create: bool) -> Option<Arc<Topic>> {
        let found = self.topics.read().unwrap_or_else(PoisonError::into_inner).by_name.get(name).cloned();
        if found.is_none() && may_create && self.creates_topics {
            return self.create(name, 1);
        }
        found
    }

    /// A topic by id.
    #[must_use]
    pub fn topic_by_id(&self, id: &[u8; 16]) -> Option<Arc<Topic>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).by_id.get(id).cloned()
    }

    /// All topics, by name.
    #[must_use]
    pub fn topics(&self) -> Vec<Arc<Topic>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).by_name.values().cloned().collect()
    }

    pub(super) fn delete(&self, name: &str) -> bool {
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        let gone = topics.by_name.remove(name);
        gone.is_some_and(|topic| topics.by_id.remove(&topic.id).is_some())
    }

    /// Takes what the ledger has of the writers that `wanted` names, and all that was wrong since it
    /// was last asked.
    #[must_use]
    pub fn take_ledger(&self, wanted: impl Fn(u32) -> bool) -> Ledger {
        let mut ledger = Ledger::default();
        for topic in self.topics() {
            for (index, partition) in topic.partitions.iter().enumerate() {
                let mut log = lock(&partition.log);
                ledger.verdict.add(std::mem::take(&mut log.verdict));
                ledger.verdict.looked_at("batches that reached the upstream", std::mem::take(&mut log.ours));
                ledger.verdict.looked_at("batches compared at the upstream", std::mem::take(&mut log.compared));
                let index = i32::try_from(index).unwrap_or(i32::MAX);
                for (writer, written) in log.writers.extract_if(|writer, _| wanted(*writer)) {
                    ledger.writers.insert((writer, topic.name.clone(), index), written);
                }
            }
        }
        ledger
    }

    /// How many batches of `writer` a partition has, the ledger left as it is.
    #[must_use]
    pub fn written(&self, writer: u32, topic: &str, partition: i32) -> u64 {
        let Some(topic) = self.topic(topic, false) else { return 0 };
        let partition = usize::try_from(partition).ok().and_then(|index| topic.partitions.get(index));
        partition.map_or(0, |partition| lock(&partition.log).writers.get(&writer).map_or(0, |written| written.batches))
    }
}

/// What the brokers saw of producers.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By writer, topic and partition.
    pub writers: BTreeMap<(u32, String, i32), Written>,
    /// What was looked at and was wrong.
    pub verdict: Verdict,
}

impl Topic {
    /// A partition.
    #[must_use]
    pub fn partition(&self, index: i32) -> Option<&Partition> {
        usize::try_from(index).ok().and_then(|index| self.partitions.get(index))
    }
}

impl Partition {
    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        lock(&self.log)
    }

    /// Appends batches as a producer sent them; the base offset, or Kafka's error code.
    pub(super) fn append(&self, topic: &str, records: &Bytes, cluster: &Cluster) -> Result<i64, i16> {
        const CORRUPT_MESSAGE: i16 = 2;
        let mut log = self.log();
        let first = log.next;
        let mut rest = records.clone();
        while !rest.is_empty() {
            let head = batch_head(&rest).ok_or(CORRUPT_MESSAGE)?;
            let batch = rest.split_to(head.bytes);
            log.enter(topic, &batch, &head, &cluster.pool);
            if let Serves::Kept { bytes_max } = cluster.serves {
                log.keep(&batch, &head, bytes_max);
            }
            log.next += i64::from(head.records);
        }
        let waiting = std::mem::take(&mut log.waiting);
        drop(log);
        waiting.into_iter().for_each(Waker::wake);
        Ok(first)
    }
}

impl Log {
    /// Enters a batch into the ledger.
    fn enter(&mut self, topic: &str, batch: &[u8], head: &BatchHead, pool: &Pool) {
        self.batches += 1;
        // A stock client's batch is nobody's of ours.
        let Some(identity) = Identity::of(head.base_timestamp) else { return };
        self.ours += 1;
        let written = self.writers.entry(identity.writer).or_default();
        let due = written.next;
        written.batches += 1;
        written.next = (identity.sequence + 1) % Identity::SEQUENCES;
        if identity.sequence != due {
            let what =
                if identity.sequence < due { "came again or too late" } else { "came too early: some are missing" };
            self.verdict.violation(|| {
                format!("{topic}: batch {} of writer {} {what} (due was {due})", identity.sequence, identity.writer)
            });
        }
        if self.batches % LOOKED_AT_ONE_IN == 1 {
            self.compared += 1;
            let mut sent = Vec::with_capacity(batch.len());
            pool.put(identity.number(), head.base_offset, head.base_timestamp, &mut sent);
            if sent != batch {
                let whole = batch_is_whole(batch, head);
                self.verdict.violation(|| {
                    format!(
                        "{topic}: batch {} of writer {} is not what was sent (checksum {})",
                        identity.sequence,
                        identity.writer,
                        if whole { "right" } else { "wrong" }
                    )
                });
            }
        }
    }

    fn keep(&mut self, batch: &[u8], head: &BatchHead, bytes_max: usize) {
        // Its own copy: a slice would hold the whole frame that it came in.
        let mut kept = batch.to_vec();
        kept[..8].copy_from_slice(&self.next.to_be_bytes());
        kept[12..16].copy_from_slice(&0i32.to_be_bytes());
        self.kept_bytes += head.bytes;
        self.kept.push_back((self.next, kept.into()));
        while self.kept_bytes > bytes_max && self.kept.len() > 1 {
            if let Some((_, oldest)) = self.kept.pop_front() {
                self.kept_bytes -= oldest.len();
            }
        }
        self.start = self.kept.front().map_or(self.next, |(offset, _)| *offset);
    }

    /// The kept batches from the one that holds `offset` on.
    pub(super) fn from(&self, offset: i64) -> impl Iterator<Item = &Bytes> {
        let first = self.kept.partition_point(|(base, _)| *base <= offset).saturating_sub(1);
        self.kept.range(first..).map(|(_, batch)| batch).filter(move |_| offset < self.next)
    }
}
