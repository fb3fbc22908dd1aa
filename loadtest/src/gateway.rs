//! The real gateway as an operator runs it: configuration, policy and evidence in a folder, `tidegate
//! serve` as a process of its own, an issuer whose tokens it believes.
//!
//! Where no `tidegate` binary is at hand, this binary stands in for it: it links the same library and
//! the same allocator, and an environment variable tells it to be the gateway ([`is_stand_in`]).

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tidegate::demo::issuer::{Issuer, Options};
use tidegate_core::words::DataClass;
use tidegate_policy::document::text::ByteSize;

use crate::target::Tls;

/// Tells this binary to be `tidegate`.
const STAND_IN: &str = "TIDEGATE_LOADTEST_IS_GATEWAY";
/// What the tokens are for.
const AUDIENCE: &str = "tidegate-loadtest";
/// The group of all principals of the load.
const GROUP: &str = "load";
/// Principals, each with a token of its own.
const PRINCIPALS: usize = 16;
/// Longer than any run.
const TOKEN_LIFETIME: Duration = Duration::from_secs(7 * 86_400);
/// How long starting and draining may take.
const WITHIN: Duration = Duration::from_secs(60);
/// Ports of brokers behind the bootstrap port, and the control port.
const PORTS: u16 = 102;

/// Whether this process is to be the gateway.
#[must_use]
pub fn is_stand_in() -> bool {
    std::env::var_os(STAND_IN).is_some()
}

/// An issuer on a thread of its own.
pub struct Identity {
    url: String,
    /// A token for each principal.
    pub tokens: Vec<String>,
    _running: tokio::sync::oneshot::Sender<()>,
}

impl Identity {
    /// Starts it and mints tokens.
    ///
    /// # Errors
    /// Where no port or no key can be had.
    pub fn start() -> anyhow::Result<Self> {
        let (running, ended) = tokio::sync::oneshot::channel::<()>();
        let (send, receive) = mpsc::channel();
        let serve = async move {
            let started = async {
                let issuer = Issuer::start(Options::loopback(AUDIENCE)).await?;
                let mint = |number| issuer.mint(&format!("load-{number}"), &[GROUP], TOKEN_LIFETIME);
                let tokens = (0..PRINCIPALS).map(mint).collect::<Result<Vec<_>, _>>();
                let tokens = tokens.map_err(|error| anyhow::anyhow!("{error}"))?;
                anyhow::Ok((issuer, tokens))
            };
            match started.await {
                Ok((issuer, tokens)) => {
                    let _ = send.send(Ok((issuer.url().to_owned(), tokens)));
                    // Until the handle is dropped.
                    let _ = ended.await;
                }
                Err(error) => drop(send.send(Err(error))),
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("issuer".to_owned()).spawn(move || runtime.block_on(serve))?;
        let (url, tokens) = receive.recv().context("the issuer ended at once")??;
        Ok(Self { url, tokens, _running: running })
    }
}

/// A certificate for the loopback names, for the gateway and the blackhole alike.
pub struct Certificate {
    certificate: String,
    key: String,
}

impl Certificate {
    /// Makes one, signed by itself.
    ///
    /// # Errors
    /// Where no key can be made.
    pub fn new() -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        Ok(Self { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() })
    }

    /// How a client trusts it.
    ///
    /// # Errors
    /// Where rustls does not take it.
    pub fn client(&self) -> anyhow::Result<Tls> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.certificate.as_bytes())?)?;
        let mut config = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // Every connection is to cost the same: no session is taken up again.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Tls { config: config.into(), server: ServerName::try_from("localhost")? })
    }

    /// How a server shows it.
    ///
    /// # Errors
    /// Where rustls does not take it.
    pub fn server(&self) -> anyhow::Result<std::sync::Arc<rustls::ServerConfig>> {
        let chain = vec![CertificateDer::from_pem_slice(self.certificate.as_bytes())?];
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_slice(self.key.as_bytes())?)?;
        Ok(config.into())
    }
}

fn provider() -> std::sync::Arc<rustls::crypto::CryptoProvider> {
    rustls::crypto::aws_lc_rs::default_provider().into()
}

/// How a gateway is set up.
pub struct Setup<'a> {
    /// Its files' folder; it must be there.
    pub folder: &'a Path,
    /// The binary; `None` for the one beside this, else this one.
    pub program: Option<&'a Path>,
    /// Shards.
    pub shards: u16,
    /// How long a shard without work looks for some before it sleeps.
    pub spin_micros: u32,
    /// The brokers.
    pub upstream: &'a [SocketAddr],
    /// Whose tokens it believes.
    pub identity: &'a Identity,
    /// TLS towards clients.
    pub tls: Option<&'a Certificate>,
    /// TLS towards the brokers, which show this certificate.
    pub upstream_tls: Option<&'a Certificate>,
    /// `evidence.release`.
    pub release: &'a str,
    /// Whether consumers get personal data masked, or only looked at.
    pub mask: bool,
    /// Whether the policy also names the classes that only the names of fields tell.
    pub names: bool,
    /// What it may remember of batches that it inspected, a shard.
    pub verdict_cache: ByteSize,
}

/// A running gateway. Dropping it ends it, at once.
pub struct Gateway {
    folder: PathBuf,
    program: Option<PathBuf>,
    child: Child,
    first_port: u16,
}

impl Gateway {
    /// Writes the files, starts it, and waits until it is ready.
    ///
    /// # Errors
    /// What does not work, with the end of the gateway's log.
    pub fn start(setup: &Setup<'_>) -> anyhow::Result<Self> {
        let first_port = free_ports(PORTS)?;
        write_files(setup, first_port)?;
        let program = match setup.program {
            Some(program) => Some(program.to_owned()),
            None => beside_this(),
        };
        let child = serve(setup.folder, program.as_deref())?;
        let mut gateway = Self { folder: setup.folder.to_owned(), program, child, first_port };
        gateway.wait_until_ready()?;
        Ok(gateway)
    }

    /// Where clients begin.
    #[must_use]
    pub fn bootstrap(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.first_port))
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The address of `/metrics`, `/reload` and the like.
    #[must_use]
    pub fn control(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.first_port + PORTS - 1))
    }

    /// The folder of its evidence.
    #[must_use]
    pub fn evidence(&self) -> PathBuf {
        self.folder.join("evidence")
    }

    /// Ends it in good order and starts it again with the same files and ports.
    ///
    /// # Errors
    /// Where it does not end or not come back.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.drain()?;
        self.child = serve(&self.folder, self.program.as_deref())?;
        self.wait_until_ready()
    }

    /// Tells it to end (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// Where it takes longer than a minute.
    pub fn drain(&mut self) -> anyhow::Result<()> {
        // `kill` is everywhere, and keeps this file free of unsafe calls.
        Command::new("kill").arg("-TERM").arg(self.pid().to_string()).status().context("kill")?;
        let until = Instant::now() + WITHIN;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > until {
                bail!("the gateway does not drain within {} s", WITHIN.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + WITHIN;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the gateway ended at once ({status}):\n{}", self.log_tail());
            }
            if is_ready(self.control()) {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("the gateway is not ready within {} s:\n{}", WITHIN.as_secs(), self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(25));
        }
    }

    fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.folder.join("tidegate.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may be gone already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_ready(control: SocketAddr) -> bool {
    let asked = || {
        let mut stream = TcpStream::connect(control).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer.starts_with("HTTP/1.1 200"))
    };
    asked().unwrap_or(false)
}

fn beside_this() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok()?.with_file_name("tidegate");
    beside.is_file().then_some(beside)
}

fn serve(folder: &Path, program: Option<&Path>) -> anyhow::Result<Child> {
    let log = std::fs::File::options().create(true).append(true).open(folder.join("tidegate.log"))?;
    let this = std::env::current_exe().context("this program's own path")?;
    // setpriv makes the kernel end the gateway where this process is ended the hard way.
    let guard = Path::new("/usr/bin/setpriv");
    let mut command = if guard.is_file() {
        let mut command = Command::new(guard);
        command.args(["--pdeathsig", "KILL", "--"]).arg(program.unwrap_or(&this));
        command
    } else {
        Command::new(program.unwrap_or(&this))
    };
    // A real `tidegate` does not look at it.
    command
        .env(STAND_IN, "1")
        .args(["serve", "--config"])
        .arg(folder.join("tidegate.yaml"))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("the gateway {} cannot be started", program.unwrap_or(&this).display()))
}

/// The first of `count` ports in a row that are free, below those that the kernel gives to outgoing
/// connections. Each call begins behind the one before: what was found is bound a little later only.
fn free_ports(count: u16) -> anyhow::Result<u16> {
    const FIRST: u16 = 12_000;
    const BLOCKS: u16 = 40;
    static CALLS: AtomicU16 = AtomicU16::new(0);
    let turn = u16::try_from(std::process::id() % u32::from(BLOCKS)).unwrap_or(0);
    let turn = turn.wrapping_add(CALLS.fetch_add(1, Ordering::Relaxed));
    let candidates = (0..BLOCKS).map(|step| FIRST + (turn.wrapping_add(step) % BLOCKS) * 200);
    let free =
        |first: &u16| (*first..*first + count).all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    candidates.into_iter().find(free).with_context(|| format!("no {count} free ports in a row"))
}

fn write_files(setup: &Setup<'_>, first_port: u16) -> anyhow::Result<()> {
    let write = |name: &str, text: &str| {
        std::fs::write(setup.folder.join(name), text).with_context(|| setup.folder.join(name).display().to_string())
    };
    let mut config = format!(
        "origin: loadtest\nshards: {}\nspin_micros: {}\nlisteners:\n  - name: load\n    protocol: kafka\n    bind: 127.0.0.1\n    \
         bootstrap_port: {first_port}\n    advertised_host: 127.0.0.1\n    \
         broker_ports: {{first_port: {}, node_ids: 0-99}}\n    sasl: {{mechanisms: [OAUTHBEARER, PLAIN]}}\n",
        setup.shards,
        setup.spin_micros,
        first_port + 1
    );
    if let Some(certificate) = setup.tls {
        write("server.pem", &certificate.certificate)?;
        write("server-key.pem", &certificate.key)?;
        config.push_str("    tls: {certificate_file: server.pem, key_file: server-key.pem}\n");
    }
    let brokers: Vec<String> = setup.upstream.iter().map(|address| format!("\"{address}\"")).collect();
    write!(config, "upstream:\n  bootstrap_servers: [{}]\n  metadata_interval: 2s\n", brokers.join(", "))?;
    if let Some(certificate) = setup.upstream_tls {
        write("upstream.pem", &certificate.certificate)?;
        config.push_str("  tls: {ca_file: upstream.pem, server_name: localhost}\n");
    }
    write!(
        config,
        "identity:\n  issuers:\n    - issuer: {}\n      audiences: [{AUDIENCE}]\n      algorithms: [RS256]\n\
         policy_file: policy.yaml\nevidence: {{directory: evidence, release: {}}}\n\
         control: {{bind: \"127.0.0.1:{}\"}}\ndrain_timeout: 10s\nlog: {{level: warn}}\n\
         limits: {{connections_per_shard_max: 65000, authentication_millis_max: 60000, verdict_cache_bytes_per_shard_max: {}}}\n",
        setup.identity.url,
        setup.release,
        first_port + PORTS - 1,
        setup.verdict_cache.0
    )?;
    write("tidegate.yaml", &config)?;
    std::fs::create_dir_all(setup.folder.join("evidence"))?;
    write("policy.yaml", &policy(setup.mask, setup.names))
}

/// Everything on the load's topics and groups, and every class of personal data looked for: what is
/// recognised by itself in the bytes, and with `names` what only the names of fields tell.
fn policy(mask: bool, names: bool) -> String {
    let classes = DataClass::ALL.iter().filter(|class| names || !class.has_fields());
    let classes: Vec<&str> = classes.map(|class| class.name()).collect();
    // Who is exempt gets the data as it is; it is looked for and counted all the same.
    let exempt = if mask { String::new() } else { format!("    except: {{groups: [{GROUP}]}}\n") };
    format!(
        "version: 1\ngrants:\n  - name: load\n    purpose: Measuring\n    groups: [{GROUP}]\n    \
         resources: [{{topic: {{prefix: load-}}}}, {{group: {{prefix: load-}}}}]\n    operations: [all]\n\
         masks:\n  - name: personal-data\n    topics: [{{prefix: load-}}]\n    everyone: true\n{exempt}    \
         classes: [{}]\n    operator: redact\n",
        classes.join(", ")
    )
}
