//! `tidegate report`: the record of processing (Art. 30), facts for a breach notification (Art. 33), who can
//! read what now, and a person's answer (Art. 15). As a page that prints, Markdown or JSON.
//!
//! Exit code: 0; 1 where evidence is damaged or could not be searched, or where `article-30 --fail-on-drift`
//! found drift; 64 where an argument is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::{Subcommand, ValueEnum};
use jiff::Timestamp;
use reqwest::Method;
use tidegate_audit::query::{Indexes, Query};
use tidegate_audit::report::Document;
use tidegate_audit::report::access::{self, Grant, Right};
use tidegate_audit::report::breach;
use tidegate_audit::report::observed::Observed;
use tidegate_audit::report::processing::{self, Activity, Declared, Recipient, Side, drift};
use tidegate_core::words::{Direction, Operation, Principal, Resource};
use tidegate_policy::document;
use tidegate_policy::file::{GrantRule, Identity, NameRule, OperationRule, PartyRule, PolicyFile, ProcessingRule};
use tidegate_policy::snapshot::Snapshot;

use super::Failure;
use super::api::Server;
use super::audit_filter::parse_time;
use super::audit_subject::{self, ReportFormat, now_text, period, write_out};
use crate::control::admin::model::{GrantView, Page, resource_text};
use crate::control::read_key;

/// Principals and topics that the access report multiplies, at most.
const RIGHTS_MAX: usize = 20_000;

/// Which report.
#[derive(Debug, Subcommand)]
pub enum Report {
    /// The record of processing activities: declared in the policy, seen in evidence, and where they differ
    #[command(name = "article-30")]
    Article30(Article30),
    /// What evidence knows for the notification of a breach: subjects, records, who read them
    Breach(Breach),
    /// Who can read what right now, and by which grant
    Access(Access),
    /// A person's answer (Art. 15); as `tidegate audit subject --report subject`
    Subject(Box<audit_subject::Args>),
}

/// How a report is written, and over which time.
#[derive(Debug, Clone, clap::Args)]
pub struct Common {
    /// The evidence directory, or a copy of it
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// How it is written
    #[arg(long, value_enum, default_value_t = ReportFormat::Html)]
    format: ReportFormat,
    /// Where to write; by default to the standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Not earlier than this: 2026-11-24T08:00:00Z, 2026-11-24 (UTC), or how long ago, as 90m or 2h
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<Timestamp>,
    /// Earlier than this
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<Timestamp>,
    /// Read every segment instead of trusting the indexes beside them
    #[arg(long)]
    no_index: bool,
}

/// Arguments of the record of processing.
#[derive(Debug, Clone, clap::Args)]
pub struct Article30 {
    /// How.
    #[command(flatten)]
    common: Common,
    /// The policy file, whose section `processing` declares what is done
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Whose record: Art. 30(1) or 30(2)
    #[arg(long, value_enum, default_value_t = Form::Controller)]
    form: Form,
    /// End with 1 where something was seen that is not declared
    #[arg(long)]
    fail_on_drift: bool,
}

/// Whose record it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// The controller's, Art. 30(1)
    Controller,
    /// The processor's, Art. 30(2)
    Processor,
}

/// Arguments of the breach report.
#[derive(Debug, Clone, clap::Args)]
pub struct Breach {
    /// How.
    #[command(flatten)]
    common: Common,
    /// This topic; a `*` at the end matches any rest; may be given several times [default: all]
    #[arg(long, value_name = "TOPIC")]
    topic: Vec<String>,
    /// Only what this principal did; may be given several times [default: everybody]
    #[arg(long, value_name = "NAME")]
    principal: Vec<String>,
}

/// Arguments of the access report.
#[derive(Debug, Clone, clap::Args)]
pub struct Access {
    /// How.
    #[command(flatten)]
    common: Common,
    /// The policy file
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Ask this gateway for run-time grants (its control address)
    #[arg(long, value_name = "URL", env = "TIDEGATE_SERVER")]
    gateway: Option<String>,
    /// The file with the token to show it [default: the one of `tidegate login`]
    #[arg(long, value_name = "FILE", requires = "gateway")]
    token_file: Option<PathBuf>,
    /// Certificate authorities for the gateway's certificate, PEM [default: the system's]
    #[arg(long, value_name = "FILE", requires = "gateway")]
    ca_file: Option<PathBuf>,
}

/// Runs a report and returns its exit code.
///
/// # Errors
/// An argument is wrong, or a file cannot be read or written.
pub fn run(report: &Report, out: &mut dyn Write, errors: &mut dyn Write) -> anyhow::Result<u8> {
    match report {
        Report::Article30(args) => article_30(args, out),
        Report::Breach(args) => breach_report(args, out),
        Report::Access(args) => access_report(args, out),
        Report::Subject(args) => {
            let report = args.report.or(Some(audit_subject::Report::Subject));
            audit_subject::run(&audit_subject::Args { report, ..(**args).clone() }, out, errors)
        }
    }
}

impl Common {
    fn observed(&self, query: Query) -> anyhow::Result<Observed> {
        let query = Query {
            from_micros: self.since.map(Timestamp::as_microsecond),
            until_micros: self.until.map(Timestamp::as_microsecond),
            ..query
        };
        let indexes = if self.no_index { Indexes::Ignore } else { Indexes::Build };
        Observed::read(&self.dir, query, indexes)
            .with_context(|| format!("cannot read the evidence in {}", self.dir.display()))
    }

    fn write(&self, document: &Document, out: &mut dyn Write) -> anyhow::Result<()> {
        write_out(self.out.as_deref(), &document.write(self.format.into()), out)
    }
}

fn article_30(args: &Article30, out: &mut dyn Write) -> anyhow::Result<u8> {
    let declared = declared(policy(&args.policy)?.processing.unwrap_or_default());
    let observed = args.common.observed(Query::default())?;
    let side = match args.form {
        Form::Controller => Side::Controller,
        Form::Processor => Side::Processor,
    };
    let basis = processing::Basis {
        period: format!("{} ({})", period(args.common.since, args.common.until), observed.period()),
        evidence: args.common.dir.display().to_string(),
        policy: args.policy.display().to_string(),
        made: now_text(),
    };
    args.common.write(&processing::report(&declared, &observed, side, &basis), out)?;
    let drifts = args.fail_on_drift && drift(&declared, &observed).iter().any(|drift| drift.kind != "never seen");
    Ok(u8::from(drifts || !observed.damaged.is_empty()))
}

fn breach_report(args: &Breach, out: &mut dyn Write) -> anyhow::Result<u8> {
    let query = Query { topics: args.topic.clone(), principals: args.principal.clone(), ..Query::default() };
    let observed = args.common.observed(query)?;
    let mut command = format!("tidegate audit query {} --output csv", args.common.dir.display());
    args.topic.iter().for_each(|topic| command.push_str(&format!(" --topic {topic}")));
    args.principal.iter().for_each(|name| command.push_str(&format!(" --principal {name}")));
    for (option, time) in [("since", args.common.since), ("until", args.common.until)] {
        time.iter().for_each(|time| command.push_str(&format!(" --{option} {time:.0}")));
    }
    let basis = breach::Basis {
        period: period(args.common.since, args.common.until),
        topics: args.topic.clone(),
        evidence: args.common.dir.display().to_string(),
        made: now_text(),
        command,
    };
    args.common.write(&breach::report(&observed, &basis), out)?;
    Ok(u8::from(!observed.damaged.is_empty()))
}

fn access_report(args: &Access, out: &mut dyn Write) -> anyhow::Result<u8> {
    let observed = args.common.observed(Query::default())?;
    let file = policy(&args.policy)?;
    let now = Timestamp::now();
    let mut grants: Vec<Grant> = file.grants.iter().map(|rule| of_file(rule, now)).collect();
    let run_time = match run_time_grants(args) {
        Ok(found) => {
            grants.extend(found);
            format!("as {} says", args.gateway.as_deref().unwrap_or_default())
        }
        Err(why) => format!("not asked for: {why}"),
    };
    let basis = access::Basis {
        policy: args.policy.display().to_string(),
        at: format!("{now:.0}"),
        evidence: format!("those that the evidence in {} names: {}", args.common.dir.display(), observed.period()),
        run_time,
    };
    let rights = rights(&args.policy, &observed, now)?;
    args.common.write(&access::report(&grants, &rights, &basis), out)?;
    Ok(u8::from(!observed.damaged.is_empty()))
}

fn read(path: &Path) -> anyhow::Result<(String, String)> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| format!("{name} cannot be read"))?;
    Ok((text, name))
}

fn sentences(problems: Vec<document::Problem>) -> anyhow::Error {
    anyhow!(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

fn policy(path: &Path) -> anyhow::Result<PolicyFile> {
    let (text, name) = read(path)?;
    document::parse::<PolicyFile>(&text, &name).map(|parsed| parsed.value).map_err(sentences)
}

/// Which of the principals that evidence has seen may read which of the topics it has seen.
fn rights(path: &Path, observed: &Observed, now: Timestamp) -> anyhow::Result<Vec<Right>> {
    let (text, name) = read(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let snapshot = Snapshot::read_with_keys(&text, &name, 1, &|key| read_key(folder, key)).map_err(sentences)?;
    let mut people: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    let mut topics: BTreeSet<&str> = BTreeSet::new();
    for (line, sum) in &observed.lines {
        topics.insert(&line.topic);
        people.entry((&line.principal, &line.issuer)).or_default().extend(sum.groups.iter().map(String::as_str));
    }
    let now = tidegate_core::words::Timestamp(now.as_microsecond());
    let mut rights = Vec::new();
    for ((name, issuer), groups) in &people {
        let principal = Principal {
            issuer: (*issuer).into(),
            subject: (*name).into(),
            name: (*name).into(),
            groups: groups.iter().map(|group| (*group).into()).collect(),
        };
        let view = snapshot.view(&principal);
        for topic in &topics {
            let decision = view.authorise(Operation::Read, Resource::topic(topic), now);
            if !decision.allowed || rights.len() >= RIGHTS_MAX {
                continue;
            }
            let (mut masked, mut in_clear) = (BTreeSet::new(), BTreeSet::new());
            for entry in view.mask(topic, Direction::Fetch).iter().flat_map(|plan| plan.entries()) {
                let what = format!("{} ({})", entry.class_name(), entry.outcome());
                if entry.masks() {
                    masked.insert(what)
                } else {
                    in_clear.insert(what)
                };
            }
            rights.push(Right {
                principal: (*name).to_owned(),
                groups: groups.iter().map(|group| (*group).to_owned()).collect(),
                topic: (*topic).to_owned(),
                grant: decision.rule.to_string(),
                purpose: decision.purpose.to_string(),
                masked: masked.into_iter().collect(),
                in_clear: in_clear.into_iter().collect(),
            });
        }
    }
    Ok(rights)
}

/// A part of a rule as it would be written.
fn written(part: &impl serde::Serialize) -> String {
    match serde_json::to_value(part) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

fn identity(prefix: &str, identity: &Identity) -> String {
    match identity {
        Identity::Name(name) => format!("{prefix}{name}"),
        Identity::Qualified(who) => format!("{prefix}{} of {}", who.name, who.issuer),
    }
}

fn operations(rules: &[OperationRule]) -> Vec<String> {
    rules.iter().map(written).collect()
}

fn of_file(rule: &GrantRule, now: Timestamp) -> Grant {
    let mut who: Vec<String> = rule.principals.iter().map(|name| identity("", name)).collect();
    who.extend(rule.groups.iter().map(|name| identity("group ", name)));
    who.extend(rule.everyone.then(|| "everyone".to_owned()));
    let text = |moment: &Option<_>| moment.as_ref().map(written);
    let (from, until) = (text(&rule.not_before), text(&rule.not_after));
    let time = |text: &Option<String>| text.as_ref().and_then(|text| parse_time(text).ok());
    let status = match (time(&from), time(&until)) {
        (_, Some(until)) if until <= now => "ended",
        (Some(from), _) if from > now => "not yet",
        _ if !rule.windows.is_empty() => "in force within its windows",
        _ => "in force",
    };
    let mut when: Vec<String> = Vec::new();
    when.extend(from.map(|from| format!("from {from}")));
    when.extend(until.map(|until| format!("until {until}")));
    when.extend(rule.windows.iter().map(|window| {
        let days = window
            .days
            .as_ref()
            .map_or("every day".to_owned(), |days| days.iter().map(written).collect::<Vec<_>>().join(", "));
        format!("{}–{} {} {days}", written(&window.from), written(&window.to), written(&window.timezone))
    }));
    Grant {
        name: rule.name.clone(),
        from: "policy file".to_owned(),
        who,
        resources: rule.resources.iter().map(resource_text).collect(),
        operations: operations(&rule.operations),
        purpose: rule.purpose.clone(),
        when: if when.is_empty() { "always".to_owned() } else { when.join("; ") },
        status: status.to_owned(),
    }
}

fn run_time_grants(args: &Access) -> Result<Vec<Grant>, String> {
    let Some(gateway) = &args.gateway else { return Err("no --gateway was given".to_owned()) };
    let server = Server::at(gateway.clone(), args.token_file.clone(), args.ca_file.clone());
    let query = serde_json::json!({ "limit": 500 });
    let page = server.call::<Page<GrantView>>(&Method::GET, &["v1", "grants"], &query, None::<&()>);
    let (page, _) = page.map_err(|failure| match failure {
        Failure::Refused(sentences) | Failure::Usage(sentences) => sentences.join("; "),
        Failure::Fault(sentence) => sentence,
        Failure::Code(code) => format!("it ended with {code}"),
    })?;
    if page.next.is_some() {
        return Err("there are more than 500; see `tidegate grant list`".to_owned());
    }
    let grant = |view: GrantView| Grant {
        name: view.id,
        from: if view.break_glass { "emergency".to_owned() } else { format!("run time, rule {}", view.rule) },
        who: vec![format!("{} of {}", view.principal.name, view.principal.issuer)],
        resources: view.resources.iter().map(resource_text).collect(),
        operations: operations(&view.operations),
        purpose: view.purpose,
        when: format!("{} – {}", view.not_before, view.not_after),
        status: written(&view.status),
    };
    Ok(page.items.into_iter().map(grant).collect())
}

fn party(rule: Option<&PartyRule>) -> String {
    rule.map(PartyRule::text).unwrap_or_default()
}

fn name(rule: &NameRule) -> String {
    match rule {
        NameRule::Literal(name) => name.clone(),
        NameRule::Prefixed(rule) => format!("{}*", rule.prefix),
    }
}

fn declared(rule: ProcessingRule) -> Declared {
    let activities = rule.activities.into_iter().map(|activity| Activity {
        on_behalf_of: party(activity.on_behalf_of.as_ref()),
        topics: activity.topics.iter().map(name).collect(),
        legal_basis: activity.legal_basis.unwrap_or_default(),
        recipients: activity
            .recipients
            .into_iter()
            .map(|recipient| Recipient {
                name: recipient.name,
                principals: recipient.principals,
                groups: recipient.groups,
                country: recipient.country.unwrap_or_default(),
            })
            .collect(),
        transfers: activity
            .transfers
            .into_iter()
            .map(|transfer| match transfer.safeguard {
                Some(safeguard) => format!("{}: {safeguard}", transfer.country),
                None => format!("{}: no safeguard is declared", transfer.country),
            })
            .collect(),
        retention: activity.retention.unwrap_or_default(),
        name: activity.name,
        purposes: activity.purposes,
        subjects: activity.subjects,
        classes: activity.classes,
    });
    Declared {
        controller: party(rule.controller.as_ref()),
        joint_controllers: rule.joint_controllers.iter().map(PartyRule::text).collect(),
        representative: party(rule.representative.as_ref()),
        dpo: party(rule.dpo.as_ref()),
        processor: party(rule.processor.as_ref()),
        security: rule.security,
        activities: activities.collect(),
    }
}

#[cfg(test)]
mod tests;
