//! `tidegate-loadtest soak`, `connections` and `revocation`.

use clap::Args;
use tidegate_policy::document::text::Duration;

use super::Failure;
use super::progress::Terminal;
use super::report::Output;
use crate::connections;
use crate::machine::Machine;
use crate::profile::{Profile, ProfileFlags};
use crate::report::Document;
use crate::revocation;
use crate::soak::{self, Limits};
use crate::stage::StageOptions;

/// The arguments of `soak`.
#[derive(Debug, Args)]
pub struct Soak {
    /// How long; at least one leg of each disturbance is run whatever it says
    #[arg(long = "for", value_name = "TIME", default_value = "1h")]
    time: Duration,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    load: ProfileFlags,
    #[command(flatten)]
    stage: StageOptions,
}

impl Soak {
    pub(super) fn run(self) -> Result<(), Failure> {
        let default = Profile {
            name: "soak".to_owned(),
            duration: Duration(std::time::Duration::from_secs(60)),
            requests_per_second: Some(400),
            sessions_per_second: 10,
            ..Profile::default()
        };
        let profile = self.load.profile_over(default).map_err(Failure::Usage)?;
        let mut terminal = Terminal::new();
        let started_unix_millis = super::report::now_unix_millis();
        let legs = soak::soak(&profile, &self.stage, self.time.0, |leg| {
            terminal.begin(format!("{:>8.0} s {:<16}", leg.at_seconds, format!("{:?}", leg.disturbance)));
            terminal.end(&format!(
                "{} requests, {} errors, {} MiB, {} descriptors, {} MiB of evidence",
                leg.run.requests(),
                leg.run.errors.total(),
                leg.resident_bytes >> 20,
                leg.descriptors,
                leg.evidence_bytes >> 20
            ));
        })?;
        let soak = soak::Soak {
            machine: Machine::this(),
            command: super::report::this_command(),
            started_unix_millis,
            profile,
            limits: Limits::default(),
            legs,
        };
        let violations = soak.violations();
        self.output.write("soak", &Document::Soak(soak))?;
        if violations.is_empty() { Ok(()) } else { Err(Failure::Refused(violations)) }
    }
}

/// The arguments of `connections`.
#[derive(Debug, Args)]
pub struct Connections {
    /// Idle connections
    #[arg(long, default_value_t = 10_000)]
    idle: u32,
    /// Sessions a second, begun and ended
    #[arg(long, default_value_t = 1_000)]
    sessions: u32,
    /// How long each of the two is measured, in seconds
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Without TLS
    #[arg(long)]
    plain: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    stage: StageOptions,
}

impl Connections {
    pub(super) fn run(self) -> Result<(), Failure> {
        let plan = connections::Plan {
            idle: self.idle,
            tls: !self.plain,
            sessions_per_second: self.sessions,
            seconds: self.seconds,
        };
        let started_unix_millis = super::report::now_unix_millis();
        let measured = connections::Connections {
            machine: Machine::this(),
            command: super::report::this_command(),
            started_unix_millis,
            ..connections::measure(&plan, &self.stage)?
        };
        self.output.write("connections", &Document::Connections(Box::new(measured)))
    }
}

/// The arguments of `revocation`.
#[derive(Debug, Args)]
pub struct Revocation {
    /// What revokes
    #[arg(long, value_enum, default_value_t)]
    by: By,
    /// A command that revokes instead, run by sh with {control} and {folder}
    #[arg(long, value_name = "COMMAND", conflicts_with = "by")]
    command: Option<String>,
    /// How often
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    load: ProfileFlags,
    #[command(flatten)]
    stage: StageOptions,
}

/// What revokes.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum By {
    /// All connections are of one principal, whom the admin API shuts out
    #[default]
    Principal,
    /// The grants leave the policy file
    Policy,
}

impl Revocation {
    pub(super) fn run(self) -> Result<(), Failure> {
        let default = Profile {
            name: "revocation".to_owned(),
            producers: 0,
            consumers: 1000,
            fetches_per_produce: 0.0,
            requests_per_second: Some(2000),
            duration: Duration(std::time::Duration::from_secs(4)),
            batch: crate::profile::Batch {
                fetch_bytes: tidegate_policy::document::text::ByteSize(1024),
                bytes: tidegate_policy::document::text::ByteSize(1024),
                ..crate::profile::Batch::default()
            },
            ..Profile::default()
        };
        let profile = self.load.profile_over(default).map_err(Failure::Usage)?;
        let started_unix_millis = super::report::now_unix_millis();
        let how = match (self.command, self.by) {
            (Some(command), _) => revocation::How::Command(command),
            (None, By::Principal) => revocation::How::Principal,
            (None, By::Policy) => revocation::How::Policy,
        };
        let rounds = revocation::measure(&profile, &self.stage, &how, usize::from(self.rounds))?;
        let admitted: u64 = rounds.iter().map(|round| round.admitted_after).sum();
        let measured = revocation::Revocation {
            machine: Machine::this(),
            command: super::report::this_command(),
            started_unix_millis,
            revoked_by: how.to_string(),
            profile,
            shards: self.stage.shards,
            rounds,
        };
        self.output.write("revocation", &Document::Revocation(Box::new(measured)))?;
        if admitted > 0 {
            return Err(Failure::Refused(vec![format!("{admitted} requests sent after the revocation were served")]));
        }
        Ok(())
    }
}
