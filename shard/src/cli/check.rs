//! `tidegate check`: finds everything that is wrong with a configuration and its policy, and binds
//! nothing. The same checks as at the start of `serve`, so what passes here starts there.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::Serialize;
use tidegate_policy::document::{self, Problem};
use tidegate_policy::file::PolicyFile;
use tidegate_policy::snapshot::Snapshot;

use super::Failure;
use crate::config::Config;
use crate::control::{PrepareError, ReportedProblem, prepare, read_key};

/// What `tidegate check` takes.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true).args(["config", "policy", "schema"])))]
pub(super) struct Check {
    /// The gateway's configuration; its policy, certificates, keys and secrets are checked with it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A policy file, instead of or beside the one that the configuration names
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Print the JSON Schema of a file, for editors, and check nothing
    #[arg(long, value_enum, conflicts_with_all = ["config", "policy", "output"])]
    schema: Option<Schema>,
    /// Sentences, or one JSON object
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Schema {
    /// Of the gateway's configuration
    Config,
    /// Of the policy
    Policy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Sentences
    Text,
    /// One JSON object
    Json,
}

/// What was found.
#[derive(Debug, Default, Serialize)]
struct Findings {
    ok: bool,
    problems: Vec<ReportedProblem>,
    /// Wrong beyond a line of a file: a certificate, a key, a secret.
    files: Vec<String>,
    warnings: Vec<String>,
    #[serde(skip)]
    sentences: Vec<String>,
    #[serde(skip)]
    good: Vec<String>,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Failure> {
        if let Some(schema) = self.schema {
            let schema = match schema {
                Schema::Config => Config::schema(),
                Schema::Policy => document::schema::<PolicyFile>(),
            };
            println!("{schema:#}");
            return Ok(());
        }
        let mut findings = Findings::default();
        if let Some(file) = &self.config {
            findings.config(file);
        }
        if let Some(file) = &self.policy {
            findings.policy(file);
        }
        findings.ok = findings.sentences.is_empty();
        findings.tell(self.output)
    }
}

impl Findings {
    fn config(&mut self, file: &Path) {
        let config = match Config::load(file) {
            Ok(config) => config,
            Err(problems) => return self.wrong(&problems),
        };
        self.warnings.extend(config.warnings.iter().cloned());
        match prepare(&config) {
            Ok(_) => self.good.push(format!("{}: good", file.display())),
            Err(PrepareError::Policy(problems)) => self.wrong(&problems),
            Err(PrepareError::Files(sentences)) => {
                self.files.extend(sentences.iter().cloned());
                self.sentences.extend(sentences);
            }
        }
    }

    fn policy(&mut self, file: &Path) {
        let name = file.display().to_string();
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) => {
                let sentence = format!("{name} cannot be read: {error}");
                self.files.push(sentence.clone());
                return self.sentences.push(sentence);
            }
        };
        let folder = file.parent().unwrap_or(Path::new(""));
        match Snapshot::read_with_keys(&text, &name, 1, &|key| read_key(folder, key)) {
            Ok(snapshot) => {
                let (grants, masks) = snapshot.counts();
                self.good
                    .push(format!("{name}: good; {grants} grants, {masks} mask rules, {}", snapshot.fingerprint()));
            }
            Err(problems) => self.wrong(&problems),
        }
    }

    fn wrong(&mut self, problems: &[Problem]) {
        self.sentences.extend(problems.iter().map(ToString::to_string));
        self.problems.extend(problems.iter().map(ReportedProblem::from));
    }

    fn tell(self, output: Output) -> Result<(), Failure> {
        if output == Output::Json {
            let text = serde_json::to_string_pretty(&self).map_err(|error| Failure::Fault(error.to_string()))?;
            println!("{text}");
            return if self.ok { Ok(()) } else { Err(Failure::Code(64)) };
        }
        for warning in &self.warnings {
            eprintln!("warning: {warning}");
        }
        for good in &self.good {
            println!("{good}");
        }
        if self.ok { Ok(()) } else { Err(Failure::Usage(self.sentences)) }
    }
}
