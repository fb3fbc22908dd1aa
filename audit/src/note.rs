//! Signed notes and checkpoints, as C2SP's `signed-note`, `tlog-checkpoint` and vkey texts have them.
//!
//! Pure but for the signature itself. A note's text is believed only after [`Note::verify`] found a
//! good signature of a known key; signatures of unknown keys are ignored, a bad one of a known key
//! spoils the note.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::tree::{Hash, hash};

/// The type byte of Ed25519 in key ids, vkeys and signing keys.
const ED25519_TYPE: u8 = 1;
/// The longest note that is looked at, in bytes.
pub const NOTE_BYTES_MAX: usize = 64 * 1024;

/// Why a text is no note, key or checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not the form that it must have.
    #[error("{0}")]
    Malformed(&'static str),
    /// No signature of a key that is known.
    #[error("it bears no signature of a key that is trusted here")]
    UnknownKey,
    /// A known key's signature that does not fit.
    #[error("the signature of {0} does not fit its text")]
    BadSignature(String),
}

/// A public key and its name: C2SP's vkey, `name+id+base64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    key: [u8; 32],
}

impl VerifierKey {
    /// A key of that name.
    ///
    /// # Errors
    /// The name is empty or has spaces, control characters or a plus sign.
    pub fn new(name: &str, key: [u8; 32]) -> Result<Self, NoteError> {
        if name.is_empty() || name.chars().any(|char| char.is_whitespace() || char.is_control() || char == '+') {
            return Err(NoteError::Malformed("a key's name must not be empty nor have spaces or plus signs"));
        }
        Ok(Self { name: name.to_owned(), key })
    }

    /// Parses a vkey.
    ///
    /// # Errors
    /// It is none, or not one of Ed25519, or its id does not fit.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let (name, id, bytes) = split_key(text.trim())?;
        let key = Self::new(name, bytes)?;
        if id != key.id() {
            return Err(NoteError::Malformed("the key's id does not fit its name and bytes"));
        }
        Ok(key)
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public key's bytes (RFC 8032).
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.key
    }

    /// The first four bytes of the SHA-256 of name, newline, type and key.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = hash(&[self.name.as_bytes(), b"\n", &[ED25519_TYPE], &self.key].concat());
        [a, b, c, d]
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&[ED25519_TYPE][..], &self.key].concat();
        write!(f, "{}+{:08x}+{}", self.name, u32::from_be_bytes(self.id()), BASE64.encode(bytes))
    }
}

/// `name+id+base64(type and 32 bytes)`, of vkeys and, after its prefix, of signing keys.
fn split_key(text: &str) -> Result<(&str, [u8; 4], [u8; 32]), NoteError> {
    let form = NoteError::Malformed("a key has the form name+id+base64");
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(id), Some(encoded)) = (parts.next(), parts.next(), parts.next()) else { return Err(form) };
    if id.len() != 8 {
        return Err(form);
    }
    let id = u32::from_str_radix(id, 16).map_err(|_| form.clone())?.to_be_bytes();
    let bytes = BASE64.decode(encoded).map_err(|_| form.clone())?;
    match bytes.split_first() {
        Some((&ED25519_TYPE, key)) => Ok((name, id, key.try_into().map_err(|_| form)?)),
        _ => Err(NoteError::Malformed("only Ed25519 keys are known")),
    }
}

/// A key that signs. Its text is Go's `PRIVATE+KEY+name+id+base64(1 and the 32 bytes of the seed)`.
pub struct Signer {
    pair: Ed25519KeyPair,
    key: VerifierKey,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signer").field(&self.key).finish()
    }
}

const SIGNING_PREFIX: &str = "PRIVATE+KEY+";

impl Signer {
    /// From a seed.
    ///
    /// # Errors
    /// The name does not do.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, NoteError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed)
            .map_err(|_| NoteError::Malformed("the seed makes no Ed25519 key"))?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| NoteError::Malformed("not an Ed25519 key"))?;
        Ok(Self { pair, key: VerifierKey::new(name, public)? })
    }

    /// From a signing key's text.
    ///
    /// # Errors
    /// It is none. The error never shows the text.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let rest = text.trim().strip_prefix(SIGNING_PREFIX);
        let rest = rest.ok_or(NoteError::Malformed("a signing key begins with PRIVATE+KEY+"))?;
        let (name, id, seed) = split_key(rest)?;
        let signer = Self::from_seed(name, &seed)?;
        if id != signer.key.id() {
            return Err(NoteError::Malformed("the key's id does not fit its name and bytes"));
        }
        Ok(signer)
    }

    /// The text of the signing key of that name and seed.
    pub(crate) fn encode(&self, seed: &[u8; 32]) -> String {
        let bytes = [&[ED25519_TYPE][..], seed].concat();
        let id = u32::from_be_bytes(self.key.id());
        format!("{SIGNING_PREFIX}{}+{id:08x}+{}\n", self.key.name, BASE64.encode(bytes))
    }

    /// The public half.
    #[must_use]
    pub const fn verifier(&self) -> &VerifierKey {
        &self.key
    }

    /// Signs a text, which must end in a newline, and returns the note.
    #[must_use]
    pub fn sign(&self, text: &str) -> String {
        sign_with(text, &[self])
    }

    fn signature_line(&self, text: &str) -> String {
        let bytes = [&self.key.id()[..], self.pair.sign(text.as_bytes()).as_ref()].concat();
        format!("— {} {}\n", self.key.name, BASE64.encode(bytes))
    }
}

/// A note with a signature line of each signer. The text must end in a newline.
#[must_use]
pub fn sign_with(text: &str, signers: &[&Signer]) -> String {
    let lines: String = signers.iter().map(|signer| signer.signature_line(text)).collect();
    format!("{text}\n{lines}")
}

/// A note taken apart. Nothing of it is believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note<'a> {
    /// The text with its last newline.
    text: &'a str,
    /// Names and bytes (key id and signature).
    signatures: Vec<(&'a str, Vec<u8>)>,
}

impl<'a> Note<'a> {
    /// Takes a note apart.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(NoteError::Malformed("the note is too long"));
        }
        let note = std::str::from_utf8(bytes).map_err(|_| NoteError::Malformed("the note is not UTF-8"))?;
        if note.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
            return Err(NoteError::Malformed("the note has control characters"));
        }
        let end = note.rfind("\n\n").ok_or(NoteError::Malformed("the note has no blank line before its signatures"))?;
        let (text, lines) = (&note[..=end], &note[end + 2..]);
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Malformed("the note's last line is not ended"))?;
        let signatures: Option<Vec<_>> = lines
            .split('\n')
            .map(|line| {
                let (name, encoded) = line.strip_prefix("— ")?.split_once(' ')?;
                let bytes = BASE64.decode(encoded).ok().filter(|bytes| bytes.len() > 4)?;
                (!name.is_empty()).then_some((name, bytes))
            })
            .collect();
        Ok(Self { text, signatures: signatures.ok_or(NoteError::Malformed("a line of the note is no signature"))? })
    }

    /// The text, believed or not, with its last newline.
    #[must_use]
    pub const fn text(&self) -> &'a str {
        self.text
    }

    /// The text and which of `keys` signed it, by index.
    ///
    /// # Errors
    /// None did, or one did badly.
    pub fn verify(&self, keys: &[VerifierKey]) -> Result<(&'a str, usize), NoteError> {
        let mut good = None;
        for (name, bytes) in &self.signatures {
            let Some((id, signature)) = bytes.split_first_chunk::<4>() else { continue };
            let Some(index) = keys.iter().position(|key| key.name == **name && key.id() == *id) else { continue };
            UnparsedPublicKey::new(&ED25519, &keys[index].key)
                .verify(self.text.as_bytes(), signature)
                .map_err(|_| NoteError::BadSignature((*name).to_owned()))?;
            good = good.or(Some(index));
        }
        good.map(|index| (self.text, index)).ok_or(NoteError::UnknownKey)
    }

    /// What the note says, believed or not.
    ///
    /// # Errors
    /// Its text is no checkpoint.
    pub fn checkpoint(&self) -> Result<Checkpoint, NoteError> {
        Checkpoint::parse(self.text)
    }
}

/// The text of a checkpoint: that a tree of that origin has had that root at that size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which tree: `ORIGIN/shard-NNN`.
    pub origin: String,
    /// Leaves.
    pub size: u64,
    /// The root.
    pub root: Hash,
}

/// The name of a shard's tree in its checkpoints.
#[must_use]
pub fn tree_name(origin: &str, shard: u32) -> String {
    format!("{origin}/shard-{shard:03}")
}

impl Checkpoint {
    /// The text to be signed.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(self.root))
    }

    fn parse(text: &str) -> Result<Self, NoteError> {
        let mut lines = text.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(NoteError::Malformed("a checkpoint has three lines"));
        };
        let number: u64 = size.parse().map_err(|_| NoteError::Malformed("the checkpoint's size is no number"))?;
        let root = BASE64.decode(root).ok().and_then(|root| root.try_into().ok());
        let root = root.ok_or(NoteError::Malformed("the checkpoint's root is no hash"))?;
        if origin.is_empty() || number.to_string() != size {
            return Err(NoteError::Malformed("the checkpoint has no origin, or an odd size"));
        }
        Ok(Self { origin: origin.to_owned(), size: number, root })
    }
}

/// A hash from base64; `None` where it is none.
#[must_use]
pub fn hash_from_base64(text: &str) -> Option<Hash> {
    BASE64.decode(text).ok()?.try_into().ok()
}

/// A hash as base64.
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of Go's `golang.org/x/mod/sumdb/note`, which defined the format.
    const VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn a_published_note() {
        let key = VerifierKey::parse(VKEY).unwrap();
        assert_eq!((key.to_string(), key.name()), (VKEY.to_owned(), "PeterNeumann"));
        let keys = [VerifierKey::new("other", [7; 32]).unwrap(), key];
        assert_eq!(Note::parse(NOTE.as_bytes()).unwrap().verify(&keys).unwrap().1, 1);
        let changed = NOTE.replace("answer", "Answer");
        assert_eq!(
            Note::parse(changed.as_bytes()).unwrap().verify(&keys),
            Err(NoteError::BadSignature("PeterNeumann".into()))
        );
        assert_eq!(Note::parse(NOTE.as_bytes()).unwrap().verify(&keys[..1]), Err(NoteError::UnknownKey));
    }

    #[test]
    fn what_is_signed_is_verified() {
        let signer = Signer::from_seed("gw.example", &[3; 32]).unwrap();
        let again = Signer::parse(&signer.encode(&[3; 32])).unwrap();
        assert_eq!(again.verifier(), signer.verifier());
        let checkpoint = Checkpoint { origin: tree_name("gw.example", 7), size: 42, root: [9; 32] };
        let note = signer.sign(&checkpoint.text());
        let parsed = Note::parse(note.as_bytes()).unwrap();
        let vkey = VerifierKey::parse(&format!("{}\n", signer.verifier())).unwrap();
        assert_eq!(parsed.verify(&[vkey]).unwrap().1, 0);
        assert_eq!((parsed.checkpoint().unwrap(), &*checkpoint.origin), (checkpoint.clone(), "gw.example/shard-007"));
    }

    #[test]
    fn what_is_no_note_key_or_checkpoint() {
        for text in
            ["", "a\n", "a\n\n", "a\n\n— n\n", "a\n\n- n AAAAAAA=\n", "a\n\n— n AAAAAAA=", "a\tb\n\n— n AAAAAAA=\n"]
        {
            assert!(Note::parse(text.as_bytes()).is_err(), "{text:?}");
        }
        for text in ["", "\n1\nAA==\n", "o\n01\n", "o\n-1\n", "o\n1\nAAAA\n"] {
            assert!(Checkpoint::parse(text).is_err(), "{text:?}");
        }
        let wrong_id = VKEY.replace("c74f20a3", "c74f20a4");
        for text in ["", "a", "a+b", "a+00000000+AA==", &VKEY.replace("+AR", "+AB"), &wrong_id] {
            assert!(VerifierKey::parse(text).is_err(), "{text:?}");
            assert!(Signer::parse(text).is_err() && Signer::parse(&format!("PRIVATE+KEY+{text}")).is_err());
        }
        assert!(VerifierKey::new("a b", [0; 32]).is_err() && VerifierKey::new("a+b", [0; 32]).is_err());
    }
}
