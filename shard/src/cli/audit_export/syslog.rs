//! To a syslog receiver: RFC 5424 messages over TLS, framed as RFC 5425 says.
//!
//! Syslog acknowledges nothing. So each batch has a connection of its own, which is ended in good order: the receiver
//! answers TLS's farewell when it has read everything before it (RFC 5425, section 4.4), and until it does, the batch does
//! not count as delivered. A receiver that dies says no farewell.
//!
//! A message is one line of JSON in ASCII (what is not is escaped), so that it needs no byte order mark, which parsers of
//! JSON stumble over. Receivers must take 2,048 bytes and should take 8,192 (RFC 5425, section 4.3.1): beyond that, an
//! OCSF event goes without its copy of the entry in `unmapped`.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tidegate_audit::json::{kind_name, time_text};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Args, Item, Tried};
use crate::control::tls;

/// The port of syslog over TLS.
const PORT: u16 = 6514;
/// How long connecting, writing and closing may take each.
const PATIENCE: Duration = Duration::from_secs(30);
/// What every receiver should take, in bytes.
const MESSAGE_BYTES: usize = 8192;
/// "Log audit", and of its severities "warning" and "informational".
const FACILITY: u8 = 13;
const WARNING: u8 = 4;
const INFORMATIONAL: u8 = 6;

/// A receiver.
pub(super) struct Syslog {
    host: String,
    port: u16,
    name: ServerName<'static>,
    tls: TlsConnector,
}

impl Syslog {
    /// # Errors
    /// The address or a file of TLS cannot be used.
    pub(super) fn open(args: &Args) -> anyhow::Result<Self> {
        let to = &args.to;
        let url = url::Url::parse(to).with_context(|| format!("--to {to}"))?;
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.with_context(|| format!("--to {to}: names no host"))?.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host.clone()).with_context(|| format!("--to {to}"))?;
        let own = match (&args.certificate, &args.key) {
            (Some(certificate), Some(key)) => Some((certificate.as_path(), key.as_path())),
            (None, None) => None,
            _ => anyhow::bail!("--certificate and --key only work together"),
        };
        let tls = TlsConnector::from(Arc::new(tls::client(args.ca.as_deref(), own)?));
        Ok(Self { host, port: url.port().unwrap_or(PORT), name, tls })
    }

    /// Sends a batch once.
    pub(super) async fn send(&self, frames: &[u8]) -> Tried {
        match self.try_send(frames).await {
            Ok(()) => Tried::Done,
            Err(error) => Tried::Failed(error),
        }
    }

    async fn try_send(&self, frames: &[u8]) -> anyhow::Result<()> {
        let connect = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
            self.tls.connect(self.name.clone(), stream).await
        };
        let mut stream = timeout(PATIENCE, connect).await.context("connecting takes too long")??;
        let write = async {
            stream.write_all(frames).await?;
            // Says that nothing follows; what the receiver then says is that it has read it all.
            stream.shutdown().await
        };
        timeout(PATIENCE, write).await.context("it takes too long to take it")??;
        let mut end = [0; 256];
        let closed = async {
            while stream.read(&mut end).await? > 0 {}
            std::io::Result::Ok(())
        };
        // An end without TLS's own farewell, which RFC 5425 (section 4.4) asks of a receiver, is one that died.
        timeout(PATIENCE, closed)
            .await
            .context("it does not say that it has read everything")?
            .context("it ended without saying that it has read everything")
    }
}

/// Messages of a batch, each with its length before it.
pub(super) fn frames(items: &[Item<'_>], origin: &str) -> Vec<u8> {
    let mut frames = Vec::new();
    for item in items {
        let message = message(item, origin);
        frames.extend_from_slice(format!("{} ", message.len()).as_bytes());
        frames.extend_from_slice(message.as_bytes());
    }
    frames
}

fn message(item: &Item<'_>, origin: &str) -> String {
    let event = &item.entry.event;
    let mut text = item.value.to_string();
    if text.len() > MESSAGE_BYTES
        && let Value::Object(mut fields) = item.value.clone()
        && fields.remove("unmapped").is_some()
    {
        text = Value::Object(fields).to_string();
    }
    let severity = if super::is_refusal(event) { WARNING } else { INFORMATIONAL };
    let mut message = format!(
        "<{}>1 {} {} tidegate shard-{:03} {} [origin software=\"Tidegate\" swVersion=\"{}\"] ",
        FACILITY * 8 + severity,
        time_text(event.time_micros),
        header_field(origin, 255),
        item.entry.shard,
        header_field(kind_name(event.kind), 32),
        env!("CARGO_PKG_VERSION"),
    );
    push_ascii(&mut message, &text);
    message
}

/// A field of the header: printable ASCII, so long, or `-`.
fn header_field(text: &str, most: usize) -> String {
    let field: String = text.chars().filter(char::is_ascii_graphic).take(most).collect();
    if field.is_empty() { "-".to_owned() } else { field }
}

/// JSON in ASCII: what is not, stands only in strings, where it can be escaped.
fn push_ascii(out: &mut String, json: &str) {
    let mut units = [0; 2];
    for char in json.chars() {
        if char.is_ascii() {
            out.push(char);
            continue;
        }
        for unit in char.encode_utf16(&mut units) {
            // A string takes everything.
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_audit::export::ocsf;
    use tidegate_audit::tail::Entry;
    use tidegate_core::event::{Event, Kind, Outcome};

    use super::*;

    fn entry(detail: &str) -> Entry {
        let event = Event {
            time_micros: 1_700_000_000_123_456,
            kind: Kind::Exchange as i32,
            outcome: Outcome::Denied as i32,
            principal: "änna 😀".into(),
            detail: detail.into(),
            ..Event::default()
        };
        Entry { shard: 3, sequence: 7, event }
    }

    #[test]
    fn a_message_is_what_the_rfc_says() {
        let entry = entry("x");
        let value = json!({ "principal": entry.event.principal });
        let expected = concat!(
            "<108>1 2023-11-14T22:13:20.123456Z gw/a tidegate shard-003 exchange [origin software=\"Tidegate\" ",
            "swVersion=\"0.1.0\"] {\"principal\":\"\\u00e4nna \\ud83d\\ude00\"}"
        );
        let item = Item { entry: &entry, value };
        assert_eq!(message(&item, "gw/a"), expected);
        assert_eq!(frames(&[item], "gw/a"), format!("{} {expected}", expected.len()).into_bytes());
        let json = expected.split_once("] ").unwrap().1;
        assert_eq!(serde_json::from_str::<Value>(json).unwrap()["principal"], "änna 😀");
        assert_eq!((header_field("", 9), header_field("a b\u{e4}c", 2)), ("-".to_owned(), "ab".to_owned()));
    }

    #[test]
    fn long_messages_leave_out_what_is_there_twice() {
        let entry = entry(&"x".repeat(3000));
        let value = ocsf(&entry, "gw");
        assert!(value.to_string().len() > MESSAGE_BYTES, "{}", value.to_string().len());
        let message = message(&Item { entry: &entry, value }, "gw");
        assert!(message.len() < MESSAGE_BYTES, "{}", message.len());
        let json: Value = serde_json::from_str(message.split_once("] ").unwrap().1).unwrap();
        assert!(json["unmapped"].is_null() && json["metadata"]["uid"] == "gw/003/7", "{json}");
    }
}
