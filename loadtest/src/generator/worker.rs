//! One connection that produces, or one that fetches: keeps what the profile wants in flight, and
//! measures every answer. A connection that is lost is made again.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{ApiKey, BrokerId, ListOffsetsRequest, ListOffsetsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use tidegate::data::runtime;
use tidegate_core::header::{response_body_start, response_correlation_id};

use super::check::{Reading, Rules};
use super::open::{Opened, body, open};
use super::plan::Plan;
use super::{Handle, Job, Phase, Thread, job, next_writer, pacer};
use crate::blackhole::cluster::Serves;
use crate::payload::Identity;
use crate::profile::Acks;
use crate::result::SentTo;
use crate::wire::{self, FETCH_VERSIONS, FetchFrom, PRODUCE_VERSIONS, To};

/// Rounds of one poll before other connections get their turn.
const ROUNDS: usize = 8;
/// Bytes that wait to be sent, at which nothing more is made.
const OUT_BYTES_MAX: usize = 1 << 20;
/// How long a broker may wait for data that is not there yet.
const FETCH_WAIT_MILLIS: i32 = 100;
/// How long a connection that was lost waits before it is made again.
const PAUSE: Duration = Duration::from_millis(200);

/// Starts this thread's producing and fetching connections and, in an open loop, what paces them.
pub(super) async fn start(thread: &Rc<Thread>, plan: &Rc<Plan>) -> Vec<Job> {
    let profile = &thread.shared.profile;
    let mut jobs = Vec::new();
    let mut connected = Vec::new();
    let (mut producers, mut consumers) = (Vec::new(), Vec::new());
    for number in thread.share(profile.producers) {
        let handle = thread.handle();
        producers.push(handle.clone());
        connected.push((number, Role::Produce, handle));
    }
    for number in thread.share(profile.consumers) {
        let handle = thread.handle();
        consumers.push(handle.clone());
        connected.push((number, Role::Fetch, handle));
    }
    let waiting = Rc::new(std::cell::Cell::new(connected.len()));
    for (number, role, handle) in connected {
        jobs.push(job(keep(thread.clone(), plan.clone(), number, role, handle, waiting.clone())));
    }
    while waiting.get() > 0 && thread.shared.phase() != Phase::Stopped {
        runtime::sleep(Duration::from_millis(5)).await;
    }
    if let Some(rate) = profile.requests_per_second {
        jobs.push(job(pacer::pace(thread.clone(), rate, producers, consumers)));
    }
    jobs
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Produce,
    Fetch,
}

/// Keeps one connection, made anew where it is lost.
async fn keep(
    thread: Rc<Thread>,
    plan: Rc<Plan>,
    number: u32,
    role: Role,
    handle: Rc<Handle>,
    waiting: Rc<std::cell::Cell<usize>>,
) {
    let mut first = true;
    let mut readings = Vec::new();
    while thread.shared.phase() < Phase::Draining {
        match one(&thread, &plan, number, role, &handle, &mut readings, || {
            if std::mem::take(&mut first) {
                waiting.set(waiting.get() - 1);
            }
        })
        .await
        {
            Ok(()) => return,
            Err(Ended::NotMade(error)) => {
                let mut kept = thread.shared.live.first_error.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                kept.get_or_insert_with(|| format!("{error:#}"));
                drop(kept);
                thread.error(|errors| errors.connect += 1, || format!("{error:#}"));
            }
            Err(Ended::Lost(error)) => {
                thread.error(|errors| errors.lost += 1, || format!("a connection was lost: {error}"))
            }
        }
        runtime::sleep(PAUSE).await;
    }
}

enum Ended {
    NotMade(anyhow::Error),
    Lost(io::Error),
}

async fn one(
    thread: &Rc<Thread>,
    plan: &Rc<Plan>,
    number: u32,
    role: Role,
    handle: &Rc<Handle>,
    readings: &mut Vec<Reading>,
    made: impl FnOnce(),
) -> Result<(), Ended> {
    let profile = &thread.shared.profile;
    let (broker, parts) = match role {
        Role::Produce => plan.for_producer(number),
        Role::Fetch => plan.for_consumer(number, profile.consumers, profile.fan_out),
    };
    // Tokens are shared out over both kinds.
    let turn = if role == Role::Produce { number } else { profile.producers.wrapping_add(number) };
    let mut opened = open(thread, broker.address, turn).await.map_err(Ended::NotMade)?;
    let version = match role {
        Role::Produce => opened.version(ApiKey::Produce, PRODUCE_VERSIONS.1),
        Role::Fetch => opened.version(ApiKey::Fetch, FETCH_VERSIONS.1),
    }
    .map_err(Ended::NotMade)?;
    if role == Role::Fetch && readings.is_empty() {
        *readings = begin(thread, plan, &mut opened, &parts).await.map_err(Ended::NotMade)?;
    }
    made();
    let writing = parts.iter().map(|part| Writing { to: *part, next: 0, acknowledged: 0 }).collect();
    let mut worker = Worker {
        thread: thread.clone(),
        plan: plan.clone(),
        handle: handle.clone(),
        opened,
        role,
        version,
        writer: next_writer(),
        writing: if role == Role::Produce { writing } else { Vec::new() },
        readings,
        turn: 0,
        in_flight: VecDeque::new(),
    };
    for reading in worker.readings.iter_mut() {
        reading.fetching = false;
    }
    let ended = poll_fn(|cx| worker.poll(cx)).await;
    worker.account();
    worker.opened.link.close().await;
    ended.map_err(Ended::Lost)
}

/// Where a consumer's partitions begin.
async fn begin(
    thread: &Thread,
    plan: &Plan,
    opened: &mut Opened,
    parts: &[(usize, i32)],
) -> anyhow::Result<Vec<Reading>> {
    let shared = &thread.shared;
    let named = |topic: usize, partition: i32| format!("{}-{partition}", plan.topics[topic].name);
    if matches!(shared.target.serves, Some(Serves::Prepared)) {
        // Each run reads what no run before it read, so that nothing between can know it already.
        let first = i64::from(shared.number) * 10_000_000 * i64::from(shared.pool.records_per_batch());
        return Ok(parts
            .iter()
            .map(|(topic, partition)| Reading::new(*topic, *partition, named(*topic, *partition), first))
            .collect());
    }
    let mut readings = Vec::new();
    for (topic, partition) in parts {
        const LATEST: i64 = -1;
        let asked = ListOffsetsPartition::default().with_partition_index(*partition).with_timestamp(LATEST);
        let name = TopicName(StrBytes::from_string(plan.topics[*topic].name.clone()));
        let topics = vec![ListOffsetsTopic::default().with_name(name).with_partitions(vec![asked])];
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics);
        let answer: ListOffsetsResponse =
            opened.call(&thread.scratch, ApiKey::ListOffsets, 7, |version| body(&request, version)).await?;
        let found = answer.topics.first().and_then(|topic| topic.partitions.first());
        let found = found.ok_or_else(|| anyhow::anyhow!("ListOffsets was answered without an offset"))?;
        anyhow::ensure!(found.error_code == 0, "ListOffsets: {}", name_of(found.error_code));
        readings.push(Reading::new(*topic, *partition, named(*topic, *partition), found.offset));
    }
    Ok(readings)
}

/// A partition as one connection writes it.
struct Writing {
    to: (usize, i32),
    next: u32,
    acknowledged: u64,
}

/// A request that was sent.
struct InFlight {
    sent: u64,
    due: u64,
    /// Index of the partition among those written or read.
    part: usize,
    correlation: i32,
    wire_bytes: u64,
    batch_bytes: u64,
}

struct Worker<'a> {
    thread: Rc<Thread>,
    plan: Rc<Plan>,
    handle: Rc<Handle>,
    opened: Opened,
    role: Role,
    version: i16,
    writer: u32,
    writing: Vec<Writing>,
    readings: &'a mut Vec<Reading>,
    turn: usize,
    in_flight: VecDeque<InFlight>,
}

impl Worker<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.handle.wait(cx.waker());
        for _ in 0..ROUNDS {
            let phase = self.thread.shared.phase();
            if (Phase::Warm..Phase::Draining).contains(&phase) {
                self.send();
            }
            let flushed = self.opened.link.poll_flush(cx)?;
            let quiet = self.in_flight.is_empty() && flushed.is_ready();
            if phase >= Phase::Draining && quiet {
                return Poll::Ready(Ok(()));
            }
            match self.opened.link.poll_read(cx, &mut self.thread.scratch.borrow_mut())? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Poll::Ready(_) => {}
                Poll::Pending if flushed.is_ready() && self.may_send_more(phase) => continue,
                Poll::Pending => return Poll::Pending,
            }
            while let Some(frame) = self.opened.link.next_frame()? {
                self.take(&frame)?;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Without acknowledgements it is the socket alone that says when.
    fn may_send_more(&self, phase: Phase) -> bool {
        let shared = &self.thread.shared;
        let wants = shared.profile.requests_per_second.is_none() || !self.handle.due.borrow().is_empty();
        self.is_unacknowledged() && wants && (Phase::Warm..Phase::Draining).contains(&phase)
    }

    fn is_unacknowledged(&self) -> bool {
        self.role == Role::Produce && self.thread.shared.profile.acks == Acks::None
    }

    /// Makes the requests that may be in flight now.
    fn send(&mut self) {
        let thread = self.thread.clone();
        let shared = &thread.shared;
        let profile = &shared.profile;
        while self.in_flight.len() < profile.depth as usize && self.opened.link.waiting() < OUT_BYTES_MAX {
            let part = match self.role {
                Role::Produce => Some(self.turn % self.writing.len()),
                // One fetch of a partition at a time: the next offset is known when it is answered.
                Role::Fetch => {
                    let count = self.readings.len();
                    (0..count).map(|step| (self.turn + step) % count).find(|part| !self.readings[*part].fetching)
                }
            };
            let Some(part) = part else { return };
            let now = shared.now();
            let due = match profile.requests_per_second {
                None => now,
                Some(_) => match self.handle.due.borrow_mut().pop_front() {
                    Some(due) => due,
                    None => return,
                },
            };
            self.turn = part + 1;
            let correlation = self.opened.next_correlation();
            let before = self.opened.link.outgoing().len();
            let batch_bytes = match self.role {
                Role::Produce => self.put_produce(part, correlation),
                Role::Fetch => {
                    self.put_fetch(part, correlation);
                    0
                }
            };
            let wire_bytes = (self.opened.link.outgoing().len() - before) as u64;
            let request = InFlight { sent: now, due, part, correlation, wire_bytes, batch_bytes };
            if shared.phase() == Phase::Measuring && profile.requests_per_second.is_some() {
                thread.tally.borrow_mut().lag.record(now.saturating_sub(due));
            }
            if self.is_unacknowledged() {
                self.writing[part].acknowledged += 1;
                self.count(&request, now, 0, u64::from(shared.pool.records_per_batch()), batch_bytes);
                // One at a time, so that flushing comes in between.
                return;
            }
            self.in_flight.push_back(request);
        }
    }

    fn put_produce(&mut self, part: usize, correlation: i32) -> u64 {
        let shared = &self.thread.shared;
        let writing = &mut self.writing[part];
        let identity = Identity { writer: self.writer, sequence: writing.next % Identity::SEQUENCES };
        writing.next = writing.next.wrapping_add(1);
        let (topic, partition) = writing.to;
        let to = To { version: self.version, correlation, topic: &self.plan.topics[topic], partition };
        let bytes = shared.pool.batch(identity.number()).bytes.len();
        wire::produce(self.opened.link.outgoing(), to, shared.profile.acks.wire(), bytes, |out| {
            shared.pool.put(identity.number(), 0, identity.timestamp(), out);
        });
        bytes as u64
    }

    fn put_fetch(&mut self, part: usize, correlation: i32) {
        let reading = &mut self.readings[part];
        reading.fetching = true;
        let topic = &self.plan.topics[reading.topic];
        let to = To { version: self.version, correlation, topic, partition: reading.partition };
        let bytes_max = i32::try_from(self.thread.shared.profile.batch.fetch_bytes.0).unwrap_or(i32::MAX);
        let from = FetchFrom { offset: reading.next, bytes_max, wait_millis: FETCH_WAIT_MILLIS };
        wire::fetch(self.opened.link.outgoing(), to, from);
    }

    /// Takes an answer.
    fn take(&mut self, frame: &Bytes) -> io::Result<()> {
        let malformed = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let now = self.thread.shared.now();
        let request = self.in_flight.pop_front().ok_or_else(|| malformed("an answer to nothing"))?;
        if response_correlation_id(frame) != Some(request.correlation) {
            self.thread.error(|errors| errors.malformed += 1, || "an answer out of order".to_owned());
            return Err(malformed("an answer out of order"));
        }
        let api = if self.role == Role::Produce { ApiKey::Produce } else { ApiKey::Fetch };
        let start = response_body_start(frame, api, self.version).ok_or_else(|| malformed("a short answer"))?;
        self.thread.tally.borrow_mut().answered[self.role as usize] += 1;
        let taken = match self.role {
            Role::Produce => self.take_produce(&request, &frame[start..], frame.len(), now),
            Role::Fetch => self.take_fetch(&request, &frame.slice(start..), frame.len(), now),
        };
        taken.map_err(|error| {
            self.thread.error(|errors| errors.malformed += 1, || format!("{api:?}: {error}"));
            malformed("an answer that cannot be read")
        })
    }

    fn take_produce(&mut self, request: &InFlight, body: &[u8], bytes: usize, now: u64) -> Result<(), wire::Malformed> {
        let mut code = 0;
        wire::produce_response(body, self.version, |partition| code = partition.error)?;
        if code == 0 {
            self.writing[request.part].acknowledged += 1;
            let records = u64::from(self.thread.shared.pool.records_per_batch());
            self.count(request, now, bytes as u64, records, request.batch_bytes);
        } else {
            self.refused(code);
        }
        Ok(())
    }

    fn take_fetch(&mut self, request: &InFlight, body: &Bytes, bytes: usize, now: u64) -> Result<(), wire::Malformed> {
        const OFFSET_OUT_OF_RANGE: i16 = 1;
        let mut found = None;
        let of_all = wire::fetch_response(body, self.version, |partition| found = Some(partition))?;
        let reading = &mut self.readings[request.part];
        reading.fetching = false;
        let Some(partition) = found else {
            // Only an error of the whole answer leaves the partition out.
            if of_all == 0 {
                return Err(wire::Malformed);
            }
            self.refused(of_all);
            return Ok(());
        };
        if partition.error != 0 {
            if partition.error == OFFSET_OUT_OF_RANGE && partition.offset >= 0 {
                reading.skip_to(partition.offset);
            }
            self.refused(partition.error);
            return Ok(());
        }
        let shared = &self.thread.shared;
        let rules = Rules {
            pool: &shared.pool,
            serves: shared.target.serves,
            masked: shared.target.masked,
            verify: shared.profile.verify,
        };
        let got = reading.take(&body.slice(partition.records), &rules, &mut self.thread.tally.borrow_mut().findings);
        // At the end of a log it is the broker's waiting that would be measured.
        if got.records > 0 {
            self.count(request, now, bytes as u64, got.records, got.bytes);
        }
        Ok(())
    }

    fn refused(&self, code: i16) {
        let name = name_of(code);
        let role = self.role;
        self.thread.error(
            |errors| *errors.codes.entry(name.clone()).or_default() += 1,
            || format!("{role:?} was answered with {name}"),
        );
    }

    /// Counts a request that is through.
    fn count(&self, request: &InFlight, now: u64, answer_bytes: u64, records: u64, batch_bytes: u64) {
        let shared = &self.thread.shared;
        if let Some(moment) = &shared.target.moment {
            moment.served(self.writer, Duration::from_nanos(now.saturating_sub(request.sent)));
        }
        shared.live.requests.fetch_add(1, Ordering::Relaxed);
        shared.live.bytes.fetch_add(batch_bytes, Ordering::Relaxed);
        if shared.phase() != Phase::Measuring {
            return;
        }
        let mut tally = self.thread.tally.borrow_mut();
        let kind = if self.role == Role::Produce { &mut tally.produce } else { &mut tally.fetch };
        kind.requests += 1;
        kind.records += records;
        kind.bytes += batch_bytes;
        kind.wire_bytes += request.wire_bytes + answer_bytes;
        if answer_bytes > 0 {
            kind.latency.record(now.saturating_sub(request.sent));
            kind.corrected.record(now.saturating_sub(request.due));
        }
    }

    /// Enters what was sent, for the oracle.
    fn account(&self) {
        let mut tally = self.thread.tally.borrow_mut();
        for Writing { to: (topic, partition), next, acknowledged } in &self.writing {
            let sent = SentTo { sent: u64::from(*next), acknowledged: *acknowledged };
            tally.sent.insert((self.writer, self.plan.topics[*topic].name.clone(), *partition), sent);
        }
    }
}

/// A Kafka error code by its name.
pub(super) fn name_of(code: i16) -> String {
    match ResponseError::try_from_code(code) {
        Some(ResponseError::Unknown(code)) => format!("error {code}"),
        Some(error) => format!("{error:?}"),
        None => "no error".to_owned(),
    }
}
