//! The comparisons that come ready-made: a load, what it is for, and what is held to it.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tidegate_policy::document::text::ByteSize;

use crate::compare::figures::{Direction, Metric};
use crate::profile::Profile;

/// A ready-made comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// Batches of 16 KB, 1 KB JSON records without personal data, as fast as each system answers
    Bulk,
    /// The same, one record in a hundred with personal data that is masked
    Findings1,
    /// The same, every record with personal data that is masked
    Findings100,
    /// Requests of one 256-byte record, 16 in flight on each connection
    Small,
    /// A fifth of what the gateway can do: what each system adds to the latency
    Latency,
    /// As bulk, with TLS
    Tls,
    /// What the profile and its flags say
    Custom,
}

/// How much load there is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// What the profile says.
    OfProfile,
    /// This part of what the gateway answers in a closed loop, as an open loop for all systems.
    PartOfGateway(f64),
}

/// A ratio of the gateway to another system that is meant to hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Goal {
    /// What is compared.
    pub metric: Metric,
    /// With which system.
    pub against: String,
    /// The gateway's figure divided by the other's is at most this.
    pub at_most: f64,
}

impl Scenario {
    /// Those that a comparison runs when none is named.
    pub const USUAL: [Self; 5] = [Self::Bulk, Self::Findings1, Self::Findings100, Self::Small, Self::Latency];

    /// As on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bulk => "bulk",
            Self::Findings1 => "findings1",
            Self::Findings100 => "findings100",
            Self::Small => "small",
            Self::Latency => "latency",
            Self::Tls => "tls",
            Self::Custom => "custom",
        }
    }

    /// What it is, in a line.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::Bulk => "16 KB batches of 1 KB JSON records without personal data, closed loop",
            Self::Findings1 => "16 KB batches of 1 KB JSON records, 1 % of them with personal data, closed loop",
            Self::Findings100 => "16 KB batches of 1 KB JSON records, all of them with personal data, closed loop",
            Self::Small => "requests of one 256-byte record, 16 in flight on each connection, closed loop",
            Self::Latency => {
                "16 KB batches at a fifth of the gateway's capacity, open loop: what is added to the latency"
            }
            Self::Tls => "16 KB batches of 1 KB JSON records without personal data, TLS, closed loop",
            Self::Custom => "the profile as given",
        }
    }

    /// Its load.
    #[must_use]
    pub fn profile(self) -> Profile {
        let mut profile = Profile { name: self.name().to_owned(), ..Profile::default() };
        match self {
            Self::Bulk | Self::Latency | Self::Custom => {}
            Self::Findings1 => profile.record.personal_data_percent = 1.0,
            Self::Findings100 => profile.record.personal_data_percent = 100.0,
            Self::Small => {
                profile.depth = 16;
                profile.record.bytes = ByteSize(256);
                profile.batch.bytes = ByteSize(256);
                profile.batch.fetch_bytes = ByteSize(256);
            }
            Self::Tls => profile.tls = true,
        }
        profile
    }

    /// How much of it.
    #[must_use]
    pub fn pace(self) -> Pace {
        match self {
            Self::Latency => Pace::PartOfGateway(0.2),
            _ => Pace::OfProfile,
        }
    }

    /// What is meant to hold.
    #[must_use]
    pub fn goals(self) -> Vec<Goal> {
        let goal = |metric, against: &str, at_most| Goal { metric, against: against.to_owned(), at_most };
        match self {
            Self::Bulk => vec![
                goal(Metric::CpuPerGb, "relay-glommio", 1.5),
                goal(Metric::CpuPerGb, "kafka-proxy", 0.8),
                goal(Metric::CpuPerGb, "kroxylicious", 0.2),
                goal(Metric::PeakMemory, "kroxylicious", 0.1),
            ],
            Self::Small => vec![goal(Metric::CpuPerRequest, "relay-glommio", 1.5)],
            Self::Latency => [Direction::Produce, Direction::Fetch]
                .into_iter()
                .flat_map(|direction| {
                    [0.5, 0.99].map(|quantile| goal(Metric::AddedLatency(direction, quantile), "relay-epoll", 1.25))
                })
                .collect(),
            Self::Findings1 | Self::Findings100 | Self::Tls | Self::Custom => Vec::new(),
        }
    }
}
