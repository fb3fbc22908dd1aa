//! `tidegate-loadtest report`: results as something to look at. And where the other subcommands put theirs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::Failure;
use crate::report::{Document, html, markdown};

/// The arguments of `report`.
#[derive(Debug, Args)]
pub struct Report {
    /// Results, as compare, sweep, soak, revocation, connections and run write them (JSON)
    #[arg(required = true, value_name = "FILE")]
    results: Vec<PathBuf>,
    /// Where report.html, report.md and report.json go
    #[arg(long, value_name = "DIR", default_value = "target/loadtest")]
    out: PathBuf,
}

impl Report {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut documents = Vec::new();
        for path in &self.results {
            documents.extend(read(path)?);
        }
        write_all(&self.out, "report", &documents)?;
        eprintln!("{}", self.out.join("report.html").display());
        Ok(())
    }
}

/// Where a result goes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub(super) struct Output {
    /// Where the result goes as JSON, Markdown and HTML
    #[arg(long, value_name = "DIR", default_value = "target/loadtest")]
    out: PathBuf,
    /// What is printed at the end
    #[arg(long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

/// What is printed at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The Markdown report
    Text,
    /// The whole result
    Json,
    /// Nothing but where the files are
    Files,
}

impl Output {
    /// Writes `NAME.json`, `NAME.md` and `NAME.html`, and prints what is asked for.
    pub(super) fn write(&self, name: &str, document: &Document) -> Result<(), Failure> {
        let documents = std::slice::from_ref(document);
        write_all(&self.out, name, documents)?;
        match self.output {
            Format::Text => println!("{}", markdown::render(documents)),
            Format::Json => println!("{}", serde_json::to_string(document).context("the result as JSON")?),
            Format::Files => {}
        }
        eprintln!("{}", self.out.join(name).with_extension("html").display());
        Ok(())
    }
}

fn write_all(folder: &Path, name: &str, documents: &[Document]) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let write = |extension: &str, text: String| {
        let path = folder.join(name).with_extension(extension);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    };
    write("json", serde_json::to_string_pretty(documents)?)?;
    write("md", markdown::render(documents))?;
    write("html", html::render(documents))
}

/// A file holds one result or a list of them.
fn read(path: &Path) -> Result<Vec<Document>, Failure> {
    let wrong = |why: String| Failure::Usage(vec![format!("{}: {why}", path.display())]);
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    Document::parse(&text).map_err(wrong)
}

/// The command line of this process, as one would type it.
pub(super) fn this_command() -> String {
    let mut words = std::env::args();
    let program = words.next().unwrap_or_default();
    let program = Path::new(&program).file_name().map_or(program.clone(), |name| name.to_string_lossy().into_owned());
    let quoted = words.map(|word| {
        let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./,:=@%+".contains(c));
        if plain && !word.is_empty() { word } else { format!("'{}'", word.replace('\'', r"'\''")) }
    });
    std::iter::once(program).chain(quoted).collect::<Vec<_>>().join(" ")
}

/// Milliseconds since the Unix epoch.
pub(super) fn now_unix_millis() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
