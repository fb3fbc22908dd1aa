//! A browser's part without a browser: HTTP requests one by one, with cookies and hidden fields carried by hand, so that
//! a test can carry the wrong ones.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde_json::Value;

use crate::tls::Authority;

/// An HTTP client that follows nothing by itself.
pub(crate) struct Web {
    runtime: tokio::runtime::Runtime,
    http: reqwest::Client,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Where it redirects to; empty where it does not.
    pub(crate) location: String,
    /// The first `Set-Cookie`, without its attributes.
    pub(crate) cookie: String,
    /// The same with them.
    pub(crate) set_cookie: String,
    pub(crate) body: String,
}

impl Web {
    /// Trusts the tests' authority; connects from 127.0.0.`host`, so that nobody is slowed down for another's guesses.
    pub(crate) fn from(host: u8) -> Self {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured((*Authority::shared().client_config(None)).clone())
            .redirect(reqwest::redirect::Policy::none())
            .local_address(IpAddr::from(Ipv4Addr::new(127, 0, 0, host)))
            .no_proxy()
            .timeout(Duration::from_secs(30))
            .build()
            .unwrap();
        Self { runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(), http }
    }

    #[track_caller]
    pub(crate) fn get(&self, url: &str, cookie: &str) -> Answer {
        self.send(self.http.get(url), cookie)
    }

    /// Posts a form.
    #[track_caller]
    pub(crate) fn post(&self, url: &str, fields: &[(&str, &str)], cookie: &str) -> Answer {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self.http.post(url).header("content-type", "application/x-www-form-urlencoded").body(body);
        self.send(request, cookie)
    }

    #[track_caller]
    fn send(&self, request: reqwest::RequestBuilder, cookie: &str) -> Answer {
        let request = if cookie.is_empty() { request } else { request.header("cookie", cookie) };
        self.runtime.block_on(async {
            let answer = request.send().await.unwrap_or_else(|error| panic!("{error:?}"));
            let header = |name: &str| answer.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
            let set_cookie = header("set-cookie");
            Answer {
                status: answer.status().as_u16(),
                location: header("location"),
                cookie: set_cookie.split(';').next().unwrap_or_default().to_owned(),
                set_cookie,
                body: answer.text().await.unwrap(),
            }
        })
    }
}

impl Answer {
    /// The value of an input of the page's form.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> String {
        let at = format!("name=\"{name}\" value=\"");
        let (_, rest) = self.body.split_once(&at).unwrap_or_else(|| panic!("no {name} in {self:?}"));
        rest.split('"').next().unwrap().replace("&quot;", "\"").replace("&amp;", "&")
    }

    /// The body, which is JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A parameter of the URL that it redirects to.
    #[track_caller]
    pub(crate) fn parameter(&self, name: &str) -> String {
        let query = self.location.split_once('?').unwrap_or_else(|| panic!("{self:?}")).1;
        let found = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name);
        found.unwrap_or_else(|| panic!("no {name} in {self:?}")).1.into_owned()
    }
}
