//! librdkafka in this process, through the crate `rdkafka`: the newest librdkafka, with a token
//! callback.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::OAuthToken;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, Message};

use super::{Endpoint, Login, StockClient};
use crate::idp::Idp;

const TIMEOUT: Duration = Duration::from_secs(60);

/// librdkafka.
pub(crate) struct LibRdKafka;

/// Mints a token whenever librdkafka wants one, and keeps what went wrong.
#[derive(Clone)]
pub(crate) struct Context {
    subject: String,
    failures: std::sync::Arc<std::sync::Mutex<Vec<String>>>,
}

impl Context {
    fn new(at: &Endpoint) -> Self {
        let subject = match &at.login {
            Login::Plain { user, .. } => user.clone(),
            Login::ClientCredentials { id, .. } => id.clone(),
        };
        Self { subject, failures: std::sync::Arc::default() }
    }

    /// Records that could not be delivered, and why.
    pub(crate) fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap().clone()
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        let lifetime = Duration::from_secs(600);
        let token = Idp::shared().mint(&self.subject, &[], lifetime)?;
        let end = std::time::SystemTime::now() + lifetime;
        let lifetime_ms = end.duration_since(std::time::UNIX_EPOCH)?.as_millis() as i64;
        Ok(OAuthToken { token, principal_name: self.subject.clone(), lifetime_ms })
    }
}

impl ConsumerContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.failures.lock().unwrap().push(error.to_string());
        }
    }
}

/// A client of any kind with these settings besides.
pub(crate) fn create<C: FromClientConfigAndContext<Context>>(at: &Endpoint, more: &[(&str, &str)]) -> (C, Context) {
    let context = Context::new(at);
    let mut config = ClientConfig::new();
    for (key, value) in at.librdkafka() {
        config.set(key, value);
    }
    for (key, value) in more {
        config.set(*key, *value);
    }
    (config.create_with_context(context.clone()).unwrap(), context)
}

impl StockClient for LibRdKafka {
    fn name(&self) -> &'static str {
        "librdkafka"
    }

    fn produce(&self, at: &Endpoint, topic: &str, values: &[&str]) {
        let (producer, context): (BaseProducer<Context>, _) = create(at, &[("enable.idempotence", "true")]);
        for value in values {
            producer.send(BaseRecord::<(), str>::to(topic).payload(*value)).unwrap();
        }
        producer.flush(TIMEOUT).unwrap();
        let failures = context.failures();
        assert!(failures.is_empty(), "{failures:?}");
    }

    fn consume(&self, at: &Endpoint, topic: &str, group: &str, count: usize) -> Vec<String> {
        let settings = [("group.id", group), ("auto.offset.reset", "earliest"), ("enable.auto.commit", "false")];
        let (consumer, _): (BaseConsumer<Context>, _) = create(at, &settings);
        consumer.subscribe(&[topic]).unwrap();
        let deadline = Instant::now() + TIMEOUT;
        let mut values = Vec::new();
        let mut errors = Vec::new();
        while values.len() < count {
            assert!(Instant::now() < deadline, "only {} values; {errors:?}", values.len());
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => values.push(String::from_utf8_lossy(message.payload().unwrap()).into_owned()),
                Some(Err(error)) => errors.push(error.to_string()),
                None => {}
            }
        }
        consumer.commit_consumer_state(CommitMode::Sync).unwrap();
        values
    }

    /// The crate's admin client never serves the token callback, so with tokens only a consumer
    /// looks around; confluent-kafka covers librdkafka's admin calls with tokens.
    fn administer(&self, at: &Endpoint, topic: &str) -> Vec<String> {
        let metadata = match at.login {
            Login::Plain { .. } => {
                let (admin, _): (AdminClient<Context>, _) = create(at, &[]);
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let options = AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
                let wanted = NewTopic::new(topic, 2, TopicReplication::Fixed(1));
                let created = runtime.block_on(admin.create_topics([&wanted], &options)).unwrap();
                assert_eq!(created, [Ok(topic.to_owned())]);
                admin.inner().fetch_metadata(None, TIMEOUT)
            }
            Login::ClientCredentials { .. } => {
                let (consumer, _): (BaseConsumer<Context>, _) = create(at, &[("group.id", "looks-around")]);
                // Polling serves the token callback.
                let _ = consumer.poll(Duration::ZERO);
                consumer.fetch_metadata(None, TIMEOUT)
            }
        }
        .unwrap();
        metadata.topics().iter().map(|topic| topic.name().to_owned()).collect()
    }
}
