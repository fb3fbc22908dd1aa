//! Everything one run needs, started by itself: blackhole brokers in this process, an issuer with
//! tokens, and the real gateway in front, in folders that go when the stage is dropped.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::profile::Profile;
use crate::result::RunResult;
use crate::target::Target;

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
    #[arg(long, num_args = 0..=1, default_value_t = true, default_missing_value = "true")]
    pub mask: bool,
    /// Keep the folder with configuration, log and evidence here instead of in a temporary one
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

impl Default for StageOptions {
    fn default() -> Self {
        Self {
            tidegate: None,
            shards: 1,
            brokers: 1,
            blackhole_threads: 1,
            release: "written".to_owned(),
            mask: true,
            folder: None,
        }
    }
}

/// A running stage. Dropping it ends the gateway and the brokers.
#[derive(Debug)]
pub struct Stage {}

impl Stage {
    /// Starts blackhole, issuer and gateway for `profile` and waits until the gateway is ready.
    ///
    /// # Errors
    /// What could not be started and why.
    pub fn start(profile: &Profile, options: &StageOptions) -> anyhow::Result<Self> {
        let _ = (profile, options);
        anyhow::bail!("the stage is not there yet")
    }

    /// The brokers themselves, with TLS and login as the profile says: what "direct" means.
    #[must_use]
    pub fn direct(&self) -> Target {
        Target::default()
    }

    /// The gateway; its process counts under the name `gateway`.
    #[must_use]
    pub fn gateway(&self) -> Target {
        Target::default()
    }

    /// The brokers' plain addresses (in the order of node ids 0, 1, …), for other proxies to be put in front of.
    #[must_use]
    pub fn upstream(&self) -> Vec<SocketAddr> {
        Vec::new()
    }

    /// The folder with `tidegate.yaml`, `policy.yaml`, `tidegate.log` and `evidence/`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        Path::new("")
    }

    /// Ends the gateway in good order (SIGTERM, drain) and starts it again on the same ports and evidence.
    ///
    /// # Errors
    /// Where it does not end or not come back.
    pub fn restart_gateway(&mut self) -> anyhow::Result<()> {
        anyhow::bail!("the stage is not there yet")
    }

    /// Lets the oracle judge a run against [`Stage::gateway`] or [`Stage::direct`]: fills `result.oracle`.
    ///
    /// # Errors
    /// Where journal or evidence cannot be read at all.
    pub fn judge(&mut self, result: &mut RunResult) -> anyhow::Result<()> {
        let _ = result;
        anyhow::bail!("the oracle is not there yet")
    }
}
