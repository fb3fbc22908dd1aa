//! The built binary as an operator runs it: configuration and policy files in a folder of its own,
//! `tidegate serve`, signals, the control port, and its evidence.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tidegate_audit::json::event_json;
use tidegate_audit::tail::{Item, StartAt, Tail};

use crate::clients::Endpoint;
use crate::idp::{AUDIENCE, Idp};
use crate::kafka::{Kafka, Listener};
use crate::ports;
use crate::process::{Finished, Process, guarded, run, until};
use crate::raw::Connection;
use crate::tls::Authority;

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");

/// How long starting, stopping and reacting may take on a busy machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// A listener of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// TLS, then a token by OAUTHBEARER or PLAIN.
    Tls,
    /// The same without TLS.
    Plain,
    /// TLS with a client certificate, no SASL.
    Certificate,
    /// TLS with a token; brokers are told apart by server name.
    Sni,
    /// A token without TLS, behind a load balancer that sends a PROXY header.
    Proxied,
}

/// Ports of one door: the bootstrap port and brokers 1 to 4.
const DOOR_PORTS: u16 = 5;
const DOORS: [Door; 5] = [Door::Tls, Door::Plain, Door::Certificate, Door::Sni, Door::Proxied];

impl Door {
    fn first_port(self, first: u16) -> u16 {
        first + self as u16 * DOOR_PORTS
    }
}

/// How a gateway is set up; what is not said has the value that most tests want.
pub(crate) struct Setup<'a> {
    pub(crate) kafka: &'a Kafka,
    pub(crate) idp: &'a Idp,
    /// The policy file's text.
    pub(crate) policy: String,
    /// Shards.
    pub(crate) shards: u16,
    /// The broker's listener that the gateway connects to.
    pub(crate) upstream: Listener,
    /// `host:port` of other servers than `kafka`'s.
    pub(crate) upstream_servers: Option<String>,
    /// `upstream.sasl`, YAML in one line.
    pub(crate) upstream_sasl: String,
    /// `evidence.release`.
    pub(crate) release: &'static str,
    /// More of `evidence`, YAML in one line, with a comma before.
    pub(crate) evidence: String,
    /// `sasl.session_max` of every listener with SASL.
    pub(crate) session_max: Option<&'static str>,
    /// More of `control`, YAML in one line, with a comma before.
    pub(crate) control: String,
    /// Lines at the end of `identity`.
    pub(crate) identity: String,
    /// Lines at the end of the configuration file.
    pub(crate) more: String,
}

impl<'a> Setup<'a> {
    /// A gateway of one shard in front of `kafka`, for the shared issuer.
    pub(crate) fn new(kafka: &'a Kafka, policy: &str) -> Self {
        Self {
            kafka,
            idp: Idp::shared(),
            policy: policy.to_owned(),
            shards: 1,
            upstream: Listener::Plaintext,
            upstream_servers: None,
            upstream_sasl: "{mechanism: none}".to_owned(),
            release: "written",
            evidence: String::new(),
            session_max: None,
            control: String::new(),
            identity: String::new(),
            more: String::new(),
        }
    }

    /// Starts it and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(&self) -> Gateway {
        let gateway = self.prepare();
        gateway.wait_until_ready();
        gateway
    }

    /// Starts it.
    pub(crate) fn prepare(&self) -> Gateway {
        let (folder, first_port) = self.write_files();
        let process = serve(folder.path());
        Gateway { folder, process, first_port, control_port: first_port + DOOR_PORTS * DOORS.len() as u16 }
    }

    /// Writes its files without starting it; the folder.
    pub(crate) fn write(&self) -> TempDir {
        self.write_files().0
    }

    /// Writes its files; the folder and the first of its ports, the control port being the last.
    fn write_files(&self) -> (TempDir, u16) {
        let folder = tempfile::Builder::new().prefix("tidegate-gateway").tempdir().unwrap();
        let first_port = ports::free(DOOR_PORTS * DOORS.len() as u16 + 1);
        let control_port = first_port + DOOR_PORTS * DOORS.len() as u16;
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("policy.yaml", &self.policy);
        write("upstream-secret", "gateway-secret\n");
        write("tidegate.yaml", &self.configuration(first_port, control_port));
        let server = Authority::shared().issue("localhost", &["localhost", "127.0.0.1", "*.kafka.localhost"]);
        std::fs::copy(server.certificate, folder.path().join("server.pem")).unwrap();
        std::fs::copy(server.key, folder.path().join("server-key.pem")).unwrap();
        (folder, first_port)
    }

    fn configuration(&self, first_port: u16, control_port: u16) -> String {
        let mut text = format!("origin: gateway-under-test\nshards: {}\nlisteners:\n", self.shards);
        let ca = Authority::shared().file();
        for door in DOORS {
            let port = door.first_port(first_port);
            write!(text, "  - name: {door:?}\n    protocol: kafka\n    bind: 127.0.0.1\n    bootstrap_port: {port}\n")
                .unwrap();
            match door {
                Door::Sni => text.push_str(
                    "    sni: {host_pattern: \"broker-$(node_id).kafka.localhost\", bootstrap_host: bootstrap.kafka.localhost}\n",
                ),
                _ => writeln!(
                    text,
                    "    advertised_host: localhost\n    broker_ports: {{first_port: {}, node_ids: 1-4}}",
                    port + 1
                )
                .unwrap(),
            }
            if door == Door::Proxied {
                text.push_str("    proxy_protocol: v1_or_v2\n");
            }
            if !matches!(door, Door::Plain | Door::Proxied) {
                text.push_str("    tls:\n      certificate_file: server.pem\n      key_file: server-key.pem\n");
            }
            match door {
                Door::Certificate => {
                    writeln!(text, "      client_ca_file: {}\n      client_auth: required", ca.display()).unwrap();
                }
                _ => {
                    let session = self.session_max.map(|max| format!(", session_max: {max}")).unwrap_or_default();
                    writeln!(text, "    sasl: {{mechanisms: [OAUTHBEARER, PLAIN]{session}}}").unwrap();
                }
            }
        }
        let bootstrap = self.upstream_servers.clone().unwrap_or_else(|| self.kafka.bootstrap(self.upstream));
        write!(text, "upstream:\n  bootstrap_servers: [\"{}\"]\n", bootstrap.replace(',', "\", \"")).unwrap();
        writeln!(text, "  sasl: {}\n  metadata_interval: 1s", self.upstream_sasl).unwrap();
        if matches!(self.upstream, Listener::SaslSsl | Listener::Ssl) {
            writeln!(text, "  tls: {{ca_file: {}}}", ca.display()).unwrap();
        }
        write!(
            text,
            "identity:\n  ca_file: {}\n  issuers:\n    - issuer: {}\n      audiences: [{AUDIENCE}]\n      \
             algorithms: [RS256, ES256, EdDSA]\n      leeway_seconds: 1\n{}",
            ca.display(),
            self.idp.url(),
            self.identity
        )
        .unwrap();
        write!(
            text,
            "policy_file: policy.yaml\nevidence: {{directory: evidence, release: {}, segment_bytes: 4194304{}}}\n\
             control: {{bind: \"127.0.0.1:{control_port}\"{}}}\ndrain_timeout: 10s\n{}",
            self.release, self.evidence, self.control, self.more
        )
        .unwrap();
        text
    }
}

fn serve(folder: &Path) -> Process {
    // The signal at a limit on file sizes, by which tests make disks full, would end the process.
    let mut command = guarded("env");
    command
        .args(["--ignore-signal=XFSZ", BINARY, "serve", "--config"])
        .arg(folder.join("tidegate.yaml"))
        .current_dir(folder);
    command.env("RUST_BACKTRACE", "1");
    Process::start("tidegate", command, folder.join("tidegate.log"))
}

/// A running gateway.
pub(crate) struct Gateway {
    folder: TempDir,
    process: Process,
    first_port: u16,
    control_port: u16,
}

impl Gateway {
    /// `bootstrap.servers` of a door.
    pub(crate) fn bootstrap(&self, door: Door) -> String {
        // Java sends no server name for a host without a dot.
        let host = if door == Door::Sni { "bootstrap.kafka.localhost" } else { "localhost" };
        format!("{host}:{}", self.port(door))
    }

    /// The bootstrap port of a door.
    pub(crate) fn port(&self, door: Door) -> u16 {
        door.first_port(self.first_port)
    }

    /// The port that stands for the broker `node` at a door.
    pub(crate) fn broker_port(&self, door: Door, node: u16) -> u16 {
        self.port(door) + node
    }

    /// A stock client's way in: TLS, as a client of the shared issuer.
    pub(crate) fn oauth(&self, id: &str) -> Endpoint {
        Endpoint::oauth(&self.bootstrap(Door::Tls), id)
    }

    /// A stock client's way in: TLS, with a token as the password.
    pub(crate) fn token_as_password(&self, user: &str, groups: &[&str]) -> Endpoint {
        Endpoint::plain(&self.bootstrap(Door::Tls), user, &Idp::shared().token(user, groups))
    }

    /// A raw connection to the bootstrap port of the plain door, not logged in.
    pub(crate) fn connect(&self) -> Connection {
        Connection::plain(("127.0.0.1", self.port(Door::Plain)))
    }

    /// A raw connection to broker 1 through the plain door, logged in.
    #[track_caller]
    pub(crate) fn connect_as(&self, subject: &str, groups: &[&str]) -> Connection {
        self.connect_to(1, subject, groups)
    }

    /// A raw connection to a broker through the plain door, logged in.
    #[track_caller]
    pub(crate) fn connect_to(&self, node: u16, subject: &str, groups: &[&str]) -> Connection {
        let token = Idp::shared().token(subject, groups);
        Connection::plain(("127.0.0.1", self.broker_port(Door::Plain, node))).login_token(&token)
    }

    /// Waits until `/readyz` says yes.
    #[track_caller]
    pub(crate) fn wait_until_ready(&self) {
        self.process.ready("ready", TIMEOUT, || (self.try_get("/readyz")?.0 == 200).then_some(()));
    }

    /// The control address, for the command line.
    pub(crate) fn control_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.control_port)
    }

    /// Status and body of a control path.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.try_get(path).unwrap_or_else(|| panic!("no answer from {path}:\n{}", self.process.output_tail()))
    }

    /// Status and body of a control path, if anything answers.
    pub(crate) fn try_get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.control_port)).ok()?;
        stream.set_read_timeout(Some(TIMEOUT)).ok()?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
    }

    /// Its process.
    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// Kills it at once and starts it again in the same folder.
    #[track_caller]
    pub(crate) fn crash_and_restart(&mut self) {
        self.process.kill();
        self.process = serve(self.folder.path());
        self.wait_until_ready();
    }

    /// Kills it at once, does something to its files, and starts it again in the same folder.
    #[track_caller]
    pub(crate) fn restart_after(&mut self, change: impl FnOnce(&Path)) {
        self.start_again_after(change);
        self.wait_until_ready();
    }

    /// The same without waiting for anything.
    pub(crate) fn start_again_after(&mut self, change: impl FnOnce(&Path)) {
        self.process.kill();
        change(self.folder.path());
        self.process = serve(self.folder.path());
    }

    /// Writes another policy file, without telling the gateway.
    pub(crate) fn write_policy(&self, policy: &str) {
        // A rename, as editors and configuration managers do it: never a half-written file.
        let new = self.folder.path().join("policy.new");
        std::fs::write(&new, policy).unwrap();
        std::fs::rename(new, self.folder.path().join("policy.yaml")).unwrap();
    }

    /// Puts another policy in force with SIGHUP, and waits until it is.
    #[track_caller]
    pub(crate) fn reload(&self, policy: &str) {
        let loaded = |gateway: &Self| gateway.evidence().iter().filter(|e| e["kind"] == "policy_loaded").count();
        let before = loaded(self);
        self.write_policy(policy);
        self.process.signal("HUP");
        until("the new policy is in force", TIMEOUT, || (loaded(self) > before).then_some(()));
    }

    /// The folder of its files.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of its evidence.
    pub(crate) fn evidence_folder(&self) -> PathBuf {
        self.folder.path().join("evidence")
    }

    /// All evidence so far, as `tidegate audit tail --output json` prints it.
    #[track_caller]
    pub(crate) fn evidence(&self) -> Vec<Value> {
        evidence(&self.evidence_folder())
    }

    /// Waits until the evidence has an entry that `wanted` accepts.
    #[track_caller]
    pub(crate) fn evidence_of(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = std::time::Instant::now() + TIMEOUT;
        loop {
            let entries = self.evidence();
            if let Some(entry) = entries.iter().find(|entry| wanted(entry)) {
                return entry.clone();
            }
            if std::time::Instant::now() > deadline {
                panic!("no evidence of {what}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Gateway {
    /// What a failed test wants to know.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the gateway's log:\n{}", self.process.output_tail());
            if let Ok(entries) = std::panic::catch_unwind(|| evidence(&self.evidence_folder())) {
                let last = entries.iter().rev().take(15).rev();
                eprintln!("its evidence:\n{}", last.map(Value::to_string).collect::<Vec<_>>().join("\n"));
            }
        }
    }
}

/// All evidence below `folder`.
#[track_caller]
pub(crate) fn evidence(folder: &Path) -> Vec<Value> {
    let mut tail = Tail::open(folder, None, StartAt::First, Box::new(|_| true)).unwrap();
    let mut entries = Vec::new();
    while let Some(item) = tail.next().unwrap() {
        match item {
            Item::Entry(entry) => entries.push(event_json(&entry.event, entry.shard, entry.sequence)),
            Item::Damaged(damaged) => panic!("damaged evidence: {damaged}"),
        }
    }
    entries
}

/// Runs the binary with other arguments to its end.
#[track_caller]
pub(crate) fn tidegate(arguments: &[&str]) -> Finished {
    let mut command = guarded(BINARY);
    command.args(arguments);
    run(command, "", TIMEOUT)
}

/// Whether an entry is of an exchange of this API that names this resource.
pub(crate) fn is_exchange(entry: &Value, api: &str, resource: &str) -> bool {
    entry["kind"] == "exchange"
        && entry["api"] == api
        && entry["resources"].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == resource))
}
