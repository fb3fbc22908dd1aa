//! The fields of documents that a plan names: paths and names, looked up together, member by member.
//!
//! Records of a topic have the same few keys over and over, so what a key means is looked up once
//! and remembered in a [`Keys`] table, which a thread keeps from pass to pass.

use std::cell::Cell;

use super::Selector;
use super::automaton::{Automaton, DEAD, UNNAMED};
use super::json;
use super::names::Names;
use super::path::Path;
use super::plan::Slot;

/// The fields of documents that a plan names.
#[derive(Debug)]
pub(super) struct Fields {
    /// `None` where the paths are too many for it: nothing can then be read.
    pub(super) automaton: Option<Automaton>,
    pub(super) names: Names,
    /// By the tags of a schema.
    tags: Vec<(Box<str>, Slot)>,
    /// Whether values that cannot be read must not pass: a path of a rule that masks leads into them.
    pub(super) strict: bool,
    /// Whether values without a schema must not pass: a rule that masks names a tag.
    pub(super) needs_schema: bool,
    /// Whether anything is changed at all.
    pub(super) masks: bool,
    /// Tells these fields apart from those of other plans.
    id: u64,
}

/// What is gathered of a plan's entries.
#[derive(Debug, Default)]
pub(super) struct Builder {
    paths: Vec<(Path, Slot)>,
    names: Names,
    tags: Vec<(Box<str>, Slot)>,
    strict: bool,
    needs_schema: bool,
    masks: bool,
}

impl Builder {
    pub(super) fn add(&mut self, selector: &Selector, slot: Slot, masks: bool) {
        match selector {
            Selector::Path(path) => {
                self.paths.push((path.clone(), slot));
                self.strict |= masks;
            }
            Selector::Name(name) => self.names.add(name, slot),
            Selector::NamesOf(class) => self.names.add_class(*class, slot),
            Selector::Tag(tag) => {
                self.tags.push((tag.clone(), slot));
                self.needs_schema |= masks;
            }
            // The checks allow columns only where a rule says how to read CSV.
            Selector::Column(_) => return,
        }
        self.masks |= masks;
    }

    /// `None` where no entry names a field.
    pub(super) fn finish(self) -> Option<Fields> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let Self { paths, names, tags, strict, needs_schema, masks } = self;
        (!paths.is_empty() || !names.is_empty() || !tags.is_empty()).then(|| Fields {
            automaton: Automaton::new(&paths),
            names,
            tags,
            strict,
            needs_schema,
            masks,
            id: NEXT.fetch_add(1, Ordering::Relaxed),
        })
    }
}

impl Fields {
    pub(super) fn builder() -> Builder {
        Builder::default()
    }

    /// Tells these fields apart from those of other plans.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// The state at, and who speaks about, the member of this name of what `state` and `slot` are of.
    pub(super) fn member(&self, state: u16, slot: Slot, name: &[u8]) -> (u16, Slot) {
        self.member_of(state, slot, self.meaning(name))
    }

    /// As [`Fields::member`], for a member that has several names; the first that a path has counts for
    /// paths.
    pub(super) fn member_known_as(&self, state: u16, slot: Slot, names: &[&[u8]]) -> (u16, Slot) {
        let mut meaning = Meaning { name: UNNAMED, slot: Slot::NONE };
        for name in names {
            let also = self.meaning(name);
            meaning.slot = meaning.slot.and(also.slot);
            if meaning.name == UNNAMED {
                meaning.name = also.name;
            }
        }
        self.member_of(state, slot, meaning)
    }

    /// As [`Fields::member`], for a name that was looked up.
    pub(super) fn member_of(&self, state: u16, slot: Slot, meaning: Meaning) -> (u16, Slot) {
        let slot = slot.and(meaning.slot);
        let Some(automaton) = &self.automaton else { return (DEAD, slot) };
        let state = automaton.member(state, meaning.name);
        (state, slot.and(automaton.slot(state)))
    }

    /// The state at, and who speaks about, an element of what `state` and `slot` are of.
    pub(super) fn element(&self, state: u16, slot: Slot, index: u32) -> (u16, Slot) {
        let Some(automaton) = &self.automaton else { return (DEAD, slot) };
        let state = automaton.element(state, index);
        (state, slot.and(automaton.slot(state)))
    }

    /// Who speaks about fields with this tag.
    pub(super) fn tag(&self, tag: &str) -> Slot {
        let tagged = self.tags.iter().filter(|(known, _)| **known == *tag);
        tagged.fold(Slot::NONE, |slots, (_, slot)| slots.and(*slot))
    }

    /// Whether any tag counts.
    pub(super) fn has_tags(&self) -> bool {
        !self.tags.is_empty()
    }

    /// Whether a path without `..` leads on from `state`.
    pub(super) fn leads_on(&self, state: u16) -> bool {
        self.automaton.as_ref().is_some_and(|automaton| automaton.leads_on(state))
    }

    /// What a key means, as it stands in a document, escapes included.
    fn meaning(&self, raw: &[u8]) -> Meaning {
        let mut text = Vec::new();
        let key = if memchr::memchr(b'\\', raw).is_some() {
            json::unescape(raw, &mut text);
            text.as_slice()
        } else {
            raw
        };
        let name = self.automaton.as_ref().map_or(UNNAMED, |automaton| automaton.name(key));
        let slot = if self.names.is_empty() { Slot::NONE } else { self.names.find(&String::from_utf8_lossy(key)) };
        Meaning { name, slot }
    }
}

/// What a key means: its number among the paths' names, and whose name it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) name: u16,
    pub(super) slot: Slot,
}

/// Longest key that is remembered.
const KEY_BYTES_MAX: usize = 48;
/// Places for keys: a power of two.
const SETS: usize = 128;
/// Keys that share a place, so that two keys of the same records don't keep pushing each other out.
const WAYS: usize = 4;

#[derive(Debug, Clone, Copy)]
struct Known {
    /// Most keys are told apart, and told equal, by these alone.
    outline: Outline,
    key: [u8; KEY_BYTES_MAX],
    meaning: Meaning,
}

/// The length of a key and its first and last eight bytes: up to 16 bytes, that is all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Outline {
    length: u64,
    first: u64,
    last: u64,
}

#[derive(Debug, Clone)]
struct Set {
    ways: [Known; WAYS],
    /// Who is replaced next.
    next: u8,
}

/// Keys that were met, and what they mean.
#[derive(Debug)]
pub(super) struct Keys {
    /// Of which fields.
    id: u64,
    sets: Box<[Set]>,
}

thread_local! {
    /// That of the last pass of this thread.
    static KEPT: Cell<Option<Keys>> = const { Cell::new(None) };
}

impl Keys {
    /// The table that this thread kept, emptied where it is of other fields.
    pub(super) fn take(fields: &Fields) -> Self {
        KEPT.take().filter(|keys| keys.are_of(fields)).unwrap_or_else(|| Self::new(fields))
    }

    /// An empty table.
    pub(super) fn new(fields: &Fields) -> Self {
        let meaning = Meaning { name: UNNAMED, slot: Slot::NONE };
        let outline = Outline { length: u64::MAX, first: 0, last: 0 };
        let none = Known { outline, key: [0; KEY_BYTES_MAX], meaning };
        Self { id: fields.id, sets: vec![Set { ways: [none; WAYS], next: 0 }; SETS].into() }
    }

    /// Whether it is of these fields.
    pub(super) fn are_of(&self, fields: &Fields) -> bool {
        self.id == fields.id
    }

    /// Keeps it for this thread's next pass.
    pub(super) fn keep(self) {
        KEPT.set(Some(self));
    }

    /// What a key means, as it stands in a document.
    #[inline]
    pub(super) fn meaning(&mut self, fields: &Fields, raw: &[u8]) -> Meaning {
        if raw.len() > KEY_BYTES_MAX {
            return fields.meaning(raw);
        }
        let outline = Outline::of(raw);
        let Some(set) = self.sets.get_mut(outline.hash() % SETS) else { return fields.meaning(raw) };
        for known in &set.ways {
            if known.outline == outline && (raw.len() <= 16 || known.key.get(..raw.len()) == Some(raw)) {
                return known.meaning;
            }
        }
        set.learn(outline, raw, fields.meaning(raw))
    }
}

impl Set {
    #[cold]
    fn learn(&mut self, outline: Outline, raw: &[u8], meaning: Meaning) -> Meaning {
        let mut key = [0; KEY_BYTES_MAX];
        key[..raw.len()].copy_from_slice(raw);
        if let Some(way) = self.ways.get_mut(usize::from(self.next) % WAYS) {
            *way = Known { outline, key, meaning };
        }
        self.next = self.next.wrapping_add(1);
        meaning
    }
}

impl Outline {
    #[inline]
    fn of(key: &[u8]) -> Self {
        let (first, last) = match (key.first_chunk(), key.last_chunk()) {
            (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
            _ => (key.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)), 0),
        };
        Self { length: key.len() as u64, first, last }
    }

    /// Cheap: what is not equal is seen when the keys are compared.
    #[inline]
    fn hash(self) -> usize {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let mixed = self.first.wrapping_mul(ODD) ^ self.last.rotate_left(29) ^ self.length;
        (mixed.wrapping_mul(ODD) >> 40) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields() -> Fields {
        let mut builder = Fields::builder();
        for (index, path) in ["$.a", "$.customerReference", "$.x.y"].into_iter().enumerate() {
            if let Ok(path) = Path::parse(path) {
                builder.add(&Selector::Path(path), Slot::of(index as u16, false), true);
            }
        }
        builder.add(&Selector::Name("kundenNr".into()), Slot::of(7, false), true);
        builder.finish().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 200, ..ProptestConfig::default() })]

        /// However keys follow each other and share places, a remembered meaning is the looked-up one.
        #[test]
        fn what_is_remembered_is_what_is_meant(keys in proptest::collection::vec("(a|x|y|kunden[_-]?nr|customerReference|[a-c]{0,3}|[ab]{14,18}|[ab]{46,50})", 1..600)) {
            let fields = fields();
            let mut table = Keys::take(&fields);
            for key in &keys {
                prop_assert_eq!(table.meaning(&fields, key.as_bytes()), fields.meaning(key.as_bytes()), "{}", key);
            }
        }
    }
}
