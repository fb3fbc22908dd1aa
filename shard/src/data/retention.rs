//! Retention at run time: each shard removes its own old segments; shard 0 also copies what was done to legal holds
//! into the evidence.
//!
//! On the shard's timer, at most one run at a time, with all I/O on another thread. A run writes an entry that
//! says what will be removed, waits until that entry is on the disk, and only then removes it. What fails is tried
//! again by the next run.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use tidegate_audit::note::Signer;
use tidegate_audit::retention::hold::{self, HoldError};
use tidegate_audit::retention::{self, Plan, RetentionError};
use tidegate_core::event::{Event, Kind, Outcome};

use super::runtime;
use super::shard::Shard;
use crate::config;

/// When the next run is due.
pub(super) struct Retention {
    due: Instant,
    underway: Rc<Cell<bool>>,
    settings: config::Evidence,
}

impl Retention {
    /// The first run is due one interval from now.
    pub(super) fn new(settings: &config::Evidence) -> Self {
        let due = Instant::now() + settings.retention_interval;
        Self { due, underway: Rc::new(Cell::new(false)), settings: settings.clone() }
    }

    /// Begins a run where one is due.
    pub(super) fn tick(&mut self, shard: &Rc<Shard>) {
        let now = Instant::now();
        if now < self.due || self.underway.get() || !(self.settings.retention.removes() || shard.id == 0) {
            return;
        }
        self.due = now + self.settings.retention_interval;
        self.underway.set(true);
        let (shard, settings, underway) = (shard.clone(), self.settings.clone(), self.underway.clone());
        runtime::spawn(async move {
            if shard.id == 0
                && let Err(error) = log_holds(&shard, &settings).await
            {
                tracing::error!(%error, "legal holds cannot be read; nothing is removed meanwhile");
            }
            if settings.retention.removes()
                && let Err(error) = remove(&shard, &settings).await
            {
                tracing::error!(shard = shard.id, %error, "old evidence could not be removed");
            }
            underway.set(false);
        })
        .detach();
    }
}

/// Copies acts on legal holds into the evidence, each once.
async fn log_holds(shard: &Rc<Shard>, settings: &config::Evidence) -> Result<(), HoldError> {
    let root = settings.directory.clone();
    let (acts, end) = runtime::spawn_blocking(move || hold::unlogged(&root)).await?;
    if acts.is_empty() {
        return Ok(());
    }
    for act in acts {
        let event = Event { principal: act.by.clone(), ..event(shard, act.sentence()) };
        if !shard.evidence.append_durably(&event).await {
            return Ok(());
        }
    }
    let root = settings.directory.clone();
    runtime::spawn_blocking(move || hold::mark_logged(&root, end)).await
}

async fn remove(shard: &Rc<Shard>, settings: &config::Evidence) -> Result<(), RetentionError> {
    // Without a key nobody could tell removal from tampering.
    let Some(signer) = shard.evidence.signer() else { return Ok(()) };
    let (root, id, now) = (settings.directory.clone(), u32::from(shard.id), shard.now());
    let policy = settings.retention;
    let planned = {
        let signer = signer.clone();
        runtime::spawn_blocking(move || finish_and_plan(&root, id, &signer, &policy, now)).await
    };
    let plan = match planned {
        Err(error @ RetentionError::Hold(_)) => {
            tracing::error!(shard = shard.id, %error, "old evidence is kept");
            return Ok(());
        }
        planned => planned?,
    };
    shard.metrics.evidence_held.set(i64::try_from(plan.held()).unwrap_or(i64::MAX));
    if plan.is_empty() || !shard.evidence.append_durably(&event(shard, plan.sentence())).await {
        return Ok(());
    }
    let segments = plan.segments();
    runtime::spawn_blocking(move || plan.carry_out(&signer, now)).await?;
    shard.metrics.evidence_removed.add(segments);
    tracing::info!(shard = shard.id, segments, "old evidence was removed");
    Ok(())
}

/// What a crash left is removed first.
fn finish_and_plan(
    root: &std::path::Path,
    shard: u32,
    signer: &Signer,
    policy: &retention::Policy,
    now: tidegate_core::words::Timestamp,
) -> Result<Plan, RetentionError> {
    retention::finish(root, shard, signer)?;
    retention::plan(root, shard, policy, now)
}

fn event(shard: &Shard, detail: String) -> Event {
    Event {
        time_micros: shard.now().0,
        kind: Kind::Retention as i32,
        outcome: Outcome::Allowed as i32,
        policy_version: shard.policy_version(),
        detail,
        broker: -1,
        ..Event::default()
    }
}
