//! Whether words before a value say what it is: the one mechanism for every class that is too weak
//! to stand alone (a bare run of digits).
//!
//! What counts as context of a value is, in this order: the key of the JSON member it stands in, the
//! name before its `=`, else the words before it in its line. The text is folded (case, accents,
//! `camelCase` and punctuation become words), then held against the class's dictionary. Keywords of
//! up to [`WHOLE_WORD_MAX`] letters must be a word of their own; longer ones may be part of a
//! compound.

use tidegate_core::words::DataClass;

/// How far before a value words count, in bytes.
const REACH: usize = 64;
/// Keywords up to this length in bytes are only taken as whole words: `tin` is in `tinted`.
const WHOLE_WORD_MAX: usize = 5;

/// Whether a keyword of `class` stands before the value that begins at `start`.
pub(super) fn speaks_of(class: DataClass, text: &[u8], start: usize) -> bool {
    has_any(keywords(class), text, start)
}

/// `name` folded: words in lower case and without accents, single spaces between them.
pub(crate) fn folded(name: &str) -> String {
    let mut words = Words::default();
    words.fold(name.as_bytes());
    String::from_utf8_lossy(&words.bytes[..words.length]).trim_end().to_owned()
}

/// A word that speaks of `class`; empty where its values need none.
pub(crate) fn word_of(class: DataClass) -> &'static str {
    keywords(class).first().copied().unwrap_or_default()
}

/// Whether one of `keywords` stands before the value that begins at `start`.
pub(super) fn has_any(keywords: &[impl AsRef<str>], text: &[u8], start: usize) -> bool {
    if keywords.is_empty() {
        return false;
    }
    let from = begin(text, start);
    super::looks_at(REACH + keywords.len());
    let mut words = Words::default();
    words.fold(text.get(from..start).unwrap_or_default());
    keywords.iter().any(|keyword| words.contain(keyword.as_ref().as_bytes()))
}

/// Where the context of the value at `start` begins.
fn begin(text: &[u8], start: usize) -> usize {
    let floor = start.saturating_sub(REACH);
    let before = text.get(floor..start).unwrap_or_default();
    let unquoted = before.trim_ascii_end();
    let unquoted = unquoted.strip_suffix(b"\"").or_else(|| unquoted.strip_suffix(b"'")).unwrap_or(unquoted);
    if let Some(named) = unquoted.strip_suffix(b"=") {
        let name = named.iter().rev().take_while(|byte| is_name(**byte)).count();
        return floor + named.len() - name;
    }
    // Backwards to the key of the member, or to the beginning of the line.
    let mut at = before.len();
    while at > 0 {
        at -= 1;
        match before[at] {
            b'\n' | b'{' | b'}' => return floor + at + 1,
            b':' if ends_with_quote(&before[..at]) => return floor + key_begin(&before[..at]),
            _ => {}
        }
    }
    floor
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || matches!(byte, b'_' | b'-' | b'.')
}

fn ends_with_quote(before: &[u8]) -> bool {
    before.trim_ascii_end().last() == Some(&b'"')
}

/// Where the key begins whose closing quote `before` ends with.
fn key_begin(before: &[u8]) -> usize {
    let key = before.trim_ascii_end();
    let key = &key[..key.len().saturating_sub(1)];
    // In JSON within JSON a backslash stands before the quote.
    key.iter().rposition(|byte| *byte == b'"').map_or(0, |quote| quote + 1)
}

/// Folded text: words in lower case, single spaces between them.
struct Words {
    bytes: [u8; 2 * REACH],
    length: usize,
}

impl Default for Words {
    fn default() -> Self {
        Self { bytes: [0; 2 * REACH], length: 0 }
    }
}

impl Words {
    fn push(&mut self, byte: u8) {
        if byte == b' ' && matches!(self.bytes[..self.length], [] | [.., b' ']) {
            return;
        }
        if let Some(room) = self.bytes.get_mut(self.length) {
            *room = byte;
            self.length += 1;
        }
    }

    fn fold(&mut self, text: &[u8]) {
        let mut lower_before = false;
        for chunk in text.utf8_chunks() {
            for character in chunk.valid().chars() {
                // `customerBsn` is two words.
                if lower_before && character.is_uppercase() {
                    self.push(b' ');
                }
                lower_before = character.is_lowercase();
                match character {
                    'a'..='z' | '0'..='9' => self.push(character as u8),
                    'A'..='Z' => self.push(character.to_ascii_lowercase() as u8),
                    _ if character.is_alphabetic() => self.fold_letter(character),
                    _ => self.push(b' '),
                }
            }
            if !chunk.invalid().is_empty() {
                self.push(b' ');
            }
        }
    }

    fn fold_letter(&mut self, character: char) {
        for lower in character.to_lowercase() {
            match base(lower) {
                Some(base) => self.push(base),
                None => lower.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| self.push(byte)),
            }
        }
    }

    /// Whether `keyword` is there; its letters may be spread over words (`steuer id` for `steuerid`).
    fn contain(&self, keyword: &[u8]) -> bool {
        let text = &self.bytes[..self.length];
        let whole = keyword.len() <= WHOLE_WORD_MAX;
        (0..text.len()).any(|from| {
            let begins = from == 0 || text[from - 1] == b' ';
            if text[from] == b' ' || (whole && !begins) {
                return false;
            }
            let mut rest = &text[from..];
            for letter in keyword {
                if rest.first() == Some(&b' ') {
                    rest = &rest[1..];
                }
                match rest.split_first() {
                    Some((first, after)) if first == letter => rest = after,
                    _ => return false,
                }
            }
            !whole || matches!(rest.first(), None | Some(b' ' | b'0'..=b'9'))
        })
    }
}

/// The letter without its accent.
fn base(character: char) -> Option<u8> {
    Some(match character {
        'à' | 'á' | 'â' | 'ã' | 'ä' | 'å' | 'ā' | 'ą' | 'ă' | 'æ' => b'a',
        'ç' | 'ć' | 'č' => b'c',
        'ď' | 'đ' | 'ð' => b'd',
        'è' | 'é' | 'ê' | 'ë' | 'ē' | 'ę' | 'ě' => b'e',
        'ì' | 'í' | 'î' | 'ï' | 'ī' => b'i',
        'ł' | 'ľ' | 'ĺ' => b'l',
        'ñ' | 'ń' | 'ň' => b'n',
        'ò' | 'ó' | 'ô' | 'õ' | 'ö' | 'ø' | 'ő' => b'o',
        'ř' => b'r',
        'ś' | 'š' | 'ş' | 'ș' => b's',
        'ť' | 'ţ' | 'ț' => b't',
        'ù' | 'ú' | 'û' | 'ü' | 'ū' | 'ů' | 'ű' => b'u',
        'ý' => b'y',
        'ź' | 'ż' | 'ž' => b'z',
        _ => return None,
    })
}

/// The dictionary: folded, without spaces, in the languages of the countries that use the number.
fn keywords(class: DataClass) -> &'static [&'static str] {
    match class {
        DataClass::FrNir => &[
            "nir",
            "numeross",
            "nss",
            "secu",
            "securitesociale",
            "insee",
            "socialsecurity",
            "numsecu",
            "rnipp",
            "vitale",
            "securitesociale",
            "ss",
            "assuresocial",
        ],
        DataClass::NlBsn => &["bsn", "burgerservice", "sofi", "sofinummer", "citizenservice"],
        DataClass::PlPesel => &["pesel"],
        DataClass::ItCodiceFiscale => &["codicefiscale", "codfisc", "fiscale", "cf"],
        DataClass::EsNif => &["nif", "dni", "nie", "documentonacional", "identidad", "cif"],
        DataClass::DeSteuerId => &[
            "steuerid",
            "steueridentifikation",
            "steueridnr",
            "steuernummer",
            "idnr",
            "steuerlicheidentifikation",
            "tin",
            "taxid",
            "idnummer",
            "identifikationsnummer",
        ],
        DataClass::UkNhs => &["nhs", "nhsnumber", "patientnumber", "healthservice"],
        DataClass::BeNationalNumber => &[
            "rijksregister",
            "insz",
            "niss",
            "registrenational",
            "numeronational",
            "nationalnumber",
            "nationaalnummer",
            "nationalregister",
            "nationalregisternummer",
            "nrnational",
            "nonational",
            "rrn",
            "nrn",
            "bis",
        ],
        DataClass::SePersonnummer => {
            &["personnummer", "personnr", "pnr", "samordningsnummer", "persnr", "personalidentity", "personnumret"]
        }
        DataClass::FiHetu => &["hetu", "henkilotunnus", "personbeteckning", "sotu", "personalidentity"],
        DataClass::DkCpr => &["cpr", "cprnr", "cprnummer", "cprnumber"],
        DataClass::NoFodselsnummer => &[
            "fodselsnummer",
            "fodselsnr",
            "fnr",
            "personnummer",
            "dnummer",
            "fodselnummer",
            "foedselsnummer",
            "foedselsnr",
            "nationalidentity",
        ],
        DataClass::PtNif => &["nif", "contribuinte", "identificacaofiscal", "nipc", "numerofiscal"],
        DataClass::AtSvnr => {
            &["svnr", "svnummer", "sozialversicherung", "versicherungsnummer", "versicherungsnr", "ecard", "vsnr"]
        }
        DataClass::EuVat => &[
            "vat",
            "vatid",
            "vatnumber",
            "ustid",
            "ustidnr",
            "umsatzsteuer",
            "uid",
            "tva",
            "iva",
            "piva",
            "partitaiva",
            "btw",
            "btwnummer",
            "btwnr",
            "moms",
            "momsnr",
            "momsregistrering",
            "alv",
            "alvnumero",
            "nip",
            "dic",
            "icdph",
            "afm",
            "kdv",
            "adoszam",
            "pvn",
            "pvm",
            "kmkr",
            "oib",
            "cif",
            "cui",
            "ddv",
        ],
        DataClass::UsSsn => &["ssn", "socialsecurity", "socsec", "ssnumber", "taxpayerid"],
        DataClass::UkNino => &["nino", "nationalinsurance", "nino", "insurancenumber", "ni", "nin"],
        DataClass::HrOib => &["oib", "osobniidentifikacijski", "porezni"],
        DataClass::ChAhv => &["ahv", "avs", "ahvn13", "ahvnr", "ahvnummer", "navs", "navs13", "sozialversicherung"],
        DataClass::CzRodneCislo => &["rodnecislo", "rc", "rodcislo", "birthnumber", "rodne"],
        DataClass::RoCnp => &["cnp", "codnumericpersonal", "numericpersonal"],
        DataClass::BgEgn => &["egn", "егн", "единенграждански"],
        DataClass::EeIsikukood => &["isikukood", "isikukoodi", "isikukoodid"],
        DataClass::LtAsmensKodas => &["asmenskodas", "asmenskodo", "asmkodas"],
        DataClass::LvPersonasKods => &["personaskods", "personaskoda", "perskods"],
        DataClass::SiEmso => &["emso", "jmbg", "matstevilka", "maticnastevilka", "maticnibroj"],
        DataClass::HuTaj => &["taj", "tajszam", "tarsadalombiztositasi"],
        DataClass::GrAmka => &["amka", "αμκα"],
        DataClass::IePpsn => &["pps", "ppsn", "ppsno", "ppsnumber", "publicservice"],
        DataClass::IsKennitala => &["kennitala", "kennitolu", "kt"],
        DataClass::LuMatricule => &["matricule", "matrikel", "matriculenationale"],
        DataClass::UaRnokpp => &["рнокпп", "rnokpp", "іпн", "ipn", "податку", "платника", "inn"],
        DataClass::TrKimlik => &["kimlik", "tckimlik", "tckn", "tcno"],
        DataClass::PaymentCard => &[
            "card",
            "cards",
            "cardnumber",
            "karte",
            "kartennummer",
            "carte",
            "tarjeta",
            "carta",
            "kaart",
            "karta",
            "karty",
            "kort",
            "kortti",
            "cartao",
            "pan",
            "visa",
            "credit",
            "kredit",
        ],
        DataClass::CryptoAddress => {
            &["eth", "ethereum", "wallet", "erc20", "metamask", "crypto", "krypto", "polygon", "evm"]
        }
        DataClass::DateOfBirth => &[
            "birth",
            "birthdate",
            "birthday",
            "born",
            "dob",
            "geburt",
            "geburtsdatum",
            "geboren",
            "geb",
            "gebdatum",
            "gebdat",
            "naissance",
            "nele",
            "neele",
            "datenaiss",
            "nacimiento",
            "nacido",
            "nacida",
            "fnac",
            "nascimento",
            "nascido",
            "nascida",
            "nascita",
            "natoil",
            "natail",
            "natail",
            "geboorte",
            "geboortedatum",
            "gebdatum",
            "urodzenia",
            "urodzony",
            "urodzona",
            "dataur",
            "narozeni",
            "narozen",
            "narozena",
            "narodenia",
            "datumnar",
            "fodsel",
            "fodselsdato",
            "fodselsdag",
            "fodt",
            "fodelse",
            "fodelsedatum",
            "fodd",
            "syntyma",
            "syntymaaika",
            "syntynyt",
            "synt",
            "szuletesi",
            "szuletett",
            "nasterii",
            "nascut",
            "rodenja",
            "rojstva",
        ],
        DataClass::Passport => &[
            "passport",
            "reisepass",
            "passnummer",
            "passnr",
            "passeport",
            "pasaporte",
            "passaporte",
            "passaporto",
            "paspoort",
            "paszport",
            "pasnummer",
            "pasnr",
            "passinumero",
            "passinro",
            "passi",
            "cestovnipas",
            "cislopasu",
            "cpasu",
            "passinnumero",
            "traveldocument",
            "utlevel",
            "pasaport",
            "putovnica",
            "potnilist",
            "personalausweis",
            "ausweisnummer",
            "ausweisnr",
        ],
        DataClass::Phone => &[
            "phone",
            "telephone",
            "tel",
            "mobile",
            "cell",
            "call",
            "fax",
            "landline",
            "telefon",
            "telefonnummer",
            "telnr",
            "mobil",
            "mobiltelefon",
            "handy",
            "handynummer",
            "handynr",
            "tfn",
            "rufnummer",
            "ruckruf",
            "festnetz",
            "telefax",
            "anruf",
            "telefone",
            "telefono",
            "movil",
            "telemovel",
            "telm",
            "celular",
            "cellulare",
            "cell",
            "fisso",
            "fijo",
            "fixo",
            "portable",
            "fixe",
            "numerotel",
            "appeler",
            "telefoon",
            "telefoonnummer",
            "mobiel",
            "gsm",
            "bellen",
            "puhelin",
            "puhelinnumero",
            "puh",
            "matkapuhelin",
            "telefonu",
            "komorka",
            "komorkowy",
            "kom",
            "tlf",
            "tlfnr",
            "telefonnr",
            "mobilnr",
            "mob",
            "mobnr",
            "msisdn",
            "whatsapp",
            "sms",
            "contact",
        ],
        DataClass::ApiSecret => &["secret", "token", "apikey", "password", "accesskey", "privatekey"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_that_belong_to_a_value_count() {
        let cases = [
            (r#"{"bsn":"#, true),
            (r#"{"customerBsn": ""#, true),
            (r#"{"customer_bsn":""#, true),
            (r#"{\"bsn\":\""#, true),
            (r#"{"bsn":["123","#, true),
            (r#"{"bsn":"1","order":""#, false),
            ("bsn=", true),
            ("bsn=1 order=", false),
            ("Zijn burgerservicenummer (vertrouwelijk) is ", true),
            ("Burger-Service nummer: ", true),
            ("my BSN: ", true),
            ("BSN\n", false),
            ("absnt ", false),
            ("bsn1: ", true),
            ("<bsn>", true),
            ("", false),
        ];
        for (before, expected) in cases {
            let text = format!("{before}123456782");
            assert_eq!(speaks_of(DataClass::NlBsn, text.as_bytes(), before.len()), expected, "{before}");
        }
        assert!(speaks_of(DataClass::NoFodselsnummer, "Fødselsnummer: ".as_bytes(), "Fødselsnummer: ".len()));
        assert!(speaks_of(DataClass::BgEgn, "ЕГН: ".as_bytes(), "ЕГН: ".len()));
        assert!(speaks_of(DataClass::FrNir, "N° de Sécurité sociale ".as_bytes(), "N° de Sécurité sociale ".len()));
        let far = format!("bsn{}", " ".repeat(REACH));
        assert!(!speaks_of(DataClass::NlBsn, far.as_bytes(), far.len()));
        assert!(!speaks_of(DataClass::NlBsn, b"\xff\xfe bsn\xff", 20));
    }
}
