//! `tidegate demo`: the arguments; the demo itself is `crate::demo`.

use std::io::stdout;

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
        let refused = |error: anyhow::Error| Failure::Refused(vec![format!("{error:#}")]);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| refused(error.into()))?;
        let upstream = self.upstream.map(|address| address.to_string());
        let mut out = stdout();
        let colours = super::colours(&out);
        runtime.block_on(crate::demo::run::run(upstream, &mut out, colours)).map_err(refused)
    }
}
