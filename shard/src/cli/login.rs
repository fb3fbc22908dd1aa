//! `tidegate login` and `tidegate logout`: a person's token, by the browser of this machine or, where it has none, of
//! another one, in a file that stock clients read.

mod saved;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use url::Url;
use zeroize::Zeroizing;

use self::saved::{Saved, login_file, write};
use super::Failure;
use super::credentials;
use crate::config::tokens::CLI_CLIENT;
use crate::control::tls;
use crate::tokens::secret::{draw, s256};

/// How long somebody may take in his browser.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long a browser's connection may be silent.
const SILENCE: Duration = Duration::from_secs(5);

/// What `tidegate login` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Login {
    /// The gateway's token endpoint, `tokens.issuer`
    #[arg(long, value_name = "URL", required_unless_present = "refresh")]
    server: Option<String>,
    /// The authorities that its certificate is checked against, PEM; by default the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Where to write the token [default: ~/.config/tidegate/token]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Only print the URL, for a browser of this machine that is opened by hand
    #[arg(long)]
    no_browser: bool,
    /// Show a code to enter in a browser elsewhere; by itself where this machine shows no windows
    #[arg(long, conflicts_with = "no_browser")]
    device: bool,
    /// Refresh the login of before, without a browser
    #[arg(long, conflicts_with = "server")]
    refresh: bool,
    /// Stay and keep the token fresh until the login ends
    #[arg(long)]
    watch: bool,
}

/// What `tidegate logout` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Logout {
    /// Where the token is [default: ~/.config/tidegate/token]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Discovery {
    authorization_endpoint: String,
    token_endpoint: String,
    revocation_endpoint: String,
    device_authorization_endpoint: Option<String>,
}

/// What a gateway says to a device (RFC 8628 §3.2).
#[derive(Deserialize)]
struct Codes {
    device_code: String,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: Option<String>,
    expires_in: u64,
    interval: Option<u64>,
}

#[derive(Deserialize)]
struct Answer {
    access_token: Option<String>,
    refresh_token: Option<String>,
    expires_in: Option<u64>,
    error: Option<String>,
    error_description: Option<String>,
}

impl Answer {
    /// The answer where it is a token.
    fn granted(self) -> anyhow::Result<Self> {
        match &self.error {
            Some(error) => bail!("{error}: {}", self.error_description.as_deref().unwrap_or("the gateway refuses")),
            None => Ok(self),
        }
    }
}

/// A gateway, and how to ask it.
struct Gateway {
    server: String,
    ca: Option<PathBuf>,
    http: reqwest::Client,
    endpoints: Discovery,
}

fn run(work: impl Future<Output = anyhow::Result<()>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(work));
    done.map_err(|error| Failure::Refused(vec![format!("{error:#}")]))
}

impl Login {
    pub(super) fn run(self) -> Result<(), Failure> {
        run(self.log_in())
    }

    async fn log_in(self) -> anyhow::Result<()> {
        let file = file_of(self.token_file.clone())?;
        let answer = if self.refresh {
            refresh(&file).await?
        } else {
            let server = self.server.as_deref().unwrap_or_default().trim_end_matches('/');
            let gateway = Gateway::find(server, self.ca.clone()).await?;
            let answer = match &gateway.endpoints.device_authorization_endpoint {
                Some(endpoint) if self.device || !(self.no_browser || shows_windows()) => {
                    gateway.by_device(endpoint).await?
                }
                None if self.device => bail!("{server} does not log devices in"),
                _ => self.by_browser(&gateway).await?,
            };
            gateway.save(&answer, &file)?;
            answer
        };
        eprintln!("logged in; the token is in {}", file.display());
        if self.watch { keep_fresh(&file, answer).await } else { Ok(()) }
    }

    async fn by_browser(&self, gateway: &Gateway) -> anyhow::Result<Answer> {
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on the loopback")?;
        let redirect_uri = format!("http://127.0.0.1:{}/callback", listener.local_addr()?.port());
        let random = || draw("").map_err(|_| anyhow::anyhow!("the system has no randomness"));
        let (state, verifier) = (random()?, random()?);
        let mut url = Url::parse(&gateway.endpoints.authorization_endpoint)?;
        url.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", CLI_CLIENT),
            ("redirect_uri", redirect_uri.as_str()),
            ("scope", "kafka"),
            ("state", state.as_str()),
            ("code_challenge", s256(&verifier).as_str()),
            ("code_challenge_method", "S256"),
        ]);
        eprintln!("Log in with your browser at\n\n  {url}\n");
        if !self.no_browser {
            open(&url);
        }
        let (expected, issuer) = (state.to_string(), gateway.server.clone());
        let code = tokio::task::spawn_blocking(move || wait_for_code(&listener, &expected, &issuer)).await??;
        let fields = [
            ("grant_type", "authorization_code"),
            ("client_id", CLI_CLIENT),
            ("code", code.as_str()),
            ("redirect_uri", redirect_uri.as_str()),
            ("code_verifier", verifier.as_str()),
        ];
        gateway.ask(&gateway.endpoints.token_endpoint, &fields).await
    }
}

impl Logout {
    pub(super) fn run(self) -> Result<(), Failure> {
        run(async move {
            let file = file_of(self.token_file)?;
            let saved = read(&file)?;
            let gateway = Gateway::find(&saved.server, saved.ca).await?;
            let fields = [("token", saved.refresh_token.as_str()), ("client_id", CLI_CLIENT)];
            gateway.post(&gateway.endpoints.revocation_endpoint, &fields).await?;
            for file in [login_file(&file), file] {
                std::fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
            }
            Ok(())
        })
    }
}

/// Refreshes until the login ends.
async fn keep_fresh(file: &Path, mut answer: Answer) -> anyhow::Result<()> {
    loop {
        // Well before its end, so that a client always finds a good one.
        let seconds = answer.expires_in.unwrap_or(60) * 2 / 3;
        tokio::time::sleep(Duration::from_secs(seconds.max(1))).await;
        let mut tries = 0;
        answer = loop {
            match refresh(file).await {
                Ok(answer) => break answer,
                Err(error) if tries < 5 && format!("{error:#}").contains("temporarily") => tries += 1,
                Err(error) => return Err(error),
            }
            tokio::time::sleep(Duration::from_secs(3)).await;
        };
    }
}

async fn refresh(file: &Path) -> anyhow::Result<Answer> {
    let saved = read(file)?;
    let gateway = Gateway::find(&saved.server, saved.ca).await?;
    let fields =
        [("grant_type", "refresh_token"), ("client_id", CLI_CLIENT), ("refresh_token", saved.refresh_token.as_str())];
    let answer = gateway.ask(&gateway.endpoints.token_endpoint, &fields).await?;
    gateway.save(&answer, file)?;
    Ok(answer)
}

/// Whether a browser can be opened here.
fn shows_windows() -> bool {
    ["DISPLAY", "WAYLAND_DISPLAY", "BROWSER"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|set| !set.is_empty()))
}

/// Opens the user's browser: the first that `BROWSER` names, or the desktop's.
fn open(url: &Url) {
    let named = std::env::var("BROWSER").ok();
    let named = named.as_deref().and_then(|named| named.split(':').next()).filter(|named| !named.is_empty());
    let mut command = Command::new(named.unwrap_or("xdg-open"));
    // Where it fails, the URL is opened by hand: it was printed.
    let _ = command.arg(url.as_str()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
}

fn file_of(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    named
        .or_else(credentials::token_file)
        .context("there is no home folder for the token; name a file with --token-file")
}

fn read(file: &Path) -> anyhow::Result<Saved> {
    let saved = login_file(file);
    let text =
        std::fs::read(&saved).with_context(|| format!("nobody is logged in: cannot read {}", saved.display()))?;
    serde_json::from_slice(&text).map_err(|_| anyhow::anyhow!("{} holds no login", saved.display()))
}

impl Gateway {
    async fn find(server: &str, ca: Option<PathBuf>) -> anyhow::Result<Self> {
        let local = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
        let plain = local.iter().any(|local| {
            server.strip_prefix(local).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
        });
        if !plain && !server.starts_with("https://") {
            bail!("{server} must be https://; http:// is for the loopback only");
        }
        let tls = if plain { tls::no_authorities()? } else { tls::client(ca.as_deref(), None)? };
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(20))
            .build()?;
        let url = format!("{server}/.well-known/openid-configuration");
        let answer = http.get(&url).send().await.with_context(|| format!("{server} does not answer"))?;
        let endpoints: Discovery = serde_json::from_slice(&answer.bytes().await?)
            .map_err(|_| anyhow::anyhow!("{url} is not a gateway's token endpoint where people can log in"))?;
        let ours = [&endpoints.authorization_endpoint, &endpoints.token_endpoint, &endpoints.revocation_endpoint];
        if !ours
            .into_iter()
            .chain(&endpoints.device_authorization_endpoint)
            .all(|endpoint| endpoint.starts_with(&format!("{server}/")))
        {
            bail!("{server} calls itself otherwise; use the URL of `tokens.issuer`");
        }
        Ok(Self { server: server.to_owned(), ca, http, endpoints })
    }

    async fn post(&self, url: &str, fields: &[(&str, &str)]) -> anyhow::Result<Zeroizing<Vec<u8>>> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self.http.post(url).header("content-type", "application/x-www-form-urlencoded").body(body);
        let answer = request.send().await.with_context(|| format!("{} does not answer (temporarily?)", self.server))?;
        Ok(Zeroizing::new(answer.bytes().await?.to_vec()))
    }

    async fn ask(&self, url: &str, fields: &[(&str, &str)]) -> anyhow::Result<Answer> {
        self.try_ask(url, fields).await?.granted()
    }

    async fn try_ask(&self, url: &str, fields: &[(&str, &str)]) -> anyhow::Result<Answer> {
        let body = self.post(url, fields).await?;
        serde_json::from_slice(&body).map_err(|_| anyhow::anyhow!("{url} answers with no JSON"))
    }

    /// RFC 8628: the user enters a code in a browser elsewhere, and this asks until he has.
    async fn by_device(&self, endpoint: &str) -> anyhow::Result<Answer> {
        let body = self.post(endpoint, &[("client_id", CLI_CLIENT), ("scope", "kafka")]).await?;
        let codes: Codes = serde_json::from_slice(&body).map_err(|_| {
            let answer: Option<Answer> = serde_json::from_slice(&body).ok();
            answer
                .and_then(|answer| answer.granted().err())
                .unwrap_or_else(|| anyhow::anyhow!("{endpoint} answers with no codes"))
        })?;
        eprintln!(
            "In a browser on any machine, open\n\n  {}\n\nand enter the code\n\n  {}\n",
            codes.verification_uri, codes.user_code
        );
        if let Some(complete) = &codes.verification_uri_complete {
            eprintln!("or open {complete}");
        }
        let fields = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("client_id", CLI_CLIENT),
            ("device_code", codes.device_code.as_str()),
        ];
        let mut interval = Duration::from_secs(codes.interval.unwrap_or(5).max(1));
        let until = Instant::now() + Duration::from_secs(codes.expires_in.min(PATIENCE.as_secs()));
        while Instant::now() < until {
            tokio::time::sleep(interval).await;
            match self.try_ask(&self.endpoints.token_endpoint, &fields).await {
                Ok(answer) if answer.error.as_deref() == Some("authorization_pending") => {}
                Ok(answer) if answer.error.as_deref() == Some("slow_down") => interval += Duration::from_secs(5),
                // A gateway that does not answer for a moment is asked again, more slowly (RFC 8628 §3.5).
                Ok(answer) if answer.error.as_deref() == Some("temporarily_unavailable") => interval *= 2,
                Ok(answer) => return answer.granted(),
                Err(_) => interval *= 2,
            }
        }
        bail!("nobody agreed within {} minutes", codes.expires_in / 60)
    }

    fn save(&self, answer: &Answer, file: &Path) -> anyhow::Result<()> {
        let token = answer.access_token.as_deref().context("the gateway gave no token")?;
        let refresh_token = answer.refresh_token.clone().context("the gateway gave no refresh token")?;
        let saved = Saved { server: self.server.clone(), ca: self.ca.clone(), refresh_token };
        let text = Zeroizing::new(serde_json::to_string(&saved)?);
        write(&login_file(file), &text).with_context(|| format!("cannot write {}", login_file(file).display()))?;
        write(file, token).with_context(|| format!("cannot write {}", file.display()))
    }
}

/// Waits for the browser to come back with this login's code.
fn wait_for_code(listener: &TcpListener, state: &str, issuer: &str) -> anyhow::Result<Zeroizing<String>> {
    listener.set_nonblocking(true)?;
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let Ok((stream, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        if let Some(code) = code_of(stream, state, issuer) {
            return code;
        }
    }
    bail!("nobody logged in within {} minutes", PATIENCE.as_secs() / 60)
}

/// What one request of a browser brings; `None` where it is about something else.
fn code_of(stream: TcpStream, state: &str, issuer: &str) -> Option<anyhow::Result<Zeroizing<String>>> {
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(SILENCE)).ok()?;
    let mut line = String::new();
    let mut reader = BufReader::new(std::io::Read::take(&stream, 16 * 1024));
    reader.read_line(&mut line).ok()?;
    let query = line.strip_prefix("GET /callback?")?.split(' ').next()?;
    let fields: std::collections::HashMap<_, _> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    // Another page may send the browser here; it does not know the state, nor another gateway the issuer.
    let ours =
        fields.get("state").is_some_and(|found| found == state) && fields.get("iss").is_some_and(|iss| iss == issuer);
    let result = match (ours, fields.get("code")) {
        (true, Some(code)) => Ok(Zeroizing::new(code.clone())),
        (true, None) => Err(anyhow::anyhow!("the login was refused")),
        (false, _) => return None,
    };
    let text = if result.is_ok() { "You are logged in. You can close this window." } else { "You are not logged in." };
    let mut header = String::new();
    while reader.read_line(&mut header).is_ok_and(|read| read > 2) {
        header.clear();
    }
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
    let _ = (&stream).write_all(answer.as_bytes());
    Some(result)
}
