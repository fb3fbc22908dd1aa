//! `tidegate erase`: a person's data is erased by a plan. `plan` makes it of the evidence, for a person to read; `ask` has
//! somebody else approve it, by its SHA-256; `run` follows it through the gateway, as whoever asked and within his
//! grants, and shows what it would do unless it is told to. Each step is in the evidence twice: as what was done at Kafka,
//! and as a step of the approval's story (`tidegate audit show`).
//!
//! Exit code: 0; 1 where a step could not be done; 64 where an argument is wrong.

mod journal;
mod kafka;
mod plan;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;
use tidegate_audit::subject::account::Account;

use self::journal::Journal;
use self::kafka::{Cluster, Found};
use self::plan::{Forgetting, Plan, Step};
use super::api::Server;
use super::question::{Asked, Gateway};
use super::{Failure, audit_subject, credentials};
use crate::control::admin::model::{ApprovalView, Recorded};
use crate::control::admin::requests::{AskErasure, BeginErasure, ErasureStep};
use crate::control::tls;

/// Steps of one plan.
const STEPS_MAX: usize = 100_000;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tidegate erase plan alice@example.com /var/lib/tidegate/evidence --bootstrap gw:9092 \
    --kafka-ca ca.pem --out plan.json\n  tidegate erase ask plan.json --reason 'Art. 17, ticket 4711'\n  \
    tidegate approval approve ap-… --reason 'Checked with the owner'      (somebody else)\n  \
    tidegate erase run plan.json --approval ap-… --bootstrap gw:9092 --kafka-ca ca.pem            (shows what it would do)\n  \
    tidegate erase run plan.json --approval ap-… --bootstrap gw:9092 --kafka-ca ca.pem --execute"
)]
pub(super) struct Erase {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a plan of what evidence says: which records to erase, and how
    Plan(Box<PlanArgs>),
    /// Ask for a plan's approval
    Ask(AskArgs),
    /// Show what a plan would do now, or with --execute do it
    Run(Box<RunArgs>),
}

/// Where Kafka is reached: the gateway's own front door.
#[derive(Debug, Clone, Args)]
struct Front {
    /// Where the gateway listens for clients
    #[arg(long, value_name = "HOST:PORT")]
    bootstrap: String,
    /// The authorities that the listener's certificate is checked against, PEM; without it the listener is plain text
    #[arg(long, value_name = "FILE")]
    kafka_ca: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct PlanArgs {
    /// The value: an e-mail address, a telephone number, an id; `-` reads it from the standard input
    #[arg(value_name = "VALUE")]
    value: String,
    /// The evidence directory, or a copy of it
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Look only for values of this class; may be given several times
    #[arg(long, value_name = "CLASS")]
    class: Vec<String>,
    /// The file of the tags' secrets [default: index.keys in DIR]
    #[arg(long, value_name = "FILE")]
    index_keys: Option<PathBuf>,
    /// Delete this topic's records up to the person's last one, everybody's with them, instead of waiting for their age;
    /// may be given several times
    #[arg(long, value_name = "TOPIC")]
    delete_records: Vec<String>,
    /// Where the plan is written; a plan that is there is not replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    front: Front,
    #[command(flatten)]
    gateway: Gateway,
}

#[derive(Debug, Args)]
struct AskArgs {
    /// The plan
    plan: PathBuf,
    /// Why, for the approver
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The plan
    plan: PathBuf,
    /// The approval, ap-…
    #[arg(long, value_name = "ID")]
    approval: String,
    /// Do it. Without this only what would be done is shown
    #[arg(long)]
    execute: bool,
    #[command(flatten)]
    front: Front,
    #[command(flatten)]
    server: Server,
}

impl Erase {
    pub(super) fn run(&self, out: &mut dyn Write, errors: &mut dyn Write) -> Result<(), Failure> {
        let usage = |error: anyhow::Error| Failure::Usage(vec![format!("{error:#}")]);
        match &self.command {
            Command::Plan(args) => args.run(out, errors).map_err(usage),
            Command::Ask(args) => args.run(out),
            Command::Run(args) => args.run(out),
        }
    }
}

impl Front {
    fn cluster(&self, token_file: Option<&Path>) -> anyhow::Result<Cluster> {
        let tls = self.kafka_ca.as_deref().map(|ca| tls::client(Some(ca), None)).transpose()?;
        Cluster::new(&self.bootstrap, tls, credentials::read_token(token_file)?)
    }
}

impl PlanArgs {
    fn run(&self, out: &mut dyn Write, errors: &mut dyn Write) -> anyhow::Result<()> {
        if self.out.exists() {
            bail!("{} is there already; plans are not replaced, for somebody may have approved it", self.out.display());
        }
        let question = audit_subject::Args {
            value: self.value.clone(),
            dir: self.dir.clone(),
            class: self.class.clone(),
            index_keys: self.index_keys.clone(),
            since: None,
            until: None,
            shard: None,
            output: audit_subject::Output::Json,
            report: None,
            format: audit_subject::ReportFormat::Json,
            out: None,
            prove: None,
            key: Vec::new(),
            no_index: false,
            gateway: self.gateway.clone(),
        };
        let value = audit_subject::value(&question)?;
        let keys = audit_subject::index_keys(&self.dir, self.index_keys.as_deref())?;
        let answer = audit_subject::ask(&question, &value, &keys)?;
        let account = Account::new(&answer);
        let subject = audit_subject::tags_text(&value, &account, &self.class, &keys);
        let asked = Asked {
            question: "erasure plan".to_owned(),
            tags: subject.clone(),
            entries: answer.hits.len() as u64,
            why: self.gateway.why.clone(),
        };
        if let Err(reason) = self.gateway.record(&self.dir, &asked) {
            writeln!(errors, "tidegate: this question is not in the evidence: {reason}")?;
        }
        let mut cluster = self.front.cluster(self.gateway.token_file.as_deref())?;
        let mut topics: BTreeMap<String, Forgetting> = BTreeMap::new();
        for messages in &account.messages {
            if !topics.contains_key(&messages.topic) {
                topics.insert(messages.topic.clone(), cluster.forgetting(&messages.topic)?);
            }
        }
        if let Some(unknown) = self.delete_records.iter().find(|topic| !topics.contains_key(*topic)) {
            bail!("--delete-records {unknown}: nothing of this person was found in that topic");
        }
        let epochs: BTreeSet<u32> = answer.hits.iter().map(|hit| hit.epoch).collect();
        let dir = self.dir.display().to_string();
        let steps = plan::steps(&account, &topics, &self.delete_records, &epochs, &dir);
        if steps.len() > STEPS_MAX {
            bail!("the plan would have {} steps, and may have {STEPS_MAX}", steps.len());
        }
        let plan = Plan {
            version: 1,
            about: "A plan to erase one person's data (Art. 17 GDPR), made by `tidegate erase plan`. Read it, then have it \
                    approved by its SHA-256 (`tidegate erase ask`). Changing it makes it another plan."
                .to_owned(),
            made: audit_subject::now_text(),
            evidence: dir,
            subject,
            not_searched: account.not_searched.clone(),
            steps,
        };
        let text = serde_json::to_string_pretty(&plan)? + "\n";
        std::fs::write(&self.out, text).with_context(|| self.out.display().to_string())?;
        let (plan, digest) = Plan::read(&self.out)?;
        for (index, step) in plan.steps.iter().enumerate() {
            writeln!(out, "{:>5}  {}", index + 1, step.what())?;
        }
        for sentence in &plan.not_searched {
            writeln!(errors, "tidegate: not searched, there may be more: {sentence}")?;
        }
        writeln!(out, "{} steps in {}, sha256:{digest}", plan.steps.len(), self.out.display())?;
        Ok(())
    }
}

/// Reads a plan that something can be done by.
fn read(path: &Path) -> Result<(Plan, String, Vec<String>), Failure> {
    let (plan, digest) = Plan::read(path).map_err(|error| Failure::Usage(vec![format!("{error:#}")]))?;
    let topics = plan.topics();
    if topics.is_empty() {
        return Err(Failure::Usage(vec![format!("{} touches no topic: there is nothing to run", path.display())]));
    }
    Ok((plan, digest, topics))
}

fn written(error: std::io::Error) -> Failure {
    Failure::Refused(vec![error.to_string()])
}

impl AskArgs {
    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let (plan, digest, topics) = read(&self.plan)?;
        let steps = u32::try_from(plan.steps.len()).unwrap_or(u32::MAX);
        let asked = AskErasure { digest, topics, steps, reason: self.reason.clone() };
        let path = ["v1", "erasures"];
        let (approval, json) = self.server.call::<ApprovalView>(&Method::POST, &path, &Value::Null, Some(&asked))?;
        let done = match self.server.output {
            super::api::Output::Json => writeln!(out, "{json}"),
            super::api::Output::Text => writeln!(
                out,
                "{} waits for an approver under {}. Give him the plan; he decides with `tidegate approval approve {}`",
                approval.id, approval.rule, approval.id
            ),
        };
        done.map_err(written)
    }
}

impl RunArgs {
    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let (plan, digest, topics) = read(&self.plan)?;
        let refused = |error: anyhow::Error| Failure::Refused(vec![format!("{error:#}")]);
        let mut cluster = self.front.cluster(self.server.token_file()).map_err(refused)?;
        if !self.execute {
            return self.show(&plan, &digest, &mut cluster, out);
        }
        let mut journal = Journal::open(&self.plan, &self.approval, &digest).map_err(refused)?;
        let begin = BeginErasure { digest, topics, run: journal.run.clone() };
        let path = ["v1", "erasures", &self.approval, "begin"];
        self.server.call::<ApprovalView>(&Method::POST, &path, &Value::Null, Some(&begin))?;
        let mut failed = 0;
        let mut written_for = HashSet::new();
        for (number, step) in (1u32..).zip(&plan.steps) {
            let what = step.what();
            if let Some(outcome) = journal.outcome(number) {
                writeln!(out, "{number:>5}  {what}: {outcome}, in an earlier run").map_err(written)?;
                continue;
            }
            let done = carry_out(step, &mut cluster, &mut written_for);
            let outcome = match &done {
                Ok(outcome) => outcome.clone(),
                Err(error) => format!("failed: {error:#}"),
            };
            // In the evidence first: a step that nobody can see was not taken.
            self.record(&journal.run, number, plan.steps.len(), &what, &outcome)?;
            match done {
                Ok(_) => journal.note(number, &outcome).map_err(refused)?,
                Err(_) => failed += 1,
            }
            writeln!(out, "{number:>5}  {what}: {outcome}").map_err(written)?;
        }
        if failed > 0 {
            let sentence = format!("{failed} steps were not done; mend what is said there and run it again");
            return Err(Failure::Refused(vec![sentence]));
        }
        Ok(())
    }

    fn record(&self, run: &str, step: u32, of: usize, what: &str, outcome: &str) -> Result<(), Failure> {
        let clean = |text: &str| text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
        let of = u32::try_from(of).unwrap_or(u32::MAX);
        let step = ErasureStep { run: run.to_owned(), step, of, what: clean(what), outcome: clean(outcome) };
        let path = ["v1", "erasures", &self.approval, "steps"];
        self.server.call::<Recorded>(&Method::POST, &path, &Value::Null, Some(&step)).map(drop)
    }

    /// Shows what each step would do, and changes nothing.
    fn show(&self, plan: &Plan, digest: &str, cluster: &mut Cluster, out: &mut dyn Write) -> Result<(), Failure> {
        writeln!(out, "The plan sha256:{digest} would do this; nothing is changed without --execute")
            .map_err(written)?;
        let mut failed = 0;
        for (number, step) in (1u32..).zip(&plan.steps) {
            let says = match foresee(step, cluster) {
                Ok(says) => says,
                Err(error) => {
                    failed += 1;
                    format!("could not be done: {error:#}")
                }
            };
            writeln!(out, "{number:>5}  {}: {says}", step.what()).map_err(written)?;
        }
        if failed > 0 {
            return Err(Failure::Refused(vec![format!("{failed} steps could not be done")]));
        }
        Ok(())
    }
}

/// What a step would do now.
fn foresee(step: &Step, cluster: &mut Cluster) -> anyhow::Result<String> {
    match step {
        Step::Tombstone { topic, partition, offset, .. } => match cluster.find(topic, *partition, *offset)? {
            Found::Key(key) => Ok(format!("its key of {} bytes gets a record without a value", key.len())),
            Found::Empty => Ok("it is a tombstone itself".to_owned()),
            Found::Gone => Ok("it is gone already".to_owned()),
            Found::NoKey => bail!("the record has no key: a tombstone cannot name it"),
        },
        Step::DeleteRecords { topic, partition, before, .. } => {
            match cluster.find(topic, *partition, before.saturating_sub(1))? {
                Found::Gone => Ok("they are gone already".to_owned()),
                _ => Ok("they are deleted at once".to_owned()),
            }
        }
        Step::Wait { .. } => Ok("nothing is done".to_owned()),
        Step::Shred { .. } => Ok("by hand, last".to_owned()),
    }
}

/// Does a step; what came of it. Doing it twice does no harm.
fn carry_out(
    step: &Step,
    cluster: &mut Cluster,
    written_for: &mut HashSet<(String, i32, Vec<u8>)>,
) -> anyhow::Result<String> {
    match step {
        Step::Tombstone { topic, partition, offset, .. } => match cluster.find(topic, *partition, *offset)? {
            Found::Key(key) => {
                let place = (topic.clone(), *partition, key);
                if written_for.contains(&place) {
                    return Ok("its key has a tombstone from a step before".to_owned());
                }
                let at = cluster.tombstone(topic, *partition, &place.2)?;
                written_for.insert(place);
                Ok(format!("tombstone at offset {at}"))
            }
            Found::Empty => Ok("it is a tombstone itself".to_owned()),
            Found::Gone => Ok("gone already".to_owned()),
            Found::NoKey => bail!("the record has no key: a tombstone cannot name it"),
        },
        Step::DeleteRecords { topic, partition, before, .. } => {
            let first = cluster.delete_records(topic, *partition, *before)?;
            Ok(format!("deleted; the first offset is {first}"))
        }
        Step::Wait { .. } => Ok("nothing to do but wait".to_owned()),
        Step::Shred { .. } => Ok("to be done by hand".to_owned()),
    }
}
