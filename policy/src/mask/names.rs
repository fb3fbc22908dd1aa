//! Names that fields with personal data have: as rules give them, and a dictionary per class in the
//! languages of Europe.
//!
//! Names are compared folded: case, accents, `camelCase` and separators do not count. A rule's name
//! is the whole name of a field. A word of the dictionary is the end of one (`customerLastName`,
//! `address_2`); short ones are a word of their own there.

use tidegate_core::words::DataClass;

use super::plan::Slot;
use crate::scan::folded;

/// Words of the dictionary up to this length are only taken as whole words: `dob` is in `adobe`.
const WHOLE_WORD_MAX: usize = 5;

/// The names of a plan.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Folded, without spaces.
    given: Vec<(Box<str>, Slot)>,
    classes: Vec<(DataClass, Slot)>,
}

impl Names {
    pub(super) fn add(&mut self, name: &str, slot: Slot) {
        self.given.push((folded(name).replace(' ', "").into(), slot));
    }

    pub(super) fn add_class(&mut self, class: DataClass, slot: Slot) {
        self.classes.push((class, slot));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.given.is_empty() && self.classes.is_empty()
    }

    /// Which entries mean a field of this name.
    pub(super) fn find(&self, name: &str) -> Slot {
        let words = folded(name);
        let words = words.trim_end_matches(|c: char| c == ' ' || c.is_ascii_digit());
        let whole = folded(name).replace(' ', "");
        let given = self.given.iter().filter(|(given, _)| **given == *whole).map(|(_, slot)| *slot);
        let classes = self.classes.iter().filter(|(class, _)| is_name_of(*class, words)).map(|(_, slot)| *slot);
        given.chain(classes).fold(Slot::NONE, Slot::and)
    }
}

/// Whether the dictionary has names of fields with data of `class`.
#[must_use]
pub fn has_dictionary(class: DataClass) -> bool {
    !dictionary(class).is_empty()
}

/// Whether a field whose folded name, without a number at its end, is `words` has data of `class`.
fn is_name_of(class: DataClass, words: &str) -> bool {
    dictionary(class).iter().any(|entry| ends_with(words, entry))
}

/// Whether `words` ends with the letters of `entry`, which may be spread over words.
fn ends_with(words: &str, entry: &str) -> bool {
    let mut rest = words;
    for letter in entry.chars().rev() {
        rest = rest.trim_end_matches(' ');
        match rest.strip_suffix(letter) {
            Some(before) => rest = before,
            None => return false,
        }
    }
    entry.len() > WHOLE_WORD_MAX || rest.is_empty() || rest.ends_with(' ')
}

/// The dictionary: folded, without spaces. What means something else as often (`name`, `title`,
/// `city`) is left out.
fn dictionary(class: DataClass) -> &'static [&'static str] {
    match class {
        DataClass::PersonName => &[
            // English
            "firstname",
            "lastname",
            "middlename",
            "fullname",
            "surname",
            "givenname",
            "familyname",
            "forename",
            "maidenname",
            "birthname",
            "personname",
            "cardholder",
            "cardholdername",
            "accountholder",
            "accountholdername",
            "holdername",
            "customername",
            "clientname",
            "patientname",
            "employeename",
            "contactname",
            "passengername",
            "guestname",
            "recipientname",
            "beneficiaryname",
            "nameoncard",
            "fname",
            "lname",
            "legalname",
            "nickname",
            "contactperson",
            "realname",
            // German
            "vorname",
            "nachname",
            "familienname",
            "geburtsname",
            "rufname",
            "zuname",
            "kontoinhaber",
            "karteninhaber",
            "kundenname",
            "ansprechpartner",
            "vollername",
            // French
            "prenom",
            "nomdefamille",
            "nomfamille",
            "nomcomplet",
            "nomnaissance",
            "nomdenaissance",
            "nomclient",
            "titulaire",
            "nomusage",
            "nometprenom",
            // Spanish, Portuguese
            "nombrecompleto",
            "apellido",
            "apellidos",
            "primerapellido",
            "segundoapellido",
            "nombrecliente",
            "nombrepila",
            "titularcuenta",
            "sobrenome",
            "apelido",
            "nomecompleto",
            "nomecliente",
            "nomeproprio",
            // Italian
            "cognome",
            "nominativo",
            "intestatario",
            "nomecognome",
            // Dutch
            "voornaam",
            "achternaam",
            "familienaam",
            "volledigenaam",
            "klantnaam",
            "rekeninghouder",
            "roepnaam",
            // Scandinavian, Finnish
            "fornavn",
            "etternavn",
            "efternavn",
            "mellemnavn",
            "fornamn",
            "efternamn",
            "etunimi",
            "sukunimi",
            "kokonimi",
            // Polish, Czech, Slovak, Hungarian, Romanian, Croatian
            "imie",
            "nazwisko",
            "imienazwisko",
            "jmeno",
            "prijmeni",
            "krestnijmeno",
            "meno",
            "priezvisko",
            "keresztnev",
            "vezeteknev",
            "csaladnev",
            "teljesnev",
            "prenume",
            "numedefamilie",
            "ime",
            "prezime",
        ],
        DataClass::PostalAddress => &[
            "address",
            "streetaddress",
            "street",
            "streetname",
            "addressline",
            "postaladdress",
            "homeaddress",
            "mailingaddress",
            "billingaddress",
            "shippingaddress",
            "deliveryaddress",
            "residence",
            "postcode",
            "postalcode",
            "zipcode",
            "zip",
            "housenumber",
            "adresse",
            "anschrift",
            "strasse",
            "straße",
            "strassenname",
            "hausnummer",
            "hausnr",
            "plz",
            "postleitzahl",
            "wohnort",
            "wohnanschrift",
            "lieferadresse",
            "rechnungsadresse",
            "rue",
            "codepostal",
            "adressepostale",
            "voie",
            "numerovoie",
            "domicile",
            "direccion",
            "domicilio",
            "calle",
            "codigopostal",
            "morada",
            "endereco",
            "rua",
            "indirizzo",
            "residenza",
            "codicepostale",
            "cap",
            "adres",
            "straat",
            "straatnaam",
            "huisnummer",
            "woonplaats",
            "woonadres",
            "gate",
            "gateadresse",
            "postnummer",
            "postnr",
            "vej",
            "vejnavn",
            "gata",
            "gatuadress",
            "adress",
            "osoite",
            "katuosoite",
            "postinumero",
            "ulica",
            "kodpocztowy",
            "adreszamieszkania",
            "ulice",
            "adresa",
            "bydliste",
            "psc",
            "utca",
            "lakcim",
            "iranyitoszam",
            "strada",
            "codpostal",
            "postanskibroj",
        ],
        DataClass::DateOfBirth => &[
            "dateofbirth",
            "birthdate",
            "birthday",
            "dob",
            "birthdt",
            "bdate",
            "bornon",
            "dateborn",
            "geburtsdatum",
            "gebdatum",
            "gebdat",
            "geburtstag",
            "datenaissance",
            "datedenaissance",
            "naissance",
            "fechanacimiento",
            "fechadenacimiento",
            "nacimiento",
            "datanascimento",
            "datadenascimento",
            "datadinascita",
            "datanascita",
            "nascita",
            "geboortedatum",
            "gebdat",
            "fodselsdato",
            "fodelsedatum",
            "fodseldato",
            "syntymaaika",
            "syntymapaiva",
            "dataurodzenia",
            "datumnarozeni",
            "datumnarodenia",
            "szuletesidatum",
            "szuletesiido",
            "datanasterii",
            "datumrodjenja",
            "datumrodenja",
        ],
        DataClass::Passport => &[
            "passport",
            "passportnumber",
            "passportno",
            "passportnr",
            "passportid",
            "reisepass",
            "reisepassnummer",
            "passnummer",
            "passnr",
            "passeport",
            "numeropasseport",
            "pasaporte",
            "numeropasaporte",
            "passaporte",
            "passaporto",
            "numeropassaporto",
            "paspoort",
            "paspoortnummer",
            "passinumero",
            "paszport",
            "numerpaszportu",
            "cestovnipas",
            "cislopasu",
            "utlevelszam",
            "pasaport",
            "putovnica",
        ],
        DataClass::Email => &[
            "email",
            "emailaddress",
            "mail",
            "mailaddress",
            "emailadresse",
            "mailadresse",
            "courriel",
            "adressemail",
            "adressemel",
            "correo",
            "correoelectronico",
            "emailadres",
            "epost",
            "epostadresse",
            "epostadress",
            "sahkoposti",
            "postaelettronica",
            "indirizzoemail",
            "enderecoemail",
            "adresemail",
            "eposta",
        ],
        DataClass::Phone => &[
            "phone",
            "phonenumber",
            "telephone",
            "telephonenumber",
            "mobile",
            "mobilenumber",
            "mobilephone",
            "cell",
            "cellphone",
            "msisdn",
            "fax",
            "faxnumber",
            "telno",
            "phoneno",
            "tel",
            "homephone",
            "workphone",
            "telefon",
            "telefonnummer",
            "telefonnr",
            "handy",
            "handynummer",
            "mobilnummer",
            "mobiltelefon",
            "rufnummer",
            "telefax",
            "telefono",
            "telefonemovel",
            "movil",
            "telemovel",
            "telefone",
            "celular",
            "cellulare",
            "portable",
            "numerotelephone",
            "telefoon",
            "telefoonnummer",
            "gsm",
            "mobiel",
            "puhelin",
            "puhelinnumero",
            "numertelefonu",
            "komorka",
            "mobil",
            "telefonszam",
        ],
        DataClass::PaymentCard => &[
            "cardnumber",
            "creditcard",
            "creditcardnumber",
            "cardno",
            "ccnumber",
            "pan",
            "kartennummer",
            "kreditkarte",
            "kreditkartennummer",
            "numerocarte",
            "cartebancaire",
            "numerotarjeta",
            "numerocarta",
            "kaartnummer",
            "numerkarty",
        ],
        DataClass::Iban => &["iban", "ibannumber", "bankaccount", "accountnumber", "kontonummer", "rekeningnummer"],
        DataClass::Ipv4 | DataClass::Ipv6 => {
            &["ipaddress", "ipaddr", "clientip", "remoteip", "remoteaddr", "sourceip", "ip"]
        }
        DataClass::MacAddress => &["macaddress", "macaddr", "mac"],
        DataClass::ApiSecret => &[
            "password",
            "passwd",
            "secret",
            "apikey",
            "accesstoken",
            "refreshtoken",
            "clientsecret",
            "passwort",
            "kennwort",
        ],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(name: &str) -> Vec<&'static str> {
        let words = folded(name);
        let words = words.trim_end_matches(|c: char| c == ' ' || c.is_ascii_digit());
        DataClass::ALL.into_iter().filter(|class| is_name_of(*class, words)).map(DataClass::name).collect()
    }

    #[test]
    fn fields_are_known_by_their_names() {
        for (name, expected) in [
            ("firstName", &["person_name"][..]),
            ("customer_last_name", &["person_name"]),
            ("LASTNAME", &["person_name"]),
            ("Prénom", &["person_name"]),
            ("full-name", &["person_name"]),
            ("Nachname", &["person_name"]),
            ("imię", &["person_name"]),
            ("address_2", &["postal_address"]),
            ("billingAddress", &["postal_address"]),
            ("Straße", &["postal_address"]),
            ("zip", &["postal_address"]),
            ("kundeTelefon", &["phone"]),
            ("courriel", &["email"]),
            ("dateOfBirth", &["date_of_birth"]),
            ("dob", &["date_of_birth"]),
            ("passportNo", &["passport"]),
            ("name", &[]),
            ("filename", &[]),
            ("productName", &[]),
            ("adobe", &[]),
            ("gzip", &[]),
            ("addressed", &[]),
            ("firstNameVerified", &[]),
            ("id", &[]),
            ("", &[]),
            ("time", &[]),
            ("hostname", &[]),
            ("username", &[]),
        ] {
            assert_eq!(classes(name), expected, "{name}");
        }
    }

    #[test]
    fn a_rules_name_is_the_whole_name() {
        let mut names = Names::default();
        names.add("Kunden-Nr", Slot::of(3, false));
        names.add_class(DataClass::Phone, Slot::of(1, false));
        for (name, expected) in
            [("kundenNr", Some(3)), ("kunden_nr", Some(3)), ("kundennr2", None), ("kunde", None), ("telefon", Some(1))]
        {
            assert_eq!(names.find(name).decides(), expected, "{name}");
        }
    }
}
