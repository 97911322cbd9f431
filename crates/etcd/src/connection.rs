//! Connections to etcd's members: HTTP/1.1, kept for the next request.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::endpoint::Endpoint;
use crate::error::CallError;

/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(2);
/// Connections to a member that wait for a request at most.
const IDLE: usize = 16;
/// Bytes of an answer at most.
const LARGEST_ANSWER: usize = 64 << 20;

type Sender = SendRequest<Full<Bytes>>;

/// The connections to one member.
pub(crate) struct Connections {
    pub(crate) endpoint: Endpoint,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    idle: Mutex<Vec<Sender>>,
}

/// What a member answered.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Connections {
    /// Connections to `endpoint`, secured as `tls` says where its address is `https`.
    pub(crate) fn new(endpoint: Endpoint, tls: Option<&Arc<rustls::ClientConfig>>) -> Result<Self, String> {
        let tls = match tls.filter(|_| endpoint.https) {
            Some(tls) => {
                let name = ServerName::try_from(endpoint.host.clone())
                    .map_err(|error| format!("the host in {endpoint} cannot be verified: {error}"))?;
                Some((TlsConnector::from(tls.clone()), name))
            }
            None if endpoint.https => return Err(format!("{endpoint} is https, and the others are not")),
            None => None,
        };
        Ok(Self { endpoint, tls, idle: Mutex::default() })
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn exchange(
        &self,
        path: &str,
        token: Option<&str>,
        body: Bytes,
    ) -> Result<Answer, CallError> {
        let request = self.request(path, token, body)?;
        let (mut sender, response) = self.send(request).await?;
        let lost = |error: &dyn std::fmt::Display| CallError::Lost(format!("{}: {error}", self.endpoint));
        let status = response.status();
        let body = match Limited::new(response.into_body(), LARGEST_ANSWER).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return Err(CallError::Oversize { limit: LARGEST_ANSWER });
            }
            Err(error) => return Err(lost(&error)),
        };
        if sender.ready().await.is_ok() {
            self.keep(sender);
        }
        Ok(Answer { status, body })
    }

    fn request(
        &self,
        path: &str,
        token: Option<&str>,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, CallError> {
        let unfit = |_: http::Error| CallError::Unsent("a request cannot be made".to_owned());
        let mut request = Request::post(path)
            .header(HOST, self.endpoint.authority.as_str())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(unfit)?;
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(token).map_err(|_shown| {
                CallError::Unsent("the token that etcd has given is unusable".to_owned())
            })?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        Ok(request)
    }

    /// Sends over a connection that waits, or over a new one where none takes the request.
    async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Sender, http::Response<hyper::body::Incoming>), CallError> {
        loop {
            let waiting = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let is_new = waiting.is_none();
            let mut sender = match waiting {
                Some(sender) => sender,
                None => self.connect().await?,
            };
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((sender, response)),
                Err(mut failure) => match failure.take_message() {
                    // The member had closed it: nothing was sent.
                    Some(unsent) if !is_new => request = unsent,
                    Some(_) => return Err(self.unsent(&failure.error())),
                    None => {
                        let error = failure.into_error();
                        return Err(CallError::Lost(format!("{}: {error}", self.endpoint)));
                    }
                },
            }
        }
    }

    async fn connect(&self) -> Result<Sender, CallError> {
        let made = tokio::time::timeout(CONNECT, async {
            let to = (self.endpoint.host.as_str(), self.endpoint.port);
            let stream = TcpStream::connect(to).await.map_err(|error| self.unsent(&error))?;
            // A latency setting that some systems refuse; requests travel without it.
            let _ = stream.set_nodelay(true);
            match &self.tls {
                None => self.handshake(stream).await,
                Some((tls, name)) => {
                    let stream = tls.connect(name.clone(), stream).await;
                    let refused = |error| self.unsent(&format_args!("tls: {error}"));
                    self.handshake(stream.map_err(refused)?).await
                }
            }
        });
        made.await.map_err(|_elapsed| self.unsent(&"no connection in time"))?
    }

    async fn handshake<S>(&self, stream: S) -> Result<Sender, CallError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let made = http1::handshake(TokioIo::new(stream)).await;
        let (sender, serving) = made.map_err(|error| self.unsent(&error))?;
        tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::debug!(%error, "a connection to etcd ended");
            }
        });
        Ok(sender)
    }

    fn keep(&self, sender: Sender) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE {
            idle.push(sender);
        }
    }

    /// Ends the connections that wait.
    pub(crate) fn clear(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn unsent(&self, error: &dyn std::fmt::Display) -> CallError {
        CallError::Unsent(format!("{}: {error}", self.endpoint))
    }
}
