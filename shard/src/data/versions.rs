//! Versions: what the upstream offers, cut to what Tidegate enforces, told to a client (KIP-35, KIP-511).
//!
//! A proxy without this intersection breaks at every Kafka release, or relays what it does not understand. What is not
//! in the table of `tidegate_core::api` is not advertised; what is answered by the gateway itself (versions, SASL) is
//! advertised as the gateway has it, whatever the upstream offers.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::{StrBytes, VersionRange};
use tidegate_core::api::{self, Handling};
use tidegate_core::decode::{self, decode_request};

use super::stage::Request;

/// The highest version of ApiVersions that is spoken, towards clients and the upstream.
pub const API_VERSIONS_MAX: i16 = 4;

/// Features of the cluster that a client behind the gateway may act on. `transaction.version` decides how clients
/// bring partitions into a transaction (KIP-890); the others are told for information. A feature that is not named
/// here could switch on a protocol that is not enforced.
const FEATURES: [&str; 6] = [
    "metadata.version",
    "transaction.version",
    "group.version",
    "share.version",
    "eligible.leader.replicas.version",
    "kraft.version",
];

/// APIs in one answer. Kafka has under a hundred.
const APIS_MAX: u32 = 1000;
/// Features in one answer. Kafka has under ten.
const FEATURES_MAX: u32 = 1000;

/// A feature with its lowest and highest version, or its finalized levels.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Feature {
    name: Arc<str>,
    min: i16,
    max: i16,
}

/// What a broker offers: a version range per API, and the cluster's features.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpstreamVersions {
    ranges: BTreeMap<i16, (i16, i16)>,
    supported: Vec<Feature>,
    finalized: Vec<Feature>,
    /// -1 where it is not known; then finalized features mean nothing.
    finalized_epoch: i64,
}

/// An ApiVersions answer that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionsError {
    /// The broker does not speak the version that it was asked in; the highest that it names, if it names one.
    #[error("the broker does not speak this version of ApiVersions")]
    Unsupported {
        /// The highest version of ApiVersions that the broker speaks, by its own answer.
        highest: Option<i16>,
    },
    /// Another error code.
    #[error("the broker answers ApiVersions with error {0}")]
    Refused(i16),
    /// Not an ApiVersions response.
    #[error("the broker's ApiVersions response is malformed")]
    Malformed,
}

impl UpstreamVersions {
    /// From ranges that are known from elsewhere; no features.
    #[must_use]
    pub fn from_ranges(ranges: BTreeMap<i16, (i16, i16)>) -> Self {
        Self { ranges, supported: Vec::new(), finalized: Vec::new(), finalized_epoch: -1 }
    }

    /// Reads the body of an ApiVersions response to a request of `version`.
    ///
    /// # Errors
    /// [`VersionsError::Unsupported`] says how to ask again (KIP-511: such an answer has the layout of v0).
    pub fn parse(body: &[u8], version: i16) -> Result<Self, VersionsError> {
        let code = body.first_chunk::<2>().map(|code| i16::from_be_bytes(*code)).ok_or(VersionsError::Malformed)?;
        if code == ResponseError::UnsupportedVersion.code() {
            let highest = Reader(body).versions(0).and_then(|v| v.ranges.get(&(ApiKey::ApiVersions as i16)).copied());
            return Err(VersionsError::Unsupported { highest: highest.map(|(_, max)| max) });
        }
        if code != 0 {
            return Err(VersionsError::Refused(code));
        }
        Reader(body).versions(version).ok_or(VersionsError::Malformed)
    }

    /// The version range per API key, as the broker gave it.
    #[must_use]
    pub fn ranges(&self) -> &BTreeMap<i16, (i16, i16)> {
        &self.ranges
    }

    /// What this broker and another both offer. Features are those of `self`: they are the cluster's.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        let mut common = self.clone();
        common.ranges = self
            .ranges
            .iter()
            .filter_map(|(key, (min, max))| {
                let (other_min, other_max) = other.ranges.get(key)?;
                let range = (*min.max(other_min), *max.min(other_max));
                (range.0 <= range.1).then_some((*key, range))
            })
            .collect();
        common
    }

    /// The versions of `api` that a client may use: the gateway's own, or what upstream and table have in common.
    #[must_use]
    pub fn intersect(&self, api: ApiKey) -> Option<VersionRange> {
        let enforced = api::enforced(api)?;
        if api::handling(api) == Some(Handling::Local) {
            return Some(enforced);
        }
        let (min, max) = *self.ranges.get(&(api as i16))?;
        let range = VersionRange { min: min.max(enforced.min), max: max.min(enforced.max) };
        (range.min <= range.max).then_some(range)
    }

    /// Whether a client may use this version of `api`.
    #[must_use]
    pub fn allows(&self, api: ApiKey, version: i16) -> bool {
        self.intersect(api).is_some_and(|range| (range.min..=range.max).contains(&version))
    }

    /// The highest version of `api`, up to `max`, that the upstream speaks: for requests of the gateway itself.
    #[must_use]
    pub fn negotiate(&self, api: ApiKey, max: i16) -> Option<i16> {
        let own = api.valid_versions();
        let (upstream_min, upstream_max) = *self.ranges.get(&(api as i16))?;
        let version = upstream_max.min(own.max).min(max);
        (version >= upstream_min.max(own.min)).then_some(version)
    }

    /// Answers a client's ApiVersions request: the body, in the layout that the client can read.
    #[must_use]
    pub fn answer(&self, request: &Request) -> Answer {
        let version = request.version();
        if !(0..=API_VERSIONS_MAX).contains(&version) {
            // The client knows nothing of our layouts, so it gets the oldest, and the range to choose from (KIP-511).
            let own = api_version(ApiKey::ApiVersions, VersionRange { min: 0, max: API_VERSIONS_MAX });
            return Answer::refused(ResponseError::UnsupportedVersion, vec![own], 0);
        }
        let body = request.body();
        match decode_request::<ApiVersionsRequest>(&body, version, body.len()) {
            Ok(body) if version < 3 || has_valid_software(&body) => {
                let client = (version >= 3)
                    .then(|| format!("{} {}", &*body.client_software_name, &*body.client_software_version));
                Answer { body: encode(&self.response(version), version), client_software: client, error: None }
            }
            _ => Answer::refused(ResponseError::InvalidRequest, Vec::new(), version),
        }
    }

    fn response(&self, version: i16) -> ApiVersionsResponse {
        let mut response = ApiVersionsResponse::default().with_api_keys(self.advertised());
        if version < 3 {
            return response;
        }
        response.supported_features = self
            .supported
            .iter()
            // Clients of v3 and before refuse the whole answer where a feature begins at 0.
            .filter(|feature| FEATURES.contains(&&*feature.name) && (version > 3 || feature.min > 0))
            .map(|feature| {
                SupportedFeatureKey::default()
                    .with_name(StrBytes::from_string(feature.name.to_string()))
                    .with_min_version(feature.min)
                    .with_max_version(feature.max)
            })
            .collect();
        if self.finalized_epoch >= 0 {
            response.finalized_features_epoch = self.finalized_epoch;
            response.finalized_features = self
                .finalized
                .iter()
                .filter(|feature| FEATURES.contains(&&*feature.name))
                .map(|feature| {
                    FinalizedFeatureKey::default()
                        .with_name(StrBytes::from_string(feature.name.to_string()))
                        .with_min_version_level(feature.min)
                        .with_max_version_level(feature.max)
                })
                .collect();
        }
        response
    }

    fn advertised(&self) -> Vec<ApiVersion> {
        ApiKey::iter().filter_map(|api| self.intersect(api).map(|range| api_version(api, floor(api, range)))).collect()
    }
}

/// The range as advertised. librdkafka takes a broker that lacks Produce v0 or SaslHandshake v0 for one that cannot
/// produce records or do SASL at all (KAFKA-18659), and never uses those versions with a broker that has newer ones.
fn floor(api: ApiKey, range: VersionRange) -> VersionRange {
    match api {
        ApiKey::Produce | ApiKey::SaslHandshake => VersionRange { min: 0, max: range.max },
        _ => range,
    }
}

/// The gateway's answer to a client's ApiVersions request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The response body. (The response header is v0 for every version.)
    pub body: Bytes,
    /// The client library's name and version, where the client says them (v3 and later).
    pub client_software: Option<String>,
    /// The error that the body holds. The connection stays open, as a broker's does: the client asks again.
    pub error: Option<ResponseError>,
}

impl Answer {
    fn refused(error: ResponseError, api_keys: Vec<ApiVersion>, version: i16) -> Self {
        let response = ApiVersionsResponse::default().with_error_code(error.code()).with_api_keys(api_keys);
        Self { body: encode(&response, version), client_software: None, error: Some(error) }
    }
}

/// The body that refuses an ApiVersions request that comes at the wrong time.
pub(super) fn refusal(error: ResponseError, version: i16) -> Bytes {
    let version = if (0..=API_VERSIONS_MAX).contains(&version) { version } else { 0 };
    Answer::refused(error, Vec::new(), version).body
}

fn api_version(api: ApiKey, range: VersionRange) -> ApiVersion {
    ApiVersion::default().with_api_key(api as i16).with_min_version(range.min).with_max_version(range.max)
}

fn encode(response: &ApiVersionsResponse, version: i16) -> Bytes {
    // It cannot fail: the version is in range and every string is a feature's name, which came from a short frame.
    decode::encode(response, version).unwrap_or_default()
}

/// Kafka's rule for software names (KIP-511): letters, digits, `-` and `.`, beginning and ending with neither sign.
fn has_valid_software(request: &ApiVersionsRequest) -> bool {
    let valid = |text: &str| {
        let bytes = text.as_bytes();
        let plain = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        plain(bytes.first())
            && plain(bytes.last())
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
    };
    valid(&request.client_software_name) && valid(&request.client_software_version)
}

/// Reads an upstream's answer. `kafka-protocol`'s decoder reserves memory by the count that the peer names, before it
/// sees that the bytes are missing; whatever answers on the upstream's port must not be able to do that.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn versions(mut self, version: i16) -> Option<UpstreamVersions> {
        self.i16()?;
        let flexible = version >= 3;
        let mut found = UpstreamVersions::from_ranges(BTreeMap::new());
        for _ in 0..self.count(flexible, APIS_MAX)? {
            let key = self.i16()?;
            let range = (self.i16()?, self.i16()?);
            found.ranges.insert(key, range);
            if flexible {
                self.skip_tagged_fields()?;
            }
        }
        if version >= 1 {
            self.take(4)?;
        }
        if flexible {
            for _ in 0..self.varint()? {
                let tag = self.varint()?;
                let size = self.varint()? as usize;
                let mut field = Reader(self.take(size)?);
                match tag {
                    0 => found.supported = field.features(false)?,
                    1 => found.finalized_epoch = i64::from_be_bytes(field.take(8)?.try_into().ok()?),
                    2 => found.finalized = field.features(true)?,
                    _ => {}
                }
            }
        }
        Some(found)
    }

    fn features(&mut self, finalized: bool) -> Option<Vec<Feature>> {
        let mut features = Vec::new();
        for _ in 0..self.count(true, FEATURES_MAX)? {
            let length = self.varint()?.checked_sub(1)? as usize;
            let name = Arc::from(std::str::from_utf8(self.take(length)?).ok()?);
            let (first, second) = (self.i16()?, self.i16()?);
            // The schemas differ in order: finalized features name the highest level first.
            let (min, max) = if finalized { (second, first) } else { (first, second) };
            self.skip_tagged_fields()?;
            features.push(Feature { name, min, max });
        }
        Some(features)
    }

    fn count(&mut self, compact: bool, max: u32) -> Option<u32> {
        let count = if compact {
            self.varint()?.checked_sub(1)?
        } else {
            u32::try_from(i32::from_be_bytes(self.take(4)?.try_into().ok()?)).ok()?
        };
        (count <= max).then_some(count)
    }

    fn skip_tagged_fields(&mut self) -> Option<()> {
        for _ in 0..self.varint()? {
            self.varint()?;
            let size = self.varint()? as usize;
            self.take(size)?;
        }
        Some(())
    }

    fn i16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn varint(&mut self) -> Option<u32> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            let byte = *self.take(1)?.first()?;
            value |= u32::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::protocol::Decodable;
    use tidegate_core::header::{RequestHeader, request_frame};

    use super::*;

    fn upstream(apis: &[(ApiKey, i16, i16)]) -> UpstreamVersions {
        UpstreamVersions::from_ranges(apis.iter().map(|(api, min, max)| (*api as i16, (*min, *max))).collect())
    }

    fn request(version: i16, body: &[u8]) -> Request {
        let frame = request_frame(1, ApiKey::ApiVersions, version, "client", body);
        Request { header: RequestHeader::parse(&frame).unwrap(), frame }
    }

    fn request_of(version: i16, name: &str, software: &str) -> Request {
        let body = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_string(name.to_owned()))
            .with_client_software_version(StrBytes::from_string(software.to_owned()));
        request(version, &decode::encode(&body, version).unwrap())
    }

    fn read(answer: &Answer, version: i16) -> ApiVersionsResponse {
        let mut body = answer.body.clone();
        let response = ApiVersionsResponse::decode(&mut body, version).unwrap();
        assert!(body.is_empty(), "the layout of v{version} leaves bytes over");
        response
    }

    fn range(response: &ApiVersionsResponse, api: ApiKey) -> Option<(i16, i16)> {
        response.api_keys.iter().find(|a| a.api_key == api as i16).map(|a| (a.min_version, a.max_version))
    }

    #[test]
    fn clients_see_what_upstream_and_table_have_in_common_in_every_layout() {
        let upstream = upstream(&[
            (ApiKey::Produce, 0, 99),
            (ApiKey::Fetch, 4, 16),
            (ApiKey::Vote, 0, 2),
            (ApiKey::ListOffsets, 90, 99),
            (ApiKey::Metadata, 0, 12),
        ]);
        for version in 0..=API_VERSIONS_MAX {
            let answer = upstream.answer(&request_of(version, "apache-kafka-java", "4.1.0"));
            let response = read(&answer, version);
            assert_eq!((response.error_code, answer.error), (0, None));
            assert_eq!(range(&response, ApiKey::Produce), Some((0, 13)), "Produce is advertised from v0 (KAFKA-18659)");
            assert_eq!(range(&response, ApiKey::Fetch), Some((4, 16)));
            assert_eq!(range(&response, ApiKey::Metadata), Some((0, 12)));
            assert_eq!(range(&response, ApiKey::Vote), None, "brokers' own APIs are not for clients");
            assert_eq!(range(&response, ApiKey::ListOffsets), None, "no version in common");
            assert_eq!(range(&response, ApiKey::CreateTopics), None, "the upstream does not have it");
            assert_eq!(range(&response, ApiKey::ApiVersions), Some((0, 4)));
            assert_eq!(range(&response, ApiKey::SaslHandshake), Some((0, 1)));
            assert_eq!(range(&response, ApiKey::SaslAuthenticate), Some((0, 2)));
            let client = (version >= 3).then(|| "apache-kafka-java 4.1.0".to_owned());
            assert_eq!(answer.client_software, client);
        }
        assert!(!upstream.allows(ApiKey::Produce, 2), "advertised, but not served");
        assert!(upstream.allows(ApiKey::Produce, 3) && !upstream.allows(ApiKey::Fetch, 17));
    }

    #[test]
    fn a_version_of_the_future_is_answered_in_the_layout_of_v0() {
        for version in [5, i16::MAX, -1] {
            let answer = upstream(&[(ApiKey::Fetch, 4, 16)]).answer(&request(version, b"whatever"));
            let response = read(&answer, 0);
            assert_eq!(response.error_code, ResponseError::UnsupportedVersion.code());
            assert_eq!(response.api_keys.len(), 1);
            assert_eq!(range(&response, ApiKey::ApiVersions), Some((0, 4)));
        }
    }

    #[test]
    fn software_names_are_checked_as_brokers_do() {
        let upstream = upstream(&[]);
        for (name, version, accepted) in [
            ("librdkafka", "2.6.1-RC1", true),
            ("a", "1", true),
            ("", "1", false),
            ("a", "", false),
            ("-a", "1", false),
            ("a.", "1", false),
            ("a b", "1", false),
            ("a", "1_0", false),
            ("ä", "1", false),
        ] {
            for api_version in [3, 4] {
                let answer = upstream.answer(&request_of(api_version, name, version));
                let code = if accepted { 0 } else { ResponseError::InvalidRequest.code() };
                assert_eq!(read(&answer, api_version).error_code, code, "{name} {version}");
            }
        }
        assert_eq!(upstream.answer(&request(3, b"\xff")).error, Some(ResponseError::InvalidRequest), "not decodable");
    }

    fn features_response() -> ApiVersionsResponse {
        let supported = |name: &str, min, max| {
            SupportedFeatureKey::default()
                .with_name(StrBytes::from_string(name.to_owned()))
                .with_min_version(min)
                .with_max_version(max)
        };
        let finalized = |name: &str, min, max| {
            FinalizedFeatureKey::default()
                .with_name(StrBytes::from_string(name.to_owned()))
                .with_min_version_level(min)
                .with_max_version_level(max)
        };
        ApiVersionsResponse::default()
            .with_api_keys(vec![api_version(ApiKey::Fetch, VersionRange { min: 4, max: 17 })])
            .with_supported_features(vec![supported("metadata.version", 7, 25), supported("transaction.version", 0, 2)])
            .with_finalized_features_epoch(12)
            .with_finalized_features(vec![
                finalized("metadata.version", 20, 25),
                finalized("transaction.version", 2, 2),
                finalized("streams.version", 1, 1),
            ])
            .with_unknown_tagged_field(9, Bytes::from_static(b"new"))
    }

    #[test]
    fn an_upstreams_answer_is_read_in_every_layout_and_known_features_pass() {
        for version in 0..=API_VERSIONS_MAX {
            let mut source = features_response();
            if version < 3 {
                source.unknown_tagged_fields.clear();
            }
            let body = encode(&source, version);
            let found = UpstreamVersions::parse(&body, version).unwrap();
            assert_eq!(found.ranges(), &BTreeMap::from([(ApiKey::Fetch as i16, (4, 17))]));
            let response = read(&found.answer(&request_of(4, "a", "1")), 4);
            if version < 3 {
                assert!(response.finalized_features.is_empty() && response.finalized_features_epoch == -1);
                continue;
            }
            assert_eq!(response.finalized_features_epoch, 12);
            let levels: Vec<_> = response
                .finalized_features
                .iter()
                .map(|f| (f.name.as_str(), f.min_version_level, f.max_version_level))
                .collect();
            assert_eq!(levels, [("metadata.version", 20, 25), ("transaction.version", 2, 2)], "streams are not served");
            assert_eq!(response.supported_features.len(), 2);
            let response = read(&found.answer(&request_of(3, "a", "1")), 3);
            assert_eq!(response.supported_features.len(), 1, "v3 leaves out features that begin at 0");
        }
    }

    #[test]
    fn an_upstream_that_is_too_old_or_no_broker_is_told_apart() {
        let old = ApiVersionsResponse::default().with_error_code(35);
        let with_range =
            old.clone().with_api_keys(vec![api_version(ApiKey::ApiVersions, VersionRange { min: 0, max: 3 })]);
        let check = |body: &[u8], version, expected| assert_eq!(UpstreamVersions::parse(body, version), Err(expected));
        check(&encode(&old, 0), 4, VersionsError::Unsupported { highest: None });
        check(&encode(&with_range, 0), 4, VersionsError::Unsupported { highest: Some(3) });
        check(&encode(&ApiVersionsResponse::default().with_error_code(42), 4), 4, VersionsError::Refused(42));
        check(b"", 4, VersionsError::Malformed);
        check(&[0, 0, 0x7f, 0xff, 0xff, 0xff], 0, VersionsError::Malformed);
        check(&[0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f], 3, VersionsError::Malformed);
        let whole = encode(&features_response(), 4);
        for cut in 0..whole.len() {
            check(&whole[..cut], 4, VersionsError::Malformed);
        }
    }

    #[test]
    fn the_gateways_own_requests_use_what_both_speak() {
        let upstream = upstream(&[(ApiKey::Metadata, 5, 9), (ApiKey::Fetch, 40, 50)]);
        assert_eq!(upstream.negotiate(ApiKey::Metadata, 12), Some(9));
        assert_eq!(upstream.negotiate(ApiKey::Metadata, 7), Some(7));
        assert_eq!(upstream.negotiate(ApiKey::Metadata, 4), None);
        assert_eq!(upstream.negotiate(ApiKey::Fetch, 100), None);
        assert_eq!(upstream.negotiate(ApiKey::Produce, 9), None);
    }

    #[test]
    fn brokers_of_several_versions_offer_what_all_have() {
        let one = upstream(&[(ApiKey::Metadata, 0, 12), (ApiKey::Fetch, 4, 17), (ApiKey::Produce, 9, 11)]);
        let two = upstream(&[(ApiKey::Metadata, 1, 13), (ApiKey::Produce, 12, 13)]);
        assert_eq!(one.common(&two).ranges(), &BTreeMap::from([(ApiKey::Metadata as i16, (1, 12))]));
    }
}
