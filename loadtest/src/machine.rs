//! The machine that figures were taken on: without it they say nothing.

use std::fs;

use serde::{Deserialize, Serialize};

/// What a report says about the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// The kernel's release.
    pub kernel: String,
    /// Whether it runs under a hypervisor, where a wake-up of a sleeping core is dear.
    pub is_virtual: bool,
    /// `tidegate-loadtest`'s version and how it was built.
    pub build: String,
}

impl Machine {
    /// This machine. What cannot be read is left empty.
    #[must_use]
    pub fn this() -> Self {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let kibibytes = field(&memory, "MemTotal").split_whitespace().next().and_then(|number| number.parse().ok());
        let profile = if cfg!(debug_assertions) { "debug build: costs mean nothing" } else { "release build" };
        Self {
            processor: field(&cpu, "model name"),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_bytes: kibibytes.unwrap_or(0u64) * 1024,
            kernel: kernel.trim().to_owned(),
            is_virtual: field(&cpu, "flags").split_whitespace().any(|flag| flag == "hypervisor"),
            build: format!("tidegate-loadtest {}, {profile}", env!("CARGO_PKG_VERSION")),
        }
    }

    /// One line for people.
    #[must_use]
    pub fn line(&self) -> String {
        let kind = if self.is_virtual { "virtual cores" } else { "cores" };
        let gibibytes = self.memory_bytes as f64 / f64::from(1 << 30);
        format!(
            "{} {kind} of {}, {gibibytes:.0} GiB, Linux {}, {}",
            self.cores, self.processor, self.kernel, self.build
        )
    }
}
