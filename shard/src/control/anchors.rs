//! Publishes checkpoints of the evidence where whoever can write to this machine cannot: to a topic of the
//! upstream, to an object store, or both.
//!
//! Every interval, each shard's newest checkpoint, where it is newer than the last one that was published there.
//! What fails is tried again at the next interval with what is newest then: an anchor covers everything before
//! it. Nothing waits for this, and the notes are signed already, so a fault here can publish nothing untrue.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, PutMode, PutOptions, PutPayload};
use tidegate_audit::anchor::anchor_name;
use tidegate_audit::directory::shards;
use tidegate_audit::log::CHECKPOINT_FILE;
use tidegate_audit::note::{Checkpoint, Note};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::metrics::ControlMetrics;
use super::topology::{Access, Producer};
use crate::config::{Anchors, Config};
use crate::shared::Shared;

/// How long publishing to one place may take.
const PUBLISH: Duration = Duration::from_secs(30);

/// Whether this build knows the kind of object store that a URL names.
///
/// # Errors
/// Why not, in a sentence.
pub fn knows(url: &url::Url) -> Result<(), String> {
    match url.scheme() {
        "file" => Ok(()),
        "s3" | "s3a" | "gs" | "az" | "azure" | "abfs" | "abfss" | "https" if cfg!(feature = "cloud") => Ok(()),
        other => Err(format!(
            "{other}:// is no object store that this build knows (file://{})",
            if cfg!(feature = "cloud") { ", s3://, gs://, az://" } else { "; others need the feature `cloud`" }
        )),
    }
}

/// Opens the object store that a URL names; credentials come from the environment, as its own tools take them.
///
/// # Errors
/// The URL names none that this build knows, or the environment says something impossible.
pub fn open_store(url: &url::Url) -> anyhow::Result<(Box<dyn ObjectStore>, ObjectPath)> {
    let environment = std::env::vars().map(|(name, value)| (name.to_ascii_lowercase(), value));
    if url.scheme() == "file" {
        // The store refuses a folder that isn't there; a first anchor makes it.
        let folder = url.to_file_path().map_err(|()| anyhow::anyhow!("{url} names no folder"))?;
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    object_store::parse_url_opts(url, environment).with_context(|| format!("{url} cannot be used as an object store"))
}

/// The task.
pub(super) struct Anchorer {
    anchors: Anchors,
    config: Arc<Config>,
    shared: Arc<Shared>,
    metrics: Arc<ControlMetrics>,
    /// The sizes published last, by place and tree.
    published: HashMap<(&'static str, String), u64>,
}

impl Anchorer {
    /// Starts the task, where anything is configured.
    pub(super) fn start(config: &Arc<Config>, shared: &Arc<Shared>, metrics: &Arc<ControlMetrics>) {
        let Some(anchors) = config.evidence.anchors.clone() else { return };
        let (config, shared, metrics) = (config.clone(), shared.clone(), metrics.clone());
        let anchorer = Self { anchors, config, shared, metrics, published: HashMap::new() };
        tokio::spawn(anchorer.run());
    }

    async fn run(mut self) {
        let mut ticks = interval(self.anchors.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let checkpoints = match read_checkpoints(&self.config) {
                Ok(checkpoints) => checkpoints,
                Err(error) => {
                    tracing::warn!("checkpoints cannot be read to be anchored: {error:#}");
                    continue;
                }
            };
            if let Some(topic) = self.anchors.kafka_topic.clone() {
                let new = self.news("kafka", &checkpoints);
                let records = new.iter().map(|(checkpoint, note)| (checkpoint.origin.clone(), note.clone())).collect();
                let (config, shared) = (self.config.clone(), self.shared.clone());
                let sent = async move {
                    let servers = shared.cluster.load().brokers.values().cloned().collect();
                    let mut producer = Producer::new(Access::of(&config, &shared)?, servers, &topic);
                    Ok(producer.send(0, records).await?)
                };
                self.publish("kafka", &new, sent).await;
            }
            if let Some(url) = self.anchors.object_store.clone() {
                let new = self.news("object_store", &checkpoints);
                self.publish("object_store", &new, put_all(&url, &new)).await;
            }
        }
    }

    /// What a place lacks.
    fn news(&self, place: &'static str, checkpoints: &[(Checkpoint, Vec<u8>)]) -> Vec<(Checkpoint, Vec<u8>)> {
        let last = |origin: &str| self.published.get(&(place, origin.to_owned())).copied().unwrap_or_default();
        checkpoints.iter().filter(|(checkpoint, _)| checkpoint.size > last(&checkpoint.origin)).cloned().collect()
    }

    async fn publish(
        &mut self,
        place: &'static str,
        new: &[(Checkpoint, Vec<u8>)],
        sent: impl Future<Output = anyhow::Result<()>>,
    ) {
        if new.is_empty() {
            return;
        }
        let sent = timeout(PUBLISH, sent).await.context("it takes too long").flatten();
        self.metrics.anchored(place, sent.is_ok(), new.len() as u64);
        match sent {
            Ok(()) => {
                for (checkpoint, _) in new {
                    self.published.insert((place, checkpoint.origin.clone()), checkpoint.size);
                }
            }
            Err(error) => tracing::warn!(place, "checkpoints cannot be anchored: {error:#}"),
        }
    }
}

/// Each shard's newest checkpoint. Small files: reading them holds the thread up for microseconds.
fn read_checkpoints(config: &Config) -> anyhow::Result<Vec<(Checkpoint, Vec<u8>)>> {
    let root = &config.evidence.directory;
    let mut found = Vec::new();
    for (_, directory) in shards(root).with_context(|| root.display().to_string())? {
        let path = directory.join(CHECKPOINT_FILE);
        let note = match std::fs::read(&path) {
            Ok(note) => note,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        let checkpoint = Note::parse(&note).and_then(|note| note.checkpoint());
        found.push((checkpoint.with_context(|| path.display().to_string())?, note));
    }
    Ok(found)
}

async fn put_all(url: &url::Url, new: &[(Checkpoint, Vec<u8>)]) -> anyhow::Result<()> {
    let (store, prefix) = open_store(url)?;
    for (checkpoint, note) in new {
        let path = ObjectPath::from(format!("{prefix}/{}", anchor_name(checkpoint)));
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match store.put_opts(&path, PutPayload::from(note.clone()), options).await {
            // One of that size is there from before a restart; whether it is the same, `verify` will tell.
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(error) => return Err(error).with_context(|| path.to_string()),
        }
    }
    Ok(())
}
