//! `tidegate policy explain`: what a principal would see of sample records, and which rules say so.
//!
//! A record of the sample is a record's value; records in a schema registry's framing are shown by the
//! paths of their values. Nothing is asked of a running gateway: the policy file alone decides, at the
//! time of the call.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::ValueEnum;
use tidegate_core::words::{Direction, Operation, Principal, Resource, Timestamp};
use tidegate_policy::mask::schema::ValueAt;
use tidegate_policy::mask::{MaskEntry, MaskPass, MaskPlan};
use tidegate_policy::snapshot::Snapshot;

use super::outline;
use super::scan::{Output, plain};
use crate::control::read_key;

mod sample;
mod schemas;

use sample::{Form, Sample};
use schemas::Source;

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
    /// Read records in a schema registry's framing by this schema (.avsc, .proto or .json), whatever its
    /// number
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    schema: Option<PathBuf>,
    /// A schema that it refers to; may be given several times, each after those that it refers to itself
    #[arg(long = "reference", value_name = "NAME=FILE", requires = "schema")]
    references: Vec<String>,
    /// Ask the schema registry that this configuration names
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How records stand in the sample
    #[arg(long, value_enum, default_value_t = Form::Lines)]
    form: Form,
    /// For people, or a JSON object a record
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Sample records; `-` is standard input
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
        let schemas = match (&args.schema, &args.config) {
            (Some(file), _) => Source::file(file, &args.references)?,
            (None, Some(config)) => Source::registry(config)?,
            (None, None) => Source::None,
        };
        let sample: Box<dyn Read> = if args.sample.as_os_str() == "-" {
            Box::new(std::io::stdin())
        } else {
            let name = args.sample.display();
            Box::new(std::fs::File::open(&args.sample).with_context(|| format!("{name} cannot be opened"))?)
        };
        let sample = Sample::new(BufReader::new(sample), args.form);
        records(sample, (&plan, &schemas), args.output, out, colours)?;
    }
    Ok(u8::from(!decision.allowed))
}

fn records(
    mut sample: Sample<impl BufRead>,
    (plan, schemas): (&MaskPlan, &Source),
    output: Output,
    out: &mut impl Write,
    colours: bool,
) -> anyhow::Result<()> {
    while let Some(record) = sample.next()? {
        let mut pass = plan.begin().with_schemas(schemas);
        let seen = pass.value(&record);
        let schema = if plan.reads_framing() { schemas.of(&record) } else { None };
        let values = |bytes: &[u8]| schema.as_ref().and_then(|(schema, from)| schema.values(bytes, *from).ok()?);
        let shown = Shown {
            unparseable: pass.tally().records_unparseable > 0,
            values: seen.as_ref().ok().and_then(|seen| values(seen.as_deref().unwrap_or(&record))),
            findings: findings(&pass, &values(&record).or_else(|| outline::of_json(&record)).unwrap_or_default()),
            record: &record,
            seen,
        };
        match output {
            Output::Json => shown.json(out)?,
            Output::Text => shown.text(out, colours)?,
        }
    }
    Ok(())
}

/// What becomes of a record, and why.
struct Shown<'a> {
    record: &'a [u8],
    /// What the reader gets; `None` the record as it is.
    seen: Result<Option<Vec<u8>>, String>,
    /// The values of that, where a schema describes it.
    values: Option<Vec<ValueAt>>,
    unparseable: bool,
    findings: Vec<Explained<'a>>,
}

/// Why a part of a record is what it is.
struct Explained<'a> {
    entry: &'a MaskEntry,
    /// Where; empty where that is not known.
    path: String,
    count: u64,
}

/// What was found, by rule and path.
fn findings<'a>(pass: &MaskPass<'a>, values: &[ValueAt]) -> Vec<Explained<'a>> {
    let mut findings: Vec<Explained<'_>> = Vec::new();
    for (span, entry) in pass.places() {
        let path = outline::value_at(values, &span).map_or("", |value| &value.path);
        match findings.iter_mut().find(|known| std::ptr::eq(known.entry, entry) && known.path == path) {
            Some(known) => known.count += 1,
            None => findings.push(Explained { entry, path: path.to_owned(), count: 1 }),
        }
    }
    // What observes beside what decides, and what is in a field that changes whole, has no place.
    for (entry, count) in pass.counts() {
        let placed = findings.iter().filter(|known| std::ptr::eq(known.entry, entry)).map(|known| known.count).sum();
        if count > placed {
            findings.push(Explained { entry, path: String::new(), count: count - placed });
        }
    }
    findings
}

impl Shown<'_> {
    fn json(&self, out: &mut impl Write) -> anyhow::Result<()> {
        let findings: Vec<serde_json::Value> = self
            .findings
            .iter()
            .map(|Explained { entry, path, count }| {
                serde_json::json!({
                    "rule": &*entry.rule, "class": entry.class_name(), "field": entry.field(), "path": path,
                    "operator": entry.outcome(), "count": count,
                })
            })
            .collect();
        let object = match &self.seen {
            Ok(seen) => {
                let bytes = seen.as_deref().unwrap_or(self.record);
                let text = match &self.values {
                    Some(values) => values
                        .iter()
                        .map(|value| serde_json::json!({ "path": value.path, "value": value.text }))
                        .collect(),
                    None => serde_json::Value::from(String::from_utf8_lossy(bytes)),
                };
                serde_json::json!({
                    "seen": text, "changed": seen.is_some(), "unparseable": self.unparseable, "findings": findings,
                })
            }
            Err(reason) => serde_json::json!({ "refused": reason, "findings": findings }),
        };
        writeln!(out, "{object}")?;
        Ok(())
    }

    fn text(&self, out: &mut impl Write, colours: bool) -> anyhow::Result<()> {
        let (bold, dim, red, reset) =
            if colours { ("\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[0m") } else { ("", "", "", "") };
        match (&self.seen, &self.values) {
            (Ok(_), Some(values)) => {
                for value in values {
                    writeln!(out, "{dim}{}{reset} {bold}{}{reset}", value.path, plain(value.text.as_bytes()))?;
                }
            }
            (Ok(seen), None) => writeln!(out, "{bold}{}{reset}", plain(seen.as_deref().unwrap_or(self.record)))?,
            (Err(reason), _) => writeln!(out, "{red}refused: {reason}{reset}")?,
        }
        if self.unparseable && self.seen.is_ok() {
            writeln!(out, "  {red}could not be parsed{reset}")?;
        }
        for Explained { entry, path, count } in &self.findings {
            let (outcome, class) = (entry.outcome(), entry.class_name());
            let by = if entry.field().is_empty() { String::new() } else { format!(" by {}", entry.field()) };
            let at = if path.is_empty() { String::new() } else { format!(" at {path}") };
            writeln!(out, "  {dim}rule {}:{reset} {outcome} {class}{at}{by} ×{count}", entry.rule)?;
        }
        Ok(())
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
             {\"name\":\"[person_name]\",\"m\":\"*@*.cc\"}\n  \
             rule fields: redact person_name at $.name by $.name ×1\n  rule mail: keep_last email at $.m ×1\n\
             {\"id\":1}\nrefused: not JSON: a value expected at byte 0\n"
        );
        assert_eq!(code, 0);
        let (text, _) = explained("boss", &["--group", "staff"]);
        assert!(text.contains("\"m\":\"a@b.cc\"") && text.contains("rule mail: none email at $.m ×1"), "{text}");
        assert_eq!(explained("x", &[]), ("x may not read t: no grant\n".to_owned(), 1));
        let (text, _) = explained("x", &["--group", "staff", "--output", "json"]);
        let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(first["changed"], true);
        assert_eq!(first["findings"][0]["rule"], "fields");
        assert_eq!(first["findings"][1]["path"], "$.m");
    }

    #[test]
    fn records_with_a_schema_are_shown_by_path() {
        let policy = "
version: 1
grants:
  - {name: reading, purpose: Support, principals: [x], resources: [{topic: t}], operations: [read]}
masks:
  - {name: tagged, topics: [t], everyone: true, schema_registry: true, fields: [{tag: PII}], operator: nullify}
  - {name: mail, topics: [t], everyone: true, schema_registry: true, classes: [email], operator: redact}
";
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let file = folder.path().join(name);
            std::fs::write(&file, content).unwrap();
            file.to_str().unwrap().to_owned()
        };
        let policy = file("policy.yaml", policy.as_bytes());
        let avro = file(
            "c.avsc",
            br#"{"type":"record","name":"C","fields":[{"name":"name","type":["null","string"],"confluent:tags":["PII"]},
                {"name":"to","type":{"type":"array","items":"string"}}]}"#,
        );
        let proto = file(
            "c.proto",
            br#"syntax = "proto3"; import "confluent/meta.proto"; import "d.proto";
                message C { string name = 1 [(confluent.field_meta).tags = "PII"]; D to = 2; }"#,
        );
        let reference = file("d.proto", br#"syntax = "proto3"; message D { repeated string to = 1; }"#);
        // {"name": "Li", "to": ["x", "a@b.cc"]}, then a message that is cut off.
        let of_avro = file("avro", b"00000000070204 4c69 04 0278 0c6140622e6363 00\n0000000007 02\n".as_slice());
        let of_proto = file("proto", b"0000000007 00 0a024c69 120b 0a0178 0a066140622e6363\n");
        let explained = |schema: &str, sample: &str, more: &[&str]| {
            #[derive(clap::Parser)]
            struct Cli {
                #[command(flatten)]
                args: Args,
            }
            let digits = std::fs::read_to_string(sample).unwrap().replace(' ', "");
            std::fs::write(sample, digits).unwrap();
            let given = ["explain", "--policy", &policy, "--topic", "t", "--principal", "x", "--form", "hex"];
            let cli = <Cli as clap::Parser>::parse_from([&given[..], &["--schema", schema], more, &[sample]].concat());
            let mut out = Vec::new();
            run(&cli.args, Timestamp::from_secs(1_800_000_000), &mut out, false).unwrap();
            String::from_utf8(out).unwrap()
        };
        let why = "  rule tagged: nullify field at $.name by tag PII ×1\n  rule mail: redact email at $.to";
        assert_eq!(
            explained(&avro, &of_avro, &[]),
            format!(
                "x may read t: by grant reading for Support\n$.to[0] x\n$.to[1] [email]\n{why}[1] ×1\n\
                 refused: not encoded by its schema: a string expected at byte 6\n"
            )
        );
        let text = explained(&proto, &of_proto, &["--reference", &format!("d.proto={reference}")]);
        assert!(text.ends_with(&format!("$.to.to[0] x\n$.to.to[1] [email]\n{why}.to[1] ×1\n")), "{text}");
        let json = explained(&avro, &of_avro, &["--output", "json"]);
        let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
        assert_eq!(first["seen"][1], serde_json::json!({"path": "$.to[1]", "value": "[email]"}));
        assert_eq!(first["findings"][0]["path"], "$.name");
    }
}
