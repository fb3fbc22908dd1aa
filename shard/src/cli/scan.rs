//! `tidegate scan`: what personal data the scanner finds in files, before any rule is written.
//!
//! A line is a record: text or JSON. With `--csv` the file is one table, whose first line names its
//! columns. Avro object container files and Parquet are known by how they begin; what is found in them
//! has a record's number and a path instead of a line. Findings go to stdout, for people in colour, or as JSON lines that hold places and
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
use tidegate_policy::mask::schema::{Lookup, Schema, SchemaId, Schemas, ValueAt};
use tidegate_policy::mask::{CsvForm, MaskEntry, MaskPass, MaskPlan, Operator, Target};

use super::outline;

mod avro;
mod parquet;

/// Longest line, and largest CSV file, that is looked at in one piece, in bytes.
const PIECE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Largest Parquet file that is read from standard input, in bytes: its index stands at its end.
const PIPED_BYTES_MAX: u64 = 1024 * 1024 * 1024;
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
    let plan = |framed: bool| {
        let entries = classes.iter().map(|class| {
            let csv = csv.clone().filter(|_| class.has_fields() && !framed);
            MaskEntry { csv, framed, ..MaskEntry::new(Target::Class(*class), Operator::Redact, "scan") }
        });
        // What is no JSON, or no CSV, is text.
        MaskPlan::compile(entries, OnUnparseable::Pass)
    };
    let (plan, framed) = (plan(false), plan(true));
    let mut counts = BTreeMap::new();
    for file in &args.files {
        let name = file.display().to_string();
        let mut found = Found { name: &name, plan: &plan, framed: &framed, args, colours, counts: &mut counts };
        let scanned = if file.as_os_str() == "-" {
            found.file(BufReader::new(std::io::stdin()), None, out)
        } else {
            let file = File::open(file).with_context(|| format!("{name} cannot be opened"))?;
            found.file(BufReader::new(file.try_clone()?), Some(file), out)
        };
        scanned.with_context(|| format!("{name} cannot be scanned"))?;
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
    /// The same for records that are read by a schema.
    framed: &'a MaskPlan,
    args: &'a Args,
    colours: bool,
    counts: &'a mut BTreeMap<String, u64>,
}

/// The one schema of a file.
#[derive(Debug)]
struct One(Arc<Schema>);

impl Schemas for One {
    fn find(&self, _id: SchemaId) -> Lookup {
        Lookup::Known(self.0.clone())
    }
}

/// What stands before a record, so that it is read by a schema.
const FRAMING: [u8; 5] = [0; 5];

impl Found<'_> {
    /// Scans what `input` gives; `file` is the same where it is a file.
    fn file(&mut self, mut input: impl BufRead, file: Option<File>, out: &mut impl Write) -> anyhow::Result<()> {
        let mut piece = Vec::new();
        // A pipe may give less than asked for at once, but hardly less than this.
        let begin = input.fill_buf()?;
        if begin.starts_with(avro::MAGIC) {
            return self.avro(input, out);
        }
        if begin.starts_with(parquet::MAGIC) {
            return self.parquet(input, file, out);
        }
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
        let outline = (self.args.output == Output::Json && pass.places().next().is_some())
            .then(|| outline::of_json(bytes))
            .flatten()
            .unwrap_or_default();
        for (span, entry) in pass.places() {
            let class = entry.class_name();
            *self.counts.entry(class.to_owned()).or_default() += 1;
            let before = &bytes[..span.start];
            let line = first_line + before.iter().filter(|byte| **byte == b'\n').count();
            let begin = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let column = span.start - begin + 1;
            match self.args.output {
                Output::Json => {
                    let mut object = serde_json::json!({
                        "file": self.name, "line": line, "column": column, "bytes": span.len(), "class": class,
                    });
                    if let (Some(object), Some(value)) = (object.as_object_mut(), outline::value_at(&outline, &span)) {
                        object.insert("path".to_owned(), value.path.as_str().into());
                    }
                    writeln!(out, "{object}")?;
                }
                Output::Text => self.show(bytes, begin, &span, (line, column, class), out)?,
            }
        }
        Ok(())
    }

    fn avro(&mut self, input: impl BufRead, out: &mut impl Write) -> anyhow::Result<()> {
        let mut container = avro::Container::open(input)?;
        let schemas = One(container.schema.clone());
        let mut framed = FRAMING.to_vec();
        for number in 1.. {
            let Some(record) = container.next().with_context(|| format!("record {number}"))? else { break };
            framed.truncate(FRAMING.len());
            framed.extend_from_slice(record);
            let values = |bytes: &[u8]| schemas.0.values(bytes, FRAMING.len()).ok().flatten().unwrap_or_default();
            self.record(&framed, number, self.framed.begin().with_schemas(&schemas), values, out)?;
        }
        Ok(())
    }

    fn parquet(&mut self, input: impl BufRead, file: Option<File>, out: &mut impl Write) -> anyhow::Result<()> {
        let rows = match file {
            // `input` has moved its place, which the reader does not mind.
            Some(file) => parquet::rows(file)?,
            None => {
                let mut bytes = Vec::new();
                input.take(PIPED_BYTES_MAX + 1).read_to_end(&mut bytes)?;
                anyhow::ensure!(
                    bytes.len() as u64 <= PIPED_BYTES_MAX,
                    "Parquet over {PIPED_BYTES_MAX} bytes is not read from a pipe"
                );
                parquet::rows_of(bytes)?
            }
        };
        for (number, row) in (1..).zip(rows) {
            let (text, values) = parquet::document(&row.with_context(|| format!("row {number}"))?);
            self.record(&text, number, self.plan.begin(), |_| values, out)?;
        }
        Ok(())
    }

    /// Shows what is found in a record of a container; `values` are asked for where there is anything.
    fn record(
        &mut self,
        bytes: &[u8],
        number: u64,
        mut pass: MaskPass<'_>,
        values: impl FnOnce(&[u8]) -> Vec<ValueAt>,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        let _ = pass.value(bytes);
        if pass.places().next().is_none() {
            return Ok(());
        }
        let values = values(bytes);
        for (span, entry) in pass.places() {
            let class = entry.class_name();
            *self.counts.entry(class.to_owned()).or_default() += 1;
            let value = outline::value_at(&values, &span);
            let path = value.map_or("", |value| &value.path);
            match self.args.output {
                Output::Json => {
                    let object = serde_json::json!({
                        "file": self.name, "record": number, "path": path, "bytes": span.len(), "class": class,
                    });
                    writeln!(out, "{object}")?;
                }
                Output::Text => {
                    let Colours { name, kind, mark, reset } = Colours::new(self.colours);
                    // A number's bytes say nothing to people.
                    let found = match value {
                        Some(value) if value.span == span && !value.text.is_empty() => plain(value.text.as_bytes()),
                        _ => plain(bytes.get(span).unwrap_or_default()),
                    };
                    let place = format!("{}:{number}:", self.name);
                    writeln!(out, "{name}{place}{reset} {kind}{class}{reset} {path} {mark}{found}{reset}")?;
                }
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
        let Colours { name, kind, mark, reset } = Colours::new(self.colours);
        let place = format!("{}:{line}:{column}:", self.name);
        writeln!(out, "{name}{place}{reset} {kind}{class}{reset} {before}{mark}{found}{reset}{after}")?;
        Ok(())
    }
}

/// What makes a finding stand out on a terminal.
struct Colours {
    name: &'static str,
    kind: &'static str,
    mark: &'static str,
    reset: &'static str,
}

impl Colours {
    fn new(on: bool) -> Self {
        if on {
            Self { name: "\x1b[2m", kind: "\x1b[36m", mark: "\x1b[1;31m", reset: "\x1b[0m" }
        } else {
            Self { name: "", kind: "", mark: "", reset: "" }
        }
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
        assert_eq!(
            shown,
            "{\"bytes\":2,\"class\":\"person_name\",\"column\":27,\"file\":\"FILE\",\"line\":2,\"path\":\"$.lastName\"}\n"
        );
        assert_eq!(code, 1);
        assert_eq!(scanned("nothing\n", &["--fail"]), ("nothing found\n".to_owned(), 0));
    }

    /// Scans a file.
    fn scanned_file(bytes: &[u8], args: &[&str]) -> anyhow::Result<String> {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            args: Args,
        }
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(bytes)?;
        let name = file.path().to_str().unwrap();
        let cli = <Cli as clap::Parser>::parse_from([&["scan", name], args].concat());
        let mut out = Vec::new();
        run(&cli.args, &mut out, false)?;
        Ok(String::from_utf8(out)?.replace(name, "FILE"))
    }

    #[test]
    fn records_of_avro_files_have_paths() {
        let schema = r#"{"type":"record","name":"C","fields":[{"name":"lastName","type":"string"},
            {"name":"card","type":"long"},{"name":"to","type":{"type":"array","items":"string"}}]}"#;
        let long = |value: i64| {
            let mut rest = ((value << 1) ^ (value >> 63)) as u64;
            let mut out = Vec::new();
            while rest >= 0x80 {
                out.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            out.push(rest as u8);
            out
        };
        let text = |text: &[u8]| [long(text.len() as i64), text.to_vec()].concat();
        let record = |name: &str, card: i64, to: &str| {
            [text(name.as_bytes()), long(card), long(1), text(to.as_bytes()), long(0)].concat()
        };
        let plain = [record("Li", 4_111_111_111_111_111, "me: a@b.cc"), record("", 7, "none")].concat();
        let deflated = {
            let mut writer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
            writer.write_all(&plain).unwrap();
            writer.finish().unwrap()
        };
        let snappy = [snap::raw::Encoder::new().compress_vec(&plain).unwrap(), vec![0; 4]].concat();
        let zstandard = zstd::encode_all(plain.as_slice(), 1).unwrap();
        let file = |codec: &str, block: &[u8]| {
            let meta = [text(b"avro.schema"), text(schema.as_bytes()), text(b"avro.codec"), text(codec.as_bytes())];
            let (sync, block) = ([7; 16], [long(2), long(block.len() as i64), block.to_vec()].concat());
            [avro::MAGIC, &long(2), &meta.concat(), &long(0), &sync, &block, &sync].concat()
        };
        for (codec, block) in [("null", &plain), ("deflate", &deflated), ("snappy", &snappy), ("zstandard", &zstandard)]
        {
            assert_eq!(
                scanned_file(&file(codec, block), &[]).unwrap(),
                "FILE:1: person_name $.lastName Li\nFILE:1: payment_card $.card 4111111111111111\n\
                 FILE:1: email $.to[0] a@b.cc\nemail 1, payment_card 1, person_name 1\n",
                "{codec}"
            );
        }
        let json = scanned_file(&file("null", &plain), &["--output", "json", "--class", "email"]).unwrap();
        assert_eq!(json, "{\"bytes\":6,\"class\":\"email\",\"file\":\"FILE\",\"path\":\"$.to[0]\",\"record\":1}\n");
        let whole = file("null", &plain);
        for bad in [&whole[..whole.len() - 1], &whole[..40], &file("lzma", &plain), &file("null", &plain[..20])] {
            assert!(scanned_file(bad, &[]).is_err());
        }
    }

    #[test]
    fn rows_of_parquet_files_have_paths() {
        use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
        use ::parquet::file::properties::WriterProperties;
        use ::parquet::file::writer::SerializedFileWriter;
        let schema = ::parquet::schema::parser::parse_message_type(
            "message m { required binary lastName (UTF8); required int64 id;
             optional group to (LIST) { repeated group list { optional binary element (UTF8); } } }",
        )
        .unwrap();
        let mut file = Vec::new();
        let properties = Arc::new(WriterProperties::new());
        let mut writer = SerializedFileWriter::new(&mut file, Arc::new(schema), properties).unwrap();
        let mut rows = writer.next_row_group().unwrap();
        let texts = |texts: &[&str]| texts.iter().map(|text| ByteArray::from(*text)).collect::<Vec<_>>();
        let mut column = rows.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&texts(&["Li", ""]), None, None).unwrap();
        column.close().unwrap();
        let mut column = rows.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&[4_111_111_111_111_111, 7], None, None).unwrap();
        column.close().unwrap();
        let mut column = rows.next_column().unwrap().unwrap();
        let values = texts(&["\"me\" a@b.cc", "none"]);
        column.typed::<ByteArrayType>().write_batch(&values, Some(&[3, 3, 0]), Some(&[0, 1, 0])).unwrap();
        column.close().unwrap();
        rows.close().unwrap();
        writer.close().unwrap();
        assert_eq!(
            scanned_file(&file, &[]).unwrap(),
            "FILE:1: person_name $.lastName Li\nFILE:1: payment_card $.id 4111111111111111\n\
             FILE:1: email $.to[0] a@b.cc\nemail 1, payment_card 1, person_name 1\n"
        );
        assert!(scanned_file(&file[..file.len() - 9], &[]).is_err());
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
