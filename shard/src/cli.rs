//! The command line: one binary, a subcommand a task, and the same four exit codes everywhere.
//!
//! Errors go to stderr: what is wrong, where, and what to do about it. Results go to stdout. Colours
//! only on a terminal, and never where `NO_COLOR` is set.
// This is the one place that talks to a terminal.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod api;
mod audit_anchor;
pub mod audit_epoch;
mod audit_export;
pub mod audit_filter;
mod audit_hold;
mod audit_key;
pub mod audit_prove;
pub mod audit_query;
pub mod audit_show;
pub mod audit_subject;
pub mod audit_tail;
pub mod audit_verify;
mod authority;
mod check;
mod client_config;
pub mod credentials;
#[cfg(feature = "demo")]
mod demo;
mod erase;
pub mod explain;
mod login;
mod outline;
#[cfg(test)]
mod parsed;
mod preflight;
mod question;
pub mod report;
pub mod scan;
mod serve;
mod service_account;
mod session;

use std::io::{IsTerminal, stderr, stdout};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tidegate_policy::document::Problem;

const AFTER_HELP: &str = "\
Examples:
  tidegate demo                                    everything in one process, to look around
  tidegate check --config /etc/tidegate/tidegate.yaml
  tidegate serve --config /etc/tidegate/tidegate.yaml
  tidegate check --policy policy.yaml --output json
  tidegate check --schema policy > policy.schema.json
  tidegate scan export.jsonl                       what personal data is in it
  tidegate policy explain --policy policy.yaml --topic orders --principal carol sample.jsonl
  tidegate audit tail -f /var/lib/tidegate/evidence
  tidegate audit query --topic orders --class email --since 24h --output csv /var/lib/tidegate/evidence
  tidegate audit subject alice@example.com /var/lib/tidegate/evidence
  tidegate report article-30 --policy policy.yaml --out record.html /var/lib/tidegate/evidence
  tidegate audit prove 0/4711 /var/lib/tidegate/evidence --out 4711.tlog-proof
  tidegate grant request --topic orders --operation read --for 8h --purpose Planning --reason 'Ticket 4711'
  tidegate approval list --status pending
  tidegate approval approve ap-… --reason 'Agreed with the owner'
  tidegate revoke session 0199… --reason 'Laptop lost' --token-file /var/lib/tidegate/evidence/control/operator.token
  tidegate audit verify --key verifier.key --checkpoint kept.checkpoint /mnt/evidence-copy

Signals of `serve`:
  SIGTERM, SIGINT   drain: no new connections, finish what is in flight, then end
  SIGHUP            reload policy, certificates and secrets (done by itself when they change)

Exit codes:
  0    done
  1    this machine does not let it run (a port is taken, io_uring is missing, …), evidence is damaged,
       `scan --fail` found something, or `policy explain` was asked for what is denied
  64   the command line, the configuration or the policy is wrong
  70   a fault of tidegate itself";

/// A gateway in the data path of Kafka: authenticates, authorises, masks and leaves evidence.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, after_help = AFTER_HELP, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    Serve(serve::Serve),
    /// Check a configuration or policy file, or print the JSON Schema of one
    Check(check::Check),
    /// Show everything in one process: a broker, an identity provider, two users, masking, evidence
    #[cfg(feature = "demo")]
    Demo(demo::Demo),
    /// Find personal data in files: text, JSON lines, CSV, Avro, Parquet
    Scan(scan::Args),
    /// Try a policy
    Policy(Box<Policy>),
    /// Log in with the browser, and keep a token in a file that clients read
    Login(login::Login),
    /// End the login
    Logout(login::Logout),
    /// Print what a stock client's configuration must say
    ClientConfig(client_config::ClientConfig),
    /// Draw a secret for a program, and print the lines that let it in
    ServiceAccount(service_account::ServiceAccount),
    /// Look at the evidence
    Audit(Box<Audit>),
    /// Reports: the record of processing, facts of a breach, who can read what, a person's answer
    Report(Box<Report>),
    /// Erase a person's data from topics, by a plan that somebody else approves
    Erase(Box<erase::Erase>),
    /// Ask for grants, decide on requests for them, end them
    Grant(Box<authority::At<authority::Grant>>),
    /// Questions to approvers: what is asked, and deciding on it
    Approval(Box<authority::At<authority::Approval>>),
    /// End a session, token, grant or principal now
    Revoke(Box<authority::At<authority::Revoke>>),
    /// Open sessions, and recordings: list, show, replay
    Session(Box<session::SessionAt>),
    /// Open something in an emergency, and review what was
    BreakGlass(Box<authority::At<authority::BreakGlass>>),
}

#[derive(Debug, Args)]
struct Policy {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Show what a principal would see of sample records, and which rules say so
    Explain(explain::Args),
}

#[derive(Debug, Args)]
struct Audit {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Args)]
struct Report {
    #[command(subcommand)]
    command: report::Report,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Show evidence as it stands and, with -f, as it grows
    Tail(audit_tail::Args),
    /// Find entries: who read what, when, by which grant, for which purpose
    Query(audit_query::Args),
    /// Tell the story of one approval: who asked, who decided, what came of it
    Show(audit_show::Args),
    /// Verify that evidence is complete and unchanged, from the files alone
    Verify(audit_verify::Args),
    /// Write a proof that an entry is part of the evidence
    Prove(audit_prove::Args),
    /// Find a person's data: which messages, who read them, when, why, and in which form
    Subject(Box<audit_subject::Args>),
    /// Build or check the indexes of subjects
    Index(audit_epoch::IndexArgs),
    /// Show, begin or destroy epochs of the secrets of subjects' tags
    Epoch(audit_epoch::EpochArgs),
    /// Destroy the secret of an epoch, so that nobody can be looked for in it any more
    Shred(audit_epoch::ShredArgs),
    /// Show or replace the key that signs the evidence
    Key(audit_key::Args),
    /// Send entries to a SIEM: OCSF or CloudEvents, each at least once
    Export(audit_export::Args),
    /// Legal holds: evidence that retention must not remove
    Hold(audit_hold::Args),
}

/// Why a command ends other than well.
#[derive(Debug)]
enum Failure {
    /// This machine or something on it does not let it run, a sentence each.
    Refused(Vec<String>),
    /// The configuration or policy is wrong.
    Usage(Vec<String>),
    /// A fault of tidegate itself.
    Fault(String),
    /// All is said already; only the code is left.
    Code(u8),
}

impl Failure {
    fn problems(problems: &[Problem]) -> Self {
        Self::Usage(problems.iter().map(ToString::to_string).collect())
    }

    /// Says what is wrong and returns the exit code.
    fn report(self) -> u8 {
        let (code, sentences) = match self {
            Self::Refused(sentences) => (1, sentences),
            Self::Usage(sentences) => (64, sentences),
            Self::Fault(sentence) => (70, vec![format!("{sentence} (this is a fault of tidegate; please report it)")]),
            Self::Code(code) => (code, Vec::new()),
        };
        let (red, plain) = if colours(&stderr()) { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
        for sentence in sentences {
            eprintln!("{red}error:{plain} {sentence}");
        }
        code
    }
}

/// Whether colours may be written to `stream`.
fn colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; a terminal that went away is nobody's.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    // reqwest and whatever else looks for the process' provider finds the one that is used throughout.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let done = match cli.command {
        Command::Serve(serve) => serve.run(),
        Command::Check(check) => check.run(),
        #[cfg(feature = "demo")]
        Command::Demo(demo) => demo.run(),
        Command::Scan(args) => {
            let out = stdout();
            let colours = colours(&out);
            coded(scan::run(&args, &mut out.lock(), colours))
        }
        Command::Policy(part) => {
            let PolicyCommand::Explain(args) = &part.command;
            let out = stdout();
            let colours = colours(&out);
            coded(explain::run(args, now(), &mut out.lock(), colours))
        }
        Command::Login(login) => login.run(),
        Command::Logout(logout) => logout.run(),
        Command::ClientConfig(config) => config.run(),
        Command::ServiceAccount(account) => account.run(),
        Command::Audit(part) => audit(&part.command),
        Command::Report(part) => coded(report::run(&part.command, &mut stdout().lock(), &mut stderr().lock())),
        Command::Erase(erase) => erase.run(&mut stdout().lock(), &mut stderr().lock()),
        Command::Grant(at) => at.run(),
        Command::Approval(at) => at.run(),
        Command::Revoke(at) => at.run(),
        Command::Session(at) => at.run(),
        Command::BreakGlass(at) => at.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => ExitCode::from(failure.report()),
    }
}

fn audit(command: &AuditCommand) -> Result<(), Failure> {
    match command {
        AuditCommand::Tail(args) => tail(args),
        AuditCommand::Query(args) => {
            let out = stdout();
            let colours = colours(&out);
            coded(audit_query::run(args, &mut out.lock(), &mut stderr().lock(), colours))
        }
        AuditCommand::Show(args) => coded(audit_show::run(args, &mut stdout().lock(), &mut stderr().lock())),
        AuditCommand::Prove(args) => coded(audit_prove::run(args, &mut stdout().lock(), &mut stderr().lock())),
        AuditCommand::Subject(args) => coded(audit_subject::run(args, &mut stdout().lock(), &mut stderr().lock())),
        AuditCommand::Index(args) => coded(audit_epoch::run_index(args, &mut stdout().lock())),
        AuditCommand::Epoch(args) => coded(audit_epoch::run_epoch(args, &mut stdout().lock(), &mut stderr().lock())),
        AuditCommand::Shred(args) => coded(audit_epoch::run_shred(args, &mut stdout().lock(), &mut stderr().lock())),
        AuditCommand::Key(args) => coded(audit_key::run(args, now(), &mut stdout().lock())),
        AuditCommand::Export(args) => coded(audit_export::run(args, &mut stdout().lock(), &mut stderr().lock())),
        AuditCommand::Hold(args) => coded(audit_hold::run(args, now(), &mut stdout().lock())),
        AuditCommand::Verify(args) => coded(audit_verify::run(args, &mut stdout().lock())),
    }
}

fn now() -> tidegate_core::words::Timestamp {
    tidegate_core::words::Timestamp(jiff::Timestamp::now().as_microsecond())
}

/// The end of a command whose errors are those of its arguments, files named there included.
fn coded(done: anyhow::Result<u8>) -> Result<(), Failure> {
    match done {
        Ok(0) => Ok(()),
        Ok(code) => Err(Failure::Code(code)),
        Err(error) => Err(Failure::Usage(vec![format!("{error:#}")])),
    }
}

fn tail(args: &audit_tail::Args) -> Result<(), Failure> {
    let out = stdout();
    let colours = colours(&out);
    match audit_tail::run(args, &mut out.lock(), colours) {
        Ok(0) => Ok(()),
        Ok(code) => Err(Failure::Code(u8::try_from(code).unwrap_or(1))),
        Err(error) => Err(Failure::Refused(vec![format!("{error:#}")])),
    }
}
