//! Logins that go on, as they are kept: in memory, and in a file beside the control log, so that a restart ends none.
//!
//! The file holds no secret that opens anything by itself. Of a refresh token it has the hash; the refresh token that
//! an identity provider gave is sealed with a key that is made of the client's own, so that only he who presents that
//! opens it. A line is a login as it now stands, or its end, with a checksum; it is on the disk before the client has
//! the token that it tells of. What a crash tore at the end is cut off. A file that was damaged otherwise is put
//! aside: then people log in anew.
//!
//! A refresh token has two parts: which login it is of, and what makes it the current one. So one that was used before
//! is known for what it is, however many there were. Bounded: logins, the tokens of one that live at the same time,
//! and the file, which is written anew when most of it is past.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use tidegate_core::words::{Principal, Timestamp};
use tidegate_policy::authority::Actor;
use zeroize::Zeroizing;

use crate::tokens::secret::{SecretHash, draw};
use crate::upstream::Secret;

/// Logins that go on at the same time.
const FAMILIES_MAX: usize = 20_000;
/// Refreshes of one login: a month of them at five minutes each.
const USES_MAX: u32 = 10_000;
/// Access tokens of one login that live at the same time. One is refreshed once in minutes.
const TOKENS_MAX: usize = 32;
/// What a refresh token begins with.
const PREFIX: &str = "tgr_";
/// Characters of each of its two parts: 256 bits in base64url.
const PART_CHARS: usize = 43;
/// The file's name in the authority's folder.
const FILE: &str = "logins.log";
/// Where a damaged one goes.
const DAMAGED: &str = "logins.damaged";
/// The longest line that is read, in bytes: a principal with as many groups as a token has room for.
const LINE_BYTES_MAX: u64 = 256 * 1024;
/// Below this the file is not written anew, in bytes.
const SMALL_BYTES: u64 = 1024 * 1024;

/// A refresh token, new or as somebody presents it.
pub(super) struct RefreshToken {
    /// Which login it is of.
    handle: SecretHash,
    whole: SecretHash,
    text: Zeroizing<String>,
}

impl RefreshToken {
    fn draw(handle: &str) -> Option<Self> {
        let secret = draw("").ok()?;
        Self::parse(&Zeroizing::new(format!("{PREFIX}{handle}{}", &*secret)))
    }

    /// The first of a login.
    pub(super) fn first() -> Option<Self> {
        Self::draw(&draw("").ok()?)
    }

    /// The one that follows.
    fn next(&self) -> Option<Self> {
        Self::draw(self.text.get(PREFIX.len()..PREFIX.len() + PART_CHARS)?)
    }

    fn parse(text: &str) -> Option<Self> {
        let parts = text.strip_prefix(PREFIX).filter(|parts| parts.is_ascii() && parts.len() == 2 * PART_CHARS)?;
        let (handle, _) = parts.split_at_checked(PART_CHARS)?;
        let text = Zeroizing::new(text.to_owned());
        Some(Self { handle: SecretHash::of(handle), whole: SecretHash::of(&text), text })
    }

    /// For the client.
    pub(super) fn into_text(self) -> Zeroizing<String> {
        self.text
    }

    /// What a provider's refresh token is sealed with: only whoever has this one makes it.
    fn key(&self) -> Option<RandomizedNonceKey> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.text.as_bytes());
        let tag = hmac::sign(&key, b"tidegate: the identity provider's refresh token");
        RandomizedNonceKey::new(&AES_256_GCM, tag.as_ref()).ok()
    }

    fn seal(&self, secret: &str) -> Option<String> {
        let mut bytes = secret.as_bytes().to_vec();
        let nonce = self.key()?.seal_in_place_append_tag(Aad::empty(), &mut bytes).ok()?;
        let sealed = [&nonce.as_ref()[..], &bytes].concat();
        Some(URL_SAFE_NO_PAD.encode(sealed))
    }

    fn open(&self, sealed: &str) -> Option<Secret> {
        let sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, bytes) = sealed.split_at_checked(NONCE_LEN)?;
        let mut bytes = Zeroizing::new(bytes.to_vec());
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let opened = self.key()?.open_in_place(nonce, Aad::empty(), &mut bytes).ok()?;
        Some(Secret::new(std::str::from_utf8(opened).ok()?.to_owned()))
    }
}

/// Whose word a login rests on, and how it is asked for anew.
#[derive(Debug, Clone)]
pub(super) struct Word {
    /// The identity provider's issuer and the refresh token that it gave, where it can be asked anew.
    pub idp: Option<(Arc<str>, Secret)>,
    /// When its word ends; matters only where it cannot be asked anew.
    pub ends: Timestamp,
}

/// A login and what is refreshed from it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Family {
    sid: Arc<str>,
    client_id: String,
    principal: Actor,
    /// The provider's issuer, and its refresh token, sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    idp: Option<(Arc<str>, String)>,
    ends: Timestamp,
    until: Timestamp,
    /// Some grant held when last looked at.
    had_grant: bool,
    handle: Hash,
    /// The refresh token that is good.
    current: Hash,
    /// It is being used just now.
    #[serde(skip)]
    in_use: bool,
    uses: u32,
    /// Access tokens that have not ended: their ids and ends.
    tokens: Vec<(Arc<str>, Timestamp)>,
}

/// A hash as it stands in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Hash(SecretHash);

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        URL_SAFE_NO_PAD.encode(hash.0.0)
    }
}

impl TryFrom<String> for Hash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(|bytes| Self(SecretHash(bytes))).ok_or("that is no hash")
    }
}

impl Family {
    /// Its session's id.
    pub(super) fn sid(&self) -> &Arc<str> {
        &self.sid
    }

    /// Who logged in.
    pub(super) fn principal(&self) -> Principal {
        self.principal.principal()
    }

    /// The access tokens that have not ended: their ids and ends.
    pub(super) fn tokens(&self) -> &[(Arc<str>, Timestamp)] {
        &self.tokens
    }
}

/// A login that begins, or goes on: what is to be kept of it.
pub(super) struct Step<'a> {
    pub sid: &'a Arc<str>,
    pub principal: &'a Principal,
    pub word: &'a Word,
    pub had_grant: bool,
    /// The access token's id and end.
    pub token: (Arc<str>, Timestamp),
}

/// What presenting a refresh token comes to.
pub(super) enum Presented {
    /// It is good, and used from now on.
    Good(Box<Good>),
    /// It was used before: the family has ended.
    Reused(Box<Family>),
    /// Its login is refreshed more often than anybody needs.
    Crowded,
    /// Nobody knows it, or its login is over.
    Unknown,
}

/// A login whose current refresh token was presented.
pub(super) struct Good {
    pub token: RefreshToken,
    pub sid: Arc<str>,
    pub principal: Principal,
    pub word: Word,
    pub had_grant: bool,
    pub until: Timestamp,
}

/// Why a login is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotKept {
    /// There are as many as there may be.
    Full,
    /// It has ended meanwhile.
    Ended,
    /// The disk or the system's randomness fails.
    Failed,
}

/// All logins that go on.
#[derive(Debug, Default)]
pub(super) struct Families {
    by_sid: HashMap<Arc<str>, Family>,
    by_handle: HashMap<SecretHash, Arc<str>>,
    /// `None` in tests that keep nothing.
    file: Option<Journal>,
}

impl Families {
    /// Reads the file in `folder`; with a sentence where it was damaged and put aside.
    ///
    /// # Errors
    /// What the operating system says.
    pub(super) fn open(folder: &Path, now: Timestamp) -> io::Result<(Self, Option<String>)> {
        let path = folder.join(FILE);
        let mut families = Self::default();
        let mut damaged = None;
        match fs::read(&path) {
            Ok(bytes) => {
                if let Err(line) = families.replay(&bytes, now) {
                    families = Self::default();
                    fs::rename(&path, folder.join(DAMAGED))?;
                    let what = "logins do not go on, people log in anew";
                    damaged =
                        Some(format!("{}, line {line}: it was damaged and is now {DAMAGED}; {what}", path.display()));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        families.file = Some(Journal::write_anew(path, families.by_sid.values())?);
        Ok((families, damaged))
    }

    /// Takes over the lines of a file; on an error the number of the line.
    fn replay(&mut self, bytes: &[u8], now: Timestamp) -> Result<(), usize> {
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let lines = bytes.get(..whole).unwrap_or_default().split_inclusive(|byte| *byte == b'\n');
        for (index, line) in lines.enumerate() {
            match read_line(line).ok_or(index + 1)? {
                Line::Login(family) => self.put(*family),
                Line::Ended(sid) => drop(self.take(&sid)),
            }
        }
        let over: Vec<Arc<str>> = self.over(now);
        over.iter().for_each(|sid| drop(self.take(sid)));
        Ok(())
    }

    fn put(&mut self, family: Family) {
        self.by_handle.insert(family.handle.0, family.sid.clone());
        self.by_sid.insert(family.sid.clone(), family);
    }

    fn take(&mut self, sid: &str) -> Option<Family> {
        let family = self.by_sid.remove(sid)?;
        self.by_handle.remove(&family.handle.0);
        Some(family)
    }

    fn over(&self, now: Timestamp) -> Vec<Arc<str>> {
        self.by_sid.values().filter(|family| family.until <= now).map(|family| family.sid.clone()).collect()
    }

    /// Keeps a new login until `until`; its first refresh token.
    ///
    /// # Errors
    /// [`NotKept`].
    pub(super) fn begin(
        &mut self,
        step: &Step<'_>,
        client_id: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<RefreshToken, NotKept> {
        if self.by_sid.len() >= FAMILIES_MAX {
            let over = self.over(now);
            over.iter().for_each(|sid| drop(self.remove(sid)));
        }
        if self.by_sid.len() >= FAMILIES_MAX {
            return Err(NotKept::Full);
        }
        let token = RefreshToken::first().ok_or(NotKept::Failed)?;
        let family = Family {
            sid: step.sid.clone(),
            client_id: client_id.to_owned(),
            principal: Actor::from(step.principal),
            idp: sealed(step.word, &token)?,
            ends: step.word.ends,
            until,
            had_grant: step.had_grant,
            handle: Hash(token.handle),
            current: Hash(token.whole),
            in_use: false,
            uses: 0,
            tokens: vec![step.token.clone()],
        };
        self.keep(family)?;
        Ok(token)
    }

    /// Keeps what a refresh came to; the next refresh token.
    ///
    /// # Errors
    /// [`NotKept::Ended`] where it was revoked while its provider was asked.
    pub(super) fn go_on(
        &mut self,
        presented: &RefreshToken,
        step: &Step<'_>,
        now: Timestamp,
    ) -> Result<RefreshToken, NotKept> {
        let known = self.by_sid.get(step.sid).filter(|family| family.in_use && family.current.0 == presented.whole);
        let mut family = known.ok_or(NotKept::Ended)?.clone();
        let token = presented.next().ok_or(NotKept::Failed)?;
        family.principal = Actor::from(step.principal);
        family.idp = sealed(step.word, &token)?;
        family.ends = step.word.ends;
        family.had_grant = step.had_grant;
        family.current = Hash(token.whole);
        family.in_use = false;
        family.uses += 1;
        family.tokens.retain(|(_, ends)| *ends > now);
        family.tokens.push(step.token.clone());
        self.keep(family)?;
        Ok(token)
    }

    /// On the disk first: a client must not hold what a crash would make unknown.
    fn keep(&mut self, family: Family) -> Result<(), NotKept> {
        self.write(&Line::Login(Box::new(family.clone()))).map_err(|error| {
            tracing::error!(%error, "logins cannot be kept in {FILE}");
            NotKept::Failed
        })?;
        self.put(family);
        Ok(())
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        let Some(journal) = &mut self.file else { return Ok(()) };
        if journal.is_mostly_past() {
            match Journal::write_anew(journal.path.clone(), self.by_sid.values()) {
                Ok(anew) => *journal = anew,
                Err(error) => tracing::warn!(%error, "{FILE} cannot be written anew; it grows on"),
            }
        }
        journal.append(line)
    }

    /// Ends a login.
    pub(super) fn remove(&mut self, sid: &str) -> Option<Family> {
        let family = self.take(sid)?;
        if let Err(error) = self.write(&Line::Ended(family.sid.clone())) {
            tracing::error!(%error, sid, "the end of a login is not in {FILE}; a restart now would bring it back");
        }
        Some(family)
    }

    fn of(&self, token: &RefreshToken, client_id: &str) -> Option<&Family> {
        let family = self.by_sid.get(self.by_handle.get(&token.handle)?)?;
        (family.client_id == client_id).then_some(family)
    }

    /// The family of a refresh token, which ends.
    pub(super) fn end_of_token(&mut self, token: &str, client_id: &str) -> Option<Family> {
        let token = RefreshToken::parse(token)?;
        let sid = self.of(&token, client_id)?.sid.clone();
        self.remove(&sid)
    }

    /// Presents a refresh token, which is used by it.
    pub(super) fn present(&mut self, token: &str, client_id: &str, now: Timestamp) -> Presented {
        let Some(token) = RefreshToken::parse(token) else { return Presented::Unknown };
        let Some(family) = self.of(&token, client_id) else { return Presented::Unknown };
        let sid = family.sid.clone();
        if family.until <= now || family.uses >= USES_MAX {
            self.remove(&sid);
            return Presented::Unknown;
        }
        if family.in_use || !same(family.current.0, token.whole) {
            return self.remove(&sid).map_or(Presented::Unknown, |family| Presented::Reused(Box::new(family)));
        }
        if family.tokens.iter().filter(|(_, ends)| *ends > now).count() >= TOKENS_MAX {
            return Presented::Crowded;
        }
        let idp = match &family.idp {
            None => None,
            Some((issuer, sealed)) => match token.open(sealed) {
                Some(secret) => Some((issuer.clone(), secret)),
                None => return Presented::Unknown,
            },
        };
        let (word, had_grant) = (Word { idp, ends: family.ends }, family.had_grant);
        let (principal, until) = (family.principal(), family.until);
        if let Some(family) = self.by_sid.get_mut(&sid) {
            family.in_use = true;
        }
        Presented::Good(Box::new(Good { token, sid, principal, word, had_grant, until }))
    }

    /// The provider could not be asked: the token is good again.
    pub(super) fn put_back(&mut self, sid: &str, token: &RefreshToken) {
        if let Some(family) = self.by_sid.get_mut(sid).filter(|family| family.current.0 == token.whole) {
            family.in_use = false;
        }
    }

    /// Takes out the access tokens of a login that have not ended, for whoever revokes them.
    pub(super) fn take_tokens(&mut self, sid: &str) -> Vec<(Arc<str>, Timestamp)> {
        self.by_sid.get_mut(sid).map(|family| std::mem::take(&mut family.tokens)).unwrap_or_default()
    }
}

fn same(one: SecretHash, other: SecretHash) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(&one.0, &other.0).is_ok()
}

fn sealed(word: &Word, token: &RefreshToken) -> Result<Option<(Arc<str>, String)>, NotKept> {
    let Some((issuer, secret)) = &word.idp else { return Ok(None) };
    Ok(Some((issuer.clone(), token.seal(secret.reveal()).ok_or(NotKept::Failed)?)))
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// A login as it stands.
    Login(Box<Family>),
    /// A login has ended.
    Ended(Arc<str>),
}

fn write_line(line: &Line) -> io::Result<Vec<u8>> {
    let mut bytes = vec![b'0'; 8];
    bytes.push(b' ');
    serde_json::to_writer(&mut bytes, line)?;
    let crc = format!("{:08x}", crc_fast::crc32_iscsi(bytes.get(9..).unwrap_or_default()));
    bytes.splice(..8, crc.into_bytes());
    bytes.push(b'\n');
    Ok(bytes)
}

fn read_line(line: &[u8]) -> Option<Line> {
    let (crc, json) = line.strip_suffix(b"\n")?.split_at_checked(9)?;
    if line.len() as u64 > LINE_BYTES_MAX || crc != format!("{:08x} ", crc_fast::crc32_iscsi(json)).as_bytes() {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// The file.
#[derive(Debug)]
struct Journal {
    path: PathBuf,
    file: File,
    /// Its size when it was written anew, and now, in bytes.
    bytes: (u64, u64),
}

impl Journal {
    /// Written whole or not at all.
    fn write_anew<'a>(path: PathBuf, families: impl Iterator<Item = &'a Family>) -> io::Result<Self> {
        let mut text = Vec::new();
        for family in families {
            text.extend(write_line(&Line::Login(Box::new(family.clone())))?);
        }
        let new = path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        let bytes = text.len() as u64;
        Ok(Self { path, file, bytes: (bytes, bytes) })
    }

    fn is_mostly_past(&self) -> bool {
        let (before, now) = self.bytes;
        now > SMALL_BYTES && now > before.saturating_mul(4)
    }

    fn append(&mut self, line: &Line) -> io::Result<()> {
        let bytes = write_line(line)?;
        let whole = self.bytes.1;
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // Half a line must not stand before the next one.
            let _ = self.file.set_len(whole).and_then(|()| self.file.seek(SeekFrom::Start(whole)));
            return Err(error);
        }
        self.bytes.1 += bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);
    const UNTIL: Timestamp = Timestamp::from_secs(1_040_000);

    fn alice() -> Principal {
        let word = |text: &str| Arc::<str>::from(text);
        Principal { issuer: word("https://idp"), subject: word("s"), name: word("alice"), groups: vec![word("g")] }
    }

    fn word() -> Word {
        Word { idp: Some((Arc::from("https://idp"), Secret::new("idp-refresh-secret".to_owned()))), ends: NOW }
    }

    fn begin(families: &mut Families, sid: &str) -> Result<RefreshToken, NotKept> {
        let (sid, principal, word) = (Arc::from(sid), alice(), word());
        let token = (Arc::from("jti-1"), NOW.plus_millis(300_000));
        let step = Step { sid: &sid, principal: &principal, word: &word, had_grant: true, token };
        families.begin(&step, "cli", UNTIL, NOW)
    }

    fn good(presented: Presented) -> Box<Good> {
        match presented {
            Presented::Good(good) => good,
            Presented::Reused(_) => panic!("reused"),
            Presented::Crowded => panic!("crowded"),
            Presented::Unknown => panic!("unknown"),
        }
    }

    fn refresh(families: &mut Families, token: &str, jti: &str) -> RefreshToken {
        let good = good(families.present(token, "cli", NOW));
        assert_eq!(good.word.idp.as_ref().unwrap().1.reveal(), "idp-refresh-secret");
        let token = (Arc::from(jti), NOW.plus_millis(300_000));
        let step = Step { sid: &good.sid, principal: &good.principal, word: &good.word, had_grant: true, token };
        families.go_on(&good.token, &step, NOW).unwrap()
    }

    #[test]
    fn a_restart_ends_no_login_and_the_file_opens_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Families::open(folder.path(), NOW).unwrap();
        let (mut families, _) = open();
        let first = begin(&mut families, "sid-1").unwrap().into_text();
        let second = refresh(&mut families, &first, "jti-2").into_text();
        let other = begin(&mut families, "sid-2").unwrap().into_text();
        families.remove("sid-2").unwrap();
        let text = fs::read_to_string(folder.path().join(FILE)).unwrap();
        for secret in ["idp-refresh-secret", &first[PREFIX.len()..], &second[PREFIX.len() + PART_CHARS..]] {
            assert!(!text.contains(secret), "{text}");
        }
        // While the provider is asked the power goes: the token is good still. A torn line costs only itself.
        good(families.present(&second, "cli", NOW));
        OpenOptions::new().append(true).open(folder.path().join(FILE)).unwrap().write_all(b"12345678 {\"log").unwrap();

        let (mut families, damaged) = open();
        assert_eq!(damaged, None);
        assert!(matches!(families.present(&other, "cli", NOW), Presented::Unknown), "it had ended");
        assert!(matches!(families.present(&second, "another client", NOW), Presented::Unknown));
        let third = refresh(&mut families, &second, "jti-3").into_text();
        let Presented::Reused(family) = families.present(&first, "cli", NOW) else { panic!("the first was used") };
        assert_eq!(family.tokens().len(), 3, "all that have not ended are revoked");
        let (mut families, _) = open();
        assert!(matches!(families.present(&third, "cli", NOW), Presented::Unknown), "the login ended with it");

        begin(&mut families, "sid-3").unwrap();
        let later = Families::open(folder.path(), UNTIL).unwrap().0;
        assert!(later.by_sid.is_empty() && later.by_handle.is_empty(), "it is over by itself");
    }

    #[test]
    fn a_damaged_file_is_put_aside_and_said() {
        let folder = tempfile::tempdir().unwrap();
        let (mut families, _) = Families::open(folder.path(), NOW).unwrap();
        let first = begin(&mut families, "sid-1").unwrap().into_text();
        begin(&mut families, "sid-2").unwrap();
        let path = folder.path().join(FILE);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replacen("alice", "malice", 1)).unwrap();
        let (mut families, damaged) = Families::open(folder.path(), NOW).unwrap();
        assert!(damaged.unwrap().contains("line 1"));
        assert!(matches!(families.present(&first, "cli", NOW), Presented::Unknown));
        assert!(folder.path().join(DAMAGED).exists());
    }

    #[test]
    fn logins_tokens_and_the_file_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let (mut families, _) = Families::open(folder.path(), NOW).unwrap();
        let mut token = begin(&mut families, "sid-1").unwrap().into_text();
        for jti in 1..TOKENS_MAX {
            token = refresh(&mut families, &token, &jti.to_string()).into_text();
        }
        assert!(matches!(families.present(&token, "cli", NOW), Presented::Crowded));
        good(families.present(&token, "cli", NOW.plus_millis(300_000)));

        families.file = None;
        for n in 2..=FAMILIES_MAX {
            begin(&mut families, &format!("sid-{n}")).unwrap();
        }
        assert_eq!(begin(&mut families, "one more").err(), Some(NotKept::Full));

        let path = folder.path().join(FILE);
        let only = families.by_sid.get("sid-2").unwrap().clone();
        let mut families = Families {
            file: Some(Journal::write_anew(path.clone(), [&only].into_iter()).unwrap()),
            ..Families::default()
        };
        families.put(only.clone());
        families.file.as_mut().unwrap().bytes.1 = SMALL_BYTES + 1;
        families.keep(only).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2, "written anew, and appended to");
    }

    #[test]
    fn any_bytes_may_stand_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        for bytes in [&b"\n"[..], b"\n\n", b"00000000 {}\n", b"xxxxxxxxxxxxxxxx", b"\xff\xfe\n", b"00000000 "] {
            fs::write(folder.path().join(FILE), bytes).unwrap();
            let (families, _) = Families::open(folder.path(), NOW).unwrap();
            assert!(families.by_sid.is_empty());
        }
    }
}
