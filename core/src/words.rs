//! The words of the domain, used under these names everywhere in code and documents.
//!
//! Names of operations and resource types are Kafka's (`AclOperation`, `ResourceType`), so that a
//! grant reads like the ACL it replaces.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A point in time: microseconds since 1970-01-01T00:00:00Z. `core` and `policy` never read a
/// clock; whoever calls them passes the time in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The far future: an end that never comes.
    pub const MAX: Self = Self(i64::MAX);

    /// From whole seconds since the epoch, as in a token's `exp`.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Milliseconds from `earlier` to `self`, at least 0.
    #[must_use]
    pub const fn millis_since(self, earlier: Self) -> i64 {
        let micros = self.0.saturating_sub(earlier.0);
        if micros < 0 { 0 } else { micros / 1000 }
    }

    /// This time and `millis` more.
    #[must_use]
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis.saturating_mul(1000)))
    }
}

/// Who: an identity as its issuer vouches for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Principal {
    /// The issuer (OIDC `iss`, or `tls` for a client certificate).
    pub issuer: Arc<str>,
    /// The subject at that issuer (OIDC `sub`, or the certificate's subject).
    pub subject: Arc<str>,
    /// The name that policy and evidence use; by default the subject.
    pub name: Arc<str>,
    /// Group names, as the issuer's claim gives them.
    pub groups: Vec<Arc<str>>,
}

impl Principal {
    /// The principal of a connection that has not (or cannot) authenticate.
    #[must_use]
    pub fn anonymous() -> Self {
        let none: Arc<str> = Arc::from("");
        Self { issuer: none.clone(), subject: none, name: Arc::from("ANONYMOUS"), groups: Vec::new() }
    }
}

/// One authenticated principal on one connection. A UUIDv7: sortable by start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub uuid::Uuid);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is done to a resource: Kafka's `AclOperation` without `ANY` and `UNKNOWN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Operation {
    /// Fetch records, join a group, commit an offset.
    Read = 0,
    /// Produce records, use a transactional id.
    Write = 1,
    /// Create topics.
    Create = 2,
    /// Delete topics, records or groups.
    Delete = 3,
    /// Change a topic's partitions, ACLs, quotas, reassignments.
    Alter = 4,
    /// See that a resource exists and its metadata.
    Describe = 5,
    /// Broker to broker.
    ClusterAction = 6,
    /// Read configurations.
    DescribeConfigs = 7,
    /// Change configurations.
    AlterConfigs = 8,
    /// Produce idempotently (implied by `write` on any topic, as on a broker).
    IdempotentWrite = 9,
    /// Create delegation tokens for another user.
    CreateTokens = 10,
    /// Describe delegation tokens of another user.
    DescribeTokens = 11,
    /// Prepare a two-phase commit of a transaction (KIP-939).
    TwoPhaseCommit = 12,
}

impl Operation {
    /// Every operation, in order.
    pub const ALL: [Self; 13] = [
        Self::Read,
        Self::Write,
        Self::Create,
        Self::Delete,
        Self::Alter,
        Self::Describe,
        Self::ClusterAction,
        Self::DescribeConfigs,
        Self::AlterConfigs,
        Self::IdempotentWrite,
        Self::CreateTokens,
        Self::DescribeTokens,
        Self::TwoPhaseCommit,
    ];

    /// The name in policy files and evidence.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Alter => "alter",
            Self::Describe => "describe",
            Self::ClusterAction => "cluster_action",
            Self::DescribeConfigs => "describe_configs",
            Self::AlterConfigs => "alter_configs",
            Self::IdempotentWrite => "idempotent_write",
            Self::CreateTokens => "create_tokens",
            Self::DescribeTokens => "describe_tokens",
            Self::TwoPhaseCommit => "two_phase_commit",
        }
    }

    /// Whether a grant of `self` also grants `other`, as Kafka's authorizer has it: read, write,
    /// delete and alter imply describe; alter_configs implies describe_configs.
    #[must_use]
    pub const fn implies(self, other: Self) -> bool {
        self as u8 == other as u8
            || matches!(
                (self, other),
                (Self::Read | Self::Write | Self::Delete | Self::Alter, Self::Describe)
                    | (Self::AlterConfigs, Self::DescribeConfigs)
            )
    }
}

/// A resource that an operation is about, borrowed from the request that names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resource<'a> {
    /// A topic, or one partition of it where the request names one.
    Topic {
        /// The topic's name.
        name: &'a str,
        /// The partition, where the request names one.
        partition: Option<i32>,
    },
    /// A consumer, classic, share or streams group.
    Group(&'a str),
    /// A transactional id.
    TransactionalId(&'a str),
    /// The cluster as a whole.
    Cluster,
    /// A delegation token, by id.
    DelegationToken(&'a str),
    /// A user, as `User:name` (delegation tokens and SCRAM credentials of others).
    User(&'a str),
}

impl<'a> Resource<'a> {
    /// A topic as a whole.
    #[must_use]
    pub const fn topic(name: &'a str) -> Self {
        Self::Topic { name, partition: None }
    }

    /// One partition of a topic.
    #[must_use]
    pub const fn partition(name: &'a str, partition: i32) -> Self {
        Self::Topic { name, partition: Some(partition) }
    }

    /// The resource type's name, as in policy files and evidence.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Topic { .. } => "topic",
            Self::Group(_) => "group",
            Self::TransactionalId(_) => "transactional_id",
            Self::Cluster => "cluster",
            Self::DelegationToken(_) => "delegation_token",
            Self::User(_) => "user",
        }
    }

    /// The resource's name; `kafka-cluster` for the cluster, as in Kafka's ACLs.
    #[must_use]
    pub const fn name(&self) -> &'a str {
        match self {
            Self::Topic { name, .. } => name,
            Self::Group(n) | Self::TransactionalId(n) | Self::DelegationToken(n) | Self::User(n) => n,
            Self::Cluster => "kafka-cluster",
        }
    }
}

/// Which way records travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From a client to the upstream.
    Produce,
    /// From the upstream to a client.
    Fetch,
}

/// A class of personal data that the scanner finds. Numbers are stable: new classes go to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum DataClass {
    /// An e-mail address.
    Email = 0,
    /// A telephone number in international form (E.164).
    Phone = 1,
    /// A payment card number (ISO/IEC 7812, Luhn).
    PaymentCard = 2,
    /// An international bank account number (ISO 13616, mod 97).
    Iban = 3,
    /// An IPv4 address.
    Ipv4 = 4,
    /// An IPv6 address.
    Ipv6 = 5,
    /// A MAC address (EUI-48).
    MacAddress = 6,
    /// France: numéro d'inscription au répertoire, the social security number.
    FrNir = 7,
    /// The Netherlands: burgerservicenummer.
    NlBsn = 8,
    /// Poland: PESEL.
    PlPesel = 9,
    /// Italy: codice fiscale.
    ItCodiceFiscale = 10,
    /// Spain: NIF (DNI) of citizens and NIE of foreigners.
    EsNif = 11,
    /// Germany: steuerliche Identifikationsnummer.
    DeSteuerId = 12,
    /// United Kingdom: NHS number.
    UkNhs = 13,
    /// Belgium: national register number, BIS numbers included.
    BeNationalNumber = 14,
    /// Sweden: personnummer, coordination numbers included.
    SePersonnummer = 15,
    /// Finland: henkilötunnus.
    FiHetu = 16,
    /// Denmark: CPR number.
    DkCpr = 17,
    /// Norway: fødselsnummer, D-numbers included.
    NoFodselsnummer = 18,
    /// Portugal: número de identificação fiscal.
    PtNif = 19,
    /// Austria: Sozialversicherungsnummer.
    AtSvnr = 20,
    /// A VAT number of an EU member state, with its country's prefix.
    EuVat = 21,
    /// United States: social security number.
    UsSsn = 22,
    /// United Kingdom: National Insurance number.
    UkNino = 23,
    /// A Bitcoin address (base58check, bech32, bech32m).
    BtcAddress = 24,
    /// A secret of a well-known service's API, or a private key.
    ApiSecret = 25,
    /// A JSON Web Token (RFC 7519).
    Jwt = 26,
    /// Croatia: osobni identifikacijski broj.
    HrOib = 27,
    /// Switzerland: AHV number.
    ChAhv = 28,
    /// Czechia and Slovakia: rodné číslo.
    CzRodneCislo = 29,
    /// Romania: cod numeric personal.
    RoCnp = 30,
    /// Bulgaria: edinen grazhdanski nomer.
    BgEgn = 31,
    /// A person's name. Found by field only: its path, or a name of the field that says so.
    PersonName = 32,
    /// A postal address or a part of it. Found by field only.
    PostalAddress = 33,
    /// A date of birth: by the name of its field, or in digits behind a word that says so.
    DateOfBirth = 34,
    /// A passport's or identity card's number: by the name of its field, behind a word that says so, or
    /// its machine-readable zone (ICAO 9303).
    Passport = 35,
    /// An address of another cryptocurrency than Bitcoin, told by its check (Base58Check, Bech32, EIP-55).
    CryptoAddress = 36,
    /// Estonia: isikukood.
    EeIsikukood = 37,
    /// Lithuania: asmens kodas.
    LtAsmensKodas = 38,
    /// Latvia: personas kods.
    LvPersonasKods = 39,
    /// Slovenia and its neighbours: enotna matična številka občana (EMŠO, JMBG).
    SiEmso = 40,
    /// Hungary: társadalombiztosítási azonosító jel.
    HuTaj = 41,
    /// Greece: arithmós mitróou koinonikís asfálisis.
    GrAmka = 42,
    /// Ireland: Personal Public Service Number.
    IePpsn = 43,
    /// Iceland: kennitala.
    IsKennitala = 44,
    /// Luxembourg: matricule, the national identification number.
    LuMatricule = 45,
    /// Ukraine: registration number of the taxpayer's account card.
    UaRnokpp = 46,
    /// Türkiye: kimlik numarası.
    TrKimlik = 47,
}

impl DataClass {
    /// Every class, in order of its number.
    pub const ALL: [Self; 48] = [
        Self::Email,
        Self::Phone,
        Self::PaymentCard,
        Self::Iban,
        Self::Ipv4,
        Self::Ipv6,
        Self::MacAddress,
        Self::FrNir,
        Self::NlBsn,
        Self::PlPesel,
        Self::ItCodiceFiscale,
        Self::EsNif,
        Self::DeSteuerId,
        Self::UkNhs,
        Self::BeNationalNumber,
        Self::SePersonnummer,
        Self::FiHetu,
        Self::DkCpr,
        Self::NoFodselsnummer,
        Self::PtNif,
        Self::AtSvnr,
        Self::EuVat,
        Self::UsSsn,
        Self::UkNino,
        Self::BtcAddress,
        Self::ApiSecret,
        Self::Jwt,
        Self::HrOib,
        Self::ChAhv,
        Self::CzRodneCislo,
        Self::RoCnp,
        Self::BgEgn,
        Self::PersonName,
        Self::PostalAddress,
        Self::DateOfBirth,
        Self::Passport,
        Self::CryptoAddress,
        Self::EeIsikukood,
        Self::LtAsmensKodas,
        Self::LvPersonasKods,
        Self::SiEmso,
        Self::HuTaj,
        Self::GrAmka,
        Self::IePpsn,
        Self::IsKennitala,
        Self::LuMatricule,
        Self::UaRnokpp,
        Self::TrKimlik,
    ];

    /// Whether data of this class is recognised by the field it stands in alone, never by itself.
    #[must_use]
    pub const fn is_by_field(self) -> bool {
        matches!(self, Self::PersonName | Self::PostalAddress)
    }

    /// Whether a rule about this class means fields too whose names say that they hold it, whatever they
    /// hold: nothing or little of it can be recognised by itself.
    #[must_use]
    pub const fn has_fields(self) -> bool {
        matches!(self, Self::PersonName | Self::PostalAddress | Self::DateOfBirth | Self::Passport)
    }

    /// The name in policy files and evidence.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::PaymentCard => "payment_card",
            Self::Iban => "iban",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::MacAddress => "mac_address",
            Self::FrNir => "fr_nir",
            Self::NlBsn => "nl_bsn",
            Self::PlPesel => "pl_pesel",
            Self::ItCodiceFiscale => "it_codice_fiscale",
            Self::EsNif => "es_nif",
            Self::DeSteuerId => "de_steuer_id",
            Self::UkNhs => "uk_nhs",
            Self::BeNationalNumber => "be_national_number",
            Self::SePersonnummer => "se_personnummer",
            Self::FiHetu => "fi_hetu",
            Self::DkCpr => "dk_cpr",
            Self::NoFodselsnummer => "no_fodselsnummer",
            Self::PtNif => "pt_nif",
            Self::AtSvnr => "at_svnr",
            Self::EuVat => "eu_vat",
            Self::UsSsn => "us_ssn",
            Self::UkNino => "uk_nino",
            Self::BtcAddress => "btc_address",
            Self::ApiSecret => "api_secret",
            Self::Jwt => "jwt",
            Self::HrOib => "hr_oib",
            Self::ChAhv => "ch_ahv",
            Self::CzRodneCislo => "cz_rodne_cislo",
            Self::RoCnp => "ro_cnp",
            Self::BgEgn => "bg_egn",
            Self::PersonName => "person_name",
            Self::PostalAddress => "postal_address",
            Self::DateOfBirth => "date_of_birth",
            Self::Passport => "passport",
            Self::CryptoAddress => "crypto_address",
            Self::EeIsikukood => "ee_isikukood",
            Self::LtAsmensKodas => "lt_asmens_kodas",
            Self::LvPersonasKods => "lv_personas_kods",
            Self::SiEmso => "si_emso",
            Self::HuTaj => "hu_taj",
            Self::GrAmka => "gr_amka",
            Self::IePpsn => "ie_ppsn",
            Self::IsKennitala => "is_kennitala",
            Self::LuMatricule => "lu_matricule",
            Self::UaRnokpp => "ua_rnokpp",
            Self::TrKimlik => "tr_kimlik",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_have_stable_numbers_and_the_names_that_serde_reads() {
        for (number, class) in DataClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, number);
            assert_eq!(serde_json::to_value(class).unwrap(), class.name());
        }
    }
}
