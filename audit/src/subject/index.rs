//! A sealed segment's index of subjects: which entries have which tag, in a file beside it.
//!
//! `SEGMENT.tgp` holds sorted postings (tag, place of the entry) in buckets by the tag's first bits, and
//! before them a directory with where each bucket ends and its hash, so that a question costs the head
//! and one bucket. The head is sealed with a MAC under a key of the epoch: whoever cannot ask cannot make
//! an index that hides somebody either. It is built from the segment and can be removed at any time; what
//! does not fit is taken for missing, and the segment is read instead.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::{digest, hmac};

use super::keys::EpochSecret;
use super::walk::Tags;
use crate::format::{FrameType, IndexKeyId};
use crate::index::sealed_root;
use crate::keys::write_atomically;
use crate::read::{SegmentReader, Step, read_at_most};
use crate::tree::Hash;

/// The ending of the file's name.
pub const SUBJECTS_EXTENSION: &str = "tgp";

const MAGIC: [u8; 8] = *b"\x89TGP\r\n\x1a\n";
const VERSION: u32 = 1;
/// Bytes of the head before the classes' names.
const FIXED_BYTES: usize = 96;
/// Bytes of a bucket's line in the directory: the number of postings up to its end, and its hash.
const LINE_BYTES: usize = 8 + BUCKET_HASH_BYTES;
const BUCKET_HASH_BYTES: usize = 16;
const MAC_BYTES: usize = 32;
/// Bytes of a posting: the tag, its highest byte first, and the place of the entry's frame.
const POSTING_BYTES: usize = 8 + PLACE_BYTES;
const PLACE_BYTES: usize = 5;
/// Postings of a bucket, about.
const BUCKET_POSTINGS: usize = 256;
/// More than this, and there is no index: it is built in memory.
const POSTINGS_MAX: usize = 32 << 20;
/// The largest head that is read, in bytes.
const HEAD_BYTES_MAX: usize = 16 << 20;
/// Names of classes in one index.
const CLASSES_MAX: usize = 1000;

type Posting = [u8; POSTING_BYTES];

/// The index of a segment, of which only the head is read.
#[derive(Debug)]
pub struct SubjectIndex {
    file: File,
    head: Head,
    /// By bucket: postings up to its end, and its hash.
    directory: Vec<(u64, [u8; BUCKET_HASH_BYTES])>,
    postings_start: u64,
}

/// What an index says of its segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Which key made the tags, and the MAC.
    pub key: IndexKeyId,
    /// The root in the segment's seal.
    pub root: Hash,
    /// The earliest time of an entry with tags; later than the latest where there is none.
    pub first_micros: i64,
    /// The latest.
    pub last_micros: i64,
    /// Tags that limits left out of entries.
    pub cut: u64,
    /// Classes of findings in entries with tags, in order.
    pub classes: Vec<String>,
}

/// Why an index is not used.
#[derive(Debug, thiserror::Error)]
pub enum SubjectIndexError {
    /// There is none, or it cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is of another segment or key, damaged, or was changed.
    #[error("it is not the index of this segment and key: {0}")]
    Wrong(&'static str),
}

impl SubjectIndex {
    /// Builds and writes the index of a sealed segment; false where it can have none: it is not sealed,
    /// cannot be read, holds no tags of this key, or too many.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn build(segment: &Path, secret: &EpochSecret) -> io::Result<bool> {
        let Some(bytes) = encode(segment, secret) else { return Ok(false) };
        write_atomically(&subjects_path(segment), &bytes)?;
        Ok(true)
    }

    /// Opens the index beside a segment and checks that it is the one that was made for it.
    ///
    /// # Errors
    /// [`SubjectIndexError`].
    pub fn open(segment: &Path, secret: &EpochSecret) -> Result<Self, SubjectIndexError> {
        let wrong = SubjectIndexError::Wrong;
        let file = File::open(subjects_path(segment))?;
        let length = file.metadata()?.len();
        let mut fixed = [0; FIXED_BYTES];
        if read_at_most(&file, &mut fixed, 0)? < FIXED_BYTES {
            return Err(wrong("cut short"));
        }
        let sizes = Sizes::parse(&fixed).ok_or(wrong("not an index of this version"))?;
        let head_bytes =
            sizes.head_bytes().filter(|bytes| *bytes <= HEAD_BYTES_MAX).ok_or(wrong("impossible sizes"))?;
        let postings_start = (head_bytes + MAC_BYTES) as u64;
        if sizes.postings.checked_mul(POSTING_BYTES as u64).and_then(|bytes| bytes.checked_add(postings_start))
            != Some(length)
        {
            return Err(wrong("cut short"));
        }
        let mut bytes = vec![0; head_bytes + MAC_BYTES];
        if read_at_most(&file, &mut bytes, 0)? < bytes.len() {
            return Err(wrong("cut short"));
        }
        let (content, mac) = bytes.split_at(head_bytes);
        let key = secret.seal_key().ok_or(wrong("the key is destroyed"))?;
        hmac::verify(&key, content, mac).map_err(|_| wrong("damaged or changed"))?;
        let (head, directory) = parse(content, &sizes).ok_or(wrong("malformed"))?;
        if Some(head.key) != secret.id() {
            return Err(wrong("made with another key"));
        }
        if sealed_root(segment) != Some(head.root) {
            return Err(wrong("made of other entries"));
        }
        Ok(Self { file, head, directory, postings_start })
    }

    /// What it says of its segment.
    #[must_use]
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// Appends the places of entries with this tag, in order.
    ///
    /// # Errors
    /// [`SubjectIndexError`]: the bucket cannot be read or is not the one that was written.
    pub fn find(&self, tag: u64, places: &mut Vec<u64>) -> Result<(), SubjectIndexError> {
        let wrong = SubjectIndexError::Wrong;
        let bits = self.directory.len().max(1).trailing_zeros();
        let bucket = bucket_of(tag, bits);
        let Some((end, hash)) = self.directory.get(bucket).copied() else { return Ok(()) };
        let start = bucket.checked_sub(1).and_then(|before| self.directory.get(before)).map_or(0, |(end, _)| *end);
        let count = end.checked_sub(start).filter(|count| *count <= POSTINGS_MAX as u64);
        let count = count.ok_or(wrong("impossible bucket"))? as usize;
        let mut bytes = vec![0; count * POSTING_BYTES];
        let read = read_at_most(&self.file, &mut bytes, self.postings_start + start * POSTING_BYTES as u64)?;
        if read < bytes.len() || bucket_hash(&bytes) != hash {
            return Err(wrong("a bucket is damaged or changed"));
        }
        let (postings, _) = bytes.as_chunks::<POSTING_BYTES>();
        let wanted = tag.to_be_bytes();
        let first = postings.partition_point(|posting| posting[..8] < wanted[..]);
        places.extend(postings.iter().skip(first).take_while(|posting| posting[..8] == wanted).map(place));
        Ok(())
    }

    /// The epoch that the index beside a segment says it is of, unchecked.
    #[must_use]
    pub fn epoch(segment: &Path) -> Option<u32> {
        let mut fixed = [0; FIXED_BYTES];
        read_at_most(&File::open(subjects_path(segment)).ok()?, &mut fixed, 0).ok()?;
        Sizes::parse(&fixed)?;
        fixed.get(12..16)?.first_chunk().map(|epoch| u32::from_le_bytes(*epoch))
    }

    /// What commits to the index as a whole, for the evidence: SHA-256 of the head and its MAC.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn commitment(segment: &Path) -> io::Result<Hash> {
        let file = File::open(subjects_path(segment))?;
        let mut fixed = [0; FIXED_BYTES];
        read_at_most(&file, &mut fixed, 0)?;
        let none = || io::Error::new(io::ErrorKind::InvalidData, "not an index of subjects");
        let sizes = Sizes::parse(&fixed).ok_or_else(none)?;
        let head = sizes.head_bytes().filter(|bytes| *bytes <= HEAD_BYTES_MAX).ok_or_else(none)?;
        let mut bytes = vec![0; head + MAC_BYTES];
        if read_at_most(&file, &mut bytes, 0)? < bytes.len() {
            return Err(none());
        }
        digest::digest(&digest::SHA256, &bytes).as_ref().try_into().map_err(io::Error::other)
    }
}

/// How an index is put into the evidence: the segment's name below the directory, and the commitment.
#[must_use]
pub fn commitment_text(segment: &Path, commitment: &Hash) -> String {
    let mut parts = segment.components().rev().take(2).map(|part| part.as_os_str().to_string_lossy());
    let (file, shard) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let hash: String = commitment.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("index of subjects of {shard}/{file} sha256:{hash}")
}

/// What [`commitment_text`] wrote: the segment's name and the commitment.
#[must_use]
pub fn parse_commitment(text: &str) -> Option<(&str, Hash)> {
    let (name, hash) = text.strip_prefix("index of subjects of ")?.split_once(" sha256:")?;
    // A name from the evidence must not lead out of its directory.
    let (shard, file) = name.split_once('/')?;
    if !shard.starts_with("shard-") || file.contains(['/', '\\']) || name.contains("..") {
        return None;
    }
    let mut parsed = [0; 32];
    if hash.len() != 2 * parsed.len() || !hash.is_ascii() {
        return None;
    }
    for (byte, digits) in parsed.iter_mut().zip(hash.as_bytes().as_chunks::<2>().0) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some((name, parsed))
}

/// The index's file of a segment.
#[must_use]
pub fn subjects_path(segment: &Path) -> PathBuf {
    segment.with_extension(SUBJECTS_EXTENSION)
}

fn place(posting: &Posting) -> u64 {
    let mut bytes = [0; 8];
    bytes[..PLACE_BYTES].copy_from_slice(&posting[8..]);
    u64::from_le_bytes(bytes)
}

/// The bucket of a tag, of 2 to the power of `bits`.
fn bucket_of(tag: u64, bits: u32) -> usize {
    // A shift by all 64 bits is none.
    tag.checked_shr(64 - bits).unwrap_or(0) as usize
}

fn bucket_hash(bytes: &[u8]) -> [u8; BUCKET_HASH_BYTES] {
    digest::digest(&digest::SHA256, bytes).as_ref().first_chunk().copied().unwrap_or_default()
}

/// Reads a segment's tags and writes them as an index.
fn encode(segment: &Path, secret: &EpochSecret) -> Option<Vec<u8>> {
    let root = sealed_root(segment)?;
    let mut reader = SegmentReader::open(segment).ok()?;
    let key = secret.id()?;
    if reader.header().index_key != Some(key) {
        return None;
    }
    let mut head = Head { key, root, first_micros: i64::MAX, last_micros: i64::MIN, cut: 0, classes: Vec::new() };
    let mut classes = BTreeSet::new();
    let mut postings: Vec<Posting> = Vec::new();
    loop {
        let offset = reader.position();
        match reader.next().ok()? {
            Step::Frame(frame) if frame.kind == FrameType::Event => {
                let tags = Tags::read(frame.body)?;
                if tags.is_empty() {
                    continue;
                }
                head.first_micros = head.first_micros.min(frame.time_micros);
                head.last_micros = head.last_micros.max(frame.time_micros);
                head.cut = head.cut.saturating_add(tags.cut);
                classes.extend(tags.classes().filter(|class| class.len() <= 255));
                let at = offset.to_le_bytes();
                tags.each(|tag| {
                    let mut posting = [0; POSTING_BYTES];
                    posting[..8].copy_from_slice(&tag.to_be_bytes());
                    posting[8..].copy_from_slice(&at[..PLACE_BYTES]);
                    postings.push(posting);
                });
                if offset >> (8 * PLACE_BYTES) != 0 || postings.len() > POSTINGS_MAX || classes.len() > CLASSES_MAX {
                    return None;
                }
            }
            Step::Frame(_) => {}
            Step::Sealed(seal) if seal.root == root => break,
            Step::Sealed(_) | Step::End | Step::Torn(_) => return None,
        }
    }
    // By tag, then by place: its bytes are the other way round, but any order of one tag's will do.
    postings.sort_unstable();
    postings.dedup();
    head.classes = classes.into_iter().collect();
    Some(write(&head, &postings, &secret.seal_key()?))
}

fn write(head: &Head, postings: &[Posting], key: &hmac::Key) -> Vec<u8> {
    let bits = (postings.len() / BUCKET_POSTINGS).max(1).next_power_of_two().trailing_zeros();
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&head.key.epoch.to_le_bytes());
    bytes.extend_from_slice(&head.key.check);
    bytes.extend_from_slice(&head.root);
    bytes.extend_from_slice(&head.first_micros.to_le_bytes());
    bytes.extend_from_slice(&head.last_micros.to_le_bytes());
    bytes.extend_from_slice(&head.cut.to_le_bytes());
    bytes.extend_from_slice(&(postings.len() as u64).to_le_bytes());
    let names: usize = head.classes.iter().map(|class| class.len() + 1).sum();
    bytes.extend_from_slice(&bits.to_le_bytes());
    bytes.extend_from_slice(&(names as u32).to_le_bytes());
    debug_assert_eq!(bytes.len(), FIXED_BYTES);
    for class in &head.classes {
        bytes.push(class.len() as u8);
        bytes.extend_from_slice(class.as_bytes());
    }
    let mut start = 0;
    for bucket in 0..1usize << bits {
        let rest = postings.get(start..).unwrap_or_default();
        let tag = |posting: &Posting| u64::from_be_bytes(*posting.first_chunk().unwrap_or(&[0; 8]));
        let end = start + rest.partition_point(|posting| bucket_of(tag(posting), bits) <= bucket);
        bytes.extend_from_slice(&(end as u64).to_le_bytes());
        bytes.extend_from_slice(&bucket_hash(postings.get(start..end).unwrap_or_default().as_flattened()));
        start = end;
    }
    let mac = hmac::sign(key, &bytes);
    bytes.extend_from_slice(mac.as_ref());
    bytes.extend_from_slice(postings.as_flattened());
    bytes
}

/// The sizes of an index's parts, as its first bytes give them.
struct Sizes {
    postings: u64,
    buckets: usize,
    names: usize,
}

impl Sizes {
    fn parse(fixed: &[u8; FIXED_BYTES]) -> Option<Self> {
        let rest = fixed.strip_prefix(&MAGIC)?.strip_prefix(&VERSION.to_le_bytes())?;
        let (postings, rest) = rest.get(68..)?.split_first_chunk()?;
        let (bits, rest) = rest.split_first_chunk()?;
        let (names, _) = rest.split_first_chunk()?;
        let bits = u32::from_le_bytes(*bits);
        Some(Self {
            postings: u64::from_le_bytes(*postings),
            buckets: (bits <= 24).then(|| 1 << bits)?,
            names: u32::from_le_bytes(*names) as usize,
        })
    }

    fn head_bytes(&self) -> Option<usize> {
        self.buckets.checked_mul(LINE_BYTES)?.checked_add(self.names)?.checked_add(FIXED_BYTES)
    }
}

type Directory = Vec<(u64, [u8; BUCKET_HASH_BYTES])>;

fn parse(content: &[u8], sizes: &Sizes) -> Option<(Head, Directory)> {
    let rest = content.get(MAGIC.len() + 4..)?;
    let (epoch, rest) = rest.split_first_chunk()?;
    let (check, rest) = rest.split_first_chunk()?;
    let (root, rest) = rest.split_first_chunk()?;
    let (first, rest) = rest.split_first_chunk()?;
    let (last, rest) = rest.split_first_chunk()?;
    let (cut, _) = rest.split_first_chunk()?;
    let (mut names, lines) = content.get(FIXED_BYTES..)?.split_at_checked(sizes.names)?;
    let mut classes = Vec::new();
    while let Some((length, rest)) = names.split_first() {
        let (name, rest) = rest.split_at_checked(usize::from(*length))?;
        classes.push(std::str::from_utf8(name).ok()?.to_owned());
        names = rest;
    }
    let (lines, _) = lines.as_chunks::<LINE_BYTES>();
    let mut directory = Vec::with_capacity(lines.len());
    for line in lines {
        let (end, hash) = line.split_first_chunk()?;
        directory.push((u64::from_le_bytes(*end), *hash.first_chunk()?));
    }
    let head = Head {
        key: IndexKeyId { epoch: u32::from_le_bytes(*epoch), check: *check },
        root: *root,
        first_micros: i64::from_le_bytes(*first),
        last_micros: i64::from_le_bytes(*last),
        cut: u64::from_le_bytes(*cut),
        classes,
    };
    Some((head, directory))
}

/// Removes the index of a segment, where there is one.
///
/// # Errors
/// What the operating system says.
pub fn remove(segment: &Path) -> io::Result<()> {
    match fs::remove_file(subjects_path(segment)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
