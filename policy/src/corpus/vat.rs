//! VAT numbers of all member states, and of Northern Ireland; check digits computed forwards from what the
//! states publish.

use super::random::Random;
use super::values::{luhn_digit, mod_11_10_digit, number, sum, text, until};

const COUNTRIES: [&str; 28] = [
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "EL", "ES", "FI", "FR", "HR", "HU", "IE", "IT", "LT", "LU", "LV",
    "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK", "XI",
];

/// A number with its country's prefix.
pub(super) fn vat(random: &mut Random) -> String {
    let country = random.pick(&COUNTRIES);
    until(random, |random| Some(format!("{country}{}", body(country, random)?)))
}

fn body(country: &str, random: &mut Random) -> Option<String> {
    // Numbers that begin with 0 are rare, and some countries have none.
    let mut digits = |count: usize| [&[1 + random.below(9) as u32], &random.digits(count - 1)[..]].concat();
    let with = |mut digits: Vec<u32>, check: u32| {
        digits.push(check);
        text(&digits)
    };
    let below_ten = |check: u32| (check < 10).then_some(check);
    Some(match country {
        "AT" => {
            let seven = digits(7);
            let doubled = |digit: u32| digit * 2 / 10 + digit * 2 % 10;
            let sum: u32 = (0..7).map(|at| if at % 2 == 1 { doubled(seven[at]) } else { seven[at] }).sum();
            format!("U{}", with(seven, (96 - sum) % 10))
        }
        "BE" => {
            let seven = number(&digits(7));
            format!("0{seven}{:02}", 97 - seven % 97)
        }
        "BG" => {
            let eight = digits(8);
            let first = sum(&eight, &[1, 2, 3, 4, 5, 6, 7, 8]) % 11;
            let check = if first == 10 { sum(&eight, &[3, 4, 5, 6, 7, 8, 9, 10]) % 11 % 10 } else { first };
            with(eight, check)
        }
        "CY" => {
            let eight = digits(8);
            let odd = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21];
            let sum: u32 = (0..8).map(|at| if at % 2 == 0 { odd[eight[at] as usize] } else { eight[at] }).sum();
            format!("{}{}", text(&eight), char::from(b'A' + (sum % 26) as u8))
        }
        "CZ" => {
            let seven = digits(7);
            let check = match 11 - sum(&seven, &[8, 7, 6, 5, 4, 3, 2]) % 11 {
                10 => 0,
                11 => 1,
                check => check,
            };
            with(seven, check)
        }
        "DE" | "HR" => {
            let count = if country == "DE" { 8 } else { 10 };
            let most = digits(count);
            let check = mod_11_10_digit(&most);
            with(most, check)
        }
        "DK" => {
            let seven = digits(7);
            let check = below_ten((11 - sum(&seven, &[2, 7, 6, 5, 4, 3, 2]) % 11) % 11)?;
            with(seven, check)
        }
        "EE" => {
            let eight = digits(8);
            let check = (10 - sum(&eight, &[3, 7, 1, 3, 7, 1, 3, 7]) % 10) % 10;
            with(eight, check)
        }
        "EL" => {
            let eight = digits(8);
            let check = sum(&eight, &[256, 128, 64, 32, 16, 8, 4, 2]) % 11 % 10;
            with(eight, check)
        }
        "ES" => {
            let number = number(&digits(8));
            format!("{number}{}", b"TRWAGMYFPDXBNJZSQVHLCKE"[(number % 23) as usize] as char)
        }
        "FI" => {
            let seven = digits(7);
            let check = below_ten((11 - sum(&seven, &[7, 9, 10, 5, 8, 4, 2]) % 11) % 11)?;
            with(seven, check)
        }
        "FR" => {
            let eight = digits(8);
            let check = luhn_digit(&eight);
            let siren = with(eight, check);
            format!("{:02}{siren}", (12 + 3 * (siren.parse::<u64>().ok()? % 97)) % 97)
        }
        "HU" => {
            let seven = digits(7);
            let check = (10 - sum(&seven, &[9, 7, 3, 1, 9, 7, 3]) % 10) % 10;
            with(seven, check)
        }
        "IE" => {
            let seven = digits(7);
            let second = [("", 0), ("A", 1), ("H", 8)][random.below(3) as usize];
            let rest = (sum(&seven, &[8, 7, 6, 5, 4, 3, 2]) + 9 * second.1) % 23;
            format!("{}{}{}", text(&seven), b"WABCDEFGHIJKLMNOPQRSTUV"[rest as usize] as char, second.0)
        }
        "IT" => {
            let ten = digits(10);
            let check = luhn_digit(&ten);
            with(ten, check)
        }
        "LT" => {
            let eight = digits(8);
            let first = sum(&eight, &[1, 2, 3, 4, 5, 6, 7, 8]) % 11;
            let check = if first == 10 { sum(&eight, &[3, 4, 5, 6, 7, 8, 9, 1]) % 11 % 10 } else { first };
            with(eight, check)
        }
        "LU" => {
            let six = number(&digits(6));
            format!("{six}{:02}", six % 89)
        }
        "LV" => {
            let mut ten = digits(10);
            ten[0] = 4 + ten[0] % 6;
            let rest = sum(&ten, &[9, 1, 4, 8, 3, 10, 2, 5, 7, 6]) % 11;
            let check = match rest {
                4 => return None,
                0..=3 => 3 - rest,
                _ => 14 - rest,
            };
            with(ten, check)
        }
        "MT" => {
            let six = digits(6);
            format!("{}{:02}", text(&six), 37 - sum(&six, &[3, 4, 6, 7, 8, 9]) % 37)
        }
        "NL" => {
            let eight = digits(8);
            let check = below_ten(sum(&eight, &[9, 8, 7, 6, 5, 4, 3, 2]) % 11)?;
            format!("{}B{:02}", with(eight, check), random.between(1, 99))
        }
        "PL" => {
            let nine = digits(9);
            let check = below_ten(sum(&nine, &[6, 5, 7, 2, 3, 4, 5, 6, 7]) % 11)?;
            with(nine, check)
        }
        "PT" => {
            let eight = digits(8);
            let rest = sum(&eight, &[9, 8, 7, 6, 5, 4, 3, 2]) % 11;
            with(eight, if rest < 2 { 0 } else { 11 - rest })
        }
        "RO" => {
            let nine = digits(9);
            let check = sum(&nine, &[7, 5, 3, 2, 1, 7, 5, 3, 2]) * 10 % 11 % 10;
            with(nine, check)
        }
        "SE" => {
            let nine = digits(9);
            let check = luhn_digit(&nine);
            format!("{}01", with(nine, check))
        }
        "SI" => {
            let seven = digits(7);
            let check = match 11 - sum(&seven, &[8, 7, 6, 5, 4, 3, 2]) % 11 {
                11 => return None,
                10 => 0,
                check => check,
            };
            with(seven, check)
        }
        "SK" => {
            let nine = number(&digits(9));
            let check = (11 - nine * 10 % 11) % 11;
            format!("{nine}{}", (check < 10).then_some(check)?)
        }
        // Northern Ireland keeps the United Kingdom's: modulo 97, with 55 added since 2010.
        _ => {
            let seven = digits(7);
            let sum = sum(&seven, &[8, 7, 6, 5, 4, 3, 2]) + 55;
            format!("{}{:02}", text(&seven), 97 - sum % 97)
        }
    })
}
