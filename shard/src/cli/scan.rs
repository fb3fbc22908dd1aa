//! `tidegate scan`: what personal data the scanner finds in files, before any rule is written.
//!
//! A line is a record: text or JSON. With `--csv` the file is one table, whose first line names its
//! columns. Findings go to stdout, for people in colour, or as JSON lines that hold places and
//! classes and nothing of what was found.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::ValueEnum;
use tidegate_core::words::DataClass;
use tidegate_policy::file::OnUnparseable;
use tidegate_policy::mask::{CsvForm, MaskEntry, MaskPlan, Operator, Target};

/// Longest line, and largest CSV file, that is looked at in one piece, in bytes.
const PIECE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Characters shown before and behind a finding.
const AROUND: usize = 40;

/// What `tidegate scan` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files to scan; `-` is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    files: Vec<PathBuf>,
    /// Only these classes of data
    #[arg(long, value_name = "CLASS", value_delimiter = ',', value_parser = class)]
    class: Vec<DataClass>,
    /// Read files as CSV with this separator; their first line names the columns
    #[arg(long, value_name = "SEPARATOR", num_args = 0..=1, default_missing_value = ",")]
    csv: Option<char>,
    /// End with exit code 1 where anything is found
    #[arg(long)]
    fail: bool,
    /// For people, or a JSON object a finding without what was found
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people
    Text,
    /// JSON lines
    Json,
}

fn class(name: &str) -> Result<DataClass, String> {
    DataClass::ALL.into_iter().find(|class| class.name() == name).ok_or_else(|| {
        let names: Vec<&str> = DataClass::ALL.iter().map(|class| class.name()).collect();
        format!("is none of {}", names.join(", "))
    })
}

/// Scans. Returns the exit code.
pub fn run(args: &Args, out: &mut impl Write, colours: bool) -> anyhow::Result<u8> {
    let csv = match args.csv {
        Some(separator) if separator.is_ascii() && !matches!(separator, '"' | '\r' | '\n') => {
            Some(Arc::new(CsvForm { separator: separator as u8, header: true, columns: Vec::new() }))
        }
        Some(separator) => anyhow::bail!("{separator:?} cannot stand between fields"),
        None => None,
    };
    let classes = if args.class.is_empty() { DataClass::ALL.to_vec() } else { args.class.clone() };
    let entries = classes.into_iter().map(|class| {
        let csv = csv.clone().filter(|_| class.is_by_field());
        MaskEntry { csv, ..MaskEntry::new(Target::Class(class), Operator::Redact, "scan") }
    });
    // What is no JSON, or no CSV, is text.
    let plan = MaskPlan::compile(entries, OnUnparseable::Pass);
    let mut counts = BTreeMap::new();
    for file in &args.files {
        let (name, input): (String, Box<dyn Read>) = if file.as_os_str() == "-" {
            ("-".to_owned(), Box::new(std::io::stdin()))
        } else {
            let name = file.display().to_string();
            let file = File::open(file).with_context(|| format!("{name} cannot be opened"))?;
            (name, Box::new(file))
        };
        let mut found = Found { name: &name, plan: &plan, args, colours, counts: &mut counts };
        found.file(BufReader::new(input), out).with_context(|| format!("{name} cannot be scanned"))?;
    }
    if args.output == Output::Text {
        let sums: Vec<String> = counts.iter().map(|(class, count)| format!("{class} {count}")).collect();
        writeln!(out, "{}", if sums.is_empty() { "nothing found".to_owned() } else { sums.join(", ") })?;
    }
    Ok(u8::from(args.fail && !counts.is_empty()))
}

/// What is found in one file.
struct Found<'a> {
    name: &'a str,
    plan: &'a MaskPlan,
    args: &'a Args,
    colours: bool,
    counts: &'a mut BTreeMap<String, u64>,
}

impl Found<'_> {
    fn file(&mut self, mut input: impl BufRead, out: &mut impl Write) -> anyhow::Result<()> {
        let mut piece = Vec::new();
        if self.args.csv.is_some() {
            input.take(PIECE_BYTES_MAX + 1).read_to_end(&mut piece)?;
            anyhow::ensure!(piece.len() as u64 <= PIECE_BYTES_MAX, "CSV over {PIECE_BYTES_MAX} bytes is not scanned");
            return self.piece(&piece, 1, out);
        }
        for line in 1.. {
            piece.clear();
            if input.by_ref().take(PIECE_BYTES_MAX).read_until(b'\n', &mut piece)? == 0 {
                break;
            }
            self.piece(piece.strip_suffix(b"\n").unwrap_or(&piece), line, out)?;
        }
        Ok(())
    }

    fn piece(&mut self, bytes: &[u8], first_line: usize, out: &mut impl Write) -> anyhow::Result<()> {
        let mut pass = self.plan.begin();
        // Nothing is refused under this plan, and what the bytes become nobody wants.
        let _ = pass.value(bytes);
        for (span, entry) in pass.places() {
            let class = entry.class_name();
            *self.counts.entry(class.to_owned()).or_default() += 1;
            let before = &bytes[..span.start];
            let line = first_line + before.iter().filter(|byte| **byte == b'\n').count();
            let begin = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let column = span.start - begin + 1;
            match self.args.output {
                Output::Json => {
                    let object = serde_json::json!({
                        "file": self.name, "line": line, "column": column, "bytes": span.len(), "class": class,
                    });
                    writeln!(out, "{object}")?;
                }
                Output::Text => self.show(bytes, begin, &span, (line, column, class), out)?,
            }
        }
        Ok(())
    }

    fn show(
        &self,
        bytes: &[u8],
        begin: usize,
        span: &Range<usize>,
        (line, column, class): (usize, usize, &str),
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        let end = bytes[span.end..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| span.end + at);
        let before = plain(&bytes[begin..span.start]);
        let before: String = before.chars().skip(before.chars().count().saturating_sub(AROUND)).collect();
        let after: String = plain(&bytes[span.end..end]).chars().take(AROUND).collect();
        let found = plain(&bytes[span.clone()]);
        let (name, kind, mark, reset) =
            if self.colours { ("\x1b[2m", "\x1b[36m", "\x1b[1;31m", "\x1b[0m") } else { ("", "", "", "") };
        let place = format!("{}:{line}:{column}:", self.name);
        writeln!(out, "{name}{place}{reset} {kind}{class}{reset} {before}{mark}{found}{reset}{after}")?;
        Ok(())
    }
}

/// Text for a terminal: control characters of a file do nothing to it.
pub(super) fn plain(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(text: &str, args: &[&str]) -> (String, u8) {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            args: Args,
        }
        let file = std::env::temp_dir().join(format!("tidegate-scan-{}-{}", std::process::id(), text.len()));
        std::fs::write(&file, text).unwrap();
        let name = file.to_str().unwrap();
        let cli = <Cli as clap::Parser>::parse_from([&["scan", name], args].concat());
        let mut out = Vec::new();
        let code = run(&cli.args, &mut out, false).unwrap();
        std::fs::remove_file(&file).unwrap();
        (String::from_utf8(out).unwrap().replace(name, "FILE"), code)
    }

    #[test]
    fn findings_have_places_and_sums() {
        let text = "hello\n{\"m\":\"a@b.cc\",\"lastName\":\"Li\"}\n\u{1b}[31m a@b.cc\n{broken a@b.cc\n";
        let (shown, code) = scanned(text, &[]);
        assert_eq!(
            shown,
            "FILE:2:7: email {\"m\":\"a@b.cc\",\"lastName\":\"Li\"}\n\
             FILE:2:27: person_name {\"m\":\"a@b.cc\",\"lastName\":\"Li\"}\n\
             FILE:3:7: email \u{fffd}[31m a@b.cc\n\
             FILE:4:9: email {broken a@b.cc\n\
             email 3, person_name 1\n"
        );
        assert_eq!(code, 0);
        let (shown, code) = scanned(text, &["--output", "json", "--class", "person_name", "--fail"]);
        assert_eq!(shown, "{\"bytes\":2,\"class\":\"person_name\",\"column\":27,\"file\":\"FILE\",\"line\":2}\n");
        assert_eq!(code, 1);
        assert_eq!(scanned("nothing\n", &["--fail"]), ("nothing found\n".to_owned(), 0));
    }

    #[test]
    fn csv_has_columns() {
        let (shown, _) = scanned("id;Nachname;x\n1;Li;a@b.cc\n2;Wu;-\n", &["--csv", ";"]);
        assert_eq!(
            shown,
            "FILE:2:3: person_name 1;Li;a@b.cc\nFILE:2:6: email 1;Li;a@b.cc\nFILE:3:3: person_name 2;Wu;-\n\
             email 1, person_name 2\n"
        );
    }
}
