//! Debian's `kcat`, an old librdkafka: it takes a token only as a PLAIN password.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{Endpoint, StockClient};
use crate::dependencies;
use crate::process::{Process, guarded, run};

const TIMEOUT: Duration = Duration::from_secs(60);

/// `kcat`.
pub(crate) struct Kcat;

fn kcat(at: &Endpoint) -> Command {
    let mut command = guarded(dependencies::program("kcat"));
    for (key, value) in at.librdkafka() {
        command.arg("-X").arg(format!("{key}={value}"));
    }
    command
}

/// Prints what comes to `topic` from now on, for as long as it lives; to a file in `folder`.
pub(crate) fn kcat_follow(at: &Endpoint, topic: &str, folder: &Path, name: &str) -> Process {
    let mut command = kcat(at);
    command.args(["-C", "-u", "-q", "-X", "reconnect.backoff.max.ms=500", "-o", "end", "-t", topic]);
    Process::start(name, command, folder.join(name))
}

impl StockClient for Kcat {
    fn name(&self) -> &'static str {
        "kcat"
    }

    fn produce(&self, at: &Endpoint, topic: &str, values: &[&str]) {
        let mut command = kcat(at);
        command.args(["-P", "-t", topic]);
        run(command, &values.join("\n"), TIMEOUT).success();
    }

    fn consume(&self, at: &Endpoint, topic: &str, group: &str, count: usize) -> Vec<String> {
        let mut command = kcat(at);
        command.args(["-q", "-X", "auto.offset.reset=earliest", "-c", &count.to_string(), "-G", group, topic]);
        run(command, "", TIMEOUT).success().lines().map(str::to_owned).collect()
    }

    /// kcat cannot create topics.
    fn administer(&self, at: &Endpoint, _topic: &str) -> Vec<String> {
        let mut command = kcat(at);
        command.args(["-L", "-J"]);
        let listed: serde_json::Value = serde_json::from_str(&run(command, "", TIMEOUT).success()).unwrap();
        let topics = listed["topics"].as_array().unwrap();
        topics.iter().map(|topic| topic["topic"].as_str().unwrap().to_owned()).collect()
    }
}
