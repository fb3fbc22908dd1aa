//! The systems that are compared: started where that is possible, found by address and process id
//! where it is not, and ended with the comparison.
//!
//! Everything is measured through the same generator against the same blackhole brokers. A relay or
//! another proxy is reached at its own address whatever the brokers' Metadata says
//! ([`Target::brokers`]), so a proxy that rewrites addresses and one that does not are treated alike.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::relay::Kind;
use crate::target::Target;

/// How long a system may take until it accepts connections. A JVM takes seconds.
const START: Duration = Duration::from_secs(60);
/// How often it is looked whether it does.
const LOOK: Duration = Duration::from_millis(20);
/// How long it may take to end after SIGTERM.
const END: Duration = Duration::from_secs(5);

/// A proxy that is started for a comparison: `NAME=COMMAND`, run by `sh`, with `{listen}` and `{upstream}`
/// in it, or `{listen_port}` and `{upstream_port}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyCommand {
    /// Its name in results.
    pub name: String,
    /// What starts it, in the foreground.
    pub command: String,
}

/// A proxy that runs already, in front of brokers that it was told of: `NAME=ADDRESS,PID`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningProxy {
    /// Its name in results.
    pub name: String,
    /// Where clients connect.
    pub address: SocketAddr,
    /// The process whose resources count, descendants included.
    pub pid: u32,
}

impl FromStr for ProxyCommand {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, command) = text.split_once('=').ok_or("must be NAME=COMMAND")?;
        if name.is_empty() || !(command.contains("{listen}") || command.contains("{listen_port}")) {
            return Err("must be NAME=COMMAND, with {listen} or {listen_port} in the command".to_owned());
        }
        Ok(Self { name: name.to_owned(), command: command.to_owned() })
    }
}

impl FromStr for RunningProxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = || {
            let (name, place) = text.split_once('=')?;
            let (address, pid) = place.rsplit_once(',')?;
            Some(Self { name: name.to_owned(), address: address.parse().ok()?, pid: pid.parse().ok()? })
        };
        parts().ok_or_else(|| "must be NAME=ADDRESS,PID, for instance envoy=127.0.0.1:9192,4711".to_owned())
    }
}

/// A process that this one started, and that ends with it.
#[derive(Debug)]
pub struct Started {
    child: Child,
    addresses: Vec<SocketAddr>,
}

impl Started {
    /// A relay of this very binary in front of `upstream`, on free ports.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn relay(kind: Kind, shards: u16, upstream: &[SocketAddr]) -> anyhow::Result<Self> {
        let mut command = Command::new(this_binary()?);
        command.args(["relay", "--kind", kind.name(), "--shards", &shards.to_string()]);
        for address in upstream {
            command.args(["--listen", "127.0.0.1:0", "--upstream", &address.to_string()]);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("starting the relay")?;
        let mut started = Self { child, addresses: Vec::new() };
        let out = started.child.stdout.take().context("the relay has no output")?;
        for line in BufReader::new(out).lines().take(upstream.len()) {
            let line = line?;
            let address = line.strip_prefix("listening ").and_then(|rest| rest.split(' ').next());
            started.addresses.push(address.and_then(|text| text.parse().ok()).context("the relay said no address")?);
        }
        ensure!(started.addresses.len() == upstream.len(), "the relay ended at its start");
        Ok(started)
    }

    /// Another proxy in front of one broker.
    ///
    /// # Errors
    /// Where it does not start, or does not listen within a minute.
    pub fn proxy(proxy: &ProxyCommand, upstream: &[SocketAddr]) -> anyhow::Result<Self> {
        let [upstream] = upstream else { bail!("another proxy can only be compared in front of one broker") };
        let listen = free_address()?;
        let command = proxy
            .command
            .replace("{listen}", &listen.to_string())
            .replace("{listen_port}", &listen.port().to_string())
            .replace("{upstream}", &upstream.to_string())
            .replace("{upstream_port}", &upstream.port().to_string());
        // `exec`, so that the process that is measured and ended is the proxy and not a shell.
        let child = Command::new("sh")
            .args(["-c", &format!("exec {command}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {}", proxy.name))?;
        let mut started = Self { child, addresses: vec![listen] };
        started.await_listening(&proxy.name)?;
        Ok(started)
    }

    fn await_listening(&mut self, name: &str) -> anyhow::Result<()> {
        let until = Instant::now() + START;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                bail!("{name} ended at its start: {status}");
            }
            if self.addresses.iter().all(|address| TcpStream::connect(address).is_ok()) {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        bail!("{name} does not listen within {} s", START.as_secs())
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What `direct` is, but through this process: same TLS, same login.
    #[must_use]
    pub fn target(&self, name: &str, direct: &Target) -> Target {
        Target {
            name: name.to_owned(),
            bootstrap: self.addresses.clone(),
            brokers: self.addresses.clone(),
            processes: vec![(name.to_owned(), self.pid())],
            ..direct.clone()
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // In order first: a master takes its workers along. `kill` is a program, since sending a
        // signal other than SIGKILL is not in the standard library.
        let _ = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status();
        let until = Instant::now() + END;
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(LOOK);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl RunningProxy {
    /// What `direct` is, but through this proxy.
    #[must_use]
    pub fn target(&self, direct: &Target) -> Target {
        Target {
            name: self.name.clone(),
            bootstrap: vec![self.address],
            brokers: vec![self.address],
            processes: vec![(self.name.clone(), self.pid)],
            ..direct.clone()
        }
    }
}

/// An address that is free now. Another process may take it before the proxy does; then the proxy
/// says so and the comparison ends.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// The path of `tidegate-loadtest`: this process' own, or, within tests of the library, what the
/// environment says.
fn this_binary() -> anyhow::Result<PathBuf> {
    match std::env::var_os("TIDEGATE_LOADTEST_BINARY") {
        Some(path) => Ok(path.into()),
        None => std::env::current_exe().context("where this binary is cannot be found out"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_named_on_the_command_line() {
        let running: RunningProxy = "krox=127.0.0.1:9192,4711".parse().unwrap();
        assert_eq!((running.name.as_str(), running.address.port(), running.pid), ("krox", 9192, 4711));
        for wrong in ["krox", "krox=127.0.0.1:9192", "krox=localhost,1", "krox=127.0.0.1:9192,x"] {
            assert!(wrong.parse::<RunningProxy>().is_err(), "{wrong}");
        }
        let command: ProxyCommand = "go=relay -l {listen} -u {upstream}".parse().unwrap();
        assert_eq!(command.command, "relay -l {listen} -u {upstream}");
        for wrong in ["relay", "=relay {listen}", "go=relay --fixed-port"] {
            assert!(wrong.parse::<ProxyCommand>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_command_that_ends_at_once_is_reported_and_not_waited_for() {
        let command: ProxyCommand = "broken=sh -c 'exit 3' {listen}".parse().unwrap();
        let started = Instant::now();
        let error = Started::proxy(&command, &["127.0.0.1:1".parse().unwrap()]).unwrap_err().to_string();
        assert!(error.contains("broken ended at its start") && error.contains('3'), "{error}");
        assert!(started.elapsed() < START / 2);
    }
}
