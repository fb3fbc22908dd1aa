//! Everything one run needs, started by itself: blackhole brokers in this process, an issuer with
//! tokens, and the real gateway in front, in folders that go when the stage is dropped.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use tempfile::TempDir;
use tidegate_policy::document::text::{ByteSize, Duration};

use crate::blackhole::cluster::Serves;
use crate::blackhole::{self, Blackhole};
use crate::gateway::{Certificate, Gateway, Identity, Setup};
use crate::oracle;
use crate::payload::Pool;
use crate::profile::Profile;
use crate::result::{Limit, RunResult};
use crate::run::run;
use crate::target::Target;

/// What the gateway is called among systems and processes.
const GATEWAY: &str = "gateway";

/// How the stage is set.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Stage")]
pub struct StageOptions {
    /// The `tidegate` binary; by default the one beside this binary, else this binary's own copy
    #[arg(long, value_name = "FILE")]
    pub tidegate: Option<PathBuf>,
    /// Shards of the gateway
    #[arg(long, default_value_t = 1)]
    pub shards: u16,
    /// `spin_micros` of the gateway: how long a shard without work looks for some before it sleeps
    #[arg(long, default_value_t = 0)]
    pub spin_micros: u32,
    /// Brokers of the blackhole
    #[arg(long, default_value_t = 1)]
    pub brokers: u16,
    /// Threads of the blackhole
    #[arg(long, default_value_t = 1)]
    pub blackhole_threads: u16,
    /// `evidence.release` of the gateway: written, durable or async
    #[arg(long, default_value = "written")]
    pub release: String,
    /// Mask what consumers read (redact) instead of only looking
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, default_value_t = true, default_missing_value = "true")]
    pub mask: bool,
    /// Look at the names of JSON fields too: for what only they tell (people's names, postal addresses)
    #[arg(long)]
    pub names: bool,
    /// What the gateway may remember of batches that it inspected, a shard: for loads in which many
    /// consumers read the same. Prepared batches come again and again, so without this nothing would be
    /// measured but the memory
    #[arg(long, value_name = "BYTES", default_value = "0B")]
    pub verdict_cache: ByteSize,
    /// Serve consumers what was produced, keeping so many bytes a partition, instead of prepared batches
    #[arg(long, value_name = "BYTES")]
    pub keep: Option<ByteSize>,
    /// TLS between the gateway and the brokers too
    #[arg(long)]
    pub upstream_tls: bool,
    /// Keep the folder with configuration, log and evidence here instead of in a temporary one
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

impl Default for StageOptions {
    fn default() -> Self {
        Self {
            tidegate: None,
            shards: 1,
            spin_micros: 0,
            brokers: 1,
            blackhole_threads: 1,
            release: "written".to_owned(),
            mask: true,
            names: false,
            verdict_cache: ByteSize(0),
            keep: None,
            upstream_tls: false,
            folder: None,
        }
    }
}

/// A running stage. Dropping it ends the gateway and the brokers.
pub struct Stage {
    // In this order they are dropped: the gateway before the brokers it is connected to.
    gateway: Gateway,
    blackhole: Blackhole,
    identity: Identity,
    certificate: Certificate,
    folder: PathBuf,
    mask: bool,
    _temporary: Option<TempDir>,
}

impl Stage {
    /// Starts blackhole, issuer and gateway for `profile` and waits until the gateway is ready.
    ///
    /// # Errors
    /// What could not be started and why.
    pub fn start(profile: &Profile, options: &StageOptions) -> anyhow::Result<Self> {
        let _ = rlimit::utils::increase_nofile_limit(u64::MAX);
        let (folder, temporary) = match &options.folder {
            Some(folder) => {
                std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
                (folder.clone(), None)
            }
            None => {
                let made = tempfile::Builder::new().prefix("tidegate-loadtest-").tempdir()?;
                (made.path().to_owned(), Some(made))
            }
        };
        let pool = Pool::new(profile).context("the records of the profile")?;
        let certificate = Certificate::new()?;
        let topics = (0..profile.topics).map(|index| (Profile::topic(index), profile.partitions)).collect();
        let brokers = blackhole::Options {
            brokers: options.brokers,
            threads: options.blackhole_threads,
            tls: Some(certificate.server()?),
            serves: match options.keep {
                Some(ByteSize(bytes)) => Serves::Kept { bytes_max: usize::try_from(bytes).unwrap_or(usize::MAX) },
                None => Serves::Prepared,
            },
            ..blackhole::Options::new(topics)
        };
        let blackhole = Blackhole::start(&brokers, Arc::new(pool))?;
        let identity = Identity::start()?;
        let upstream = if options.upstream_tls { blackhole.tls_addresses() } else { blackhole.addresses() };
        let gateway = Gateway::start(&Setup {
            folder: &folder,
            program: options.tidegate.as_deref(),
            shards: options.shards,
            spin_micros: options.spin_micros,
            upstream: &upstream,
            identity: &identity,
            tls: profile.tls.then_some(&certificate),
            upstream_tls: options.upstream_tls.then_some(&certificate),
            release: &options.release,
            mask: options.mask,
            names: options.names,
            verdict_cache: options.verdict_cache,
        })?;
        Ok(Self { gateway, blackhole, identity, certificate, folder, mask: options.mask, _temporary: temporary })
    }

    /// The brokers themselves, with TLS and login as the profile says: what "direct" means.
    #[must_use]
    pub fn direct(&self) -> Target {
        self.target("direct", self.blackhole.addresses().first().copied())
    }

    /// The brokers themselves over TLS.
    #[must_use]
    pub fn direct_tls(&self) -> Target {
        self.target("direct", self.blackhole.tls_addresses().first().copied())
    }

    /// The gateway; its process counts under the name `gateway`.
    #[must_use]
    pub fn gateway(&self) -> Target {
        let target = self.target(GATEWAY, Some(self.gateway.bootstrap()));
        Target { masked: self.mask, ..target }.process(GATEWAY, self.gateway.pid())
    }

    fn target(&self, name: &str, bootstrap: Option<SocketAddr>) -> Target {
        Target {
            name: name.to_owned(),
            bootstrap: bootstrap.into_iter().collect(),
            serves: Some(self.blackhole.cluster().serves()),
            tls: self.certificate.client().ok(),
            tokens: self.identity.tokens.clone().into(),
            ..Target::default()
        }
    }

    /// The brokers' plain addresses (in the order of node ids 0, 1, …), for other proxies to be put in front of.
    #[must_use]
    pub fn upstream(&self) -> Vec<SocketAddr> {
        self.blackhole.addresses()
    }

    /// The brokers' TLS addresses, in the same order.
    #[must_use]
    pub fn upstream_tls(&self) -> Vec<SocketAddr> {
        self.blackhole.tls_addresses()
    }

    /// The folder with `tidegate.yaml`, `policy.yaml`, `tidegate.log` and `evidence/`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The gateway's process and addresses.
    #[must_use]
    pub fn process(&self) -> &Gateway {
        &self.gateway
    }

    /// Ends the gateway in good order (SIGTERM, drain) and starts it again on the same ports and evidence.
    ///
    /// # Errors
    /// Where it does not end or not come back.
    pub fn restart_gateway(&mut self) -> anyhow::Result<()> {
        self.gateway.restart()
    }

    /// Cuts all connections of a broker, as its restart would.
    pub fn bounce_broker(&self, broker: usize) {
        self.blackhole.bounce(broker);
    }

    /// What the brokers can do with nothing between: the profile in a closed loop, for two seconds.
    ///
    /// # Errors
    /// As [`run`].
    pub fn limit(&self, profile: &Profile) -> anyhow::Result<Limit> {
        let profile = Profile {
            requests_per_second: None,
            warm_up: Duration(std::time::Duration::from_millis(500)),
            duration: Duration(std::time::Duration::from_secs(2)),
            idle: 0,
            slow_readers: 0,
            groups: 0,
            sessions_per_second: 0,
            admin_per_second: 0,
            ..profile.clone()
        };
        let target = if profile.tls { self.direct_tls() } else { self.direct() };
        let result = run(&profile, &target)?;
        Ok(Limit {
            requests_per_second: result.requests() as f64 / result.seconds,
            bytes_per_second: result.bytes() as f64 / result.seconds,
        })
    }

    /// Lets the oracle judge a run against [`Stage::gateway`], [`Stage::direct`] or anything between: adds to
    /// `result.oracle`. Where the gateway was not part of it, its evidence is left out.
    ///
    /// # Errors
    /// Where evidence cannot be read at all.
    pub fn judge(&mut self, result: &mut RunResult) -> anyhow::Result<()> {
        let mut verdict = result.oracle.take().unwrap_or_default();
        oracle::producers(&self.blackhole, result, &mut verdict);
        let judged = if result.system == GATEWAY {
            oracle::evidence(&self.gateway.evidence(), result, &mut verdict)
        } else {
            Ok(())
        };
        result.oracle = Some(verdict);
        judged
    }
}
