//! `tidegate audit prove`: writes a proof that one entry is part of the evidence, for somebody who gets
//! nothing else of it.
//!
//! Exit code: 0; 1 where the entry is not there, not signed yet, or not what was signed; 64 where an
//! argument is wrong.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context as _;
use tidegate_audit::prove::prove;
use tidegate_audit::verify::trusted;

use super::audit_verify::trusted_keys;

/// Writes a proof that an entry is part of the evidence (C2SP tlog-proof)
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The entry, as `audit tail` and `audit query` show it, for instance 0/4711
    #[arg(value_name = "SHARD/SEQ", value_parser = parse_entry)]
    pub entry: (u32, u64),
    /// The evidence directory, or a copy of it
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// The public keys that are trusted; by default those beside the evidence
    #[arg(long, value_name = "FILE")]
    pub key: Vec<PathBuf>,
    /// Where to write the proof; by default to the standard output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

fn parse_entry(text: &str) -> Result<(u32, u64), String> {
    let (shard, sequence) = text.split_once('/').ok_or("not of the form SHARD/SEQ")?;
    let number = |error: std::num::ParseIntError| format!("not of the form SHARD/SEQ: {error}");
    Ok((shard.parse().map_err(number)?, sequence.parse().map_err(number)?))
}

/// Runs the command and returns its exit code; what cannot be proven is said on `errors`.
///
/// # Errors
/// An argument is wrong, or the proof cannot be written.
pub fn run(args: &Args, out: &mut dyn Write, errors: &mut dyn Write) -> anyhow::Result<u8> {
    let (keys, _) = trusted_keys(&args.dir, &args.key)?;
    let keys = trusted(&args.dir, &keys).with_context(|| args.dir.display().to_string())?;
    let (shard, sequence) = args.entry;
    let proof = match prove(&args.dir, shard, sequence, &keys) {
        Ok(proof) => proof.encode(),
        Err(error) => {
            writeln!(errors, "tidegate: {error}")?;
            return Ok(1);
        }
    };
    match &args.out {
        Some(path) => std::fs::write(path, proof).with_context(|| format!("--out {}", path.display()))?,
        None => out.write_all(proof.as_bytes())?,
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidegate_audit::keys::load_or_make;
    use tidegate_audit::log::{LogOptions, ShardLog};
    use tidegate_core::event::Event;
    use tidegate_core::words::Timestamp;

    use super::*;
    use crate::cli::parsed::parsed;

    #[test]
    fn a_proof_is_written_or_refused() {
        let root = tempfile::tempdir().unwrap();
        let signer = Some(Arc::new(load_or_make(root.path(), None, "gw").unwrap().signer));
        let options = LogOptions { segment_bytes: 2 << 20, signer, ..LogOptions::default() };
        let (mut log, _) = ShardLog::open(root.path(), 0, "gw", options, Timestamp(0)).unwrap();
        log.append(&Event::default());
        log.close().unwrap();
        let run = |words: &[&str]| {
            let args = parsed::<Args>(["prove"].iter().chain(words).copied()).unwrap();
            let (mut out, mut errors) = (Vec::new(), Vec::new());
            let code = run(&args, &mut out, &mut errors).unwrap();
            (code, String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap())
        };
        let dir = root.path().to_str().unwrap();
        let (code, proof, _) = run(&["0/0", dir]);
        assert!(
            code == 0 && proof.starts_with("c2sp.org/tlog-proof@v1\nextra ") && proof.contains("\ngw/shard-000\n1\n"),
            "{proof}"
        );
        let file = root.path().join("proof");
        assert_eq!(run(&["0/0", dir, "--out", file.to_str().unwrap()]), (0, String::new(), String::new()));
        assert_eq!(std::fs::read_to_string(file).unwrap(), proof);
        let (code, _, said) = run(&["0/9", dir]);
        assert!(code == 1 && said.contains("shard 0 has no entry 9 here"), "{said}");
        for entry in ["1", "a/1", "1/", "0/-1", "0/0/0"] {
            assert!(parsed::<Args>(["prove", entry, dir]).is_err(), "{entry}");
        }
    }
}
