//! The issuer's signing keys: made here, kept in files that only the gateway may read, rotated so that no verifier
//! ever meets a key that it could not have fetched.
//!
//! A key's life: published, for [`PUBLISHED_AHEAD`] at least; signing, until the next key's first use; served on, until
//! the last token that it signed has ended; gone, its file too. When each step happens follows from the keys' own
//! times, so a restart changes nothing. Of two keys of one algorithm the one whose first use came last signs. Where
//! another algorithm is configured, its first key is published ahead like any other, and the keys of before sign on
//! until then: only the very first start has keys that nobody could have fetched.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidegate_core::words::Timestamp;
use tidegate_policy::identity::KeySet;
use zeroize::{Zeroize as _, Zeroizing};

use crate::config::tokens::{LIFETIME_MAX, PUBLISHED_AHEAD};
use crate::tokens::{SigningKey, TokenAlgorithm};

/// The folder of the keys' files, in the authority's.
const FOLDER: &str = "issuer-keys";
/// How long a key is served after its last signature: the longest token, and clocks that differ.
const SERVED_AFTER: Duration = Duration::from_secs(LIFETIME_MAX.as_secs() + 300);
/// Key files that are read. A ring has two to four.
const KEYS_MAX: usize = 64;

/// A key's file: JSON, readable by the gateway's user only.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    v: u32,
    algorithm: TokenAlgorithm,
    /// When it was published.
    published: Timestamp,
    /// When it signs first.
    first_use: Timestamp,
    /// PKCS #8, base64.
    pkcs8: String,
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        self.pkcs8.zeroize();
    }
}

/// A key and its times.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The key.
    pub key: Arc<SigningKey>,
    /// When it was published.
    pub published: Timestamp,
    /// When it signs first.
    pub first_use: Timestamp,
}

/// What a look at the clock changed.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// A new key is in the key set, and signs from its first use on.
    Published(Entry),
    /// A key has left the key set.
    Retired(Entry),
}

/// The keys of all algorithms that are in use.
#[derive(Debug)]
pub(crate) struct KeyRing {
    folder: PathBuf,
    algorithms: Vec<TokenAlgorithm>,
    rotation: Duration,
    entries: Vec<Entry>,
    /// The first look at the clock.
    since: Option<Timestamp>,
}

impl KeyRing {
    /// Reads the keys in `directory`. [`Self::turn`] makes those that are missing.
    ///
    /// # Errors
    /// A sentence that names the file or folder that cannot be used, and shows nothing of a key.
    pub(crate) fn open(
        directory: &Path,
        mut algorithms: Vec<TokenAlgorithm>,
        rotation: Duration,
    ) -> anyhow::Result<Self> {
        algorithms.sort_unstable();
        algorithms.dedup();
        let folder = directory.join(FOLDER);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let mut entries = Vec::new();
        for file in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = file.with_context(|| format!("cannot read {}", folder.display()))?.path();
            if path.extension().is_some_and(|extension| extension == "key") {
                entries.push(read(&path).with_context(|| format!("{} cannot be used", path.display()))?);
            }
            if entries.len() > KEYS_MAX {
                anyhow::bail!("{} holds more than {KEYS_MAX} keys; a ring has two to four", folder.display());
            }
        }
        entries.sort_by_key(|entry| entry.first_use);
        Ok(Self { folder, algorithms, rotation, entries, since: None })
    }

    /// Brings the ring up to `now`: makes keys that are missing or due, and drops those that have had their time.
    ///
    /// # Errors
    /// A sentence; the ring is then as it was, and it is worth trying again.
    pub(crate) fn turn(&mut self, now: Timestamp) -> anyhow::Result<Vec<Change>> {
        let mut changes = Vec::new();
        self.since.get_or_insert(now);
        let is_first_start = self.entries.is_empty();
        for algorithm in self.algorithms.clone() {
            let newest = self.of(algorithm).last().map(|entry| entry.first_use);
            let first_use = match newest {
                None if is_first_start => Some(now),
                None => Some(now.plus_millis(millis(PUBLISHED_AHEAD))),
                // Made an hour and more before it is due, or at once where that time was slept through.
                Some(newest) => {
                    let due = newest.plus_millis(millis(self.rotation));
                    let soonest = now.plus_millis(millis(PUBLISHED_AHEAD));
                    (soonest >= due).then_some(soonest.max(due))
                }
            };
            if let Some(first_use) = first_use {
                let entry = self.make(algorithm, now, first_use)?;
                changes.push(Change::Published(entry));
            }
        }
        let gone: Vec<Entry> = self.entries.iter().filter(|entry| self.is_past(entry, now)).cloned().collect();
        for entry in gone {
            self.entries.retain(|other| other.key.kid() != entry.key.kid());
            // What stays on the disk by accident is dropped at the next start.
            let _ = fs::remove_file(self.path_of(&entry.key));
            changes.push(Change::Retired(entry));
        }
        Ok(changes)
    }

    /// The key that signs at `now`: one of `algorithm`, or, where the first of it is not in use yet, one of another.
    pub(crate) fn signer(&self, algorithm: TokenAlgorithm, now: Timestamp) -> Option<&Arc<SigningKey>> {
        let is_used = |entry: &&Entry| entry.first_use <= now;
        let of_others = || self.entries.iter().rfind(is_used);
        self.of(algorithm).rfind(is_used).or_else(of_others).map(|entry| &entry.key)
    }

    /// All keys, in the order of their first use.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// When [`Self::turn`] or [`Self::signer`] next gives something else, at the latest.
    pub(crate) fn next_change(&self, now: Timestamp) -> Timestamp {
        let to_come = self.entries.iter().map(|entry| entry.first_use).filter(|first_use| *first_use > now);
        let due = self.algorithms.iter().filter_map(|algorithm| {
            let newest = self.of(*algorithm).last()?;
            Some(newest.first_use.plus_millis(millis(self.rotation) - millis(PUBLISHED_AHEAD)))
        });
        to_come.chain(due).min().unwrap_or(now).max(now)
    }

    /// Every key that verifiers should know, newest first (RFC 7517 §5).
    pub(crate) fn jwks(&self) -> Value {
        let keys: Vec<Value> = self.entries.iter().rev().map(|entry| entry.key.public_jwk()).collect();
        json!({ "keys": keys })
    }

    /// The same for the gateway's own data plane.
    ///
    /// # Errors
    /// Where a key of ours is none for verifiers: a fault.
    pub(crate) fn key_set(&self) -> anyhow::Result<KeySet> {
        Ok(KeySet::parse(self.jwks().to_string().as_bytes())?)
    }

    fn of(&self, algorithm: TokenAlgorithm) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.key.algorithm() == algorithm)
    }

    /// Whether nothing that this key signed can still be good: its successor has signed for long enough. Keys of an
    /// algorithm that is configured no longer may have signed until this process began, or until every algorithm that
    /// is configured had a key in use.
    fn is_past(&self, entry: &Entry, now: Timestamp) -> bool {
        let successor = self
            .of(entry.key.algorithm())
            .map(|other| other.first_use)
            .find(|first_use| *first_use > entry.first_use)
            .or_else(|| {
                let unused = !self.algorithms.contains(&entry.key.algorithm());
                let firsts = self.algorithms.iter().map(|other| self.of(*other).next().map(|first| first.first_use));
                let all_used = firsts.chain([self.since]).max().flatten();
                all_used.filter(|_| unused)
            });
        successor.is_some_and(|successor| successor.plus_millis(millis(SERVED_AFTER)) <= now)
    }

    fn make(&mut self, algorithm: TokenAlgorithm, now: Timestamp, first_use: Timestamp) -> anyhow::Result<Entry> {
        let (key, pkcs8) = SigningKey::generate(algorithm)?;
        let path = self.path_of(&key);
        let pkcs8 = STANDARD.encode(&*pkcs8);
        let file = KeyFile { v: 1, algorithm, published: now, first_use, pkcs8 };
        write(&path, &file).with_context(|| format!("cannot write {}", path.display()))?;
        let entry = Entry { key: Arc::new(key), published: now, first_use };
        self.entries.push(entry.clone());
        self.entries.sort_by_key(|entry| entry.first_use);
        Ok(entry)
    }

    fn path_of(&self, key: &SigningKey) -> PathBuf {
        self.folder.join(format!("{}.key", key.kid()))
    }
}

fn read(path: &Path) -> anyhow::Result<Entry> {
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        anyhow::bail!(
            "others may read it (mode {:o}); `chmod 600` it, or remove it and a new key is made",
            mode & 0o777
        );
    }
    let text = Zeroizing::new(fs::read(path)?);
    // serde's words could quote the key.
    let file: KeyFile = serde_json::from_slice(&text).map_err(|_| anyhow::anyhow!("it is no signing key's file"))?;
    if file.v != 1 {
        anyhow::bail!("it is of version {}, which this tidegate does not know", file.v);
    }
    let pkcs8 = STANDARD.decode(&file.pkcs8).map(Zeroizing::new).map_err(|_| crate::tokens::KeyError::Unusable)?;
    let key = SigningKey::from_pkcs8(file.algorithm, &pkcs8)?;
    Ok(Entry { key: Arc::new(key), published: file.published, first_use: file.first_use })
}

/// Written whole or not at all, and on the disk before anybody hears of the key.
fn write(path: &Path, file: &KeyFile) -> anyhow::Result<()> {
    let text = Zeroizing::new(serde_json::to_vec(file)?);
    let new = path.with_extension("new");
    let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    out.write_all(&text)?;
    out.sync_all()?;
    fs::rename(&new, path)?;
    if let Some(folder) = path.parent() {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: i64 = 3_600_000;
    /// When the next key is due, where one signs for a day.
    const DUE: i64 = 24 * HOUR - 65 * 60_000;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_secs(1_000_000).plus_millis(millis)
    }

    fn ring(folder: &Path) -> KeyRing {
        KeyRing::open(folder, vec![TokenAlgorithm::ES256], Duration::from_secs(24 * 3600)).unwrap()
    }

    fn kids(ring: &KeyRing) -> Vec<String> {
        let jwks = ring.jwks();
        jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_key_is_published_an_hour_before_it_signs_and_served_until_its_tokens_ended() {
        let folder = tempfile::tempdir().unwrap();
        let mut ring = ring(folder.path());
        assert_eq!(ring.turn(at(0)).unwrap().len(), 1);
        let first = ring.signer(TokenAlgorithm::ES256, at(0)).unwrap().kid().clone();
        assert!(ring.turn(at(DUE - 1)).unwrap().is_empty());
        assert_eq!(ring.next_change(at(0)), at(DUE));
        assert_eq!(ring.turn(at(DUE)).unwrap().len(), 1);
        assert_eq!(kids(&ring).len(), 2);
        assert_eq!(ring.signer(TokenAlgorithm::ES256, at(24 * HOUR - 1)).unwrap().kid(), &first);
        let second = ring.signer(TokenAlgorithm::ES256, at(24 * HOUR)).unwrap().kid().clone();
        assert_ne!(first, second);
        assert!(ring.turn(at(24 * HOUR + 20 * 60_000 - 1)).unwrap().is_empty());
        let gone = ring.turn(at(24 * HOUR + 20 * 60_000)).unwrap();
        assert!(matches!(gone.as_slice(), [Change::Retired(entry)] if *entry.key.kid() == first));
        assert_eq!(kids(&ring), [second.to_string()]);
    }

    #[test]
    fn keys_survive_a_restart_and_lie_where_nobody_else_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        let mut before = ring(folder.path());
        before.turn(at(0)).unwrap();
        let after = ring(folder.path());
        assert_eq!(kids(&before), kids(&after));
        let path = folder.path().join(FOLDER).join(format!("{}.key", kids(&after)[0]));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(folder.path().join(FOLDER)).unwrap().permissions().mode() & 0o777, 0o700);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let open = || KeyRing::open(folder.path(), vec![TokenAlgorithm::ES256], Duration::from_secs(86_400));
        assert!(format!("{:#}", open().unwrap_err()).contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let secret = fs::read_to_string(&path).unwrap();
        fs::write(&path, &secret[..secret.len() - 10]).unwrap();
        let error = format!("{:#}", open().unwrap_err());
        assert!(error.contains("no signing key") && !error.contains("MI"), "{error}");
    }

    #[test]
    fn another_algorithm_is_published_ahead_and_the_keys_of_before_sign_until_then() {
        use TokenAlgorithm::{ES256, EdDSA};
        let folder = tempfile::tempdir().unwrap();
        let day = Duration::from_secs(24 * 3600);
        let open = |algorithms: &[TokenAlgorithm]| KeyRing::open(folder.path(), algorithms.to_vec(), day).unwrap();
        // Two at the very first start: each signs at once, with its own.
        let mut both = open(&[ES256, EdDSA]);
        assert_eq!(both.turn(at(0)).unwrap().len(), 2);
        for algorithm in [ES256, EdDSA] {
            assert_eq!(both.signer(algorithm, at(0)).unwrap().algorithm(), algorithm);
        }

        let folder = tempfile::tempdir().unwrap();
        let open = |algorithm| KeyRing::open(folder.path(), vec![algorithm], day).unwrap();
        open(ES256).turn(at(0)).unwrap();
        // Weeks later another one is configured. What was signed until then stays good for as long as it lives.
        let restart = at(1000 * HOUR);
        let mut ring = open(EdDSA);
        let changes = ring.turn(restart).unwrap();
        let [Change::Published(next)] = &changes[..] else { panic!("{changes:?}") };
        assert!(next.first_use.millis_since(restart) >= HOUR);
        let before = next.first_use.plus_millis(-1);
        for now in [restart, before] {
            assert!(ring.turn(now).unwrap().is_empty());
            assert_eq!(ring.signer(EdDSA, now).unwrap().algorithm(), ES256, "nobody has fetched the new one yet");
        }
        assert_eq!(ring.signer(EdDSA, next.first_use).unwrap().algorithm(), EdDSA);
        assert!(ring.turn(next.first_use.plus_millis(19 * 60_000)).unwrap().is_empty(), "its last tokens live still");
        let gone = ring.turn(next.first_use.plus_millis(20 * 60_000)).unwrap();
        assert!(matches!(&gone[..], [Change::Retired(entry)] if entry.key.algorithm() == ES256), "{gone:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Whatever the pauses between looks at the clock: what signs has been published for an hour, but for the
        /// very first key, and what was signed in the last fifteen minutes is in the key set.
        #[test]
        fn a_signing_key_was_published_long_enough(pauses in proptest::collection::vec(1..30 * HOUR, 1..12)) {
            let folder = tempfile::tempdir().unwrap();
            let mut ring = ring(folder.path());
            let (mut now, mut signed) = (at(0), Vec::<(Timestamp, Arc<str>)>::new());
            for pause in pauses {
                ring.turn(now).unwrap();
                let signer = ring.signer(TokenAlgorithm::ES256, now).unwrap();
                let entry = ring.entries.iter().find(|entry| entry.key.kid() == signer.kid()).unwrap();
                let first = entry.published == at(0);
                prop_assert!(first || now.millis_since(entry.published) >= HOUR);
                signed.push((now, signer.kid().clone()));
                now = now.plus_millis(pause);
                ring.turn(now).unwrap();
                for (when, kid) in &signed {
                    if now.millis_since(*when) <= 15 * 60_000 {
                        prop_assert!(kids(&ring).contains(&kid.to_string()));
                    }
                }
            }
        }
    }
}
