//! Check digits and ranges of national numbers, from what the countries publish; each function
//! names its source.

use super::super::checksum::{is_date, luhn, two, value, verhoeff, weighted};

/// Logius, "Burgerservicenummer": the "elfproef" with -1 as the last weight.
pub(super) fn nl_bsn(digits: &[u8]) -> bool {
    let Some((check, rest)) = digits.split_last() else { return false };
    let sum = weighted(rest, &[9, 8, 7, 6, 5, 4, 3, 2]);
    sum != 0 && sum % 11 == u32::from(*check)
}

/// Portaria 377/2003 and the tax authority's rules for the first digits.
pub(super) fn pt_nif(digits: &[u8]) -> bool {
    let begins = matches!(
        digits,
        [1 | 2 | 3 | 5 | 6 | 8, ..] | [4, 5, ..] | [7, 0 | 1 | 2 | 4 | 5 | 7 | 8 | 9, ..] | [9, 0 | 1 | 8 | 9, ..]
    );
    let check = (11 - weighted(digits, &[9, 8, 7, 6, 5, 4, 3, 2]) % 11) % 11 % 10;
    begins && digits.last().is_some_and(|last| u32::from(*last) == check)
}

/// Social Security Administration, POMS RM 10201.035: areas, groups and serials never assigned.
pub(super) fn us_ssn(digits: &[u8]) -> bool {
    let number = value(digits);
    let (area, group, serial) = (number / 1_000_000, number / 10_000 % 100, number % 10_000);
    // Numbers printed in advertisements as samples.
    let sample = matches!(number, 78_051_120 | 219_099_999);
    !matches!(area, 0 | 666 | 900..) && group != 0 && serial != 0 && !sample
}

/// NHS Data Dictionary, "NHS NUMBER": Modulus 11.
pub(super) fn uk_nhs(digits: &[u8]) -> bool {
    let check = 11 - weighted(digits, &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11;
    value(digits) != 0 && digits.last().is_some_and(|last| u32::from(*last) == check % 11)
}

/// Skatteverket, SKV 704: Luhn over ten digits; 60 is added to the day of a coordination number.
pub(super) fn se_personnummer(digits: &[u8]) -> bool {
    let ten = match digits {
        [1, 8 | 9, rest @ ..] | [2, 0, rest @ ..] if rest.len() == 10 => rest,
        _ if digits.len() == 10 => digits,
        _ => return false,
    };
    let (month, day) = (two(ten, 2), two(ten, 4));
    is_date(if day > 60 { day - 60 } else { day }, month) && luhn(ten)
}

/// CPR-kontoret, "Personnummeret i CPR": a date and a serial number. The modulus 11 holds for old
/// numbers only, since 2007 not for all.
pub(super) fn dk_cpr(digits: &[u8]) -> bool {
    is_date(two(digits, 0), two(digits, 2)) && two(digits, 6) + two(digits, 8) != 0
}

/// Dachverband der Sozialversicherungsträger: the fourth digit checks the others; months to 15
/// where serial numbers ran out.
pub(super) fn at_svnr(digits: &[u8]) -> bool {
    let sum = weighted(digits, &[3, 7, 9, 0, 5, 8, 4, 2, 1, 6]);
    let (day, month) = (two(digits, 4), two(digits, 6));
    let date = is_date(day, month) || ((13..=15).contains(&month) && (1..=31).contains(&day));
    date && digits.first() != Some(&0) && digits.get(3).is_some_and(|check| u32::from(*check) == sum % 11)
}

/// Act 133/2000 (Czechia), act 301/1995 (Slovakia): divisible by 11; 50 is added to a woman's
/// month, 20 more where a day's numbers ran out. Until 1985 a remainder of 10 counted as 0.
pub(super) fn cz_rodne_cislo(digits: &[u8]) -> bool {
    let month = match two(digits, 2) {
        month @ 71..=82 => month - 70,
        month @ 51..=62 => month - 50,
        month @ 21..=32 => month - 20,
        month => month,
    };
    let number = value(digits);
    let old = number / 10 % 11 == 10 && number.is_multiple_of(10);
    number != 0 && is_date(two(digits, 4), month) && (number.is_multiple_of(11) || old)
}

/// GRAO: weights are powers of 2 modulo 11; 20 is added to the month before 1900, 40 from 2000 on.
pub(super) fn bg_egn(digits: &[u8]) -> bool {
    let month = match two(digits, 2) {
        month @ 21..=32 => month - 20,
        month @ 41..=52 => month - 40,
        month => month,
    };
    let check = weighted(digits, &[2, 4, 8, 5, 10, 9, 7, 3, 6]) % 11 % 10;
    is_date(two(digits, 4), month) && digits.last().is_some_and(|last| u32::from(*last) == check)
}

/// Act on population records of 2010 (Poland), art. 15 ff.: weights 1, 3, 7, 9; the month tells
/// the century.
pub(super) fn pl_pesel(digits: &[u8]) -> bool {
    let sum = weighted(digits, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]);
    let month = two(digits, 2);
    month < 100 && is_date(two(digits, 4), month % 20) && sum.is_multiple_of(10)
}

/// Bundeszentralamt für Steuern, "Aufbau der Identifikationsnummer" (§ 139b AO): ISO 7064 Mod
/// 11,10; of the first ten digits exactly one occurs twice or three times, never three in a row.
pub(super) fn de_steuer_id(digits: &[u8]) -> bool {
    let Some(ten) = digits.get(..10).filter(|ten| ten[0] != 0) else { return false };
    let mut counts = [0u8; 10];
    for digit in ten {
        counts[usize::from(*digit)] += 1;
    }
    let repeated = counts.iter().filter(|count| **count > 1).count();
    let at_most_three = counts.iter().all(|count| *count <= 3);
    let in_a_row = ten.windows(3).any(|three| three[0] == three[1] && three[1] == three[2]);
    repeated == 1 && at_most_three && !in_a_row && super::super::checksum::mod_11_10(digits)
}

/// Royal decree of 3 April 1984 (Belgium): 97 less the rest of the first nine digits, with a 2
/// before them for whoever was born from 2000 on. A BIS number adds 20 or 40 to the month.
pub(super) fn be_national_number(digits: &[u8]) -> bool {
    let (Some(nine), check) = (digits.get(..9), u64::from(two(digits, 9))) else { return false };
    let number = value(nine);
    let (month, day) = (two(digits, 2), two(digits, 4));
    // Month and day may be unknown, and are 0 then.
    let date = matches!(month, 0..=12 | 20..=32 | 40..=52) && day <= 31;
    date && number != 0 && [number, 2_000_000_000 + number].iter().any(|number| 97 - number % 97 == check)
}

/// Skatteetaten, "Fødselsnummer": two check digits modulo 11; 40 is added to the day of a D-number,
/// 40 to the month of an H-number, 80 to that of a synthetic one.
pub(super) fn no_fodselsnummer(digits: &[u8]) -> bool {
    let (day, month) = (two(digits, 0), two(digits, 2));
    let day = if day > 40 { day - 40 } else { day };
    let month = match month {
        month @ 81..=92 => month - 80,
        month @ 41..=52 => month - 40,
        month => month,
    };
    let check = |weights: &[u8]| weighted(digits, weights).is_multiple_of(11);
    is_date(day, month) && check(&[3, 7, 6, 1, 8, 9, 4, 5, 2, 1]) && check(&[5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1])
}

/// Federal Social Insurance Office, "AHV number": Switzerland's country number 756 and the check
/// digit of EAN-13.
pub(super) fn ch_ahv(digits: &[u8]) -> bool {
    digits.starts_with(&[7, 5, 6]) && weighted(digits, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]).is_multiple_of(10)
}

/// Emergency ordinance 97/2005 (Romania): sex and century, date, county, serial, check digit.
pub(super) fn ro_cnp(digits: &[u8]) -> bool {
    let check = weighted(digits, &[2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9]) % 11;
    let check = if check == 10 { 1 } else { check };
    let county = two(digits, 7);
    digits.first().is_some_and(|sex| (1..=9).contains(sex))
        && is_date(two(digits, 5), two(digits, 3))
        && matches!(county, 1..=48 | 51 | 52 | 70)
        && digits.last().is_some_and(|last| u32::from(*last) == check)
}

/// INSEE, décret 82-103: sex, year, month (20 and more where unknown), department, commune, order,
/// and 97 less the rest of it all. Corsica's letters have become digits already.
pub(super) fn fr_nir(digits: &[u8]) -> bool {
    let (Some(number), key) = (digits.get(..13), u64::from(two(digits, 13))) else { return false };
    let month = two(digits, 3);
    let sex = matches!(digits.first(), Some(1..=4 | 7 | 8));
    let place = two(digits, 5) != 0;
    sex && place && matches!(month, 1..=12 | 20..=42 | 50..=99) && 97 - value(number) % 97 == key
}

/// Digital and Population Data Services Agency (Finland): date, number from 002 on, and the
/// character for the rest of both modulo 31.
pub(super) fn fi_hetu(digits: &[u8], check: u8) -> bool {
    const CHARACTERS: &[u8; 31] = b"0123456789ABCDEFHJKLMNPRSTUVWXY";
    let serial = digits.get(6..).map_or(0, value);
    let expected = CHARACTERS.get((value(digits) % 31) as usize);
    is_date(two(digits, 0), two(digits, 2)) && serial >= 2 && expected == Some(&check.to_ascii_uppercase())
}

/// Estonia's standard EVS 585 and Lithuania's order 2000/349: sex and century, date, serial, and a check
/// digit modulo 11 over two rows of weights.
pub(super) fn ee_isikukood(digits: &[u8]) -> bool {
    let check = match weighted(digits, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 1]) % 11 {
        10 => weighted(digits, &[3, 4, 5, 6, 7, 8, 9, 1, 2, 3]) % 11 % 10,
        check => check,
    };
    digits.first().is_some_and(|first| (1..=8).contains(first))
        && is_date(two(digits, 5), two(digits, 3))
        && digits.last().is_some_and(|last| u32::from(*last) == check)
}

/// Latvia, law on the population register: date, century, serial and check digit; numbers since 2017
/// begin with 32 and have neither date nor check.
pub(super) fn lv_personas_kods(digits: &[u8]) -> bool {
    if digits.starts_with(&[3, 2]) {
        return true;
    }
    let check = (1 + weighted(digits, &[10, 5, 8, 4, 2, 1, 6, 3, 7, 9])) % 11;
    is_date(two(digits, 0), two(digits, 2)) && digits.last().is_some_and(|last| u32::from(*last) == check)
}

/// Yugoslavia's law of 1977 and what its successors kept: date with three digits of the year, region,
/// serial and a check digit modulo 11.
pub(super) fn si_emso(digits: &[u8]) -> bool {
    let check = (11 - weighted(digits, &[7, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11) % 11;
    // Years from 1899 to 2026 and some more: 899 to 999, 000 to 039.
    let year = two(digits, 4) * 10 + digits.get(6).map_or(0, |ones| u32::from(*ones));
    is_date(two(digits, 0), two(digits, 2))
        && matches!(year, 0..=39 | 899..=999)
        && digits.last().is_some_and(|last| u32::from(*last) == check)
}

/// Hungary, act XX of 1996: weights 3 and 7 modulo 10.
pub(super) fn hu_taj(digits: &[u8]) -> bool {
    let check = weighted(digits, &[3, 7, 3, 7, 3, 7, 3, 7]) % 10;
    value(digits) != 0 && digits.last().is_some_and(|last| u32::from(*last) == check)
}

/// Greece, IDIKA: date, serial, and Luhn over all of it.
pub(super) fn gr_amka(digits: &[u8]) -> bool {
    is_date(two(digits, 0), two(digits, 2)) && luhn(digits)
}

/// Registers Iceland: date, two random digits, a check digit modulo 11 and the century.
pub(super) fn is_kennitala(digits: &[u8]) -> bool {
    let sum = weighted(digits, &[3, 2, 7, 6, 5, 4, 3, 2, 1]);
    is_date(two(digits, 0), two(digits, 2)) && sum.is_multiple_of(11) && matches!(digits.last(), Some(8 | 9 | 0))
}

/// Luxembourg, act of 19 June 2013: date, serial, and two check digits over it: Luhn's, and Verhoeff's.
pub(super) fn lu_matricule(digits: &[u8]) -> bool {
    let (Some(eleven), Some([first, second])) = (digits.first_chunk::<11>(), digits.get(11..)) else { return false };
    let with = |check: u8| {
        let mut both = [0u8; 12];
        both[..11].copy_from_slice(eleven);
        both[11] = check;
        both
    };
    matches!(two(digits, 0), 18..=20)
        && is_date(two(digits, 6), two(digits, 4))
        && luhn(&with(*first))
        && verhoeff(&with(*second))
}

/// Ukraine, order 779/2017 of the Ministry of Finance: days since 1899, serial, and a check digit modulo 11.
pub(super) fn ua_rnokpp(digits: &[u8]) -> bool {
    // The first weight is -1, which is 10 modulo 11.
    let check = weighted(digits, &[10, 5, 7, 9, 4, 6, 10, 5, 7]) % 11 % 10;
    let days = value(digits.get(..5).unwrap_or_default());
    // From the turn of the century before last to 2039.
    (1..=51_000).contains(&days) && digits.last().is_some_and(|last| u32::from(*last) == check)
}

/// Türkiye, General Directorate of Civil Registration: two check digits modulo 10.
pub(super) fn tr_kimlik(digits: &[u8]) -> bool {
    let tenth = (weighted(digits, &[7, 0, 7, 0, 7, 0, 7, 0, 7]) + 9 * weighted(digits, &[0, 1, 0, 1, 0, 1, 0, 1])) % 10;
    let eleventh = weighted(digits, &[1; 10]) % 10;
    let check = |at: usize| digits.get(at).map(|digit| u32::from(*digit));
    digits.first() != Some(&0) && check(9) == Some(tenth) && check(10) == Some(eleventh)
}
