//! Texts of the part that is held out: letters, tickets, exports and logs, in twelve locales.

use tidegate_core::words::DataClass;

use super::super::random::Random;

/// By locale: what people write around a value that they name (`{w}`).
const NAMED: [[&str; 3]; 12] = [
    ["Anbei {w}: {}. Mit freundlichen Grüßen", "Frau Weiß gab am Telefon {w} {} durch", "{w} lautet {} (bitte prüfen)"],
    ["Ci-joint {w} : {}. Cordialement", "Mme Lefèvre a donné {w} {} au téléphone", "{w} est {} (à vérifier)"],
    ["Hierbij {w}: {}. Met vriendelijke groet", "Mevrouw De Vries gaf {w} {} door", "{w} is {} (graag controleren)"],
    ["W załączeniu {w}: {}. Z poważaniem", "Pani Zielińska podała {w} {} przez telefon", "{w} to {} (do sprawdzenia)"],
    ["In allegato {w}: {}. Cordiali saluti", "La signora ha comunicato {w} {} al telefono", "{w} è {} (da verificare)"],
    ["Adjunto {w}: {}. Un saludo", "La señora García dio {w} {} por teléfono", "{w} es {} (por verificar)"],
    [
        "Em anexo {w}: {}. Com os melhores cumprimentos",
        "A senhora indicou {w} {} ao telefone",
        "{w} é {} (a verificar)",
    ],
    ["Bifogat {w}: {}. Med vänliga hälsningar", "Fru Öberg uppgav {w} {} på telefon", "{w} är {} (kontrollera)"],
    ["Vedlagt {w}: {}. Med venlig hilsen", "Fru Sørensen oplyste {w} {} i telefonen", "{w} er {} (kontrolleres)"],
    [
        "Liitteenä {w}: {}. Ystävällisin terveisin",
        "Rouva Mäkinen antoi puhelimessa {w} {}",
        "{w} on {} (tarkistettava)",
    ],
    ["Enclosed {w}: {}. Kind regards", "Mrs O'Neill gave {w} {} over the phone", "{w} is {} (please check)"],
    ["V příloze {w}: {}. S pozdravem", "Paní Dvořáková uvedla {w} {} po telefonu", "{w} je {} (ověřit)"],
];

/// The same without a name of it.
const UNNAMED: [&str; 12] = [
    "Hallo, hier noch einmal: {}; danke!",
    "Bonjour, voici de nouveau : {} ; merci !",
    "Hallo, hier nogmaals: {}; bedankt!",
    "Dzień dobry, jeszcze raz: {}; dziękuję!",
    "Salve, ecco di nuovo: {}; grazie!",
    "Hola, aquí va de nuevo: {}; ¡gracias!",
    "Olá, aqui vai de novo: {}; obrigado!",
    "Hej, här igen: {}; tack!",
    "Hej, her igen: {}; tak!",
    "Hei, tässä uudestaan: {}; kiitos!",
    "Hello, here it is again: {}; thanks!",
    "Dobrý den, ještě jednou: {}; děkuji!",
];

/// Text before and after a value of `class`.
pub(in super::super) fn around(
    class: DataClass,
    needs_word: bool,
    escaped: bool,
    random: &mut Random,
) -> (String, String) {
    let names = names(class);
    let name = names[random.below(names.len() as u64) as usize];
    let named = needs_word || random.below(2) == 0;
    let code: String = name
        .chars()
        .map(|character| if character.is_alphanumeric() { character } else { '-' })
        .collect::<String>()
        .trim_matches('-')
        .to_owned();
    let key = if named { code.as_str() } else { random.pick(&["content", "k1", "payload_text", "Wert", "valeur"]) };
    let fill = |pattern: &str| {
        let (before, after) = pattern.split_once("{}").unwrap_or((pattern, ""));
        (before.replace("{w}", name), after.to_owned())
    };
    match if escaped { random.below(3) } else { random.below(12) } {
        // Printed over several lines.
        0 => {
            (format!("{{\n  \"seq\": {},\n  \"{key}\": \"", random.below(1000)), "\",\n  \"done\": false\n}".to_owned())
        }
        // In an array, behind another element.
        1 => (format!(r#"{{"kind":"update","{key}":[""#), r#"","n/a"]}"#.to_owned()),
        // JSON in JSON in JSON.
        2 => (format!(r#"{{"envelope":"{{\"body\":\"{{\\\"{key}\\\":\\\""#), r#"\\\"}\"}","v":2}"#.to_owned()),
        3 => (format!("ts=12:01:07 lvl=warn {key}=\""), "\" caller=main.go:42".to_owned()),
        4 => (format!("<record {key}=\""), "\" state=\"open\"/>".to_owned()),
        5 => (format!("---\nowner: team-a\n{key}: "), "\nretries: 3\n".to_owned()),
        6 => (format!("https://crm.example/update?id=17&{key}="), "&lang=en".to_owned()),
        7 => (format!("{{'{key}': '"), "', 'active': True}".to_owned()),
        8 if named => (format!("| {name} | "), " | 2 |".to_owned()),
        9 if named => (format!("**{name}:** "), "\n\n*sent from my phone*".to_owned()),
        _ => {
            let locale = random.below(12) as usize;
            if named { fill(NAMED[locale][random.below(3) as usize]) } else { fill(UNNAMED[locale]) }
        }
    }
}

/// How forms, tables and interfaces name a value of `class`.
fn names(class: DataClass) -> &'static [&'static str] {
    match class {
        DataClass::FrNir => &[
            "n° de sécurité sociale",
            "numéro d'immatriculation à la sécurité sociale",
            "numSecuriteSociale",
            "NIR de l'assuré",
            "N° SS",
        ],
        DataClass::NlBsn => {
            &["burgerservicenummer (BSN)", "BSN van de klant", "bsn_nummer", "sofi-nummer", "citizen service number"]
        }
        DataClass::PlPesel => &["numer PESEL", "nr PESEL pacjenta", "PESEL_NR", "pesel", "numer ewidencyjny PESEL"],
        DataClass::ItCodiceFiscale => {
            &["codice fiscale", "C.F.", "cod_fiscale", "CF del cliente", "Codice fiscale intestatario"]
        }
        DataClass::EsNif => &["D.N.I.", "NIF/NIE", "número de DNI", "documento nacional de identidad", "dni_titular"],
        DataClass::DeSteuerId => &[
            "Steuer-Identifikationsnummer",
            "steuerliche Identifikationsnummer",
            "Steuer-IdNr.",
            "steuer_id",
            "IdNr.",
            "Steuer-ID des Kindes",
        ],
        DataClass::UkNhs => &["NHS number", "NHS No.", "nhs-number", "patient's NHS number", "NHSNumber"],
        DataClass::BeNationalNumber => &[
            "rijksregisternummer",
            "numéro de registre national",
            "INSZ-nummer",
            "Nr. national",
            "niss",
            "registre_national",
        ],
        DataClass::SePersonnummer => &[
            "personnummer",
            "pers.nr",
            "Personnr.",
            "personal identity number",
            "personnummer_kund",
            "samordningsnummer",
        ],
        DataClass::FiHetu => &["henkilötunnus", "hetu", "personbeteckning", "HETU-tunnus", "asiakkaan henkilötunnus"],
        DataClass::DkCpr => &["CPR-nummer", "cpr.nr.", "cprNumber", "personnummer (CPR)", "CPR-nr."],
        DataClass::NoFodselsnummer => {
            &["fødselsnummer", "fødselsnr.", "personnummer", "foedselsnummer", "fnr_kunde", "national identity number"]
        }
        DataClass::PtNif => {
            &["NIF", "n.º de contribuinte", "número de identificação fiscal", "contribuinte_nr", "N.I.F."]
        }
        DataClass::AtSvnr => &["Sozialversicherungsnummer", "SV-Nr.", "SVNr", "Versicherungsnr.", "sv_nummer"],
        DataClass::EuVat => &[
            "USt-IdNr.",
            "n° TVA intracommunautaire",
            "Partita IVA",
            "BTW-nummer",
            "VAT No.",
            "NIP UE",
            "vat_reg_no",
            "CIF intracomunitario",
        ],
        DataClass::UsSsn => &["Social Security Number", "SSN", "social_security_no", "soc. sec. no.", "SS#"],
        DataClass::UkNino => &["National Insurance number", "NI no.", "NINO", "nat_insurance_number", "NI-number"],
        DataClass::HrOib => &["OIB", "osobni identifikacijski broj", "OIB klijenta", "oib_broj"],
        DataClass::ChAhv => {
            &["AHV-Nummer", "AHV-Nr.", "numéro AVS", "numero AVS", "ahv_nr", "Sozialversicherungsnummer"]
        }
        DataClass::CzRodneCislo => &["rodné číslo", "rodné č.", "RČ", "rodne_cislo", "r. č."],
        DataClass::RoCnp => &["CNP", "cod numeric personal", "C.N.P.", "cnp_titular"],
        DataClass::BgEgn => &["ЕГН", "единен граждански номер", "EGN", "egn_klient"],
        DataClass::Email => &["E-Mail-Adresse", "mél", "reply-to", "correo", "sähköposti"],
        DataClass::Phone => &[
            "Rückruf",
            "tél. portable",
            "mobiel",
            "komórka",
            "GSM",
            "Tel.-Nr.",
            "Handynr.",
            "téléphone fixe",
            "tfn",
            "tlf",
            "puh.",
            "mob.",
            "cellulare",
            "telemóvel",
            "landline",
        ],
        DataClass::PaymentCard => &["Kreditkarte", "n° de carte", "PAN", "numer karty"],
        DataClass::Iban => &["Bankverbindung", "compte", "rekening", "numer konta"],
        DataClass::Ipv4 | DataClass::Ipv6 => &["peer", "X-Forwarded-For", "source address"],
        DataClass::MacAddress => &["hwaddr", "NIC", "ether"],
        DataClass::ApiSecret => &["credentials", "apikey", "Schlüssel"],
        DataClass::Jwt => &["id_token", "Bearer", "session"],
        DataClass::BtcAddress => &["payout", "Bitcoin", "donate"],
        DataClass::CryptoAddress => &["recipient wallet", "ETH", "Zieladresse"],
        DataClass::EeIsikukood => &["isikukood", "Eesti isikukood", "kliendi isikukood"],
        DataClass::LtAsmensKodas => &["asmens kodas", "asmens kodas (A.K.)", "kliento asmens kodas"],
        DataClass::LvPersonasKods => &["personas kods", "klienta personas kods", "personas kods (p.k.)"],
        DataClass::SiEmso => &["EMŠO", "JMBG", "matična številka", "matični broj građana"],
        DataClass::HuTaj => &["TAJ-szám", "TAJ szám", "társadalombiztosítási azonosító jel"],
        DataClass::GrAmka => &["Α.Μ.Κ.Α.", "AMKA", "αριθμός ΑΜΚΑ"],
        DataClass::IePpsn => &["PPS No.", "PPSN", "Personal Public Service Number"],
        DataClass::IsKennitala => &["kennitala", "kt.", "kennitala viðskiptavinar"],
        DataClass::LuMatricule => &["numéro d'identification national (matricule)", "matricule", "Matrikel-Nr."],
        DataClass::UaRnokpp => &["РНОКПП", "ІПН", "реєстраційний номер облікової картки платника податків"],
        DataClass::TrKimlik => &["TC Kimlik No", "T.C. kimlik numarası", "TCKN"],
        DataClass::DateOfBirth => &[
            "Geb.-Datum",
            "Geburtstag",
            "born on",
            "D.O.B.",
            "birth date",
            "naissance",
            "née le",
            "F. nacimiento",
            "nata il",
            "nascida em",
            "geb. datum",
            "urodzona",
            "ur.",
            "narozen",
            "fødd",
            "født",
            "född",
            "synt. aika",
            "date of birth (child)",
        ],
        DataClass::Passport => &[
            "passport number",
            "Reisepass-Nr.",
            "n° de passeport",
            "número de pasaporte",
            "n. passaporto",
            "paspoort nr.",
            "nr paszportu",
            "č. pasu",
            "passnr",
            "pas nr.",
            "passin numero",
            "travel document no.",
        ],
        _ => &["field"],
    }
}

/// A text of services without personal data.
pub(in super::super) fn noise(random: &mut Random) -> String {
    let hex = |random: &mut Random, count: usize| random.word("0123456789abcdef", count);
    let digits = |random: &mut Random, count: usize| random.word("0123456789", count);
    let uuid = |random: &mut Random| [8, 4, 4, 4, 12].map(|count| random.word("0123456789ABCDEF", count)).join("-");
    let (month, day, hour, minute) = (random.between(1, 12), random.between(1, 28), random.below(24), random.below(60));
    match random.below(24) {
        0 => format!("urn:uuid:{}", uuid(random)),
        1 => format!("{{{}}}", uuid(random)),
        2 => format!(r#"{{"id":"{}","parent":null}}"#, uuid(random).replace('-', "")),
        3 => format!(
            r#"{{"time":{}.{:03},"took_us":{}}}"#,
            random.between(1_500_000_000, 1_900_000_000),
            random.below(1000),
            random.below(1_000_000)
        ),
        4 => format!(r#"{{"nanos":{}}}"#, random.between(1_500_000_000_000_000_000, 1_900_000_000_000_000_000)),
        5 => format!(
            "{day:02}/{month:02}/2026 {hour:02}:{minute:02}:05 +0200 GET /a/{} 200 {}",
            random.below(100_000),
            random.below(10_000_000)
        ),
        6 => format!("commit {}\nAuthor: build bot\nDate: 2026-{month:02}-{day:02}", hex(random, 40)),
        7 => format!("sha1={} md5={}", hex(random, 40), hex(random, 32)),
        8 => format!(r#"{{"x-b3-traceid":"{}","x-b3-spanid":"{}"}}"#, hex(random, 32), hex(random, 16)),
        9 => format!(
            "Summe: {}.{:03}.{:03},{:02} EUR",
            random.between(1, 999),
            random.below(1000),
            random.below(1000),
            random.below(100)
        ),
        10 => format!(
            "total {},{:03},{:03}.{:02} USD; {} %",
            random.between(1, 99),
            random.below(1000),
            random.below(1000),
            random.below(100),
            random.below(100)
        ),
        11 => format!(
            "POINT({}.{:07} {}.{:07})",
            random.below(180),
            random.below(10_000_000),
            random.below(90),
            random.below(10_000_000)
        ),
        12 => format!(
            "{}°{:02}'{:02}.{:02}\"N {}°{:02}'{:02}.{:02}\"E",
            random.below(90),
            random.below(60),
            random.below(60),
            random.below(100),
            random.below(180),
            random.below(60),
            random.below(60),
            random.below(100)
        ),
        13 => format!(r#"{{"orderNumber":"{}"}}"#, {
            let count = random.between(6, 12) as usize;
            digits(random, count)
        }),
        14 => format!("key-4711-{}-{}", digits(random, 4), digits(random, 4)),
        15 => format!("key-{}-{}", digits(random, 4), digits(random, 6)),
        16 => format!("INV/2026/{}/{:05}", random.below(100), random.below(100_000)),
        17 => format!(
            r#"{{"offset":{},"partition":{},"lag":{}}}"#,
            random.below(10_000_000_000),
            random.below(64),
            random.below(100_000)
        ),
        18 => format!(
            "pod checkout-{}-{} restarted {} times",
            random.word("bcdfghjklmnpqrstvwxz2456789", 10),
            random.word("bcdfghjklmnpqrstvwxz2456789", 5),
            random.below(20)
        ),
        19 => format!(
            r#"{{"ulid":"01{}","rev":"{}-{}"}}"#,
            random.word("0123456789ABCDEFGHJKMNPQRSTVWXYZ", 24),
            random.below(100),
            hex(random, 32)
        ),
        20 => format!(
            "v{}.{}.{}+{}.{}",
            random.below(20),
            random.below(20),
            random.below(100),
            random.between(20_200_101, 20_261_231),
            hex(random, 7)
        ),
        21 => format!(
            "lot {}-{}-{} best before {day:02}.{month:02}.2027",
            random.word("ABCDEFGH", 2),
            digits(random, 5),
            digits(random, 3)
        ),
        22 => format!(
            "{} rows in {}.{:03} s, {} bytes",
            random.below(10_000_000),
            random.below(100),
            random.below(1000),
            random.below(100_000_000_000)
        ),
        _ => format!(
            "session {} user-agent Chrome/{}.0.{}.{} Safari/537.36",
            random.word("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", 22),
            random.between(90, 140),
            random.below(9000),
            random.below(300)
        ),
    }
}
