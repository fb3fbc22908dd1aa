//! `tidegate audit hold`: legal holds, which keep evidence whatever retention says.
//!
//! The list is a file beside the evidence (`retention::hold`); a gateway that runs reads it before it removes
//! anything, and copies each act into the evidence. Works on the machine that has the evidence, and needs no gateway.
//!
//! Exit code: 0; 64 where an argument is wrong or the list cannot be read.

use std::io::Write;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use tidegate_audit::json::time_text;
use tidegate_audit::retention::hold::{Act, Action, Hold, active, add, read};
use tidegate_core::words::Timestamp;

use super::audit_filter::parse_time;

/// Sets, lifts or lists legal holds
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Keep evidence of a time, whatever retention says
    Add {
        /// The hold's name, for instance the case's
        name: String,
        /// The earliest evidence to keep: a time, a day (UTC), or how long ago; by default from the beginning
        #[arg(long, value_name = "TIME", value_parser = parse_time)]
        from: Option<jiff::Timestamp>,
        /// The latest evidence to keep; by default all to come
        #[arg(long, value_name = "TIME", value_parser = parse_time)]
        to: Option<jiff::Timestamp>,
        #[command(flatten)]
        why: Why,
        /// The evidence directory
        #[arg(long, value_name = "DIR", default_value = "evidence")]
        dir: PathBuf,
    },
    /// Lift a hold
    Remove {
        /// The hold's name
        name: String,
        #[command(flatten)]
        why: Why,
        /// The evidence directory
        #[arg(long, value_name = "DIR", default_value = "evidence")]
        dir: PathBuf,
    },
    /// List the holds in force, or everything that was ever done
    List {
        /// Lifted holds too, act by act
        #[arg(long)]
        all: bool,
        /// Sentences for people, or one JSON object a line
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
        /// The evidence directory
        #[arg(long, value_name = "DIR", default_value = "evidence")]
        dir: PathBuf,
    },
}

#[derive(Debug, Clone, clap::Args)]
struct Why {
    /// Why; it goes into the evidence
    #[arg(long)]
    reason: String,
    /// Who orders it, beside the user that runs this
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

/// How the list is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Sentences.
    Text,
    /// One JSON object a line.
    Json,
}

/// Runs the command and returns its exit code.
///
/// # Errors
/// An argument is wrong, or the list cannot be read or written.
pub fn run(args: &Args, now: Timestamp, out: &mut dyn Write) -> anyhow::Result<u8> {
    match &args.command {
        Command::Add { name, from, to, why, dir } => {
            let micros = |time: &jiff::Timestamp| time.as_microsecond();
            let (from_micros, to_micros) = (from.as_ref().map(micros), to.as_ref().map(micros));
            let act = act(Action::Set(Hold { name: name.clone(), from_micros, to_micros }), why, now);
            add(dir, &act)?;
            writeln!(out, "{}", act.sentence())?;
        }
        Command::Remove { name, why, dir } => {
            let act = act(Action::Lift { name: name.clone() }, why, now);
            add(dir, &act)?;
            writeln!(out, "{}", act.sentence())?;
        }
        Command::List { all, output, dir } => {
            let holds = active(dir)?;
            for act in read(dir)? {
                let in_force = matches!(&act.action, Action::Set(hold) if holds.contains(hold));
                match output {
                    _ if !all && !in_force => {}
                    Output::Json => writeln!(out, "{}", serde_json::to_string(&act)?)?,
                    Output::Text => writeln!(out, "{}  {}", time_text(act.time_micros), act.sentence())?,
                }
            }
        }
    }
    Ok(0)
}

fn act(action: Action, why: &Why, now: Timestamp) -> Act {
    // The kernel knows who this is; names are only what the shell says.
    let uid = std::fs::metadata("/proc/self").map_or_else(|_| "?".to_owned(), |own| own.uid().to_string());
    let name = ["SUDO_USER", "USER"].iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default();
    let user = if name.is_empty() { format!("uid {uid}") } else { format!("{name} (uid {uid})") };
    let by = why.by.as_ref().map_or_else(|| user.clone(), |by| format!("{by}, entered by {user}"));
    Act { action, by, reason: why.reason.clone(), time_micros: now.0 }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::cli::parsed::parsed;

    #[test]
    fn a_hold_is_set_listed_and_lifted() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().to_str().unwrap();
        let output = |words: &[&str]| -> anyhow::Result<String> {
            let mut out = Vec::new();
            run(&parsed::<Args>(words).unwrap(), Timestamp(1_700_000_000_000_000), &mut out)?;
            Ok(String::from_utf8(out).unwrap())
        };
        let set = [
            "hold",
            "add",
            "case-7",
            "--from",
            "2026-01-01",
            "--reason",
            "letter of 3 May",
            "--by",
            "Dora",
            "--dir",
            dir,
        ];
        let text = output(&set).unwrap();
        assert!(
            text.contains("case-7 set on evidence from 2026-01-01T00:00:00") && text.contains("by Dora, entered by")
        );
        assert!(output(&set).unwrap_err().to_string().contains("already"));
        let list = output(&["hold", "list", "--dir", dir]).unwrap();
        assert!(list.starts_with("2023-11-14T22:13:20") && list.contains("letter of 3 May"), "{list}");
        output(&["hold", "remove", "case-7", "--reason", "settled", "--dir", dir]).unwrap();
        assert_eq!(output(&["hold", "list", "--dir", dir]).unwrap(), "");
        let all = output(&["hold", "list", "--all", "-o", "json", "--dir", dir]).unwrap();
        let lines: Vec<serde_json::Value> = all.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((lines.len(), &lines[1]["action"], &lines[1]["reason"]), (2, &"lift".into(), &"settled".into()));
    }
}
