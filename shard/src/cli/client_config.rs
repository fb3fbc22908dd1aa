//! `tidegate client-config`: what a stock client's configuration must say, ready to paste.
//!
//! A program with a service account gets its tokens itself (`--service-account`); one that runs for a person reads the
//! token from a file, which something else keeps fresh (`--token-file`).

use std::path::PathBuf;

use clap::ValueEnum;

use super::{Failure, credentials};

/// What `tidegate client-config` takes.
#[derive(Debug, clap::Args)]
pub(super) struct ClientConfig {
    /// The client
    #[arg(long, value_enum)]
    client: Client,
    /// Where the gateway listens for clients
    #[arg(long, value_name = "HOST:PORT")]
    bootstrap: String,
    /// The authorities that the gateway's certificate is checked against, PEM; without it the listener is plain text
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The gateway's token endpoint, `tokens.issuer`
    #[arg(long, value_name = "URL", requires = "service_account")]
    server: Option<String>,
    /// The service account that the program is; its secret replaces SECRET
    #[arg(long, value_name = "NAME", requires = "server", conflicts_with = "token_file")]
    service_account: Option<String>,
    /// The file that holds the token [default: the one that `tidegate login` writes]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// A stock client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Client {
    /// Apache Kafka's Java client and tools
    Java,
    /// librdkafka and what passes its properties through
    Librdkafka,
    /// confluent-kafka for Python
    Python,
    /// KafkaJS
    Node,
    /// confluent-kafka-go
    Go,
    /// kcat
    Kcat,
}

/// Where the token comes from.
enum Source<'a> {
    Endpoint { url: String, name: &'a str },
    File(String),
}

impl ClientConfig {
    pub(super) fn run(&self) -> Result<(), Failure> {
        print!("{}", self.text());
        Ok(())
    }

    fn text(&self) -> String {
        let source = match (&self.server, &self.service_account, &self.token_file) {
            (Some(server), Some(name), _) => {
                Source::Endpoint { url: format!("{}/token", server.trim_end_matches('/')), name }
            }
            (_, _, file) => {
                let file = file.clone().or_else(credentials::token_file).unwrap_or_else(|| PathBuf::from("TOKEN_FILE"));
                Source::File(std::path::absolute(&file).unwrap_or(file).display().to_string())
            }
        };
        match self.client {
            Client::Java => self.java(&source),
            Client::Librdkafka => self.librdkafka(&source),
            Client::Kcat => self.kcat(&source),
            Client::Python => self.python(&source),
            Client::Node => self.node(&source),
            Client::Go => self.go(&source),
        }
    }

    fn protocol(&self) -> &'static str {
        if self.ca.is_some() { "SASL_SSL" } else { "SASL_PLAINTEXT" }
    }

    fn ca(&self) -> Option<String> {
        self.ca.as_ref().map(|ca| ca.display().to_string())
    }

    fn java(&self, source: &Source<'_>) -> String {
        let (url, options) = match source {
            Source::Endpoint { url, name } => {
                // The token endpoint is checked against the same authorities; it has options of its own for them.
                let trust = self.ca().map(|ca| format!(" ssl.truststore.type=\"PEM\" ssl.truststore.location={ca:?}"));
                let account = format!(" clientId=\"{name}\" clientSecret=\"SECRET\"");
                (url.clone(), account + &trust.unwrap_or_default())
            }
            Source::File(file) => (format!("file://{file}"), String::new()),
        };
        let trust = self.ca().map(|ca| format!("ssl.truststore.type=PEM\nssl.truststore.location={ca}\n"));
        format!(
            "# Run Java with -Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={url}\n\
             bootstrap.servers={}\nsecurity.protocol={}\n{}sasl.mechanism=OAUTHBEARER\n\
             sasl.login.callback.handler.class=\
             org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler\n\
             sasl.oauthbearer.token.endpoint.url={url}\n\
             sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required{options};\n",
            self.bootstrap,
            self.protocol(),
            trust.unwrap_or_default(),
        )
    }

    /// Properties that librdkafka takes by itself.
    fn properties(&self, source: &Source<'_>) -> Vec<(&'static str, String)> {
        let mut properties =
            vec![("bootstrap.servers", self.bootstrap.clone()), ("security.protocol", self.protocol().to_owned())];
        properties.extend(self.ca().map(|ca| ("ssl.ca.location", ca)));
        match source {
            Source::Endpoint { url, name } => {
                properties.extend([
                    ("sasl.mechanisms", "OAUTHBEARER".to_owned()),
                    ("sasl.oauthbearer.method", "oidc".to_owned()),
                    ("sasl.oauthbearer.client.id", (*name).to_owned()),
                    ("sasl.oauthbearer.client.secret", "SECRET".to_owned()),
                    ("sasl.oauthbearer.token.endpoint.url", url.clone()),
                ]);
                properties.extend(self.ca().map(|ca| ("https.ca.location", ca)));
            }
            Source::File(_) => properties.push(("sasl.mechanisms", "OAUTHBEARER".to_owned())),
        }
        properties
    }

    fn librdkafka(&self, source: &Source<'_>) -> String {
        let lines = |properties: Vec<(&str, String)>| {
            properties.into_iter().map(|(key, value)| format!("{key}={value}\n")).collect::<String>()
        };
        match source {
            Source::Endpoint { .. } => lines(self.properties(source)),
            // It reads no token file by itself; the token is the password.
            Source::File(file) => {
                let mut properties = self.properties(source);
                properties.retain(|(key, _)| *key != "sasl.mechanisms");
                properties.push(("sasl.mechanisms", "PLAIN".to_owned()));
                properties.push(("sasl.username", "token".to_owned()));
                properties.push(("sasl.password", format!("CONTENT OF {file}")));
                lines(properties)
            }
        }
    }

    fn kcat(&self, source: &Source<'_>) -> String {
        let mut words = vec!["kcat".to_owned()];
        let (as_password, password) = match source {
            Source::File(file) => (self.librdkafka(source), format!("$(cat '{file}')")),
            Source::Endpoint { url, name } => match self.ca() {
                // The librdkafka of most systems knows no authorities of one's own for the token endpoint.
                Some(ca) => (
                    self.librdkafka(&Source::File(String::new())),
                    format!(
                        "$(curl -sS --cacert '{ca}' -d grant_type=client_credentials -d client_id='{name}' \
                         -d client_secret='SECRET' '{url}' | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')"
                    ),
                ),
                None => (self.librdkafka(source), String::new()),
            },
        };
        for line in as_password.lines() {
            match (line.split_once('='), source) {
                (Some(("sasl.password", _)), _) => words.push(format!("-X sasl.password=\"{password}\"")),
                (Some(("bootstrap.servers", servers)), _) => words.push(format!("-b {servers}")),
                _ => words.push(format!("-X '{line}'")),
            }
        }
        format!("{} -L\n", words.join(" \\\n  "))
    }

    fn python(&self, source: &Source<'_>) -> String {
        let mut text = String::new();
        let mut callback = "";
        if let Source::File(file) = source {
            text = format!(
                "import base64, json\n\n\ndef token(_):\n    with open({file:?}) as file:\n        token = file.read().strip()\n    \
                 claims = token.split('.')[1]\n    \
                 claims = json.loads(base64.urlsafe_b64decode(claims + '=' * (-len(claims) % 4)))\n    \
                 return token, float(claims['exp'])\n\n\n"
            );
            callback = "    'oauth_cb': token,\n";
        }
        let properties = self.properties(source).into_iter();
        let lines: String = properties.map(|(key, value)| format!("    {key:?}: {value:?},\n")).collect();
        format!("{text}config = {{\n{lines}{callback}}}\n")
    }

    fn node(&self, source: &Source<'_>) -> String {
        let ssl = self.ca().map_or("false".to_owned(), |ca| format!("{{ ca: [fs.readFileSync({ca:?})] }}"));
        let note = match (source, self.ca()) {
            (Source::Endpoint { .. }, Some(ca)) => format!("// Run Node with NODE_EXTRA_CA_CERTS={ca}\n"),
            _ => String::new(),
        };
        let provider = match source {
            Source::File(file) => format!("({{ value: fs.readFileSync({file:?}, 'utf8').trim() }})"),
            Source::Endpoint { url, name } => format!(
                "{{\n      const body = new URLSearchParams({{ grant_type: 'client_credentials', client_id: {name:?}, \
                 client_secret: 'SECRET' }});\n      \
                 const answer = await fetch({url:?}, {{ method: 'POST', body }});\n      \
                 return {{ value: (await answer.json()).access_token }};\n    }}"
            ),
        };
        format!(
            "{note}const fs = require('fs');\nconst config = {{\n  brokers: [{:?}],\n  ssl: {ssl},\n  sasl: {{\n    \
             mechanism: 'oauthbearer',\n    oauthBearerProvider: async () => {provider},\n  }},\n}};\n",
            self.bootstrap
        )
    }

    fn go(&self, source: &Source<'_>) -> String {
        let properties = self.properties(source).into_iter();
        let lines: String = properties.map(|(key, value)| format!("\t{key:?}: {value:?},\n")).collect();
        let config = format!("var config = &kafka.ConfigMap{{\n{lines}}}\n");
        match source {
            Source::Endpoint { .. } => config,
            Source::File(file) => format!(
                "// Imports: encoding/base64, encoding/json, os, strings, time, \
                 github.com/confluentinc/confluent-kafka-go/v2/kafka\n{config}\n\
                 // refreshToken answers each kafka.OAuthBearerTokenRefresh event of the client.\n\
                 func refreshToken(client kafka.Handle) error {{\n\
                 \ttext, err := os.ReadFile({file:?})\n\
                 \tif err != nil {{\n\t\treturn client.SetOAuthBearerTokenFailure(err.Error())\n\t}}\n\
                 \ttoken := strings.TrimSpace(string(text))\n\
                 \tvar claims struct {{\n\t\tSub string\n\t\tExp float64\n\t}}\n\
                 \tif parts := strings.Split(token, \".\"); len(parts) == 3 {{\n\
                 \t\tif body, err := base64.RawURLEncoding.DecodeString(parts[1]); err == nil {{\n\
                 \t\t\t_ = json.Unmarshal(body, &claims)\n\t\t}}\n\t}}\n\
                 \treturn client.SetOAuthBearerToken(kafka.OAuthBearerToken{{\n\
                 \t\tTokenValue: token,\n\t\tPrincipal:  claims.Sub,\n\
                 \t\tExpiration: time.Unix(int64(claims.Exp), 0),\n\t}})\n}}\n"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_is_told_where_its_token_comes_from() {
        for client in Client::value_variants() {
            let config = |server: Option<&str>, token_file: Option<&str>| ClientConfig {
                client: *client,
                bootstrap: "gw.example.com:9092".to_owned(),
                ca: Some(PathBuf::from("/etc/ca.pem")),
                server: server.map(str::to_owned),
                service_account: server.map(|_| "etl".to_owned()),
                token_file: token_file.map(PathBuf::from),
            };
            let account = config(Some("https://gw.example.com:9645/"), None).text();
            for part in ["gw.example.com:9092", "https://gw.example.com:9645/token", "etl", "SECRET", "/etc/ca.pem"] {
                assert!(account.contains(part), "{client:?} lacks {part}: {account}");
            }
            let person = config(None, Some("/home/alice/token")).text();
            assert!(person.contains("/home/alice/token") && !person.contains("SECRET"), "{client:?}: {person}");
        }
    }
}
