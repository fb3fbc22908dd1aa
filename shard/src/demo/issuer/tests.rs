//! The issuer over its own sockets: what it signs verifies, what it breaks does not.

use super::*;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn issuer(key: KeyKind) -> Issuer {
    let issuer = Issuer::start(Options { key, ..Options::loopback("kafka") }).await.unwrap();
    issuer.register(Client::new("alice", "s3cret&", &["analysts"]));
    issuer
}

/// Status code and body of one request over a connection of its own.
async fn request(issuer: &Issuer, head: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(issuer.address()).await.unwrap();
    let text =
        format!("{head}\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

async fn verified(issuer: &Issuer, token: &str) -> Result<Value, jsonwebtoken::errors::Error> {
    let (_, body) = request(issuer, "GET /jwks HTTP/1.1", "").await;
    let set: JwkSet = serde_json::from_str(&body).unwrap();
    let kid = jsonwebtoken::decode_header(token)?.kid.unwrap_or_default();
    let jwk = set.find(&kid).ok_or(jsonwebtoken::errors::ErrorKind::InvalidKeyFormat)?;
    let algorithm: Algorithm = jwk.common.key_algorithm.unwrap().to_string().parse().unwrap();
    let mut validation = Validation::new(algorithm);
    validation.set_audience(&["kafka"]);
    validation.set_issuer(&[issuer.url()]);
    validation.validate_nbf = true;
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    Ok(jsonwebtoken::decode::<Value>(token, &DecodingKey::from_jwk(jwk)?, &validation)?.claims)
}

#[tokio::test]
async fn good_tokens_verify_and_broken_ones_do_not() {
    for kind in [KeyKind::Rs256, KeyKind::Es256, KeyKind::EdDsa] {
        let issuer = issuer(kind).await;
        let good = issuer.mint("alice", &["analysts"], Duration::from_secs(60)).unwrap();
        let claims = verified(&issuer, &good).await.unwrap();
        assert_eq!(claims["sub"], "alice");
        assert_eq!(claims["groups"], json!(["analysts"]));
        for flaw in Flaw::ALL {
            let request = TokenRequest::new("alice", &[], Duration::from_secs(60)).flaw(flaw);
            let broken = issuer.sign(&request).unwrap();
            assert!(verified(&issuer, &broken).await.is_err(), "{kind:?} {flaw:?}");
        }
    }
}

#[tokio::test]
async fn rotation_keeps_former_keys_until_they_are_retired() {
    let issuer = issuer(KeyKind::Rs256).await;
    let old = issuer.mint("alice", &[], Duration::from_secs(60)).unwrap();
    issuer.rotate(KeyKind::Es256).unwrap();
    let new = issuer.mint("alice", &[], Duration::from_secs(60)).unwrap();
    assert!(verified(&issuer, &old).await.is_ok());
    assert!(verified(&issuer, &new).await.is_ok());
    issuer.retire();
    assert!(verified(&issuer, &old).await.is_err());
    assert!(verified(&issuer, &new).await.is_ok());
    assert_eq!(issuer.jwks_requests(), 4);
}

#[tokio::test]
async fn token_endpoint_takes_both_kinds_of_client_authentication() {
    let issuer = issuer(KeyKind::Es256).await;
    let basic = STANDARD.encode("alice:s3cret%26");
    let form = "Content-Type: application/x-www-form-urlencoded";
    let rows = [
        (
            format!("POST /token HTTP/1.1\r\n{form}\r\nAuthorization: Basic {basic}"),
            "grant_type=client_credentials",
            200,
        ),
        (
            format!("POST /token HTTP/1.1\r\n{form}"),
            "grant_type=client_credentials&client_id=alice&client_secret=s3cret%26&scope=a+b",
            200,
        ),
        (
            format!("POST /token HTTP/1.1\r\n{form}"),
            "grant_type=client_credentials&client_id=alice&client_secret=wrong",
            401,
        ),
        (format!("POST /token HTTP/1.1\r\n{form}"), "grant_type=client_credentials", 401),
        (format!("POST /token HTTP/1.1\r\n{form}\r\nAuthorization: Basic {basic}"), "grant_type=password", 400),
    ];
    for (head, body, expected) in rows {
        let (status, answer) = request(&issuer, &head, body).await;
        assert_eq!(status, expected, "{head} {body}: {answer}");
        if status == 200 {
            let answer: Value = serde_json::from_str(&answer).unwrap();
            let claims = verified(&issuer, answer["access_token"].as_str().unwrap()).await.unwrap();
            assert_eq!(claims["sub"], "alice");
            assert_eq!(claims["scope"], if body.contains("scope") { "a b" } else { "kafka" });
        }
    }
}

#[tokio::test]
async fn discovery_names_the_endpoints_and_failing_answers_503() {
    let issuer = issuer(KeyKind::Rs256).await;
    let get = "GET /.well-known/openid-configuration HTTP/1.1";
    let (status, body) = request(&issuer, get, "").await;
    assert_eq!(status, 200);
    let discovery: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(discovery["issuer"], issuer.url());
    assert_eq!(discovery["jwks_uri"], issuer.jwks_uri());
    assert_eq!(discovery["id_token_signing_alg_values_supported"], json!(["RS256"]));
    issuer.set_failing(true);
    assert_eq!(request(&issuer, get, "").await.0, 503);
}

#[test]
fn form_decoding_leaves_broken_escapes_alone() {
    for (text, expected) in [("a+b", "a b"), ("%41%zz%4", "A%zz%4"), ("", ""), ("%C3%A9", "é")] {
        assert_eq!(form_decode(text), expected);
    }
}
