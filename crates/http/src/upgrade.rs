//! Handing a connection over to a handler that goes on in another protocol.

use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, Request, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use strongroom_engine_api::{Upgrade, UpgradeOffer};

/// The use of a connection once its last answer is sent; at most one.
#[derive(Clone, Default)]
pub(crate) struct Handover(Arc<Mutex<Option<BoxFuture<'static, ()>>>>);

/// A client's offer, and the connection that it is about.
pub(crate) struct Offered {
    pub(crate) offer: Arc<UpgradeOffer>,
    pub(crate) connection: OnUpgrade,
}

/// The upgrade that a client offers: only connections of HTTP/1.1 can be handed over.
pub(crate) fn offered<B>(request: &mut Request<B>) -> Option<Offered> {
    let headers = request.headers();
    if !headers.contains_key(UPGRADE) || request.version() != Version::HTTP_11 {
        return None;
    }
    let names_it = |value: &str| value.split(',').any(|option| option.trim().eq_ignore_ascii_case("upgrade"));
    if !headers.get_all(CONNECTION).iter().any(|value| value.to_str().is_ok_and(names_it)) {
        return None;
    }
    let offer = Arc::new(offer(headers)?);
    Some(Offered { offer, connection: hyper::upgrade::on(request) })
}

fn offer(headers: &HeaderMap) -> Option<UpgradeOffer> {
    let protocol = headers.get(UPGRADE)?.to_str().ok()?.to_owned();
    let handshake = headers.iter().filter(|(name, _)| name.as_str().starts_with("sec-websocket-"));
    let headers = handshake.map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
    Some(UpgradeOffer { protocol, headers: headers.collect::<Option<_>>()? })
}

impl Handover {
    /// Keeps what is to be done with the connection.
    pub(crate) fn keep(&self, connection: OnUpgrade, upgrade: Upgrade) {
        let work = Box::pin(async move {
            match connection.await {
                Ok(upgraded) => upgrade.run(Box::new(TokioIo::new(upgraded))).await,
                Err(error) => tracing::debug!(%error, "a connection was not handed over"),
            }
        });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(work);
    }

    /// The use of the connection, once.
    pub(crate) fn take(&self) -> Option<BoxFuture<'static, ()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
