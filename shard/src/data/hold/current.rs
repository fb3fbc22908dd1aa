//! Exemptions that depend on a setting's present value: retention may grow without asking.
//!
//! The broker is asked with DescribeConfigs on the session's own upstream connection, once a
//! request, in the gateway's name. Between its answer and the change somebody else may change the
//! setting: the exemption is a convenience for careful people, and the evidence notes both values.
//! Where the broker does not tell the value, or it is no number, there is no exemption.

use bytes::Bytes;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::{ApiKey, DescribeConfigsRequest, DescribeConfigsResponse};
use kafka_protocol::protocol::StrBytes;
use tidegate_core::decode::{self, decode_response};
use tidegate_core::header;
use tidegate_core::words::Timestamp;
use tidegate_policy::authority::HoldRule;

use super::super::login;
use super::super::session::{Exchange, Held, HeldFor, Pending, Session};
use super::super::shard::Shard;
use super::super::stage::Request;
use super::subject::{Item, TOPIC};
use super::{Kind, Waiting};

/// The version in which the broker is asked; every broker since Kafka 2.6 has it.
const VERSION: i16 = 4;

/// Settings as the broker told them; `None` where it was not asked yet.
#[derive(Debug, Default)]
pub(super) struct Current(Option<Vec<(String, String, String)>>);

/// Whether a rule lets a change pass without asking.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Exempt {
    /// It does, for this reason.
    Yes(String),
    /// That depends on this setting of this topic.
    Ask(String, String),
    /// It does not.
    No,
}

/// Whether `rule`, which holds `item`, exempts it.
pub(super) fn exemption(rule: &HoldRule, item: &Item, current: Option<&Current>) -> Exempt {
    let (Kind::AlterConfigs, Some(topic), Some(setting)) = (item.kind, &item.topic, &item.config) else {
        return Exempt::No;
    };
    if setting.value.is_none() || !rule.may_pass(&setting.name) {
        return Exempt::No;
    }
    let Some(known) = current.and_then(|current| current.0.as_ref()) else {
        return Exempt::Ask(topic.clone(), setting.name.clone());
    };
    let now = known.iter().find(|(of, name, _)| of == topic && *name == setting.name).map(|(.., value)| value.as_str());
    if !rule.passes(&setting.name, now, setting.value.as_deref()) {
        return Exempt::No;
    }
    let (rule, name, wanted) = (&rule.name, &setting.name, setting.value.as_deref().unwrap_or_default());
    let now = now.unwrap_or_default();
    Exempt::Yes(format!("rule {rule} lets {name} of {topic} pass without asking: from {now} to {wanted}"))
}

impl Session {
    /// Asks the broker for settings; the request is looked at again when it has answered.
    pub(super) fn ask_settings(
        &mut self,
        shard: &Shard,
        request: Request,
        settings: Vec<(String, String)>,
        exchange: Exchange,
        now: Timestamp,
    ) {
        // Should the answer not come or make no sense, nothing is known, and nothing exempt.
        self.hold.get_or_insert_with(|| Box::new(Waiting::new())).current = Current(Some(Vec::new()));
        let mut question = DescribeConfigsRequest::default();
        for (topic, setting) in settings {
            let key = StrBytes::from_string(setting);
            match question.resources.iter_mut().find(|resource| *resource.resource_name == *topic) {
                Some(resource) => resource.configuration_keys.get_or_insert_default().push(key),
                None => question.resources.push(
                    DescribeConfigsResource::default()
                        .with_resource_type(TOPIC)
                        .with_resource_name(StrBytes::from_string(topic))
                        .with_configuration_keys(Some(vec![key])),
                ),
            }
        }
        let Ok(body) = decode::encode(&question, VERSION) else {
            // A name too long for the protocol is no topic's.
            return self.look_again(shard, request, exchange.started, now);
        };
        let correlation_id = self.own_id();
        let frame = header::request_frame(correlation_id, ApiKey::DescribeConfigs, VERSION, login::CLIENT_ID, &body);
        self.to_upstream.push(frame, 0);
        self.pending.push_back(Pending::Resolving { correlation_id });
        let until = now.plus_millis(i64::from(shard.limits.upstream_connect_millis_max));
        let reason = HeldFor::Settings;
        self.held = Some(Held { request, started: exchange.started, reason, until, decide: None });
    }

    /// Reads the broker's answer about settings.
    pub(in crate::data) fn learn_settings(&mut self, frame: &Bytes) {
        let Some(waiting) = &mut self.hold else { return };
        let Some(start) = header::response_body_start(frame, ApiKey::DescribeConfigs, VERSION) else { return };
        let Ok(response) = decode_response::<DescribeConfigsResponse>(&frame.slice(start..), VERSION) else { return };
        let topics = response.results.iter().filter(|result| result.error_code == 0 && result.resource_type == TOPIC);
        let settings = topics.flat_map(|topic| {
            topic.configs.iter().filter_map(|config| {
                Some((topic.resource_name.to_string(), config.name.to_string(), config.value.as_deref()?.to_owned()))
            })
        });
        waiting.current = Current(Some(settings.collect()));
    }
}
