//! How fast a revocation bites: N busy connections on all shards, a command that revokes, and the time
//! from that command's return to the last record that any of the connections was still given.
//!
//! The command is the operator's own (`--command`, run by `sh` with `{control}` and `{folder}`), or, by
//! default, the oldest way there is: the grants leave the policy file, and `POST /reload` is answered.
//! What counts as served after the revocation is an answer with records whose *request* was sent after
//! the command had returned ("admitted after": must be none), and, for the time, any answer with
//! records that arrived after it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::stage::Stage;

/// How long the gateway may take to answer on its control address.
const ANSWER: Duration = Duration::from_secs(30);

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
    let mut stream = TcpStream::connect(control).context("the control address")?;
    stream.set_read_timeout(Some(ANSWER))?;
    write!(stream, "POST /reload HTTP/1.1\r\nhost: {control}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("the answer to POST /reload")?;
    let status = answer.split(' ').nth(1).unwrap_or_default();
    ensure!(status == "200" || status == "204", "POST /reload was answered: {answer}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_taken_out_and_nothing_else() {
        let policy = "version: 1\ngrants:\n  - name: load\n    to: x\n# a comment\nmasks:\n  - a: b\n";
        assert_eq!(without_grants(policy).unwrap(), "version: 1\ngrants: []\nmasks:\n  - a: b\n");
        assert!(without_grants("masks: []\n").is_err());
    }
}
