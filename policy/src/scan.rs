//! Finds personal data in bytes: addresses, numbers of people, accounts and cards, secrets.
//!
//! Two steps, as the budget of a gateway wants it: one pass over the bytes that finds where data of
//! any class may stand (`prefilter`, its windows read by `simd`), then an exact validator per class
//! that looks around such a place; what is too weak to stand alone needs a word before it
//! (`context`). Bytes without a candidate cost neither an allocation nor a copy.
//!
//! Where the pass meets a disguise (`\uXXXX` in JSON, `%40` in a URL, full-width or other digits,
//! characters of no width), the text is normalised into a buffer and scanned again, and findings are
//! mapped back, so `alice\u0040example.com` hides nothing. Spans always count in the bytes as they
//! came and never begin or end within an escape.
//!
//! What costs more than a look at a candidate is opt-in ([`Extras`]): national telephone numbers by
//! region, and Base64.
//!
//! Reading order: this file, `prefilter`, `simd`, `normalise`, `context`, then the validators:
//! `email`, `phone`, `region`, `number` (digits in groups: `card`, `national`, `spanish`, `nino`,
//! `vat`), `birth`, `passport`, `iban`, `network`, `token` (long words), `crypto`, `encoded`. Callers know [`Scanner`], [`ClassSet`] and [`Finding`]
//! only.

use std::cmp::Reverse;
use std::ops::Range;
use std::sync::Arc;

use tidegate_core::words::DataClass;

mod birth;
mod card;
mod checksum;
mod context;
mod crypto;
pub mod custom;
mod email;
pub mod encoded;
mod iban;
mod national;
mod network;
mod nino;
mod normalise;
mod number;
mod passport;
mod phone;
mod prefilter;
pub mod region;
mod simd;
mod spanish;
#[cfg(test)]
mod tests;
mod token;
mod vat;

pub(crate) use context::{folded, word_of};
pub(crate) use normalise::normalised;

use custom::CustomClass;
use prefilter::{Candidates, Kind, Wanted};
use region::Regions;

/// Below it a finding is not reported, in per cent.
pub const CONFIDENCE_MIN: u8 = 60;
/// Disguises within disguises that are undone: `\u002540` is `%40` is `@`.
const DISGUISES_MAX: usize = 3;
/// Buffers of a [`Scanner`] that grew beyond are given back.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// Personal data at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its class.
    pub class: DataClass,
    /// Where it stands in the scanned bytes.
    pub span: Range<usize>,
    /// How sure the validator is, in per cent.
    pub confidence: u8,
}

/// A set of data classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClassSet(u64);

impl ClassSet {
    /// Every class.
    pub const ALL: Self = Self((1 << DataClass::ALL.len()) - 1);

    /// Adds a class.
    pub const fn insert(&mut self, class: DataClass) {
        self.0 |= 1 << class as u8;
    }

    /// Whether a class is in it.
    #[must_use]
    pub const fn contains(self, class: DataClass) -> bool {
        self.0 & (1 << class as u8) != 0
    }

    /// Whether it is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The patterns that lead to its classes, and to what is asked for besides.
    fn patterns(self, extras: &Extras, stops_at_disguise: bool) -> Wanted {
        // The percent sign of a disguise is found with these.
        let mut wanted = Wanted { stops_at_disguise, ..Wanted::default() };
        wanted.insert(Kind::Special);
        for (kind, classes) in PATTERNS {
            if self.0 & classes.0 != 0 {
                wanted.insert(kind);
            }
        }
        if extras.regions.is_some() && self.contains(DataClass::Phone) {
            wanted.insert(Kind::Number);
        }
        if extras.base64_depth > 0 {
            wanted.insert(Kind::Word);
        }
        wanted
    }
}

/// Which classes each kind of candidate leads to.
const PATTERNS: [(Kind, ClassSet); 6] = {
    use DataClass::*;
    [
        (
            Kind::Number,
            set(&[
                PaymentCard,
                Ipv4,
                FrNir,
                NlBsn,
                PlPesel,
                EsNif,
                DeSteuerId,
                UkNhs,
                BeNationalNumber,
                SePersonnummer,
                FiHetu,
                DkCpr,
                NoFodselsnummer,
                PtNif,
                AtSvnr,
                EuVat,
                UsSsn,
                UkNino,
                HrOib,
                ChAhv,
                CzRodneCislo,
                RoCnp,
                BgEgn,
                DateOfBirth,
                Passport,
                EeIsikukood,
                LtAsmensKodas,
                LvPersonasKods,
                SiEmso,
                HuTaj,
                GrAmka,
                IePpsn,
                IsKennitala,
                LuMatricule,
                UaRnokpp,
                TrKimlik,
            ]),
        ),
        (Kind::Head, set(&[Iban, UkNino, Passport])),
        (Kind::Word, set(&[ItCodiceFiscale, FrNir, BtcAddress, CryptoAddress, Passport, ApiSecret, Jwt])),
        (Kind::Colon, set(&[Ipv6, MacAddress])),
        (Kind::Dash, set(&[MacAddress])),
        (Kind::Dated, set(&[FiHetu])),
    ]
};

const fn set(classes: &[DataClass]) -> ClassSet {
    let mut set = ClassSet(0);
    let mut at = 0;
    while at < classes.len() {
        set.insert(classes[at]);
        at += 1;
    }
    set
}

impl FromIterator<DataClass> for ClassSet {
    fn from_iter<I: IntoIterator<Item = DataClass>>(classes: I) -> Self {
        let mut set = Self::default();
        classes.into_iter().for_each(|class| set.insert(class));
        set
    }
}

/// Appends what is found of `classes` in `bytes`, ordered by where it begins, longer ones first.
/// Findings of different classes may overlap.
///
/// For scanning record after record, a [`Scanner`] keeps its buffers.
pub fn scan(bytes: &[u8], classes: ClassSet, findings: &mut Vec<Finding>) {
    Scanner::default().scan(bytes, classes, findings);
}

/// What a rule asks for beyond classes; by default nothing, and then it costs nothing.
#[derive(Debug, Clone, Default)]
pub struct Extras {
    /// Regions whose national telephone numbers are looked for, with the class of telephone numbers.
    pub regions: Option<Arc<Regions>>,
    /// How many levels of Base64 are opened, up to [`encoded::DEPTH_MAX`]; 0 opens none.
    pub base64_depth: u8,
}

impl Extras {
    /// All that any of them asks for.
    #[must_use]
    pub fn of_all<'e>(all: impl Iterator<Item = &'e Self> + Clone) -> Self {
        let base64_depth = all.clone().map(|extras| extras.base64_depth).max().unwrap_or(0);
        let mut regions: Vec<&Arc<Regions>> = all.filter_map(|extras| extras.regions.as_ref()).collect();
        regions.dedup_by(|a, b| a.names() == b.names());
        let regions = match regions[..] {
            [] => None,
            [one] => Some(one.clone()),
            // They were compiled before, so their names are known.
            _ => Regions::new(regions.iter().flat_map(|regions| regions.names().split(' '))).ok().map(Arc::new),
        };
        Self { regions, base64_depth: base64_depth.min(encoded::DEPTH_MAX) }
    }
}

/// Scans, and keeps its buffers between calls.
#[derive(Debug, Default)]
pub struct Scanner {
    extras: Extras,
    candidates: Candidates,
    text: Vec<u8>,
    /// Where each byte of `text`, and its end, stands in what was scanned.
    origins: Vec<u32>,
    /// A second pair, for disguises within disguises.
    text_before: Vec<u8>,
    origins_before: Vec<u32>,
    /// What may be Base64, where that is opened; what it hides, and who looks into it.
    encoded: Vec<Range<usize>>,
    plain: Vec<u8>,
    inner: Option<Box<Scanner>>,
}

impl Scanner {
    /// One that looks for more than classes.
    #[must_use]
    pub fn new(extras: Extras) -> Self {
        Self { extras, ..Self::default() }
    }

    /// As [`scan`].
    pub fn scan(&mut self, bytes: &[u8], classes: ClassSet, findings: &mut Vec<Finding>) {
        if classes.is_empty() {
            return;
        }
        let first = findings.len();
        self.encoded.clear();
        if self.pass(Text::Given(bytes), classes, true, findings).is_err() {
            findings.truncate(first);
            self.scan_disguised(bytes, classes, findings);
        }
        if findings.len() > first + 1 {
            in_order(findings, first);
        }
        self.give_back();
    }

    /// Finds what is in a text, in no order, some of it twice.
    fn pass(
        &mut self,
        text: Text<'_>,
        classes: ClassSet,
        stops_at_disguise: bool,
        findings: &mut Vec<Finding>,
    ) -> Result<(), Disguised> {
        let Self { extras, candidates, text: own, encoded, .. } = self;
        let bytes = match text {
            Text::Given(bytes) => bytes,
            Text::Own => own.as_slice(),
        };
        let wanted = classes.patterns(extras, stops_at_disguise);
        let encoded = (extras.base64_depth > 0).then_some(encoded);
        let mut sink = Sink { classes, findings, regions: extras.regions.as_deref(), encoded };
        pass(bytes, &wanted, candidates, &mut sink)?;
        if !self.encoded.is_empty() {
            self.open(text, classes, findings);
        }
        Ok(())
    }

    /// Looks into what may be Base64: the whole of it is what it hides.
    fn open(&mut self, text: Text<'_>, classes: ClassSet, findings: &mut Vec<Finding>) {
        let Self { extras, text: own, encoded, plain, inner, .. } = self;
        let bytes = match text {
            Text::Given(bytes) => bytes,
            Text::Own => own.as_slice(),
        };
        let inner = inner.get_or_insert_with(|| {
            let extras = Extras { base64_depth: extras.base64_depth.saturating_sub(1), ..extras.clone() };
            Box::new(Self::new(extras))
        });
        for span in encoded.drain(..) {
            looks_at(span.len());
            if !encoded::decode(bytes.get(span.clone()).unwrap_or_default(), plain) {
                continue;
            }
            let first = findings.len();
            inner.scan(plain, classes, findings);
            for finding in &mut findings[first..] {
                finding.span = span.clone();
            }
        }
    }

    /// Gives back what one large text made of the buffers.
    fn give_back(&mut self) {
        let Self { text, text_before, origins, origins_before, plain, .. } = self;
        for buffer in [text, text_before, plain] {
            if buffer.capacity() > KEPT_BYTES_MAX {
                *buffer = Vec::new();
            }
        }
        for buffer in [origins, origins_before] {
            if buffer.capacity() > KEPT_BYTES_MAX {
                *buffer = Vec::new();
            }
        }
    }

    /// Yields where data of `class` stands in `bytes`, by the index of the class.
    pub(crate) fn scan_custom<'c>(
        &mut self,
        bytes: &[u8],
        classes: impl Iterator<Item = &'c CustomClass>,
        mut each: impl FnMut(usize, Range<usize>),
    ) {
        let disguised = bytes.iter().any(|byte| matches!(byte, b'\\' | b'%' | 0x80..)) && self.undisguise(bytes);
        for (index, class) in classes.enumerate() {
            if disguised {
                let origin = |at: usize| self.origins.get(at).map_or(bytes.len(), |&origin| origin as usize);
                class.find(&self.text, |span| each(index, origin(span.start)..origin(span.end)));
            } else {
                class.find(bytes, |span| each(index, span));
            }
        }
    }

    /// Writes `bytes` without their disguises, and those within them, to the buffers; false where
    /// there are none.
    fn undisguise(&mut self, bytes: &[u8]) -> bool {
        if !normalise::normalise(bytes, &mut self.text, &mut self.origins) {
            return false;
        }
        for _ in 1..DISGUISES_MAX {
            std::mem::swap(&mut self.text, &mut self.text_before);
            std::mem::swap(&mut self.origins, &mut self.origins_before);
            if !normalise::normalise(&self.text_before, &mut self.text, &mut self.origins) {
                std::mem::swap(&mut self.text, &mut self.text_before);
                std::mem::swap(&mut self.origins, &mut self.origins_before);
                break;
            }
            for origin in &mut self.origins {
                *origin = self.origins_before.get(*origin as usize).copied().unwrap_or(bytes.len() as u32);
            }
        }
        true
    }

    fn scan_disguised(&mut self, bytes: &[u8], classes: ClassSet, findings: &mut Vec<Finding>) {
        let first = findings.len();
        if !normalise::normalise(bytes, &mut self.text, &mut self.origins) {
            let _ = self.pass(Text::Given(bytes), classes, false, findings);
            return;
        }
        for round in 1.. {
            let last = round == DISGUISES_MAX;
            if self.pass(Text::Own, classes, !last, findings).is_ok() {
                break;
            }
            findings.truncate(first);
            self.encoded.clear();
            std::mem::swap(&mut self.text, &mut self.text_before);
            std::mem::swap(&mut self.origins, &mut self.origins_before);
            normalise::normalise(&self.text_before, &mut self.text, &mut self.origins);
            for origin in &mut self.origins {
                *origin = self.origins_before.get(*origin as usize).copied().unwrap_or(bytes.len() as u32);
            }
        }
        let origin = |at: usize| self.origins.get(at).map_or(bytes.len(), |&origin| origin as usize);
        for finding in &mut findings[first..] {
            finding.span = origin(finding.span.start)..origin(finding.span.end);
        }
    }
}

/// Which text a pass is over.
#[derive(Clone, Copy)]
enum Text<'a> {
    /// What came.
    Given(&'a [u8]),
    /// What the scanner made of it.
    Own,
}

/// The text holds a disguise; what was found so far is of no use.
struct Disguised;

/// Where findings go, and what is asked for.
struct Sink<'a> {
    classes: ClassSet,
    findings: &'a mut Vec<Finding>,
    regions: Option<&'a Regions>,
    /// Where what may be Base64 is noted, if it is to be opened.
    encoded: Option<&'a mut Vec<Range<usize>>>,
}

impl Sink<'_> {
    fn wants(&self, class: DataClass) -> bool {
        self.classes.contains(class)
    }

    /// Reports a finding, if its class is asked for and it is sure enough.
    fn note(&mut self, class: DataClass, span: Range<usize>, confidence: u8) -> bool {
        let reported = confidence >= CONFIDENCE_MIN && self.wants(class);
        if reported {
            self.findings.push(Finding { class, span, confidence });
        }
        reported
    }
}

/// Finds what is in `text`, in no order, some of it twice.
fn pass(text: &[u8], wanted: &Wanted, candidates: &mut Candidates, sink: &mut Sink<'_>) -> Result<(), Disguised> {
    let mut floors = Floors::default();
    let mut at = 0;
    while at < text.len() {
        candidates.clear();
        at = candidates_from(text, at, wanted, candidates);
        if candidates.disguised {
            return Err(Disguised);
        }
        for (kind, at) in candidates.iter() {
            if kind == Kind::Special && text[at] == b'%' {
                if wanted.stops_at_disguise && normalise::is_percent(text, at) {
                    return Err(Disguised);
                }
            } else {
                look(text, kind, at, &mut floors, sink);
            }
        }
    }
    Ok(())
}

/// Finds candidates with the best that the machine has; tests may ask for the plain way.
#[inline]
fn candidates_from(text: &[u8], at: usize, wanted: &Wanted, candidates: &mut Candidates) -> usize {
    #[cfg(test)]
    if PORTABLE.get() {
        return prefilter::fill(text, at, wanted, candidates, prefilter::Portable);
    }
    simd::candidates(text, at, wanted, candidates)
}

#[cfg(test)]
thread_local! {
    static PORTABLE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Runs `run` without instructions of our own choice.
#[cfg(test)]
fn portable<T>(run: impl FnOnce() -> T) -> T {
    PORTABLE.set(true);
    let result = run();
    PORTABLE.set(false);
    result
}

/// The bytes that validators look at, counted by tests that hold their work to be linear.
#[cfg(test)]
mod work {
    use std::cell::Cell;

    thread_local! {
        static DONE: Cell<u64> = const { Cell::new(0) };
    }

    pub(super) fn add(bytes: usize) {
        DONE.set(DONE.get() + bytes as u64);
    }

    pub(super) fn take() -> u64 {
        DONE.replace(0)
    }
}

/// Notes that so many bytes are looked at.
#[inline(always)]
fn looks_at(bytes: usize) {
    #[cfg(test)]
    work::add(bytes);
    let _ = bytes;
}

/// How far what was found of some kinds of candidate reaches; none within it is looked at.
#[derive(Default)]
struct Floors {
    head: usize,
    word: usize,
    colon: usize,
    encoded: usize,
}

/// Looks around the candidate that is completed at `at`.
fn look(text: &[u8], kind: Kind, at: usize, floors: &mut Floors, sink: &mut Sink<'_>) {
    looks_at(1);
    let raise = |floor: &mut usize, end: Option<usize>| *floor = end.unwrap_or(0).max(*floor);
    match kind {
        Kind::Special if text[at] == b'@' => {
            if sink.wants(DataClass::Email)
                && let Some(span) = email::around(text, at)
            {
                sink.note(DataClass::Email, span, email::CONFIDENCE);
            }
        }
        Kind::Special => {
            // Of somebody born before 1900.
            if sink.wants(DataClass::FiHetu) && at >= 6 {
                number::hetu(text, at - 6..at + 4, sink);
            }
            if sink.wants(DataClass::Phone)
                && let Some(span) = phone::from(text, at)
            {
                sink.note(DataClass::Phone, span, phone::CONFIDENCE);
            }
        }
        Kind::Number => {
            let start = at.saturating_sub(6);
            if sink.wants(DataClass::DateOfBirth) {
                birth::find(text, start, sink);
            }
            if sink.wants(DataClass::Passport) {
                passport::find(text, start, sink);
            }
            if sink.regions.is_some() && sink.wants(DataClass::Phone) {
                region::find(text, start, sink);
            }
            number::find(text, start, sink);
        }
        Kind::Head if at >= floors.head => {
            let start = at.saturating_sub(3);
            if sink.wants(DataClass::Iban) {
                raise(&mut floors.head, iban::find(text, start, sink));
            }
            if sink.wants(DataClass::UkNino) {
                nino::find(text, start + 2, sink);
            }
            if sink.wants(DataClass::Passport) {
                passport::find(text, at, sink);
            }
        }
        Kind::Word => {
            let start = at.saturating_sub(13);
            if start >= floors.encoded
                && let Some(encoded) = &mut sink.encoded
            {
                let run = encoded::run(text, start, floors.encoded);
                floors.encoded = run.end;
                encoded.push(run);
            }
            if at >= floors.word {
                raise(&mut floors.word, token::find(text, start, sink));
            }
        }
        Kind::Colon if at >= floors.colon => raise(&mut floors.colon, network::around_colon(text, at, sink)),
        Kind::Dash => {
            network::mac_with_dashes(text, at, sink);
        }
        Kind::Dated => {
            number::hetu(text, at.saturating_sub(9)..at + 1, sink);
        }
        Kind::Head | Kind::Colon => {}
    }
}

/// Orders what stands from `first` on, and leaves out what was found twice and what is only a part
/// of something surer (the digits of an IBAN that would be a card).
fn in_order(findings: &mut Vec<Finding>, first: usize) {
    findings[first..].sort_by_key(|finding| {
        let Range { start, end } = finding.span;
        (start, Reverse(end), Reverse(finding.confidence), finding.class)
    });
    let (mut kept, mut outer) = (first + 1, first);
    for at in first + 1..findings.len() {
        if findings[at] == findings[kept - 1] || is_part(&findings[at], &findings[outer]) {
            continue;
        }
        findings.swap(at, kept);
        if findings[kept].span.end > findings[outer].span.end {
            outer = kept;
        }
        kept += 1;
    }
    findings.truncate(kept);
}

/// An e-mail address is no proof against what stands in it: `4111111111111111@example.com`.
fn is_part(inner: &Finding, outer: &Finding) -> bool {
    outer.span.end >= inner.span.end && outer.confidence > inner.confidence && outer.class != DataClass::Email
}

/// Whether a number may begin at `at`: not within a word. The letter of a JSON escape (`\n`) is no
/// part of a word.
fn begins_at(text: &[u8], at: usize) -> bool {
    match text[..at] {
        [.., b'\\', b'n' | b'r' | b't' | b'b' | b'f'] => true,
        [.., before] => !before.is_ascii_alphanumeric(),
        [] => true,
    }
}

/// Whether a number may end at `at`: not within a word or an e-mail address.
fn ends_at(text: &[u8], at: usize) -> bool {
    text.get(at).is_none_or(|after| !after.is_ascii_alphanumeric() && *after != b'@')
}

/// Whether a JSON text is possible: it begins with a brace or bracket.
pub(crate) fn looks_like_json(bytes: &[u8]) -> bool {
    matches!(bytes.trim_ascii_start().first(), Some(b'{' | b'['))
}

/// Whether the bytes are binary: no UTF-8, or control characters that text does not have.
pub(crate) fn is_binary(bytes: &[u8]) -> bool {
    let is_control = |byte: &u8| *byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0b | 0x0c | 0x1b);
    // Whether a block has a byte below the space is asked without a branch; most have none.
    let low = |block: &[u8]| block.iter().fold(false, |low, byte| low | (*byte < b' '));
    bytes.chunks(64).any(|block| low(block) && block.iter().any(is_control)) || std::str::from_utf8(bytes).is_err()
}
