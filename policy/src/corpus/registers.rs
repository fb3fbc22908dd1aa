//! More national numbers, and telephone numbers as each country writes them at home; check digits are
//! computed forwards.

use tidegate_core::words::DataClass;

use super::random::Random;
use super::values::{Value, date, luhn_digit, number, sum, text, two, until, with_word};

/// A valid number of `class`; `None` where it is not of this file.
pub(super) fn valid(class: DataClass, random: &mut Random) -> Option<Value> {
    let (day, month, year) = date(random);
    let (dd, mm, yy) = (two(day), two(month), two(year));
    let with = |mut digits: Vec<u32>, check: u32| {
        digits.push(check);
        text(&digits)
    };
    Some(with_word(match class {
        DataClass::EeIsikukood | DataClass::LtAsmensKodas => {
            let first = random.between(3, 6) as u32;
            let ten = [&[first], &yy[..], &mm, &dd, &random.digits(3)].concat();
            let rest = sum(&ten, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 1]) % 11;
            let check = if rest == 10 { sum(&ten, &[3, 4, 5, 6, 7, 8, 9, 1, 2, 3]) % 11 % 10 } else { rest };
            with(ten, check)
        }
        DataClass::LvPersonasKods => until(random, |random| {
            let ten = [&dd[..], &mm, &yy, &[random.between(1, 2) as u32], &random.digits(3)].concat();
            let check = (1101 - sum(&ten, &[1, 6, 3, 7, 9, 10, 5, 8, 4, 2])) % 11;
            let solid = with(ten, (check < 10).then_some(check)?);
            Some(if random.below(3) == 0 { solid } else { format!("{}-{}", &solid[..6], &solid[6..]) })
        }),
        DataClass::SiEmso => until(random, |random| {
            let century = [9, 0][usize::from(year < 26)];
            let region = random.between(10, 59);
            let twelve = [&dd[..], &mm, &[century], &yy, &two(region), &random.digits(3)].concat();
            let rest = sum(&twelve, &[7, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11;
            Some(with(
                twelve,
                match rest {
                    0 => 0,
                    1 => return None,
                    rest => 11 - rest,
                },
            ))
        }),
        DataClass::HuTaj => {
            let eight = random.digits(8);
            let check = sum(&eight, &[3, 7, 3, 7, 3, 7, 3, 7]) % 10;
            let solid = with(eight, check);
            match random.below(2) {
                0 => solid,
                _ => format!("{} {} {}", &solid[..3], &solid[3..6], &solid[6..]),
            }
        }
        DataClass::GrAmka => {
            let ten = [&dd[..], &mm, &yy, &random.digits(4)].concat();
            let check = luhn_digit(&ten);
            with(ten, check)
        }
        DataClass::IePpsn => {
            let seven = random.digits(7);
            let (second, value) = [("", 0), ("A", 1), ("H", 8)][random.below(3) as usize];
            let rest = (sum(&seven, &[8, 7, 6, 5, 4, 3, 2]) + 9 * value) % 23;
            format!("{}{}{second}", text(&seven), b"WABCDEFGHIJKLMNOPQRSTUV"[rest as usize] as char)
        }
        DataClass::IsKennitala => until(random, |random| {
            let eight = [&dd[..], &mm, &yy, &[random.between(2, 9) as u32], &random.digits(1)].concat();
            let check = (11 - sum(&eight, &[3, 2, 7, 6, 5, 4, 3, 2]) % 11) % 11;
            let solid = with(eight, (check < 10).then_some(check)?);
            let century = [9, 0][usize::from(year < 26)];
            Some(if random.below(2) == 0 {
                format!("{solid}{century}")
            } else {
                format!("{}-{}{century}", &solid[..6], &solid[6..])
            })
        }),
        DataClass::LuMatricule => {
            let century = [1, 9];
            let eleven = [&century[..], &yy, &mm, &dd, &random.digits(3)].concat();
            let (first, second) = (luhn_digit(&eleven), verhoeff_digit(&eleven));
            format!("{}{first}{second}", text(&eleven))
        }
        DataClass::UaRnokpp => {
            let days = random.between(10_000, 40_000);
            let nine = [
                &[(days / 10_000) as u32, (days / 1000 % 10) as u32][..],
                &[(days / 100 % 10) as u32, (days / 10 % 10) as u32, (days % 10) as u32],
                &random.digits(4),
            ]
            .concat();
            // The first weight is -1.
            let rest = (11 * 9 + sum(&nine[1..], &[5, 7, 9, 4, 6, 10, 5, 7]) - nine[0]) % 11 % 10;
            with(nine, rest)
        }
        DataClass::TrKimlik => {
            let nine = [&[random.between(1, 9) as u32], &random.digits(8)[..]].concat();
            let odd: u32 = nine.iter().step_by(2).sum();
            let even: u32 = nine.iter().skip(1).step_by(2).sum();
            let tenth = (odd * 7 + 100 - even) % 10;
            let eleventh = (nine.iter().sum::<u32>() + tenth) % 10;
            format!("{}{tenth}{eleventh}", number(&nine))
        }
        _ => return None,
    }))
}

/// A number that almost is of `class`, where changing the last digit would not do.
pub(super) fn near_miss(class: DataClass, random: &mut Random) -> Option<Value> {
    let value = valid(class, random)?.text;
    let at = match class {
        DataClass::IsKennitala => value.len() - 2,
        DataClass::IePpsn => {
            // The check letter stands behind seven digits.
            let letter = value.as_bytes()[7];
            let other = if letter == b'W' { 'A' } else { char::from(letter + 1) };
            return Some(with_word(format!("{}{other}{}", &value[..7], &value[8..])));
        }
        _ => return None,
    };
    let digit = u32::from(value.as_bytes()[at] - b'0');
    Some(with_word(format!("{}{}{}", &value[..at], (digit + 1) % 10, &value[at + 1..])))
}

/// By the tables of the dihedral group as Verhoeff gave them.
fn verhoeff_digit(digits: &[u32]) -> u32 {
    const PRODUCT: [[u32; 10]; 10] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 2, 3, 4, 0, 6, 7, 8, 9, 5],
        [2, 3, 4, 0, 1, 7, 8, 9, 5, 6],
        [3, 4, 0, 1, 2, 8, 9, 5, 6, 7],
        [4, 0, 1, 2, 3, 9, 5, 6, 7, 8],
        [5, 9, 8, 7, 6, 0, 4, 3, 2, 1],
        [6, 5, 9, 8, 7, 1, 0, 4, 3, 2],
        [7, 6, 5, 9, 8, 2, 1, 0, 4, 3],
        [8, 7, 6, 5, 9, 3, 2, 1, 0, 4],
        [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
    ];
    const PERMUTED: [[u32; 10]; 8] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 5, 7, 6, 2, 8, 3, 0, 9, 4],
        [5, 8, 0, 3, 7, 9, 6, 1, 4, 2],
        [8, 9, 1, 6, 0, 4, 3, 5, 2, 7],
        [9, 4, 5, 3, 1, 2, 6, 8, 7, 0],
        [4, 2, 8, 6, 5, 7, 3, 9, 0, 1],
        [2, 7, 9, 3, 8, 0, 6, 4, 1, 5],
        [7, 0, 4, 6, 9, 1, 3, 2, 5, 8],
    ];
    let product = digits.iter().rev().enumerate().fold(0, |product: u32, (at, digit)| {
        PRODUCT[product as usize][PERMUTED[(at + 1) % 8][*digit as usize] as usize]
    });
    [0, 4, 3, 2, 1, 5, 6, 7, 8, 9][product as usize]
}

/// First digits that a country gives out, as dialled at home, how many digits follow, and the groups
/// in which they are written there.
type Plan = (&'static str, &'static str, &'static [&'static [usize]]);

/// Regions of the twelve locales.
pub(super) const REGIONS: [&str; 12] = ["DE", "FR", "NL", "PL", "IT", "ES", "PT", "SE", "DK", "FI", "GB", "CZ"];

const PLANS: [Plan; 24] = [
    ("DE", "0151", &[&[4, 8], &[4, 4, 4], &[4, 2, 2, 2, 2]]),
    ("DE", "030", &[&[3, 8], &[3, 4, 4], &[3, 2, 2, 2, 2]]),
    ("FR", "06", &[&[2, 2, 2, 2, 2], &[10]]),
    ("FR", "01", &[&[2, 2, 2, 2, 2], &[10]]),
    ("NL", "0612", &[&[2, 8], &[10], &[2, 2, 2, 2, 2]]),
    ("NL", "020", &[&[3, 7], &[3, 3, 4]]),
    ("PL", "601", &[&[3, 3, 3], &[9]]),
    ("PL", "22", &[&[2, 3, 2, 2], &[2, 7]]),
    ("IT", "347", &[&[3, 7], &[3, 3, 4], &[10]]),
    ("IT", "02", &[&[2, 8], &[2, 4, 4]]),
    ("ES", "612", &[&[3, 3, 3], &[9], &[3, 2, 2, 2]]),
    ("ES", "91", &[&[2, 3, 2, 2], &[3, 3, 3]]),
    ("PT", "912", &[&[3, 3, 3], &[9]]),
    ("PT", "21", &[&[3, 3, 3], &[2, 3, 2, 2]]),
    ("SE", "070", &[&[3, 3, 2, 2], &[10]]),
    ("SE", "08", &[&[2, 3, 3, 2], &[2, 8]]),
    ("DK", "20", &[&[2, 2, 2, 2], &[8], &[4, 4]]),
    ("DK", "33", &[&[2, 2, 2, 2], &[8]]),
    ("FI", "040", &[&[3, 7], &[3, 3, 4]]),
    ("FI", "09", &[&[2, 3, 4], &[2, 7]]),
    ("GB", "07911", &[&[5, 6], &[5, 3, 3], &[11]]),
    ("GB", "0207", &[&[3, 4, 4], &[4, 3, 4]]),
    ("CZ", "602", &[&[3, 3, 3], &[9]]),
    ("CZ", "224", &[&[3, 3, 3], &[3, 2, 2, 2]]),
];

/// A number as it is dialled at home, in the groups and with the separators given.
pub(super) fn national_phone(random: &mut Random, separators: &[&str], in_parentheses: bool) -> Value {
    let (_, first, groups) = PLANS[random.below(PLANS.len() as u64) as usize];
    let groups = random_of(groups, random);
    let count: usize = groups.iter().sum();
    // No exchange's number begins with 0 or 1.
    let mut digits = format!("{first}{}", random.word("0123456789", count - first.len())).into_bytes();
    digits[first.len()] = b'2' + digits[first.len()] % 8;
    let solid = String::from_utf8(digits).unwrap_or_default();
    let separator = random.pick(separators);
    let (mut at, mut parts) = (0, Vec::new());
    for length in groups {
        parts.push(solid[at..at + length].to_owned());
        at += length;
    }
    let joined = if parts.len() > 1 && in_parentheses && random.below(3) == 0 {
        format!("({}) {}", parts[0], parts[1..].join(" "))
    } else {
        parts.join(separator)
    };
    with_word(joined)
}

fn random_of<'a>(items: &[&'a [usize]], random: &mut Random) -> &'a [usize] {
    items[random.below(items.len() as u64) as usize]
}

/// A number that no region gives out, or that is too short or too long.
pub(super) fn no_phone(random: &mut Random) -> Value {
    with_word(match random.below(3) {
        0 => format!("00{}", random.word("0123456789", 8)).replace("00", "000"),
        1 => random.word("123456789", 6),
        _ => format!("{}{}", random.word("123456789", 1), random.word("0123456789", 15)),
    })
}
