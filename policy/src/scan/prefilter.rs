//! The one pass over the bytes: finds the places where data of any class may stand.
//!
//! The text is looked at in windows of 64 bytes. What each byte is becomes a bit in a mask
//! ([`Block`], made by `simd` or, without it, by [`Portable`]); patterns of several bytes are then a
//! few shifts of these masks. Patterns look up to [`LOOKBACK`] bytes back and one ahead, so windows
//! overlap by that much and need nothing of each other.
//!
//! Invariant: a place is reported exactly once, at the byte that completes its pattern; whatever
//! reads blocks, the places are the same.

/// Bytes of a window.
pub(super) const WINDOW: usize = 64;
/// How far back a pattern may look from the byte that completes it.
const LOOKBACK: usize = 15;
/// New bytes per window: the last is only looked ahead at.
const STRIDE: usize = WINDOW - LOOKBACK - 1;
/// Room in [`Candidates`]. Patterns that end with the same byte are at most a few in a window.
const CANDIDATES_MAX: usize = 256;
const CANDIDATES_OF_WINDOW_MAX: usize = 96;

/// What the bytes of a window are, a bit a byte, the first byte in the lowest bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Block {
    /// `0` to `9`.
    pub digit: u64,
    /// `A` to `Z` and `a` to `z`.
    pub letter: u64,
    /// What may stand between the groups of a number: space, `-`, `.` and `/`.
    pub separator: u64,
    /// `:`.
    pub colon: u64,
    /// Whether any bit of [`Rare`] is set. Most windows have none, so that is asked first.
    pub has_rare: bool,
}

/// What few bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Rare {
    /// `@`, `+` and `%`.
    pub special: u64,
    /// `\`.
    pub backslash: u64,
    /// Not ASCII.
    pub high: u64,
}

/// A way of reading windows.
pub(super) trait Read: Copy {
    /// What is asked of every window.
    fn block(self, window: &[u8; WINDOW]) -> Block;
    /// What is asked of windows with rare bytes.
    fn rare(self, window: &[u8; WINDOW]) -> Rare;
}

impl Block {
    /// As if `count` bytes of nothing stood before the window.
    #[inline(always)]
    fn later(self, count: usize) -> Self {
        Self {
            digit: self.digit << count,
            letter: self.letter << count,
            separator: self.separator << count,
            colon: self.colon << count,
            has_rare: self.has_rare,
        }
    }
}

impl Rare {
    #[inline(always)]
    fn later(self, count: usize) -> Self {
        Self { special: self.special << count, backslash: self.backslash << count, high: self.high << count }
    }
}

/// Reads without any SIMD of our own. Comparing and shifting is exact for each byte alone, so this is
/// what the others are held against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portable;

impl Read for Portable {
    fn block(self, window: &[u8; WINDOW]) -> Block {
        let mut block = Block::default();
        for (index, byte) in window.iter().enumerate() {
            let bit = |is: bool| u64::from(is) << index;
            block.digit |= bit(byte.is_ascii_digit());
            block.letter |= bit(byte.is_ascii_alphabetic());
            block.separator |= bit(matches!(byte, b' ' | b'-' | b'.' | b'/'));
            block.colon |= bit(*byte == b':');
            block.has_rare |= matches!(byte, b'@' | b'+' | b'%' | b'\\' | 0x80..);
        }
        block
    }

    fn rare(self, window: &[u8; WINDOW]) -> Rare {
        let mut rare = Rare::default();
        for (index, byte) in window.iter().enumerate() {
            let bit = |is: bool| u64::from(is) << index;
            rare.special |= bit(matches!(byte, b'@' | b'+' | b'%'));
            rare.backslash |= bit(*byte == b'\\');
            rare.high |= bit(!byte.is_ascii());
        }
        rare
    }
}

/// Which pattern was completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Kind {
    /// `@`, `+` or `%`.
    Special = 0,
    /// The seventh byte of digits with single separators between them.
    Number = 1,
    /// Two letters and two digits, not within a word.
    Head = 2,
    /// The 14th byte of a word of letters and digits.
    Word = 3,
    /// The third colon of `:x:x:`, or the second of `::`.
    Colon = 4,
    /// The third dash of `-xx-xx-`.
    Dash = 5,
    /// Six digits, a letter, three digits.
    Dated = 6,
}

impl Kind {
    pub(super) const ALL: [Self; 7] =
        [Self::Special, Self::Number, Self::Head, Self::Word, Self::Colon, Self::Dash, Self::Dated];
}

/// Which patterns are of interest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// All ones for each kind that is.
    pub masks: [u64; Kind::ALL.len()],
    /// Whether to stop where the text must be normalised first.
    pub stops_at_disguise: bool,
}

impl Wanted {
    /// Adds a pattern.
    pub(super) fn insert(&mut self, kind: Kind) {
        self.masks[kind as usize] = u64::MAX;
    }

    #[inline(always)]
    fn of(&self, kind: Kind, mask: u64) -> u64 {
        mask & self.masks[kind as usize]
    }
}

/// Places to look at, in no order.
#[derive(Debug, Clone)]
pub(super) struct Candidates {
    /// The kind in the highest byte, the place below.
    items: [u64; CANDIDATES_MAX],
    length: usize,
    /// The text holds a disguise (an escape, a look-alike), and the pass was given up.
    pub disguised: bool,
}

impl Default for Candidates {
    fn default() -> Self {
        Self { items: [0; CANDIDATES_MAX], length: 0, disguised: false }
    }
}

impl Candidates {
    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.length = 0;
        self.disguised = false;
    }

    /// The places.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Kind, usize)> + '_ {
        self.items.iter().take(self.length).map(|item| {
            let kind = Kind::ALL.get((item >> 56) as usize).copied().unwrap_or(Kind::Special);
            (kind, (item & 0x00ff_ffff_ffff_ffff) as usize)
        })
    }

    #[inline(always)]
    fn push_all(&mut self, kind: Kind, mut mask: u64, base: usize) {
        while mask != 0 {
            let at = base.wrapping_add(mask.trailing_zeros() as usize);
            if let Some(item) = self.items.get_mut(self.length) {
                *item = (kind as u64) << 56 | at as u64;
                self.length += 1;
            }
            mask &= mask - 1;
        }
    }

    fn is_nearly_full(&self) -> bool {
        self.length + CANDIDATES_OF_WINDOW_MAX > CANDIDATES_MAX
    }
}

/// Finds candidates in `text` from `from` on, until the end, until there is no more room for them
/// or until a disguise is met. Returns how far it came.
#[inline(always)]
pub(super) fn fill(text: &[u8], from: usize, wanted: &Wanted, out: &mut Candidates, read: impl Read) -> usize {
    let mut at = from;
    while at < text.len() && !out.is_nearly_full() && !out.disguised {
        let first = at.wrapping_sub(LOOKBACK);
        if let Some(window) = text.get(first..).and_then(<[u8]>::first_chunk) {
            let stops = at + STRIDE + 1 >= text.len();
            // At the end of the text nothing follows the last byte, so it is looked at as well.
            let new = u64::MAX << LOOKBACK;
            let new = if stops { new } else { new & (u64::MAX >> 1) };
            note(text, (window, 0), first, new, wanted, out, read);
            at += if stops { STRIDE + 1 } else { STRIDE };
        } else if at >= LOOKBACK && text.len() >= WINDOW {
            // The rest is less than a window: the last 64 bytes are one.
            let first = text.len() - WINDOW;
            if let Some(window) = text.get(first..).and_then(<[u8]>::first_chunk) {
                note(text, (window, 0), first, u64::MAX << (at - first), wanted, out, read);
            }
            at = text.len();
        } else {
            at = fill_edge(text, at, wanted, out, read);
        }
    }
    at.min(text.len())
}

/// The window at the beginning, and those of texts that are shorter than a window.
#[inline(always)]
fn fill_edge(text: &[u8], at: usize, wanted: &Wanted, out: &mut Candidates, read: impl Read) -> usize {
    let mut padded = [0; WINDOW];
    let window = text.first_chunk().unwrap_or_else(|| {
        padded.iter_mut().zip(text).for_each(|(padded, byte)| *padded = *byte);
        &padded
    });
    if at == 0 {
        let new = (u64::MAX << LOOKBACK) & (u64::MAX >> 1);
        note(text, (window, LOOKBACK), 0usize.wrapping_sub(LOOKBACK), new, wanted, out, read);
        STRIDE
    } else {
        note(text, (window, 0), 0, u64::MAX << at, wanted, out, read);
        text.len()
    }
}

/// Notes the places in one window, before which `later` bytes of nothing stand, and which then begins
/// at `base` of the text; of those in `new`.
#[inline(always)]
fn note(
    text: &[u8],
    (window, later): (&[u8; WINDOW], usize),
    base: usize,
    new: u64,
    wanted: &Wanted,
    out: &mut Candidates,
    read: impl Read,
) {
    let block = read.block(window).later(later);
    let mut letter = block.letter;
    let mut special = 0;
    if block.has_rare {
        let rare = read.rare(window).later(later);
        special = rare.special;
        // The letter of an escape (`\n`) is no part of a word.
        letter &= !(rare.backslash << 1);
        if wanted.stops_at_disguise {
            let suspects = (rare.high | rare.backslash & block.letter >> 1) & new;
            if suspects != 0 {
                out.disguised |= is_disguised(text, suspects, base);
            }
        }
    }
    let digit = block.digit;
    let word = letter | digit;

    let number = {
        let run = digit | block.separator & (digit << 1) & (digit >> 1);
        let two = run & run << 1;
        let four = two & two << 2;
        let seven = four & four << 3;
        seven & !(seven << 1)
    };
    let pair = digit & digit << 1;
    let head = pair & letter << 2 & letter << 3 & !(word << 4);
    let long = {
        let two = word & word << 1;
        let four = two & two << 2;
        let eight = four & four << 4;
        let fourteen = eight & eight << 6;
        fourteen & !(fourteen << 1)
    };
    let dated = {
        let three = pair & digit << 2;
        three & letter << 3 & three << 4 & three << 7
    };
    let colon = {
        // Adding a bit to a run of ones carries it to the end of the run: to the next colon, if
        // nothing but a word stands between.
        let next = |colon: u64| block.colon & word.wrapping_add(colon << 1 & word);
        next(next(block.colon)) | block.colon & block.colon << 1
    };
    // Dashes are told from other separators only where they would complete the pattern.
    let dash = block.separator & block.separator << 3 & block.separator << 6;

    if (special | number | head | long | colon | dash | dated) & new != 0 {
        let mut push = |kind, mask: u64| out.push_all(kind, wanted.of(kind, mask & new), base);
        push(Kind::Special, special);
        push(Kind::Number, number);
        push(Kind::Head, head);
        push(Kind::Word, long);
        push(Kind::Colon, colon);
        push(Kind::Dash, if dash & new == 0 { 0 } else { dashes(text, dash & new, base) });
        push(Kind::Dated, dated);
    }
}

/// Of places that complete the pattern of dashes with any separators, those where they are dashes.
#[inline(never)]
fn dashes(text: &[u8], places: u64, base: usize) -> u64 {
    let is_dash = |at: usize| text.get(at) == Some(&b'-');
    let (mut left, mut dashes) = (places, 0);
    while left != 0 {
        let bit = left & left.wrapping_neg();
        let at = base.wrapping_add(left.trailing_zeros() as usize);
        if is_dash(at) && is_dash(at.wrapping_sub(3)) && is_dash(at.wrapping_sub(6)) {
            dashes |= bit;
        }
        left ^= bit;
    }
    dashes
}

#[inline(never)]
fn is_disguised(text: &[u8], mut suspects: u64, base: usize) -> bool {
    while suspects != 0 {
        let at = base.wrapping_add(suspects.trailing_zeros() as usize);
        if super::normalise::is_disguise(text, at) {
            return true;
        }
        suspects &= suspects - 1;
    }
    false
}
