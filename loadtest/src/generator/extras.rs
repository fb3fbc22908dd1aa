//! Load beside producing and fetching: connections that do nothing, readers that hardly read,
//! sessions that come and go, groups, and bursts of admin requests.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use tidegate::data::runtime;

use super::open::{Opened, body, open};
use super::plan::Plan;
use super::{Handle, Job, Phase, Thread, job};
use crate::wire::{self, FETCH_VERSIONS, FetchFrom, To};

/// Connections that one thread makes at the same time.
const CONNECTING_MAX: usize = 32;
/// Sessions of a churn that one thread has at the same time; over it they wait.
const SESSIONS_MAX: u32 = 256;
/// What a slow reader takes at once, and how long it then rests: 64 KiB/s.
const SLOW_BYTES: usize = 16 * 1024;
const SLOW_REST: Duration = Duration::from_millis(250);
/// How often a group's member says that it is there.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// Starts this thread's share of everything, and waits until idle connections are all there.
pub(super) async fn start(thread: &Rc<Thread>, plan: &Rc<Plan>) -> Vec<Job> {
    let profile = &thread.shared.profile;
    let mut jobs = Vec::new();
    for number in thread.share(profile.slow_readers) {
        jobs.push(job(told(thread.clone(), slow(thread.clone(), plan.clone(), number))));
    }
    for number in thread.share(profile.groups) {
        jobs.push(job(told(thread.clone(), group(thread.clone(), plan.clone(), number))));
    }
    if profile.sessions_per_second > 0 {
        jobs.push(job(churn(thread.clone(), plan.clone())));
    }
    if profile.admin_per_second > 0 && thread.index == 0 {
        jobs.push(job(told(thread.clone(), admin(thread.clone(), plan.clone()))));
    }
    jobs.extend(idle(thread, plan).await);
    jobs
}

/// Counts the failure of a task that has no second try.
async fn told(thread: Rc<Thread>, task: impl Future<Output = anyhow::Result<()>>) {
    if let Err(error) = task.await
        && thread.shared.phase() < Phase::Draining
    {
        thread.error(|errors| errors.lost += 1, || format!("{error:#}"));
    }
}

fn address(plan: &Plan, number: u32) -> std::net::SocketAddr {
    plan.brokers[number as usize % plan.brokers.len()].address
}

/// Connects this thread's idle connections and holds them.
async fn idle(thread: &Rc<Thread>, plan: &Rc<Plan>) -> Vec<Job> {
    let numbers: Rc<std::cell::RefCell<VecDeque<u32>>> =
        Rc::new(std::cell::RefCell::new(thread.share(thread.shared.profile.idle).collect()));
    let held = Rc::new(std::cell::RefCell::new(Vec::new()));
    // Counted first: a task begins to run as it is spawned.
    let at_once = CONNECTING_MAX.min(numbers.borrow().len());
    let connecting: Vec<_> = (0..at_once)
        .map(|_| {
            let (thread, plan, numbers, held) = (thread.clone(), plan.clone(), numbers.clone(), held.clone());
            runtime::spawn(async move {
                loop {
                    let Some(number) = numbers.borrow_mut().pop_front() else { return };
                    if thread.shared.phase() == Phase::Stopped {
                        return;
                    }
                    match open(&thread, address(&plan, number), number).await {
                        Ok(opened) => {
                            let handle = thread.handle();
                            held.borrow_mut().push(job(hold(thread.clone(), opened, handle)));
                        }
                        Err(error) => thread.error(|errors| errors.connect += 1, || format!("{error:#}")),
                    }
                }
            })
        })
        .collect();
    for task in connecting {
        task.await;
    }
    std::mem::take(&mut *held.borrow_mut())
}

/// Holds one connection until the run drains; reads only to see its end.
async fn hold(thread: Rc<Thread>, mut opened: Opened, handle: Rc<Handle>) {
    let lost = poll_fn(|cx| {
        if thread.shared.phase() >= Phase::Draining {
            return Poll::Ready(false);
        }
        handle.wait(cx.waker());
        match opened.link.poll_read(cx, &mut thread.scratch.borrow_mut()) {
            Poll::Ready(Ok(0) | Err(_)) => Poll::Ready(true),
            Poll::Ready(Ok(_)) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    if lost {
        thread.error(|errors| errors.lost += 1, || "an idle connection was closed".to_owned());
    }
    opened.link.close().await;
}

/// Fetches without end, and reads the answers at a crawl.
async fn slow(thread: Rc<Thread>, plan: Rc<Plan>, number: u32) -> anyhow::Result<()> {
    let (broker, parts) = plan.for_producer(number);
    let mut opened = open(&thread, broker.address, number).await?;
    let version = opened.version(ApiKey::Fetch, FETCH_VERSIONS.1)?;
    let (topic, partition) = *parts.first().context("a broker that leads nothing")?;
    while thread.shared.phase() < Phase::Draining {
        let correlation = opened.next_correlation();
        let to = To { version, correlation, topic: &plan.topics[topic], partition };
        let from = FetchFrom { offset: 0, bytes_max: 1 << 20, wait_millis: 500 };
        wire::fetch(opened.link.outgoing(), to, from);
        while opened.link.next_frame()?.is_none() && thread.shared.phase() < Phase::Draining {
            poll_fn(|cx| {
                let _ = opened.link.poll_flush(cx)?;
                let mut scratch = thread.scratch.borrow_mut();
                let limit = SLOW_BYTES.min(scratch.len());
                match opened.link.poll_read(cx, &mut scratch[..limit])? {
                    Poll::Ready(0) => Poll::Ready(Err(anyhow::anyhow!("a slow reader was cut off"))),
                    // Nothing there yet: the rest is waited for with the next try.
                    _ => Poll::Ready(Ok(())),
                }
            })
            .await?;
            runtime::sleep(SLOW_REST).await;
        }
    }
    opened.link.close().await;
    Ok(())
}

/// Sessions that connect, log in, ask for metadata and leave, at the profile's rate.
async fn churn(thread: Rc<Thread>, plan: Rc<Plan>) {
    let shared = &thread.shared;
    let rate = f64::from(shared.profile.sessions_per_second) / f64::from(shared.profile.generator_threads);
    let running = Rc::new(Cell::new(0u32));
    while shared.phase() == Phase::Connecting {
        runtime::sleep(Duration::from_millis(2)).await;
    }
    let mut due = shared.now();
    let mut number = thread.index;
    while shared.phase() < Phase::Draining {
        while due <= shared.now() && running.get() < SESSIONS_MAX {
            running.set(running.get() + 1);
            let (thread, plan, running) = (thread.clone(), plan.clone(), running.clone());
            runtime::spawn(async move {
                let sent = thread.shared.now();
                let done = session(&thread, &plan, number).await;
                running.set(running.get() - 1);
                let shared = &thread.shared;
                match done {
                    Ok(()) => {
                        shared.live.requests.fetch_add(1, Ordering::Relaxed);
                        if shared.phase() == Phase::Measuring {
                            let sessions = &mut thread.tally.borrow_mut().sessions;
                            let now = shared.now();
                            sessions.requests += 1;
                            sessions.latency.record(now.saturating_sub(sent));
                            sessions.corrected.record(now.saturating_sub(due));
                        }
                    }
                    Err(error) => thread.error(|errors| errors.connect += 1, || format!("{error:#}")),
                }
            })
            .detach();
            due += (1e9 / rate) as u64;
            number = number.wrapping_add(1);
        }
        runtime::sleep(Duration::from_millis(2)).await;
    }
    while running.get() > 0 && shared.phase() != Phase::Stopped {
        runtime::sleep(Duration::from_millis(5)).await;
    }
}

async fn session(thread: &Thread, plan: &Plan, number: u32) -> anyhow::Result<()> {
    let mut opened = open(thread, address(plan, number), number).await?;
    metadata(thread, plan, &mut opened).await?;
    opened.link.close().await;
    Ok(())
}

async fn metadata(thread: &Thread, plan: &Plan, opened: &mut Opened) -> anyhow::Result<()> {
    let name = plan.topics.first().map(|topic| TopicName(StrBytes::from_string(topic.name.clone())));
    let topics = vec![MetadataRequestTopic::default().with_name(name)];
    let request = MetadataRequest::default().with_topics(Some(topics)).with_allow_auto_topic_creation(false);
    let answer: MetadataResponse =
        opened.call(&thread.scratch, ApiKey::Metadata, 12, |version| body(&request, version)).await?;
    ensure!(answer.topics.iter().all(|topic| topic.error_code == 0), "Metadata was answered with an error");
    Ok(())
}

/// Measures one request beside the load.
async fn timed<T>(thread: &Thread, request: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let shared = &thread.shared;
    let sent = shared.now();
    let answer = request.await?;
    shared.live.requests.fetch_add(1, Ordering::Relaxed);
    if shared.phase() == Phase::Measuring {
        let admin = &mut thread.tally.borrow_mut().admin;
        let nanos = shared.now().saturating_sub(sent);
        admin.requests += 1;
        admin.latency.record(nanos);
        admin.corrected.record(nanos);
    }
    Ok(answer)
}

/// A consumer group of one member: joins, then heartbeats and commits.
async fn group(thread: Rc<Thread>, plan: Rc<Plan>, number: u32) -> anyhow::Result<()> {
    let mut opened = open(&thread, address(&plan, number), number).await?;
    let id = GroupId(StrBytes::from_string(format!("load-{number}")));
    let mut member = StrBytes::default();
    let joined = loop {
        let protocol = JoinGroupRequestProtocol::default().with_name(StrBytes::from_static_str("range"));
        let request = JoinGroupRequest::default()
            .with_group_id(id.clone())
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(10_000)
            .with_member_id(member.clone())
            .with_protocol_type(StrBytes::from_static_str("consumer"))
            .with_protocols(vec![protocol]);
        let joined: JoinGroupResponse =
            opened.call(&thread.scratch, ApiKey::JoinGroup, 7, |version| body(&request, version)).await?;
        const MEMBER_ID_REQUIRED: i16 = 79;
        if joined.error_code == MEMBER_ID_REQUIRED && member.is_empty() {
            member = joined.member_id;
            continue;
        }
        ensure!(joined.error_code == 0, "JoinGroup: {}", super::worker::name_of(joined.error_code));
        break joined;
    };
    let (generation, member) = (joined.generation_id, joined.member_id);
    let sync = SyncGroupRequest::default()
        .with_group_id(id.clone())
        .with_generation_id(generation)
        .with_member_id(member.clone());
    let synced: SyncGroupResponse =
        opened.call(&thread.scratch, ApiKey::SyncGroup, 4, |version| body(&sync, version)).await?;
    ensure!(synced.error_code == 0, "SyncGroup: {}", super::worker::name_of(synced.error_code));
    let topic = plan.topics.first().context("no topic")?;
    let mut offset = 0;
    while thread.shared.phase() < Phase::Draining {
        runtime::sleep(HEARTBEAT).await;
        let beat = HeartbeatRequest::default()
            .with_group_id(id.clone())
            .with_generation_id(generation)
            .with_member_id(member.clone());
        let _: HeartbeatResponse =
            timed(&thread, opened.call(&thread.scratch, ApiKey::Heartbeat, 4, |version| body(&beat, version))).await?;
        offset += 1;
        let partition = OffsetCommitRequestPartition::default().with_committed_offset(offset);
        let commit = OffsetCommitRequest::default()
            .with_group_id(id.clone())
            .with_generation_id_or_member_epoch(generation)
            .with_member_id(member.clone())
            .with_topics(vec![
                OffsetCommitRequestTopic::default()
                    .with_name(TopicName(StrBytes::from_string(topic.name.clone())))
                    .with_partitions(vec![partition]),
            ]);
        let _: OffsetCommitResponse =
            timed(&thread, opened.call(&thread.scratch, ApiKey::OffsetCommit, 8, |version| body(&commit, version)))
                .await?;
    }
    opened.link.close().await;
    Ok(())
}

/// A burst of admin requests every second.
async fn admin(thread: Rc<Thread>, plan: Rc<Plan>) -> anyhow::Result<()> {
    let shared = &thread.shared;
    let mut opened = open(&thread, address(&plan, 0), 0).await?;
    let topic = StrBytes::from_string(plan.topics.first().context("no topic")?.name.clone());
    while shared.phase() < Phase::Draining {
        runtime::sleep(Duration::from_secs(1)).await;
        for turn in 0..shared.profile.admin_per_second {
            let scratch = &thread.scratch;
            match turn % 3 {
                0 => timed(&thread, metadata(&thread, &plan, &mut opened)).await?,
                1 => {
                    let resource =
                        DescribeConfigsResource::default().with_resource_type(2).with_resource_name(topic.clone());
                    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
                    let call = opened.call(scratch, ApiKey::DescribeConfigs, 4, |version| body(&request, version));
                    let _: DescribeConfigsResponse = timed(&thread, call).await?;
                }
                _ => {
                    let wanted = CreatableTopic::default()
                        .with_name(TopicName(StrBytes::from_string(format!("load-admin-{turn}"))))
                        .with_num_partitions(1)
                        .with_replication_factor(1);
                    let request = CreateTopicsRequest::default()
                        .with_topics(vec![wanted])
                        .with_timeout_ms(5000)
                        .with_validate_only(true);
                    let call = opened.call(scratch, ApiKey::CreateTopics, 7, |version| body(&request, version));
                    let _: CreateTopicsResponse = timed(&thread, call).await?;
                }
            }
        }
    }
    opened.link.close().await;
    Ok(())
}
