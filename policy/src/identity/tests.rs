//! Tokens signed with real keys, and what becomes of each when one thing about it is wrong.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair,
};
use aws_lc_rs::{hmac, rsa};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate_core::limits::Limits;
use tidegate_core::words::Timestamp;

use super::*;

const ISSUER: &str = "https://id.example/realm";
const OTHER: &str = "https://other.example";
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

struct Keys {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed: Ed25519KeyPair,
    other_ed: Ed25519KeyPair,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    rsa: RsaKeyPair::generate(rsa::KeySize::Rsa2048).unwrap(),
    p256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
    p384: EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap(),
    ed: Ed25519KeyPair::generate().unwrap(),
    other_ed: Ed25519KeyPair::generate().unwrap(),
});

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn ec_jwk(kid: &str, curve: &str, key: &EcdsaKeyPair) -> Value {
    let point = key.public_key().as_ref();
    let (x, y) = point[1..].split_at(point.len() / 2);
    json!({"kty": "EC", "crv": curve, "kid": kid, "x": b64(x), "y": b64(y)})
}

fn ed_jwk(kid: &str, key: &Ed25519KeyPair) -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": b64(key.public_key().as_ref())})
}

fn jwks() -> Value {
    let public = KEYS.rsa.public_key();
    let n = b64(public.modulus().big_endian_without_leading_zero());
    let e = b64(public.exponent().big_endian_without_leading_zero());
    json!({"keys": [
        {"kty": "RSA", "kid": "rsa", "use": "sig", "alg": "RS256", "n": n, "e": e, "x5u": "https://evil.example"},
        {"kty": "RSA", "kid": "rsa-any", "n": n, "e": e},
        ec_jwk("p256", "P-256", &KEYS.p256),
        ec_jwk("p384", "P-384", &KEYS.p384),
        ed_jwk("ed", &KEYS.ed),
        {"kty": "oct", "kid": "oct", "alg": "HS256", "k": b64("secret")},
        {"kty": "RSA", "kid": "enc", "use": "enc", "n": n, "e": e},
        {"kty": "RSA", "kid": "wrap", "key_ops": ["wrapKey"], "n": n, "e": e},
        {"kty": "RSA", "kid": "oaep", "alg": "RSA-OAEP", "n": n, "e": e},
        {"kty": "RSA", "kid": "short", "n": b64([0xff; 128]), "e": e},
        {"kty": "EC", "crv": "P-521", "kid": "p521", "x": "AA", "y": "AA"},
        {"kty": "AKP", "kid": "pq"},
        {"kid": 7},
    ]})
}

fn config() -> IssuerConfig {
    let mut config = IssuerConfig::new(ISSUER, "kafka");
    config.algorithms = vec![
        SigningAlgorithm::RS256,
        SigningAlgorithm::PS256,
        SigningAlgorithm::ES256,
        SigningAlgorithm::ES384,
        SigningAlgorithm::EdDSA,
    ];
    config
}

fn issuers_with(config: IssuerConfig) -> Issuers {
    let keys = KeySet::parse(jwks().to_string().as_bytes()).unwrap();
    let other = json!({"keys": [ed_jwk("other-ed", &KEYS.other_ed)]});
    let other = KeySet::parse(other.to_string().as_bytes()).unwrap();
    let mut other_config = IssuerConfig::new(OTHER, "kafka");
    other_config.algorithms = vec![SigningAlgorithm::EdDSA];
    Issuers::new([config, other_config]).with_keys(ISSUER, Arc::new(keys)).with_keys(OTHER, Arc::new(other))
}

fn claims() -> Value {
    json!({"iss": ISSUER, "sub": "alice", "aud": "kafka", "exp": NOW.as_secs() + 600, "jti": "token-1",
           "groups": ["dev", "ops"], "realm_access": {"roles": ["reader"]}})
}

fn with(claim: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[claim] = value;
    claims
}

fn without(claim: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(claim);
    claims
}

fn compact(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
    let signature = sign(signed.as_bytes());
    format!("{signed}.{}", b64(signature))
}

fn sign_ed(message: &[u8]) -> Vec<u8> {
    KEYS.ed.sign(message).as_ref().to_vec()
}

fn sign_rsa(padding: &'static dyn aws_lc_rs::signature::RsaEncoding, message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; KEYS.rsa.public_modulus_len()];
    KEYS.rsa.sign(padding, &SystemRandom::new(), message, &mut signature).unwrap();
    signature
}

fn ed_token(claims: &Value) -> String {
    compact(&json!({"alg": "EdDSA", "kid": "ed"}), claims, sign_ed)
}

fn check(token: &str) -> Result<Verified, TokenError> {
    let result = verify(token, &issuers_with(config()), NOW, &Limits::default());
    if let Err(error) = &result {
        let signature = token.rsplit('.').next().unwrap_or_default();
        let said = format!("{error} {error:?}");
        assert!(signature.len() < 8 || !said.contains(signature), "the message holds the token: {said}");
    }
    result
}

#[test]
fn every_algorithm_verifies_with_its_key_and_no_other() {
    let rng = SystemRandom::new();
    let ecdsa = |key: &EcdsaKeyPair, message: &[u8]| key.sign(&rng, message).unwrap().as_ref().to_vec();
    type Sign<'a> = Box<dyn Fn(&[u8]) -> Vec<u8> + 'a>;
    let algorithms: [(&str, &str, Sign<'_>); 6] = [
        ("RS256", "rsa", Box::new(|m| sign_rsa(&RSA_PKCS1_SHA256, m))),
        ("RS256", "rsa-any", Box::new(|m| sign_rsa(&RSA_PKCS1_SHA256, m))),
        ("PS256", "rsa-any", Box::new(|m| sign_rsa(&RSA_PSS_SHA256, m))),
        ("ES256", "p256", Box::new(|m| ecdsa(&KEYS.p256, m))),
        ("ES384", "p384", Box::new(|m| ecdsa(&KEYS.p384, m))),
        ("EdDSA", "ed", Box::new(sign_ed)),
    ];
    for (alg, kid, sign) in &algorithms {
        let token = compact(&json!({"alg": alg, "kid": kid, "typ": "at+jwt"}), &claims(), sign);
        let verified = check(&token).unwrap_or_else(|error| panic!("{alg} with {kid}: {error}"));
        assert_eq!((&*verified.principal.subject, &*verified.principal.issuer), ("alice", ISSUER));
        let mut broken = token.into_bytes();
        let at = broken.len() - 20;
        broken[at] = if broken[at] == b'A' { b'B' } else { b'A' };
        assert_eq!(check(std::str::from_utf8(&broken).unwrap()), Err(TokenError::BadSignature), "{alg}");
        for (_, kid, _) in &algorithms {
            let token = compact(&json!({"alg": alg, "kid": kid}), &claims(), sign);
            let fits = algorithms.iter().any(|(a, k, _)| (a, k) == (alg, kid));
            let verdict = check(&token);
            assert_eq!(verdict.is_ok(), fits, "{alg} with {kid}: {verdict:?}");
        }
    }
}

#[test]
fn only_the_gateways_own_tokens_pass_on_the_word_of_another() {
    let mut token = claims();
    token["idp"] = json!({"iss": "https://people.example", "sub": "s-4711"});
    let as_issuer = |passes_on| {
        let issuers = issuers_with(IssuerConfig { passes_on, ..config() });
        let verified = verify(&ed_token(&token), &issuers, NOW, &Limits::default()).unwrap();
        assert_eq!(&*verified.issuer, ISSUER, "it is its token all the same");
        (verified.principal.issuer.to_string(), verified.principal.subject.to_string())
    };
    assert_eq!(as_issuer(true), ("https://people.example".to_owned(), "s-4711".to_owned()));
    assert_eq!(as_issuer(false), (ISSUER.to_owned(), "alice".to_owned()), "anybody could say that");
    let file = r#"{"issuer": "https://x", "audiences": ["y"], "passes_on": true}"#;
    assert!(serde_json::from_str::<IssuerConfig>(file).is_err(), "no file can say that");
    for wrong in [json!("x"), json!({}), json!({"iss": "", "sub": "s"}), json!({"iss": "https://people.example"})] {
        let mut token = claims();
        token["idp"] = wrong.clone();
        let issuers = issuers_with(IssuerConfig { passes_on: true, ..config() });
        let verdict = verify(&ed_token(&token), &issuers, NOW, &Limits::default());
        assert_eq!(verdict.unwrap_err(), TokenError::InvalidClaim { claim: "idp".to_owned() }, "{wrong}");
    }
}

#[test]
fn a_verified_token_says_who_until_when_and_in_which_groups() {
    let verified = check(&ed_token(&claims())).unwrap();
    assert_eq!(&*verified.principal.name, "alice");
    assert_eq!(verified.principal.groups.iter().map(|g| &**g).collect::<Vec<_>>(), ["dev", "ops"]);
    assert_eq!(verified.expires, Timestamp::from_secs(NOW.as_secs() + 630), "exp and the leeway of 30 s");
    assert_eq!(verified.token_id.as_deref(), Some("token-1"));
}

#[test]
fn names_and_groups_come_from_configured_claims() {
    let token = ed_token(&with("preferred.name", json!("Alice A.")));
    let mut config = config();
    config.principal_claim = "preferred.name".to_owned();
    config.principal_prefix = "id:".to_owned();
    config.groups_claim = "realm_access.roles".to_owned();
    config.groups_prefix = "g:".to_owned();
    let verified = verify(&token, &issuers_with(config), NOW, &Limits::default()).unwrap();
    assert_eq!((&*verified.principal.name, &*verified.principal.subject), ("id:Alice A.", "alice"));
    assert_eq!(verified.principal.groups, [Arc::from("g:reader")]);
    let groups = |value| check(&ed_token(&with("groups", value))).map(|verified| verified.principal.groups);
    assert_eq!(groups(json!("Domain Users")), Ok(vec![Arc::from("Domain Users")]), "one string is one group");
    assert_eq!(groups(Value::Null), Ok(vec![]));
    let unusable = Err(TokenError::InvalidClaim { claim: "groups".to_owned() });
    for value in [json!(["a", 7]), json!({"a": 1}), json!([""]), json!(["a\nb"]), json!([["a"]])] {
        assert_eq!(groups(value.clone()), unusable, "{value}");
    }
}

#[test]
fn claims_that_are_missing_wrong_or_not_as_required_are_named() {
    let missing = |claim: &str| Err(TokenError::MissingClaim { claim: claim.to_owned() });
    let invalid = |claim: &str| Err(TokenError::InvalidClaim { claim: claim.to_owned() });
    for claim in ["exp", "iss", "aud", "sub"] {
        assert_eq!(check(&ed_token(&without(claim))), missing(claim));
    }
    for (claim, value) in [
        ("exp", json!("soon")),
        ("exp", json!(-1)),
        ("exp", Value::Null),
        ("nbf", json!("soon")),
        ("sub", json!("")),
        ("sub", json!(7)),
        ("sub", json!("a\u{7}")),
        ("sub", json!("a".repeat(1025))),
        ("sub", json!("ANONYMOUS")),
    ] {
        assert_eq!(check(&ed_token(&with(claim, value.clone()))), invalid(claim), "{claim}: {value}");
    }
    for value in [json!("other"), json!(["a", "b"]), json!([]), json!({"kafka": 1}), Value::Null, json!([["kafka"]])] {
        assert_eq!(check(&ed_token(&with("aud", value.clone()))), Err(TokenError::WrongAudience), "{value}");
    }
    assert!(check(&ed_token(&with("aud", json!(["a", "kafka"])))).is_ok());

    let mut config = config();
    config.required_claims.insert("tenant".to_owned(), "acme".to_owned());
    let issuers = issuers_with(config);
    let check = |claims: &Value| verify(&ed_token(claims), &issuers, NOW, &Limits::default());
    assert_eq!(check(&claims()), missing("tenant"));
    assert!(matches!(check(&with("tenant", json!("acme2"))), Err(TokenError::ClaimNotAsRequired { .. })));
    assert!(check(&with("tenant", json!("acme"))).is_ok());
    assert!(check(&with("tenant", json!(["x", "acme"]))).is_ok());

    let mut config = self::config();
    config.required_claims.insert("email_verified".to_owned(), "true".to_owned());
    let issuers = issuers_with(config);
    for (value, accepted) in [(json!(true), true), (json!("true"), true), (json!(false), false), (json!(1), false)] {
        let verdict = verify(&ed_token(&with("email_verified", value.clone())), &issuers, NOW, &Limits::default());
        assert_eq!(verdict.is_ok(), accepted, "{value}");
    }
}

#[test]
fn times_hold_to_the_second_and_the_leeway_is_the_configured_one() {
    let now = NOW.as_secs();
    let mut config = config();
    config.leeway_seconds = 5;
    let issuers = issuers_with(config);
    let at = |claim: &str, value: Value| {
        verify(&ed_token(&with(claim, value)), &issuers, NOW, &Limits::default()).map(|verified| verified.expires)
    };
    assert_eq!(at("exp", json!(now - 5)), Err(TokenError::Expired { at: NOW }));
    assert_eq!(at("exp", json!(now - 4)), Ok(Timestamp::from_secs(now + 1)));
    assert_eq!(at("exp", json!(now as f64 - 4.5)), Ok(Timestamp(NOW.0 + 500_000)));
    assert_eq!(at("exp", json!(1e300)), Ok(Timestamp::MAX));
    assert_eq!(at("exp", json!(i64::MAX)), Ok(Timestamp::MAX));
    assert!(at("nbf", json!(now + 5)).is_ok());
    assert_eq!(at("nbf", json!(now + 6)), Err(TokenError::NotYetValid { from: Timestamp::from_secs(now + 1) }));
}

#[test]
fn the_algorithm_is_never_what_the_header_wishes() {
    let not_allowed = |name: &str| Err(TokenError::AlgorithmNotAllowed { algorithm: name.to_owned() });
    for none in ["none", "None", "NONE", "nOnE", ""] {
        let header = json!({"alg": none, "kid": "ed"});
        assert_eq!(check(&compact(&header, &claims(), |_| Vec::new())), not_allowed(none));
    }
    // The classic confusion: the public key, which everybody knows, as an HMAC secret.
    let spki = KEYS.rsa.public_key();
    let der = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(spki).unwrap();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der.as_ref()));
    for kid in ["rsa", "rsa-any", "oct"] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, pem.as_bytes());
        let header = json!({"alg": "HS256", "kid": kid});
        let token = compact(&header, &claims(), |m| hmac::sign(&key, m).as_ref().to_vec());
        assert_eq!(check(&token), not_allowed("HS256"), "{kid}");
    }
    // Known to us but not configured for this issuer.
    let mut config = config();
    config.algorithms = vec![SigningAlgorithm::ES256];
    let verdict = verify(&ed_token(&claims()), &issuers_with(config), NOW, &Limits::default());
    assert_eq!(verdict, not_allowed("EdDSA"));
    // The key's own `alg` holds.
    let token = compact(&json!({"alg": "PS256", "kid": "rsa"}), &claims(), |m| sign_rsa(&RSA_PSS_SHA256, m));
    assert_eq!(check(&token), Err(TokenError::KeyMismatch { kid: "rsa".to_owned(), algorithm: "PS256" }));
}

#[test]
fn keys_are_the_issuers_own() {
    let unknown = |kid: &str| Err(TokenError::UnknownKey { issuer: Arc::from(ISSUER), kid: kid.to_owned() });
    let sign_other = |message: &[u8]| KEYS.other_ed.sign(message).as_ref().to_vec();
    let other = json!({"alg": "EdDSA", "kid": "other-ed"});
    assert!(check(&compact(&other, &with("iss", json!(OTHER)), sign_other)).is_ok());
    assert_eq!(check(&compact(&other, &claims(), sign_other)), unknown("other-ed"), "a key of another issuer");
    assert_eq!(
        check(&compact(&json!({"alg": "EdDSA", "kid": "ed"}), &claims(), sign_other)),
        Err(TokenError::BadSignature)
    );
    for kid in ["oct", "enc", "wrap", "oaep", "short", "p521", "pq", "new"] {
        assert_eq!(check(&compact(&json!({"alg": "EdDSA", "kid": kid}), &claims(), sign_ed)), unknown(kid));
    }
    // A key that the token brings along is not looked at.
    let header =
        json!({"alg": "EdDSA", "kid": "mine", "jwk": ed_jwk("mine", &KEYS.other_ed), "jku": "https://evil.example"});
    assert_eq!(check(&compact(&header, &claims(), sign_other)), unknown("mine"));
    assert_eq!(
        check(&ed_token(&with("iss", json!("https://evil.example")))),
        Err(TokenError::UnknownIssuer { issuer: "https://evil.example".to_owned() })
    );
    assert!(matches!(
        check(&ed_token(&with("iss", json!(format!("{ISSUER}/"))))),
        Err(TokenError::UnknownIssuer { .. })
    ));
    assert_eq!(
        verify(&ed_token(&claims()), &issuers_with(config()).without_keys(ISSUER), NOW, &Limits::default()),
        unknown("ed")
    );
}

#[test]
fn a_token_without_a_key_id_needs_a_plain_choice() {
    assert!(check(&compact(&json!({"alg": "EdDSA"}), &claims(), sign_ed)).is_ok());
    let two = check(&compact(&json!({"alg": "RS256"}), &claims(), |m| sign_rsa(&RSA_PKCS1_SHA256, m)));
    assert_eq!(two, Err(TokenError::AmbiguousKey));
}

#[test]
fn malformed_tokens_are_refused_by_shape() {
    let good = ed_token(&claims());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, body) = signed.split_once('.').unwrap();
    for token in [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        header,
        signed,
        &format!("{good}."),
        &format!("{good} "),
        &format!(" {good}"),
        &format!("{good}="),
        &format!("{header}.{}.{signature}", b64("[]")),
        &format!("{header}.{}.{signature}", b64("{\"iss\":7}")),
        &format!("{header}.{}.{signature}", b64(format!("{{\"iss\":\"{ISSUER}\",\"iss\":\"x\"}}"))),
        &format!("{}.{body}.{signature}", b64("{}")),
        &format!("{}.{body}.{signature}", b64("{\"alg\":[]}")),
        &format!("{}.{body}.{signature}", b64("[\"EdDSA\",\"ed\"]")),
        &format!("{header}.{}.{signature}", b64("[".repeat(10_000))),
        &compact(&json!({"alg": "EdDSA", "kid": "k".repeat(300)}), &claims(), sign_ed),
    ] {
        let verdict = check(token);
        assert!(matches!(verdict, Err(TokenError::Malformed(_))), "{token}: {verdict:?}");
    }
    let crit = json!({"alg": "EdDSA", "kid": "ed", "crit": ["b64"], "b64": false});
    assert_eq!(check(&compact(&crit, &claims(), sign_ed)), Err(TokenError::CriticalHeader));
    let limits = Limits { token_bytes_max: 100, ..Limits::default() };
    let long = verify(&good, &issuers_with(config()), NOW, &limits);
    assert_eq!(long, Err(TokenError::TooLong { bytes: good.len(), max: 100 }));
}

#[test]
fn a_key_set_leaves_out_what_cannot_verify() {
    let keys = KeySet::parse(jwks().to_string().as_bytes()).unwrap();
    assert_eq!((keys.len(), keys.ignored()), (5, 8));
    assert!(keys.has("ed") && !keys.has("oct") && !keys.has(""));
    assert!(matches!(KeySet::parse(b"<html>"), Err(KeySetError::Malformed(_))));
    assert!(matches!(KeySet::parse(b"{\"keys\":{}}"), Err(KeySetError::Malformed(_))));
    assert_eq!(KeySet::parse(b"{\"keys\":[{\"kty\":\"oct\"}]}").unwrap_err(), KeySetError::NoKeys { ignored: 1 });
    let many = json!({"keys": vec![ed_jwk("k", &KEYS.ed); 257]});
    assert!(matches!(KeySet::parse(many.to_string().as_bytes()), Err(KeySetError::TooMany { keys: 257, .. })));
}

#[test]
fn discovery_is_believed_only_about_its_own_issuer() {
    let config = config();
    let parse = |text: Value| parse_discovery(text.to_string().as_bytes(), &config);
    assert_eq!(
        parse(json!({"issuer": ISSUER, "jwks_uri": "https://id.example/jwks"})),
        Ok("https://id.example/jwks".to_owned())
    );
    assert!(matches!(
        parse(json!({"issuer": OTHER, "jwks_uri": "https://x"})),
        Err(DiscoveryError::OtherIssuer { .. })
    ));
    assert!(matches!(
        parse(json!({"issuer": ISSUER, "jwks_uri": "http://id.example"})),
        Err(DiscoveryError::PlainHttp(_))
    ));
    assert!(matches!(parse(json!({"issuer": ISSUER})), Err(DiscoveryError::Malformed(_))));
}

#[test]
fn a_reload_keeps_the_keys_of_issuers_that_stay() {
    let issuers = issuers_with(config()).reconfigured([config()]);
    assert!(issuers.keys(ISSUER).is_some() && issuers.keys(OTHER).is_none());
    assert!(verify(&ed_token(&claims()), &issuers, NOW, &Limits::default()).is_ok());
    assert!(issuers.with_keys("https://nobody", Arc::default()).keys("https://nobody").is_none());
}

proptest! {
    #[test]
    fn arbitrary_text_is_refused_without_a_panic(text in ".{0,400}") {
        prop_assert!(check(&text).is_err());
    }

    #[test]
    fn a_token_with_one_byte_changed_is_refused(at in 0usize..400, byte in any::<u8>()) {
        let good = ed_token(&claims());
        let mut bytes = good.clone().into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(text) = String::from_utf8(bytes) && text != good {
            prop_assert!(check(&text).is_err());
        }
    }
}
