//! How fast a revocation bites: N busy connections on all shards, a command that revokes, and the time
//! from that command's return to the last record that any of the connections was still given.
//!
//! By default all connections are of one principal, whom one command shuts out: `POST
//! /v1/principals/revoke` with the machine's operator token, which is what `tidegate revoke principal`
//! sends. Or the grants leave the policy file, and `POST /reload` is answered; or it is the operator's
//! own command (`--command`, run by `sh` with `{control}` and `{folder}`).
//! What counts as served after the revocation is an answer with records whose *request* was sent after
//! the command had returned ("admitted after": must be none), and, for the time, any answer with
//! records that arrived after it.

use std::collections::HashMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use crate::compare::GATEWAY;
use crate::machine::Machine;
use crate::profile::{Profile, Sasl};
use crate::result::RunResult;
use crate::run::{self, Observer, Progress};
use crate::stage::{Stage, StageOptions};
use crate::target::Target;

/// What revokes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum How {
    /// The one principal that all connections are of is shut out, over the admin API.
    #[default]
    Principal,
    /// All grants leave the policy file, which is then read anew.
    Policy,
    /// A command, run by `sh`.
    Command(String),
}

impl std::fmt::Display for How {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Principal => f.write_str("POST /v1/principals/revoke of the principal of all connections"),
            Self::Policy => f.write_str("the policy file without grants, and POST /reload"),
            Self::Command(command) => f.write_str(command),
        }
    }
}

/// How long the gateway may take to answer on its control address.
const ANSWER: Duration = Duration::from_secs(30);

/// The moment of a revocation, and what connections were given after it. The generator notes each
/// answer with records that comes after it.
#[derive(Debug, Default)]
pub struct Moment {
    at: OnceLock<Instant>,
    after: Mutex<After>,
}

#[derive(Debug, Default)]
struct After {
    /// When each connection got its last records, since the moment.
    last: HashMap<u32, Duration>,
    admitted: u64,
}

impl Moment {
    /// It is now.
    fn begins(&self) {
        let _ = self.at.set(Instant::now());
    }

    /// A connection was given records, or had them taken, `took` after it asked.
    pub(crate) fn served(&self, connection: u32, took: Duration) {
        let Some(since) = self.at.get().map(Instant::elapsed) else { return };
        let mut after = self.after.lock().unwrap_or_else(PoisonError::into_inner);
        after.last.insert(connection, since);
        after.admitted += u64::from(took < since);
    }
}

/// What a revocation did.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Revocation {
    /// Where.
    pub machine: Machine,
    /// The command that gave it.
    pub command: String,
    /// When it began, milliseconds since the Unix epoch.
    pub started_unix_millis: u64,
    /// How it was revoked, in words.
    pub revoked_by: String,
    /// The load.
    pub profile: Profile,
    /// Shards of the gateway.
    pub shards: u16,
    /// The rounds.
    pub rounds: Vec<Round>,
}

/// One revocation.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Round {
    /// Connections open before it.
    pub connections: u64,
    /// How long the command that revokes took, in seconds.
    pub command_seconds: f64,
    /// From its return to each connection's last records, in milliseconds; connections that were given
    /// none after it are not in it.
    pub last_millis: Vec<f64>,
    /// Requests that were sent after its return and still answered with records: must be none.
    pub admitted_after: u64,
    /// The run around it.
    pub run: RunResult,
}

impl Round {
    /// The 99.9th percentile over all connections, those that got nothing more counting as 0, in
    /// milliseconds.
    #[must_use]
    pub fn p999_millis(&self) -> f64 {
        let mut all = self.last_millis.clone();
        all.resize(all.len().max(usize::try_from(self.connections).unwrap_or(0)), 0.0);
        all.sort_unstable_by(f64::total_cmp);
        let place = (all.len() as f64 * 0.999).ceil() as usize;
        all.get(place.saturating_sub(1)).copied().unwrap_or(0.0)
    }
}

/// Revokes in the middle of `rounds` runs, each on a stage of its own.
///
/// # Errors
/// Where the gateway does not start, or the revocation fails.
pub fn measure(profile: &Profile, options: &StageOptions, how: &How, rounds: usize) -> anyhow::Result<Vec<Round>> {
    let anonymous = profile.sasl == Sasl::None;
    ensure!(!anonymous || *how != How::Principal, "nobody can be shut out where nobody logs in: give --by or --sasl");
    (0..rounds)
        .map(|_| {
            let stage = Stage::start(profile, options)?;
            let moment = Arc::new(Moment::default());
            let mut target = Target { name: GATEWAY.to_owned(), moment: Some(moment.clone()), ..stage.gateway() };
            if *how == How::Principal {
                target.tokens = target.tokens.iter().take(1).cloned().collect();
            }
            let mut revoker = Revoker { stage: &stage, how, moment: &moment, round: Round::default(), failed: None };
            let run = run::run_watched(profile, &target, &mut revoker)?;
            let Revoker { round, failed, .. } = revoker;
            if let Some(error) = failed {
                return Err(error);
            }
            ensure!(round.command_seconds > 0.0, "the run was too short for a revocation");
            let after = moment.after.lock().unwrap_or_else(PoisonError::into_inner);
            let last_millis = after.last.values().map(|last| last.as_secs_f64() * 1e3).collect();
            Ok(Round { last_millis, admitted_after: after.admitted, run, ..round })
        })
        .collect()
}

/// Revokes at the middle of a run.
struct Revoker<'a> {
    stage: &'a Stage,
    how: &'a How,
    moment: &'a Moment,
    round: Round,
    failed: Option<anyhow::Error>,
}

impl Observer for Revoker<'_> {
    fn progress(&mut self, progress: &Progress) {
        let middle = progress.measuring && progress.seconds >= progress.of_seconds / 2.0;
        if !middle || self.round.command_seconds > 0.0 || self.failed.is_some() {
            return;
        }
        self.round.connections = progress.connections;
        let begun = Instant::now();
        let done = match self.how {
            How::Principal => revoke_principal(self.stage),
            How::Policy => revoke_by_policy(self.stage),
            How::Command(command) => revoke_by_command(self.stage, command),
        };
        self.moment.begins();
        self.round.command_seconds = begun.elapsed().as_secs_f64();
        self.failed = done.err();
    }

    fn wants_stop(&self) -> bool {
        self.failed.is_some()
    }
}

/// Shuts the first principal of the load out, as the machine's operator, and returns once the gateway says that it is
/// in force.
///
/// # Errors
/// Where the gateway refuses.
pub fn revoke_principal(stage: &Stage) -> anyhow::Result<()> {
    let file = stage.folder().join("evidence/control/operator.token");
    let token = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let body = r#"{"name":"load-0","reason":"Measuring"}"#;
    let headers = format!("authorization: Bearer {}\r\ncontent-type: application/json\r\n", token.trim());
    post(stage.process().control(), "/v1/principals/revoke", &headers, body)
}

/// Takes all grants out of the policy, and returns once the gateway says that this is in force.
///
/// # Errors
/// Where the policy is not as expected, or the gateway refuses.
pub fn revoke_by_policy(stage: &Stage) -> anyhow::Result<()> {
    let path = stage.folder().join("policy.yaml");
    let policy = fs::read_to_string(&path)?;
    fs::write(&path, without_grants(&policy)?)?;
    post_reload(stage.process().control())
}

/// Runs an operator's command.
///
/// # Errors
/// Where it fails; with what it said.
pub fn revoke_by_command(stage: &Stage, command: &str) -> anyhow::Result<()> {
    let command = command
        .replace("{control}", &stage.process().control().to_string())
        .replace("{folder}", &stage.folder().display().to_string());
    let output = Command::new("sh").args(["-c", &command]).output().context("running the command that revokes")?;
    ensure!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The policy with an empty list of grants: from `grants:` to the next key at the margin.
fn without_grants(policy: &str) -> anyhow::Result<String> {
    let mut kept = Vec::new();
    let mut within = false;
    let mut found = false;
    for line in policy.lines() {
        let at_margin = line.starts_with(|first: char| first.is_ascii_alphabetic());
        if at_margin {
            within = line.starts_with("grants:");
            if within {
                found = true;
                kept.push("grants: []");
            }
        }
        if !within {
            kept.push(line);
        }
    }
    ensure!(found, "the policy has no grants to take away");
    Ok(kept.join("\n") + "\n")
}

/// `POST /reload`; returns once the gateway has answered that what it read is in force.
///
/// # Errors
/// Where it does not answer, or not with 200.
pub fn post_reload(control: SocketAddr) -> anyhow::Result<()> {
    post(control, "/reload", "", "")
}

/// Posts `body`, with `headers` that each end in a line break, and waits for 200 or 204.
fn post(control: SocketAddr, path: &str, headers: &str, body: &str) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(control).context("the control address")?;
    stream.set_read_timeout(Some(ANSWER))?;
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: {control}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(|| format!("the answer to POST {path}"))?;
    let status = answer.split(' ').nth(1).unwrap_or_default();
    ensure!(status == "200" || status == "204", "POST {path} was answered: {answer}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_after_the_moment_counts_as_admitted() {
        let moment = Moment::default();
        moment.served(1, Duration::ZERO);
        assert!(moment.after.lock().unwrap().last.is_empty(), "it had not come yet");
        moment.begins();
        moment.served(1, Duration::from_secs(5));
        std::thread::sleep(Duration::from_millis(2));
        moment.served(2, Duration::ZERO);
        let after = moment.after.lock().unwrap();
        assert_eq!((after.last.len(), after.admitted), (2, 1));
    }

    #[test]
    fn connections_that_got_nothing_more_count_as_at_once() {
        let round = Round { connections: 1000, last_millis: vec![40.0, 80.0], ..Round::default() };
        assert_eq!(round.p999_millis(), 40.0);
        assert_eq!(Round::default().p999_millis(), 0.0);
    }

    #[test]
    fn grants_are_taken_out_and_nothing_else() {
        let policy = "version: 1\ngrants:\n  - name: load\n    to: x\n# a comment\nmasks:\n  - a: b\n";
        assert_eq!(without_grants(policy).unwrap(), "version: 1\ngrants: []\nmasks:\n  - a: b\n");
        assert!(without_grants("masks: []\n").is_err());
    }
}
