//! The demo's Kafka client: stock librdkafka, logging in with a token over OAUTHBEARER.

use std::error::Error;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext, OAuthToken};
use rdkafka::consumer::{Consumer, ConsumerContext, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::util::Timeout;

/// How long anything may take before the demo says that it does not work.
const PATIENCE: Duration = Duration::from_secs(30);

/// A record as a reader saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its offset.
    pub offset: i64,
    /// Its value, as text.
    pub value: String,
}

/// Gives librdkafka a token when it asks for one.
#[derive(Clone)]
struct WithToken {
    principal: String,
    token: String,
}

impl ClientContext for WithToken {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        // librdkafka wants to know when to ask again; the demo's conversations are over before.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        Ok(OAuthToken {
            token: self.token.clone(),
            principal_name: self.principal.clone(),
            lifetime_ms: i64::try_from(now.as_millis())? + 300_000,
        })
    }
}

impl ConsumerContext for WithToken {}

fn configuration(bootstrap: &str, principal: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("client.id", format!("demo-{principal}"))
        .set("security.protocol", "sasl_plaintext")
        .set("sasl.mechanisms", "OAUTHBEARER")
        .set("allow.auto.create.topics", "false");
    config
}

/// Creates `topics` with one partition each, straight at the upstream; one that is there stays.
///
/// # Errors
/// The client's own words.
pub async fn create_topics(upstream: &str, topics: &[&str]) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", upstream).create().context("an admin client")?;
    let wanted = topics.iter().map(|topic| NewTopic::new(topic, 1, TopicReplication::Fixed(1)));
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
    let created = admin.create_topics(&wanted.collect::<Vec<_>>(), &options).await.with_context(|| {
        format!("the upstream {upstream} does not answer (it must take plain text without a login)")
    })?;
    for result in created {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => bail!("topic {topic} cannot be created at {upstream}: {code}"),
        }
    }
    Ok(())
}

/// Produces `records` to `topic` and waits until the broker has each.
///
/// # Errors
/// The client's own words.
pub async fn produce(
    bootstrap: &str,
    principal: &str,
    token: String,
    topic: &str,
    records: &[&str],
) -> anyhow::Result<()> {
    let context = WithToken { principal: principal.to_owned(), token };
    let producer: FutureProducer<WithToken> = configuration(bootstrap, principal)
        .set("message.timeout.ms", "20000")
        .create_with_context(context)
        .context("a producer")?;
    for (number, record) in records.iter().enumerate() {
        let key = number.to_string();
        let sent = producer.send(FutureRecord::to(topic).key(&key).payload(*record), Timeout::After(PATIENCE)).await;
        if let Err((error, _)) = sent {
            bail!("{principal} cannot write to {topic}: {error}");
        }
    }
    Ok(())
}

/// Reads `count` records of `topic` from its beginning, in a consumer group of the principal's own.
///
/// # Errors
/// The client's own words, a denial among them.
pub async fn consume(
    bootstrap: &str,
    principal: &str,
    token: String,
    topic: &str,
    count: usize,
) -> anyhow::Result<Vec<Seen>> {
    let context = WithToken { principal: principal.to_owned(), token };
    let consumer: StreamConsumer<WithToken> = configuration(bootstrap, principal)
        .set("group.id", format!("{principal}-demo"))
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .create_with_context(context)
        .context("a consumer")?;
    consumer.subscribe(&[topic]).with_context(|| format!("subscribing to {topic}"))?;
    let reading = async {
        let mut seen = Vec::with_capacity(count);
        while seen.len() < count {
            match consumer.recv().await {
                Ok(message) => {
                    let value = String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned();
                    seen.push(Seen { offset: message.offset(), value });
                }
                // librdkafka retries what may pass by itself; a denial does not.
                Err(KafkaError::MessageConsumption(code)) if is_denial(code) => {
                    bail!("{principal} may not read {topic}: {code}");
                }
                Err(_) => {}
            }
        }
        Ok(seen)
    };
    match tokio::time::timeout(PATIENCE, reading).await {
        Ok(result) => result,
        Err(_) => bail!("{principal} did not get {count} records of {topic} within {} s", PATIENCE.as_secs()),
    }
}

fn is_denial(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(code, Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed | Code::SaslAuthenticationFailed)
}
