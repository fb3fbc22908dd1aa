//! What connections cost that do nothing, and what it costs to make them: memory of the gateway for
//! each connection that logged in and is idle, and CPU for each session that comes, asks one thing and
//! goes.

use serde::{Deserialize, Serialize};
use tidegate_policy::document::text::Duration;

use crate::compare::GATEWAY;
use crate::machine::Machine;
use crate::proc::Usage;
use crate::profile::Profile;
use crate::result::RunResult;
use crate::run::{self, Observer};
use crate::stage::{Stage, StageOptions};

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Idle connections.
    pub idle: u32,
    /// Whether they are TLS.
    pub tls: bool,
    /// Sessions a second that are begun and ended, after the idle ones are gone.
    pub sessions_per_second: u32,
    /// For how long, in seconds.
    pub seconds: u64,
}

/// What came of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Connections {
    /// Where.
    pub machine: Machine,
    /// The command that gave it.
    pub command: String,
    /// When it began, milliseconds since the Unix epoch.
    pub started_unix_millis: u64,
    /// Whether connections were TLS.
    pub tls: bool,
    /// Memory of the gateway before the first connection, in bytes.
    pub resident_before_bytes: u64,
    /// With all idle connections there.
    pub resident_idle_bytes: u64,
    /// CPU of the gateway while all were idle, as a part of one core.
    pub idle_cpu: f64,
    /// How many were there.
    pub idle_held: u64,
    /// The idle run.
    pub idle: RunResult,
    /// The run of sessions that come and go.
    pub sessions: RunResult,
}

impl Connections {
    /// Bytes of the gateway's memory for each idle connection, its connection to the broker included.
    #[must_use]
    pub fn bytes_per_connection(&self) -> Option<f64> {
        let grown = self.resident_idle_bytes.saturating_sub(self.resident_before_bytes);
        (self.idle_held > 0).then(|| grown as f64 / self.idle_held as f64)
    }

    /// Sessions made a second.
    #[must_use]
    pub fn sessions_per_second(&self) -> Option<f64> {
        (self.sessions.seconds > 0.0).then(|| self.sessions.sessions.requests as f64 / self.sessions.seconds)
    }

    /// Sessions that a core of the gateway makes a second: sessions for each CPU second.
    #[must_use]
    pub fn sessions_per_core_second(&self) -> Option<f64> {
        let cpu = self.sessions.process(GATEWAY)?.cpu_seconds();
        (cpu > 0.0).then(|| self.sessions.sessions.requests as f64 / cpu)
    }
}

/// Looks at the gateway when the window ends, while every connection is still there.
struct Look {
    pid: u32,
    usage: Option<Usage>,
}

impl Observer for Look {
    fn window_ends(&mut self, _: &mut RunResult) {
        self.usage = Usage::of(self.pid).ok();
    }
}

/// Measures.
///
/// # Errors
/// Where the gateway does not start, or not all connections can be made.
pub fn measure(plan: &Plan, options: &StageOptions) -> anyhow::Result<Connections> {
    let base = Profile {
        name: "connections".to_owned(),
        producers: 0,
        consumers: 0,
        tls: plan.tls,
        duration: Duration(std::time::Duration::from_secs(plan.seconds)),
        ..Profile::default()
    };
    let stage = Stage::start(&base, options)?;
    let pid = stage.process().pid();
    let before = Usage::of(pid)?;
    let mut look = Look { pid, usage: None };
    let idle = run::run_watched(&Profile { idle: plan.idle, ..base.clone() }, &stage.gateway(), &mut look)?;
    let usage = look.usage.map_or_else(|| Usage::of(pid), Ok)?;
    let churn = Profile { sessions_per_second: plan.sessions_per_second, ..base };
    let sessions = run::run(&churn, &stage.gateway())?;
    Ok(Connections {
        tls: plan.tls,
        resident_before_bytes: before.resident_bytes,
        resident_idle_bytes: usage.resident_bytes,
        idle_cpu: idle.process(GATEWAY).map_or(0.0, |process| process.cpu_seconds() / idle.seconds.max(1e-9)),
        idle_held: idle.connections_open,
        idle,
        sessions,
        ..Connections::default()
    })
}
