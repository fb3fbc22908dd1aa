//! `tidegate-loadtest blackhole`: the brokers alone, until the process is ended.

use std::io::Write as _;
use std::sync::Arc;

use clap::Args;
use tidegate_policy::document::text::ByteSize;

use super::Failure;
use crate::blackhole::cluster::Serves;
use crate::blackhole::{Blackhole, Options};
use crate::payload::Pool;
use crate::profile::{Profile, ProfileFlags};

/// The arguments of `blackhole`.
#[derive(Debug, Args)]
pub struct Run {
    /// The first broker's port; the others follow. 0 takes free ones
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Brokers
    #[arg(long, default_value_t = 1)]
    brokers: u16,
    /// Threads
    #[arg(long, default_value_t = 1)]
    threads: u16,
    /// CPUs to pin the threads to, in turn
    #[arg(long, value_delimiter = ',')]
    cpus: Vec<usize>,
    /// Serve what was produced, keeping so many bytes a partition, instead of prepared batches
    #[arg(long, value_name = "BYTES")]
    keep: Option<ByteSize>,
    /// Make topics that clients ask for and that are not there
    #[arg(long)]
    create_topics: bool,
    #[command(flatten)]
    load: ProfileFlags,
}

impl Run {
    /// Runs it.
    pub(super) fn run(self) -> Result<(), Failure> {
        let profile = self.load.profile().map_err(Failure::Usage)?;
        let pool = Pool::new(&profile).map_err(|error| Failure::Fault(error.to_string()))?;
        let topics = (0..profile.topics).map(|index| (Profile::topic(index), profile.partitions)).collect();
        let serves = match self.keep {
            Some(ByteSize(bytes)) => Serves::Kept { bytes_max: usize::try_from(bytes).unwrap_or(usize::MAX) },
            None => Serves::Prepared,
        };
        let options = Options {
            brokers: self.brokers,
            threads: self.threads,
            cpus: self.cpus,
            first_port: self.port,
            serves,
            creates_topics: self.create_topics,
            ..Options::new(topics)
        };
        // Descriptors for many clients; what the system allows is enough for fewer.
        let _ = rlimit::utils::increase_nofile_limit(u64::MAX);
        let blackhole = Blackhole::start(&options, Arc::new(pool))?;
        let mut out = std::io::stdout().lock();
        for (id, address) in blackhole.addresses().iter().enumerate() {
            // Nobody reading is no reason to end.
            let _ = writeln!(out, "broker {id} listening on {address}");
        }
        let _ = out.flush();
        loop {
            std::thread::park();
        }
    }
}
