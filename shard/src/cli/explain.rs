//! `tidegate policy explain`: what a principal would see of sample records, and which rules say so.
//!
//! A line of the sample is a record's value. Nothing is asked of a running gateway: the policy file
//! alone decides, at the time of the call.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::ValueEnum;
use tidegate_core::words::{Direction, Operation, Principal, Resource, Timestamp};
use tidegate_policy::mask::MaskPlan;
use tidegate_policy::snapshot::Snapshot;

use super::scan::{Output, plain};
use crate::control::read_key;

/// Longest record, in bytes.
const RECORD_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What `tidegate policy explain` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The policy file
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// The topic that the records are of
    #[arg(long)]
    topic: String,
    /// Who reads or writes them, by name
    #[arg(long)]
    principal: String,
    /// A group of the principal; may be given several times
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// The issuer that vouches for the principal
    #[arg(long, default_value = "")]
    issuer: String,
    /// Which way the records go
    #[arg(long, value_enum, default_value_t = Way::Fetch)]
    direction: Way,
    /// For people, or a JSON object a record
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Sample records, a line each; `-` is standard input
    #[arg(value_name = "SAMPLE", default_value = "-")]
    sample: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Way {
    /// The principal reads
    Fetch,
    /// The principal writes
    Produce,
}

/// Explains. Returns the exit code: 1 where the principal may not do it at all.
pub fn run(args: &Args, now: Timestamp, out: &mut impl Write, colours: bool) -> anyhow::Result<u8> {
    let name = args.policy.display().to_string();
    let text = std::fs::read_to_string(&args.policy).with_context(|| format!("{name} cannot be read"))?;
    let folder = args.policy.parent().unwrap_or(Path::new(""));
    let snapshot = Snapshot::read_with_keys(&text, &name, 1, &|key| read_key(folder, key)).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!(problems.join("\n"))
    })?;
    let principal = Principal {
        issuer: args.issuer.as_str().into(),
        subject: args.principal.as_str().into(),
        name: args.principal.as_str().into(),
        groups: args.groups.iter().map(|group| group.as_str().into()).collect(),
    };
    let view = snapshot.view(&principal);
    let (operation, direction) = match args.direction {
        Way::Fetch => (Operation::Read, Direction::Fetch),
        Way::Produce => (Operation::Write, Direction::Produce),
    };
    let decision = view.authorise(operation, Resource::topic(&args.topic), now);
    if args.output == Output::Text {
        let (may, why) = if decision.allowed {
            ("may", format!("by grant {} for {}", decision.rule, decision.purpose))
        } else {
            ("may not", decision.rule.to_string())
        };
        writeln!(out, "{} {may} {} {}: {why}", args.principal, operation.name(), args.topic)?;
    }
    if decision.allowed {
        let plan = view.mask(&args.topic, direction).unwrap_or_default();
        let sample: Box<dyn Read> = if args.sample.as_os_str() == "-" {
            Box::new(std::io::stdin())
        } else {
            let name = args.sample.display();
            Box::new(std::fs::File::open(&args.sample).with_context(|| format!("{name} cannot be opened"))?)
        };
        records(BufReader::new(sample), &plan, args.output, out, colours)?;
    }
    Ok(u8::from(!decision.allowed))
}

fn records(
    mut sample: impl BufRead,
    plan: &MaskPlan,
    output: Output,
    out: &mut impl Write,
    colours: bool,
) -> anyhow::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if sample.by_ref().take(RECORD_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let record = line.strip_suffix(b"\n").unwrap_or(&line);
        let mut pass = plan.begin();
        let seen = pass.value(record);
        let unparseable = pass.tally().records_unparseable > 0;
        if output == Output::Json {
            let findings: Vec<serde_json::Value> = pass
                .counts()
                .map(|(entry, count)| {
                    serde_json::json!({
                        "rule": &*entry.rule, "class": entry.class_name(), "field": entry.field(),
                        "operator": entry.outcome(), "count": count,
                    })
                })
                .collect();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let object = match &seen {
                Ok(seen) => serde_json::json!({
                    "seen": text(seen.as_deref().unwrap_or(record)), "changed": seen.is_some(),
                    "unparseable": unparseable, "findings": findings,
                }),
                Err(reason) => serde_json::json!({ "refused": reason, "findings": findings }),
            };
            writeln!(out, "{object}")?;
            continue;
        }
        let (bold, dim, red, reset) =
            if colours { ("\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[0m") } else { ("", "", "", "") };
        match &seen {
            Ok(seen) => writeln!(out, "{bold}{}{reset}", plain(seen.as_deref().unwrap_or(record)))?,
            Err(reason) => writeln!(out, "{red}refused: {reason}{reset}")?,
        }
        if unparseable && seen.is_ok() {
            writeln!(out, "  {red}could not be parsed{reset}")?;
        }
        for (entry, count) in pass.counts() {
            let field = if entry.field().is_empty() { String::new() } else { format!(" in {}", entry.field()) };
            let class = entry.class_name();
            writeln!(out, "  {dim}rule {}:{reset} {} {class}{field} ×{count}", entry.rule, entry.outcome())?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "
version: 1
grants:
  - {name: reading, purpose: Support, groups: [staff], resources: [{topic: t}], operations: [read]}
masks:
  - {name: fields, topics: [t], everyone: true, fields: [{path: $.name, class: person_name}], operator: redact}
  - {name: mail, topics: [t], everyone: true, except: {principals: [boss]}, classes: [email], operator: {keep_last: 4}}
";
    const SAMPLE: &str = "{\"name\":\"Li\",\"m\":\"a@b.cc\"}\n{\"id\":1}\nno json\n";

    fn explained(principal: &str, more: &[&str]) -> (String, u8) {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            args: Args,
        }
        let folder = tempfile::tempdir().unwrap();
        let (policy, sample) = (folder.path().join("policy.yaml"), folder.path().join("sample"));
        std::fs::write(&policy, POLICY).unwrap();
        std::fs::write(&sample, SAMPLE).unwrap();
        let mut args = vec!["explain", "--policy", policy.to_str().unwrap(), "--topic", "t", "--principal", principal];
        args.extend(more);
        args.push(sample.to_str().unwrap());
        let cli = <Cli as clap::Parser>::parse_from(args);
        let mut out = Vec::new();
        let code = run(&cli.args, Timestamp::from_secs(1_800_000_000), &mut out, false).unwrap();
        (String::from_utf8(out).unwrap(), code)
    }

    #[test]
    fn what_a_reader_sees_and_why() {
        let (text, code) = explained("x", &["--group", "staff"]);
        assert_eq!(
            text,
            "x may read t: by grant reading for Support\n\
             {\"name\":\"[person_name]\",\"m\":\"*@*.cc\"}\n  rule fields: redact person_name in $.name ×1\n  \
             rule mail: keep_last email ×1\n\
             {\"id\":1}\nrefused: not JSON: a value expected at byte 0\n"
        );
        assert_eq!(code, 0);
        let (text, _) = explained("boss", &["--group", "staff"]);
        assert!(text.contains("\"m\":\"a@b.cc\"") && text.contains("rule mail: none email ×1"), "{text}");
        assert_eq!(explained("x", &[]), ("x may not read t: no grant\n".to_owned(), 1));
        let (text, _) = explained("x", &["--group", "staff", "--output", "json"]);
        let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(first["changed"], true);
        assert_eq!(first["findings"][0]["rule"], "fields");
    }
}
