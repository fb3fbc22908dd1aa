//! `tidegate audit key`: which keys have signed the evidence, and replacing the one that does.
//!
//! The work is the audit crate's (`keys::rotation`). Rotating needs the gateway's configuration, for where the
//! evidence and the key are, and a gateway that does not run: the old key's use ends where its evidence ends.
//!
//! Exit code: 0; 64 where an argument is wrong, a file cannot be read, or the gateway runs.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Subcommand;
use tidegate_audit::json::time_text;
use tidegate_audit::keys::rotation::{rotate, rotations};
use tidegate_audit::keys::{VERIFIER_FILE, read_verifier_keys};
use tidegate_audit::log::LogOptions;
use tidegate_core::words::Timestamp;

use crate::config::Config;

/// Shows or replaces the key that signs the evidence
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Draw a new key and announce it, signed with both; the gateway must not run
    Rotate {
        /// The gateway's configuration
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Where the new key goes; by default it takes the place of the old one, which is then gone
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// List the keys, the newest last, and where each one's use ended
    Show {
        /// The evidence directory, or a copy of it
        #[arg(value_name = "DIR", default_value = "evidence")]
        dir: PathBuf,
    },
}

/// Runs the command and returns its exit code.
///
/// # Errors
/// An argument is wrong, a file cannot be read or written, or the gateway runs.
pub fn run(args: &Args, now: Timestamp, out: &mut dyn Write) -> anyhow::Result<u8> {
    match &args.command {
        Command::Rotate { config, out: to } => {
            let config = Config::load(config).map_err(|problems| {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                anyhow::anyhow!("{}", problems.join("\n"))
            })?;
            let options = LogOptions {
                segment_bytes: config.evidence.segment_bytes,
                entry_bytes_max: config.limits.evidence_entry_bytes_max,
                ..LogOptions::default()
            };
            let evidence = &config.evidence;
            let key = evidence.signing_key_file.as_deref();
            let done = rotate(&evidence.directory, key, to.as_deref(), &config.origin, &options, now)?;
            writeln!(out, "the evidence goes on with another key")?;
            writeln!(out, "  before: {}", done.rotation.old)?;
            writeln!(out, "  now:    {}", done.rotation.new)?;
            writeln!(out, "  in:     {}", done.key.display())?;
            writeln!(out, "  announced in {}, signed with both keys", done.note.display())?;
            if to.is_some() {
                writeln!(out, "  the gateway starts again once evidence.signing_key_file names the new file")?;
            }
            writeln!(out, "  keep a copy of the new public key and of the announcement where you keep the old one's")?;
        }
        Command::Show { dir } => show(dir, out)?,
    }
    Ok(0)
}

fn show(dir: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
    let keys = read_verifier_keys(&dir.join(VERIFIER_FILE))?;
    let rotations = rotations(dir).with_context(|| dir.display().to_string())?;
    for key in keys {
        writeln!(out, "{key}")?;
        for (path, rotation) in &rotations {
            match rotation {
                Ok(rotation) if rotation.old == key => {
                    let ends: Vec<String> =
                        rotation.ends.iter().map(|(shard, end)| format!("shard {shard} at {}", end.size)).collect();
                    writeln!(
                        out,
                        "  replaced {} (announcement {}); its use ended in {}",
                        time_text(rotation.time_micros),
                        rotation.number,
                        if ends.is_empty() { "no shard".to_owned() } else { ends.join(", ") }
                    )?;
                }
                Ok(_) => {}
                Err(error) => anyhow::bail!("{}: {error}", path.display()),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tidegate_audit::keys::load_or_make;

    use super::*;
    use crate::cli::parsed::parsed;

    #[test]
    fn keys_and_where_their_use_ended() {
        let root = tempfile::tempdir().unwrap();
        let old = load_or_make(root.path(), None, "gw").unwrap();
        let now = Timestamp(1_700_000_000_000_000);
        let done = rotate(root.path(), None, None, "gw", &LogOptions::default(), now).unwrap();
        let args = parsed::<Args>(["key", "show", root.path().to_str().unwrap()]).unwrap();
        let mut out = Vec::new();
        assert_eq!(run(&args, now, &mut out).unwrap(), 0);
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], lines[2]), (&*old.signer.verifier().to_string(), &*done.rotation.new.to_string()));
        assert!(lines[1].contains("replaced 2023-11-14T22:13:20") && lines[1].contains("no shard"), "{text}");

        let missing = parsed::<Args>(["key", "rotate", "--config", "/nonexistent/t.yaml"]).unwrap();
        assert!(run(&missing, now, &mut Vec::new()).unwrap_err().to_string().contains("/nonexistent/t.yaml"));
    }
}
