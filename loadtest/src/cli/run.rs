//! `tidegate-loadtest run`: one load on one system. Without an address everything that is needed is
//! started: brokers in memory, an issuer, the gateway.

use std::io::{IsTerminal as _, Write as _, stderr, stdout};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use rustls::pki_types::ServerName;

use super::Failure;
use crate::profile::{Profile, ProfileFlags};
use crate::result::{Latency, RunResult, Traffic};
use crate::run::{Observer, Progress, run_watched};
use crate::stage::{Stage, StageOptions};
use crate::target::{Target, Tls};

/// The arguments of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The system: an address to begin at. Without it brokers, issuer and gateway are started here
    #[arg(long, value_name = "HOST:PORT")]
    bootstrap: Option<String>,
    /// With --bootstrap: a file with a token a line, for --sasl
    #[arg(long, value_name = "FILE", requires = "bootstrap")]
    tokens: Option<PathBuf>,
    /// With --bootstrap: a process whose CPU and memory count
    #[arg(long, requires = "bootstrap")]
    pid: Option<u32>,
    /// With --bootstrap and --tls: whom to trust (PEM); without it the system's authorities
    #[arg(long, value_name = "FILE", requires = "bootstrap")]
    ca: Option<PathBuf>,
    /// Put the load on the brokers in memory themselves, with nothing between
    #[arg(long, conflicts_with = "bootstrap")]
    direct: bool,
    /// Do not measure first what the brokers in memory can do alone
    #[arg(long)]
    no_limit: bool,
    /// How the result is printed
    #[arg(long, short, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    load: ProfileFlags,
    #[command(flatten)]
    stage: StageOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// The whole result as JSON
    Json,
}

impl Run {
    /// Runs it.
    pub(super) fn run(self) -> Result<(), Failure> {
        let profile = self.load.profile().map_err(Failure::Usage)?;
        let mut line = Line { is_terminal: stderr().is_terminal() };
        let result = match &self.bootstrap {
            Some(address) => run_watched(&profile, &self.target(address, &profile)?, &mut line)?,
            None => self.staged(&profile, &mut line)?,
        };
        let mut out = stdout().lock();
        let written = match self.output {
            Output::Json => serde_json::to_writer_pretty(&mut out, &result)
                .map_err(std::io::Error::from)
                .and_then(|()| writeln!(out)),
            Output::Text => write_text(&result, &mut out),
        };
        written.context("the result cannot be written")?;
        match &result.oracle {
            Some(verdict) if !verdict.holds() => {
                Err(Failure::Refused(verdict.violations.iter().map(|sentence| format!("oracle: {sentence}")).collect()))
            }
            _ if result.requests() == 0 && profile.producers + profile.consumers > 0 => Err(Failure::Refused(
                std::iter::once("nothing was answered".to_owned()).chain(result.errors.samples.clone()).collect(),
            )),
            _ => Ok(()),
        }
    }

    fn staged(&self, profile: &Profile, line: &mut Line) -> anyhow::Result<RunResult> {
        let mut stage = Stage::start(profile, &self.stage)?;
        let limit = (!self.no_limit).then(|| stage.limit(profile)).transpose().context("the brokers alone")?;
        let target = match (self.direct, profile.tls) {
            (false, _) => stage.gateway(),
            (true, false) => stage.direct(),
            (true, true) => stage.direct_tls(),
        };
        let mut result = run_watched(profile, &target, line)?;
        stage.judge(&mut result)?;
        result.blackhole_limit = limit;
        Ok(result)
    }

    fn target(&self, address: &str, profile: &Profile) -> anyhow::Result<Target> {
        let bootstrap: Vec<SocketAddr> =
            address.to_socket_addrs().with_context(|| format!("{address} is no address"))?.collect();
        let tokens: Vec<String> = match &self.tokens {
            Some(file) => {
                let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
                text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
            }
            None => Vec::new(),
        };
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let tls = profile.tls.then(|| self.tls(host)).transpose()?;
        let processes = self.pid.iter().map(|pid| ("system".to_owned(), *pid)).collect();
        Ok(Target { name: address.to_owned(), bootstrap, tokens: tokens.into(), tls, processes, ..Target::default() })
    }

    fn tls(&self, host: &str) -> anyhow::Result<Tls> {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject as _;
        let file = self.ca.as_ref().context("--tls on another system needs --ca")?;
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(file).with_context(|| file.display().to_string())? {
            roots.add(certificate?)?;
        }
        let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Tls { config: config.into(), server: ServerName::try_from(host.to_owned())? })
    }
}

/// Live progress: one line that is written over on a terminal, and nothing elsewhere.
struct Line {
    is_terminal: bool,
}

impl Observer for Line {
    fn progress(&mut self, progress: &Progress) {
        if !self.is_terminal {
            return;
        }
        let Progress { measuring, seconds, of_seconds, connections, requests_per_second, bytes_per_second, errors } =
            *progress;
        let phase = if measuring { "measuring" } else { "warming up" };
        eprint!(
            "\r\x1b[K{phase} {seconds:.0}/{of_seconds:.0} s, {connections} connections, {requests_per_second:.0} requests/s, \
             {:.1} MB/s, {errors} errors",
            bytes_per_second / 1e6
        );
        let _ = stderr().flush();
    }

    fn window_ends(&mut self, _: &mut RunResult) {
        if self.is_terminal {
            eprint!("\r\x1b[K");
        }
    }
}

fn write_text(result: &RunResult, out: &mut impl std::io::Write) -> std::io::Result<()> {
    writeln!(
        out,
        "{} ({}), {:.1} s measured, {} connections",
        result.system, result.profile.name, result.seconds, result.connections_open
    )?;
    write_traffic("produce", &result.produce, result.seconds, out)?;
    write_traffic("fetch", &result.fetch, result.seconds, out)?;
    write_traffic("sessions", &result.sessions, result.seconds, out)?;
    write_traffic("admin", &result.admin, result.seconds, out)?;
    if result.send_lag.count > 0 {
        writeln!(out, "generator late by      {}", latency(&result.send_lag))?;
    }
    for process in &result.processes {
        writeln!(
            out,
            "{:<10} CPU {:.2} s of {:.1} s ({:.2} user, {:.2} kernel), memory {:.1} MB (peak {:.1}), {} threads, {} descriptors",
            process.name,
            process.cpu_seconds(),
            result.seconds,
            process.user_seconds,
            process.system_seconds,
            process.resident_bytes as f64 / 1e6,
            process.resident_peak_bytes as f64 / 1e6,
            process.threads,
            process.descriptors
        )?;
        if let (Some(gigabyte), Some(million)) =
            (result.cpu_seconds_per_gb(&process.name), result.cpu_seconds_per_million_requests(&process.name))
        {
            writeln!(out, "           {gigabyte:.3} CPU-s/GB, {million:.2} CPU-s per million requests")?;
        }
    }
    if let Some(limit) = &result.blackhole_limit {
        writeln!(
            out,
            "brokers alone: {:.0} requests/s, {:.0} MB/s with the same load in a closed loop",
            limit.requests_per_second,
            limit.bytes_per_second / 1e6
        )?;
    }
    let errors = &result.errors;
    if errors.total() > 0 {
        writeln!(
            out,
            "errors: {} ({} connecting, {} lost, {} malformed) {:?}",
            errors.total(),
            errors.connect,
            errors.lost,
            errors.malformed,
            errors.codes
        )?;
        for sample in &errors.samples {
            writeln!(out, "  {sample}")?;
        }
    }
    if let Some(verdict) = &result.oracle {
        let checked: Vec<String> = verdict.checked.iter().map(|(what, count)| format!("{count} {what}")).collect();
        let words = if verdict.holds() { "nothing wrong" } else { "WRONG" };
        writeln!(out, "oracle: {words} ({})", checked.join(", "))?;
    }
    Ok(())
}

fn write_traffic(name: &str, traffic: &Traffic, seconds: f64, out: &mut impl std::io::Write) -> std::io::Result<()> {
    if traffic.requests == 0 {
        return Ok(());
    }
    writeln!(
        out,
        "{name:<10} {:>9.0} requests/s  {:>10.0} records/s  {:>8.1} MB/s",
        traffic.requests as f64 / seconds,
        traffic.records as f64 / seconds,
        traffic.bytes as f64 / seconds / 1e6
    )?;
    if traffic.latency.count > 0 {
        writeln!(out, "           from sent  {}", latency(&traffic.latency))?;
        writeln!(out, "           from due   {}", latency(&traffic.latency_corrected))?;
    }
    Ok(())
}

fn latency(latency: &Latency) -> String {
    let Latency { p50_us, p90_us, p99_us, p999_us, max_us, .. } = latency;
    format!("p50 {p50_us:.0} p90 {p90_us:.0} p99 {p99_us:.0} p99.9 {p999_us:.0} max {max_us:.0} µs")
}
