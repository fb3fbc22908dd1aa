//! `tidegate audit subject`: which messages held a person's data, who got it, when and why, and what was
//! masked; as a table, as data, or as a report for those who answer or for the person.
//!
//! Reads evidence and the file of secrets only, so it works beside a running gateway or on a copy. The
//! question itself is put into a running gateway's evidence where one can be reached; where not, the
//! answer says so.
//!
//! Exit code: 0; 1 where a part of the evidence could not be searched; 64 where an argument is wrong.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use jiff::Timestamp;
use tidegate_audit::prove::prove;
use tidegate_audit::query::Indexes;
use tidegate_audit::report::Format;
use tidegate_audit::report::subject::{Basis, for_subject, internal};
use tidegate_audit::subject::account::{Access, Account, ranges_text};
use tidegate_audit::subject::keys::{EpochSecret, INDEX_KEYS_FILE, IndexKeys};
use tidegate_audit::subject::{Answer, Wanted, find};
use tidegate_core::words::DataClass;
use tidegate_policy::subject::SubjectKey;

use super::api::table;
use super::audit_filter::parse_time;
use super::audit_query::text as csv_text;
use super::audit_verify::trusted_keys;
use super::question::{Asked, Gateway};

/// Proofs that are written at once, at most: each reads a segment.
const PROOFS_MAX: usize = 1000;
/// The longest value that is read from the standard input, in bytes.
const VALUE_BYTES_MAX: u64 = 4096;

/// Finds a person's data in the evidence: which messages, who read them, when, why, and in which form
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  tidegate audit subject alice@example.com /var/lib/tidegate/evidence\n  \
    tidegate audit subject 4711 DIR --class customer_id --since 2026-01-01 --output csv\n  \
    tidegate audit subject - DIR --report subject --format html --out answer.html < value.txt\n  \
    tidegate audit subject alice@example.com DIR --prove proofs/")]
pub struct Args {
    /// The value: an e-mail address, a telephone number, an IBAN, a card, an id; `-` reads it from the standard
    /// input, so that no list of processes shows it
    #[arg(value_name = "VALUE")]
    pub value: String,
    /// The evidence directory, or a copy of it
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Look only for values of this class: email, phone, iban, payment_card, …, a class of the policy, or what a
    /// field's rule gives as `subject`; may be given several times [default: all that evidence names]
    #[arg(long, value_name = "CLASS")]
    pub class: Vec<String>,
    /// The file of the tags' secrets [default: index.keys in DIR]
    #[arg(long, value_name = "FILE")]
    pub index_keys: Option<PathBuf>,
    /// Not earlier than this: 2026-11-24T08:00:00Z, 2026-11-24 (UTC), or how long ago, as 90m or 2h
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub since: Option<Timestamp>,
    /// Earlier than this
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub until: Option<Timestamp>,
    /// Only this shard
    #[arg(long, value_name = "N")]
    pub shard: Option<u32>,
    /// A table for people, JSON, or CSV with a line per access
    #[arg(short, long, value_enum, default_value_t = Output::Table, conflicts_with = "report")]
    pub output: Output,
    /// A report instead: for those who answer, or for the person
    #[arg(long, value_enum)]
    pub report: Option<Report>,
    /// How the report is written
    #[arg(long, value_enum, default_value_t = ReportFormat::Html, requires = "report")]
    pub format: ReportFormat,
    /// Where to write; by default to the standard output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Write a proof for each entry found into this folder (C2SP tlog-proof). A proof shows the whole entry
    #[arg(long, value_name = "FOLDER")]
    pub prove: Option<PathBuf>,
    /// The public keys that are trusted for proofs; by default those beside the evidence
    #[arg(long, value_name = "FILE", requires = "prove")]
    pub key: Vec<PathBuf>,
    /// Read every segment. An index cannot be forged without the tags' secrets, so this is for those who trust
    /// nobody who has them
    #[arg(long)]
    pub no_index: bool,
    /// Where the question is put into evidence.
    #[command(flatten)]
    pub gateway: Gateway,
}

/// How the answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Aligned lines for people.
    Table,
    /// One JSON document.
    Json,
    /// CSV (RFC 4180) with titles, a line per access.
    Csv,
}

/// Which report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Report {
    /// For those who answer: everybody and everything, and the steps of Art. 17 and 19
    Internal,
    /// For the person (Art. 15): no employee is named
    Subject,
}

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// A page that needs nothing else and prints well.
    Html,
    /// Markdown.
    Markdown,
    /// JSON.
    Json,
}

impl From<ReportFormat> for Format {
    fn from(format: ReportFormat) -> Self {
        match format {
            ReportFormat::Html => Self::Html,
            ReportFormat::Markdown => Self::Markdown,
            ReportFormat::Json => Self::Json,
        }
    }
}

/// Runs the command and returns its exit code.
///
/// # Errors
/// An argument is wrong, or the evidence, a key or an output cannot be read or written.
pub fn run(args: &Args, out: &mut dyn Write, errors: &mut dyn Write) -> anyhow::Result<u8> {
    let value = value(args)?;
    let keys = index_keys(&args.dir, args.index_keys.as_deref())?;
    let answer = ask(args, &value, &keys)?;
    let account = Account::new(&answer);
    let asked = Asked {
        question: "subject".to_owned(),
        tags: tags_text(&value, &account, &args.class, &keys),
        entries: answer.hits.len() as u64,
        why: args.gateway.why.clone(),
    };
    let recorded = match args.gateway.record(&args.dir, &asked) {
        Ok(()) => "recorded in the evidence of the gateway".to_owned(),
        Err(reason) => {
            writeln!(errors, "tidegate: this question is not in the evidence: {reason}")?;
            format!("not recorded: {reason}")
        }
    };
    for wrong in &answer.wrong_indexes {
        writeln!(errors, "tidegate: {} is not the index of its segment and was not used", wrong.display())?;
    }
    let text = match args.report {
        None => match args.output {
            Output::Table => in_a_table(&account)?,
            Output::Json => serde_json::to_string_pretty(&account)? + "\n",
            Output::Csv => in_csv(&account),
        },
        Some(report) => {
            let basis = basis(args, &value, recorded);
            let document = match report {
                Report::Internal => internal(&account, &basis),
                Report::Subject => for_subject(&account, &basis),
            };
            document.write(args.format.into())
        }
    };
    write_out(args.out.as_deref(), &text, out)?;
    if let Some(folder) = &args.prove {
        let proofs = write_proofs(args, folder, &answer)?;
        writeln!(errors, "tidegate: {proofs} proofs in {}", folder.display())?;
    }
    for sentence in &account.not_searched {
        writeln!(errors, "tidegate: not searched: {sentence}")?;
    }
    Ok(u8::from(!account.not_searched.is_empty()))
}

pub(super) fn value(args: &Args) -> anyhow::Result<String> {
    let value = if args.value == "-" {
        let mut text = String::new();
        io::Read::read_to_string(&mut io::Read::take(io::stdin(), VALUE_BYTES_MAX), &mut text)
            .context("the value cannot be read from the standard input")?;
        text
    } else {
        args.value.clone()
    };
    let value = value.trim();
    if value.is_empty() {
        bail!("the value is empty");
    }
    Ok(value.to_owned())
}

/// Reads the file of secrets.
pub(super) fn index_keys(dir: &Path, file: Option<&Path>) -> anyhow::Result<IndexKeys> {
    let path = file.map_or_else(|| dir.join(INDEX_KEYS_FILE), Path::to_owned);
    IndexKeys::load(&path)
        .context("without the secrets of the tags nobody can be looked for; name their file with --index-keys")
}

/// The tag of a value under a class, in an epoch.
pub(super) fn tag(secret: &EpochSecret, class: &str, value: &str) -> Option<u64> {
    SubjectKey::new(secret.epoch, secret.secret.as_ref()?.as_slice())?.tag(class, value)
}

pub(super) fn ask(args: &Args, value: &str, keys: &IndexKeys) -> anyhow::Result<Answer> {
    let tag = |secret: &EpochSecret, class: &str| tag(secret, class, value);
    let all = || DataClass::ALL.iter().map(|class| class.name().to_owned()).collect();
    let wanted = Wanted {
        tag: &tag,
        classes: if args.class.is_empty() { all() } else { args.class.clone() },
        any_class: args.class.is_empty(),
        from_micros: args.since.map(Timestamp::as_microsecond),
        until_micros: args.until.map(Timestamp::as_microsecond),
        shard: args.shard,
        indexes: if args.no_index { Indexes::Ignore } else { Indexes::Build },
    };
    find(&args.dir, keys, &wanted).with_context(|| format!("cannot read the evidence in {}", args.dir.display()))
}

/// The tags that were looked for and found, of the newest epoch, as evidence may hold them: whoever has the secret and the
/// value can tell later whether it was asked about, and nobody else.
pub(super) fn tags_text(value: &str, account: &Account, given: &[String], keys: &IndexKeys) -> Vec<String> {
    let mut classes: BTreeSet<&str> = account.accesses.iter().map(|access| &*access.class).collect();
    classes.extend(given.iter().map(String::as_str));
    if classes.is_empty() {
        classes.insert("email");
    }
    let Some(newest) = keys.newest() else { return Vec::new() };
    let text = |class: &str| Some(format!("{}:{class}:{:016x}", newest.epoch, tag(newest, class, value)?));
    classes.into_iter().take(8).filter_map(text).collect()
}

fn basis(args: &Args, value: &str, recorded: String) -> Basis {
    let mut command = format!("tidegate audit subject VALUE {} --output csv", args.dir.display());
    args.class.iter().for_each(|class| command.push_str(&format!(" --class {class}")));
    Basis {
        value: value.to_owned(),
        classes: args.class.clone(),
        period: period(args.since, args.until),
        evidence: args.dir.display().to_string(),
        made: now_text(),
        recorded,
        command,
    }
}

/// A period in words.
pub(super) fn period(since: Option<Timestamp>, until: Option<Timestamp>) -> String {
    match (since, until) {
        (None, None) => "all of the evidence".to_owned(),
        (Some(since), None) => format!("since {since:.0}"),
        (None, Some(until)) => format!("until {until:.0}"),
        (Some(since), Some(until)) => format!("{since:.0} – {until:.0}"),
    }
}

/// The time now, for reports.
pub(super) fn now_text() -> String {
    format!("{:.0}", Timestamp::now())
}

/// Writes to a file or to the standard output.
pub(super) fn write_out(file: Option<&Path>, text: &str, out: &mut dyn Write) -> anyhow::Result<()> {
    match file {
        Some(path) => std::fs::write(path, text).with_context(|| format!("--out {}", path.display())),
        None => match out.write_all(text.as_bytes()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.context("the answer cannot be written"),
        },
    }
}

fn in_a_table(account: &Account) -> anyhow::Result<String> {
    let mut out = Vec::new();
    if account.accesses.is_empty() {
        writeln!(out, "Nothing was found.")?;
    } else {
        let rows: Vec<Vec<String>> = account.accesses.iter().map(row).collect();
        let titles = ["TIME", "ENTRY", "ACTION", "PRINCIPAL", "MESSAGES", "DATA", "FORM", "PURPOSE", "GRANT"];
        table(&mut out, &titles, &rows)?;
        let messages: u64 = account.messages.iter().map(|messages| messages.count).sum();
        let readers: Vec<&str> = account.recipients.iter().map(|party| &*party.principal).collect();
        let by = if readers.is_empty() { "nobody".to_owned() } else { readers.join(", ") };
        writeln!(out, "\n{messages} messages hold it; read by {by}")?;
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn row(access: &Access) -> Vec<String> {
    let offsets = if access.offsets.is_empty() { "?".to_owned() } else { ranges_text(&access.offsets) };
    let action = if access.completed { access.action.to_owned() } else { format!("{} (not completed)", access.action) };
    vec![
        access.time.clone(),
        access.entry.clone(),
        action,
        access.principal.clone(),
        format!("{}-{}: {offsets}", access.topic, access.partition),
        access.class.clone(),
        access.form.clone(),
        access.purpose.clone(),
        access.grant.clone(),
    ]
}

fn in_csv(account: &Account) -> String {
    let mut text =
        "time,entry,action,completed,outcome,principal,issuer,session,client_address,topic,partition,offsets,\
class,field,form,rule,grant,purpose,approval\r\n"
            .to_owned();
    for access in &account.accesses {
        let offsets: Vec<String> = access.offsets.iter().map(|(first, last)| format!("{first}..{last}")).collect();
        let fields = [
            access.time.clone(),
            access.entry.clone(),
            access.action.to_owned(),
            access.completed.to_string(),
            access.outcome.to_owned(),
            csv_text(&access.principal),
            csv_text(&access.issuer),
            csv_text(&access.session),
            csv_text(&access.client_address),
            csv_text(&access.topic),
            access.partition.to_string(),
            offsets.join(" "),
            csv_text(&access.class),
            csv_text(&access.field),
            csv_text(&access.form),
            csv_text(&access.rule),
            csv_text(&access.grant),
            csv_text(&access.purpose),
            csv_text(&access.approval),
        ];
        text.push_str(&fields.join(","));
        text.push_str("\r\n");
    }
    text
}

fn write_proofs(args: &Args, folder: &Path, answer: &Answer) -> anyhow::Result<usize> {
    let entries: BTreeSet<(u32, u64)> = answer.hits.iter().map(|hit| (hit.shard, hit.sequence)).collect();
    if entries.len() > PROOFS_MAX {
        bail!("{} entries were found, and at most {PROOFS_MAX} are proven at once: narrow the time", entries.len());
    }
    let (keys, _) = trusted_keys(&args.dir, &args.key)?;
    std::fs::create_dir_all(folder).with_context(|| format!("--prove {}", folder.display()))?;
    for (shard, sequence) in &entries {
        let proof = prove(&args.dir, *shard, *sequence, &keys)?;
        let path = folder.join(format!("{shard}-{sequence}.tlog-proof"));
        std::fs::write(&path, proof.encode()).with_context(|| path.display().to_string())?;
    }
    Ok(entries.len())
}

#[cfg(test)]
pub(in crate::cli) mod tests;
