//! Recordings read from their files, and held against the evidence.

use std::path::Path;

use tidegate_audit::recording::check::check;
use tidegate_audit::recording::format::{End, Exchange, Header};
use tidegate_audit::recording::ledger::Ledger;
use tidegate_audit::recording::read::{Reader, Step};
use tidegate_audit::recording::seal::SecretKey;
use tidegate_audit::recording::{self, Found, RecordingId};
use tidegate_audit::verify::Finding;

/// A recording in memory: bounded by the gateway's own bound of a session.
#[derive(Debug)]
pub(super) struct Recording {
    pub(super) id: RecordingId,
    pub(super) shard: u32,
    pub(super) header: Header,
    /// In the order in which they were done.
    pub(super) exchanges: Vec<Exchange>,
    /// `None` where it is under way, or a crash ended it.
    pub(super) end: Option<End>,
    /// Why no more of it could be read.
    pub(super) broken: Option<String>,
    /// Where it is not what the evidence says.
    pub(super) findings: Vec<Finding>,
    /// Chunks that the evidence covers, and that it does not cover yet.
    pub(super) chunks: (u64, u64),
    /// Who watched it.
    pub(super) watched: Vec<(i64, String)>,
}

/// Said where contents cannot be read without a key.
pub(super) const SEALED: &str = "its contents are sealed; an auditor's secret key (--key) opens them";

/// The files of the recording that `id` means: a session, or one part.
pub(super) fn find(dir: &Path, id: &str) -> Result<Vec<Found>, String> {
    let all = recording::list(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let part = RecordingId::parse(id);
    let is_meant = |found: &Found| match (&found.id, &part) {
        (Some(own), Some(part)) => own == part,
        (Some(own), None) => own.session.eq_ignore_ascii_case(id),
        (None, _) => false,
    };
    let found: Vec<Found> = all.into_iter().filter(is_meant).collect();
    if found.is_empty() {
        let dir = dir.display();
        return Err(format!("there is no recording of {id} in {dir}; `tidegate session list --dir {dir}` lists them"));
    }
    Ok(found)
}

/// Reads them.
pub(super) fn load(dir: &Path, id: &str, found: &[Found], key: Option<&SecretKey>) -> Result<Vec<Recording>, String> {
    let session = found.first().and_then(|found| found.id.as_ref()).map(|id| id.session.clone());
    let ledger = Ledger::read(dir, session.as_deref()).map_err(|error| error.to_string())?;
    found.iter().map(|found| one(dir, found, &ledger, key).map_err(|error| format!("{id}: {error}"))).collect()
}

fn one(dir: &Path, found: &Found, ledger: &Ledger, key: Option<&SecretKey>) -> Result<Recording, String> {
    let Some(id) = found.id.clone() else { return Err("no recording has this name".to_owned()) };
    let own = (found.shard, id.clone());
    let account = ledger.accounts.get(&own);
    // Only this one: others of the session are looked at by themselves.
    let accounts = account.map(|account| (own, account.clone())).into_iter().collect();
    let (counts, findings) = check(dir, found.shard, std::slice::from_ref(found), &accounts, None);
    let mut reader = Reader::open(&found.path).map_err(|error| error.to_string())?;
    if let Some(key) = key.filter(|_| reader.is_sealed()) {
        reader.unlock(key).map_err(|error| error.to_string())?;
    }
    let mut recording = Recording {
        id,
        shard: found.shard,
        header: reader.header().clone(),
        exchanges: Vec::new(),
        end: None,
        broken: None,
        findings,
        chunks: (counts.chunks, counts.uncovered),
        watched: account.map(|account| account.watched.clone()).unwrap_or_default(),
    };
    if reader.is_sealed() && key.is_none() {
        recording.broken = Some(SEALED.to_owned());
        return Ok(recording);
    }
    loop {
        match reader.step() {
            Ok(Step::Exchanges(exchanges)) => recording.exchanges.extend(exchanges),
            Ok(Step::End(end)) => {
                recording.end = Some(end);
                break;
            }
            Ok(Step::Open(_)) => break,
            Err(error) => {
                recording.broken = Some(error.to_string());
                break;
            }
        }
    }
    Ok(recording)
}
