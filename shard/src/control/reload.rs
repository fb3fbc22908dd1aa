//! Reload: the policy, certificates and secrets are read anew when their files change, on SIGHUP and
//! on `POST /reload`. No connection is dropped for it.
//!
//! What is wrong is refused as a whole: the old stays in force, and log, metrics, the answer of
//! `POST /reload` and, for the policy, the evidence say so.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tidegate_core::event::{Event, Kind};
use tidegate_policy::document::Problem;
use tidegate_policy::snapshot::Snapshot;
use tokio::sync::{mpsc, oneshot};

use super::metrics::ControlMetrics;
use super::watch::Watch;
use super::{now, secrets, tls};
use crate::config::{Config, ListenerTls};
use crate::shared::Shared;

/// How often files are looked at.
const POLL: Duration = Duration::from_secs(1);

/// Asks for a reload of everything; the sender gets the report.
pub(super) type ReloadRequest = oneshot::Sender<Report>;

/// What a reload did.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Report {
    /// Whether everything was taken over.
    pub ok: bool,
    /// The version of the policy in force after it.
    pub policy_version: u64,
    /// What was refused and why, in the order of the files.
    pub problems: Vec<ReportedProblem>,
}

/// One thing that was refused.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct ReportedProblem {
    /// The file.
    pub file: String,
    /// The value's path in it; empty where the whole file is meant.
    pub path: String,
    /// The line, from 1; 0 where the whole file is meant.
    pub line: usize,
    /// The column, from 1; 0 where the whole file is meant.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

impl From<&Problem> for ReportedProblem {
    fn from(problem: &Problem) -> Self {
        Self {
            file: problem.file.to_string(),
            path: problem.path.clone(),
            line: problem.line,
            column: problem.column,
            message: problem.message.clone(),
        }
    }
}

impl ReportedProblem {
    fn of_file(file: PathBuf, message: String) -> Self {
        Self { file: file.display().to_string(), path: String::new(), line: 0, column: 0, message }
    }
}

/// The policy of the configured file, compiled.
///
/// # Errors
/// Everything that is wrong with it, in the file's order.
pub fn compile_policy(config: &Config, version: u64) -> Result<Snapshot, Vec<Problem>> {
    let file_name = config.policy_file.display().to_string();
    let text = std::fs::read_to_string(&config.policy_file).map_err(|error| {
        vec![Problem {
            file: Arc::from(file_name.as_str()),
            path: String::new(),
            line: 1,
            column: 1,
            message: format!("cannot be read: {error}"),
        }]
    })?;
    let folder = config.policy_file.parent().unwrap_or(Path::new(""));
    Snapshot::read_with_keys(&text, &file_name, version, &|file| read_key(folder, file))
}

/// The bytes of a key file that the policy names; `folder` is where the policy stands.
///
/// # Errors
/// Why it cannot be read.
pub fn read_key(folder: &Path, file: &str) -> Result<Vec<u8>, String> {
    std::fs::read(folder.join(file)).map_err(|error| error.to_string())
}

/// A version for the next policy: milliseconds since 1970, so that versions grow across restarts
/// and tell when the policy was loaded.
#[must_use]
pub fn next_version(previous: u64) -> u64 {
    let now = u64::try_from(now().0 / 1000).unwrap_or(0);
    now.max(previous.saturating_add(1))
}

/// What the evidence says of a policy that is in force from now on.
#[must_use]
pub(super) fn policy_loaded(config: &Config, policy: &Snapshot) -> Event {
    let (version, fingerprint, file) = (policy.version(), policy.fingerprint(), config.policy_file.display());
    notice(Kind::PolicyLoaded, version, format!("policy {version} ({fingerprint}) loaded from {file}"))
}

fn notice(kind: Kind, policy_version: u64, detail: String) -> Event {
    Event { time_micros: now().0, kind: kind as i32, policy_version, detail, broker: -1, ..Event::default() }
}

/// Reloads what changes.
pub(super) struct Reloader {
    config: Arc<Config>,
    shared: Arc<Shared>,
    metrics: Arc<ControlMetrics>,
    policy: Watch,
    listeners: Vec<Watch>,
    control: Watch,
    upstream: Watch,
}

impl Reloader {
    /// Everything is as it was read at the start.
    #[must_use]
    pub(super) fn new(config: Arc<Config>, shared: Arc<Shared>, metrics: Arc<ControlMetrics>) -> Self {
        let listeners = config.listeners.iter().map(|listener| Watch::new(tls_files(listener.tls.as_ref())));
        Self {
            policy: Watch::new(policy_files(&config, &shared.policy.load())),
            listeners: listeners.collect(),
            control: Watch::new(tls_files(config.control.tls.as_ref())),
            upstream: Watch::new(upstream_files(&config)),
            config,
            shared,
            metrics,
        }
    }

    /// Reloads what changed and what is asked for, until the sender of requests is gone.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<ReloadRequest>) {
        let mut poll = tokio::time::interval(POLL);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = poll.tick() => self.reload_changed(),
                request = requests.recv() => match request {
                    // Whoever asked may have gone; the reload counts all the same.
                    Some(reply) => drop(reply.send(self.reload_all())),
                    None => return,
                },
            }
        }
    }

    /// Reloads whatever changed on disk and has settled.
    pub(super) fn reload_changed(&mut self) {
        if self.policy.changed() {
            self.reload_policy();
        }
        for index in 0..self.listeners.len() {
            if self.listeners.get_mut(index).is_some_and(Watch::changed) {
                self.reload_listener(index);
            }
        }
        if self.control.changed() {
            self.reload_control();
        }
        if self.upstream.changed() {
            self.reload_upstream();
        }
    }

    /// Reloads everything, changed or not.
    pub(super) fn reload_all(&mut self) -> Report {
        let mut problems = self.reload_policy();
        for index in 0..self.listeners.len() {
            problems.extend(self.reload_listener(index));
        }
        problems.extend(self.reload_control());
        problems.extend(self.reload_upstream());
        Report { ok: problems.is_empty(), policy_version: self.shared.policy.load().version(), problems }
    }

    fn reload_policy(&mut self) -> Vec<ReportedProblem> {
        self.policy.take();
        let in_force = self.shared.policy.load().version();
        let compiled = compile_policy(&self.config, next_version(in_force));
        self.metrics.reloaded("policy", compiled.is_ok());
        let file = self.config.policy_file.display().to_string();
        match compiled {
            Ok(snapshot) if snapshot.fingerprint() == self.shared.policy.load().fingerprint() => {
                tracing::info!(version = in_force, "{file} says what it said; the policy stays");
                Vec::new()
            }
            Ok(snapshot) => {
                let version = snapshot.version();
                // Only another set of files begins anew: a change since the policy was read is still news.
                let files = policy_files(&self.config, &snapshot);
                if !self.policy.is_of(&files) {
                    self.policy = Watch::new(files);
                }
                let fingerprint = snapshot.fingerprint().to_owned();
                // What the control log adds stays; nothing is awaited between reading it and publishing.
                let standing = self.shared.policy.load().standing().clone();
                let snapshot = snapshot.with_standing(version, standing);
                self.shared.publish_policy(Arc::new(snapshot));
                self.metrics.policy_version(version);
                tracing::info!(version, fingerprint, "policy loaded from {file}");
                self.shared.notices.put(policy_loaded(&self.config, &self.shared.policy.load()));
                Vec::new()
            }
            Err(problems) => {
                for problem in &problems {
                    tracing::error!("{problem}");
                }
                let count = match problems.len() {
                    1 => "one problem".to_owned(),
                    count => format!("{count} problems"),
                };
                tracing::error!(
                    version = in_force,
                    "policy refused: {file} has {count}; the policy that was in force stays"
                );
                let first = problems.first().map(ToString::to_string).unwrap_or_default();
                let detail = format!("policy refused, {in_force} stays in force; {count}, the first: {first}");
                self.shared.notices.put(notice(Kind::PolicyRefused, in_force, detail));
                problems.iter().map(ReportedProblem::from).collect()
            }
        }
    }

    fn reload_listener(&mut self, index: usize) -> Option<ReportedProblem> {
        self.listeners.get_mut(index)?.take();
        let listener = self.config.listeners.get(index)?;
        let files = listener.tls.as_ref()?;
        let built = tls::server(files);
        self.metrics.reloaded("tls", built.is_ok());
        self.note_reconfigured(&format!("certificate of listener {}", listener.name), built.as_ref().err());
        match built {
            Ok(config) => {
                self.shared.listener_tls.get(index)?.store(Some(Arc::new(config)));
                tracing::info!(listener = %listener.name, "certificate loaded; new connections get it");
                None
            }
            Err(error) => {
                tracing::error!(listener = %listener.name, "certificate refused: {error}; the old one stays in use");
                Some(ReportedProblem::of_file(files.certificate_file.clone(), error.to_string()))
            }
        }
    }

    fn reload_control(&mut self) -> Option<ReportedProblem> {
        self.control.take();
        let files = self.config.control.tls.as_ref()?;
        let built = tls::server(files);
        self.metrics.reloaded("tls", built.is_ok());
        self.note_reconfigured("certificate of the control address", built.as_ref().err());
        match built {
            Ok(config) => {
                self.shared.control_tls.store(Some(Arc::new(config)));
                tracing::info!("certificate of the control address loaded; new connections get it");
                None
            }
            Err(error) => {
                tracing::error!("certificate of the control address refused: {error}; the old one stays in use");
                Some(ReportedProblem::of_file(files.certificate_file.clone(), error.to_string()))
            }
        }
    }

    fn reload_upstream(&mut self) -> Vec<ReportedProblem> {
        self.upstream.take();
        let mut problems = Vec::new();
        if let Some(files) = &self.config.upstream.tls {
            let built = tls::upstream(files);
            self.metrics.reloaded("upstream_tls", built.is_ok());
            self.note_reconfigured("TLS towards the upstream", built.as_ref().err());
            match built {
                Ok(config) => self.shared.upstream_tls.store(Some(Arc::new(config))),
                Err(error) => {
                    tracing::error!("upstream TLS refused: {error}; the old files stay in use");
                    problems
                        .push(ReportedProblem::of_file(files.ca_file.clone().unwrap_or_default(), error.to_string()));
                }
            }
        }
        if let Some(file) = self.config.upstream.sasl.secret_file() {
            let read = secrets::upstream_login(&self.config.upstream.sasl);
            self.metrics.reloaded("upstream_secret", read.is_ok());
            self.note_reconfigured("secret for the upstream", read.as_ref().err());
            match read {
                Ok(login) => self.shared.upstream_login.store(Arc::new(login)),
                Err(error) => {
                    tracing::error!("upstream secret refused: {error:#}; the old one stays in use");
                    problems.push(ReportedProblem::of_file(file.to_owned(), format!("{error:#}")));
                }
            }
        }
        problems
    }

    /// Has the evidence say that something in use was replaced, or would have been.
    fn note_reconfigured(&self, what: &str, error: Option<&impl std::fmt::Display>) {
        let detail = match error {
            None => format!("{what}: a new one is in use"),
            Some(error) => format!("{what}: a new one was refused, the old one stays: {error}"),
        };
        let version = self.shared.policy.load().version();
        self.shared.notices.put(notice(Kind::Reconfigured, version, detail));
    }
}

/// The policy's file and the key files that it names.
fn policy_files(config: &Config, policy: &Snapshot) -> Vec<PathBuf> {
    let folder = config.policy_file.parent().unwrap_or(Path::new(""));
    let keys = policy.key_files().iter().map(|file| folder.join(file));
    std::iter::once(config.policy_file.clone()).chain(keys).collect()
}

fn tls_files(tls: Option<&ListenerTls>) -> Vec<PathBuf> {
    let files = tls.iter().flat_map(|tls| {
        [Some(&tls.certificate_file), Some(&tls.key_file), tls.client_ca_file.as_ref()].into_iter().flatten()
    });
    files.cloned().collect()
}

fn upstream_files(config: &Config) -> Vec<PathBuf> {
    let tls = config.upstream.tls.iter().flat_map(|tls| [&tls.ca_file, &tls.certificate_file, &tls.key_file]);
    let mut files: Vec<PathBuf> = tls.flatten().cloned().collect();
    files.extend(config.upstream.sasl.secret_file().map(ToOwned::to_owned));
    files
}
