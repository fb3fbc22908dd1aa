//! The Merkle tree of RFC 6962, one per shard: leaf hashes, the compact range, inclusion proofs.
//!
//! Pure. A leaf is a whole event frame as it stands in the file, so a leaf's index is the entry's
//! sequence number. [`CompactRange`] holds what appending and the root need and nothing else: the
//! roots of the largest complete subtrees, one per set bit of the size, at most 64.

use std::collections::VecDeque;

use aws_lc_rs::digest::{Context, Digest, SHA256, digest};

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// Bytes of a compact range in a segment's header.
pub const RANGE_BYTES: usize = 8 + 64 * 32;

/// Longest frame that is hashed from the stack, in bytes: nearly all are shorter.
const STACK_BYTES: usize = 512;

/// The hash of an event frame as a leaf: SHA-256 of 0x00 and the frame.
#[must_use]
pub fn leaf_hash(frame: &[u8]) -> Hash {
    // Hashing in one call saves the allocation of a context, which costs as much as a short frame.
    let mut buffer = [0; 1 + STACK_BYTES];
    match buffer.get_mut(1..=frame.len()) {
        Some(place) => {
            place.copy_from_slice(frame);
            hash(buffer.get(..=frame.len()).unwrap_or_default())
        }
        None => {
            let mut context = Context::new(&SHA256);
            context.update(&[0]);
            context.update(frame);
            array(&context.finish())
        }
    }
}

/// The hash of an inner node: SHA-256 of 0x01 and both children.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut buffer = [1; 65];
    buffer[1..33].copy_from_slice(left);
    buffer[33..].copy_from_slice(right);
    hash(&buffer)
}

/// SHA-256.
#[must_use]
pub(crate) fn hash(bytes: &[u8]) -> Hash {
    array(&digest(&SHA256, bytes))
}

fn array(digest: &Digest) -> Hash {
    let mut out = [0; 32];
    // SHA-256 gives 32 bytes.
    out.copy_from_slice(digest.as_ref());
    out
}

/// The tree over the first `size` leaves, as far as appending and the root need it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompactRange {
    size: u64,
    /// Roots of complete subtrees, the largest first; as many as `size` has set bits.
    nodes: Vec<Hash>,
}

impl CompactRange {
    /// The number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf.
    pub fn append(&mut self, leaf: Hash) {
        let mut node = leaf;
        for _ in 0..self.size.trailing_ones() {
            // There is a node for each set bit.
            let Some(left) = self.nodes.pop() else { break };
            node = node_hash(&left, &node);
        }
        self.nodes.push(node);
        self.size += 1;
    }

    /// The tree's root; the hash of nothing where there is no leaf.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut nodes = self.nodes.iter().rev();
        let Some(mut root) = nodes.next().copied() else { return hash(b"") };
        for left in nodes {
            root = node_hash(left, &root);
        }
        root
    }

    /// The complete subtrees: the first leaf of each, how many leaves it has, its hash.
    pub fn subtrees(&self) -> impl Iterator<Item = (u64, u64, Hash)> {
        let mut start = 0;
        let bits = (0..64).rev().filter(|bit| self.size >> bit & 1 == 1);
        bits.zip(&self.nodes).map(move |(bit, node)| {
            let leaves = 1u64 << bit;
            start += leaves;
            (start - leaves, leaves, *node)
        })
    }

    /// The bytes of a segment's header: the size and 64 hashes, unused ones zero.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.size.to_le_bytes().to_vec();
        self.nodes.iter().for_each(|node| bytes.extend_from_slice(node));
        bytes.resize(RANGE_BYTES, 0);
        bytes
    }

    /// From those bytes; `None` where there are too few, or unused hashes are not zero.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (size, rest) = bytes.get(..RANGE_BYTES)?.split_first_chunk::<8>()?;
        let size = u64::from_le_bytes(*size);
        let (hashes, _) = rest.as_chunks::<32>();
        let (nodes, unused) = hashes.split_at_checked(size.count_ones() as usize)?;
        unused.iter().all(|hash| *hash == [0; 32]).then(|| Self { size, nodes: nodes.to_vec() })
    }
}

/// A tree that is advanced to sizes which become known only after their leaves: each inner node is
/// still hashed once.
#[derive(Debug, Clone)]
pub struct LaggingTree {
    range: CompactRange,
    ahead: VecDeque<Hash>,
}

impl LaggingTree {
    /// Continues `range`.
    #[must_use]
    pub const fn new(range: CompactRange) -> Self {
        Self { range, ahead: VecDeque::new() }
    }

    /// Adds a leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.ahead.push_back(leaf);
    }

    /// Leaves there are, asked for or not.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.range.size + self.ahead.len() as u64
    }

    /// The least size whose root can still be told.
    #[must_use]
    pub const fn behind(&self) -> u64 {
        self.range.size
    }

    /// The tree of the first `size` leaves; `None` where that is passed already, or not reached.
    pub fn advance(&mut self, size: u64) -> Option<&CompactRange> {
        if size < self.range.size || size > self.size() {
            return None;
        }
        while self.range.size < size {
            self.range.append(self.ahead.pop_front()?);
        }
        Some(&self.range)
    }

    /// The tree of all leaves.
    #[must_use]
    pub fn finish(mut self) -> CompactRange {
        self.ahead.drain(..).for_each(|leaf| self.range.append(leaf));
        self.range
    }
}

/// A part of a tree: what is before `before.size()` as a compact range, then leaves.
#[derive(Debug)]
pub struct PartialTree<'a> {
    /// The tree before the leaves.
    pub before: &'a CompactRange,
    /// The leaves from there on.
    pub leaves: &'a [Hash],
}

impl PartialTree<'_> {
    /// The inclusion proof of the leaf `index` in the tree of the first `size` leaves (RFC 6962,
    /// section 2.1.1), the leaf's sibling first. `None` where the index is before the leaves held here,
    /// or the size beyond them.
    #[must_use]
    pub fn inclusion(&self, index: u64, size: u64) -> Option<Vec<Hash>> {
        let held = self.before.size + self.leaves.len() as u64;
        if index < self.before.size || index >= size || size > held {
            return None;
        }
        let (mut low, mut high) = (0, size);
        let mut path = Vec::new();
        while high - low > 1 {
            let middle = low + split(high - low);
            if index < middle {
                path.push(self.subtree(middle, high)?);
                high = middle;
            } else {
                path.push(self.subtree(low, middle)?);
                low = middle;
            }
        }
        path.reverse();
        Some(path)
    }

    /// The hash over the leaves `low..high`.
    fn subtree(&self, low: u64, high: u64) -> Option<Hash> {
        if low >= self.before.size && high - low == 1 {
            return self.leaves.get((low - self.before.size) as usize).copied();
        }
        if low < self.before.size
            && let Some((_, _, hash)) = self.before.subtrees().find(|(start, n, _)| *start == low && n + low == high)
        {
            return Some(hash);
        }
        if high - low < 2 {
            return None;
        }
        let middle = low + split(high - low);
        Some(node_hash(&self.subtree(low, middle)?, &self.subtree(middle, high)?))
    }
}

/// The largest power of two below `leaves`, which is at least 2.
const fn split(leaves: u64) -> u64 {
    1 << (leaves - 1).ilog2()
}

/// The root that an inclusion proof leads to (RFC 9162, section 2.1.3.2); `None` where the proof has not
/// the length that it must have.
#[must_use]
pub fn root_from_inclusion(index: u64, size: u64, leaf: Hash, path: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut number, mut last, mut root) = (index, size - 1, leaf);
    for sibling in path {
        if last == 0 {
            return None;
        }
        if number & 1 == 1 || number == last {
            root = node_hash(sibling, &root);
            while number & 1 == 0 && number != 0 {
                number >>= 1;
                last >>= 1;
            }
        } else {
            root = node_hash(&root, sibling);
        }
        number >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition of RFC 6962, section 2.1, word for word.
    fn definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => hash(b""),
            [leaf] => *leaf,
            more => {
                let (left, right) = more.split_at(split(more.len() as u64) as usize);
                node_hash(&definition(left), &definition(right))
            }
        }
    }

    fn leaves(n: u64) -> Vec<Hash> {
        (0..n).map(|n| leaf_hash(&n.to_le_bytes())).collect()
    }

    fn hex(hash: Hash) -> String {
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Vectors of the certificate transparency project's reference implementation.
    #[test]
    fn published_vectors() {
        let inputs: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let mut range = CompactRange::default();
        assert_eq!(hex(range.root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        for (index, input) in inputs.iter().enumerate() {
            range.append(leaf_hash(input));
            if index == 0 {
                assert_eq!(hex(range.root()), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
            }
        }
        assert_eq!(hex(range.root()), "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
    }

    #[test]
    fn leaves_of_every_length() {
        for bytes in [0, 1, 54, 55, 56, 511, 512, 513, 70_000] {
            let frame = vec![9; bytes];
            assert_eq!(leaf_hash(&frame), hash(&[&[0][..], &frame].concat()), "{bytes}");
        }
    }

    #[test]
    fn ranges_follow_the_definition_and_survive_encoding() {
        let all = leaves(130);
        let mut range = CompactRange::default();
        let mut lagging = LaggingTree::new(CompactRange::default());
        all.iter().for_each(|leaf| lagging.push(*leaf));
        for n in 0..=130usize {
            assert_eq!(range.root(), definition(&all[..n]), "{n}");
            assert_eq!(CompactRange::parse(&range.encode()).as_ref(), Some(&range));
            assert_eq!(lagging.advance(n as u64), Some(&range));
            if let Some(leaf) = all.get(n) {
                range.append(*leaf);
            }
        }
        assert_eq!(lagging.advance(3), None);
        assert_eq!(lagging.advance(131), None);
        let mut bad = range.encode();
        bad[RANGE_BYTES - 1] = 1;
        assert_eq!((CompactRange::parse(&bad), CompactRange::parse(&bad[1..])), (None, None));
    }

    #[test]
    fn proofs_from_any_part_of_the_tree() {
        let all = leaves(70);
        for first in [0u64, 1, 5, 8, 31, 32, 33, 64] {
            let mut before = CompactRange::default();
            all[..first as usize].iter().for_each(|leaf| before.append(*leaf));
            let part = PartialTree { before: &before, leaves: &all[first as usize..] };
            assert_eq!((part.inclusion(first.wrapping_sub(1), 70), part.inclusion(69, 71)), (None, None));
            for size in first + 1..=70 {
                let root = definition(&all[..size as usize]);
                for index in first..size {
                    let path = part.inclusion(index, size).unwrap();
                    let leaf = all[index as usize];
                    assert_eq!(root_from_inclusion(index, size, leaf, &path), Some(root), "{index} of {size}");
                    assert_ne!(root_from_inclusion(index ^ 1, size, leaf, &path), Some(root), "{index} of {size}");
                    if let Some(shorter) = path.get(1..) {
                        assert_eq!(root_from_inclusion(index, size, leaf, shorter), None);
                    }
                }
            }
        }
    }
}
