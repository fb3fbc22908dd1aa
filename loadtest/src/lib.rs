//! The whole gateway measured from outside: what load, on which system, with what outcome.
//!
//! Reading order:
//! 1. [`profile`]: what load is wanted, as file and flags. [`target`]: which system gets it.
//! 2. [`payload`]: records and batches from a seed, with labelled personal data. [`wire`]: requests
//!    encoded once, responses read in place.
//! 3. [`blackhole`]: an upstream cluster in memory, fast enough not to be what limits.
//! 4. `generator`: connections that send and read, paced; what they saw goes into histograms.
//! 5. [`gateway`] and [`stage`]: a real gateway with issuer, policy and evidence, and everything one
//!    run needs started by itself.
//! 6. [`oracle`]: nothing lost, doubled, reordered, or in clear where it is masked; evidence whole.
//! 7. [`run`]: one profile against one target, and [`result`], what came of it.
//! 8. [`relay`]: byte relays that look at nothing, to hold the gateway's cost against.
//! 9. [`proc`]: what a process costs. [`statistics`]: what a few noisy rounds allow to say.
//! 10. [`compare`]: systems ([`system`]) under ready-made loads ([`scenario`]) in turn.
//!     [`sweep`]: how many shards. [`soak`], [`connections`], [`revocation`]: what hours, many
//!     connections and a withdrawn grant do.
//! 11. [`report`]: results as HTML, Markdown and JSON.
//! 12. [`cli`]: the subcommands.
//!
//! ```text
//! profile ─→ payload ─→ generator ⇄ gateway ⇄ blackhole
//!                           ↓          ↓          ↓
//!                        result ←─── oracle (journal, evidence)
//! ```

pub mod blackhole;
pub mod cli;
pub mod compare;
pub mod connections;
pub mod gateway;
mod generator;
pub mod link;
pub mod machine;
pub mod oracle;
pub mod payload;
pub mod proc;
pub mod profile;
pub mod relay;
pub mod report;
pub mod result;
pub mod revocation;
pub mod run;
pub mod scenario;
pub mod soak;
pub mod stage;
pub mod statistics;
pub mod sweep;
pub mod system;
pub mod target;
pub mod wire;
