//! `tidegate demo`: the main job, end to end, on one machine with nothing else installed.
//!
//! An embedded upstream (librdkafka's mock cluster, or a real Kafka with `--upstream`), a small real
//! OIDC issuer, two readers with different rights and one writer. Real clients (librdkafka) produce
//! and consume through the gateway; what each of them sees is printed, then one denied request and
//! the evidence. It stays up until Ctrl-C, so that the printed commands can be tried by hand.

use std::fmt::Write as _;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use tempfile::TempDir;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::client::{self, Seen};
use super::issuer::{Client, Issuer, Options};

/// What the issuer's tokens are for.
const AUDIENCE: &str = "tidegate-demo";
/// How long the demo's tokens live, and how often the files with them are written anew.
const TOKEN_LIFETIME: Duration = Duration::from_secs(600);
const TOKEN_REFRESH: Duration = Duration::from_secs(240);
/// How long the gateway may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// The topics of the demo.
const TOPICS: [&str; 2] = ["orders", "payroll"];

/// The people of the demo: name, groups, and what the demo says of them.
const PEOPLE: [(&str, &[&str]); 3] = [("shop", &[]), ("alice", &["analysts"]), ("bob", &["fraud-detection"])];

/// The records that the shop writes: made-up people, real formats.
const RECORDS: [&str; 3] = [
    r#"{"order":1001,"customer":"alice.martin@example.com","phone":"+33 6 12 34 56 78","card":"4111 1111 1111 1111","total":49.90}"#,
    r#"{"order":1002,"customer":"jan.kowalski@example.org","phone":"+48 512 345 678","card":"5555 5555 5555 4444","total":12.00}"#,
    r#"{"order":1003,"customer":"none given","note":"paid in cash","total":7.50}"#,
];

/// What the demo runs with: everything that has to live as long as it does.
struct Stage {
    issuer: Issuer,
    folder: TempDir,
    bootstrap: String,
    control: SocketAddr,
    _embedded: Option<MockCluster<'static, DefaultProducerContext>>,
}

/// Runs the demo until Ctrl-C. `upstream` is a real Kafka's `host:port`; `None` embeds one.
///
/// # Errors
/// Where a part cannot be started or does not do what it should; the sentence says which.
pub async fn run(upstream: Option<String>, out: &mut (dyn Write + Send), colours: bool) -> anyhow::Result<()> {
    let paint = Paint { colours };
    // From the start: whenever Ctrl-C comes, the gateway and the files go too.
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
    writeln!(out, "{}", paint.title("Tidegate demo"))?;
    let (stage, mut gateway) = tokio::select! {
        ready = async {
            let stage = set_up(upstream, out).await?;
            let gateway = start_gateway(&stage).await?;
            anyhow::Ok((stage, gateway))
        } => ready?,
        _ = interrupt.recv() => return Ok(()),
    };
    let shown = tokio::select! {
        shown = show(&stage, out, &paint) => shown.map(|()| true),
        _ = interrupt.recv() => Ok(false),
    };
    let stayed = match shown {
        Ok(true) => stay(&stage, &mut gateway, &mut interrupt, out, &paint).await,
        Ok(false) => Ok(()),
        Err(error) => Err(error),
    };
    stop(gateway).await;
    stayed
}

async fn set_up(upstream: Option<String>, out: &mut (dyn Write + Send)) -> anyhow::Result<Stage> {
    let embedded = match upstream {
        Some(_) => None,
        None => Some(MockCluster::new(1).map_err(|error| anyhow::anyhow!("the embedded upstream: {error}"))?),
    };
    let upstream = match (&embedded, upstream) {
        (_, Some(address)) => {
            client::create_topics(&address, &TOPICS).await?;
            address
        }
        (Some(cluster), None) => {
            for topic in TOPICS {
                cluster.create_topic(topic, 1, 1).map_err(|error| anyhow::anyhow!("topic {topic}: {error}"))?;
            }
            cluster.bootstrap_servers()
        }
        (None, None) => bail!("no upstream"),
    };
    let issuer = Issuer::start(Options::loopback(AUDIENCE)).await.context("the demo's OIDC issuer")?;
    for (name, groups) in PEOPLE {
        issuer.register(Client { lifetime: TOKEN_LIFETIME, ..Client::new(name, name, groups) });
    }
    let folder = tempfile::Builder::new().prefix("tidegate-demo-").tempdir().context("a folder for the demo")?;
    let first_port = free_ports(12)?;
    let control = SocketAddr::from((Ipv4Addr::LOCALHOST, first_port + 11));
    let bootstrap = format!("127.0.0.1:{first_port}");
    write_files(folder.path(), &issuer, &upstream, first_port, control)?;
    writeln!(out, "  upstream   {upstream}")?;
    writeln!(out, "  issuer     {}", issuer.url())?;
    writeln!(out, "  gateway    {bootstrap}")?;
    writeln!(out, "  files      {}", folder.path().display())?;
    Ok(Stage { issuer, folder, bootstrap, control, _embedded: embedded })
}

/// The first of `count` ports in a row that are free now.
fn free_ports(count: u16) -> anyhow::Result<u16> {
    for first in (19092..60000u16).step_by(usize::from(count)) {
        let free = (first..first + count).all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
        if free {
            return Ok(first);
        }
    }
    bail!("no {count} free ports in a row")
}

fn write_files(
    folder: &Path,
    issuer: &Issuer,
    upstream: &str,
    first_port: u16,
    control: SocketAddr,
) -> anyhow::Result<()> {
    let file = |name: &str| folder.join(name);
    let mut brokers = String::new();
    for address in upstream.split(',') {
        writeln!(brokers, "    - \"{address}\"")?;
    }
    let config = format!(
        "origin: demo\nshards: auto\n\
         listeners:\n  - name: clients\n    protocol: kafka\n    bind: 127.0.0.1\n    bootstrap_port: {first_port}\n    \
         advertised_host: 127.0.0.1\n    broker_ports: {{first_port: {}, node_ids: \"0-9\"}}\n    \
         sasl: {{mechanisms: [OAUTHBEARER, PLAIN]}}\n\
         upstream:\n  bootstrap_servers:\n{brokers}\
         identity:\n  issuers:\n    - issuer: {}\n      audiences: [{AUDIENCE}]\n      algorithms: [RS256]\n\
         policy_file: {}\n\
         evidence: {{directory: {}}}\n\
         control: {{bind: \"{control}\"}}\n\
         log: {{level: error}}\n",
        first_port + 1,
        issuer.url(),
        file("policy.yaml").display(),
        file("evidence").display(),
    );
    std::fs::create_dir_all(file("evidence"))?;
    std::fs::write(file("tidegate.yaml"), config)?;
    std::fs::write(file("policy.yaml"), include_str!("policy.yaml"))?;
    for (name, groups) in PEOPLE {
        write_token(folder, issuer, name, groups)?;
    }
    Ok(())
}

/// Writes a principal's token, and the properties by which Java's tools use it.
fn write_token(folder: &Path, issuer: &Issuer, name: &str, groups: &[&str]) -> anyhow::Result<()> {
    let token =
        issuer.mint(name, groups, TOKEN_LIFETIME).map_err(|error| anyhow::anyhow!("{name}'s token: {error}"))?;
    let properties = format!(
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n\
         sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username=\"{name}\" password=\"{token}\";\n"
    );
    write_private(&folder.join(format!("{name}.token")), &token)?;
    write_private(&folder.join(format!("{name}.properties")), &properties)
}

/// Replaces a file that only its owner may read, so that no reader sees half of it.
fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let fresh = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    std::fs::rename(&fresh, path)?;
    Ok(())
}

/// The gateway: this very program, as a user would start it.
async fn start_gateway(stage: &Stage) -> anyhow::Result<tokio::process::Child> {
    let program = std::env::current_exe().context("this program's own path")?;
    let mut gateway = tokio::process::Command::new(program)
        .arg("serve")
        .arg("--config")
        .arg(stage.folder.path().join("tidegate.yaml"))
        .kill_on_drop(true)
        // Ctrl-C is the demo's: it ends the gateway itself, in good order.
        .process_group(0)
        .spawn()
        .context("the gateway cannot be started")?;
    let url = format!("http://{}/readyz", stage.control);
    let until = Instant::now() + READY_WITHIN;
    loop {
        if let Some(status) = gateway.try_wait()? {
            bail!("the gateway ended at once ({status}); its words are above");
        }
        match reqwest::get(&url).await {
            Ok(response) if response.status().is_success() => return Ok(gateway),
            Ok(response) if Instant::now() > until => bail!("the gateway is not ready: {}", response.text().await?),
            Err(error) if Instant::now() > until => bail!("the gateway does not answer: {error}"),
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn show(stage: &Stage, out: &mut (dyn Write + Send), paint: &Paint) -> anyhow::Result<()> {
    let token = |name: &str| std::fs::read_to_string(stage.folder.path().join(format!("{name}.token")));
    writeln!(out, "\n{}", paint.title("The shop writes three orders to `orders`"))?;
    client::produce(&stage.bootstrap, "shop", token("shop")?, "orders", &RECORDS).await?;
    for record in RECORDS {
        writeln!(out, "  {record}")?;
    }

    writeln!(out, "\n{}", paint.title("Alice, an analyst, reads them: personal data is masked on the way"))?;
    print_seen(out, client::consume(&stage.bootstrap, "alice", token("alice")?, "orders", RECORDS.len()).await?)?;

    writeln!(out, "\n{}", paint.title("Bob, of fraud detection, reads them: the policy exempts his group"))?;
    print_seen(out, client::consume(&stage.bootstrap, "bob", token("bob")?, "orders", RECORDS.len()).await?)?;

    writeln!(out, "\n{}", paint.title("Alice tries `payroll`: nobody granted her that"))?;
    match client::consume(&stage.bootstrap, "alice", token("alice")?, "payroll", 1).await {
        Ok(_) => bail!("the gateway let alice read payroll"),
        Err(error) => writeln!(out, "  {}", paint.denied(&error.to_string()))?,
    }

    writeln!(out, "\n{}", paint.title("The evidence of all that"))?;
    show_evidence(stage, out, paint)?;
    Ok(())
}

fn print_seen(out: &mut (dyn Write + Send), seen: Vec<Seen>) -> std::io::Result<()> {
    for Seen { offset, value } in seen {
        writeln!(out, "  offset {offset}: {value}")?;
    }
    Ok(())
}

fn show_evidence(stage: &Stage, out: &mut (dyn Write + Send), paint: &Paint) -> anyhow::Result<()> {
    let directory = evidence(stage);
    let mut lines = Vec::new();
    crate::cli::audit_tail::show_once(&directory, &mut lines, paint.colours)?;
    let lines = String::from_utf8_lossy(&lines).into_owned();
    // What carried records or was denied; the rest is a client finding its way.
    let telling = |line: &&str| line.contains(" record") || line.contains("denied");
    for line in lines.lines().filter(telling).take(15) {
        writeln!(out, "  {line}")?;
    }
    Ok(())
}

fn evidence(stage: &Stage) -> PathBuf {
    stage.folder.path().join("evidence")
}

async fn stay(
    stage: &Stage,
    gateway: &mut tokio::process::Child,
    interrupt: &mut Signal,
    out: &mut (dyn Write + Send),
    paint: &Paint,
) -> anyhow::Result<()> {
    let folder = stage.folder.path().display();
    let bootstrap = &stage.bootstrap;
    writeln!(out, "\n{}", paint.title("Go on by hand (tokens are renewed while this runs)"))?;
    writeln!(
        out,
        "  kcat -b {bootstrap} -X security.protocol=SASL_PLAINTEXT -X sasl.mechanisms=PLAIN -X sasl.username=alice \\\n       \
         -X sasl.password=\"$(cat {folder}/alice.token)\" -C -t orders -o beginning -e\n  \
         kafka-console-consumer.sh --bootstrap-server {bootstrap} --consumer.config {folder}/bob.properties \\\n       \
         --topic orders --from-beginning --group fraud-detection-1\n  \
         tidegate audit tail {folder}/evidence -f\n  \
         curl http://{control}/metrics\n  \
         edit {folder}/policy.yaml and read again: it is picked up at once",
        control = stage.control,
    )?;
    writeln!(out, "\nCtrl-C ends the demo and removes its files.")?;
    out.flush()?;
    let mut refresh = tokio::time::interval(TOKEN_REFRESH);
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            status = gateway.wait() => bail!("the gateway ended: {}", status?),
            _ = refresh.tick() => {
                for (name, groups) in PEOPLE {
                    write_token(stage.folder.path(), &stage.issuer, name, groups)?;
                }
            }
        }
    }
}

/// Ends the gateway as an operator would, so that its evidence is whole.
async fn stop(mut gateway: tokio::process::Child) {
    if let Some(pid) = gateway.id() {
        let pid = pid.to_string();
        // `kill` is everywhere, and keeps this file free of unsafe calls.
        let told = tokio::process::Command::new("kill").arg("-TERM").arg(&pid).status().await;
        let within = Duration::from_secs(10);
        if told.is_ok() && tokio::time::timeout(within, gateway.wait()).await.is_ok() {
            return;
        }
    }
    // It did not go by itself; what is left to do is to report, and the caller is ending anyway.
    let _ = gateway.kill().await;
}

/// Colours, on a terminal only.
struct Paint {
    colours: bool,
}

impl Paint {
    fn title(&self, text: &str) -> String {
        self.wrap("1;36", text)
    }

    fn denied(&self, text: &str) -> String {
        self.wrap("31", text)
    }

    fn wrap(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
