//! A shard: one pinned executor and all it owns. Nothing here is shared with another shard but
//! what `crate::shared` publishes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use socket2::Socket;
use tidegate_audit::keys;
use tidegate_audit::log::{Durability, LogOptions, ShardLog};
use tidegate_audit::note::Signer;
use tidegate_audit::recover::Recovery;
use tidegate_audit::subject::index::{self as subject_index, SubjectIndex};
use tidegate_audit::subject::keys::{EpochSecret, IndexKeys};
use tidegate_core::event::{Event, Kind, Outcome};
use tidegate_core::limits::Limits;
use tidegate_core::words::Timestamp;
use tidegate_policy::snapshot::Snapshot;
use tidegate_policy::subject::SubjectKey;

use super::addresses::Addresses;
use super::evidence::{self, Evidence};
use super::recording::{Recorder, recorder};
use super::retention::Retention;
use super::runtime::{self, Listener, ListenerStop, ShardThread};
use super::topics::TopicIds;
use super::{accept, runtime::READ_BYTES};
use crate::config::{Config, Release, Target};
use crate::shared::{Ask, ShardMetrics, Shared};

/// How often a shard looks at deadlines, at a changed policy and at whether it drains. One timer
/// per shard: a timer per connection would cost more than its messages.
const TICK: Duration = Duration::from_millis(200);

/// What one shard owns.
pub struct Shard {
    /// Its index.
    pub id: u16,
    /// The configuration.
    pub config: Arc<Config>,
    /// The bounds.
    pub limits: Arc<Limits>,
    /// What the control thread publishes.
    pub shared: Arc<Shared>,
    /// Its counters.
    pub metrics: Arc<ShardMetrics>,
    /// Its evidence.
    pub evidence: Rc<Evidence>,
    /// What records sessions, where a rule wants that.
    pub recorder: Recorder,
    /// The key of subjects' tags in it, where it has them.
    pub subjects: Option<SubjectKey>,
    /// Topic ids seen.
    pub topics: RefCell<TopicIds>,
    /// Where sockets are read into: one for all connections, since only one reads at a time.
    pub scratch: RefCell<Vec<u8>>,
    /// Where bytes are encrypted into, lent to one connection at a time; others make their own.
    pub spare: RefCell<Vec<u8>>,
    addresses: Vec<RefCell<Addresses>>,
    policy: RefCell<Arc<Snapshot>>,
    connections: RefCell<HashMap<u64, Rc<Handle>>>,
    next_connection: Cell<u64>,
    /// No connection is due before this.
    next_due: Cell<Timestamp>,
}

/// How a shard reaches one of its connections.
#[derive(Debug)]
pub struct Handle {
    /// When the connection wants to be woken, whatever its sockets do; set with [`Shard::set_deadline`].
    deadline: Cell<Timestamp>,
    /// The connection's task.
    pub waker: RefCell<Option<Waker>>,
}

impl Handle {
    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// Keeps a connection in its shard's registry.
pub struct Registered {
    shard: Rc<Shard>,
    id: u64,
    /// The registry's way to the connection.
    pub handle: Rc<Handle>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shard.connections.borrow_mut().remove(&self.id);
        self.shard.metrics.connections_open.add(-1);
    }
}

impl Shard {
    /// The time now. A shard's only clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        clock()
    }

    /// The version of the policy that is published now.
    #[must_use]
    pub fn policy_version(&self) -> u64 {
        self.shared.policy_version.load(Ordering::Acquire)
    }

    /// The policy that is published now.
    #[must_use]
    pub fn policy(&self) -> Arc<Snapshot> {
        let mut held = self.policy.borrow_mut();
        if held.version() != self.policy_version() {
            *held = self.shared.policy.load_full();
        }
        held.clone()
    }

    /// How brokers look to clients of a listener.
    #[must_use]
    pub fn addresses(&self, listener: usize) -> &RefCell<Addresses> {
        // A session's listener is one of the configuration's, for which `new` made an entry each.
        &self.addresses[listener]
    }

    /// Tells the control thread of brokers that a response showed for the first time.
    pub fn publish_addresses(&self, listener: usize) {
        if let Some(changes) = self.addresses(listener).borrow_mut().take_changes() {
            self.shared.ask(Ask::LearnedBrokers(changes));
        }
    }

    /// Enters a connection; `None` where the shard has as many as it may.
    #[must_use]
    pub fn register(self: &Rc<Self>) -> Option<Registered> {
        let mut connections = self.connections.borrow_mut();
        if connections.len() >= self.limits.connections_per_shard_max as usize {
            return None;
        }
        let id = self.next_connection.get();
        self.next_connection.set(id + 1);
        let handle = Rc::new(Handle { deadline: Cell::new(Timestamp::MAX), waker: RefCell::new(None) });
        connections.insert(id, handle.clone());
        self.metrics.connections_open.add(1);
        Some(Registered { shard: self.clone(), id, handle })
    }

    /// Whether this shard still serves anybody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.connections.borrow().is_empty()
    }

    /// Appends an entry about the gateway itself.
    pub fn note(&self, kind: Kind, outcome: Outcome, detail: &str) {
        self.evidence.append(&Event {
            time_micros: self.now().0,
            kind: kind as i32,
            outcome: outcome as i32,
            policy_version: self.policy_version(),
            detail: detail.to_owned(),
            broker: -1,
            ..Event::default()
        });
    }

    /// Says when a connection wants to be woken.
    pub fn set_deadline(&self, handle: &Handle, deadline: Timestamp) {
        handle.deadline.set(deadline);
        self.next_due.set(self.next_due.get().min(deadline));
    }

    /// Wakes the connections that are due, or all where something changed that all must see. Ten thousand idle
    /// ones are looked at only when the first of them may be due.
    fn wake(&self, all: bool) {
        let now = self.now();
        if !all && now < self.next_due.get() {
            return;
        }
        let mut next_due = Timestamp::MAX;
        // Woken tasks run later, so none can come back here while the registry is borrowed.
        for handle in self.connections.borrow().values() {
            let deadline = handle.deadline.get();
            if all || deadline <= now {
                handle.wake();
            }
            // One that is woken says anew when it wants to be.
            if deadline > now {
                next_due = next_due.min(deadline);
            }
        }
        self.next_due.set(next_due);
    }
}

fn clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Starts every shard and returns their threads once each listens or failed.
///
/// # Errors
/// Where a port is taken, the evidence cannot be opened, or a thread or its ring cannot be had.
pub fn spawn_shards(config: &Arc<Config>, shared: &Arc<Shared>) -> anyhow::Result<Vec<ShardThread>> {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut threads = Vec::with_capacity(config.shards);
    for id in 0..config.shards {
        let sockets = bind_all(config)?;
        let log = open_log(config, id)?;
        let (config, shared) = (config.clone(), shared.clone());
        let (name, cpu, spin) = (format!("shard-{id}"), Some(id % cpus), config.spin);
        let thread =
            runtime::spawn_executor(
                &name,
                cpu,
                spin,
                move || async move { run(id, config, shared, sockets, log).await },
            )
            .with_context(|| {
                format!("shard {id} cannot be started (io_uring needs Linux 5.19 and must not be disabled)")
            })?;
        threads.push(thread);
    }
    Ok(threads)
}

type Sockets = Vec<(usize, Target, Socket)>;

fn bind_all(config: &Config) -> anyhow::Result<Sockets> {
    let mut sockets = Vec::new();
    for (index, listener) in config.listeners.iter().enumerate() {
        for (address, target) in &listener.sockets {
            let socket = runtime::bind(*address)
                .with_context(|| format!("listener {}: cannot listen on {address}", listener.name))?;
            sockets.push((index, *target, socket));
        }
    }
    Ok(sockets)
}

/// Says that a shard is up for as long as it lives, however it ends.
struct Up(Arc<Shared>);

impl Up {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.readiness.shard_up();
        Self(shared.clone())
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.0.readiness.shard_down();
    }
}

async fn run(id: usize, config: Arc<Config>, shared: Arc<Shared>, sockets: Sockets, log: Opened) -> anyhow::Result<()> {
    let shard = Rc::new(new_shard(id, config, shared, log));
    let metrics = shard.metrics.clone();
    let taking = runtime::spawn(accept::take_over(shard.clone()));
    let committing = runtime::spawn(evidence::commit(shard.evidence.clone(), shard.id, metrics));
    shard.note(Kind::Start, Outcome::Allowed, concat!("tidegate ", env!("CARGO_PKG_VERSION"), " started"));

    let mut accepting = Vec::new();
    let mut stops: Vec<ListenerStop> = Vec::new();
    for (listener, target, socket) in sockets {
        let (socket, stop) = Listener::new(socket)?;
        stops.push(stop);
        accepting.push(runtime::spawn(accept::accept(shard.clone(), listener, target, socket)));
    }
    let up = Up::new(&shard.shared);

    tick_until_draining(&shard).await;
    for stop in &stops {
        stop.stop();
    }
    for task in accepting {
        task.await;
    }
    taking.cancel().await;
    shard.shared.handover.close(id);
    drain(&shard).await;
    drop(up);
    write_notices(&shard);
    shard.recorder.finish(&shard).await;
    shard.note(Kind::Stop, Outcome::Allowed, "stopped");
    shard.evidence.stop();
    committing.await;
    Ok(())
}

pub(crate) fn new_shard(id: usize, config: Arc<Config>, shared: Arc<Shared>, opened: Opened) -> Shard {
    let Opened { log, subjects, recorder } = opened;
    let recorder = Recorder::new(&config, u32::try_from(id).unwrap_or(u32::MAX), recorder);
    let limits = config.limits.clone();
    let metrics = shared.shards[id].clone();
    let evidence =
        Evidence::new(log, config.evidence.release, config.evidence.on_failure, limits.evidence_pending_bytes_max);
    let hosts = shared.cluster.load().hosts();
    let addresses = config
        .listeners
        .iter()
        .map(|listener| {
            let mut addresses = Addresses::new(listener.scheme.clone());
            addresses.learn(&hosts);
            RefCell::new(addresses)
        })
        .collect();
    Shard {
        id: u16::try_from(id).unwrap_or(u16::MAX),
        topics: RefCell::new(TopicIds::new(limits.topic_ids_max as usize)),
        scratch: RefCell::new(vec![0; READ_BYTES]),
        spare: RefCell::new(Vec::new()),
        addresses,
        policy: RefCell::new(shared.policy.load_full()),
        connections: RefCell::new(HashMap::new()),
        next_connection: Cell::new(0),
        next_due: Cell::new(Timestamp::MAX),
        config,
        limits,
        shared,
        metrics,
        evidence,
        recorder,
        subjects,
    }
}

/// A shard's evidence, opened.
pub(crate) struct Opened {
    log: ShardLog,
    recorder: recorder::Started,
    /// The key of subjects' tags, where it has them.
    subjects: Option<SubjectKey>,
}

/// Opens a shard's evidence, and has it say itself what a crash cost it.
pub(crate) fn open_log(config: &Config, id: usize) -> anyhow::Result<Opened> {
    let (subjects, subjects_secret) = subject_key(config)?.unzip();
    let index_key = subjects_secret.as_ref().and_then(EpochSecret::id);
    let durability = match config.evidence.release {
        Release::Written => Durability::Written,
        Release::Durable => Durability::Durable,
        Release::Async => Durability::Async,
    };
    let options = LogOptions {
        segment_bytes: config.evidence.segment_bytes,
        entry_bytes_max: config.limits.evidence_entry_bytes_max,
        durability,
        signer: Some(Arc::new(signing_key(config)?)),
        checkpoint_interval: config.evidence.checkpoint_interval,
        segment_age_max: config.evidence.segment_age_max,
        index_key,
        ..LogOptions::default()
    };
    let now = clock();
    let shard = u32::try_from(id).context("too many shards")?;
    let (mut log, recovery) = ShardLog::open(&config.evidence.directory, shard, &config.origin, options, now)?;
    if let Some(detail) = gap(&recovery) {
        tracing::warn!(shard, "{detail}");
        log.append(&Event { time_micros: now.0, kind: Kind::Gap as i32, detail, broker: -1, ..Event::default() });
    }
    if let Some(before) = &recovery.signer_before {
        let announced = log
            .signer()
            .and_then(|signer| keys::rotation::announcement_of(&config.evidence.directory, signer.verifier()));
        let detail = match announced {
            Some(note) => format!("the evidence is signed with another key from here on, as announced:\n{note}"),
            None => {
                let detail = format!("the evidence is signed with another key from here on; before: {before}");
                tracing::warn!(shard, "{detail}; nothing announces that: `tidegate audit key rotate` would have");
                detail
            }
        };
        let kind = Kind::EvidenceKey as i32;
        log.append(&Event { time_micros: now.0, kind, detail, broker: -1, ..Event::default() });
    }
    if gap(&recovery).is_some() {
        let recovered =
            recorder::recovered(config, shard, now).context("recordings of the last run cannot be ended")?;
        for event in recovered {
            log.append(&event);
        }
    }
    let recorder = recorder::Started::new(config, shard).context("the writer of recordings cannot be started")?;
    Ok(Opened { log, recorder, subjects })
}

/// The key of subjects' tags; its secret is made on the first start.
fn subject_key(config: &Config) -> anyhow::Result<Option<(SubjectKey, EpochSecret)>> {
    let evidence = &config.evidence;
    if !evidence.tag_subjects {
        return Ok(None);
    }
    let path = evidence.index_key_path();
    std::fs::create_dir_all(&evidence.directory)
        .with_context(|| format!("the evidence's folder {}", evidence.directory.display()))?;
    let (keys, made) = IndexKeys::load_or_make(&path).context("the evidence has no key for subjects' tags")?;
    let newest = keys.newest().context("the newest epoch of subjects' tags has no secret")?;
    if made {
        tracing::warn!(
            file = %path.display(),
            epoch = newest.epoch,
            "made a secret for the tags of subjects in the evidence: whoever has it and the evidence can look for \
             people; without it nobody can. Keep it apart from copies of the evidence"
        );
    }
    let secret = newest.secret.as_ref().context("the newest epoch of subjects' tags has no secret")?;
    let key = SubjectKey::new(newest.epoch, &secret[..]).context("a secret of subjects' tags is too short")?;
    Ok(Some((key, newest.clone())))
}

/// The key that signs the evidence; made on the first start where the configuration names none.
fn signing_key(config: &Config) -> anyhow::Result<Signer> {
    let evidence = &config.evidence;
    let loaded = keys::load_or_make(&evidence.directory, evidence.signing_key_file.as_deref(), &config.origin)
        .context("the evidence has no signing key")?;
    if loaded.made {
        tracing::warn!(
            file = %loaded.path.display(),
            verifier_key = %loaded.signer.verifier(),
            "made a key that signs the evidence. Keep a copy of the verifier key where those who can write to this \
             machine cannot: `tidegate audit verify --key` needs it. For a key of your own set \
             evidence.signing_key_file"
        );
    }
    Ok(loaded.signer)
}

/// What is to be said of how the evidence ended before, where it did not end in good order.
fn gap(recovery: &Recovery) -> Option<String> {
    let last = recovery.last_event.as_ref()?;
    if let Some(torn) = &recovery.torn {
        return Some(format!("a write was torn by a crash: {} bytes without a whole entry were set aside", torn.bytes));
    }
    (last.kind != Kind::Stop as i32)
        .then(|| "the gateway did not stop in good order: exchanges under way then have no entry".to_owned())
}

/// Looks at deadlines, policy and drain, until it is time to drain.
async fn tick_until_draining(shard: &Rc<Shard>) {
    let mut policy_version = shard.policy_version();
    let mut retention = Retention::new(&shard.config.evidence);
    while !shard.shared.is_draining() {
        // Approvals are looked for more often, while anybody waits for one.
        let waits = shard.metrics.held_now.get() > 0;
        runtime::sleep(if waits { TICK / 8 } else { TICK }).await;
        write_notices(shard);
        shard.evidence.tick(shard.id);
        index_sealed(shard);
        retention.tick(shard);
        shard.recorder.tick(shard);
        let version = shard.policy_version();
        shard.wake(version != policy_version);
        policy_version = version;
    }
}

/// Lets connections finish what is in flight; ends those that take too long when told to.
async fn drain(shard: &Rc<Shard>) {
    tracing::info!(shard = shard.id, connections = shard.connections.borrow().len(), "draining");
    while !shard.is_empty() {
        shard.wake(true);
        runtime::sleep(TICK / 4).await;
    }
}

/// Has the index of subjects of a segment that was sealed made on another thread, and puts into the evidence
/// what it commits to.
fn index_sealed(shard: &Rc<Shard>) {
    if shard.subjects.is_none() {
        return;
    }
    let Some(segment) = shard.evidence.take_sealed() else { return };
    let path = shard.config.evidence.index_key_path();
    let making = runtime::spawn_blocking(move || {
        // The segment may be of the epoch before this start, and an epoch may be destroyed while we run.
        let keys = IndexKeys::load(&path).map_err(std::io::Error::other)?;
        let mut made = false;
        for secret in keys.epochs() {
            made = made || SubjectIndex::build(&segment, secret)?;
        }
        let commitment = made.then(|| SubjectIndex::commitment(&segment)).transpose()?;
        Ok::<_, std::io::Error>(commitment.map(|commitment| subject_index::commitment_text(&segment, &commitment)))
    });
    let shard = shard.clone();
    runtime::spawn(async move {
        match making.await {
            Ok(Some(detail)) => shard.note(Kind::SubjectIndex, Outcome::Unspecified, &detail),
            Ok(None) => {}
            Err(error) => tracing::warn!(shard = shard.id, %error, "an index of subjects could not be written"),
        }
    })
    .detach();
}

/// Writes what the control thread has to say into the evidence of shard 0.
fn write_notices(shard: &Rc<Shard>) {
    if shard.id == 0 {
        for event in shard.shared.notices.take() {
            shard.evidence.append(&event);
        }
    }
}
