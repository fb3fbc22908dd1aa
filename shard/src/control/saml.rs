//! The gateway as a SAML service provider: logins in a browser, and assertions at the token endpoint.
//!
//! What is verified, and how, is `tidegate_policy::identity::saml`; here are the key that signs
//! requests, the providers' metadata and what was used. Who asked for which login is remembered by the
//! token issuer, which hands the request's id back in: a response to no open request gets nowhere.
//!
//! Invariants: metadata that was read stays in use while reading it anew fails, until it ends by its
//! own word; the signing key never leaves its file but to sign.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tidegate_core::words::Timestamp;
use tidegate_policy::identity::saml::request::{LoginRequest, service_provider_metadata};
use tidegate_policy::identity::saml::{
    Expected, Metadata, ReplayCache, SamlConfig, SamlError, VerifiedAssertion, verify_assertion, verify_response,
};
use tokio::sync::Notify;

use super::tls;
use super::watch::Watch;

/// Assertions that are remembered until they end: minutes of logins.
const USED_MAX: usize = 100_000;
/// The largest metadata document that is fetched, in bytes.
const METADATA_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How often metadata is fetched anew: a provider announces its next key days ahead.
const REFRESH: Duration = Duration::from_secs(3600);
/// How soon after a failure, and how soon at the earliest for a response that no known key signed.
const RETRY: Duration = Duration::from_secs(10);
/// How often files are looked at.
const POLL: Duration = Duration::from_secs(1);
/// How long one fetch may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// The files that hold the key that signs requests, and its certificate.
const KEY_FILE: &str = "saml-request.key";
const CERTIFICATE_FILE: &str = "saml-request.crt";

/// The gateway as a service provider.
pub(super) struct ServiceProvider {
    entity_id: String,
    consumer_url: String,
    token_url: String,
    key: RsaKeyPair,
    certificate: Vec<u8>,
    providers: Vec<Provider>,
    used: Mutex<ReplayCache>,
}

/// An identity provider, and what it last said about itself.
struct Provider {
    config: SamlConfig,
    metadata: ArcSwapOption<Metadata>,
    client: Option<reqwest::Client>,
    /// Told when a signature was by no known key: the provider may have another one by now.
    stale: Notify,
}

/// A login that a browser is sent away for.
#[derive(Debug)]
pub(super) struct Started {
    /// Where it is sent.
    pub(super) url: String,
    /// What the response must answer.
    pub(super) request_id: String,
}

impl ServiceProvider {
    /// Reads the key, or makes one, and the metadata that are files. `base_url` is the token issuer's
    /// URL, `directory` where its keys are.
    ///
    /// # Errors
    /// A sentence for each file that cannot be used.
    pub(super) fn prepare(configs: &[SamlConfig], base_url: &str, directory: &Path) -> Result<Self, Vec<String>> {
        let mut wrong = Vec::new();
        let mut providers = Vec::new();
        for config in configs {
            let said = |error: anyhow::Error| format!("identity provider {}: {error:#}", config.entity_id);
            let metadata = match &config.metadata_file {
                Some(file) => read_metadata(file, &config.entity_id).map(Some).unwrap_or_else(|error| {
                    wrong.push(said(error));
                    None
                }),
                None => None,
            };
            let client = match &config.metadata_url {
                Some(url) => client(config, url).map(Some).unwrap_or_else(|error| {
                    wrong.push(said(error));
                    None
                }),
                None => None,
            };
            let metadata = ArcSwapOption::from(metadata.map(Arc::new));
            providers.push(Provider { config: config.clone(), metadata, client, stale: Notify::new() });
        }
        let (key, certificate) = open_key(directory).map_err(|error| {
            wrong.push(format!("SAML: {error:#}"));
            std::mem::take(&mut wrong)
        })?;
        if !wrong.is_empty() {
            return Err(wrong);
        }
        Ok(Self {
            entity_id: format!("{base_url}/saml/metadata"),
            consumer_url: format!("{base_url}/saml/acs"),
            token_url: format!("{base_url}/token"),
            key,
            certificate,
            providers,
            used: Mutex::new(ReplayCache::new(USED_MAX)),
        })
    }

    /// The providers: their entity ids, and what pages call them.
    pub(super) fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.providers.iter().map(|Provider { config, .. }| {
            (config.entity_id.as_str(), config.label.as_deref().unwrap_or(&config.entity_id))
        })
    }

    /// Our own metadata, for whoever registers this gateway at a provider.
    pub(super) fn own_metadata(&self) -> String {
        service_provider_metadata(&self.entity_id, &self.consumer_url, &self.certificate)
    }

    /// Begins a login at a provider. `state` comes back with the response.
    ///
    /// # Errors
    /// A sentence where the provider is unknown, or has not said where its login is.
    pub(super) fn begin(&self, entity_id: &str, state: &str, now: Timestamp) -> anyhow::Result<Started> {
        let provider = self.provider(entity_id).context("no such identity provider")?;
        let metadata = provider.metadata.load_full().context("the identity provider's metadata is not known yet")?;
        let destination = metadata.redirect_url.as_deref();
        let destination = destination.context("the identity provider's metadata has no HTTP-Redirect login")?;
        let mut random = [0; 20];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| anyhow::anyhow!("the system has no randomness"))?;
        // An XML name begins with a letter or an underscore.
        let request_id = format!("_{}", URL_SAFE_NO_PAD.encode(random));
        let request = LoginRequest {
            id: &request_id,
            issued: now,
            destination,
            consumer_url: &self.consumer_url,
            entity_id: &self.entity_id,
        };
        let url = request.redirect(state, |query| {
            let mut signature = vec![0; self.key.public_modulus_len()];
            self.key
                .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), query, &mut signature)
                .map_err(|_| anyhow::anyhow!("the request cannot be signed"))?;
            Ok::<_, anyhow::Error>(signature)
        })?;
        Ok(Started { url, request_id })
    }

    /// Ends a login: the response that a browser posted, to the request that is open.
    ///
    /// # Errors
    /// [`SamlError`] says which check failed.
    pub(super) fn finish(
        &self,
        entity_id: &str,
        request_id: &str,
        response: &str,
        now: Timestamp,
    ) -> Result<VerifiedAssertion, SamlError> {
        let packed: String = response.split_ascii_whitespace().collect();
        let xml = STANDARD.decode(packed).map_err(|_| SamlError::Xml("it is no base64".to_owned()))?;
        let xml = std::str::from_utf8(&xml).map_err(|_| SamlError::Xml("it is no UTF-8".to_owned()))?;
        let unknown = || SamlError::WrongIssuer { found: String::new(), expected: entity_id.to_owned() };
        let provider = self.provider(entity_id).ok_or_else(unknown)?;
        let metadata = provider.known()?;
        let expected = Expected {
            audiences: &[&self.entity_id],
            recipient: &self.consumer_url,
            in_response_to: Some(request_id),
            now,
        };
        let verified = verify_response(xml, &provider.config, &metadata, &expected);
        provider.note_stale(&verified);
        self.take(verified?, now)
    }

    /// An assertion at the token endpoint, base64url as RFC 7522 §2.1 has it.
    ///
    /// # Errors
    /// [`SamlError`] says which check failed; of several providers, the one that issued it.
    pub(super) fn bearer(&self, assertion: &str, now: Timestamp) -> Result<VerifiedAssertion, SamlError> {
        let xml = URL_SAFE_NO_PAD.decode(assertion).or_else(|_| URL_SAFE.decode(assertion));
        let xml = xml.map_err(|_| SamlError::Xml("it is no base64url".to_owned()))?;
        let xml = std::str::from_utf8(&xml).map_err(|_| SamlError::Xml("it is no UTF-8".to_owned()))?;
        let expected = Expected {
            audiences: &[&self.entity_id, &self.token_url],
            recipient: &self.token_url,
            in_response_to: None,
            now,
        };
        let mut refused = SamlError::Structure { what: "assertion", reason: "no provider is configured".to_owned() };
        for provider in &self.providers {
            let verified =
                provider.known().and_then(|metadata| verify_assertion(xml, &provider.config, &metadata, &expected));
            provider.note_stale(&verified);
            match verified {
                Ok(verified) => return self.take(verified, now),
                // A wrong key is what a document of another provider looks like as well.
                Err(error @ (SamlError::WrongIssuer { .. } | SamlError::Signature(_))) => refused = error,
                Err(error) => return Err(error),
            }
        }
        Err(refused)
    }

    fn take(&self, verified: VerifiedAssertion, now: Timestamp) -> Result<VerifiedAssertion, SamlError> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).take(&verified, now)?;
        Ok(verified)
    }

    fn provider(&self, entity_id: &str) -> Option<&Provider> {
        self.providers.iter().find(|provider| provider.config.entity_id == entity_id)
    }

    /// Keeps the providers' metadata fresh, on the current tokio runtime, for as long as that lives.
    pub(super) fn keep(self: Arc<Self>) {
        for index in 0..self.providers.len() {
            let this = self.clone();
            tokio::spawn(async move {
                if let Some(provider) = this.providers.get(index) {
                    provider.keep().await;
                }
            });
        }
    }
}

impl Provider {
    fn known(&self) -> Result<Arc<Metadata>, SamlError> {
        let unknown = || SamlError::Signature("the provider's metadata is not known yet".to_owned());
        self.metadata.load_full().ok_or_else(unknown)
    }

    fn note_stale(&self, verified: &Result<VerifiedAssertion, SamlError>) {
        if matches!(verified, Err(SamlError::Signature(_))) {
            self.stale.notify_one();
        }
    }

    async fn keep(&self) {
        match (&self.config.metadata_file, &self.config.metadata_url, &self.client) {
            (Some(file), ..) => self.keep_file(file).await,
            (None, Some(url), Some(client)) => loop {
                let fetched =
                    fetch(client, url).await.and_then(|xml| Ok(Metadata::parse(&xml, &self.config.entity_id)?));
                let wait = if self.took(fetched) { REFRESH } else { RETRY };
                tokio::time::sleep(RETRY).await;
                let _ = tokio::time::timeout(wait - RETRY, self.stale.notified()).await;
            },
            _ => {}
        }
    }

    async fn keep_file(&self, file: &Path) {
        let mut watch = Watch::new(vec![file.to_owned()]);
        let mut poll = tokio::time::interval(POLL);
        loop {
            poll.tick().await;
            if watch.changed() {
                watch.take();
                self.took(read_metadata(file, &self.config.entity_id));
            }
        }
    }

    /// Takes metadata over where it can be used; what is known stays otherwise.
    fn took(&self, read: anyhow::Result<Metadata>) -> bool {
        match read {
            Ok(metadata) => {
                if self.metadata.load().as_deref() != Some(&metadata) {
                    tracing::info!(provider = %self.config.entity_id, "identity provider's metadata taken over");
                    self.metadata.store(Some(Arc::new(metadata)));
                }
                true
            }
            Err(error) => {
                tracing::warn!(provider = %self.config.entity_id, "metadata cannot be used: {error:#}; what is known stays");
                false
            }
        }
    }
}

fn client(config: &SamlConfig, url: &str) -> anyhow::Result<reqwest::Client> {
    let plain = url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http:"));
    let tls = if plain { tls::no_authorities()? } else { tls::client(config.ca_file.as_deref(), None)? };
    Ok(reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(FETCH_TIMEOUT)
        .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(tls)
        .build()?)
}

async fn fetch(client: &reqwest::Client, url: &str) -> anyhow::Result<String> {
    let mut response = client.get(url).send().await.with_context(|| format!("{url} cannot be reached"))?;
    anyhow::ensure!(response.status().is_success(), "{url} answered {}", response.status().as_u16());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        anyhow::ensure!(body.len() + chunk.len() <= METADATA_BYTES_MAX, "{url} answered with too many bytes");
        body.extend_from_slice(&chunk);
    }
    String::from_utf8(body).with_context(|| format!("{url} answered with what is no UTF-8"))
}

fn read_metadata(file: &Path, entity_id: &str) -> anyhow::Result<Metadata> {
    let xml = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    Metadata::parse(&xml, entity_id).with_context(|| file.display().to_string())
}

/// The key that signs requests, and its certificate (DER). Made at the first start; a provider's
/// operator has the certificate registered, so it must stay.
fn open_key(directory: &Path) -> anyhow::Result<(RsaKeyPair, Vec<u8>)> {
    let (key_file, certificate_file) = (directory.join(KEY_FILE), directory.join(CERTIFICATE_FILE));
    if !key_file.exists() {
        make_key(&key_file, &certificate_file)?;
    }
    let pem =
        |file: &PathBuf| std::fs::read(file).map_err(anyhow::Error::from).with_context(|| file.display().to_string());
    let key = PrivatePkcs8KeyDer::from_pem_slice(&pem(&key_file)?)
        .map_err(|_| anyhow::anyhow!("{} is no PKCS#8 key in PEM", key_file.display()))?;
    let key = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der())
        .map_err(|_| anyhow::anyhow!("{} is no RSA key", key_file.display()))?;
    let certificate = CertificateDer::from_pem_slice(&pem(&certificate_file)?)
        .map_err(|_| anyhow::anyhow!("{} is no certificate in PEM", certificate_file.display()))?;
    Ok((key, certificate.to_vec()))
}

fn make_key(key_file: &Path, certificate_file: &Path) -> anyhow::Result<()> {
    let generated = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| anyhow::anyhow!("no key can be made"))?;
    let der = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&generated)
        .map_err(|_| anyhow::anyhow!("no key can be made"))?;
    let der = PrivatePkcs8KeyDer::from(der.as_ref().to_vec());
    let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_RSA_SHA256)?;
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "tidegate SAML requests");
    let certificate = params.self_signed(&pair)?;
    if let Some(parent) = key_file.parent() {
        std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    }
    // The certificate first: a key without one would be found at the next start, and never get one.
    std::fs::write(certificate_file, certificate.pem()).with_context(|| certificate_file.display().to_string())?;
    let pem = zeroize::Zeroizing::new(pair.serialize_pem());
    let mut options = std::fs::OpenOptions::new();
    let written = options.write(true).create_new(true).mode(0o600).open(key_file).and_then(|mut file| {
        file.write_all(pem.as_bytes())?;
        file.sync_all()
    });
    written.with_context(|| key_file.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(name: &str) -> String {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../policy/tests/saml/");
        std::fs::read_to_string(format!("{folder}{name}")).unwrap()
    }

    fn provider(directory: &Path) -> ServiceProvider {
        let file = directory.join("idp.xml");
        std::fs::write(&file, document("metadata.xml")).unwrap();
        let config = SamlConfig { metadata_file: Some(file), ..SamlConfig::new("https://idp.example.com/saml") };
        ServiceProvider::prepare(&[config], "https://gw.example.com", directory).unwrap()
    }

    fn noon() -> Timestamp {
        Timestamp::from_secs(1_767_268_830) // 2026-01-01T12:00:30Z
    }

    #[test]
    fn a_login_begins_with_a_signed_redirect_and_ends_once() {
        let directory = tempfile::tempdir().unwrap();
        let ours = provider(directory.path());
        let entity = "https://idp.example.com/saml";
        let started = ours.begin(entity, "relay", noon()).unwrap();
        assert!(started.url.starts_with("https://idp.example.com/sso?SAMLRequest="), "{}", started.url);
        let (query, signature) = started.url.split_once('?').unwrap().1.rsplit_once("&Signature=").unwrap();
        let signature = reqwest::Url::parse(&format!("http://x/?s={signature}")).unwrap();
        let signature: String = signature.query_pairs().map(|(_, value)| value.into_owned()).collect();
        // Whoever has our metadata can check it.
        let (_, certificate) = x509_parser::parse_x509_certificate(&ours.certificate).unwrap();
        let key = aws_lc_rs::signature::UnparsedPublicKey::new(
            &aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256,
            &certificate.public_key().subject_public_key.data,
        );
        key.verify(query.as_bytes(), &STANDARD.decode(signature).unwrap()).unwrap();
        assert!(ours.own_metadata().contains(&STANDARD.encode(&ours.certificate)));
        assert!(ours.begin("https://other", "relay", noon()).is_err());

        let response = STANDARD.encode(document("assertion_signed.xml").trim_end());
        let finish = |request: &str| ours.finish(entity, request, &response, noon());
        assert_eq!(finish(&started.request_id), Err(SamlError::NotAsked), "it answers another request");
        assert_eq!(&*finish("_request-1").unwrap().principal.name, "alice");
        assert_eq!(finish("_request-1"), Err(SamlError::Replayed));
        assert!(matches!(ours.finish(entity, "_request-1", "%%%", noon()), Err(SamlError::Xml(_))));
        assert!(matches!(ours.finish("x", "_request-1", &response, noon()), Err(SamlError::WrongIssuer { .. })));

        let bearer = URL_SAFE_NO_PAD.encode(document("bearer.xml").trim_end());
        assert_eq!(ours.bearer(&bearer, noon()), Err(SamlError::Replayed), "the same id: one use, whichever way");
        assert!(ours.bearer(&URL_SAFE_NO_PAD.encode(document("assertion_signed.xml").trim_end()), noon()).is_err());
    }

    #[test]
    fn the_key_stays_and_is_nobody_elses() {
        use std::os::unix::fs::PermissionsExt as _;

        let directory = tempfile::tempdir().unwrap();
        let first = provider(directory.path()).own_metadata();
        assert_eq!(provider(directory.path()).own_metadata(), first);
        let mode = std::fs::metadata(directory.path().join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(directory.path().join(KEY_FILE), "no key").unwrap();
        assert!(ServiceProvider::prepare(&[], "https://gw.example.com", directory.path()).is_err());
        let missing = SamlConfig { metadata_file: Some("/nowhere.xml".into()), ..SamlConfig::new("idp") };
        let elsewhere = tempfile::tempdir().unwrap();
        let wrong = ServiceProvider::prepare(&[missing], "https://gw.example.com", elsewhere.path()).err().unwrap();
        assert!(wrong[0].contains("/nowhere.xml"), "{wrong:?}");
    }

    #[tokio::test]
    async fn a_provider_that_is_away_lets_nobody_in_until_it_is_back() {
        let directory = tempfile::tempdir().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/metadata", listener.local_addr().unwrap());
        let entity = "https://idp.example.com/saml";
        let config = SamlConfig { metadata_url: Some(url), ..SamlConfig::new(entity) };
        let ours = Arc::new(ServiceProvider::prepare(&[config], "https://gw.example.com", directory.path()).unwrap());
        let response = STANDARD.encode(document("assertion_signed.xml").trim_end());
        assert!(format!("{:#}", ours.begin(entity, "relay", noon()).unwrap_err()).contains("not known yet"));
        assert!(matches!(ours.finish(entity, "_request-1", &response, noon()), Err(SamlError::Signature(_))));
        ours.clone().keep();
        // It answers from now on.
        let routes = axum::Router::new().route("/metadata", axum::routing::get(async || document("metadata.xml")));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let known = async {
            while ours.begin(entity, "relay", noon()).is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), known).await.unwrap();
        assert!(ours.finish(entity, "_request-1", &response, noon()).is_ok());
    }

    #[test]
    fn metadata_that_cannot_be_used_leaves_what_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let ours = provider(directory.path());
        let one = &ours.providers[0];
        assert!(!one.took(Err(anyhow::anyhow!("gone"))));
        assert!(one.known().is_ok());
        let before =
            Metadata::parse(&document("metadata_before_rollover.xml"), "https://idp.example.com/saml").unwrap();
        assert!(one.took(Ok(before.clone())));
        assert_eq!(*one.known().unwrap(), before);
    }
}
