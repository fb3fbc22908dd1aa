//! `tidegate-loadtest run`: one load on one system.

use clap::Args;

use super::Failure;
use crate::profile::ProfileFlags;

/// The arguments of `run`.
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    load: ProfileFlags,
}

impl Run {
    /// Runs it.
    pub(super) fn run(self) -> Result<(), Failure> {
        let _profile = self.load.profile().map_err(Failure::Usage)?;
        Err(Failure::Fault("run is not there yet".to_owned()))
    }
}
