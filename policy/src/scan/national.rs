//! National numbers that are digits only: which there are, how they are written, how sure each form is.
//!
//! A number whose form is its own (`85.07.30-033.28`, with a check over 97) stands for itself. Bare
//! digits with one check digit are right by chance too often: they need a word before them
//! ([`super::context`]). The numbers that confidence is computed from stand in [`NUMBERS`].

use std::ops::Range;

use tidegate_core::words::DataClass;

use super::number::Number;
use super::{CONFIDENCE_MIN, Sink, context};

mod checks;

/// What a word before the value adds.
const CONTEXT: u8 = 55;
const CONFIDENCE_MAX: u8 = 99;

/// One number of one country.
struct National {
    class: DataClass,
    /// How many digits.
    digits: usize,
    /// The forms in which it is written, as lengths of groups and what parts them; besides without
    /// any separator.
    forms: &'static [Form],
    /// Confidence of a number in one of its forms, and of any other grouping or none, without a
    /// word before it.
    formed: u8,
    bare: u8,
    /// Whether the digits are valid.
    check: fn(&[u8]) -> bool,
}

struct Form {
    groups: &'static [u8],
    separators: &'static [u8],
}

/// With a word before it, any number with a check is taken; without, only those that are their own
/// proof.
const WEAK: u8 = 40;
/// A form that nothing else has, with one check digit.
const OWN_FORM: u8 = 65;
/// A form that nothing else has, with a check of 1 in 97 or a date besides.
const OWN_PROOF: u8 = 80;

macro_rules! national {
    ($class:ident, $digits:literal, [$([$($group:literal),*] $separators:literal),*], $formed:expr, $bare:expr, $check:expr) => {
        National {
            class: DataClass::$class,
            digits: $digits,
            forms: &[$(Form { groups: &[$($group),*], separators: $separators }),*],
            formed: $formed,
            bare: $bare,
            check: $check,
        }
    };
}

/// By the number of digits.
const NUMBERS: &[National] = &[
    national!(NlBsn, 9, [[4, 2, 3] b".."], WEAK, WEAK, checks::nl_bsn),
    national!(PtNif, 9, [[3, 3, 3] b"  "], WEAK, WEAK, checks::pt_nif),
    national!(UsSsn, 9, [[3, 2, 4] b"--", [3, 2, 4] b"  ", [3, 2, 4] b".."], 50, 30, checks::us_ssn),
    national!(HuTaj, 9, [[3, 3, 3] b"  ", [3, 3, 3] b"--"], WEAK, WEAK, checks::hu_taj),
    national!(UkNhs, 10, [[3, 3, 4] b"  ", [3, 3, 4] b"--"], 50, WEAK, checks::uk_nhs),
    national!(SePersonnummer, 10, [[6, 4] b"-"], 50, WEAK, checks::se_personnummer),
    national!(DkCpr, 10, [[6, 4] b"-"], WEAK, 30, checks::dk_cpr),
    national!(AtSvnr, 10, [[4, 6] b" "], 50, WEAK, checks::at_svnr),
    national!(CzRodneCislo, 10, [[6, 4] b"/"], OWN_PROOF, WEAK, checks::cz_rodne_cislo),
    national!(BgEgn, 10, [], WEAK, WEAK, checks::bg_egn),
    national!(IsKennitala, 10, [[6, 4] b"-"], 50, WEAK, checks::is_kennitala),
    national!(UaRnokpp, 10, [], WEAK, WEAK, checks::ua_rnokpp),
    national!(PlPesel, 11, [], WEAK, WEAK, checks::pl_pesel),
    national!(DeSteuerId, 11, [[2, 3, 3, 3] b"   "], 50, WEAK, checks::de_steuer_id),
    national!(BeNationalNumber, 11, [[2, 2, 2, 3, 2] b"..-."], OWN_PROOF, WEAK, checks::be_national_number),
    national!(NoFodselsnummer, 11, [[6, 5] b" "], OWN_FORM, WEAK, checks::no_fodselsnummer),
    national!(HrOib, 11, [], WEAK, WEAK, super::checksum::mod_11_10),
    national!(EeIsikukood, 11, [], WEAK, WEAK, checks::ee_isikukood),
    national!(LtAsmensKodas, 11, [], WEAK, WEAK, checks::ee_isikukood),
    national!(LvPersonasKods, 11, [[6, 5] b"-"], 50, WEAK, checks::lv_personas_kods),
    national!(GrAmka, 11, [], WEAK, WEAK, checks::gr_amka),
    national!(TrKimlik, 11, [], WEAK, WEAK, checks::tr_kimlik),
    national!(SePersonnummer, 12, [[8, 4] b"-"], OWN_FORM, WEAK, checks::se_personnummer),
    national!(ChAhv, 13, [[3, 4, 4, 2] b"..."], OWN_PROOF, WEAK, checks::ch_ahv),
    national!(RoCnp, 13, [], WEAK, WEAK, checks::ro_cnp),
    national!(SiEmso, 13, [], WEAK, WEAK, checks::si_emso),
    national!(LuMatricule, 13, [], WEAK, WEAK, checks::lu_matricule),
    national!(FrNir, 15, [[1, 2, 2, 2, 3, 3, 2] b"      ", [13, 2] b" "], OWN_PROOF, WEAK, checks::fr_nir),
];

/// Digits of the shortest and the longest.
pub(super) const DIGITS_MIN: usize = 9;
pub(super) const DIGITS_MAX: usize = 15;

/// Where in [`NUMBERS`] those of so many digits stand.
fn of_digits(digits: usize) -> &'static [National] {
    let range = match digits {
        9 => 0..4,
        10 => 4..12,
        11 => 12..22,
        12 => 22..23,
        13 => 23..27,
        15 => 27..28,
        _ => 0..0,
    };
    NUMBERS.get(range).unwrap_or_default()
}

/// Notes what the first `groups` groups of `number` are.
pub(super) fn find(text: &[u8], number: &Number, groups: usize, sink: &mut Sink<'_>) -> bool {
    let digits = number.digits(groups);
    let mut found = false;
    for national in of_digits(digits.len()) {
        debug_assert_eq!(national.digits, digits.len());
        if !sink.wants(national.class) || !(national.check)(digits) {
            continue;
        }
        let formed = national.forms.iter().any(|form| number.is_written(groups, form.groups, form.separators));
        let base = if formed { national.formed } else { national.bare };
        let span = number.span(groups);
        let confidence = if base < CONFIDENCE_MIN && is_spoken_of(national.class, text, span.start, formed) {
            CONFIDENCE_MAX.min(base + CONTEXT)
        } else {
            base
        };
        found |= sink.note(national.class, span, confidence);
    }
    found
}

/// Whether the words before the number at `start` mean it. In Danish, `personnummer` is another word for
/// the CPR number; `SS#` means a number of the United States that is written in its form, or right
/// behind it, for `SS` is much else.
fn is_spoken_of(class: DataClass, text: &[u8], start: usize, formed: bool) -> bool {
    let other = class == DataClass::SePersonnummer && context::speaks_of(DataClass::DkCpr, text, start);
    let abbreviated = || {
        let before = text.get(start.saturating_sub(6)..start).unwrap_or_default();
        let hash = before.windows(3).any(|three| three.eq_ignore_ascii_case(b"ss#"));
        (formed || hash) && context::has_any(&["ss"], text, start)
    };
    (context::speaks_of(class, text, start) && !other) || (class == DataClass::UsSsn && abbreviated())
}

/// Whether the words before the number at `start` mean a neighbour's, which has the same form as
/// Finland's where its last character is a digit.
pub(super) fn is_of_neighbours(text: &[u8], start: usize) -> bool {
    use DataClass::{DkCpr, FiHetu, IsKennitala, SePersonnummer};
    let speaks = |class| context::speaks_of(class, text, start);
    [SePersonnummer, DkCpr, IsKennitala].into_iter().any(speaks) && !speaks(FiHetu)
}

/// Notes Ireland's number, whose seven digits stand at `span`: a check letter follows, and at times a
/// second letter, which counts.
pub(super) fn ppsn(text: &[u8], span: Range<usize>, sink: &mut Sink<'_>) -> Option<usize> {
    // It is written without separators.
    if span.len() != 7 {
        return None;
    }
    let letters = text.get(span.end..)?.iter().take(3).take_while(|byte| byte.is_ascii_alphabetic()).count();
    let end = span.end + letters;
    let mut number = [0u8; 9];
    let number = number.get_mut(..7 + letters).filter(|_| (1..=2).contains(&letters))?;
    number.copy_from_slice(text.get(span.start..end)?);
    number.make_ascii_uppercase();
    let valid = super::vat::ireland(number)
        && super::begins_at(text, span.start)
        && super::ends_at(text, end)
        && context::speaks_of(DataClass::IePpsn, text, span.start);
    (valid && sink.note(DataClass::IePpsn, span.start..end, CONFIDENCE_MAX)).then_some(end)
}

/// France's number in the two departments of Corsica, `2A` and `2B`: the first groups of `number`
/// end before the letter.
pub(super) fn corsican(text: &[u8], start: usize) -> Option<usize> {
    let mut digits = [0u8; 15];
    let mut count = 0;
    let mut at = start;
    let mut letter = None;
    while count < digits.len() {
        match (text.get(at)?, count) {
            (byte @ b'0'..=b'9', _) => {
                digits[count] = byte - b'0';
                count += 1;
            }
            (byte @ (b'A' | b'B' | b'a' | b'b'), 6) if text.get(at - 1) == Some(&b'2') => {
                letter = Some(byte.to_ascii_uppercase());
                count += 1;
            }
            (b' ', 1..) if text.get(at - 1) != Some(&b' ') => {}
            _ => return None,
        }
        at += 1;
    }
    // INSEE: 2A counts as 19, 2B as 18.
    let ones = if letter? == b'A' { 9 } else { 8 };
    digits[5] = 1;
    digits[6] = ones;
    checks::fr_nir(&digits).then_some(at)
}

/// Finland's personal identity code, whose date and number `digits` are; `check` is its last character.
pub(super) fn is_hetu(digits: &[u8], check: u8) -> bool {
    checks::fi_hetu(digits, check)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_where_their_digits_say() {
        for digits in 0..20 {
            let all: Vec<_> = NUMBERS.iter().filter(|national| national.digits == digits).map(|n| n.class).collect();
            assert_eq!(of_digits(digits).iter().map(|n| n.class).collect::<Vec<_>>(), all);
        }
    }
}
