//! Sends requests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use http_body_util::{BodyExt, Full};
use serde::Serialize;
use strongroom_outbound::{Body, Incoming, NOT_TLS, Outbound, Reason};
use strongroom_stdx::{Entropy, Secret, format_duration};

use crate::config::Config;
use crate::connect;
use crate::error::{ConfigError, Error};
use crate::rate::Limiter;
use crate::reply::Reply;
use crate::request::{Payload, Request};
use crate::response::Response;
use crate::{Address, Retry};

/// A client of one server. Cheap to clone; clones share connections, rate limit and settings.
#[derive(Clone)]
pub struct Client {
    config: Arc<Config>,
    address: Arc<Address>,
    outbound: Outbound,
    limiter: Option<Arc<Limiter>>,
    entropy: Entropy,
}

/// A request as it would go over the wire.
pub struct Prepared {
    /// HTTP method.
    pub method: http::Method,
    /// Full URL.
    pub url: String,
    /// All headers, the token among them marked as sensitive.
    pub headers: HeaderMap,
}

impl Client {
    /// Makes a client. Nothing is connected yet; certificates are read now.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let address = Address::parse(&config.address)?;
        let outbound = connect::outbound(&config, &address)?;
        let limiter = config.rate_limit.map(|limit| Arc::new(Limiter::new(limit)));
        Ok(Self {
            config: Arc::new(config),
            address: Arc::new(address),
            outbound,
            limiter,
            entropy: Entropy::system(),
        })
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The same client with changed settings; connections are shared if the address and TLS settings stay.
    pub fn with(&self, change: impl FnOnce(&mut Config)) -> Result<Self, ConfigError> {
        let mut config = (*self.config).clone();
        change(&mut config);
        Self::new(config)
    }

    /// The same client with another token (none: requests go without).
    #[must_use]
    pub fn with_token(&self, token: Option<Secret<String>>) -> Self {
        let mut config = (*self.config).clone();
        config.token = token;
        Self { config: Arc::new(config), ..self.clone() }
    }

    /// Reads a path. `None` if there is nothing.
    pub async fn read(&self, path: &str) -> Result<Option<Reply>, Error> {
        self.send(Request::read(path)).await?.reply_or_none().await
    }

    /// Lists the names below a path. `None` if there are none.
    pub async fn list(&self, path: &str) -> Result<Option<Reply>, Error> {
        self.send(Request::list(path)).await?.reply_or_none().await
    }

    /// Lists all names below a path, folder by folder. `None` if there are none.
    pub async fn scan(&self, path: &str) -> Result<Option<Reply>, Error> {
        self.send(Request::scan(path)).await?.reply_or_none().await
    }

    /// Writes `data` to a path. `None` if the server has nothing to say about it.
    pub async fn write(&self, path: &str, data: impl Serialize) -> Result<Option<Reply>, Error> {
        self.send(Request::write(path).json(&data)?).await?.reply().await
    }

    /// Changes single fields of what is at a path.
    pub async fn patch(&self, path: &str, data: impl Serialize) -> Result<Option<Reply>, Error> {
        self.send(Request::patch(path).json(&data)?).await?.reply().await
    }

    /// Deletes what is at a path.
    pub async fn delete(&self, path: &str) -> Result<Option<Reply>, Error> {
        self.send(Request::delete(path)).await?.reply_or_none().await
    }

    /// Unwraps a wrapping token; the client's own token if none is given.
    pub async fn unwrap(&self, token: Option<&str>) -> Result<Option<Reply>, Error> {
        let body = token.map(|token| serde_json::json!({ "token": token }));
        self.send(Request::write("sys/wrapping/unwrap").json(&body)?).await?.reply().await
    }

    /// The request as it would be sent, for those who want to show it.
    pub fn prepare(&self, request: &Request) -> Result<Prepared, Error> {
        let url = self.address.url(&request.path, &request.query);
        Ok(Prepared { method: request.method.clone(), url, headers: self.headers(request)? })
    }

    /// Sends a request. An error status is an `Err`, but for `404`: what it means depends on the request, and
    /// [`Response::reply`] and [`Response::reply_or_none`] decide it.
    pub async fn send(&self, request: Request) -> Result<Response, Error> {
        let prepared = self.prepare(&request)?;
        let limit = self.config.timeout;
        if limit.is_zero() || request.unlimited {
            return self.attempts(prepared, request.payload).await;
        }
        let (method, url) = (prepared.method.to_string(), prepared.url.clone());
        match tokio::time::timeout(limit, self.attempts(prepared, request.payload)).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => {
                Err(Error::Transport { method, url, reason: "context deadline exceeded".to_owned() })
            }
        }
    }

    /// Attempts until one is final.
    async fn attempts(&self, mut prepared: Prepared, payload: Payload) -> Result<Response, Error> {
        let (bytes, mut stream) = match payload {
            Payload::Empty => (Bytes::new(), None),
            Payload::Bytes(bytes) => (bytes, None),
            Payload::Stream(stream) => (Bytes::new(), Some(stream)),
        };
        let retries = if stream.is_some() { 0 } else { self.config.retry.max };
        let mut attempt: u32 = 0;
        let mut redirected = false;
        loop {
            if let Some(limiter) = &self.limiter {
                limiter.acquire().await;
            }
            let streaming = stream.is_some();
            let body = stream.take().unwrap_or_else(|| whole(bytes.clone()));
            let outcome = self.once(&prepared, body).await;
            let again = match &outcome {
                Ok(answer) => Retry::wants(answer.status().as_u16()),
                Err(_) => true,
            };
            if again && attempt < retries {
                attempt = attempt.saturating_add(1);
                tokio::time::sleep(self.config.retry.pause(attempt, &self.entropy)).await;
                continue;
            }
            let answer = outcome?;
            if !redirected
                && !streaming
                && let Some(target) = self.redirect(&prepared, &answer)?
            {
                redirected = true;
                prepared.url = target;
                continue;
            }
            return Response::new(answer, prepared, self.namespace()).await;
        }
    }

    async fn once(&self, prepared: &Prepared, body: Body) -> Result<http::Response<Incoming>, Error> {
        let failed = |reason: String| Error::Transport {
            method: prepared.method.to_string(),
            url: prepared.url.clone(),
            reason,
        };
        let uri: Uri =
            prepared.url.parse().map_err(|error: http::uri::InvalidUri| failed(error.to_string()))?;
        let mut request = http::Request::new(body);
        *request.method_mut() = prepared.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = prepared.headers.clone();
        self.outbound.send(request).await.map_err(|error| match error.reason() {
            Reason::Tls(reason) if reason == NOT_TLS => {
                failed("http: server gave HTTP response to HTTPS client".to_owned())
            }
            reason => failed(reason.to_string()),
        })
    }

    /// The target of a redirect, if it is one to follow.
    fn redirect(
        &self,
        prepared: &Prepared,
        answer: &http::Response<Incoming>,
    ) -> Result<Option<String>, Error> {
        let followed = matches!(answer.status().as_u16(), 301 | 302 | 307 | 308);
        if !followed || self.config.disable_redirects {
            return Ok(None);
        }
        let Some(location) =
            answer.headers().get(http::header::LOCATION).and_then(|value| value.to_str().ok())
        else {
            return Ok(None);
        };
        let target = self.address.resolve(location);
        // The token would travel in the clear.
        if prepared.url.starts_with("https://") && !target.starts_with("https://") {
            return Err(Error::Request("redirect would cause protocol downgrade".to_owned()));
        }
        if may_follow(&prepared.url, &target, answer.status().as_u16()) {
            Ok(Some(target))
        } else {
            Err(Error::Request(format!("redirect to another host refused: {target}")))
        }
    }

    /// The namespace as it is sent: no slash before, one behind; empty for the root namespace.
    fn namespace(&self) -> String {
        let name = self.config.namespace.as_deref().unwrap_or_default().trim_matches('/');
        if name.is_empty() { String::new() } else { format!("{name}/") }
    }

    fn headers(&self, request: &Request) -> Result<HeaderMap, Error> {
        let config = &self.config;
        let mut headers = HeaderMap::new();
        headers.insert("X-Vault-Request", HeaderValue::from_static("true"));
        if let Some(token) =
            config.token.as_ref().filter(|token| !token.expose().is_empty() && !request.without_token)
        {
            let mut value = HeaderValue::try_from(token.expose().as_str()).map_err(|_ignored| {
                Error::Request(
                    "configured Vault token contains non-printable characters and cannot be used".to_owned(),
                )
            })?;
            value.set_sensitive(true);
            headers.insert("X-Vault-Token", value);
        }
        let namespace = self.namespace();
        if !namespace.is_empty() {
            put(&mut headers, "X-Vault-Namespace", &namespace)?;
        }
        for credential in &config.mfa {
            put(&mut headers, "X-Vault-MFA", credential)?;
        }
        if config.policy_override {
            put(&mut headers, "X-Vault-Policy-Override", "true")?;
        }
        let wrap_ttl = request.wrap_ttl.or(config.wrap_ttl).or_else(|| default_wrap_ttl(request));
        if let Some(ttl) = wrap_ttl.filter(|ttl| !ttl.is_zero()) {
            put(&mut headers, "X-Vault-Wrap-TTL", &format_duration(ttl))?;
        }
        for (name, value) in config.headers.iter().chain(&request.headers) {
            put(&mut headers, name, value)?;
        }
        if matches!(request.payload, Payload::Bytes(_)) && !headers.contains_key(http::header::CONTENT_TYPE) {
            put(&mut headers, "Content-Type", "application/json")?;
        }
        Ok(headers)
    }
}

/// True if token and body may go to the target of a redirect: on the same host, or on another node of the cluster. A
/// standby redirects with 307 to the same path of the active node; any other way to another host is not the cluster's.
fn may_follow(asked: &str, target: &str, status: u16) -> bool {
    let parsed = |url: &str| url.parse::<Uri>().ok();
    let (Some(from), Some(to)) = (parsed(asked), parsed(target)) else { return false };
    if to.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return false;
    }
    let same_host = match (from.host(), to.host()) {
        (Some(from), Some(to)) => from.eq_ignore_ascii_case(to),
        _ => false,
    };
    same_host || (status == 307 && from.path_and_query() == to.path_and_query())
}

/// The wrapping that a request needs to make sense at all, where nothing else was asked for.
fn default_wrap_ttl(request: &Request) -> Option<Duration> {
    const DEFAULT_WRAPPING_TTL: Duration = Duration::from_mins(5);
    let writes = matches!(request.method, http::Method::PUT | http::Method::POST);
    (writes && request.path.trim_matches('/') == "sys/wrapping/wrap").then_some(DEFAULT_WRAPPING_TTL)
}

fn put(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), ConfigError> {
    let wrong = || ConfigError::Header(name.to_owned());
    let key = HeaderName::try_from(name).map_err(|_ignored| wrong())?;
    headers.append(key, HeaderValue::try_from(value).map_err(|_ignored| wrong())?);
    Ok(())
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}
