//! `tidegate serve`: configuration → preflight → policy and keys → control thread → shards, and then
//! waiting for them to end.

use std::io::stderr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::{Failure, colours, preflight};
use crate::config::{Config, Log, LogFormat};
use crate::control::{self, PrepareError};
use crate::data::runtime::ShardThread;
use crate::data::shard::spawn_shards;
use crate::shared::Shared;

/// How often the main thread looks whether it is time to give up on a shard.
const LOOK: Duration = Duration::from_millis(200);
/// How long a shard may take to end once it was told to close everything.
const ABORT_PATIENCE: Duration = Duration::from_secs(5);

/// What `tidegate serve` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    /// The gateway's configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// End with code 1 where the upstream cannot be reached at the start, instead of trying on
    #[arg(long)]
    require_upstream: bool,
}

impl Serve {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = Config::load(&self.config).map_err(|problems| Failure::problems(&problems))?;
        start_log(&config.log);
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        // Before the control log is locked: of a second gateway with the same files the ports are the plainer news.
        preflight::check(&config).map_err(Failure::Refused)?;
        // Whoever may not read the policy or a key learns that before anything is bound.
        let prepared = control::prepare(&config).map_err(|error| match error {
            PrepareError::Policy(problems) => Failure::problems(&problems),
            PrepareError::Files(sentences) => Failure::Usage(sentences),
        })?;
        if let Some(warning) = preflight::raise_open_files(&config) {
            tracing::warn!("{warning}");
        }

        let config = Arc::new(config);
        let shared = prepared.shared.clone();
        let refused = |error: anyhow::Error| Failure::Refused(vec![format!("{error:#}")]);
        let control = control::start(config.clone(), prepared).map_err(refused)?;
        let served = self.serve(&config, &shared, control.address);
        control.stop();
        served
    }

    fn serve(&self, config: &Arc<Config>, shared: &Arc<Shared>, control: std::net::SocketAddr) -> Result<(), Failure> {
        if self.require_upstream {
            wait_for_upstream(config, shared)?;
        }
        let shards = spawn_shards(config, shared).map_err(|error| Failure::Refused(vec![format!("{error:#}")]))?;
        for listener in &config.listeners {
            tracing::info!(listener = %listener.name, "listening on {}", listener.bootstrap);
        }
        tracing::info!(
            origin = %config.origin,
            shards = shards.len(),
            policy_version = shared.policy.load().version(),
            %control,
            "tidegate {} is up",
            env!("CARGO_PKG_VERSION")
        );
        supervise(shards, shared)
    }
}

/// Waits until every shard ended. One that ends before it was told to takes the others with it:
/// a gateway that serves half of its connections is worse than one that is restarted.
fn supervise(shards: Vec<ShardThread>, shared: &Shared) -> Result<(), Failure> {
    let (ended, ends) = mpsc::channel();
    let mut running = shards.len();
    for (id, shard) in shards.into_iter().enumerate() {
        let ended = ended.clone();
        // A thread that only waits: the executor's handle cannot be asked whether it is done.
        std::thread::spawn(move || {
            let end = match shard.join() {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(format!("{error:#}")),
                Err(error) => Err(error.to_string()),
            };
            // The receiver is gone only where the process is about to end.
            let _ = ended.send((id, end));
        });
    }
    let mut fault = None;
    let mut aborting_since: Option<Instant> = None;
    while running > 0 {
        match ends.recv_timeout(LOOK) {
            Ok((id, end)) => {
                running -= 1;
                let early = !shared.draining.swap(true, Ordering::AcqRel);
                if let Err(reason) = end {
                    fault.get_or_insert(format!("shard {id} failed: {reason}"));
                } else if early {
                    fault.get_or_insert(format!("shard {id} ended though nobody told it to"));
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                if shared.is_aborting() && aborting_since.get_or_insert_with(Instant::now).elapsed() > ABORT_PATIENCE {
                    fault.get_or_insert(format!(
                        "{running} shards did not end within {ABORT_PATIENCE:?} of being told to"
                    ));
                    break;
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    match fault {
        None => {
            tracing::info!("stopped");
            Ok(())
        }
        Some(fault) => Err(Failure::Fault(fault)),
    }
}

/// Waits for the first answer of the upstream, or for its time to be over.
fn wait_for_upstream(config: &Config, shared: &Shared) -> Result<(), Failure> {
    let limit = Duration::from_millis(u64::from(config.limits.upstream_connect_millis_max));
    let until = Instant::now() + limit;
    while shared.cluster.load().brokers.is_empty() {
        if Instant::now() >= until {
            let servers: Vec<String> = config.upstream.bootstrap_servers.iter().map(ToString::to_string).collect();
            return Err(Failure::Refused(vec![format!(
                "the upstream cannot be reached: none of {} answered within {limit:?}; the log says what each said",
                servers.join(", ")
            )]));
        }
        if shared.is_draining() {
            return Err(Failure::Code(0));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn start_log(log: &Log) {
    // Checked by the configuration; `info` where a level is none after all.
    let filter: Targets = log.level.parse().unwrap_or_else(|_| Targets::new().with_default(tracing::Level::INFO));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(stderr);
    // A line that cannot be written, because the disk that takes the log is full, must not end the gateway.
    let layer = layer.log_internal_errors(false);
    // Fails only where a log was started before, which then goes on.
    let _ = match log.format {
        LogFormat::Text => registry.with(layer.with_ansi(colours(&stderr()))).try_init(),
        LogFormat::Json => registry.with(layer.json()).try_init(),
    };
}
