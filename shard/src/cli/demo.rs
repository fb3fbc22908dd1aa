//! `tidegate demo`: the arguments; the demo itself is `crate::demo`.

use super::Failure;

/// What `tidegate demo` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Demo {
    /// A real Kafka to use instead of the broker that comes along
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) upstream: Option<crate::config::HostPort>,
}

impl Demo {
    pub(super) fn run(self) -> Result<(), Failure> {
        let _ = self.upstream;
        Err(Failure::Refused(vec!["the demo is not there yet".to_owned()]))
    }
}
