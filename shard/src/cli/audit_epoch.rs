//! `tidegate audit index` and `tidegate audit epoch`: the indexes of subjects, and the secrets of their tags.
//!
//! Destroying an epoch's secret makes its tags say nothing for ever, to anybody; no byte of the evidence
//! changes, so it verifies as before. A disk and its copies may remember: that is their owner's matter.
//!
//! Exit code: 0; 1 where an index is not the one that the evidence commits to; 64 where an argument is wrong.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use tidegate_audit::directory::{segment_path, segments, shards};
use tidegate_audit::query::{Indexes, Query, Search};
use tidegate_audit::subject::index::{self, SubjectIndex};
use tidegate_audit::subject::keys::{INDEX_KEYS_FILE, IndexKeys};
use tidegate_audit::tail::Item;
use tidegate_core::event::Kind;

use super::audit_subject::index_keys;
use super::question::{Asked, Gateway};

/// Builds the indexes of subjects that are missing
#[derive(Debug, Clone, clap::Args)]
pub struct IndexArgs {
    /// The evidence directory, or a copy of it
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// The file of the tags' secrets [default: index.keys in DIR]
    #[arg(long, value_name = "FILE")]
    pub index_keys: Option<PathBuf>,
    /// Compare every index with what the gateway put into the evidence when it made it
    #[arg(long)]
    pub check: bool,
    /// Make all of them anew
    #[arg(long)]
    pub rebuild: bool,
}

/// Builds or checks indexes and returns the exit code.
///
/// # Errors
/// An argument is wrong, or a file cannot be read or written.
pub fn run_index(args: &IndexArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let keys = index_keys(&args.dir, args.index_keys.as_deref())?;
    let (mut built, mut there, mut without) = (0, 0, 0);
    for (_, directory) in shards(&args.dir).with_context(|| format!("cannot read {}", args.dir.display()))? {
        for first in segments(&directory).with_context(|| format!("cannot read {}", directory.display()))? {
            let path = segment_path(&directory, first);
            if args.rebuild {
                index::remove(&path).with_context(|| path.display().to_string())?;
            }
            let is_there = keys.epochs().iter().any(|secret| SubjectIndex::open(&path, secret).is_ok());
            if is_there {
                there += 1;
                continue;
            }
            let mut made = false;
            for secret in keys.epochs() {
                made = made || SubjectIndex::build(&path, secret).with_context(|| path.display().to_string())?;
            }
            if made { built += 1 } else { without += 1 }
        }
    }
    writeln!(
        out,
        "{built} indexes built, {there} were there, {without} segments have none (not sealed, no tags, or no secret)"
    )?;
    if !args.check {
        return Ok(0);
    }
    let wrong = check(&args.dir, out)?;
    Ok(u8::from(wrong > 0))
}

/// Compares indexes with the evidence's own entries about them.
fn check(dir: &Path, out: &mut dyn Write) -> anyhow::Result<u64> {
    let query = Query { kinds: vec![Kind::SubjectIndex as i32], ..Query::default() };
    let mut search = Search::new(dir, None, query, Indexes::Ignore)?;
    let (mut right, mut wrong, mut gone) = (0, 0, 0);
    while let Some(item) = search.next()? {
        let Item::Entry(entry) = item else { continue };
        let Some((name, hash)) = index::parse_commitment(&entry.event.detail) else { continue };
        let path = dir.join(name);
        if !path.exists() {
            gone += 1;
            continue;
        }
        if SubjectIndex::commitment(&path).is_ok_and(|found| found == hash) {
            right += 1;
        } else {
            wrong += 1;
            let (shard, sequence) = (entry.shard, entry.sequence);
            writeln!(
                out,
                "{}: not the index that entry {shard}/{sequence} commits to",
                index::subjects_path(&path).display()
            )?;
        }
    }
    writeln!(out, "{right} indexes are those of the evidence, {wrong} are not, {gone} segments are gone")?;
    Ok(wrong)
}

/// Shows, begins or destroys epochs of the tags' secrets
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "A new epoch is used from the gateway's next start on. Destroying one cannot be undone.")]
pub struct EpochArgs {
    /// The evidence directory, or a copy of it
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// The file of the tags' secrets [default: index.keys in DIR]
    #[arg(long, value_name = "FILE")]
    pub index_keys: Option<PathBuf>,
    /// Begin a new epoch with a new secret
    #[arg(long)]
    pub begin: bool,
    /// Destroy the secret of this epoch: nobody can be looked for in its entries any more
    #[arg(long, value_name = "EPOCH", conflicts_with = "begin")]
    pub destroy: Option<u32>,
    /// Where it is put into evidence.
    #[command(flatten)]
    pub gateway: Gateway,
}

/// Destroys the secret of an epoch: nobody can be looked for in its entries any more (crypto-shredding)
#[derive(Debug, Clone, clap::Args)]
pub struct ShredArgs {
    /// The evidence directory
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// The epoch; `tidegate audit epoch DIR` lists them
    #[arg(long)]
    pub epoch: u32,
    /// The file of the tags' secrets [default: index.keys in DIR]
    #[arg(long, value_name = "FILE")]
    pub index_keys: Option<PathBuf>,
    /// Where it is put into evidence.
    #[command(flatten)]
    pub gateway: Gateway,
}

/// As `audit epoch --destroy`.
///
/// # Errors
/// As there.
pub fn run_shred(args: &ShredArgs, out: &mut dyn Write, errors: &mut dyn Write) -> anyhow::Result<u8> {
    let ShredArgs { dir, epoch, index_keys, gateway } = args.clone();
    run_epoch(&EpochArgs { dir, index_keys, begin: false, destroy: Some(epoch), gateway }, out, errors)
}

/// Shows or changes epochs and returns the exit code.
///
/// # Errors
/// An argument is wrong, or the file cannot be read or written.
pub fn run_epoch(args: &EpochArgs, out: &mut dyn Write, errors: &mut dyn Write) -> anyhow::Result<u8> {
    let path = args.index_keys.clone().unwrap_or_else(|| args.dir.join(INDEX_KEYS_FILE));
    let mut keys: IndexKeys = index_keys(&args.dir, Some(&path))?;
    let record = |what: String, errors: &mut dyn Write| -> anyhow::Result<()> {
        let asked = Asked { question: what, tags: Vec::new(), entries: 0, why: args.gateway.why.clone() };
        if let Err(reason) = args.gateway.record(&args.dir, &asked) {
            writeln!(errors, "tidegate: this is not in the evidence: {reason}")?;
        }
        Ok(())
    };
    if let Some(epoch) = args.destroy {
        if keys.epochs().last().is_some_and(|last| last.epoch == epoch) {
            bail!(
                "epoch {epoch} is the newest, which a gateway tags with: begin another (`tidegate audit epoch --begin`), restart the gateway, then destroy it"
            );
        }
        keys.destroy(&path, epoch)?;
        for (_, directory) in shards(&args.dir).with_context(|| format!("cannot read {}", args.dir.display()))? {
            for first in segments(&directory).with_context(|| format!("cannot read {}", directory.display()))? {
                let segment = segment_path(&directory, first);
                if SubjectIndex::epoch(&segment) == Some(epoch) {
                    index::remove(&segment).with_context(|| segment.display().to_string())?;
                }
            }
        }
        record(format!("secret of subjects' tags, epoch {epoch}, destroyed"), errors)?;
        writeln!(out, "the secret of epoch {epoch} is destroyed; copies of {} still have it", path.display())?;
    } else if args.begin {
        let epoch = keys.begin_epoch(&path)?;
        record(format!("epoch {epoch} of subjects' tags begun"), errors)?;
        writeln!(out, "epoch {epoch} begins with the gateway's next start")?;
    } else {
        for secret in keys.epochs() {
            let state = if secret.secret.is_some() { "usable" } else { "destroyed" };
            writeln!(out, "{} {state}", secret.epoch)?;
        }
    }
    Ok(0)
}
