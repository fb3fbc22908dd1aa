//! What stands around values: sentences in twelve locales, JSON, CSV, XML and log lines; and what
//! services write that is no personal data.

use tidegate_core::words::DataClass;

use super::random::Random;

/// The locales of the free text.
pub const LOCALES: [&str; 12] = ["de", "fr", "nl", "pl", "it", "es", "pt", "sv", "da", "fi", "en", "cs"];

/// Sentences that say nothing of what stands in them, by locale; `{}` is the place, `{w}` a word
/// of the class before it.
const SENTENCES: [[&str; 3]; 12] = [
    [
        "Bitte notieren Sie {w}{} für die Akte.",
        "Laut Kundin lautet es {w}{}, wie besprochen.",
        "Geändert auf {w}{} am Montag.",
    ],
    ["Merci de noter {w}{} dans le dossier.", "Le client confirme {w}{}, comme convenu.", "Remplacé par {w}{} lundi."],
    ["Noteer {w}{} in het dossier.", "De klant bevestigt {w}{}, zoals besproken.", "Gewijzigd in {w}{} op maandag."],
    [
        "Proszę zapisać {w}{} w aktach.",
        "Klientka potwierdza {w}{}, jak ustalono.",
        "Zmieniono na {w}{} w poniedziałek.",
    ],
    [
        "Si prega di annotare {w}{} nella pratica.",
        "Il cliente conferma {w}{}, come concordato.",
        "Sostituito con {w}{} lunedì.",
    ],
    [
        "Por favor, anote {w}{} en el expediente.",
        "La clienta confirma {w}{}, según lo acordado.",
        "Cambiado a {w}{} el lunes.",
    ],
    [
        "Por favor, anote {w}{} no processo.",
        "O cliente confirma {w}{}, como combinado.",
        "Alterado para {w}{} na segunda-feira.",
    ],
    ["Vänligen anteckna {w}{} i ärendet.", "Kunden bekräftar {w}{}, som avtalat.", "Ändrat till {w}{} i måndags."],
    ["Noter venligst {w}{} på sagen.", "Kunden bekræfter {w}{}, som aftalt.", "Ændret til {w}{} i mandags."],
    ["Merkitse {w}{} asiakirjoihin.", "Asiakas vahvistaa {w}{}, kuten sovittiin.", "Muutettu: {w}{} maanantaina."],
    ["Please note {w}{} on the file.", "The customer confirms {w}{}, as agreed.", "Changed to {w}{} on Monday."],
    ["Prosím zapište {w}{} do spisu.", "Zákaznice potvrzuje {w}{}, jak bylo dohodnuto.", "Změněno na {w}{} v pondělí."],
];

/// Text before and after a value of `class`. In a text with an escape the value stands in JSON.
pub(super) fn around(class: DataClass, needs_word: bool, escaped: bool, random: &mut Random) -> (String, String) {
    let words = context(class);
    let word = words[random.below(words.len() as u64) as usize];
    let named = needs_word || random.below(3) == 0;
    let key = if named { word } else { random.pick(&["value", "ref", "data", "field_7", "note"]) };
    let key_as_code = key.replace([' ', '°', '.', '\''], "_");
    match if escaped { random.below(2) } else { random.below(7) } {
        0 => (format!(r#"{{"id":{},"{key_as_code}":""#, random.below(100_000)), r#"","ok":true}"#.to_owned()),
        1 => {
            let nested = format!(r#"{{"payload":"{{\"{key_as_code}\":\""#);
            (nested, r#"\",\"ok\":true}","source":"crm"}"#.to_owned())
        }
        2 => (format!("level=info msg=stored {key_as_code}="), " took=12ms".to_owned()),
        3 => (format!("<entry><{key_as_code}>"), format!("</{key_as_code}></entry>")),
        _ => {
            let locale = random.below(LOCALES.len() as u64) as usize;
            let sentence = SENTENCES[locale][random.below(3) as usize];
            let word = if named { format!("{word}{}", random.pick(&[": ", " ", ":  "])) } else { String::new() };
            let (before, after) = sentence.split_once("{}").unwrap_or((sentence, ""));
            (before.replace("{w}", &word), after.to_owned())
        }
    }
}

/// How people and systems name a value of `class`.
fn context(class: DataClass) -> &'static [&'static str] {
    match class {
        DataClass::Email => &["email", "E-Mail", "courriel"],
        DataClass::Phone => &[
            "phone",
            "Telefon",
            "téléphone",
            "tel.",
            "mobile",
            "Mobil",
            "telefono",
            "telefoon",
            "puhelin",
            "tlf.",
            "telefone",
            "móvil",
        ],
        DataClass::PaymentCard => &["card", "Kartennummer", "carte"],
        DataClass::Iban => &["iban", "IBAN", "Kontoverbindung"],
        DataClass::Ipv4 | DataClass::Ipv6 => &["ip", "client_ip", "remoteAddr"],
        DataClass::MacAddress => &["mac", "macAddress", "device"],
        DataClass::FrNir => &["NIR", "numéro de sécurité sociale", "n° de sécu", "num_secu", "numeroInsee", "NSS"],
        DataClass::NlBsn => &["BSN", "bsn", "burgerservicenummer", "BSN-nummer", "clientBsn", "sofinummer"],
        DataClass::PlPesel => &["PESEL", "pesel", "numer PESEL", "nr PESEL", "peselNumber", "PESEL klienta"],
        DataClass::ItCodiceFiscale => &["codice fiscale", "cod. fisc.", "codiceFiscale"],
        DataClass::EsNif => &["DNI", "NIE", "nif"],
        DataClass::DeSteuerId => {
            &["Steuer-ID", "steuerId", "IdNr", "Steueridentifikationsnummer", "tax_id", "Identifikationsnummer"]
        }
        DataClass::UkNhs => &["NHS number", "nhsNumber", "NHS no", "nhs_number", "NHS", "patient NHS number"],
        DataClass::BeNationalNumber => &[
            "rijksregisternummer",
            "numéro national",
            "INSZ",
            "NISS",
            "national_number",
            "numéro de registre national",
        ],
        DataClass::SePersonnummer => {
            &["personnummer", "personnr", "Personnummer", "pnr", "person_nummer", "samordningsnummer"]
        }
        DataClass::FiHetu => &["henkilötunnus", "hetu", "HETU"],
        DataClass::DkCpr => &["CPR", "cpr-nummer", "cprNr", "CPR-nr", "cpr_number", "CPR nummer"],
        DataClass::NoFodselsnummer => {
            &["fødselsnummer", "fnr", "fodselsnr", "personnummer", "D-nummer", "fodselsnummer"]
        }
        DataClass::PtNif => {
            &["NIF", "nif", "número de contribuinte", "contribuinte", "NIF do cliente", "número fiscal"]
        }
        DataClass::AtSvnr => &["SVNR", "SV-Nummer", "Sozialversicherungsnummer", "svnr", "Versicherungsnummer", "vsnr"],
        DataClass::EuVat => &["VAT", "USt-IdNr", "TVA", "partita IVA", "btw-nummer", "vatId"],
        DataClass::UsSsn => {
            &["SSN", "ssn", "social security number", "socialSecurityNumber", "Social Security no", "customer_ssn"]
        }
        DataClass::UkNino => {
            &["NINO", "National Insurance number", "nino", "ni_number", "nationalInsuranceNumber", "NI number"]
        }
        DataClass::BtcAddress => &["btc", "wallet", "address"],
        DataClass::ApiSecret => &["api_key", "token", "secret"],
        DataClass::Jwt => &["token", "authorization", "jwt"],
        DataClass::HrOib => &["OIB", "oib", "osobni identifikacijski broj", "OIB kupca", "oibNumber", "porezni broj"],
        DataClass::ChAhv => &["AHV", "AHV-Nummer", "ahvNr", "AVS", "numéro AVS", "AHVN13"],
        DataClass::CzRodneCislo => &["rodné číslo", "rodneCislo", "RČ", "rodné č.", "rc", "birth_number"],
        DataClass::RoCnp => &["CNP", "cnp", "cod numeric personal", "CNP client", "codNumericPersonal", "clientCnp"],
        DataClass::BgEgn => &["ЕГН", "EGN", "egn", "ЕГН на клиента", "egnNumber", "clientEgn"],
        DataClass::CryptoAddress => &["wallet", "eth_address", "payout"],
        DataClass::EeIsikukood => &["isikukood", "Isikukood", "isikukoodi number"],
        DataClass::LtAsmensKodas => &["asmens kodas", "asmensKodas", "asm. kodas"],
        DataClass::LvPersonasKods => &["personas kods", "personas_kods", "pers. kods"],
        DataClass::SiEmso => &["EMŠO", "emso", "JMBG", "matični broj"],
        DataClass::HuTaj => &["TAJ szám", "TAJ", "taj_szam"],
        DataClass::GrAmka => &["ΑΜΚΑ", "amka", "AMKA"],
        DataClass::IePpsn => &["PPS number", "PPSN", "ppsNo"],
        DataClass::IsKennitala => &["kennitala", "kt", "Kennitala"],
        DataClass::LuMatricule => &["matricule", "numéro matricule", "Matrikelnummer"],
        DataClass::UaRnokpp => &["РНОКПП", "ІПН", "rnokpp"],
        DataClass::TrKimlik => &["T.C. Kimlik No", "TCKN", "kimlik_no"],
        DataClass::DateOfBirth => &[
            "Geburtsdatum",
            "geb.",
            "geboren am",
            "date of birth",
            "DOB",
            "birthDate",
            "date de naissance",
            "né le",
            "née le",
            "fecha de nacimiento",
            "nacido el",
            "data di nascita",
            "nato il",
            "data de nascimento",
            "geboortedatum",
            "data urodzenia",
            "datum narození",
            "nar.",
            "fødselsdato",
            "født",
            "födelsedatum",
            "född",
            "syntymäaika",
            "syntynyt",
        ],
        DataClass::Passport => &[
            "passport no.",
            "passportNumber",
            "Reisepass",
            "Passnummer",
            "passeport n°",
            "pasaporte",
            "passaporto",
            "paspoortnummer",
            "numer paszportu",
            "číslo pasu",
            "passaporte",
            "pasnummer",
            "passinumero",
        ],
        // Recognised by the field alone: no text of the corpus has them.
        DataClass::PersonName | DataClass::PostalAddress => &["field"],
    }
}

/// A text of services without personal data.
pub(super) fn noise(random: &mut Random) -> String {
    let hex = |random: &mut Random, count: usize| random.word("0123456789abcdef", count);
    let uuid = |random: &mut Random| [8, 4, 4, 4, 12].map(|count| random.word("0123456789abcdef", count)).join("-");
    let (month, day, hour, minute) = (random.between(1, 12), random.between(1, 28), random.below(24), random.below(60));
    match random.below(13) {
        0 => format!(r#"{{"id":"{}"}}"#, uuid(random)),
        1 => format!(r#"{{"ts":{}}}"#, random.between(1_500_000_000_000, 1_899_999_999_999)),
        2 => format!(r#"{{"at":"2026-{month:02}-{day:02}T{hour:02}:{minute:02}:17.{:03}Z"}}"#, random.below(1000)),
        3 => format!("2026-{month:02}-{day:02} {hour:02}:{minute:02}:59.{:06} INFO started", random.below(1_000_000)),
        4 => format!(r#"{{"sha256":"{}"}}"#, hex(random, 64)),
        5 => format!("traceparent: 00-{}-{}-01", hex(random, 32), hex(random, 16)),
        6 => format!(r#"{{"price":{}.{:02},"currency":"EUR"}}"#, random.below(1_000_000), random.below(100)),
        7 => format!(
            r#"{{"lat":{}.{:06},"lon":-{}.{:06}}}"#,
            random.below(90),
            random.below(1_000_000),
            random.below(180),
            random.below(1_000_000)
        ),
        8 => format!("order ORD-2026-{:06} of {} items", random.below(1_000_000), random.below(1000)),
        9 => format!(
            r#"{{"order":{},"sku":"TG-{}-{}"}}"#,
            random.between(100_000_000, 99_999_999_999),
            random.below(100_000),
            random.word("ABC", 1)
        ),
        10 => format!("etag W/\"{}-{}\" size {}", hex(random, 8), hex(random, 11), random.below(1_000_000_000)),
        // Barcodes of German and Japanese goods.
        11 => format!(r#"{{"ean":"4{:012}"}}"#, random.below(1_000_000_000_000)),
        _ => format!("{:02}.{month:02}.2026 {hour:02}:{minute:02} Uhr, {} 000 km", day, random.between(1, 900)),
    }
}
