//! What is known of record batches that were inspected before, so that many readers of one batch cost
//! one scan and one decompression.
//!
//! A shard remembers, for the content of a batch and the plan it was inspected under, what the batch
//! became and what was found in it; the evidence of a recalled batch is that of a scanned one. Both
//! directions share it: what a producer's plan let pass is known to readers under an equal plan.
//!
//! A wrong answer would hand out personal data, so a key holds all that an answer depends on:
//! - the content: the batch from its magic on. What stands before (base offset, leader epoch), which
//!   brokers set, changes nothing but itself, and stays out. That is why a producer's batch is known
//!   without knowing its offset;
//! - the plan, by its fingerprint, which covers operators, keys and their epochs, dictionaries, rules'
//!   names and `on_unparseable`. Readers with other rights have other plans;
//! - the key of subjects' tags and how many an entry has; tags are kept by their place in the batch;
//! - bounds, scanner and codecs are the process's own, and so is the memory.
//!
//! Content is compared by [HighwayHash], 128 bits under a random key of 256, and by its length. A
//! batch's own CRC-32C would not do: a producer can write two batches with the same one, a harmless and
//! a harmful. HighwayHash is built for inputs that an adversary chooses; there is no proof for it, but
//! no attack known since 2016 either, and here nobody ever sees a hash to work from, nor the key, which
//! each shard draws for itself. (GHASH, for which there is a proof, took twice the time.)
//!
//! Hashing costs a fifth of scanning, which is wasted where each batch has one reader. So a batch is
//! hashed when a cheap mark of it (CRC, length, plan) was met before, or when many of late were; the
//! mark only saves work, and decides nothing else.
//!
//! Only what was inspected to its end is remembered: refusals are made anew each time. So is what came
//! of a schema that could not be had, since it may be had later; one that is known never changes.
//!
//! [HighwayHash]: https://arxiv.org/abs/1612.06257

use std::cell::RefCell;
use std::hash::{BuildHasher, Hash, Hasher};

use aws_lc_rs::rand;
use bytes::Bytes;
use highway::{HighwayHash, HighwayHasher};
use quick_cache::Weighter;
use quick_cache::unsync::Cache;
use tidegate_core::batch::{BatchError, Inspect, Known, Record, RecordEdit};
use tidegate_core::limits::Limits;
use tidegate_policy::mask::MaskPlan;
use tidegate_policy::mask::pass::{MaskPass, Tally};
use tidegate_policy::mask::schema::Schemas;
use tidegate_policy::subject::SubjectKey;
use zeroize::Zeroizing;

/// Memory of an entry beside what it holds: key, links, and its share of the table.
const ENTRY_BYTES: usize = 224;
/// What an entry is guessed to take, to size the table by.
const ENTRY_BYTES_GUESSED: usize = 4096;
/// A mark for this many bytes of memory, which then takes a 256th of it.
const BYTES_PER_MARK: usize = 1024;

thread_local! {
    /// A shard is a thread: one memory each.
    static VERDICTS: RefCell<Option<Verdicts>> = const { RefCell::new(None) };
}

/// What was seen of one partition's records so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// What was found in batches that are done.
    found: Tally,
    /// Batches of which it was known what they become.
    recalled: u64,
    /// What was found in the batch under way in earlier steps.
    found_in_batch: Tally,
    /// What becomes of the answer about the batch under way.
    then: Then,
    /// The answer about the batch under way depends on what may be otherwise soon.
    passing: bool,
}

/// What becomes of an answer.
#[derive(Debug, Clone, Copy, Default)]
enum Then {
    /// It is forgotten.
    #[default]
    Forget,
    /// It is remembered, under a key that is still to be made.
    Remember,
    /// It is remembered under this key.
    Under(Key),
}

impl Seen {
    /// Takes `step` further with an inspection under `plan`; `subjects` tags whose data is found.
    pub(super) fn step<T>(
        &mut self,
        plan: &MaskPlan,
        limits: &Limits,
        (schemas, subjects): (&dyn Schemas, Option<&SubjectKey>),
        step: impl FnOnce(&mut dyn Inspect) -> T,
    ) -> T {
        VERDICTS.with_borrow_mut(|verdicts| {
            let verdicts = Verdicts::current(verdicts, limits);
            let tags_max = limits.evidence_subjects_max as usize;
            let (mut pass, mut identity) = (plan.begin().with_schemas(schemas), plan.fingerprint());
            if let Some(key) = subjects {
                pass = pass.tagging(key, tags_max, self.found_in_batch.subjects.tags.len());
                identity = tagging_identity(identity, key, limits.evidence_subjects_max);
            }
            let mut remembering = Remembering { pass, plan: identity, verdicts, seen: self };
            let outcome = step(&mut remembering);
            remembering.seen.passing |= remembering.pass.take_passing();
            remembering.seen.found_in_batch.add(&remembering.pass.take_tally());
            remembering.seen.found.subjects.bound(tags_max);
            outcome
        })
    }

    /// What was found, that of a batch that did not come to its end included, and the number of
    /// batches that were known.
    pub(super) fn finish(mut self) -> (Tally, u64) {
        self.found.add(&self.found_in_batch);
        (self.found, self.recalled)
    }
}

/// What tells a plan with tags apart from the same without them, or with others.
fn tagging_identity(plan: u128, key: &SubjectKey, tags_max: u32) -> u128 {
    let check = u128::from(u64::from_le_bytes(key.check())) << 64;
    plan.wrapping_add(check | u128::from(key.epoch()) << 32 | u128::from(tags_max))
}

/// A pass that remembers.
struct Remembering<'a> {
    pass: MaskPass<'a>,
    plan: u128,
    verdicts: Option<&'a mut Verdicts>,
    seen: &'a mut Seen,
}

impl Inspect for Remembering<'_> {
    fn inspect(&mut self, record: &Record<'_>) -> Option<RecordEdit> {
        self.pass.inspect(record)
    }

    fn refusal(&mut self) -> Option<BatchError> {
        self.pass.refusal()
    }

    fn recall(&mut self, base_offset: i64, content: &[u8]) -> Option<Known> {
        self.seen.passing = false;
        let verdicts = self.verdicts.as_deref_mut()?;
        self.seen.then = Then::Forget;
        if !verdicts.met_before(content, self.plan) {
            if verdicts.is_worth_it() {
                self.seen.then = Then::Remember;
            }
            return None;
        }
        let key = verdicts.key(content, self.plan);
        let Some(verdict) = verdicts.cache.get(&key) else {
            self.seen.then = Then::Under(key);
            return None;
        };
        self.seen.found.add_at(&verdict.found, base_offset);
        self.seen.recalled += 1;
        Some(match &verdict.became {
            None => Known::Same,
            Some(content) => Known::Became(content.clone()),
        })
    }

    fn learn(&mut self, base_offset: i64, content: &[u8], became: Option<&[u8]>) {
        let mut found = std::mem::take(&mut self.seen.found_in_batch);
        found.add(&self.pass.take_tally());
        self.pass.begin_batch();
        self.seen.found.add(&found);
        let passing = self.pass.take_passing() || self.seen.passing;
        let Some(verdicts) = self.verdicts.as_deref_mut().filter(|_| !passing) else { return };
        let key = match std::mem::take(&mut self.seen.then) {
            Then::Forget => return,
            Then::Remember => verdicts.key(content, self.plan),
            Then::Under(key) => key,
        };
        // By their place in the batch, wherever in the log that comes again.
        found.subjects.move_by(base_offset.wrapping_neg());
        verdicts.cache.insert(key, Verdict { became: became.map(Bytes::copy_from_slice), found });
    }
}

/// What came of a batch: all that a reader and the evidence get of it.
#[derive(Debug, Clone)]
struct Verdict {
    /// Its content, where it became another.
    became: Option<Bytes>,
    found: Tally,
}

/// What an answer depends on; see above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    content: [u64; 2],
    length: usize,
    plan: u128,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // A hash already, under a key that nobody knows.
        state.write_u64(self.content[0] ^ self.plan as u64);
    }
}

/// Takes what it is given for the hash.
#[derive(Debug, Clone, Copy, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl BuildHasher for Hashed {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self(0)
    }
}

/// What an entry takes.
#[derive(Debug, Clone, Copy)]
struct Memory;

impl Weighter<Key, Verdict> for Memory {
    fn weight(&self, _key: &Key, verdict: &Verdict) -> u64 {
        let became = verdict.became.as_ref().map_or(0, Bytes::len);
        (ENTRY_BYTES + became + verdict.found.heap_bytes()) as u64
    }
}

/// One shard's memory.
struct Verdicts {
    secret: Zeroizing<[u64; 4]>,
    cache: Cache<Key, Verdict, Memory, Hashed>,
    /// Marks of batches that were met, each in one place: a later one takes it.
    marks: Box<[u32]>,
    /// How many of late were met before: a moving average, in units of [`Verdicts::MET`] for each.
    met: u32,
    bytes_max: u32,
}

impl Verdicts {
    const MET: u32 = 1024;
    /// The moving average is over about so many batches.
    const OF_LATE: u32 = 64;
    /// One batch in sixteen met before makes it worth while to hash at first sight.
    const WORTH_IT: u32 = Self::MET * Self::OF_LATE / 16;

    /// The memory in `slot`, begun where there is none of this size; `None` where there is to be none.
    fn current<'a>(slot: &'a mut Option<Self>, limits: &Limits) -> Option<&'a mut Self> {
        let bytes_max = limits.verdict_cache_bytes_per_shard_max;
        if slot.as_ref().map_or(0, |verdicts| verdicts.bytes_max) != bytes_max {
            *slot = if bytes_max == 0 { None } else { Self::new(bytes_max) };
        }
        slot.as_mut()
    }

    /// `None` where there is no randomness to be had.
    fn new(bytes_max: u32) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        rand::fill(bytes.as_mut_slice()).ok()?;
        let mut secret = Zeroizing::new([0; 4]);
        for (word, bytes) in secret.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        let bytes = bytes_max as usize;
        let marks = vec![0; (bytes / BYTES_PER_MARK).next_power_of_two()].into_boxed_slice();
        let left = bytes.saturating_sub(size_of_val(&*marks)) as u64;
        let items = (bytes / ENTRY_BYTES_GUESSED).max(16);
        let cache = Cache::with(items, left, Memory, Hashed::default(), Default::default());
        // Readers that come together at the start are worth it.
        Some(Self { secret, cache, marks, met: Self::MET * Self::OF_LATE, bytes_max })
    }

    /// Whether the same or, rarely, another batch with the same mark was met before.
    fn met_before(&mut self, content: &[u8], plan: u128) -> bool {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        // The CRC follows the magic.
        let crc = content.get(1..5).and_then(|bytes| bytes.first_chunk()).map_or(0, |crc| u32::from_be_bytes(*crc));
        let mixed = (u64::from(crc) << 32 ^ content.len() as u64 ^ plan as u64).wrapping_mul(ODD);
        // Zero is an empty place.
        let mark = (mixed >> 32) as u32 | 1;
        let place = (mixed ^ mixed >> 32).wrapping_mul(ODD) >> 32;
        let places = self.marks.len() as u64;
        let Some(place) = self.marks.get_mut((place % places) as usize) else { return false };
        let met = *place == mark;
        *place = mark;
        self.met = self.met - self.met / Self::OF_LATE + if met { Self::MET } else { 0 };
        met
    }

    fn is_worth_it(&self) -> bool {
        self.met >= Self::WORTH_IT
    }

    fn key(&self, content: &[u8], plan: u128) -> Key {
        let hash = HighwayHasher::new(highway::Key(*self.secret)).hash128(content);
        Key { content: hash, length: content.len(), plan }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(n: u32) -> Vec<u8> {
        let mut content = vec![0; 100];
        content[1..5].copy_from_slice(&n.to_be_bytes());
        content
    }

    #[test]
    fn memory_is_bounded_and_what_is_asked_for_stays() {
        let mut verdicts = Verdicts::new(1 << 20).unwrap();
        let became = Bytes::from(vec![0; 10_000]);
        let hot = verdicts.key(&content(0), 7);
        for n in 0..1000 {
            let key = verdicts.key(&content(n), 7);
            verdicts.cache.insert(key, Verdict { became: Some(became.clone()), found: Tally::default() });
            assert!(verdicts.cache.weight() <= 1 << 20);
            assert!(verdicts.cache.get(&hot).is_some(), "after {n}");
        }
        assert!(verdicts.cache.len() > 50);
    }

    #[test]
    fn what_has_one_reader_is_soon_not_hashed_any_more_and_what_has_many_is_again() {
        let mut verdicts = Verdicts::new(1 << 24).unwrap();
        assert!(verdicts.is_worth_it());
        assert!((0..1000).all(|n| !verdicts.met_before(&content(n), 7)));
        assert!(!verdicts.is_worth_it());
        // Some have taken each other's place.
        let again = (900..1000).filter(|n| verdicts.met_before(&content(*n), 7)).count();
        assert!(again > 90, "{again}");
        assert!(verdicts.is_worth_it());
        // Another plan is another matter.
        assert!((900..1000).all(|n| !verdicts.met_before(&content(n), 8)));
    }

    #[test]
    fn keys_tell_contents_and_plans_apart() {
        let verdicts = Verdicts::new(1 << 20).unwrap();
        let key = verdicts.key(&content(1), 7);
        assert_eq!(key, verdicts.key(&content(1), 7));
        assert_ne!(key, verdicts.key(&content(1), 8));
        assert_ne!(key, verdicts.key(&content(2), 7));
        // Zeros at the end are not nothing.
        assert_ne!(key, verdicts.key(&content(1)[..99], 7));
        assert_ne!(key, Verdicts::new(1 << 20).unwrap().key(&content(1), 7), "each has its own secret");
    }
}
