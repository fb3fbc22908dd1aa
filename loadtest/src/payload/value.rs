//! One record's value: an order event in JSON, as long as wanted, with or without personal data.
//!
//! Clean ones are no easy prey: they hold times in milliseconds, long identifiers and amounts, which
//! a scanner must look at and let pass. Check digits are computed here, forwards, and share nothing
//! with the scanner's validators.

use std::ops::Range;

use tidegate_core::words::DataClass;

use super::random::Random;

/// What `redact` leaves of each class, as the policy's documentation says it.
pub const REDACTED: [(DataClass, &str); 4] = [
    (DataClass::Email, "[email]"),
    (DataClass::Phone, "[phone]"),
    (DataClass::PaymentCard, "[payment_card]"),
    (DataClass::Iban, "[iban]"),
];

/// Values shorter than this have room for few fields.
const FULL_BYTES: usize = 420;

const FIRST: [&str; 8] = ["anna", "bram", "chloe", "dario", "elif", "femke", "goran", "hanna"];
const LAST: [&str; 8] = ["jansen", "kowalski", "lindqvist", "martin", "novak", "oliveira", "papadaki", "rossi"];
const DOMAINS: [&str; 4] = ["example.com", "example.org", "mail.example.net", "shop.example.eu"];
const WORDS: [&str; 16] = [
    "deliver",
    "between",
    "nine",
    "and",
    "twelve",
    "ring",
    "twice",
    "leave",
    "with",
    "neighbour",
    "otherwise",
    "gift",
    "wrapped",
    "please",
    "fragile",
    "thanks",
];

/// Where personal data stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Of which class.
    pub class: DataClass,
    /// Which bytes of the value.
    pub span: Range<usize>,
}

/// A value and its labels, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Personal data in them.
    pub labels: Vec<Label>,
}

impl Value {
    /// The value of record `index`, about `size` bytes long.
    #[must_use]
    pub fn new(index: usize, size: usize, personal: bool, random: &mut Random) -> Self {
        let mut value = Self { bytes: Vec::with_capacity(size + 64), labels: Vec::new() };
        if size < FULL_BYTES {
            value.text("{\"n\":\"");
            if personal {
                value.data(DataClass::Email, &email(random));
            } else {
                value.text(&format!("c{}", index % 10_000));
            }
        } else {
            value.full(index, personal, random);
        }
        value.text("\",\"note\":\"");
        value.fill(size.saturating_sub(2), random);
        value.text("\"}");
        value
    }

    /// What `redact` makes of it.
    #[must_use]
    pub fn redacted(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes.len());
        let mut at = 0;
        for Label { class, span } in &self.labels {
            out.extend_from_slice(&self.bytes[at..span.start]);
            let stands_in = REDACTED.iter().find(|(of, _)| of == class).map_or("", |(_, text)| text);
            out.extend_from_slice(stands_in.as_bytes());
            at = span.end;
        }
        out.extend_from_slice(&self.bytes[at..]);
        out
    }

    fn full(&mut self, index: usize, personal: bool, random: &mut Random) {
        self.text(&format!(
            "{{\"event\":\"order.placed\",\"id\":\"{:08x}-0b51-4b42-9f5e-{index:012}\",\"ts\":17{:011},",
            random.number() as u32,
            random.below(100_000_000_000)
        ));
        self.text("\"created\":\"2026-03-01T12:34:56.789+02:00\",\"customer\":{\"ref\":\"");
        if personal {
            self.data(DataClass::Email, &email(random));
            self.text("\",\"phone\":\"");
            self.data(DataClass::Phone, &format!("+4915{}{}", 1 + random.below(2), random.digits(8)));
        } else {
            self.text(&format!("customer-{index}\",\"phone\":\"none"));
        }
        self.text("\",\"tier\":\"gold\"},\"payment\":{\"card\":\"");
        if personal {
            self.data(DataClass::PaymentCard, &card(random));
        } else {
            self.text("none");
        }
        // One customer in four pays from an account.
        if personal && random.below(4) == 0 {
            self.text("\",\"iban\":\"");
            self.data(DataClass::Iban, &iban(random));
        }
        self.text(&format!(
            "\",\"amount\":{}.99,\"currency\":\"EUR\",\"reference\":98765432101{:05}}},\"lines\":[{{\"sku\":\"TG-{index}-A\",\
             \"quantity\":2,\"price\":19.95}}],\"channel\":\"web",
            random.below(1000),
            index % 100_000
        ));
    }

    fn text(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn data(&mut self, class: DataClass, text: &str) {
        let start = self.bytes.len();
        self.text(text);
        self.labels.push(Label { class, span: start..self.bytes.len() });
    }

    /// Words up to exactly `length` bytes in all.
    fn fill(&mut self, length: usize, random: &mut Random) {
        while self.bytes.len() < length {
            let word = random.one_of(&WORDS);
            let left = length - self.bytes.len();
            self.text(&word[..word.len().min(left)]);
            if self.bytes.len() < length {
                self.text(" ");
            }
        }
    }
}

fn email(random: &mut Random) -> String {
    let (first, last) = (random.one_of(&FIRST), random.one_of(&LAST));
    format!("{first}.{last}{}@{}", random.below(100_000), random.one_of(&DOMAINS))
}

/// Sixteen digits of Visa's range in groups of four, the last by Luhn (ISO/IEC 7812-1, annex B).
fn card(random: &mut Random) -> String {
    let mut digits = format!("4{}", random.digits(14));
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(index, digit)| {
            let digit = u32::from(digit - b'0');
            let doubled = if index % 2 == 0 { digit * 2 } else { digit };
            if doubled > 9 { doubled - 9 } else { doubled }
        })
        .sum();
    digits.push(char::from(b'0' + ((10 - sum % 10) % 10) as u8));
    format!("{} {} {} {}", &digits[..4], &digits[4..8], &digits[8..12], &digits[12..])
}

/// A German account, check digits by ISO 7064 mod 97-10 as ISO 13616 uses it.
fn iban(random: &mut Random) -> String {
    let account = random.digits(18);
    // D is 13 and E is 14; the check digits count as 00.
    let remainder =
        format!("{account}131400").bytes().fold(0u32, |rest, digit| (rest * 10 + u32::from(digit - b'0')) % 97);
    format!("DE{:02}{account}", 98 - remainder)
}
