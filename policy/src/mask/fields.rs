//! The fields of documents that a plan names: paths and names, looked up together, member by member.
//!
//! Records of a topic have the same few keys over and over, so what a key means is looked up once
//! and remembered in a [`Keys`] table, which a thread keeps from pass to pass.

use std::cell::Cell;

use super::Selector;
use super::automaton::{Automaton, UNNAMED};
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
    /// Whether values that cannot be read must not pass: a path of a rule that masks leads into them.
    pub(super) strict: bool,
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
    strict: bool,
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
            // The checks allow columns only where a rule says how to read CSV.
            Selector::Column(_) => return,
        }
        self.masks |= masks;
    }

    /// `None` where no entry names a field.
    pub(super) fn finish(self) -> Option<Fields> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let Self { paths, names, strict, masks } = self;
        (!paths.is_empty() || !names.is_empty()).then(|| Fields {
            automaton: Automaton::new(&paths),
            names,
            strict,
            masks,
            id: NEXT.fetch_add(1, Ordering::Relaxed),
        })
    }
}

impl Fields {
    pub(super) fn builder() -> Builder {
        Builder::default()
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
const KEY_BYTES_MAX: usize = 36;
/// Keys that are remembered: a power of two.
const KEYS_MAX: usize = 256;

#[derive(Debug, Clone, Copy)]
struct Known {
    length: u8,
    key: [u8; KEY_BYTES_MAX],
    meaning: Meaning,
}

/// Keys that were met, and what they mean.
#[derive(Debug)]
pub(super) struct Keys {
    /// Of which fields.
    id: u64,
    known: Box<[Known]>,
}

thread_local! {
    /// That of the last pass of this thread.
    static KEPT: Cell<Option<Keys>> = const { Cell::new(None) };
}

impl Keys {
    /// The table that this thread kept, emptied where it is of other fields.
    pub(super) fn take(fields: &Fields) -> Self {
        let kept = KEPT.take().filter(|keys| keys.id == fields.id);
        kept.unwrap_or_else(|| {
            let meaning = Meaning { name: UNNAMED, slot: Slot::NONE };
            let none = Known { length: u8::MAX, key: [0; KEY_BYTES_MAX], meaning };
            Self { id: fields.id, known: vec![none; KEYS_MAX].into() }
        })
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
        let Some(known) = self.known.get_mut(hash(raw) % KEYS_MAX) else { return fields.meaning(raw) };
        if usize::from(known.length) == raw.len() && known.key.get(..raw.len()) == Some(raw) {
            return known.meaning;
        }
        let meaning = fields.meaning(raw);
        let mut key = [0; KEY_BYTES_MAX];
        key[..raw.len()].copy_from_slice(raw);
        *known = Known { length: raw.len() as u8, key, meaning };
        meaning
    }
}

/// A cheap hash of a short key: what is not equal is seen when the keys are compared.
#[inline]
fn hash(key: &[u8]) -> usize {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let word = |bytes: Option<&[u8; 8]>| bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let mixed = match key {
        [_, _, _, _, _, _, _, _, ..] => word(key.first_chunk()).wrapping_mul(ODD) ^ word(key.last_chunk()),
        _ => key.iter().fold(0, |hash, byte| hash << 8 | u64::from(*byte)),
    };
    ((mixed ^ key.len() as u64).wrapping_mul(ODD) >> 40) as usize
}
