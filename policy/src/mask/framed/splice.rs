//! Values of an encoded message, what they become, and the message put together again.
//!
//! Walkers of formats yield [`Leaf`]s and the [`Container`]s around them, whose lengths stand before
//! them; what changes in a container changes its length, and that of those around it. What is not
//! edited keeps its very bytes.

use std::ops::Range;

use super::super::plan::Slot;

/// A value that may be masked.
#[derive(Debug, Clone)]
pub(super) struct Leaf<K> {
    /// The bytes that it takes, its length or tag included where they change with it.
    pub(super) whole: Range<usize>,
    /// Its content.
    pub(super) content: Range<usize>,
    pub(super) kind: K,
    /// Who speaks about its field.
    pub(super) slot: Slot,
    /// What is matched of paths on the way down to it.
    pub(super) state: u16,
    /// Where its content stands in the text that is scanned.
    pub(super) text: Range<usize>,
    /// The container that it stands in, by number; `None` for the message itself.
    pub(super) container: Option<u32>,
}

/// Bytes with their length before them.
#[derive(Debug, Clone)]
pub(super) struct Container {
    /// What says the length.
    pub(super) head: Range<usize>,
    pub(super) body: Range<usize>,
    pub(super) parent: Option<u32>,
    /// What stands in the head beside the length: the number of items.
    pub(super) count: u64,
}

/// What some bytes become.
#[derive(Debug)]
pub(super) struct Edit {
    pub(super) span: Range<usize>,
    /// Where the new bytes stand in the buffer of [`Edits`].
    new: Range<usize>,
}

/// All edits of a message.
#[derive(Debug, Default)]
pub(super) struct Edits {
    edits: Vec<Edit>,
    bytes: Vec<u8>,
    /// By container: by how much it grows, where it is touched.
    grown: Vec<Option<i64>>,
}

impl Edits {
    pub(super) fn clear(&mut self) {
        self.edits.clear();
        self.bytes.clear();
        self.grown.clear();
    }

    /// Replaces `span`, in this container, by what `write` appends.
    pub(super) fn replace(&mut self, span: Range<usize>, container: Option<u32>, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        let grown = (self.bytes.len() - start) as i64 - span.len() as i64;
        self.edits.push(Edit { span, new: start..self.bytes.len() });
        self.grow(container, grown);
    }

    fn grow(&mut self, container: Option<u32>, by: i64) {
        let Some(container) = container.map(|container| container as usize) else { return };
        if self.grown.len() <= container {
            self.grown.resize(container + 1, None);
        }
        *self.grown[container].get_or_insert(0) += by;
    }

    /// The message as it becomes; `None` where nothing changes. `head` writes the head of a container
    /// whose body has a new length.
    pub(super) fn apply(
        &mut self,
        message: &[u8],
        containers: &[Container],
        head: impl Fn(&Container, u64, &mut Vec<u8>),
    ) -> Option<Vec<u8>> {
        if self.edits.is_empty() {
            return None;
        }
        // Inner ones come after those around them.
        for (at, container) in containers.iter().enumerate().rev() {
            let Some(grown) = self.grown.get(at).copied().flatten() else { continue };
            let length = (container.body.len() as i64).saturating_add(grown).max(0) as u64;
            self.replace(container.head.clone(), None, |out| head(container, length, out));
            let head_grown = self.edits.last().map_or(0, |edit| edit.new.len() as i64 - edit.span.len() as i64);
            self.grow(container.parent, grown + head_grown);
        }
        self.edits.sort_by_key(|edit| edit.span.start);
        let mut out = Vec::with_capacity(message.len() + self.bytes.len());
        let mut copied = 0;
        for Edit { span, new } in &self.edits {
            out.extend_from_slice(&message[copied..span.start]);
            out.extend_from_slice(&self.bytes[new.clone()]);
            copied = span.end;
        }
        out.extend_from_slice(&message[copied..]);
        Some(out)
    }
}
